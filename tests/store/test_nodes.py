"""Lives, epochs, fences and ids. Both databases, and two nodes on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import bindparam, update
from store_plugin import StepClock
from store_tools import epochs, eventually, final, message, opened, put_all, rows

from restante.message import MAX_NODE, id_at
from restante.outlet import Write
from restante.store import tables
from restante.store.engine import Engine
from restante.store.nodes import LifeState, choose_seat
from restante.store.statement import Sql
from restante.store.store import Answer, QueueReason, Release, Requeue, StoreClosed

S = 1_000_000_000
SILENCE = Sql(
    "test: make a heartbeat old",
    update(tables.node)
    .where(tables.node.c.number == bindparam("row_number"))
    .values(heartbeat_at=tables.node.c.heartbeat_at - 3_600_000),
)
STEAL = Sql(
    "test: begin another life on a number",
    update(tables.node)
    .where(tables.node.c.number == bindparam("row_number"))
    .values(epoch=tables.node.c.epoch + 100),
)


class Ticks:
    """Nanoseconds that a test steps: a process that is stopped and goes on."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


async def silence(store: Engine, number: int) -> None:
    await store.bulk([Write(SILENCE, {"row_number": number})])


def test_epochs_only_grow_and_the_number_stays(store_url: str) -> None:
    async def run() -> None:
        seen: list[tuple[int, int]] = []
        for _ in range(4):
            async with opened(store_url) as store:
                seen.append((store.node, store.epoch))
                row = (await rows(store, tables.node))[0]
                assert (row["epoch"], row["released"]) == (store.epoch, 0)
        assert seen == [(1, 1), (1, 2), (1, 3), (1, 4)]

    asyncio.run(run())


def test_ids_never_repeat_whatever_the_clock_does(store_url: str) -> None:
    """Three lives: the second begins with the clock an hour back, after a crash that wrote nothing."""

    async def run() -> None:
        clock = StepClock()
        made: list[int] = []
        async with opened(store_url, clock) as store:
            made += [store.next_id() for _ in range(5000)]
            # A crash: the row keeps what the last heartbeat reserved.
            left = (await rows(store, tables.node))[0]["high_water"]
            assert left > made[-1]
            store._life.final_high_water = lambda: left  # close() must not write a lower mark
        clock = StepClock(clock.ms - 3_600_000)
        async with opened(store_url, clock) as store:
            made += [store.next_id() for _ in range(5000)]
            clock.step(-100_000)
            await store.beat()
            made += [store.next_id() for _ in range(5000)]
        clock = StepClock(clock.ms + 7_200_000)
        async with opened(store_url, clock) as store:
            made += [store.next_id() for _ in range(10)]
        assert made == sorted(set(made))
        assert made[-1] >> 20 == clock.ms

    asyncio.run(run())


def test_a_lost_high_water_mark_is_no_excuse(store_url: str) -> None:
    """The mark is gone, as in a database put together by hand: ids still start above the stored messages."""
    forget = Sql("test: forget the mark", update(tables.node).values(high_water=0))

    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock) as store:
            last = message(store, id=id_at(clock.ms + 50_000) + 7)
            await store.apply(messages=[last])
        async with opened(store_url, clock) as store:
            await store.bulk([Write(forget, {})])
            store._life.fenced()  # keeps close() from writing another mark
        async with opened(store_url, clock) as store:
            assert store.next_id() > last.id

    asyncio.run(run())


