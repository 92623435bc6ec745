"""The message path over the real stores: what the tests in memory promise holds on SQLite and on PostgreSQL.

In charge of the statements that the path hands to the database (recipients, releases, receipts waiting, blanked codes),
of restarts, of take-over by another life, and of everything at once. Not in charge of the mailbox's rows
(`tests/mailbox/test_with_delivery.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from memory_store import SILENT, TEXTS, SteppedClock
from message_path import (
    ABSENT,
    BANK,
    BUSY,
    DAY,
    DELIVERED,
    EAGER,
    HOUR,
    MINUTE,
    PERMANENT,
    PHONE,
    SECOND,
    SHOP,
    SWITCH,
    SYSTEM,
    OneCheck,
    Path,
    Ranges,
    a_draft,
    make_path,
)
from store_tools import settings

from restante.check import ACCEPT, Action
from restante.message import EventKind, Kind, MessageState
from restante.outlet import Write
from restante.smsc.delivery import DeliverySettings
from restante.smsc.submission import Accepted
from restante.smsc.tables import NOTE_PARTS, PARTS_OF
from restante.smsc.upkeep import SILENT_FOR_MS, Upkeep
from restante.store.connect import connect
from restante.store.store import Answer, QueueReason

D, E = MessageState.DELIVERED, MessageState.EXPIRED

Test = Callable[[Path], Awaitable[None]]


async def new_life(url: str, clock: SteppedClock, before: Path | None = None, **more: Any) -> Path:
    """A process over that database, with the outlets of the one before."""
    store = connect(settings(url, node_name="one", heartbeat_s=60.0, dead_after_s=600.0), clock=clock)
    await store.open()
    outlets = before.outlets if before else None
    return await make_path(store, clock, own=Ranges(()), outlets=outlets, **more)


async def end_life(path: Path) -> None:
    """Gone without a word; what the lease needs is given back."""
    path.delivery.halt()
    await path.store.close()


@pytest.fixture
def on_disk(store_url: str) -> Callable[..., None]:
    """`on_disk(test)` runs `await test(path)` on either database; `path.url` leads to it."""

    def run(test: Test, **more: Any) -> None:
        async def main() -> None:
            path = await new_life(store_url, SteppedClock(), **more)
            path.url = store_url  # type: ignore[attr-defined]
            try:
                await test(path)
            finally:
                await path.store.close()

        asyncio.run(main())

    return run


def test_a_message_and_its_receipt(on_disk):
    async def test(path: Path) -> None:
        id = await path.submit()
        assert await path.finals(id) == [(D, "")]
        assert await path.kinds(id) == [EventKind.FINAL, EventKind.RECEIPT]
        assert len(path.receipt_texts()) == 1
        assert await path.queue() == {}
        assert path.delivery.in_memory == 0

    on_disk(test)


def test_silence_is_remembered_and_ends(on_disk):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        ids = [await path.submit(text=text) for text in (b"1", b"2")]
        await path.step(MINUTE)
        (row,) = await path.store.fetch(SILENT)
        assert (row["number"], row["failures"], row["cause"], row["outlet"]) == (
            PHONE,
            2,
            "absent",
            "switch:msc1",
        )
        assert row["next_try"] == path.clock.now + 5 * MINUTE
        path.switch.says = lambda attempt: DELIVERED
        await path.step(5 * MINUTE)
        assert path.switch.bodies() == [b"1", b"1", b"1", b"2"]
        assert await path.store.fetch(SILENT) == []
        assert [await path.finals(id) for id in ids] == [[(D, "")]] * 2

    on_disk(test)


def test_a_restart_keeps_order_clocks_and_schedules(on_disk):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: SYSTEM
        for text in (b"1", b"2"):
            await path.submit(text=text)
        scheduled = await path.submit(text=b"later", to="+447700900002", schedule_at=path.clock.now + HOUR)
        path.switch.says = lambda attempt: None
        await path.submit(text=b"flying", to="+447700900003")
        await end_life(path)
        path.switch.handed.clear()
        path.switch.open.clear()
        path.switch.says = lambda attempt: DELIVERED
        again = await new_life(path.url, path.clock, path)  # type: ignore[attr-defined]
        await again.settle()
        assert again.switch.bodies() == [b"flying"]
        await again.step(5 * SECOND)
        assert again.switch.bodies() == [b"flying", b"1", b"2"]
        await again.step(HOUR)
        assert again.switch.bodies()[3:] == [b"later"]
        assert await again.finals(scheduled) == [(D, "")]
        assert await again.queue() == {}
        assert len(again.receipt_texts()) == 4
        await again.store.close()

    on_disk(test)


def test_an_outlet_that_comes_back_wakes_its_recipients(on_disk):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.up = path.shop.up = False
        ids = [await path.submit(text=text, to="12345") for text in (b"1", b"2")]
        await path.step(MINUTE)
        bank.up = True
        bank.wake()
        await path.settle()
        assert bank.bodies() == [b"1", b"2"]
        assert [await path.finals(id) for id in ids] == [[(D, "")]] * 2
        await path.receipts.count(path.store)
        assert path.receipts.waiting(1) == 2
        path.shop.up = True
        path.shop.wake()
        await path.settle()
        assert len(path.receipt_texts()) == 2
        assert path.receipts.waiting(1) == 0

    on_disk(test)


def test_a_held_message_is_released_after_a_restart(on_disk):
    check = OneCheck()
    check.says = lambda message, stage: check.verdict(Action.QUARANTINE)

    async def test(path: Path) -> None:
        id = await path.submit()
        discarded = await path.submit(text=b"spam")
        path.delivery.wake(PHONE)
        await path.settle()
        assert {row["reason"] for row in (await path.queue()).values()} == {QueueReason.QUARANTINED}
        assert await path.delivery.release(id, "op_1", "fine") is Answer.STORED
        assert await path.delivery.release(id, "op_1") is Answer.CONFLICT
        assert await path.delivery.discard(discarded, "op_1", "spam") is Answer.STORED
        await end_life(path)
        again = await new_life(path.url, path.clock, path, checks=[check])  # type: ignore[attr-defined]
        await again.settle()
        assert again.switch.bodies() == [b"hello"]
        assert await again.finals(id) == [(D, "")]
        assert await again.finals(discarded) == [(MessageState.REJECTED, "discarded")]
        assert await again.queue() == {}
        assert len(check.asked) == 2
        await again.store.close()

    on_disk(test, checks=[check])


def test_a_held_message_is_judged_again_when_due(on_disk):
    check = OneCheck()

    async def test(path: Path) -> None:
        until = path.clock.now + HOUR
        check.says = lambda message, stage: check.verdict(Action.HOLD, until=until)
        id = await path.submit()
        check.says = lambda message, stage: ACCEPT
        await path.step(HOUR - 1)
        assert path.switch.handed == []
        await path.step(1)
        assert await path.finals(id) == [(D, "")]

    on_disk(test, checks=[check])


def test_refused_and_dropped_messages_have_no_queue_row(on_disk):
    check = OneCheck()
    check.says = lambda message, stage: check.verdict(
        Action.REJECT if message.body == b"forged" else Action.DROP, status=0x0A
    )

    async def test(path: Path) -> None:
        refused = await path.answer_to(a_draft(b"forged"))
        dropped = await path.answer_to(a_draft(b"junk"))
        assert not isinstance(refused, Accepted)
        assert isinstance(dropped, Accepted)
        assert await path.queue() == {}
        states = [MessageState((await path.finals(id))[0][0]) for id in sorted(await path.messages())]
        assert states == [MessageState.REJECTED, MessageState.DELETED]

    on_disk(test, checks=[check])


def test_a_code_is_blanked(on_disk):
    async def test(path: Path) -> None:
        task = asyncio.ensure_future(path.submission.send_system(Kind.CODE, PHONE, "123456"))
        while not task.done():
            await path.settle()
        await path.settle()
        assert path.switch.bodies() == [b"123456"]
        assert [bytes(row["payload"]) for row in await path.store.fetch(TEXTS)] == [b""]

    on_disk(test)


def test_expiry_in_queue_and_lane(on_disk):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY
        soon_over = path.clock.now + 20 * SECOND
        ids = [await path.submit(text=text, expires_at=soon_over) for text in (b"1", b"2")]
        await path.step(MINUTE)
        assert [await path.finals(id) for id in ids] == [[(E, "expired")]] * 2
        assert await path.queue() == {}

    on_disk(test)


def test_rows_beyond_the_budget_are_read_back(on_disk):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.says = lambda attempt: None
        for number in range(300):
            draft = a_draft(b"%d" % number, to="12345", receipt=0)
            path.submission.submit(draft, path.account("shop"), path.ingress, lambda answer: None)
            if number % 100 == 99:
                await path.settle()
        assert path.delivery.in_memory < 300
        bank.says = lambda attempt: DELIVERED
        while bank.open:
            bank.answer()
        for _ in range(4):
            await path.step(SECOND)
        assert sorted(int(body) for body in bank.bodies()) == list(range(300))
        assert await path.queue() == {}

    on_disk(test, settings=DeliverySettings(max_tasks=100, claim_size=70))


def test_the_life_before_can_do_no_harm(postgresql_url):
    """On PostgreSQL a new life may begin while the old one still runs; SQLite's lock refuses that.

    What the old one starts before it hears that its row is lost may be a duplicate (behaviour.md 10); after that it
    starts nothing, and nothing of what it says is recorded.
    """

    async def main() -> None:
        clock = SteppedClock()
        old = await new_life(postgresql_url, clock)
        old.switch.says = lambda attempt: None
        ids = [await old.submit(text=text) for text in (b"1", b"2", b"3")]
        other = await old.submit(text=b"x", to="+447700900002")
        await old.submit(text=b"y", to="+447700900002")
        late = list(old.switch.open)
        old.switch.open.clear()
        new = await new_life(postgresql_url, clock, old)
        await new.settle()
        assert new.switch.bodies() == [b"1", b"x", b"1", b"x"]
        late[0][1](PERMANENT)  # the old life hears an answer, and starts the next
        late.append(old.switch.open.pop())
        await old._turn_of_the_loop()
        before = len(old.switch.handed)
        for _, done in late[1:]:
            done(PERMANENT)
            await old._turn_of_the_loop()
        assert len(old.switch.handed) == before
        await old.delivery.turn()
        assert not old.delivery.has_room(), "it asked, and is over"
        assert [await new.finals(id) for id in (*ids, other)] == [[]] * 4
        new.switch.says = lambda attempt: DELIVERED
        while new.switch.open:
            new.switch.answer()
        await new.settle()
        assert [await new.finals(id) for id in (*ids, other)] == [[(D, "")]] * 4
        assert len(new.receipt_texts()) == 5
        assert new.switch.bodies().count(b"3") == new.switch.bodies().count(b"y") == 1
        await new.store.close()
        await old.store.close()

    asyncio.run(main())


def test_many_messages_some_failures_and_two_restarts(on_disk):
    """Everything at once, seeded: all of it ends, once, and every receipt that was asked for comes once."""

    async def test(path: Path) -> None:
        turns = iter(range(10**9))
        outcomes = [DELIVERED, BUSY, DELIVERED, ABSENT, SYSTEM, DELIVERED, PERMANENT]

        def says(attempt: Any) -> Any:
            return outcomes[next(turns) % len(outcomes)]

        path.switch.says = path.outlets["bank"].says = says
        url = path.url  # type: ignore[attr-defined]
        accepted: dict[int, int] = {}

        def note(receipt: int) -> Callable[[Any], None]:
            def answered(answer: Any) -> None:
                assert isinstance(answer, Accepted)
                accepted[answer.id] = receipt

            return answered

        for life in range(3):
            for number in range(120):
                to = ["12345", *(f"+44770090000{n}" for n in range(5))][number % 6]
                draft = a_draft(b"%d" % number, to=to, receipt=number % 2, priority_flag=number % 3)
                path.submission.submit(draft, path.account("shop"), path.ingress, note(number % 2))
            await path.settle()
            for ms in (5 * SECOND, 30 * SECOND, MINUTE):
                await path.step(ms)
            if life < 2:
                await end_life(path)
                path = await new_life(url, path.clock, path)
        for ms in (5 * MINUTE, 15 * MINUTE, HOUR, HOUR, 3 * HOUR, 6 * HOUR, 6 * HOUR, DAY, DAY):
            await path.step(ms)
        assert len(accepted) == 360
        assert await path.queue() == {}
        ends = [e for e in await path.events() if e.kind == EventKind.FINAL and e.message in accepted]
        assert sorted(e.message for e in ends) == sorted(accepted)
        told = [row["parent"] for row in (await path.messages()).values() if row["kind"] == Kind.RECEIPT]
        assert sorted(told) == sorted(id for id, receipt in accepted.items() if receipt)
        assert len({a.message.id for a in path.shop.handed}) == len(told)
        assert path.delivery.in_memory == 0
        await path.store.close()

    on_disk(test, models=(SHOP, SWITCH, BANK, EAGER))


def part_row(path: Path, id: int, acknowledged: int, *, epoch: int = 0) -> dict[str, Any]:
    return {
        "id": id,
        "epoch": epoch or path.store.epoch,
        "outlet": "switch:msc1",
        "reference": 65_535,
        "total": 3,
        "acknowledged": acknowledged,
    }


def test_parts_are_noted_only_by_who_owns_the_message(on_disk):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        for acknowledged in (1, 2):
            row = part_row(path, id, acknowledged)
            assert await path.store.apply(writes=[Write(NOTE_PARTS, row, expect=1)]) is Answer.STORED
        stranger = part_row(path, id, 1, epoch=path.store.epoch + 1)
        assert await path.store.apply(writes=[Write(NOTE_PARTS, stranger, expect=1)]) is Answer.CONFLICT
        (row,) = await path.store.fetch(PARTS_OF, id=id)
        assert (row["outlet"], row["reference"], row["total"], row["acknowledged"]) == (
            "switch:msc1",
            65_535,
            3,
            2,
        )
        upkeep = Upkeep(path.store)
        assert await upkeep.once() == (0, 0, 0)  # still on its way
        path.switch.answer(PERMANENT)
        await path.settle()
        assert await upkeep.once() == (1, 0, 0)
        assert await path.store.fetch(PARTS_OF, id=id) == []

    on_disk(test)


def test_recipients_nobody_writes_to_are_forgotten(on_disk):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        await path.submit(to="+447700900001", expires_at=path.clock.now + DAY)
        assert len(await path.store.fetch(SILENT)) == 1
        upkeep = Upkeep(path.store)
        await path.step(2 * DAY)
        assert await path.queue() == {}
        assert await upkeep.once() == (0, 0, 0)  # it may come back yet
        await path.submit(to="+447700900002", expires_at=path.clock.now + 6 * DAY)
        await path.step(SILENT_FOR_MS - DAY)
        await path.submit(to="+447700900003", expires_at=path.clock.now + 6 * DAY)
        assert await upkeep.once() == (0, 1, 0)
        assert {row["number"] for row in await path.store.fetch(SILENT)} == {"+447700900002", "+447700900003"}

    on_disk(test)
