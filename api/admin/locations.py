"""/admin/locations and what belongs to single numbers: their zones, their groups; lists of cells.

In charge of: telling where somebody is, one by one and many at once; reading and forgetting it, each time audited; the
memberships of single numbers; loading a list of cells. Not in charge of: what a location means (`zones/`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.types import Receive, Scope, Send

from ...access.permissions import Permission
from ...zones.fix import Fix
from ...zones.locations import LocationRefused
from ...zones.members import Member, MembersNotStored
from ...zones.providers.cells import CellImport
from ...zones.zone import parse_cell, spell_cell
from ..auth import Msisdn
from ..entrance import Identity, Require
from ..problems import FieldError, Problem
from ..rooms import Rooms, rooms_of
from ..times import Instant, instant, ms_of
from .objects import Reason, Remark, reason_of

__all__ = ["cells", "groups", "numbers", "router"]

router = APIRouter(prefix="/locations", tags=["locations"])
cells = APIRouter(prefix="/cells", tags=["locations"])
numbers = APIRouter(prefix="/numbers", tags=["zones"])
groups = APIRouter(prefix="/groups", tags=["zones"])

Locator = Annotated[Identity, Depends(Require(Permission.LOCATIONS_READ))]
Teller = Annotated[Identity, Depends(Require(Permission.LOCATIONS_WRITE))]
ZoneReader = Annotated[Identity, Depends(Require(Permission.ZONES_READ))]
ZoneWriter = Annotated[Identity, Depends(Require(Permission.ZONES_WRITE))]
Number = Annotated[Msisdn, Path(description="E.164")]
GroupName = Annotated[str, Path(min_length=1, max_length=64)]

MOST_AT_ONCE = 1_000


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


# ------------------------------------------------------------------------------------------------------- locations


class NewLocation(_Request):
    """Where somebody is: coordinates, or a serving cell, or both."""

    latitude: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)
    accuracy_m: float | None = Field(
        default=None, ge=0, le=5_000_000, allow_inf_nan=False, description="needed with coordinates; metres"
    )
    cell: str | None = Field(default=None, max_length=40, description="262-02-852-2521: MCC-MNC-LAC-CI")
    plmn: str = Field(default="", pattern=r"^([0-9]{5,6})?$", description="serving network: MCC and MNC")
    measured_at: AwareDatetime | None = Field(default=None, description="now, if it is left out")

    @model_validator(mode="after")
    def _says_where(self) -> NewLocation:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude belong together")
        if self.latitude is None and self.cell is None:
            raise ValueError("coordinates or a cell are needed")
        if self.latitude is not None and self.accuracy_m is None:
            raise ValueError("coordinates need accuracy_m: nothing is perfectly accurate")
        if self.cell is not None and -1 in parse_cell(self.cell):
            raise ValueError("a serving cell has no *")
        return self


class NumberLocation(NewLocation):
    """The same with its number."""

    msisdn: Msisdn


class LocationView(BaseModel):
    """Where somebody was seen last."""

    msisdn: str
    id: str
    latitude: float | None
    longitude: float | None
    accuracy_m: float
    cell: str | None
    plmn: str
    source: str
    measured_at: Instant
    received_at: Instant


class Kept(BaseModel):
    """What was taken of many."""

    kept: int


def location_view(fix: Fix) -> LocationView:
    """A fix as it is shown to those who may see it."""
    return LocationView(
        msisdn=fix.number,
        id=str(fix.id),
        latitude=fix.latitude,
        longitude=fix.longitude,
        accuracy_m=fix.accuracy_m,
        cell=spell_cell(fix.cell) if fix.cell is not None else None,
        plmn=fix.plmn,
        source=fix.source,
        measured_at=instant(fix.measured_at),
        received_at=instant(fix.received_at),
    )


def _fix(rooms: Rooms, number: str, told: NewLocation) -> Fix:
    now = rooms.store.clock.now_ms()
    return Fix(
        number=number,
        latitude=told.latitude,
        longitude=told.longitude,
        accuracy_m=told.accuracy_m or 0.0,
        measured_at=ms_of(told.measured_at) if told.measured_at else now,
        received_at=now,
        source="push",
        cell=parse_cell(told.cell) if told.cell is not None else None,
        plmn=told.plmn,
    )


@router.put("/{msisdn}", status_code=204, response_class=Response)
async def tell_location(request: Request, who: Teller, msisdn: Number, body: NewLocation) -> Response:
    """Tell where a number is. A cell alone is looked up in the list of cells."""
    rooms = rooms_of(request)
    locations = rooms.zones.locations
    try:
        if body.latitude is None and body.cell is not None:
            at = ms_of(body.measured_at) if body.measured_at else 0
            await locations.report_cell(msisdn, body.cell, measured_at=at, plmn=body.plmn)
        else:
            await locations.push([_fix(rooms, msisdn, body)])
    except LocationRefused as refused:
        raise _refused(refused, "") from None
    except OSError:
        raise Problem("store-unavailable") from None
    return Response(status_code=204)


@router.post("", response_model=Kept)
async def tell_locations(
    request: Request,
    who: Teller,
    body: Annotated[list[NumberLocation], Field(min_length=1, max_length=MOST_AT_ONCE)],
) -> Kept:
    """Tell where many numbers are: all of them or, if anything is wrong, none. Each needs coordinates."""
    rooms = rooms_of(request)
    for index, told in enumerate(body):
        if told.latitude is None:
            raise _refused(LocationRefused("coordinates are needed here"), f"/{index}")
    try:
        kept = await rooms.zones.locations.push([_fix(rooms, told.msisdn, told) for told in body])
    except LocationRefused as refused:
        raise _refused(refused, "") from None
    except OSError:
        raise Problem("store-unavailable") from None
    return Kept(kept=len(kept))


def _refused(refused: LocationRefused, pointer: str) -> Problem:
    return Problem(
        "invalid-request",
        errors=[FieldError(pointer=f"#{pointer}", code="location-refused", detail=str(refused))],
    )


@router.get("/{msisdn}", response_model=LocationView)
async def read_location(
    request: Request, who: Locator, msisdn: Number, reason: Reason = None
) -> LocationView:
    """Where a number was seen last. Each look is audited."""
    rooms = rooms_of(request)
    async with rooms.audit.entry(who.entry("location.read", msisdn, reason_of(reason))) as seal:
        await rooms.store.apply(writes=seal())
    fix = await rooms.zones.locations.latest(msisdn)
    if fix is None:
        raise Problem("not-found")
    return location_view(fix)


@router.delete("/{msisdn}", status_code=204, response_class=Response)
async def forget_location(request: Request, who: Teller, msisdn: Number, reason: Reason = None) -> Response:
    """Erase every position of a number."""
    rooms = rooms_of(request)
    async with rooms.audit.entry(who.entry("location.forget", msisdn, reason_of(reason))) as seal:
        await rooms.zones.locations.forget(msisdn, writes=seal())
    return Response(status_code=204)


# ----------------------------------------------------------------------------------------------------------- cells


class RefusedLine(BaseModel):
    """A line that was not taken."""

    line: int
    why: str


class CellsAnswer(BaseModel):
    """What became of a list of cells."""

    applied: bool
    lines: int
    taken: int
    refused: int
    refusals: list[RefusedLine] = Field(description="the first hundred")


NDJSON = "application/x-ndjson"
PROGRESS_S = 0.5  #: between two lines of progress


@cells.post(":import", response_model=CellsAnswer)
async def import_cells(
    request: Request,
    who: Teller,
    source: Annotated[
        str, Query(pattern=r"^[A-Za-z0-9._-]{1,32}$", description="kept with each cell")
    ] = "import",
    dry_run: Annotated[bool, Query(description="read and say what is wrong, keep nothing")] = False,
    reason: Reason = None,
) -> Any:
    """Take a list of cells in while it arrives: OpenCellID's fourteen columns, or a CSV whose header names them.

    With `Accept: application/x-ndjson` a line tells twice a second how far it is; the last line is the answer, or the
    problem that ended it.
    """
    load = _CellsLoad(request, who, source, dry_run, reason_of(reason))
    return _Progress(load) if NDJSON in request.headers.get("accept", "") else await load.run()


class _CellsLoad:
    """One list on its way in."""

    def __init__(self, request: Request, who: Identity, source: str, dry_run: bool, reason: str) -> None:
        self._request = request
        self._who = who
        self._source = source
        self._dry_run = dry_run
        self._reason = reason
        self.report = CellImport()  #: so far

    async def run(self) -> CellsAnswer:
        """Take everything in. Raises Problem."""
        rooms = rooms_of(self._request)
        try:
            report = await rooms.zones.cells.load(
                _lines(self._request), source=self._source, dry_run=self._dry_run, progress=self._moved
            )
        except UnicodeDecodeError:
            raise Problem("invalid-request", "The list is not UTF-8.") from None
        except ValueError as error:
            raise Problem("invalid-request", str(error)) from None
        except OSError:
            raise Problem("store-unavailable") from None
        if not self._dry_run:
            facts = {"lines": report.lines, "taken": report.taken, "refused": report.refused}
            entry = self._who.entry("cells.import", self._source, self._reason, **facts)
            async with rooms.audit.entry(entry) as seal:
                await rooms.store.apply(writes=seal())
        return CellsAnswer(
            applied=not self._dry_run,
            lines=report.lines,
            taken=report.taken,
            refused=report.refused,
            refusals=[RefusedLine(line=one.line, why=one.why) for one in report.refusals],
        )

    def _moved(self, report: CellImport) -> None:
        self.report = report


class _Progress(Response):
    """How far a list is, line by line, while it still arrives. The framework's own streams would read the request too,
    to see whether the client has gone, and eat the list."""

    media_type = NDJSON

    def __init__(self, load: _CellsLoad) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer while the list arrives."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        running = asyncio.create_task(self._load.run())
        try:
            while not (await asyncio.wait({running}, timeout=PROGRESS_S))[0]:
                report = self._load.report
                so_far = {"lines": report.lines, "taken": report.taken, "refused": report.refused}
                await send(_line(json.dumps(so_far).encode()))
            await send(_line(await _last_line(running)))
            await send({"type": "http.response.body", "body": b""})
        finally:
            running.cancel()


async def _last_line(running: asyncio.Task[CellsAnswer]) -> bytes:
    """The answer, or why there is none."""
    try:
        return (await running).model_dump_json().encode()
    except Problem as problem:
        return problem.body().model_dump_json(exclude_none=True).encode()


def _line(document: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": document + b"\n", "more_body": True}


async def _lines(request: Request) -> AsyncGenerator[str]:
    """Lines of a body as it arrives; never more than one line and one piece of it in memory."""
    rest = b""
    async for piece in request.stream():
        *whole, rest = (rest + piece).split(b"\n")
        if len(rest) > 100_000:
            raise ValueError("a line is longer than 100000 octets")
        for line in whole:
            yield line.decode()
    if rest:
        yield rest.decode()


# --------------------------------------------------------------------------------------------------- single numbers


class OwnCircle(_Request):
    """A circle that belongs to one number."""

    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)
    radius_m: int = Field(ge=1, le=5_000_000)


class NumberZone(_Request):
    """A zone of one number: one of the operator's, or a circle of its own."""

    zone: str | None = Field(default=None, max_length=64, description="name of a zone")
    circle: OwnCircle | None = None
    policy: str = Field(max_length=64, description="name of a policy")
    priority: int = Field(default=100, ge=0, le=1000)
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None

    @model_validator(mode="after")
    def _is_one(self) -> NumberZone:
        if (self.zone is None) == (self.circle is None):
            raise ValueError("either zone or circle")
        return self


