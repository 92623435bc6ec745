"""Each PDU against octets written by hand, and what holds for all of them."""

import copy
import linecache
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdu_strategies import pdus

from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.codec import BadHeader, EncodeError
from restante.smsc.smpp.command_id import CommandId, command_name, is_response
from restante.smsc.smpp.tlv import Tag


def frame(command_id: int, body: bytes, status: int = 0, sequence: int = 1) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command_id, status, sequence) + body


BIND = b"esme\0secret\0VMS\0\x34\x01\x02^44\0"
SHORT = (
    b"CMT\0\x01\x02447700900001\0\x05\x00Shop\0\x40\x11\x03000000010000000R\0\0\x11\x01\xf5\x07\x05a\0b\0c"
)
BIND_FIELDS: dict[str, Any] = {
    "system_id": b"esme",
    "password": b"secret",
    "system_type": b"VMS",
    "interface_version": 0x34,
    "addr_ton": 1,
    "addr_npi": 2,
    "address_range": b"^44",
}
SHORT_FIELDS: dict[str, Any] = {
    "service_type": b"CMT",
    "source_addr_ton": 1,
    "source_addr_npi": 2,
    "source_addr": b"447700900001",
    "dest_addr_ton": 5,
    "dest_addr_npi": 0,
    "destination_addr": b"Shop",
    "esm_class": 0x40,
    "protocol_id": 0x11,
    "priority_flag": 3,
    "schedule_delivery_time": b"000000010000000R",
    "validity_period": b"",
    "registered_delivery": 0x11,
    "replace_if_present_flag": 1,
    "data_coding": 0xF5,
    "sm_default_msg_id": 7,
    "short_message": b"a\0b\0c",
}
ROWS = [
    (p.BindReceiver(**BIND_FIELDS), 0x00000001, BIND),
    (p.BindTransmitter(**BIND_FIELDS), 0x00000002, BIND),
    (p.BindTransceiver(**BIND_FIELDS), 0x00000009, BIND),
    (
        p.BindReceiverResp(system_id=b"SC", tlvs=b"\x02\x10\x00\1\x34"),
        0x80000001,
        b"SC\x00\x02\x10\x00\x01\x34",
    ),
    (p.BindTransmitterResp(system_id=b"SC"), 0x80000002, b"SC\x00"),
    (p.BindTransceiverResp(has_body=False), 0x80000009, b""),
    (p.Outbind(system_id=b"SC", password=b"pw"), 0x0000000B, b"SC\x00pw\x00"),
    (p.Unbind(), 0x00000006, b""),
    (p.UnbindResp(), 0x80000006, b""),
    (p.GenericNack(), 0x80000000, b""),
    (p.EnquireLink(), 0x00000015, b""),
    (p.EnquireLinkResp(), 0x80000015, b""),
    (p.SubmitSm(**SHORT_FIELDS), 0x00000004, SHORT),
    (p.SubmitSm(), 0x00000004, bytes(17)),
    (p.DeliverSm(**SHORT_FIELDS, tlvs=b"\x14\x01\x00\x00"), 0x00000005, SHORT + b"\x14\x01\x00\x00"),
    (p.SubmitSmResp(message_id=b"42"), 0x80000004, b"42\x00"),
    (p.SubmitSmResp(message_id=b""), 0x80000004, b"\x00"),
    (p.SubmitSmResp(has_body=False), 0x80000004, b""),
    (p.SubmitSmResp(message_id=b"42", tlvs=b"\x04\x28\x00\1\x5a"), 0x80000004, b"42\x00\x04\x28\x00\x01\x5a"),
    (p.DeliverSmResp(), 0x80000005, b"\x00"),
    (
        p.SubmitMulti(
            source_addr=b"7",
            dest_address=(
                p.SmeAddress(1, 1, b"49170"),
                p.DistributionList(b"staff"),
                p.SmeAddress(0, 0, b""),
            ),
            esm_class=1,
            protocol_id=2,
            short_message=b"hi",
        ),
        0x00000021,
        b"\x00\x00\x007\x00\x03\x01\x01\x0149170\x00\x02staff\x00\x01\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00\x02hi",
    ),
    (
        p.SubmitMultiResp(message_id=b"9", unsuccess_sme=(p.UnsuccessSme(1, 1, b"49170", 0x0000000B),)),
        0x80000021,
        b"9\x00\x01\x01\x0149170\x00\x00\x00\x00\x0b",
    ),
    (p.SubmitMultiResp(message_id=b"9"), 0x80000021, b"9\x00\x00"),
    (
        p.DataSm(
            service_type=b"WAP",
            source_addr=b"s" * 64,
            dest_addr_ton=1,
            destination_addr=b"d" * 64,
            esm_class=2,
            registered_delivery=1,
            data_coding=8,
            tlvs=b"\x04\x24\x00\x02hi",
        ),
        0x00000103,
        b"WAP\x00\x00\x00"
        + b"s" * 64
        + b"\x00\x01\x00"
        + b"d" * 64
        + b"\x00\x02\x01\x08"
        + b"\x04\x24\x00\x02hi",
    ),
    (p.DataSmResp(message_id=b"77"), 0x80000103, b"77\x00"),
    (
        p.QuerySm(message_id=b"42", source_addr_ton=1, source_addr_npi=1, source_addr=b"447"),
        0x00000003,
        b"42\x00\x01\x01447\x00",
    ),
    (
        p.QuerySmResp(message_id=b"42", final_date=b"261122093000000+", message_state=2, error_code=9),
        0x80000003,
        b"42\x00261122093000000+\x00\x02\x09",
    ),
    (p.QuerySmResp(has_body=False), 0x80000003, b""),
    (
        p.CancelSm(
            service_type=b"X", message_id=b"42", source_addr=b"1", dest_addr_npi=8, destination_addr=b"2"
        ),
        0x00000008,
        b"X\x0042\x00\x00\x001\x00\x00\x082\x00",
    ),
    (p.CancelSmResp(), 0x80000008, b""),
    (
        p.ReplaceSm(
            message_id=b"42",
            source_addr=b"1",
            schedule_delivery_time=b"1",
            validity_period=b"2",
            registered_delivery=1,
            sm_default_msg_id=3,
            short_message=b"new",
        ),
        0x00000007,
        b"42\x00\x00\x001\x001\x002\x00\x01\x03\x03new",
    ),
    (p.ReplaceSmResp(), 0x80000007, b""),
    (
        p.AlertNotification(
            source_addr_ton=1, source_addr=b"447", esme_addr_npi=4, esme_addr=b"8", tlvs=b"\x04\x22\x00\1\x00"
        ),
        0x00000102,
        b"\x01\x00447\x00\x00\x048\x00\x04\x22\x00\x01\x00",
    ),
]


