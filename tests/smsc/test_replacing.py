"""replace_if_present_flag: whose place a new message takes, and that it does so at once; on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from message_path import ABSENT, DELIVERED, HOUR, INGRESS, PHONE, Path, a_draft

from restante.message import Address, Message, MessageState
from restante.smsc.answers import FAILED, Accepted, Refused
from restante.smsc.smpp import tlv
from restante.store.store import Answer, Change

Run = Callable[..., None]

DELETED = (MessageState.DELETED, "replaced")


def begin(path: Path, draft: Message, by: str = "shop") -> asyncio.Future[Accepted | Refused]:
    """Submit with the flag; the answer comes into the future."""
    answered: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()
    path.submission.submit(draft, path.account(by), INGRESS, answered.set_result, replace=True)
    return answered


async def replacing(path: Path, text: bytes = b"new", by: str = "shop", **fields: Any) -> int:
    """Submit with the flag; the new id."""
    answer = await path.carried_out(begin(path, a_draft(text, **fields), by))
    assert isinstance(answer, Accepted), answer
    return answer.id


async def waits(path: Path) -> list[int]:
    rows = await path.messages()
    return sorted(id for id in await path.queue() if not rows[id]["kind"])


@pytest.mark.parametrize("where", ["behind a silent handset", "scheduled", "retried"])
def test_the_old_one_ends_and_the_new_one_is_there(on_stores: Run, where: str) -> None:
    async def test(path: Path) -> None:
        later = path.clock.now + HOUR if where == "scheduled" else 0
        if where == "retried":
            path.switch.says = lambda attempt: ABSENT
        else:
            path.switch.up = False
        old = await path.submit(a_draft(b"old", schedule_at=later))
        new = await replacing(path, schedule_at=later)
        assert await path.finals(old) == [DELETED]
        assert await waits(path) == [new]
        assert [
            text for text in path.receipt_texts() if f"id:{old} " in text and "stat:DELETED err:012" in text
        ]
        [final] = [event for event in await path.events(old) if event.kind == "final"]
        assert json.loads(final.detail)["replaced_by"] == str(new)
        path.switch.up, path.switch.says = True, lambda attempt: DELIVERED
        path.switch.wake()
        await path.step(HOUR)
        assert path.switch.bodies()[-1] == b"new"
        assert await path.finals(new) == [(MessageState.DELIVERED, "")]

    on_stores(test)


@pytest.mark.parametrize(
    "other",
    [
        {"service_type": "VMN"},
        {"source": Address(5, 0, "Shops")},
        {"source": Address(5, 1, "Shop")},
        {"to": "+447700900002"},
        {"by": "eager"},
        {"tlvs": tlv.one(tlv.Tag.sar_msg_ref_num, 1) + tlv.one(tlv.Tag.sar_total_segments, 2)
         + tlv.one(tlv.Tag.sar_segment_seqnum, 1)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("who_is_other", ["old", "new"])
def test_others_stay(on_path: Run, other: dict[str, Any], who_is_other: str) -> None:
    async def test(path: Path) -> None:
        path.switch.up = False
        fields = dict(other)
        by = fields.pop("by", "shop")
        if who_is_other == "old":
            old = await path.submit(a_draft(b"old", **fields), by=by)
            new = await replacing(path)
        else:
            old = await path.submit(a_draft(b"old"))
            new = await replacing(path, by=by, **fields)
        assert await waits(path) == [old, new]

    on_path(test)


def test_without_the_flag_nothing_is_replaced(on_path: Run) -> None:
    async def test(path: Path) -> None:
        path.switch.up = False
        ids = [await path.submit(a_draft()) for _ in range(2)]
        assert await waits(path) == ids

    on_path(test)


def test_the_newest_that_is_not_under_way(on_path: Run) -> None:
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        under_way, second, third = [await path.submit(a_draft(text)) for text in (b"1", b"2", b"3")]
        new = await replacing(path)
        assert await waits(path) == [under_way, second, new]
        assert await path.finals(third) == [DELETED]
        newest = await replacing(path)
        assert await waits(path) == [under_way, second, newest]
        path.switch.says = lambda attempt: DELIVERED
        path.switch.answer()
        await path.settle()
        assert path.switch.bodies() == [b"1", b"2", b"new"]

    on_path(test)


def test_of_many_in_a_row_the_last_one_remains(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        path.switch.up = False
        answers = [begin(path, a_draft(b"%d" % number)) for number in range(20)]
        elsewhere = [begin(path, a_draft(b"%d" % number, to="+447700900002")) for number in range(20)]
        said = await path.carried_out(asyncio.gather(*answers, *elsewhere))
        ids = [one.id for one in said if isinstance(one, Accepted)]
        assert len(ids) == 40
        assert await waits(path) == sorted([ids[19], ids[39]])
        assert sum("stat:DELETED" in text for text in path.receipt_texts()) == 38
        path.switch.up = True
        path.switch.wake()
        await path.settle()
        assert path.switch.bodies() == [b"19", b"19"]

    on_stores(test)


@pytest.mark.parametrize("times", [1, 5])
def test_who_changes_hands_meanwhile(on_path: Run, times: int) -> None:
    """It is looked for again; if that does not help, the new one is stored beside it."""

    async def test(path: Path) -> None:
        path.switch.up = False
        old = await path.submit(a_draft(b"old"))
        left = times

        def trouble(change: Change) -> Answer | None:
            nonlocal left
            if not change.writes or not change.messages or not left:
                return None
            left -= 1
            return Answer.CONFLICT

        path.store.trouble_with = trouble
        new = await replacing(path)
        assert await waits(path) == ([new] if times == 1 else [old, new])
        assert await path.finals(old) == ([DELETED] if times == 1 else [])
        path.store.trouble_with = lambda change: None
        path.switch.up = True
        path.switch.wake()
        await path.settle()
        assert path.switch.bodies() == ([b"new"] if times == 1 else [b"old", b"new"])

    on_path(test)


@pytest.mark.parametrize("answer", [Answer.FAILED, Answer.FULL, Answer.UNKNOWN])
@pytest.mark.parametrize("stored", [False, True])
def test_both_or_neither(on_path: Run, answer: Answer, stored: bool) -> None:
    """Whatever the store says, after the next start there is one of them."""

    async def test(path: Path) -> None:
        path.switch.up = False
        await path.submit(a_draft(b"old"))
        path.store.trouble_with = lambda change: answer if change.messages else None
        path.store.stored_after_all = stored
        said = await path.carried_out(begin(path, a_draft(b"new")))
        assert isinstance(said, Refused)
        assert said.unknown == (answer is Answer.UNKNOWN)
        assert (said == FAILED) == (answer is Answer.FAILED)
        path.store.trouble_with = lambda change: None
        path.switch.up = True
        again = await path.next_life()
        again.switch.wake()
        await again.settle()
        happened = stored and answer is Answer.UNKNOWN
        assert again.switch.bodies() == ([b"new"] if happened else [b"old"])

    on_path(test)


@pytest.mark.parametrize("conflicts", [0, 1])
def test_submit_multi(on_path: Run, conflicts: int) -> None:
    async def test(path: Path) -> None:
        path.switch.up = False
        numbers = [PHONE, "+447700900002", "+447700900003", PHONE]
        old = [await path.submit(a_draft(to=number)) for number in numbers[:2]]
        left = conflicts

        def trouble(change: Change) -> Answer | None:
            nonlocal left
            left, now = max(left - 1, 0), left
            return Answer.CONFLICT if now and change.messages else None

        path.store.trouble_with = trouble
        answered: asyncio.Future[list[Accepted | Refused]] = asyncio.get_running_loop().create_future()
        drafts = [a_draft(b"new", to=number) for number in numbers]
        path.submission.submit_many(
            drafts, path.account("shop"), INGRESS, lambda _, said: answered.set_result(said), replace=True
        )
        said = await path.carried_out(answered)
        ids = [answer.id for answer in said if isinstance(answer, Accepted)]
        assert len(ids) == 4
        assert await waits(path) == sorted(ids if not conflicts else ids + old)
        assert [await path.finals(id) for id in old] == [[] if conflicts else [DELETED]] * 2
        path.switch.up = True
        path.switch.wake()
        await path.settle()
        assert len(path.switch.handed) == (6 if conflicts else 4)

    on_path(test)