class NumberZones(_Request):
    """Every zone of one number."""

    zones: list[NumberZone] = Field(max_length=100)


@numbers.get("/{msisdn}/zones", response_model=NumberZones)
async def read_number_zones(request: Request, who: ZoneReader, msisdn: Number) -> NumberZones:
    """The zones that belong to a number itself; those by prefix, group or for everyone are memberships."""
    zones = rooms_of(request).zones
    return NumberZones(
        zones=[view for member in zones.members.of(msisdn) if (view := _member_view(zones, member))]
    )


def _member_view(zones: Any, member: Member) -> NumberZone | None:
    zone = zones.zones.by_number(member.zone) if member.zone else None
    policy = zones.policies.by_number(member.policy)
    if policy is None or (member.zone and zone is None):
        return None  # what it named is deleted; it does nothing any more
    circle = None
    if not member.zone:
        place = {"latitude": round(member.latitude, 7), "longitude": round(member.longitude, 7)}
        circle = OwnCircle(**place, radius_m=member.radius_m)
    times = {
        name: instant(ms)
        for name, ms in (("valid_from", member.valid_from), ("valid_to", member.valid_to))
        if ms
    }
    return NumberZone.model_validate(
        {
            "zone": zone.model.name if zone is not None else None,
            "circle": circle,
            "policy": policy.model.name,
            "priority": member.priority,
            **times,
        }
    )


