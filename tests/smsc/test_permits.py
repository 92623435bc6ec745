"""Which addresses an account may use."""

from __future__ import annotations

from typing import Any

import pytest

from restante.access.accounts import Account, AccountModel
from restante.check import ACCEPT, Action, Stage
from restante.message import Address, Ingress, Message, Role
from restante.smsc.permits import AddressPermission
from restante.smsc.smpp.command_status import CommandStatus as Status


def own(number: str) -> bool:
    return number.startswith("+4477")


def judge(sender: str, recipient: str, **model: Any) -> Any:
    account = Account(1, AccountModel(system_id="a", **model), own_network=own)
    check = AddressPermission({1: account}.get)
    message = Message(Address(0, 0, ""), Address(0, 0, ""), account=1, sender=sender, recipient=recipient)
    return check.examine(message, Ingress("smpp", 1, account.role, "a"), Stage.SUBMIT)


def test_an_account_without_rules_may_send_from_and_to_anywhere():
    assert judge("@Shop", "+33612") is ACCEPT
    assert judge("12345", "54321") is ACCEPT


def test_its_numbers_are_its_senders():
    assert judge("12345", "+33612", numbers=("12345",)) is ACCEPT
    verdict = judge("@Bank", "+33612", numbers=("12345",))
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.REJECT,
        "source-not-allowed",
        Status.ESME_RINVSRCADR,
    )
    assert verdict.evidence == {"sender": "@Bank", "recipient": "+33612", "account": 1}
    assert verdict.public


def test_sources_and_destinations_as_they_are_listed():
    rules: dict[str, Any] = {"sources": ("@Shop", "+4420*"), "destinations": ("+44*",)}
    assert judge("@Shop", "+44775", **rules) is ACCEPT
    assert judge("+44201", "+44775", **rules) is ACCEPT
    assert judge("@Shopp", "+44775", **rules).reason == "source-not-allowed"
    verdict = judge("@Shop", "+33612", **rules)
    assert (verdict.reason, verdict.status) == ("destination-not-allowed", Status.ESME_RINVDSTADR)


def test_a_switch_speaks_for_its_own_network_only():
    assert judge("+447700", "+33612", role=Role.SWITCH) is ACCEPT
    assert judge("+33612", "+447700", role=Role.SWITCH).reason == "source-not-allowed"


def test_another_network_reaches_ours_and_not_itself():
    assert judge("+33612", "+447700", role=Role.INTERCONNECT) is ACCEPT
    assert judge("+33612", "+33613", role=Role.INTERCONNECT).reason == "destination-not-allowed"
    loops = judge("+33612", "+4477001", role=Role.INTERCONNECT, numbers=("+4477001*",))
    assert (loops.reason, loops.status) == ("loop", Status.ESME_RINVDSTADR)


def test_a_deleted_account_sends_nothing():
    message = Message(Address(0, 0, ""), Address(0, 0, ""), account=9)
    verdict = AddressPermission({}.get).examine(message, Ingress("smpp", 9, Role.ESME, "x"), Stage.SUBMIT)
    assert (verdict.action, verdict.reason) == (Action.REJECT, "account-gone")


def test_it_is_asked_at_submit_only():
    assert AddressPermission.stages == {Stage.SUBMIT}


@pytest.mark.parametrize("number", ["", "@"])
def test_nothing_is_no_permitted_sender(number):
    assert judge(number, "+33612", sources=("+44*",)).action is Action.REJECT
