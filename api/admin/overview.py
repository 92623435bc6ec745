"""/admin/overview: how the center is, on one screen.

In charge of: the figures of this node and what is wrong, once or as a stream. Not in charge of: counting (the rooms),
or long histories (/metrics is for those).

Rates are made from the counters of `metrics.py`: the difference between two looks at least a second apart.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from ... import metrics
from ...access.permissions import Permission
from ...store.store import StoreClosed
from ..entrance import Identity, Require
from ..rooms import Rooms, doors_of, rooms_of
from ..times import Instant, instant
from .binds import BindView, bind_view
from .queues import QueueView, queue_views

__all__ = ["Meter", "router"]

router = APIRouter(prefix="/overview", tags=["overview"])

EVERY_S = 1.0  #: between two events of the stream
LATEST_S = 1.0  #: figures younger than this are shown again


class StoreView(BaseModel):
    """The database."""

    accepting: bool
    why: str
    pending: int = Field(description="changes waiting for a commit")
    commit_ms: float = Field(description="duration of the last commit")


class Overview(BaseModel):
    """How this node is."""

    at: Instant
    node: int
    version: str
    well: bool
    troubles: list[str] = Field(description="what is wrong, for people; empty: all is well")
    accepted_per_s: float
    delivered_per_s: float
    in_memory: int = Field(description="messages that this node works on")
    queued: int
    queues: list[QueueView]
    restored: int = Field(description="messages that came with a restore and wait to be released")
    binds: list[BindView]
    accounts: int
    accounts_bound: int
    streams: int = Field(description="event streams that are open")
    store: StoreView


@dataclass(slots=True)
class Meter:
    """Makes a rate of a counter that only grows."""

    read: Callable[[], float]
    monotonic: Callable[[], float] = time.monotonic
    _value: float = 0.0
    _at: float = -1.0
    rate: float = 0.0

    def look(self) -> float:
        """Per second, over the time since the last look that is at least a second ago."""
        now, value = self.monotonic(), self.read()
        if self._at < 0:
            self._value, self._at = value, now
        elif now - self._at >= 1.0:
            self.rate = max(0.0, (value - self._value) / (now - self._at))
            self._value, self._at = value, now
        return self.rate


def total_of(name: str, **labels: str) -> Callable[[], float]:
    """Read a counter of the center's registry, summed over every label that is not named."""

    def read() -> float:
        return sum(
            sample.value
            for family in metrics.REGISTRY.collect()
            if family.name == name
            for sample in family.samples
            if sample.name == f"{name}_total" and all(sample.labels.get(k) == v for k, v in labels.items())
        )

    return read


@dataclass(slots=True)
class Gauges:
    """What the overview remembers between two looks; one per app."""

    accepted: Meter
    delivered: Meter
    newest: Overview | None = None
    newest_at: float = -1.0

    @classmethod
    def make(cls) -> Gauges:
        """Meters over the center's counters."""
        return cls(
            Meter(total_of("restante_submission_messages", answer="accepted")),
            Meter(total_of("restante_delivery_attempts", result="delivered")),
        )


def _gauges(request: Request) -> Gauges:
    state: Any = request.app.state
    if not hasattr(state, "gauges"):
        state.gauges = Gauges.make()
    return state.gauges


async def overview(request: Request) -> Overview:
    """The figures, at most a second old: many who look cost no more than one."""
    gauges, now = _gauges(request), time.monotonic()
    if gauges.newest is not None and now - gauges.newest_at < LATEST_S:
        return gauges.newest
    found = await _look(request, rooms_of(request), gauges)
    gauges.newest, gauges.newest_at = found, now
    return found


async def _look(request: Request, rooms: Rooms, gauges: Gauges) -> Overview:
    store = _store_view(rooms)
    binds = [bind_view(bind) for bind in rooms.binds]
    accounts = rooms.registry.snapshot(rooms.account_kind).values()
    queues = queue_views(await rooms.history.waiting())
    troubles = [f"The store takes nothing: {store.why or 'see the log'}"] if not store.accepting else []
    held = sum(one.messages for one in queues if one.name in ("held", "quarantined"))
    if held:
        troubles.append(f"{held} messages are held or quarantined")
    if rooms.restored.waiting:
        troubles.append(f"{rooms.restored.waiting} restored messages wait for: restante db release")
    return Overview(
        at=instant(rooms.store.clock.now_ms()),
        node=rooms.store.node,
        version=rooms.version,
        well=not troubles,
        troubles=troubles,
        accepted_per_s=round(gauges.accepted.look(), 1),
        delivered_per_s=round(gauges.delivered.look(), 1),
        in_memory=rooms.delivery.in_memory,
        queued=sum(one.messages for one in queues),
        queues=queues,
        restored=rooms.restored.waiting,
        binds=binds,
        accounts=len(accounts),
        accounts_bound=len({bind.account for bind in binds}),
        streams=doors_of(request).live.streams,
        store=store,
    )


def _store_view(rooms: Rooms) -> StoreView:
    try:
        health = rooms.store.health()
    except StoreClosed as error:
        return StoreView(accepting=False, why=str(error), pending=0, commit_ms=0.0)
    return StoreView(
        accepting=health.accepting,
        why=health.why,
        pending=health.pending,
        commit_ms=round(health.commit_ms, 3),
    )


Reader = Annotated[Identity, Depends(Require(Permission.OVERVIEW_READ))]


@router.get("", response_model=Overview)
async def read_overview(request: Request, who: Reader) -> Overview:
    """How this node is."""
    return await overview(request)


async def admitted(request: Request, who: Reader) -> Identity:
    """An operator who may open one more stream."""
    doors_of(request).live.admit(who.owner)
    return who


@router.get("/events", response_class=EventSourceResponse)
async def overview_events(
    request: Request, who: Annotated[Identity, Depends(admitted)]
) -> AsyncIterator[Any]:
    """The overview every second. Each event is complete, so nothing has to be resumed."""
    rooms, live = rooms_of(request), doors_of(request).live
    operators = rooms.registry.snapshot(rooms.operator_kind)
    with ExitStack() as stack:
        ends = [stack.enter_context(rooms.sessions.watch(who.session.id))] if who.session else []
        stream = stack.enter_context(live.open(who.owner, *ends))
        number = 0
        while not stream.over:
            operator = operators.by_number(who.number)
            if operator is None or Permission.OVERVIEW_READ not in operator.permissions or operator.suspended:
                return
            if who.key and await rooms.credentials.get(who.key) is None:
                return
            number += 1
            yield ServerSentEvent(event="overview", id=str(number), data=await overview(request))
            await stream.wait(EVERY_S)
