"""A session as its owner sees it: octets and time in, events and octets out."""

import itertools
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.smsc.smpp import events as ev
from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.command_status import CommandStatus as S
from restante.smsc.smpp.session import NotAllowed, Session
from restante.smsc.smpp.session_settings import SessionSettings
from restante.smsc.smpp.states import State
from restante.smsc.smpp.tlv import Tag

SETTINGS = SessionSettings()
BINDS = {
    State.BOUND_TX: (p.BindTransmitter, p.BindTransmitterResp),
    State.BOUND_RX: (p.BindReceiver, p.BindReceiverResp),
    State.BOUND_TRX: (p.BindTransceiver, p.BindTransceiverResp),
}


def answers(octets: bytes) -> list[p.Pdu]:
    """What was written, PDU by PDU."""
    found = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        found.append(p.decode(octets[:length]))
        octets = octets[length:]
    return found


def answer(session: Session) -> p.Pdu:
    (only,) = answers(session.take_output())
    return only


def bound(
    state: State = State.BOUND_TRX, settings: SessionSettings = SETTINGS, version: int = 0x34
) -> Session:
    """An SMSC's session with an ESME bound, at time 0."""
    session = Session("SMSC", settings, 0.0)
    bind, response = BINDS[state]
    (event,) = session.feed(bind(system_id=b"e", sequence_number=1, interface_version=version).encode(), 0.0)
    assert isinstance(event, ev.BindRequest)
    assert session.respond(event.pdu, response(system_id=b"SC"))
    assert session.state is state
    session.take_output()
    return session


def esme(settings: SessionSettings = SETTINGS, version: int | None = 0x34) -> Session:
    """An ESME's session, bound as a transceiver at time 0."""
    session = Session("ESME", settings, 0.0)
    number = session.send_request(p.BindTransceiver(system_id=b"e"), 0.0, "bind")
    session.take_output()
    response = p.BindTransceiverResp(system_id=b"SC", sequence_number=number)
    if version is not None:
        response.add_tlv(Tag.sc_interface_version, version)
    (event,) = session.feed(response.encode(), 0.0)
    assert isinstance(event, ev.Response)
    assert event.sent.context == "bind"
    assert session.state is State.BOUND_TRX
    return session


SUBMIT = p.SubmitSm(sequence_number=7, source_addr=b"1", destination_addr=b"2", short_message=b"hi")


# Binding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", BINDS)
def test_bind_is_the_owners_decision(state: State) -> None:
    bound(state)


def test_refused_bind_leaves_open_and_may_be_tried_again() -> None:
    session = Session("SMSC", SETTINGS, 0.0)
    for _ in range(2):
        (event,) = session.feed(p.BindTransceiver(sequence_number=5).encode(), 0.0)
        assert isinstance(event, ev.BindRequest)
        assert session.respond(
            event.pdu, p.BindTransceiverResp(system_id=b"SC", command_status=S.ESME_RINVPASWD)
        )
        assert session.state is State.OPEN
        assert session.take_output() == struct.pack(">IIII", 16, 0x80000009, S.ESME_RINVPASWD, 5)


def test_second_bind_is_refused_before_and_after_the_first_is_answered() -> None:
    session = Session("SMSC", SETTINGS, 0.0)
    first, second = session.feed(
        p.BindReceiver(sequence_number=1).encode() + p.BindTransmitter(sequence_number=2).encode(), 0.0
    )
    assert isinstance(first, ev.BindRequest)
    assert isinstance(second, ev.Refused)
    assert answer(session) == p.BindTransmitterResp(
        has_body=False, command_status=S.ESME_RALYBND, sequence_number=2
    )
    session.respond(first.pdu, p.BindReceiverResp())
    session.take_output()
    session.feed(p.BindReceiver(sequence_number=3).encode(), 0.0)
    assert answer(session).command_status == S.ESME_RALYBND
    assert session.state is State.BOUND_RX


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        (0x50, 0x34, 0x34),
        (0x50, 0x50, 0x50),
        (0x34, 0x50, 0x34),
        (0x50, 0x33, None),
        (0x50, 0x00, None),
        (0x50, 0xFF, 0x50),
    ],
)
def test_version_is_told_from_3_4_on(ours: int, theirs: int, told: int | None) -> None:
    session = Session("SMSC", replace(SETTINGS, interface_version=ours), 0.0)
    (event,) = session.feed(p.BindTransceiver(interface_version=theirs).encode(), 0.0)
    assert isinstance(event, ev.BindRequest)
    session.respond(event.pdu, p.BindTransceiverResp(system_id=b"SC"))
    response = answer(session)
    assert response.get_tlv_int(Tag.sc_interface_version) == told
    assert session.peer_version == theirs
    assert session.may_send_tlvs == (theirs >= 0x34)


