"""When to try a lost link again.

In charge of: pauses that grow, with jitter, so that a hundred nodes do not come back at the same instant. Not in charge
of: connecting, or of waiting (the link does both).
"""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """The pauses of one link."""

    __slots__ = ("_first", "_most", "_jitter", "_random", "_next")

    def __init__(
        self,
        first_s: float = 0.2,
        most_s: float = 10.0,
        *,
        jitter: float = 0.3,
        rng: random.Random | None = None,
    ) -> None:
        """`jitter`: share of a pause by which it may be longer or shorter."""
        self._first = first_s
        self._most = most_s
        self._jitter = jitter
        self._random = rng or random.Random()
        self._next = first_s

    def pause(self) -> float:
        """Seconds to wait now; the next time it is twice as long, up to the most."""
        pause = self._next
        self._next = min(self._most, pause * 2)
        return pause * (1 + self._jitter * (2 * self._random.random() - 1))

    def reset(self) -> None:
        """The link is up and works."""
        self._next = self._first
