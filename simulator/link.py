"""An ESME's end of an SMPP connection: one TCP connection, and one that comes back by itself.

In charge of: sockets, timers and callbacks around the sans-IO session. Not in charge of: the protocol
(`smsc/smpp/session.py`), or what is sent (`network.py`, `cli/bench.py`).

Everything that one read causes, further requests included, leaves in one write. No task runs for a PDU.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ..smsc.smpp import events, pdu
from ..smsc.smpp.codec import Pdu
from ..smsc.smpp.command_status import CommandStatus, status_name
from ..smsc.smpp.session import Session
from ..smsc.smpp.session_settings import SessionSettings
from ..smsc.smpp.states import BOUND

__all__ = ["BINDS", "Answer", "BindRefused", "Connection", "Credentials", "Done", "Link", "OnMessage"]

#: Gets the response, or None if there will be none.
Done = Callable[[Pdu | None], None]
#: Answers one deliver_sm: command_status, TLVs.
Answer = Callable[[int, bytes], None]
OnMessage = Callable[[pdu.DeliverSm, Answer], None]

BINDS: dict[str, type[pdu.Bind]] = {
    "tx": pdu.BindTransmitter,
    "rx": pdu.BindReceiver,
    "trx": pdu.BindTransceiver,
}

BACKLOG = 10_000  #: requests that may wait for room in the window
RECONNECT_S = (0.2, 0.5, 1.0, 2.0)  #: pauses before further attempts; the last one repeats
UNBIND_S = 2.0  #: how long the other side may take to answer unbind
TICK_S = 1.0  #: timers of a session are whole seconds


class BindRefused(ConnectionError):
    """The message center said no, or ended the connection instead of an answer."""

    def __init__(self, status: int | None, system_id: str) -> None:
        said = "gave no answer" if status is None else f"answered {status_name(status)}"
        super().__init__(f"bind as {system_id}: the message center {said}")
        self.status = status  #: command_status; None without an answer


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to bind."""

    system_id: str
    password: str
    bind_type: str = "trx"  #: "tx", "rx", "trx"
    system_type: str = ""
    interface_version: int = 0x34

    def request(self) -> pdu.Bind:
        """The bind request. Raises EncodeError if a field is too long for SMPP."""
        return BINDS[self.bind_type](
            system_id=self.system_id.encode(),
            password=self.password.encode(),
            system_type=self.system_type.encode(),
            interface_version=self.interface_version,
        )


def accept_everything(message: pdu.DeliverSm, answer: Answer) -> None:
    """What a receiver does that nobody has told anything else."""
    answer(CommandStatus.ESME_ROK, b"")


