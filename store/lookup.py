"""Questions to a database that is not ours: read-only, within a time, with parameters.

In charge of: connections that cannot write, the time limit, the bound on rows. Not in charge of: what is asked (a
statement of the operator's configuration), or what the answer means. Nothing of the center stands in these databases.

Theory. Whoever keeps subscribers has them in a database, and somebody else changes it. So the connection is made so
that the database itself refuses to write: SQLite is opened read-only and told to refuse writes to whatever a statement
attaches; PostgreSQL is given read-only transactions and a statement_timeout, so that a question that nobody
waits for any more ends there too. The statement stands inside another one that bounds its rows, where nothing but a
SELECT can stand; values go in as parameters only. A connection is made with the first question, and anew after a
failure.

How it fails: LookupFailed, which says whether it was too slow.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from .server import Pool, create_pool
from .sqlite_file import BUSY_MS, database_path
from .statement import POSTGRESQL, SQLITE, Compiled, compile_once
from .store import StoreRefused

__all__ = ["Lookup", "LookupFailed", "lookup"]

#: Virtual-machine steps of SQLite between two looks at the clock: well under a millisecond.
_STEPS = 10_000


class LookupFailed(Exception):
    """There is no answer."""

    def __init__(self, detail: str, *, slow: bool = False, refused: bool = False) -> None:
        """`slow`: the time was over. `refused`: the database understood and will not, so asking again is of no use."""
        super().__init__(detail)
        self.slow = slow
        self.refused = refused


class Lookup(Protocol):
    """One statement to one database. Lives on the event loop."""

    names: frozenset[str]  #: of its parameters

    async def ask(self, values: Mapping[str, str | None], timeout_s: float) -> list[Mapping[str, Any]]:
        """The rows, at most so many as it was made for. LookupFailed."""
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...


def lookup(url: str, statement: str, *, most_rows: int, connections: int, most_s: float) -> Lookup:
    """A statement with :name parameters, for sqlite:///… or postgresql://…. StoreRefused.

    `most_s`: longer than this no question takes, whoever waits for it.
    """
    dialect = SQLITE if url.startswith("sqlite") else POSTGRESQL
    bounded = f"SELECT * FROM (\n{statement.rstrip().rstrip(';')}\n) AS answer LIMIT {most_rows}"  # noqa: S608 - the operator's own
    try:
        compiled = compile_once(text(bounded), dialect)
    except SQLAlchemyError as error:
        raise StoreRefused(f"the statement cannot be used: {error}") from None
    if dialect is SQLITE:
        return _SqliteLookup(database_path(url), compiled)
    if not url.startswith(("postgresql://", "postgres://")):
        raise StoreRefused("the URL names neither sqlite:///… nor postgresql://…")
    return _PostgresqlLookup(url, compiled, connections, most_s)


class _SqliteLookup:
    """One file, one thread: questions wait for each other, and those whose time is over are not asked."""

    def __init__(self, path: Path, compiled: Compiled) -> None:
        self.names = frozenset(compiled.names)
        self._path = path
        self._compiled = compiled
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lookup")

    async def ask(self, values: Mapping[str, str | None], timeout_s: float) -> list[Mapping[str, Any]]:
        """See `Lookup`."""
        ends = time.monotonic() + timeout_s
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._ask, self._compiled.arguments(values), ends)

    def _ask(self, arguments: tuple[object, ...], ends: float) -> list[Mapping[str, Any]]:
        """In the thread."""
        if time.monotonic() >= ends:
            raise LookupFailed("the questions before it took too long", slow=True)
        try:
            connection = self._connection or self._connect()
            connection.set_progress_handler(lambda: time.monotonic() >= ends, _STEPS)
            cursor = connection.execute(self._compiled.text, arguments)
            return [dict(row) for row in cursor]
        except sqlite3.Error as error:
            self._disconnect()
            slow = getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY)
            raise LookupFailed(str(error), slow=slow, refused=not slow) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=ro",
            uri=True,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA query_only = ON")
        connection.row_factory = sqlite3.Row
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def close(self) -> None:
        """See `Lookup`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)


class _PostgresqlLookup:
    """A server, over some connections."""

    def __init__(self, url: str, compiled: Compiled, connections: int, most_s: float) -> None:
        self.names = frozenset(compiled.names)
        self._url = url
        self._compiled = compiled
        self._connections = connections
        self._session = {
            "default_transaction_read_only": "on",
            "statement_timeout": str(max(1, round(most_s * 1000))),
            "application_name": "restante-lookup",
        }
        self._pool: Pool | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, values: Mapping[str, str | None], timeout_s: float) -> list[Mapping[str, Any]]:
        """See `Lookup`."""
        try:
            async with asyncio.timeout(timeout_s):
                pool = self._pool or await self._connect()
                async with pool.acquire() as connection:
                    rows = await connection.fetch(self._compiled.text, *self._compiled.arguments(values))
        except TimeoutError as error:
            raise LookupFailed("no answer in time", slow=True) from error
        except asyncpg.QueryCanceledError as error:
            raise LookupFailed(str(error), slow=True) from error
        except asyncpg.PostgresConnectionError as error:
            raise LookupFailed(str(error)) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LookupFailed(str(error), refused=True) from error
        except OSError as error:
            raise LookupFailed(str(error)) from error
        return [dict(row) for row in rows]

    async def _connect(self) -> Pool:
        async with self._connecting:
            if self._pool is None:
                self._pool = await create_pool(self._url, self._connections, self._session, server="any")
            return self._pool

    async def close(self) -> None:
        """See `Lookup`."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
