"""How much an account may submit.

In charge of: the rate of an account over all its binds on this node. Not in charge of: how the nodes share it
(`shares.py`), how many requests a bind may have unanswered
(`smpp/session.py` counts its window), or what the center as a whole can take (the store says).

Theory. A token bucket holds `burst` tokens and gains `rate` a second; a message takes one. It is kept as one integer,
the *theoretical arrival time*: when the bucket would be full again if nothing came any more. A message fits if that
time is at most (burst - 1) intervals ahead. There is no refill loop, no division and no rounding error per message.

A part of a multipart message after its first one is never refused for coming right behind it: it may take tokens
that are not there yet, as many as a message has parts. Whoever calls every message a "part" gains that once; the
debt is paid before the next message that is none, and parts stop as well at its end: in the long run the rate holds.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..access.accounts import Account

__all__ = ["MAX_PARTS", "Throttle", "Throttles", "TokenBucket"]

MAX_PARTS = 255  #: of one message: the part count is one octet (3GPP TS 23.040 §9.2.3.24.1)

_NS = 1_000_000_000  #: nanoseconds in a second


class TokenBucket:
    """One rate. Times are integer nanoseconds of a monotonic clock (`time.monotonic_ns()`), passed in."""

    __slots__ = ("_interval", "_full_at", "_tolerance", "_parts_tolerance")

    def __init__(self, rate: float, burst: int) -> None:
        """`rate`: tokens a second, above 0; `burst`: tokens it holds, at least 1."""
        if rate <= 0 or burst < 1:
            raise ValueError("a bucket needs a rate above 0 and room for one token")
        self._interval = max(1, round(_NS / rate))
        self._tolerance = (burst - 1) * self._interval
        self._parts_tolerance = self._tolerance + MAX_PARTS * self._interval
        self._full_at = 0

    def take(self, now: int, continuing: bool = False) -> int:
        """Take a token: 0 if there was one, else the nanoseconds after which there will be (nothing is taken).

        `continuing`: the message is part two or later of a multipart message.
        """
        full_at = self._full_at
        if full_at <= now:
            self._full_at = now + self._interval
            return 0
        wait = full_at - now - (self._parts_tolerance if continuing else self._tolerance)
        if wait > 0:
            # A debt that this bucket never gave comes from a slower one: it counts as empty, not as worse.
            if full_at - now > self._parts_tolerance + self._interval:
                self._full_at = now + self._tolerance + self._interval
                return self._interval
            return wait
        self._full_at = full_at + self._interval
        return 0

    def used(self, now: int) -> float:
        """How much of the bucket is gone: 0 when full, 1 when the next message would be refused."""
        return min(max(self._full_at - now, 0) / (self._tolerance + self._interval), 1.0)

    def adopt(self, other: TokenBucket) -> None:
        """Take over what `other` gave out: an edited limit is no fresh start, and an old debt no longer sentence than
        an empty bucket."""
        self._full_at = other._full_at


class Throttle:
    """The limit of one account, shared by all its binds and its HTTP calls on this node."""

    __slots__ = ("_bucket", "_rate", "_share", "asked")

    def __init__(self, throughput: float | None, burst: int) -> None:
        """`throughput`: messages a second; None: unlimited."""
        self._rate = (throughput, burst)
        self._share = 1.0
        self._bucket = None if throughput is None else TokenBucket(throughput, burst)
        self.asked = 0  #: messages it was asked for since `Throttles.demand`, if it has a limit

    def take(self, now: int, continuing: bool = False) -> int:
        """Ask for one message at `now` (monotonic ns): 0: go on, else wait so many ns (ESME_RTHROTTLED)."""
        bucket = self._bucket
        if bucket is None:
            return 0
        self.asked += 1
        return bucket.take(now, continuing)

    def used(self, now: int) -> float:
        """How much of the burst is used up at `now`: 0 to 1; 0 without a limit."""
        return 0.0 if self._bucket is None else self._bucket.used(now)

    def change(self, throughput: float | None, burst: int) -> None:
        """Follow an edit of the account. What was taken stays taken."""
        if (throughput, burst) != self._rate:
            self._rate = (throughput, burst)
            self._renew()

    def use_share(self, share: float) -> None:
        """Give out this part of the account's limit: other nodes give out the rest (`shares.py`)."""
        if share != self._share:
            self._share = share
            self._renew()

    def _renew(self) -> None:
        before, (throughput, burst) = self._bucket, self._rate
        share = self._share
        self._bucket = (
            None if throughput is None else TokenBucket(throughput * share, max(1, round(burst * share)))
        )
        if before is not None and self._bucket is not None:
            self._bucket.adopt(before)


class Throttles:
    """The throttles of all accounts. Lives on the event loop."""

    __slots__ = ("_by_account",)

    def __init__(self) -> None:
        """No account has sent anything yet."""
        self._by_account: dict[int, Throttle] = {}

    def of(self, account: Account) -> Throttle:
        """The account's throttle: always the same one, brought up to the account's present settings."""
        throttle = self._by_account.get(account.number)
        if throttle is None:
            throttle = self._by_account[account.number] = Throttle(account.throughput, account.burst)
        else:
            throttle.change(account.throughput, account.burst)
        return throttle

    def demand(self) -> dict[int, int]:
        """Messages that accounts with a limit asked for since this was called last, by account number."""
        found: dict[int, int] = {}
        for number, throttle in self._by_account.items():
            if throttle.asked:
                found[number], throttle.asked = throttle.asked, 0
        return found

    def use_share(self, number: int, share: float) -> None:
        """See `Throttle.use_share`."""
        throttle = self._by_account.get(number)
        if throttle is not None:
            throttle.use_share(share)

    def known(self) -> Iterable[int]:
        """Accounts that asked here at any time."""
        return self._by_account

    def forget(self, number: int) -> None:
        """Drop a deleted account's."""
        self._by_account.pop(number, None)
