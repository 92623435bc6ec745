"""The heat map: squares with enough people or none, roundings that differences cannot undo, filters."""

from __future__ import annotations

from zone_center import AWAY, HOME, ZoneCenter

from restante.zones.heatmap import HOUR_MS, Bin, HeatMap, heat_map


async def crowd(center: ZoneCenter, count: int, place: tuple[float, float], first: int = 0) -> None:
    """So many people get a message each at a place."""
    for number in range(first, first + count):
        who = f"+4477009{number:05}"
        await center.at(place, who)
        await center.send(to=who, receipt=0)


async def drawn(center: ZoneCenter, **fields: object) -> HeatMap:
    now = center.path.clock.now
    given: dict[str, object] = {"since": now - HOUR_MS, "until": now, "per_degree": 10, "k": 5} | fields
    return await heat_map(center.room.replay.records, **given)  # type: ignore[arg-type]  # a test's short hand


def test_a_square_needs_enough_different_people(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone("+4477*", visibility="specific")
        await crowd(center, 12, HOME)
        await crowd(center, 4, AWAY, first=50)
        for _ in range(9):
            await center.send(to="+447700900050", receipt=0)  # many messages, still four people
        made = await drawn(center)
        assert made.bins == [Bin((-0.2, 51.5, -0.1, 51.6), 10, 10)]
        assert (made.hidden, made.finished) == (1, True)
        await crowd(center, 1, AWAY, first=54)
        made = await drawn(center)
        assert Bin((-1.9, 52.5, -1.8, 52.6), 5, 10) in made.bins
        assert made.hidden == 0

    on_center(scenario)


def test_one_person_more_changes_nothing_that_is_shown(on_center) -> None:
    """Whatever the size of squares and the span of time: a difference of two maps is nothing, or k people."""

    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone("+4477*")
        await crowd(center, 6, HOME)
        before = [await drawn(center, per_degree=size) for size in (1, 10, 100)]
        await crowd(center, 1, (HOME[0] + 0.02, HOME[1]), first=90)
        after = [await drawn(center, per_degree=size) for size in (1, 10, 100)]
        assert [made.bins for made in before] == [made.bins for made in after]
        assert all(one.people % 5 == 0 == one.decisions % 5 for made in after for one in made.bins)
        later = await drawn(center, until=center.path.clock.now + 1)
        assert later.until % HOUR_MS == 0
        assert later.until == after[0].until

    on_center(scenario)


def test_filters_and_bounds(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone("+4477*", visibility="specific")
        await crowd(center, 5, HOME)
        await crowd(center, 5, AWAY, first=50)
        assert len((await drawn(center)).bins) == 2
        [blocked] = (await drawn(center, acts=frozenset({"block"}))).bins
        assert blocked.box == (-1.9, 52.5, -1.8, 52.6)
        [home] = (await drawn(center, boxes=[(-0.15, 51.0, 0.0, 52.0)])).bins
        assert home.box == (-0.2, 51.5, -0.1, 51.6)
        assert (await drawn(center, boxes=[(10.0, 51.0, 11.0, 52.0)])).bins == []
        assert (await drawn(center, since=0, until=1)).bins == []
        assert not (await drawn(center, most=1)).finished

    on_center(scenario)


def test_who_was_forgotten_is_on_no_map(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone("+4477*")
        await crowd(center, 5, HOME)
        assert len((await drawn(center)).bins) == 1
        await center.room.locations.forget("+447700900003")
        made = await drawn(center)
        assert (made.bins, made.hidden) == ([], 1)

    on_center(scenario)
