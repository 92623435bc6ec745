"""Messages that checks park, divert or refuse: at submit and at each attempt, and what an operator does with them.

Long because each way to fail is a short story of its own.
"""

from __future__ import annotations

import json

import pytest
from message_path import (
    ABSENT,
    BUSY,
    DAY,
    DELIVERED,
    HOUR,
    MINUTE,
    PHONE,
    SECOND,
    OneCheck,
    Path,
    ScriptedBox,
    a_draft,
    failed,
)

from restante.check import ACCEPT, Action, Stage, Verdict
from restante.message import EventKind, MessageState
from restante.outlet import ErrorClass
from restante.smsc.submission import Accepted, Refused
from restante.store.store import Answer, QueueReason

D, E, DELETED, R = (
    MessageState.DELIVERED,
    MessageState.EXPIRED,
    MessageState.DELETED,
    MessageState.REJECTED,
)
BOTH = (Stage.SUBMIT, Stage.ATTEMPT)


def says(check: OneCheck, action: Action, stage: Stage = Stage.SUBMIT, **more: object) -> None:
    """Let a check answer so at one stage."""
    check.says = lambda message, at: check.verdict(action, **more) if at is stage else ACCEPT


# --- at submit -----------------------------------------------------------------------------------------------------


def test_a_rejected_message_is_recorded_with_its_evidence_and_never_queued(on_path):
    check = OneCheck()
    says(check, Action.REJECT, status=0x0A, public="no", evidence={"why": "forged"})

    async def test(path: Path) -> None:
        answer = await path.answer_to(a_draft())
        assert answer == Refused(0x0A, "one-says", "no")
        (id,) = await path.messages()
        assert await path.queue() == {}
        evidence, final = await path.events(id)
        assert json.loads(evidence.detail) == {
            "check": "one",
            "action": "reject",
            "mode": "enforce",
            "stage": "submit",
            "evidence": {"why": "forged"},
        }
        assert (final.state, final.reason, final.route) == (R, "one-says", "one")
        await path.step(DAY)
        assert path.switch.handed == []
        assert path.receipt_texts() == []

    on_path(test, checks=[check])


def test_a_dropped_message_is_answered_as_accepted(on_path):
    check = OneCheck()
    says(check, Action.DROP)

    async def test(path: Path) -> None:
        id = await path.submit()
        assert await path.finals(id) == [(DELETED, "one-says")]
        assert path.switch.handed == []

    on_path(test, checks=[check])


def test_a_throttled_message_is_refused_for_now(on_path):
    check = OneCheck()
    says(check, Action.THROTTLE)

    async def test(path: Path) -> None:
        answer = await path.answer_to(a_draft())
        assert isinstance(answer, Refused)
        assert (answer.status, answer.retry_after_ms) == (0x58, 1000)
        assert await path.messages() == {}

    on_path(test, checks=[check])


def test_monitor_mode_is_recorded_and_changes_nothing(on_path):
    check = OneCheck()
    check.says = lambda message, stage: check.verdict(Action.REJECT, enforced=False)

    async def test(path: Path) -> None:
        id = await path.submit()
        assert await path.finals(id) == [(D, "")]
        assert json.loads((await path.events(id))[0].detail)["mode"] == "monitor"

    on_path(test, checks=[check])


def test_a_held_message_waits_and_its_check_is_asked_again_when_due(on_path):
    check = OneCheck()

    async def test(path: Path) -> None:
        says(check, Action.HOLD, until=path.clock.now + HOUR)
        id = await path.submit()
        row = (await path.queue())[id]
        assert (row["reason"], row["owner"], row["due_at"]) == (QueueReason.HELD, 0, path.clock.now + HOUR)
        path.delivery.wake(PHONE)
        await path.settle()
        assert path.switch.handed == [], "that the recipient is there does not free it"
        says(check, Action.HOLD, until=path.clock.now + 2 * HOUR)
        await path.step(HOUR)
        assert path.switch.handed == []
        check.says = lambda message, stage: ACCEPT
        await path.step(HOUR)
        assert await path.finals(id) == [(D, "")]
        assert len(check.asked) == 3
        assert await path.kinds(id) == [
            EventKind.EVIDENCE,
            EventKind.HELD,
            EventKind.EVIDENCE,
            EventKind.HELD,
            EventKind.FINAL,
            EventKind.RECEIPT,
        ]

    on_path(test, checks=[check])


