"""One SMPP session, either end of it, without I/O.

In charge of: framing, decoding, the order of states, matching of responses, windows in both directions, timers, and
every answer that needs no decision of the owner. Not in charge of: sockets, clocks, credentials, what a message is.
Source: SMPP 3.4 sections 2.2 to 2.9 and 3.2; SMPP 5.0 sections 2.3 to 2.9.

Theory of operation.

The owner passes what it read to `feed` and what time it is, acts on the events, and writes what `take_output` gives:
once for each read, once for each commit. Nothing else leaves a session, so the order of calls is the order of octets.
Times are seconds of any monotonic clock; no method looks at one.

*Incoming requests* that the state allows become `Request` events and count as pending until answered. Their number
is capped: beyond `pending_limit` the session answers ESME_RTHROTTLED by itself, so that a peer cannot make us hold
more than that; when to throttle before that is the owner's decision. A request keeps its peer's sequence_number,
whatever it is, and gets exactly one answer: its own response, or generic_nack where it has none. Responses and
nacks are never answered, which is what keeps two implementations from nacking each other for ever.

*Outgoing requests* take our own sequence numbers, 1 to 0x7FFFFFFF, and wait in a dict that is in the order of their
deadlines, because every response timer is equally long. enquire_link is no part of it: a full window must not keep
us from finding out whether the peer lives, and any PDU from it is proof that it does. A response that matches
nothing (late, or the peer's mistake) is counted and forgotten.

*What is wrong* is answered as politely as the octets allow. A bad field or a wrong state costs one error response; an
unknown command one generic_nack. Only a command_length that cannot be true ends the session, for after it nobody
knows where the next PDU starts. Memory is bounded by one PDU (of the limit for this state) plus one read.

Long because a session is one object with one order of things; table, events and settings stand apart already.
"""

from collections.abc import Callable

from .codec import HEADER, MalformedPdu, Pdu
from .command_id import RESPONSE_BIT, VERSION_3_4, VERSION_5_0, CommandId, command_name
from .command_status import CommandStatus
from .events import (
    BindRequest,
    Event,
    Fatal,
    FatalReason,
    Inactive,
    Nack,
    Notification,
    Refused,
    Request,
    Response,
    Sent,
    Unanswered,
    UnbindRequest,
)
from .fields import HEADER_OCTETS
from .foreign import foreign_protocol
from .pdu import DECODERS, RESPONSE_OF, Bind, BindResp, DataSmResp, DeliverSmResp, SubmitSmResp
from .session_settings import SessionSettings
from .states import BINDS, BOUND, ROLES, Role, State, requests_allowed, transition
from .tlv import Tag

#: Largest sequence_number of ours; the specification reserves the rest.
MAX_SEQUENCE_NUMBER = 0x7FFFFFFF


class NotAllowed(ValueError):
    """The owner wants to send what session state, window or the peer's version forbid: a mistake of ours."""


_Decode = Callable[[bytes, int, int, int, int], Pdu]
_NO_OWNER = BINDS | {CommandId.unbind, CommandId.outbind, CommandId.alert_notification}
#: The requests a role passes on to its owner in each state, with their decoders: what feed looks up first.
_FOR_OWNER: dict[tuple[Role, State], dict[int, _Decode]] = {
    (role, state): {
        command_id: DECODERS[command_id]
        for command_id in requests_allowed(state, "ESME" if role == "SMSC" else "SMSC")
        if command_id not in _NO_OWNER
    }
    for role in ROLES
    for state in State
}
#: Straight from a message_id to the response of a request.
_OCTETS: dict[int, Callable[[int, bytes], bytes]] = {
    CommandId.submit_sm: SubmitSmResp.octets,
    CommandId.deliver_sm: DeliverSmResp.octets,
    CommandId.data_sm: DataSmResp.octets,
}


