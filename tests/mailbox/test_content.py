"""What may lie in a mailbox: the table of behaviour.md 1, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.mailbox import content
from restante.mailbox.settings import MailboxSettings
from restante.message import Address, Kind, Message
from restante.smsc.smpp import tlv
from restante.smsc.text import segments, udh

SETTINGS = MailboxSettings()
UDHI = 0x40

MMS = (
    b"\x01\x06\x22\x61pplication/vnd.wap.mms-message\x00\xaf\x84"
    b"\x8c\x82\x98T1\x00\x8d\x90\x89\x19\x80\x17+447700900999/TYPE=PLMN\x00\x83http://mms/1\x00"
)
MMS_SHORT = b"\x01\x06\x01\xbe\x8c\x82\x98T1\x00\x8d\x90\x83http://mms/1\x00"
OTHER_PUSH = b"\x01\x06\x01\xaeSI\x00\x01http://example\x00"


def message(**fields: Any) -> Message:
    usual: dict[str, Any] = {
        "source": Address(1, 1, "447700900999"),
        "destination": Address(1, 1, "447700900001"),
        "id": 7 << 20,
        "body": b"Hello",
        "account": 1,
        "sender": "+447700900999",
        "recipient": "+447700900001",
        "submitted_at": 1000,
        "expires_at": 2000,
    }
    return Message(**(usual | fields))


def with_header(*elements: tuple[int, bytes], text: bytes = b"Hello") -> dict[str, Any]:
    return {"esm_class": UDHI, "body": udh.build(udh.InformationElement(*e) for e in elements) + text}


PORTS_2948 = (udh.PORTS_16, b"\x0b\x84\x23\xf0")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"data_coding": 0x08, "body": "Grüße".encode("utf-16-be")},
        {"data_coding": 0x10},  # class 0: flash text is text
        {"data_coding": 0x11},
        {"data_coding": 0x19, "body": "Ж".encode("utf-16-be")},  # Kannel's UCS2
        {"data_coding": 0xF1},
        {"esm_class": 0x03},
        {"esm_class": 0x08},  # a person's acknowledgement
        {"protocol_id": 0x41},  # replace type 1
        with_header((udh.CONCATENATION_8, b"\x01\x02\x01")),
        with_header(PORTS_2948, text=MMS),
        with_header(PORTS_2948, text=MMS_SHORT),
        {"tlvs": tlv.one(tlv.Tag.destination_port, 2948), "data_coding": 4, "body": MMS},
    ],
)
def test_people_s_text_and_mms_notifications_may_be_kept(fields: dict[str, Any]):
    assert content.not_material(message(**fields), SETTINGS) == ""


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": Kind.RECEIPT}, "system-message"),
        ({"kind": Kind.NOTICE}, "system-message"),
        ({"kind": Kind.CODE}, "system-message"),
        ({"kind": Kind.ANSWER}, "system-message"),
        ({"esm_class": 0x01}, "not-store-and-forward"),
        ({"esm_class": 0x02}, "not-store-and-forward"),
        ({"esm_class": 0x04}, "not-a-text-message"),
        ({"esm_class": 0x20}, "not-a-text-message"),
        ({"expires_at": 1000}, "no-validity"),
        ({"service_type": "VMN"}, "mailbox-denied"),
        ({"protocol_id": 0x40}, "type-0"),
        ({"protocol_id": 0x7F}, "data-download"),
        ({"protocol_id": 0x7D}, "data-download"),
        ({"data_coding": 0x12}, "sim-message"),
        ({"data_coding": 0xF2}, "sim-message"),
        ({"data_coding": 0xF6}, "sim-message"),
        ({"tlvs": tlv.one(tlv.Tag.dest_addr_subunit, 3)}, "sim-message"),
        ({"data_coding": 0xC8}, "message-waiting"),
        ({"data_coding": 0xD8}, "message-waiting"),
        ({"data_coding": 0xE8}, "message-waiting"),
        ({"tlvs": tlv.one(tlv.Tag.ms_msg_wait_facilities, 0x80)}, "message-waiting"),
        (with_header((udh.SPECIAL_MESSAGE_INDICATION, b"\x80\x01")), "message-waiting"),
        (with_header((0x70, b"")), "data-download"),
        ({"data_coding": 0x04}, "binary-content"),
        ({"data_coding": 0x02}, "binary-content"),
        ({"data_coding": 0xF5}, "binary-content"),
        ({"data_coding": 0x14}, "binary-content"),
        (with_header((udh.PORTS_16, b"\x00\x50\x00\x50")), "port-addressed"),
        (with_header((udh.PORTS_8, b"\xf0\xf0")), "port-addressed"),
        ({"tlvs": tlv.one(tlv.Tag.destination_port, 80)}, "port-addressed"),
        (with_header(PORTS_2948, text=OTHER_PUSH), "port-addressed"),
        (with_header(PORTS_2948, text=b""), "port-addressed"),
    ],
)
def test_what_is_for_a_handset_or_an_application_is_refused(fields: dict[str, Any], reason: str):
    assert content.not_material(message(**fields), SETTINGS) == reason


def test_kind_and_text():
    assert content.read(message(), "gsm7") == content.Content(content.ItemKind.SMS, "Hello", "gsm7")
    assert content.read(message(body=b"\x02"), "gsm7").text == "$"
    assert content.read(message(body=b"a\x00b"), "latin1").text == "ab"  # PostgreSQL stores no NUL
    assert content.read(message(**with_header(PORTS_2948, text=MMS)), "gsm7").kind is content.ItemKind.MMS


@given(
    body=st.binary(max_size=200),
    data_coding=st.integers(0, 255),
    esm_class=st.integers(0, 255),
    tlvs=st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=8)), max_size=4),
    part=st.tuples(st.integers(0, 255), st.integers(0, 255)),
)
def test_nothing_a_peer_sends_raises_and_text_can_be_stored(
    body: bytes, data_coding: int, esm_class: int, tlvs: list[tuple[int, bytes]], part: tuple[int, int]
):
    odd = message(
        body=body,
        data_coding=data_coding,
        esm_class=esm_class,
        tlvs=tlv.build(tlvs),
        part_total=part[0],
        part_number=part[1],
    )
    content.not_material(odd, SETTINGS)
    text = content.read(odd, "gsm7").text
    assert "\0" not in text
    text.encode("utf-8")
    joined, _ = content.joined_text([(odd, "gsm7")])
    joined.encode("utf-8")


@given(
    body=st.binary(max_size=50),
    digits=st.text(st.characters(max_codepoint=255), max_size=20),
    numbers=st.lists(st.integers(0, 2**31), min_size=4, max_size=4),
    tlvs=st.binary(max_size=20),
    service=st.text(max_size=5),
)
def test_an_envelope_gives_the_message_back(
    body: bytes, digits: str, numbers: list[int], tlvs: bytes, service: str
):
    original = message(
        source=Address(5, 0, digits),
        body=body,
        tlvs=tlvs,
        service_type=service,
        reference=numbers[0],
        parent=numbers[1],
        registered_delivery=numbers[2],
        part_total=numbers[3],
    )
    assert content.message_from(original.id, content.envelope(original), body) == original


def test_parts_are_joined_across_a_character_that_was_cut_in_two():
    whole = "Sun: \U0001f31e!".encode("utf-16-be")
    cut = whole[:12], whole[12:]  # between the two halves of the pair
    parts = [
        message(
            data_coding=8,
            **with_header((udh.CONCATENATION_8, bytes((9, 2, number))), text=octets),
            part_reference=9,
            part_total=2,
            part_number=number,
        )
        for number, octets in enumerate(cut, 1)
    ]
    assert content.joined_text((part, "gsm7") for part in reversed(parts)) == ("Sun: \U0001f31e!", ())
    assert content.joined_text([(parts[0], "gsm7")])[1] == (2,)
    assert isinstance(segments.join([]).text, type(None))
