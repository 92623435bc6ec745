"""Whatever comes: an answer or a close, never an exception, never growth."""

import os
import random
import struct
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from pdu_strategies import pdus
from smpp_session import SETTINGS, answers, bound, esme

from restante.smsc.smpp import events as ev
from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.command_id import CommandId, is_response
from restante.smsc.smpp.session import Session
from restante.smsc.smpp.states import State

LONG = os.environ.get("RESTANTE_LONG") == "1"

SAMPLES = [
    p.BindTransceiver(system_id=b"esme", password=b"pw", sequence_number=1),
    p.SubmitSm(sequence_number=2, source_addr=b"1", destination_addr=b"2", short_message=b"hi").add_tlv(
        0x1401, b"v"
    ),
    p.SubmitMulti(sequence_number=3, dest_address=(p.SmeAddress(1, 1, b"44"), p.DistributionList(b"l"))),
    p.DataSm(sequence_number=4).add_tlv(0x0424, b"payload"),
    p.QuerySm(sequence_number=5, message_id=b"1"),
    p.CancelSm(sequence_number=6, message_id=b"1"),
    p.ReplaceSm(sequence_number=7, message_id=b"1"),
    p.EnquireLink(sequence_number=8),
    p.EnquireLinkResp(sequence_number=1),
    p.DeliverSm(sequence_number=9),
    p.DeliverSmResp(sequence_number=1),
    p.DataSmResp(sequence_number=2, message_id=b"1"),
    p.SubmitSmResp(sequence_number=1, message_id=b"1"),
    p.AlertNotification(sequence_number=10),
    p.Outbind(sequence_number=11),
    p.GenericNack(sequence_number=1, command_status=3),
    p.Unbind(sequence_number=12),
    p.UnbindResp(sequence_number=3),
    p.BindReceiverResp(sequence_number=1),
]


def mutate(octets: bytes, random_: random.Random) -> bytes:
    mutated = bytearray(octets)
    for _ in range(random_.randint(0, 3)):
        at = random_.randrange(len(mutated) + 1)
        match random_.randrange(5):
            case 0 if at < len(mutated):
                mutated[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
            case 1:
                del mutated[at:]
            case 2:
                mutated[at:at] = random_.randbytes(random_.randint(1, 20))
            case 3 if len(mutated) >= 8:
                mutated[4:8] = random_.choice(list(CommandId)).to_bytes(4, "big")
            case _:
                if len(mutated) >= 4:  # make the length true again, so that the body is reached
                    mutated[:4] = len(mutated).to_bytes(4, "big")
    return bytes(mutated)


def whole_requests(octets: bytes, limit: int) -> list[int]:
    """The sequence_numbers of the requests in a stream, up to where its framing is lost."""
    found = []
    here = 0
    while len(octets) - here >= 16:
        length, command_id, _, number = struct.unpack_from(">IIII", octets, here)
        if not 16 <= length <= limit or here + length > len(octets):
            break
        if not is_response(command_id) and command_id not in (
            CommandId.alert_notification,
            CommandId.outbind,
        ):
            found.append(number)
        here += length
    return found


def act(session: Session, event: ev.Event, random_: random.Random) -> None:
    """An owner that answers everything at once, one way or the other."""
    match event:
        case ev.Request(pdu) | ev.BindRequest(pdu) | ev.UnbindRequest(pdu):
            if random_.randrange(4):
                session.respond(pdu, p.response_to(pdu))
            else:
                session.refuse(pdu, 8)
        case _:
            pass


def run(session: Session, stream: bytes, random_: random.Random) -> bytes:
    """Feeds a stream in pieces; returns what was written."""
    written = b""
    here = 0
    while here < len(stream):
        size = random_.choice((1, 7, 16, 50, 1000))
        for event in session.feed(stream[here : here + size], 1.0):
            act(session, event, random_)
        here += size
        written += session.take_output()
        assert session.buffered_octets <= SETTINGS.max_command_length + 1000
        assert session.pending <= session.pending_limit
        assert session.unanswered <= 3
    return written


def test_mutated_streams_get_an_answer_or_a_close() -> None:
    random_ = random.Random(2775)
    closed = lived = 0
    for _ in range(100_000 if LONG else 1_000):
        session = random_.choice((bound, esme, lambda: Session("SMSC", SETTINGS, 0.0)))()
        if session.state is State.BOUND_TRX:
            session.send_request(p.DataSm(), 0.0, "data_sm")
            session.send_request(p.Unbind(), 0.0, "unbind")
            session.take_output()
        # Ten mutated PDUs a stream: 10^4 in a normal run, 10^6 in a long one.
        stream = b"".join(mutate(random_.choice(SAMPLES).encode(), random_) for _ in range(10))
        before_bind = session.state is State.OPEN
        written = answers(run(session, stream, random_))
        told = [pdu.sequence_number for pdu in written]
        if session.state is State.CLOSED:
            closed += 1
        else:
            lived += 1
            expected = whole_requests(stream, 1024 if before_bind else SETTINGS.max_command_length)
            assert not Counter(expected) - Counter(told)
        assert all(is_response(pdu.command_id) if pdu.command_id != 0 else True for pdu in written)
        session.connection_lost()
        assert session.unanswered == 0
    assert closed > 100
    assert lived > 50


@given(st.lists(pdus(), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_every_request_is_answered_with_its_number(sent: list[p.Pdu], random_: random.Random) -> None:
    session = bound()
    stream = b"".join(pdu.encode() for pdu in sent)
    written = answers(run(session, stream, random_))
    # A message center also answers what an ESME may never send, so that nothing but responses goes unanswered.
    asked = Counter(pdu.sequence_number for pdu in sent if not is_response(pdu.command_id))
    assert Counter(pdu.sequence_number for pdu in written) == asked
    assert session.state is not State.CLOSED


@given(st.lists(st.binary(max_size=200), max_size=10), st.randoms(use_true_random=False))
def test_noise(pieces: list[bytes], random_: random.Random) -> None:
    for session in (bound(), esme(), Session("SMSC", SETTINGS, 0.0)):
        run(session, b"".join(pieces), random_)
        session.check_timers(1e6)
        session.next_deadline()


def test_a_flood_of_tiny_reads_holds_one_pdu() -> None:
    session = bound()
    large = p.SubmitSm().add_tlv(0x0424, bytes(60000)).encode()
    for octet in large[:-1]:
        assert session.feed(bytes((octet,)), 1.0) == []
    assert session.buffered_octets == len(large) - 1
    (event,) = session.feed(large[-1:], 1.0)
    assert isinstance(event, ev.Request)
    assert session.buffered_octets == 0
