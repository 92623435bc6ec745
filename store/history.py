"""Where is my message? Messages, their events and their state, read back.

In charge of: the view of one message, its trace, searching, and counts for the overview. Not in charge of: who may
ask and who may see text (`access/permissions.py`), or how it is shown (`api/`, `cli/`).

Nothing stores a message's state: its final event tells it, else its queue row, else it lies in a mailbox or has no
row any more. Message text is never part of a view; it is asked for by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, Integer, and_, bindparam, exists, func, or_, select

from ..message import FINAL_STATES, Event, EventKind, Kind, Message, MessageState, id_at
from . import work
from .statement import Query, among, begins
from .store import UNNOTICED, QueueReason, Store
from .tables import SLOT_SHIFT, body, event, message, queue

__all__ = ["Counts", "Filters", "History", "MessageView", "Waiting", "joint_state"]

_EVENTS = Query(
    "history: the events of some messages, in order",
    select(event)
    .where(
        among(event.c.message, "ids"),
        event.c.message >= bindparam("low"),
        event.c.message <= bindparam("high"),
    )
    .order_by(event.c.message, event.c.at, event.c.sequence),
)
_QUEUED = Query("history: queue rows of some messages", select(queue).where(among(queue.c.id, "ids")))
_CHILDREN = Query(
    "history: the messages under one public id",
    select(message.c.id)
    .where(
        message.c.parent == bindparam("public_id"), message.c.parent != 0, message.c.kind == int(Kind.MESSAGE)
    )
    .order_by(message.c.id)
    .limit(bindparam("limit", type_=Integer)),
)
_RECEIPTS = Query(
    "history: the receipts about one message",
    select(message.c.id)
    .where(message.c.parent == bindparam("about"), message.c.parent != 0, message.c.kind == int(Kind.RECEIPT))
    .order_by(message.c.id)
    .limit(bindparam("limit", type_=Integer)),
)
_WAITING = Query(
    "history: what waits, by reason",
    select(
        queue.c.reason,
        func.count().label("messages"),
        func.min(queue.c.due_at).label("next_due"),
        func.min(queue.c.id).label("oldest"),
    )
    .group_by(queue.c.reason)
    .order_by(queue.c.reason),
)
_DUE_IN = Query(
    "history: what waits, by the minutes until it is due",
    select(
        ((queue.c.due_at - bindparam("now", type_=BigInteger)) // 60_000).label("minutes"),
        func.count().label("messages"),
    )
    .group_by("minutes")
    .order_by("minutes"),
)
_ACCEPTED = Query(
    "history: messages accepted, by minute",
    select((message.c.id // id_at(60_000)).label("minute"), func.count().label("messages"))
    .where(message.c.id >= bindparam("since"))
    .group_by("minute")
    .order_by("minute"),
)
_ENDED = Query(
    "history: messages of that time that ended, by minute and state",
    select((event.c.at // 60_000).label("minute"), event.c.state, func.count().label("messages"))
    .where(
        event.c.message >= bindparam("since"),
        event.c.at >= bindparam("since_ms", type_=BigInteger),
        event.c.kind == EventKind.FINAL.value,
    )
    .group_by("minute", event.c.state)
    .order_by("minute"),
)
_ENDS = Query(
    "history: the oldest and the newest message",
    select(
        select(func.min(message.c.id)).scalar_subquery().label("oldest"),
        select(func.max(message.c.id)).scalar_subquery().label("newest"),
    ),
)
_VERSIONS = Query(
    "history: every version of a message's text",
    select(body.c.version, body.c.payload).where(body.c.message == bindparam("id")).order_by(body.c.version),
)


#: Slots looked through at first (a little over an hour) and at most (a week) by one query.
FIRST_SLOTS = 16
MOST_SLOTS = 2_300


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message as people ask about it."""

    message: Message  #: without its text
    state: MessageState
    reason: str = ""  #: of its ending, else of its last failure, else why it waits
    final_at: int = 0  #: UTC epoch milliseconds; 0: not over
    attempts: int = 0  #: made so far
    stored_at: int = 0  #: when it came into the recipient's mailbox; 0: never
    in_mailbox: bool = False  #: it waits there now, as far as events tell
    queued: bool = False  #: it waits in the queue
    due_at: int = 0  #: when it is tried next; 0: not in the queue
    queue_reason: str = ""  #: why it waits there; a QueueReason
    route: str = ""  #: outlet of the last attempt


