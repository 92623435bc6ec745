"""/admin/zones, /admin/zone-policies, /admin/memberships: where people may be reached, and what follows elsewhere.

In charge of: the routes of these objects; checking a drawing without saving it; which zones hold a place; files in and
out. Not in charge of: geometry and rules (`zones/`), the zones of single numbers and locations (`locations.py`).

Annotations are evaluated here, as in `objects.py`, because a signature of ours is handed to FastAPI by another module.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, model_validator

from ...access.permissions import Permission
from ...outlet import Write
from ...registry.edits import let_go
from ...registry.planning import Wanted
from ...registry.versioned import Edit, InvalidObject, ObjectKind, Stored, View
from ...zones.fix import Fix
from ...zones.formats import FORMATS, FileRefused, ReadZones, body_of, feature_of, read_zones, write_zones
from ...zones.geometry import typed_place
from ...zones.membership import MembershipModel
from ...zones.policy import ZonePolicyModel
from ...zones.polygon import PolygonShape
from ...zones.presence import Box
from ...zones.zone import UnionModel, ZoneDraft, ZoneModel, compile_shape
from ..entrance import Identity, Require
from ..etags import etag
from ..paging import PageQuery, link_next
from ..problems import FieldError, Problem
from ..rooms import doors_of, rooms_of
from .objects import Editing, Id, Reason, Remark, reason_of

__all__ = ["boxes_of", "memberships", "policies", "router"]

Reader = Annotated[Identity, Depends(Require(Permission.ZONES_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.ZONES_WRITE))]

Latitude = Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False)]

GEOJSON = FORMATS["geojson"]
MOST_FOUND = 1_000
MOST_IMPORTED = 20_000


class ZoneBody(ZoneDraft):
    """A zone, or a GeoJSON feature (application/geo+json) whose properties say what is beside its geometry."""

    @model_validator(mode="before")
    @classmethod
    def _of_feature(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("type") == "Feature":  # type: ignore[union-attr]  # a dict
            return body_of(cast("dict[str, Any]", given))
        return given  # type: ignore[return-value]  # whatever it is, the model looks at it


class ZoneQuery(PageQuery):
    """Filters of the list of zones."""

    q: str | None = Field(default=None, max_length=100, description="part of the name or the description")
    tag: str | None = Field(default=None, max_length=64, description="a tag that it has")
    bbox: str | None = Field(
        default=None, max_length=100, description="west,south,east,north: zones whose boxes meet it"
    )
    circles: Literal["point", "polygon"] = Field(
        default="point", description="how circles are drawn in application/geo+json"
    )


def boxes_of(text: str) -> list[Box]:
    """A box from its four numbers; two of them if it lies across 180 degrees. Raises invalid-request."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        west = south = east = north = float("nan")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        detail = "four numbers: west,south,east,north"
        raise Problem(
            "invalid-request", errors=[FieldError(parameter="bbox", code="not-a-box", detail=detail)]
        )
    if west > east:
        return [(west, south, 180.0, north), (-180.0, south, east, north)]
    return [(west, south, east, north)]


def _wants_geojson(request: Request) -> bool:
    return GEOJSON in request.headers.get("accept", "")


