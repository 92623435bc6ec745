"""What became of a message: its state, its trace, and the search for it.

In charge of: reading the message, event and queue rows as one story. Not in charge of: writing them (`writer.py` and
the rooms above), or who may read them (`api/`). Text is read by a method of its own, because it needs a permission of its
own.

Theory: there is no state column. The state of a message is that of its FINAL event; without one it is SCHEDULED while
its queue row waits for its first time, and ENROUTE otherwise. The message row itself is the "accepted" event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, bindparam, func, select

from ..message import Event, EventKind, Message, MessageState, id_at
from .statement import Query, among
from .store import QueueReason, Store
from .tables import body, event, message, queue
from .work import message_of

__all__ = ["Found", "History", "MessageView", "QueueCount", "QueueRow", "Wanted"]

MAX_PAGE = 200
_LOOKED_AT = 2000  #: messages one search by state looks at before it gives a shorter page and a cursor
_MAX_EVENTS = 1000  #: events shown of one message

_ONE = Query("history: a message by id", select(message).where(message.c.id == bindparam("id")))
_EVENTS = Query(
    "history: the events of a message in order",
    select(event)
    .where(event.c.message == bindparam("id"))
    .order_by(event.c.at, event.c.sequence)
    .limit(bindparam("limit", type_=Integer)),
)
_TOLD = Query(
    "history: what the events of some messages say about their state",
    select(event)
    .where(
        among(event.c.message, "ids"),
        event.c.message >= bindparam("low"),
        event.c.message <= bindparam("high"),
        event.c.kind.in_([EventKind.FINAL.value, EventKind.STORED.value]),
    )
    .order_by(event.c.at, event.c.sequence),
)
_QUEUED = Query("history: their queue rows", select(queue).where(among(queue.c.id, "ids")))
_CHILDREN = Query(
    "history: receipts about a message, or the rows of a submit_multi",
    select(message)
    .where(message.c.parent == bindparam("id"), message.c.parent != 0)
    .order_by(message.c.id)
    .limit(100),
)
_TEXT = Query(
    "history: the newest text of a message",
    select(body.c.payload).where(body.c.message == bindparam("id")).order_by(body.c.version.desc()).limit(1),
)
_BY_REASON = Query(
    "history: the queue by reason",
    select(
        queue.c.reason,
        func.count().label("number"),
        func.min(queue.c.due_at).label("first_due_at"),
        func.min(queue.c.id).label("oldest"),
    ).group_by(queue.c.reason),
)
_ITEMS = Query(
    "history: queue rows of a reason, by id",
    select(queue)
    .where(queue.c.reason == bindparam("reason"), queue.c.id > bindparam("after"))
    .order_by(queue.c.id)
    .limit(bindparam("limit", type_=Integer)),
)
_ENDINGS = Query(
    "history: endings of recent messages by state",
    select(event.c.state, func.count().label("number"))
    .where(event.c.message >= bindparam("low"), event.c.kind == EventKind.FINAL.value)
    .group_by(event.c.state),
)
_ACCEPTED = Query(
    "history: how many messages came since",
    select(func.count().label("number")).where(message.c.id >= bindparam("low"), message.c.kind == 0),
)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """What waits."""

    id: int
    recipient: str
    due_at: int
    expires_at: int
    attempts: int
    owner: int
    priority: int
    reason: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> QueueRow:
        """From its row."""
        return cls(
            row["id"],
            row["recipient"],
            row["due_at"],
            row["expires_at"],
            row["attempts"],
            row["owner"],
            row["priority"],
            row["reason"],
        )


@dataclass(frozen=True, slots=True)
class QueueCount:
    """How much waits for one reason."""

    reason: str
    number: int
    first_due_at: int
    oldest_at: int  #: when the oldest was submitted


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message and what became of it. Its body is empty: see `History.text`."""

    message: Message
    state: MessageState
    reason: str = ""  #: of the ending
    final_at: int = 0  #: UTC epoch milliseconds; 0: not ended
    route: str = ""  #: outlet of the ending
    attempts: int = 0
    stored_at: int = 0  #: when it went to the mailbox; 0: it did not
    queued: QueueRow | None = None  #: its row, while it waits


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search looks for. Empty fields are not looked at."""

    account: int | None = None
    sender: str = ""  #: normal form
    recipient: str = ""  #: normal form
    kind: int | None = 0  #: message.Kind; None: every kind
    state: MessageState | None = None
    since: int = 0  #: submitted at or after; UTC epoch milliseconds
    until: int = 0  #: submitted before


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a search, newest first."""

    items: tuple[MessageView, ...]
    before: int  #: id to go on before; 0: there is no more


