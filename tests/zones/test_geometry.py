"""Distances, circles, shares, and how zones combine."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from geopy.distance import geodesic
from hypothesis import given
from hypothesis import strategies as st

from restante.zones.fix import Fix
from restante.zones.geometry import (
    CircleShape,
    cap_boxes,
    circle_outline,
    distance_m,
    enclosing_circle,
    lens_share,
)
from restante.zones.presence import IN, OUT, CellShape, Presence, State, UnionShape, any_of, unknown

FixAt = Callable[..., Fix]


def test_ten_thousand_circles_agree_with_geodesics(fix_at: FixAt, cap: Callable[[int, int], int]) -> None:
    """But within 0.03 % of the radius of the border."""
    rnd = random.Random(4)
    for _ in range(cap(10_000, 200_000)):
        latitude = math.degrees(math.asin(rnd.uniform(-1, 1)))
        longitude = rnd.uniform(-180, 180)
        radius = 10 ** rnd.uniform(1, 5.5)
        place = geodesic(meters=radius * rnd.choice([0.2, 0.9, 0.999, 1.001, 1.1, 3])).destination(
            (latitude, longitude), rnd.uniform(0, 360)
        )
        true = geodesic((latitude, longitude), (place.latitude, place.longitude)).m
        if abs(true - radius) <= 0.0003 * radius:
            continue
        found = CircleShape(latitude, longitude, radius).presence(
            fix_at(place.latitude, place.longitude), 0.0
        )
        assert found is (IN if true < radius else OUT), (latitude, longitude, radius, place)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_any_two_places(lat1: float, lon1: float, lat2: float, lon2: float) -> None:
    true = geodesic((lat1, lon1), (lat2, lon2)).m
    if true < 19_000_000:  # Lambert's formula gives up near the antipode, where no zone reaches
        assert distance_m(lat1, lon1, lat2, lon2) == pytest.approx(true, rel=0.0003, abs=0.01)


def test_a_circle_is_closed_and_crosses_180_degrees(fix_at: FixAt) -> None:
    circle = CircleShape(-17.0, 179.99, 5_000)
    assert circle.presence(fix_at(-17.0, -179.99), 0) is IN
    assert circle.presence(fix_at(-17.0, -179.9), 0) is OUT
    assert CircleShape(0, 0, 1000).presence(fix_at(0, 0), 1000) is IN  # touches from within


def test_the_share_of_a_circle_is_the_lens(fix_at: FixAt) -> None:
    """Against counting points of a disc."""
    rnd = random.Random(7)
    for _ in range(60):
        zone, fix = 10 ** rnd.uniform(1, 4), 10 ** rnd.uniform(1, 4)
        distance = rnd.uniform(abs(zone - fix) * 0.9, (zone + fix) * 1.02)
        inside = 0
        for index in range(4000):
            r, a = fix * math.sqrt((index + 0.5) / 4000), index * 2.399963229728653
            inside += math.hypot(distance + r * math.cos(a), r * math.sin(a)) <= zone
        assert lens_share(distance, zone, fix) == pytest.approx(inside / 4000, abs=0.01)


def test_the_share_falls_with_distance_and_is_partial_between() -> None:
    shares = [lens_share(d, 1000.0, 800.0) for d in range(0, 2000, 20)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert shares[-1] == 0.0
    assert lens_share(0, 100, 1000) == pytest.approx(0.01)


@given(st.floats(-89, 89), st.floats(-180, 180), st.floats(1, 300_000), st.floats(0, 360))
def test_boxes_cover_the_circle(latitude: float, longitude: float, radius: float, bearing: float) -> None:
    place = geodesic(meters=radius).destination((latitude, longitude), bearing)
    boxes = cap_boxes(latitude, longitude, radius)
    assert all(-180 <= w <= e <= 180 and -90 <= s <= n <= 90 for w, s, e, n in boxes)
    lon, lat = place.longitude, place.latitude
    eps = 1e-9
    assert any(w - eps <= lon <= e + eps and s - eps <= lat <= n + eps for w, s, e, n in boxes)


def test_a_display_circle_lies_on_the_circle() -> None:
    ring = circle_outline(60.0, 25.0, 5_000)
    assert ring[0] == ring[-1]
    assert len(ring) > 60
    assert all(geodesic((60.0, 25.0), (lat, lon)).m == pytest.approx(5_000, rel=1e-6) for lon, lat in ring)


def test_the_enclosing_circle_holds_every_place() -> None:
    places = [(59.0, 179.9), (59.1, -179.8), (58.9, 179.7)]
    latitude, longitude, radius = enclosing_circle(places)
    assert all(geodesic((latitude, longitude), place).m <= radius * 1.0003 for place in places)
    assert radius < 40_000


def test_cells_need_no_coordinates(fix_at: FixAt) -> None:
    shape = CellShape([(262, 2, 852, 2521), (262, 1, 77, -1), (208, -1, -1, -1)])
    for cell, expected in [
        ((262, 2, 852, 2521), IN),
        ((262, 2, 852, 2522), OUT),
        ((262, 1, 77, 5), IN),
        ((262, 1, 78, 5), OUT),
        ((208, 20, 1, 1), IN),
    ]:
        assert shape.presence(fix_at(cell=cell), 9e9) is expected
    assert shape.presence(fix_at(50.0, 8.0), 0) == unknown("no-cell")
    assert CircleShape(0, 0, 9).presence(fix_at(cell=(262, 2, 852, 2521)), 0) == unknown("no-coordinates")


def test_several_zones_of_one_subscriber(fix_at: FixAt) -> None:
    low, high = Presence(State.PARTIAL, 0.2), Presence(State.PARTIAL, 0.7)
    doubt = unknown("no-cell")
    for several, expected in [
        ([OUT, IN], IN),
        ([low, doubt, IN], IN),
        ([low, high, OUT, doubt], high),
        ([OUT, doubt], doubt),
        ([OUT, OUT], OUT),
        ([], OUT),
    ]:
        assert any_of(several) == expected
    near, far = CircleShape(0, 0, 1000), CircleShape(0, 1, 1000)
    assert UnionShape([far, near]).presence(fix_at(0, 0), 10) is IN
    assert len(UnionShape([far, near]).boxes()) == 2
