"""/admin/messages: where is my message?

In charge of: search, one message, its trace, revealing its text with a reason, cancelling and replacing one that waits,
and letting go or ending a parked one. Not in charge of: what happens to messages (`smsc/`).

Text is never in a list or a trace. A one-time code is shown to nobody (behaviour.md 11).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...message import Ingress, Kind, MessageState, Role
from ...smsc.text import codings
from ...store.history import Filters
from ...store.history import MessageView as Fate
from ...store.store import Answer
from ..entrance import Identity, Require
from ..groups import group_of
from ..numbers import MessageId, id_of, normal_of, shown
from ..paging import Page, PageQuery, link_next
from ..problems import Problem
from ..recalls import Recalled, ReplaceRequest, refused_recall, replacement_of
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

StateName = Literal[
    "scheduled", "enroute", "delivered", "expired", "deleted", "undeliverable", "rejected", "skipped"
]


class MessageQuery(PageQuery):
    """Filters; all of them must hold."""

    account: str | None = Field(default=None, max_length=32, description="acc_12 or a system_id")
    sender: str | None = Field(default=None, alias="from", max_length=64)
    to: str | None = Field(default=None, max_length=64)
    state: StateName | None = None
    kind: Literal["message", "receipt", "notice", "code", "answer"] | None = None
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


def message_view(view: Fate) -> MessageView:
    """A message as it is shown."""
    message = view.message
    ingress = Ingress.decode(message.ingress)
    return MessageView(
        id=str(message.id),
        parent=str(message.parent) if message.parent else None,
        kind=Kind(message.kind).name.lower(),
        account=f"acc_{message.account}" if message.account else None,
        sender=shown(message.sender),
        recipient=shown(message.recipient),
        state=view.state.name.lower(),
        group=group_of(view),
        reason=view.reason,
        route=view.route,
        attempts=view.attempts,
        waits_for=view.queue_reason or None,
        due_at=instant_or_none(view.due_at),
        submitted_at=instant(message.submitted_at),
        expires_at=instant(message.expires_at),
        stored_at=instant_or_none(view.stored_at),
        finished_at=instant_or_none(view.final_at),
        segments=message.segments,
        part=f"{message.part_number}/{message.part_total}" if message.part_total else None,
        data_coding=message.data_coding,
        esm_class=message.esm_class,
        priority=message.priority_flag,
        registered_delivery=message.registered_delivery,
        ingress=IngressView(
            door=ingress.door, name=ingress.name, peer=ingress.peer, authenticated=ingress.authenticated
        ),
    )


def _account(rooms: Rooms, text: str) -> int:
    """An account by id or system_id; -1, which finds nothing, for an unknown one."""
    known = rooms.registry.snapshot(rooms.account_kind).get(text)
    if known is not None:
        return known.number
    digits = text.removeprefix("acc_")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else -1


def _asked(rooms: Rooms, query: MessageQuery) -> Filters:
    words = words_of(query.q or "")
    account, sender = query.account or words.account, query.sender or words.sender
    recipient = query.to or words.recipient or words.text
    state = (query.state or words.state).upper()
    if state and state not in MessageState.__members__:
        raise Problem("invalid-request", "state: names a state of a message")
    if words.id and not (words.id.isascii() and words.id.isdecimal() and len(words.id) < 20):
        raise Problem("invalid-request", "id: is a decimal number")
    return Filters(
        id=id_of(words.id) if words.id else 0,
        account=_account(rooms, account) if account else None,
        sender=normal_of(sender) if sender else "",
        recipient=normal_of(recipient) if recipient else "",
        states=frozenset({MessageState[state]}) if state else frozenset(),
        kinds=frozenset({Kind[query.kind.upper()]}) if query.kind else frozenset(Kind),
        since=max(ms_of(query.since) if query.since else 0, words.after),
        until=min((t for t in (ms_of(query.until) if query.until else 0, words.before) if t), default=0),
    )


async def _existing(rooms: Rooms, id: str) -> Fate:
    found = await rooms.history.message(id_of(id))
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
    asked, before = _asked(rooms, query), int(start[0]) if start else 0
    found = await rooms.history.search(asked, before, query.limit + 1)
    views = [message_view(fate) for fate in found]
    page = cursors.page("messages", query, views, [[fate.message.id] for fate in found])
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
    view = await _existing(rooms, id)
    begin = view.message.submitted_at
    events = [
        EventView(
            at=instant(one.at),
            after_ms=one.at - begin,
            kind=one.kind,
            state=MessageState(one.state).name.lower(),
            reason=one.reason,
            attempt=one.attempt,
            route=one.route,
            node=one.node,
            detail=json.loads(one.detail) if one.detail else {},
        )
        for one in await rooms.history.trace(view.message.id)
    ]
    return TraceView(message=message_view(view), events=events)


@router.post("/{id}:reveal", response_model=ContentView)
async def reveal_message(
    request: Request, who: ContentReader, id: MessageId, reason: Reason = None
) -> ContentView:
    """The text of a message. Needs X-Reason; it is recorded before anything is shown."""
    rooms = rooms_of(request)
    if not reason_of(reason):
        raise Problem("reason-missing")
    message = (await _existing(rooms, id)).message
    if message.kind == Kind.CODE:
        raise Problem("forbidden", "One-time codes are shown to nobody.")
    await record_reveal(rooms, who, str(message.id), reason_of(reason), recipient=message.recipient)
    body = (await rooms.history.texts([message.id])).get(message.id)
    if body is None:
        raise Problem("gone", "The text is not kept any more.")
    account = rooms.registry.snapshot(rooms.account_kind).by_number(message.account)
    alphabet = codings.DefaultAlphabet(account.default_alphabet) if account else codings.DefaultAlphabet.GSM7
    decoded = codings.decode(message.data_coding, body, alphabet, has_udh=bool(message.esm_class & 0x40))
    return ContentView(id=id, text=decoded.text, data=body.hex(), encoding=decoded.coding.value)


# ------------------------------------------------------------------------------------------------- while it waits


def _by(who: Identity) -> Ingress:
    return Ingress(door="admin", account=0, role=Role.SYSTEM, name=who.owner, peer=who.peer)


async def _waiting(rooms: Rooms, id: str) -> Fate:
    """A message that an account sent, and that is not over. Raises Problem."""
    fate = await _existing(rooms, id)
    if fate.message.is_system:
        raise Problem("conflict", "It is a message of the center itself.")
    if fate.final_at:
        raise Problem("conflict", "The message is over.")
    return fate


@router.post("/{id}:cancel", response_model=Recalled)
async def cancel_message(request: Request, who: Writer, id: MessageId, reason: Reason = None) -> Recalled:
    """Cancel a message that waits. It ends as deleted, with the receipt that its sender asked for."""
    rooms = rooms_of(request)
    fate = await _waiting(rooms, id)
    async with rooms.audit.entry(who.entry("message.cancel", id, reason_of(reason))) as seal:
        refused = await rooms.recall.cancel_row(fate.message.id, _by(who), seal())
    if refused is not None:
        raise refused_recall(refused)
    return Recalled(id=id)


@router.post("/{id}:replace", response_model=Recalled)
async def replace_message(
    request: Request, who: Writer, id: MessageId, body: ReplaceRequest, reason: Reason = None
) -> Recalled:
    """Give a message that waits another text, and perhaps other times. Needs X-Reason: it speaks for its sender."""
    rooms = rooms_of(request)
    if not reason_of(reason):
        raise Problem("reason-missing")
    message = (await _waiting(rooms, id)).message
    account = rooms.registry.snapshot(rooms.account_kind).by_number(message.account)
    if account is None:
        raise Problem("conflict", "The account that sent it does not exist any more.")
    new = replacement_of(body, message, account, rooms.store.clock.now_ms())
    async with rooms.audit.entry(who.entry("message.replace", id, reason_of(reason))) as seal:
        refused = await rooms.recall.replace(account, message.id, new, _by(who), writes=seal())
    if refused is not None:
        raise refused_recall(refused)
    return Recalled(id=id)


# ------------------------------------------------------------------------------------------------- parked messages


@router.post("/{id}:{verb}", response_model=Decision, name="decide about a parked message")
async def decide(
    request: Request, who: Writer, id: MessageId, verb: Literal["release", "discard"], reason: Reason = None
) -> Decision:
    """Let a held or quarantined message go, or end it as rejected."""
    rooms = rooms_of(request)
    fate = await _existing(rooms, id)
    number, note = fate.message.id, reason_of(reason)
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
    if message is not None:
        rooms.delivery.wake(message.recipient)
    else:
        rooms.delivery.concluded(number, MessageState.REJECTED, receipts=receipts)
    return Decision(id=id)
