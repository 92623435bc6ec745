"""One ESME's TCP connection.

In charge of: moving octets between a transport and a session, and turning its events into calls: bind, submit, an
answer to a delivery. Not in charge of: SMPP's rules (`smpp/session.py`), who may bind (`listener.py`), what happens to
a message (`submission.py`).

Theory: everything a read brought is fed to the session at once and leads to at most one write; an answer that waits
for the disk is written after its commit together with all others of the batch (`Binds.flush`). There is no task per
PDU. A peer that does not read is not read from either, and after a while it is cut off, so what one connection can make
us hold is bounded by its window and the transport's buffer.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from ..access.accounts import Account
from ..access.certificates import PeerCertificate
from ..message import Ingress
from ..metrics import counter
from .answers import UNKNOWN, Accepted
from .answers import Refused as NotTaken
from .binds import Handover
from .drafts import BadField, draft_of, drafts_of
from .smpp import tlv
from .smpp.codec import EncodeError, Pdu
from .smpp.command_id import CommandId
from .smpp.command_status import CommandStatus as Status
from .smpp.command_status import status_name
from .smpp.events import (
    BindRequest,
    Event,
    Fatal,
    Inactive,
    Nack,
    Refused,
    Request,
    Response,
    Unanswered,
    UnbindRequest,
)
from .smpp.pdu import (
    RESPONSE_OF,
    AlertNotification,
    DataSm,
    DataSmResp,
    SmeAddress,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    UnsuccessSme,
)
from .smpp.session import NotAllowed, Session
from .smpp.states import BOUND, State
from .smpp.tlv import Tag
from .tls_door import peer_certificate

if TYPE_CHECKING:
    from .listener import Listener

__all__ = ["Connection"]

_log = structlog.get_logger(__name__)

_pdus = counter("smpp", "refused_pdus", "PDUs the session answered with an error by itself", ("status",))

_VERSION_5_0 = 0x50
#: Refusals that go away when the peer sends less.
_SLOW_DOWN = (Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL)
OVERLOADED = 100  #: congestion_state of who is over a limit (SMPP 5.0 §4.8.4.18)

_WRITE_HIGH = 256 * 1024  #: octets the transport may hold before a peer counts as slow


class Connection(asyncio.Protocol):
    """What the loop calls. Implements `binds.Bind` once bound."""

    def __init__(self, listener: Listener) -> None:
        """Made by the listener for each accepted connection."""
        self._listener = listener
        self.number = 0
        self.account: Account = listener.nobody
        self.bind_type = ""
        self.version = 0
        self.peer = ""
        self.address = ""
        self.tls = ""  # version of TLS, "TLSv1.3"; "" on a plain connection
        self.certificate: PeerCertificate | None = None  # of the peer, verified
        self.bound_at = 0
        self.seat = (0, 0)  # account and number of the seat it has, while bound (`seats.py`)
        self._ingress: Ingress | None = None
        self._transport: asyncio.Transport | None = None
        self._session = Session("SMSC", listener.session_settings, listener.now())
        self._blocked_since: float | None = None  # the peer does not read
        self._large = 0  # octets of TLVs that wait for the next write
        self._reading = True
        self._leaving: Pdu | None = None  # unbind to answer when nothing is pending
        self._binding: asyncio.Task[None] | None = None
        self._outlet_waits = False

    # ------------------------------------------------------------------------------------------- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit or turn away."""
        transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the base class
        self._transport = transport
        name = transport.get_extra_info("peername") or ("", 0)
        self.address = str(name[0])
        self.peer = f"[{name[0]}]:{name[1]}" if ":" in self.address else f"{name[0]}:{name[1]}"
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.tls = str(tls.version())
            self.certificate = peer_certificate(transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH)
        if not self._listener.opened(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """One read, at most one write."""
        events = self._session.feed(data, self._listener.now())
        if events:
            self._dispatch(events)
        self.flush()
        if self._reading and self._listener.overloaded():
            self.hold_reading()
            self._listener.wait_for_room(self)

    def pause_writing(self) -> None:
        """The peer reads too slowly: take nothing more from it, and count the seconds."""
        self._blocked_since = self._listener.now()
        self.hold_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._blocked_since = None
        self.resume_reading()
        self._tell_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End of the connection, by whomever."""
        if self.number:
            _log.info("unbound", bind=self.number, system_id=self.account.system_id, peer=self.peer)
        self._listener.binds.remove(self)
        self._leave_seat()
        if self._binding is not None:
            self._binding.cancel()
        self._dispatch(self._session.connection_lost())
        self._listener.closed(self)

    # ------------------------------------------------------------------------------------------- from the session

    def _dispatch(self, events: list[Event]) -> None:
        for event in events:
            if type(event) is Request:
                self._request(event.pdu)
            elif type(event) is Response:
                self._response(event)
            else:
                self._seldom(event)

    def _seldom(self, event: Event) -> None:
        """Everything but traffic."""
        match event:
            case BindRequest(pdu):
                self._binding = asyncio.get_running_loop().create_task(self._bind(pdu))
            case UnbindRequest(pdu):
                self._leaving = pdu
                self._leave_if_done()
            case Unanswered(sent, reason):
                if isinstance(sent.context, Handover):
                    sent.context.outlet.unanswered(sent.context, link_lost=reason == "connection ended")
                    self._tell_room()
            case Nack(pdu, sent):
                if sent is not None and isinstance(sent.context, Handover):
                    sent.context.outlet.answered(sent.context, pdu)
                    self._tell_room()
            case Refused():
                _pdus.labels(status_name(event.command_status)).inc()
                _log.info(
                    "pdu-refused",
                    peer=self.peer,
                    reason=event.reason,
                    status=status_name(event.command_status),
                )
            case Fatal(reason, detail):
                _log.warning("connection-ended", peer=self.peer, reason=reason, detail=detail)
                self._close()
            case Inactive():
                self.unbind("inactive")
            case _:  # notifications: nothing to answer
                pass

    def _request(self, pdu: Pdu) -> None:
        """A request of a bound peer."""
        if isinstance(pdu, SubmitSm | DataSm):
            self._submit(pdu)
        elif isinstance(pdu, SubmitMulti):
            self._submit_multi(pdu)
        else:
            self._account()
            self._listener.operations.request(self, pdu)

    @property
    def ingress(self) -> Ingress:
        """Of everything that comes over this bind."""
        assert self._ingress is not None
        return self._ingress

    def _submit(self, pdu: SubmitSm | DataSm) -> None:
        assert self._ingress is not None
        try:
            draft = draft_of(pdu, self._listener.clock.now_ms())
        except BadField as error:
            self.refuse(pdu, error.status)
            return
        account, ingress = self._account(), self._ingress
        if draft.tlvs:
            ingress = self._listener.identity.settle(draft, account, ingress)
        replace = isinstance(pdu, SubmitSm) and bool(pdu.replace_if_present_flag)
        answered = partial(self._answered, pdu)
        self._listener.submission.submit(draft, account, ingress, answered, replace=replace)

    def _submit_multi(self, pdu: SubmitMulti) -> None:
        try:
            drafts = drafts_of(pdu, self._listener.clock.now_ms())
        except BadField as error:
            self.refuse(pdu, error.status)
            return
        account, ingress = self._account(), self.ingress
        if drafts[0].tlvs:
            for draft in drafts:  # they are spelled alike, so the last one speaks for all
                ingress = self._listener.identity.settle(draft, account, self.ingress)
        answered = partial(self._answered_multi, pdu)
        replace = bool(pdu.replace_if_present_flag)
        self._listener.submission.submit_many(drafts, account, ingress, answered, replace=replace)

    def _answered_multi(self, pdu: SubmitMulti, id: int, answers: list[Accepted | NotTaken]) -> None:
        """The intake has spoken about every destination: the refused ones are named, each with its status."""
        refused = [
            (to, answer)
            for to, answer in zip(pdu.dest_address, answers, strict=True)
            if isinstance(answer, NotTaken)
        ]
        if any(answer.unknown for _, answer in refused):
            self._answered(pdu, UNKNOWN)
            return
        statuses = {answer.status for _, answer in refused}
        unsuccess = tuple(
            UnsuccessSme(*to, answer.status) for to, answer in refused if isinstance(to, SmeAddress)
        )
        response = SubmitMultiResp(message_id=b"%d" % id, unsuccess_sme=unsuccess)
        if len(refused) == len(answers):  # nothing has this id, except what transaction mode stored and lost
            response.command_status = statuses.pop() if len(statuses) == 1 else Status.ESME_RSUBMITFAIL
        self.respond(pdu, response)

    def _account(self) -> Account:
        """The account as it is now; edits count at once."""
        current = self._listener.accounts.by_number(self.account.number)
        if current is not None:
            self.account = current
        return self.account

    def _answered(self, pdu: Pdu, answer: Accepted | NotTaken) -> None:
        """The intake has spoken; at once, or after the commit."""
        if self.version >= _VERSION_5_0 and (isinstance(answer, Accepted) or answer.status in _SLOW_DOWN):
            self._answer_with_congestion(pdu, answer)
        elif isinstance(answer, Accepted):
            self._session.accept_message(pdu, b"%d" % answer.id)
        elif answer.unknown:  # it may be stored or not: say neither (behaviour.md 10)
            _log.error("answer-withheld", peer=self.peer)
            if self._transport is not None:
                self._transport.abort()
            return
        elif answer.failure_reason is not None and isinstance(pdu, SubmitSm | DataSm):
            self._session.respond(pdu, _failure(pdu, answer, answer.failure_reason))
        else:
            self._session.refuse(pdu, answer.status)
        self._soil()

    def _answer_with_congestion(self, pdu: Pdu, answer: Accepted | NotTaken) -> None:
        """A 5.0 peer learns how near it is to being told to wait (SMPP 5.0 §4.8.4.18)."""
        response = RESPONSE_OF[pdu.command_id]()
        assert isinstance(response, SubmitSmResp | DataSmResp)
        state = OVERLOADED
        if isinstance(answer, Accepted):
            response.message_id = b"%d" % answer.id
            state = self._listener.congestion(self.account)
        else:
            response.command_status = answer.status
        response.add_tlv(Tag.congestion_state, state)
        self._session.respond(pdu, response)

    def respond(self, request: Pdu, response: Pdu) -> None:
        """Answer a request with fields."""
        self._session.respond(request, response)
        self._soil()

    def refuse(self, request: Pdu, status: int) -> None:
        """Answer a request with an error."""
        self._session.refuse(request, status)
        self._soil()

    def _response(self, event: Response) -> None:
        """A delivery was answered."""
        context = event.sent.context
        if isinstance(context, Handover):
            context.outlet.answered(context, event.pdu)
            if self._outlet_waits:
                self._tell_room()
        elif event.sent.command_id == CommandId.unbind:
            self._close()

    def _tell_room(self) -> None:
        self._outlet_waits = False
        if self.number and self.bind_type != "tx":
            self._listener.binds.outlet(self.account.number).room()

    # ------------------------------------------------------------------------------------------- bind and unbind

    async def _bind(self, pdu: Pdu) -> None:
        """Ask who it is; the connection goes on meanwhile and refuses everything else."""
        why = await self._listener.admit(self, pdu)
        if self._transport is None or self._transport.is_closing():
            self._leave_seat()
            return
        if why:
            self._session.refuse(pdu, Status.ESME_RBINDFAIL)
            self.flush()
            self._listener.refused(self, pdu, Status.ESME_RBINDFAIL, why)
            return
        self._listener.bound(self, pdu, self._session)
        self.flush()
        self._tell_room()

    def _leave_seat(self) -> None:
        (account, number), self.seat = self.seat, (0, 0)
        self._listener.seats.leave(account, number)

    def become(self, account: Account, bind_type: str, number: int, ingress: Ingress, bound_at: int) -> None:
        """Be a bind of this account from now on."""
        self.account, self.bind_type, self.number = account, bind_type, number
        self._ingress, self.version, self.bound_at = ingress, ingress.version, bound_at
        self._session.window = account.window
        self._session.pending_limit = account.window

    def unbind(self, reason: str) -> None:
        """Ask the peer to leave; it has the session's response time to do so."""
        if self._session.state in BOUND:
            _log.info("unbinding", bind=self.number, reason=reason)
            self._session.send_request(Unbind(), self._listener.now())
            self.flush()
        else:
            self._close()

    def _leave_if_done(self) -> None:
        """The peer wants to leave: everything it asked for is answered first."""
        if self._leaving is None or self._session.pending:
            return
        pdu, self._leaving = self._leaving, None
        self._session.respond(pdu, UnbindResp())
        self._listener.binds.remove(self)
        self.flush()
        self._close()

    def _close(self) -> None:
        """Write what is left, then end the connection."""
        if self._transport is not None and not self._transport.is_closing():
            output = self._session.take_output()
            if output:
                self._transport.write(output)
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------------- delivery's side

    def can_send(self) -> bool:
        """See `binds.Bind`."""
        if self._blocked_since is None and self._session.can_send():
            return True
        self._outlet_waits = True
        return False

    def send(self, pdu: Pdu, context: Handover) -> None:
        """See `binds.Bind`."""
        try:
            self._session.send_request(pdu, self._listener.now(), context)
        except (EncodeError, NotAllowed) as error:  # a message that cannot be said to this peer
            _log.warning("not-sendable", peer=self.peer, error=str(error))
            context.outlet.not_sendable(context)
            return
        self._soil()
        self._large += len(pdu.tlvs)
        if self._large > _WRITE_HIGH:  # long texts: let the transport say when it has enough of them
            self.flush()

    def notify(self, pdu: AlertNotification) -> bool:
        """See `pending_flags.Receiver`."""
        if self._blocked_since is not None or self._transport is None or self._transport.is_closing():
            return False
        try:
            self._session.send_request(pdu, self._listener.now())
        except (EncodeError, NotAllowed) as error:
            _log.warning("not-sendable", peer=self.peer, error=str(error))
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write what the session has to say, in one write."""
        if self._transport is None or self._transport.is_closing():
            return
        output = self._session.take_output()
        self._large = 0
        if output:
            self._transport.write(output)
        if self._leaving is not None:
            self._leave_if_done()

    def _soil(self) -> None:
        if self.number:
            self._listener.binds.soil(self)
        else:
            self.flush()

    # ------------------------------------------------------------------------------------------- clock and pressure

    def tick(self, now: float, slow_reader_s: float) -> None:
        """Timers; called for all connections a few times a second."""
        if self._blocked_since is not None and now - self._blocked_since > slow_reader_s:
            _log.warning("slow-reader", peer=self.peer, seconds=round(now - self._blocked_since))
            self.abort()
            return
        if not self._reading:
            self._session.not_listening(now)
        events = self._session.check_timers(now)
        if events:
            self._dispatch(events)
        self.flush()

    @property
    def state(self) -> State:
        """Of the session."""
        return self._session.state

    @property
    def pending(self) -> int:
        """Requests of the peer that are not answered yet."""
        return self._session.pending

    @property
    def unanswered(self) -> int:
        """Deliveries that the peer has not answered yet."""
        return self._session.unanswered

    def hold_reading(self) -> None:
        """Take nothing more from the peer, until `resume_reading`."""
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, if the peer itself reads."""
        if not self._reading and self._blocked_since is None and self._transport is not None:
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()


def _failure(pdu: SubmitSm | DataSm, answer: NotTaken, reason: int) -> Pdu:
    """Why transaction mode did not deliver, for peers whose error responses have a body (SMPP 5.0 §4.2.5)."""
    kind = SubmitSmResp if isinstance(pdu, SubmitSm) else DataSmResp
    response = kind(message_id=b"%d" % answer.id, command_status=answer.status)
    response.add_tlv(tlv.Tag.delivery_failure_reason, reason)
    if answer.network_error:
        response.add_tlv(tlv.Tag.network_error_code, answer.network_error)
    if isinstance(pdu, DataSm) and answer.flagged:
        response.add_tlv(tlv.Tag.dpf_result, 1)
    return response
