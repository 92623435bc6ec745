"""/admin/spoof, what happened: verdicts, reviews, quarantine, unknown switches, and what registers say.

In charge of: searching and exporting evidence, verifying its chain, an operator's review of a verdict, deciding about
quarantined messages, the inbox of unknown switches, and showing, refreshing and flushing an affiliation. Not in charge
of: the objects that decide (`spoof.py`), judging (`antispoof/`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ...access.permissions import Permission
from ...antispoof.evidence import Record, place_of
from ...antispoof.replay import Search
from ...signaling.affiliations import Found
from ...signaling.registers import RegisterUnavailable, Who
from ...store.store import Answer
from ..entrance import Identity, Require
from ..paging import Page, PageQuery, link_next
from ..problems import Problem
from ..rooms import Rooms, doors_of, rooms_of
from ..times import GivenTime, Instant, instant, instant_or_none, ms_of
from .objects import Id, Reason, reason_of

__all__ = ["router"]

router = APIRouter(prefix="/spoof", tags=["spoof"])

Reader = Annotated[Identity, Depends(Require(Permission.SPOOF_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.SPOOF_WRITE))]
Reviewer = Annotated[Identity, Depends(Require(Permission.SPOOF_REVIEW))]
Number = Annotated[str, Path(max_length=16, pattern=r"^\+?[0-9]{1,15}$", description="E.164 digits")]
MessageId = Annotated[str, Path(pattern=r"^[0-9]{1,19}$")]

MOST_EXPORTED = 1_000_000
REFRESH_S = 2.0

# ---------------------------------------------------------------------------------------------------------- verdicts


class ReviewView(BaseModel):
    """What an operator thought of a verdict."""

    at: Instant
    actor: str
    result: str
    note: str


class VerdictView(BaseModel):
    """One piece of evidence."""

    id: str
    at: Instant
    message_id: str | None = Field(description="null: it was refused without being stored")
    link: str
    role: str
    sender: str
    trusted: str = Field(description="the switch the message came through")
    verdict: str
    reason: str
    action: str
    enforced: bool
    facts: dict[str, Any]
    reviews: list[ReviewView] = []


class VerdictQuery(PageQuery):
    """Filters of the list of verdicts."""

    sender: str | None = Field(default=None, max_length=32)
    link: str | None = Field(default=None, max_length=15, description="system_id")
    verdict: Literal["genuine", "spoofed", "unverifiable", "exempt", "not-applicable"] | None = None
    reason: str | None = Field(default=None, max_length=40)
    action: str | None = Field(default=None, max_length=20)
    trusted: str | None = Field(default=None, max_length=255, description='"ipa_name:MSC-A"')
    message: str | None = Field(default=None, pattern=r"^[0-9]{1,19}$")
    since: GivenTime | None = None
    until: GivenTime | None = None

    def search(self) -> Search:
        """As the room asks."""
        sender = (self.sender or "").strip()
        if sender.isdecimal() and len(sender) > 6:
            sender = f"+{sender}"  # a plus sign is a space in a query
        return Search(
            sender=sender,
            link=self.link or "",
            verdict=self.verdict or "",
            reason=self.reason or "",
            action=self.action or "",
            trusted=self.trusted or "",
            message=int(self.message or 0),
            since=max(1, ms_of(self.since)) if self.since else 0,
            until=ms_of(self.until) if self.until else 0,
        )


def verdict_view(record: Record, reviews: Sequence[Mapping[str, Any]] = ()) -> VerdictView:
    """Evidence as it is shown."""
    return VerdictView(
        id=record.id,
        at=instant(record.at),
        message_id=str(record.message) if record.message else None,
        link=record.link,
        role=record.role,
        sender=record.sender,
        trusted=record.trusted,
        verdict=record.verdict,
        reason=record.reason,
        action=record.action,
        enforced=record.enforced,
        facts=dict(record.facts),
        reviews=[
            ReviewView(at=instant(one["at"]), actor=one["actor"], result=one["result"], note=one["note"])
            for one in reviews
        ],
    )


@router.get("/verdicts", response_model=Page[VerdictView])
async def list_verdicts(
    request: Request, response: Response, who: Reader, query: Annotated[VerdictQuery, Query()]
) -> Page[VerdictView]:
    """Evidence, newest first."""
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    start = cursors.start("verdicts", query)
    before = (int(start[0]), int(start[1]), int(start[2])) if start else None
    found = await rooms.spoof.replay.page(query.search(), limit=query.limit + 1, before=before)
    reviews = await rooms.spoof.replay.reviews(found)
    views = [verdict_view(one, reviews.get(one.id, ())) for one in found]
    page = cursors.page("verdicts", query, views, [[one.at, one.node, one.sequence] for one in found])
    link_next(request, response, page.next_cursor)
    return page


_CSV = (
    "id",
    "at",
    "message_id",
    "link",
    "role",
    "sender",
    "trusted",
    "verdict",
    "reason",
    "action",
    "enforced",
)


@router.get("/verdicts:export", response_class=StreamingResponse)
async def export_verdicts(
    request: Request, who: Reader, query: Annotated[VerdictQuery, Query()]
) -> StreamingResponse:
    """The same as CSV, every page; the facts stand in one column as JSON."""
    rooms = rooms_of(request)
    async with rooms.audit.entry(who.entry("spoof.export", **query.filters())) as seal:
        await rooms.store.apply(writes=seal())

    async def lines() -> AsyncIterator[str]:
        yield _line([*_CSV, "facts"])
        async for record in rooms.spoof.replay.all(query.search(), MOST_EXPORTED):
            view = verdict_view(record).model_dump()
            facts = json.dumps(view["facts"], separators=(",", ":"), sort_keys=True)
            yield _line([*(view[name] if view[name] is not None else "" for name in _CSV), facts])

    headers = {"Content-Disposition": 'attachment; filename="verdicts.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


def _line(cells: Sequence[object]) -> str:
    """One line of CSV. A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    spelled = [str(cell) for cell in cells]
    csv.writer(text).writerow(
        ["'" + one if one[:1] in ("=", "-", "@", "\t", "\r") else one for one in spelled]
    )
    return text.getvalue()