@pytest.mark.parametrize(("told", "known"), [(0x33, 0x33), (0x50, 0x50), (None, 0x34)])
def test_esme_learns_the_version_from_the_bind_response(told: int | None, known: int) -> None:
    assert esme(version=told).peer_version == known


def test_peers_before_3_4_get_no_tlvs() -> None:
    session = bound(version=0x33)
    (event,) = session.feed(SUBMIT.encode(), 0.0)
    assert isinstance(event, ev.Request)
    session.respond(event.pdu, p.SubmitSmResp(message_id=b"1").add_tlv(Tag.congestion_state, 10))
    assert answer(session) == p.SubmitSmResp(message_id=b"1", sequence_number=7)
    with pytest.raises(NotAllowed, match="TLV"):
        session.send_request(p.DeliverSm().add_tlv(Tag.source_port, 1), 0.0)
    assert session.unanswered == 0


def test_error_bodies_only_for_5_0() -> None:
    for version in (0x33, 0x34, 0x50):
        session = bound(version=version)
        (event,) = session.feed(SUBMIT.encode(), 0.0)
        assert isinstance(event, ev.Request)
        response = p.SubmitSmResp(command_status=S.ESME_RMSGQFUL).add_tlv(Tag.congestion_state, 99)
        session.respond(event.pdu, response)
        told = answer(session)
        assert isinstance(told, p.SubmitSmResp)
        assert (told.command_status, told.sequence_number) == (S.ESME_RMSGQFUL, 7)
        assert told.has_body == (version == 0x50)
        assert told.get_tlv_int(Tag.congestion_state) == (99 if version == 0x50 else None)


# Requests of the peer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_answers_carry_the_requests_number(sequence: int) -> None:
    session = bound()
    (event,) = session.feed(p.SubmitSm(sequence_number=sequence).encode(), 0.0)
    assert isinstance(event, ev.Request)
    assert session.pending == 1
    assert session.accept_message(event.pdu, b"42")
    assert answer(session) == p.SubmitSmResp(message_id=b"42", sequence_number=sequence)
    assert session.pending == 0


def test_one_write_for_everything_in_a_read() -> None:
    session = bound()
    read = b"".join(p.SubmitSm(sequence_number=n).encode() for n in range(1, 51)) + p.EnquireLink().encode()
    events = session.feed(read, 0.0)
    assert [event.pdu.sequence_number for event in events if isinstance(event, ev.Request)] == list(
        range(1, 51)
    )
    for event in events:
        assert isinstance(event, ev.Request)
        session.accept_message(event.pdu, b"1")
    written = answers(session.take_output())
    assert len(written) == 51
    assert session.take_output() == b""


NOT_ALLOWED = [
    (State.OPEN, p.SubmitSm, 0x80000004),
    (State.OPEN, p.DeliverSm, 0x80000005),
    (State.OPEN, p.Unbind, 0x80000006),
    (State.OPEN, p.Outbind, 0x80000000),
    (State.BOUND_RX, p.SubmitSm, 0x80000004),
    (State.BOUND_RX, p.QuerySm, 0x80000003),
    (State.BOUND_TX, p.DeliverSm, 0x80000005),
    (State.BOUND_TRX, p.DeliverSm, 0x80000005),
    (State.BOUND_TRX, p.AlertNotification, 0x80000000),
    (State.UNBOUND, p.SubmitSm, 0x80000004),
    (State.UNBOUND, p.BindTransceiver, 0x80000009),
]