@dataclass(frozen=True, slots=True)
class Filters:
    """What to search for; empty means any. Every filter narrows."""

    id: int = 0
    account: int | None = None
    sender: str = ""  #: normal form; a trailing * makes it a prefix
    recipient: str = ""  #: the same
    states: frozenset[MessageState] = frozenset()
    kinds: frozenset[Kind] = field(default_factory=lambda: frozenset({Kind.MESSAGE}))  #: empty: every kind
    since: int = 0  #: submitted at or after; UTC epoch milliseconds
    until: int = 0  #: submitted before


@dataclass(frozen=True, slots=True)
class Waiting:
    """Part of the queue."""

    reason: str
    messages: int
    next_due: int  #: UTC epoch milliseconds
    oldest: int  #: id of the oldest


@dataclass(frozen=True, slots=True)
class Counts:
    """Figures for the overview."""

    waiting: tuple[Waiting, ...]
    due_in_minutes: Mapping[int, int]  #: minutes from now (negative: late) -> messages
    accepted: Mapping[int, int]  #: start of a minute, UTC epoch milliseconds -> messages
    ended: Mapping[int, Mapping[MessageState, int]]  #: the same, by final state


#: Of several ends under one public id the first in this order is told: DELIVERED says that all were delivered.
_WORST_FIRST = (
    MessageState.UNDELIVERABLE,
    MessageState.REJECTED,
    MessageState.EXPIRED,
    MessageState.DELETED,
    MessageState.SKIPPED,
    MessageState.DELIVERED,
)


def joint_state(views: Sequence[MessageView]) -> tuple[MessageState, int]:
    """State and final time (0: none yet) of what stands under one id: open while any of it is (behaviour.md 7)."""
    states = {view.state for view in views}
    if states <= FINAL_STATES:
        return next(state for state in _WORST_FIRST if state in states), max(view.final_at for view in views)
    return MessageState.SCHEDULED if states == {MessageState.SCHEDULED} else MessageState.ENROUTE, 0


