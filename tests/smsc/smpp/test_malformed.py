"""What is malformed is refused with the status of its first bad field, by fast code and slow ladder alike."""

import os
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdu_strategies import pdus

from restante.smsc.smpp import codec
from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.command_status import CommandStatus

LONG = os.environ.get("RESTANTE_LONG") == "1"

HEAD = b"\0\0\0" + b"12\0" + b"\0\0" + b"34\0"  # service_type to destination_addr
TAIL = b"\0\0\0" + b"\0\0" + b"\0\0\0\0"  # esm_class to sm_default_msg_id
BIND_TAIL = b"\x34\0\0\0"

ROWS = [
    (p.SubmitSm, b"", "service_type", CommandStatus.ESME_RINVSERTYP),
    (p.SubmitSm, b"123456\0", "service_type", CommandStatus.ESME_RINVSERTYP),
    (p.SubmitSm, b"CMT", "service_type", CommandStatus.ESME_RINVSERTYP),
    (p.SubmitSm, b"\0", "source_addr_ton", CommandStatus.ESME_RINVCMDLEN),
    (p.SubmitSm, b"\0\0\0" + b"1" * 21 + b"\0", "source_addr", CommandStatus.ESME_RINVSRCADR),
    (p.SubmitSm, b"\0\0\0" + b"1" * 5, "source_addr", CommandStatus.ESME_RINVSRCADR),
    (p.SubmitSm, b"\0\0\0\0\0\0" + b"1" * 21 + b"\0", "destination_addr", CommandStatus.ESME_RINVDSTADR),
    (
        p.SubmitSm,
        HEAD + b"\0\0\0" + b"1" * 17 + b"\0",
        "schedule_delivery_time",
        CommandStatus.ESME_RINVSCHED,
    ),
    (p.SubmitSm, HEAD + b"\0\0\0\0" + b"1" * 17 + b"\0", "validity_period", CommandStatus.ESME_RINVEXPIRY),
    (p.SubmitSm, HEAD + TAIL[:-1], "sm_default_msg_id", CommandStatus.ESME_RINVCMDLEN),
    (p.SubmitSm, HEAD + TAIL, "short_message", CommandStatus.ESME_RINVCMDLEN),
    (p.SubmitSm, HEAD + TAIL + b"\x05abcd", "short_message", CommandStatus.ESME_RINVMSGLEN),
    (p.SubmitSm, HEAD + TAIL + b"\0\1", "tlvs", CommandStatus.ESME_RINVTLVSTREAM),
    (p.SubmitSm, HEAD + TAIL + b"\0\2\4\0", "tlvs", CommandStatus.ESME_RINVTLVSTREAM),
    (p.SubmitSm, HEAD + TAIL + b"\0\2\4\0\5abcd", "tlvs", CommandStatus.ESME_RINVTLVLEN),
    (p.DeliverSm, HEAD + TAIL + b"\0\2\4\0\2ab\0\0\0\1", "tlvs", CommandStatus.ESME_RINVTLVLEN),
    (p.BindTransceiver, b"1" * 16 + b"\0", "system_id", CommandStatus.ESME_RINVSYSID),
    (p.BindTransceiver, b"1\0" + b"1" * 9 + b"\0", "password", CommandStatus.ESME_RINVPASWD),
    (p.BindReceiver, b"1\0" + b"1\0" + b"1" * 13 + b"\0", "system_type", CommandStatus.ESME_RINVSYSTYP),
    (
        p.BindTransmitter,
        b"1\0" + b"1\0" + b"\0\x34\0\0" + b"9" * 41 + b"\0",
        "address_range",
        CommandStatus.ESME_RBINDFAIL,
    ),
    (p.BindTransmitter, b"1\0" + b"1\0" + b"\0\x34\0", "addr_npi", CommandStatus.ESME_RINVCMDLEN),
    (p.Outbind, b"x", "system_id", CommandStatus.ESME_RINVSYSID),
    (p.QuerySm, b"1" * 65 + b"\0", "message_id", CommandStatus.ESME_RINVMSGID),
    (p.CancelSm, b"\0" + b"1", "message_id", CommandStatus.ESME_RINVMSGID),
    (p.ReplaceSm, b"1\0\0\0\0" + b"x", "schedule_delivery_time", CommandStatus.ESME_RINVSCHED),
    (p.ReplaceSm, b"1\0\0\0\0\0\0\0\0\2a", "short_message", CommandStatus.ESME_RINVMSGLEN),
    (p.DataSm, b"\0\0\0" + b"1" * 65 + b"\0", "source_addr", CommandStatus.ESME_RINVSRCADR),
    (p.SubmitMulti, b"\0\0\0\0\0" + TAIL + b"\0", "dest_address", CommandStatus.ESME_RINVNUMDESTS),
    (p.SubmitMulti, b"\0\0\0\0\2" + b"\1\0\0a\0", "dest_address", CommandStatus.ESME_RINVNUMDESTS),
    (p.SubmitMulti, b"\0\0\0\0\1" + b"\3\0\0a\0", "dest_address", CommandStatus.ESME_RINVDESTFLAG),
    (
        p.SubmitMulti,
        b"\0\0\0\0\1" + b"\1\0\0" + b"1" * 21 + b"\0",
        "dest_address",
        CommandStatus.ESME_RINVDSTADR,
    ),
    (p.SubmitMulti, b"\0\0\0\0\1" + b"\1\0", "dest_address", CommandStatus.ESME_RINVCMDLEN),
    (p.SubmitMulti, b"\0\0\0\0\1" + b"\2" + b"1" * 21 + b"\0", "dest_address", CommandStatus.ESME_RINVDLNAME),
    (p.SubmitMulti, b"\0\0\0\0", "dest_address", CommandStatus.ESME_RINVCMDLEN),
    (p.SubmitMultiResp, b"1\0\1\0\0a\0\0\0\0", "unsuccess_sme", CommandStatus.ESME_RINVCMDLEN),
    (p.SubmitSmResp, b"123", "message_id", CommandStatus.ESME_RINVMSGID),
    (p.SubmitSmResp, b"1\0x", "tlvs", CommandStatus.ESME_RINVTLVSTREAM),
    (p.EnquireLink, b"x", "tlvs", CommandStatus.ESME_RINVTLVSTREAM),
]


