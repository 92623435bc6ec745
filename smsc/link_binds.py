"""The binds of one link, kept up.

In charge of: connecting, TLS, binding, trying again with a growing pause, leaving politely, and the state an operator
wants. Not in charge of: traffic (`link_connection.py`, `link_outlet.py`), what comes in (`upstream.py`).

    wanted state   bound   hands over   takes messages in   takes receipts
    RUNNING        yes     yes          yes                 yes
    ISOLATED       yes     no           no                  yes
    DRAINING       until every message that was handed over has its outcome; no, yes, yes
    SUSPENDED      no

Theory: each bind is one task that connects, waits for the end, and connects again after a pause that doubles from
`reconnect_min_s` to `reconnect_max_s`, with chance in it, so that the nodes of a center do not knock together; a bind
that stood for a while resets it. With several addresses each failure goes on to the next. The password is read anew
for each bind and kept nowhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from ..access.certificates import PeerCertificate, satisfies
from ..access.sealing import SealBroken
from ..metrics import counter, gauge
from .link_connection import BindRefused, LinkConnection
from .link_outlet import LinkOutlet
from .links import Link, LinkState
from .smpp.codec import Pdu

__all__ = ["BindStatus", "Incoming", "LinkBinds", "Password"]

_log = structlog.get_logger(__name__)

_bound = gauge("links", "bound", "Binds at other centers, by link and type", ("link", "bind_type"))
_failures = counter("links", "bind_failures", "Binds that were refused, failed or ended", ("link",))

_STEADY_S = 30.0  #: a bind that stood so long starts the pauses anew
_ASK_DRAINED_S = 1.0  #: between two looks whether a draining link still owes something
_LEAVE_S = 2.0  #: for an answer to unbind
_FINISH_S = 3.0  #: for responses that are under way when binds are given up

#: The password of a link, or None if it has none.
Password = Callable[[Link], Awaitable[str | None]]


@dataclass(slots=True)
class BindStatus:
    """One bind, for people."""

    bind_type: str
    address: str = ""  #: that was tried last
    bound: bool = False
    bound_for_s: float = 0.0
    unanswered: int = 0
    tries: int = 0  #: in vain since it stood last
    trouble: str = ""  #: why it does not stand


@dataclass(slots=True, eq=False)
class _Slot:
    """One bind that should stand."""

    bind_type: str
    turn: int = 0  #: tries so far; chooses the address
    tries: int = 0  #: in vain since it stood last
    trouble: str = ""
    address: str = ""
    connection: LinkConnection | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Incoming:
    """What a link's connections tell the room."""

    request: Callable[[LinkBinds, LinkConnection, Pdu], None]
    notified: Callable[[LinkBinds, Pdu], None]
    drained: Callable[
        [LinkBinds], Awaitable[bool]
    ]  #: True if nothing that was handed over is without its outcome


