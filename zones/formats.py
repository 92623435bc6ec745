"""Zones as files: GeoJSON, KML, WKT, zipped Shapefile.

In charge of: reading a file into the bodies of zones, and writing zones. Not in charge of: whether a drawing is valid
(`validation.py`, when it becomes a zone), saving (`api/admin/zones.py`).

A circle has no form in any of them: in GeoJSON it is a Point with the property `radius_m`, elsewhere a polygon. (A
Shapefile of points with a field radius_m is read as circles too.)
Lists of cells and unions are properties of a feature without geometry. Everything that a zone has beside its shape
travels in the feature's properties, so that an export can be imported again. Sources: RFC 7946; OGC KML 2.3 §10; OGC
Simple Features §7 (WKT).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from xml.sax.saxutils import escape

import shapely

from ..registry.documents import Problem
from ..registry.versioned import Stored
from .geometry import circle_outline
from .shapefile import ShapefileRefused, read_shapefile, write_shapefile
from .xml_tree import Element, XmlRefused, parse_xml
from .zone import CircleModel, PolygonModel, ZoneModel

__all__ = ["FORMATS", "FileRefused", "ReadZones", "body_of", "feature_of", "read_zones", "write_zones"]

Format = Literal["geojson", "kml", "wkt", "shp"]

#: Media types.
FORMATS: Mapping[str, str] = {
    "geojson": "application/geo+json",
    "kml": "application/vnd.google-earth.kml+xml",
    "wkt": "text/plain; charset=utf-8",
    "shp": "application/zip",
}

#: What a zone has beside its name and shape.
PROPERTIES = ("description", "tags", "time_zone", "windows", "valid_from", "valid_to", "enabled")


class FileRefused(ValueError):
    """The file as a whole cannot be read; the text says why."""


@dataclass(slots=True)
class ReadZones:
    """What a file holds."""

    zones: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])  #: bodies of zones
    skipped: list[Problem] = field(default_factory=list[Problem])  #: entries that are none

    def skip(self, index: int, why: str) -> None:
        """Leave an entry out."""
        self.skipped.append(Problem(f"/{index}", "not-a-zone", why))


def read_zones(document: bytes, format: Format, *, most: int) -> ReadZones:
    """Read a file; `most` entries. Raises FileRefused."""
    found = ReadZones()
    for index, entry in enumerate(_entries(document, format, most)):
        if index >= most:
            raise FileRefused(f"more than {most} entries")
        name, shape, properties = entry
        if shape is None:
            found.skip(index, "neither a polygon, nor a point with radius_m, nor cells or zones")
            continue
        kept = {key: properties[key] for key in PROPERTIES if key in properties}
        found.zones.append({"name": name or f"Imported {index + 1}", "shape": shape, **kept})
    twice = [name for name, times in Counter(zone["name"] for zone in found.zones).items() if times > 1]
    if twice:
        raise FileRefused(f"the name {min(twice)} stands there more than once")
    return found


Entry = tuple[str, "dict[str, Any] | None", Mapping[str, Any]]


def _entries(document: bytes, format: Format, most: int) -> Iterator[Entry]:
    if format == "geojson":
        return _from_geojson(document)
    if format == "kml":
        return _from_kml(document)
    return _from_shapefile(document, most) if format == "shp" else _from_wkt(document)


#: Documents up to this size are read in one go, which takes about two milliseconds.
AT_ONCE = 100_000
_BLANKS = re.compile(r"[ \t\n\r]*")


def _from_geojson(document: bytes) -> Iterator[Entry]:
    try:
        text = document.decode("utf-8-sig")
        parsed: Any = json.loads(text) if len(text) <= AT_ONCE else _taken_apart(text)
    except (ValueError, RecursionError):
        raise FileRefused("not JSON") from None
    features: Any = [parsed]
    if isinstance(parsed, dict) and parsed.get("type") == "FeatureCollection":  # type: ignore[union-attr]  # a dict
        features = cast("dict[str, Any]", parsed).get("features")
    if not isinstance(features, list):
        raise FileRefused("not a FeatureCollection")
    for feature in cast("list[Any]", features):
        yield _feature_in(feature)


def _taken_apart(text: str) -> Any:
    """A large JSON document, read so that no step takes long: one call of the reader would hold up every thread.

    Only what is expected to be large is read in steps: an object at the top, and its lists. Raises ValueError.
    """
    read = json.JSONDecoder().raw_decode

    def blanks(at: int) -> int:
        found = _BLANKS.match(text, at)
        return found.end() if found is not None else at

    def one_list(at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = blanks(at + 1)
        if text[at : at + 1] == "]":
            return items, at + 1
        while True:
            item, at = read(text, at)
            items.append(item)
            at = blanks(at)
            if text[at : at + 1] == "]":
                return items, at + 1
            at = blanks(_after(text, at, ","))

    at = blanks(0)
    if text[at : at + 1] != "{":
        return json.loads(text)
    facts: dict[str, Any] = {}
    at = blanks(at + 1)
    while text[at : at + 1] != "}" or facts:
        key, at = read(text, at)
        if not isinstance(key, str):
            raise ValueError("a name is missing")
        at = blanks(_after(text, blanks(at), ":"))
        facts[key], at = one_list(at) if text[at : at + 1] == "[" else read(text, at)
        at = blanks(at)
        if text[at : at + 1] == "}":
            break
        at = blanks(_after(text, at, ","))
    if blanks(at + 1) != len(text):
        raise ValueError("something follows the document")
    return facts


def _after(text: str, at: int, sign: str) -> int:
    """The place behind a sign that must stand there."""
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} is missing")
    return at + 1


def _feature_in(feature: Any) -> Entry:
    """Name, shape and properties of a feature, or of a geometry alone."""
    if not isinstance(feature, dict):
        return "", None, {}
    facts = cast("dict[str, Any]", feature)
    properties: Any = facts.get("properties") or {}
    geometry: Any = facts.get("geometry") if facts.get("type") == "Feature" else facts
    known = cast("dict[str, Any]", properties) if isinstance(properties, dict) else {}
    return str(known.get("name", "")), _shape_of(geometry, known), known


def body_of(feature: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a zone from a GeoJSON feature; what is missing in it the zone's model says."""
    name, shape, properties = _feature_in(feature)
    kept = {key: properties[key] for key in PROPERTIES if key in properties}
    return {"name": name, **({"shape": shape} if shape is not None else {}), **kept}


