"""Who serves a subscriber, at the price of a dictionary look-up: what registers said, remembered and kept honest.

In charge of: remembering answers for as long as they are good, one question at a time per subscriber, deadlines, the
breaker of the register, the budget of each link, what was learned on the way, and who served a subscriber before. Not
in charge of: registers themselves (`registers.py` and others), or judging (`antispoof/`).

Theory. An answer is good for its time to live, less or more by a jitter, so that what was learned together is not
forgotten together; negative answers and failures are remembered too, for shorter. An answer that is no longer good is
kept for an hour: it still tells who served the subscriber before, and when nobody can be asked it is given out
as *stale*, which may acquit and must never accuse. Switches that change between two answers are noted with the
time at which we saw it; the grace window of the policy is counted from there.

`current` and `peek` answer from memory without suspending. `find` asks if it must; all who ask about one subscriber at
the same time wait for one question, each within its own deadline, while the question goes on for the next. A question
that must be *fresh* does not join one that was asked before it, except another fresh one.

How it fails: RegisterUnavailable, and nothing else, whatever a register does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import NamedTuple

import structlog
from pydantic import BaseModel, ConfigDict, Field

from ..metrics import counter, gauge, histogram
from .breaker import Breaker, BreakerState, Budget
from .registers import (
    Affiliation,
    AffiliationProvider,
    RegisterUnavailable,
    ServedBy,
    Status,
    Who,
)

__all__ = ["AffiliationSettings", "Affiliations", "Found"]

log = structlog.get_logger(__name__)

_asked = counter("signaling", "register_lookups", "Questions to registers, by outcome", ("source", "outcome"))
_seconds = histogram("signaling", "register_seconds", "Duration of questions to registers", ("source",))
_known = counter(
    "signaling", "affiliations", "Affiliations asked for, by where the answer came from", ("source",)
)
_up = gauge("signaling", "register_up", "0 while a register is left alone after failures", ("source",))
_learned = counter("signaling", "affiliations_learned", "Affiliations told by switches, by kind", ("change",))


class AffiliationSettings(BaseModel):
    """How long answers of registers are kept, and what registers and links may be asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl_s: float = Field(
        default=300, gt=0, le=86400, description="seconds an answer is good that a switch serves"
    )
    negative_ttl_s: float = Field(
        default=20, gt=0, le=86400, description="seconds of absent, purged and unknown subscribers"
    )
    failure_ttl_s: float = Field(
        default=2,
        ge=0,
        le=3600,
        description="seconds before a register is asked again about whom it failed for",
    )
    jitter: float = Field(
        default=0.1, ge=0, lt=1, description="share by which each of these is longer or shorter"
    )
    stale_s: float = Field(
        default=3600,
        ge=0,
        description="seconds for which an answer may still acquit when no register answers",
    )
    entries: int = Field(default=200_000, ge=1, description="subscribers kept in memory; about 1 kB each")
    timeout_s: float = Field(default=0.3, gt=0, le=30, description="seconds of one question")
    in_flight: int = Field(default=500, ge=1, description="questions to registers at the same time")
    link_rate: float = Field(default=200, gt=0, description="questions a second that one link may cause")
    link_burst: int = Field(default=400, ge=1, description="questions at once that one link may cause")
    links: int = Field(default=10_000, ge=1, description="links whose budgets are kept")


class Found(NamedTuple):
    """An affiliation and how good it is."""

    affiliation: Affiliation
    age_ms: int  #: since the register said so
    cached: bool  #: nobody was asked for it
    stale: bool = False  #: past its time, given because nobody can be asked; may acquit, never accuse
    failure: str = ""  #: why nobody could be asked; with `stale` only


@dataclass(slots=True)
class _Entry:
    affiliation: Affiliation | None  #: None: only a failure is remembered
    good_until: float  #: monotonic
    failure: str = ""  #: reason, while it is remembered
    failed_until: float = 0.0


