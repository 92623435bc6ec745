"""What protects registers: leaving one alone that fails, and bounding what one link may ask.

In charge of: a breaker and a budget, both without a clock of their own. Not in charge of: asking (`affiliations.py`).

Theory of the breaker. CLOSED counts answers and failures in windows of `window_s`; when a window holds enough of both
and half of them failed, it is OPEN and nobody asks for `rest_s`. Then it is HALF_OPEN: one question alone may try, and
its end decides.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

__all__ = ["TRANSITIONS", "Breaker", "BreakerState", "Budget"]


class BreakerState(Enum):
    """Whether questions pass."""

    CLOSED = "questions pass"
    OPEN = "nobody asks"
    HALF_OPEN = "one question tries"


#: from -> the states it may go to.
TRANSITIONS: dict[BreakerState, frozenset[BreakerState]] = {
    BreakerState.CLOSED: frozenset({BreakerState.OPEN}),
    BreakerState.OPEN: frozenset({BreakerState.HALF_OPEN}),
    BreakerState.HALF_OPEN: frozenset({BreakerState.CLOSED, BreakerState.OPEN}),
}


class Breaker:
    """One register's breaker. Times are monotonic seconds."""

    __slots__ = (
        "state",
        "_monotonic",
        "_share",
        "_least",
        "_window",
        "_rest",
        "_since",
        "_good",
        "_bad",
        "_probing",
        "_changed",
    )

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        share: float = 0.5,
        least: int = 10,
        window_s: float = 10.0,
        rest_s: float = 5.0,
        changed: Callable[[BreakerState], None] = lambda state: None,
    ) -> None:
        """`share` of failures that opens it; `least` questions in a window before it may."""
        self.state = BreakerState.CLOSED
        self._monotonic = monotonic
        self._share = share
        self._least = least
        self._window = window_s
        self._rest = rest_s
        self._since = monotonic()
        self._good = self._bad = 0
        self._probing = False
        self._changed = changed

    def allows(self) -> bool:
        """Whether to ask now. Who is allowed to must report the end."""
        now = self._monotonic()
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN and now - self._since >= self._rest:
            self._move(BreakerState.HALF_OPEN)
        if self.state is BreakerState.HALF_OPEN and not self._probing:
            self._probing = True
            return True
        return False

    def report(self, ok: bool | None) -> None:
        """A question that was allowed ended: well, badly, or (None) without saying anything about the register."""
        now = self._monotonic()
        if self.state is BreakerState.HALF_OPEN:
            self._probing = False
            if ok is not None:
                self._move(BreakerState.CLOSED if ok else BreakerState.OPEN)
            return
        if self.state is BreakerState.OPEN or ok is None:
            return
        if now - self._since >= self._window:
            self._since, self._good, self._bad = now, 0, 0
        if ok:
            self._good += 1
        else:
            self._bad += 1
            asked = self._good + self._bad
            if asked >= self._least and self._bad >= self._share * asked:
                self._move(BreakerState.OPEN)

    def _move(self, to: BreakerState) -> None:
        assert to in TRANSITIONS[self.state], (self.state, to)
        self.state = to
        self._since, self._good, self._bad, self._probing = self._monotonic(), 0, 0, False
        self._changed(to)


class Budget:
    """Questions that one link may cause: so many a second, and a burst.

    Kept as the time at which the burst would be whole again: no refill, no rounding.
    """

    __slots__ = ("_interval", "_burst", "_whole_at")

    def __init__(self, rate: float, burst: int) -> None:
        """`rate` a second, above 0; `burst` at least 1."""
        if rate <= 0 or burst < 1:
            raise ValueError("a budget needs a rate above 0 and room for one question")
        self._interval = 1.0 / rate
        self._burst = burst * self._interval
        self._whole_at = float("-inf")

    def take(self, now: float) -> bool:
        """Take one, if there is one. `now`: monotonic seconds."""
        whole_at = max(self._whole_at, now) + self._interval
        if whole_at - now > self._burst * (1 + 1e-9):
            return False
        self._whole_at = whole_at
        return True