class Session:
    """One connection's SMPP. Make one when the connection is there."""

    __slots__ = (
        "_allowed",
        "_bind_in_progress",
        "_buffer",
        "_buffer_since",
        "_enquire_deadline",
        "_enquire_sequence",
        "_for_owner",
        "_gone",
        "_inactive_told",
        "_init_deadline",
        "_last_active",
        "_limit",
        "_next_sequence",
        "_now",
        "_output",
        "_sent",
        "_wanted",
        "last_received",
        "peer",
        "peer_version",
        "pending",
        "pending_limit",
        "role",
        "settings",
        "state",
        "unmatched_responses",
        "window",
    )

    def __init__(self, role: Role, settings: SessionSettings, now: float) -> None:
        self.role: Role = role
        self.peer: Role = "ESME" if role == "SMSC" else "SMSC"
        self.settings = settings
        self.window = settings.window  #: the owner may set it when it knows the account
        self.pending_limit = settings.pending_limit  #: likewise
        self.pending = 0  #: Request events not yet answered
        self.peer_version = 0  #: the peer's interface_version; 0 before a bind
        self.last_received = now  #: when the last whole PDU came
        self.unmatched_responses = 0  #: how many came that nothing waited for
        self._enter(State.OPEN)
        self._limit = settings.max_command_length_before_bind
        self._buffer = bytearray()
        self._buffer_since = now
        self._wanted = 0  #: octets the buffer needs before it is worth a look
        self._output: list[bytes] = []
        self._sent: dict[int, Sent] = {}
        self._next_sequence = 1
        self._bind_in_progress = False
        self._gone = False
        self._enquire_sequence = -1  #: of our last enquire_link; -1: none yet
        self._enquire_deadline: float | None = None
        self._inactive_told = False
        self._last_active = now
        self._now = now
        init = settings.session_init_timer
        self._init_deadline: float | None = None if init is None else now + init

    # What comes in --------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now: float) -> list[Event]:
        """Takes what was read, in whatever pieces; returns what it means."""
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        self._now = now
        continued = bool(self._buffer)
        if continued:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return events
            data = bytes(self._buffer)
            self._buffer = bytearray()
        here, end = 0, len(data)
        unpack = HEADER.unpack_from
        append = events.append
        while end - here >= HEADER_OCTETS:
            command_length, command_id, command_status, sequence_number = unpack(data, here)
            after = here + command_length
            if command_length < HEADER_OCTETS or command_length > self._limit:
                self._bad_length(data[here : here + HEADER_OCTETS], events)
                return events
            if after > end:
                self._wanted = command_length
                break
            decode = self._for_owner.get(command_id)
            if decode is not None and self.pending < self.pending_limit:
                try:
                    append(Request(decode(data, here, after, command_status, sequence_number)))
                    self.pending += 1
                except MalformedPdu as error:
                    self._refuse_malformed(error, events)
            elif command_id & RESPONSE_BIT:
                self._response(data, here, after, events)
            else:
                self._other_request(data, here, after, events)
            here = after
        else:
            self._wanted = HEADER_OCTETS
        if here:
            self.last_received = now
            self._enquire_deadline = None
        if here < end:
            self._buffer += data[here:] if here else data
            if here or not continued:
                self._buffer_since = now
        if events:
            self._last_active = now
            self._inactive_told = False
        return events

    def _other_request(self, data: bytes, here: int, after: int, events: list[Event]) -> None:
        """Everything that is no response and not simply the owner's."""
        _, command_id, command_status, sequence_number = HEADER.unpack_from(data, here)
        if command_id == CommandId.enquire_link:
            self._output.append(HEADER.pack(HEADER_OCTETS, CommandId.enquire_link_resp, 0, sequence_number))
            return
        decode = DECODERS.get(command_id)
        if decode is None:
            status, reason = CommandStatus.ESME_RINVCMDID, f"{command_name(command_id)} is not known"
            self._refuse(CommandId.generic_nack, command_id, sequence_number, status, reason, None, events)
            return
        try:
            pdu = decode(data, here, after, command_status, sequence_number)
        except MalformedPdu as error:
            if command_id != CommandId.unbind:
                self._refuse_malformed(error, events)
                return
            pdu = error.pdu
        refusal = self._refusal(command_id)
        if refusal is not None:
            status, reason = refusal
            answer = _answer_id(command_id)
            self._refuse(answer, command_id, sequence_number, status, reason, pdu, events)
        elif command_id in BINDS:
            assert isinstance(pdu, Bind)
            self._bind_in_progress = True
            self.peer_version = pdu.interface_version
            events.append(BindRequest(pdu))
        elif command_id == CommandId.unbind:
            events.append(UnbindRequest(pdu))
        else:
            self._move(self.peer, command_id, 0)
            events.append(Notification(pdu))

    def _refusal(self, command_id: int) -> tuple[CommandStatus, str] | None:
        """Status and reason if a request of the peer cannot be taken now."""
        if command_id in BINDS and self.role == "SMSC" and (self.state in BOUND or self._bind_in_progress):
            return CommandStatus.ESME_RALYBND, "already bound, or about to be"
        if transition(self.state, self.peer, command_id) is None:
            name = command_name(command_id)
            return (
                CommandStatus.ESME_RINVBNDSTS,
                f"{name} is not allowed to the {self.peer} in {self.state.name}",
            )
        if command_id in self._for_owner and self.pending >= self.pending_limit:
            return CommandStatus.ESME_RTHROTTLED, f"{self.pending} requests are unanswered"
        return None

    def _refuse_malformed(self, error: MalformedPdu, events: list[Event]) -> None:
        pdu = error.pdu
        refusal = self._refusal(pdu.command_id)
        # A peer in the wrong state learns that first: it is what the same PDU without the fault would be told.
        status, reason = refusal if refusal is not None else (error.command_status, str(error))
        answer = _answer_id(pdu.command_id)
        self._refuse(answer, pdu.command_id, pdu.sequence_number, status, reason, pdu, events)

    def _refuse(
        self,
        answer_id: int,
        command_id: int,
        sequence_number: int,
        status: CommandStatus,
        reason: str,
        pdu: Pdu | None,
        events: list[Event],
    ) -> None:
        """A bare header answers: even a 5.0 peer is told nothing more by a body."""
        self._output.append(HEADER.pack(HEADER_OCTETS, answer_id, status, sequence_number))
        events.append(Refused(command_id, sequence_number, status, reason, pdu))

    def _response(self, data: bytes, here: int, after: int, events: list[Event]) -> None:
        _, command_id, command_status, sequence_number = HEADER.unpack_from(data, here)
        if command_id == CommandId.enquire_link_resp:
            if sequence_number != self._enquire_sequence:
                self.unmatched_responses += 1
            return
        sent = self._sent.get(sequence_number)
        nack = command_id == CommandId.generic_nack
        if not nack and (sent is None or sent.command_id | RESPONSE_BIT != command_id):
            self.unmatched_responses += 1
            return
        malformed = None
        try:
            pdu = DECODERS[command_id](data, here, after, command_status, sequence_number)
        except MalformedPdu as error:
            malformed, pdu = error, error.pdu
        if sent is not None:
            del self._sent[sequence_number]
        if nack:
            if sent is not None or sequence_number != self._enquire_sequence:
                events.append(Nack(pdu, sent))
            return
        assert sent is not None
        if isinstance(pdu, BindResp) and not command_status:
            version = pdu.get_tlv_int(Tag.sc_interface_version)
            self.peer_version = self.settings.silent_peer_version if version is None else version
            self._move(self.peer, command_id, command_status)
        elif command_id == CommandId.unbind_resp:
            self._move(self.peer, command_id, command_status)
        events.append(Response(pdu, sent, malformed))

    def _move(self, sender: Role, command_id: int, command_status: int) -> None:
        """The only place where the state follows a PDU."""
        after = transition(self.state, sender, command_id, command_status)
        if after is None or after is self.state:
            return
        self._enter(after)
        self._last_active = self._now
        if after in BOUND:
            self._limit = self.settings.max_command_length
            self._init_deadline = None
        elif after is State.UNBOUND and self.settings.session_init_timer is not None:
            self._init_deadline = self._now + self.settings.session_init_timer

    def _enter(self, state: State) -> None:
        """What each PDU is looked up in changes with the state."""
        self.state = state
        self._for_owner = _FOR_OWNER[self.role, state]
        self._allowed = requests_allowed(state, self.role)

    def _bad_length(self, header: bytes, events: list[Event]) -> None:
        """The stream is lost. A peer that speaks another protocol is named; the answer is the same for all."""
        length, command_id, _, sequence_number = HEADER.unpack(header)
        foreign = foreign_protocol(header)
        if foreign is not None:
            self._fail(foreign, f"where a PDU should start stands {header!r}", events)
            sequence_number = 0
        else:
            name = command_name(command_id)
            self._fail(
                "command_length", f"{name} with command_length {length}, the limit is {self._limit}", events
            )
            if command_id in DECODERS and command_id & RESPONSE_BIT:
                return
        status = CommandStatus.ESME_RINVCMDLEN
        self._output.append(HEADER.pack(HEADER_OCTETS, CommandId.generic_nack, status, sequence_number))

    def _fail(self, reason: FatalReason, detail: str, events: list[Event]) -> None:
        self._enter(State.CLOSED)
        self._buffer = bytearray()
        events.append(Fatal(reason, detail))

    # What goes out --------------------------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """All octets to be written, once; b"" if there are none."""
        output = self._output
        if not output:
            return b""
        octets = output[0] if len(output) == 1 else b"".join(output)
        self._output = []
        return octets

    def respond(self, request: Pdu, response: Pdu) -> bool:
        """Answers a request. Takes the sequence_number from it, and drops what this peer cannot be sent:
        the body of an error response before 5.0, TLVs before 3.4. False if the connection is gone."""
        if self._gone:
            return False
        self._check_unanswered(request, response.command_id)
        command_id = response.command_id
        status = response.command_status
        response.sequence_number = request.sequence_number
        if isinstance(response, BindResp) and not status:
            self._tell_version(response)
        if response.tlvs and not self.may_send_tlvs:
            response.tlvs = b""
        if status and self.peer_version < VERSION_5_0:
            self._output.append(HEADER.pack(HEADER_OCTETS, command_id, status, request.sequence_number))
        else:
            self._output.append(response.encode())
        self._answered(request.command_id)
        self._move(self.role, command_id, status)
        return True

    def accept_message(self, request: Pdu, message_id: bytes) -> bool:
        """ESME_ROK and a message_id for submit_sm, deliver_sm or data_sm: respond, by the shortest way."""
        if self._gone:
            return False
        if not self.pending:
            raise NotAllowed(f"{request.name} has been answered")
        self._output.append(_OCTETS[request.command_id](request.sequence_number, message_id))
        self.pending -= 1
        return True

    def refuse(self, request: Pdu, command_status: int) -> bool:
        """An error response without a body, of the kind that answers this request."""
        if self._gone:
            return False
        answer = _answer_id(request.command_id)
        self._check_unanswered(request, answer)
        self._output.append(HEADER.pack(HEADER_OCTETS, answer, command_status, request.sequence_number))
        self._answered(request.command_id)
        return True

    def _answered(self, command_id: int) -> None:
        if command_id in BINDS:
            self._bind_in_progress = False
        elif command_id != CommandId.unbind:
            self.pending -= 1

    def _check_unanswered(self, request: Pdu, answer_id: int) -> None:
        if request.command_id not in RESPONSE_OF:
            raise NotAllowed(f"{request.name} has no response")
        if answer_id not in (request.command_id | RESPONSE_BIT, CommandId.generic_nack):
            raise NotAllowed(f"{command_name(answer_id)} does not answer {request.name}")
        if request.command_id in BINDS:
            waits = self._bind_in_progress
        else:
            waits = self.pending > 0 or request.command_id == CommandId.unbind
        if not waits:
            raise NotAllowed(f"{request.name} has been answered")

    def can_send(self) -> bool:
        """Whether the window has room for another request of ours."""
        return len(self._sent) < self.window and self.state in BOUND

    def send_request(self, pdu: Pdu, now: float, context: object = None) -> int:
        """Sends a request (or notification) under the next number of ours and returns that. The window binds
        messages, not bind and unbind. Raises NotAllowed and EncodeError, and then nothing was sent."""
        self._now = now
        command_id = pdu.command_id
        if command_id not in self._allowed:
            raise NotAllowed(f"{pdu.name} is not allowed to the {self.role} in {self.state.name}")
        answered = command_id in RESPONSE_OF
        if answered and len(self._sent) >= self.window and command_id not in _NO_OWNER:
            raise NotAllowed(f"{len(self._sent)} requests are unanswered, the window is {self.window}")
        if pdu.tlvs and self.peer_version < VERSION_3_4:
            raise NotAllowed(f"a peer of version 0x{self.peer_version:02X} gets no TLVs")
        sequence_number = self._take_sequence()
        pdu.sequence_number = sequence_number
        octets = pdu.encode()
        if answered:
            deadline = now + self.settings.response_timer
            self._sent[sequence_number] = Sent(sequence_number, command_id, context, now, deadline)
        self._output.append(octets)
        self._last_active = now
        self._inactive_told = False
        if command_id == CommandId.outbind:
            self._move(self.role, command_id, 0)
        return sequence_number

    def _take_sequence(self) -> int:
        sequence_number = self._next_sequence
        while sequence_number in self._sent:
            sequence_number = sequence_number % MAX_SEQUENCE_NUMBER + 1
        self._next_sequence = sequence_number % MAX_SEQUENCE_NUMBER + 1
        return sequence_number

    def _tell_version(self, response: BindResp) -> None:
        if self.may_send_tlvs and response.get_tlv(Tag.sc_interface_version) is None:
            common = (
                VERSION_5_0
                if min(self.peer_version, self.settings.interface_version) >= VERSION_5_0
                else VERSION_3_4
            )
            response.add_tlv(Tag.sc_interface_version, common)

    # What both sides know -------------------------------------------------------------------------------------

    @property
    def may_send_tlvs(self) -> bool:
        """Whether the peer knows TLVs: not before 3.4, and not before it is known who it is."""
        return self.peer_version >= VERSION_3_4

    @property
    def unanswered(self) -> int:
        """How many requests of ours wait for a response."""
        return len(self._sent)

    @property
    def buffered_octets(self) -> int:
        """How much of an incomplete PDU is held."""
        return len(self._buffer)

    # Time -----------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When check_timers should be called next; it may be called at any other time too."""
        if self.state is State.CLOSED:
            return None
        due: list[float] = []
        if self._sent:
            due.append(next(iter(self._sent.values())).deadline)
        if self._init_deadline is not None and not self._bind_in_progress:
            due.append(self._init_deadline)
        if self._buffer and self.settings.pdu_read_timer is not None:
            due.append(self._buffer_since + self.settings.pdu_read_timer)
        if self.state in BOUND:
            if self._enquire_deadline is not None:
                due.append(self._enquire_deadline)
            elif self.settings.enquire_link_timer is not None:
                due.append(self.last_received + self.settings.enquire_link_timer)
            if self.settings.inactivity_timer is not None and not self._inactive_told:
                due.append(self._last_active + self.settings.inactivity_timer)
        return min(due) if due else None

    def check_timers(self, now: float) -> list[Event]:
        """Everything that is due. May leave an enquire_link in the output."""
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        self._now = now
        while self._sent:
            sent = next(iter(self._sent.values()))
            if sent.deadline > now:
                break
            del self._sent[sent.sequence_number]
            events.append(Unanswered(sent, "response timer"))
        if self._init_deadline is not None and now >= self._init_deadline and not self._bind_in_progress:
            unbound = self.state is State.UNBOUND
            self._fail("not closed after unbind" if unbound else "no bind", "session_init_timer", events)
            return events
        read_timer = self.settings.pdu_read_timer
        if self._buffer and read_timer is not None and now >= self._buffer_since + read_timer:
            self._fail("PDU incomplete", f"{len(self._buffer)} octets of it after {read_timer} s", events)
            return events
        if self.state in BOUND:
            self._check_silence(now, events)
        return events

    def _check_silence(self, now: float, events: list[Event]) -> None:
        settings = self.settings
        if self._enquire_deadline is not None:
            if now >= self._enquire_deadline:
                silent = f"nothing came for {now - self.last_received:.0f} s"
                self._fail("enquire_link unanswered", silent, events)
                return
        elif (
            settings.enquire_link_timer is not None
            and now >= self.last_received + settings.enquire_link_timer
        ):
            self._enquire_sequence = self._take_sequence()
            self._enquire_deadline = now + settings.response_timer
            self._output.append(HEADER.pack(HEADER_OCTETS, CommandId.enquire_link, 0, self._enquire_sequence))
        idle = settings.inactivity_timer
        if idle is not None and not self._inactive_told and now >= self._last_active + idle:
            self._inactive_told = True
            events.append(Inactive())

    def not_listening(self, now: float) -> None:
        """We did not read since then: the peer's silence proves nothing, and what it began may be whole by now."""
        self.last_received = self._buffer_since = now
        if self._enquire_deadline is not None:
            self._enquire_deadline = now + self.settings.response_timer

    def connection_lost(self) -> list[Event]:
        """The connection ended: what will never be answered. Afterwards nothing more comes of this session."""
        self._gone = True
        self._enter(State.CLOSED)
        self._buffer = bytearray()
        self._output = []
        lost: list[Event] = [Unanswered(sent, "connection ended") for sent in self._sent.values()]
        self._sent = {}
        return lost


def _answer_id(command_id: int) -> int:
    """The command_id of what answers this request."""
    return command_id | RESPONSE_BIT if command_id in RESPONSE_OF else CommandId.generic_nack
