"""How a session ends, what time does to it, and that the pieces it is read in do not matter."""

import itertools
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpp_session import SETTINGS, SUBMIT, answer, answers, bound, esme

from restante.smsc.smpp import events as ev
from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.command_status import CommandStatus as S
from restante.smsc.smpp.session import NotAllowed, Session
from restante.smsc.smpp.states import State
from restante.smsc.smpp.tlv import Tag

# Ending -----------------------------------------------------------------------------------------------------


def test_unbind_waits_for_the_owner() -> None:
    session = bound()
    submit, unbind = session.feed(SUBMIT.encode() + p.Unbind(sequence_number=8).encode(), 0.0)
    assert isinstance(submit, ev.Request)
    assert isinstance(unbind, ev.UnbindRequest)
    assert session.state is State.BOUND_TRX
    session.accept_message(submit.pdu, b"1")
    session.respond(unbind.pdu, p.UnbindResp())
    assert answers(session.take_output()) == [
        p.SubmitSmResp(sequence_number=7, message_id=b"1"),
        p.UnbindResp(sequence_number=8),
    ]
    assert session.state is State.UNBOUND


def test_unbind_of_ours() -> None:
    for session in (bound(State.BOUND_RX), esme()):
        number = session.send_request(p.Unbind(), 0.0)
        assert not session.feed(p.SubmitSm().encode(), 0.0) or session.state is not State.UNBOUND
        (event,) = session.feed(p.UnbindResp(sequence_number=number).encode(), 1.0)
        assert isinstance(event, ev.Response)
        assert session.state is State.UNBOUND
        assert session.next_deadline() == 11.0
        (fatal,) = session.check_timers(11.0)
        assert isinstance(fatal, ev.Fatal)
        assert fatal.reason == "not closed after unbind"


def test_outbind_leads_to_a_bind() -> None:
    center, peer = Session("SMSC", SETTINGS, 0.0), Session("ESME", SETTINGS, 0.0)
    center.send_request(p.Outbind(system_id=b"SC"), 0.0)
    (event,) = peer.feed(center.take_output(), 0.0)
    assert isinstance(event, ev.Notification)
    assert peer.state is center.state is State.OUTBOUND
    peer.send_request(p.BindReceiver(), 0.0)
    (event,) = center.feed(peer.take_output(), 0.0)
    assert isinstance(event, ev.BindRequest)
    center.respond(event.pdu, p.BindReceiverResp())
    peer.feed(center.take_output(), 0.0)
    assert peer.state is center.state is State.BOUND_RX


def test_alert_notification_is_not_answered() -> None:
    session = esme()
    (event,) = session.feed(p.AlertNotification(source_addr=b"1").encode(), 0.0)
    assert isinstance(event, ev.Notification)
    assert session.take_output() == b""
    with pytest.raises(NotAllowed, match="no response"):
        session.refuse(event.pdu, 8)


@pytest.mark.parametrize("length", [0, 1, 15, 65536 + 4096 + 1, 0xFFFFFFFF])
def test_impossible_length_is_nacked_and_ends_the_session(length: int) -> None:
    session = bound()
    events = session.feed(SUBMIT.encode() + struct.pack(">IIII", length, 4, 0, 21) + bytes(100), 0.0)
    assert [type(event) for event in events] == [ev.Request, ev.Fatal]
    assert isinstance(events[1], ev.Fatal)
    assert events[1].reason == "command_length"
    assert session.state is State.CLOSED
    assert session.feed(SUBMIT.encode(), 0.0) == []
    assert session.check_timers(1e9) == []
    assert session.next_deadline() is None
    # what came before is still to be answered, until the connection is gone
    assert isinstance(events[0], ev.Request)
    assert session.accept_message(events[0].pdu, b"1")
    assert answers(session.take_output()) == [
        p.GenericNack(command_status=S.ESME_RINVCMDLEN, sequence_number=21),
        p.SubmitSmResp(sequence_number=7, message_id=b"1"),
    ]
    session.connection_lost()
    assert not session.accept_message(events[0].pdu, b"1")
    assert not session.refuse(events[0].pdu, 8)
    assert not session.respond(events[0].pdu, p.SubmitSmResp())
    assert session.take_output() == b""


def test_limit_is_small_before_a_bind() -> None:
    long = p.SubmitSm().add_tlv(Tag.message_payload, bytes(2000)).encode()
    session = Session("SMSC", SETTINGS, 0.0)
    (event,) = session.feed(long, 0.0)
    assert isinstance(event, ev.Fatal)
    (event,) = bound().feed(long, 0.0)
    assert isinstance(event, ev.Request)
    largest = p.SubmitSm(short_message=bytes(255)).add_tlv(Tag.message_payload, bytes(65535)).encode()
    (event,) = bound().feed(largest, 0.0)
    assert isinstance(event, ev.Request)


