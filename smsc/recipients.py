"""What is known of recipients that could not be reached.

In charge of: cause, since when, next try, per recipient; the writes that keep it durable; whom to wake when an outlet
comes back. Not in charge of: attempts (`attempts.py`). Source: behaviour.md 5.

Theory: a recipient is *silent* from its first failed attempt that may pass until the next success. Only silent ones
are remembered, in memory within a bound and in the `recipient` table without one; the table is the truth, the memory
saves a useless delete per success. A handset's retry clock is kept here too, whatever the cause, because its waiting
messages may all be in the database when the next one comes in, and after a restart they all are (behaviour.md 2).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ..outlet import ErrorClass, Write
from ..store.store import Store
from .tables import ALL_SILENT, FORGET, REMEMBER, SILENT_BEHIND, STOP_CLOCK

__all__ = ["Recipients", "Silence"]

#: Silent recipients kept in memory; about 200 octets each.
REMEMBERED = 100_000

#: Recipients woken at a time when an outlet comes back; the next ones when these were taken up.
WOKEN_AT_ONCE = 1000

#: Before the first who waits behind an outlet: (since, number).
LONGEST = (-1, "")

_REACHABLE_LATER = frozenset({ErrorClass.ABSENT, ErrorClass.BUSY, ErrorClass.MEMORY_FULL})


@dataclass(slots=True)
class Silence:
    """Why a recipient is not reachable now."""

    cause: str
    since: int  #: UTC epoch milliseconds
    next_try: int
    failures: int
    outlet: str


class Recipients:
    """The silent recipients of one node."""

    def __init__(self, store: Store) -> None:
        """`store` is asked only when an outlet comes back."""
        self._store = store
        self._silent: OrderedDict[str, Silence] = OrderedDict()
        self._forgotten_some = False  # true once the bound dropped an entry: then absence proves nothing

    async def open(self) -> None:
        """Read what an earlier life remembered."""
        rows = await self._store.fetch(ALL_SILENT, limit=REMEMBERED)
        for row in rows:
            self._silent[row["number"]] = Silence(
                row["cause"], row["since"], row["next_try"], row["failures"], row["outlet"]
            )
        self._forgotten_some = len(rows) == REMEMBERED

    def failed(
        self, number: str, error: ErrorClass, *, at: int, next_try: int, outlet: str, handset: bool
    ) -> tuple[Write, ...]:
        """Note a failure; the writes belong into the change that records the attempt. `next_try`: 0 if none follows."""
        if error not in _REACHABLE_LATER and not (handset and next_try):
            return ()
        silence = self._silent.pop(number, None)
        if silence is None:
            silence = Silence(error, at, next_try, 1, outlet)
        else:
            silence.cause, silence.next_try, silence.outlet = error, next_try, outlet
            silence.failures += 1
        self._silent[number] = silence
        if len(self._silent) > REMEMBERED:
            self._silent.popitem(last=False)
            self._forgotten_some = True
        row = {
            "number": number,
            "cause": str(error),
            "since": silence.since,
            "next_try": next_try,
            "failures": min(silence.failures, 32_767),
            "outlet": outlet,
            "alert_wanted": int(error in (ErrorClass.ABSENT, ErrorClass.MEMORY_FULL)),
        }
        return (Write(REMEMBER, row),)

    def reached(self, number: str, *, retried: bool) -> tuple[Write, ...]:
        """Note a success; `retried`: this message had failed before, so a row may exist that memory does not know."""
        known = self._silent.pop(number, None)
        if known is None and not (retried or self._forgotten_some):
            return ()
        return (Write(FORGET, {"number": number}),)

    def held_until(self, number: str) -> int:
        """A handset's retry clock: nothing for it starts before; 0 if it has none."""
        silence = self._silent.get(number)
        return silence.next_try if silence is not None else 0

    def woken(self, number: str) -> None:
        """Its clock does not count any more: it was seen, or an outlet that leads to it came back."""
        silence = self._silent.get(number)
        if silence is not None:
            silence.next_try = 0

    def clock_stopped(self, number: str) -> tuple[Write, ...]:
        """For the change that gives a message to another node: who was woken here is not held back there."""
        silence = self._silent.get(number)
        return (Write(STOP_CLOCK, {"woken": number}),) if silence is not None and not silence.next_try else ()

    def learn(self, number: str, silence: Silence | None) -> None:
        """Take over what another node found out; None: the recipient was reached."""
        known = self._silent.get(number)
        if silence is None:
            if known is not None:
                known.next_try = 0  # the row is gone; a success here still clears what is left
        elif known is None or known.failures < silence.failures or not silence.next_try:
            self._silent[number] = silence
            if len(self._silent) > REMEMBERED:
                self._silent.popitem(last=False)
                self._forgotten_some = True

    def is_silent(self, number: str) -> bool:
        """True if its last attempt is known to have failed."""
        return number in self._silent

    def silence(self, number: str) -> Silence | None:
        """What is remembered here of a recipient."""
        return self._silent.get(number)

    async def behind(
        self, outlet: str, *, until: int, after: tuple[int, str] = LONGEST
    ) -> list[tuple[int, str]]:
        """Recipients last tried at an outlet and silent since `until` or before, as (since, number): the next ones
        `after` one of them, longest silence first."""
        rows = await self._store.fetch(
            SILENT_BEHIND, outlet=outlet, until=until, since=after[0], number=after[1], limit=WOKEN_AT_ONCE
        )
        return [(int(row["since"]), str(row["number"])) for row in rows]
