"""Whether a drawn shape can be a zone.

In charge of: reading GeoJSON polygons, naming each coordinate that is wrong, mending what cannot change the shape (an
unclosed ring, the direction of a ring, longitudes of a neighbouring world copy) and saying so. Not in charge of: what
a zone is beside its shape (`zone.py`). A shape is never repaired silently: what crosses itself is refused.

Source: RFC 7946 §3.1.6 (rings), §3.1.9 (antimeridian), §4 (coordinates).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple, cast

import numpy as np
import shapely
from shapely.validation import explain_validity

from .polygon import Floats, PolygonShape, lon_steps

__all__ = ["Drawing", "Finding", "read_polygons"]

Path = tuple[str | int, ...]

#: Findings listed; a file may have every coordinate wrong.
MOST_FINDINGS = 50
#: Degrees; a longitude may be one turn off, as maps that repeat the world write it.
MOST_LONGITUDE = 540.0


class Finding(NamedTuple):
    """Something about one place of a drawing."""

    path: Path  #: from the geometry, e.g. ("coordinates", 0, 12)
    code: str  #: stable slug
    detail: str  #: for people; names the coordinate


@dataclass(slots=True)
class Drawing:
    """What became of a GeoJSON geometry."""

    polygons: list[list[list[tuple[float, float]]]] = field(
        default_factory=list[list[list[tuple[float, float]]]]
    )  #: (longitude, latitude); closed, exterior rings counterclockwise
    vertices: int = 0
    problems: list[Finding] = field(default_factory=list[Finding])
    mended: list[Finding] = field(default_factory=list[Finding])
    shape: PolygonShape | None = None  #: compiled, if there are no problems
    proposal: dict[str, Any] | None = None  #: GeoJSON of what might have been meant; only ever shown


def read_polygons(geometry: Mapping[str, Any], *, most_vertices: int) -> Drawing:
    """Read a GeoJSON Polygon or MultiPolygon. If there are problems, the drawing must not be used."""
    drawing = Drawing()
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        drawing.problems.append(Finding(("type",), "not-a-polygon", "type must be Polygon or MultiPolygon"))
        return drawing
    here: Path = ("coordinates",)
    listed = [coordinates] if kind == "Polygon" else coordinates
    if not _is_list(listed) or not listed:
        drawing.problems.append(Finding(here, "empty", "there is no polygon"))
        return drawing
    vertices = _count(listed)
    if vertices > most_vertices:
        text = f"{vertices} vertices; at most {most_vertices} are allowed"
        drawing.problems.append(Finding(here, "too-many-vertices", text))
        return drawing
    for index, polygon in enumerate(cast("list[Any]", listed)):
        _read_polygon(drawing, polygon, here if kind == "Polygon" else (*here, index))
    if not drawing.problems:
        _judge(drawing, here, several=kind == "MultiPolygon")
    return drawing


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _count(listed: Any) -> int:
    """Positions in nested lists, however wrong their shape is."""
    total, stack = 0, [listed]
    while stack:
        one = stack.pop()
        if not _is_list(one) or not one:
            continue
        if _is_list(one[0]):
            stack.extend(one)
        else:
            total += 1
    return total


def _read_polygon(drawing: Drawing, polygon: Any, here: Path) -> None:
    if not _is_list(polygon) or not polygon:
        drawing.problems.append(Finding(here, "empty", "a polygon needs an exterior ring"))
        return
    rings: list[list[tuple[float, float]]] = []
    for index, ring in enumerate(cast("list[Any]", polygon)):
        read = _read_ring(drawing, ring, (*here, index))
        if read is not None:
            rings.append(_turned(drawing, read, (*here, index), exterior=index == 0))
    drawing.polygons.append(rings)
    drawing.vertices += sum(map(len, rings))


def _read_ring(drawing: Drawing, ring: Any, here: Path) -> list[tuple[float, float]] | None:
    """The ring's positions; None if any is wrong."""
    if not _is_list(ring):
        drawing.problems.append(Finding(here, "not-a-ring", "a ring is a list of [longitude, latitude]"))
        return None
    before = len(drawing.problems)
    copies = 0
    read: list[tuple[float, float]] = []
    for index, position in enumerate(cast("list[Any]", ring)):
        problem = _wrong(position)
        if problem is not None:
            if len(drawing.problems) < MOST_FINDINGS:
                drawing.problems.append(Finding((*here, index), *problem))
            continue
        lon, lat = float(position[0]), float(position[1])
        if not -180.0 <= lon <= 180.0:
            copies += 1
            lon = (lon + 180.0) % 360.0 - 180.0
        read.append((lon, lat))
    if len(drawing.problems) > before:
        return None
    if copies:
        text = f"{copies} longitudes beyond 180 degrees were written as their equals within"
        drawing.mended.append(Finding(here, "longitude-wrapped", text))
    if read and read[0] != read[-1]:
        read.append(read[0])
        drawing.mended.append(
            Finding(here, "ring-closed", "the ring was not closed: its first position was repeated")
        )
    if len(set(read)) < 3:
        drawing.problems.append(
            Finding(here, "too-few-vertices", "a ring needs at least three different positions")
        )
        return None
    return read


