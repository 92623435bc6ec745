"""What is submitted twice: what counts as the same, what it is answered, and that one is stored; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from message_path import BANK, INGRESS, MINUTE, PERMANENT, PHONE, SECOND, SWITCH, OneCheck, Path, a_draft

from restante.access.accounts import AccountModel
from restante.check import Action
from restante.message import Address, Message
from restante.smsc.answers import FAILED, FULL, Accepted, Refused
from restante.smsc.smpp import tlv
from restante.store.store import Answer

Run = Callable[..., None]

TWICE = AccountModel(system_id="shop", throughput=None, duplicate_window_s=60)
ONCE = AccountModel(system_id="once", throughput=None)
MODELS = (TWICE, SWITCH, BANK, ONCE)


def referring(number: int, **fields: Any) -> Message:
    return a_draft(tlvs=tlv.one(tlv.Tag.user_message_reference, number), **fields)


async def answer_to_several(path: Path, drafts: list[Message]) -> tuple[int, list[Accepted | Refused]]:
    answered: asyncio.Future[tuple[int, list[Accepted | Refused]]] = (
        asyncio.get_running_loop().create_future()
    )
    path.submission.submit_many(
        drafts, path.account("shop"), INGRESS, lambda id, said: answered.set_result((id, said))
    )
    return await path.carried_out(answered)


def test_within_the_window_the_first_id_is_the_answer(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        first = await path.submit(a_draft())
        await path.step(59 * SECOND)
        assert await path.submit(a_draft()) == first
        await path.step(2 * SECOND)
        again = await path.submit(a_draft())
        assert again != first
        assert await path.submit(a_draft()) == again
        assert len(path.switch.handed) == 2
        assert sorted(id for id, row in (await path.messages()).items() if not row["kind"]) == [first, again]

    on_stores(test, models=MODELS)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (lambda: a_draft(), lambda: a_draft(priority_flag=2, receipt=0), True),
        (lambda: a_draft(), lambda: a_draft(destination=Address(0, 1, "00" + PHONE[1:])), True),
        (lambda: a_draft(), lambda: a_draft(b"hello!"), False),
        (lambda: a_draft(), lambda: a_draft(data_coding=4), False),
        (lambda: a_draft(), lambda: a_draft(to="+447700900002"), False),
        (lambda: a_draft(), lambda: a_draft(source=Address(5, 0, "Shops")), False),
        (lambda: a_draft(), lambda: referring(7), False),
        (lambda: referring(7), lambda: referring(7, text=b"other"), True),
        (lambda: referring(7), lambda: referring(8), False),
        (lambda: a_draft(esm_class=2), lambda: a_draft(esm_class=2), False),
        (lambda: a_draft(esm_class=1), lambda: a_draft(esm_class=1), True),
    ],
)
def test_what_is_the_same(
    on_path: Run, one: Callable[[], Message], other: Callable[[], Message], same: bool
) -> None:
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: PERMANENT
        first = await path.answer_to(one())
        second = await path.answer_to(other())
        assert isinstance(first, Accepted | Refused)
        assert (first.id == second.id) is same

    on_path(test, models=MODELS)


def test_parts_of_one_message_may_share_its_reference(on_path: Run) -> None:
    def part(number: int) -> Message:
        sar = tlv.one(tlv.Tag.sar_msg_ref_num, 5) + tlv.one(tlv.Tag.sar_total_segments, 2)
        return a_draft(
            tlvs=tlv.one(tlv.Tag.user_message_reference, 7)
            + sar
            + tlv.one(tlv.Tag.sar_segment_seqnum, number)
        )

    async def test(path: Path) -> None:
        ids = [await path.submit(part(number)) for number in (1, 2, 1, 2)]
        assert ids[:2] == ids[2:]
        assert len(set(ids)) == 2

    on_path(test, models=MODELS)


def test_other_accounts_are_others(on_path: Run) -> None:
    async def test(path: Path) -> None:
        ids = [await path.submit(a_draft(), by=who) for who in ("shop", "once", "once", "shop")]
        assert len(set(ids)) == 3
        assert ids[0] == ids[3]

    on_path(test, models=MODELS)


def test_of_many_at_once_one_is_stored(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        drafts = [a_draft(text) for _ in range(20) for text in (b"one", b"two")]
        account, send = path.account("shop"), path.submission.send
        answers = await path.carried_out(asyncio.gather(*(send(draft, account, INGRESS) for draft in drafts)))
        assert all(isinstance(answer, Accepted) for answer in answers)
        assert len({answer.id for answer in answers}) == 2
        assert sorted(path.switch.bodies()) == [b"one", b"two"]

    on_stores(test, models=MODELS)


def test_whatever_speaks_against_it_later(on_path: Run) -> None:
    """Another life, to which memory says nothing: checks refuse, the store is full, and still the first is stored."""

    async def test(path: Path) -> None:
        first = await path.submit(a_draft())
        check = OneCheck()
        check.says = lambda message, stage: check.verdict(Action.REJECT, status=8)
        again = await path.next_life(models=MODELS, checks=[check])
        assert await again.answer_to(a_draft()) == Accepted(first)
        assert isinstance(await again.answer_to(a_draft(b"new")), Refused)
        third = await path.next_life(models=MODELS)
        third.store.trouble_with = lambda change: Answer.FULL if change.messages else None
        assert await third.answer_to(a_draft()) == Accepted(first)
        assert await third.answer_to(a_draft(b"newer")) == FULL

    on_path(test, models=MODELS)


def test_what_may_be_stored_is_not_looked_up_but_known_later(on_path: Run) -> None:
    async def test(path: Path) -> None:
        path.store.trouble_with = lambda change: Answer.UNKNOWN if change.messages else None
        path.store.stored_after_all = True
        unknown = await path.answer_to(a_draft())
        assert isinstance(unknown, Refused)
        assert unknown.unknown
        path.store.trouble_with = lambda change: None
        [stored] = [id for id, row in (await path.messages()).items() if not row["kind"]]
        assert await path.answer_to(a_draft()) == Accepted(stored)

    on_path(test, models=MODELS)


def test_what_was_not_stored_is_new(on_path: Run) -> None:
    async def test(path: Path) -> None:
        path.store.trouble_with = lambda change: Answer.FAILED if change.messages else None
        assert await path.answer_to(a_draft()) == FAILED
        path.store.trouble_with = lambda change: None
        await path.submit(a_draft())
        assert len(path.switch.handed) == 1

    on_path(test, models=MODELS)


def test_what_was_dropped_is_answered_as_any_other(on_path: Run) -> None:
    check = OneCheck()

    async def test(path: Path) -> None:
        check.says = lambda message, stage: check.verdict(Action.DROP)
        assert await path.submit(a_draft()) == await path.submit(a_draft())
        assert path.switch.handed == []

    on_path(test, models=MODELS, checks=[check])


def test_a_submit_multi_that_comes_again(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        def drafts(*to: str) -> list[Message]:
            return [a_draft(to=number) for number in to]

        some = ("+447700900001", "+4499", "+447700900002")
        first, answers = await answer_to_several(path, drafts(*some))
        again, repeated = await answer_to_several(path, drafts(*some))
        assert again == first
        assert [isinstance(one, Accepted) for one in answers] == [True, False, True]
        assert [isinstance(one, Accepted) for one in repeated] == [True, False, True]
        assert len(path.switch.handed) == 2
        other, _ = await answer_to_several(path, drafts(some[0]))
        assert other != first
        await path.step(MINUTE)
        later, _ = await answer_to_several(path, drafts(*some))
        assert later != first
        assert len(path.switch.handed) == 5

    on_stores(test, models=MODELS)
