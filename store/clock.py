"""The one clock of the center.

In charge of: UTC epoch milliseconds that never go back, from the database's time as measured at heartbeats plus what
the monotonic clock has counted since. Not in charge of: when heartbeats happen (`nodes.py`).

Several nodes on one database agree on the time this way, whatever their own clocks say. When the database's time is
found to be behind what was already handed out, the clock does not stop: it runs at half speed until the two meet, so
that due times still come.

Source: behaviour.md 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

__all__ = ["Clock", "DatabaseClock", "boot_ns"]


#: Nanoseconds that go on while the machine sleeps: what liveness is judged by. No function of ours, because it is asked
#: some twenty times a message.
boot_ns: Callable[[], int] = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)


class Clock(Protocol):
    """What rooms are given. Tests give a clock that they step."""

    def now_ms(self) -> int:
        """UTC epoch milliseconds; never less than an earlier answer."""
        ...

    def measured(self, database_ms: int) -> None:
        """Hear what the database's clock says now."""
        ...


class DatabaseClock:
    """The clock of a running center."""

    __slots__ = ("_anchor_ms", "_anchor_ns", "_behind_ms", "_last", "_same_until", "_tick")

    def __init__(self, start_ms: int | None = None, tick: Callable[[], int] = boot_ns) -> None:
        """`start_ms`: time until the first measurement; `tick`: monotonic nanoseconds."""
        self._tick = tick
        self._anchor_ns = tick()
        self._anchor_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms
        self._behind_ms = 0  # how far the database's time was behind ours at the anchor
        self._last = self._anchor_ms
        self._same_until = 0  # tick at which this millisecond ends: most who ask do so within the same one

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        tick = self._tick()
        if tick < self._same_until:
            return self._last
        elapsed = (tick - self._anchor_ns) // 1_000_000
        self._same_until = self._anchor_ns + (elapsed + 1) * 1_000_000
        if self._behind_ms:
            # Half speed, until the lead is used up.
            elapsed -= min(elapsed // 2, self._behind_ms)
        now = self._anchor_ms + elapsed
        if now > self._last:
            self._last = now
        return self._last

    def measured(self, database_ms: int) -> None:
        """See `Clock.measured`: ahead of us is believed at once, behind us is approached slowly."""
        now = self.now_ms()
        self._anchor_ns = self._tick()
        self._same_until = 0
        if database_ms >= now:
            self._anchor_ms, self._behind_ms = database_ms, 0
        else:
            self._anchor_ms, self._behind_ms = now, now - database_ms