def _shape_of(geometry: Any, properties: Mapping[str, Any]) -> dict[str, Any] | None:
    if isinstance(properties.get("cells"), list):
        return {"kind": "cells", "cells": properties["cells"]}
    if isinstance(properties.get("zones"), list):
        return {"kind": "union", "zones": properties["zones"]}
    if not isinstance(geometry, dict):
        return None
    facts = cast("dict[str, Any]", geometry)
    kind, coordinates = facts.get("type"), facts.get("coordinates")
    if kind in ("Polygon", "MultiPolygon"):
        return {"kind": "polygon", "geometry": {"type": kind, "coordinates": coordinates}}
    if kind == "Point" and "radius_m" in properties and isinstance(coordinates, list):
        place = cast("list[Any]", coordinates)
        if len(place) >= 2:
            return {
                "kind": "circle", "longitude": place[0], "latitude": place[1], "radius_m": properties["radius_m"],
            }  # fmt: skip
    return None


def _from_kml(document: bytes) -> Iterator[Entry]:
    try:
        root = parse_xml(document)
    except XmlRefused as refused:
        raise FileRefused(str(refused)) from None
    if root.name != "kml":
        raise FileRefused("the root element is not kml")
    for placemark in root.all("Placemark"):
        polygons = [_kml_polygon(polygon) for polygon in placemark.all("Polygon")]
        name = placemark.text_of("name")
        properties = {"description": placemark.text_of("description")[:500]}
        shape: dict[str, Any] | None = None
        if polygons:
            one = len(polygons) == 1
            geometry = {
                "type": "Polygon" if one else "MultiPolygon",
                "coordinates": polygons[0] if one else polygons,
            }
            shape = {"kind": "polygon", "geometry": geometry}
        yield name, shape, properties


def _kml_polygon(polygon: Element) -> list[list[list[float]]]:
    rings: list[list[list[float]]] = []
    for border in ("outerBoundaryIs", "innerBoundaryIs"):
        for element in polygon.all(border):
            rings.append([_kml_position(text) for text in element.text_of("coordinates").split()])
    return rings


