"""A draft's place among the parts of a longer message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.message import Address, Message
from restante.smsc.parts import find_place
from restante.smsc.smpp import tlv


def place(body: bytes = b"hi", **fields: object) -> tuple[int, int, int, int, int]:
    draft = Message(Address(0, 0, ""), Address(0, 0, ""), body=body, **fields)  # type: ignore[arg-type]
    find_place(draft)
    return draft.part_reference, draft.part_total, draft.part_number, draft.reference, draft.segments


def sar(reference: int, total: int, number: int) -> bytes:
    return (
        tlv.one(tlv.Tag.sar_msg_ref_num, reference)
        + tlv.one(tlv.Tag.sar_total_segments, total)
        + tlv.one(tlv.Tag.sar_segment_seqnum, number)
    )


def test_from_the_header():
    assert place(b"\x05\x00\x03\x07\x03\x02text", esm_class=0x40)[:3] == (7, 3, 2)
    assert place(b"\x06\x08\x04\x12\x34\x03\x02text", esm_class=0x40)[:3] == (0x1234, 3, 2)
    assert place(b"\x05\x00\x03\x07\x03\x02text", esm_class=0)[:3] == (0, 0, 0), "no header without the bit"


def test_from_the_sar_parameters():
    assert place(tlvs=sar(0xABCD, 2, 1))[:3] == (0xABCD, 2, 1)
    assert place(b"\x05\x00\x03\x07\x03\x02text", esm_class=0x40, tlvs=sar(9, 2, 1))[:3] == (7, 3, 2)


@pytest.mark.parametrize("numbers", [(7, 0, 1), (7, 2, 0), (7, 2, 3)])
def test_impossible_places_are_none(numbers):
    assert place(b"\x05\x00\x03" + bytes(numbers) + b"text", esm_class=0x40)[:3] == (0, 0, 0)
    assert place(tlvs=sar(*numbers))[:3] == (0, 0, 0)


def test_the_reference_is_read_with_and_without_a_header():
    reference = tlv.one(tlv.Tag.user_message_reference, 0x0102)
    assert place(tlvs=reference)[3] == 0x0102
    assert place(b"\x05\x00\x03\x07\x03\x02text", esm_class=0x40, tlvs=reference)[3] == 0x0102
    assert place(tlvs=b"\x02\x04\x00\x01\x05")[3] == 5, "one octet, as some peers write it"


def test_what_does_not_fit_the_wire_is_not_believed():
    assert place(tlvs=b"\x02\x04\x00\x08" + b"\xff" * 8)[3] == 0
    wide = b"\x02\x0c\x00\x02\x00\x07\x02\x0e\x00\x02\x12\x34\x02\x0f\x00\x02\x00\x01"
    assert place(tlvs=wide)[:3] == (0, 0, 0)


@pytest.mark.parametrize(
    ("octets", "coding", "segments"), [(140, 0, 1), (160, 0, 1), (161, 0, 2), (141, 8, 2), (140, 8, 1)]
)
def test_a_long_text_costs_its_segments(octets, coding, segments):
    assert place(b"a" * octets, data_coding=coding)[4] == segments


def test_a_part_costs_one_segment():
    assert place(b"\x05\x00\x03\x07\x03\x02" + b"a" * 153, esm_class=0x40)[4] == 1


def test_a_draft_brings_no_place_of_its_own():
    assert place(part_total=9, part_number=9, part_reference=9, reference=9, segments=9) == (0, 0, 0, 0, 1)


@given(st.binary(max_size=400), st.integers(0, 255), st.integers(0, 255), st.lists(st.tuples(
    st.sampled_from([0x0204, 0x020C, 0x020E, 0x020F]), st.binary(max_size=9)), max_size=5).map(tlv.build))  # fmt: skip
def test_whatever_a_peer_says_fits_the_columns(body, esm_class, data_coding, tlvs):
    reference, total, number, message_reference, segments = place(
        body, esm_class=esm_class, data_coding=data_coding, tlvs=tlvs
    )
    assert 0 <= reference <= 0xFFFF
    assert 0 <= number <= total <= 255
    assert 0 <= message_reference <= 0xFFFF
    assert 1 <= segments <= 32767