@pytest.mark.parametrize(("state", "cls", "answer_id"), NOT_ALLOWED)
def test_not_allowed_in_the_state(state: State, cls: type[p.Pdu], answer_id: int) -> None:
    session = Session("SMSC", SETTINGS, 0.0) if state is State.OPEN else bound(State.BOUND_TRX)
    if state in BINDS:
        session = bound(state)
    if state is State.UNBOUND:
        (event,) = session.feed(p.Unbind().encode(), 0.0)
        assert isinstance(event, ev.UnbindRequest)
        session.respond(event.pdu, p.UnbindResp())
        session.take_output()
    assert session.state is state
    (event,) = session.feed(cls(sequence_number=99).encode(), 0.0)
    assert isinstance(event, ev.Refused)
    assert event.command_status == S.ESME_RINVBNDSTS
    assert session.take_output() == struct.pack(">IIII", 16, answer_id, S.ESME_RINVBNDSTS, 99)
    assert session.state is state


def test_submit_behind_an_unanswered_bind_is_refused() -> None:
    session = Session("SMSC", SETTINGS, 0.0)
    events = session.feed(p.BindTransceiver().encode() + SUBMIT.encode(), 0.0)
    assert [type(event) for event in events] == [ev.BindRequest, ev.Refused]
    assert answer(session).command_status == S.ESME_RINVBNDSTS


def test_esme_refuses_what_only_it_may_send() -> None:
    session = esme()
    for cls in (p.SubmitSm, p.BindTransceiver):
        (event,) = session.feed(cls(sequence_number=3).encode(), 0.0)
        assert isinstance(event, ev.Refused)
        assert answer(session).command_status == S.ESME_RINVBNDSTS
    (event,) = session.feed(p.DeliverSm(sequence_number=3).encode(), 0.0)
    assert isinstance(event, ev.Request)
    session.accept_message(event.pdu, b"")
    assert answer(session) == p.DeliverSmResp(sequence_number=3)


@pytest.mark.parametrize("command_id", [0x111, 0x112, 0x113, 0x0, 0xA, 0x7FFFFFFF])
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND_TRX])
def test_unknown_commands_are_nacked_and_the_link_lives(state: State, command_id: int) -> None:
    session = bound() if state is State.BOUND_TRX else Session("SMSC", SETTINGS, 0.0)
    octets = struct.pack(">IIII", 20, command_id, 0, 11) + b"body"
    (event,) = session.feed(octets, 0.0)
    assert isinstance(event, ev.Refused)
    assert session.take_output() == struct.pack(">IIII", 16, 0x80000000, S.ESME_RINVCMDID, 11)
    assert session.state is state