def _geojson(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(document, media_type=GEOJSON, headers=headers)


class _ZoneEditing(Editing):
    """Zones are listed by place too, and shown as GeoJSON to whom accepts that."""

    # FastAPI reads this signature; nobody calls it through the base class.
    async def list_objects(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: Request, response: Response, who: Identity, query: Annotated[ZoneQuery, Query()]
    ) -> Any:
        """Zones in order of their names."""
        rooms, cursors = rooms_of(request), doors_of(request).cursors
        start = cursors.start(self.plural, query)
        after = str(start[0]) if start else ""
        filters = {"tags": query.tag} if query.tag else {}
        inside: set[int] | None = None
        if query.bbox:
            await rooms.zones.index.settled()
            inside = {n for box in boxes_of(query.bbox) for n in rooms.zones.index.within(box)}
        items: list[Stored[ZoneModel]] = []
        while True:
            page = await rooms.registry.page(
                rooms.zone_kinds.zone, after=after, limit=query.limit, filters=filters, q=query.q or ""
            )
            found = [one for one in page.items if inside is None or one.number in inside]
            items += found[: query.limit - len(items)]
            full = len(items) >= query.limit
            if full or page.next_after is None:
                more = page.next_after is not None or (bool(found) and items[-1] is not found[-1])
                break
            after = page.next_after
        cursor = cursors.seal(self.plural, query.filters(), [items[-1].key]) if full and more else None
        if not _wants_geojson(request):
            link_next(request, response, cursor)
            return {"items": [self.show(stored) for stored in items], "next_cursor": cursor}
        outlines = query.circles == "polygon"
        features = [feature_of(stored, circles_as_polygons=outlines) for stored in items]
        answer = _geojson({"type": "FeatureCollection", "features": features, "next_cursor": cursor})
        link_next(request, answer, cursor)
        return answer

    async def read_one(self, request: Request, response: Response, who: Identity, id: Id) -> Any:
        """One zone; its ETag is what If-Match wants. With Accept: application/geo+json a feature."""
        shown = await super().read_one(request, response, who, id)
        if isinstance(shown, Response) or not _wants_geojson(request):
            return shown
        kind = self.kind_of(rooms_of(request))
        stored = await rooms_of(request).registry.get(kind, kind.number_of(id))
        return _geojson(feature_of(stored), {"ETag": etag(stored.version)})


# ------------------------------------------------------------------------------------------------------ without id


router = APIRouter(prefix="/zones", tags=["zones"])


class ZoneCheckView(BaseModel):
    """What a drawing is worth."""

    valid: bool
    problems: list[Remark]
    mended: list[Remark] = Field(description="put right without changing the shape")
    vertices: int
    area_m2: float | None = None
    boxes: list[tuple[float, float, float, float]] = []
    proposal: dict[str, Any] | None = Field(
        default=None,
        description="GeoJSON of what a drawing that crosses itself may have meant; never saved by itself",
    )
    numbers: int = Field(
        default=0, description="numbers that have the zone of this name now; at most a thousand"
    )
    memberships: list[str] = Field(default=[], description="memberships that name it now")


@router.post(":validate", response_model=ZoneCheckView)
async def validate_zone(request: Request, who: Reader, body: ZoneBody) -> ZoneCheckView:
    """Say what is wrong with a zone, what would be mended, how large it is and whom it concerns; saves nothing."""
    rooms = rooms_of(request)
    model = rooms.zone_kinds.zone.parse(body.model_dump(mode="json"))
    problems = rooms.zone_kinds.shape_problems(model)
    mended = [Remark(pointer=p.pointer, code=p.code, detail=p.detail) for p in rooms.zone_kinds.mended(model)]
    view = ZoneCheckView(
        valid=not problems,
        problems=[Remark(pointer=p.pointer, code=p.code, detail=p.detail) for p in problems],
        mended=mended,
        vertices=model.vertices,
        proposal=dict(model.proposal) if model.proposal is not None else None,
    )
    known = rooms.zones.zones.get(model.name)
    if known is not None:
        view.numbers = len(await rooms.zones.members.in_zone(known.number, limit=MOST_FOUND))
        named = (one.model for one in rooms.zones.memberships.values())
        view.memberships = sorted(one.name for one in named if model.name in one.zones)
    if not problems and not isinstance(model.shape, UnionModel):
        shape = compile_shape(model)
        view.boxes = shape.boxes()
        view.area_m2 = shape.area_m2 if isinstance(shape, PolygonShape) else None
    return view


class PlaceView(BaseModel):
    """A place in degrees."""

    latitude: float
    longitude: float


@router.get(":place", response_model=PlaceView)
async def read_place(
    who: Reader, text: Annotated[str, Query(max_length=100, description='as in "51 30 0N 0 7 12W"')]
) -> PlaceView:
    """Degrees from coordinates as people write them, for whom types instead of pointing."""
    try:
        latitude, longitude = typed_place(text)
    except ValueError as error:
        errors = [FieldError(parameter="text", code="not-a-place", detail=str(error))]
        raise Problem("invalid-request", errors=errors) from None
    return PlaceView(latitude=latitude, longitude=longitude)


class ContainingView(BaseModel):
    """A zone that holds a place, or may."""

    id: str
    name: str
    state: Literal["in", "partial"]
    share: float = Field(description="part of the uncertainty that lies inside")


class ContainingAnswer(BaseModel):
    """Zones around a place."""

    items: list[ContainingView]
    snapshot: int = Field(description="names the state of the index")


@router.get(":containing", response_model=ContainingAnswer)
async def containing(
    request: Request,
    who: Reader,
    lat: Latitude,
    lon: Longitude,
    accuracy_m: Annotated[float, Query(ge=0, le=1_000_000)] = 0.0,
) -> ContainingAnswer:
    """Zones that hold a place; with an accuracy, those that may hold it too."""
    zones = rooms_of(request).zones
    await zones.index.settled()
    fix = Fix("", lat, lon, accuracy_m, 0, 0, "asked")
    items: list[ContainingView] = []
    for number, presence in zones.index.containing(fix, accuracy_m)[:MOST_FOUND]:
        zone = zones.zones.by_number(number)
        if zone is not None:
            state: Literal["in", "partial"] = "in" if presence.share >= 1.0 else "partial"
            items.append(
                ContainingView(id=zone.id, name=zone.model.name, state=state, share=round(presence.share, 4))
            )
    return ContainingAnswer(items=items, snapshot=zones.index.snapshot)


Format = Annotated[
    Literal["geojson", "kml", "wkt", "shp"], Query(description="of the file; shp: a Shapefile, zipped")
]


@router.get(":export", response_class=Response)
async def export_zones(
    request: Request,
    who: Reader,
    format: Format = "geojson",
    circles: Annotated[Literal["point", "polygon"], Query(description="how circles are written")] = "point",
) -> Response:
    """Every zone as a file. In GeoJSON a circle is a Point with the property radius_m."""
    rooms = rooms_of(request)
    found: list[Stored[ZoneModel]] = []
    after = ""
    while True:
        page = await rooms.registry.page(rooms.zone_kinds.zone, after=after, limit=1000)
        found += page.items
        if page.next_after is None:
            break
        after = page.next_after
    document = await asyncio.to_thread(write_zones, found, format, circles_as_polygons=circles == "polygon")
    return Response(document, media_type=FORMATS[format])


class ImportedView(BaseModel):
    """What became of one entry of a file."""

    name: str
    id: str | None
    action: Literal["create", "replace", "unchanged"]
    warnings: list[Remark] = []


class ImportAnswer(BaseModel):
    """What became of a file: all of it or, if anything is wrong, nothing."""

    applied: bool
    items: list[ImportedView]
    skipped: list[Remark] = Field(description="entries that are no zones")


@router.post(":import", response_model=ImportAnswer)
async def import_zones(
    request: Request,
    who: Writer,
    format: Format = "geojson",
    mode: Literal["dry-run", "apply"] = "dry-run",
    reason: Reason = None,
) -> Response:
    """Make zones of a file; those with a name that exists replace it. Atomic; dry-run says what would happen."""
    rooms = rooms_of(request)
    kind = rooms.zone_kinds.zone
    document = await request.body()

    def read_all() -> tuple[ReadZones, list[ZoneModel]]:
        read = read_zones(document, format, most=MOST_IMPORTED)
        return read, [kind.parse(body) for body in read.zones]

    try:
        read, values = await asyncio.to_thread(read_all)  # large files take their time
    except FileRefused as refused:
        raise Problem("invalid-request", str(refused)) from None
    unchanged: list[ImportedView] = []

    async def change(writes: Sequence[Write], dry_run: bool) -> list[Edit[Any]]:
        plan = partial(_plan_import, kind, values, unchanged)
        return await rooms.registry.change_all(
            plan, actor=who.owner, reason=reason_of(reason) or "import", dry_run=dry_run, writes=writes
        )

    try:
        if mode == "dry-run":
            edits = await change((), True)
        else:
            entry = who.entry("zone.import", reason=reason_of(reason), zones=len(values))
            async with rooms.audit.entry(entry) as seal:
                edits = await change(seal(), False)
    except InvalidObject as error:
        listed = [FieldError(pointer="#" + p.pointer, code=p.code, detail=p.detail) for p in error.problems]
        raise Problem(
            "invalid-request", f"{error.what or 'a zone'} cannot be saved.", errors=listed
        ) from None

    def answer() -> str:
        return ImportAnswer(
            applied=mode == "apply",
            items=[*map(_imported, edits), *unchanged],
            skipped=[Remark(pointer=p.pointer, code=p.code, detail=p.detail) for p in read.skipped],
        ).model_dump_json()

    shown = await asyncio.to_thread(answer)
    for done_with in (edits, values, read.zones, unchanged):
        let_go(done_with)
    return Response(shown, media_type="application/json")


def _plan_import(
    kind: ObjectKind[ZoneModel, Any], values: Sequence[ZoneModel], unchanged: list[ImportedView], view: View
) -> list[Wanted]:
    """What is to be written; what is there already goes into `unchanged`. May be asked again."""
    unchanged.clear()
    wanted: list[Wanted] = []
    for value in values:
        known = view.by_key(kind, value.name)
        if known is not None and known.value.model_dump() == value.model_dump():
            unchanged.append(ImportedView(name=value.name, id=known.id, action="unchanged"))
        else:
            wanted.append(Wanted(kind, lambda _, v=value: v, known.number if known else 0))
    return wanted


def _imported(edit: Edit[Any]) -> ImportedView:
    assert edit.after is not None
    return ImportedView(
        name=edit.after.key,
        id=edit.after.id if edit.before is not None or not edit.dry_run else None,
        action="replace" if edit.before is not None else "create",
        warnings=[Remark(pointer=w.pointer, code=w.code, detail=w.detail) for w in edit.warnings],
    )


# ------------------------------------------------------------------------------------------------------- the objects

_ZoneEditing(
    kind_of=lambda rooms: rooms.zone_kinds.zone,
    model=ZoneBody,
    name="zone",
    plural="zones",
    read=Permission.ZONES_READ,
    write=Permission.ZONES_WRITE,
).router(router)

policies = Editing(
    kind_of=lambda rooms: rooms.zone_kinds.policy,
    model=ZonePolicyModel,
    name="zone-policy",
    plural="zone-policies",
    read=Permission.ZONES_READ,
    write=Permission.ZONES_WRITE,
).router()

memberships = Editing(
    kind_of=lambda rooms: rooms.zone_kinds.membership,
    model=MembershipModel,
    name="membership",
    plural="memberships",
    read=Permission.ZONES_READ,
    write=Permission.ZONES_WRITE,
).router()
