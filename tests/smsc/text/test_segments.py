"""Cutting and joining: sizes at the edges, pairs kept whole, and parts in any order, number and state."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.smsc.text import codings, gsm7, segments, udh
from restante.smsc.text.codings import Coding, DefaultAlphabet
from restante.smsc.text.segments import HANDSET, ConcatRef, Part, Unit

UNITS = st.sampled_from([HANDSET, Unit(254, False), Unit(140, False), Unit(20), Unit(21)])


@pytest.mark.parametrize(
    ("coding", "single", "eight", "sixteen"),
    [
        (Coding.GSM7, 160, 153, 152),
        (Coding.UCS2, 140, 134, 132),
        (Coding.LATIN1, 140, 134, 133),
        (Coding.BINARY, 140, 134, 133),
    ],
)
def test_sizes(coding: Coding, single: int, eight: int, sixteen: int) -> None:
    assert segments.count(b"\0" * single, coding) == 1
    for bits, size in ((8, eight), (16, sixteen)):
        assert [len(s.payload) for s in segments.split(b"\0" * (single + 1), coding, 1, bits=bits)] == [
            size,
            single + 1 - size,
        ]
        assert segments.count(b"\0" * (3 * size), coding, bits=bits) == 3
        assert segments.count(b"\0" * (3 * size + 1), coding, bits=bits) == 4
        for segment in segments.split(b"\0" * (3 * size), coding, 1, bits=bits):
            packed = segment.packed() if coding is Coding.GSM7 else segment.user_data
            assert len(packed) <= 140


def test_capacity() -> None:
    assert [HANDSET.capacity(Coding.GSM7, header) for header in (0, 6, 7)] == [160, 153, 152]
    assert [HANDSET.capacity(Coding.UCS2, header) for header in (0, 6, 7)] == [140, 134, 132]
    assert [HANDSET.capacity(Coding.BINARY, header) for header in (0, 6, 7)] == [140, 134, 133]
    assert Unit(254, False).capacity(Coding.GSM7, 6) == 248


def test_unpacked_septets_of_an_esme() -> None:
    unit = Unit(254, septets_packed=False)
    assert segments.count(b"a" * 254, Coding.GSM7, unit) == 1
    assert [len(s.user_data) for s in segments.split(b"a" * 255, Coding.GSM7, 1, unit)] == [254, 13]


def test_escape_pairs_stay_whole() -> None:
    septets = gsm7.encode("a" * 152 + "€" + "b" * 20)
    first, second = segments.split(septets, Coding.GSM7, 1)
    assert (len(first.payload), second.payload[:2]) == (152, b"\x1be")
    even = segments.split(b"a" * 151 + b"\x1b\x1b" + b"c" * 20, Coding.GSM7, 1)
    assert even[0].payload.endswith(b"a\x1b\x1b")


def test_surrogate_pairs_stay_whole() -> None:
    octets = ("a" * 66 + "😀" + "b" * 20).encode("utf-16-be")
    first, second = segments.split(octets, Coding.UCS2, 1)
    assert first.payload.decode("utf-16-be") == "a" * 66
    assert second.payload.decode("utf-16-be").startswith("😀")


@pytest.mark.parametrize(
    ("coding", "codec", "text"),
    [
        (Coding.JIS, "shift_jis", "a" + "日本" * 200),
        (Coding.EXTENDED_JIS, "euc_jp", "a" + "日ｱ" * 200),
        (Coding.KS_C_5601, "cp949", "a" + "한국" * 200),
    ],
)
def test_double_octet_characters_stay_whole(coding: Coding, codec: str, text: str) -> None:
    pieces = segments.cut(text.encode(codec), coding, 134)
    assert "".join(piece.decode(codec) for piece in pieces) == text
    assert max(map(len, pieces)) <= 134


@given(st.binary(max_size=600), st.sampled_from(Coding), st.integers(4, 140))
def test_cutting_loses_nothing_whatever_the_octets(octets: bytes, coding: Coding, size: int) -> None:
    pieces = segments.cut(octets, coding, size)
    assert b"".join(pieces) == octets
    assert all(0 < len(piece) <= size for piece in pieces) or octets == b""


@pytest.mark.parametrize("coding", [Coding.GSM7, Coding.UCS2, Coding.KS_C_5601])
def test_cutting_garbage_ends(coding: Coding) -> None:
    for octets in (b"\x1b" * 1000, b"\xd8" * 1000, b"\xdc" * 999, b"\xff" * 1000):
        assert b"".join(segments.cut(octets, coding, 5)) == octets


texts = st.text(max_size=400) | st.text(alphabet="ab€{😀é", min_size=100, max_size=700)


@given(texts, UNITS, st.sampled_from([8, 16]), st.integers(0, 0xFFFF), st.randoms(use_true_random=False))
def test_join_of_split_is_the_text(
    text: str, unit: Unit, bits: int, reference: int, order: random.Random
) -> None:
    encoded = codings.encode(text)
    pieces = segments.split(encoded.octets, encoded.coding, reference, unit, bits)
    assert len(pieces) == segments.count(encoded.octets, encoded.coding, unit, bits)
    parts: list[Part] = []
    for piece in pieces:
        if encoded.coding is Coding.GSM7 and unit.septets_packed:
            assert len(piece.header) + -(
                -(gsm7.fill_bits(len(piece.header)) + 7 * len(piece.payload)) // 8
            ) <= (unit.octets)
        else:
            assert len(piece.user_data) <= unit.octets
        content = codings.decode(encoded.data_coding, piece.user_data, has_udh=bool(piece.header))
        if piece.ref is None:
            assert content.text == text
            return
        assert content.header.concat == piece.ref
        parts.append(Part(piece.ref, content))
    assert "".join(part.content.text or "" for part in parts) == text  # each part reads by itself
    order.shuffle(parts)
    joined = segments.join(parts + parts[:2])
    assert (joined.text, joined.octets, joined.complete) == (text, encoded.octets, True)
    assert (joined.total, joined.duplicates, joined.ignored) == (len(pieces), len(parts[:2]), 0)


def test_packed_parts_come_back() -> None:
    text = "[packed] " * 40
    pieces = segments.split(gsm7.encode(text), Coding.GSM7, 9)
    parts = [codings.decode(0, piece.packed(), DefaultAlphabet.GSM7_PACKED, True) for piece in pieces]
    joined = segments.join(Part(part.header.concat or ConcatRef(0, 0, 0), part) for part in parts)
    assert joined.text == text
    assert len(pieces) == 3


def test_other_elements_ride_in_every_part() -> None:
    ports = udh.port_element(udh.ApplicationPorts(2948, 9200, 16))
    pieces = segments.split(b"\xaa" * 300, Coding.BINARY, 0x1FF, elements=[ports])
    assert [len(piece.payload) for piece in pieces] == [128, 128, 44]
    assert all(len(piece.user_data) <= 140 for piece in pieces)
    header = udh.parse(pieces[1].user_data)
    assert (header.concat, header.ports) == (ConcatRef(0xFF, 3, 2, 8), (2948, 9200, 16))
    (alone,) = segments.split(b"\xaa" * 133, Coding.BINARY, 1, elements=[ports])
    assert (len(alone.user_data), alone.ref) == (140, None)


def test_limits() -> None:
    assert segments.count(b"a" * 153 * 255, Coding.GSM7) == 255
    assert len(segments.split(b"a" * 153 * 255, Coding.GSM7, 1)) == 255
    with pytest.raises(ValueError):
        segments.split(b"a" * (153 * 255 + 1), Coding.GSM7, 1)
    with pytest.raises(ValueError):
        segments.split(b"a" * 100, Coding.UCS2, 1, Unit(8))


@pytest.mark.parametrize(
    ("text", "coding", "units", "parts", "per_part", "remaining"),
    [
        ("", Coding.GSM7, 0, 1, 160, 160),
        ("a" * 160, Coding.GSM7, 160, 1, 160, 0),
        ("a" * 161, Coding.GSM7, 161, 2, 153, 145),
        ("€" * 80, Coding.GSM7, 160, 1, 160, 0),
        ("€" * 153, Coding.GSM7, 306, 3, 153, 151),  # 76 pairs a part: the odd septet stays empty
        ("Ж" * 70, Coding.UCS2, 70, 1, 70, 0),
        ("Ж" * 71, Coding.UCS2, 71, 2, 67, 63),
        ("😀" * 36, Coding.UCS2, 72, 2, 67, 61),
    ],
)
def test_estimates(text: str, coding: Coding, units: int, parts: int, per_part: int, remaining: int) -> None:
    found = segments.estimate(text)
    assert (found.encoded.coding, *found[1:]) == (coding, units, parts, per_part, remaining)


def part(number: int, text: str, total: int = 3, reference: int = 7, data_coding: int = 0) -> Part:
    octets = codings.encode(text).octets
    return Part(ConcatRef(reference, total, number), codings.decode(data_coding, octets))


def test_missing_parts_are_named_and_shown() -> None:
    joined = segments.join([part(4, "four", 5), part(1, "one", 5)])
    assert (joined.text, joined.present, joined.missing) == ("one…four…", (1, 4), (2, 3, 5))
    assert not joined.complete


def test_impossible_indices_and_strangers_are_harmless() -> None:
    odd = [
        part(0, "zero"),
        part(4, "beyond"),
        part(0, "none", total=0),
        part(1, "huge", total=300),
        part(1, "one"),
        part(2, "other total", total=4),
        part(2, "other reference", reference=8),
        part(1, "again"),
        part(2, "two"),
    ]
    joined = segments.join(odd, gap="")
    assert joined.text == "onetwo"
    assert (joined.total, joined.missing, joined.duplicates, joined.ignored) == (3, (3,), 1, 6)


def test_nothing_joins_to_nothing() -> None:
    assert segments.join([]) == (None, b"", 0, (), (), 0, 0)
    assert not segments.join([part(0, "zero")]).complete


def test_pairs_that_others_cut_are_mended() -> None:
    halves = [
        Part(ConcatRef(1, 2, n), codings.decode(0, octets)) for n, octets in ((1, b"a\x1b"), (2, b"eb"))
    ]
    assert [half.content.text for half in halves] == ["a ", "eb"]
    assert segments.join(halves).text == "a€b"
    face = "😀".encode("utf-16-be")
    halves = [
        Part(ConcatRef(1, 2, n), codings.decode(8, octets)) for n, octets in ((1, face[:2]), (2, face[2:]))
    ]
    assert segments.join(halves).text == "😀"


def test_parts_in_different_codings() -> None:
    mixed = [
        Part(ConcatRef(1, 3, 1), codings.decode(0, b"a\x00")),
        Part(ConcatRef(1, 3, 2), codings.decode(8, "Ж".encode("utf-16-be"))),
        Part(ConcatRef(1, 3, 3), codings.decode(0, bytes.fromhex("03240102") + b"\x1bi", has_udh=True)),
    ]
    assert segments.join(mixed).text == "a@Жí"
    binary = segments.join([*mixed[:2], Part(ConcatRef(1, 3, 3), codings.decode(4, b"\xff"))])
    assert binary.text is None
    assert binary.octets == b"a\x00\x04\x16\xff"
    assert binary.complete


@given(
    st.lists(
        st.builds(
            Part,
            st.builds(ConcatRef, st.integers(0, 2), st.integers(0, 300), st.integers(0, 300)),
            st.builds(codings.decode, st.integers(0, 255), st.binary(max_size=20), has_udh=st.booleans()),
        ),
        max_size=20,
    )
)
def test_joining_never_raises(parts: list[Part]) -> None:
    joined = segments.join(parts)
    assert len(joined.present) + joined.duplicates + joined.ignored == len(parts)
    assert len(joined.present) + len(joined.missing) == joined.total


def test_sar_parameters() -> None:
    ref = segments.sar_concat(b"\x01\x02", b"\x03", b"\x02")
    assert ref is not None
    assert ref == ConcatRef(0x0102, 3, 2, 16)
    assert segments.sar_values(ref) == (b"\x01\x02", b"\x03", b"\x02")
    assert segments.sar_concat(b"\x05", b"\x03", b"\x00") == ConcatRef(5, 3, 0, 16)  # impossible, not refused
    for missing in ((None, b"\x01", b"\x01"), (b"\0\x01", None, b"\x01"), (b"\0\x01", b"\x01", b"")):
        assert segments.sar_concat(*missing) is None
    assert segments.sar_concat(b"\0\0\x01", b"\x01", b"\x01") is None