class Connection(asyncio.Protocol):
    """One connection from its bind to its end. Make it by `connect`."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        window: int = 10,
        on_message: OnMessage = accept_everything,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials = credentials
        self.on_message = on_message
        loop = asyncio.get_running_loop()
        self.bound: asyncio.Future[None] = loop.create_future()  #: done when bound; BindRefused
        self.ended: asyncio.Future[None] = loop.create_future()  #: done when the connection is gone
        self._loop = loop
        self._monotonic = monotonic
        self._session = Session("ESME", SessionSettings(window=window), monotonic())
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[tuple[Pdu, Done | None]] = deque()
        self._reading = False
        self._ticker: asyncio.TimerHandle | None = None

    @classmethod
    async def connect(
        cls, host: str, port: int, credentials: Credentials, *, window: int = 10, on_message: OnMessage
    ) -> Connection:
        """Connect and bind. Raises OSError (BindRefused is one)."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: cls(credentials, window=window, on_message=on_message), host, port
        )
        try:
            await made.bound
        except BaseException:
            made.abort()
            raise
        return made

    # What others call ...........................................................................................

    @property
    def room(self) -> int:
        """How many requests fit into the window now, those that leave with the present read counted."""
        session = self._session
        return max(0, session.window - session.unanswered - len(self._backlog)) if session.can_send() else 0

    def send(self, request: Pdu, done: Done | None = None) -> bool:
        """Send a request, or keep it until the window has room. False: too many wait, or the link is down."""
        if self._session.state not in BOUND or len(self._backlog) >= BACKLOG:
            return False
        self._backlog.append((request, done))
        if not self._reading:
            self._flush()
        return True

    def send_now(self, requests: list[tuple[Pdu, Done]]) -> None:
        """Send several in one write."""
        self._backlog.extend(requests)
        if not self._reading:
            self._flush()

    async def unbind(self) -> None:
        """Leave politely: unbind, wait for the answer, close."""
        with contextlib.suppress(ValueError):
            self._session.send_request(pdu.Unbind(), self._monotonic())
            self._flush()
            await asyncio.wait([self.ended], timeout=UNBIND_S)
        self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls .........................................................................................

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        try:
            self._session.send_request(self.credentials.request(), self._monotonic())
        except ValueError as error:  # a field that SMPP has no room for
            self.bound.set_exception(error)
            self._transport.abort()
            return
        self._flush()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    def data_received(self, data: bytes) -> None:
        self._reading = True
        try:
            for event in self._session.feed(data, self._monotonic()):
                self._happened(event)
        finally:
            self._reading = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        for event in self._session.connection_lost():
            self._happened(event)
        while self._backlog:
            _, done = self._backlog.popleft()
            if done is not None:
                done(None)
        if not self.bound.done():
            self.bound.set_exception(BindRefused(None, self.credentials.system_id))
        if not self.ended.done():
            self.ended.set_result(None)

    # What the session says ......................................................................................

    def _happened(self, event: events.Event) -> None:
        match event:
            case events.Response(pdu=response, sent=sent):
                self._answered(response, sent.context)
            case events.Nack(pdu=response, sent=sent) if sent is not None:
                self._answered(response, sent.context)
            case events.Unanswered(sent=sent):
                self._answered(None, sent.context)
            case events.Request(pdu=request):
                self._requested(request)
            case events.UnbindRequest(pdu=request):
                self._session.respond(request, pdu.UnbindResp())
                self._loop.call_soon(self._close)
            case events.Fatal():
                self._loop.call_soon(self._close)
            case _:
                pass

    def _answered(self, response: Pdu | None, context: object) -> None:
        if callable(context):
            context(response)
        elif isinstance(response, pdu.BindResp) and not self.bound.done():
            if response.command_status:
                self.bound.set_exception(BindRefused(response.command_status, self.credentials.system_id))
            else:
                self.bound.set_result(None)
        elif isinstance(response, pdu.UnbindResp):
            self._loop.call_soon(self._close)
        elif response is None and not self.bound.done():
            self.bound.set_exception(BindRefused(None, self.credentials.system_id))
        elif isinstance(response, pdu.GenericNack) and not self.bound.done():
            self.bound.set_exception(BindRefused(response.command_status, self.credentials.system_id))

    def _requested(self, request: Pdu) -> None:
        if not isinstance(request, pdu.DeliverSm):
            self._session.refuse(request, CommandStatus.ESME_RINVCMDID)
            return

        def answer(status: int, tlvs: bytes) -> None:
            self._answer(request, status, tlvs)

        self.on_message(request, answer)

    def _answer(self, request: pdu.DeliverSm, status: int, tlvs: bytes) -> None:
        """Answer a deliver_sm. With an error, TLVs reach a center only by 5.0: 3.4 gives errors no body."""
        if self._transport is None or self._transport.is_closing():
            return
        if not status and not tlvs:
            self._session.accept_message(request, b"")
        else:
            self._session.respond(request, pdu.DeliverSmResp(command_status=status, tlvs=tlvs))
        if not self._reading:
            self._flush()

    def _flush(self) -> None:
        """Fill the window from the backlog, then write everything at once."""
        session, backlog = self._session, self._backlog
        while backlog and session.can_send():
            request, done = backlog.popleft()
            session.send_request(request, self._monotonic(), done)
        octets = session.take_output()
        if octets and self._transport is not None:
            self._transport.write(octets)

    def _tick(self) -> None:
        for event in self._session.check_timers(self._monotonic()):
            self._happened(event)
        self._flush()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Link:
    """A bind that is made again whenever it ends, until it is told to stop."""

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        self.host = host
        self.port = port
        self.credentials = credentials
        self.on_message: OnMessage = accept_everything
        self.refused: BindRefused | None = None  #: the last refusal; None once bound
        self._connection: Connection | None = None

    @property
    def bound(self) -> bool:
        """Whether a message can be sent now."""
        return self._connection is not None and not self._connection.ended.done()

    def submit(self, request: pdu.SubmitSm, done: Done | None = None) -> bool:
        """Send a message. False: not bound, or too much waits; `done` is not called then."""
        return self._connection is not None and self._connection.send(request, done)

    async def run(self, stop: asyncio.Event) -> None:
        """Stay bound until `stop`, then unbind."""
        stopped = asyncio.ensure_future(stop.wait())
        failures = 0
        try:
            while not stop.is_set():
                try:
                    connection = await Connection.connect(
                        self.host, self.port, self.credentials, on_message=lambda m, a: self.on_message(m, a)
                    )
                except OSError as error:
                    self.refused = error if isinstance(error, BindRefused) else None
                    pause = RECONNECT_S[min(failures, len(RECONNECT_S) - 1)]
                    failures += 1
                    await asyncio.wait([stopped], timeout=pause)
                    continue
                self._connection, self.refused, failures = connection, None, 0
                await asyncio.wait([stopped, connection.ended], return_when=asyncio.FIRST_COMPLETED)
                self._connection = None
                if stop.is_set():
                    await connection.unbind()
        finally:
            stopped.cancel()
