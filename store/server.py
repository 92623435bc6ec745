"""The part of asyncpg that the store uses, with types.

In charge of: opening connections and pools with the session settings they need. Not in charge of: what is sent over
them (`postgresql.py`, `partitions.py`). asyncpg itself is not annotated.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg

__all__ = ["CONNECT_S", "Connection", "Pool", "connect", "create_pool"]

#: Seconds to wait for a connection.
CONNECT_S = 5


class Connection(Protocol):
    """An asyncpg connection, its own or borrowed from a pool."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str: ...
    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None: ...
    async def fetch(
        self, query: str, *args: object, timeout: float | None = None
    ) -> list[Mapping[str, Any]]: ...
    async def fetchrow(self, query: str, *args: object) -> Mapping[str, Any] | None: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...
    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str: ...
    async def add_listener(self, channel: str, callback: Callable[[object, int, str, str], None]) -> None: ...
    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False
    ) -> AbstractAsyncContextManager[object]: ...
    def cursor(self, query: str, *args: object, prefetch: int) -> AsyncIterable[Mapping[str, Any]]: ...
    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    async def close(self, *, timeout: float | None = None) -> None: ...


class Pool(Protocol):
    """An asyncpg pool."""

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class _Kept(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is not annotated
    """A connection whose session settings stay as they are when it goes back to its pool."""

    def get_reset_query(self) -> str:
        return ""


async def connect(url: str, session_settings: Mapping[str, str]) -> Connection:
    """A connection to the server that takes writes; several hosts in the URL are tried in turn."""
    made = await asyncpg.connect(  # type: ignore[reportUnknownMemberType]  # asyncpg has no annotations
        url, timeout=CONNECT_S, target_session_attrs="primary", server_settings=dict(session_settings)
    )
    return cast(Connection, made)


async def create_pool(
    url: str, most: int, session_settings: Mapping[str, str], *, server: str = "primary"
) -> Pool:
    """A pool of one to `most` connections to the server that takes writes, or to "any"."""
    made = await asyncpg.create_pool(  # type: ignore[reportUnknownMemberType]  # asyncpg has no annotations
        url,
        min_size=1,
        max_size=most,
        timeout=CONNECT_S,
        connection_class=_Kept,
        target_session_attrs=server,
        server_settings=dict(session_settings),
    )
    return cast(Pool, made)
