"""Zipped Shapefiles: what another implementation writes is read, what is written it reads, and abuse is refused."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import shapefile
import shapely
from shapely.geometry import shape as drawn

from restante.zones import shapefile as ours
from restante.zones.formats import FileRefused, read_zones
from restante.zones.shapefile import WGS84, ShapefileRefused, read_shapefile, write_shapefile

pyshp: Any = shapefile  # its own types are narrower than what it takes

SQUARE = [(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (4.0, 0.0), (0.0, 0.0)]  # clockwise
HOLE = [(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 1.0)]  # the other way
FAR = [(x + 10, y) for x, y in SQUARE]
FAR_HOLE = [(x + 10, y) for x, y in HOLE]


def zipped(
    write: Callable[[Any], None],
    *,
    kind: int = pyshp.POLYGON,
    without: tuple[str, ...] = (),
    prj: str = WGS84,
    folder: str = "",
    more: dict[str, bytes] | None = None,
) -> bytes:
    """An archive that pyshp wrote."""
    files = {ending: io.BytesIO() for ending in ("shp", "shx", "dbf")}
    with pyshp.Writer(**files, shapeType=kind, encoding="utf-8") as writer:
        writer.field("NAME", "C", size=60)
        writer.field("RADIUS_M", "N", size=12, decimal=1)
        write(writer)
    document = io.BytesIO()
    with zipfile.ZipFile(document, "w", zipfile.ZIP_DEFLATED) as archive:
        for ending, content in files.items():
            if ending not in without:
                archive.writestr(f"{folder}zones.{ending}", content.getvalue())
        if prj:
            archive.writestr(f"{folder}zones.prj", prj)
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return document.getvalue()


def polygons(writer: Any) -> None:
    writer.poly([SQUARE, HOLE])
    writer.record("Hof Müller", None)
    writer.poly([FAR, SQUARE, FAR_HOLE, HOLE])
    writer.record("two", None)
    writer.null()
    writer.record("nothing", None)


@pytest.mark.parametrize("kind", [pyshp.POLYGON, pyshp.POLYGONZ, pyshp.POLYGONM])
def test_polygons_with_holes_in_the_right_ones(kind: int) -> None:
    def write(writer: Any) -> None:
        deep = {
            pyshp.POLYGON: writer.poly,
            pyshp.POLYGONZ: writer.polyz,
            pyshp.POLYGONM: writer.polym,
        }
        deep[kind]([SQUARE, HOLE])
        writer.record("Hof Müller", None)
        deep[kind]([FAR, SQUARE, FAR_HOLE, HOLE])
        writer.record("two", None)

    (one, facts), (two, _) = read_shapefile(zipped(write, kind=kind, folder="a/b/"), most=9)
    assert facts["name"] == "Hof Müller"
    assert one is not None
    assert two is not None
    assert drawn(one).equals(shapely.Polygon(SQUARE, [HOLE]))
    assert drawn(two).equals(shapely.MultiPolygon([(SQUARE, [HOLE]), (FAR, [FAR_HOLE])]))
    assert drawn(two).is_valid


def test_entries_become_zones_and_the_rest_is_said() -> None:
    read = read_zones(zipped(polygons), "shp", most=9)
    assert [zone["name"] for zone in read.zones] == ["Hof Müller", "two"]
    assert [problem.pointer for problem in read.skipped] == ["/2"]
    unnamed = read_zones(zipped(polygons, without=("dbf",)), "shp", most=9)
    assert [zone["name"] for zone in unnamed.zones] == ["Imported 1", "Imported 2"]


def test_points_with_a_radius_are_circles() -> None:
    def write(writer: Any) -> None:
        writer.point(-0.12, 51.5)
        writer.record("round", 700)
        writer.point(1, 2)
        writer.record("a point", None)

    read = read_zones(zipped(write, kind=pyshp.POINT), "shp", most=9)
    shape = {"kind": "circle", "longitude": -0.12, "latitude": 51.5, "radius_m": 700.0}
    assert [zone["shape"] for zone in read.zones] == [shape]
    assert len(read.skipped) == 1


def test_what_is_written_another_implementation_reads(country: Callable[[str], dict[str, Any]]) -> None:
    norway = country("Norway")
    holed = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
    rows = [{"name": "Norge 🏔", "tags": ""}, {"name": "x" * 300, "tags": "a,b"}]
    document = write_shapefile(zip([norway, holed], rows, strict=True), "zones")
    with zipfile.ZipFile(io.BytesIO(document)) as archive:
        assert archive.testzip() is None
        parts = {name.rpartition(".")[2]: io.BytesIO(archive.read(name)) for name in archive.namelist()}
    reader = pyshp.Reader(shp=parts["shp"], shx=parts["shx"], dbf=parts["dbf"], encoding="utf-8")
    first, second = reader.shapeRecords()
    assert (first.record["name"], len(second.record["name"]), second.record["tags"]) == (
        "Norge 🏔",
        254,
        "a,b",
    )
    assert drawn(first.shape.__geo_interface__).normalize() == drawn(norway).normalize()
    assert drawn(second.shape.__geo_interface__).equals(drawn(holed))
    again = [geometry for geometry, _ in read_shapefile(document, most=9)]
    assert drawn(again[0] or {}).normalize() == drawn(norway).normalize()
    empty = [*read_shapefile(write_shapefile([], "zones"), most=9)]
    assert empty == []


def test_metres_of_a_projection_are_not_taken_for_degrees() -> None:
    utm = 'PROJCS["WGS_1984_UTM_Zone_32N",GEOGCS["GCS_WGS_1984"]]'
    with pytest.raises(FileRefused, match="projection"):
        read_zones(zipped(polygons, prj=utm), "shp", most=9)
    assert len(read_zones(zipped(polygons, prj=""), "shp", most=9).zones) == 2


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    good = zipped(polygons)
    with pytest.raises(FileRefused, match="more than 2 entries"):
        read_zones(good, "shp", most=2)
    for name, least, says in (
        ("MOST_MEMBERS", 3, "members"),
        ("MOST_RINGS", 3, "rings"),
        ("MOST_OCTETS", 600, "unpacks to more"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(ours, name, least)
            with pytest.raises(ShapefileRefused, match=says):
                list(read_shapefile(good, most=9))


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that says it is small and is not: unpacking ends at the bound."""
    monkeypatch.setattr(ours, "MOST_OCTETS", 100_000)
    document = io.BytesIO()
    with zipfile.ZipFile(document, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.shp", bytes(50_000_000))
    octets = document.getvalue()
    assert len(octets) < 60_000
    with pytest.raises(ShapefileRefused):
        list(read_shapefile(octets, most=9))
    lying = octets.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 100))
    with pytest.raises(ShapefileRefused):
        list(read_shapefile(lying, most=9))


