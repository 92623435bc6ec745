"""Cancelling and replacing what waits: who may, what can be, what becomes of it; on both databases.

Long because a message can wait in many places.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from memory_store import MemoryStore
from message_path import (
    ABSENT,
    DELIVERED,
    HOUR,
    INGRESS,
    MINUTE,
    PHONE,
    SYSTEM,
    OneCheck,
    Path,
    ScriptedBox,
    a_draft,
    make_path,
)

from restante.access.accounts import AccountModel
from restante.check import ACCEPT, Action
from restante.message import Address, EventKind, MessageState, Role
from restante.smsc.answers import Refused
from restante.smsc.recall import NOT_CANCELLED, NOT_REPLACED, Recall, Replacement
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.waiting import Waiting
from restante.store.history import History
from restante.store.store import Answer, QueueReason

D, E, DELETED, ENROUTE = (
    MessageState.DELIVERED,
    MessageState.EXPIRED,
    MessageState.DELETED,
    MessageState.ENROUTE,
)
SHOP = Address(5, 0, "Shop")
TO_PHONE = Address(1, 1, PHONE[1:])

Run = Callable[..., None]
Place = Callable[[Path], Awaitable[int]]


async def cancel(path: Path, id: int, by: str = "shop", **more: Any) -> Refused | None:
    """Cancel by id, as an account."""
    more.setdefault("source", SHOP)
    return await path.carried_out(path.recall.cancel(path.account(by), id, INGRESS, **more))


async def cancel_matching(
    path: Path,
    source: Address = SHOP,
    destination: Address = TO_PHONE,
    service_type: str = "",
    by: str = "shop",
) -> Refused | None:
    """Cancel by addresses, as an account."""
    request = path.recall.cancel_matching(path.account(by), source, destination, service_type, INGRESS)
    return await path.carried_out(request)


async def replace(path: Path, id: int, body: bytes = b"new", by: str = "shop", **more: Any) -> Refused | None:
    """Replace, as an account."""
    source = more.pop("source", SHOP)
    request = path.recall.replace(path.account(by), id, Replacement(body, **more), INGRESS, source=source)
    return await path.carried_out(request)


def away(path: Path) -> None:
    path.switch.says = lambda attempt: ABSENT


def back(path: Path) -> None:
    path.switch.says = lambda attempt: DELIVERED


# --- cancelling ----------------------------------------------------------------------------------------------------


async def scheduled(path: Path) -> int:
    return await path.submit(schedule_at=path.clock.now + HOUR)


async def in_memory(path: Path) -> int:
    """Its next try is near: it stands in its lane."""
    away(path)
    return await path.submit()


async def behind(path: Path) -> int:
    """Behind the head of its lane."""
    away(path)
    await path.submit(text=b"head")
    return await path.submit()


async def far(path: Path) -> int:
    """Its next try is far: nobody owns its row."""
    away(path)
    id = await path.submit()
    await path.step(MINUTE)
    assert (await path.queue())[id]["owner"] == 0
    return id


async def put_off(path: Path) -> int:
    """Behind an ESME, with a clock of its own."""
    path.outlets["bank"].says = lambda attempt: SYSTEM
    return await path.submit(to="12345")


async def without_room(path: Path) -> int:
    """Behind an ESME whose window is full."""
    path.outlets["bank"].says = lambda attempt: None
    path.outlets["bank"].window = 1
    await path.submit(text=b"head", to="12345")
    return await path.submit(to="12345")


async def held(path: Path) -> int:
    id = await path.submit(text=b"hold me")
    assert (await path.queue())[id]["reason"] == QueueReason.HELD
    return id


async def quarantined(path: Path) -> int:
    id = await path.submit(text=b"jail me")
    assert (await path.queue())[id]["reason"] == QueueReason.QUARANTINED
    return id


async def withheld(path: Path) -> int:
    id = await path.submit(text=b"veil me")
    assert (await path.queue())[id]["reason"] == QueueReason.WITHHELD
    return id


PLACES = [scheduled, in_memory, behind, far, put_off, without_room, held, quarantined, withheld]


def a_check() -> OneCheck:
    check = OneCheck()
    actions = {
        b"hold me": check.verdict(Action.HOLD),
        b"jail me": check.verdict(Action.QUARANTINE),
        b"veil me": check.verdict(Action.REJECT, veiled=True),
    }
    check.says = lambda message, stage: actions.get(message.body, ACCEPT)
    return check


async def cancelled_once_and_told(path: Path, place: Place) -> None:
    id = await place(path)
    attempts = [a for o in path.all_outlets() for a in o.handed if a.message.id == id]
    assert await cancel(path, id) is None
    assert await path.finals(id) == [(DELETED, "cancelled")]
    assert id not in await path.queue()
    (receipt,) = [text for text in path.receipt_texts() if f"id:{id} " in text]
    assert " stat:DELETED err:012 " in receipt
    final = next(e for e in await path.events(id) if e.kind == EventKind.FINAL)
    assert json.loads(final.detail) == {"by": "shop", "door": "smpp"}
    assert await cancel(path, id) == NOT_CANCELLED
    back(path)
    await path.step(2 * HOUR)
    assert [a for o in path.all_outlets() for a in o.handed if a.message.id == id] == attempts
    assert len(await path.finals(id)) == 1


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_what_waits_is_cancelled_once_and_told(on_path: Run, place: Place) -> None:
    on_path(lambda path: cancelled_once_and_told(path, place), checks=[a_check()])


async def let_everything_go(path: Path) -> None:
    back(path)
    bank = path.outlets["bank"]
    bank.window, bank.says = 1000, lambda attempt: DELIVERED
    while bank.open:
        bank.answer()
    await path.step(2 * HOUR)


def test_cancelling_on_disk(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        for place in PLACES:
            await cancelled_once_and_told(path, place)
            await let_everything_go(path)

    on_stores(test, checks=[a_check()])


def test_the_others_of_a_lane_go_on(on_stores: Run) -> None:
    """The head of a handset's lane is cancelled: its followers keep their order and the recipient's clock."""

    async def test(path: Path) -> None:
        away(path)
        ids = [await path.submit(text=text) for text in (b"1", b"2", b"3")]
        assert await cancel(path, ids[0]) is None
        back(path)
        await path.step(MINUTE - 1)
        assert path.switch.bodies() == [b"1"]
        await path.step(1)
        assert path.switch.bodies() == [b"1", b"2", b"3"]
        assert path.delivery.in_memory == 0

    on_stores(test)


def test_what_is_under_delivery_is_not_cancelled(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        assert await path.recall.cancel(path.account("shop"), id, INGRESS, source=SHOP) == NOT_CANCELLED
        path.switch.answer()
        await path.settle()
        assert await path.finals(id) == [(D, "")]

    on_stores(test)


def test_an_attempt_and_a_cancellation_never_both_succeed(on_stores: Run) -> None:
    """The answer of the handset comes while the cancellation reads and writes, each time a little later."""

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        seen: set[bool] = set()
        for turns in range(12):
            number = f"+44770090{turns:04}"
            away(path)
            id = await path.submit(to=number)
            path.switch.says = lambda attempt: None
            path.delivery.pause() if turns % 2 else path.delivery._desk.rouse(number)
            request = asyncio.ensure_future(
                path.recall.cancel(path.account("shop"), id, INGRESS, source=SHOP)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            while turns == 11 and not request.done():
                await asyncio.sleep(0)
            path.delivery.resume()
            path.delivery._desk.rouse(number)
            while path.switch.open:
                path.switch.answer()
            cancelled = await request is None
            while path.switch.open:
                path.switch.answer()
            await path.settle()
            handed = [a.attempt for a in path.switch.handed if a.message.id == id]
            assert await path.finals(id) == [(DELETED, "cancelled") if cancelled else (D, "")]
            assert handed == ([1] if cancelled else [1, 2])
            seen.add(cancelled)
        assert seen == {True, False}

    on_stores(test)


def test_what_went_into_a_box_is_not_cancelled_and_a_block_looks_the_same(on_path: Run) -> None:
    """A withheld message for which a deposit was asked is answered like one that lies in a box."""

    async def test(path: Path) -> None:
        away(path)
        boxed = await path.submit()
        hidden = await path.submit(text=b"veil me", to="+447700900002")
        rows = await path.queue()
        assert boxed not in rows
        assert rows[hidden]["reason"] == QueueReason.WITHHELD
        for id in (boxed, hidden):
            assert await cancel(path, id) == NOT_CANCELLED
            assert await replace(path, id) == NOT_REPLACED
        for destination in (TO_PHONE, Address(1, 1, "447700900002")):
            assert await cancel_matching(path, destination=destination) == NOT_CANCELLED
        assert await path.finals(boxed) == await path.finals(hidden) == []

    on_path(test, checks=[a_check()], box=ScriptedBox())


def test_a_copy_wanted_on_the_handset_is_the_boxs(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        path.store.disk.execute("UPDATE queue SET reason = 'redelivery'")
        assert await cancel(path, id) == NOT_CANCELLED
        assert id in await path.queue()

    on_path(test)


def test_only_the_submitter_may_and_with_its_source(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        strange: tuple[dict[str, Any], ...] = (
            {"by": "bank"},
            {"source": Address(0, 0, "Shop")},
            {"source": Address(5, 0, "shop")},
            {"source": Address(0, 0, "")},
            {"destination": Address(0, 1, PHONE[1:])},
        )
        for more in strange:
            assert await cancel(path, id, **more) == NOT_CANCELLED
        assert await cancel(path, id + 1) == NOT_CANCELLED
        assert await replace(path, id, by="bank") == NOT_REPLACED
        assert await replace(path, id, source=Address(5, 0, "Shops")) == NOT_REPLACED
        assert await path.kinds(id) == []
        assert await cancel(path, id, destination=TO_PHONE) is None

    on_path(test)


def test_a_source_that_was_put_in_need_not_be_named(on_path: Run) -> None:
    """SMPP 3.4 §4.9.1: a source that was NULL at submit is NULL here; it may be named as well."""

    async def test(path: Path) -> None:
        for source in (Address(0, 0, ""), Address(0, 1, "777")):
            for by_id in (True, False):
                at = path.clock.now + HOUR
                id = await path.submit(source=Address(0, 0, ""), by="one", schedule_at=at)
                if by_id:
                    assert await cancel(path, id, by="one", source=source) is None
                else:
                    assert await cancel_matching(path, source, by="one") is None
                assert await path.finals(id) == [(DELETED, "cancelled")]

    models = (
        AccountModel(system_id="one", numbers=("777",)),
        AccountModel(system_id="msc1", role=Role.SWITCH),
        AccountModel(system_id="shop"),
    )
    on_path(test, models=models)


def test_many_are_cancelled_by_their_addresses(on_stores: Run) -> None:
    """More than one batch; others by source, destination, service_type or account stay."""

    async def test(path: Path) -> None:
        at = path.clock.now + HOUR
        mine = [await path.submit(schedule_at=at, receipt=0) for _ in range(3)]
        more = [a_draft(b"more", schedule_at=at, receipt=0, service_type="CMT") for _ in range(210)]
        for draft in more:
            path.submission.submit(draft, path.account("shop"), INGRESS, path.answers.append)
        await path.settle()
        others = [
            await path.submit(schedule_at=at, source=Address(5, 0, "Store")),
            await path.submit(schedule_at=at, to="+447700900002"),
            await path.submit(schedule_at=at, by="bank"),
        ]
        assert await cancel_matching(path, service_type="VMN") == NOT_CANCELLED
        assert await cancel_matching(path, service_type="CMT") is None
        assert sorted(await path.queue()) == sorted(mine + others)
        assert await cancel_matching(path) is None
        assert sorted(await path.queue()) == sorted(others)
        nowhere = await cancel_matching(path, destination=Address(0, 0, ""))
        assert nowhere is not None
        assert nowhere.status == Status.ESME_RINVDSTADR

    on_stores(test)


def test_a_database_that_says_no_changes_nothing(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await in_memory(path)
        path.store.trouble_with = lambda change: Answer.FULL
        refused = await cancel(path, id)
        assert refused is not None
        assert refused.status == Status.ESME_RMSGQFUL
        path.store.trouble_with = lambda change: Answer.UNKNOWN
        refused = await replace(path, id)
        assert refused is not None
        assert refused.unknown
        path.store.trouble_with = lambda change: None
        back(path)
        await path.step(HOUR)
        assert path.switch.bodies() == [b"hello", b"hello"]
        assert await path.finals(id) == [(D, "")]

    on_path(test)


def test_a_restart_finds_the_cancelled_gone_and_the_replaced_new(on_path: Run) -> None:
    async def test(path: Path) -> None:
        away(path)
        gone, new = await path.submit(), await path.submit(text=b"old")
        assert await cancel(path, gone) is None
        assert await replace(path, new) is None
        path.delivery.halt()
        back(path)
        path.switch.handed.clear()
        again = await path.next_life()
        await again.step(HOUR)
        assert again.switch.bodies() == [b"new"]

    on_path(test)


# --- replacing -----------------------------------------------------------------------------------------------------


async def replaced_where_it_waits(path: Path, place: Place) -> None:
    id = await place(path)
    row = (await path.queue())[id]
    assert await replace(path, id, b"a" * 161, registered_delivery=2) is None
    assert (await path.queue())[id] == row
    (event,) = [e for e in await path.events(id) if e.kind == EventKind.REPLACED]
    assert (event.segments, event.state) == (2, ENROUTE)
    assert json.loads(event.detail)["before"] == {"registered_delivery": 1, "segments": 1}
    texts = await History(path.store).text_versions(id)
    assert list(texts) == [0, 1]
    assert texts[1] == b"a" * 161
    (message,) = await path.store.load([id])
    assert (message.body, message.segments, message.registered_delivery) == (b"a" * 161, 2, 2)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_what_waits_is_replaced_where_it_waits(on_path: Run, place: Place) -> None:
    on_path(lambda path: replaced_where_it_waits(path, place), checks=[a_check()])


def test_replacing_on_disk(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        for place in PLACES:
            await replaced_where_it_waits(path, place)
            await let_everything_go(path)

    on_stores(test, checks=[a_check()])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_receipt_is_wanted_no_more_or_again(on_path: Run, place: Place) -> None:
    async def want(path: Path, id: int, wanted: bool) -> Refused | None:
        return await path.carried_out(path.recall.want_receipt(path.account("shop"), id, wanted, INGRESS))

    async def test(path: Path) -> None:
        id = await place(path)
        row = (await path.queue())[id]
        for wanted in (False, True, False):
            assert await want(path, id, wanted) is None
            (message,) = await path.store.load([id])
            assert message.registered_delivery == int(wanted)
        assert (await path.queue())[id] == row
        assert await cancel(path, id) is None
        assert await path.finals(id) == [(DELETED, "cancelled")]
        assert not [text for text in path.receipt_texts() if f"id:{id} " in text]
        assert await want(path, id, True) == NOT_REPLACED

    on_path(test, checks=[a_check()])


def test_a_replaced_message_keeps_its_place_and_its_id(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        away(path)
        ids = [await path.submit(text=text) for text in (b"1", b"2", b"3")]
        for id, text in ((ids[0], b"one"), (ids[1], b"two"), (ids[1], b"TWO")):
            assert await replace(path, id, text, registered_delivery=1) is None
        back(path)
        await path.step(MINUTE)
        assert path.switch.bodies() == [b"1", b"one", b"TWO", b"3"]
        assert len(path.receipt_texts()) == 3
        assert path.delivery.in_memory == 0
        assert path.delivery._desk.octets == 0
        assert await path.kinds(ids[1]) == ["replaced", "replaced", "final", "receipt"]

    on_stores(test)


def test_other_times(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        now = path.clock.now
        id = await path.submit(schedule_at=now + HOUR)
        assert await replace(path, id, schedule_at=now + 2 * HOUR, expires_at=now + 3 * HOUR) is None
        row = (await path.queue())[id]
        assert (row["due_at"], row["expires_at"], row["reason"]) == (
            now + 2 * HOUR,
            now + 3 * HOUR,
            "scheduled",
        )
        wrongs: tuple[tuple[dict[str, Any], Status], ...] = (
            ({"schedule_at": now + 4 * HOUR}, Status.ESME_RINVSCHED),
            ({"expires_at": now - HOUR}, Status.ESME_RINVEXPIRY),
        )
        for wrong, status in wrongs:
            refused = await replace(path, id, **wrong)
            assert refused is not None
            assert refused.status == status
        assert (await path.queue())[id] == row
        await path.step(HOUR)
        assert path.switch.handed == []
        path.switch.says = lambda attempt: ABSENT
        await path.step(HOUR)
        assert len(path.switch.handed) == 1
        await path.step(HOUR)
        assert await path.finals(id) == [(E, "expired")]

    on_stores(test)


def test_a_waiting_message_is_put_off_to_a_schedule(on_stores: Run) -> None:
    """Not early either, when its recipient is seen; what waits behind it goes on."""

    async def test(path: Path) -> None:
        away(path)
        id, follower = await path.submit(), await path.submit(text=b"2")
        assert await replace(path, id, schedule_at=path.clock.now + HOUR) is None
        back(path)
        path.delivery.wake(PHONE)
        await path.step(MINUTE)
        assert await path.finals(follower) == [(D, "")]
        assert await path.finals(id) == []
        await path.step(HOUR)
        assert path.switch.bodies() == [b"hello", b"2", b"new"]

    on_stores(test)


def test_a_released_message_goes_out_with_its_new_text(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await held(path)
        at = path.clock.now + HOUR
        assert await replace(path, id, schedule_at=at) is None
        assert (await path.queue())[id]["reason"] == QueueReason.HELD
        assert await path.delivery.release(id, "op_1") is Answer.STORED
        await path.step(HOUR - 1)
        assert path.switch.handed == []
        await path.step(1)
        assert path.switch.bodies() == [b"new"]

    on_path(test, checks=[a_check()])


def test_a_part_stays_that_part(on_path: Run) -> None:
    async def test(path: Path) -> None:
        udh = b"\x05\x00\x03\x07\x02\x01"
        id = await path.submit(text=udh + b"one", esm_class=0x40, schedule_at=path.clock.now + HOUR)
        refused = await replace(path, id, b"\x05\x00\x03\x07\x02\x02two")
        assert refused is not None
        assert refused.status == Status.ESME_RREPLACEFAIL
        assert await replace(path, id, udh + b"two") is None

    on_path(test)


def test_what_is_under_delivery_or_over_is_not_replaced(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        assert (
            await path.recall.replace(path.account("shop"), id, Replacement(b"new"), INGRESS) == NOT_REPLACED
        )
        path.switch.answer()
        await path.settle()
        assert await replace(path, id) == NOT_REPLACED
        assert await path.kinds(id) == ["final", "receipt"]

    on_stores(test)


def test_a_long_message_of_which_a_part_arrived_is_not_replaced(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await in_memory(path)
        path.store.disk.execute("INSERT INTO sent_part VALUES (?, 'switch:msc1', 7, 2, 1)", (id,))
        assert await replace(path, id) == NOT_REPLACED
        assert await cancel(path, id) == NOT_CANCELLED

    on_path(test)


def test_a_message_in_transaction_mode_answers_its_outcome_only(on_path: Run) -> None:
    """It is under delivery from its acceptance on: whoever submitted it waits for the outcome."""

    async def test(path: Path) -> None:
        away(path)
        await path.submit()
        answers: list[Any] = []
        path.submission.submit(a_draft(esm_class=2), path.account("shop"), INGRESS, answers.append)
        for _ in range(20):
            await asyncio.sleep(0)
        (id,) = [id for id, row in (await path.queue()).items() if not row["attempts"]]
        assert await path.recall.cancel(path.account("shop"), id, INGRESS) == NOT_CANCELLED

    on_path(test)


# --- another node's ------------------------------------------------------------------------------------------------


def test_a_row_of_another_node_is_asked_for(on_path: Run) -> None:
    """The other node lets it go if it waits there; meanwhile it counts as under delivery."""

    async def test(path: Path) -> None:
        id = await in_memory(path)
        store = MemoryStore(path.store.disk, path.clock)
        await store.open()
        other = await make_path(store, path.clock, outlets=path.outlets)
        asked: list[tuple[int, int]] = []

        def ask(epoch: int, id: int) -> None:
            asked.append((epoch, id))
            if len(asked) == 2:
                tasks.append(asyncio.ensure_future(path.waiting.let_go(id)))

        tasks: list[Any] = []
        waiting = Waiting(store, other.delivery, ask)
        recall = Recall(
            store=store,
            history=History(store),
            delivery=other.delivery,
            receipts=other.receipts,
            waiting=waiting,
        )
        assert await recall.cancel(path.account("shop"), id, INGRESS, source=SHOP) is None
        assert await tasks[0] is True
        assert asked == [(path.store.epoch, id)] * 2
        assert await path.finals(id) == [(DELETED, "cancelled")]
        assert path.delivery.in_memory == 0
        assert await path.waiting.let_go(id) is False
        await store.close()

    on_path(test)
