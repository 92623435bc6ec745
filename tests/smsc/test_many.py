"""One text for many destinations: all that is accepted is stored together, or nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from message_path import BANK, HOUR, INGRESS, MINUTE, PHONE, SHOP, SWITCH, OneCheck, Path, a_draft

from restante.check import ACCEPT, Action
from restante.message import MessageState
from restante.smsc.answers import Accepted, Refused
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.store.store import Answer

Run = Callable[..., None]
NUMBERS = ["+447700900001", "+447700900002", "+447700900003"]


async def submit_many(path: Path, to: list[str], **fields: Any) -> tuple[int, list[Any]]:
    """The public id and the answers."""
    answers: list[tuple[int, list[Any]]] = []
    drafts = [a_draft(to=number, **fields) for number in to]
    path.submission.submit_many(
        drafts, path.account("shop"), INGRESS, lambda id, each: answers.append((id, each))
    )
    await path.settle()
    assert len(answers) == 1
    return answers[0]


def test_one_change_and_one_id(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        id, answers = await submit_many(path, [*NUMBERS, "+999"])
        assert [type(answer) for answer in answers] == [Accepted] * 3 + [Refused]
        rows = await path.messages()
        assert [rows[answer.id]["parent"] for answer in answers[:3]] == [id] * 3
        assert id not in rows
        assert sorted(attempt.message.recipient for attempt in path.switch.handed) == NUMBERS
        assert [text.split(" ")[0] for text in path.receipt_texts()] == [f"id:{id}"] * 3
        found = await path.recall.find(path.account("shop"), id)
        assert [view.state for view in found] == [MessageState.DELIVERED] * 3

    on_stores(test)


@pytest.mark.parametrize(
    ("answer", "status"), [(Answer.FULL, Status.ESME_RMSGQFUL), (Answer.FAILED, Status.ESME_RSYSERR)]
)
def test_all_or_nothing(on_path: Run, answer: Answer, status: int) -> None:
    async def test(path: Path) -> None:
        path.store.trouble_with = lambda change: answer if change.messages else None
        _, answers = await submit_many(path, NUMBERS)
        assert {one.status for one in answers} == {status}
        assert await path.messages() == {}
        assert path.switch.handed == []

    on_path(test)


def test_it_waits_for_the_last_decision(on_path: Run) -> None:
    """A check that looks something up parks its destination, and with it the whole."""
    decided: asyncio.Future[Any] | None = None
    check = OneCheck()

    async def slow() -> Any:
        assert decided is not None
        return await decided

    def says(message: Any, stage: Any) -> Any:
        return slow() if message.recipient == NUMBERS[1] else ACCEPT

    check.says = says

    async def test(path: Path) -> None:
        nonlocal decided
        decided = asyncio.get_running_loop().create_future()
        answers: list[Any] = []
        drafts = [a_draft(to=number) for number in NUMBERS]
        path.submission.submit_many(
            drafts, path.account("shop"), INGRESS, lambda id, each: answers.extend(each)
        )
        for _ in range(50):
            await asyncio.sleep(0)
        assert await path.messages() == {}
        decided.set_result(check.verdict(Action.REJECT, status=Status.ESME_RINVDSTADR))
        await path.settle()
        assert [type(one) for one in answers] == [Accepted, Refused, Accepted]
        rows = await path.messages()
        refused = next(row for row in rows.values() if row["recipient"] == NUMBERS[1])
        assert refused["parent"] == 0
        assert sorted(path.switch.handed[at].message.recipient for at in (0, 1)) == [NUMBERS[0], NUMBERS[2]]

    on_path(test, checks=[check])


def test_the_rate_lets_it_in_as_a_whole_and_counts_each(on_path: Run) -> None:
    async def test(path: Path) -> None:
        _, answers = await submit_many(path, NUMBERS)
        assert all(isinstance(answer, Accepted) for answer in answers)
        refused = await path.answer_to(a_draft(to=PHONE))
        assert isinstance(refused, Refused)
        assert refused.status == Status.ESME_RTHROTTLED
        _, answers = await submit_many(path, NUMBERS)
        assert answers[0].status == Status.ESME_RTHROTTLED
        await path.step(MINUTE)
        assert isinstance(await path.answer_to(a_draft(to=PHONE)), Accepted)

    models = (SHOP.model_copy(update={"throughput": 1.0, "burst": 1}), SWITCH, BANK)
    on_path(test, models=models)


def test_a_schedule_for_all(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id, _ = await submit_many(path, NUMBERS, schedule_at=path.clock.now + HOUR)
        found = await path.recall.find(path.account("shop"), id)
        assert {view.state for view in found} == {MessageState.SCHEDULED}
        assert await path.carried_out(path.recall.cancel(path.account("shop"), id, INGRESS)) is None
        assert await path.queue() == {}

    on_path(test)