def test_enquire_link_is_answered_in_every_state() -> None:
    octets = struct.pack(">IIII", 16, 0x15, 0, 0xFFFFFFFF)
    resp = struct.pack(">IIII", 16, 0x80000015, 0, 0xFFFFFFFF)
    session = Session("SMSC", SETTINGS, 0.0)
    for step in (None, p.BindTransceiver(), p.Unbind()):
        if step is not None:
            (event,) = session.feed(step.encode(), 0.0)
            assert isinstance(event, ev.BindRequest | ev.UnbindRequest)
            assert session.feed(octets, 0.0) == []
            session.respond(event.pdu, p.response_to(event.pdu))
            written = session.take_output()
            assert written.startswith(resp)
        assert session.feed(octets, 0.0) == []
        assert session.take_output() == resp
    # even one with something behind its header
    assert session.feed(struct.pack(">IIII", 17, 0x15, 0, 5) + b"x", 0.0) == []
    assert answer(session) == p.EnquireLinkResp(sequence_number=5)


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (p.SubmitSm(source_addr=b"1" * 20).encode().replace(b"1" * 20, b"1" * 15 + b"22222"), None),
        (struct.pack(">IIII", 22, 4, 0, 8) + b"toolong"[:6], S.ESME_RINVSERTYP),
        (struct.pack(">IIII", 21, 3, 0, 8) + b"nonul", S.ESME_RINVMSGID),
        (
            SUBMIT.encode()[:3] + bytes((SUBMIT.encode()[3] + 1,)) + SUBMIT.encode()[4:] + b"\0",
            S.ESME_RINVTLVSTREAM,
        ),
    ],
)
def test_malformed_requests_are_answered_with_their_own_response(octets: bytes, status: int | None) -> None:
    session = bound()
    (event,) = session.feed(octets, 0.0)
    if status is None:
        assert isinstance(event, ev.Request)
        return
    assert isinstance(event, ev.Refused)
    told = answer(session)
    assert told.command_id == int.from_bytes(octets[4:8], "big") | 0x80000000
    assert (told.command_status, told.sequence_number) == (status, int.from_bytes(octets[12:16], "big"))
    assert session.pending == 0
    assert session.state is State.BOUND_TRX


def test_malformed_in_the_wrong_state_is_told_of_the_state() -> None:
    session = bound(State.BOUND_RX)
    session.feed(struct.pack(">IIII", 17, 4, 0, 8) + b"x", 0.0)
    assert answer(session).command_status == S.ESME_RINVBNDSTS


def test_malformed_bind_can_be_repeated() -> None:
    session = Session("SMSC", SETTINGS, 0.0)
    session.feed(struct.pack(">IIII", 17, 9, 0, 8) + b"x", 0.0)
    assert answer(session).command_status == S.ESME_RINVSYSID
    (event,) = session.feed(p.BindTransceiver().encode(), 0.0)
    assert isinstance(event, ev.BindRequest)


def test_pending_requests_are_capped() -> None:
    session = bound(settings=replace(SETTINGS, pending_limit=3))
    read = b"".join(p.SubmitSm(sequence_number=n).encode() for n in range(1, 6))
    events = session.feed(read, 0.0)
    assert [type(event) for event in events] == [ev.Request] * 3 + [ev.Refused] * 2
    assert [(a.command_status, a.sequence_number) for a in answers(session.take_output())] == [
        (S.ESME_RTHROTTLED, 4),
        (S.ESME_RTHROTTLED, 5),
    ]
    assert isinstance(events[0], ev.Request)
    session.refuse(events[0].pdu, S.ESME_RSYSERR)
    assert answer(session) == p.SubmitSmResp(has_body=False, command_status=S.ESME_RSYSERR, sequence_number=1)
    (event,) = session.feed(SUBMIT.encode(), 0.0)
    assert isinstance(event, ev.Request)


def test_nothing_is_answered_twice() -> None:
    session = bound()
    (event,) = session.feed(SUBMIT.encode(), 0.0)
    assert isinstance(event, ev.Request)
    session.accept_message(event.pdu, b"1")
    for again in (
        lambda: session.accept_message(event.pdu, b"1"),
        lambda: session.respond(event.pdu, p.SubmitSmResp()),
        lambda: session.refuse(event.pdu, 8),
        lambda: session.respond(p.BindTransceiver(), p.BindTransceiverResp()),
    ):
        with pytest.raises(NotAllowed, match="has been answered"):
            again()
    with pytest.raises(NotAllowed, match="does not answer"):
        session.respond(event.pdu, p.DeliverSmResp())


