"""One switch that believes it is connected to its register, and the connection that we keep to the register for it.

In charge of: relaying every frame both ways, octet for octet, except short messages, which are ours; holding what comes
before the register is ready, refusing what comes while there is none; noticing a dead end on either side. Not in charge
of: which switch may connect (`gsup_front.py`), or what short messages are about (`smsc/`).

Theory. A switch is a STRANGER until it has said its name and was admitted; then its own connection to the register is
opened, and the register asks for the name again: that question and its answer are relayed like everything else, so that
the register knows the switch by the name the switch itself gave. The upstream end is

    DOWN ──> CONNECTING ──> INTRODUCING ──> UP ──> DOWN ──> …

While it is CONNECTING or INTRODUCING requests are held; when it goes DOWN they are refused as "network failure", so
that a switch can tell its phones, and short messages flow on: a register that is away silences nobody. Everything here
happens in the turn of the loop in which a frame was read; nothing waits for a store, a check or a task.

How it fails: octets that are no frames end the connection. A side that reads slowly stops the reading of the other.

Source: the GSUP chapter of the OsmoHLR manual; notes of `ipa.py` and `gsup.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, cast

import structlog

from ..metrics import counter
from . import gsup, ipa
from .causes import GmmCause
from .gsup import BadGsup, Domain, Gsup, MessageType
from .gsup_upstream import ASKED, RegisterEnd
from .ipa import BadIpa, Ccm, Extension, Frame, Framer
from .reconnect import Backoff

__all__ = ["Hooks", "Limits", "Link", "Located", "Purged", "Upstream"]

log = structlog.get_logger(__name__)

_relayed = counter("gsup", "frames_relayed", "Frames passed on between switches and the register", ("to",))
_to_register, _to_switch = _relayed.labels("register"), _relayed.labels("switch")
_refused = counter("gsup", "requests_refused", "Requests of switches refused because the register is away")

#: What is about short messages and stays here.
_OURS = frozenset(
    {
        MessageType.MO_FORWARD_SM,
        MessageType.READY_FOR_SM,
        MessageType.MT_FORWARD_SM_RESULT,
        MessageType.MT_FORWARD_SM_ERROR,
    }
)
#: What of the register tells where subscribers are.
_TOLD = frozenset(
    {
        MessageType.INSERT_DATA,
        MessageType.UPDATE_LOCATION_RESULT,
        MessageType.UPDATE_LOCATION_ERROR,
        MessageType.PURGE_MS_RESULT,
        MessageType.PURGE_MS_ERROR,
    }
)


class Upstream(Enum):
    """Where the connection to the register is."""

    DOWN = "none; the next try is due"
    CONNECTING = "on its way"
    INTRODUCING = "connected; the register does not know the name yet"
    UP = "frames pass"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and times of one link. Times are seconds."""

    introduce_s: float = 10.0  #: for a stranger to say its name
    connect_s: float = 5.0  #: for the register to accept and to ask for the name
    silence_s: float = 45.0  #: without a frame from the switch before it is asked whether it is there
    answer_s: float = 5.0  #: for a switch to answer that, and for a register to say anything at all
    held_octets: int = 256 << 10  #: of frames that wait for the register; then the switch is not read
    updates: int = 20_000  #: location updates and purges under way; the oldest is forgotten


class Located(NamedTuple):
    """The register granted a location update."""

    imsi: str
    msisdn: str  #: digits that the register sent with the subscriber's data; "" if it sent none
    domain: Domain


