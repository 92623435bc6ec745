"""Centers that begin to live at once, because another process has imported their modules for them.

In charge of: one process a test run (and xdist worker) that imports the command line and forks a center whenever one is
wanted, and what stands for such a center here: what `subprocess.Popen` offers of it. Not in charge of: what a center is
told (`running_center.py`).

Theory. Most of the start of a center is the import of its modules: seconds of a processor that has only two of them,
some hundred times a run. The nursery imports them once and does nothing else: no loop, no thread of its own, no file.
What it forks has its own pid, standard output, folder and environment, runs `main` of `python -m restante` with
arguments of its own, and dies of a signal like any process. Those who want the interpreter itself to begin anew, as
`LD_PRELOAD`, strace and tests of the installed command do, start it without this.

The nursery tells the end of each center on a pipe of that center. When the test run ends, so do the nursery and all
centers that are left.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TextIO

_MOST_OCTETS = 1 << 20  #: of what a center is told; the environment is the most of it


class WarmCenter:
    """A process that runs `restante` with some arguments. Offers what the tests use of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        """Begins at once."""
        read, write = os.pipe()
        self._told, tell = os.pipe()
        order = {"arguments": list(arguments), "folder": str(folder), "environ": dict(environ)}
        try:
            self.pid = _nursery().bear(order, (write, tell))
        finally:
            os.close(write)
            os.close(tell)
        self.stdout: TextIO = open(read, encoding="utf-8", errors="replace")  # noqa: SIM115 -- its reader closes it
        self.returncode: int | None = None

    def __del__(self) -> None:
        """Nobody asks any more how it ended."""
        with contextlib.suppress(OSError):
            os.close(self._told)

    def poll(self) -> int | None:
        """Its exit code, below zero for a signal; None while it lives."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("restante", timeout or 0)
            text = os.read(self._told, 64)
            assert text, "the nursery has died"
            self.returncode = int(text)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


class _Nursery:
    """The process that forks centers, as seen from the test run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_OCTETS)
        with theirs:
            command = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        atexit.register(self.close)

    def bear(self, order: Mapping[str, object], streams: tuple[int, int]) -> int:
        """Have a center forked; its pid."""
        octets = json.dumps(order).encode()
        with self._lock:
            socket.send_fds(self._ours, [octets], streams)
            answer = self._ours.recv(64)
        assert answer, "the nursery has died"
        return int(answer)

    def close(self) -> None:
        """End it, and what it bore."""
        self._ours.close()
        self._process.wait(30)


@cache
def _nursery() -> _Nursery:
    """The one of this process."""
    return _Nursery()


# ------------------------------------------------------------------------------------------- inside the nursery


def _bear(orders: socket.socket) -> tuple[list[str], str, dict[str, str], int] | None:
    """Fork a center for each order. Returns in each center what it was told and its standard output, and in the nursery
    None when nobody wants any more."""
    living: dict[int, tuple[int, int]] = {}  # pidfd -> pid, where its end is told
    with selectors.DefaultSelector() as ready:
        ready.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is not orders:
                    ready.unregister(key.fileobj)
                    _tell_end(key.fd, *living.pop(key.fd))
                    continue
                octets, streams, _, _ = socket.recv_fds(orders, _MOST_OCTETS, 2)
                if not octets:
                    for pid, _ in living.values():
                        os.kill(pid, signal.SIGKILL)
                    return None
                output, tell = streams
                pid = os.fork()
                if pid == 0:
                    orders.close()
                    order = json.loads(octets)
                    return order["arguments"], order["folder"], order["environ"], output
                os.close(output)
                pidfd = os.pidfd_open(pid)
                living[pidfd] = (pid, tell)
                ready.register(pidfd, selectors.EVENT_READ)
                orders.send(str(pid).encode())


def _tell_end(pidfd: int, pid: int, tell: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # nobody may want to know
        os.write(tell, str(os.waitstatus_to_exitcode(status)).encode())
    os.close(tell)
    os.close(pidfd)


def _live(arguments: list[str], folder: str, environ: dict[str, str], output: int) -> None:
    """Be the process that `python -m restante` would be, in a folder and an environment."""
    from restante.cli.main import main

    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["restante", *arguments]
    main()


def _serve(orders: socket.socket) -> None:
    """Import what a center needs, and fork."""
    for module in ("restante.cli.main", "restante.serve", "asyncpg", "uvloop"):
        import_module(module)
    gc.collect()
    gc.freeze()  # a center need not look through, and so copy, what all of them share
    told = _bear(orders)
    if told is not None:
        _live(*told)


if __name__ == "__main__":
    sys.path.pop(0)  # the plugins of the tests are no part of a center
    _serve(socket.socket(fileno=int(sys.argv[1])))
