"""Ids of other centers: one key, however they are spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.smsc.remote_ids import IdStyle, Learned, key_of, readings

ids = st.integers(1, 2**64)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("77", "77"),
        ("00000077", "77"),
        (" 77\0", "77"),
        ("0E99ab", "e99ab"),
        ("6BA7B810-9DAD-11D1", "6ba7b8109dad11d1"),
        ("0000", "0"),
        ("", ""),
        ("msg_id_not_implemented", "msg_id_not_implemented"),
    ],
)
def test_case_padding_and_hyphens_never_count(written, key):
    assert key_of(written) == key


@given(ids, st.booleans(), st.integers(0, 20))
def test_a_decimal_receipt_is_found_whatever_base_the_response_had(number, upper, width):
    given_id = format(number, "X" if upper else "x").zfill(width)
    assert key_of(given_id) in readings(str(number), IdStyle.AUTO)
    assert readings(str(number), IdStyle.RESPONSE_HEX) == [key_of(given_id)]


@given(ids)
def test_a_hexadecimal_receipt_is_found_as_well(number):
    assert key_of(str(number)) in readings(format(number, "X").zfill(8), IdStyle.AUTO)
    assert readings(f"0x{number:X}", IdStyle.RECEIPT_HEX) == [str(number)]


@given(st.text(max_size=80), st.sampled_from(list(IdStyle)))
def test_any_text_has_a_reading_and_at_most_three(text, style):
    found = readings(text, style)
    assert 1 <= len(found) <= 3
    assert len(set(found)) == len(found)
    assert all(len(key) <= 80 for key in found)


@given(st.text(max_size=80))
def test_the_text_itself_goes_first_until_something_else_was_right(text):
    assert readings(text, IdStyle.AUTO)[0] == key_of(text)


def test_a_reading_that_is_right_alone_goes_first_from_then_on():
    learned = Learned()
    for number in range(0xABCDE0, 0xABCDE5):
        assert learned.first is IdStyle.TEXT
        learned.right(str(number), key_of(format(number, "X")))
    assert learned.first is IdStyle.RESPONSE_HEX
    assert readings("31", IdStyle.AUTO, learned.first)[0] == "1f"
    learned.right("5", "5")  # reads alike in every base: teaches nothing
    assert learned.first is IdStyle.RESPONSE_HEX