# Responses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        p.SubmitSmResp(message_id=b"1").encode(),
        p.DeliverSmResp(sequence_number=5).encode(),
        p.EnquireLinkResp(sequence_number=5).encode(),
        p.UnbindResp().encode(),
        struct.pack(">IIII", 16, 0x80000111, 0, 1),
        struct.pack(">IIII", 17, 0x80000004, 0, 1) + b"x",
        p.GenericNack(command_status=3).encode(),
    ],
)
def test_responses_and_nacks_are_never_answered(octets: bytes) -> None:
    session = bound()
    events = session.feed(octets * 3, 0.0)
    assert session.take_output() == b""
    if octets[4:8] == b"\x80\0\0\0":
        assert [type(event) for event in events] == [ev.Nack] * 3
    else:
        assert events == []
        assert session.unmatched_responses == 3
    assert session.state is State.BOUND_TRX


def test_response_comes_with_the_context_of_its_request() -> None:
    session = bound()
    context = object()
    number = session.send_request(p.DeliverSm(destination_addr=b"1"), 5.0, context)
    assert answer(session) == p.DeliverSm(destination_addr=b"1", sequence_number=number)
    (event,) = session.feed(p.DeliverSmResp(sequence_number=number, command_status=0x64).encode(), 6.0)
    assert isinstance(event, ev.Response)
    assert event.sent.context is context
    assert (event.sent.sent_at, event.pdu.command_status) == (5.0, 0x64)
    assert session.unanswered == 0


def test_response_of_another_command_does_not_match() -> None:
    session = bound()
    number = session.send_request(p.DeliverSm(), 0.0)
    assert session.feed(p.DataSmResp(sequence_number=number).encode(), 0.0) == []
    assert (session.unmatched_responses, session.unanswered) == (1, 1)


def test_nack_fails_its_request() -> None:
    session = bound()
    number = session.send_request(p.DeliverSm(), 0.0, "ctx")
    (event,) = session.feed(p.GenericNack(sequence_number=number, command_status=3).encode(), 0.0)
    assert isinstance(event, ev.Nack)
    assert event.sent is not None
    assert event.sent.context == "ctx"
    assert session.unanswered == 0


def test_malformed_response_still_ends_its_request() -> None:
    session = esme()
    number = session.send_request(p.SubmitSm(), 0.0)
    (event,) = session.feed(struct.pack(">IIII", 19, 0x80000004, 0, number) + b"abc", 0.0)
    assert isinstance(event, ev.Response)
    assert event.malformed is not None
    assert event.malformed.field == "message_id"
    assert session.unanswered == 0


def test_window_counts_messages_only() -> None:
    session = bound(settings=replace(SETTINGS, window=2))
    assert session.can_send()
    first = session.send_request(p.DeliverSm(), 0.0)
    session.send_request(p.DataSm(), 0.0)
    assert not session.can_send()
    with pytest.raises(NotAllowed, match="window"):
        session.send_request(p.DeliverSm(), 0.0)
    session.send_request(p.AlertNotification(), 0.0)
    session.send_request(p.Unbind(), 0.0)
    assert session.unanswered == 3
    session.feed(p.DeliverSmResp(sequence_number=first).encode(), 0.0)
    session.window = 5
    assert session.can_send()


def test_a_request_that_cannot_be_encoded_leaves_no_trace() -> None:
    session = bound()
    with pytest.raises(p.EncodeError):
        session.send_request(p.DeliverSm(source_addr=b"1" * 30), 0.0)
    assert session.unanswered == 0
    assert session.take_output() == b""


@pytest.mark.parametrize(
    "pdu", [p.SubmitSm(), p.BindTransceiver(), p.SubmitSmResp(), p.GenericNack(), p.Outbind()]
)
def test_cannot_send_what_the_state_forbids(pdu: p.Pdu) -> None:
    with pytest.raises(NotAllowed):
        bound().send_request(pdu, 0.0)


def test_sequence_numbers_wrap_and_skip_those_in_use() -> None:
    session = bound()
    session._next_sequence = 0x7FFFFFFE
    numbers = [session.send_request(p.DeliverSm(), 0.0) for _ in range(4)]
    assert numbers == [0x7FFFFFFE, 0x7FFFFFFF, 1, 2]
    session._next_sequence = 0x7FFFFFFF
    assert session.send_request(p.DeliverSm(), 0.0) == 3


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
