"""Deposits, on both databases: who gets what, what a full box does, and what a race leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from box_center import DAY, HOUR, Center, center

from restante.access.subscriber import SubscriberSettings
from restante.mailbox import content
from restante.mailbox.folders import Folder
from restante.mailbox.model import Wanted
from restante.mailbox.outlet import MAX_PENDING, sent_writes
from restante.mailbox.settings import MailboxSettings
from restante.message import MessageState
from restante.outlet import Delivery, ErrorClass, Outcome, Result
from restante.store.store import Answer

ALICE = "+447700900001"
BOB = "+447700900002"

#: A box for ten small messages, as the settings' lower bounds allow.
SMALL = MailboxSettings(quota_messages=10, quota_bytes=10_000)


def run(
    url: str, story: Callable[[Center], Awaitable[None]], settings: MailboxSettings | None = None
) -> None:
    async def told() -> None:
        async with center(url, settings) as c:
            await story(c)

    asyncio.run(told())


def test_a_deposit_leaves_the_queue_and_is_in_the_box_unread(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit("Hello Alice", because="memory-full")
        assert await c.queue() == []
        (item,) = (await c.box.page(alice.number)).items
        assert (item.id, item.sender, item.recipient) == (message.id, message.sender, ALICE)
        assert (item.text, item.preview) == (None, "Hello…")
        assert (item.folder, item.read, item.state) == (Folder.INBOX, False, MessageState.ENROUTE)
        assert item.because == "memory-full"
        assert item.expires_at == message.expires_at
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total, summary.bytes) == (1, 1, 11 + content.ROW_COST)
        assert summary.oldest_expires_at == message.submitted_at + 90 * DAY
        assert await c.finals(message.id) == []
        assert c.receipts == []

    run(store_url, story)


def test_nobody_s_number_is_left_to_delivery_and_a_closed_one_is_the_end(store_url: str):
    async def story(c: Center) -> None:
        outcome = await c.offer(c.message(to=BOB))
        assert (outcome.result, outcome.error, outcome.reason) == (
            Result.FAILED,
            ErrorClass.POLICY,
            "unknown-subscriber",
        )
        bob = await c.subscriber(BOB)
        await c.subscribers.close(bob.number)
        outcome = await c.offer(c.message(to=BOB))
        assert (outcome.error, outcome.reason) == (ErrorClass.PERMANENT, "number-closed")

    run(store_url, story)


def test_first_use_inside_own_ranges_makes_the_box(store_url: str):
    async def story() -> None:
        async with center(store_url, subscriber_settings=SubscriberSettings(first_use=True)) as c:
            await c.deposit(to=ALICE)
            alice = await c.owner(ALICE)
            assert alice.origin == "first-use"
            assert (await c.box.summary(alice.number)).unread == 1
            assert (await c.offer(c.message(to="+33612345678"))).reason == "unknown-subscriber"

    asyncio.run(story())


def test_a_suspended_subscriber_s_messages_are_kept(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        await c.subscribers.suspend(alice.number)
        await c.deposit()
        await c.subscribers.resume(alice.number)
        assert (await c.box.summary(alice.number)).unread == 1

    run(store_url, story)


def test_accounts_may_keep_their_messages_out_of_mailboxes(store_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        outcome = await c.offer(c.message(account=3))
        assert (outcome.error, outcome.reason) == (ErrorClass.POLICY, "mailbox-denied")
        assert c.outlet.refuses(c.message(protocol_id=0x40)) == "type-0"
        assert c.outlet.refuses(c.message()) == ""

    run(store_url, story)


def test_a_receipt_at_deposit_leaves_nothing_owed(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit(account=2)
        (item,) = (await c.box.page(alice.number)).items
        assert item.state is MessageState.DELIVERED
        assert item.text is None  # it was not opened, so a list shows a preview only
        opened = await c.box.open(alice.number, message.id)
        assert opened.text == "Hello"
        assert await c.finals(message.id) == []  # delivery wrote it with the deposit
        kinds = [event.kind for event in await c.events(message.id)]
        assert kinds == ["retrieved"]

    run(store_url, story)


def test_a_full_box_drops_the_oldest_read_messages_first(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"Message {at}")).id for at in range(10)]
        for at in (2, 4, 6):
            await c.box.open(alice.number, ids[at])
        await c.box.change(alice.number, ids[2], starred=True)
        await c.deposit("Eleven")
        await c.deposit("Twelve")
        kept = [item.id for item in (await c.box.page(alice.number)).items]
        assert set(ids) - set(kept) == {ids[4], ids[6]}  # not the starred one while there are others
        await c.deposit("Thirteen")
        kept = [item.id for item in (await c.box.page(alice.number)).items]
        assert set(ids) - set(kept) == {ids[2], ids[4], ids[6]}
        summary = await c.box.summary(alice.number)
        assert (summary.total, summary.unread) == (10, 10)

    run(store_url, story, SMALL)


def test_a_box_full_of_unread_messages_refuses(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"Message {at}")).id for at in range(10)]
        refused = c.message("One too many")
        await c.accept(refused)
        outcome = await c.offer(refused)
        assert (outcome.error, outcome.reason) == (ErrorClass.PERMANENT, "mailbox-full")
        assert outcome.writes == ()
        # Marked read but never opened: its sender waits, so it must not be dropped either.
        await c.box.change(alice.number, ids[0], read=True)
        assert (await c.offer(refused)).reason == "mailbox-full"
        await c.box.open(alice.number, ids[0])
        assert (await c.offer(refused)).result is Result.STORED

    run(store_url, story, SMALL)


def test_octets_fill_a_box_too_and_what_is_in_the_bin_goes_first(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        text = "x" * 3000
        first, second = await c.deposit(text), await c.deposit(text)
        assert (await c.offer(c.message(text))).reason == "mailbox-full"
        await c.box.open(alice.number, first.id)
        await c.box.open(alice.number, second.id)
        await c.box.delete(alice.number, second.id)
        third = await c.deposit(text)
        assert [item.id for item in (await c.box.page(alice.number)).items] == [third.id, first.id]
        assert (await c.box.page(alice.number, Wanted(Folder.TRASH))).items == ()
        assert (await c.box.summary(alice.number)).bytes == 2 * (3000 + content.ROW_COST)

    run(store_url, story, SMALL)


def test_what_changes_between_the_answer_and_the_commit_is_a_conflict(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        for at in range(9):
            await c.deposit(f"Message {at}")
        one, two = c.message("One"), c.message("Two")
        for message in (one, two):
            await c.accept(message)
        first, second = await c.offer(one), await c.offer(two)  # each sees room for itself
        assert await c.commit(one, first) is Answer.STORED
        assert await c.commit(two, second) is Answer.CONFLICT
        assert (await c.offer(two)).reason == "mailbox-full"  # the next look sees it
        assert (await c.box.summary(alice.number)).total == 10
        assert [row["id"] for row in await c.queue()] == [two.id]

        bob = await c.subscriber(BOB)
        late = c.message(to=BOB)
        await c.accept(late)
        outcome = await c.offer(late)
        await c.subscribers.close(bob.number)
        assert await c.commit(late, outcome) is Answer.CONFLICT
        assert (await c.offer(late)).reason == "number-closed"

    run(store_url, story, SMALL)


def test_many_at_once_for_many_boxes_are_each_answered_once(store_url: str):
    async def story(c: Center) -> None:
        people = [await c.subscriber(f"+4477009001{at:02}") for at in range(20)]
        messages = [c.message(f"No {at}", to=people[at % 20].numbers[0]) for at in range(300)]
        answers: dict[int, list[Outcome]] = {message.id: [] for message in messages}
        assert await c.store.apply(messages=messages) is Answer.STORED
        for message in messages:
            assert c.outlet.hand(Delivery(message, 1, "deposit"), answers[message.id].append)
            assert answers[message.id] == []  # never before `hand` has returned
        async with asyncio.timeout(60):
            while not all(answers.values()):
                await asyncio.sleep(0.001)
        assert all(len(found) == 1 for found in answers.values())
        done = await asyncio.gather(*(c.commit(message, answers[message.id][0]) for message in messages))
        assert set(done) == {Answer.STORED}
        for person in people:
            summary = await c.box.summary(person.number)
            assert (summary.total, summary.unread, summary.state) == (15, 15, 15)

    run(store_url, story)


def test_the_outlet_says_when_it_is_full_and_when_there_is_room_again(sqlite_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        woken: list[str] = []
        c.outlet.wake_with(lambda outlet: woken.append(outlet.name))
        answered: list[Outcome] = []
        message = c.message()
        taken = [
            c.outlet.hand(Delivery(message, 1, "deposit"), answered.append) for _ in range(MAX_PENDING + 2)
        ]
        assert taken == [True] * MAX_PENDING + [False] * 2
        async with asyncio.timeout(60):
            while len(answered) < MAX_PENDING:
                await asyncio.sleep(0.01)
        assert woken == ["mailbox"]

    run(sqlite_url, story)


def test_a_database_that_does_not_answer_is_a_temporary_failure(sqlite_url: str):
    async def story(c: Center) -> None:
        async def broken(*_args: object, **_params: object) -> None:
            raise OSError("gone")

        good, c.store.fetch = c.store.fetch, broken
        outcome = await c.offer(c.message())
        c.store.fetch = good
        assert (outcome.error, outcome.reason) == (ErrorClass.SYSTEM, "mailbox-unavailable")

    run(sqlite_url, story)


def test_a_copy_for_the_handset_does_not_come_back(store_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        message = await c.deposit()
        outcome = await c.offer(message)
        assert (outcome.result, outcome.reason) == (Result.FAILED, "in-mailbox")
        late = c.message(expires_at=c.clock.now_ms() + 1)
        await c.pass_time(HOUR)
        assert (await c.offer(late)).reason == "expired"

    run(store_url, story)


def test_a_copy_of_what_was_sent(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = c.message("From Alice", sender=ALICE, to=BOB)
        own = c.store.next_id()
        writes = sent_writes(message, alice.number, own, settings=c.settings, at=c.clock.now_ms())
        assert await c.store.apply(writes=writes) is Answer.STORED
        (item,) = (await c.box.page(alice.number, Wanted(Folder.SENT))).items
        assert (item.id, item.outgoing, item.text, item.peer) == (own, True, "From Alice", BOB)
        summary = await c.box.summary(alice.number)
        assert (summary.unread, summary.total) == (0, 1)

    run(store_url, story)


@pytest.mark.parametrize("text", ["Grüße", "Привет", "日本語", "🌞"])
def test_text_of_any_script(store_url: str, text: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = c.message(data_coding=8, body=text.encode("utf-16-be"))
        await c.accept(message)
        await c.commit(message, await c.offer(message))
        assert (await c.box.open(alice.number, message.id)).text == text

    run(store_url, story)
