"""One of our binds at another center: a TCP connection and its session.

In charge of: moving octets between a transport and a session in the role of the ESME, binding, and turning events into
calls. Not in charge of: when to connect (`upstream.py`), what to send (`link_outlet.py`), receipts
(`link_receipts.py`), messages that come in (`upstream.py`).

Theory: as `connection.py`: what a read brought is fed at once and leads to one write; what is sent while the loop does
something else leaves in one write as well. What this connection can make us hold is bounded by its window, by the
session's limit of unanswered requests, and by the transport's buffer, beyond which nothing is sent or read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import structlog

from .links import Link
from .smpp.codec import EncodeError, Pdu
from .smpp.command_id import CommandId
from .smpp.command_status import CommandStatus as Status
from .smpp.command_status import status_name
from .smpp.events import (
    Event,
    Fatal,
    Nack,
    Notification,
    Refused,
    Request,
    Response,
    Unanswered,
    UnbindRequest,
)
from .smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter, Unbind, UnbindResp
from .smpp.session import NotAllowed, Session
from .smpp.states import BOUND

__all__ = ["BIND_TYPES", "BindRefused", "Bearer", "LinkConnection"]

_log = structlog.get_logger(__name__)

_WRITE_HIGH = 256 * 1024  #: octets the transport may hold before the other side counts as slow
_SLOW_READER_S = 30.0  #: so long it may stay slow

BIND_TYPES = {"trx": BindTransceiver, "tx": BindTransmitter, "rx": BindReceiver}


class BindRefused(Exception):
    """The other side does not let us in."""

    def __init__(self, status: int) -> None:
        """Its command_status."""
        super().__init__(f"bind refused: {status_name(status)}")
        self.status = status


class Flight(Protocol):
    """A submit_sm that waits for its response."""

    def answered(self, pdu: Pdu) -> None:
        """Response or generic_nack."""
        ...

    def unanswered(self, *, link_lost: bool) -> None:
        """Nothing will come any more."""
        ...

    def not_sendable(self) -> None:
        """It could not be encoded for this peer."""
        ...


class Bearer(Protocol):
    """What a connection tells the link it belongs to."""

    link: Link

    def room(self) -> None:
        """A window or a socket has room again."""
        ...

    def request(self, connection: LinkConnection, pdu: Pdu) -> None:
        """deliver_sm or data_sm: to be answered by `accept` or `refuse`."""
        ...

    def notified(self, pdu: Pdu) -> None:
        """alert_notification."""
        ...


class LinkConnection(asyncio.Protocol):
    """What the loop calls."""

    def __init__(self, bearer: Bearer, bind_type: str, now: Callable[[], float]) -> None:
        """`now`: monotonic seconds."""
        self._bearer = bearer
        self.bind_type = bind_type
        self._now = now
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._session = Session("ESME", bearer.link.session_settings, now())
        self._transport: asyncio.Transport | None = None
        self._blocked_since: float | None = None
        self._flush_soon = False
        self._leaving: Pdu | None = None
        self.bound_at = 0.0  #: monotonic seconds
        self.bound: asyncio.Future[None] = loop.create_future()
        self.bound.add_done_callback(_look)
        self.closed: asyncio.Future[str] = loop.create_future()
        self.why = ""  #: why it ended, for people
        self.peer = ""

    # ------------------------------------------------------------------------------------------- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: bind follows."""
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername") or ("", 0)
        self.peer = f"[{name[0]}]:{name[1]}" if ":" in str(name[0]) else f"{name[0]}:{name[1]}"
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)

    def certificate(self) -> bytes:
        """What the other side showed over TLS (DER); nothing without it."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""

    def data_received(self, data: bytes) -> None:
        """One read, at most one write."""
        events = self._session.feed(data, self._now())
        for event in events:
            self._handle(event)
        self.flush()

    def pause_writing(self) -> None:
        """The other side reads too slowly."""
        self._blocked_since = self._now()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._blocked_since = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._bearer.room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by whomever."""
        self.why = self.why or (str(exc) if exc is not None else "closed by the other side")
        if not self.closed.done():
            self.closed.set_result(self.why)
        if not self.bound.done():
            self.bound.set_exception(ConnectionError(self.why))
        for event in self._session.connection_lost():
            self._handle(event)

    # ------------------------------------------------------------------------------------------- from the session

    def _handle(self, event: Event) -> None:
        match event:
            case Response(pdu, sent):
                if sent.command_id == CommandId.submit_sm:
                    cast("Flight", sent.context).answered(pdu)
                elif sent.command_id == CommandId.unbind:
                    self.close("unbound")
                else:
                    self._bind_answered(pdu)
            case Request(pdu):
                self._bearer.request(self, pdu)
            case Nack(pdu, sent) if sent is not None:
                if sent.command_id == CommandId.submit_sm:
                    cast("Flight", sent.context).answered(pdu)
                elif sent.command_id != CommandId.unbind:
                    self._bind_answered(pdu)
            case Unanswered(sent, reason):
                if sent.command_id == CommandId.submit_sm:
                    cast("Flight", sent.context).unanswered(link_lost=reason == "connection ended")
                elif reason != "connection ended":
                    self.close("no response to bind or unbind")
            case Notification(pdu):
                self._bearer.notified(pdu)
            case UnbindRequest(pdu):
                self._leaving = pdu
                self._leave_if_done()
            case Fatal(reason, detail):
                _log.warning(
                    "link-connection-ended", link=self._bearer.link.name, reason=reason, detail=detail
                )
                self.close(reason)
            case Refused():
                _log.info("link-pdu-refused", link=self._bearer.link.name, reason=event.reason)
            case _:  # a complaint about nothing we sent, a lull
                pass

    def _bind_answered(self, pdu: Pdu) -> None:
        if self.bound.done():
            return
        if pdu.command_status:
            self.bound.set_exception(BindRefused(pdu.command_status))
        else:
            self.bound_at = self._now()
            self.bound.set_result(None)

    # ------------------------------------------------------------------------------------------- the link's side

    def bind(self, password: str) -> None:
        """Ask to be let in; `bound` tells."""
        model = self._bearer.link.model
        request = BIND_TYPES[self.bind_type](
            system_id=model.system_id.encode("ascii"),
            password=password.encode("latin-1", "replace"),
            system_type=model.system_type.encode("ascii"),
            interface_version=self._bearer.link.interface_version,
            addr_ton=model.address_ton,
            addr_npi=model.address_npi,
            address_range=model.address_range.encode("ascii"),
        )
        try:
            self._session.send_request(request, self._now())
        except EncodeError as error:
            self.bound.set_exception(ValueError(f"the bind does not fit SMPP: {error.args[0]}"))
        self.flush()

    def follow(self, link: Link) -> None:
        """The link was edited in a way that needs no new bind."""
        self._session.window = link.model.window
        self._session.pending_limit = link.session_settings.pending_limit
        self._session.settings = link.session_settings

    @property
    def is_bound(self) -> bool:
        """True while requests may be exchanged."""
        return self._session.state in BOUND and self._leaving is None and not self.closed.done()

    @property
    def version(self) -> int:
        """interface_version of the other side."""
        return self._session.peer_version

    @property
    def unanswered(self) -> int:
        """Requests of ours without a response."""
        return self._session.unanswered

    def can_send(self) -> bool:
        """True if one more message fits."""
        return self._blocked_since is None and self._leaving is None and self._session.can_send()

    def send(self, pdu: Pdu, flight: Flight) -> None:
        """Send a message; it leaves with everything else of this turn of the loop."""
        try:
            self._session.send_request(pdu, self._now(), flight)
        except (EncodeError, NotAllowed) as error:
            _log.warning("link-not-sendable", link=self._bearer.link.name, error=str(error))
            flight.not_sendable()
            return
        self._soil()

    def accept(self, request: Pdu) -> None:
        """Answer ESME_ROK; message_id stays empty (behaviour.md 6)."""
        self._session.accept_message(request, b"")
        self._soil()
        self._leave_if_done()

    def refuse(self, request: Pdu, status: int) -> None:
        """Answer with an error."""
        self._session.refuse(request, status or Status.ESME_RSYSERR)
        self._soil()
        self._leave_if_done()

    def _soil(self) -> None:
        if not self._flush_soon:
            self._flush_soon = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is, in one write."""
        self._flush_soon = False
        if self._transport is None or self._transport.is_closing():
            return
        output = self._session.take_output()
        if output:
            self._transport.write(output)

    def tick(self, now: float) -> None:
        """Timers; called a few times a second."""
        if self._blocked_since is not None and now - self._blocked_since > _SLOW_READER_S:
            self.abort("the other side does not read")
            return
        for event in self._session.check_timers(now):
            self._handle(event)
        self.flush()

    def unbind(self) -> None:
        """Leave politely."""
        if self.is_bound:
            self._session.send_request(Unbind(), self._now())
            self.flush()
        else:
            self.close("not bound")

    def _leave_if_done(self) -> None:
        """The other side wants us to leave: everything it asked for is answered first."""
        if self._leaving is None or self._session.pending:
            return
        pdu, self._leaving = self._leaving, None
        self._session.respond(pdu, UnbindResp())
        self.close("unbound by the other side")

    def close(self, why: str) -> None:
        """Write what is left, then end the connection."""
        self.why = self.why or why
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """End the connection now."""
        self.why = self.why or why
        if self._transport is not None:
            self._transport.abort()


def _look(future: asyncio.Future[None]) -> None:
    """A refusal that nobody waits for any more is no fault of ours."""
    if not future.cancelled():
        future.exception()
