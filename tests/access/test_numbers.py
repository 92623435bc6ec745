"""Number rules and the table that finds the strongest one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.access.numbers import PrefixTable, check_number_rule


@pytest.mark.parametrize(
    "rule",
    [
        "*",
        "+*",
        "+4477*",
        "+447700900123",
        "12345",
        "1*",
        "@Shop",
        "@*",
        "@Two words",
        "@Ünïcode",
        "#901",
        "#*",
    ],
)
def test_good_rules(rule: str) -> None:
    assert check_number_rule(rule) == rule


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "+",
        "+0*",
        "@",
        "#",
        "+44 77",
        "+44x",
        "**",
        "1*2",
        "@" + "x" * 12,
        "@a\nb",
        "@ Shop",
        "+" + "1" * 16,
        "=12",
        "+٣٣",
        "²",
    ],
)
def test_bad_rules(rule: str) -> None:
    with pytest.raises(ValueError):
        check_number_rule(rule)


def test_exact_beats_prefix_and_longer_beats_shorter() -> None:
    table = PrefixTable(
        [("*", "all"), ("+44*", "uk"), ("+4477*", "mobile"), ("+447700900123", "one"), ("12*", "s")]
    )
    assert table.find("+447700900123") == "one"
    assert table.find("+447700900124") == "mobile"
    assert table.find("+4420") == "uk"
    assert table.find("+44") == "uk"
    assert table.find("+33") == "all"
    assert table.find("12") == "s"
    assert table.find("") is None
    assert list(table.matches("+447700900123")) == ["one", "mobile", "uk", "all"]
    assert list(table.matches("")) == []
    assert len(table) == 5
    assert "" not in table


def test_the_first_of_equal_rules_counts() -> None:
    assert PrefixTable([("+44*", 1), ("+44*", 2)]).find("+441") == 1


NUMBERS = st.text("+@#123", max_size=6)
RULES = st.builds(lambda number, star: number + star, NUMBERS, st.sampled_from(["", "*"])).filter(bool)


@given(st.lists(RULES, max_size=8), NUMBERS)
def test_it_finds_what_looking_at_each_rule_finds(rules: list[str], number: str) -> None:
    table = PrefixTable((rule, rule) for rule in rules)
    covering = (
        [r for r in rules if r == number or (r.endswith("*") and number.startswith(r[:-1]))] if number else []
    )
    strongest = max(covering, key=lambda r: (r == number, len(r)), default=None)
    assert table.find(number) == strongest
    assert (number in table) == bool(covering)
    assert set(table.matches(number)) == set(covering)
