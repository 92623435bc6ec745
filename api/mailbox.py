"""/mailbox: a subscriber's own box.

In charge of: the routes of the box and their forms. Not in charge of: what they do (`mailbox/`), live changes
(`mailbox_live.py`), signing in (`auth.py`).

Reading one message in full is its retrieval: the sender's receipt says delivered. Lists, and `?peek=true`, show a
preview of what was not opened, and retrieve nothing (behaviour.md 1).
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ..mailbox.folders import Folder
from ..mailbox.item import Item
from ..mailbox.model import BatchAction, BoxError, Choices, Wanted
from ..message import MessageState
from .entrance import Identity, Subscriber
from .etags import IfMatch, etag, etag_version, version_of
from .numbers import MessageId, id_of, normal_of, shown
from .paging import PageQuery, link_next
from .problems import Problem
from .rooms import doors_of, rooms_of
from .search import words_of
from .times import GivenTime, Instant, instant, instant_or_none, ms_of

__all__ = ["ItemView", "item_view", "router", "state_text"]

router = APIRouter(prefix="/mailbox", tags=["mailbox"])

FRESH_MS = 300_000  #: age of a session that may delete everything
FolderName = Literal["inbox", "sent", "saved", "trash"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MailboxView(BaseModel):
    """A box at a glance."""

    address: str = Field(description="the first of the numbers")
    addresses: list[str]
    unread: int
    total: int
    bytes: int
    quota_bytes: int
    quota_messages: int
    state: str = Field(description="for /mailbox/changes")
    oldest_expires_at: Instant | None = Field(description="when the oldest message is removed for its age")


class ItemView(BaseModel):
    """A message in a box."""

    id: str
    rev: int
    kind: str
    direction: Literal["in", "out"]
    peer: str
    sender: str
    recipient: str
    text: str | None = Field(description="null until it was opened")
    preview: str
    encoding: str
    folder: FolderName
    read: bool
    starred: bool
    stored_because: str
    state: str
    received_at: Instant
    stored_at: Instant
    expires_at: Instant | None
    retrieved_at: Instant | None
    delivered_at: Instant | None
    segments: int
    bytes: int
    parts_total: int
    parts_missing: list[int]
    conversation_id: str


class ItemPage(BaseModel):
    """Part of a box."""

    items: list[ItemView]
    next_cursor: str | None = None
    state: str


class ItemQuery(PageQuery):
    """Filters; all of them must hold."""

    folder: FolderName | None = Field(default=None, description="without it: all but the bin")
    unread: bool = False
    starred: bool = False
    kind: Literal["sms", "mms"] | None = None
    sender: str | None = Field(default=None, alias="from", max_length=64)
    peer: str | None = Field(default=None, max_length=64, description="one conversation")
    since: GivenTime | None = None
    until: GivenTime | None = None
    q: str | None = Field(
        default=None, max_length=200, description="words, and from: kind: is:unread is:starred before: after:"
    )


class ItemPatch(_Request):
    """What its owner may change of a message."""

    read: bool | None = None
    starred: bool | None = None
    folder: FolderName | None = None


class BatchRequest(_Request):
    """The same for many."""

    ids: list[Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]] = Field(min_length=1, max_length=500)
    action: BatchAction
    folder: FolderName | None = Field(default=None, description="with move, and only then")


class BatchItem(BaseModel):
    """What became of one of them."""

    id: str
    ok: bool
    problem: str | None = None


class BatchAnswer(BaseModel):
    """In the order of the request."""

    results: list[BatchItem]


class ConversationView(BaseModel):
    """A correspondent."""

    id: str
    peer: str
    total: int
    unread: int
    newest: ItemView


class ConversationPage(BaseModel):
    """Correspondents, the newest message first."""

    items: list[ConversationView]
    next_cursor: str | None = None


class SettingsView(_Request):
    """What a subscriber may choose."""

    retention_days: int = Field(default=0, ge=0, le=3650, description="0: as the center does")
    notify: bool = Field(default=True, description="short messages about what waits")
    auto_read: bool = Field(default=True, description="opening marks as read")
    language: str = Field(default="", max_length=16, description="of notices; empty: the center's")


#: By their numbers; asking the enumerations costs more.
_FOLDERS = {folder: folder.word for folder in Folder}
_STATES = {state: state.name.lower() for state in MessageState}
_STATES[MessageState.ENROUTE] = "stored"


def item_fields(item: Item) -> dict[str, Any]:
    """The fields of an `ItemView`. Lists send them as they are: making 50 models costs more than all the rest."""
    peer = shown(item.peer)
    return {
        "id": str(item.id),
        "rev": item.rev,
        "kind": item.kind,
        "direction": "out" if item.outgoing else "in",
        "peer": peer,
        "sender": shown(item.sender),
        "recipient": shown(item.recipient),
        "text": item.text,
        "preview": item.preview,
        "encoding": item.coding,
        "folder": _FOLDERS[item.folder],
        "read": item.read,
        "starred": item.starred,
        "stored_because": item.because,
        "state": _STATES[item.state],
        "received_at": instant(item.received_at),
        "stored_at": instant(item.stored_at),
        "expires_at": instant_or_none(item.expires_at),
        "retrieved_at": instant_or_none(item.retrieved_at),
        "delivered_at": instant_or_none(item.delivered_at),
        "segments": item.segments,
        "bytes": item.bytes,
        "parts_total": item.parts_total,
        "parts_missing": list(item.parts_missing),
        "conversation_id": peer,
    }


def item_view(item: Item) -> ItemView:
    """An item as it is shown. Values are of the right types already, so nothing is checked again."""
    return ItemView.model_construct(**item_fields(item))


def state_text(state: int) -> str:
    """A state of the change feed, opaque to clients."""
    return f"s{state}"


def wanted_of(query: ItemQuery) -> Wanted:
    """The filters that a query means, its words included."""
    words = words_of(query.q or "")
    sender = query.sender or words.sender
    return Wanted(
        folder=Folder.of(query.folder) if query.folder else None,
        unread=query.unread or words.unread,
        starred=query.starred or words.starred,
        kind=query.kind or words.kind,
        sender=normal_of(sender) if sender else "",
        peer=normal_of(query.peer) if query.peer else "",
        since=max(ms_of(query.since) if query.since else 0, words.after),
        until=min((t for t in (ms_of(query.until) if query.until else 0, words.before) if t), default=0),
        text=words.text,
    )


# ----------------------------------------------------------------------------------------------------------- the box


@router.get("", response_model=MailboxView)
async def read_mailbox(request: Request, who: Subscriber) -> MailboxView:
    """How full the box is, and where its change feed stands."""
    summary = await rooms_of(request).box.summary(who.number)
    assert who.subscriber is not None
    return MailboxView(
        address=who.name,
        addresses=list(who.subscriber.numbers),
        unread=summary.unread,
        total=summary.total,
        bytes=summary.bytes,
        quota_bytes=summary.quota_bytes,
        quota_messages=summary.quota_messages,
        state=state_text(summary.state),
        oldest_expires_at=instant_or_none(summary.oldest_expires_at),
    )


@router.delete("", status_code=204)
async def empty_mailbox(request: Request, who: Subscriber) -> None:
    """Remove everything for good. Needs a session that began within five minutes."""
    rooms = rooms_of(request)
    assert who.session is not None
    if rooms.store.clock.now_ms() - who.session.created_at > FRESH_MS:
        raise Problem("fresh-code-needed")
    async with rooms.audit.entry(who.entry("mailbox.empty", who.owner)) as seal:
        await rooms.box.purge(who.number, writes=seal())


@router.get("/messages", response_model=ItemPage)
async def list_messages(
    request: Request, response: Response, who: Subscriber, query: Annotated[ItemQuery, Query()]
) -> Response:
    """Messages, newest first."""
    cursors = doors_of(request).cursors
    filters = query.filters()
    start = cursors.open(f"mailbox/{who.owner}", filters, query.cursor)
    page = await rooms_of(request).box.page(
        who.number, wanted_of(query), before=int(start[0]) if start else 0, limit=query.limit
    )
    cursor = cursors.seal(f"mailbox/{who.owner}", filters, [page.after]) if page.after else None
    link_next(request, response, cursor)
    body = {
        "items": [item_fields(item) for item in page.items],
        "next_cursor": cursor,
        "state": state_text(page.state),
    }
    return Response(orjson.dumps(body), headers=response.headers, media_type="application/json")


@router.get("/messages/{id}", response_model=ItemView)
async def read_message(
    request: Request,
    response: Response,
    who: Subscriber,
    id: MessageId,
    peek: Annotated[bool, Query(description="show it as a list does; retrieves nothing")] = False,
) -> ItemView:
    """One message in full. The first time, this delivers it: its sender is told."""
    box = rooms_of(request).box
    item = await (box.peek(who.number, id_of(id)) if peek else box.open(who.number, id_of(id)))
    response.headers["ETag"] = etag(item.rev)
    return item_view(item)


@router.patch("/messages/{id}", response_model=ItemView)
async def change_message(
    request: Request,
    response: Response,
    who: Subscriber,
    id: MessageId,
    body: ItemPatch,
    if_match: IfMatch = None,
) -> ItemView:
    """Mark as read or not, star, move. If-Match is optional: flags commute."""
    item = await rooms_of(request).box.change(
        who.number,
        id_of(id),
        read=body.read,
        starred=body.starred,
        folder=Folder.of(body.folder) if body.folder else None,
        if_match=etag_version(if_match) if if_match is not None else None,
    )
    response.headers["ETag"] = etag(item.rev)
    return item_view(item)


@router.delete("/messages/{id}", status_code=204)
async def delete_message(
    request: Request,
    who: Subscriber,
    id: MessageId,
    permanent: Annotated[bool, Query(description="not into the bin")] = False,
) -> None:
    """Into the bin; from there, or with `permanent`, for good."""
    await rooms_of(request).box.delete(who.number, id_of(id), permanent=permanent)


@router.post("/messages:batch", response_model=BatchAnswer, response_model_exclude_none=True)
async def change_messages(request: Request, who: Subscriber, body: BatchRequest) -> BatchAnswer:
    """One action on up to 500 messages; one that fails leaves the others alone."""
    rooms = rooms_of(request)
    if (body.action is BatchAction.MOVE) != (body.folder is not None):
        raise Problem("invalid-request", "folder goes with move, and only with it")
    ids = [id_of(id) for id in body.ids]
    if body.action is BatchAction.REDELIVER:
        return BatchAnswer(results=[await _redeliver_one(request, who, id) for id in ids])
    folder = Folder.of(body.folder) if body.folder else None
    done = await rooms.box.batch(who.number, ids, body.action, folder=folder)
    return BatchAnswer(
        results=[BatchItem(id=str(r.id), ok=not r.problem, problem=r.problem or None) for r in done]
    )


async def _redeliver_one(request: Request, who: Identity, id: int) -> BatchItem:
    try:
        await rooms_of(request).redelivery.request(who.number, id)
    except BoxError as error:
        return BatchItem(id=str(id), ok=False, problem=error.reason)
    return BatchItem(id=str(id), ok=True)


@router.post(
    "/messages/{id}/redeliver", status_code=202, response_model=BatchItem, response_model_exclude_none=True
)
async def redeliver_message(request: Request, who: Subscriber, id: MessageId) -> BatchItem:
    """Send it to the handset now."""
    await rooms_of(request).redelivery.request(who.number, id_of(id))
    return BatchItem(id=id, ok=True)


@router.get("/conversations", response_model=ConversationPage)
async def list_conversations(
    request: Request, response: Response, who: Subscriber, query: Annotated[PageQuery, Query()]
) -> ConversationPage:
    """Correspondents, the one with the newest message first."""
    cursors, place = doors_of(request).cursors, f"conversations/{who.owner}"
    start = cursors.start(place, query)
    found = await rooms_of(request).box.conversations(
        who.number, before=int(start[0]) if start else 0, limit=query.limit
    )
    cursor = None
    if len(found) == query.limit:
        cursor = cursors.seal(place, query.filters(), [found[-1].newest.id])
    link_next(request, response, cursor)
    views = [
        ConversationView(
            id=shown(one.peer),
            peer=shown(one.peer),
            total=one.total,
            unread=one.unread,
            newest=item_view(one.newest),
        )
        for one in found
    ]
    return ConversationPage(items=views, next_cursor=cursor)


# ---------------------------------------------------------------------------------------------------------- settings


def _settings_view(choices: Choices) -> SettingsView:
    return SettingsView(
        retention_days=choices.retention_days,
        notify=choices.notify,
        auto_read=choices.auto_read,
        language=choices.language,
    )


@router.get("/settings", response_model=SettingsView)
async def read_settings(request: Request, response: Response, who: Subscriber) -> SettingsView:
    """What you chose."""
    choices = await rooms_of(request).box.choices(who.number)
    response.headers["ETag"] = etag(choices.version)
    return _settings_view(choices)


@router.put("/settings", response_model=SettingsView)
async def write_settings(
    request: Request, response: Response, who: Subscriber, body: SettingsView, if_match: IfMatch = None
) -> SettingsView:
    """Choose; needs If-Match with the ETag of what is there."""
    version = version_of(if_match)
    new = Choices(body.retention_days, body.notify, body.auto_read, body.language)
    try:
        choices = await rooms_of(request).box.choose(who.number, new, if_match=version)
    except ValueError as error:
        raise Problem("invalid-request", str(error)) from error
    response.headers["ETag"] = etag(choices.version)
    return _settings_view(choices)


# ------------------------------------------------------------------------------------------------------------ export

_COLUMNS = (
    "id",
    "direction",
    "peer",
    "sender",
    "recipient",
    "received_at",
    "folder",
    "read",
    "starred",
    "text",
)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/json": {}, "text/csv": {}}, "description": "The whole box"}},
)
async def export_mailbox(
    request: Request,
    who: Subscriber,
    format: Annotated[Literal["json", "csv"], Query()] = "json",
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """Everything but the bin, in full. Giving it away is retrieval."""
    items = rooms_of(request).box.export(who.number)
    await rooms_of(request).box.check_open(who.number)
    kind = "application/json" if format == "json" else "text/csv; charset=utf-8"
    body = _as_json(items) if format == "json" else _as_csv(items)
    name = f'attachment; filename="mailbox.{format}"'
    return StreamingResponse(body, media_type=kind, headers={"Content-Disposition": name})


async def _as_json(items: AsyncIterator[Item]) -> AsyncIterator[str]:
    yield '{"items":['
    first = True
    async for item in items:
        yield ("" if first else ",") + item_view(item).model_dump_json()
        first = False
    yield "]}"


async def _as_csv(items: AsyncIterator[Item]) -> AsyncIterator[str]:
    """Cells that a spreadsheet would run as a formula get an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    async for item in items:
        view = item_view(item)
        writer.writerow([_cell(getattr(view, name)) for name in _COLUMNS])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    harmless = text.startswith("+") and text[1:].isdecimal()
    return f"'{text}" if text[:1] in "=+-@\t\r" and text and not harmless else text
