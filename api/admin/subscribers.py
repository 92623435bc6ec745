"""/admin/subscribers: who has which number.

In charge of: provisioning one by one and by CSV, and every step of a subscriber's life. Not in charge of: what the
steps mean (`access/subscribers.py`), what is in a box (`mailboxes.py`).

Whoever may no longer read is signed out in the transaction that says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...access.permissions import Permission
from ...access.subscriber import Subscriber, SubscriberState
from ...outlet import Write
from ..auth import Msisdn
from ..entrance import Identity, Require
from ..etags import IfMatch, etag, version_of
from ..paging import Page, PageQuery, link_next
from ..problems import Problem
from ..rooms import Rooms, doors_of, rooms_of
from ..times import Instant, instant, instant_or_none
from .objects import Id, Reason, reason_of

__all__ = ["number_of", "router"]

router = APIRouter(prefix="/subscribers", tags=["subscribers"])

Reader = Annotated[Identity, Depends(Require(Permission.SUBSCRIBERS_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.SUBSCRIBERS_WRITE))]

IMPORT_ROWS = 100_000
Imsi = Annotated[str, Field(pattern=r"^([0-9]{6,15})?$", description="empty: not known")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SubscriberView(BaseModel):
    """A subscriber."""

    id: str
    state: SubscriberState
    reason: str
    imsi: str
    numbers: list[str]
    origin: str
    successor: str | None
    created_at: Instant
    changed_at: Instant
    closed_at: Instant | None
    version: int


class SubscriberQuery(PageQuery):
    """Filters; one of them at a time."""

    state: SubscriberState | None = None
    prefix: str | None = Field(default=None, pattern=r"^\+?[0-9]{1,15}$", description="start of a number")


class NewSubscriber(_Request):
    """A subscriber to be made."""

    numbers: list[Msisdn] = Field(min_length=1, max_length=20)
    imsi: Imsi = ""


class NumberRequest(_Request):
    """A number."""

    msisdn: Msisdn


class ReassignRequest(NumberRequest):
    """A number that goes to somebody else."""

    imsi: Imsi = ""


class ImsiRequest(_Request):
    """Another card."""

    imsi: Imsi


class ImportRow(BaseModel):
    """What became of one line."""

    line: int
    msisdn: str
    id: str | None
    problem: str | None
    detail: str | None


class ImportAnswer(BaseModel):
    """What became of a file; lines that could be provisioned are not repeated."""

    provisioned: int
    failed: int
    problems: list[ImportRow] = Field(description="the first thousand lines that could not be")


def subscriber_view(found: Subscriber) -> SubscriberView:
    """A subscriber as it is shown."""
    return SubscriberView(
        id=found.id,
        state=found.state,
        reason=found.reason,
        imsi=found.imsi,
        numbers=list(found.numbers),
        origin=found.origin,
        successor=f"sub_{found.successor}" if found.successor else None,
        created_at=instant(found.created_at),
        changed_at=instant(found.changed_at),
        closed_at=instant_or_none(found.closed_at),
        version=found.version,
    )


def number_of(id: str) -> int:
    """The number inside an id. Raises not-found."""
    prefix, _, digits = id.partition("_")
    if prefix != "sub" or not (digits.isascii() and digits.isdecimal()) or len(digits) > 9:
        raise Problem("not-found")
    return int(digits)


async def existing(rooms: Rooms, id: str) -> Subscriber:
    """A subscriber by id. Raises not-found."""
    found = await rooms.subscribers.get(number_of(id))
    if found is None:
        raise Problem("not-found")
    return found


# ------------------------------------------------------------------------------------------------------------- reading


@router.get("", response_model=Page[SubscriberView])
async def list_subscribers(
    request: Request, response: Response, who: Reader, query: Annotated[SubscriberQuery, Query()]
) -> Page[SubscriberView]:
    """Subscribers in order of their ids."""
    if query.state and query.prefix:
        raise Problem("invalid-request", "state and prefix do not go together")
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    start = cursors.start("subscribers", query)
    prefix = query.prefix or ""
    found = await rooms.subscribers.page(
        after=int(start[0]) if start else 0,
        limit=query.limit + 1,
        state=query.state,
        prefix=prefix,
    )
    views = [subscriber_view(one) for one in found]
    page = cursors.page("subscribers", query, views, [[one.number] for one in found])
    link_next(request, response, page.next_cursor)
    return page


@router.get("/{id}", response_model=SubscriberView)
async def read_subscriber(request: Request, response: Response, who: Reader, id: Id) -> SubscriberView:
    """One subscriber; its ETag is what If-Match wants."""
    found = await existing(rooms_of(request), id)
    response.headers["ETag"] = etag(found.version)
    return subscriber_view(found)


# -------------------------------------------------------------------------------------------------------- provisioning


@router.post("", response_model=SubscriberView, status_code=201)
async def create_subscriber(
    request: Request, response: Response, who: Writer, body: NewSubscriber, reason: Reason = None
) -> SubscriberView:
    """Make a subscriber of numbers that nobody has."""
    rooms = rooms_of(request)
    async with rooms.audit.entry(who.entry("subscriber.create", reason=reason_of(reason))) as seal:
        made = await rooms.subscribers.provision(
            body.numbers, imsi=body.imsi, writes=lambda new: seal(new.id, {"numbers": list(new.numbers)})
        )
    response.headers["ETag"] = etag(made.version)
    response.headers["Location"] = f"{request.url.path}/{made.id}"
    return subscriber_view(made)


@router.post(
    ":import",
    response_model=ImportAnswer,
    openapi_extra={
        "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
    },
)
async def import_subscribers(request: Request, who: Writer, reason: Reason = None) -> ImportAnswer:
    """Make a subscriber of each line: a number, and perhaps an IMSI. A bad line leaves the others alone."""
    rooms = rooms_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
        raise Problem("unsupported-media-type", "Send text/csv.")
    try:
        text = (await request.body()).decode("utf-8-sig")
        rows = _rows(text)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem("malformed-body", "The body is not CSV in UTF-8.") from error
    if len(rows) > IMPORT_ROWS:
        raise Problem("content-too-large", f"At most {IMPORT_ROWS} lines are read at once.")
    # The row says that an import began and how large it is; lines are made in many transactions after it.
    await _note(rooms, who, reason, len(rows))
    results = await rooms.subscribers.provision_rows(rows)
    bad = [one for one in results if one.problem]
    return ImportAnswer(
        provisioned=len(results) - len(bad),
        failed=len(bad),
        problems=[
            ImportRow(
                line=one.line, msisdn=one.msisdn, id=None, problem=one.problem, detail=one.detail or None
            )
            for one in bad[:1000]
        ],
    )


def _rows(text: str) -> list[tuple[str, str]]:
    """Number and IMSI of each line; a head line is left out, empty lines too."""
    rows: list[tuple[str, str]] = []
    for index, cells in enumerate(csv.reader(io.StringIO(text), strict=True)):
        stripped = [cell.strip() for cell in cells]
        if not any(stripped) or (index == 0 and stripped[0].lower() in ("msisdn", "number")):
            continue
        rows.append((stripped[0], stripped[1] if len(stripped) > 1 else ""))
    return rows


async def _note(rooms: Rooms, who: Identity, reason: str | None, lines: int) -> None:
    entry = who.entry("subscriber.import", reason=reason_of(reason), lines=lines)
    async with rooms.audit.entry(entry) as seal:
        await rooms.store.apply(writes=seal())


# --------------------------------------------------------------------------------------------------------------- life

Step = Callable[[Sequence[Write]], Awaitable[Any]]


async def _step(
    request: Request, response: Response, who: Identity, id: str, verb: str, reason: str | None, step: Step
) -> SubscriberView:
    """One step of a life with its audit row; who may no longer read is signed out."""
    rooms = rooms_of(request)
    found = await existing(rooms, id)
    bars = verb not in ("resume", "add-number")
    async with rooms.audit.entry(who.entry(f"subscriber.{verb}", found.id, reason_of(reason))) as seal:
        writes = list(seal())
        if bars:
            writes.append(rooms.sessions.revoking(found.id, f"subscriber-{verb}"))
        await step(writes)
    if bars:
        rooms.sessions.ended_of(found.id)
    after = await existing(rooms, id)
    response.headers["ETag"] = etag(after.version)
    return subscriber_view(after)


@router.post("/{id}:{verb}", response_model=SubscriberView, name="a step of a subscriber's life")
async def change_life(
    request: Request,
    response: Response,
    who: Writer,
    id: Id,
    verb: Literal["suspend", "resume", "close", "seal"],
    if_match: IfMatch = None,
    reason: Reason = None,
) -> SubscriberView:
    """suspend: may not read; resume; close: for ever, messages fail; seal: close because somebody else may be behind
    the number now."""
    known, number, subscribers = version_of(if_match), number_of(id), rooms_of(request).subscribers

    async def step(writes: Sequence[Write]) -> None:
        if verb == "suspend":
            await subscribers.suspend(number, reason=reason_of(reason), if_match=known, writes=writes)
        elif verb == "resume":
            await subscribers.resume(number, if_match=known, writes=writes)
        else:
            why = "closed" if verb == "close" else "sealed"
            await subscribers.close(number, reason=why, if_match=known, writes=writes)

    return await _step(request, response, who, id, verb, reason, step)


@router.post("/{id}/numbers", response_model=SubscriberView)
async def add_number(
    request: Request,
    response: Response,
    who: Writer,
    id: Id,
    body: NumberRequest,
    if_match: IfMatch = None,
    reason: Reason = None,
) -> SubscriberView:
    """Give a subscriber one more number that nobody has."""
    known, number, subscribers = version_of(if_match), number_of(id), rooms_of(request).subscribers

    async def step(writes: Sequence[Write]) -> None:
        await subscribers.add_number(number, body.msisdn, if_match=known, writes=writes)

    return await _step(request, response, who, id, "add-number", reason, step)


async def _numbered(rooms: Rooms, id: str, msisdn: str) -> None:
    if msisdn not in (await existing(rooms, id)).numbers:
        raise Problem("conflict", "The subscriber does not have this number.")


@router.post("/{id}/numbers:port-out", response_model=SubscriberView)
async def port_out(
    request: Request,
    response: Response,
    who: Writer,
    id: Id,
    body: NumberRequest,
    if_match: IfMatch = None,
    reason: Reason = None,
) -> SubscriberView:
    """A number went to another network: the box is sealed; other numbers go to a successor."""
    known, subscribers = version_of(if_match), rooms_of(request).subscribers
    await _numbered(rooms_of(request), id, body.msisdn)

    async def step(writes: Sequence[Write]) -> None:
        await subscribers.port_out(body.msisdn, if_match=known, writes=writes)

    return await _step(request, response, who, id, "port-out", reason, step)


@router.post("/{id}/numbers:reassign", response_model=SubscriberView)
async def reassign(
    request: Request,
    response: Response,
    who: Writer,
    id: Id,
    body: ReassignRequest,
    if_match: IfMatch = None,
    reason: Reason = None,
) -> SubscriberView:
    """A number goes to somebody else, who starts with an empty box."""
    known, subscribers = version_of(if_match), rooms_of(request).subscribers
    await _numbered(rooms_of(request), id, body.msisdn)

    async def step(writes: Sequence[Write]) -> None:
        await subscribers.reassign(body.msisdn, imsi=body.imsi, if_match=known, writes=writes)

    return await _step(request, response, who, id, "reassign", reason, step)


@router.put("/{id}/imsi", response_model=SubscriberView)
async def change_imsi(
    request: Request,
    response: Response,
    who: Writer,
    id: Id,
    body: Annotated[ImsiRequest, Body()],
    if_match: IfMatch = None,
    reason: Reason = None,
) -> SubscriberView:
    """Another card. One that was not known is learned; a changed one closes the subscriber."""
    known, number, subscribers = version_of(if_match), number_of(id), rooms_of(request).subscribers

    async def step(writes: Sequence[Write]) -> None:
        await subscribers.change_imsi(number, body.imsi, if_match=known, writes=writes)

    return await _step(request, response, who, id, "imsi", reason, step)