@pytest.mark.parametrize(("pdu", "command_id", "body"), ROWS, ids=lambda value: getattr(value, "name", ""))
def test_reads_and_writes_the_octets_of_the_specification(pdu: p.Pdu, command_id: int, body: bytes) -> None:
    pdu.sequence_number = 1
    octets = frame(command_id, body)
    assert pdu.encode() == octets
    assert p.decode(octets) == pdu


def test_rows_cover_every_pdu() -> None:
    assert {command_id for _, command_id, _ in ROWS} == set(p.PDU_CLASSES)


def test_every_command_but_the_broadcast_ones_has_a_class() -> None:
    assert {c.name for c in CommandId if c not in p.PDU_CLASSES} == {
        name + suffix
        for name in ("broadcast_sm", "query_broadcast_sm", "cancel_broadcast_sm")
        for suffix in ("", "_resp")
    }


@given(pdus())
def test_any_pdu_survives_the_wire(pdu: p.Pdu) -> None:
    octets = pdu.encode()
    again = p.decode(octets)
    assert again == pdu
    assert again.encode() == octets


@given(pdus(), st.binary(max_size=20), st.binary(max_size=20))
def test_decodes_in_the_middle_of_a_read(pdu: p.Pdu, before: bytes, after: bytes) -> None:
    octets = pdu.encode()
    end = len(before) + len(octets)
    decoded = pdu.decode_body(
        before + octets + after, len(before), end, pdu.command_status, pdu.sequence_number
    )
    assert decoded == pdu


