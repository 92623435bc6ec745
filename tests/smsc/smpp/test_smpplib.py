"""Our codec against smpplib's, which nobody here wrote: a misreading of ours cannot agree with itself there."""

from typing import Any

import pytest
from smpplib import smpp

from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.tlv import Tag

#: Untyped: smpplib's PDUs have their attributes at run time only.
make_pdu: Any = smpp.make_pdu
parse_pdu: Any = smpp.parse_pdu


class Client:
    """What smpplib's PDUs ask of a client."""

    sequence = 77

    def next_sequence(self) -> int:
        return self.sequence


SHORT = {
    "service_type": "CMT",
    "source_addr_ton": 1,
    "source_addr_npi": 1,
    "source_addr": "447700900001",
    "dest_addr_ton": 5,
    "dest_addr_npi": 0,
    "destination_addr": "Shop",
    "esm_class": 0x40,
    "protocol_id": 0x11,
    "priority_flag": 2,
    "schedule_delivery_time": "261122093015004+",
    "validity_period": "000002000000000R",
    "registered_delivery": 0x11,
    "replace_if_present_flag": 1,
    "data_coding": 8,
    "sm_default_msg_id": 3,
    "short_message": b"\x05\x00\x03\x01\x02\x01hello",
}
BIND = {
    "system_id": "esme",
    "password": "secret",
    "system_type": "VMS",
    "interface_version": 0x34,
    "addr_ton": 1,
    "addr_npi": 2,
    "address_range": "44",
}
COMMANDS = [
    ("bind_transmitter", BIND),
    ("bind_receiver", BIND),
    ("bind_transceiver", BIND),
    ("bind_transmitter_resp", {"system_id": "SC"}),
    ("bind_receiver_resp", {"system_id": "SC"}),
    ("bind_transceiver_resp", {"system_id": "SC"}),
    ("submit_sm", SHORT),
    ("deliver_sm", SHORT),
    ("submit_sm_resp", {"message_id": "1234567890"}),
    ("deliver_sm_resp", {"message_id": ""}),
    (
        "data_sm",
        {
            "service_type": "WAP",
            "source_addr_ton": 1,
            "source_addr_npi": 2,
            "source_addr": "111",
            "dest_addr_ton": 3,
            "dest_addr_npi": 4,
            "destination_addr": "222",
            "esm_class": 1,
            "registered_delivery": 1,
            "data_coding": 4,
        },
    ),
    ("data_sm_resp", {"message_id": "55"}),
    (
        "query_sm",
        {"message_id": "42", "source_addr_ton": 1, "source_addr_npi": 1, "source_addr": "111"},
    ),
    (
        "query_sm_resp",
        {"message_id": "42", "final_date": "261122093015000+", "message_state": 2, "error_code": 7},
    ),
    (
        "alert_notification",
        {
            "source_addr_ton": 1,
            "source_addr_npi": 1,
            "source_addr": "111",
            "esme_addr_ton": 2,
            "esme_addr_npi": 2,
            "esme_addr": "222",
        },
    ),
    ("unbind", {}),
    ("unbind_resp", {}),
    ("enquire_link", {}),
    ("enquire_link_resp", {}),
    ("generic_nack", {}),
]


def as_ours(value: str | bytes | int) -> bytes | int:
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize(("command", "fields"), COMMANDS)
def test_we_read_what_smpplib_writes_and_write_it_again(command: str, fields: dict) -> None:
    theirs = make_pdu(command, client=Client(), **fields)
    theirs.sequence = 77
    octets = theirs.generate()
    ours = p.decode(octets)
    assert ours.name == command
    assert ours.sequence_number == 77
    for name, value in fields.items():
        assert getattr(ours, name) == as_ours(value)
    assert ours.encode() == octets


@pytest.mark.parametrize(("command", "fields"), COMMANDS)
def test_smpplib_reads_what_we_write(command: str, fields: dict) -> None:
    cls = next(cls for cls in p.PDU_CLASSES.values() if cls.name == command)
    values: dict[str, Any] = {name: as_ours(value) for name, value in fields.items()}
    ours = cls(sequence_number=77, **values)
    theirs = parse_pdu(ours.encode(), client=Client(), allow_unknown_opt_params=True)
    assert theirs.command == command
    assert theirs.sequence == 77
    for name, value in fields.items():
        got = getattr(theirs, name)
        assert (got or b"") == as_ours(value) or got == value


def test_smpplib_reads_our_tlvs() -> None:
    ours = p.DeliverSm(sequence_number=1, esm_class=4)
    ours.add_tlv(Tag.receipted_message_id, b"1234567890\0").add_tlv(Tag.message_state, 2)
    ours.add_tlv(Tag.user_message_reference, 777).add_tlv(Tag.message_payload, b"text")
    theirs = parse_pdu(ours.encode(), client=Client(), allow_unknown_opt_params=True)
    assert theirs.receipted_message_id == b"1234567890"
    assert theirs.message_state == 2
    assert theirs.user_message_reference == 777
    assert theirs.message_payload == b"text"


def test_we_read_smpplibs_tlvs() -> None:
    theirs = make_pdu(
        "submit_sm",
        client=Client(),
        source_addr="1",
        destination_addr="2",
        short_message=b"x",
        user_message_reference=777,
        sar_msg_ref_num=5,
        sar_total_segments=2,
        sar_segment_seqnum=1,
    )
    ours = p.decode(theirs.generate())
    assert ours.get_tlv_int(Tag.user_message_reference) == 777
    assert [
        ours.get_tlv_int(t) for t in (Tag.sar_msg_ref_num, Tag.sar_total_segments, Tag.sar_segment_seqnum)
    ] == [
        5,
        2,
        1,
    ]
