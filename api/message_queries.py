"""Questions about messages: one, many, and everything that happened to one.

In charge of: reading message rows with what became of them, for the doors that show messages. Not in charge of: text
(the store's `load`), or who may ask (the routes).

What became of a message is in its event rows: at most one FINAL, and STORED or RETRIEVED before it. What it waits for
is in its queue row. There is no column that says it twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, and_, bindparam, exists, select
from sqlalchemy.types import BigInteger

from ..message import EventKind, Ingress, Kind, MessageState, id_at
from ..store.statement import Query, among
from ..store.store import Store
from ..store.tables import event, message, queue

__all__ = ["Asked", "Fate", "find", "look", "trace"]

_KNOWN = [column for column in message.columns if column.name != "tlvs"]
_ONE = Query("api: one message", select(*_KNOWN).where(message.c.id == bindparam("id", type_=BigInteger)))
_FATES = Query(
    "api: what became of some messages",
    select(event)
    .where(
        among(event.c.message, "ids"),
        event.c.kind.in_([EventKind.FINAL.value, EventKind.STORED.value, EventKind.ATTEMPT.value]),
    )
    .order_by(event.c.message, event.c.at, event.c.sequence),
)
_WAITING = Query("api: what some messages wait for", select(queue).where(among(queue.c.id, "ids")))
_TRACE = Query(
    "api: everything that happened to a message",
    select(event)
    .where(event.c.message == bindparam("id", type_=BigInteger))
    .order_by(event.c.at, event.c.sequence)
    .limit(1000),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Filters of a search; all must hold. Times are UTC epoch milliseconds."""

    account: int | None = None
    sender: str = ""  #: normal form
    recipient: str = ""  #: normal form
    since: int = 0
    until: int = 0
    state: MessageState | None = None  #: ENROUTE: not ended yet
    before: int = 0  #: id of the last one on the page before


@dataclass(frozen=True, slots=True)
class Fate:
    """A message and what became of it, so far."""

    row: Mapping[str, Any]  #: of the message table, without TLVs
    ingress: Ingress
    state: MessageState
    reason: str  #: of the end, else of the last attempt, else of the queue
    finished_at: int  #: 0: not ended
    stored_at: int  #: when it went into the mailbox; 0: it did not
    attempts: int
    route: str  #: of the last attempt or the end
    error: str  #: what a peer said at the end or the last attempt, as it was recorded
    waits_for: str  #: queue reason; "" if it does not wait
    due_at: int  #: of the queue row

    @property
    def group(self) -> str:
        """One word for people: pending, stored, delivered, failed, rejected, expired, deleted."""
        if self.state in (MessageState.ENROUTE, MessageState.SCHEDULED):
            return "stored" if self.stored_at and not self.waits_for else "pending"
        return _GROUPS.get(self.state, "failed")

    @property
    def is_code(self) -> bool:
        """True for one-time codes, whose text nobody sees."""
        return self.row["kind"] == Kind.CODE


_GROUPS = {
    MessageState.DELIVERED: "delivered",
    MessageState.EXPIRED: "expired",
    MessageState.DELETED: "deleted",
    MessageState.REJECTED: "rejected",
}


async def look(store: Store, id: int) -> Fate | None:
    """One message."""
    found = await _fates(store, await store.fetch(_ONE, id=id))
    return found[0] if found else None


async def find(store: Store, asked: Asked, limit: int) -> list[Fate]:
    """Messages, newest first."""
    c = message.c
    wanted: list[ColumnElement[bool]] = []
    if asked.account is not None:
        wanted.append(c.account == asked.account)
    for column, value in ((c.sender, asked.sender), (c.recipient, asked.recipient)):
        if value:
            wanted.append(column == value)
    if asked.since:
        wanted.append(c.id >= id_at(asked.since))
    if asked.until:
        wanted.append(c.id < id_at(asked.until))
    if asked.before:
        wanted.append(c.id < asked.before)
    if asked.state is not None:
        ended = and_(event.c.message == c.id, event.c.kind == EventKind.FINAL.value)
        if asked.state is MessageState.ENROUTE:
            wanted.append(~exists().where(ended))
        else:
            wanted.append(exists().where(ended, event.c.state == asked.state.value))
    rows = await store.fetch(select(*_KNOWN).where(*wanted).order_by(c.id.desc()).limit(limit))
    return await _fates(store, rows)


async def trace(store: Store, id: int) -> Sequence[Mapping[str, Any]]:
    """Event rows of a message, in order."""
    return await store.fetch(_TRACE, id=id)


async def _fates(store: Store, rows: Sequence[Mapping[str, Any]]) -> list[Fate]:
    """Messages with their events and queue rows."""
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    events: dict[int, list[Mapping[str, Any]]] = {id: [] for id in ids}
    for happened in await store.fetch(_FATES, ids=ids):
        events[happened["message"]].append(happened)
    waiting = {row["id"]: row for row in await store.fetch(_WAITING, ids=ids)}
    return [_fate(row, events[row["id"]], waiting.get(row["id"])) for row in rows]


def _fate(
    row: Mapping[str, Any], events: Sequence[Mapping[str, Any]], waits: Mapping[str, Any] | None
) -> Fate:
    final = next((e for e in events if e["kind"] == EventKind.FINAL), None)
    stored = next((e for e in reversed(events) if e["kind"] == EventKind.STORED), None)
    last = final or next((e for e in reversed(events) if e["kind"] == EventKind.ATTEMPT), None) or stored
    state = MessageState.ENROUTE
    if final is not None:
        state = MessageState(final["state"])
    elif waits is not None and waits["reason"] == "scheduled":
        state = MessageState.SCHEDULED
    facts = _facts(last["detail"] if last is not None else "")
    return Fate(
        row=row,
        ingress=Ingress.decode(row["ingress"]),
        state=state,
        reason=(last or waits or {"reason": ""})["reason"],
        finished_at=final["at"] if final is not None else 0,
        stored_at=stored["at"] if stored is not None else 0,
        attempts=max((e["attempt"] for e in events), default=0),
        route=last["route"] if last is not None else "",
        error=str(facts.get("status", "") or facts.get("error", "")),
        waits_for=waits["reason"] if waits is not None else "",
        due_at=waits["due_at"] if waits is not None else 0,
    )


def _facts(detail: str) -> Mapping[str, Any]:
    """The detail of an event; events are written by this center, as JSON objects."""
    return cast("dict[str, Any]", json.loads(detail)) if detail else {}
