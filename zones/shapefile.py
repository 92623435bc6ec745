"""Zipped Shapefiles, read within bounds and written.

In charge of: the archive, the geometry file (.shp) and the attribute table (.dbf). Not in charge of: what an entry
becomes (`formats.py`), whether a drawing is valid (`validation.py`).

Everything in the archive is a stranger's: only the members that are needed are opened, each is unpacked up to a bound
and no further, whatever the archive says about sizes; archives in archives are not opened. Every offset and count
is held against what is there.

Traps: Shapefiles do not mark holes. A ring that runs clockwise is an exterior, one that runs the other way is a hole
of the exterior that holds it. Names of fields have ten characters. Coordinates may be metres of some projection:
only geographic ones are taken, and a missing .prj is taken as geographic.

Sources: ESRI Shapefile Technical Description, July 1998; dBASE III table header as that paper's readers expect it;
APPNOTE.TXT 6.3 (ZIP).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import shapely

__all__ = ["ShapefileRefused", "read_shapefile", "write_shapefile"]

#: Octets that one member may unpack to.
MOST_OCTETS = 64_000_000
#: Members that an archive may list.
MOST_MEMBERS = 1_000
#: Rings of one record; finding the exterior of each hole must not take for ever.
MOST_RINGS = 10_000

FILE_CODE, VERSION = 9994, 1000
#: Shape types, with or without Z and M, which stand behind the coordinates.
NULL, POINTS, POLYGONS = 0, (1, 11, 21), (5, 15, 25)

WGS84 = (
    'GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)

Ring = list[tuple[float, float]]
_NO_ATTRIBUTES: dict[str, str] = {}

Entry = tuple[dict[str, Any] | None, dict[str, str]]  #: GeoJSON geometry, attributes


class ShapefileRefused(ValueError):
    """The archive or a file in it cannot be read; the text says why."""


def read_shapefile(document: bytes, *, most: int) -> Iterator[Entry]:
    """Geometries with their attributes, at most `most` and one more. Raises ShapefileRefused."""
    try:
        with zipfile.ZipFile(io.BytesIO(document)) as archive:
            members = _members(archive)
            shapes = _unpacked(archive, members[".shp"])
            table = _unpacked(archive, members[".dbf"]) if ".dbf" in members else b""
            projection = _unpacked(archive, members[".prj"]) if ".prj" in members else b""
            code_page = _unpacked(archive, members[".cpg"]) if ".cpg" in members else b""
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ShapefileRefused(f"not a ZIP archive that can be read: {str(error)[:100]}") from None
    if projection and not projection.lstrip().upper().startswith((b"GEOGCS", b"GEOGCRS", b"GEODCRS")):
        raise ShapefileRefused("its coordinates are those of a projection; export it in degrees, as WGS 84")
    rows = _attributes(table, code_page.decode("ascii", "replace").strip())
    for index, geometry in enumerate(_geometries(shapes)):
        if index > most:
            return
        yield geometry, next(rows, _NO_ATTRIBUTES)


def _members(archive: zipfile.ZipFile) -> Mapping[str, zipfile.ZipInfo]:
    """The files of the one Shapefile in an archive, by their endings."""
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        raise ShapefileRefused(f"the archive has more than {MOST_MEMBERS} members")
    main = [one for one in listed if one.filename.lower().endswith(".shp") and "__MACOSX" not in one.filename]
    if len(main) != 1:
        raise ShapefileRefused(f"the archive holds {len(main)} files that end with .shp; one is wanted")
    stem = main[0].filename[:-4].lower()
    return {one.filename.lower()[len(stem) :]: one for one in listed if one.filename.lower().startswith(stem)}


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member, if it is not larger than it may be, whatever it says of itself."""
    with archive.open(member) as stream:
        content = stream.read(MOST_OCTETS + 1)
    if len(content) > MOST_OCTETS:
        raise ShapefileRefused(f"{member.filename[-40:]} unpacks to more than {MOST_OCTETS} octets")
    return content


# --------------------------------------------------------------------------------------------------------- geometry


