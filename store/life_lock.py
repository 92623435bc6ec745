"""The lock that makes SQLite's database belong to one process at a time.

In charge of: holding an advisory lock beside the database for as long as the process lives, and naming the process
that holds it. Not in charge of: SQLite's own locks, which guard single transactions.

The kernel lets go of it when the process ends, in whatever way; nothing is left to clean up, and the file stays.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .store import StoreRefused

__all__ = ["LifeLock"]


class LifeLock:
    """Held from `take` to `drop`."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._database = database
        self._handle = -1

    def take(self) -> None:
        """Take the lock or raise StoreRefused with the holder's process id."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as reason:
            raise StoreRefused(f"cannot open the lock {self.path}: {reason.strerror}") from reason
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as held:
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise StoreRefused(
                f"the database {self._database} is in use by process {holder}; stop that first"
            ) from held
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def drop(self) -> None:
        """Let go; harmless when it is not held."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