def _kml_position(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")[:2]]
    except ValueError:
        raise FileRefused(f"not a position: {text[:40]}") from None


def _from_wkt(document: bytes) -> Iterator[Entry]:
    """One geometry a line, with a name and a tab before it if it has one."""
    try:
        text = document.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused("not UTF-8") from None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, written = line.rpartition("\t")
        try:
            geometry = shapely.from_wkt(written.strip())
        except shapely.errors.ShapelyError as error:
            raise FileRefused(f"not WKT: {str(error)[:100]}") from None
        yield name.strip(), _shape_of(json.loads(shapely.to_geojson(geometry)), {}), {}


def _from_shapefile(document: bytes, most: int) -> Iterator[Entry]:
    try:
        for geometry, attributes in read_shapefile(document, most=most):
            known: dict[str, Any] = {"description": attributes.get("descript", "")}
            try:
                known["radius_m"] = float(attributes["radius_m"])
            except (KeyError, ValueError):
                pass
            if attributes.get("tags"):
                known["tags"] = attributes["tags"].split(",")
            yield attributes.get("name", ""), _shape_of(geometry, known), known
    except ShapefileRefused as refused:
        raise FileRefused(str(refused)) from None


# --------------------------------------------------------------------------------------------------------- writing


def write_zones(
    zones: Iterable[Stored[ZoneModel]], format: Format, *, circles_as_polygons: bool = False
) -> bytes:
    """A file of zones. What a format cannot hold is left out of it: cells and unions, but for GeoJSON."""
    if format == "geojson":
        features = [feature_of(zone, circles_as_polygons=circles_as_polygons) for zone in zones]
        return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
    drawn = [(zone, geometry) for zone in zones if (geometry := _outline(zone.value)) is not None]
    if format == "wkt":
        lines = [
            f"{zone.key}\t{shapely.to_wkt(_made(geometry), rounding_precision=7)}" for zone, geometry in drawn
        ]
        return "".join(line + "\n" for line in lines).encode()
    if format == "shp":
        return write_shapefile(((geometry, _row(zone)) for zone, geometry in drawn), "zones")
    marks = [_placemark(zone, geometry) for zone, geometry in drawn]
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n'
    return (head + "".join(marks) + "</Document></kml>\n").encode()


def _row(stored: Stored[ZoneModel]) -> dict[str, str]:
    """Attributes of a Shapefile; names of at most ten characters."""
    model = stored.value
    return {"name": stored.key, "descript": model.description, "tags": ",".join(model.tags)}


def feature_of(stored: Stored[ZoneModel], *, circles_as_polygons: bool = False) -> dict[str, Any]:
    """A zone as a GeoJSON feature."""
    body = stored.body()
    properties = {"name": stored.key, **{key: body[key] for key in PROPERTIES}, "version": stored.version}
    shape = stored.value.shape
    geometry: dict[str, Any] | None = None
    if isinstance(shape, PolygonModel):
        geometry = shape.geometry
    elif isinstance(shape, CircleModel):
        properties["radius_m"] = shape.radius_m
        geometry = {"type": "Point", "coordinates": [shape.longitude, shape.latitude]}
        if circles_as_polygons:
            geometry = _outline(stored.value)
    else:
        properties[shape.kind if shape.kind == "cells" else "zones"] = body["shape"][
            "cells" if shape.kind == "cells" else "zones"
        ]
    return {"type": "Feature", "id": stored.id, "geometry": geometry, "properties": properties}


def _outline(model: ZoneModel) -> dict[str, Any] | None:
    shape = model.shape
    if isinstance(shape, PolygonModel):
        return shape.geometry
    if isinstance(shape, CircleModel):
        ring = circle_outline(shape.latitude, shape.longitude, shape.radius_m)
        return {"type": "Polygon", "coordinates": [[list(place) for place in reversed(ring)]]}
    return None


def _made(geometry: Mapping[str, Any]) -> Any:
    return shapely.from_geojson(json.dumps(geometry))


def _placemark(stored: Stored[ZoneModel], geometry: Mapping[str, Any]) -> str:
    coordinates: Sequence[Any] = geometry["coordinates"]
    polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
    drawn = "".join(_kml_rings(polygon) for polygon in polygons)
    many = f"<MultiGeometry>{drawn}</MultiGeometry>" if len(polygons) > 1 else drawn
    description = escape(stored.value.description)
    return f"<Placemark><name>{escape(stored.key)}</name><description>{description}</description>{many}</Placemark>\n"


def _kml_rings(polygon: Sequence[Any]) -> str:
    parts: list[str] = []
    for index, ring in enumerate(polygon):
        border = "innerBoundaryIs" if index else "outerBoundaryIs"
        places = " ".join(f"{lon:.7f},{lat:.7f}" for lon, lat in ring)
        parts.append(f"<{border}><LinearRing><coordinates>{places}</coordinates></LinearRing></{border}>")
    return f"<Polygon>{''.join(parts)}</Polygon>"
