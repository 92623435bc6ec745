"""Where is this number? One answer from many sources, within a budget.

In charge of: the fixes in memory and in the table, asking location servers in order, one question at a time per
number, leaving servers alone that fail, and telling whoever waits of a new fix. Not in charge of: how a server is
spoken to (`providers/`), what a fix means (`decision.py`).

Theory. What was told to us (pushed fixes, serving cells) is kept until something newer comes, its age is judged by
the policy. What a server answered is used for `cache_s` without asking again. A fix in memory that is fresh enough is
answered without suspending; else the table is read (another node may have been told), and only then a server is
asked. All that ask for the same number at the same time wait for one question, each no longer than its own budget;
the question itself goes on, so that the next one finds its answer. A miss is remembered for `miss_s`.

How it fails: a server is slow -> TIMEOUT at the budget's end; it fails `breaker_failures` times in a row -> it is not
asked for `breaker_s`, then by one question alone; that is an alarm (log and gauge). Nothing here raises to its
callers.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from ..message import id_at
from ..metrics import counter, gauge, histogram
from ..outlet import Write
from ..store.store import Answer, Change, Store, StoreClosed
from . import tables
from .fix import Fix, Reason, Sighting
from .settings import LocationSettings
from .zone import parse_cell, spell_cell

__all__ = ["LocateFailed", "LocationRefused", "Locations", "Provider", "fix_of_row"]

log = structlog.get_logger(__name__)

_asked = counter("zones", "lookups", "Questions to location servers, by outcome", ("source", "outcome"))
_seconds = histogram("zones", "lookup_seconds", "Duration of questions to location servers", ("source",))
_up = gauge("zones", "source_up", "0 while a location server is left alone after failures", ("source",))
_known = counter("zones", "sightings", "Locations asked for, by where the answer came from", ("source",))

E7 = 1e-7
DAY_MS = 86_400_000
#: Numbers that may wait for each question that may be open.
WAITING_PER_SLOT = 16
#: On a database that nodes share, what was told is read again after so long.
SHARED_MS = 1_000


class LocateFailed(Exception):
    """A provider has no fix. `reason` is a `fix.Reason`; `fault`: the server itself did not work."""

    def __init__(self, reason: str, detail: str = "", *, fault: bool = False) -> None:
        """`detail` is for the log."""
        super().__init__(detail or reason)
        self.reason = reason
        self.fault = fault


class LocationRefused(ValueError):
    """A position that was told to us cannot be right; the text says why."""


class Provider(Protocol):
    """A location server."""

    name: str  #: "mlp"

    async def locate(self, number: str, max_age_s: int) -> Fix:
        """Ask once. Raises LocateFailed; anything else counts as a fault of the server."""
        ...


@dataclass(slots=True)
class _Breaker:
    """Leaves a server alone that failed several times in a row."""

    name: str
    failures: int = 0
    open_until: float = 0.0  #: monotonic seconds
    probing: bool = False
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(64))

    def allows(self, now: float) -> bool:
        """Whether it may be asked; after a rest, by one question alone."""
        if self.open_until == 0.0:
            return True
        if now < self.open_until or self.probing:
            return False
        self.probing = True
        return True


@dataclass(slots=True)
class _Known:
    """What memory holds of a number."""

    fix: Fix | None
    told: bool  #: it was told to us, or read from the table
    at: int  #: when it was put here
    reason: str = ""


class Locations:
    """The locations of one node. Lives on the event loop."""

    def __init__(
        self,
        store: Store,
        settings: LocationSettings,
        providers: Sequence[Provider] = (),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        shared: bool = False,
    ) -> None:
        """`providers` in the order in which they are asked; `shared`: other nodes are told of fixes too."""
        self._shared = shared
        self._store = store
        self._clock = store.clock
        self._settings = settings
        self._providers = list(providers)
        self._monotonic = monotonic
        self._breakers = {
            provider.name: _Breaker(provider.name, slots=asyncio.Semaphore(settings.in_flight))
            for provider in providers
        }
        for provider in providers:
            _up.labels(provider.name).set(1)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Sighting]] = {}
        self._hooks: list[Callable[[Fix], None]] = []
        self.floors_m: Mapping[str, float] = {
            "push": settings.floor_push_m,
            "cell": settings.floor_cell_m,
            "mlp": settings.floor_server_m,
            "camara": settings.floor_server_m,
        }

    def on_fix(self, hook: Callable[[Fix], None]) -> None:
        """Call `hook` with each new fix, after it is kept."""
        self._hooks.append(hook)

    # ------------------------------------------------------------------------------------------------ asking

    def known(self, number: str, max_age_s: int) -> Sighting | None:
        """What memory can answer at once; None: somebody must be asked."""
        known = self._known.get(number)
        if known is None:
            return None
        now = self._clock.now_ms()
        if known.fix is None:
            return Sighting(None, known.reason) if now - known.at < self._settings.miss_s * 1000 else None
        age = now - known.fix.measured_at
        if known.told:
            if self._shared and now - known.at >= SHARED_MS:
                return None  # another node may have been told something newer
            if age <= max_age_s * 1000 or not self._providers:
                return self._seen(known.fix, "memory")
            return None
        if now - known.at < self._settings.cache_s * 1000 and age <= max_age_s * 1000:
            return self._seen(known.fix, "memory")
        return None

    async def locate(self, number: str, *, max_age_s: int, budget_ms: int) -> Sighting:
        """Find out, within a budget. The question goes on after the budget's end; ask `asking` for it."""
        known = self.known(number, max_age_s)
        if known is not None:
            return known
        started = self._monotonic()
        flight = self._flights.get(number)
        if flight is None:
            if len(self._flights) >= self._settings.in_flight * WAITING_PER_SLOT:
                return Sighting(None, Reason.TIMEOUT)  # so many wait that its turn would come too late
            flight = asyncio.get_running_loop().create_task(self._find(number, max_age_s))
            self._flights[number] = flight
            flight.add_done_callback(lambda _: self._flights.pop(number, None))
        try:
            sighting = await asyncio.wait_for(asyncio.shield(flight), budget_ms / 1000)
        except TimeoutError:
            sighting = Sighting(None, Reason.TIMEOUT)
        return replace(sighting, took_ms=round((self._monotonic() - started) * 1000))

    def asking(self, number: str) -> bool:
        """True while somebody is being asked about a number."""
        return number in self._flights

    def _seen(self, fix: Fix, where: str) -> Sighting:
        _known.labels(where).inc()
        return Sighting(fix)

    async def _find(self, number: str, max_age_s: int) -> Sighting:
        """The table, then the servers; the newest of what they say."""
        fix = await self._from_table(number)
        now = self._clock.now_ms()
        if fix is not None and (now - fix.measured_at <= max_age_s * 1000 or not self._providers):
            self._remember(fix, told=True)
            return self._seen(fix, "table")
        reason = Reason.NONE
        for provider in self._providers:
            try:
                found = await self._ask(provider, number, max_age_s)
            except LocateFailed as failed:
                reason = failed.reason
                continue
            if fix is not None and fix.measured_at > found.measured_at:
                found = fix
            await self._take(found, told=False)
            return self._seen(found, provider.name)
        if fix is not None:  # old, but all there is: the policy says whether it is too old
            self._remember(fix, told=True)
            return self._seen(fix, "table")
        self._put(number, _Known(None, False, now, reason))
        _known.labels("nobody").inc()
        return Sighting(None, reason)

    async def _ask(self, provider: Provider, number: str, max_age_s: int) -> Fix:
        """One question, in its turn, unless the server is left alone by then."""
        breaker = self._breakers[provider.name]
        probe = breaker.open_until != 0.0
        if breaker.allows(self._monotonic()):
            async with breaker.slots:
                if probe or breaker.open_until == 0.0:  # nobody gave it up while this one waited for its turn
                    return await self._ask_now(provider, breaker, number, max_age_s)
        _asked.labels(provider.name, "left-alone").inc()
        raise LocateFailed(Reason.SOURCE_DOWN)

    async def _ask_now(self, provider: Provider, breaker: _Breaker, number: str, max_age_s: int) -> Fix:
        outcome, fault = "found", False
        started = self._monotonic()
        try:
            return await provider.locate(number, max_age_s)
        except LocateFailed as failed:
            outcome, fault = failed.reason, failed.fault
            raise
        except Exception as error:
            outcome, fault = "fault", True
            log.warning("location.failed", source=provider.name, error=type(error).__name__)
            raise LocateFailed(Reason.SOURCE_DOWN, fault=True) from error
        finally:
            _asked.labels(provider.name, outcome).inc()
            _seconds.labels(provider.name).observe(self._monotonic() - started)
            self._judge(breaker, fault=fault)

    def _judge(self, breaker: _Breaker, *, fault: bool) -> None:
        """Count failures; tell when a server is given up and when it is back."""
        was_open, breaker.probing = breaker.open_until != 0.0, False
        if not fault:
            breaker.failures, breaker.open_until = 0, 0.0
            _up.labels(breaker.name).set(1)
            if was_open:
                log.warning("location.source-back", source=breaker.name)
            return
        breaker.failures += 1
        if was_open or breaker.failures >= self._settings.breaker_failures:
            breaker.open_until = self._monotonic() + self._settings.breaker_s
            _up.labels(breaker.name).set(0)
            if not was_open:
                log.error("location.source-down", source=breaker.name, failures=breaker.failures)

    def alarms(self) -> list[str]:
        """Location servers that are left alone now."""
        return [name for name, breaker in self._breakers.items() if breaker.open_until != 0.0]

    # ------------------------------------------------------------------------------------------------ telling

    async def push(self, fixes: Sequence[Fix], *, writes: Sequence[Write] = ()) -> list[Fix]:
        """Keep positions that were told to us, in one transaction. Raises LocationRefused and OSError."""
        now = self._clock.now_ms()
        kept: list[Fix] = []
        for fix in fixes:
            _check(fix, now, self._settings)
            kept.append(replace(fix, id=self._store.next_id(), received_at=now))
        answer = await self._store.apply(writes=[*map(_insert, kept), *writes])
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")
        for fix in kept:
            self._remember(fix, told=True)
            self._tell(fix)
        return kept

    async def report_cell(self, number: str, cell: str, *, measured_at: int = 0, plmn: str = "") -> Fix:
        """A serving cell was reported: its place is looked up in the cell table. Raises LocationRefused and OSError."""
        try:
            key = parse_cell(cell)
        except ValueError as error:
            raise LocationRefused(str(error)) from None
        if -1 in key:
            raise LocationRefused("a serving cell has no *")
        now = self._clock.now_ms()
        mcc, mnc, area, identity = key
        rows = await self._store.fetch(tables.GET_CELL, mcc=mcc, mnc=mnc, area=area, cell=identity)
        place: dict[str, Any] = {"latitude": None, "longitude": None, "accuracy_m": 0.0}
        if rows:
            row = rows[0]
            reach = row["range_m"] or self._settings.unplaced_cell_m
            place = {
                "latitude": row["latitude_e7"] * E7,
                "longitude": row["longitude_e7"] * E7,
                "accuracy_m": max(float(reach), float(self._settings.floor_cell_m)),
            }
        fix = Fix(
            number=number,
            measured_at=measured_at or now,
            received_at=now,
            source="cell",
            cell=key,
            plmn=plmn,
            **place,
        )
        return (await self.push([fix]))[0]

    async def _take(self, fix: Fix, *, told: bool) -> None:
        """Keep what a server said: evidence refers to it."""
        if not fix.id:
            fix = replace(fix, id=self._store.next_id())
            try:
                self._store.put(Change(done=_ignore, writes=(_insert(fix),)))
            except StoreClosed:
                return
        self._remember(fix, told=told)
        self._tell(fix)

    def _tell(self, fix: Fix) -> None:
        for hook in self._hooks:
            hook(fix)

    def _remember(self, fix: Fix, *, told: bool) -> None:
        known = self._known.get(fix.number)
        if known is not None and known.fix is not None and known.fix.measured_at > fix.measured_at:
            return
        self._put(fix.number, _Known(fix, told, self._clock.now_ms()))

    def _put(self, number: str, known: _Known) -> None:
        self._known[number] = known
        self._known.move_to_end(number)
        if len(self._known) > self._settings.cached:
            self._known.popitem(last=False)

    async def _from_table(self, number: str) -> Fix | None:
        try:
            rows = await self._store.fetch(tables.NEWEST_FIX, number=number)
        except Exception as error:  # the database is away: servers may still know
            log.warning("location.table-failed", error=type(error).__name__)
            return None
        return fix_of_row(rows[0]) if rows else None

    async def latest(self, number: str) -> Fix | None:
        """The newest fix that is kept; for people, who are audited by whoever asks."""
        rows = await self._store.fetch(tables.NEWEST_FIX, number=number)
        return fix_of_row(rows[0]) if rows else None

    async def forget(self, number: str, *, writes: Sequence[Write] = ()) -> None:
        """Erase every position of a number; `writes` (audit) ride along."""
        await self._store.apply(writes=[Write(tables.DELETE_FIXES_OF, {"number": number}), *writes])
        self._known.pop(number, None)

    async def sweep(self) -> None:
        """Remove positions that are too old."""
        before = id_at(self._clock.now_ms() - self._settings.retention_days * DAY_MS)
        await self._store.bulk([Write(tables.SWEEP_FIXES, {"before": before})])

    async def close(self) -> None:
        """Give up what is being asked."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _ignore(answer: Answer) -> None:
    """Nobody waits: the fix is in memory, and the next one comes."""


def _check(fix: Fix, now: int, settings: LocationSettings) -> None:
    if fix.measured_at > now + settings.future_s * 1000:
        raise LocationRefused("measured_at is in the future")
    if fix.accuracy_m < 0 or fix.accuracy_m > 5_000_000:
        raise LocationRefused("accuracy_m is not within 0..5000000")
    if (fix.latitude is None) != (fix.longitude is None):
        raise LocationRefused("latitude and longitude belong together")
    if fix.latitude is None and fix.cell is None:
        raise LocationRefused("a position needs coordinates or a cell")
    if fix.latitude is not None and not -90 <= fix.latitude <= 90:
        raise LocationRefused("latitude is not within -90..90")
    if fix.longitude is not None and not -180 <= fix.longitude <= 180:
        raise LocationRefused("longitude is not within -180..180")


def _insert(fix: Fix) -> Write:
    row: dict[str, object] = {
        "id": fix.id,
        "number": fix.number,
        "latitude_e7": round((fix.latitude or 0.0) / E7),
        "longitude_e7": round((fix.longitude or 0.0) / E7),
        "placed": int(fix.latitude is not None),
        "accuracy_m": round(fix.accuracy_m),
        "cell": spell_cell(fix.cell) if fix.cell is not None else "",
        "plmn": fix.plmn,
        "source": fix.source,
        "measured_at": fix.measured_at,
        "received_at": fix.received_at,
    }
    return Write(tables.INSERT_FIX, row, expect=1)


def fix_of_row(row: Mapping[str, Any]) -> Fix:
    """A fix as the table has it."""
    return Fix(
        number=row["number"],
        latitude=row["latitude_e7"] * E7 if row["placed"] else None,
        longitude=row["longitude_e7"] * E7 if row["placed"] else None,
        accuracy_m=float(row["accuracy_m"]),
        measured_at=row["measured_at"],
        received_at=row["received_at"],
        source=row["source"],
        cell=parse_cell(row["cell"]) if row["cell"] else None,
        plmn=row["plmn"],
        id=row["id"],
    )
