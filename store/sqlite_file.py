"""SQLite's file and connections to it.

In charge of: the path behind a URL, the pragmas that make a connection keep the store's promise, result codes. Not in
charge of: what is sent over a connection (`sqlite.py`).
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from urllib.parse import unquote

from .life import Touched
from .settings import StoreSettings
from .statement import Compiled
from .store import StoreRefused

__all__ = [
    "READER_CACHE_KIB",
    "WRITER_CACHE_KIB",
    "database_path",
    "is_full",
    "open_file",
    "primary",
    "promise",
    "touch",
]

#: Milliseconds to wait for a lock that another process holds (a backup, a person with sqlite3).
BUSY_MS = 5_000
#: Pages of the log at which a commit also writes them to the database file: 16 MiB.
CHECKPOINT_PAGES = 4_000
#: Octets of pages kept in memory by the writer, and by each reader.
WRITER_CACHE_KIB = 64 << 10
READER_CACHE_KIB = 16 << 10


def database_path(url: str) -> Path:
    """The file behind `sqlite:///relative` or `sqlite:////absolute`."""
    prefix, _, path = url.partition(":///")
    if prefix not in ("sqlite", "sqlite+pysqlite") or not path or path == ":memory:":
        raise StoreRefused(f"{url!r} names no SQLite file; write sqlite:///relative or sqlite:////absolute")
    return Path(unquote(path.partition("?")[0]))


def primary(error: BaseException) -> int:
    """SQLite's primary result code; 0 for other errors."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room."""
    return primary(error) == sqlite3.SQLITE_FULL or (
        isinstance(error, OSError) and error.errno == errno.ENOSPC
    )


def open_file(path: Path, cache_kib: int) -> sqlite3.Connection:
    """A connection that begins no transaction by itself and may be passed between threads."""
    connection = sqlite3.connect(
        path,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def promise(connection: sqlite3.Connection, settings: StoreSettings) -> None:
    """Make a new connection the one that writes; raise StoreRefused if what it commits would not be on disk."""
    wanted = 2 if settings.durability == "power-loss" else 1
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute(f"PRAGMA synchronous = {wanted}")
    found = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or found != wanted:
        raise StoreRefused(
            f"SQLite does not promise durability here (journal_mode={mode}, synchronous={found}); "
            "put the database on a local disk"
        )
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    # Octets of deleted rows are overwritten where that costs no further page.
    connection.execute("PRAGMA secure_delete = FAST")
    if settings.max_bytes:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {max(settings.max_bytes // size, 1)}")
    _write_through(connection)


def _write_through(connection: sqlite3.Connection) -> None:
    """Checkpoint everything, synced: after this nothing hangs on an old handle. Only a full disk may prevent it."""
    try:
        _busy, frames, written = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
    else:
        if frames > written:
            raise sqlite3.OperationalError(
                "the log could not be written to the database: a read is in the way"
            )


def touch(connection: sqlite3.Connection, compiled: Compiled, arguments: tuple[object, ...]) -> Touched:
    """Run one statement; rows if it returns some."""
    cursor = connection.execute(compiled.text, arguments)
    if cursor.description is None:
        return Touched(cursor.rowcount)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return Touched(len(rows), rows)
