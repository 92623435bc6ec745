"""A message that another center has: out of memory, nobody's, until a report or the clock ends it.

In charge of: what delivery does with FORWARDED, and what reports do with a forwarded row. Which message a report is
about is in `test_link_receipts.py`.
"""

from __future__ import annotations

import json

import pytest
from message_path import DAY, MINUTE, PHONE, SECOND, Path, ScriptedBox, a_draft

from restante.message import EventKind, MessageState
from restante.outlet import ErrorClass, Outcome, Result
from restante.smsc.reports import Report, Reports
from restante.smsc.routing import Lead, RouteModel
from restante.smsc.submission import Accepted, Refused
from restante.store.store import Answer, QueueReason

D, E, U = MessageState.DELIVERED, MessageState.EXPIRED, MessageState.UNDELIVERABLE
TWO_WAYS = [
    RouteModel(name="first", prefix="+4477", account="msc1", priority=1),
    RouteModel(name="second", prefix="+4477", account="bank", priority=2),
]


def forwarded(path: Path, wait_ms: int = 3 * DAY) -> Outcome:
    return Outcome(Result.FORWARDED, remote_id="77", overdue_at=path.clock.now + wait_ms)


def all_forward(path: Path) -> None:
    """The network behind the switch takes everything on."""
    path.switch.says = lambda attempt: forwarded(path)


def reports(path: Path) -> Reports:
    return Reports(path.store, path.receipts, path.recipients, path.delivery)


async def report(path: Path, id: int, state: MessageState, *, by: str = "msc1", **more) -> Answer:
    """Let a report about a message come in, and everything that follows come to rest."""
    (message,) = await path.store.load([id])
    answers: list[Answer] = []
    lead = Lead("rte_1", path.outlets[by])
    said = Report(message, lead, 1, state, **more)
    reports(path).settle(said, answers.append)
    await path.settle()
    assert len(answers) == 1
    return answers[0]


async def row_of(path: Path, id: int) -> tuple[str, int, int]:
    row = (await path.queue())[id]
    return row["reason"], row["owner"], row["attempts"]


