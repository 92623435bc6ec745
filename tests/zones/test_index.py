"""The index of all zones by place, against asking every zone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from restante.zones.fix import Fix
from restante.zones.geometry import CircleShape
from restante.zones.index import ZoneIndex
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
        index = ZoneIndex(shapes.items())
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
        assert hits > 250
        assert len(index) == len(shapes)
        assert index.containing(fix_at(1.0, 1.0), 900_000) == asked_one_by_one(
            shapes, fix_at(1.0, 1.0), 900_000
        )

    asyncio.run(scenario())


def test_many_changes_at_once_leave_the_loop_to_others_and_count_at_once(fix_at: FixAt) -> None:
    """Of an import: taken in by slices, and whoever asks in between is told of all of them."""

    async def scenario() -> None:
        here, there = CircleShape(0, 0, 1000), CircleShape(0, 50, 1000)
        index = ZoneIndex([(1, here), (2, here), (3, here)])
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        other = asyncio.create_task(others())
        rnd = random.Random(4)
        many = [(n, CircleShape(rnd.uniform(20, 60), rnd.uniform(-90, 30), 1000)) for n in range(10, 8_000)]
        index.change([(1, there), (2, None), *many])
        index.put(4, here)
        index.change([(3, None), (3, here)])
        await index.settled()
        other.cancel()
        assert turns > 3
        assert len(index) == 3 + len(many)
        assert [n for n, _ in index.containing(fix_at(0, 0))] == [3, 4]
        assert index.within((49, -1, 51, 1)) == [1]
        index.change((n, None) for n, _ in many)
        assert [n for n, _ in index.containing(fix_at(0, 50))] == [1]  # without waiting
        assert index.within((-180, -90, 180, 90)) == [1, 3, 4]
        await index.settled()
        assert len(index) == 3

    asyncio.run(scenario())


def test_what_is_taken_out_leaves_nothing_behind() -> None:
    rnd = random.Random(9)
    index = ZoneIndex()
    for number in range(500):
        index.put(number % 50, some_shape(rnd))
    for number in range(50):
        index.remove(number)
    assert (index._levels, index._entries) == ({}, {})


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
