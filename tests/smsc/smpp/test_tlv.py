"""TLVs: nothing is lost, whatever the tag, the order or the length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdu_strategies import TLVS

from restante.smsc.smpp import tlv
from restante.smsc.smpp.pdu import SubmitSm, decode
from restante.smsc.smpp.tlv import Tag

PAIRS = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=50)), max_size=6)


@given(PAIRS)
def test_parse_undoes_build(pairs: list[tuple[int, bytes]]) -> None:
    raw = tlv.build(pairs)
    assert tlv.fault_in(raw) is None
    assert tlv.parse(raw) == pairs
    assert SubmitSm(tlvs=raw).tlv_list() == pairs


@given(PAIRS, st.integers(0, 0xFFFF))
def test_get_and_strip_agree_with_the_list(pairs: list[tuple[int, bytes]], tag: int) -> None:
    tag = pairs[len(pairs) // 2][0] if pairs else tag
    raw = tlv.build(pairs)
    assert tlv.get(raw, tag) == next((value for t, value in pairs if t == tag), None)
    assert tlv.parse(tlv.strip(raw, tag)) == [pair for pair in pairs if pair[0] != tag]
    assert tlv.strip(raw) == raw


@given(st.binary(max_size=60))
def test_fault_in_says_whether_parse_can_be_trusted(raw: bytes) -> None:
    if tlv.fault_in(raw) is None:
        assert tlv.build(tlv.parse(raw)) == raw
    elif tlv.fault_in(raw) == "stream":
        assert any(tlv.fault_in(raw + bytes(more)) is None for more in range(1, 4 + 0x10000))
    else:
        assert tlv.fault_in(raw[:-1]) is not None or tlv.build(tlv.parse(raw)) != raw


@given(TLVS, st.binary(max_size=30))
def test_vendor_tlvs_pass_through_a_pdu(before: bytes, value: bytes) -> None:
    pdu = SubmitSm(tlvs=before).add_tlv(0x1401, value)
    again = decode(pdu.encode())
    assert again.tlvs == before + tlv.one(0x1401, value)
    assert again.encode() == pdu.encode()


@pytest.mark.parametrize(
    ("tag", "value", "octets"),
    [
        (Tag.user_message_reference, 77, b"\x02\x04\x00\x02\x00\x4d"),
        (Tag.qos_time_to_live, 3600, b"\x00\x17\x00\x04\x00\x00\x0e\x10"),
        (Tag.message_state, 2, b"\x04\x27\x00\x01\x02"),
        (Tag.ms_validity, 3, b"\x12\x04\x00\x01\x03"),
        (Tag.ms_validity, 0x01020304, b"\x12\x04\x00\x04\x01\x02\x03\x04"),
        (Tag.alert_on_message_delivery, b"", b"\x13\x0c\x00\x00"),
        (Tag.alert_on_message_delivery, 1, b"\x13\x0c\x00\x01\x01"),
        (0x1400, b"PE", b"\x14\x00\x00\x02PE"),
    ],
)
def test_octets_of_one(tag: int, value: bytes | int, octets: bytes) -> None:
    assert tlv.one(tag, value) == octets
    if isinstance(value, int):
        assert tlv.get_int(octets, tag) == value


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (Tag.message_state, 256),
        (Tag.message_state, -1),
        (Tag.user_message_reference, 65536),
        (Tag.message_payload, 1),
        (0x1401, 1),
        (0x10000, b""),
        (-1, b""),
        (Tag.message_payload, bytes(65536)),
    ],
)
def test_what_cannot_be_said(tag: int, value: bytes | int) -> None:
    with pytest.raises(ValueError):
        tlv.one(tag, value)


def test_ints_of_odd_lengths_read_as_meant() -> None:
    assert tlv.get_int(tlv.one(Tag.user_message_reference, b"\x07"), Tag.user_message_reference) == 7
    assert tlv.get_int(tlv.one(Tag.message_state, b"\0\0\0\x02"), Tag.message_state) == 2
    assert tlv.get_int(tlv.one(Tag.message_state, b""), Tag.message_state) is None
    assert tlv.get_int(tlv.one(Tag.message_state, bytes(9)), Tag.message_state) is None
    assert tlv.get_int(b"", Tag.message_state) is None


def test_c_octet_string_with_and_without_terminator() -> None:
    for value in (b"42\0", b"42", b"42\0\0"):
        assert (
            tlv.get_c_octet_string(tlv.one(Tag.receipted_message_id, value), Tag.receipted_message_id)
            == b"42"
        )
    assert tlv.get_c_octet_string(b"", Tag.receipted_message_id) is None


def test_every_tag_has_a_shape_and_a_name() -> None:
    assert set(tlv.SHAPES) == set(Tag)
    assert tlv.tag_name(0x0424) == "message_payload"
    assert tlv.tag_name(0x1401) == "0x1401"
    assert tlv.fits_shape(Tag.message_state, b"\2")
    assert not tlv.fits_shape(Tag.message_state, b"")
    assert tlv.fits_shape(0x1401, b"anything")


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("congestion_state", 0x0428),
        ("billing_identification", 0x060B),
        ("source_network_id", 0x060D),
        ("dest_network_id", 0x060E),
        ("source_node_id", 0x060F),
        ("dest_node_id", 0x0610),
        ("dest_addr_np_country", 0x0613),
        ("ussd_service_op", 0x0501),
        ("failed_broadcast_area_identifier", 0x0606),
        ("sc_interface_version", 0x0210),
        ("its_session_info", 0x1383),
    ],
)
def test_tags_of_the_specification(name: str, tag: int) -> None:
    assert Tag[name] == tag