def test_archives_that_hold_none_or_two_or_another_archive() -> None:
    inner = zipped(polygons)
    for files in ({}, {"a.shp": b"", "b.shp": b""}, {"inner.zip": inner}, {"a.shp": b"short"}):
        document = io.BytesIO()
        with zipfile.ZipFile(document, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        with pytest.raises(ShapefileRefused):
            list(read_shapefile(document.getvalue(), most=9))
    with pytest.raises(ShapefileRefused, match="not a ZIP"):
        list(read_shapefile(b"PK nonsense", most=9))


def test_damage_anywhere_is_refused_or_harmless(cap: Callable[[int, int], int]) -> None:
    """Whatever octets of the members are wrong, there is an answer and no other exception."""
    with zipfile.ZipFile(io.BytesIO(zipped(polygons))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    rnd, refused = random.Random(5), 0
    for _ in range(cap(600, 50_000)):
        name = rnd.choice(["zones.shp", "zones.shp", "zones.dbf"])
        damaged = bytearray(members[name])
        for _ in range(rnd.randint(1, 4)):
            damaged[rnd.randrange(len(damaged))] = rnd.choice([0, 1, 0x7F, 0x80, 0xFF, rnd.randrange(256)])
        cut = bytes(damaged[: rnd.choice([len(damaged), rnd.randrange(len(damaged))])])
        document = io.BytesIO()
        with zipfile.ZipFile(document, "w") as archive:
            for member, content in {**members, name: cut}.items():
                archive.writestr(member, content)
        try:
            read_zones(document.getvalue(), "shp", most=9)
        except FileRefused:
            refused += 1
    assert refused > 50