def test_a_forwarded_message_is_nobodys_and_enroute(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        assert await row_of(path, id) == (QueueReason.FORWARDED, 0, 1)
        assert path.delivery.in_memory == 0
        assert path.shop.handed == []
        (event,) = await path.events(id)
        assert (event.kind, event.route, event.state) == (EventKind.FORWARDED, "switch:msc1", 1)
        assert json.loads(event.detail)["remote_id"] == "77"

    on_path(test)


def test_that_its_recipient_is_seen_does_not_send_it_twice(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        path.delivery.wake(PHONE)
        await path.step(MINUTE)
        assert len(path.switch.handed) == 1
        assert await row_of(path, id) == (QueueReason.FORWARDED, 0, 1)

    on_path(test)


def test_a_report_of_delivery_ends_it_with_its_receipt(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        assert await report(path, id, D, remote_id="77") is Answer.STORED
        assert await path.finals(id) == [(D, "")]
        assert await path.queue() == {}
        (text,) = path.receipt_texts()
        assert "stat:DELIVRD err:000" in text
        final = next(event for event in await path.events(id) if event.kind == EventKind.FINAL)
        assert json.loads(final.detail)["remote_id"] == "77"

    on_path(test)


def test_of_two_reports_one_counts(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        assert await report(path, id, D) is Answer.STORED
        assert await report(path, id, D) is Answer.CONFLICT
        assert await report(path, id, U, error=ErrorClass.PERMANENT) is Answer.CONFLICT
        assert await path.finals(id) == [(D, "")]
        assert len(path.receipt_texts()) == 1
        assert path.receipts.waiting(1) == 0

    on_path(test)


def test_an_overdue_report_is_an_end(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: forwarded(
            path, attempt.message.expires_at - path.clock.now + 5 * SECOND
        )
        id = await path.submit(expires_at=path.clock.now + MINUTE)
        await path.step(MINUTE)
        assert await path.finals(id) == []
        await path.step(6 * SECOND)
        assert await path.finals(id) == [(E, "no-receipt")]
        assert await report(path, id, D) is Answer.CONFLICT
        assert len(path.receipt_texts()) == 1

    on_path(test)


def test_the_next_life_waits_for_the_same_report(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        again = await path.next_life()
        assert len(path.switch.handed) == 1
        assert await report(again, id, D) is Answer.STORED
        assert await again.finals(id) == [(D, "")]

    on_path(test)


def test_a_permanent_failure_reported_is_the_end(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        failure = {"error": ErrorClass.PERMANENT, "reason": "undeliverable-at-link"}
        assert await report(path, id, U, **failure) is Answer.STORED
        assert await path.finals(id) == [(U, "undeliverable-at-link")]
        assert path.outlets["bank"].handed == []

    on_path(test, routes=TWO_WAYS)


def test_a_failure_that_another_route_may_not_share_goes_there_once(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        path.outlets["bank"].says = lambda attempt: forwarded(path)
        id = await path.submit()
        system = {"error": ErrorClass.SYSTEM, "reason": "system"}
        assert await report(path, id, U, tried={"switch:msc1"}, **system) is Answer.STORED
        assert len(path.outlets["bank"].handed) == 1
        assert await row_of(path, id) == (QueueReason.FORWARDED, 0, 1)
        both = {"switch:msc1", "esme:bank"}
        assert await report(path, id, U, by="bank", tried=both, **system) is Answer.STORED
        assert len(path.switch.handed) == 1, "no ping-pong: its next try has its time"
        assert (await row_of(path, id))[0] == QueueReason.RETRY
        await path.step(MINUTE)
        assert len(path.switch.handed) == 2

    on_path(test, routes=TWO_WAYS)


def test_an_absent_recipient_reported_leads_to_the_mailbox(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        assert await report(path, id, U, error=ErrorClass.ABSENT, reason="absent") is Answer.STORED
        assert await path.boxed() == [id]
        assert await path.finals(id) == []

    on_path(test, box=ScriptedBox())


def test_a_crash_between_the_report_and_its_record_loses_nothing(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit()
        path.delivery._desk.draining = True  # what was taken back is not worked on in this life any more
        assert await report(path, id, U, error=ErrorClass.SYSTEM, reason="system") is Answer.STORED
        assert (await row_of(path, id))[0] == QueueReason.RETRY
        again = await path.next_life()
        assert len(again.switch.handed) == 2
        assert (await row_of(again, id))[:2] == (QueueReason.FORWARDED, 0)

    on_path(test)


@pytest.mark.parametrize("state", [D, U])
def test_transaction_mode_is_answered_with_the_reported_outcome(on_path, state):
    async def test(path: Path) -> None:
        all_forward(path)
        answers: list[Accepted | Refused] = []
        path.submission.submit(a_draft(esm_class=2), path.account("shop"), path.ingress, answers.append)
        await path.settle()
        assert answers == []
        (id,) = await path.messages()
        error = None if state is D else ErrorClass.PERMANENT
        assert await report(path, id, state, error=error) is Answer.STORED
        (answer,) = answers
        assert isinstance(answer, Accepted if state is D else Refused)

    on_path(test)


def test_a_note_tells_who_asked_for_it_and_ends_nothing(on_path):
    async def test(path: Path) -> None:
        all_forward(path)
        id = await path.submit(receipt=0x11)
        (message,) = await path.store.load([id])
        answers: list[Answer] = []
        reports(path).note(
            Report(message, Lead("rte_1", path.switch), 1, MessageState.ENROUTE, remote_id="77"),
            answers.append,
        )
        await path.settle()
        assert answers == [Answer.STORED]
        (text,) = path.receipt_texts()
        assert "stat:ENROUTE" in text
        assert await path.finals(id) == []

    on_path(test)


def test_a_link_that_is_down_says_nothing_about_recipients(on_path):
    """No deposit at once; the message waits for the link, and its return wakes it."""

    async def test(path: Path) -> None:
        link = path.outlets["bank"]
        link.transit, link.up = True, False
        id = await path.submit(to="+442071234567")
        assert await path.boxed() == []
        assert (await row_of(path, id))[0] == QueueReason.RETRY
        link.up = True
        link.wake()
        await path.settle()
        assert await path.finals(id) == [(D, "")]

    on_path(test, box=ScriptedBox())
