"""A backup brought back into an empty database.

In charge of: filling an empty database of either kind from a backup file, so that what follows is safe: nobody's old
epoch counts, no message id is made twice, and nothing leaves before an operator says so. Not in charge of: the file
(`backup.py`).

The center that made the backup went on afterwards: it delivered messages that the backup still has in the queue. Only
people know whether to send them again. So every queue row waits: it belongs to `RESTORED`, an owner that
no node can be, until `release` gives it to whoever claims it. Everything else works meanwhile: boxes can be read, new
messages come and go.

All rows come in one transaction, into the schema that the backup has. If that fails, the database is still empty and
the same can be tried again. Then the schema is brought to this program's, as in any upgrade; if that fails, the rows
are there, and `restante db upgrade` goes on.
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from ..message import id_at
from . import migrate, partitions
from .backup import CHUNK_ROWS, Backup, columns_of, opened, tables_of
from .life_lock import LifeLock
from .server import Connection, connect
from .sqlite_file import database_path
from .store import StoreRefused
from .work import GIVE_BACK, RESTORED

__all__ = ["Restored", "release", "restore"]

#: Added to every epoch, so that no life of the old center, which may still run somewhere, is one of the new one.
EPOCHS_AHEAD = 1_000_000
#: Ids start so far ahead of the clock and of the backup: the old center may have had a clock that was ahead.
IDS_AHEAD_MS = 60_000
#: Days with partitions of their own; what is older than these stays in the default partition.
MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back."""

    backup: Backup
    waiting: int  #: queue rows that wait for `release`
    revision: str  #: of the schema now


def restore(url: str, file: Path, *, now_ms: int) -> Restored:
    """Fill an empty database. Raises StoreRefused. Not for use on a running event loop."""
    with opened(file) as (source, made):
        if made.revision not in migrate.known():
            raise StoreRefused(
                f"{file} has schema {made.revision}, made by a newer Restante ({made.program}); this program knows "
                f"{migrate.head()}. Install the newer one"
            )
        lock = LifeLock(database_path(url)) if url.startswith("sqlite") else None
        if lock is not None:
            lock.take()
        try:
            _prepare(url, made.revision)
            high_water = id_at(max(now_ms, made.taken_at) + IDS_AHEAD_MS)
            if lock is not None:
                waiting = _fill_sqlite(database_path(url), file, source, high_water)
            else:
                waiting = asyncio.run(_fill_postgresql(url, source, high_water))
        except (
            OSError,
            sqlite3.Error,
            SQLAlchemyError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            raise StoreRefused(f"nothing was restored: {error}") from error
        else:
            _bring_up(url, made.revision)
        finally:
            if lock is not None:
                lock.drop()
    return Restored(made, waiting, migrate.head())


def _bring_up(url: str, revision: str) -> None:
    """The rows are there; their schema may be an older one."""
    try:
        migrate.upgrade(url, locked=True)
    except (OSError, StoreRefused, SQLAlchemyError) as error:
        raise StoreRefused(
            f"the rows are restored with schema {revision}, and the upgrade to {migrate.head()} failed: {error}; "
            "run: restante db upgrade"
        ) from error


def release(url: str, *, now_ms: int) -> int:
    """Let go what came with a restore, beside any center (`restored.py`); how many rows. Raises StoreRefused."""
    lock = LifeLock(database_path(url)) if url.startswith("sqlite") else None
    if lock is not None:
        lock.take()
    try:
        migrate.verify(url)

        def work(connection: SqlConnection) -> int:
            gone, these = 0, {"epoch": RESTORED, "now": now_ms, "limit": CHUNK_ROWS}
            while touched := connection.execute(GIVE_BACK.expression, these).rowcount:
                connection.commit()
                gone += touched
            return gone

        return migrate.run(url, work)
    finally:
        if lock is not None:
            lock.drop()


def _prepare(url: str, revision: str) -> None:
    """Make the backup's schema, in a database without any row."""

    def filled(connection: SqlConnection) -> str:
        for name in inspect(connection).get_table_names():
            if name == "alembic_version":
                continue
            count = connection.execute(select(func.count()).select_from(text(f'"{name}"'))).scalar()
            if count:
                return name
        return ""

    table = migrate.run(url, filled)
    if table:
        raise StoreRefused(
            f"the database is not empty (there are rows in {table}); a backup replaces nothing: "
            "let store.url name an empty one"
        )
    found = migrate.current(url)
    if found not in (None, revision):
        raise StoreRefused(
            f"the database has schema {found} and the backup {revision}; begin with an empty one"
        )
    migrate.upgrade(url, to=revision, locked=True)


def _fill_sqlite(path: Path, file: Path, source: sqlite3.Connection, high_water: int) -> int:
    target = sqlite3.connect(path, isolation_level=None)
    try:
        target.execute("PRAGMA synchronous = FULL")
        target.execute("ATTACH ? AS given", (str(file.absolute()),))
        target.execute("BEGIN IMMEDIATE")
        for table in tables_of(source):
            names = ", ".join(f'"{name}"' for name in columns_of(source, table))
            target.execute(f'INSERT INTO main."{table}" ({names}) SELECT {names} FROM given."{table}"')  # noqa: S608
        waiting = target.execute(_HOLD).rowcount
        target.execute(_NEW_LIVES.format(high_water=high_water))
        target.execute("COMMIT")
        return waiting
    finally:
        target.close()


async def _fill_postgresql(url: str, source: sqlite3.Connection, high_water: int) -> int:
    connection = await connect(url, {"application_name": "restante restore"})
    try:
        await _make_days(connection, source)
        async with connection.transaction():
            for table in tables_of(source):
                columns = columns_of(source, table)
                names = ", ".join(f'"{name}"' for name in columns)
                rows = source.execute(f'SELECT {names} FROM "{table}"')  # noqa: S608  # names of our own tables
                while chunk := rows.fetchmany(CHUNK_ROWS):
                    await connection.copy_records_to_table(table, records=chunk, columns=columns)
            done = await connection.execute(_HOLD)
            await connection.execute(_NEW_LIVES.format(high_water=high_water))
        return int(done.rpartition(" ")[2])
    finally:
        await connection.close(timeout=5)


async def _make_days(connection: Connection, source: sqlite3.Connection) -> None:
    """Partitions for the days that the backup has messages of, the newest of them."""
    found: list[Any] = source.execute(
        f"SELECT DISTINCT (id >> 20) / {partitions.DAY_MS} FROM message ORDER BY 1 DESC LIMIT {MOST_DAYS}"  # noqa: S608
    ).fetchall()
    for (day,) in found:
        await partitions.ensure(connection, day * partitions.DAY_MS, 0)


_HOLD = f"UPDATE queue SET owner = {RESTORED}"  # noqa: S608  # a number of this program
_NEW_LIVES = (
    f"UPDATE node SET epoch = epoch + {EPOCHS_AHEAD}, released = 1, "  # noqa: S608  # a number of this program
    "high_water = CASE WHEN high_water > {high_water} THEN high_water ELSE {high_water} END"
)
