"""What a zone is.

In charge of: zones as operators edit them, their time windows, and the live zone that decisions use. Not in charge
of: geometry (`geometry.py`, `polygon.py`), what happens inside or outside (`policy.py`), who belongs to which zone
(`members.py`), what the registry refuses (`kinds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

from ..registry.versioned import Stored
from .geometry import CircleShape
from .polygon import PolygonShape
from .presence import Box, Cell, CellShape, Shape, UnionShape, unknown
from .validation import Drawing, Finding, read_polygons

__all__ = [
    "CellsModel",
    "CircleModel",
    "PolygonModel",
    "UnionModel",
    "Window",
    "Zone",
    "ZoneDraft",
    "ZoneModel",
    "ZoneName",
    "compile_shape",
    "known_time_zone",
    "parse_cell",
    "resolve_unions",
    "spell_cell",
]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _printed_name(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("a name has printable characters, and no blank at either end")
    return name


#: In any script: files of zones bring names with them.
ZoneName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printed_name)]

MOST_RADIUS_M = 5_000_000.0
#: Unions within unions; more would be a maze, and a bound ends circles that a race might make.
MOST_DEPTH = 8


def known_time_zone(name: str) -> str:
    """A name of the IANA time zone database, checked."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # the database's own error is a KeyError
        raise ValueError("not a name of the IANA time zone database") from None
    return name


def parse_cell(text: str) -> Cell:
    """A cell, or a pattern of cells, from "262-02-852-2521"; "*" at the end stands for any. ValueError if it is none.

    MNC is compared as a number: lists of cells often lost its leading zero (notes in `providers/cells.py`).
    """
    parts = text.split("-")
    if len(parts) != 4:
        raise ValueError("a cell is MCC-MNC-LAC-CI (or -TAC-ECI), with * for any, e.g. 262-02-852-*")
    limits = (999, 999, 0xFFFFFF, 0xFFFFFFFFF)
    values: list[int] = []
    for part, most in zip(parts, limits, strict=True):
        if part == "*" and values:
            values.append(-1)
            continue
        if not (part.isascii() and part.isdecimal()) or int(part) > most or -1 in values:
            raise ValueError("a cell's parts are decimal numbers; after a * come only *")
        values.append(int(part))
    return values[0], values[1], values[2], values[3]


def spell_cell(cell: Cell) -> str:
    """The reverse of `parse_cell`."""
    mcc, mnc, area, identity = ("*" if part == -1 else str(part) for part in cell)
    return f"{mcc.zfill(3)}-{mnc if mnc == '*' else mnc.zfill(2)}-{area}-{identity}"


def _cell_text(text: str) -> str:
    return spell_cell(parse_cell(text))


class CircleModel(BaseModel):
    """A circle; kept as such."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["circle"] = "circle"
    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False, description="degrees, WGS 84")
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False, description="degrees, WGS 84")
    radius_m: float = Field(gt=0, le=MOST_RADIUS_M, allow_inf_nan=False, description="metres")


class PolygonModel(BaseModel):
    """A polygon or several, with holes, as GeoJSON draws them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["polygon"] = "polygon"
    geometry: dict[str, Any] = Field(description="GeoJSON Polygon or MultiPolygon (RFC 7946)")


class CellsModel(BaseModel):
    """Cells of the network: no geometric error at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cells"] = "cells"
    cells: tuple[Annotated[str, AfterValidator(_cell_text)], ...] = Field(
        min_length=1, max_length=100_000, description='"262-02-852-2521"; MNC, LAC and CI may be *'
    )


class UnionModel(BaseModel):
    """Inside if inside any of its zones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["union"] = "union"
    zones: tuple[ZoneName, ...] = Field(min_length=1, max_length=1000, description="names of zones")


ShapeModel = Annotated[CircleModel | PolygonModel | CellsModel | UnionModel, Field(discriminator="kind")]

ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]