def test_a_message_held_to_its_end_expires(on_path):
    check = OneCheck()
    says(check, Action.HOLD)

    async def test(path: Path) -> None:
        id = await path.submit(expires_at=path.clock.now + HOUR)
        await path.step(HOUR)
        assert await path.finals(id) == [(E, "expired")]
        assert path.switch.handed == []

    on_path(test, checks=[check])


@pytest.mark.parametrize("action", [Action.HOLD, Action.QUARANTINE])
def test_parking_a_message_without_validity_ends_it(on_path, action):
    check = OneCheck()
    says(check, action)

    async def test(path: Path) -> None:
        id = await path.submit(expires_at=path.clock.now)
        await path.step(SECOND)
        assert await path.finals(id) == [(E, "expired")]
        assert path.switch.handed == []

    on_path(test, checks=[check])


def test_a_quarantined_message_is_delivered_to_nobody_and_expires(on_path):
    check = OneCheck()
    says(check, Action.QUARANTINE)

    async def test(path: Path) -> None:
        id = await path.submit(expires_at=path.clock.now + DAY)
        path.delivery.wake(PHONE)
        await path.step(HOUR)
        assert (await path.queue())[id]["reason"] == QueueReason.QUARANTINED
        await path.step(DAY)
        assert await path.finals(id) == [(E, "expired")]
        assert path.switch.handed == []
        assert await path.boxed() == []

    on_path(test, checks=[check], box=ScriptedBox())


def test_a_held_message_still_waits_for_its_schedule(on_path):
    check = OneCheck()

    async def test(path: Path) -> None:
        says(check, Action.HOLD, until=path.clock.now + MINUTE)
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        check.says = lambda message, stage: ACCEPT
        await path.step(MINUTE)
        row = (await path.queue())[id]
        assert row["reason"] == QueueReason.SCHEDULED
        assert path.switch.handed == []
        await path.step(HOUR - MINUTE)
        assert await path.finals(id) == [(D, "")]

    on_path(test, checks=[check])


# --- divert --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", BOTH)
def test_a_diverted_message_goes_to_the_box_without_an_attempt(on_path, stage):
    check = OneCheck(stages=BOTH)
    says(check, Action.DIVERT, stage)

    async def test(path: Path) -> None:
        id = await path.submit()
        assert path.switch.handed == []
        assert await path.boxed() == [id]
        assert path.box
        assert [attempt.route for attempt in path.box.handed] == ["divert"]
        assert await path.kinds(id) == [EventKind.EVIDENCE, EventKind.STORED]

    on_path(test, checks=[check], box=ScriptedBox())


def test_a_diversion_survives_a_busy_box_and_a_restart(on_path):
    check = OneCheck()
    says(check, Action.DIVERT)

    async def test(path: Path) -> None:
        assert path.box
        deposit = path.box.says
        path.box.says = lambda attempt: failed(ErrorClass.SYSTEM, "mailbox-unavailable")
        id = await path.submit()
        assert (await path.queue())[id]["reason"] == QueueReason.DIVERTED
        again = await path.next_life(checks=[check])
        path.box.says = deposit
        await again.step(MINUTE)
        assert await again.boxed() == [id]
        assert path.switch.handed == []

    on_path(test, checks=[check], box=ScriptedBox())


def test_a_diverted_message_that_is_not_for_a_box_fails(on_path):
    check = OneCheck()
    says(check, Action.DIVERT)

    async def test(path: Path) -> None:
        assert path.box
        path.box.says = lambda attempt: failed(ErrorClass.POLICY, "type-0")
        id = await path.submit()
        assert await path.finals(id) == [(MessageState.UNDELIVERABLE, "type-0")]
        assert path.switch.handed == []

    on_path(test, checks=[check], box=ScriptedBox())


def test_a_diverted_message_keeps_its_schedule(on_path):
    check = OneCheck()
    says(check, Action.DIVERT)

    async def test(path: Path) -> None:
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        assert await path.boxed() == []
        await path.step(HOUR)
        assert await path.boxed() == [id]

    on_path(test, checks=[check], box=ScriptedBox())


# --- at the attempt ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "state"), [(Action.REJECT, R), (Action.DROP, DELETED)])
def test_an_attempt_may_be_refused(on_path, action, state):
    check = OneCheck(stages=BOTH)
    says(check, action, Stage.ATTEMPT)

    async def test(path: Path) -> None:
        id = await path.submit()
        assert await path.finals(id) == [(state, "one-says")]
        assert path.switch.handed == []
        assert "err:009" in path.receipt_texts()[0]

    on_path(test, checks=[check])