class Affiliations:
    """The memory of one node, in front of one register (which may be a chain). Lives on the event loop."""

    def __init__(
        self,
        provider: AffiliationProvider,
        settings: AffiliationSettings | None = None,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._provider = provider
        self._settings = settings or AffiliationSettings()
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._random = (rng or random.Random()).random
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[str, tuple[asyncio.Task[Affiliation], bool]] = {}
        self._budgets: OrderedDict[str, Budget] = OrderedDict()
        self._listeners: list[Callable[[Affiliation], None]] = []
        up = _up.labels(provider.name)
        up.set(1)
        self.breaker = breaker or Breaker(
            monotonic, changed=lambda state: up.set(state is BreakerState.CLOSED)
        )

    def __len__(self) -> int:
        """Entries in memory."""
        return len(self._entries)

    def watch(self, listener: Callable[[Affiliation], None]) -> None:
        """Be told of every affiliation that is new or different."""
        self._listeners.append(listener)

    # ------------------------------------------------------------------------------------------------- questions

    def current(self, who: Who) -> Affiliation | None:
        """What memory says and is still good: the way of nearly every message."""
        entry = self._entries.get(who.key)
        if entry is None or entry.good_until <= self._monotonic():
            return None
        return entry.affiliation

    def peek(self, who: Who) -> Found | None:
        """The same with its age. None if a register must be asked."""
        affiliation = self.current(who)
        return None if affiliation is None else Found(affiliation, self._age(affiliation), cached=True)

    async def find(
        self, who: Who, *, link: str = "", fresh: bool = False, deadline_s: float | None = None
    ) -> Found:
        """Who serves a subscriber. RegisterUnavailable.

        `link`: who causes the question, for its budget. `fresh`: ask, whatever is remembered.
        """
        if not fresh:
            found = self.peek(who)
            if found is not None:
                _known.labels("memory").inc()
                return found
        try:
            affiliation = await self._ask(who, link, fresh, deadline_s)
        except RegisterUnavailable as unavailable:
            stale = self._stale(who, unavailable.reason)
            if stale is None:
                _known.labels("nowhere").inc()
                raise
            _known.labels("stale").inc()
            return stale
        _known.labels("register").inc()
        return Found(affiliation, self._age(affiliation), cached=False)

    async def _ask(self, who: Who, link: str, fresh: bool, deadline_s: float | None) -> Affiliation:
        settings = self._settings
        deadline_s = settings.timeout_s if deadline_s is None else deadline_s
        flight, is_fresh = self._flights.get(who.key, (None, False))
        if flight is None or (fresh and not is_fresh):
            entry = self._entries.get(who.key)
            if entry is not None and not fresh and entry.failed_until > self._monotonic():
                raise RegisterUnavailable(entry.failure)
            if not self._affords(link):
                raise self._refused("budget")
            if len(self._flights) >= settings.in_flight:
                raise self._refused("busy")
            if not self.breaker.allows():
                raise self._refused("breaker")
            flight = asyncio.get_running_loop().create_task(
                self._fly(who, fresh), name=f"register {who.key[:1]}"
            )
            self._flights[who.key] = (flight, fresh)
            flight.add_done_callback(lambda done: self._landed(who, done))
        done, _ = await asyncio.wait((flight,), timeout=deadline_s)
        if not done:
            raise RegisterUnavailable("timeout")
        return flight.result()

    async def _fly(self, who: Who, fresh: bool) -> Affiliation:
        provider, settings = self._provider, self._settings
        began = self._monotonic()
        outcome: bool | None = None
        reason = "cancelled"
        try:
            async with asyncio.timeout(settings.timeout_s):
                affiliation = await provider.lookup(who, fresh=fresh, timeout_s=settings.timeout_s)
            outcome, reason = True, affiliation.status.value
            return self._remember(who, affiliation)
        except RegisterUnavailable as unavailable:
            # "no-register" is our own configuration, not a register's fault.
            outcome, reason = (None if unavailable.reason == "no-register" else False), unavailable.reason
            self._remember_failure(who, reason)
            raise
        except TimeoutError:
            outcome, reason = False, "timeout"
            self._remember_failure(who, reason)
            raise RegisterUnavailable(reason) from None
        except Exception as error:
            outcome, reason = False, "fault"
            # Without the traceback: it would show whom the question was about.
            log.error("register-fault", source=provider.name, fault=f"{type(error).__name__}: {error}")
            self._remember_failure(who, "down")
            raise RegisterUnavailable("down", f"{type(error).__name__}: {error}") from error
        finally:
            self.breaker.report(outcome)
            _asked.labels(provider.name, reason).inc()
            _seconds.labels(provider.name).observe(self._monotonic() - began)

    def _landed(self, who: Who, done: asyncio.Task[Affiliation]) -> None:
        if self._flights.get(who.key, (None, False))[0] is done:
            del self._flights[who.key]
        if not done.cancelled():
            done.exception()  # whoever waited has it; a question that outlived them all is no news

    def _affords(self, link: str) -> bool:
        if not link:
            return True
        budget = self._budgets.get(link)
        if budget is None:
            budget = self._budgets[link] = Budget(self._settings.link_rate, self._settings.link_burst)
            if len(self._budgets) > self._settings.links:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(link)
        return budget.take(self._monotonic())

    def _refused(self, reason: str) -> RegisterUnavailable:
        _asked.labels(self._provider.name, reason).inc()
        return RegisterUnavailable(reason)

    def _stale(self, who: Who, failure: str) -> Found | None:
        entry = self._entries.get(who.key)
        if entry is None or entry.affiliation is None:
            return None
        age = self._age(entry.affiliation)
        if age > self._settings.stale_s * 1000:
            return None
        return Found(entry.affiliation, age, cached=True, stale=True, failure=failure)

    def _age(self, affiliation: Affiliation) -> int:
        return max(0, self._now_ms() - affiliation.observed_at)

    # --------------------------------------------------------------------------------------------------- memory

    def learn(
        self, affiliation: Affiliation, about: Container[ServedBy] = frozenset(ServedBy)
    ) -> Affiliation:
        """A switch or register told us without being asked; answers what is remembered now.

        `about`: the nodes it speaks of; what is known of the others stays: an MSC that takes over, or purges,
        says nothing about the MME.
        """
        who = Who(affiliation.msisdn, affiliation.imsi)
        entry = self._entries.get(who.key)
        before = entry.affiliation if entry is not None else None
        if before is not None:
            kept = tuple(each for each in before.addresses if each.node not in about)
            affiliation = replace(
                affiliation,
                status=Status.ATTACHED if kept else affiliation.status,
                addresses=affiliation.addresses + kept,
                msisdn=affiliation.msisdn or before.msisdn,
            )
        remembered = self._remember(who, affiliation)
        moved = before is not None and set(before.addresses) != set(remembered.addresses)
        _learned.labels("moved" if moved else "new" if before is None else "same").inc()
        return remembered

    def doubt(self, who: Who) -> None:
        """The subscriber was seen: whatever says that nobody serves it, or that nobody knows, is asked again."""
        entry = self._entries.get(who.key)
        if entry is None:
            return
        entry.failed_until = 0.0
        if entry.affiliation is not None and entry.affiliation.status is not Status.ATTACHED:
            entry.good_until = 0.0

    def forget(self, who: Who) -> bool:
        """Flush one subscriber; whether there was anything."""
        entry = self._entries.pop(who.key, None)
        if entry is not None and entry.affiliation is not None:
            for alias in _keys(who, entry.affiliation):
                self._entries.pop(alias, None)
        return entry is not None

    def _remember(self, who: Who, affiliation: Affiliation) -> Affiliation:
        settings = self._settings
        attached = affiliation.status is Status.ATTACHED
        ttl = settings.ttl_s if attached else settings.negative_ttl_s
        ttl *= 1 + settings.jitter * (2 * self._random() - 1)
        keys = _keys(who, affiliation)
        before = next(
            (entry.affiliation for key in keys if (entry := self._entries.get(key)) and entry.affiliation),
            None,
        )
        affiliation = _compared(affiliation, before, self._now_ms())
        entry = _Entry(affiliation, self._monotonic() + ttl)
        for key in keys:
            self._put(key, entry)
        if (
            before is None
            or before.addresses != affiliation.addresses
            or before.status is not affiliation.status
        ):
            for listener in self._listeners:
                listener(affiliation)
        return affiliation

    def _remember_failure(self, who: Who, reason: str) -> None:
        now = self._monotonic()
        entry = self._entries.get(who.key) or _Entry(None, 0.0)
        entry.failure = reason
        entry.failed_until = now + self._settings.failure_ttl_s * (
            1 + self._settings.jitter * (2 * self._random() - 1)
        )
        self._put(who.key, entry)

    def _put(self, key: str, entry: _Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._settings.entries:
            self._entries.popitem(last=False)


def _keys(who: Who, affiliation: Affiliation) -> list[str]:
    """Every key under which an answer is kept: as it was asked for, and as the register names the subscriber.

    See `AffiliationProvider.lookup` for why it is the register alone that may join a number and an IMSI.
    """
    found = {who.key: None}
    if affiliation.imsi:
        found[Who(imsi=affiliation.imsi).key] = None
    if affiliation.msisdn:
        found[Who(msisdn=affiliation.msisdn).key] = None
    return list(found)


def _compared(affiliation: Affiliation, before: Affiliation | None, now_ms: int) -> Affiliation:
    """Note who served the subscriber before, and since when not, unless the register itself says so."""
    if before is None:
        return affiliation
    changed_at, previous = before.changed_at, before.previous
    left = tuple(each for each in before.addresses if each not in affiliation.addresses)
    if left:
        changed_at, previous = now_ms, left
    return replace(
        affiliation,
        changed_at=changed_at if affiliation.changed_at is None else affiliation.changed_at,
        previous=affiliation.previous or previous,
    )