def _wrong(position: Any) -> tuple[str, str] | None:
    """(code, detail) of what is wrong with a position."""
    if not _is_list(position) or not 2 <= len(position) <= 3:
        return "not-a-position", "a position is [longitude, latitude]"
    lon, lat = position[0], position[1]
    for value in (lon, lat):
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return "not-a-number", "longitude and latitude are numbers"
    if not -90.0 <= lat <= 90.0:
        text = f"[{lon:g}, {lat:g}]: latitude is not within -90..90"
        return "latitude-out-of-range", text + ("; is longitude first?" if abs(lon) <= 90.0 else "")
    if not -MOST_LONGITUDE <= lon <= MOST_LONGITUDE:
        return "longitude-out-of-range", f"[{lon:g}, {lat:g}]: longitude is not within -180..180"
    return None


def _unwrapped(ring: Sequence[tuple[float, float]], near: float | None) -> Floats:
    """A ring with longitudes that go on beyond 180 instead of jumping; around a pole it is closed over the pole."""
    array = np.asarray(ring, dtype=np.float64)
    steps = lon_steps(array[:, 0])
    lon: Floats = array[0, 0] + np.concatenate(([0.0], np.cumsum(steps)))
    lon = (
        array[:, 0] + np.round((lon - array[:, 0]) / 360.0) * 360.0
    )  # whole turns, without the sum's rounding
    if near is not None:
        lon += round((near - float(lon.mean())) / 360.0) * 360.0
    lat = array[:, 1]
    if abs(float(lon[-1] - lon[0])) > 1.0:
        pole = 90.0 if float(lat.mean()) > 0 else -90.0
        lon = np.concatenate((lon, [lon[-1], lon[0], lon[0]]))
        lat = np.concatenate((lat, [pole, pole, lat[0]]))
    return np.column_stack((lon, lat))


def _turned(
    drawing: Drawing, ring: list[tuple[float, float]], here: Path, *, exterior: bool
) -> list[tuple[float, float]]:
    """The ring in the direction of RFC 7946 §3.1.6."""
    flat = _unwrapped(ring, None)
    x, y = flat[:, 0], flat[:, 1]
    counterclockwise = float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) > 0
    if counterclockwise is exterior:
        return ring
    drawing.mended.append(
        Finding(here, "ring-turned", "the ring's direction was turned round, as RFC 7946 wants it")
    )
    return ring[::-1]


def _judge(drawing: Drawing, here: Path, *, several: bool) -> None:
    """Refuse what crosses itself, has no area, or is too large."""
    flat: list[shapely.Polygon] = []
    for index, polygon in enumerate(drawing.polygons):
        where = (*here, index) if several else here
        rings = [_unwrapped(polygon[0], None)]
        middle = float(rings[0][:, 0].mean())
        rings += [_unwrapped(hole, middle) for hole in polygon[1:]]
        made = shapely.Polygon(rings[0], rings[1:])
        if made.convex_hull.area == 0.0:
            drawing.problems.append(Finding(where, "no-area", "the ring encloses nothing"))
        elif not made.is_valid:
            drawing.problems.append(_crossing(explain_validity(made), where, polygon[0]))
        flat.append(made)
    if not drawing.problems and len(flat) > 1:
        together = shapely.MultiPolygon(flat)
        if not together.is_valid:
            drawing.problems.append(_crossing(explain_validity(together), here, drawing.polygons[0][0]))
    if drawing.problems:
        drawing.proposal = _proposed(flat)
        return
    try:
        shape = PolygonShape(drawing.polygons)
    except ValueError as error:
        drawing.problems.append(Finding(here, "too-large", str(error)))
        return
    if shape.area_m2 < 1.0:
        drawing.problems.append(Finding(here, "no-area", "the zone covers less than a square metre"))
    else:
        drawing.shape = shape


def _proposed(flat: Sequence[shapely.Polygon]) -> dict[str, Any] | None:
    """Polygons that cover what crossing ones enclose: a bow-tie becomes two triangles, perhaps not what was meant."""
    whole = shapely.union_all([shapely.make_valid(polygon) for polygon in flat])
    parts: list[Any] = list(cast("Any", whole).geoms) if hasattr(whole, "geoms") else [whole]
    drawn = [_rings_of(part) for part in parts if isinstance(part, shapely.Polygon) and part.area > 0]
    if not drawn:
        return None
    if len(drawn) == 1:
        return {"type": "Polygon", "coordinates": drawn[0]}
    return {"type": "MultiPolygon", "coordinates": drawn}


def _rings_of(polygon: shapely.Polygon) -> list[list[tuple[float, float]]]:
    """Rings as RFC 7946 wants them; longitudes within 180 degrees."""
    turned = shapely.geometry.polygon.orient(polygon)
    rings = [turned.exterior, *turned.interiors]
    return [
        [(x if -180.0 <= x <= 180.0 else (x + 180.0) % 360.0 - 180.0, y) for x, y in ring.coords]
        for ring in rings
    ]


_PLACE = re.compile(r"^(.*)\[(\S+) (\S+)\]$")


def _crossing(reason: str, where: Path, exterior: Sequence[tuple[float, float]]) -> Finding:
    """GEOS's reason, with its coordinate inside -180..180 and, where it is one of ours, its index."""
    found = _PLACE.match(reason)
    if found is None:
        return Finding(where, "not-valid", reason)
    lon, lat = (float(found[2]) + 180.0) % 360.0 - 180.0, float(found[3])
    code = "self-intersection" if "ntersection" in found[1] else "not-valid"
    text = f"{found[1].strip()} at [{lon:.7g}, {lat:.7g}] (longitude, latitude)"
    for index, (x, y) in enumerate(exterior):
        if abs(x - lon) < 1e-9 and abs(y - lat) < 1e-9:
            return Finding((*where, 0, index), code, text)
    return Finding(where, code, text)
