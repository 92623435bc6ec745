"""A copy of the whole database in one file, made while the center serves.

In charge of: the backup file: what it holds, how it is made from either database, and whether one can be trusted. Not
in charge of: bringing it back (`restore.py`), or what stands beside a database (restante.toml, the master keys).

The file is a SQLite database of the same schema, whichever database it was made from, with one table more, `backup`,
which says when, from what and by whom. It shows the database at one moment: SQLite's is read in one read transaction,
PostgreSQL's in one REPEATABLE READ snapshot, in bounded chunks. So every message that was acknowledged before the
backup began is in it. PostgreSQL's tables are locked before the snapshot is taken (ACCESS SHARE, as pg_dump does):
otherwise a day that retention drops meanwhile would be missing in some tables and not in others.

The file is written under another name, verified, synced, and only then gets its own: under that name there is never
half a backup.

Sealed secrets are in it as they are, sealed: they need the same master keys. Texts and password hashes are in it too,
so only its owner may read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from .. import __version__
from . import migrate
from .server import Connection, connect
from .sqlite_file import database_path
from .store import StoreRefused

__all__ = ["CHUNK_ROWS", "Backup", "backup", "columns_of", "opened", "tables_of"]

#: Rows in memory at a time.
CHUNK_ROWS = 2_000
#: Pages that SQLite copies at a time: 16 MiB.
CHUNK_PAGES = 4_096
#: Seconds to wait for a lock on the database that is copied.
BUSY_S = 30.0

_ABOUT = "CREATE TABLE backup (taken_at INTEGER, revision TEXT, source TEXT, program TEXT, rows INTEGER)"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup file says of itself."""

    taken_at: int  #: UTC epoch milliseconds: everything acknowledged before is in it
    revision: str  #: of the schema
    source: str  #: "sqlite" or "postgresql"
    program: str  #: version that made it
    rows: int  #: of all tables
    octets: int  #: of the file


def backup(url: str, file: Path, *, now_ms: int) -> Backup:
    """Copy the database behind `url` into a new file. Raises StoreRefused. Not for use on a running event loop."""
    if file.exists():
        raise StoreRefused(f"{file} exists already; a backup replaces nothing")
    revision = migrate.current(url)
    if revision is None:
        raise StoreRefused("the database is empty: there is nothing to back up")
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if url.startswith("sqlite"):
            _copy_sqlite(database_path(url), part)
        else:
            # The same schema, made by the same revisions.
            migrate.upgrade(f"sqlite:///{part}", to=revision, locked=True)
            asyncio.run(_copy_postgresql(url, part, revision))
        with _written(part) as target:
            counted = sum(_count(target, table) for table in tables_of(target))
            target.execute(_ABOUT)
            source = "sqlite" if url.startswith("sqlite") else "postgresql"
            target.execute(
                "INSERT INTO backup VALUES (?, ?, ?, ?, ?)", (now_ms, revision, source, __version__, counted)
            )
            target.commit()
        with opened(part) as (_, made):
            pass
        _sync(part)
        os.link(part, file)  # unlike a rename, this replaces nothing
        _sync(file.parent)
        return made
    except (OSError, sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreRefused(f"no backup was made: {error}") from error
    finally:
        for left in (part, part.with_name(part.name + "-journal"), part.with_name(part.name + ".lock")):
            with contextlib.suppress(OSError):
                left.unlink()


@contextmanager
def opened(file: Path) -> Generator[tuple[sqlite3.Connection, Backup]]:
    """A backup file to read from, verified. Raises StoreRefused for anything else."""
    if not file.is_file():
        raise StoreRefused(f"there is no file {file}")
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        try:
            taken_at, revision, source, program, rows = connection.execute("SELECT * FROM backup").fetchone()
            trouble = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            counted = sum(_count(connection, table) for table in tables_of(connection))
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise StoreRefused(f"{file} is no backup of a center: {error}") from error
        if trouble != "ok" or found != revision or counted != rows:
            raise StoreRefused(f"{file} is damaged: {trouble}, {counted} of {rows} rows")
        yield connection, Backup(taken_at, revision, source, program, rows, file.stat().st_size)
    finally:
        connection.close()


def tables_of(connection: sqlite3.Connection) -> list[str]:
    """The center's tables in a SQLite database."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [
        name
        for (name,) in found
        if not name.startswith("sqlite_") and name not in ("alembic_version", "backup")
    ]


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns of a table in a SQLite database."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0])  # noqa: S608  # quoted


@contextmanager
def _written(part: Path) -> Generator[sqlite3.Connection]:
    """The file under its first name, as one file without a log beside it."""
    connection = sqlite3.connect(part, timeout=BUSY_S)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = OFF")  # it is synced once, as a whole
        yield connection
    finally:
        connection.close()


def _copy_sqlite(source: Path, part: Path) -> None:
    """Copy pages within one read transaction: the writer goes on, and what it commits meanwhile is not in the copy."""
    reader = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None
    )
    writer = sqlite3.connect(part)
    try:
        reader.execute("BEGIN")
        reader.execute(
            "SELECT count(*) FROM sqlite_master"
        ).fetchone()  # the snapshot is taken by the first read
        reader.backup(writer, pages=CHUNK_PAGES, sleep=0.0)
    finally:
        writer.close()
        reader.close()


async def _copy_postgresql(url: str, part: Path, revision: str) -> None:
    connection = await connect(url, {"application_name": "restante backup"})
    try:
        with _written(part) as target:
            tables = tables_of(target)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for table in ["alembic_version", *tables]:
                    await _lock(connection, table)
                found = await connection.fetchval("SELECT version_num FROM alembic_version")
                if found != revision:
                    raise StoreRefused(f"the schema went from {revision} to {found} meanwhile; try again")
                for table in tables:
                    await _copy_table(connection, target, table)
            target.commit()
    finally:
        connection.terminate()


async def _lock(connection: Connection, table: str) -> None:
    """Keep a table and its days as they are until the transaction ends. Reading and writing go on."""
    await connection.execute(f"SET LOCAL lock_timeout = {int(BUSY_S * 1000)}")
    try:
        await connection.execute(f"LOCK TABLE {_quoted(table)} IN ACCESS SHARE MODE")
    except asyncpg.LockNotAvailableError as error:
        raise StoreRefused(
            f"no backup was made: for {BUSY_S:.0f} s somebody has held the table {table} for himself (a migration, "
            "VACUUM FULL, ALTER TABLE?); try again when that is over"
        ) from error


async def _copy_table(connection: Connection, target: sqlite3.Connection, table: str) -> None:
    columns = columns_of(target, table)
    names = ", ".join(map(_quoted, columns))
    rows: list[tuple[Any, ...]] = []
    insert = f"INSERT INTO {_quoted(table)} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  # quoted
    async for row in connection.cursor(f"SELECT {names} FROM {_quoted(table)}", prefetch=CHUNK_ROWS):  # noqa: S608
        rows.append(tuple(row.values()))
        if len(rows) == CHUNK_ROWS:
            target.executemany(insert, rows)
            rows.clear()
    target.executemany(insert, rows)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
