"""GSM 7 bit: tables against the specification's layout, totality of decoding, packing against a bit by bit model."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.smsc.text import gsm7

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = "\f^{}\\[~]|€"

texts = st.text(alphabet=BASIC + EXTENDED)
septet_strings = st.binary().map(lambda octets: bytes(octet & 0x7F for octet in octets))


def pack_bit_by_bit(septets: bytes, fill: int) -> bytes:
    bits = "0" * fill + "".join(f"{septet:07b}"[::-1] for septet in septets)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def test_every_basic_character_is_one_septet_and_comes_back() -> None:
    assert len(BASIC) == 127
    encoded = gsm7.encode(BASIC)
    assert sorted(encoded) == [code for code in range(128) if code != gsm7.ESCAPE]
    assert gsm7.decode(encoded) == BASIC


@pytest.mark.parametrize(
    ("char", "septets"),
    [
        ("@", "00"),
        ("_", "11"),
        ("Δ", "10"),
        ("Ω", "15"),
        ("É", "1f"),
        ("¤", "24"),
        ("¡", "40"),
        ("§", "5f"),
        ("¿", "60"),
        ("à", "7f"),
        ("\f", "1b0a"),
        ("^", "1b14"),
        ("{", "1b28"),
        ("}", "1b29"),
        ("\\", "1b2f"),
        ("[", "1b3c"),
        ("~", "1b3d"),
        ("]", "1b3e"),
        ("|", "1b40"),
        ("€", "1b65"),
    ],
)
def test_single_characters(char: str, septets: str) -> None:
    assert gsm7.encode(char).hex() == septets
    assert gsm7.decode(bytes.fromhex(septets)) == char


@given(texts)
@example("@")
@example("€@€")
def test_what_is_encoded_comes_back(text: str) -> None:
    assert gsm7.is_encodable(text)
    septets = gsm7.encode(text)
    assert gsm7.decode(septets) == text
    assert gsm7.septet_count(text) == len(septets) == len(text) + sum(char in EXTENDED for char in text)


@given(st.text())
@example("\0")
@example("\x1b")
@example("\ufffe")
@example("a\0ü€\0")
def test_encodable_is_what_strict_encoding_takes_and_replace_takes_all(text: str) -> None:
    expected = all(char in BASIC + EXTENDED for char in text)
    assert gsm7.is_encodable(text) is expected
    if not expected:
        with pytest.raises(UnicodeEncodeError):
            gsm7.encode(text)
    replaced = "".join(char if char in BASIC + EXTENDED else "?" for char in text)
    assert gsm7.decode(gsm7.encode(text, "replace")) == replaced


@given(st.binary(), st.integers(-1, 20), st.integers(-1, 20))
def test_decoding_never_raises_and_never_shows_an_escape(octets: bytes, locking: int, single: int) -> None:
    text = gsm7.alphabet(locking, single).decode(octets)
    assert "\x1b" not in text
    assert len(text) <= len(octets)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"A\x1b", "A "),  # the escape of a part that was cut behind it
        (b"\x1b\x1bA", " A"),  # a pair of escapes is one space, and shifts nothing
        (b"\x1b\x1b\x1be", " €"),
        (b"\x1b\x1b\x1b\x1b", "  "),
        (b"\x1bA", "A"),  # nothing there in the extension: the main table's character
        (b"\x1b\x00", "@"),
        (b"\x1b\xe9", "\ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (b"", ""),
    ],
)
def test_odd_sequences(octets: bytes, text: str) -> None:
    assert gsm7.decode(octets) == text


#: Annex A by position: (identifier, locking?, {code: character}). Written down a second time, from the tables.
NATIONAL = [
    (gsm7.TURKISH, True, dict(zip(b"\x04\x07\x0b\x0c\x1c\x1d\x40\x60", "€ıĞğŞşİç", strict=True))),
    (gsm7.TURKISH, False, dict(zip(b"GISceigs", "ĞİŞç€ığş", strict=True))),
    (gsm7.SPANISH, False, dict(zip(b"\x09AIOUaeiou", "çÁÍÓÚá€íóú", strict=True))),
    (
        gsm7.PORTUGUESE,
        True,
        dict(
            zip(
                b"\x04\x06\x07\x08\x09\x0b\x0c\x0e\x0f\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1c\x1d\x1e\x24\x40"
                b"\x5b\x5c\x5d\x60\x7b\x7c\x7d",
                "êúíóçÔôÁáªÇÀ∞^\\€Ó|ÂâÊºÍÃÕÚ~ãõ`",
                strict=True,
            )
        ),
    ),
    (
        gsm7.PORTUGUESE,
        False,
        dict(
            zip(
                b"\x05\x09\x0b\x0c\x0e\x0f\x12\x13\x15\x16\x17\x18\x19\x1f\x41\x49\x4f\x55\x5b\x5c\x61\x65\x69"
                b"\x6f\x75\x7b\x7c\x7f",
                "êçÔôÁáΦΓΩΠΨΣΘÊÀÍÓÚÃÕÂ€íóúãõâ",
                strict=True,
            )
        ),
    ),
]


@pytest.mark.parametrize(("language", "locking", "changes"), NATIONAL)
def test_national_tables(language: int, locking: bool, changes: dict[int, str]) -> None:
    national = gsm7.alphabet(locking=language) if locking else gsm7.alphabet(single=language)
    for code in range(128):
        if code == gsm7.ESCAPE:
            continue
        octets = bytes((code,)) if locking else bytes((gsm7.ESCAPE, code))
        assert national.decode(octets) == changes.get(code, gsm7.decode(octets)), hex(code)


def test_locking_and_single_shift_together() -> None:
    # İstanbul in the locking table; the escape takes ş from the single shift table, then the first goes on.
    assert gsm7.alphabet(gsm7.TURKISH, gsm7.TURKISH).decode(b"\x40stanbul\x1bs\x60") == "İstanbulşç"
    assert gsm7.alphabet(0, gsm7.SPANISH).decode(b"d\x1bias") == "días"


def test_packing_known_octets() -> None:
    assert gsm7.pack(b"hellohello").hex() == "e8329bfd4697d9ec37"
    assert gsm7.unpack(bytes.fromhex("e8329bfd4697d9ec37"), 10) == b"hellohello"


@given(septet_strings, st.integers(0, 6))
def test_packing_agrees_with_the_model_and_comes_back(septets: bytes, fill: int) -> None:
    packed = gsm7.pack(septets, fill)
    assert packed == pack_bit_by_bit(septets, fill)
    assert gsm7.unpack(packed, len(septets), fill) == septets


@given(st.binary(), st.none() | st.integers(-2, 300), st.integers(0, 6))
def test_unpacking_takes_anything(octets: bytes, count: int | None, fill: int) -> None:
    septets = gsm7.unpack(octets, count, fill)
    assert septets.isascii()
    assert 7 * len(septets) <= 8 * len(octets)


@given(septet_strings, st.integers(0, 6))
def test_cr_padding_survives_a_receiver_that_knows_only_octets(septets: bytes, fill: int) -> None:
    received = gsm7.unpack(gsm7.pack(septets, fill, pad_cr=True), None, fill)
    if septets.endswith(b"\0") and (fill + 7 * len(septets)) % 8 == 0:
        assert received == septets[:-1]  # the documented loss
    elif septets.endswith(b"\r") and (fill + 7 * len(septets)) % 8 == 0:
        assert received == septets + b"\r"  # a doubled carriage return is the same as one (§6.1.1)
    else:
        assert received == septets


def test_zero_padding_is_not_an_at_sign() -> None:
    assert gsm7.unpack(gsm7.pack(b"seven77")) == b"seven77"
    assert len(gsm7.pack(b"seven77")) == 7


@pytest.mark.parametrize(("header", "bits"), [(0, 0), (6, 1), (7, 0), (8, 6), (4, 3), (5, 2)])
def test_fill_bits(header: int, bits: int) -> None:
    assert gsm7.fill_bits(header) == bits
