"""SMPP sessions for tests: bound ones, and what they wrote.

In charge of: making sessions in a known state, cutting output into PDUs. Not in charge of: what is expected of them.
"""

from restante.smsc.smpp import events as ev
from restante.smsc.smpp import pdu as p
from restante.smsc.smpp.session import Session
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