@numbers.put("/{msisdn}/zones", response_model=NumberZones)
async def replace_number_zones(
    request: Request, who: ZoneWriter, msisdn: Number, body: NumberZones, reason: Reason = None
) -> NumberZones:
    """Give a number these zones and no others; an empty list takes all away. Live everywhere within a second."""
    rooms = rooms_of(request)
    members = [_member(rooms, index, wanted) for index, wanted in enumerate(body.zones)]
    entry = who.entry("number.zones", msisdn, reason_of(reason), zones=len(members))
    try:
        async with rooms.audit.entry(entry) as seal:
            await rooms.zones.members.replace(msisdn, members, actor=who.owner, writes=seal())
    except MembersNotStored:
        raise Problem("store-unavailable") from None
    return await read_number_zones(request, who, msisdn)


def _member(rooms: Rooms, index: int, wanted: NumberZone) -> Member:
    zones = rooms.zones
    policy = zones.policies.get(wanted.policy)
    zone = zones.zones.get(wanted.zone) if wanted.zone is not None else None
    missing = "policy" if policy is None else "zone" if wanted.zone is not None and zone is None else ""
    if policy is None or missing:
        detail = f"there is no {missing} of that name"
        error = FieldError(pointer=f"#/zones/{index}/{missing}", code=f"no-such-{missing}", detail=detail)
        raise Problem("invalid-request", errors=[error])
    circle = wanted.circle
    return Member(
        zone=zone.number if zone is not None else 0,
        policy=policy.number,
        priority=wanted.priority,
        latitude=circle.latitude if circle is not None else 0.0,
        longitude=circle.longitude if circle is not None else 0.0,
        radius_m=circle.radius_m if circle is not None else 0,
        valid_from=ms_of(wanted.valid_from) if wanted.valid_from else 0,
        valid_to=ms_of(wanted.valid_to) if wanted.valid_to else 0,
    )


