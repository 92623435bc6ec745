"""One Diameter connection: capabilities, watchdog, disconnection, and requests in both directions.

In charge of: the life of a connection from its first octet to its last; matching answers to requests; bounds and
deadlines of both. Not in charge of: who may connect and where requests go (`node.py`), or what they mean.

Theory. Who connects sends CER and waits for CEA; who accepts waits for CER. In OPEN requests pass both ways. Either
end may say DPR: then nothing new is sent, what is under way may end, and whoever said it closes when DPA has come.
Silence is answered by DWR after a while and ends the connection after another (RFC 3539 §3.4.1, without its states for
failing over, which need a second connection to the same peer). A request is handed to its handler in the turn of the
loop in which it was read, and the handler returns at once; it answers when it can.

How it fails: Unavailable, to who made a request; nothing is raised to a reader of the socket.

Source: RFC 6733 §5.3 to §5.6, §6.1.3 (loops), §6.2 (answers), §7.2 (E bit); RFC 3539 §3.4.1.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import cast

from ...metrics import counter
from ..causes import ResultCode
from . import codec
from .codec import Avp, Avps, BadMessage, Framer, Message, avp, grouped
from .dictionary import TGPP, Application, Command

__all__ = ["TRANSITIONS", "Connection", "Identity", "Limits", "State", "Timers", "Unavailable"]

_FAILED = counter("signaling", "diameter_failures", "Diameter requests of ours without an answer", ["reason"])
_REFUSED = counter(
    "signaling", "diameter_refused", "Diameter requests to us refused by the connection", ["result"]
)

#: Disconnect-Cause.
REBOOTING, BUSY, DO_NOT_WANT_TO_TALK_TO_YOU = 0, 1, 2


class State(Enum):
    """Where a connection is in its life."""

    WAIT_CER = "accepted; the peer has not said who it is"
    WAIT_CEA = "connected; we said who we are"
    OPEN = "requests pass both ways"
    CLOSING = "one end asked to disconnect"
    CLOSED = "no connection"


#: from -> the states it may go to. There is nothing after CLOSED.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAIT_CER: frozenset({State.OPEN, State.CLOSED}),
    State.WAIT_CEA: frozenset({State.OPEN, State.CLOSED}),
    State.OPEN: frozenset({State.CLOSING, State.CLOSED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}


class Unavailable(Exception):
    """A request without an answer: "disconnected", "busy", "timeout", "no-route"."""

    def __init__(self, reason: str, end_to_end: int | None = None) -> None:
        """`end_to_end`: of the request, if it was sent and nobody knows whether it arrived."""
        super().__init__(reason)
        self.reason = reason
        self.end_to_end = end_to_end
        _FAILED.labels(reason).inc()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are."""

    host: str  #: DiameterIdentity
    realm: str
    applications: tuple[int, ...] = (Application.S6C, Application.SGD)
    product: str = "Restante"
    state_id: int = 0  #: grows with each start; 0 leaves it out


@dataclass(frozen=True, slots=True)
class Timers:
    """All in seconds."""

    capabilities_s: float = 10.0  #: for CER or CEA to come
    watchdog_s: float = 30.0  #: silence before DWR; RFC 3539 asks for 6 at least
    jitter_s: float = 2.0  #: by which the watchdog may be earlier or later
    disconnect_s: float = 2.0  #: for DPA to come, and for a peer that said DPR to close


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection."""

    window: int = 1000  #: requests of ours without an answer
    incoming: int = 1000  #: requests of the peer that we have not answered; more get TOO_BUSY


Handler = Callable[["Connection", Message], None]


@dataclass(slots=True)
class _Asked:
    answer: asyncio.Future[Message]
    timer: asyncio.TimerHandle
    end_to_end: int


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom a connection tells; each returns at once."""

    request: Handler  #: a request for an application of ours; must be answered by `Connection.answer`
    admit: Callable[[Connection, Message], int]  #: judges CER or CEA: a Result-Code; not 2001 ends it
    opened: Callable[[Connection], None]
    closed: Callable[[Connection], None]
    rng: random.Random = field(default_factory=random.Random)


