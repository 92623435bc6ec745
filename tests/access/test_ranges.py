"""Own number ranges: the longest prefix decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from restante.access.ranges import NumberRange, NumberRanges, RangeModel


def ranges(*models: RangeModel) -> NumberRanges:
    return NumberRanges([NumberRange(at, model) for at, model in enumerate(models, 1)])


def test_a_number_is_in_the_range_with_the_longest_prefix():
    table = ranges(
        RangeModel(prefix="+4477"), RangeModel(prefix="+447700", own=False), RangeModel(prefix="+33")
    )
    assert table.is_own("+447711")
    assert not table.is_own("+447700900123")  # a hole in our own range
    assert table.is_own("+336")
    assert not table.is_own("+49")
    found = table.find("+447700900123")
    assert found is not None
    assert found.id == "rng_2"


@pytest.mark.parametrize("number", ["", "447700900123", "12345", "@Shop", "#4477", "=12"])
def test_only_numbers_in_international_form_are_ours(number: str):
    assert not ranges(RangeModel(prefix="+4")).is_own(number)


def test_length_is_part_of_the_range():
    table = ranges(RangeModel(prefix="+4477", min_digits=12, max_digits=12))
    assert table.is_own("+447700900123")
    assert not table.is_own("+44770090012")
    assert not table.is_own("+4477009001234")


def test_an_edit_replaces_everything_and_tells():
    table = ranges(RangeModel(prefix="+4477"))
    told: list[bool] = []
    table.on_change(lambda: told.append(table.is_own("+331")))
    table.use([NumberRange(9, RangeModel(prefix="+33"))])
    assert told == [True]
    assert not table.is_own("+447700900123")


@pytest.mark.parametrize(
    "bad",
    [
        {"prefix": "4477"},
        {"prefix": "+0"},
        {"prefix": ""},
        {"prefix": "+1234567890123456"},
        {"prefix": "+44770", "max_digits": 3},
        {"prefix": "+44", "min_digits": 12, "max_digits": 11},
        {"prefix": "+44", "unknown": 1},
    ],
)
def test_a_range_that_cannot_be_is_refused(bad: dict[str, object]):
    with pytest.raises(ValidationError):
        RangeModel.model_validate(bad)


@given(
    st.lists(st.from_regex(r"\+[1-3][0-3]{0,4}", fullmatch=True), unique=True, max_size=12),
    st.from_regex(r"\+[1-3][0-3]{0,7}", fullmatch=True),
)
def test_the_table_agrees_with_looking_at_every_range(prefixes: list[str], number: str):
    table = ranges(*(RangeModel(prefix=prefix) for prefix in prefixes))
    fitting = [prefix for prefix in prefixes if number.startswith(prefix)]
    found = table.find(number)
    assert (found.model.prefix if found else None) == max(fitting, key=len, default=None)