class Window(BaseModel):
    """Hours at which a zone is in force; an end before the start is on the next day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1, description="days on which it starts")
    start: ClockTime = Field(default="00:00", description="HH:MM in the zone's time zone")
    end: ClockTime = Field(default="24:00", description="HH:MM, not included")


class ZoneModel(BaseModel):
    """A zone as operators edit it: registry kind "zone", key its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ZoneName = Field(description="unique name")
    description: str = Field(default="", max_length=500, description="for people")
    shape: ShapeModel
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(default=(), max_length=32)
    time_zone: Annotated[str, AfterValidator(known_time_zone)] = Field(
        default="UTC", description="IANA name; of the windows"
    )
    windows: tuple[Window, ...] = Field(
        default=(), max_length=32, description="hours at which it is in force; empty: always"
    )
    valid_from: AwareDatetime | None = Field(default=None, description="not in force before; null: no bound")
    valid_to: AwareDatetime | None = Field(default=None, description="not in force from then on")
    enabled: bool = True

    _drawing: Drawing | None = PrivateAttr(default=None)  # of a polygon

    @model_validator(mode="after")
    def _read_shape(self) -> ZoneModel:
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        if isinstance(self.shape, PolygonModel):
            drawing = read_polygons(self.shape.geometry, most_vertices=MOST_VERTICES_EVER)
            self._drawing = drawing
            if not drawing.problems:
                self.shape.geometry.clear()
                self.shape.geometry.update(_as_geojson(drawing.polygons))
                drawing.polygons = []  # they stand in the geometry now
        return self

    @property
    def findings(self) -> Sequence[Finding]:
        """What is wrong with the drawing; such a zone is never saved (`kinds.py`)."""
        return self._drawing.problems if self._drawing is not None else ()

    @property
    def mended(self) -> Sequence[Finding]:
        """What was put right without changing the shape."""
        return self._drawing.mended if self._drawing is not None else ()

    @property
    def proposal(self) -> Mapping[str, Any] | None:
        """What a drawing that cannot be used may have meant, as GeoJSON."""
        return self._drawing.proposal if self._drawing is not None else None

    @property
    def vertices(self) -> int:
        """Vertices of a polygon zone, 0 for others."""
        return self._drawing.vertices if self._drawing is not None else 0

    @property
    def compiled(self) -> PolygonShape | None:
        """The shape of a polygon zone, compiled when the drawing was read."""
        return self._drawing.shape if self._drawing is not None else None


class ZoneDraft(ZoneModel):
    """A zone as somebody sends it: read only when it becomes a ZoneModel, which then says what it mended."""

    @model_validator(mode="after")
    def _read_shape(self) -> ZoneDraft:
        return self


#: Above every setting; a bound for what a database may hand us.
MOST_VERTICES_EVER = 2_000_000


def _as_geojson(polygons: list[list[list[tuple[float, float]]]]) -> dict[str, Any]:
    listed = [[[[x, y] for x, y in ring] for ring in polygon] for polygon in polygons]
    if len(listed) == 1:
        return {"type": "Polygon", "coordinates": listed[0]}
    return {"type": "MultiPolygon", "coordinates": listed}


class _Nowhere:
    """The shape of a union before its members are known."""

    def presence(self, fix: object, radius_m: float) -> Any:
        """Not known."""
        return unknown("union-unresolved")

    def boxes(self) -> list[Box]:
        """None."""
        return []


@dataclass(slots=True)
class Zone:
    """A live zone. `shape` of a union is filled in by `rules.py`, which knows the others."""

    number: int
    id: str  #: "zon_12"
    version: int
    model: ZoneModel
    shape: Shape
    starts_ms: int = 0  #: valid_from; 0: none
    ends_ms: int = 0  #: valid_to; 0: none
    zone: ZoneInfo | None = None

    @classmethod
    def of(cls, stored: Stored[ZoneModel]) -> Zone:
        """Compile."""
        model = stored.value
        return cls(
            number=stored.number,
            id=stored.id,
            version=stored.version,
            model=model,
            shape=compile_shape(model),
            starts_ms=_ms(model.valid_from),
            ends_ms=_ms(model.valid_to),
            zone=ZoneInfo(model.time_zone) if model.windows else None,
        )

    def active_at(self, at_ms: int) -> bool:
        """Whether it is in force."""
        if not self.model.enabled or at_ms < self.starts_ms or (self.ends_ms and at_ms >= self.ends_ms):
            return False
        return self.zone is None or self._in_window(at_ms, self.zone)

    def _in_window(self, at_ms: int, zone: ZoneInfo) -> bool:
        local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
        minute, today, yesterday = (
            local.hour * 60 + local.minute,
            DAYS[local.weekday()],
            DAYS[local.weekday() - 1],
        )
        for window in self.model.windows:
            start, end = _minutes(window.start), _minutes(window.end)
            if start < end:
                if today in window.days and start <= minute < end:
                    return True
            elif (today in window.days and minute >= start) or (yesterday in window.days and minute < end):
                return True
        return False


def _ms(at: datetime | None) -> int:
    return int(at.timestamp() * 1000) if at is not None else 0


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def compile_shape(model: ZoneModel) -> Shape:
    """The shape that decisions ask; a union waits for its members."""
    shape = model.shape
    if isinstance(shape, CircleModel):
        return CircleShape(shape.latitude, shape.longitude, shape.radius_m)
    if isinstance(shape, CellsModel):
        return CellShape(parse_cell(text) for text in shape.cells)
    if isinstance(shape, UnionModel):
        return _Nowhere()
    return (
        model.compiled or _Nowhere()
    )  # a wrong drawing: the registry refuses it, with every finding (`kinds.py`)


def resolve_unions(unions: Iterable[Zone], find: Callable[[str], Zone | None]) -> None:
    """Give unions their members' shapes. `find`: a zone by name."""

    def shape_of(name: str, depth: int) -> Shape:
        zone = find(name)
        if zone is None or depth > MOST_DEPTH:
            return _Nowhere()
        if isinstance(zone.model.shape, UnionModel):
            return UnionShape([shape_of(member, depth + 1) for member in zone.model.shape.zones])
        return zone.shape

    for zone in unions:
        zone.shape = shape_of(zone.model.name, 0)
