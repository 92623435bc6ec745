"""A session as its owner sees it, while it lasts: binds, requests, responses."""

import struct
from dataclasses import replace

import pytest
from smpp_session import BINDS, SETTINGS, SUBMIT, answer, answers, bound, esme

from restante.smsc.smpp import events as ev
from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.command_status import CommandStatus as S
from restante.smsc.smpp.session import NotAllowed, Session
from restante.smsc.smpp.session_settings import SessionSettings
from restante.smsc.smpp.states import State
from restante.smsc.smpp.tlv import Tag

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


def test_silence_proves_nothing_while_we_do_not_read() -> None:
    settings = SessionSettings(enquire_link_timer=10.0, response_timer=5.0, pdu_read_timer=7.0)
    session = bound(settings=settings)
    half = p.EnquireLink(sequence_number=3).encode()[:10]
    session.feed(half, 1.0)
    for now in range(2, 100):
        session.not_listening(float(now))
        assert session.check_timers(float(now)) == []
    assert session.take_output() == b""
    assert session.check_timers(105.0) == []  # we read again: now it counts
    (event,) = session.check_timers(106.1)
    assert isinstance(event, ev.Fatal)
    assert event.reason == "PDU incomplete"


def test_an_enquire_link_that_waits_is_given_its_time_again() -> None:
    session = bound(settings=SessionSettings(enquire_link_timer=10.0, response_timer=5.0))
    assert session.check_timers(11.0) == []
    assert isinstance(answer(session), p.EnquireLink)
    session.not_listening(15.9)
    assert session.check_timers(20.0) == []
    (event,) = session.check_timers(21.0)
    assert isinstance(event, ev.Fatal)