def test_no_id_is_made_beyond_the_reserve(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            first = store.next_id()
            mark = (await rows(store, tables.node))[0]["high_water"]
            clock.step(3_600_000)  # no heartbeat reserved more: ids fall behind the clock
            late = [store.next_id() for _ in range(1000)]
            assert first < late[0] < late[-1] < mark
            store._life._reserved = late[-1] + 3
            assert [store.next_id() for _ in range(2)] == [late[-1] + 1, late[-1] + 2]
            with pytest.raises(StoreClosed):
                store.next_id()
            await store.beat()
            assert store.next_id() >> 20 == clock.ms

    asyncio.run(run())


def test_heartbeats_reserve_ids_durably(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=0.02) as store:
            for _ in range(5):
                clock.step(9_000)

                async def reserved() -> bool:
                    return (await rows(store, tables.node))[0]["high_water"] > id_at(clock.ms + 10_000)

                await eventually(reserved)
                assert store.next_id() < (await rows(store, tables.node))[0]["high_water"]

    asyncio.run(run())


def test_a_stopped_process_that_goes_on_sends_nothing_before_it_has_looked(store_url: str) -> None:
    """SIGSTOP and SIGCONT, stepped: time passes, no heartbeat runs, the very next question is answered no."""

    async def run() -> None:
        ticks = Ticks()
        states: list[LifeState] = []
        async with opened(store_url, tick=ticks, heartbeat_s=60, dead_after_s=10) as store:
            store.on_life(states.append)
            ticks.ns += 4 * S
            assert store.alive()
            ticks.ns += 2 * S  # more than half of dead_after_s
            assert not store.alive()
            assert not store.health().accepting
            await store.beat()  # nobody took us for dead
            assert store.alive()
            assert store.health().accepting
            assert states == [LifeState.STALE, LifeState.LIVE]

    asyncio.run(run())


def test_a_zombie_is_fenced(store_url: str) -> None:
    """It is stopped, another life begins, its rows are taken; it goes on: its outcome is FENCED, then put raises."""

    async def run() -> None:
        ticks = Ticks()
        async with opened(store_url, tick=ticks, heartbeat_s=60) as zombie:
            one, two = message(zombie), message(zombie)
            await zombie.apply(messages=[one, two])
            ticks.ns += 3600 * S
            # Another life of the number, and its claim.
            await zombie.bulk([Write(STEAL, {"row_number": zombie.node})])
            epoch, zombie.epoch = zombie.epoch, zombie.epoch + 100
            taken = await zombie.claim(due_before=1 << 60, limit=10)
            zombie.epoch = epoch
            assert [work.message.id for work in taken] == [one.id, two.id]
            assert not zombie.alive()
            answers = await put_all(
                zombie,
                {"release": Release(one.id, epoch), "events": (final(zombie, one.id),)},
                {"requeue": Requeue(two.id, epoch, 5, 1, QueueReason.RETRY, keep=True)},
            )
            assert answers == [Answer.FENCED] * 2
            assert await rows(zombie, tables.event) == []
            assert set((await epochs(zombie)).values()) == {epoch + 100}
            states: list[LifeState] = []
            zombie.on_life(states.append)
            await zombie.beat()
            assert states[-1] is LifeState.FENCED
            assert not zombie.alive()
            with pytest.raises(StoreClosed):
                await zombie.apply(messages=[message(zombie)])
            await zombie.beat()  # for ever
            assert not zombie.alive()

    asyncio.run(run())


def test_a_node_of_the_same_name_ends_the_earlier_life(postgresql_url: str) -> None:
    async def run() -> None:
        async with opened(postgresql_url, node_name="a", heartbeat_s=60) as first:
            one = message(first)
            await first.apply(messages=[one])
            async with opened(postgresql_url, node_name="a", heartbeat_s=60) as second:
                assert second.node == first.node
                assert second.epoch > first.epoch
                works = await second.claim(due_before=1 << 60, limit=5)
                assert [work.message.id for work in works] == [one.id]
                assert await first.apply(release=Release(one.id, first.epoch)) is Answer.FENCED
                await first.beat()
                with pytest.raises(StoreClosed):
                    await first.apply(messages=[])
                assert await second.apply(release=Release(one.id, second.epoch)) is Answer.STORED

    asyncio.run(run())


def test_nodes_have_numbers_of_their_own_and_the_dead_are_buried_once(postgresql_url: str) -> None:
    async def run() -> None:
        async with (
            opened(postgresql_url, node_name="a", heartbeat_s=60) as a,
            opened(postgresql_url, node_name="b", heartbeat_s=60) as b,
            opened(postgresql_url, node_name="c", heartbeat_s=60) as c,
        ):
            assert [a.node, b.node, c.node] == [1, 2, 3]
            assert len({a.epoch, b.epoch, c.epoch}) == 3
            ours, theirs = message(b), message(a)
            await b.apply(messages=[ours])
            await a.apply(messages=[theirs])
            assert await b.reap() == []
            assert await b.claim(due_before=1 << 60, limit=9) == []
            dead = a.epoch
            await silence(b, a.node)
            buried = await asyncio.gather(b.reap(), c.reap())
            assert sorted(buried) == [[], [dead]]
            b._orphans_at = c._orphans_at = 0.0
            works = await c.claim(due_before=1 << 60, limit=9)
            assert [work.message.id for work in works] == [theirs.id]
            assert await a.apply(release=Release(theirs.id, dead)) is Answer.FENCED
            late = message(a)  # a zombie may still accept: its row is found, later
            assert await a.apply(messages=[late]) is Answer.STORED
            await a.beat()
            assert not a.alive()
            c._orphans_at = 0.0
            works = await c.claim(due_before=1 << 60, limit=9)
            assert [work.message.id for work in works] == [late.id]

    asyncio.run(run())


def test_many_nodes_start_at_once(postgresql_url: str) -> None:
    async def run() -> None:
        stores = [opened(postgresql_url, node_name=f"n{n}", readers=1) for n in range(6)]
        opened_stores = await asyncio.gather(*(store.__aenter__() for store in stores))
        try:
            assert len({store.node for store in opened_stores}) == 6
            assert len({store.epoch for store in opened_stores}) == 6
        finally:
            for store in stores:
                await store.__aexit__(None, None, None)

    asyncio.run(run())


def row(number: int, **other: object) -> dict[str, object]:
    return {
        "number": number,
        "epoch": number,
        "name": str(number),
        "heartbeat_at": 100_000,
        "now_ms": 100_000,
        "released": 0,
        "high_water": 0,
        **other,
    }


def test_which_seat_is_chosen() -> None:
    assert choose_seat([], "a", 10).number == 1
    assert choose_seat([row(1), row(2, name="a", high_water=9)], "a", 10).number == 2
    assert choose_seat([row(1), row(2, released=1), row(3)], "a", 10).number == 2
    seat = choose_seat([row(1), row(2)], "a", 10)
    assert (seat.number, seat.epoch, seat.replaces) == (3, 3, 0)
    full = [row(number) for number in range(1, MAX_NODE + 1)]
    with pytest.raises(LookupError):
        choose_seat(full, "a", 10)
    full[6]["heartbeat_at"] = 99_000
    seat = choose_seat(full, "a", 10)
    assert (seat.number, seat.epoch, seat.replaces) == (7, MAX_NODE + 1, 7)