class History:
    """Reads stories. Every method may raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        """`store` is only read."""
        self._store = store

    async def message(self, id: int) -> MessageView | None:
        """One message, or None if it is not (or no longer) known."""
        rows = await self._store.fetch(_ONE, id=id)
        return (await self._views(rows))[0] if rows else None

    async def trace(self, id: int) -> list[Event]:
        """Everything that happened to a message, oldest first; empty if it is not known."""
        rows = await self._store.fetch(_ONE, id=id)
        if not rows:
            return []
        first = message_of(rows[0], b"")
        events = [event_of(row) for row in await self._store.fetch(_EVENTS, id=id, limit=_MAX_EVENTS)]
        return [accepted(first), *events]

    async def children(self, id: int) -> list[MessageView]:
        """Receipts about a message, or the messages of a submit_multi."""
        return await self._views(await self._store.fetch(_CHILDREN, id=id))

    async def text(self, id: int) -> bytes | None:
        """The newest body; None if it is unknown or past its retention."""
        rows = await self._store.fetch(_TEXT, id=id)
        return bytes(rows[0]["payload"]) if rows else None

    async def search(self, wanted: Wanted, *, before: int = 0, limit: int = 50) -> Found:
        """A page of messages before an id, newest first. One by state may be short and still have more."""
        limit = max(1, min(limit, MAX_PAGE))
        items: list[MessageView] = []
        looked_at = 0
        while True:
            rows = await self._store.fetch(_search(wanted, before, limit + 1))
            more = len(rows) > limit
            rows = rows[:limit]
            looked_at += len(rows)
            for view in await self._views(rows):
                before = view.message.id
                if wanted.state is None or view.state is wanted.state:
                    items.append(view)
                if len(items) == limit:
                    return Found(tuple(items), before if more or view is not items[-1] else 0)
            if not more:
                return Found(tuple(items), 0)
            if looked_at >= _LOOKED_AT:
                return Found(tuple(items), before)

    async def _views(self, rows: Sequence[Mapping[str, Any]]) -> list[MessageView]:
        if not rows:
            return []
        ids = [int(row["id"]) for row in rows]
        told = await self._store.fetch(_TOLD, ids=ids, low=min(ids), high=max(ids))
        queued = {int(row["id"]): QueueRow.of(row) for row in await self._store.fetch(_QUEUED, ids=ids)}
        finals: dict[int, Event] = {}
        stored: dict[int, int] = {}
        for row in told:
            said = event_of(row)
            if said.kind == EventKind.FINAL:
                finals.setdefault(said.message, said)
            else:
                stored.setdefault(said.message, said.at)
        return [
            _view(message_of(row, b""), finals.get(id), stored.get(id, 0), queued.get(id))
            for id, row in zip(ids, rows, strict=True)
        ]

    # ------------------------------------------------------------------------------------------------ overview

    async def queues(self) -> list[QueueCount]:
        """How much waits, by reason."""
        rows = await self._store.fetch(_BY_REASON)
        return [
            QueueCount(row["reason"], row["number"], row["first_due_at"], row["oldest"] >> 20) for row in rows
        ]

    async def queue_items(self, reason: str, *, after: int = 0, limit: int = 50) -> list[QueueRow]:
        """Rows of one reason by id."""
        limit = max(1, min(limit, MAX_PAGE))
        rows = await self._store.fetch(_ITEMS, reason=reason, after=after, limit=limit)
        return [QueueRow.of(row) for row in rows]

    async def since(self, at: int) -> tuple[int, dict[MessageState, int]]:
        """Messages submitted at or after a time (UTC epoch milliseconds), and those of them that ended, by state."""
        low = id_at(at)
        accepted_rows = await self._store.fetch(_ACCEPTED, low=low)
        endings = await self._store.fetch(_ENDINGS, low=low)
        return int(accepted_rows[0]["number"]), {
            MessageState(row["state"]): int(row["number"]) for row in endings
        }


def _search(wanted: Wanted, before: int, limit: int) -> Any:
    found = select(message).order_by(message.c.id.desc()).limit(limit)
    if wanted.account is not None:
        found = found.where(message.c.account == wanted.account)
    if wanted.sender:
        found = found.where(message.c.sender == wanted.sender)
    if wanted.recipient:
        found = found.where(message.c.recipient == wanted.recipient)
    if wanted.kind is not None:
        found = found.where(message.c.kind == wanted.kind)
    if wanted.since:
        found = found.where(message.c.id >= id_at(wanted.since))
    upper = min(filter(None, (before, id_at(wanted.until) if wanted.until else 0)), default=0)
    if upper:
        found = found.where(message.c.id < upper)
    return found


def _view(found: Message, final: Event | None, stored_at: int, queued: QueueRow | None) -> MessageView:
    if final is not None:
        return MessageView(
            found,
            MessageState(final.state),
            final.reason,
            final.at,
            final.route,
            final.attempt,
            stored_at,
            queued,
        )
    state = MessageState.ENROUTE
    if queued is not None and queued.reason == QueueReason.SCHEDULED:
        state = MessageState.SCHEDULED
    return MessageView(
        found, state, attempts=queued.attempts if queued else 0, stored_at=stored_at, queued=queued
    )


def accepted(found: Message) -> Event:
    """The event that the message row itself is."""
    return Event(
        found.id,
        found.submitted_at,
        EventKind.ACCEPTED,
        state=MessageState.SCHEDULED if found.schedule_at else MessageState.ENROUTE,
        account=found.account,
        segments=found.segments,
        detail=found.ingress,
    )


def event_of(row: Mapping[str, Any]) -> Event:
    """From its row."""
    return Event(
        row["message"],
        row["at"],
        row["kind"],
        row["state"],
        row["reason"],
        row["attempt"],
        row["account"],
        row["segments"],
        row["route"],
        row["node"],
        row["detail"],
    )
