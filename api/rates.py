"""How many requests somebody may make.

In charge of: counting requests in fixed windows, in memory, and the RateLimit headers
(draft-ietf-httpapi-ratelimit-headers-11, in this one module because it is a draft). Not in charge of: who somebody is
(`entrance.py`), or how many messages an account may submit (`smsc/limits.py`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["WINDOW_S", "Rate", "Rates"]

WINDOW_S = 60
KEPT = 100_000  #: counters in memory; the oldest are forgotten


@dataclass(frozen=True, slots=True)
class Rate:
    """Where somebody stands."""

    quota: int
    left: int  #: below 0: too many
    reset_s: int

    @property
    def exceeded(self) -> bool:
        """True if this request is one too many."""
        return self.left < 0

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """As the client is told."""
        return (
            (b"ratelimit-policy", b'"default";q=%d;w=%d' % (self.quota, WINDOW_S)),
            (b"ratelimit", b'"default";r=%d;t=%d' % (max(0, self.left), self.reset_s)),
        )


class Rates:
    """The counters of one process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._windows: OrderedDict[str, list[float]] = OrderedDict()  # who -> [end, requests]

    def take(self, who: str, quota: int) -> Rate:
        """Count one request of somebody."""
        now = self._monotonic()
        window = self._windows.get(who)
        if window is None or window[0] <= now:
            self._windows.pop(who, None)
            window = self._windows[who] = [now + WINDOW_S, 0]
            if len(self._windows) > KEPT:
                self._windows.popitem(last=False)
        window[1] += 1
        return Rate(quota, quota - int(window[1]), int(window[0] - now) + 1)
