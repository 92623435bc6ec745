"""Who is obeyed by the center itself, what is read in a message to it, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from restante.access.accounts import Account, AccountModel
from restante.check import ACCEPT, Action, Stage
from restante.message import Address, Ingress, Kind, Message, Role
from restante.outlet import Delivery, ErrorClass, Outcome, Result
from restante.smsc.keywords import KeywordOutlet, KeywordPermission, KeywordSettings, own_numbers
from restante.smsc.smpp.command_status import CommandStatus as Status

CENTER = "12345"
PHONE = "+447700900001"
MODELS: dict[int, dict[str, Any]] = {
    1: {"role": "switch"},
    2: {},
    3: {"trusted_keywords": True},
    4: {"role": "interconnect"},
    5: {"role": "switch", "suspended": True},
}
ACCOUNTS = {n: Account(n, AccountModel(system_id=f"a{n}", **fields)) for n, fields in MODELS.items()}


def message(text: str = "YES", account: int = 1, **fields: Any) -> Message:
    role = fields.pop("role", ACCOUNTS[account].role)
    facts: dict[str, Any] = {
        "id": 7,
        "account": account,
        "sender": PHONE,
        "recipient": CENTER,
        "body": text.encode("latin-1"),
        "data_coding": 3,
        "ingress": Ingress("smpp", account, role, "a").encoded,
    }
    return Message(Address(1, 1, PHONE[1:]), Address(0, 1, CENTER), **(facts | fields))


class Center:
    """An outlet with one word, and what it did."""

    def __init__(self, **settings: Any) -> None:
        self.done: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str, str]] = []
        self.spoofed = False
        self.fails = False
        self.now = 0
        self.outlet = KeywordOutlet(
            KeywordSettings(**settings),
            CENTER,
            accounts=ACCOUNTS.get,
            send=self.send,
            is_spoofed=self.judged,
            monotonic_ns=lambda: self.now,
        )
        self.outlet.obey("YES", self.yes)

    async def send(self, to: str, text: str, sender: str) -> int:
        self.sent.append((to, text, sender))
        return 1

    async def judged(self, id: int) -> bool:
        return self.spoofed

    async def yes(self, number: str, argument: str) -> str:
        if self.fails:
            raise OSError("the database is away")
        self.done.append((number, argument))
        return "done"

    def hear(self, *messages: Message) -> list[Outcome]:
        """Hand them over, one after the other."""
        outcomes: list[Outcome] = []

        async def main() -> None:
            for one in messages:
                before = len(outcomes)
                assert self.outlet.hand(Delivery(one, 1, "center"), outcomes.append)
                while len(outcomes) == before:
                    await asyncio.sleep(0)

        asyncio.run(main())
        return outcomes


@pytest.mark.parametrize("account", [1, 3])
def test_a_trusted_way_is_obeyed_and_answered_once(account: int) -> None:
    center = Center()
    [outcome] = center.hear(message(account=account))
    assert outcome.result is Result.DELIVERED
    assert center.done == [(PHONE, "")]
    assert center.sent == [(PHONE, "done", CENTER)]


def test_a_switch_front_is_trusted_whatever_its_account_is() -> None:
    center = Center()
    center.hear(message(account=2, role=Role.SWITCH))
    assert center.done


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"account": 2}, "keyword-from-untrusted"),
        ({"account": 4}, "keyword-from-untrusted"),
        ({"account": 5}, "keyword-from-untrusted"),
        ({"ingress": Ingress("smpp", 1, Role.SWITCH, "a").encoded, "account": 2}, "keyword-from-untrusted"),
        ({"sender": "@Shop"}, "keyword-without-number"),
        ({"sender": "54321"}, "keyword-without-number"),
        ({"sender": CENTER}, "keyword-from-center"),
        ({"kind": Kind.NOTICE}, "keyword-from-center"),
    ],
)
def test_nobody_else_is_obeyed_or_answered(fields: dict[str, Any], reason: str) -> None:
    center = Center()
    [outcome] = center.hear(message(**fields))
    assert (outcome.result, outcome.error, outcome.reason) == (Result.FAILED, ErrorClass.POLICY, reason)
    assert (center.done, center.sent) == ([], [])


def test_a_spoofed_sender_is_not_obeyed() -> None:
    center = Center()
    center.spoofed = True
    [outcome] = center.hear(message())
    assert outcome.reason == "keyword-spoofed"
    assert (center.done, center.sent) == ([], [])


@pytest.mark.parametrize(
    ("fields", "done"),
    [
        ({"text": " yes "}, ""),
        ({"text": "Yes!"}, ""),
        ({"text": "¡YES, please 3"}, "please 3"),
        ({"text": "YES3"}, "3"),
        ({"text": "ja"}, ""),
        ({"body": "YES".encode("utf-16-be"), "data_coding": 8}, ""),
        ({"body": b"YES", "data_coding": 0}, ""),
    ],
)
def test_how_a_word_may_be_written(fields: dict[str, Any], done: str) -> None:
    center = Center(words={"JA": "YES"})
    center.hear(message(**fields))
    assert center.done == [(PHONE, done)]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": ""},
        {"text": "no"},
        {"text": "YESTERDAY"},
        {"text": "4"},
        {"text": "YES", "part_total": 2, "part_number": 1},
        {"body": b"\x00\x01\x02", "data_coding": 4},
    ],
)
def test_anything_else_is_answered_with_help(fields: dict[str, Any]) -> None:
    center = Center(help="Say YES.")
    [outcome] = center.hear(message(**fields))
    assert outcome.result is Result.DELIVERED
    assert center.done == []
    assert center.sent == [(PHONE, "Say YES.", CENTER)]


def test_a_number_is_obeyed_so_often_a_minute_and_others_do_not_suffer() -> None:
    center = Center(per_minute=3)
    outcomes = center.hear(*(message() for _ in range(5)), message(sender="+447700900002"))
    assert [outcome.reason for outcome in outcomes] == ["", "", "", *["too-many-keywords"] * 2, ""]
    assert len(center.sent) == 4
    center.now += 20_000_000_000
    assert center.hear(message())[0].result is Result.DELIVERED


def test_what_cannot_be_done_now_is_tried_again() -> None:
    center = Center()
    center.fails = True
    [outcome] = center.hear(message())
    assert (outcome.result, outcome.error) == (Result.FAILED, ErrorClass.SYSTEM)
    assert center.sent == []


@pytest.mark.parametrize(("account", "refused"), [(1, False), (2, True), (3, False), (4, True), (5, True)])
def test_the_intake_refuses_who_is_not_trusted_as_a_forged_sender(account: int, refused: bool) -> None:
    check = KeywordPermission(frozenset({CENTER}), ACCOUNTS.get)
    ingress = Ingress("smpp", account, ACCOUNTS[account].role, "a")
    verdict = check.examine(message(account=account), ingress, Stage.SUBMIT)
    if refused:
        assert (verdict.action, verdict.status) == (Action.REJECT, Status.ESME_RINVSRCADR)
        assert verdict.public == "source address not allowed"
    else:
        assert verdict is ACCEPT
    other = message(account=account, recipient="54321")
    assert check.examine(other, ingress, Stage.SUBMIT) is ACCEPT


def test_a_name_cannot_be_written_to() -> None:
    assert own_numbers("@Restante", KeywordSettings()) == frozenset()
    assert own_numbers("12345", KeywordSettings(numbers=("+447700900000",))) == {"12345", "+447700900000"}


def test_words_of_one_number_are_carried_out_in_order() -> None:
    center = Center()

    async def slow(number: str, argument: str) -> str:
        for _ in range(20 if argument == "1" else 0):
            await asyncio.sleep(0)
        center.done.append((number, argument))
        return "done"

    center.outlet.obey("YES", slow)

    async def main() -> None:
        outcomes: list[Outcome] = []
        for one in (message("YES 1"), message("YES 2"), message("YES 3", sender="+447700900002")):
            assert center.outlet.hand(Delivery(one, 1, "center"), outcomes.append)
        while len(outcomes) < 3:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert center.done == [("+447700900002", "3"), (PHONE, "1"), (PHONE, "2")]
