"""The intake: what is refused with which status and in which order, and what an accepted message looks like.

Long because every refusal and every field is a small story of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from message_path import (
    ABSENT,
    DAY,
    HOUR,
    PERMANENT,
    PHONE,
    SECOND,
    SHOP,
    SWITCH,
    OneCheck,
    Path,
    ScriptedBox,
    a_draft,
    failed,
)
from waiting import soon_true

from restante.access.accounts import AccountModel
from restante.check import Action
from restante.message import Address, Kind, Message, MessageState, Role
from restante.outlet import ErrorClass
from restante.smsc.permits import AddressPermission
from restante.smsc.smpp import tlv
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.submission import MAX_BODY, Accepted, Refused, default_source, estimate
from restante.store.store import Answer, QueueReason

BAD_SOURCE = Address(1, 1, "x")
BAD_DESTINATION = Address(1, 1, "")


async def refusal(path: Path, by: str = "shop", **fields: Any) -> tuple[int, str]:
    answer = await path.answer_to(a_draft(**fields), by)
    assert isinstance(answer, Refused), answer
    assert answer.public
    return answer.status, answer.reason


def draft_with(**fields: Any) -> Message:
    draft = a_draft()
    for name, value in fields.items():
        setattr(draft, name, value)
    return draft


# --- what an accepted message looks like ---------------------------------------------------------------------------


def test_an_accepted_message_is_complete_and_on_disk(on_path):
    async def test(path: Path) -> None:
        id = await path.submit(
            text=b"hi",
            priority_flag=2,
            tlvs=tlv.one(tlv.Tag.user_message_reference, 77),
            source=Address(1, 1, "447700900009"),
        )
        row = (await path.messages())[id]
        assert (row["account"], row["sender"], row["recipient"]) == (1, "+447700900009", PHONE)
        assert (row["source_addr_ton"], row["source_addr"]) == (1, "447700900009")
        assert (row["submitted_at"], row["schedule_at"], row["reference"]) == (path.clock.now, 0, 77)
        assert row["expires_at"] == path.clock.now + 2 * DAY
        assert '"door":"smpp"' in row["ingress"]
        assert path.switch.handed[0].message.body == b"hi"

    on_path(test)


def test_nothing_is_answered_or_sent_before_it_is_on_disk(on_path):
    async def test(path: Path) -> None:
        path.store.holding = True
        answers: list[object] = []
        path.submission.submit(a_draft(), path.account("shop"), path.ingress, answers.append)
        await path.settle()
        assert (answers, path.switch.handed) == ([], [])
        path.store.let_go()
        await path.settle()
        assert isinstance(answers[0], Accepted)
        assert len(path.switch.handed) == 1

    on_path(test)


def test_every_answer_of_a_batch_is_given_before_anything_is_delivered(on_path):
    async def test(path: Path) -> None:
        seen: list[int] = []
        path.switch.says = lambda attempt: seen.append(len(answers)) or PERMANENT
        answers: list[object] = []
        for number in range(5):
            draft = a_draft(to=f"+44770090000{number}", receipt=0)
            path.submission.submit(draft, path.account("shop"), path.ingress, answers.append)
        await path.settle()
        assert seen == [5] * 5

    on_path(test)


def test_a_draft_cannot_bring_what_is_ours(on_path):
    async def test(path: Path) -> None:
        answer = await path.answer_to(
            draft_with(id=5, kind=Kind.CODE, parent=9, account=3, owner=9, segments=0)
        )
        assert isinstance(answer, Accepted)
        row = (await path.messages())[answer.id]
        assert answer.id != 5
        assert (row["kind"], row["parent"], row["account"], row["segments"]) == (Kind.MESSAGE, 0, 1, 1)

    on_path(test)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_each_field_has_its_own_status(on_path):
    async def test(path: Path) -> None:
        now = path.clock.now
        faults: list[tuple[dict[str, Any], tuple[int, str]]] = [
            ({"text": b"x" * (MAX_BODY + 1)}, (Status.ESME_RINVMSGLEN, "message-too-long")),
            ({"priority_flag": 4}, (Status.ESME_RINVPRTFLG, "priority-out-of-range")),
            ({"destination": BAD_DESTINATION}, (Status.ESME_RINVDSTADR, "destination-unreadable")),
            ({"destination": Address(7, 0, "1")}, (Status.ESME_RINVDSTADR, "destination-unreadable")),
            ({"source": BAD_SOURCE}, (Status.ESME_RINVSRCADR, "source-unreadable")),
            ({"source": Address(5, 0, "Shop\0")}, (Status.ESME_RINVSRCADR, "source-unreadable")),
            ({"source": Address(0, 0, "")}, (Status.ESME_RINVSRCADR, "source-unreadable")),
            ({"expires_at": now - 1001}, (Status.ESME_RINVEXPIRY, "validity-in-the-past")),
            (
                {"schedule_at": now + HOUR, "expires_at": now + HOUR},
                (Status.ESME_RINVSCHED, "schedule-too-late"),
            ),
            ({"schedule_at": now + HOUR, "esm_class": 1}, (Status.ESME_RINVSCHED, "schedule-not-stored")),
            ({"schedule_at": now + HOUR, "esm_class": 2}, (Status.ESME_RINVSCHED, "schedule-not-stored")),
            ({"to": "+33612345678"}, (Status.ESME_RINVDSTADR, "no-route")),
        ]
        for fields, expected in faults:
            assert await refusal(path, **fields) == expected, fields
        assert await path.messages() == {}
        assert path.switch.handed == []

    on_path(test)


def test_the_order_of_refusals(on_path):
    """Each draft has every later fault too."""
    check = OneCheck()
    check.says = lambda message, stage: check.verdict(Action.REJECT, status=0x0A)

    async def test(path: Path) -> None:
        late = path.clock.now - HOUR
        path.store.trouble = "the disk is full"
        nowhere = Address(1, 1, "33612345678")
        faults: list[tuple[str, dict[str, Any]]] = [
            ("message-too-long", {"body": b"x" * (MAX_BODY + 1)}),
            ("priority-out-of-range", {"priority_flag": 9}),
            ("destination-unreadable", {"destination": BAD_DESTINATION}),
            ("source-unreadable", {"source": BAD_SOURCE}),
            ("validity-in-the-past", {"expires_at": late}),
            ("one-says", {}),
        ]
        for at, (expected, _) in enumerate(faults):
            fields = {"destination": nowhere}
            for _, more in reversed(faults[at:]):
                fields |= more
            answer = await path.answer_to(draft_with(**fields))
            assert isinstance(answer, Refused)
            assert answer.reason == expected
        check.says = lambda message, stage: check.verdict(Action.FLAG)
        assert await refusal(path, to="+33612345678") == (Status.ESME_RINVDSTADR, "no-route")
        assert await refusal(path) == (Status.ESME_RMSGQFUL, "store-full")

    on_path(test, checks=[check])


def test_a_suspended_account_comes_first(on_path):
    async def test(path: Path) -> None:
        assert await refusal(path, text=b"x" * (MAX_BODY + 1)) == (
            Status.ESME_RSUBMITFAIL,
            "account-suspended",
        )

    on_path(test, models=[SHOP.model_copy(update={"suspended": True}), SWITCH])


def test_permissions_are_a_check_like_any_other(on_path):
    accounts: dict[int, Any] = {}

    async def test(path: Path) -> None:
        accounts.update(path.accounts)
        assert await refusal(path, by="bank") == (Status.ESME_RINVSRCADR, "source-not-allowed")
        (id,) = await path.messages()
        assert await path.finals(id) == [(MessageState.REJECTED, "source-not-allowed")]
        assert await path.submit(by="bank", source=Address(0, 1, "12345"))

    on_path(test, checks=[AddressPermission(accounts.get)])


def test_unroutable_numbers_are_refused_if_the_center_is_set_so(on_path):
    async def test(path: Path) -> None:
        assert await path.submit(to="+33612345678")

    on_path(test, refuse_unroutable=False)


@pytest.mark.parametrize(
    ("answer", "status", "unknown"),
    [
        (Answer.FULL, Status.ESME_RMSGQFUL, False),
        (Answer.FAILED, Status.ESME_RSYSERR, False),
        (Answer.CONFLICT, Status.ESME_RSYSERR, False),
        (Answer.UNKNOWN, Status.ESME_RSYSERR, True),
    ],
)
def test_what_the_store_does_not_take_is_not_accepted(on_path, answer, status, unknown):
    async def test(path: Path) -> None:
        path.store.trouble_with = lambda change: answer
        said = await path.answer_to(a_draft())
        assert isinstance(said, Refused)
        assert (said.status, said.unknown) == (status, unknown)
        assert path.switch.handed == []

    on_path(test)


def test_a_store_that_accepts_nothing_is_not_asked(on_path):
    async def test(path: Path) -> None:
        path.store.trouble = "the disk is full"
        answer = await path.answer_to(a_draft())
        assert isinstance(answer, Refused)
        assert (answer.status, answer.retry_after_ms) == (Status.ESME_RMSGQFUL, 5000)
        path.store.trouble = ""
        await path.submit()

    on_path(test)


def test_a_closed_store_answers_that_the_center_stops(on_path):
    async def test(path: Path) -> None:
        path.store._writer.close("closing")
        path.store.health = lambda: type("Health", (), {"accepting": True})()
        assert await refusal(path) == (Status.ESME_RSYSERR, "closing")

    on_path(test)


# --- rates ---------------------------------------------------------------------------------------------------------


def test_too_much_is_throttled_and_says_when_to_come_again(on_path):
    async def test(path: Path) -> None:
        for _ in range(3):
            await path.submit()
        answer = await path.answer_to(a_draft())
        assert isinstance(answer, Refused)
        assert (answer.status, answer.reason) == (Status.ESME_RTHROTTLED, "throttled")
        assert 400 <= answer.retry_after_ms <= 501
        await path.step(answer.retry_after_ms)
        await path.submit()

    on_path(test, models=[AccountModel(system_id="shop", throughput=2, burst=3), SWITCH])


def test_a_message_that_has_begun_may_be_finished(on_path):
    async def test(path: Path) -> None:
        part: dict[str, Any] = {"esm_class": 0x40, "receipt": 0}
        for number in range(1, 6):
            await path.submit(text=b"\x05\x00\x03\x07\x05" + bytes([number]) + b"text", **part)
        assert (await refusal(path))[0] == Status.ESME_RTHROTTLED
        assert (await refusal(path, text=b"\x05\x00\x03\x08\x02\x01text", **part))[
            0
        ] == Status.ESME_RTHROTTLED

    on_path(test, models=[AccountModel(system_id="shop", throughput=1, burst=1), SWITCH])


# --- times ---------------------------------------------------------------------------------------------------------


def test_validity_default_and_ceiling(on_path):
    async def test(path: Path) -> None:
        now = path.clock.now

        async def end(**fields: Any) -> int:
            id = await path.submit(**fields)
            return (await path.messages())[id]["expires_at"] - now

        assert await end() == HOUR
        assert await end(expires_at=now + 60 * SECOND) == 60 * SECOND
        assert await end(expires_at=now + 30 * DAY) == 2 * HOUR
        assert await end(schedule_at=now + DAY) == DAY + HOUR
        assert await end(schedule_at=now + DAY, expires_at=now + 30 * DAY) == DAY + 2 * HOUR
        assert await end(expires_at=now) == 0
        assert await end(expires_at=now - 900) == 0, "a door reads the clock a moment before"

    shop = AccountModel(system_id="shop", validity_default_s=3600, validity_ceiling_s=7200)
    on_path(test, models=[shop, SWITCH])


def test_a_schedule_waits_and_the_past_is_now(on_path):
    async def test(path: Path) -> None:
        later = await path.submit(text=b"later", schedule_at=path.clock.now + HOUR)
        await path.submit(text=b"now", schedule_at=path.clock.now - HOUR)
        row = (await path.queue())[later]
        assert (row["reason"], row["owner"], row["due_at"]) == (
            QueueReason.SCHEDULED, 0, path.clock.now + HOUR,
        )  # fmt: skip
        assert path.switch.bodies() == [b"now"]
        await path.step(HOUR - 1)
        assert path.switch.bodies() == [b"now"]
        await path.step(1)
        assert path.switch.bodies() == [b"now", b"later"]

    on_path(test)


# --- addresses and priority ----------------------------------------------------------------------------------------


def test_an_account_with_one_number_need_not_say_it(on_path):
    async def test(path: Path) -> None:
        id = await path.submit(source=Address(0, 0, ""))
        row = (await path.messages())[id]
        assert (row["source_addr"], row["sender"]) == ("12345", "12345")

    on_path(test, models=[AccountModel(system_id="shop", numbers=("12345",)), SWITCH])


@pytest.mark.parametrize(
    ("numbers", "digits"), [(("12345",), "12345"), (("+447700900123",), "447700900123"), (("@Shop",), "Shop"),
                            ((), None), (("12345", "2"), None), (("+4477*",), None)],
)  # fmt: skip
def test_which_source_is_the_default(on_path, numbers, digits):
    async def test(path: Path) -> None:
        found = default_source(path.account("shop"))
        assert (found.digits if found else None) == digits

    on_path(test, models=[AccountModel(system_id="shop", numbers=numbers), SWITCH])


def test_priority_is_lowered_to_the_ceiling(on_path):
    async def test(path: Path) -> None:
        ids = [await path.submit(priority_flag=p, receipt=0) for p in range(4)]
        rows = await path.messages()
        assert [rows[id]["priority_flag"] for id in ids] == [0, 1, 1, 1]

    on_path(test, models=[AccountModel(system_id="shop", priority_ceiling=1), SWITCH])


def test_numbers_are_read_by_the_accounts_rules(on_path):
    async def test(path: Path) -> None:
        draft = a_draft()
        draft.destination = Address(0, 0, "07700900001")
        answer = await path.answer_to(draft)
        assert isinstance(answer, Accepted)
        row = (await path.messages())[answer.id]
        assert (row["recipient"], row["destination_addr"]) == (PHONE, "07700900001")

    shop = AccountModel.model_validate({"system_id": "shop", "number_rules": {"country_code": "44"}})
    on_path(test, models=[shop, SWITCH])


# --- transaction mode ----------------------------------------------------------------------------------------------


def test_transaction_mode_answers_with_the_outcome(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        answers: list[Any] = []
        draft = a_draft(esm_class=2)
        path.submission.submit(draft, path.account("shop"), path.ingress, answers.append)
        await path.settle()
        assert answers == [], "stored, but not answered yet"
        path.switch.answer()
        await path.settle()
        assert answers == [Accepted(draft.id)]

    on_path(test)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (ABSENT, 0),
        (PERMANENT, 2),
        (failed(ErrorClass.TIMEOUT), 3),
        (failed(ErrorClass.BUSY, network_error=b"\x03\x00\x1f"), 0),
    ],
)
def test_transaction_mode_carries_the_failure(on_path, outcome, reason):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: outcome
        draft = a_draft(esm_class=2)
        answer = await path.answer_to(draft)
        assert isinstance(answer, Refused)
        assert (answer.status, answer.id) == (Status.ESME_RDELIVERYFAILURE, draft.id)
        assert (answer.failure_reason, answer.network_error) == (reason, outcome.network_error)
        assert await path.boxed() == []
        assert len(await path.finals(draft.id)) == 1

    on_path(test, box=ScriptedBox())


def test_transaction_mode_waits_only_so_long(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        answers: list[Any] = []
        draft = a_draft(esm_class=2)
        path.submission.submit(draft, path.account("shop"), path.ingress, answers.append)
        await soon_true(lambda: answers)
        assert answers == [Accepted(draft.id)]
        path.switch.answer(PERMANENT)
        await path.settle()
        assert len(answers) == 1
        assert len(path.receipt_texts()) == 1

    on_path(test, transaction_wait_s=0.05)


def test_store_and_forward_by_number_is_answered_at_once(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        await path.submit(esm_class=3)

    on_path(test)


# --- the center's own messages -------------------------------------------------------------------------------------


async def own(path: Path, *args: Any, **more: Any) -> int:
    task = asyncio.ensure_future(path.submission.send_system(*args, **more))
    await path.settle()
    return await task


def test_the_centers_own_messages_pass_no_checks_and_leave_no_receipt(on_path):
    check = OneCheck()
    check.says = lambda message, stage: check.verdict(Action.REJECT)

    async def test(path: Path) -> None:
        id = await own(path, Kind.NOTICE, PHONE, "You have 1 message")
        await path.settle()
        row = (await path.messages())[id]
        assert (row["kind"], row["account"], row["sender"], row["recipient"]) == (
            Kind.NOTICE, 0, "@Restante", PHONE,
        )  # fmt: skip
        assert (row["source_addr_ton"], row["source_addr"]) == (5, "Restante")
        assert path.switch.bodies() == [b"You have 1 message"]
        assert check.asked == []
        assert path.shop.handed == []

    on_path(test, checks=[check])


def test_a_code_overtakes_what_waits(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        for text in (b"1", b"2"):
            await path.submit(text=text, priority_flag=2)
        await own(path, Kind.NOTICE, PHONE, "notice")
        await own(path, Kind.CODE, PHONE, "123456", sender="12345", validity_ms=60_000)
        path.switch.says = lambda attempt: PERMANENT
        path.switch.answer()
        await path.settle()
        assert path.switch.bodies() == [b"1", b"123456", b"2", b"notice"]

    on_path(test)


def test_the_centers_own_messages_are_never_deposited(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await own(path, Kind.NOTICE, PHONE, "notice", validity_ms=60_000)
        await path.step(60_000)
        assert await path.boxed() == []
        assert await path.finals(id) == [(MessageState.EXPIRED, "expired")]

    on_path(test, box=ScriptedBox())


def test_a_store_that_does_not_take_a_notice_says_so(on_path):
    async def test(path: Path) -> None:
        path.store.trouble_with = lambda change: Answer.FULL
        with pytest.raises(OSError, match="full"):
            await own(path, Kind.NOTICE, PHONE, "notice")

    on_path(test)


def test_a_door_that_waits(on_path):
    async def test(path: Path) -> None:
        task = asyncio.ensure_future(path.submission.send(a_draft(), path.account("shop"), path.ingress))
        gone = asyncio.ensure_future(path.submission.send(a_draft(), path.account("shop"), path.ingress))
        await asyncio.sleep(0)
        gone.cancel()
        await path.settle()
        assert isinstance(await task, Accepted)
        assert len(path.switch.handed) == 2, "whoever went away is not asked, and the message is stored"

    on_path(test)


def test_an_estimate_sends_nothing(on_path):
    async def test(path: Path) -> None:
        assert estimate("hello").parts == 1
        assert estimate("é€" * 80, path.account("shop")).parts > 1
        assert await path.messages() == {}

    on_path(test)


def test_a_message_for_a_role_that_is_not_a_switch_is_windowed(on_path):
    async def test(path: Path) -> None:
        assert path.switch.handset
        assert not path.outlets["bank"].handset
        assert path.account("msc1").role is Role.SWITCH

    on_path(test)
