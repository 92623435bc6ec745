"""Redelivery on request: handset, reader and sweep compete, and it is concluded once; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from box_center import HOUR, Center, center

from restante.mailbox.endings import redelivered_writes
from restante.mailbox.outlet import sent_writes
from restante.mailbox.redelivery import NotForHandset, UnderWay
from restante.message import Message, MessageState
from restante.store.store import Answer, QueueReason, Release

ALICE = "+447700900001"
DELIVERED, EXPIRED = MessageState.DELIVERED, MessageState.EXPIRED


def run(url: str, story: Callable[[Center], Awaitable[None]]) -> None:
    async def told() -> None:
        async with center(url) as c:
            await story(c)

    asyncio.run(told())


async def handset_took(c: Center, message: Message) -> Answer:
    """What delivery does when the attempt succeeded."""
    at = c.clock.now_ms()
    final, receipts = c.endings._ending(message, DELIVERED, at=at, route="switch:msc1")
    answer = await c.store.apply(
        messages=receipts,
        release=Release(message.id, c.store.epoch),
        events=final,
        writes=c.redelivery.redelivered_writes(message, at),
    )
    if answer is Answer.STORED:
        c.receipts.extend(receipts)
    return answer


def test_the_message_itself_goes_out_again_and_is_delivered(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        deposited = await c.deposit("Hello Alice")
        await c.redelivery.request(alice.number, deposited.id)
        ((message, reason),) = c.admitted
        assert (message, reason) == (deposited, QueueReason.REDELIVERY)
        (row,) = await c.queue()
        assert (row["id"], row["reason"], row["owner"]) == (message.id, "redelivery", c.store.epoch)
        with pytest.raises(UnderWay):
            await c.redelivery.request(alice.number, deposited.id)
        assert await handset_took(c, message) is Answer.STORED
        assert await c.queue() == []
        assert await c.finals(message.id) == [(DELIVERED, "")]
        item = await c.box.peek(alice.number, message.id)
        assert (item.state, item.read, item.delivered_at) == (DELIVERED, True, c.clock.now_ms())
        assert (await c.box.summary(alice.number)).unread == 0
        changes = await c.feed.since(alice.number, 1)
        assert [item.id for item in changes.updated] == [message.id]
        await c.box.open(alice.number, message.id)
        assert len(c.receipts) == 1
        assert len(await c.finals(message.id)) == 1

    run(store_url, story)


def test_a_reader_who_is_first_ends_the_attempt(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        deposited = await c.deposit()
        await c.redelivery.request(alice.number, deposited.id)
        await c.box.open(alice.number, deposited.id)
        assert await c.queue() == []
        assert await handset_took(c, deposited) in (Answer.FENCED, Answer.CONFLICT)
        assert await c.finals(deposited.id) == [(DELIVERED, "retrieved")]
        assert len(c.receipts) == 1

    run(store_url, story)


def test_reader_handset_and_sweep_at_once(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        deposited = [await c.deposit(f"No {at}") for at in range(15)]
        for message in deposited:
            await c.redelivery.request(alice.number, message.id)
        await c.pass_time(deposited[7].expires_at - c.clock.now_ms())
        works: list[Awaitable[object]] = [c.endings.expire()]
        for message in deposited:
            works += [handset_took(c, message), c.box.open(alice.number, message.id)]
        await asyncio.gather(*works)
        for message in deposited:
            assert len(await c.finals(message.id)) == 1
        assert len(c.receipts) == 15
        assert await c.queue() == []
        assert (await c.box.summary(alice.number)).unread == 0

    run(store_url, story)


def test_an_attempt_that_failed_leaves_the_box_as_it_was(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        deposited = await c.deposit()
        await c.redelivery.request(alice.number, deposited.id)
        assert await c.store.apply(release=Release(deposited.id, c.store.epoch)) is Answer.STORED
        assert (await c.box.peek(alice.number, deposited.id)).state is MessageState.ENROUTE
        await c.redelivery.request(alice.number, deposited.id)  # and again
        assert len(c.admitted) == 2

    run(store_url, story)


def test_what_is_over_goes_out_as_a_copy(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        deposited = await c.deposit("Once more", esm_class=0x03)
        await c.box.open(alice.number, deposited.id)
        await c.redelivery.request(alice.number, deposited.id)
        ((copy, reason),) = c.admitted
        assert reason == QueueReason.NEW
        assert copy.id != deposited.id
        assert (copy.parent, copy.body, copy.recipient) == (deposited.id, b"Once more", ALICE)
        assert (copy.esm_class, copy.registered_delivery, copy.account) == (0x01, 0, 0)
        assert c.outlet.refuses(copy) == "not-store-and-forward"
        (row,) = await c.queue()
        assert (row["id"], row["reason"]) == (copy.id, "new")
        assert (await c.store.load([copy.id]))[0].body == b"Once more"
        assert len(await c.finals(deposited.id)) == 1
        expired = await c.deposit("Late", expires_at=c.clock.now_ms() + HOUR)
        await c.pass_time(HOUR)
        await c.redelivery.request(alice.number, expired.id)
        assert c.admitted[-1][0].parent == expired.id
        assert await c.finals(expired.id) == []  # the sweep tells its sender

    run(store_url, story)


def test_each_part_goes_out_and_the_item_is_read_with_the_last(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        parts = [
            await c.deposit(f"{number}", part_reference=7, part_total=2, part_number=number)
            for number in (1, 2)
        ]
        await c.redelivery.request(alice.number, parts[1].id)
        assert [message.id for message, _ in c.admitted] == [part.id for part in parts]
        assert await handset_took(c, parts[1]) is Answer.STORED
        assert (await c.box.summary(alice.number)).unread == 1
        assert await handset_took(c, parts[0]) is Answer.STORED
        assert (await c.box.summary(alice.number)).unread == 0
        assert (await c.box.peek(alice.number, parts[0].id)).read

    run(store_url, story)


def test_what_was_sent_is_not_for_the_own_handset(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = c.message(sender=ALICE, to="+447700900002")
        writes = sent_writes(message, alice.number, 77, settings=c.settings, at=c.clock.now_ms())
        assert await c.store.apply(writes=writes) is Answer.STORED
        with pytest.raises(NotForHandset):
            await c.redelivery.request(alice.number, 77)

    run(store_url, story)


def test_a_message_that_is_in_no_box_concludes_nothing(store_url: str):
    async def story(c: Center) -> None:
        message = c.message()
        assert await c.store.apply(writes=redelivered_writes(message, 1)) is Answer.CONFLICT

    run(store_url, story)


def test_everything_goes_to_a_handset_that_is_seen(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscribers.provision([ALICE, "+447700900002"])
        waiting = [await c.deposit(f"No {at}") for at in range(5)]
        elsewhere = await c.deposit("To the other number", to="+447700900002")
        await c.box.open(alice.number, waiting[2].id)
        await c.redelivery.request(alice.number, waiting[0].id)
        c.admitted.clear()
        assert await c.redelivery.everything(alice.number, ALICE) == 3
        assert [message.id for message, _ in c.admitted] == [waiting[at].id for at in (1, 3, 4)]
        assert elsewhere.id not in {row["id"] for row in await c.queue()}

    run(store_url, story)