class ChainView(BaseModel):
    """What verifying the chain of evidence found."""

    holds: bool
    rows: int
    broken: int
    breaks: list[dict[str, str]]
    heads: dict[str, str] = Field(description="node -> MAC of its newest row: note them elsewhere")


@router.post("/verdicts:verify", response_model=ChainView)
async def verify_chain(request: Request, who: Reader) -> ChainView:
    """Read all evidence and say where somebody changed it."""
    found = await rooms_of(request).spoof.evidence.verify()
    return ChainView(
        holds=found.holds,
        rows=found.rows,
        broken=found.broken,
        breaks=[{"row": one.row, "what": one.what} for one in found.breaks],
        heads=found.heads,
    )


async def _record(rooms: Rooms, id: str) -> Record:
    place = place_of(id)
    found = await rooms.spoof.replay.one(place) if place is not None else None
    if found is None:
        raise Problem("not-found")
    return found


@router.get("/verdicts/{id}", response_model=VerdictView)
async def read_verdict(request: Request, who: Reader, id: Id) -> VerdictView:
    """One piece of evidence with its reviews."""
    rooms = rooms_of(request)
    record = await _record(rooms, id)
    return verdict_view(record, (await rooms.spoof.replay.reviews([record])).get(id, ()))


class ReviewRequest(BaseModel):
    """What an operator thinks of a verdict."""

    model_config = ConfigDict(extra="forbid")

    result: Literal["false-positive", "confirmed"]
    note: str = Field(default="", max_length=500)


class ReviewAnswer(BaseModel):
    """The verdict with its reviews, and what may be done about a false positive."""

    verdict: VerdictView
    suggestion: dict[str, Any] | None = Field(
        description="body of an exemption that would have let the message pass; nothing is made of it by itself"
    )


