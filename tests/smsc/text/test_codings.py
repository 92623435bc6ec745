"""data_coding: each group of both specifications, and decoding that never raises."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.smsc.text import codings, gsm7, udh
from restante.smsc.text.codings import Coding, DefaultAlphabet
from restante.smsc.text.udh import MessageWaiting, WaitingKind


@pytest.mark.parametrize(
    ("data_coding", "coding", "message_class"),
    [
        (0x00, Coding.DEFAULT, None),
        (0x01, Coding.ASCII, None),
        (0x02, Coding.BINARY, None),
        (0x03, Coding.LATIN1, None),
        (0x04, Coding.BINARY, None),
        (0x05, Coding.JIS, None),
        (0x06, Coding.CYRILLIC, None),
        (0x07, Coding.HEBREW, None),
        (0x08, Coding.UCS2, None),
        (0x09, Coding.UNKNOWN, None),
        (0x0B, Coding.UNKNOWN, None),
        (0x0E, Coding.KS_C_5601, None),
        (0x0F, Coding.UNKNOWN, None),
        (0x10, Coding.GSM7, 0),
        (0x12, Coding.GSM7, 2),
        (0x15, Coding.BINARY, 1),
        (0x18, Coding.UCS2, 0),
        (0x19, Coding.UCS2, 1),  # Kannel's
        (0x1C, Coding.UNKNOWN, 0),
        (0x20, Coding.UNKNOWN, None),  # compressed
        (0x38, Coding.UNKNOWN, 0),
        (0x48, Coding.UCS2, None),
        (0x51, Coding.GSM7, 1),
        (0x80, Coding.UNKNOWN, None),
        (0xBF, Coding.UNKNOWN, None),
        (0xC8, Coding.GSM7, None),
        (0xD0, Coding.GSM7, None),
        (0xE1, Coding.UCS2, None),
        (0xF0, Coding.GSM7, 0),
        (0xF5, Coding.BINARY, 1),
        (0xF6, Coding.BINARY, 2),
        (0xFB, Coding.GSM7, 3),  # bit 3 is reserved
        (0x100, Coding.UNKNOWN, None),
        (-1, Coding.UNKNOWN, None),
    ],
)
def test_interpretation(data_coding: int, coding: Coding, message_class: int | None) -> None:
    found = codings.interpret(data_coding)
    assert (found.coding, found.message_class) == (coding, message_class)
    assert found.compressed is (data_coding in (0x20, 0x38))
    assert found.auto_delete is (data_coding in (0x48, 0x51))
    assert (found.waiting is not None) is (data_coding in (0xC8, 0xD0, 0xE1))


@pytest.mark.parametrize(
    ("data_coding", "waiting"),
    [
        (0xC8, MessageWaiting(WaitingKind.VOICE, active=True, store=False)),
        (0xD1, MessageWaiting(WaitingKind.FAX, active=False, store=True)),
        (0xEA, MessageWaiting(WaitingKind.EMAIL, active=True, store=True)),
        (0xDB, MessageWaiting(WaitingKind.OTHER, active=True, store=True)),
    ],
)
def test_waiting_indications(data_coding: int, waiting: MessageWaiting) -> None:
    assert codings.decode(data_coding, b"").waiting == (waiting,)


def test_waiting_indications_of_the_header_come_second() -> None:
    found = codings.decode(0xC8, b"\x04\x01\x02\x82\x05Hi", has_udh=True)
    assert [waiting.kind for waiting in found.waiting] == [WaitingKind.VOICE, WaitingKind.EMAIL]
    assert found.waiting[1].waiting == 5
    assert found.text == "Hi"


@pytest.mark.parametrize(
    ("default", "payload", "text", "coding"),
    [
        (DefaultAlphabet.GSM7, b"\x00\x1be\x0f", "@€å", Coding.GSM7),
        (DefaultAlphabet.LATIN1, b"caf\xe9", "café", Coding.LATIN1),
        (DefaultAlphabet.ASCII, b"caf\xe9", "caf\ufffd", Coding.ASCII),
        (DefaultAlphabet.GSM7_PACKED, gsm7.pack(b"hellohello"), "hellohello", Coding.GSM7),
    ],
)
def test_default_alphabet_of_the_account(
    default: DefaultAlphabet, payload: bytes, text: str, coding: Coding
) -> None:
    found = codings.decode(0, payload, default)
    assert (found.text, found.coding) == (text, coding)


def test_the_default_alphabet_changes_only_data_coding_0_and_packing() -> None:
    assert codings.decode(0xF1, b"\x00", DefaultAlphabet.LATIN1).text == "@"
    assert codings.decode(0xF1, gsm7.pack(b"hi"), DefaultAlphabet.GSM7_PACKED).octets == b"hi"
    assert codings.decode(4, b"\xff", DefaultAlphabet.GSM7_PACKED).octets == b"\xff"


def test_packed_text_behind_a_header_has_fill_bits() -> None:
    header = udh.concatenation_header(udh.ConcatRef(1, 2, 1))
    payload = header + gsm7.pack(b"packed", gsm7.fill_bits(len(header)))
    found = codings.decode(0, payload, DefaultAlphabet.GSM7_PACKED, has_udh=True)
    assert (found.text, found.octets) == ("packed", b"packed")
    assert found.header.concat == (1, 2, 1, 8)


def test_national_language_of_the_header() -> None:
    assert codings.decode(0, bytes.fromhex("03240102") + b"d\x1bias", has_udh=True).text == "días"
    assert codings.decode(0, bytes.fromhex("03250101") + b"\x40", has_udh=True).text == "İ"
    assert codings.decode(0, bytes.fromhex("03250109") + b"\x40", has_udh=True).text == "¡"
    assert codings.decode(8, bytes.fromhex("03250101") + b"\x00@", has_udh=True).text == "@"


@pytest.mark.parametrize(
    ("data_coding", "payload", "text"),
    [
        (3, b"\xa4\xe9", "¤é"),
        (5, "日本".encode("shift_jis"), "日本"),
        (5, "日本".encode("iso2022_jp"), "日本"),
        (6, "Привет".encode("iso8859-5"), "Привет"),
        (7, "שלום".encode("iso8859-8"), "שלום"),
        (8, "😀".encode("utf-16-be"), "😀"),
        (8, b"\x00a\x00", "a\ufffd"),  # an odd octet
        (8, b"\xd8\x3d\x00a", "\ufffda"),  # half a surrogate pair
        (0x19, "Ж".encode("utf-16-be"), "Ж"),
        (10, "日本".encode("iso2022_jp"), "日本"),
        (13, "日本".encode("euc_jp"), "日本"),
        (14, "한국".encode("euc_kr"), "한국"),
        (4, b"\x01\x02", None),
        (0x80, b"text", None),
    ],
)
def test_texts(data_coding: int, payload: bytes, text: str | None) -> None:
    found = codings.decode(data_coding, payload)
    assert (found.text, found.octets, found.data_coding) == (text, payload, data_coding)
    assert found.header is udh.NO_HEADER


@given(st.integers(0, 255), st.binary(), st.sampled_from(DefaultAlphabet), st.booleans())
@example(5, b"\x1b$", DefaultAlphabet.GSM7, False)
def test_decoding_never_raises(
    data_coding: int, payload: bytes, default: DefaultAlphabet, has_udh: bool
) -> None:
    found = codings.decode(data_coding, payload, default, has_udh)
    assert found.coding is not Coding.DEFAULT
    assert (found.text is None) is (found.coding in (Coding.BINARY, Coding.UNKNOWN))
    if default is not DefaultAlphabet.GSM7_PACKED:
        assert payload.endswith(found.octets)
        assert len(payload) == found.header.length + len(found.octets)


@given(
    st.text() | st.text(alphabet="aé€@[ñ"),
    st.sampled_from(DefaultAlphabet).filter(lambda default: default is not DefaultAlphabet.GSM7_PACKED),
    st.none() | st.integers(0, 3),
    st.permutations([Coding.DEFAULT, Coding.LATIN1, Coding.HEBREW, Coding.UCS2]),
)
def test_what_is_encoded_comes_back(
    text: str, default: DefaultAlphabet, message_class: int | None, prefer: list[Coding]
) -> None:
    encoded = codings.encode(text, prefer, default, message_class)
    assert not encoded.lossy
    found = codings.decode(encoded.data_coding, encoded.octets, default)
    assert (found.text, found.coding, found.message_class) == (text, encoded.coding, message_class)


@pytest.mark.parametrize(
    ("text", "arguments", "data_coding", "coding"),
    [
        ("plain €", {}, 0, Coding.GSM7),
        ("Привет", {}, 8, Coding.UCS2),
        ("café", {"default_alphabet": DefaultAlphabet.LATIN1}, 0, Coding.LATIN1),
        ("€", {"default_alphabet": DefaultAlphabet.LATIN1}, 8, Coding.UCS2),
        ("ë", {"prefer": (Coding.DEFAULT, Coding.LATIN1, Coding.UCS2)}, 3, Coding.LATIN1),
        ("flash", {"message_class": 0}, 0xF0, Coding.GSM7),
        ("Ж", {"message_class": 1}, 0x19, Coding.UCS2),
        # GSM 7 bit cannot be told to a receiver whose default is Latin-1, unless with a class.
        (
            "x",
            {"prefer": (Coding.GSM7, Coding.UCS2), "default_alphabet": DefaultAlphabet.LATIN1},
            8,
            Coding.UCS2,
        ),
    ],
)
def test_choice(text: str, arguments: dict, data_coding: int, coding: Coding) -> None:
    encoded = codings.encode(text, **arguments)
    assert (encoded.data_coding, encoded.coding, encoded.lossy) == (data_coding, coding, False)


def test_what_nothing_can_spell_is_replaced_and_said() -> None:
    assert codings.encode("aЖ", (Coding.DEFAULT,)) == (0, b"a?", Coding.GSM7, True)
    assert codings.encode("\ud800").lossy
    with pytest.raises(ValueError):
        codings.encode("a", (Coding.BINARY,))
    with pytest.raises(ValueError):
        codings.encode("a", message_class=4)
