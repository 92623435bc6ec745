"""A real OsmoHLR for tests: a daemon on a loopback address of its own with a database of its own.

In charge of: starting and stopping it, also in the middle of a test. Its ports are fixed, so each one gets an address
of 127.0.0.0/8 on which all three are free.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
from pathlib import Path

from waiting import eventually

VTY, CTRL, GSUP = 4258, 4259, 4222

CONFIGURATION = """
log stderr
 logging filter all 1
 logging color 0
 logging level main notice
line vty
 bind {address}
ctrl
 bind {address}
hlr
 gsup
  bind ip {address}
  ipa-name HLR-TEST
"""


def _free_address() -> str:
    while True:
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
        with contextlib.ExitStack() as taken:
            try:
                for port in (VTY, CTRL, GSUP):
                    taken.enter_context(socket.create_server((address, port)))
            except OSError:
                continue
            return address


class OsmoHlr:
    """One daemon. Its subscribers outlive `stop` and `start`."""

    ctrl_port = CTRL
    gsup_port = GSUP

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir(exist_ok=True)
        self.address = self.address or _free_address()
        configuration = self._folder / "hlr.cfg"
        configuration.write_text(CONFIGURATION.format(address=self.address))
        command = [self._program, "-c", str(configuration), "-l", str(self._folder / "hlr.db")]
        with (self._folder / "hlr.log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log, cwd=self._folder)
        for port in (CTRL, GSUP):
            eventually(lambda port=port: self._listens(port), f"osmo-hlr on {self.address}:{port}")

    def _listens(self, port: int) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "hlr.log").read_text()
        try:
            socket.create_connection((self.address, port), 1).close()
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        """Let it keep its connections and say nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)
