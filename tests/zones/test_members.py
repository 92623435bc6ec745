"""Memberships of single numbers: on both databases, over two nodes, packed and merged."""

from __future__ import annotations

import asyncio
import random

import pytest
from store_plugin import StepClock
from store_tools import opened
from waiting import soon

from restante.zones.members import Member, Members
from restante.zones.packed import Packed

ONE, TWO = "+447700900001", "+447700900002"
HOME = Member(3, 4, 100)
CIRCLE = Member(0, 4, 50, 51.5, -0.12, 700, 5, 9)


def test_they_are_kept_replaced_and_read_again(store_url: str) -> None:
    async def scenario() -> None:
        async with opened(store_url, clock=StepClock()) as store:
            members = Members(store)
            await members.open()
            await members.replace(ONE, [HOME, CIRCLE], actor="op_1")
            await members.change_group("kids", add=[ONE, TWO])
            await members.change_group("staff", add=[ONE])
            assert members.of(ONE) == [
                HOME,
                CIRCLE._replace(latitude=pytest.approx(51.5), longitude=pytest.approx(-0.12)),
            ]
            assert sorted(members.groups_of(ONE)) == ["kids", "staff"]
            await members.replace(ONE, [HOME], actor="op_1")
            await members.change_group("kids", remove=[ONE])
            again = Members(store)
            await again.open()
            for one in (members, again):
                assert one.of(ONE) == [HOME]
                assert one.groups_of(ONE) == ["staff"]
                assert one.groups_of(TWO) == ["kids"]
                assert one.of("12345") == one.of("@Shop") == one.of("+1") == []
            assert await members.in_zone(3) == [ONE]
            assert await members.in_group("kids") == [TWO]
            with pytest.raises(ValueError, match="is not an E"):
                await members.replace("12345", [HOME], actor="op_1")

    asyncio.run(scenario())


def test_another_node_hears_of_changes(postgresql_url: str) -> None:
    async def scenario() -> None:
        clock = StepClock()
        async with (
            opened(postgresql_url, clock=clock, node_name="a") as first,
            opened(postgresql_url, clock=clock, node_name="b") as second,
        ):
            here, there = Members(first), Members(second)
            await here.open()
            await there.open()
            watching = asyncio.create_task(there.watch(0.05))
            await here.replace(ONE, [HOME], actor="op_1")
            await here.change_group("kids", add=[TWO])

            async def heard() -> bool:
                return there.of(ONE) == [HOME] and there.groups_of(TWO) == ["kids"]

            await soon(heard)
            await here.replace(ONE, [], actor="op_1")

            async def gone() -> bool:
                return there.of(ONE) == []

            await soon(gone)
            watching.cancel()

    asyncio.run(scenario())


def test_packed_records_agree_with_a_dict_through_merges() -> None:
    rnd = random.Random(3)
    truth = {n: [(rnd.randrange(99),) for _ in range(rnd.randint(1, 3))] for n in range(0, 2000, 2)}
    packed = Packed("<I")
    packed.load((key, record) for key in sorted(truth) for record in truth[key])
    for step in range(6):
        changes = {
            rnd.randrange(2500): [(rnd.randrange(99),) for _ in range(rnd.randint(0, 3))] for _ in range(400)
        }
        for key, records in changes.items():
            packed.put(key, records)
            truth[key] = records
        if step % 2:
            arrays = packed.begin_merge()
            packed.put(7, [(step,)])  # while the merge is under way
            truth[7] = [(step,)]
            packed.end_merge(*packed.merged(*arrays))
        assert all(list(packed.get(key)) == truth.get(key, []) for key in range(2600)), step
    with pytest.raises(ValueError, match="order"):
        Packed("<I").load([(2, (0,)), (1, (0,))])


def test_a_large_set_is_read_in_pages(store_url: str) -> None:
    async def scenario() -> None:
        async with opened(store_url, clock=StepClock()) as store:
            members = Members(store)
            await members.open()
            numbers = [f"+4477{n:08}" for n in range(1200)]
            rnd = random.Random(1)
            rnd.shuffle(numbers)
            for start in range(0, len(numbers), 300):
                chunk = [(number, [HOME, CIRCLE]) for number in numbers[start : start + 300]]
                await members.replace_many(chunk, actor="import")
            await members.change_group("all", add=numbers)
            again = Members(store)
            await again.open()
            assert all(len(again.of(number)) == 2 for number in numbers)
            assert all(again.groups_of(number) == ["all"] for number in numbers)
            await again.refresh()
            assert len(again) >= 2400

    asyncio.run(scenario())
