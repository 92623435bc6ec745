"""Work that comes again by the clock.

In charge of: doing a room's chores again and again, and ending them with the room. Not in charge of: what a chore does.

How it fails: a chore raises -> it is logged and counted, and the next round tries again, whatever was wrong; the store
is closed for good -> the chore ends. What a chore should have done must therefore be found by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from ..metrics import counter
from .store import StoreClosed

__all__ = ["Chores", "every"]

_log = structlog.get_logger(__name__)

_failures = counter("chores", "failures", "Rounds of chores that failed", ("chore",))


async def every(
    seconds: float, work: Callable[[], Awaitable[object]], name: str, *, at_once: bool = True
) -> None:
    """Do `work`, rest for so many seconds, and so on until cancelled; unless `at_once`, rest first."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
        except StoreClosed:
            return
        except Exception as error:  # the next round tries again
            _failures.labels(name).inc()
            _log.warning("chore-failed", chore=name, error=repr(error))
        await asyncio.sleep(seconds)


class Chores:
    """The tasks of one room beside the messages."""

    def __init__(self) -> None:
        """None run yet."""
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, work: Coroutine[None, None, None], name: str) -> None:
        """Let a task run that ends by itself or with `close`."""
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def every(self, seconds: float, work: Callable[[], Awaitable[object]], name: str) -> None:
        """See `every`."""
        self.begin(every(seconds, work, name), name)

    async def close(self) -> None:
        """End them all; returns when they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
