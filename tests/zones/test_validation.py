"""Drawings that are no zones, each refused by name of the coordinate, and what is mended and said."""

from __future__ import annotations

from typing import Any

import pytest

from restante.zones.validation import Drawing, read_polygons


def read(*rings: Any, kind: str = "Polygon", most: int = 1000) -> Drawing:
    return read_polygons({"type": kind, "coordinates": list(rings)}, most_vertices=most)


SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("rings", "code", "path", "says"),
    [
        ([[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]], "self-intersection", ("coordinates",), "[0.5, 0.5]"),
        (
            [[[0, 0], [1, 0], [1, 91], [0, 1], [0, 0]]],
            "latitude-out-of-range",
            ("coordinates", 0, 2),
            "[1, 91]",
        ),
        (
            [[[0, 0], [1, 0], [99, 60], [60, 99], [0, 0]]],
            "latitude-out-of-range",
            ("coordinates", 0, 3),
            "first?",
        ),
        ([[[0, 0], [800, 0], [1, 1], [0, 0]]], "longitude-out-of-range", ("coordinates", 0, 1), "[800, 0]"),
        ([[[0, 0], [1, "0"], [1, 1], [0, 0]]], "not-a-number", ("coordinates", 0, 1), "numbers"),
        ([[[0, 0], [1, float("nan")], [1, 1], [0, 0]]], "not-a-number", ("coordinates", 0, 1), "numbers"),
        ([[[0, 0], [True, 1], [1, 1], [0, 0]]], "not-a-number", ("coordinates", 0, 1), "numbers"),
        ([[[0, 0], [1], [1, 1], [0, 0]]], "not-a-position", ("coordinates", 0, 1), "[longitude, latitude]"),
        ([[[0, 0], [1, 1], [0, 0]]], "too-few-vertices", ("coordinates", 0), "three"),
        ([[]], "too-few-vertices", ("coordinates", 0), "three"),
        ([], "empty", ("coordinates",), ""),
        ([[[0, 0], [1, 1], [2, 2], [0, 0]]], "no-area", ("coordinates",), "nothing"),
        (["ring"], "not-a-ring", ("coordinates", 0), "list"),
        ([SQUARE, [[2, 2], [3, 2], [3, 3], [2, 2]]], "not-valid", ("coordinates",), "Hole lies outside"),
    ],
)
def test_refused(rings: Any, code: str, path: tuple[Any, ...], says: str) -> None:
    drawing = read(*rings)
    assert [(one.code, one.path) for one in drawing.problems][:1] == [(code, path)]
    assert says in drawing.problems[0].detail


def test_every_wrong_coordinate_is_named_up_to_a_bound() -> None:
    drawing = read([[0, 0], [1, 95], [1, 96], [0, 0]])
    assert [one.path for one in drawing.problems] == [("coordinates", 0, 1), ("coordinates", 0, 2)]
    assert len(read([[0, 95]] * 900).problems) == 50


def test_overlapping_parts_are_refused() -> None:
    shifted = [[x + 0.5, y] for x, y in SQUARE]
    drawing = read([SQUARE], [shifted], kind="MultiPolygon")
    assert [one.code for one in drawing.problems] == ["self-intersection"]


def test_too_many_vertices_are_counted_before_anything_else() -> None:
    drawing = read([[0, 0]] * 2000, most=1999)
    assert [one.code for one in drawing.problems] == ["too-many-vertices"]
    assert "1999" in drawing.problems[0].detail


@pytest.mark.parametrize(
    "geometry", [{}, {"type": "Point"}, {"type": "Polygon"}, {"type": "MultiPolygon", "coordinates": [3]}]
)
def test_what_is_no_polygon(geometry: dict[str, Any]) -> None:
    assert read_polygons(geometry, most_vertices=10).problems


def test_what_cannot_change_the_shape_is_mended_and_said() -> None:
    clockwise_and_open = [[0, 0], [0, 1], [1, 1], [1, 0]]
    drawing = read(clockwise_and_open)
    assert not drawing.problems
    assert {one.code for one in drawing.mended} == {"ring-closed", "ring-turned"}
    assert drawing.polygons == [[[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]]]


def test_holes_turn_the_other_way() -> None:
    drawing = read(SQUARE, [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.4]])
    assert [one.path for one in drawing.mended] == [("coordinates", 1)]
    assert drawing.polygons[0][1][1] == (0.6, 0.6)


def test_longitudes_of_a_neighbouring_world_copy() -> None:
    """Maps that repeat the world write them."""
    drawing = read([[177, -19], [181, -19], [181, -16], [177, -16], [177, -19]])
    assert not drawing.problems
    assert [one.code for one in drawing.mended] == ["longitude-wrapped"]
    assert drawing.polygons[0][0][1] == (-179, -19)


def test_altitudes_are_left_out() -> None:
    drawing = read([[*position, 8848] for position in SQUARE])
    assert drawing.polygons == [[[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]]]


def test_a_bow_tie_across_180_degrees_is_found_there() -> None:
    drawing = read([[179, 0], [-179, 1], [-179, 0], [179, 1], [179, 0]])
    assert drawing.problems[0].code == "self-intersection"
    assert "180" in drawing.problems[0].detail
