"""The index of all zones by place, against asking every zone."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

from waiting import soon_true

from restante.zones import index as index_module
from restante.zones.fix import Fix
from restante.zones.geometry import CircleShape
from restante.zones.index import Entry, ZoneIndex
from restante.zones.polygon import PolygonShape
from restante.zones.presence import Presence, Shape, State

FixAt = Callable[..., Fix]


def some_shape(rnd: random.Random) -> Shape:
    latitude, longitude = rnd.uniform(-89, 89), rnd.uniform(-180, 180)
    if rnd.random() < 0.7:
        return CircleShape(latitude, longitude, 10 ** rnd.uniform(3, 6))
    size = rnd.uniform(0.01, 5)
    south, north = max(-90.0, latitude - size), min(90.0, latitude + size)
    east = longitude + size if longitude + size <= 180 else longitude + size - 360
    ring = [(longitude, south), (east, south), (east, north), (longitude, north), (longitude, south)]
    return PolygonShape([[ring]])


def asked_one_by_one(shapes: dict[int, Shape], fix: Fix, radius: float) -> list[tuple[int, Presence]]:
    found = [(number, shape.presence(fix, radius)) for number, shape in sorted(shapes.items())]
    return [one for one in found if one[1].state in (State.IN, State.PARTIAL)]


def test_the_index_agrees_with_asking_every_zone_while_zones_change(fix_at: FixAt) -> None:
    async def scenario() -> None:
        rnd = random.Random(8)
        shapes = {number: some_shape(rnd) for number in range(300)}
        index = ZoneIndex(Entry(number, shape, shape.boxes()) for number, shape in shapes.items())
        hits = 0
        for step in range(900):
            number = rnd.randrange(400)
            if rnd.random() < 0.3:
                index.remove(number)
                shapes.pop(number, None)
            else:
                shapes[number] = some_shape(rnd)
                index.put(number, shapes[number])
            fix = fix_at(rnd.uniform(-90, 90), rnd.choice([rnd.uniform(-180, 180), 180.0, -180.0]))
            radius = rnd.choice([0.0, 0.0, 500.0, 200_000.0])
            expected = asked_one_by_one(shapes, fix, radius)
            assert index.containing(fix, radius) == expected, step
            hits += len(expected)
            if step % 10 == 0:
                await asyncio.sleep(0)  # lets a rebuild begin and end between the steps
        assert hits > 250
        await soon_true(lambda: index.settled is None)
        assert len(index) == len(shapes)
        assert index.containing(fix_at(1.0, 1.0), 900_000) == asked_one_by_one(
            shapes, fix_at(1.0, 1.0), 900_000
        )

    asyncio.run(scenario())


def test_what_changes_during_a_rebuild_counts_before_and_after(fix_at: FixAt, monkeypatch) -> None:
    """Edits of every kind while the tree is being built on the other thread."""
    going, go_on = threading.Event(), threading.Event()
    build = index_module._build

    def slowly(*args):
        going.set()
        assert go_on.wait(30)
        return build(*args)

    async def scenario() -> None:
        here, there = CircleShape(0, 0, 1000), CircleShape(0, 50, 1000)
        index = ZoneIndex(
            [Entry(1, here, here.boxes()), Entry(2, here, here.boxes()), Entry(3, here, here.boxes())]
        )
        monkeypatch.setattr(index_module, "_build", slowly)
        task = asyncio.create_task(index.rebuild())
        await soon_true(going.is_set)
        index.put(1, there)
        index.remove(2)
        index.put(4, here)
        index.remove(3)
        index.put(3, here)

        def where() -> tuple[list[int], list[int]]:
            return [n for n, _ in index.containing(fix_at(0, 0))], [
                n for n, _ in index.containing(fix_at(0, 50))
            ]

        assert where() == ([3, 4], [1])
        go_on.set()
        await task
        assert where() == ([3, 4], [1])
        monkeypatch.setattr(index_module, "_build", build)
        await index.rebuild()
        assert where() == ([3, 4], [1])
        assert index.within((49, -1, 51, 1)) == [1]

    asyncio.run(scenario())


def test_each_change_has_its_own_snapshot() -> None:
    index = ZoneIndex()
    seen = [index.snapshot]
    index.put(1, CircleShape(0, 0, 10))
    seen.append(index.snapshot)
    index.remove(1)
    seen.append(index.snapshot)
    index.remove(1)  # nothing was there
    assert seen == sorted(set(seen))
    assert index.snapshot == seen[-1]
