"""Days of PostgreSQL's partitioned tables.

In charge of: naming, making and dropping the partitions of `message`, `body` and `event`, one a day of the message
id. Not in charge of: deciding how long to keep them (`sweep.py`). SQLite has none.

A row whose day has no partition goes to the default partition: slow, not lost. When its day is made later, its rows
move there.

Making and dropping lock a table for themselves. Whoever waits for such a lock makes everybody wait who comes after, and
a backup holds every table for as long as it takes. So the wait is short, and what could not be done is done in a later
round.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import asyncpg

from ..message import id_at
from .server import Connection

__all__ = ["DAY_MS", "TABLES", "days_of", "drop_before", "ensure", "first_id"]

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
#: Partitioned tables and the column that holds the message id.
TABLES = {"message": "id", "body": "message", "event": "message"}
#: Any number; another than the migrations' lock.
LOCK = 0x5061727469746F6E
#: Milliseconds to wait for the lock on a table: for so long accepts may queue behind it.
LOCK_WAIT_MS = 100


def first_id(day: str) -> int:
    """The lowest message id of a day written YYYYMMDD."""
    moment = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    return id_at(int(moment.timestamp() * 1000))


def _day(now_ms: int, later: int) -> str:
    moment = datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(days=later)
    return moment.strftime("%Y%m%d")


async def days_of(connection: Connection, table: str) -> list[str]:
    """The days that have a partition, oldest first."""
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = $1::regclass ORDER BY c.relname",
        table,
    )
    names = [str(row["relname"]).rpartition("_")[2] for row in rows]
    return [name for name in names if name.isdigit()]


async def ensure(connection: Connection, now_ms: int, ahead: int) -> int:
    """Make the partitions from yesterday to `ahead` days from now; how many were missing and could be made."""
    wanted = [_day(now_ms, later) for later in range(-1, ahead + 1)]
    made = 0
    for table, column in TABLES.items():
        present = set(await days_of(connection, table))
        for day in wanted:
            if day in present:
                continue
            try:
                made += await _make(connection, table, column, day)
            except asyncpg.LockNotAvailableError:
                log.warning("%s has no day %s yet: somebody else holds it; it is tried again", table, day)
                break
    return made


async def _make(connection: Connection, table: str, column: str, day: str) -> int:
    """Make one partition; rows that went to the default partition meanwhile move into it."""
    low = first_id(day)
    high = low + id_at(DAY_MS)
    part = f"{table}_{day}"
    # Names and numbers are made here, from a table of this module and a date.
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if day in await days_of(connection, table):
            return 0
        await connection.execute(
            f"CREATE TABLE {part} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        )
        moved = await connection.execute(
            f"WITH late AS (DELETE FROM {table}_default WHERE {column} >= {low} AND {column} < {high} RETURNING *)"  # noqa: S608
            f" INSERT INTO {part} SELECT * FROM late"
        )
        await connection.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ({low}) TO ({high})"
        )
    if not moved.endswith(" 0"):
        log.warning("rows of %s were written before their day had a partition; they moved: %s", table, moved)
    return 1


async def drop_before(connection: Connection, table: str, before_ms: int) -> bool:
    """Drop the days that ended by `before_ms` and that nothing in the queue belongs to; False: not all could go yet."""
    for day in await days_of(connection, table):
        low = first_id(day)
        high = low + id_at(DAY_MS)
        if high > id_at(before_ms):
            break
        waiting = "SELECT EXISTS (SELECT FROM queue WHERE id >= $1 AND id < $2)"
        if await connection.fetchval(waiting, low, high):
            continue
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
                await connection.execute(f"DROP TABLE {table}_{day}")
        except asyncpg.LockNotAvailableError:
            log.info("%s of %s is not dropped yet: somebody else, perhaps a backup, reads it", table, day)
            return False
        log.info("%s of %s is dropped", table, day)
    return True
