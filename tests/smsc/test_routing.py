"""Where a message may go."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_path import PHONE, Ranges, ScriptedBox, ScriptedOutlet
from pydantic import ValidationError

from restante.access.accounts import Account, AccountModel, owner_table
from restante.message import Address, Kind, Message, Role
from restante.smsc.routing import Route, RouteModel, Router, TargetKind

MODELS = (
    AccountModel(system_id="shop"),
    AccountModel(system_id="bank", numbers=("12345", "+442*")),
    AccountModel(system_id="one", role=Role.SWITCH),
    AccountModel(system_id="two", role=Role.SWITCH),
    AccountModel(system_id="three", role=Role.SWITCH),
    AccountModel(system_id="carrier", role=Role.INTERCONNECT, numbers=("+49*",)),
)
ACCOUNTS = {number: Account(number, model) for number, model in enumerate(MODELS, 1)}
BY_NAME = {account.system_id: account for account in ACCOUNTS.values()}
OUTLETS = {number: ScriptedOutlet(account.system_id) for number, account in ACCOUNTS.items()}


def router(*routes: RouteModel, box: bool = True, own: tuple[str, ...] = ("+4477",), seed: int = 1) -> Router:
    made = Router(
        owner_of=owner_table(ACCOUNTS.values()).find,
        account=BY_NAME.get,
        account_by_number=ACCOUNTS.get,
        outlet_of=OUTLETS.__getitem__,
        mailbox=ScriptedBox() if box else None,
        own=Ranges(own),
        random=random.Random(seed).random,
    )
    made.use(Route(number, model) for number, model in enumerate(routes, 1))
    return made


def to(recipient: str, by: str = "shop", **fields: Any) -> Message:
    return Message(
        Address(0, 0, ""), Address(0, 0, ""), account=BY_NAME[by].number, recipient=recipient, **fields
    )


def names(found: Router, message: Message) -> list[str]:
    leads = found.leads(message)
    assert found.reaches(message) == bool(leads)
    return [lead.outlet.name for lead in leads]


NAMES = itertools.count()


def route(account: str = "", prefix: str = "", **fields: Any) -> RouteModel:
    return RouteModel(name=f"r{next(NAMES)}", account=account, prefix=prefix, **fields)


def test_a_longer_prefix_goes_before_a_shorter_one():
    found = router(route("one", "+44"), route("two", "+4477009"), route("three", ""))
    assert names(found, to(PHONE)) == ["two", "one", "three"]
    assert names(found, to("+4415")) == ["one", "three"]
    assert names(found, to("+1555")) == ["three"]
    assert names(found, to("+447")) == ["one", "three"], "a prefix longer than the number does not fit"


def test_an_empty_prefix_is_every_e164_number_and_nothing_else():
    found = router(route("one", ""), route("two", "9"))
    assert names(found, to("+33612")) == ["one"]
    assert names(found, to("911")) == ["two"]
    assert names(found, to("@Shop")) == []


def test_priority_orders_equal_prefixes():
    found = router(
        route("one", "+4477", priority=20),
        route("two", "+4477", priority=10),
        route("three", "+4477", priority=30),
    )
    assert names(found, to(PHONE)) == ["two", "one", "three"]


def test_weight_shares_equal_priority():
    found = router(
        route("one", "+4477", weight=7), route("two", "+4477", weight=2), route("three", "+4477", weight=1)
    )
    firsts = Counter(names(found, to(PHONE))[0] for _ in range(10_000))
    assert abs(firsts["one"] - 7000) < 200
    assert abs(firsts["two"] - 2000) < 200
    assert abs(firsts["three"] - 1000) < 200
    assert all(sorted(names(found, to(PHONE))) == ["one", "three", "two"] for _ in range(100))


def test_a_route_may_be_for_one_submitter():
    found = router(route("one", "+4477", submitter="bank", priority=1), route("two", "+4477"))
    assert names(found, to(PHONE)) == ["two"]
    assert names(found, to(PHONE, by="bank")) == ["one", "two"]


def test_disabled_routes_and_missing_accounts_are_passed_over():
    found = router(route("one", "+4477", enabled=False), route("nobody", "+4477"), route("two", "+44"))
    assert names(found, to(PHONE)) == ["two"]


def test_the_owner_of_a_number_comes_first_and_once():
    found = router(route("bank", "+44"), route("one", "+44", priority=200))
    assert names(found, to("+442012345678")) == ["bank", "one"]
    assert names(found, to("12345")) == ["bank"]


def test_no_place_is_tried_twice():
    found = router(route("one", "+4477"), route("one", "+44"), route("two", "+44", priority=900))
    assert names(found, to(PHONE)) == ["one", "two"]


def test_a_subscriber_without_a_route_goes_to_the_mailbox():
    assert names(router(), to(PHONE)) == ["mailbox"]
    assert names(router(), to("+33612")) == []
    assert names(router(box=False), to(PHONE)) == []
    assert names(router(route("one", "+44")), to(PHONE)) == ["one"]


def test_a_route_may_lead_to_the_mailbox_or_refuse():
    mailbox = route(prefix="+4477", target=TargetKind.MAILBOX)
    reject = route(prefix="+4477", target=TargetKind.REJECT)
    assert names(router(mailbox, route("one", "+44")), to(PHONE)) == ["mailbox"]
    assert names(router(reject, route("one", "+44")), to(PHONE)) == []
    assert names(router(route("two", "+447700"), reject), to(PHONE)) == ["two"]
    assert names(router(mailbox, box=False), to(PHONE)) == []


def test_nothing_goes_back_to_the_network_it_came_from():
    found = router(route("carrier", "+4"), route("one", "+4", priority=200))
    assert names(found, to("+4915", by="carrier")) == ["one"]
    assert names(found, to("+4915")) == ["carrier", "one"]
    assert names(router(route("one", "+44")), to(PHONE, by="one")) == ["one"], (
        "phones of one switch may write"
    )


def test_a_receipt_goes_to_its_account_and_nowhere_else():
    found = router(route("one", ""))
    assert names(found, to("=1", kind=Kind.RECEIPT)) == ["shop"]
    assert found.leads(Message(Address(0, 0, ""), Address(0, 0, ""), kind=Kind.RECEIPT, account=99)) == []


@pytest.mark.parametrize("kind", [Kind.NOTICE, Kind.CODE, Kind.ANSWER])
def test_the_centers_own_messages_never_go_to_a_mailbox(kind):
    assert names(router(), to(PHONE, kind=kind)) == []
    found = router(route(prefix="+44", target=TargetKind.MAILBOX), route("one", "+4477"))
    assert names(found, to(PHONE, kind=kind)) == ["one"]


def test_edits_are_live():
    found = router(route("one", "+44"))
    found.use([Route(9, route("two", "+44"))])
    (lead,) = found.leads(to(PHONE))
    assert (lead.outlet.name, lead.rule) == ("two", "rte_9")


@pytest.mark.parametrize(
    "fields",
    [
        {"target": "account"},
        {"target": "mailbox", "account": "one"},
        {"account": "one", "weight": 0},
        {"account": "one", "priority": 1001},
        {"account": "one", "name": "a b"},
        {"account": "one", "color": "red"},
    ],
)
def test_what_is_no_route(fields):
    with pytest.raises(ValidationError):
        RouteModel(**({"name": "r"} | fields))


digits = st.text("0123456789", min_size=0, max_size=4)


@given(
    st.lists(st.tuples(digits, st.integers(0, 2), st.sampled_from(["one", "two", "three"])), max_size=12),
    digits,
)
def test_order_is_that_of_sorting_by_prefix_and_priority(drawn, tail):
    models = [route(account, "+3" + prefix, priority=priority) for prefix, priority, account in drawn]
    recipient = "+3" + tail + "5"
    fitting = [m for m in models if recipient.startswith(m.prefix)]
    fitting.sort(key=lambda m: (-len(m.prefix), m.priority))
    leads = router(*models, own=()).leads(to(recipient))
    rank = {(m.account): (-len(m.prefix), m.priority) for m in reversed(fitting)}
    assert {lead.outlet.name for lead in leads} == set(rank)
    ranks = [rank[lead.outlet.name] for lead in leads]
    assert ranks == sorted(ranks)