class Purged(NamedTuple):
    """The register took note that a switch has forgotten a subscriber."""

    imsi: str
    domain: Domain


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom a link tells; each returns at once."""

    admit: Callable[[Link, str], bool]  #: whether the switch may have this name
    opened: Callable[[Link], None]
    closed: Callable[[Link], None]
    message: Callable[[Link, Gsup], None]  #: about short messages: a request to answer, or an answer
    located: Callable[[Link, Located], None]
    purged: Callable[[Link, Purged], None]


@dataclass(slots=True)
class _Update:
    domain: Domain
    msisdn: str = ""


class Link(asyncio.Protocol):
    """One connection of one switch. Lives on the event loop."""

    def __init__(
        self, number: int, register: tuple[str, int], hooks: Hooks, limits: Limits, backoff: Backoff
    ) -> None:
        self.number = number  #: for operators: "swl_7"
        self.name = ""  #: as admitted; "" before
        self.peer = ""  #: "address:port"
        self.address = ""  #: IP address
        self._since = time.monotonic()
        self.domains: set[Domain] = set()  #: of which it updated locations
        self.upstream = Upstream.DOWN
        self.messages = {"mo": 0, "mt": 0}  #: short messages passed, for operators
        self._register = register
        self._hooks = hooks
        self._limits = limits
        self._backoff = backoff
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self._keeper: asyncio.Task[None] | None = None
        self._up: RegisterEnd | None = None
        self._held: list[Frame] = []
        self._held_octets = 0
        self._updates: OrderedDict[str, _Update] = OrderedDict()
        self._pings = 0  # of the switch, relayed and not answered
        self._asked_alive = False  # a ping of our own is on its way
        self._slow = False  # the register does not read
        self.full = False  #: the switch does not read what it was sent
        self.over = False

    # ------------------------------------------------------------------------------------------- the switch's end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask who it is."""
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it
        host, port = (transport.get_extra_info("peername") or ("", 0))[:2]
        self.address, self.peer = str(host), f"{host}:{port}"
        transport.write(ipa.identity_request())
        self._watch(self._limits.introduce_s, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the connection to the register along."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
        if self._up is not None:
            self._up.close()
        self._hooks.closed(self)

    def data_received(self, data: bytes) -> None:
        """Frames of the switch."""
        self._heard_at = self._loop.time()
        try:
            for frame in self._framer.feed(data):
                if self.over or (self._transport is not None and self._transport.is_closing()):
                    return
                self._from_switch(frame)
        except BadIpa as problem:
            log.warning("switch-unreadable", switch=self.name, peer=self.peer, problem=str(problem))
            self.close()

    def pause_writing(self) -> None:
        """The switch reads slowly: so do we from the register."""
        self.full = True
        if self._up is not None:
            self._up.pause(True)

    def resume_writing(self) -> None:
        """It caught up."""
        self.full = False
        if self._up is not None:
            self._up.pause(False)

    def close(self) -> None:
        """End it without a word: IPA has none."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def age_s(self) -> float:
        """Seconds since it connected."""
        return time.monotonic() - self._since

    def send(self, message: Gsup) -> bool:
        """Say something of our own to the switch; False if it is gone."""
        if self.over or self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(ipa.osmo_frame(Extension.GSUP, message.encode()))
        return True

    def prove_alive(self) -> None:
        """Ask whether the switch is there; a dead one is closed in a moment."""
        if not self._asked_alive and self._transport is not None:
            self._asked_alive = True
            self._transport.write(ipa.PING)
            self._watch(self._limits.answer_s, self._silent)

    # ------------------------------------------------------------------------------------------ what the switch says

    def _from_switch(self, frame: Frame) -> None:
        if frame.is_ccm:
            self._introduced(frame) if frame.payload[0] == Ccm.ID_RESP else self._ccm(frame)
        elif not self.name:
            self.close()  # nothing is said before one's name
        elif frame.extension == Extension.GSUP and frame.payload:
            self._gsup(frame)
        else:
            self._pass_up(frame)

    def _introduced(self, frame: Frame) -> None:
        identity = ipa.read_identity(frame.payload)
        name = identity.get(ipa.IdentityTag.SERIAL_NUMBER) or identity.get(ipa.IdentityTag.UNIT_NAME) or ""
        if self.name:
            if name != self.name:
                log.warning("switch-renamed", switch=self.name, claims=name, peer=self.peer)
                self.close()
            elif self.upstream is Upstream.INTRODUCING and self._up is not None:
                self._to_register(frame)
                self._up.satisfied()
                self._register_ready()
        elif not self._hooks.admit(self, name):
            self.close()
        else:
            self.name = name
            self._watch(self._limits.silence_s, self._silent)
            self.upstream = (
                Upstream.CONNECTING
            )  # from now on, not from the task's first turn: frames may follow
            self._keeper = self._loop.create_task(self._keep(), name=f"gsup {name}")
            self._hooks.opened(self)

    def _ccm(self, frame: Frame) -> None:
        kind = frame.payload[0]
        if kind == Ccm.PING and self.upstream is not Upstream.UP and self._transport is not None:
            self._transport.write(ipa.PONG)
        elif kind == Ccm.PING:
            self._pings += 1
            self._to_register(frame)
        elif kind == Ccm.PONG and self._asked_alive:
            self._asked_alive = False
        elif self.upstream is Upstream.UP:
            self._to_register(frame)

    def _gsup(self, frame: Frame) -> None:
        kind = frame.payload[0]
        if kind in _OURS or kind in ASKED:
            try:
                message = Gsup.decode(frame.payload)
            except BadGsup as problem:
                log.warning("gsup-unreadable", switch=self.name, type=kind, problem=str(problem))
                if kind in _OURS:
                    return
            else:
                if kind in _OURS:
                    self._tell(message)
                    return
                self._remember(message)
        self._pass_up(frame)

    def _tell(self, message: Gsup) -> None:
        try:
            self._hooks.message(self, message)
        except Exception:  # one bad message must not stop the register of a whole switch
            log.exception("short-message-failed", switch=self.name, type=message.type)

    def _remember(self, message: Gsup) -> None:
        if message.imsi:
            self._updates[message.imsi] = _Update(message.domain)
            self._updates.move_to_end(message.imsi)
            if len(self._updates) > self._limits.updates:
                self._updates.popitem(last=False)

    def _silent(self) -> None:
        quiet = self._loop.time() - self._heard_at
        if self._transport is not None and not self._transport.is_reading():
            self._watch(self._limits.silence_s, self._silent)  # it may well have spoken
        elif self._asked_alive and quiet >= self._limits.answer_s:
            log.warning("switch-silent", switch=self.name, peer=self.peer)
            self.close()
        elif quiet >= self._limits.silence_s:
            self.prove_alive()
        else:
            self._asked_alive = False
            self._watch(self._limits.silence_s - quiet, self._silent)

    def _watch(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)

    # ---------------------------------------------------------------------------------------------- to the register

    def _pass_up(self, frame: Frame) -> None:
        if self.upstream is Upstream.UP:
            self._to_register(frame)
        elif self.upstream is Upstream.DOWN:
            self._refuse(frame)
        else:
            self._held.append(frame)
            self._held_octets += len(frame.octets)
            self._read_or_not()

    def _to_register(self, frame: Frame) -> None:
        if self._up is not None:
            _to_register.inc()
            self._up.write(frame)

    def _refuse(self, frame: Frame) -> None:
        """Answer for a register that is away."""
        if frame.extension != Extension.GSUP or not frame.payload:
            return
        try:
            message = Gsup.decode(frame.payload)
        except BadGsup:
            return
        if message.is_request:
            _refused.inc()
            self.send(gsup.error(message, cause=GmmCause.NETWORK_FAILURE))

    def _register_ready(self) -> None:
        self.upstream = Upstream.UP
        self._backoff.reset()
        log.info("register-connected", switch=self.name)
        self._let_go(self._to_register)

    def _let_go(self, do: Callable[[Frame], None]) -> None:
        held, self._held, self._held_octets = self._held, [], 0
        for frame in held:
            do(frame)
        self._read_or_not()

    def _read_or_not(self) -> None:
        """Read from the switch unless what it says has nowhere to go."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = not self._slow and self._held_octets < self._limits.held_octets
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()

    def _register_end(self) -> RegisterEnd:
        return RegisterEnd(self, connect_s=self._limits.connect_s, answer_s=self._limits.answer_s)

    async def _keep(self) -> None:
        """Keep a connection to the register for as long as the switch is there."""
        while True:
            self.upstream = Upstream.CONNECTING
            up: RegisterEnd | None = None
            try:
                async with asyncio.timeout(self._limits.connect_s):
                    _, up = await self._loop.create_connection(self._register_end, *self._register)
            except (OSError, TimeoutError) as error:
                log.warning("register-unreachable", switch=self.name, problem=str(error))
            if up is not None:
                await up.lost
            self.upstream, self._up, self._slow = Upstream.DOWN, None, False
            self._let_go(self._refuse)
            for _ in range(self._pings):  # those that the register did not answer
                if self._transport is not None:
                    self._transport.write(ipa.PONG)
            self._pings = 0
            await asyncio.sleep(self._backoff.pause())

    # ------------------------------------------------------------------------------------- what the register says

    def register_made(self, register: RegisterEnd) -> None:
        """Connected; it will ask for the name."""
        self._up, self.upstream = register, Upstream.INTRODUCING

    def from_register(self, frame: Frame) -> None:
        """Pass it on, then learn from it."""
        if self._transport is None or self._transport.is_closing():
            return
        if frame.is_ccm and frame.payload[0] == Ccm.PONG:
            self._pings = max(0, self._pings - 1)
        elif frame.is_ccm and frame.payload[0] == Ccm.ID_GET and self._up is not None:
            self._up.expect(self._limits.introduce_s)  # the switch's answer
        _to_switch.inc()
        self._transport.write(frame.octets)
        if frame.extension == Extension.GSUP and frame.payload and frame.payload[0] in _TOLD:
            try:
                self._learn(Gsup.decode(frame.payload))
            except BadGsup as problem:
                log.warning("register-unreadable", switch=self.name, problem=str(problem))
            except Exception:  # what is made of it is not the relay's concern
                log.exception("learning-failed", switch=self.name)

    def _learn(self, message: Gsup) -> None:
        imsi, kind = message.imsi, message.type
        update = self._updates.get(imsi)
        if update is None:
            return
        if kind == MessageType.INSERT_DATA:
            update.msisdn = message.msisdn or update.msisdn
            return
        del self._updates[imsi]
        if kind == MessageType.UPDATE_LOCATION_RESULT:
            self.domains.add(update.domain)
            self._hooks.located(self, Located(imsi, update.msisdn, update.domain))
        elif kind == MessageType.PURGE_MS_RESULT:
            self._hooks.purged(self, Purged(imsi, update.domain))

    def register_slow(self, slow: bool) -> None:
        """The register does not read, or reads again."""
        self._slow = slow
        self._read_or_not()