@router.post("/verdicts/{id}:review", response_model=ReviewAnswer)
async def review_verdict(request: Request, who: Reviewer, id: Id, body: ReviewRequest) -> ReviewAnswer:
    """Mark a verdict as right or as a false positive; the evidence itself stays as it is."""
    rooms = rooms_of(request)
    record = await _record(rooms, id)
    entry = who.entry("spoof.review", id, body.note, result=body.result)
    async with rooms.audit.entry(entry) as seal:
        review = rooms.spoof.replay.review(record, actor=who.owner, result=body.result, note=body.note)
        answer = await rooms.store.apply(writes=[review, *seal()])
    if answer is not Answer.STORED:
        raise Problem("store-unavailable", headers={"Retry-After": "5"})
    reviews = (await rooms.spoof.replay.reviews([record])).get(id, ())
    suggestion = None
    if body.result == "false-positive" and record.verdict == "spoofed":
        ends = instant(rooms.store.clock.now_ms() + int(timedelta(days=7).total_seconds()) * 1000)
        suggestion = {
            "name": f"review {record.sequence} of day {record.day}",
            "kind": "number",
            "value": record.sender,
            "reason": body.note or f"false positive {id}",
            "expires_at": ends,
        }
    return ReviewAnswer(verdict=verdict_view(record, reviews), suggestion=suggestion)


# -------------------------------------------------------------------------------------------------------- quarantine


class QuarantinedView(BaseModel):
    """A message that waits for a decision; without its text."""

    id: str
    sender: str
    recipient: str
    account: str
    expires_at: Instant
    verdict: VerdictView | None = Field(description="its evidence; null for the moment until it is written")