def test_impossible_length_of_a_response_is_not_nacked() -> None:
    session = bound()
    session.feed(struct.pack(">IIII", 1, 0x80000005, 0, 21), 0.0)
    assert session.state is State.CLOSED
    assert session.take_output() == b""


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "peer speaks HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n", "peer speaks HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "peer speaks HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), "peer speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "peer speaks SSH"),
        (b"\r\n\r\nsomething else", "command_length"),
    ],
)
def test_other_protocols_are_named(octets: bytes, reason: str) -> None:
    session = Session("SMSC", SETTINGS, 0.0)
    (event,) = session.feed(octets, 0.0)
    assert isinstance(event, ev.Fatal)
    assert event.reason == reason
    assert answer(session).command_status == S.ESME_RINVCMDLEN


def test_lost_connection_returns_what_was_not_answered() -> None:
    session = bound()
    session.send_request(p.DeliverSm(), 0.0, "a")
    session.send_request(p.DeliverSm(), 0.0, "b")
    lost = session.connection_lost()
    assert [(e.sent.context, e.reason) for e in lost if isinstance(e, ev.Unanswered)] == [
        ("a", "connection ended"),
        ("b", "connection ended"),
    ]
    assert session.state is State.CLOSED
    assert session.connection_lost() == []
    with pytest.raises(NotAllowed):
        session.send_request(p.DeliverSm(), 0.0)


# Time -------------------------------------------------------------------------------------------------------


def test_no_bind_in_time() -> None:
    session = Session("SMSC", SETTINGS, 100.0)
    assert session.next_deadline() == 110.0
    session.feed(p.EnquireLink().encode(), 109.0)
    assert session.check_timers(109.9) == []
    (event,) = session.check_timers(110.0)
    assert isinstance(event, ev.Fatal)
    assert event.reason == "no bind"


def test_a_bind_under_examination_stops_the_clock() -> None:
    session = Session("SMSC", SETTINGS, 0.0)
    (event,) = session.feed(p.BindTransceiver().encode(), 9.0)
    assert isinstance(event, ev.BindRequest)
    assert session.next_deadline() is None
    assert session.check_timers(100.0) == []
    session.refuse(event.pdu, S.ESME_RINVPASWD)
    (fatal,) = session.check_timers(100.0)
    assert isinstance(fatal, ev.Fatal)


def test_response_timer_tells_the_oldest_first_and_ignores_the_late_answer() -> None:
    session = bound(settings=replace(SETTINGS, enquire_link_timer=None))
    numbers = [session.send_request(p.DeliverSm(), float(second), second) for second in range(3)]
    assert session.next_deadline() == 30.0
    assert session.check_timers(29.9) == []
    events = session.check_timers(31.5)
    assert [(e.sent.context, e.reason) for e in events if isinstance(e, ev.Unanswered)] == [
        (0, "response timer"),
        (1, "response timer"),
    ]
    assert session.next_deadline() == 32.0
    assert session.feed(p.DeliverSmResp(sequence_number=numbers[0]).encode(), 31.6) == []
    assert session.unmatched_responses == 1
    assert session.state is State.BOUND_TRX


def test_silence_is_asked_about_and_then_fatal() -> None:
    session = bound()
    assert session.next_deadline() == 30.0
    assert session.check_timers(29.9) == []
    assert session.take_output() == b""
    assert session.check_timers(30.0) == []
    asked = answer(session)
    assert isinstance(asked, p.EnquireLink)
    assert session.check_timers(31.0) == []
    assert session.take_output() == b""
    assert session.next_deadline() == 60.0
    (event,) = session.check_timers(60.0)
    assert isinstance(event, ev.Fatal)
    assert event.reason == "enquire_link unanswered"


@pytest.mark.parametrize("life", ["answer", "submit", "enquire", "nack", "half"])
def test_any_whole_pdu_proves_life(life: str) -> None:
    session = bound()
    session.check_timers(30.0)
    asked = answer(session)
    octets = {
        "answer": p.EnquireLinkResp(sequence_number=asked.sequence_number).encode(),
        "submit": SUBMIT.encode(),
        "enquire": p.EnquireLink().encode(),
        "nack": p.GenericNack(sequence_number=asked.sequence_number, command_status=3).encode(),
        "half": SUBMIT.encode()[:20],
    }[life]
    session.feed(octets, 45.0)
    assert session.unmatched_responses == 0
    events = session.check_timers(60.0)
    if life == "half":
        assert [type(event) for event in events] == [ev.Fatal]
    else:
        assert events == []
        assert session.next_deadline() == 75.0


def test_enquire_link_is_outside_the_window_and_has_its_own_number() -> None:
    session = bound(settings=replace(SETTINGS, window=1, response_timer=60.0))
    number = session.send_request(p.DeliverSm(), 0.0)
    session.take_output()
    session.check_timers(30.0)
    asked = answer(session)
    assert asked.sequence_number != number
    assert session.unanswered == 1
    assert session.feed(p.EnquireLinkResp(sequence_number=asked.sequence_number).encode(), 31.0) == []
    assert session.unanswered == 1


