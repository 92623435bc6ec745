"""Event streams: who may open one, what wakes it, and what ends it.

In charge of: the number of streams, waiting until something happens, and ending every stream when the center stops or
its session is revoked, so that SIGTERM is quick (a stream left open would hold the server). Not in charge of: what is
sent (the routes) or the wire format (`fastapi.sse`, which also sends a comment every 15 s).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from .problems import Problem

__all__ = ["Live", "Stream"]


class Stream:
    """One open stream."""

    def __init__(self, ends: Iterable[asyncio.Event]) -> None:
        self._ends = tuple(ends)
        self.woken = asyncio.Event()  #: set it when there may be something to send

    @property
    def over(self) -> bool:
        """True when the stream must end."""
        return any(end.is_set() for end in self._ends)

    async def wait(self, seconds: float) -> None:
        """Until it is woken, it must end, or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in (*self._ends, self.woken)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        self.woken.clear()


class Live:
    """The streams of one process."""

    def __init__(self, *, at_most: int, per_owner: int) -> None:
        self.stop = asyncio.Event()  #: set by the app's shutdown: every stream ends
        self._at_most = at_most
        self._per_owner = per_owner
        self._open: Counter[str] = Counter()

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._open.total()

    def admit(self, owner: str) -> None:
        """Refuse a stream too many, before the response has begun."""
        if self._open.total() >= self._at_most or self._open[owner] >= self._per_owner:
            raise Problem("too-many-streams", headers={"Retry-After": "10"})

    @contextmanager
    def open(self, owner: str, *ends: asyncio.Event) -> Generator[Stream]:
        """Count a stream while it is open; it also ends when one of `ends` is set."""
        self._open[owner] += 1
        try:
            yield Stream((self.stop, *ends))
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
