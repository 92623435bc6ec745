"""Polygons anywhere on Earth: the correctness table of the issue, planar shapely as the oracle, whole countries."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import shapely
from geopy.distance import geodesic

from restante.zones.fix import Fix
from restante.zones.geometry import CircleShape, circle_outline
from restante.zones.polygon import PolygonShape
from restante.zones.presence import IN, OUT, State
from restante.zones.validation import read_polygons

FixAt = Callable[..., Fix]
Ring = list[tuple[float, float]]


def box(west: float, south: float, east: float, north: float) -> list[Ring]:
    return [[(west, south), (east, south), (east, north), (west, north), (west, south)]]


def compiled(geometry: dict[str, Any]) -> PolygonShape:
    drawing = read_polygons(geometry, most_vertices=100_000)
    assert not drawing.problems, drawing.problems
    return PolygonShape(drawing.polygons)


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


POLE_RING: Ring = [(lon, 80.0) for lon in range(-180, 181, 10)]
SOUTH: Ring = [(-180, -90), (180, -90), (180, -70), (90, -71), (0, -69), (-90, -70), (-180, -70), (-180, -90)]
HOLED = polygon([(0, 0), (10, 0), (10, 10), (0, 10), (0, 0)], [(4, 4), (4, 6), (6, 6), (6, 4), (4, 4)])

#: name, geometry, (longitude, latitude), inside
TABLE: list[tuple[str, dict[str, Any], tuple[float, float], bool]] = [
    ("fiji as 177..-179", polygon(*box(177, -19, -179, -16)), (179, -17), True),
    ("fiji as 177..-179, east of 180", polygon(*box(177, -19, -179, -16)), (-179.5, -17), True),
    ("fiji as 177..-179, other side of the world", polygon(*box(177, -19, -179, -16)), (0, -17), False),
    ("fiji as 177..181", polygon(*box(177, -19, 181, -16)), (-179.5, -17), True),
    ("fiji as 177..181, outside", polygon(*box(177, -19, 181, -16)), (-178.5, -17), False),
    ("ring round the pole", polygon(POLE_RING), (12, 85), True),
    ("ring round the pole, the pole", polygon(POLE_RING), (0, 90), True),
    ("ring round the pole, below", polygon(POLE_RING), (13, 79), False),
    ("ring round the pole, other pole", polygon(POLE_RING), (13, -85), False),
    ("pole written with its edge", polygon(SOUTH), (12, -85), True),
    ("pole written with its edge, the pole", polygon(SOUTH), (77, -90), True),
    ("pole written with its edge, on the seam", polygon(SOUTH), (180, -80), True),
    ("pole written with its edge, north of it", polygon(SOUTH), (12, -60), False),
    ("clockwise exterior", polygon([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]), (0.5, 0.5), True),
    ("long edges are straight in degrees", polygon(*box(-100, 40, 0, 50)), (-50, 42), True),
    ("long edges, just inside", polygon(*box(-100, 40, 0, 50)), (-50, 49.999), True),
    ("long edges, just outside", polygon(*box(-100, 40, 0, 50)), (-50, 50.001), False),
    ("long edges, outside in the south", polygon(*box(-100, 40, 0, 50)), (-50, 39.999), False),
    ("hole", HOLED, (5, 5), False),
    ("border of the hole", HOLED, (4, 5), True),
    ("border", HOLED, (0, 5), True),
    ("border in the north", HOLED, (5, 10), True),
    ("vertex", HOLED, (10, 10), True),
    ("beside the hole", HOLED, (3, 5), True),
    ("band round the globe", polygon(*box(-180, 20, 180, 30)), (0, 25), True),
    ("band round the globe, outside", polygon(*box(-180, 20, 180, 30)), (0, 35), False),
]


@pytest.mark.parametrize(("name", "geometry", "place", "inside"), TABLE, ids=[row[0] for row in TABLE])
def test_the_table(
    name: str, geometry: dict[str, Any], place: tuple[float, float], inside: bool, fix_at: FixAt
) -> None:
    found = compiled(geometry).presence(fix_at(place[1], place[0]), 0.0)
    assert found is (IN if inside else OUT)


def test_a_cut_at_180_degrees_is_no_border(fix_at: FixAt) -> None:
    """RFC 7946 §3.1.9 wants zones cut there."""
    halves = [box(177, -19, 180, -16), box(-180, -19, -179, -16)]
    shape = compiled({"type": "MultiPolygon", "coordinates": halves})
    for longitude in (180.0, -180.0, 179.999, -179.999):
        assert shape.presence(fix_at(-17.0, longitude), 3_000) is IN
    assert shape.boxes()[0][2] == 180.0
    assert shape.boxes()[1][0] == -180.0


def star(rnd: random.Random, latitude: float, longitude: float, degrees: float, corners: int) -> Ring:
    """A polygon that does not cross itself, of any roughness."""
    ring: Ring = []
    for index in range(corners):
        a, r = 2 * math.pi * index / corners, degrees * rnd.uniform(0.3, 1)
        ring.append((longitude + r * math.cos(a), latitude + r * math.sin(a) * 0.7))
    return [*ring, ring[0]]


def test_random_polygons_agree_with_planar_shapely(fix_at: FixAt, cap: Callable[[int, int], int]) -> None:
    """Away from 180 degrees and the poles; but within a metre of the border."""
    rnd = random.Random(11)
    asked = 0
    for _ in range(cap(150, 3_000)):
        degrees = 10 ** rnd.uniform(-2, 1)
        latitude, longitude = rnd.uniform(-65, 65), rnd.uniform(-160, 160)
        rings = [star(rnd, latitude, longitude, degrees, rnd.randint(3, 60))]
        if rnd.random() < 0.5:
            rings.append(star(rnd, latitude, longitude, degrees * 0.15, 8))
        shape, planar = compiled(polygon(*rings)), shapely.Polygon(rings[0], rings[1:])
        for _ in range(40):
            x, y = longitude + rnd.uniform(-1, 1) * degrees, latitude + rnd.uniform(-0.7, 0.7) * degrees
            if planar.boundary.distance(shapely.Point(x, y)) * 111_000 < 1.5:
                continue
            inside = bool(shapely.intersects_xy(planar, x, y))
            assert shape.presence(fix_at(y, x), 0.0) is (IN if inside else OUT), (rings, x, y)
            asked += 1
    assert asked > 5_000


@pytest.mark.parametrize("latitude", [0.0, 51.0, 70.0, -84.0])
def test_the_share_of_a_polygon_that_is_a_circle(latitude: float, fix_at: FixAt) -> None:
    """A fine polygon drawn round a circle gives the circle's answers within one per cent."""
    ring = circle_outline(latitude, 8.0, 2_000, corners=360)
    shape, circle = compiled(polygon(ring)), CircleShape(latitude, 8.0, 2_000)
    for away in range(0, 4_000, 130):
        place = geodesic(meters=away).destination((latitude, 8.0), 33)
        fix = fix_at(place.latitude, place.longitude)
        for radius in (50, 400, 1_500, 5_000):
            mine, theirs = shape.presence(fix, radius), circle.presence(fix, radius)
            assert mine.share == pytest.approx(theirs.share, abs=0.01)


