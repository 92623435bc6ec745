"""What boxes forget, and when; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from box_center import DAY, Center, center

from restante.mailbox.folders import Folder
from restante.mailbox.model import Choices, ItemNotFound, Wanted
from restante.message import MessageState

ALICE, BOB = "+447700900001", "+447700900002"


def run(url: str, story: Callable[[Center], Awaitable[None]]) -> None:
    async def told() -> None:
        async with center(url) as c:
            await story(c)

    asyncio.run(told())


def test_the_bin_is_emptied_after_thirty_days(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        one, two = await c.deposit("One"), await c.deposit("Two")
        await c.box.open(alice.number, one.id)
        await c.box.delete(alice.number, one.id)
        await c.pass_time(10 * DAY)
        await c.box.delete(alice.number, two.id)
        await c.pass_time(20 * DAY)
        assert (await c.retention.sweep()).binned == 1
        assert [item.id for item in (await c.box.page(alice.number, Wanted(Folder.TRASH))).items] == [two.id]
        await c.pass_time(10 * DAY)
        await c.endings.expire()
        assert (await c.retention.sweep()).binned == 1
        summary = await c.box.summary(alice.number)
        assert (summary.total, summary.unread, summary.bytes) == (0, 0, 0)

    run(store_url, story)


def test_taking_something_out_of_the_bin_saves_it(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        one = await c.deposit("One")
        await c.box.delete(alice.number, one.id)
        await c.pass_time(29 * DAY)
        await c.box.change(alice.number, one.id, folder=Folder.INBOX)
        await c.pass_time(5 * DAY)
        assert (await c.retention.sweep()).binned == 0
        assert (await c.box.peek(alice.number, one.id)).id == one.id

    run(store_url, story)


def test_age_spares_what_is_saved_or_starred_for_longer(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        plain, starred, saved = [await c.deposit(name) for name in ("plain", "starred", "saved")]
        parts = [
            await c.deposit(f"{number}", part_reference=7, part_total=2, part_number=number)
            for number in (1, 2)
        ]
        await c.box.change(alice.number, starred.id, starred=True)
        await c.box.change(alice.number, saved.id, folder=Folder.SAVED)
        await c.pass_time(89 * DAY)
        await c.endings.expire()
        young = await c.deposit("young")
        assert (await c.retention.sweep()).aged == 0
        await c.pass_time(2 * DAY)
        assert (await c.retention.sweep()).aged == 2
        left = [item.id for item in (await c.box.page(alice.number)).items]
        assert left == [young.id, saved.id, starred.id]
        with pytest.raises(ItemNotFound):
            await c.box.peek(alice.number, parts[1].id)
        await c.pass_time(275 * DAY)
        await c.endings.expire()
        await c.retention.sweep()
        assert (await c.box.page(alice.number)).items == ()
        assert plain.id not in left

    run(store_url, story)


def test_an_owner_may_choose_fewer_days(store_url: str):
    async def story(c: Center) -> None:
        alice, bob = await c.subscriber(ALICE), await c.subscriber(BOB)
        await c.box.choose(alice.number, Choices(retention_days=3))
        for number in (ALICE, BOB):
            for at in range(60):
                await c.deposit(f"No {at}", to=number)
        await c.pass_time(4 * DAY)
        fresh = await c.deposit("fresh", to=ALICE)
        assert (await c.retention.sweep()).aged == 60
        assert [item.id for item in (await c.box.page(alice.number)).items] == [fresh.id]
        assert (await c.box.summary(bob.number)).total == 60

    run(store_url, story)


def test_what_goes_unread_ends_as_expired_in_the_same_change(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        await c.box.choose(alice.number, Choices(retention_days=1))
        message = await c.deposit(expires_at=c.clock.now_ms() + 7 * DAY)
        parts = [
            await c.deposit(
                f"{n}", part_reference=7, part_total=2, part_number=n, expires_at=c.clock.now_ms() + 7 * DAY
            )
            for n in (1, 2)
        ]
        await c.pass_time(2 * DAY)
        assert (await c.retention.sweep()).aged == 2
        for gone in (message, *parts):
            assert await c.finals(gone.id) == [(MessageState.EXPIRED, "mailbox-retention")]
        assert len(c.receipts) == 3
        summary = await c.box.summary(alice.number)
        assert (summary.total, summary.unread, summary.bytes) == (0, 0, 0)

    run(store_url, story)
