"""/admin/mailboxes: what is in whose box, without what people wrote.

In charge of: looking at a box as an operator, emptying one, and revealing one message's text with a reason. Not in
charge of: boxes (`mailbox/`). Looking and revealing retrieve nothing: no sender is told.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from ...access.permissions import Permission
from ...access.subscriber import Subscriber
from ..entrance import Identity, Require
from ..mailbox import ItemQuery, ItemView, item_view, wanted_of
from ..numbers import MessageId, id_of
from ..paging import Page, link_next
from ..problems import Problem
from ..rooms import Rooms, doors_of, rooms_of
from ..times import Instant, instant_or_none
from .objects import Reason, reason_of
from .subscribers import number_of

__all__ = ["router"]

router = APIRouter(prefix="/mailboxes", tags=["mailboxes"])

Reader = Annotated[Identity, Depends(Require(Permission.MAILBOXES_READ))]
ContentReader = Annotated[Identity, Depends(Require(Permission.CONTENT_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.SUBSCRIBERS_WRITE))]

Whose = Annotated[
    str,
    Path(pattern=r"^(\+[0-9]{3,15}|sub_[0-9]{1,9})$", description="a number with +, or a subscriber's id"),
]


class BoxView(BaseModel):
    """A box at a glance."""

    subscriber: str
    numbers: list[str]
    state: str
    unread: int
    total: int
    bytes: int
    quota_bytes: int
    quota_messages: int
    oldest_expires_at: Instant | None


class Purged(BaseModel):
    """How many were removed."""

    removed: int


async def _owner(rooms: Rooms, whose: str) -> Subscriber:
    subscribers = rooms.subscribers
    found = await (subscribers.find(whose) if whose.startswith("+") else subscribers.get(number_of(whose)))
    if found is None:
        raise Problem("not-found")
    return found


@router.get("/{whose}", response_model=BoxView)
async def read_box(request: Request, who: Reader, whose: Whose) -> BoxView:
    """How full a box is."""
    rooms = rooms_of(request)
    owner = await _owner(rooms, whose)
    summary = await rooms.box.summary(owner.number, operator=True)
    return BoxView(
        subscriber=owner.id,
        numbers=list(owner.numbers),
        state=owner.state.value,
        unread=summary.unread,
        total=summary.total,
        bytes=summary.bytes,
        quota_bytes=summary.quota_bytes,
        quota_messages=summary.quota_messages,
        oldest_expires_at=instant_or_none(summary.oldest_expires_at),
    )


@router.get("/{whose}/messages", response_model=Page[ItemView])
async def list_box(
    request: Request, response: Response, who: Reader, whose: Whose, query: Annotated[ItemQuery, Query()]
) -> Page[ItemView]:
    """What is in a box, without text; a search in text is not offered."""
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    owner = await _owner(rooms, whose)
    wanted = wanted_of(query)
    if wanted.text:
        raise Problem("invalid-request", "Operators do not search what people wrote.")
    place, filters = f"mailboxes/{owner.id}", query.filters()
    start = cursors.open(place, filters, query.cursor)
    page = await rooms.box.page(
        owner.number, wanted, before=int(start[0]) if start else 0, limit=query.limit, operator=True
    )
    cursor = cursors.seal(place, filters, [page.after]) if page.after else None
    link_next(request, response, cursor)
    masked = [item_view(item).model_copy(update={"text": None, "preview": ""}) for item in page.items]
    return Page(items=masked, next_cursor=cursor)


@router.post("/{whose}/messages/{id}:reveal", response_model=ItemView)
async def reveal_item(
    request: Request, who: ContentReader, whose: Whose, id: MessageId, reason: Reason = None
) -> ItemView:
    """One message of a box in full. Needs X-Reason; it is recorded before anything is shown."""
    rooms = rooms_of(request)
    if not reason_of(reason):
        raise Problem("reason-missing")
    owner = await _owner(rooms, whose)
    item = await rooms.box.peek(owner.number, id_of(id), operator=True, whole=True)
    await record_reveal(rooms, who, str(item.id), reason_of(reason), box=owner.id)
    return item_view(item)


async def record_reveal(rooms: Rooms, who: Identity, target: str, reason: str, **detail: object) -> None:
    """The audit row of a reveal. Raises Problem if it cannot be written: then nothing is shown."""
    async with rooms.audit.entry(who.entry("content.reveal", target, reason, **detail)) as seal:
        answer = await rooms.store.apply(writes=seal())
    if answer.value != "stored":
        raise Problem("store-unavailable", headers={"Retry-After": "5"})


@router.post("/{whose}:purge", response_model=Purged)
async def purge_box(request: Request, who: Writer, whose: Whose, reason: Reason = None) -> Purged:
    """Empty a box for good; senders of what was not read are told that it was deleted."""
    rooms = rooms_of(request)
    owner = await _owner(rooms, whose)
    async with rooms.audit.entry(who.entry("mailbox.purge", owner.id, reason_of(reason))) as seal:
        removed = await rooms.box.purge(owner.number, operator=True, writes=seal())
    return Purged(removed=removed)