class History:
    """Reads one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def message(self, id: int) -> MessageView | None:
        """One message by its own id."""
        rows = await self._store.fetch(work.MESSAGES, ids=[id], low=id, high=id)
        views = await self._views(rows)
        return views[0] if views else None

    async def children(self, public_id: int, limit: int = 1000) -> list[MessageView]:
        """The messages of a submit_multi, by the id that its submitter was told."""
        return await self._by_ids(await self._store.fetch(_CHILDREN, public_id=public_id, limit=limit))

    async def receipts(self, id: int, limit: int = 100) -> list[MessageView]:
        """The receipts about a message."""
        return await self._by_ids(await self._store.fetch(_RECEIPTS, about=id, limit=limit))

    async def trace(self, id: int) -> list[Event]:
        """Everything that happened to a message, in order; empty if there is no such message.

        The first event is made from the message itself. What it waits for now is in its view.
        """
        rows = await self._store.fetch(work.MESSAGES, ids=[id], low=id, high=id)
        if not rows:
            return []
        row = rows[0]
        scheduled = row["schedule_at"] > row["submitted_at"]
        accepted = Event(
            message=id,
            at=row["submitted_at"],
            kind=EventKind.ACCEPTED,
            state=MessageState.SCHEDULED if scheduled else MessageState.ENROUTE,
            account=row["account"],
            segments=row["segments"],
            node=id >> 10 & 0x3FF,
            detail=row["ingress"],
        )
        return [accepted, *[_event(found) for found in await self._events([id])]]

    async def search(self, filters: Filters, before: int = 0, limit: int = 50) -> list[MessageView]:
        """Messages newest first; `before` is the id of the last one of the previous page."""
        m = message.c
        conditions = [m.id < before] if before else []
        if filters.id:
            conditions.append(or_(m.id == filters.id, and_(m.parent == filters.id, m.parent != 0)))
        if filters.account is not None:
            conditions.append(m.account == filters.account)
        for column, wanted in ((m.sender, filters.sender), (m.recipient, filters.recipient)):
            if wanted.endswith("*"):
                conditions.append(begins(column, wanted[:-1]))
            elif wanted:
                conditions.append(column == wanted)
        if filters.kinds:
            conditions.append(m.kind.in_(sorted(int(kind) for kind in filters.kinds)))
        if filters.since:
            conditions.append(m.id >= id_at(filters.since))
        if filters.until:
            conditions.append(m.id < id_at(filters.until))
        if filters.states:
            conditions.append(_in_state(filters.states, self._store.clock.now_ms()))
        if filters.sender or filters.recipient:
            return await self._views(await self._through_slots(conditions, filters, before, limit))
        found = select(message).where(*conditions).order_by(m.id.desc()).limit(limit)
        return await self._views(await self._store.fetch(found))

    async def _through_slots(
        self, conditions: Sequence[Any], filters: Filters, before: int, limit: int
    ) -> list[Mapping[str, Any]]:
        """Search an address where its index is: slot after slot, the newest first."""
        ends = (await self._store.fetch(_ENDS))[0]
        if ends["oldest"] is None:
            return []
        highest = min(ends["newest"], (before or ends["newest"] + 1) - 1)
        if filters.until:
            highest = min(highest, id_at(filters.until) - 1)
        lowest = max(ends["oldest"], id_at(filters.since)) >> SLOT_SHIFT
        slot, width = highest >> SLOT_SHIFT, FIRST_SLOTS
        m, found = message.c, list[Mapping[str, Any]]()
        some = Query(  # compiled once for all stretches
            "history: messages of an address in a stretch of slots",
            select(message)
            .where(
                among(m.slot, "slots"),
                m.id >= bindparam("bottom", type_=BigInteger),  # lets PostgreSQL leave out other days
                m.id < bindparam("top", type_=BigInteger),
                *conditions,
            )
            .order_by(m.id.desc())
            .limit(bindparam("most", type_=Integer)),
        )
        while slot >= lowest and len(found) < limit:
            bottom = max(slot - width + 1, lowest)
            found += await self._store.fetch(
                some,
                slots=list(range(bottom, slot + 1)),
                bottom=bottom << SLOT_SHIFT,
                top=slot + 1 << SLOT_SHIFT,
                most=limit - len(found),
            )
            slot, width = bottom - 1, min(width * 4, MOST_SLOTS)
        return found

    async def texts(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The newest text of each message that still has one. Whoever calls has checked the permission."""
        if not ids:
            return {}
        rows = await self._store.fetch(work.BODIES, ids=list(ids), low=min(ids), high=max(ids))
        return {row["message"]: row["payload"] for row in rows}

    async def text_versions(self, id: int) -> dict[int, bytes]:
        """Every version of one message's text, by number; 0 is what was submitted."""
        return {row["version"]: row["payload"] for row in await self._store.fetch(_VERSIONS, id=id)}

    async def waiting(self) -> tuple[Waiting, ...]:
        """What waits in the queue, by reason."""
        rows = await self._store.fetch(_WAITING)
        return tuple(Waiting(row["reason"], row["messages"], row["next_due"], row["oldest"]) for row in rows)

    async def counts(self, minutes: int = 10) -> Counts:
        """Figures of the last minutes. Reads every row of that time: for people, not for a loop."""
        now = self._store.clock.now_ms()
        since_ms = now - now % 60_000 - minutes * 60_000
        due = {row["minutes"]: row["messages"] for row in await self._store.fetch(_DUE_IN, now=now)}
        accepted = await self._store.fetch(_ACCEPTED, since=id_at(since_ms))
        ended: dict[int, dict[MessageState, int]] = {}
        for row in await self._store.fetch(_ENDED, since=id_at(since_ms), since_ms=since_ms):
            ended.setdefault(row["minute"] * 60_000, {})[MessageState(row["state"])] = row["messages"]
        return Counts(
            waiting=await self.waiting(),
            due_in_minutes=due,
            accepted={row["minute"] * 60_000: row["messages"] for row in accepted},
            ended=ended,
        )

    # ----------------------------------------------------------------------------------------- reading

    async def _events(self, ids: Sequence[int]) -> list[Mapping[str, Any]]:
        return await self._store.fetch(_EVENTS, ids=list(ids), low=min(ids), high=max(ids))

    async def _by_ids(self, rows: Sequence[Mapping[str, Any]]) -> list[MessageView]:
        ids = [row["id"] for row in rows]
        if not ids:
            return []
        return await self._views(
            sorted(
                await self._store.fetch(work.MESSAGES, ids=ids, low=min(ids), high=max(ids)),
                key=lambda row: row["id"],
            )
        )

    async def _views(self, rows: Sequence[Mapping[str, Any]]) -> list[MessageView]:
        if not rows:
            return []
        ids = [row["id"] for row in rows]
        queued = {row["id"]: row for row in await self._store.fetch(_QUEUED, ids=ids)}
        events: dict[int, list[Mapping[str, Any]]] = {}
        for row in await self._events(ids):
            events.setdefault(row["message"], []).append(row)
        now = self._store.clock.now_ms()
        return [_view(row, events.get(row["id"], []), queued.get(row["id"]), now) for row in rows]


