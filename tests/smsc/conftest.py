"""Fixtures of the message path's tests.

In charge of: running a coroutine over a fresh path, in memory or on each database. The path itself
stands in `tests/plugins/message_path.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from memory_store import MemoryStore, SteppedClock
from message_path import Path, make_path
from store_tools import settings

from restante.store.connect import connect


@pytest.fixture
def on_path() -> Callable[..., None]:
    """`on_path(test, **settings)` runs `await test(path)` on a path over a store in memory."""

    def run(test: Callable[[Path], Awaitable[None]], **settings: Any) -> None:
        async def main() -> None:
            clock = SteppedClock()
            store = MemoryStore(clock=clock)
            await store.open()
            path = await make_path(store, clock, **settings)
            await test(path)
            await path.screening.close()
            await store.close()

        asyncio.run(main())

    return run


@pytest.fixture
def on_stores(store_url: str) -> Callable[..., None]:
    """`on_stores(test, **settings)` runs `await test(path)` on a path over SQLite, and in another test PostgreSQL."""

    def run(test: Callable[[Path], Awaitable[None]], **more: Any) -> None:
        async def main() -> None:
            clock = SteppedClock()
            # The lease counts real seconds, and tests step days.
            lease = settings(store_url, node_name="one", heartbeat_s=60.0, dead_after_s=600.0)
            store = connect(lease, clock=clock)
            await store.open()
            try:
                path = await make_path(store, clock, **more)
                await test(path)
                await path.screening.close()
            finally:
                await store.close()

        asyncio.run(main())

    return run
