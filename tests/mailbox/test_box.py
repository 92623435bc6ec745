"""The box as its owner uses it, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from box_center import DAY, HOUR, SHOP, Center, center

from restante.mailbox.folders import Folder, IllegalMove
from restante.mailbox.model import (
    BatchAction,
    BoxClosed,
    Choices,
    ItemNotFound,
    StaleItem,
    Wanted,
)
from restante.mailbox.settings import MailboxSettings
from restante.message import MessageState

ALICE = "+447700900001"
DELIVERED, EXPIRED, DELETED = MessageState.DELIVERED, MessageState.EXPIRED, MessageState.DELETED


def run(
    url: str, story: Callable[[Center], Awaitable[None]], settings: MailboxSettings | None = None
) -> None:
    async def told() -> None:
        async with center(url, settings) as c:
            await story(c)

    asyncio.run(told())


def test_listing_is_not_retrieval_and_opening_is(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit("The whole text of it", registered_delivery=1)
        for _ in range(3):
            (item,) = (await c.box.page(alice.number)).items
            assert item.text is None
            assert await c.box.peek(alice.number, message.id) == item
        assert await c.finals(message.id) == []
        opened = await c.box.open(alice.number, message.id)
        assert (opened.text, opened.read, opened.state) == ("The whole text of it", True, DELIVERED)
        assert await c.finals(message.id) == [(DELIVERED, "retrieved")]
        (receipt,) = c.receipts
        assert b"stat:DELIVRD" in receipt.body
        assert (receipt.recipient, receipt.parent) == (f"={SHOP.number}", message.id)
        kinds = [event.kind for event in await c.events(message.id)]
        assert sorted(kinds) == ["final", "retrieved"]
        (item,) = (await c.box.page(alice.number)).items
        assert item.text == "The whole text of it"

    run(store_url, story)


def test_opening_again_says_nothing_more(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        first = await c.box.open(alice.number, message.id)
        await c.pass_time(HOUR)
        second = await c.box.open(alice.number, message.id)
        assert second == first
        assert len(await c.events(message.id)) == 2
        assert len(c.receipts) == 1

    run(store_url, story)


def test_many_readers_at_once_conclude_it_once(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        items = await asyncio.gather(*(c.box.open(alice.number, message.id) for _ in range(8)))
        assert {item.text for item in items} == {"Hello"}
        assert await c.finals(message.id) == [(DELIVERED, "retrieved")]
        assert len(c.receipts) == 1
        assert (await c.box.summary(alice.number)).unread == 0

    run(store_url, story)


def test_no_receipt_where_none_was_asked_for(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit(registered_delivery=0)
        await c.box.open(alice.number, message.id)
        assert await c.finals(message.id) == [(DELIVERED, "retrieved")]
        assert c.receipts == []

    run(store_url, story)


def test_validity_ends_in_the_box_and_the_copy_stays(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit("Late")
        kept = await c.deposit("In time", expires_at=c.clock.now_ms() + 30 * DAY)
        assert await c.endings.expire() == 0
        await c.pass_time(2 * DAY)
        assert await c.endings.expire() == 1
        assert await c.endings.expire() == 0
        assert await c.finals(message.id) == [(EXPIRED, "expired")]
        assert await c.finals(kept.id) == []
        assert [b"stat:EXPIRED" in receipt.body for receipt in c.receipts] == [True]
        opened = await c.box.open(alice.number, message.id)
        assert (opened.text, opened.state) == ("Late", EXPIRED)
        assert len(await c.finals(message.id)) == 1

    run(store_url, story)


def test_opening_after_the_validity_period_is_too_late_even_before_the_sweep(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        await c.pass_time(3 * DAY)
        opened = await c.box.open(alice.number, message.id)
        assert opened.text == "Hello"
        assert await c.finals(message.id) == [(EXPIRED, "expired")]
        assert await c.endings.expire() == 0

    run(store_url, story)


def test_sweep_and_readers_at_once_conclude_each_once(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        messages = [await c.deposit(f"No {at}") for at in range(12)]
        await c.pass_time(messages[0].expires_at - c.clock.now_ms())
        await asyncio.gather(
            c.endings.expire(), c.endings.expire(), *(c.box.open(alice.number, m.id) for m in messages)
        )
        for message in messages:
            assert len(await c.finals(message.id)) == 1
        assert len(c.receipts) == 12

    run(store_url, story)


def test_flags_and_folders_keep_the_counters_right(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        one, two, three = [(await c.deposit(f"No {at}")).id for at in range(3)]

        async def counters() -> tuple[int, int]:
            summary = await c.box.summary(alice.number)
            return summary.unread, summary.total

        assert await counters() == (3, 3)
        item = await c.box.change(alice.number, one, read=True)
        assert (item.read, item.opened) == (True, False)  # marking is not reading
        assert await c.finals(one) == []
        assert await counters() == (2, 3)
        await c.box.change(alice.number, one, read=False, starred=True)
        assert await counters() == (3, 3)
        await c.box.delete(alice.number, two)
        assert await counters() == (2, 2)
        assert [i.id for i in (await c.box.page(alice.number, Wanted(Folder.TRASH))).items] == [two]
        assert [i.id for i in (await c.box.page(alice.number)).items] == [three, one]
        await c.box.change(alice.number, two, folder=Folder.SAVED)
        assert await counters() == (3, 3)
        assert (await c.box.peek(alice.number, two)).binned_at == 0
        with pytest.raises(IllegalMove):
            await c.box.change(alice.number, two, folder=Folder.SENT)
        await c.box.delete(alice.number, three, permanent=True)
        assert await counters() == (2, 2)
        assert await c.finals(three) == [(DELETED, "deleted-by-recipient")]
        with pytest.raises(ItemNotFound):
            await c.box.peek(alice.number, three)

    run(store_url, story)


def test_a_stale_version_is_refused_and_an_edit_raises_the_version(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        old = await c.box.peek(alice.number, message.id)
        new = await c.box.change(alice.number, message.id, starred=True, if_match=old.rev)
        assert new.rev > old.rev
        with pytest.raises(StaleItem) as refused:
            await c.box.change(alice.number, message.id, starred=False, if_match=old.rev)
        assert refused.value.current == new.rev
        same = await c.box.change(alice.number, message.id, starred=True)
        assert same.rev == new.rev  # nothing changed, so nothing is told

    run(store_url, story)


def test_deleting_twice_is_for_good_and_deleting_read_ones_ends_nothing(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        await c.box.open(alice.number, message.id)
        await c.box.delete(alice.number, message.id)
        await c.box.delete(alice.number, message.id)
        with pytest.raises(ItemNotFound):
            await c.box.delete(alice.number, message.id)
        assert await c.finals(message.id) == [(DELIVERED, "retrieved")]
        assert (await c.box.summary(alice.number)).bytes == 0

    run(store_url, story)


def test_batches_answer_for_each_item(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"No {at}")).id for at in range(120)]
        results = await c.box.batch(alice.number, [*ids, 12345], BatchAction.READ)
        assert [result.id for result in results] == [*ids, 12345]
        assert [result.problem for result in results] == [""] * 120 + ["item-not-found"]
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total) == (0, 120)
        await c.box.batch(alice.number, ids[:60], BatchAction.DELETE)
        await c.box.batch(alice.number, ids[30:90], BatchAction.DELETE)  # half of them a second time
        summary = await c.box.summary(alice.number)
        assert summary.total == 30
        assert len((await c.box.page(alice.number, Wanted(Folder.TRASH), limit=200)).items) == 60
        await c.box.batch(alice.number, ids[90:95] + ids[90:95], BatchAction.STAR)
        starred = await c.box.page(alice.number, Wanted(starred=True))
        assert [item.id for item in starred.items] == ids[94:89:-1]
        moved = await c.box.batch(alice.number, ids[88:92], BatchAction.MOVE, folder=Folder.SENT)
        assert {result.problem for result in moved} == {"illegal-move"}
        moved = await c.box.batch(alice.number, ids[90:92], BatchAction.MOVE, folder=Folder.SAVED)
        assert {result.problem for result in moved} == {""}
        with pytest.raises(ValueError):
            await c.box.batch(alice.number, ids[:1], BatchAction.MOVE)
        with pytest.raises(ValueError):
            await c.box.batch(alice.number, ids[:1], BatchAction.READ, folder=Folder.SAVED)
        with pytest.raises(ValueError):
            await c.box.batch(alice.number, range(501), BatchAction.READ)

    run(store_url, story)


def test_pages_and_filters(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        began = c.clock.now_ms()
        ids = []
        for at in range(25):
            sender = f"+4477009008{at % 5:02}"
            ids.append(
                (
                    await c.deposit(
                        f"Message number {at} about {'Äpfel' if at % 2 else 'pears'}", sender=sender
                    )
                ).id
            )
            await c.pass_time(999)
        seen: list[int] = []
        before = 0
        while True:
            page = await c.box.page(alice.number, before=before, limit=10)
            seen += [item.id for item in page.items]
            before = page.after
            if not before:
                break
        assert seen == ids[::-1]

        async def found(**filters: Any) -> list[int]:
            page = await c.box.page(alice.number, Wanted(**filters), limit=200)
            return [ids.index(item.id) for item in page.items]

        assert await found(sender="+447700900803") == [23, 18, 13, 8, 3]
        assert await found(peer="+447700900800", since=began + 10_000) == [20, 15, 10]
        assert await found(until=began + 3000) == [2, 1, 0]
        assert await found(since=began + 24_000, until=began + 30_000) == [24]
        assert await found(kind="mms") == []
        assert await found(folder=Folder.SAVED) == []
        assert await found(text="NUMBER 13") == [13]
        assert await found(text="?pfel", sender="+447700900801") == [21, 11, 1]  # ä is no ASCII letter
        await c.box.batch(alice.number, ids[3:], BatchAction.READ)
        assert await found(unread=True) == [2, 1, 0]

    run(store_url, story)


def test_a_search_is_bounded_and_its_cursor_goes_on(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"{'needle' if at in (3, 5, 110) else 'hay'} {at}")).id for at in range(120)]
        first = await c.box.page(alice.number, Wanted(text="Needle"), limit=50)
        assert [item.id for item in first.items] == [ids[110]]
        assert first.after == ids[70]  # fifty looked at, of which one fits
        found: list[int] = []
        page = first
        while page.after:
            page = await c.box.page(alice.number, Wanted(text="Needle"), before=page.after, limit=50)
            found += [item.id for item in page.items]
        assert found == [ids[5], ids[3]]

    run(store_url, story, MailboxSettings(search_items=50))


def test_conversations(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        for at in range(9):
            await c.deposit(f"No {at}", sender=f"+44770090080{at % 3}")
        some = await c.box.conversations(alice.number, limit=2)
        assert [(one.peer[-1], one.total, one.unread) for one in some] == [("2", 3, 3), ("1", 3, 3)]
        await c.box.open(alice.number, some[0].newest.id)
        rest = await c.box.conversations(alice.number, before=some[-1].newest.id, limit=2)
        assert [one.peer[-1] for one in rest] == ["0"]
        again = await c.box.conversations(alice.number)
        assert [one.unread for one in again] == [2, 3, 3]

    run(store_url, story)


def test_choices(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        assert await c.box.choices(alice.number) == Choices()
        chosen = await c.box.choose(alice.number, Choices(retention_days=7, auto_read=False), if_match=0)
        assert (chosen.retention_days, chosen.auto_read) == (7, False)
        with pytest.raises(StaleItem):
            await c.box.choose(alice.number, Choices(), if_match=0)
        with pytest.raises(ValueError):
            await c.box.choose(alice.number, Choices(retention_days=9999))
        with pytest.raises(ValueError):
            await c.box.choose(alice.number, Choices(language="xx"))
        message = await c.deposit()
        opened = await c.box.open(alice.number, message.id)
        assert (opened.text, opened.read) == ("Hello", False)  # auto_read is off
        assert await c.finals(message.id) == [(DELIVERED, "retrieved")]
        assert await c.box.choose(alice.number, replace(chosen, notify=False)) != chosen

    run(store_url, story)


def test_an_export_gives_everything_and_is_retrieval(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"No {at}")).id for at in range(5)]
        await c.box.delete(alice.number, ids[0])
        texts = [item.text async for item in c.box.export(alice.number)]
        assert texts == ["No 4", "No 3", "No 2", "No 1"]
        assert len(c.receipts) == 4

    run(store_url, story)


def test_a_purge_ends_what_was_never_read(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"No {at}")).id for at in range(70)]
        await c.box.open(alice.number, ids[0])
        await c.box.delete(alice.number, ids[1])
        assert await c.box.purge(alice.number) == 70
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total, summary.bytes) == (0, 0, 0)
        assert await c.finals(ids[0]) == [(DELIVERED, "retrieved")]
        assert await c.finals(ids[1]) == [(DELETED, "deleted-by-recipient")]
        assert len(c.receipts) == 70

    run(store_url, story)


def test_an_operator_looks_without_retrieving(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        await c.subscribers.close(alice.number)
        with pytest.raises(BoxClosed):
            await c.box.page(alice.number)
        (item,) = (await c.box.page(alice.number, operator=True)).items
        assert item.text is None
        assert (await c.box.peek(alice.number, message.id, operator=True)).text is None
        assert (await c.box.peek(alice.number, message.id, operator=True, whole=True)).text == "Hello"
        assert await c.finals(message.id) == []
        assert await c.box.purge(alice.number, operator=True) == 1

    run(store_url, story)