@dataclass(slots=True, eq=False)
class LinkBinds:
    """The binds of one link. A `link_connection.Bearer`."""

    link: Link
    outlet: LinkOutlet
    password: Password
    incoming: Incoming
    random: Callable[[], float]
    now: Callable[[], float]  #: monotonic seconds
    drained: bool = False  #: DRAINING has come to its end
    asked_at: float = 0.0  #: when it was last asked whether it has; monotonic seconds
    _slots: list[_Slot] = field(default_factory=list["_Slot"])
    _leaving: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    # --- what an operator wants

    def begin(self) -> None:
        """Keep up what the link's state asks for."""
        state = self.link.model.state
        if state is LinkState.SUSPENDED or self.drained or self._slots:
            return
        types = ("trx",) if self.link.model.bind == "trx" else ("tx", "rx")
        for bind_type in types:
            for _ in range(self.link.model.binds):
                slot = _Slot(bind_type)
                slot.task = asyncio.create_task(self._keep_up(slot), name=f"link {self.link.name}")
                self._slots.append(slot)

    def use(self, link: Link) -> None:
        """Follow an edit: new binds only if it needs them."""
        before, self.link = self.link, link
        self.outlet.use(link)
        if link.model.state is not before.model.state:
            self.drained = False
        stands = link.model.state is not LinkState.SUSPENDED
        if link.dialled != before.dialled or not stands:
            self.give_up()
        for slot in self._slots:
            if slot.connection is not None:
                slot.connection.follow(link)
        self.begin()
        self.outlet.room()

    def renew(self) -> None:
        """The password changed: binds that stand stay, those that do not are tried at once."""
        for slot in self._slots:
            if slot.connection is None and slot.task is not None:
                slot.task.cancel()
                slot.tries = 0
                slot.task = asyncio.create_task(self._keep_up(slot), name=f"link {self.link.name}")

    def give_up(self) -> None:
        """End every bind: what is under way may end, then we leave."""
        slots, self._slots = self._slots, []
        if slots:
            task = asyncio.create_task(self._leave(slots), name=f"link {self.link.name} leaves")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End every bind and wait for it."""
        self.give_up()
        if self._leaving:
            await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _leave(self, slots: list[_Slot]) -> None:
        for slot in slots:
            if slot.connection is not None:
                self.outlet.left(slot.connection)  # nothing new goes there
        standing = [slot.connection for slot in slots if slot.connection is not None]
        await self._until(lambda: not any(one.unanswered for one in standing), _FINISH_S)
        for one in standing:
            one.unbind()
        await self._until(lambda: all(one.closed.done() for one in standing), _LEAVE_S)
        for slot in slots:
            if slot.connection is not None:
                slot.connection.abort("given up")
            if slot.task is not None:
                slot.task.cancel()
        await asyncio.gather(*(slot.task for slot in slots if slot.task is not None), return_exceptions=True)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = self.now() + seconds
        while not condition() and self.now() < deadline:
            await asyncio.sleep(0.02)

    # --- one bind

    async def _keep_up(self, slot: _Slot) -> None:
        while True:
            stood = 0.0
            try:
                stood = await self._stand(slot)
            except BindRefused as refused:
                slot.trouble = str(refused)
            except TimeoutError:
                slot.trouble = "no answer in time"
            except ssl.SSLError as error:
                slot.trouble = f"TLS: {error.reason or error}"
            except (OSError, ValueError, SealBroken) as error:
                slot.trouble = str(error) or type(error).__name__
            slot.tries = 1 if stood >= _STEADY_S else slot.tries + 1
            _failures.labels(self.link.name).inc()
            _log.warning(
                "link-down", link=self.link.name, address=slot.address, why=slot.trouble, tries=slot.tries
            )
            await asyncio.sleep(self._pause(slot.tries))

    def _pause(self, tries: int) -> float:
        model = self.link.model
        longest = min(model.reconnect_min_s * 2 ** min(tries - 1, 30), model.reconnect_max_s)
        return longest * (0.5 + 0.5 * self.random())

    async def _stand(self, slot: _Slot) -> float:
        """Connect, bind, and wait for the end; how many seconds it stood."""
        link, model = self.link, self.link.model
        host, port = link.endpoint(slot.turn)
        slot.turn += 1
        slot.address = f"{host}:{port}"
        password = await self.password(link) or ""
        loop = asyncio.get_running_loop()
        connection = LinkConnection(self, slot.bind_type, self.now)
        async with asyncio.timeout(model.connect_timer_s):
            secure = tls_context(link) if model.tls else None
            name = (model.tls_server_name or host) if model.tls else None
            await loop.create_connection(lambda: connection, host, port, ssl=secure, server_hostname=name)
        slot.connection = connection
        labels = (model.name, slot.bind_type)
        try:
            if model.tls:
                check_certificate(link, connection.certificate())
            async with asyncio.timeout(model.connect_timer_s):
                connection.bind(password)
                await connection.bound
            slot.trouble = ""
            _bound.labels(*labels).inc()
            _log.info("link-up", link=link.name, address=slot.address, bind_type=slot.bind_type)
            try:
                if slot.bind_type != "rx":
                    self.outlet.joined(connection)
                slot.trouble = await asyncio.shield(connection.closed)
            finally:
                _bound.labels(*labels).dec()
                self.outlet.left(connection)
            return self.now() - connection.bound_at
        finally:
            slot.connection = None
            connection.abort("given up")

    # --- the connections' bearer

    def room(self) -> None:
        """See `link_connection.Bearer`."""
        self.outlet.room()

    def request(self, connection: LinkConnection, pdu: Pdu) -> None:
        """See `link_connection.Bearer`."""
        self.incoming.request(self, connection, pdu)

    def notified(self, pdu: Pdu) -> None:
        """See `link_connection.Bearer`."""
        self.incoming.notified(self, pdu)

    # --- clock and people

    async def tick(self, now: float) -> None:
        """Timers of the connections; the end of draining."""
        for slot in self._slots:
            if slot.connection is not None:
                slot.connection.tick(now)
        draining = self.link.model.state is LinkState.DRAINING and not self.drained
        if not draining or self.outlet.in_flight or now - self.asked_at < _ASK_DRAINED_S:
            return
        self.asked_at = now
        done = await self.incoming.drained(self)
        if done and self.link.model.state is LinkState.DRAINING:  # nobody changed it while we asked
            self.drained = True
            _log.info("link-drained", link=self.link.name)
            self.give_up()

    def statuses(self) -> list[BindStatus]:
        """Every bind."""
        found: list[BindStatus] = []
        for slot in self._slots:
            one = slot.connection
            bound = one is not None and one.is_bound
            found.append(
                BindStatus(
                    slot.bind_type,
                    slot.address,
                    bound,
                    round(self.now() - one.bound_at, 1) if one is not None and bound else 0.0,
                    one.unanswered if one is not None else 0,
                    slot.tries,
                    slot.trouble,
                )
            )
        return found


class NotThatCertificate(ValueError):
    """The other side's certificate is signed and named as it should be, and not one that the operator listed."""


def check_certificate(link: Link, der: bytes) -> None:
    """Hold it against the operator's list; nothing was sent yet, the password neither. NotThatCertificate."""
    shown = PeerCertificate.of(der) if der else None
    if not satisfies(shown, link.model.tls_certificates):
        seen = f"{shown.subject} {shown.fingerprint}" if shown is not None else "none"
        raise NotThatCertificate(f"TLS: certificate not in tls_certificates: {seen}")


def tls_context(link: Link) -> ssl.SSLContext:
    """TLS towards a link: its certificate and name are checked, always."""
    context = ssl.create_default_context(cadata=link.model.tls_ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
