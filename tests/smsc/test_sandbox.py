"""Numbers that behave as they say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from message_path import DAY, HOUR, MINUTE, SHOP, SWITCH, a_draft
from message_path import Path as MessagePath

from restante.access.accounts import Account, AccountModel
from restante.message import Address, Message, MessageState
from restante.outlet import Delivery, Outcome, Result
from restante.smsc.routing import RouteModel
from restante.smsc.sandbox import BEHAVIOURS, SandboxOutlet
from restante.smsc.submission import Refused

TESTER = AccountModel(system_id="tester", sandbox="on", destinations=("+4477*",))
ONLY = AccountModel(system_id="only", sandbox="only")
ROUTES = (RouteModel(name="all", prefix="+", account="msc1"),)


def into_sandbox(path: MessagePath) -> SandboxOutlet:
    outlet = SandboxOutlet(path.accounts.get)
    path.router._sandbox = outlet
    outlet.wake_with(path.delivery.outlet_ready)
    return outlet


def to(ending: str, middle: str = "0000001") -> str:
    return f"+999{middle}{ending}"


def test_the_documentation_has_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    rows = re.findall(r"^\| (\d\d) \| (.+) \| (.+) \|$", text, re.M)
    assert rows == [(one.ending, one.name, one.says) for one in BEHAVIOURS.values()]


@pytest.mark.parametrize("ending", [e for e, b in BEHAVIOURS.items() if not b.delay_s])
def test_each_number_does_as_the_table_says(on_path, ending: str) -> None:
    behaviour = BEHAVIOURS[ending]

    async def test(path: MessagePath) -> None:
        into_sandbox(path)
        id = await path.submit(a_draft(to=to(ending), expires_at=path.clock.now + DAY), by="tester")
        for _ in range(60):
            await path.step(HOUR // 2)
        attempts = [event for event in await path.events(id) if event.kind == "attempt"]
        ((state, reason),) = await path.finals(id)
        if behaviour.failures < 10:
            assert (state, reason) == (MessageState.DELIVERED, "")
            assert len(attempts) == behaviour.failures
        elif "expires" in behaviour.says:
            assert state is MessageState.EXPIRED
            assert len(attempts) > 3
        else:
            assert state is MessageState.UNDELIVERABLE
            assert len(attempts) == 1
        assert path.switch.handed == []

    on_path(test, models=(SHOP, SWITCH, TESTER), routes=ROUTES)


def test_other_accounts_never_reach_it(on_path) -> None:
    async def test(path: MessagePath) -> None:
        into_sandbox(path)
        await path.submit(to=to("40"))
        assert [one.message.recipient for one in path.switch.handed] == [to("40")]  # a number as any other

    on_path(test, models=(SHOP, SWITCH, TESTER), routes=ROUTES)


def test_who_may_send_there_only_sends_nowhere_else(on_path) -> None:
    async def test(path: MessagePath) -> None:
        into_sandbox(path)
        await path.submit(a_draft(to=to("00")), by="only")
        answer = await path.answer_to(a_draft(to="+447700900001"), by="only")
        assert isinstance(answer, Refused)
        assert answer.reason == "no-route"
        await path.submit(a_draft(to="+447700900001"), by="tester")
        assert len(path.switch.handed) == 1

    on_path(test, models=(SHOP, SWITCH, ONLY, TESTER), routes=ROUTES)


def test_an_account_that_was_switched_off_reaches_nothing_there(on_path) -> None:
    async def test(path: MessagePath) -> None:
        into_sandbox(path)
        id = await path.submit(a_draft(to=to("11"), expires_at=path.clock.now + DAY), by="tester")
        number = path.account("tester").number
        path.accounts[number] = Account(number, AccountModel(system_id="tester"))
        for _ in range(4):
            await path.step(30 * MINUTE)
        assert len(path.switch.handed) == 1  # now it is routed as any other
        assert await path.finals(id) == [(MessageState.DELIVERED, "")]

    on_path(test, models=(SHOP, SWITCH, TESTER), routes=ROUTES)


def test_destinations_of_an_account_need_not_name_the_sandbox() -> None:
    assert Account(1, TESTER).may_send_to(to("00"))
    assert not Account(1, AccountModel(system_id="x", destinations=("+4477*",))).may_send_to(to("00"))


def test_slow_ones_answer_later_and_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr("restante.smsc.sandbox._MOST", 2)
    outlet = SandboxOutlet({1: Account(1, TESTER)}.get)
    woken: list[object] = []
    outlet.wake_with(woken.append)
    got: list[Outcome] = []
    message = Message(Address(1, 1, "1"), Address(1, 1, "2"), account=1, recipient=to("01"))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(
            loop, "call_later", lambda seconds, what: later.append((seconds, what)), raising=False
        )
        taken = [outlet.hand(Delivery(message, 1, "sandbox"), got.append) for _ in range(3)]
        assert taken == [True, True, False]
        assert got == []
        for seconds, what in later:
            assert seconds == BEHAVIOURS["01"].delay_s
            what()

    asyncio.run(run())
    assert [one.result for one in got] == [Result.DELIVERED] * 2
    assert woken == [outlet]
