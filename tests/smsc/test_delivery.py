"""Delivery: from the queue to an outcome, in order, without losing, doubling or overtaking a message.

In charge of: attempts, schedules, deposits, redelivery. Order, windows and waking are in `test_delivery_order.py`, what
the database does to it is in `test_delivery_trouble.py`, parked messages are in `test_holding.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from message_path import (
    ABSENT,
    BUSY,
    CONGESTED,
    DAY,
    DELIVERED,
    EAGER,
    HOUR,
    MINUTE,
    PERMANENT,
    PHONE,
    SECOND,
    Path,
    ScriptedBox,
    a_draft,
    failed,
)

from restante.message import EventKind, Kind, MessageState
from restante.outlet import ErrorClass, Outcome, Result
from restante.smsc.lanes import Task
from restante.smsc.routing import RouteModel, TargetKind
from restante.smsc.settlement import Settlement
from restante.store.store import Answer, QueueReason

D, E, U, R = (
    MessageState.DELIVERED,
    MessageState.EXPIRED,
    MessageState.UNDELIVERABLE,
    MessageState.REJECTED,
)
OTHER_PHONE = "+447700900002"


# --- the plain way -----------------------------------------------------------------------------------------------


def test_a_message_is_delivered_and_its_receipt_follows(on_path):
    async def test(path: Path) -> None:
        id = await path.submit()
        assert path.switch.bodies() == [b"hello"]
        assert await path.finals(id) == [(D, "")]
        (receipt,) = path.receipt_texts()
        assert receipt.startswith(f"id:{id} ")
        assert "stat:DELIVRD err:000" in receipt
        assert await path.queue() == {}
        assert path.delivery.in_memory == 0
        assert await path.kinds(id) == [EventKind.FINAL, EventKind.RECEIPT]

    on_path(test)


def test_without_a_receipt_asked_for_there_is_none(on_path):
    async def test(path: Path) -> None:
        id = await path.submit(receipt=0)
        assert path.shop.handed == []
        assert await path.finals(id) == [(D, "")]

    on_path(test)


def test_no_route_is_an_end(on_path):
    async def test(path: Path) -> None:
        id = await path.submit(to="+33612345678")
        assert await path.finals(id) == [(U, "no-route")]
        assert "stat:UNDELIV err:010" in path.receipt_texts()[0]

    on_path(test, refuse_unroutable=False)


def test_a_permanent_failure_is_an_end_with_its_cause(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: failed(
            ErrorClass.PERMANENT, "unknown-subscriber", status=0x65, network_error=b"\x03\x00\x01"
        )
        id = await path.submit()
        assert await path.finals(id) == [(U, "unknown-subscriber")]
        assert await path.kinds(id) == [EventKind.ATTEMPT, EventKind.FINAL, EventKind.RECEIPT]
        assert "stat:UNDELIV err:008" in path.receipt_texts()[0]
        assert b"\x04\x23\x00\x03\x03\x00\x01" in path.shop.handed[0].message.tlvs
        final = (await path.events(id))[1]
        assert json.loads(final.detail) == {
            "rule": "rte_1",
            "tried": ["switch:msc1"],
            "command_status": 0x65,
        }

    on_path(test)


# --- schedules ---------------------------------------------------------------------------------------------------


def test_a_busy_phone_is_tried_again_by_its_schedule(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY if attempt.attempt < 4 else DELIVERED
        id = await path.submit()
        tried = [len(path.switch.handed)]
        for ms in (15 * SECOND - 1, 1, 30 * SECOND - 1, 1, MINUTE - 1, 1):
            await path.step(ms)
            tried.append(len(path.switch.handed))
        assert tried == [1, 1, 2, 2, 3, 3, 4]
        assert [attempt.attempt for attempt in path.switch.handed] == [1, 2, 3, 4]
        assert await path.finals(id) == [(D, "")]
        assert [e.attempt for e in await path.events(id)] == [1, 2, 3, 4, 0]

    on_path(test)


def test_a_far_try_waits_in_the_database_and_comes_back(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit()
        await path.step(MINUTE)  # second attempt; the third is 5 minutes off
        row = (await path.queue())[id]
        assert (row["owner"], row["reason"], row["attempts"]) == (0, QueueReason.RETRY, 2)
        assert row["due_at"] == path.clock.now + 5 * MINUTE
        assert path.delivery.in_memory == 0
        path.switch.says = lambda attempt: DELIVERED
        await path.step(5 * MINUTE)
        assert await path.finals(id) == [(D, "")]
        assert [attempt.attempt for attempt in path.switch.handed] == [1, 2, 3]

    on_path(test)


def test_no_try_lies_beyond_the_validity_period(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit(expires_at=path.clock.now + 90 * SECOND)
        await path.step(MINUTE)
        assert (await path.queue())[id]["due_at"] == path.clock.now + 30 * SECOND
        await path.step(30 * SECOND)
        assert len(path.switch.handed) == 2
        assert await path.finals(id) == [(E, "expired")]
        assert "stat:EXPIRED err:001" in path.receipt_texts()[0]

    on_path(test)


def test_a_validity_of_zero_allows_one_attempt(on_path):
    async def test(path: Path) -> None:
        id = await path.submit(expires_at=path.clock.now)
        assert await path.finals(id) == [(D, "")]
        path.switch.says = lambda attempt: ABSENT
        other = await path.submit(expires_at=path.clock.now)
        assert len(path.switch.handed) == 2
        assert await path.finals(other) == [(E, "expired")]
        assert await path.boxed() == []

    on_path(test, box=ScriptedBox())


@pytest.mark.parametrize("mode", [1, 2])
def test_datagram_and_transaction_mode_have_one_attempt_and_no_box(on_path, mode):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        answer = await path.answer_to(a_draft(esm_class=mode))
        await path.step(HOUR)
        assert len(path.switch.handed) == 1
        assert await path.boxed() == []
        (final,) = await path.finals(answer.id)
        assert final == (U, "absent")
        assert len(path.shop.handed) == (mode == 2)  # a datagram has no receipt

    on_path(test, box=ScriptedBox())


def test_another_route_is_tried_at_once_where_the_class_allows_it(on_path):
    async def test(path: Path) -> None:
        other = path.outlets["bank"]
        path.switch.says = lambda attempt: CONGESTED
        id = await path.submit()
        assert [len(path.switch.handed), len(other.handed)] == [1, 1]
        assert [attempt.attempt for attempt in other.handed] == [1]
        (final,) = [e for e in await path.events(id) if e.kind == EventKind.FINAL]
        assert json.loads(final.detail)["tried"] == ["switch:msc1"]
        path.switch.says = lambda attempt: ABSENT
        await path.submit(text=b"two")
        assert [len(path.switch.handed), len(other.handed)] == [2, 1]

    routes = (
        RouteModel(name="one", prefix="+4477", account="msc1", priority=1),
        RouteModel(name="two", prefix="+4477", account="bank", priority=2),
    )
    on_path(test, routes=routes)


def test_an_unreachable_route_is_passed_over(on_path):
    async def test(path: Path) -> None:
        path.switch.up = False
        id = await path.submit()
        assert len(path.outlets["bank"].handed) == 1
        assert await path.finals(id) == [(D, "")]

    routes = (
        RouteModel(name="one", prefix="+4477", account="msc1", priority=1),
        RouteModel(name="two", prefix="+4477", account="bank", priority=2),
    )
    on_path(test, routes=routes)


# --- the mailbox -------------------------------------------------------------------------------------------------


def test_an_absent_recipient_gets_the_message_in_the_mailbox(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit(receipt=0x11)
        assert await path.boxed() == [id]
        assert await path.queue() == {}
        assert await path.finals(id) == []
        assert await path.kinds(id) == [EventKind.ATTEMPT, EventKind.STORED]
        assert path.box
        assert path.box.handed[0].because == "absent"
        (told,) = path.shop.handed
        assert told.message.esm_class == 0x20
        assert "stat:ENROUTE err:002" in told.message.body.decode()
        stored = (await path.events(id))[1]
        assert (stored.route, stored.reason, stored.state) == ("mailbox", "absent", MessageState.ENROUTE)

    on_path(test, box=ScriptedBox())


def test_an_account_may_have_its_receipt_at_the_deposit(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit(by="eager")
        assert await path.boxed() == [id]
        assert await path.finals(id) == [(D, "deposited")]
        assert b"stat:DELIVRD" in path.outlets[EAGER.system_id].bodies()[0]

    on_path(test, box=ScriptedBox())


def test_a_full_box_is_the_end_with_its_own_error(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        assert path.box
        path.box.says = lambda attempt: failed(ErrorClass.PERMANENT, "mailbox-full")
        id = await path.submit()
        assert await path.finals(id) == [(U, "mailbox-full")]
        assert "stat:UNDELIV err:011" in path.receipt_texts()[0]
        assert await path.kinds(id) == [EventKind.ATTEMPT, EventKind.FINAL, EventKind.RECEIPT]

    on_path(test, box=ScriptedBox())


def test_what_is_not_for_a_box_goes_on_as_if_there_were_none(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT if attempt.attempt < 3 else DELIVERED
        assert path.box
        path.box.says = lambda attempt: failed(ErrorClass.POLICY, "type-0")
        id = await path.submit()
        await path.step(MINUTE)
        await path.step(5 * MINUTE)
        assert [attempt.attempt for attempt in path.switch.handed] == [1, 2, 3]
        assert await path.finals(id) == [(D, "")]
        attempts = [e for e in await path.events(id) if e.kind == EventKind.ATTEMPT]
        assert [e.attempt for e in attempts] == [1, 2]

    on_path(test, box=ScriptedBox())


def test_a_box_that_is_busy_lets_the_schedule_go_on(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        assert path.box
        path.box.window = 0
        id = await path.submit()
        assert (await path.queue())[id]["reason"] == QueueReason.RETRY
        path.box.window = 10
        await path.step(MINUTE)
        assert await path.boxed() == [id]

    on_path(test, box=ScriptedBox())


def test_a_box_that_changed_meanwhile_is_asked_again(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        conflicts = [Answer.CONFLICT, Answer.CONFLICT]
        path.store.trouble_with = lambda change: conflicts.pop() if change.writes and conflicts else None
        id = await path.submit()
        assert await path.boxed() == []
        await path.step(SECOND)
        await path.step(SECOND)
        assert await path.boxed() == [id]
        assert len(path.switch.handed) == 1, "the handset is not asked again"
        assert path.box
        assert len(path.box.handed) == 3
        assert await path.kinds(id) == [EventKind.ATTEMPT, EventKind.STORED]

    on_path(test, box=ScriptedBox())


def test_an_expired_message_is_not_deposited(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit(expires_at=path.clock.now + MINUTE)
        path.clock.now += 2 * MINUTE
        await path.store.beat()
        path.switch.answer(ABSENT)
        await path.settle()
        assert await path.boxed() == []
        assert await path.finals(id) == [(E, "expired")]

    on_path(test, box=ScriptedBox())


def test_a_route_to_the_mailbox_makes_no_attempt(on_path):
    async def test(path: Path) -> None:
        id = await path.submit()
        assert await path.boxed() == [id]
        assert await path.kinds(id) == [EventKind.STORED]

    on_path(test, box=ScriptedBox(), routes=[RouteModel(name="a", prefix="+4477", target=TargetKind.MAILBOX)])


# --- redelivery from the mailbox -----------------------------------------------------------------------------------


async def in_box(path: Path) -> int:
    """A message that lies in the box and is wanted on the handset: what `mailbox/redelivery.py` makes of it."""
    path.switch.says = lambda attempt: ABSENT
    id = await path.submit()
    assert await path.boxed() == [id]
    path.store.disk.execute(
        "INSERT INTO queue (id, recipient, due_at, expires_at, attempts, owner, priority, reason) "
        "VALUES (?, ?, ?, ?, 0, ?, 0, 'redelivery')",
        (id, PHONE, path.clock.now, path.clock.now + DAY, path.store.epoch),
    )
    return id


async def hand_copy(path: Path, id: int) -> None:
    (message,) = await path.store.load([id])
    message.owner = path.store.epoch
    path.delivery.admit(message, QueueReason.REDELIVERY)
    await path.settle()


def test_a_copy_that_the_handset_takes_ends_the_message(on_path):
    async def test(path: Path) -> None:
        id = await in_box(path)
        path.switch.says = lambda attempt: DELIVERED
        await hand_copy(path, id)
        assert await path.finals(id) == [(D, "")]
        assert await path.queue() == {}
        assert "stat:DELIVRD" in path.receipt_texts()[0]

    on_path(test, box=ScriptedBox())


def test_a_copy_that_was_read_meanwhile_is_not_ended_twice(on_path):
    async def test(path: Path) -> None:
        id = await in_box(path)
        path.switch.says = lambda attempt: None
        await hand_copy(path, id)
        path.store.disk.execute("UPDATE test_box SET read = 1")
        path.switch.answer()
        await path.settle()
        assert await path.finals(id) == []
        assert path.receipt_texts() == []
        assert await path.queue() == {}
        assert path.delivery.in_memory == 0

    on_path(test, box=ScriptedBox())


def test_a_copy_that_the_handset_does_not_take_stays_in_the_box(on_path):
    async def test(path: Path) -> None:
        id = await in_box(path)
        await hand_copy(path, id)
        assert len(path.switch.handed) == 2
        assert await path.finals(id) == []
        assert await path.queue() == {}
        assert await path.boxed() == [id]
        assert await path.kinds(id) == [EventKind.ATTEMPT, EventKind.STORED, EventKind.ATTEMPT]

    on_path(test, box=ScriptedBox())


# --- one-time codes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [DELIVERED, PERMANENT])
def test_the_text_of_a_code_is_blanked_when_it_is_final(on_path, outcome):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: outcome
        task = asyncio.ensure_future(path.submission.send_system(Kind.CODE, PHONE, "123456"))
        await path.settle()
        id = await task
        await path.settle()
        assert path.switch.bodies() == [b"123456"]
        rows = path.store.disk.execute("SELECT payload FROM body").fetchall()
        assert rows == [(b"",)]
        assert len(await path.finals(id)) == 1

    on_path(test)


def test_outcome_classes_without_an_error_are_system_failures(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: Outcome(Result.FAILED)
        id = await path.submit()
        assert (await path.queue())[id]["attempts"] == 1

    on_path(test)


def test_a_failure_without_an_error_waits_by_the_clock_as_well(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: Outcome(Result.FAILED)
        for text in (b"first", b"second"):
            await path.submit(text=text)
        for _ in range(40):
            await path.step(MINUTE)
        assert 4 <= len(path.switch.handed) <= 10, "5 s, 30 s, 2 min, 10 min, and then an hour"

    on_path(test)


def test_timers_of_those_who_waited_a_moment_do_not_pile_up(on_path, monkeypatch: pytest.MonkeyPatch):
    """Each waits for room in a window, so each sets a timer at the end of its validity, two days ahead."""
    monkeypatch.setattr("restante.smsc.desk._LEAST_SWEPT", 20)

    async def test(path: Path) -> None:
        path.switch.window = 1
        path.switch.says = lambda attempt: None
        desk = path.delivery._desk
        for number in range(150):
            await path.submit(to=f"+4477009{number:05}")
            if number:
                assert len(desk.lanes) == 2
                path.switch.answer()
                await path.settle()
        assert len(desk._timers) <= 20
        path.switch.answer()
        await path.settle()
        assert desk.lanes == {}

    on_path(test)


def test_what_is_finished_is_freed_at_once(on_path):
    """The center looks for cycles seldom, because messages make none (`cli/serve.py`)."""

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY if attempt.attempt == 1 else DELIVERED
        gc.collect()  # what earlier tests left
        gc.disable()
        try:
            for _ in range(3):
                await path.submit(receipt=1)
                await path.step(MINUTE)
            left = [one for one in gc.get_objects() if isinstance(one, Settlement | Task)]
        finally:
            gc.enable()
        assert len(path.receipt_texts()) == 3
        assert left == []

    on_path(test)