@pytest.mark.parametrize(("cls", "body", "field", "status"), ROWS)
def test_names_field_and_status(cls: type[p.Pdu], body: bytes, field: str, status: int) -> None:
    octets = struct.pack(">IIII", 16 + len(body), cls.command_id, 0, 77) + body
    with pytest.raises(p.MalformedPdu) as raised:
        p.decode(octets + b"")
    error = raised.value
    assert (error.field, error.command_status) == (field, status)
    assert isinstance(error.pdu, cls)
    assert error.pdu.sequence_number == 77
    # The same in the middle of a read: what follows the PDU must not be taken for a part of it.
    with pytest.raises(p.MalformedPdu) as raised:
        cls.decode_body(b"zz" + octets + b"\0" * 300, 2, 2 + len(octets), 0, 77)
    assert (raised.value.field, raised.value.command_status) == (field, status)


def test_partial_pdu_has_what_came_before_and_defaults_after() -> None:
    body = b"CMT\0\1\1" + b"447\0" + b"\1\1" + b"9" * 30
    with pytest.raises(p.MalformedPdu) as raised:
        p.SubmitSm.decode_body(bytes(16) + body, 0, 16 + len(body), 0, 5)
    assert raised.value.pdu == p.SubmitSm(
        sequence_number=5,
        service_type=b"CMT",
        source_addr_ton=1,
        source_addr_npi=1,
        source_addr=b"447",
        dest_addr_ton=1,
        dest_addr_npi=1,
    )


def read(decode, cls: type[p.Pdu], octets: bytes):
    """What a decoder says of these octets, in a form that can be compared."""
    try:
        return decode(octets, 0, len(octets), 1, 2)
    except p.MalformedPdu as error:
        return error.field, error.command_status, error.pdu


def agree(cls: type[p.Pdu], octets: bytes) -> bool:
    """Fast code and ladder say the same; True if they accept, and then the octets come back."""
    fast = read(cls.decode_body, cls, octets)
    slow = read(lambda *where: codec.decode_slowly(cls, *where), cls, octets)
    if len(octets) == 16 and "has_body" in cls.defaults:
        return True  # an absent body is the fast code's alone
    assert fast == slow
    if isinstance(fast, tuple):
        return False
    assert fast.encode()[16:] == octets[16:]
    return True


@given(st.sampled_from(list(p.PDU_CLASSES.values())), st.binary(max_size=120))
def test_fast_code_and_ladder_agree_on_random_bodies(cls: type[p.Pdu], body: bytes) -> None:
    agree(cls, bytes(16) + body)


@given(pdus(), st.data())
@settings(max_examples=300)
def test_fast_code_and_ladder_agree_on_cut_pdus(pdu: p.Pdu, data: st.DataObject) -> None:
    octets = pdu.encode()
    cut = data.draw(st.integers(16, len(octets)))
    agree(type(pdu), octets[:cut])


SAMPLES = [
    p.SubmitSm(source_addr=b"12", destination_addr=b"34", short_message=b"hello", validity_period=b"x" * 16)
    .add_tlv(0x0204, 7)
    .add_tlv(0x1401, b"abc"),
    p.DeliverSm(source_addr=b"12", destination_addr=b"34", esm_class=4, short_message=b"id:1"),
    p.SubmitMulti(
        source_addr=b"1",
        dest_address=(p.SmeAddress(1, 1, b"44"), p.DistributionList(b"l"), p.SmeAddress(1, 1, b"45")),
        short_message=b"m",
    ),
    p.SubmitMultiResp(message_id=b"1", unsuccess_sme=(p.UnsuccessSme(1, 1, b"44", 11),) * 3),
    p.BindTransceiver(system_id=b"a", password=b"b", system_type=b"c", address_range=b"d"),
    p.QuerySmResp(message_id=b"1", final_date=b"1" * 16),
    p.CancelSm(service_type=b"1", message_id=b"2", source_addr=b"3", destination_addr=b"4"),
    p.ReplaceSm(message_id=b"1", source_addr=b"2", short_message=b"text"),
    p.DataSm(source_addr=b"1", destination_addr=b"2").add_tlv(0x0424, b"payload"),
    p.AlertNotification(source_addr=b"1", esme_addr=b"2"),
]


def test_mutated_bodies_are_refused_or_come_back() -> None:
    random_ = random.Random(20261122)
    accepted = refused = 0
    for round_ in range(1_000_000 if LONG else 10_000):
        pdu = SAMPLES[round_ % len(SAMPLES)]
        octets = bytearray(pdu.encode())
        for _ in range(random_.randint(1, 4)):
            at = random_.randrange(16, len(octets) + 1)
            match random_.randrange(4):
                case 0 if at < len(octets):
                    octets[at] = random_.choice((0, 1, 2, 0x7F, 0x80, 0xFF, random_.randrange(256)))
                case 1:
                    del octets[at:]
                case 2:
                    octets[at:at] = random_.randbytes(random_.randint(1, 30))
                case _:
                    del octets[at : at + random_.randint(1, 3)]
        if agree(type(pdu), bytes(octets)):
            accepted += 1
        else:
            refused += 1
    assert accepted > 500
    assert refused > 500
