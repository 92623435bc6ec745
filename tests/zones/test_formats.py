"""Large files are taken apart in steps, and mean what they would mean in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.zones import formats
from restante.zones.formats import FileRefused, read_zones

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES, st.sampled_from([None, 0, 2]), st.sampled_from(["", " ", "\n\t"]))
def test_taken_apart_means_the_same(value: Any, indent: int | None, around: str) -> None:
    text = around + json.dumps(value, indent=indent) + around
    assert formats._taken_apart(text) == json.loads(text)


@given(st.dictionaries(st.text(), VALUES, min_size=1), st.data())
def test_what_is_no_json_is_refused_either_way(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text) - 1))
    broken = text[:at] + data.draw(st.sampled_from(["", ",", "]", "}", '"', "x", "\\"])) + text[at + 1 :]
    try:
        expected = json.loads(broken)
    except ValueError:
        with pytest.raises((ValueError, StopIteration)):
            formats._taken_apart(broken)
    else:
        assert formats._taken_apart(broken) == expected


def test_a_large_file_reads_as_a_small_one() -> None:
    features = [
        {
            "type": "Feature",
            "properties": {"name": f"zone {n}", "radius_m": 100},
            "geometry": {"type": "Point", "coordinates": [n / 1000, 1]},
        }
        for n in range(2000)
    ]
    document = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    assert len(document) > formats.AT_ONCE
    found = read_zones(document, "geojson", most=2000)
    assert [zone["name"] for zone in found.zones] == [f"zone {n}" for n in range(2000)]
    with pytest.raises(FileRefused, match="not JSON"):
        read_zones(document[:-1], "geojson", most=2000)
    with pytest.raises(FileRefused, match="more than 1999"):
        read_zones(document, "geojson", most=1999)
    again = document.replace(b"zone 1999", b"zone 1998")
    with pytest.raises(FileRefused, match="zone 1998 stands there more than once"):
        read_zones(again, "geojson", most=2000)