def _geometries(shapes: bytes) -> Iterator[dict[str, Any] | None]:
    """The records of a .shp file; None for one that has no area and is no point."""
    if len(shapes) < 100 or struct.unpack_from(">i", shapes)[0] != FILE_CODE:
        raise ShapefileRefused("the .shp file does not begin as one")
    at = 100
    while at + 8 <= len(shapes):
        words: int = struct.unpack_from(">i", shapes, at + 4)[0]
        start, at = at + 8, at + 8 + 2 * words
        if words < 2 or at > len(shapes):
            raise ShapefileRefused(f"record {start - 8} of the .shp file is cut off")
        record = shapes[start:at]
        kind: int = struct.unpack_from("<i", record)[0]
        if kind in POLYGONS:
            yield _polygons(_rings(record))
        elif kind in POINTS and len(record) >= 20:
            yield {"type": "Point", "coordinates": list(struct.unpack_from("<2d", record, 4))}
        else:
            yield None


def _rings(record: bytes) -> list[Ring]:
    """The rings of a polygon record."""
    if len(record) < 44:
        raise ShapefileRefused("a polygon is cut off")
    parts, points = struct.unpack_from("<2i", record, 36)
    begin = 44 + 4 * parts
    if parts < 1 or points < 1 or begin + 16 * points > len(record):
        raise ShapefileRefused("a polygon announces more points than it has")
    if parts > MOST_RINGS:
        raise ShapefileRefused(f"a polygon of more than {MOST_RINGS} rings")
    starts: tuple[int, ...] = struct.unpack_from(f"<{parts}i", record, 44)
    if starts[0] != 0 or any(not 0 <= one <= points for one in starts) or list(starts) != sorted(starts):
        raise ShapefileRefused("the parts of a polygon are in no order")
    flat = np.frombuffer(record, dtype="<f8", count=2 * points, offset=begin).reshape(-1, 2)
    if not bool(np.isfinite(flat).all()):
        raise ShapefileRefused("a coordinate is no number")
    ends = (*starts[1:], points)
    return [
        [(float(x), float(y)) for x, y in flat[first:last]] for first, last in zip(starts, ends, strict=True)
    ]


def _polygons(rings: Sequence[Ring]) -> dict[str, Any] | None:
    """Rings become polygons with holes: clockwise ones are exteriors."""
    turns = [(_doubled_area(ring), list(ring)) for ring in rings if len(ring) >= 3]
    exteriors = [ring for area, ring in turns if area <= 0]
    holes = [ring for area, ring in turns if area > 0]
    if not exteriors:  # some writers turn everything round
        exteriors, holes = holes, []
    if not exteriors:
        return None
    drawn = [[ring] for ring in exteriors]
    if holes:
        outlines = [shapely.Polygon(ring) for ring in exteriors]
        tree = shapely.STRtree(outlines)
        for hole in holes:
            drawn[_holder(hole, outlines, tree)].append(hole)
    if len(drawn) == 1:
        return {"type": "Polygon", "coordinates": drawn[0]}
    return {"type": "MultiPolygon", "coordinates": drawn}


def _holder(hole: Ring, outlines: Sequence[shapely.Polygon], tree: shapely.STRtree) -> int:
    """Which exterior a hole is cut out of: the smallest that holds all its corners."""
    corners = np.asarray(hole, dtype=np.float64)
    near: list[int] = tree.query(shapely.LineString(corners)).tolist()
    fitting = [
        (outlines[at].area, at)
        for at in near
        if bool(np.all(shapely.intersects_xy(outlines[at], corners[:, 0], corners[:, 1])))
    ]
    return min(fitting)[1] if fitting else 0


