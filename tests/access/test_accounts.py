"""Accounts: what operators may write, and what the message path makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from restante.access.accounts import Account, AccountModel, account_warnings, owner_table
from restante.access.numbers import NumberRules
from restante.message import Role

OWN = "+4477"


def model(**fields: Any) -> AccountModel:
    return AccountModel.model_validate({"system_id": "shop", **fields})


def account(number: int = 1, **fields: Any) -> Account:
    return Account(number, model(**fields), own_network=lambda digits: digits.startswith(OWN))


@pytest.mark.parametrize("system_id", ["a", "shop", "A-1_b.c", "x" * 15, "!~"])
def test_good_names(system_id: str) -> None:
    assert AccountModel(system_id=system_id).system_id == system_id


@pytest.mark.parametrize(
    "fields",
    [
        {"system_id": ""},
        {"system_id": "x" * 16},
        {"system_id": "two words"},
        {"system_id": "ünï"},
        {"system_id": "nul\0"},
        {"system_id": "line\n"},
        {"role": "system"},
        {"bind_types": []},
        {"bind_types": ["both"]},
        {"allowed_networks": ["everywhere"]},
        {"throughput": 0},
        {"throughput": -1},
        {"throughput": float("inf")},
        {"throughput": float("nan")},
        {"burst": 0},
        {"window": 0},
        {"sources": ["+0*"]},
        {"numbers": ["x"]},
        {"time_zone": "Moon/Tycho"},
        {"time_zone": "../../etc/passwd"},
        {"time_zone": ""},
        {"receipt_at": "never"},
        {"validity_default_s": 700_000, "validity_ceiling_s": 600_000},
        {"number_rules": {"country_code": "044"}},
        {"password": "secret"},
    ],
)
def test_bad_accounts(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model(**fields)


def test_every_field_says_what_it_is() -> None:
    for name, info in AccountModel.model_fields.items():
        assert info.description, name
    assert all("description" in part for part in AccountModel.model_json_schema()["properties"].values())


def test_an_application_may_use_its_numbers_or_any_if_it_has_none() -> None:
    assert account().may_send_from("+33612345678")
    assert account().may_send_from("@Anything")
    mine = account(numbers=["12345", "+447700*"])
    assert mine.may_send_from("12345")
    assert mine.may_send_from("+447700900123")
    assert not mine.may_send_from("+33612345678")
    assert mine.may_send_to("+33612345678")
    named = account(numbers=["12345"], sources=["@Shop"])
    assert named.may_send_from("@Shop")
    assert not named.may_send_from("@shop")
    assert not named.may_send_from("12345")
    assert not account(sources=[]).may_send_from("12345")


def test_an_interconnect_reaches_own_numbers_only() -> None:
    link = account(role="interconnect")
    assert link.may_send_to("+447700900123")
    assert not link.may_send_to("+33612345678")
    assert link.may_send_from("+33612345678")
    transit = account(role="interconnect", destinations=["*"])
    assert transit.may_send_to("+33612345678")


def test_a_switch_speaks_for_its_own_network() -> None:
    switch = account(role="switch")
    assert switch.may_send_from("+447700900123")
    assert not switch.may_send_from("+33612345678")
    assert switch.may_send_to("+33612345678")
    assert switch.trusted_keywords
    assert not account().trusted_keywords


def test_nothing_may_be_sent_from_or_to_no_number() -> None:
    for role in Role.ESME, Role.SWITCH, Role.INTERCONNECT:
        assert not account(role=role).may_send_from("")
        assert not account(role=role).may_send_to("")


def test_ranges_of_the_network_count_as_they_are_when_asked() -> None:
    own: set[str] = set()
    link = Account(1, model(role="interconnect"), own_network=own.__contains__)
    assert not link.may_send_to("+441")
    own.add("+441")
    assert link.may_send_to("+441")


def test_where_it_may_come_from() -> None:
    assert account().may_come_from("203.0.113.9")
    bound = account(allowed_networks=["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])
    for good in "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::1%eth0", "198.51.100.7":
        assert bound.may_come_from(good), good
    for bad in "192.0.3.1", "::ffff:192.0.3.1", "2001:db9::1", "198.51.100.8", "", "localhost", "192.0.2.1.":
        assert not bound.may_come_from(bad), bad


def test_number_rules_are_its_own_or_the_centers() -> None:
    center = NumberRules(country_code="44")
    assert Account(1, model(), number_rules=center).number_rules is center
    own = Account(1, model(number_rules={"country_code": "33"}), number_rules=center)
    assert own.number_rules.country_code == "33"


def test_the_strongest_rule_owns_a_number_and_the_older_account_a_shared_one() -> None:
    first = account(1, numbers=["+44*", "999"])
    second = Account(2, model(system_id="other", numbers=["+447700900123", "999"]))
    table = owner_table([second, first])
    assert table.find("+447700900123") is second
    assert table.find("+447700900124") is first
    assert table.find("999") is first
    assert table.find("+33") is None


def test_warnings() -> None:
    def codes(*others: AccountModel, **fields: Any) -> set[str]:
        return {code for _, code, _ in account_warnings(model(**fields), others)}

    assert codes() == {"sources-unrestricted"}
    assert codes(numbers=["1"]) == set()
    assert codes(sources=[]) == {"sources-empty"}
    assert codes(role="switch") == {"any-network"}
    assert codes(role="interconnect", destinations=["*"], allowed_networks=["192.0.2.1"]) == {"transit"}
    assert codes(model(system_id="b", numbers=["1"]), numbers=["1"]) == {"number-shared"}