# ---------------------------------------------------------------------------------------------------------- groups


class GroupChange(_Request):
    """Who comes into a group and who leaves it."""

    add: list[Msisdn] = Field(default=[], max_length=MOST_AT_ONCE)
    remove: list[Msisdn] = Field(default=[], max_length=MOST_AT_ONCE)


class GroupView(BaseModel):
    """A part of a group, in order of numbers."""

    items: list[str]
    next_after: str | None = Field(description="pass it as `after` for more")


@groups.get("/{name}", response_model=GroupView)
async def read_group(
    request: Request,
    who: ZoneReader,
    name: GroupName,
    after: Annotated[str, Query(pattern=r"^(\+[0-9]{1,15})?$")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> GroupView:
    """Numbers in a group."""
    found = await rooms_of(request).zones.members.in_group(name, after=after, limit=limit)
    return GroupView(items=found, next_after=found[-1] if len(found) == limit else None)


@groups.post("/{name}", response_model=Remark)
async def change_group(
    request: Request, who: ZoneWriter, name: GroupName, body: GroupChange, reason: Reason = None
) -> Remark:
    """Put numbers into a group and take others out; a group exists while somebody is in it."""
    rooms = rooms_of(request)
    facts = {"added": len(body.add), "removed": len(body.remove)}
    try:
        async with rooms.audit.entry(who.entry("group.change", name, reason_of(reason), **facts)) as seal:
            await rooms.zones.members.change_group(name, add=body.add, remove=body.remove, writes=seal())
    except MembersNotStored:
        raise Problem("store-unavailable") from None
    return Remark(pointer="", code="changed", detail=f"{len(body.add)} added, {len(body.remove)} removed")
