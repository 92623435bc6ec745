"""One owner never sees another's row: every door is tried with every foreign id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from box_center import Center, center

from restante.access.subscriber import Subscriber
from restante.mailbox.changes import StateTooOld
from restante.mailbox.folders import Folder
from restante.mailbox.model import BatchAction, BoxClosed, BoxError, Choices, ItemNotFound, Wanted
from restante.message import MessageState

ALICE, BOB = "+447700900001", "+447700900002"


def run(url: str, story: Callable[[Center], Awaitable[None]]) -> None:
    async def told() -> None:
        async with center(url) as c:
            await story(c)

    asyncio.run(told())


async def everything_of(c: Center, subscriber: int) -> object:
    """All that an owner can see of a box without changing it."""
    return (
        await c.box.summary(subscriber, operator=True),
        await c.box.page(subscriber, limit=200, operator=True),
        await c.box.page(subscriber, Wanted(Folder.TRASH), operator=True),
        await c.box.conversations(subscriber, operator=True),
        await c.feed.since(subscriber, 0),
        await c.box.choices(subscriber),
    )


DOORS: list[Callable[[Center, int, int], Awaitable[object]]] = [
    lambda c, mine, foreign: c.box.open(mine, foreign),
    lambda c, mine, foreign: c.box.peek(mine, foreign),
    lambda c, mine, foreign: c.box.peek(mine, foreign, operator=True, whole=True),
    lambda c, mine, foreign: c.box.change(mine, foreign, read=True, starred=True, folder=Folder.TRASH),
    lambda c, mine, foreign: c.box.delete(mine, foreign),
    lambda c, mine, foreign: c.box.delete(mine, foreign, permanent=True),
    lambda c, mine, foreign: c.redelivery.request(mine, foreign),
]


@pytest.mark.parametrize("door", range(len(DOORS)))
def test_a_foreign_id_is_as_unknown_as_one_that_never_was(store_url: str, door: int):
    async def story(c: Center) -> None:
        alice, bob = await c.subscriber(ALICE), await c.subscriber(BOB)
        own = await c.deposit("For Alice", to=ALICE)
        theirs = [await c.deposit("For Bob", to=BOB)]
        for number in (1, 2):
            theirs.append(await c.deposit("Part", to=BOB, part_reference=5, part_total=2, part_number=number))
        binned = await c.deposit("In Bob's bin", to=BOB)
        await c.box.delete(bob.number, binned.id)
        before = await everything_of(c, bob.number)
        refusals = []
        for message in [*theirs, binned]:
            with pytest.raises(ItemNotFound) as refused:
                await DOORS[door](c, alice.number, message.id)
            refusals.append((type(refused.value), refused.value.reason))
        with pytest.raises(ItemNotFound) as unknown:
            await DOORS[door](c, alice.number, 4711)
        assert set(refusals) == {(type(unknown.value), unknown.value.reason)}
        assert await everything_of(c, bob.number) == before
        assert c.receipts == []
        assert c.admitted == []
        assert await c.queue() == []
        assert (await c.box.peek(alice.number, own.id)).id == own.id

    run(store_url, story)


def test_batches_lists_search_and_feed_stay_inside(store_url: str):
    async def story(c: Center) -> None:
        alice, bob = await c.subscriber(ALICE), await c.subscriber(BOB)
        mine = await c.deposit("A secret of Alice", to=ALICE)
        theirs = [await c.deposit(f"A secret of Bob {at}", to=BOB) for at in range(3)]
        before = await everything_of(c, bob.number)
        ids = [message.id for message in theirs]
        for action in (BatchAction.READ, BatchAction.STAR, BatchAction.DELETE):
            results = await c.box.batch(alice.number, [*ids, mine.id], action)
            assert [result.problem for result in results] == ["item-not-found"] * 3 + [""]
        results = await c.box.batch(alice.number, ids, BatchAction.MOVE, folder=Folder.SAVED)
        assert {result.problem for result in results} == {"item-not-found"}
        for wanted in (Wanted(text="secret"), Wanted(Folder.TRASH), Wanted(), Wanted(sender=mine.sender)):
            page = await c.box.page(alice.number, wanted)
            assert {item.id for item in page.items} <= {mine.id}
        feed = await c.feed.since(alice.number, 0)
        assert {item.id for item in (*feed.created, *feed.updated)} <= {mine.id}
        assert feed.destroyed == ()
        async for item in c.box.export(alice.number):
            assert item.id == mine.id
        await c.box.purge(alice.number)
        assert await everything_of(c, bob.number) == before
        with pytest.raises(StateTooOld):
            await c.feed.since(alice.number, 10**6)

    run(store_url, story)


async def _close(c: Center, alice: Subscriber) -> None:
    await c.subscribers.close(alice.number)
    await c.subscribers.provision([ALICE])


async def _port_out(c: Center, _: Subscriber) -> None:
    await c.subscribers.port_out(ALICE)
    await c.subscribers.provision([ALICE])


async def _reassign(c: Center, _: Subscriber) -> None:
    await c.subscribers.reassign(ALICE)


async def _swap_card(c: Center, alice: Subscriber) -> None:
    await c.subscribers.change_imsi(alice.number, "234150000000002")


@pytest.mark.parametrize("end", [_close, _port_out, _reassign, _swap_card])
def test_the_next_owner_of_a_number_starts_empty(
    store_url: str, end: Callable[[Center, Subscriber], Awaitable[None]]
):
    async def story(c: Center) -> None:
        sealed: list[Subscriber] = []
        c.subscribers.on_barred(sealed.append)
        alice = await c.subscribers.provision([ALICE], imsi="234150000000001")
        old = [await c.deposit(f"Private {at}", to=ALICE) for at in range(3)]
        await c.box.open(alice.number, old[0].id)
        await end(c, alice)
        assert [one.number for one in sealed] == [alice.number]
        heir = await c.owner(ALICE)
        assert heir.number != alice.number
        assert (await c.box.page(heir.number)).items == ()
        summary = await c.box.summary(heir.number)
        assert (summary.unread, summary.total, summary.bytes, summary.state) == (0, 0, 0, 0)
        assert (await c.feed.since(heir.number, 0)).created == ()
        assert await c.box.choices(heir.number) == Choices()
        for message in old:
            for door in DOORS:
                with pytest.raises(ItemNotFound):
                    await door(c, heir.number, message.id)
        # The old id opens nothing any more, for whoever still has its session.
        for call in (
            c.box.page(alice.number),
            c.box.open(alice.number, old[1].id),
            c.box.purge(alice.number),
        ):
            with pytest.raises(BoxClosed):
                await call
        # What was still owed is told to its senders.
        assert await c.endings.seal(alice.number) == 2
        assert await c.finals(old[0].id) == [(MessageState.DELIVERED, "retrieved")]
        for message in old[1:]:
            assert await c.finals(message.id) == [(MessageState.UNDELIVERABLE, "number-closed")]
        fresh = await c.deposit("For the next owner", to=ALICE)
        assert [item.id for item in (await c.box.page(heir.number)).items] == [fresh.id]

    run(store_url, story)


def test_a_suspended_subscriber_reads_nothing(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit(to=ALICE)
        await c.subscribers.suspend(alice.number)
        calls: list[Awaitable[object]] = [
            c.box.summary(alice.number),
            c.box.page(alice.number),
            c.box.conversations(alice.number),
            c.box.open(alice.number, message.id),
            c.box.peek(alice.number, message.id),
            c.box.change(alice.number, message.id, read=True),
            c.box.delete(alice.number, message.id),
            c.box.batch(alice.number, [message.id], BatchAction.READ),
            c.box.choose(alice.number, Choices()),
            c.redelivery.request(alice.number, message.id),
            c.box.purge(alice.number),
        ]
        for call in calls:
            with pytest.raises(BoxClosed):
                await call
        with pytest.raises(BoxError):
            async for _ in c.box.export(alice.number):
                pass
        assert await c.finals(message.id) == []

    run(store_url, story)