def _doubled_area(ring: Ring) -> float:
    """Positive if the ring runs counterclockwise."""
    points = np.asarray(ring, dtype=np.float64)
    x, y = points[:, 0] - points[0, 0], points[:, 1] - points[0, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


# ------------------------------------------------------------------------------------------------------- attributes


def _attributes(table: bytes, code_page: str) -> Iterator[dict[str, str]]:
    """The rows of a .dbf file as text, in the order of the shapes."""
    if len(table) < 32:
        return
    rows, header, length = struct.unpack_from("<IHH", table, 4)
    fields: list[tuple[str, int, int]] = []  # name, offset in the row, length
    at, offset = 32, 1
    while at + 32 <= min(header, len(table)) and table[at] != 0x0D:
        name = table[at : at + 11].split(b"\0")[0].decode("ascii", "replace").strip().lower()
        fields.append((name, offset, table[at + 16]))
        offset += table[at + 16]
        at += 32
    if offset > length or not length:
        raise ShapefileRefused("the .dbf file's fields do not fit into its rows")
    for row in range(rows):
        start = header + row * length
        if start + length > len(table):
            return
        yield {
            name: _text(table[start + begin : start + begin + size], code_page)
            for name, begin, size in fields
        }


def _text(octets: bytes, code_page: str) -> str:
    """A field; in the character set that is named, else UTF-8, else Latin-1."""
    octets = octets.strip(b" \0")
    for name in (code_page, "utf-8"):
        try:
            return octets.decode(name) if name else octets.decode("utf-8")
        except (UnicodeDecodeError, LookupError):
            continue
    return octets.decode("latin-1")


# --------------------------------------------------------------------------------------------------------- writing


def write_shapefile(entries: Iterable[tuple[Mapping[str, Any], Mapping[str, str]]], stem: str) -> bytes:
    """An archive of polygons: GeoJSON geometries with their attributes, which all have the same names."""
    shapes, index = bytearray(), bytearray()
    rows: list[Mapping[str, str]] = []
    around = [180.0, 90.0, -180.0, -90.0]
    for number, (geometry, attributes) in enumerate(entries, 1):
        record, box = _record(geometry)
        around = [*map(min, around[:2], box[:2]), *map(max, around[2:], box[2:])]
        head = struct.pack(">2i", number, len(record) // 2)
        index += struct.pack(">2i", (100 + len(shapes)) // 2, len(record) // 2)
        shapes += head + record
        rows.append(attributes)
    files = {
        ".shp": _head(len(shapes), around) + shapes,
        ".shx": _head(len(index), around) + index,
        ".dbf": _table(rows),
        ".prj": WGS84.encode(),
        ".cpg": b"UTF-8",
    }
    document = io.BytesIO()
    with zipfile.ZipFile(document, "w", zipfile.ZIP_DEFLATED) as archive:
        for ending, content in files.items():
            archive.writestr(zipfile.ZipInfo(stem + ending), bytes(content), zipfile.ZIP_DEFLATED)
    return document.getvalue()


def _head(octets: int, around: Sequence[float]) -> bytes:
    length = (100 + octets) // 2  # in words of 16 bits
    big = struct.pack(">i20xi", FILE_CODE, length)
    return big + struct.pack("<2i4d32x", VERSION, POLYGONS[0], *around)  # no Z, no M


def _record(geometry: Mapping[str, Any]) -> tuple[bytes, list[float]]:
    """One polygon record, and the box around it."""
    coordinates: Sequence[Any] = geometry["coordinates"]
    polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
    rings: list[Ring] = []
    for polygon in polygons:
        for at, ring in enumerate(polygon):
            turned = [(float(x), float(y)) for x, y in ring]
            if (_doubled_area(turned) > 0) is (at == 0):  # exteriors run clockwise, holes do not
                turned.reverse()
            rings.append(turned)
    points = [point for ring in rings for point in ring]
    starts = [sum(map(len, rings[:at])) for at in range(len(rings))]
    x, y = [point[0] for point in points], [point[1] for point in points]
    box = [min(x), min(y), max(x), max(y)]
    flat = [value for point in points for value in point]
    layout = f"<i4d2i{len(rings)}i{len(flat)}d"
    return struct.pack(layout, POLYGONS[0], *box, len(rings), len(points), *starts, *flat), box


def _table(rows: Sequence[Mapping[str, str]]) -> bytes:
    """A dBASE table of text fields."""
    names = list(rows[0]) if rows else ["name"]
    wide = {name: min(254, max([1, *(len(row[name].encode()) for row in rows)])) for name in names}
    fields = b"".join(struct.pack("<11sc4xBB14x", name.encode()[:10], b"C", wide[name], 0) for name in names)
    length = 1 + sum(wide.values())
    head = struct.pack("<4BIHH20x", 3, 126, 1, 1, len(rows), 32 + len(fields) + 1, length)
    cut = (b" " + b"".join(_fitting(row[name], wide[name]) for name in names) for row in rows)
    return head + fields + b"\r" + b"".join(cut) + b"\x1a"


def _fitting(text: str, octets: int) -> bytes:
    """Text in so many octets, never cut inside a character."""
    return text.encode()[:octets].decode("utf-8", "ignore").encode().ljust(octets)
