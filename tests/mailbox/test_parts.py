"""Messages that came in parts are one item, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from box_center import HOUR, Center, center

from restante.mailbox.folders import Folder
from restante.mailbox.model import BatchAction, Wanted
from restante.message import Message, MessageState
from restante.smsc.text import udh
from restante.store.store import Answer

ALICE = "+447700900001"
DELIVERED, EXPIRED, DELETED = MessageState.DELIVERED, MessageState.EXPIRED, MessageState.DELETED


def run(url: str, story: Callable[[Center], Awaitable[None]]) -> None:
    async def told() -> None:
        async with center(url) as c:
            await story(c)

    asyncio.run(told())


async def part(
    c: Center, number: int, text: str, *, total: int = 3, reference: int = 42, **other: Any
) -> Message:
    header = udh.concatenation_header(udh.ConcatRef(reference & 0xFF, total, number))
    return await c.deposit(
        body=header + text.encode(),
        esm_class=0x40,
        part_reference=reference,
        part_total=total,
        part_number=number,
        **other,
    )


def test_parts_in_any_order_are_one_item(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        third = await part(c, 3, "three.")
        (item,) = (await c.box.page(alice.number)).items
        assert (item.parts_total, item.parts_missing) == (3, (1, 2))
        first = await part(c, 1, "One, ")
        await c.deposit("Something else")
        second = await part(c, 2, "two, ")
        items = (await c.box.page(alice.number)).items
        assert len(items) == 2
        whole = next(item for item in items if item.parts_total)
        assert (whole.id, whole.parts_missing, whole.segments) == (third.id, (), 3)
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total) == (2, 2)
        # Opening it, by whatever part's id, retrieves every part.
        opened = await c.box.open(alice.number, second.id)
        assert (opened.id, opened.text) == (third.id, "One, two, three.")
        for message in (first, second, third):
            assert await c.finals(message.id) == [(DELIVERED, "retrieved")]
        assert len(c.receipts) == 3
        assert (await c.box.summary(alice.number)).unread == 1

    run(store_url, story)


def test_a_gap_is_shown_and_a_late_part_is_news(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        one = await part(c, 1, "One, ")
        await part(c, 3, "three.")
        opened = await c.box.open(alice.number, one.id)
        assert (opened.text, opened.parts_missing) == ("One, …three.", (2,))
        assert (await c.box.summary(alice.number)).unread == 0
        late = await part(c, 2, "two, ")
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total) == (1, 1)
        assert await c.finals(late.id) == []
        assert (await c.box.peek(alice.number, one.id)).state is MessageState.ENROUTE
        assert (await c.box.open(alice.number, one.id)).text == "One, two, three."
        assert await c.finals(late.id) == [(DELIVERED, "retrieved")]
        assert len(await c.finals(one.id)) == 1

    run(store_url, story)


@pytest.mark.parametrize(
    "other",
    [
        {"reference": 43},
        {"total": 2},
        {"sender": "+447700900555"},
        {"account": 2},
    ],
)
def test_parts_of_other_messages_stay_apart(store_url: str, other: dict[str, Any]):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        await part(c, 1, "One")
        await part(c, 2, "Two", **other)
        assert (await c.box.summary(alice.number)).total == 2
        assert len((await c.box.page(alice.number)).items) == 2

    run(store_url, story)


def test_a_reference_is_used_again_later_or_for_other_text(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        await part(c, 1, "Old one, ", total=2)
        await part(c, 1, "New one, ", total=2)  # the same number with other text: another message
        await part(c, 2, "new two.", total=2)
        await c.pass_time(2 * HOUR)
        await part(c, 1, "Much later", total=2)
        items = (await c.box.page(alice.number)).items
        assert [item.parts_missing for item in items] == [(2,), (), (2,)]
        texts = [(await c.box.open(alice.number, item.id)).text for item in items]
        assert texts == ["Much later…", "New one, new two.", "Old one, …"]

    run(store_url, story)


def test_duplicates_and_impossible_indices_are_harmless(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        one = await part(c, 1, "One, ", total=2)
        again = await part(c, 1, "One, ", total=2)
        await part(c, 2, "two.", total=2)
        odd = await c.deposit("Odd", part_reference=42, part_total=2, part_number=7)
        alone = await c.deposit("Alone", part_reference=42, part_total=1, part_number=1)
        items = (await c.box.page(alice.number)).items
        assert [item.id for item in items] == [alone.id, odd.id, one.id]
        assert (await c.box.open(alice.number, one.id)).text == "One, two."
        assert await c.finals(again.id) == [(DELIVERED, "retrieved")]
        assert (await c.box.open(alice.number, odd.id)).text == "Odd"

    run(store_url, story)


def test_parts_move_and_go_together(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        parts = [await part(c, number, f"{number} ") for number in (1, 2)]
        await c.box.delete(alice.number, parts[1].id)
        assert (await c.box.page(alice.number)).items == ()
        (binned,) = (await c.box.page(alice.number, Wanted(Folder.TRASH))).items
        assert binned.parts_missing == (3,)
        # What is in the bin is not joined any more: the late part is an item of its own.
        late = await part(c, 3, "3")
        assert [item.id for item in (await c.box.page(alice.number)).items] == [late.id]
        await c.box.change(alice.number, binned.id, folder=Folder.SAVED)
        await c.box.batch(alice.number, [message.id for message in parts], BatchAction.STAR)
        (saved,) = (await c.box.page(alice.number, Wanted(Folder.SAVED))).items
        assert saved.starred
        await c.box.delete(alice.number, binned.id, permanent=True)
        for message in parts:
            assert await c.finals(message.id) == [(DELETED, "deleted-by-recipient")]
        assert await c.finals(late.id) == []
        summary = await c.box.summary(alice.number)
        assert (summary.total, summary.unread) == (1, 1)

    run(store_url, story)


def test_parts_expire_each_with_its_own_receipt(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        messages = [await part(c, number, f"{number}") for number in (1, 2, 3)]
        await c.pass_time(messages[-1].expires_at - c.clock.now_ms())
        assert await c.endings.expire() == 3
        for message in messages:
            assert await c.finals(message.id) == [(EXPIRED, "expired")]
        (item,) = (await c.box.page(alice.number)).items
        assert item.state is EXPIRED
        assert (await c.box.open(alice.number, item.id)).text == "123"

    run(store_url, story)


def test_parts_deposited_in_one_batch_find_each_other(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        messages = []
        for number in range(1, 11):
            header = udh.concatenation_header(udh.ConcatRef(9, 10, number))
            messages.append(
                c.message(
                    body=header + f"{number}, ".encode(),
                    esm_class=0x40,
                    part_reference=9,
                    part_total=10,
                    part_number=number,
                )
            )
        assert await c.store.apply(messages=messages) is Answer.STORED
        outcomes = await asyncio.gather(*(c.offer(message) for message in messages))
        answers = await asyncio.gather(
            *(c.commit(message, outcome) for message, outcome in zip(messages, outcomes, strict=True))
        )
        assert set(answers) == {Answer.STORED}
        (item,) = (await c.box.page(alice.number)).items
        assert item.parts_missing == ()
        assert (await c.box.open(alice.number, item.id)).text == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total) == (0, 1)

    run(store_url, story)