def test_states_follow_the_share(fix_at: FixAt) -> None:
    shape = compiled(polygon(*box(8, 50, 8.1, 50.1)))
    assert shape.presence(fix_at(50.05, 8.05), 1_000) is IN
    assert shape.presence(fix_at(50.05, 8.3), 1_000) is OUT
    edge = shape.presence(fix_at(50.05, 8.0), 1_000)
    assert edge.state is State.PARTIAL
    assert edge.share == pytest.approx(0.5, abs=0.01)
    around = shape.presence(fix_at(50.05, 8.05), 50_000)
    assert around.state is State.PARTIAL
    assert around.share == pytest.approx(shape.area_m2 / (math.pi * 50_000**2), rel=0.01)


def test_a_large_polygon_has_the_same_shares_as_a_small_one(fix_at: FixAt) -> None:
    """Beyond a thousand vertices another way leads to the share."""
    rnd = random.Random(3)
    ring = star(rnd, 50.0, 8.0, 0.5, 900)
    extra: Ring = []
    for (x, y), (p, q) in pairwise(ring):
        extra += [(x, y), ((x * 2 + p) / 3, (y * 2 + q) / 3), ((x + p * 2) / 3, (y + q * 2) / 3)]
    small, large = compiled(polygon(ring)), compiled(polygon([*extra, extra[0]]))
    for _ in range(200):
        fix = fix_at(50 + rnd.uniform(-0.4, 0.4), 8 + rnd.uniform(-0.6, 0.6))
        radius = 10 ** rnd.uniform(3, 4.3)
        assert large.presence(fix, radius).share == pytest.approx(small.presence(fix, radius).share, abs=1e-3)


