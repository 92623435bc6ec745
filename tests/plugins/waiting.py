"""Waiting for something to become true.

In charge of the only sleeps that tests may have: they poll a condition and give up at a deadline that is
generous, because a loaded machine is slow and not wrong. Whatever can be stepped (the center's `Clock`, a sans-IO
session) is stepped instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS = 30.0
PAUSE = 0.01


def eventually(condition: Callable[[], T], what: str = "", seconds: float = SECONDS) -> T:
    """Ask until the answer is true and return it; fail after `seconds`, saying what was waited for."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(PAUSE)
    return answer


async def soon(condition: Callable[[], Awaitable[T]], what: str = "", seconds: float = SECONDS) -> T:
    """The same on an event loop, for a condition that is a coroutine function."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        await asyncio.sleep(PAUSE)
    return answer


async def soon_true(condition: Callable[[], T], what: str = "", seconds: float = SECONDS) -> T:
    """The same on an event loop, for a plain function: other tasks go on in between."""

    async def asked() -> T:
        return condition()

    return await soon(asked, what, seconds)