@router.get("/quarantine", response_model=list[QuarantinedView])
async def list_quarantine(
    request: Request,
    who: Reader,
    before: Annotated[str, Query(pattern=r"^[0-9]{0,19}$", description="message id")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[QuarantinedView]:
    """Messages in quarantine, newest first; pass the last id as `before` for more."""
    found = await rooms_of(request).quarantine.listed(before=int(before or 0), limit=limit)
    return [
        QuarantinedView(
            id=str(one.id),
            sender=one.sender,
            recipient=one.recipient,
            account=f"acc_{one.account}",
            expires_at=instant(one.expires_at),
            verdict=verdict_view(one.record) if one.record is not None else None,
        )
        for one in found
    ]


class DecidedView(BaseModel):
    """What became of it."""

    id: str
    done: bool = True


@router.post("/quarantine/{id}:{verb}", response_model=DecidedView, name="decide about a quarantined message")
async def decide_quarantined(
    request: Request,
    who: Reviewer,
    id: MessageId,
    verb: Literal["release", "discard"],
    reason: Reason = None,
) -> DecidedView:
    """Let a quarantined message go, or end it as rejected. Its verdict stays what it was."""
    rooms, number, note = rooms_of(request), int(id), reason_of(reason)
    async with rooms.audit.entry(who.entry(f"spoof.{verb}", id, note)) as seal:
        if verb == "release":
            answer = await rooms.quarantine.release(number, who.owner, note, seal())
            receipts = ()
        else:
            answer, receipts = await rooms.quarantine.discard(number, who.owner, note, seal())
    if answer is Answer.CONFLICT:
        raise Problem("conflict", "The message is not in quarantine, or not any more.")
    if answer is not Answer.STORED:
        raise Problem("store-unavailable", headers={"Retry-After": "5"})
    for receipt in receipts:
        rooms.delivery.admit(receipt)
    if verb == "release":
        for message in await rooms.store.load([number]):
            rooms.delivery.wake(message.recipient)
    return DecidedView(id=id)


# -------------------------------------------------------------------------------------------------- unknown switches


class UnknownView(BaseModel):
    """An address of a switch that nobody registered."""

    type: str
    value: str
    first_at: Instant
    last_at: Instant
    seen: int
    link: str
    side: str = Field(description="trusted: a message came through it; affiliated: a register named it")


@router.get("/unknown-switches", response_model=list[UnknownView])
async def list_unknown(
    request: Request, who: Reader, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[UnknownView]:
    """Addresses that appeared in traffic and belong to no switch, newest first. POST /spoof/switches registers one."""
    rooms = rooms_of(request)
    return [
        UnknownView(
            type=row["type"],
            value=row["value"],
            first_at=instant(row["first_at"]),
            last_at=instant(row["last_at"]),
            seen=row["seen"],
            link=row["link"],
            side=row["side"],
        )
        for row in await rooms.spoof.inbox.listed(limit)
    ]


@router.delete("/unknown-switches", status_code=204)
async def forget_unknown(
    request: Request,
    who: Writer,
    type: Annotated[str, Query(max_length=32)],
    value: Annotated[str, Query(max_length=255)],
) -> None:
    """Forget an address; it comes back if it appears again."""
    rooms = rooms_of(request)
    async with rooms.audit.entry(who.entry("spoof.forget-unknown", f"{type}:{value}"[:200])) as seal:
        await rooms.store.apply(writes=seal())
    if not await rooms.spoof.inbox.forget(type, value):
        raise Problem("not-found")


# ------------------------------------------------------------------------------------------------------ affiliations


class AddressView(BaseModel):
    """An address, and the switch it belongs to."""

    address: str
    node: str
    switch: str


class AffiliationView(BaseModel):
    """Who serves a subscriber, as far as this node knows."""

    known: bool
    status: str = ""
    served_by: list[AddressView] = []
    previous: list[AddressView] = []
    changed_at: Instant | None = None
    source: str = ""
    observed_at: Instant | None = None
    age_ms: int | None = None
    cached: bool = False
    stale: bool = False
    authoritative: bool = False
    failure: str = Field(default="", description="why no register answered")


def _affiliation(rooms: Rooms, found: Found | None, failure: str = "") -> AffiliationView:
    if found is None:
        return AffiliationView(known=False, failure=failure)
    table, one = rooms.spoof.book.switches, found.affiliation

    def shown(addresses: Sequence[Any]) -> list[AddressView]:
        views: list[AddressView] = []
        for address in addresses:
            switch = table.find(address)
            name = switch.model.name if switch is not None else ""
            text = f"{address.type.value}:{address.value}"
            views.append(AddressView(address=text, node=address.node.value, switch=name))
        return views

    return AffiliationView(
        known=True,
        status=one.status.value,
        served_by=shown(one.addresses),
        previous=shown(one.previous),
        changed_at=instant_or_none(one.changed_at or 0),
        source=one.source,
        observed_at=instant(one.observed_at),
        age_ms=found.age_ms,
        cached=found.cached,
        stale=found.stale,
        authoritative=one.authoritative,
        failure=failure or found.failure,
    )


def _who(number: str) -> Who:
    return Who(number.removeprefix("+"))


async def _audited(rooms: Rooms, who: Identity, action: str, number: str) -> None:
    """Who serves somebody says roughly where they are: each look is on record."""
    async with rooms.audit.entry(who.entry(action, "+" + number.removeprefix("+"))) as seal:
        if await rooms.store.apply(writes=seal()) is not Answer.STORED:
            raise Problem("store-unavailable", headers={"Retry-After": "5"})


Locator = Annotated[Identity, Depends(Require(Permission.LOCATIONS_READ))]


@router.get("/affiliations/{number}", response_model=AffiliationView)
async def show_affiliation(request: Request, who: Locator, number: Number) -> AffiliationView:
    """What is remembered of a subscriber; no register is asked."""
    rooms = rooms_of(request)
    await _audited(rooms, who, "affiliation.show", number)
    return _affiliation(rooms, rooms.spoof.affiliations.peek(_who(number)))


@router.post("/affiliations/{number}:refresh", response_model=AffiliationView)
async def refresh_affiliation(request: Request, who: Locator, number: Number) -> AffiliationView:
    """Ask the register now."""
    rooms = rooms_of(request)
    await _audited(rooms, who, "affiliation.refresh", number)
    try:
        found = await rooms.spoof.affiliations.find(_who(number), fresh=True, deadline_s=REFRESH_S)
    except RegisterUnavailable as unavailable:
        return _affiliation(rooms, None, unavailable.reason)
    return _affiliation(rooms, found)


@router.delete("/affiliations/{number}", status_code=204)
async def flush_affiliation(request: Request, who: Writer, number: Number) -> None:
    """Forget what is remembered of a subscriber on this node."""
    rooms = rooms_of(request)
    await _audited(rooms, who, "affiliation.flush", number)
    if not rooms.spoof.affiliations.forget(_who(number)):
        raise Problem("not-found")