@pytest.mark.parametrize("sequence", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("status", [0, 0x14, 0x410, 0xFFFFFFFF])
def test_any_sequence_number_and_status_passes(sequence: int, status: int) -> None:
    octets = frame(0x80000004, b"", status, sequence)
    pdu = p.decode(octets)
    assert (pdu.sequence_number, pdu.command_status) == (sequence, status)
    assert pdu.encode() == octets


def test_unknown_command_keeps_its_body() -> None:
    octets = frame(0x00000111, b"\1\2\3", 5, 6)
    pdu = p.decode(octets)
    assert isinstance(pdu, p.UnknownPdu)
    assert pdu.name == "broadcast_sm"
    assert pdu.encode() == octets


@pytest.mark.parametrize(
    "octets", [b"", b"\0\0\0\x10", frame(4, b"")[:15], frame(4, b"ab")[:-1], frame(4, b"") + b"x"]
)
def test_header_must_fit_the_octets(octets: bytes) -> None:
    with pytest.raises(BadHeader):
        p.decode(octets)


@pytest.mark.parametrize(
    ("pdu", "field"),
    [
        (p.SubmitSm(service_type=b"123456"), "service_type"),
        (p.SubmitSm(source_addr=b"1\0"), "source_addr"),
        (p.SubmitSm(source_addr=b"1" * 21), "source_addr"),
        (p.SubmitSm(destination_addr="4477"), "destination_addr"),  # pyright: ignore[reportArgumentType]
        (p.SubmitSm(destination_addr=""), "destination_addr"),  # pyright: ignore[reportArgumentType]
        (p.SubmitSm(validity_period=None), "validity_period"),  # pyright: ignore[reportArgumentType]
        (p.SubmitSm(esm_class=256), "esm_class"),
        (p.SubmitSm(data_coding=-1), "data_coding"),
        (p.SubmitSm(short_message=bytes(256)), "short_message"),
        (p.SubmitSm(tlvs=b"\0\1\0\5abc"), "tlvs"),
        (p.SubmitSm(tlvs=b"\0\1"), "tlvs"),
        (p.SubmitSm(tlvs="x"), "tlvs"),  # pyright: ignore[reportArgumentType]
        (p.SubmitSm(tlvs=[(1, b"")]), "tlvs"),  # pyright: ignore[reportArgumentType]
        (p.EnquireLink(tlvs=""), "tlvs"),  # pyright: ignore[reportArgumentType]
        (p.SubmitSm(sequence_number=-1), "sequence_number"),
        (p.SubmitSm(sequence_number=1 << 32), "sequence_number"),
        (p.SubmitSm(command_status=1 << 32), "command_status"),
        (p.SubmitSmResp(message_id=b"1" * 65), "message_id"),
        (p.SubmitSmResp(has_body=False, tlvs=b"\0\1\0\0"), "tlvs"),
        (p.SubmitSmResp(has_body=False, sequence_number=-1), "sequence_number"),
        (p.SubmitMulti(), "dest_address"),
        (p.SubmitMulti(dest_address=(p.DistributionList(b"x"),) * 256), "dest_address"),
        (p.SubmitMulti(dest_address=(p.SmeAddress(1, 256, b"1"),)), "dest_address"),
        (p.SubmitMulti(dest_address=(p.SmeAddress(1, 1, b"1" * 21),)), "dest_address"),
        (p.SubmitMulti(dest_address=(p.DistributionList(b"a\0"),)), "dest_address"),
        (p.SubmitMulti(dest_address=(b"4477",)), "dest_address"),  # pyright: ignore[reportArgumentType]
        (p.SubmitMultiResp(unsuccess_sme=(p.UnsuccessSme(1, 1, b"1", -1),)), "unsuccess_sme"),
        (p.BindTransceiver(password=b"nine octs"), "password"),
        (p.EnquireLink(tlvs=b"\0"), "tlvs"),
        (
            p.UnknownPdu(unknown_command_id=1 << 33, body=b"", command_status=0, sequence_number=0),
            "command_id",
        ),
    ],
)
def test_refuses_to_encode_what_is_not_smpp(pdu: p.Pdu, field: str) -> None:
    with pytest.raises(EncodeError, match=rf"{field} ") as raised:
        pdu.encode()
    assert raised.value.field == field


@given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=70))
def test_octets_are_what_the_object_encodes_to(sequence: int, message_id: bytes) -> None:
    def outcome(encode):
        try:
            return encode()
        except EncodeError as error:
            return str(error)

    for cls in (p.SubmitSmResp, p.DeliverSmResp, p.DataSmResp):
        by_object = outcome(cls(sequence_number=sequence, message_id=message_id).encode)
        assert outcome(lambda cls=cls: cls.octets(sequence, message_id)) == by_object


