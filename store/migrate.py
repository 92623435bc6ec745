"""The database's schema and its revisions.

In charge of: bringing a database to the revision of this program under a lock, saying which revision it has, and
refusing one that is older or newer. Not in charge of: the migrations themselves (`alembic/versions/`).

On SQLite the life lock is the lock, so nobody serves meanwhile; on PostgreSQL an advisory lock makes nodes take turns.

There nodes may serve while the schema changes under them. Each revision is one transaction, which first stops their
writers, in the order in which these lock tables: otherwise each could have what the other one needs. It waits for a
lock only shortly, because everybody waits behind it, then undoes what it did and tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import command

from .life_lock import LifeLock
from .store import StoreRefused

__all__ = ["current", "head", "known", "run", "upgrade", "verify"]

T = TypeVar("T")

#: Any number that no other program uses for an advisory lock in our database.
LOCK = 0x52657374616E7465  # "Restante"

#: Stops the writers of every node, who lock these tables in this order (`plan.py`); readers and heartbeats go on.
_STOP_WRITERS = "LOCK TABLE message, body, queue, event IN SHARE ROW EXCLUSIVE MODE"
#: Milliseconds to wait for one lock; PostgreSQL looks for deadlocks after a second.
LOCK_WAIT_MS = 500
#: Times that a revision is tried, and seconds in between.
LOCK_TRIES = 20
LOCK_PAUSE_S = 0.5
#: SQLSTATE: lock_not_available, deadlock_detected.
_IN_THE_WAY = ("55P03", "40P01")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "restante:alembic")
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The revision that this program works with."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def current(url: str) -> str | None:
    """The revision that a database has; None for an empty one."""
    return run(url, lambda connection: MigrationContext.configure(connection).get_current_revision())


def known() -> set[str]:
    """The revisions that this program knows."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def upgrade(url: str, *, to: str = "head", locked: bool = False) -> None:
    """Bring a database to a revision; `locked`: the caller holds the life lock. Raises StoreRefused.

    Not for use on a running event loop.
    """

    def migrate(connection: Connection) -> None:
        found = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        _refuse_newer(found)
        if connection.dialect.name != "postgresql":
            _apply(connection, to)
            return
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        connection.commit()
        try:
            _upgrade_beside_nodes(connection, to)
        finally:
            connection.rollback()
            connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
            connection.commit()

    lock = None
    if not locked and _is_sqlite(url):
        from .sqlite_file import database_path

        lock = LifeLock(database_path(url))
        lock.take()
    try:
        run(url, migrate)
    finally:
        if lock is not None:
            lock.drop()


def _apply(connection: Connection, to: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    connection.commit()


def _upgrade_beside_nodes(connection: Connection, to: str) -> None:
    """Bring a PostgreSQL database to a revision, one after the other. Raises StoreRefused."""
    found = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    if found is None:  # nobody can serve it
        _apply(connection, to)
        return
    walked = ScriptDirectory.from_config(_config()).iterate_revisions(to, found)
    for revision in reversed([script.revision for script in walked]):
        _apply_in_turn(connection, revision)


def _apply_in_turn(connection: Connection, revision: str) -> None:
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}"))
            connection.execute(text(_STOP_WRITERS))
            _apply(connection, revision)
        except DBAPIError as error:
            connection.rollback()
            if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY:
                raise
            if attempt == LOCK_TRIES:
                raise StoreRefused(
                    f"somebody (a backup, a long report?) holds tables that the step to schema {revision} must change; "
                    f"it is not done. Run restante db upgrade again when that is over: {error.orig}"
                ) from error
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def verify(url: str) -> None:
    """Raise StoreRefused unless the database has exactly the revision of this program."""
    found, wanted = current(url), head()
    if found == wanted:
        return
    _refuse_newer(found)
    raise StoreRefused(
        f"the database has schema {found or 'none'} and this program needs {wanted}; run: restante db upgrade"
    )


def _refuse_newer(found: str | None) -> None:
    if found is None or found in known():
        return
    raise StoreRefused(
        f"the database has schema {found}, made by a newer Restante; this program knows {head()}. "
        "Install the newer one, or bring an older backup back: restante db restore"
    )


def run(url: str, work: Callable[[Connection], T]) -> T:
    """Call `work` with a connection of SQLAlchemy's to either database. Not for use on a running event loop."""
    if _is_sqlite(url):
        return _run_sqlite(url, work)
    return asyncio.run(_run_postgresql(url, work))


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")


def _run_sqlite(url: str, work: Callable[[Connection], T]) -> T:
    from .sqlite_file import database_path

    path = database_path(url)
    with contextlib.suppress(OSError):  # it is there, or cannot be: then SQLite says why
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 5.0})

    # Python's driver would commit before each DDL statement; this makes a migration one transaction.
    @event.listens_for(engine, "connect")
    def on_connect(connection: object, _record: object) -> None:
        assert isinstance(connection, sqlite3.Connection)
        connection.isolation_level = None
        # Counts for a database without a table yet: freed pages can later be given back, a few at a time.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.connect() as connection:
            return work(connection)
    except OperationalError as error:
        raise StoreRefused(f"the database {path}: {error.orig}") from error
    finally:
        engine.dispose()


async def _run_postgresql(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    except OSError as error:
        raise StoreRefused(f"no connection to the database: {error}") from error
    finally:
        await engine.dispose()