def test_inactivity_is_told_once_a_lull() -> None:
    session = bound(settings=replace(SETTINGS, inactivity_timer=100.0, enquire_link_timer=None))
    session.feed(p.EnquireLink().encode(), 99.0)
    assert session.next_deadline() == 100.0
    assert session.check_timers(100.0) == [ev.Inactive()]
    assert session.check_timers(150.0) == []
    (event,) = session.feed(SUBMIT.encode(), 160.0)
    assert isinstance(event, ev.Request)
    assert session.check_timers(259.0) == []
    assert session.check_timers(260.0) == [ev.Inactive()]


def test_a_pdu_must_be_complete_in_time() -> None:
    session = bound(settings=replace(SETTINGS, enquire_link_timer=None))
    octets = SUBMIT.encode()
    session.feed(octets[:5], 10.0)
    assert session.next_deadline() == 40.0
    session.feed(octets[5:30], 39.0)
    assert session.next_deadline() == 40.0
    session.feed(octets[30:] + octets[:1], 39.5)
    assert session.next_deadline() == 69.5
    assert session.check_timers(69.4) == []
    (event,) = session.check_timers(69.5)
    assert isinstance(event, ev.Fatal)
    assert event.reason == "PDU incomplete"


# Pieces -----------------------------------------------------------------------------------------------------

CONVERSATION = b"".join(
    [
        p.EnquireLink(sequence_number=1).encode(),
        SUBMIT.encode(),
        struct.pack(">IIII", 20, 0x111, 0, 3) + b"abcd",
        p.DeliverSmResp(sequence_number=1).encode(),
        struct.pack(">IIII", 18, 4, 0, 4) + b"xx",
        p.QuerySm(sequence_number=5, message_id=b"1").encode(),
        p.DeliverSm(sequence_number=6).encode(),
        p.GenericNack(sequence_number=7, command_status=3).encode(),
        p.SubmitSm(sequence_number=8).add_tlv(Tag.message_payload, bytes(3000)).encode(),
        p.Unbind(sequence_number=9).encode(),
        struct.pack(">IIII", 3, 4, 0, 10) + bytes(40),
    ]
)


def play(pieces: list[bytes]) -> tuple[list[ev.Event], bytes]:
    session = bound()
    session.send_request(p.DeliverSm(), 0.0, "ctx")
    session.take_output()
    events: list[ev.Event] = []
    written = b""
    for piece in pieces:
        events += session.feed(piece, 0.0)
        written += session.take_output()
        assert session.buffered_octets <= SETTINGS.max_command_length + len(piece)
    return events, written


WHOLE = play([CONVERSATION])


def test_the_conversation_has_everything() -> None:
    assert [type(event).__name__ for event in WHOLE[0]] == [
        *("Request", "Refused", "Response", "Refused", "Request", "Refused", "Nack", "Request"),
        *("UnbindRequest", "Fatal"),
    ]


def test_octet_by_octet() -> None:
    assert play([CONVERSATION[i : i + 1] for i in range(len(CONVERSATION))]) == WHOLE


def test_cut_in_two_anywhere() -> None:
    for cut in range(len(CONVERSATION) + 1):
        assert play([CONVERSATION[:cut], CONVERSATION[cut:]]) == WHOLE


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=30).map(sorted))
def test_cut_into_any_pieces(cuts: list[int]) -> None:
    edges = [0, *cuts, len(CONVERSATION)]
    pieces = [CONVERSATION[a:b] for a, b in itertools.pairwise(edges)]
    assert play(pieces) == WHOLE


def test_both_roles_understand_each_other() -> None:
    center, peer = Session("SMSC", SETTINGS, 0.0), Session("ESME", SETTINGS, 0.0)
    peer.send_request(p.BindTransceiver(system_id=b"e", password=b"s"), 0.0)
    (event,) = center.feed(peer.take_output(), 0.0)
    assert isinstance(event, ev.BindRequest)
    center.respond(event.pdu, p.BindTransceiverResp(system_id=b"SC"))
    peer.feed(center.take_output(), 0.0)
    assert center.state is peer.state is State.BOUND_TRX
    for request in (
        p.SubmitSm(),
        p.DataSm(),
        p.QuerySm(message_id=b"1"),
        p.CancelSm(message_id=b"1"),
        p.ReplaceSm(message_id=b"1"),
        p.SubmitMulti(dest_address=(p.SmeAddress(1, 1, b"44"),)),
    ):
        number = peer.send_request(request, 0.0, request.name)
        (event,) = center.feed(peer.take_output(), 0.0)
        assert isinstance(event, ev.Request)
        assert event.pdu == request
        center.respond(event.pdu, p.response_to(event.pdu))
        (event,) = peer.feed(center.take_output(), 0.0)
        assert isinstance(event, ev.Response)
        assert (event.sent.context, event.pdu.sequence_number) == (request.name, number)