class Connection(asyncio.Protocol):
    """One TCP connection to one peer. Lives on the event loop."""

    def __init__(
        self, identity: Identity, hooks: Hooks, *, initiator: bool, timers: Timers, limits: Limits
    ) -> None:
        self.identity = identity
        self.state = State.WAIT_CEA if initiator else State.WAIT_CER
        self.peer_host = ""  #: what the peer called itself and was admitted as, in lower case; "" before
        self.peer_realm = ""
        self.peer_address = ""  #: IP address
        self.peer_port = 0
        self.opened_at = 0.0  #: time of the loop at which it came to OPEN
        self.peer_applications: frozenset[int] = frozenset()
        self._hooks = hooks
        self._timers = timers
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._asked: dict[int, _Asked] = {}
        self._unanswered: set[tuple[int, int]] = set()
        self._hop_by_hop = hooks.rng.getrandbits(32)
        self._end_to_end = (int(self._loop.time()) & 0xFFF) << 20 | hooks.rng.getrandbits(20)
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._doubted = False  # a DWR of ours waits for its answer
        self._unwanted = False  # given up
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # ---------------------------------------------------------------------------------------------- the two ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it
        peer = transport.get_extra_info("peername") or ("", 0)
        self.peer_address, self.peer_port = str(peer[0]), int(peer[1])
        if self._unwanted:
            transport.abort()
            return
        self._timer = self._loop.call_later(self._timers.capabilities_s, self.give_up)
        if self.state is State.WAIT_CEA:
            self._send(self._next(codec.REQUEST, Command.CAPABILITIES_EXCHANGE, 0, self._capabilities()))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state is State.CLOSED:
            return
        self._move(State.CLOSED)
        if self._timer is not None:
            self._timer.cancel()
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(Unavailable("disconnected", asked.end_to_end))
        self._hooks.closed(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._doubted = False
        try:
            for octets in self._framer.feed(data):
                if self._unwanted:
                    return
                self._received(octets)
        except BadMessage:
            self.give_up()

    def give_up(self) -> None:
        """Close without a word, also before there is a transport."""
        self._unwanted = True
        if self._transport is not None:
            self._transport.abort()

    def close(self, cause: int = REBOOTING) -> None:
        """Say good-bye and close when the peer has answered, or after a while. Open requests may still be answered."""
        if self.state is not State.OPEN:
            self.give_up()
            return
        self._move(State.CLOSING)
        avps = (*self._origin(), avp("Disconnect-Cause", cause))
        self._send(self._next(codec.REQUEST, Command.DISCONNECT_PEER, 0, avps))
        self._watch(self._timers.disconnect_s, self.give_up)

    def probe(self) -> None:
        """Ask whether the peer still lives, and give up if it does not say so soon."""
        if self.state is State.OPEN and not self._doubted:
            self._ask_for_life(min(self._timers.capabilities_s, self._timers.watchdog_s))

    # --------------------------------------------------------------------------------------------------- requests

    @property
    def is_made(self) -> bool:
        """Whether TCP has connected, so that we may have introduced ourselves."""
        return self._transport is not None

    @property
    def is_open(self) -> bool:
        """Whether a request made now would be sent."""
        return self.state is State.OPEN

    @property
    def in_flight(self) -> int:
        """Requests of ours without an answer so far."""
        return len(self._asked)

    async def request(
        self,
        application: int,
        code: int,
        avps: Sequence[Avp],
        timeout_s: float,
        *,
        end_to_end: int | None = None,
    ) -> Message:
        """Ask and wait for the answer, whatever its result. Unavailable.

        `end_to_end` marks a repetition of an earlier request whose fate is unknown: the same number and the T bit.
        """
        if self.state is not State.OPEN:
            raise Unavailable("disconnected")
        if len(self._asked) >= self._limits.window:
            raise Unavailable("busy")
        flags = codec.REQUEST | codec.PROXIABLE | (0 if end_to_end is None else codec.RETRANSMITTED)
        message = self._next(flags, code, application, avps, end_to_end)
        number = message.hop_by_hop
        timer = self._loop.call_later(timeout_s, self._late, number)
        asked = self._asked[number] = _Asked(self._loop.create_future(), timer, message.end_to_end)
        self._send(message)
        try:
            return await asked.answer
        finally:
            timer.cancel()
            self._asked.pop(number, None)

    def answer(self, request: Message, avps: Sequence[Avp], *, error: bool = False) -> bool:
        """Answer a request that came over this connection; False if it cannot be sent any more."""
        self._unanswered.discard((request.hop_by_hop, request.end_to_end))
        if self.state not in (State.OPEN, State.CLOSING):
            return False
        self._send(request.answer(avps, error=error))
        return True

    def leave(self, request: Message) -> None:
        """Leave a request without an answer: nobody knows what to say, and the peer will come again."""
        self._unanswered.discard((request.hop_by_hop, request.end_to_end))

    def refuse(self, request: Message, result: int, reason: str = "") -> bool:
        """Answer with a Result-Code alone."""
        _REFUSED.labels(str(result)).inc()
        text = (avp("Error-Message", reason),) if reason else ()
        avps = (avp("Result-Code", result), *self._origin(), *text)
        return self.answer(request, avps, error=3000 <= result < 4000)

    def _late(self, number: int) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.answer.done():
            asked.answer.set_exception(Unavailable("timeout"))

    # ----------------------------------------------------------------------------------------------- what is read

    def _received(self, octets: bytes) -> None:
        try:
            message = codec.decode(octets)
        except BadMessage as problem:
            header = problem.header
            if header is not None and header.is_request and self.state is State.OPEN:
                self.refuse(header, problem.result, str(problem))
                return
            raise
        if not message.is_request:
            self._answered(message)
        elif self.state is State.WAIT_CER or message.code == Command.CAPABILITIES_EXCHANGE:
            self._introduced(message)
        elif message.code == Command.DEVICE_WATCHDOG:
            self.answer(message, (avp("Result-Code", ResultCode.SUCCESS), *self._origin()))
        elif message.code == Command.DISCONNECT_PEER:
            self.answer(message, (avp("Result-Code", ResultCode.SUCCESS), *self._origin()))
            if self.state is State.OPEN:
                self._move(State.CLOSING)
            self._watch(self._timers.disconnect_s, self.give_up)  # closing is the peer's, if it does
        elif self.state is State.OPEN or self.state is State.CLOSING:
            self._asked_us(message)
        else:
            self.give_up()

    def _asked_us(self, message: Message) -> None:
        result = self._fault(message)
        if result:
            self.refuse(message, result)
            return
        self._unanswered.add((message.hop_by_hop, message.end_to_end))
        self._hooks.request(self, message)

    def _fault(self, message: Message) -> int:
        """Why a request is not for our applications, or not now; 0 if it is."""
        avps = message.avps
        if message.application not in self.identity.applications:
            return ResultCode.APPLICATION_UNSUPPORTED
        host, realm = self.identity.host.lower(), self.identity.realm.lower()
        if host in avps.identities("Route-Record"):
            return ResultCode.LOOP_DETECTED
        if avps.identity("Destination-Host") not in ("", host):
            return ResultCode.UNABLE_TO_DELIVER
        if avps.identity("Destination-Realm") not in ("", realm):
            return ResultCode.REALM_NOT_SERVED
        if not avps.text("Origin-Host") or not avps.text("Origin-Realm"):
            return ResultCode.MISSING_AVP
        if self.state is State.CLOSING or len(self._unanswered) >= self._limits.incoming:
            return ResultCode.TOO_BUSY
        return 0

    def _answered(self, message: Message) -> None:
        if message.code == Command.CAPABILITIES_EXCHANGE and self.state is State.WAIT_CEA:
            self._admit(message, self._hooks.admit(self, message) if message.succeeded else message.result[0])
        elif message.code == Command.DISCONNECT_PEER and self.state is State.CLOSING:
            self._flush()
            if self._transport is not None:
                self._transport.close()
        else:
            asked = self._asked.get(message.hop_by_hop)
            if asked is not None and not asked.answer.done():
                asked.answer.set_result(message)

    # ------------------------------------------------------------------------------------- capabilities and watchdog

    def _introduced(self, cer: Message) -> None:
        if self.state is not State.WAIT_CER or cer.code != Command.CAPABILITIES_EXCHANGE:
            self.give_up()
            return
        result = self._hooks.admit(self, cer)
        if result == ResultCode.SUCCESS and not self._in_common(cer.avps):
            result = ResultCode.NO_COMMON_APPLICATION
        avps = (avp("Result-Code", result), *self._capabilities())
        self._send(cer.answer(avps, error=3000 <= result < 4000))
        self._flush()
        self._admit(cer, result)

    def _admit(self, message: Message, result: int) -> None:
        if result != ResultCode.SUCCESS or not self._in_common(message.avps):
            _REFUSED.labels(str(result)).inc()
            if self._transport is not None:
                self._transport.close()
            return
        self.peer_host = message.avps.identity("Origin-Host")
        self.peer_realm = message.avps.identity("Origin-Realm")
        self.peer_applications = _applications(message.avps)
        self._move(State.OPEN)
        self.opened_at = self._loop.time()
        self._watch(self._watchdog(), self._silent)
        self._hooks.opened(self)

    def _in_common(self, avps: Avps) -> bool:
        theirs = _applications(avps)
        return Application.RELAY in theirs or not theirs.isdisjoint(self.identity.applications)

    def _capabilities(self) -> tuple[Avp, ...]:
        local = self._transport.get_extra_info("sockname") if self._transport else None
        state = (avp("Origin-State-Id", self.identity.state_id),) if self.identity.state_id else ()
        return (
            *self._origin(),
            avp("Host-IP-Address", str(local[0]) if local else "127.0.0.1"),
            avp("Vendor-Id", 0),
            avp("Product-Name", self.identity.product),
            *state,
            avp("Supported-Vendor-Id", TGPP),
            *(
                grouped(
                    "Vendor-Specific-Application-Id",
                    avp("Vendor-Id", TGPP),
                    avp("Auth-Application-Id", number),
                )
                for number in self.identity.applications
            ),
        )

    def _watchdog(self) -> float:
        return self._timers.watchdog_s + self._timers.jitter_s * (2 * self._hooks.rng.random() - 1)

    def _watch(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)

    def _silent(self) -> None:
        quiet = self._loop.time() - self._heard_at
        wait = self._watchdog()
        if quiet < wait and not self._doubted:
            self._watch(wait - quiet, self._silent)
        elif self._doubted:
            self.give_up()
        else:
            self._ask_for_life(wait)

    def _ask_for_life(self, wait: float) -> None:
        self._doubted = True
        self._send(self._next(codec.REQUEST, Command.DEVICE_WATCHDOG, 0, self._origin()))
        self._watch(wait, self._silent)

    # ---------------------------------------------------------------------------------------------------- writing

    def _origin(self) -> tuple[Avp, Avp]:
        return avp("Origin-Host", self.identity.host), avp("Origin-Realm", self.identity.realm)

    def _next(
        self, flags: int, code: int, application: int, avps: Sequence[Avp], end_to_end: int | None = None
    ) -> Message:
        self._hop_by_hop = self._hop_by_hop + 1 & 0xFFFFFFFF
        if end_to_end is None:
            self._end_to_end = end_to_end = self._end_to_end + 1 & 0xFFFFFFFF
        return Message(flags, code, application, self._hop_by_hop, end_to_end, Avps(avps))

    def _send(self, message: Message) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(message.encode())

    def _flush(self) -> None:
        octets = b"".join(self._out)
        self._out.clear()
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def _move(self, to: State) -> None:
        assert to in TRANSITIONS[self.state], (self.state, to)
        self.state = to


def _applications(avps: Avps) -> frozenset[int]:
    found = set(avps.numbers("Auth-Application-Id")) | set(avps.numbers("Acct-Application-Id"))
    for group in avps.groups("Vendor-Specific-Application-Id"):
        found.update(group.numbers("Auth-Application-Id"))
    return frozenset(found)
