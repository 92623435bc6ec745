"""What a simulated phone shows for what arrives, and how its network answers."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.simulator import plan
from restante.simulator.phone import OPEN_MESSAGES, Phone, PhoneState, written_number, written_text
from restante.smsc.smpp import pdu, tlv
from restante.smsc.smpp.tlv import Tag


def phone() -> Phone:
    return Phone("ann", "+447700900101", lambda: 12.0)


def deliver(esm_class: int, data_coding: int, octets: bytes, sender: str = "+447700900901") -> pdu.DeliverSm:
    ton, npi, digits = written_number(sender)
    return pdu.DeliverSm(
        source_addr_ton=ton,
        source_addr_npi=npi,
        source_addr=digits,
        esm_class=esm_class,
        data_coding=data_coding,
        short_message=octets,
    )


@pytest.mark.parametrize("sender", ["+447700900901", "80800", "Kiosk"])
def test_a_message_stands_on_the_screen_with_its_sender(sender: str) -> None:
    ann = phone()
    ann.receive(deliver(0, 0, b"hello", sender))
    (line,) = ann.screen
    assert (line.sender, line.text, line.parts, line.at) == (sender, "hello", 1, 12.0)


@given(text=st.text(min_size=1, max_size=900), die=st.randoms(use_true_random=False))
def test_a_text_written_by_one_phone_is_read_by_another_in_any_order(text: str, die: Random) -> None:
    ann = phone()
    parts = [deliver(*piece) for piece in written_text(text, 7)]
    die.shuffle(parts)
    lines = [line for line in map(ann.receive, parts) if line is not None]
    assert [line.text for line in lines] == [text]
    assert lines[0].parts == len(parts)
    assert all(len(part.short_message) <= 160 for part in parts)


def test_parts_of_two_senders_with_one_reference_do_not_mix() -> None:
    ann = phone()
    first, second = ([deliver(*piece, sender=sender) for piece in written_text(word * 100, 1)]
                     for word, sender in (("one ", "+441"), ("two ", "+442")))  # fmt: skip
    for part in [first[0], second[0], *second[1:], *first[1:]]:
        ann.receive(part)
    assert [line.text.split()[0] for line in ann.screen] == ["two", "one"]


def test_messages_that_never_become_whole_do_not_pile_up() -> None:
    ann = phone()
    for reference in range(10 * OPEN_MESSAGES):
        ann.receive(deliver(*written_text("x" * 200, reference % 256)[0], sender=f"+44{reference}"))
    assert len(ann._open) == OPEN_MESSAGES
    assert not ann.screen


def test_parts_by_sar_and_by_message_payload() -> None:
    ann = phone()
    for number, octets in ((2, b"world"), (1, b"hello ")):
        part = deliver(0, 0, octets)
        part.add_tlv(Tag.sar_msg_ref_num, 9).add_tlv(Tag.sar_total_segments, 2).add_tlv(
            Tag.sar_segment_seqnum, number
        )
        ann.receive(part)
    long = deliver(0, 8, b"")
    long.tlvs = tlv.one(Tag.message_payload, "ж".encode("utf-16-be") * 300)
    ann.receive(long)
    assert [line.text for line in ann.screen] == ["hello world", "ж" * 300]


@given(esm_class=st.integers(0, 255), data_coding=st.integers(0, 255), octets=st.binary(max_size=255))
def test_no_message_is_too_odd_for_a_phone(esm_class: int, data_coding: int, octets: bytes) -> None:
    ann = phone()
    ann.receive(deliver(esm_class, data_coding, octets))
    assert ann.received == 1


@pytest.mark.parametrize(("state", "cause", "reason"), [(PhoneState.OFF, 27, 0), (PhoneState.BUSY, 31, None)])
def test_what_the_network_answers_for_a_phone_it_cannot_reach(
    state: PhoneState, cause: int, reason: int | None
) -> None:
    ann = phone()
    assert ann.refusal is None
    ann.state = state
    assert ann.refusal is not None
    assert (ann.refusal.status, ann.refusal.cause, ann.refusal.reason) == (0x64, cause, reason)


def test_the_published_plan_can_be_bound_with() -> None:
    assert len(plan.DEMO.published) == 7
    for system_id, password in plan.DEMO.published.items():
        pdu.BindTransceiver(system_id=system_id.encode(), password=password.encode()).encode()
    assert all(one.number.startswith(plan.DEMO.range) for one in plan.DEMO.phones)


def test_one_seed_gives_one_story() -> None:
    for esme in plan.DEMO.esmes:
        one, other = ([esme.habit(die) for _ in range(20)] for die in (Random(7), Random(7)))
        assert one == other
        assert len({wanted.text for wanted in one}) > 1
