"""Fixtures of the message path's tests.

In charge of: running a coroutine over a fresh path. The path itself stands in `tests/plugins/message_path.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from memory_store import MemoryStore, SteppedClock
from message_path import Path, make_path


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