def test_an_attempt_may_be_held_and_goes_through_all_checks_again(on_path):
    check = OneCheck(stages=BOTH)

    async def test(path: Path) -> None:
        says(check, Action.HOLD, Stage.ATTEMPT, until=path.clock.now + HOUR)
        id = await path.submit()
        assert (await path.queue())[id]["reason"] == QueueReason.HELD
        check.says = lambda message, stage: ACCEPT
        await path.step(HOUR)
        assert await path.finals(id) == [(D, "")]
        assert [stage for _, stage in check.asked] == [Stage.SUBMIT, Stage.ATTEMPT] * 2

    on_path(test, checks=[check])


def test_a_throttled_attempt_comes_again_soon(on_path):
    check = OneCheck(stages=BOTH)

    async def test(path: Path) -> None:
        says(check, Action.THROTTLE, Stage.ATTEMPT)
        id = await path.submit()
        check.says = lambda message, stage: ACCEPT
        await path.step(MINUTE)
        assert await path.finals(id) == [(D, "")]

    on_path(test, checks=[check])


def test_each_attempt_is_checked_once_however_long_it_waits_for_room(on_path):
    check = OneCheck(stages=BOTH)
    says(check, Action.FLAG, Stage.ATTEMPT)

    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.window = 0
        id = await path.submit(to="12345")
        for _ in range(3):
            bank.wake()
            await path.settle()
        bank.window, bank.says = 1, lambda attempt: BUSY if attempt.attempt == 1 else DELIVERED
        bank.wake()
        await path.settle()
        await path.step(15 * SECOND)
        assert [stage for _, stage in check.asked] == [Stage.SUBMIT, Stage.ATTEMPT, Stage.ATTEMPT]
        assert await path.kinds(id) == [
            EventKind.EVIDENCE,
            EventKind.ATTEMPT,
            EventKind.EVIDENCE,
            EventKind.FINAL,
            EventKind.RECEIPT,
        ]

    on_path(test, checks=[check])


def test_a_check_that_waits_does_not_let_two_attempts_start(on_path):
    check = OneCheck(stages=[Stage.ATTEMPT])

    async def test(path: Path) -> None:
        async def slowly() -> Verdict:
            return ACCEPT

        check.says = lambda message, stage: slowly()
        path.switch.says = lambda attempt: None
        for text in (b"1", b"2", b"3"):
            path.submission.submit(a_draft(text), path.account("shop"), path.ingress, lambda answer: None)
        await path.settle()
        assert path.switch.bodies() == [b"1"]

    on_path(test, checks=[check])


def test_a_verdict_that_comes_after_a_halt_sends_nothing(on_path):
    check = OneCheck(stages=[Stage.ATTEMPT])

    async def test(path: Path) -> None:
        import asyncio

        gate = asyncio.Event()

        async def later() -> Verdict:
            await gate.wait()
            return ACCEPT

        check.says = lambda message, stage: later()
        answers: list[object] = []
        path.submission.submit(a_draft(), path.account("shop"), path.ingress, answers.append)
        while not path.screening.waiting:
            await asyncio.sleep(0)
        path.delivery.halt()
        gate.set()
        while path.screening.waiting:
            await asyncio.sleep(0)
        assert path.switch.handed == []

    on_path(test, checks=[check])


def test_a_copy_from_the_box_is_never_parked_beside_it(on_path):
    check = OneCheck(stages=BOTH)

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit()
        path.store.disk.execute(
            "INSERT INTO queue (id, recipient, due_at, expires_at, attempts, owner, priority, reason) "
            "VALUES (?, ?, ?, ?, 0, ?, 0, 'redelivery')",
            (id, PHONE, path.clock.now, path.clock.now + DAY, path.store.epoch),
        )
        says(check, Action.HOLD, Stage.ATTEMPT, until=path.clock.now + HOUR)
        path.delivery.admit((await path.store.load([id]))[0], QueueReason.REDELIVERY)
        await path.settle()
        assert await path.queue() == {}
        assert await path.boxed() == [id]
        assert await path.finals(id) == []

    on_path(test, checks=[check], box=ScriptedBox())


