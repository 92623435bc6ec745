"""The mailbox with the real delivery engine and the real intake, on both databases: a message's whole way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from box_center import open_store
from memory_store import SteppedClock
from message_path import ABSENT, DELIVERED, PHONE, Path, make_path
from waiting import soon

from restante.access.ranges import NumberRange, NumberRanges, RangeModel
from restante.access.subscriber import Subscriber
from restante.access.subscribers import Subscribers
from restante.mailbox.box import Box
from restante.mailbox.endings import Endings, redelivered_writes
from restante.mailbox.model import Summary
from restante.mailbox.notices import Notices
from restante.mailbox.outlet import MailboxOutlet
from restante.mailbox.redelivery import Redelivery
from restante.mailbox.settings import MailboxSettings
from restante.message import EventKind, Kind, Message, MessageState
from restante.outlet import Delivery, Outcome, Write

D, E, U = MessageState.DELIVERED, MessageState.EXPIRED, MessageState.UNDELIVERABLE
DAY = 86_400_000


class CountedOutlet(MailboxOutlet):
    """The real one, with what `Path` counts to know when it rests."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.handed: list[Delivery] = []
        self.open: list[object] = []

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        self.handed.append(delivery)
        return super().hand(delivery, done)

    def redelivered_writes(self, message: Message, at: int) -> tuple[Write, ...]:
        return redelivered_writes(message, at)


class House:
    """A path with a real mailbox at its end."""

    path: Path
    box: Box
    subscribers: Subscribers
    endings: Endings
    redelivery: Redelivery
    notices: Notices
    sent: list[tuple[object, ...]]
    phone: Subscriber

    async def rest(self) -> None:
        """Let outlet and engine come to rest."""

        async def idle() -> bool:
            await self.path.settle()
            outlet: Any = self.path.box
            return outlet._worker is None and not self.path.store._writer.pending

        await soon(idle, "the path rests")
        await self.path.settle()

    async def submit(self, text: bytes = b"hello", **fields: Any) -> int:
        """Submit, and wait until it has come somewhere."""
        id = await self.path.submit(text=text, **fields)
        await self.rest()
        return id

    async def summary(self) -> Summary:
        return await self.box.summary(self.phone.number)


def run(url: str, story: Callable[[House], Awaitable[None]]) -> None:
    async def told() -> None:
        clock = SteppedClock()
        store = open_store(url, clock)
        await store.open()
        house = House()
        settings = MailboxSettings()
        ranges = NumberRanges([NumberRange(1, RangeModel(prefix="+4477"))])
        house.subscribers = Subscribers(store, ranges)
        outlet: Any = CountedOutlet(store, house.subscribers, settings, lambda n: house.path.accounts.get(n))
        house.path = path = await make_path(store, clock, box=outlet)
        path.switch.says = lambda _: ABSENT
        house.endings = Endings(store, path.receipts.ending, path.delivery.admit)
        house.box = Box(store, house.subscribers, settings, house.endings)
        house.redelivery = Redelivery(store, house.box, settings, path.delivery.admit)
        house.sent = []

        async def send(kind: Kind, recipient: str, text: str) -> int:
            house.sent.append((kind, recipient, text))
            return 1

        house.notices = Notices(store, house.subscribers, house.redelivery, settings, send)
        house.phone = await house.subscribers.provision([PHONE])
        try:
            await story(house)
        finally:
            await house.notices.close()
            await path.screening.close()
            await store.close()

    asyncio.run(told())


