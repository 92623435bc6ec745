"""Letting held messages go when their subscriber comes home.

In charge of: looking at each new fix of a subscriber with a policy, and having what a check holds for it judged
again, in order, when it is inside now. Not in charge of: the judgement of messages (`check.py`), which is made again
from the fix, or the queue (`smsc/delivery.py`).

Only what is held is let go. A message that a policy blocks unnoticed (`QueueReason.BLOCKED`) keeps its own times: if
it came with the fix, its sender would see when somebody comes home. It is judged again at its next attempt, as every
message for somebody who seems to be away.

Held rows belong to nobody; what is done here is to make them due. They fall due all at the same time, so that they
are taken up by id, in the order in which they came. Whatever is missed (a node dies, the database is away) is found
at the policy's next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ..message import Event, EventKind, id_at
from ..outlet import Write
from ..store.store import Answer, QueueReason, Store, StoreClosed
from . import tables
from .check import ZoneCheck
from .decision import Given, look
from .fix import Fix, Sighting
from .locations import Locations
from .policy import OnOutside, OnUnknown, Policy, Role, Truth
from .rules import Party, Rules, is_locatable
from .settings import ZonesSettings

__all__ = ["Holds"]

log = structlog.get_logger(__name__)

CHUNK = 500  #: rows made due together
#: Held messages of a sender are looked for so far back; the longest validity period.
LONGEST_MS = 31 * 86_400_000
#: On a database that nodes share, another one may take the rows up, and must have heard of the fix by then.
SHARED_DELAY_MS = 1_500


class Holds:
    """What waits for people to come home, on one node."""

    def __init__(
        self,
        *,
        store: Store,
        settings: ZonesSettings,
        rules: Callable[[], Rules],
        check: ZoneCheck,
        locations: Locations,
        shared: bool = False,
    ) -> None:
        """`shared`: other nodes work on the same database."""
        self._store = store
        self._settings = settings
        self._rules = rules
        self._check = check
        self._locations = locations
        self._delay_ms = SHARED_DELAY_MS if shared else 0
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    def seen(self, fix: Fix) -> None:
        """A new fix: `Locations.on_fix`."""
        if not is_locatable(fix.number):
            return
        now = self._store.clock.now_ms()
        policies: dict[int, Policy] = {}
        grants = self._rules().grants(fix.number, now)
        for grant in grants:
            policies.setdefault(grant.policy.number, grant.policy)
        release = home = False
        for policy in policies.values():
            mine = [grant for grant in grants if grant.policy is policy]
            party = Party(Role.RECIPIENT, fix.number, mine, True)
            last = self._check.last_of(fix.number, policy.number)
            given = Given(
                at=now,
                submitted_at=now,
                sightings={Role.RECIPIENT: Sighting(fix)},
                last={Role.RECIPIENT: last} if last is not None else {},
                floors_m=self._locations.floors_m,
                home_plmns=self._settings.home_plmns,
            )
            found = look(party, policy.model, given)
            if found.truth in (Truth.IN, Truth.OUT):
                self._check.noted(fix.number, policy.number, found.truth, now)
                # A message held because nobody knew must be judged again whatever the answer is.
                home = home or found.truth is Truth.IN
                release = release or (found.truth is Truth.IN and holds(policy)) or waits(policy)
        if release or home:
            self._check.forget_parts(fix.number)
        if release:
            self._begin(fix.number)

    def _begin(self, number: str) -> None:
        if number in self._under_way:
            self._again.add(number)  # what was held since the question was asked
            return
        task = asyncio.get_running_loop().create_task(self._release(number))
        self._under_way[number] = task

    async def _release(self, number: str) -> None:
        try:
            await self.release(number)
        except StoreClosed:
            return
        except Exception as error:  # found at the next look
            log.warning("zones.release-failed", error=type(error).__name__)
        finally:
            self._under_way.pop(number, None)
            if number in self._again:
                self._again.discard(number)
                self._begin(number)

    async def release(self, number: str) -> int:
        """Have everything judged again that is held for or from a number; how many messages."""
        now = self._store.clock.now_ms()
        known = {"number": number, "reason": QueueReason.HELD, "limit": 100_000}
        ids = {int(row["id"]) for row in await self._store.fetch(tables.HELD_FOR, **known)}
        after = id_at(max(0, now - LONGEST_MS))
        ids |= {int(row["id"]) for row in await self._store.fetch(tables.HELD_FROM, after=after, **known)}
        ordered = sorted(ids)
        for start in range(0, len(ordered), CHUNK):
            chunk = ordered[start : start + CHUNK]
            params: dict[str, object] = {
                "ids": chunk,
                "held": QueueReason.HELD,
                "due_at": now + self._delay_ms,
            }
            events = [
                Event(id, now, EventKind.NOTE, reason="zones-judged-again", node=self._store.node)
                for id in chunk
            ]
            answer = await self._store.apply(events=events, writes=[Write(tables.HASTEN, params)])
            if answer is not Answer.STORED:
                raise OSError(f"the store answered {answer.value}")
        return len(ordered)

    async def close(self) -> None:
        """Stop; what was not made due is found at its next look."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def holds(policy: Policy) -> bool:
    """Whether a policy makes messages wait for somebody to come home."""
    return policy.model.on_outside in (OnOutside.HOLD, OnOutside.HOLD_AND_OFFER)


def waits(policy: Policy) -> bool:
    """Whether a policy makes messages wait for a location."""
    return policy.model.on_unknown is OnUnknown.HOLD
