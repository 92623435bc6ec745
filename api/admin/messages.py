"""/admin/messages: where is my message?

In charge of: search, one message, its trace, revealing its text with a reason, and letting go or ending a parked one.
Not in charge of: what happens to messages (`smsc/`).

Text is never in a list or a trace. A one-time code is shown to nobody (behaviour.md 11).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...message import EventKind, Kind, MessageState
from ...smsc.text import codings
from ...store.store import Answer
from ..entrance import Identity, Require
from ..message_queries import Asked, Fate, find, look, trace
from ..numbers import MessageId, id_of, normal_of, shown
from ..paging import Page, PageQuery, link_next
from ..problems import Problem
from ..rooms import Rooms, doors_of, rooms_of
from ..search import words_of
from ..times import GivenTime, Instant, instant, instant_or_none, ms_of
from .mailboxes import record_reveal
from .objects import Reason, reason_of

__all__ = ["router"]

router = APIRouter(prefix="/messages", tags=["messages"])

Reader = Annotated[Identity, Depends(Require(Permission.MESSAGES_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.MESSAGES_WRITE))]
ContentReader = Annotated[Identity, Depends(Require(Permission.CONTENT_READ))]

StateName = Literal["enroute", "delivered", "expired", "deleted", "undeliverable", "rejected", "skipped"]


class MessageQuery(PageQuery):
    """Filters; all of them must hold."""

    account: str | None = Field(default=None, max_length=32, description="acc_12 or a system_id")
    sender: str | None = Field(default=None, alias="from", max_length=64)
    to: str | None = Field(default=None, max_length=64)
    state: StateName | None = None
    since: GivenTime | None = None
    until: GivenTime | None = None
    q: str | None = Field(
        default=None, max_length=200, description="from: to: account: state: id: before: after:, or a number"
    )


class IngressView(BaseModel):
    """The door it came through."""

    door: str
    name: str
    peer: str
    authenticated: str


class MessageView(BaseModel):
    """A message without its text."""

    id: str
    parent: str | None = Field(description="receipts: the message reported on; submit_multi: the public id")
    kind: str
    account: str | None
    sender: str
    recipient: str
    state: str
    group: str = Field(description="pending, stored, delivered, failed, rejected, expired, deleted")
    reason: str
    error: str
    route: str
    attempts: int
    waits_for: str | None = Field(description="retry, scheduled, held, quarantined …")
    due_at: Instant | None
    submitted_at: Instant
    expires_at: Instant
    stored_at: Instant | None = Field(description="went into the mailbox")
    finished_at: Instant | None
    segments: int
    part: str | None = Field(description="2/3 of a multipart message")
    data_coding: int
    esm_class: int
    priority: int
    registered_delivery: int
    ingress: IngressView


class EventView(BaseModel):
    """One thing that happened."""

    at: Instant
    after_ms: int = Field(description="since it was submitted")
    kind: str
    state: str
    reason: str
    attempt: int
    route: str
    node: int
    detail: dict[str, Any]


class TraceView(BaseModel):
    """Everything that happened, in order."""

    message: MessageView
    events: list[EventView]


class ContentView(BaseModel):
    """What was written."""

    id: str
    text: str | None = Field(description="null if it is no text")
    data: str = Field(description="octets in hexadecimal")
    encoding: str


class Decision(BaseModel):
    """What became of a parked message."""

    id: str
    done: bool = True


def message_view(fate: Fate) -> MessageView:
    """A message as it is shown."""
    row = fate.row
    return MessageView(
        id=str(row["id"]),
        parent=str(row["parent"]) if row["parent"] else None,
        kind=Kind(row["kind"]).name.lower(),
        account=f"acc_{row['account']}" if row["account"] else None,
        sender=shown(row["sender"]),
        recipient=shown(row["recipient"]),
        state=fate.state.name.lower(),
        group=fate.group,
        reason=fate.reason,
        error=fate.error,
        route=fate.route,
        attempts=fate.attempts,
        waits_for=fate.waits_for or None,
        due_at=instant_or_none(fate.due_at),
        submitted_at=instant(row["submitted_at"]),
        expires_at=instant(row["expires_at"]),
        stored_at=instant_or_none(fate.stored_at),
        finished_at=instant_or_none(fate.finished_at),
        segments=row["segments"],
        part=f"{row['part_number']}/{row['part_total']}" if row["part_total"] else None,
        data_coding=row["data_coding"],
        esm_class=row["esm_class"],
        priority=row["priority_flag"],
        registered_delivery=row["registered_delivery"],
        ingress=IngressView(
            door=fate.ingress.door,
            name=fate.ingress.name,
            peer=fate.ingress.peer,
            authenticated=fate.ingress.authenticated,
        ),
    )


def _account(rooms: Rooms, text: str) -> int:
    """An account by id or system_id; -1, which finds nothing, for an unknown one."""
    known = rooms.registry.snapshot(rooms.account_kind).get(text)
    if known is not None:
        return known.number
    digits = text.removeprefix("acc_")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else -1


def _asked(rooms: Rooms, query: MessageQuery, before: int) -> Asked:
    words = words_of(query.q or "")
    account, sender = query.account or words.account, query.sender or words.sender
    recipient = query.to or words.recipient or words.text
    state = (query.state or words.state).upper()
    if state and state not in MessageState.__members__:
        raise Problem("invalid-request", "state: names a state of a message")
    return Asked(
        account=_account(rooms, account) if account else None,
        sender=normal_of(sender) if sender else "",
        recipient=normal_of(recipient) if recipient else "",
        since=max(ms_of(query.since) if query.since else 0, words.after),
        until=min((t for t in (ms_of(query.until) if query.until else 0, words.before) if t), default=0),
        state=MessageState[state] if state else None,
        before=before,
    )


async def _existing(rooms: Rooms, id: str) -> Fate:
    found = await look(rooms.store, id_of(id))
    if found is None:
        raise Problem("not-found")
    return found


@router.get("", response_model=Page[MessageView])
async def search_messages(
    request: Request, response: Response, who: Reader, query: Annotated[MessageQuery, Query()]
) -> Page[MessageView]:
    """Messages, newest first. Text is not searched and not shown."""
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    start = cursors.start("messages", query)
    named = words_of(query.q or "").id
    if named:
        fate = await look(rooms.store, id_of(named)) if named.isascii() and named.isdecimal() else None
        return Page(items=[message_view(fate)] if fate else [])
    found = await find(rooms.store, _asked(rooms, query, int(start[0]) if start else 0), query.limit + 1)
    views = [message_view(fate) for fate in found]
    page = cursors.page("messages", query, views, [[fate.row["id"]] for fate in found])
    link_next(request, response, page.next_cursor)
    return page


@router.get("/{id}", response_model=MessageView)
async def read_message(request: Request, who: Reader, id: MessageId) -> MessageView:
    """One message without its text."""
    return message_view(await _existing(rooms_of(request), id))


@router.get("/{id}/trace", response_model=TraceView)
async def trace_message(request: Request, who: Reader, id: MessageId) -> TraceView:
    """Everything that happened to a message, in order, from its acceptance on."""
    rooms = rooms_of(request)
    fate = await _existing(rooms, id)
    begin = fate.row["submitted_at"]
    accepted = EventView(
        at=instant(begin),
        after_ms=0,
        kind=EventKind.ACCEPTED.value,
        state=MessageState.ENROUTE.name.lower(),
        reason="",
        attempt=0,
        route="",
        node=(fate.row["id"] >> 10) & 1023,
        detail={"door": fate.ingress.door, "name": fate.ingress.name, "peer": fate.ingress.peer},
    )
    events = [
        EventView(
            at=instant(row["at"]),
            after_ms=row["at"] - begin,
            kind=row["kind"],
            state=MessageState(row["state"]).name.lower(),
            reason=row["reason"],
            attempt=row["attempt"],
            route=row["route"],
            node=row["node"],
            detail=json.loads(row["detail"]) if row["detail"] else {},
        )
        for row in await trace(rooms.store, fate.row["id"])
    ]
    return TraceView(message=message_view(fate), events=[accepted, *events])


@router.post("/{id}:reveal", response_model=ContentView)
async def reveal_message(
    request: Request, who: ContentReader, id: MessageId, reason: Reason = None
) -> ContentView:
    """The text of a message. Needs X-Reason; it is recorded before anything is shown."""
    rooms = rooms_of(request)
    if not reason_of(reason):
        raise Problem("reason-missing")
    fate = await _existing(rooms, id)
    if fate.is_code:
        raise Problem("forbidden", "One-time codes are shown to nobody.")
    await record_reveal(rooms, who, str(fate.row["id"]), reason_of(reason), recipient=fate.row["recipient"])
    found = await rooms.store.load([fate.row["id"]])
    if not found:
        raise Problem("gone", "The text is not kept any more.")
    body = found[0].body
    account = rooms.registry.snapshot(rooms.account_kind).by_number(found[0].account)
    alphabet = codings.DefaultAlphabet(account.default_alphabet) if account else codings.DefaultAlphabet.GSM7
    decoded = codings.decode(found[0].data_coding, body, alphabet, has_udh=bool(found[0].esm_class & 0x40))
    return ContentView(id=id, text=decoded.text, data=body.hex(), encoding=decoded.coding.value)


# ------------------------------------------------------------------------------------------------- parked messages


@router.post("/{id}:{verb}", response_model=Decision, name="decide about a parked message")
async def decide(
    request: Request, who: Writer, id: MessageId, verb: Literal["release", "discard"], reason: Reason = None
) -> Decision:
    """Let a held or quarantined message go, or end it as rejected."""
    rooms = rooms_of(request)
    fate = await _existing(rooms, id)
    number, note = fate.row["id"], reason_of(reason)
    async with rooms.audit.entry(who.entry(f"message.{verb}", id, note)) as seal:
        if verb == "release":
            answer, message = await rooms.holding.release(number, who.owner, note, seal())
            receipts = ()
        else:
            answer, receipts = await rooms.holding.discard(number, who.owner, note, seal())
            message = None
    if answer is Answer.CONFLICT:
        raise Problem("conflict", "The message is not parked, or not any more.")
    if answer is not Answer.STORED:
        raise Problem("store-unavailable", headers={"Retry-After": "5"})
    for receipt in receipts:
        rooms.delivery.admit(receipt)
    if message is not None:
        rooms.delivery.wake(message.recipient)
    return Decision(id=id)
