"""A subscriber's life, on both databases: who gets a number starts empty."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from box_center import Center, center

from restante.access import subscriber_tables as sql
from restante.access.ranges import NumberRange, RangeModel
from restante.access.subscriber import (
    ImsiTaken,
    InvalidSubscriber,
    NumberTaken,
    StaleSubscriber,
    Subscriber,
    SubscriberClosed,
    SubscriberNotFound,
    SubscriberSettings,
    SubscriberState,
)
from restante.outlet import Write

ALICE = "+447700900001"
BOB = "+447700900002"
OUTSIDE = "+33600000001"


def run(url: str, story: Callable[[Center], Awaitable[None]], **settings: Any) -> None:
    async def told() -> None:
        async with center(url, subscriber_settings=SubscriberSettings(**settings) if settings else None) as c:
            await story(c)

    asyncio.run(told())


def test_provisioned_subscribers_are_found_by_number_id_and_card(store_url: str):
    async def story(c: Center) -> None:
        made = await c.subscribers.provision([ALICE, BOB], imsi="234150000000001")
        assert made.id == f"sub_{made.number}"
        assert (await c.subscribers.find(ALICE)) == made
        assert (await c.subscribers.find(BOB)) == made
        assert (await c.subscribers.get(made.number)) == made
        assert (await c.subscribers.by_imsi("234150000000001")) == made
        assert await c.subscribers.find(OUTSIDE) is None

    run(store_url, story)


def test_a_taken_number_or_card_is_refused_and_nothing_is_left_behind(store_url: str):
    async def story(c: Center) -> None:
        await c.subscribers.provision([ALICE], imsi="234150000000001")
        with pytest.raises(NumberTaken):
            await c.subscribers.provision([BOB, ALICE])
        with pytest.raises(ImsiTaken):
            await c.subscribers.provision([BOB], imsi="234150000000001")
        assert await c.subscribers.find(BOB) is None
        assert len(await c.subscribers.page()) == 1

    run(store_url, story)


@pytest.mark.parametrize(
    "bad", ["", "447700900001", "+0447700900", "+44x", "+44", "@Shop", "12345", "+" + "1" * 16]
)
def test_only_numbers_in_normal_form_can_be_provisioned(sqlite_url: str, bad: str):
    async def story(c: Center) -> None:
        with pytest.raises(InvalidSubscriber):
            await c.subscribers.provision([bad])
        with pytest.raises(InvalidSubscriber):
            await c.subscribers.provision([ALICE], imsi="12x")

    run(sqlite_url, story)


def test_first_use_makes_a_subscriber_inside_own_ranges_only(store_url: str):
    async def story(c: Center) -> None:
        made = await c.subscribers.resolve(ALICE)
        assert made is not None
        assert made.origin == "first-use"
        assert (await c.subscribers.resolve(ALICE)) == made
        assert await c.subscribers.resolve(OUTSIDE) is None
        c.ranges.use([NumberRange(1, RangeModel(prefix="+447700900", first_use=False))])
        assert await c.subscribers.resolve(BOB) is None

    run(store_url, story, first_use=True)


def test_two_first_uses_at_once_make_one_subscriber(store_url: str):
    async def story(c: Center) -> None:
        found = await asyncio.gather(*(c.subscribers.resolve(ALICE) for _ in range(8)))
        assert len({one.number for one in found if one}) == 1
        assert None not in found

    run(store_url, story, first_use=True)


def test_a_suspended_subscriber_comes_back_and_a_closed_one_does_not(store_url: str):
    async def story(c: Center) -> None:
        told: list[Subscriber] = []
        c.subscribers.on_barred(told.append)
        made = await c.subscriber(ALICE)
        assert (await c.subscribers.suspend(made.number)).state is SubscriberState.SUSPENDED
        assert not (await c.known(made.number)).active
        assert (await c.subscribers.resume(made.number)).active
        closed = await c.subscribers.close(made.number)
        assert closed.closed
        assert closed.closed_at
        assert [one.state for one in told] == [SubscriberState.SUSPENDED, SubscriberState.CLOSED]
        for edit in (c.subscribers.suspend, c.subscribers.resume, c.subscribers.close):
            with pytest.raises(SubscriberClosed):
                await edit(made.number)
        assert (await c.owner(ALICE)).closed  # messages to it fail, they make no new subscriber

    run(store_url, story)


def test_a_closed_number_stays_closed_on_first_use_and_is_free_to_be_given_again(store_url: str):
    async def story(c: Center) -> None:
        old = await c.subscriber(ALICE)
        await c.subscribers.close(old.number)
        assert (await c.first_use(ALICE)).number == old.number
        new = await c.subscribers.provision([ALICE])
        assert new.number != old.number
        assert (await c.subscribers.find(ALICE)) == new
        assert (await c.known(old.number)).numbers == ()

    run(store_url, story, first_use=True)


def test_a_changed_card_seals_and_a_first_card_is_learned(store_url: str):
    async def story(c: Center) -> None:
        told: list[Subscriber] = []
        c.subscribers.on_barred(told.append)
        made = await c.subscriber(ALICE)
        (learned,) = await c.subscribers.change_imsi(made.number, "234150000000001")
        assert learned.number == made.number
        assert told == []
        closed, heir = await c.subscribers.change_imsi(made.number, "234150000000002")
        assert (closed.number, closed.reason, closed.successor) == (made.number, "imsi-changed", heir.number)
        assert told == [closed]
        assert (await c.subscribers.find(ALICE)) == heir
        assert heir.imsi == "234150000000002"

    run(store_url, story)


def test_port_out_of_one_number_leaves_the_others_with_a_successor(store_url: str):
    async def story(c: Center) -> None:
        made = await c.subscribers.provision([ALICE, BOB], imsi="234150000000001")
        closed, heir = await c.subscribers.port_out(ALICE)
        assert (closed.reason, closed.numbers) == ("ported-out", (ALICE,))
        assert (heir.numbers, heir.imsi) == ((BOB,), "234150000000001")
        assert (await c.owner(ALICE)).closed
        assert (await c.owner(BOB)).number == heir.number != made.number
        (alone,) = await c.subscribers.port_out(BOB)
        assert alone.number == heir.number
        assert alone.successor == 0

    run(store_url, story)


def test_a_reassigned_number_has_a_new_subscriber(store_url: str):
    async def story(c: Center) -> None:
        made = await c.subscribers.provision([ALICE, BOB], imsi="234150000000001")
        closed, new, rest = await c.subscribers.reassign(ALICE, imsi="234150000000009")
        assert closed.number == made.number
        assert (await c.subscribers.find(ALICE)) == new
        assert (await c.subscribers.find(BOB)) == rest
        assert len({closed.number, new.number, rest.number}) == 3
        assert await c.subscribers.by_imsi("234150000000001") == rest
        with pytest.raises(SubscriberNotFound):
            await c.subscribers.reassign(OUTSIDE)

    run(store_url, story)


def test_an_edit_of_an_old_version_is_refused_and_carries_no_audit_row(store_url: str):
    async def story(c: Center) -> None:
        made = await c.subscriber(ALICE)
        await c.subscribers.suspend(made.number)
        impossible = Write(sql.PASS_ON, {"msisdn": OUTSIDE, "giver": 1, "taker": 1, "at": 1}, expect=1)
        with pytest.raises(StaleSubscriber) as refused:
            await c.subscribers.close(made.number, if_match=made.version)
        assert refused.value.current == 2
        with pytest.raises(Exception, match="conflict"):
            await c.subscribers.close(made.number, writes=[impossible])
        assert not (await c.known(made.number)).closed

    run(store_url, story)


def test_an_edit_counts_at_once_for_look_ups(store_url: str):
    async def story(c: Center) -> None:
        assert await c.subscribers.find(ALICE) is None
        made = await c.subscriber(ALICE)  # what was remembered as nobody is forgotten
        assert (await c.subscribers.find(ALICE)) == made
        await c.subscribers.close(made.number)
        assert (await c.owner(ALICE)).closed
        assert (await c.known(made.number)).closed

    run(store_url, story, cache_ms=60_000)


def test_the_memory_of_look_ups_is_bounded_and_ends(sqlite_url: str):
    async def story(c: Center) -> None:
        made = await c.subscriber(ALICE)
        for at in range(300):
            await c.subscribers.find(f"+4477009{at:05}")
        assert len(c.subscribers._cache._entries) <= 100
        await c.subscribers.find(ALICE)
        asked: list[str] = []
        fetch = c.store.fetch

        async def counted(query, **params):
            asked.append(query.name)
            return await fetch(query, **params)

        c.store.fetch = counted
        assert await c.subscribers.find(ALICE) == made
        assert asked == []
        c.clock.step(1001)
        await c.subscribers.find(ALICE)
        assert asked

    run(sqlite_url, story, cache_entries=100, cache_ms=1000)


def test_a_file_of_numbers_is_provisioned_row_by_row(store_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        rows = [(f"+4477009{at:05}", "") for at in range(10, 240)]
        rows[3] = (ALICE, "")
        rows[5] = ("nonsense", "")
        rows[7] = (rows[6][0], "")
        rows[9] = (rows[9][0], "234150000000001")
        rows[11] = (rows[11][0], "234150000000001")
        results = await c.subscribers.provision_rows(rows)
        assert [result.line for result in results] == list(range(1, len(rows) + 1))
        problems = {result.line: result.problem for result in results if result.problem}
        assert problems == {
            4: "number-taken",
            6: "invalid-subscriber",
            8: "number-taken",
            12: "imsi-taken",
        }
        made = [result.subscriber.number for result in results if result.subscriber]
        assert len(set(made)) == len(rows) - 4
        assert (await c.owner(rows[9][0])).imsi == "234150000000001"

    run(store_url, story)


def test_pages_by_id_state_and_prefix(store_url: str):
    async def story(c: Center) -> None:
        made = [await c.subscriber(f"+4477009000{at:02}") for at in range(7)]
        await c.subscribers.close(made[3].number)
        assert [one.number for one in await c.subscribers.page(limit=3)] == [one.number for one in made[:3]]
        rest = await c.subscribers.page(after=made[2].number, limit=100)
        assert [one.number for one in rest] == [one.number for one in made[3:]]
        assert [one.number for one in await c.subscribers.page(state=SubscriberState.CLOSED)] == [
            made[3].number
        ]
        found = await c.subscribers.page(prefix="+44770090000")
        assert [one.numbers for one in found] == [one.numbers for one in made]
        assert await c.subscribers.page(prefix="+44%") == []
        more = await c.subscribers.add_number(made[0].number, "+447700900999")
        assert more.numbers == (made[0].numbers[0], "+447700900999")
        with pytest.raises(NumberTaken):
            await c.subscribers.add_number(made[0].number, made[1].numbers[0])

    run(store_url, story)
