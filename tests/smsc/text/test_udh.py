"""User data headers: elements, tolerance, building."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.smsc.text import udh
from restante.smsc.text.udh import ApplicationPorts, ConcatRef, InformationElement, WaitingKind

elements = st.lists(
    st.builds(InformationElement, st.integers(0, 255), st.binary(max_size=20)), max_size=11
).filter(lambda found: sum(2 + len(element.data) for element in found) <= udh.MAX_HEADER)


@given(elements, st.binary(max_size=20))
def test_what_is_built_is_parsed(built: list[InformationElement], text: bytes) -> None:
    header, rest = udh.strip(udh.build(built) + text) if built else (udh.NO_HEADER, text)
    assert header.elements == tuple(built)
    assert header.sound
    assert rest == text


@given(st.binary())
def test_anything_parses(octets: bytes) -> None:
    header, rest = udh.strip(octets)
    assert octets[header.length :] == rest
    assert sum(2 + len(element.data) for element in header.elements) <= max(header.length - 1, 0)
    if header.sound:
        assert udh.build(header.elements) in (octets[: header.length], b"")
    assert header.ports is None or header.ports.bits in (8, 16)
    assert all(waiting.waiting is not None for waiting in header.waiting)
    assert 0 <= header.single_shift <= 255
    assert 0 <= header.locking_shift <= 255
    assert header.concat is None or header.concat.possible


@pytest.mark.parametrize(
    ("octets", "concat"),
    [
        ("050003cc0201", ConcatRef(0xCC, 2, 1, 8)),
        ("060804beef0302", ConcatRef(0xBEEF, 3, 2, 16)),
        ("0b05040b8423f00003070201", ConcatRef(7, 2, 1, 8)),
        ("0a0003010201 0003020202", ConcatRef(2, 2, 2, 8)),  # the last one counts
        ("0a0003010201 0003020203", ConcatRef(1, 2, 1, 8)),  # unless it is impossible
        ("050003cc0200", None),
        ("050003cc0203", None),
        ("050003cc0000", None),
        ("040002cc02", None),
        ("00", None),
    ],
)
def test_concatenation(octets: str, concat: ConcatRef | None) -> None:
    header = udh.parse(bytes.fromhex(octets))
    assert header.concat == concat
    assert header.sound
    assert header.length == len(bytes.fromhex(octets))


def test_ports() -> None:
    assert udh.parse(bytes.fromhex("0605040b8423f0")).ports == ApplicationPorts(2948, 9200, 16)
    assert udh.parse(bytes.fromhex("040402f5f6")).ports == ApplicationPorts(0xF5, 0xF6, 8)
    assert udh.parse(bytes.fromhex("050003cc0201")).ports is None
    for ports in (ApplicationPorts(2948, 9200, 16), ApplicationPorts(245, 246, 8)):
        assert udh.parse(udh.build([udh.port_element(ports)])).ports == ports


def test_special_message_indications_repeat() -> None:
    first, second, unknown = udh.parse(bytes.fromhex("0c 0102 a003 0102 0700 0102 1f01")).waiting
    assert first == (WaitingKind.VOICE, True, True, 3, 1)
    assert second == (WaitingKind.VIDEO, False, False, 0, 0)
    assert unknown.kind is WaitingKind.OTHER


def test_national_languages() -> None:
    header = udh.parse(bytes.fromhex("06250101240103"))
    assert (header.locking_shift, header.single_shift) == (1, 3)
    assert udh.NO_HEADER.locking_shift == udh.NO_HEADER.single_shift == 0
    assert udh.parse(bytes.fromhex("04240201 02")).single_shift == 0  # a wrong length says nothing


@pytest.mark.parametrize(
    ("octets", "found", "length"),
    [
        (b"", 0, 0),
        (
            b"Hello",
            0,
            0,
        ),  # 0x48 octets of header are not there: a flag that was set wrongly, so the text stays
        (b"\x05\x00\x03\xcc\x02", 0, 0),
        (b"\x06\x00\x03\xcc\x02\x01\x00text", 1, 7),  # one octet too many
        (b"\x06\x00\x04\xcc\x02\x01\x00\x09", 1, 7),
        (b"\x05\x00\x09\xcc\x02\x01text", 0, 6),  # an element longer than the header
        (b"\x01\x00text", 0, 2),
    ],
)
def test_unsound_headers(octets: bytes, found: int, length: int) -> None:
    header, rest = udh.strip(octets)
    assert len(header.elements) == found
    assert header.length == length
    assert header.sound is (octets[:3] == b"\x06\x00\x04")
    assert rest == octets[length:]


def test_building_concatenation() -> None:
    assert udh.concatenation_header(ConcatRef(0xCC, 2, 1)) == bytes.fromhex("050003cc0201")
    assert udh.concatenation_header(ConcatRef(0xBEEF, 3, 2, 16)) == bytes.fromhex("060804beef0302")
    for impossible in (ConcatRef(1, 2, 3), ConcatRef(1, 0, 0), ConcatRef(256, 2, 1), ConcatRef(1, 256, 1)):
        with pytest.raises(ValueError):
            udh.concatenation_header(impossible)
    with pytest.raises(ValueError):
        udh.build([InformationElement(1, b"x" * 254)])
    assert udh.build([]) == b""