# --- operators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [Action.HOLD, Action.QUARANTINE])
@pytest.mark.parametrize("stage", BOTH)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_released_message_resumes_behind_the_check_that_parked_it(on_path, action, stage, restarted):
    before, check, after = (OneCheck(name, stages=BOTH) for name in ("before", "check", "after"))
    says(check, action, stage)
    checks = [before, check, after]

    async def test(path: Path) -> None:
        id = await path.submit()
        asked = [len(c.asked) for c in checks]
        if restarted:
            path = await path.next_life(checks=checks)
        assert await path.delivery.release(id, "op_1", "it is fine") is Answer.STORED
        await path.settle()
        assert await path.finals(id) == [(D, "")]
        new = [len(c.asked) - n for c, n in zip(checks, asked, strict=True)]
        assert new == ([1, 1, 2] if stage is Stage.SUBMIT else [0, 0, 1])
        (released,) = [e for e in await path.events(id) if e.kind == EventKind.RELEASED]
        assert json.loads(released.detail) == {
            "by": "op_1",
            "note": "it is fine",
            "check": "check",
            "stage": stage.value,
        }

    on_path(test, checks=checks)


def test_a_later_check_may_park_a_released_message_again(on_path):
    first, second = OneCheck("first"), OneCheck("second")
    says(first, Action.QUARANTINE)

    async def test(path: Path) -> None:
        id = await path.submit()
        says(second, Action.HOLD)
        await path.delivery.release(id, "op_1")
        await path.settle()
        assert (await path.queue())[id]["reason"] == QueueReason.HELD
        assert await path.delivery.release(id, "op_1") is Answer.STORED
        await path.settle()
        assert await path.finals(id) == [(D, "")]

    on_path(test, checks=[first, second])


def test_a_released_message_keeps_its_schedule(on_path):
    check = OneCheck()
    says(check, Action.QUARANTINE)

    async def test(path: Path) -> None:
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        await path.delivery.release(id, "op_1")
        await path.settle()
        path.delivery.wake(PHONE)
        await path.settle()
        assert path.switch.handed == []
        await path.step(HOUR)
        assert await path.finals(id) == [(D, "")]

    on_path(test, checks=[check])


def test_only_what_is_parked_can_be_released_or_discarded_and_only_once(on_path):
    check = OneCheck()
    says(check, Action.QUARANTINE)

    async def test(path: Path) -> None:
        id = await path.submit()
        check.says = lambda message, stage: ACCEPT
        path.switch.says = lambda attempt: None
        live = await path.submit()
        for act in (path.delivery.release, path.delivery.discard):
            assert await act(live, "op_1") is Answer.CONFLICT
            assert await act(12345, "op_1") is Answer.CONFLICT
        assert await path.delivery.release(id, "op_1") is Answer.STORED
        assert await path.delivery.release(id, "op_2") is Answer.CONFLICT
        assert await path.delivery.discard(id, "op_2") is Answer.CONFLICT
        assert await path.finals(id) == []

    on_path(test, checks=[check])


def test_a_discarded_message_ends_rejected_with_its_author_and_its_receipt(on_path):
    check = OneCheck()
    says(check, Action.QUARANTINE)

    async def test(path: Path) -> None:
        id = await path.submit()
        assert await path.delivery.discard(id, "op_1", "spam") is Answer.STORED
        await path.settle()
        assert await path.finals(id) == [(R, "discarded")]
        assert await path.queue() == {}
        (text,) = path.receipt_texts()
        assert "stat:REJECTD err:009" in text
        (final,) = [e for e in await path.events(id) if e.kind == EventKind.FINAL]
        assert json.loads(final.detail) == {"by": "op_1", "note": "spam"}

    on_path(test, checks=[check])


# --- checks that take their time at submit -------------------------------------------------------------------------


def test_a_slow_check_parks_its_message_alone(on_path):
    check = OneCheck()

    async def test(path: Path) -> None:
        import asyncio

        gate = asyncio.Event()

        async def later() -> Verdict:
            await gate.wait()
            return ACCEPT

        check.says = lambda message, stage: later() if message.body == b"slow" else ACCEPT
        answers: list[object] = []
        account = path.account("shop")
        path.submission.submit(a_draft(b"slow"), account, path.ingress, answers.append)
        path.submission.submit(a_draft(b"fast", to="12345"), account, path.ingress, answers.append)
        await path.settle()
        assert len(answers) == 1
        gate.set()
        await path.settle()
        assert len(answers) == 2
        assert all(isinstance(answer, Accepted) for answer in answers)
        assert path.switch.bodies() == [b"slow"]

    on_path(test, checks=[check])
