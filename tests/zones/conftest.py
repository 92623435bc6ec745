"""What the tests of the zones share: outlines of countries, and fixes.

In charge of: reading `natural_earth.json`, which says itself what it holds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from zone_center import ZoneCenter, zone_center

from restante.zones.fix import Fix

DEGREES = 1e-4  #: a step of the file


def _ring(text: str) -> list[list[float]]:
    x = y = 0
    ring: list[list[float]] = []
    for step in text.split():
        dx, dy = step.split(",")
        x, y = x + int(dx), y + int(dy)
        ring.append([round(x * DEGREES, 4), round(y * DEGREES, 4)])
    return ring


@pytest.fixture(scope="session")
def country() -> Callable[[str], dict[str, Any]]:
    """A country's outline as a GeoJSON MultiPolygon."""
    document = json.loads(Path(__file__).with_name("natural_earth.json").read_text(encoding="utf-8"))

    def geometry(name: str) -> dict[str, Any]:
        polygons = [[_ring(text) for text in polygon] for polygon in document["countries"][name]]
        return {"type": "MultiPolygon", "coordinates": polygons}

    return geometry


@pytest.fixture(scope="session")
def fix_at() -> Callable[..., Fix]:
    """A fix made of little."""

    def made(latitude: float | None = None, longitude: float | None = None, **facts: Any) -> Fix:
        values: dict[str, Any] = {
            "number": "+447700900001",
            "accuracy_m": 0.0,
            "measured_at": 0,
            "received_at": 0,
            "source": "push",
        }
        return Fix(latitude=latitude, longitude=longitude, **{**values, **facts})

    return made


@pytest.fixture
def on_center(sqlite_url: str) -> Callable[..., None]:
    """`on_center(test, **settings)` runs `await test(center)`."""

    def run(test: Callable[[ZoneCenter], Awaitable[None]], **settings: Any) -> None:
        async def main() -> None:
            async with zone_center(sqlite_url, **settings) as center:
                await test(center)

        asyncio.run(main())

    return run
