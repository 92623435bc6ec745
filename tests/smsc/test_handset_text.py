"""Messages as TPDUs, and what comes from handsets as drafts."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.message import Address, Kind, Message, MessageState
from restante.signaling.causes import Status
from restante.signaling.tp_time import ValidityFormat, enhanced_validity, read_time_stamp, relative_validity
from restante.signaling.tpdu import Deliver, StatusReport, Submit
from restante.signaling.user_data import UserData, text_of
from restante.smsc.handset_intake import draft_of
from restante.smsc.handset_text import NotExpressible, deliver_tpdus, status_report_tpdu
from restante.smsc.smpp import tlv
from restante.smsc.text import codings, udh
from restante.smsc.text.codings import DefaultAlphabet

UTC = ZoneInfo("UTC")
NOW = 1_800_000_000_000
ANYBODY = Address(1, 1, "447700900002")


def message(body: bytes, **more: Any) -> Message:
    """A message from an application."""
    given: dict[str, Any] = {
        "id": 7 << 20,
        "sender": "+447700900001",
        "recipient": "+447700900002",
        "submitted_at": NOW,
    }
    return Message(Address(1, 1, "447700900001"), ANYBODY, body, **(given | more))


def read(what: Message, alphabet: DefaultAlphabet = DefaultAlphabet.GSM7, **more: Any) -> list[Deliver]:
    """Its SMS-DELIVERs."""
    return [Deliver.decode(tpdu) for tpdu in deliver_tpdus(what, alphabet, UTC, **({"more": False} | more))]


def test_a_short_text_is_one_tpdu() -> None:
    (deliver,) = read(message(b"hello", protocol_id=0x41, registered_delivery=1, esm_class=0x80))
    assert (deliver.oa, deliver.ud.payload, deliver.pid) == (Address(1, 1, "447700900001"), b"hello", 0x41)
    assert (deliver.mms, deliver.sri, deliver.rp) == (False, True, True)
    assert read_time_stamp(deliver.scts) == NOW
    assert read(message(b"hello"), more=True)[0].mms


@pytest.mark.parametrize(
    ("sender", "ton", "digits"),
    [("@Shop", 5, "Shop"), ("12345", 0, "12345"), ("#901", 3, "901")],
)
def test_senders_of_every_kind_are_shown(sender: str, ton: int, digits: str) -> None:
    (deliver,) = read(message(b"x", sender=sender))
    assert (deliver.oa.ton, deliver.oa.digits) == (ton, digits)


@given(st.text(alphabet="abc é€ω{}", min_size=1, max_size=600), st.sampled_from([0, 8]))
def test_a_long_text_is_cut_and_joins_again(text: str, data_coding: int) -> None:
    encoded = codings.encode(text, (codings.Coding.DEFAULT if not data_coding else codings.Coding.UCS2,))
    parts = read(message(encoded.octets, data_coding=data_coding), reference=7)
    said = [text_of(part.dcs, part.ud).octets for part in parts]
    assert b"".join(said) == encoded.octets
    assert [part.mms for part in parts] == [True] * (len(parts) - 1) + [False]
    if len(parts) > 1:
        places = [udh.parse(part.ud.header).concat for part in parts]
        assert [(place.total, place.number) for place in places if place] == [
            (len(parts), number) for number in range(1, len(parts) + 1)
        ]
        assert {place.reference for place in places if place} == {7}


def test_an_alphabet_that_handsets_lack_is_spelled_anew() -> None:
    (latin,) = read(message("naïve".encode("latin-1"), data_coding=3))
    assert text_of(latin.dcs, latin.ud).text == "naïve"
    (default,) = read(message(b"a_b", data_coding=0), DefaultAlphabet.LATIN1)
    assert text_of(default.dcs, default.ud).text == "a_b"
    (cyrillic,) = read(message("Привет".encode("iso8859-5"), data_coding=6))
    assert (cyrillic.dcs, text_of(cyrillic.dcs, cyrillic.ud).text) == (8, "Привет")


def test_parts_that_came_with_sar_parameters_get_the_header_that_says_so() -> None:
    tlvs = (
        tlv.one(tlv.Tag.sar_msg_ref_num, 513)
        + tlv.one(tlv.Tag.sar_total_segments, 3)
        + tlv.one(tlv.Tag.sar_segment_seqnum, 2)
    )
    (deliver,) = read(message(b"middle", tlvs=tlvs, part_total=3, part_number=2, part_reference=513))
    assert udh.parse(deliver.ud.header).concat == udh.ConcatRef(513, 3, 2, 16)
    assert deliver.ud.payload == b"middle"


def test_what_no_handset_can_be_given_is_said() -> None:
    part = udh.concatenation_header(udh.ConcatRef(1, 2, 1)) + b"x" * 200
    with pytest.raises(NotExpressible, match="part-too-long"):
        read(message(part, esm_class=0x40))
    with pytest.raises(NotExpressible, match="too-long"):
        read(message(b"x" * 60_000))


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [
        (MessageState.DELIVERED, 0, Status.RECEIVED),
        (MessageState.EXPIRED, 1, Status.VALIDITY_PERIOD_EXPIRED),
        (MessageState.UNDELIVERABLE, 8, Status.NOT_OBTAINABLE),
        (MessageState.UNDELIVERABLE, 2, Status.GIVEN_UP_NO_RESPONSE),
    ],
)
def test_a_receipt_is_a_status_report(state: MessageState, error: int, status: Status) -> None:
    tlvs = tlv.one(tlv.Tag.message_state, int(state)) + tlv.one(tlv.Tag.user_message_reference, 99)
    receipt = message(b"id:1 stat:X err:%03d text:" % error, kind=Kind.RECEIPT, esm_class=0x04, tlvs=tlvs)
    receipt.source, receipt.submitted_at = ANYBODY, NOW + 60_000
    report = StatusReport.decode(status_report_tpdu(receipt, message(b""), UTC, more=False))
    assert (report.ra, report.mr, report.st, report.srq) == (ANYBODY, 99, status, False)
    assert (read_time_stamp(report.scts), read_time_stamp(report.dt)) == (NOW, NOW + 60_000)


def test_a_submit_becomes_a_draft_that_forgets_nothing() -> None:
    submit = Submit(
        ANYBODY, 255, 0x45, 0x18, UserData(b"\x03\x00\x01\x02", b"\0A"), srr=True, rp=True,
        vpf=ValidityFormat.RELATIVE, vp=relative_validity(3600),
    )  # fmt: skip
    draft = draft_of(Submit.decode(submit.encode()), Address(1, 1, "1234567"), NOW)
    assert (draft.protocol_id, draft.data_coding, draft.registered_delivery) == (0x45, 0x18, 1)
    assert (draft.body, draft.esm_class) == (b"\x03\x00\x01\x02\0A", 0xC0)
    assert tlv.get_int(draft.tlvs, tlv.Tag.user_message_reference) == 255
    assert draft.expires_at == NOW + 3_600_000
    once = Submit(
        ANYBODY,
        1,
        vpf=ValidityFormat.ENHANCED,
        vp=enhanced_validity(60, single_shot=True),
        ud=UserData(payload=b"x"),
    )
    assert draft_of(Submit.decode(once.encode()), ANYBODY, NOW).expires_at == NOW  # one attempt
