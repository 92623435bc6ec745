"""Who may try to enter how often.

In charge of: making guessing slow without letting anybody lock others out. Not in charge of: whether a secret is right
(`credentials.py`).

Theory. Failures count for a *pair* of where somebody comes from and whom they claim to be. So failures from one address
never delay the same name from another, and there is no lock to trigger from afar. After a few free tries each
further one must wait: one second, then two, four, … up to the longest delay. Tries get their turn when they come, so
that a hundred at once are spread out as well; one whose turn is too far off is refused. A success clears the pair.
Beside that, an address as a whole may fail only so often: a wide cap, against trying one password on many names. It
does not touch pairs that have succeeded before. An IPv6 address stands for its /64, which is one customer.

All in memory and bounded: it forgets the pairs that were quiet longest.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AttemptSettings", "Attempts", "network_of"]


class AttemptSettings(BaseModel):
    """How hard guessing is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    free_failures: int = Field(default=5, ge=1, le=100, description="failures before delays begin")
    first_delay_s: float = Field(default=1.0, gt=0, le=60, description="seconds; doubles with each failure")
    longest_delay_s: float = Field(
        default=30.0, gt=0, le=600, description="seconds; also the longest a try waits for its turn"
    )
    forget_after_s: float = Field(
        default=900.0, gt=0, description="seconds without a failure that clear a pair"
    )
    address_failures: int = Field(
        default=500, ge=10, description="failures of one address within forget_after_s, over all names"
    )
    pairs: int = Field(default=20_000, ge=100, description="pairs and addresses that are remembered")


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, an IPv6 /64; anything else as it is."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


@dataclass(slots=True)
class _Pair:
    """What is known of one address and name."""

    failures: int = 0  # tries under way count until they succeed
    next_at: float = 0.0  # when the next try may be made
    last_at: float = 0.0
    welcome: bool = False  # has succeeded before


@dataclass(slots=True)
class _Place:
    """What is known of one address: failures, running out over `forget_after_s`."""

    level: float = 0.0
    at: float = 0.0


class Attempts:
    """Counts tries. Lives on the event loop."""

    def __init__(self, settings: AttemptSettings, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds."""
        self._settings = settings
        self._monotonic = monotonic
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def begin(self, place: str, name: str) -> float | None:
        """Ask for a try: seconds to wait before it is made, or None: refused. For the pair it counts as failed until
        `succeeded`."""
        settings = self._settings
        now = self._monotonic()
        if self.is_barred(place, name):
            return None
        pair = self._pair(place, name, now)
        turn = max(now, pair.next_at)
        if turn - now > settings.longest_delay_s:
            return None
        pair.failures += 1
        pair.last_at = turn
        over = pair.failures - settings.free_failures
        if over >= 0:
            pair.next_at = turn + min(settings.longest_delay_s, settings.first_delay_s * 2.0 ** min(over, 30))
        return turn - now

    def is_barred(self, place: str, name: str) -> bool:
        """True if the address has failed too often over all names. To be asked again when the turn has come: many tries
        may have begun before the first of them failed."""
        now = self._monotonic()
        return (
            self._level(place, now) >= self._settings.address_failures
            and not self._pair(place, name, now).welcome
        )

    def failed(self, place: str) -> None:
        """A try was wrong: it counts for the address."""
        self._level(place, self._monotonic())
        self._places[place].level += 1

    def succeeded(self, place: str, name: str) -> None:
        """The last try was right: the pair starts anew."""
        now = self._monotonic()
        pair = self._pair(place, name, now)
        pair.failures, pair.next_at, pair.welcome = 0, 0.0, True

    def _pair(self, place: str, name: str, now: float) -> _Pair:
        key = (place, name)
        pair = self._pairs.get(key)
        if pair is None:
            pair = self._pairs[key] = _Pair()
            if len(self._pairs) > self._settings.pairs:
                self._pairs.popitem(last=False)
        else:
            self._pairs.move_to_end(key)
            if pair.failures and now - pair.last_at > self._settings.forget_after_s:
                pair.failures, pair.next_at = 0, 0.0
        return pair

    def _level(self, place: str, now: float) -> float:
        known = self._places.get(place)
        if known is None:
            known = self._places[place] = _Place(at=now)
            if len(self._places) > self._settings.pairs:
                self._places.popitem(last=False)
        else:
            self._places.move_to_end(place)
            gone = (now - known.at) / self._settings.forget_after_s * self._settings.address_failures
            known.level, known.at = max(0.0, known.level - gone), now
        return known.level