def test_octets_refuse_what_is_not_bytes() -> None:
    with pytest.raises(EncodeError, match="message_id is str"):
        p.SubmitSmResp.octets(1, "42")  # pyright: ignore[reportArgumentType]
    with pytest.raises(EncodeError, match="sequence_number"):
        p.SubmitSmResp.octets(-1, b"42")


def test_repr_never_shows_a_password() -> None:
    text = repr(p.BindTransceiver(system_id=b"esme", password=b"hunter2"))
    assert "hunter2" not in text
    assert "esme" in text
    assert "hunter2" not in repr(p.Outbind(password=b"hunter2"))


def test_repr_names_status_and_tlvs() -> None:
    text = repr(p.SubmitSmResp(command_status=0x58).add_tlv(Tag.congestion_state, 90).add_tlv(0x1401, b"x"))
    assert "ESME_RTHROTTLED" in text
    assert "congestion_state" in text
    assert "0x1401" in text


def test_generated_source_can_be_read() -> None:
    for cls in p.PDU_CLASSES.values():
        assert "def decode_body(" in cls.source
        assert "def encode(" in cls.source
        filename = cls.encode.__code__.co_filename
        assert linecache.getline(filename, cls.encode.__code__.co_firstlineno).startswith("def encode")


def test_response_classes() -> None:
    for command_id, cls in p.RESPONSE_OF.items():
        assert cls.command_id == command_id | 0x80000000
        assert cls.name == command_name(command_id) + "_resp"
    assert set(p.PDU_CLASSES) - set(p.RESPONSE_OF) == {
        command_id
        for command_id in p.PDU_CLASSES
        if is_response(command_id) or command_id in (CommandId.outbind, CommandId.alert_notification)
    }
    response = p.response_to(p.SubmitSm(sequence_number=9), 0x14)
    assert response == p.SubmitSmResp(sequence_number=9, command_status=0x14)
    assert p.response_to(p.Outbind(sequence_number=9), 4) == p.GenericNack(
        sequence_number=9, command_status=4
    )


def test_pdus_are_slotted_comparable_and_copied() -> None:
    pdu = p.SubmitSm(source_addr=b"1", sequence_number=3)
    assert not hasattr(pdu, "__dict__")
    twin = copy.copy(pdu)
    assert twin == pdu
    twin.source_addr = b"2"
    assert twin != pdu
    assert pdu != p.DeliverSm(source_addr=b"1", sequence_number=3)
    with pytest.raises(TypeError):
        hash(pdu)