def test_what_is_not_delivered_is_read_in_the_box_and_the_sender_hears_it_once(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit(b"Are you there?")
        assert await h.path.queue() == {}
        (item,) = (await h.box.page(h.phone.number)).items
        assert (item.id, item.because) == (id, "absent")
        assert EventKind.STORED in await h.path.kinds(id)
        assert h.path.receipt_texts() == []
        assert (await h.box.open(h.phone.number, id)).text == "Are you there?"
        await h.rest()
        assert await h.path.finals(id) == [(D, "retrieved")]
        (receipt,) = h.path.receipt_texts()
        assert f"id:{id} " in receipt
        assert "stat:DELIVRD" in receipt

    run(store_url, story)


def test_a_redelivery_that_succeeds(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit()
        h.path.switch.says = lambda _: DELIVERED
        await h.redelivery.request(h.phone.number, id)
        await h.rest()
        assert await h.path.finals(id) == [(D, "")]
        assert await h.path.queue() == {}
        assert (await h.summary()).unread == 0
        assert len(h.path.receipt_texts()) == 1

    run(store_url, story)


def test_a_redelivery_that_fails_leaves_the_box_as_it_was(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit()
        await h.redelivery.request(h.phone.number, id)
        await h.rest()
        assert await h.path.queue() == {}
        assert await h.path.finals(id) == []
        assert (await h.summary()).unread == 1
        h.path.switch.says = lambda _: DELIVERED
        await h.redelivery.request(h.phone.number, id)
        await h.rest()
        assert await h.path.finals(id) == [(D, "")]

    run(store_url, story)


def test_reading_while_the_copy_is_on_its_way(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit()
        h.path.switch.says = lambda _: None  # the phone takes its time
        await h.redelivery.request(h.phone.number, id)
        await h.path.settle()
        assert len(h.path.switch.open) == 1
        await h.box.open(h.phone.number, id)
        h.path.switch.answer(DELIVERED)
        await h.rest()
        assert await h.path.finals(id) == [(D, "retrieved")]
        assert await h.path.queue() == {}
        assert len(h.path.receipt_texts()) == 1
        assert h.path.delivery.in_memory == 0

    run(store_url, story)


def test_a_copy_of_what_was_read_goes_out_once_and_tells_nobody(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit(b"Keep this")
        await h.box.open(h.phone.number, id)
        for says in (ABSENT, DELIVERED):
            h.path.switch.says = lambda _, says=says: says
            await h.redelivery.request(h.phone.number, id)
            await h.rest()
        assert h.path.switch.bodies().count(b"Keep this") == 3
        assert await h.path.queue() == {}
        assert len(await h.path.finals(id)) == 1
        assert len(h.path.receipt_texts()) == 1
        assert (await h.summary()).total == 1  # the copy that failed did not come back

    run(store_url, story)


def test_receipt_at_deposit_is_the_end_and_is_said_once(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit(by="eager")
        assert await h.path.finals(id) == [(D, "deposited")]
        assert (await h.summary()).unread == 1
        await h.box.open(h.phone.number, id)
        await h.rest()
        assert len(await h.path.finals(id)) == 1
        assert len(h.path.outlets["eager"].handed) == 1

    run(store_url, story)


def test_the_validity_period_ends_in_the_box(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit()
        await h.path.step(8 * DAY)
        assert await h.endings.expire() == 1
        await h.rest()
        assert await h.path.finals(id) == [(E, "expired")]
        (receipt,) = h.path.receipt_texts()
        assert "stat:EXPIRED err:001" in receipt
        assert (await h.summary()).total == 1

    run(store_url, story)


def test_a_closed_number_is_undeliverable(store_url: str):
    async def story(h: House) -> None:
        await h.subscribers.close(h.phone.number)
        id = await h.submit()
        assert await h.path.finals(id) == [(U, "number-closed")]
        (receipt,) = h.path.receipt_texts()
        assert "stat:UNDELIV err:013" in receipt

    run(store_url, story)


def test_what_is_for_the_handset_waits_for_the_handset(store_url: str):
    async def story(h: House) -> None:
        id = await h.submit(protocol_id=0x40)
        assert list(await h.path.queue()) == [id]
        assert await h.path.finals(id) == []
        assert (await h.summary()).total == 0

    run(store_url, story)


def test_a_handset_that_is_seen_again_gets_one_notice(store_url: str):
    async def story(h: House) -> None:
        h.path.delivery.on_seen(h.notices.seen)
        await h.submit()
        await h.submit()
        h.path.delivery.wake(PHONE)
        h.path.delivery.wake(PHONE)

        async def told() -> bool:
            return bool(h.sent)

        await soon(told, "a notice")
        await h.rest()
        assert [notice[1:] for notice in h.sent] == [(PHONE, "You have 2 new messages in your mailbox.")]

    run(store_url, story)