def _event(row: Mapping[str, Any]) -> Event:
    return Event(**{name: value for name, value in row.items() if name != "sequence"})


def _in_state(states: frozenset[MessageState], now_ms: int) -> Any:
    """Messages whose state is one of these; see `_view`."""
    m = message.c
    over = exists().where(event.c.message == m.id, event.c.kind == EventKind.FINAL.value)
    ends = sorted(int(state) for state in states & FINAL_STATES)
    scheduled = exists().where(
        queue.c.id == m.id,
        queue.c.attempts == 0,
        or_(
            and_(queue.c.reason == QueueReason.SCHEDULED, queue.c.due_at > now_ms),
            and_(queue.c.reason.in_(UNNOTICED), m.schedule_at > now_ms),  # looks like any other
        ),
    )
    options: list[Any] = []
    if ends:
        options.append(over.where(event.c.state.in_(ends)))
    if MessageState.SCHEDULED in states:
        options.append(scheduled)
    if MessageState.ENROUTE in states:
        options.append(and_(~over, ~scheduled))
    return or_(False, *options)


#: They would tell a submitter where somebody is, or that somebody suspects him. Operators see the queue's own reason.
_UNTOLD = (*UNNOTICED, QueueReason.HELD, QueueReason.QUARANTINED, QueueReason.PENDING_CHECK)


def _waits_for(queued: Mapping[str, Any] | None) -> str:
    """Why a message waits, as its submitter may know it: what checks do to it looks like a new one to him."""
    if queued is None:
        return ""
    reason = str(queued["reason"])
    return QueueReason.NEW if reason in _UNTOLD else reason


def _view(
    row: Mapping[str, Any], events: Sequence[Mapping[str, Any]], queued: Mapping[str, Any] | None, now_ms: int
) -> MessageView:
    """Derive a message's state from its rows."""
    final: Mapping[str, Any] | None = None
    stored_at = attempts = 0
    reason = route = ""
    for one in events:
        kind = one["kind"]
        attempts = max(attempts, one["attempt"])
        route = one["route"] or route
        if kind == EventKind.FINAL:
            final = one
        elif kind == EventKind.STORED:
            stored_at = one["at"]
        elif kind == EventKind.ATTEMPT:
            reason = one["reason"]
    if final is not None:
        state, reason = MessageState(final["state"]), final["reason"]
    elif (
        queued is not None
        and not queued["attempts"]
        and (
            (queued["reason"] == QueueReason.SCHEDULED and queued["due_at"] > now_ms)
            or (queued["reason"] in UNNOTICED and row["schedule_at"] > now_ms)
        )
    ):
        state = MessageState.SCHEDULED
    else:
        state = MessageState.ENROUTE
    if queued is not None:
        attempts = max(attempts, queued["attempts"])
    return MessageView(
        message=work.message_of(row, b""),
        state=state,
        reason=reason or _waits_for(queued),
        final_at=final["at"] if final is not None else 0,
        attempts=attempts,
        stored_at=stored_at,
        in_mailbox=bool(stored_at) and final is None,
        queued=queued is not None,
        due_at=queued["due_at"] if queued is not None else 0,
        queue_reason=queued["reason"] if queued is not None else "",
        route=route,
    )
