"""Semi-octets and the three forms of an address."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.message import Address
from restante.signaling.digits import (
    BadDigits,
    address_octets,
    address_string,
    digits_of,
    read_address,
    read_address_string,
    tbcd,
)

digits = st.text("0123456789*#abc", max_size=20)
kinds = st.tuples(st.integers(0, 7).filter(lambda ton: ton != 5), st.integers(0, 15))


@given(st.text("0123456789*#abc", max_size=40))
def test_tbcd_there_and_back(text: str) -> None:
    assert digits_of(tbcd(text)) == text


@pytest.mark.parametrize(
    ("text", "octets"),
    [("", ""), ("1", "f1"), ("262420000000001", "624202000000 00f1"), ("12*#abc", "21badcfe"), ("1C", "e1")],
)
def test_known_tbcd(text: str, octets: str) -> None:
    assert tbcd(text) == bytes.fromhex(octets)


@pytest.mark.parametrize("octets", ["f121", "1f21", "ff", "21ff"])
def test_filler_inside_is_refused(octets: str) -> None:
    with pytest.raises(BadDigits, match="filler"):
        digits_of(bytes.fromhex(octets))


def test_no_digit_is_refused() -> None:
    with pytest.raises(BadDigits, match="'x'"):
        tbcd("12x")


@given(kinds, digits, st.binary(max_size=3))
def test_address_there_and_back(kind: tuple[int, int], text: str, behind: bytes) -> None:
    address = Address(*kind, text)
    octets = address_octets(address)
    assert read_address(b"?" + octets + behind, 1) == (address, 1 + len(octets))
    assert read_address_string(address_string(address)) == address


names = st.text("ABCxyz 019@£$¥èéÅåÄÖÜß", min_size=1, max_size=11)


@given(names)
@example("Restant@")
@example("1234567@")
def test_name_there_and_back(name: str) -> None:
    octets = address_octets(Address(5, 0, name))
    assert read_address(octets, 0) == (Address(5, 0, name), len(octets))


@given(names.filter(lambda name: not name.endswith("@")))
def test_name_that_fills_its_container(name: str) -> None:
    assert read_address_string(address_string(Address(5, 0, name))) == Address(5, 0, name)


def test_known_name() -> None:
    # Ten septets are 18 half octets; the octets are those of "hellohello" in every handset manual.
    assert address_octets(Address(5, 0, "hellohello")) == bytes.fromhex("12d0 E8329BFD4697D9EC37")


def test_a_name_never_has_characters_beyond_latin_1() -> None:
    octets = address_octets(Address(5, 0, "ΔΩ"))
    assert read_address(octets, 0)[0].digits == "??"


def test_a_leading_plus_is_the_type_of_number() -> None:
    assert address_octets(Address(1, 1, "+4477")) == address_octets(Address(1, 1, "4477"))


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("", "cut off"),
        ("0b", "cut off"),
        ("0b91447700", "cut off"),
        ("1591" + "00" * 11, "21 semi-octets"),
        ("ff91" + "00" * 128, "255 semi-octets"),
        ("0491 4f77", "filler"),
    ],
)
def test_bad_addresses(octets: str, reason: str) -> None:
    with pytest.raises(BadDigits, match=reason):
        read_address(bytes.fromhex(octets), 0)


@pytest.mark.parametrize(
    "address", [Address(1, 1, "1" * 21), Address(5, 0, "a" * 12), Address(8, 1, "1"), Address(1, 16, "1")]
)
def test_addresses_that_do_not_fit(address: Address) -> None:
    with pytest.raises(BadDigits):
        address_octets(address)


def test_the_filler_of_an_odd_address_may_be_anything() -> None:
    assert read_address(bytes.fromhex("039121 03"), 0)[0].digits == "123"


@given(st.binary(max_size=20))
def test_any_octets_are_an_address_or_refused(octets: bytes) -> None:
    for read in (
        lambda: read_address(octets, 0),
        lambda: read_address_string(octets),
        lambda: digits_of(octets),
    ):
        try:
            read()
        except BadDigits:
            pass
