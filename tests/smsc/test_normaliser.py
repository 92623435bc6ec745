"""One number, one spelling: every form of a number is equal, and nothing else is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.access.numbers import EgressRules, NumberRules
from restante.message import Address, NumberKind, number_kind
from restante.smsc.normaliser import Normaliser, Normalisers, address_for, display

UK = NumberRules(country_code="44")
ITALY = NumberRules(country_code="39", trunk_prefix="", unknown_ton="national")
USA = NumberRules(country_code="1", trunk_prefix="1", international_prefixes=("011",))
RUSSIA = NumberRules(country_code="7", trunk_prefix="8", international_prefixes=("810",))
HUNGARY = NumberRules(country_code="36", trunk_prefix="06")
BARE = NumberRules()

N = "447700900123"


@pytest.mark.parametrize(
    ("rules", "ton", "digits", "normal"),
    [
        # international, as written by the book and by everybody else
        (UK, 1, N, "+" + N),
        (UK, 1, "+" + N, "+" + N),
        (UK, 1, "00" + N, "+" + N),
        (UK, 1, "12345", "12345"),
        (UK, 1, "+12345", ""),
        (UK, 1, "0" + N, ""),
        (USA, 1, "01144" + N[2:], "+" + N),
        (RUSSIA, 1, "81012345678", "+81012345678"),  # Japan, not 810 and a number
        # unknown
        (UK, 0, "+" + N, "+" + N),
        (UK, 0, "00" + N, "+" + N),
        (UK, 0, N, "+" + N),
        (UK, 0, "07700900123", "+" + N),
        (UK, 4, "07700900123", "+" + N),
        (UK, 0, "12345", "12345"),
        (UK, 0, "012345", "012345"),
        (UK, 0, "0012345", ""),
        (UK, 0, "00012345678", ""),
        (BARE, 0, N, "+" + N),
        (BARE, 0, "07700900123", ""),
        (BARE, 0, "00" + N, "+" + N),
        (ITALY, 0, "0612345678", "+390612345678"),
        (ITALY, 0, "3201234567", "+393201234567"),
        (USA, 0, "12125550100", "+12125550100"),
        (USA, 0, "011" + N, "+" + N),
        (RUSSIA, 0, "89161234567", "+79161234567"),
        (RUSSIA, 0, "810" + N, "+" + N),
        (HUNGARY, 0, "06301234567", "+36301234567"),
        (NumberRules(country_code="44", short_code_length=0), 0, "1234567", "+1234567"),
        # national
        (UK, 2, "7700900123", "+" + N),
        (UK, 2, "07700900123", "+" + N),
        (UK, 2, "007700900123", ""),
        (UK, 2, "+" + N, "+" + N),
        (USA, 2, "2125550100", "+12125550100"),
        (RUSSIA, 2, "8001234567", "+78001234567"),  # 8 is a trunk prefix, and the start of an area code
        (ITALY, 2, "0612345678", "+390612345678"),
        (HUNGARY, 2, "06301234567", "+36301234567"),
        (BARE, 2, "7700900123", ""),
        (BARE, 2, "12345", "12345"),
        (UK, 2, "12345", "12345"),
        # the others
        (UK, 3, "901", "#901"),
        (UK, 5, "Restante", "@Restante"),
        (UK, 5, "Two Words", "@Two Words"),
        (UK, 5, " Restante \0", "@Restante"),
        (UK, 5, "=12", "@=12"),
        (UK, 5, "@x", "@@x"),
        (UK, 6, "901", "901"),
        # a number that calls itself a name
        (UK, 5, "+" + N, "+" + N),
        (UK, 5, N, "+" + N),
        (UK, 5, "07700900123", "+" + N),
        (UK, 5, " 12345 ", "12345"),
    ],
)
def test_readings(rules: NumberRules, ton: int, digits: str, normal: str) -> None:
    assert Normaliser(rules).normal(Address(ton, 1, digits)) == normal


@pytest.mark.parametrize("ton", range(8))
@pytest.mark.parametrize(
    "digits",
    [
        "",
        "+",
        "++" + N,
        "44 7700 900123",
        "44-7700",
        "44x7700900123",
        "٤٤٧٧٠٠٩٠٠١٢٣",
        "４４７７００９００１２３",
        "²³²³²³²³",
        "1" * 21,
        "=12",
        "*100#",
        "\0",
        " ",
        "1234567\n",
        "+44+7700900123",
        "a" * 200_000,
    ],
)
def test_hostile_addresses_are_no_number(ton: int, digits: str) -> None:
    normal = Normaliser(UK).normal(Address(ton, 1, digits))
    assert normal == "" or (ton == 5 and normal == "@" + digits)


@pytest.mark.parametrize("ton", [7, 8, 255, -1])
def test_reserved_types_are_no_number(ton: int) -> None:
    assert Normaliser(UK).normal(Address(ton, 1, N)) == ""


TONS = st.integers(-1, 9)
DIGITS = st.one_of(
    st.text("0123456789+", max_size=22), st.text(max_size=14), st.text("ab0 +=#@*\0\xe9²", max_size=14)
)
RULES = st.builds(
    NumberRules,
    country_code=st.sampled_from(["", "1", "44", "39", "375"]),
    trunk_prefix=st.sampled_from(["", "0", "1", "8", "06"]),
    international_prefixes=st.sampled_from([(), ("00",), ("011",), ("810", "00"), ("0",)]),
    unknown_ton=st.sampled_from(["international", "national"]),
    short_code_length=st.integers(0, 10),
)


@given(RULES, TONS, st.integers(0, 255), DIGITS)
def test_the_normal_form_is_well_formed_and_npi_says_nothing(
    rules: NumberRules, ton: int, npi: int, digits: str
) -> None:
    normaliser = Normaliser(rules)
    normal = normaliser.normal(Address(ton, npi, digits))
    assert normaliser.normal(Address(ton, (npi + 7) % 256, digits)) == normal
    assert normaliser.read(Address(ton, npi, digits)) == normal
    if not normal:
        return
    kind = number_kind(normal)
    rest = normal[1:]
    if kind is NumberKind.E164:
        assert rest.isascii()
        assert rest.isdecimal()
        assert 7 <= len(rest) <= 15
        assert rest[0] != "0"
    elif kind is NumberKind.SHORT:
        assert normal.isascii()
        assert normal.isdecimal()
    elif kind is NumberKind.NETWORK:
        assert rest.isdecimal()
    else:
        assert kind is NumberKind.ALPHANUMERIC
        assert rest == rest.strip()
        assert 1 <= len(rest) <= 11
        assert rest.isprintable()


NORMAL_FORMS = st.one_of(
    st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z"),
    st.from_regex(r"\A[0-9]{1,15}\Z"),
    st.from_regex(r"\A#[0-9]{1,15}\Z"),
    st.text("abc Z@+#=é", min_size=1, max_size=11).filter(lambda text: text == text.strip()).map("@".__add__),
)


@given(RULES, NORMAL_FORMS)
def test_written_for_a_peer_and_read_again_it_is_the_same(rules: NumberRules, normal: str) -> None:
    """Idempotence, through the wire: what we write, a peer with any rules reads alike."""
    normaliser = Normaliser(rules)
    for egress in (
        EgressRules(short_ton=6),
        EgressRules(short_ton=6, e164_form="plus"),
        EgressRules(short_ton=6, e164_ton=0, e164_form="plus"),
    ):
        assert normaliser.normal(address_for(normal, egress)) == normal
    short = normal[0].isdecimal() and len(normal) <= rules.short_code_length
    if short and not any(normal.startswith(prefix) for prefix in rules.international_prefixes):
        assert normaliser.normal(address_for(normal, EgressRules())) == normal


@given(
    st.sampled_from(["44", "33", "375"]),
    st.sampled_from([("0", "00"), ("8", "810"), ("06", "00"), ("0", "011")]),
    st.from_regex(r"\A[1-9][0-9]{6,9}\Z"),
)
def test_every_form_of_one_number_is_equal(country: str, dialling: tuple[str, str], national: str) -> None:
    trunk, international = dialling
    normaliser = Normaliser(
        NumberRules(country_code=country, trunk_prefix=trunk, international_prefixes=(international,))
    )
    full = country + national
    dialled = trunk + national
    forms = {
        Address(1, 1, full),
        Address(1, 0, "+" + full),
        Address(0, 0, "+" + full),
        Address(0, 1, full),
        Address(0, 1, international + full),
        Address(2, 1, national),
        Address(5, 0, "+" + full),
    }
    if not dialled.startswith(international):  # 8 and 10…: the plan itself is ambiguous there
        forms.add(Address(0, 8, dialled))
    assert {normaliser.normal(form) for form in forms} == {"+" + full}


@given(st.text("0123456789", min_size=1, max_size=15), st.text("0123456789", min_size=1, max_size=15))
def test_different_international_numbers_stay_different(one: str, other: str) -> None:
    normaliser = Normaliser(UK)
    a, b = (normaliser.normal(Address(0, 1, "+" + digits)) for digits in (one, other))
    assert (a == b) == (one == other) or a == b == ""


def test_egress_forms() -> None:
    number = "+" + N
    assert address_for(number, EgressRules()) == Address(1, 1, N)
    assert address_for(number, EgressRules(e164_form="plus")) == Address(1, 1, number)
    assert address_for(number, EgressRules(e164_ton=0, e164_npi=0)) == Address(0, 0, N)
    national = EgressRules(e164_ton=2)
    assert address_for(number, national, "44") == Address(2, 1, "7700900123")
    assert address_for(number, national, "33") == Address(1, 1, N)
    assert address_for(number, national) == Address(1, 1, N)
    assert address_for("12345", EgressRules(short_ton=3, short_npi=9)) == Address(3, 9, "12345")
    assert address_for("@Shop", EgressRules()) == Address(5, 0, "Shop")
    assert address_for("#901", EgressRules()) == Address(3, 0, "901")
    assert address_for("=12", EgressRules()) == Address(0, 0, "")


def test_display() -> None:
    assert [display(one) for one in ("+" + N, "12345", "@Shop", "#901", "")] == [
        "+" + N,
        "12345",
        "Shop",
        "901",
        "",
    ]


def test_its_memory_is_bounded_and_shared_by_equal_rules() -> None:
    normaliser = Normaliser(UK, remember=10)
    for n in range(1000):
        assert normaliser.normal(Address(1, 1, f"4477009{n:05}")) == f"+4477009{n:05}"
        assert len(normaliser._known) <= 10
    normalisers = Normalisers()
    assert normalisers.of(UK) is normalisers.of(NumberRules(country_code="44"))
    assert normalisers.of(UK) is not normalisers.of(BARE)


def test_reading_costs_little() -> None:
    normaliser = Normaliser(UK)
    addresses = [Address(0, 1, f"07700{n:06}") for n in range(20_000)]
    started = time.process_time()
    for address in addresses:
        normaliser.read(address)
    assert (time.process_time() - started) / len(addresses) < 7.5e-6  # target 1.5 µs, cap of five times