COUNTRIES: list[tuple[str, float, list[tuple[float, float, bool]]]] = [
    # name, area in a million square kilometres, places (latitude, longitude, inside)
    (
        "Brazil",
        8.5,
        [(-15.79, -47.88, True), (-34.6, -58.4, False), (-3.1, -60.0, True), (4.9, -52.3, False)],
    ),
    ("South Africa", 1.22, [(-25.75, 28.19, True), (-29.6, 28.2, False), (-33.92, 18.5, True)]),
    (
        "Fiji",
        0.018,
        [(-17.8, 178.0, True), (-16.8, -179.97, True), (-17.8, 0.0, False), (-16.8, 179.99, True)],
    ),
    (
        "Antarctica",
        12.2,
        [(-90.0, 0.0, True), (-80.0, 90.0, True), (-82.0, 180.0, False), (-55.0, 0.0, False)],
    ),
    (
        "Russia",
        17.1,
        [(55.75, 37.62, True), (66.0, -172.0, True), (66.2, 180.0, True), (64.5, -165.4, False)],
    ),
    ("Norway", 0.38, [(59.91, 10.75, True), (59.33, 18.06, False), (69.47, 25.5, True), (78.5, 16.5, True)]),
]


@pytest.mark.parametrize(("name", "area", "places"), COUNTRIES, ids=[row[0] for row in COUNTRIES])
def test_countries(
    name: str,
    area: float,
    places: list[tuple[float, float, bool]],
    country: Callable[[str], dict[str, Any]],
    fix_at: FixAt,
) -> None:
    shape = compiled(country(name))
    assert shape.area_m2 / 1e12 == pytest.approx(area, rel=0.03)
    for latitude, longitude, inside in places:
        assert shape.presence(fix_at(latitude, longitude), 0.0) is (IN if inside else OUT), (
            latitude,
            longitude,
        )


def test_an_outline_of_ten_thousand_vertices_agrees_with_planar_shapely(
    country: Callable[[str], dict[str, Any]], fix_at: FixAt
) -> None:
    geometry = country("Brazil")
    shape, planar = compiled(geometry), shapely.geometry.shape(geometry)
    assert shape.vertices > 10_000
    rnd = random.Random(5)
    shapely.prepare(planar)
    for _ in range(2_000):
        x, y = rnd.uniform(-75, -34), rnd.uniform(-34, 6)
        if planar.boundary.distance(shapely.Point(x, y)) * 111_000 < 1.5:
            continue
        assert (shape.presence(fix_at(y, x), 0.0) is IN) is bool(shapely.intersects_xy(planar, x, y))


def test_what_reaches_round_the_globe_is_refused() -> None:
    with pytest.raises(ValueError, match="half of the globe"):
        PolygonShape([[[(-180, -80), (180, -80), (180, 80), (-180, 80), (-180, -80)]]])
