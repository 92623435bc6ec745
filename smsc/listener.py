"""Where ESMEs and switches bind.

In charge of: the listening sockets, who may bind, the bounds on connections, timers of all connections, and the
graceful end. Not in charge of: a connection's traffic (`connection.py`), passwords (`access/credentials.py`).
Sources: SMPP 3.4 §2.2, §4.1; behaviour.md 11.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

import structlog
from pydantic import BaseModel, ConfigDict, Field

from ..access.accounts import Account, AccountModel
from ..access.certificates import satisfies
from ..message import Ingress, Role
from ..metrics import counter, gauge
from ..store.clock import Clock
from .binds import Binds
from .connection import Connection
from .identity import Identity, trusted_name
from .limits import Throttles
from .operations import Operations
from .seats import Seats, SeatsUnknown
from .smpp.codec import Pdu
from .smpp.command_id import CommandId
from .smpp.command_status import CommandStatus as Status
from .smpp.command_status import status_name
from .smpp.pdu import Bind, BindResp, response_to
from .smpp.session import Session, SessionSettings
from .submission import Submission
from .tls_door import TlsDoor, TlsSettings

__all__ = ["Listener", "ListenerSettings", "LiveAccounts"]

_log = structlog.get_logger(__name__)

_connections = gauge("smpp", "connections", "Open connections of ESMEs")
_bind_answers = counter("smpp", "bind_answers", "Answers to bind requests", ("status",))

_name_collisions = counter(
    "smpp", "name_collisions", "Binds refused because a connected switch has that name"
)

_TICK_S = 0.5
_BIND_TYPES = {
    CommandId.bind_transmitter: "tx",
    CommandId.bind_receiver: "rx",
    CommandId.bind_transceiver: "trx",
}


def _nobody(address: str = "") -> int:
    """Handshakes under way where no TLS is spoken."""
    return 0


class ListenerSettings(BaseModel):
    """[smpp] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1",
        description="address to listen on; 0.0.0.0 for all of IPv4, :: for all of IPv6",
    )
    further_hosts: tuple[str, ...] = Field(
        default=(), max_length=16, description='more addresses to listen on, e.g. ["::1"]'
    )
    port: int = Field(default=2775, ge=0, le=65_535, description="TCP port; 0 takes a free one")
    system_id: str = Field(
        default="Restante", pattern=r"^[!-~]{1,15}$", description="our name in bind responses"
    )
    max_connections: int = Field(default=2000, ge=1, description="open connections, bound or not")
    max_connections_per_address: int = Field(default=500, ge=1, description="open connections of one address")
    response_timer_s: float = Field(
        default=30, ge=0.1, le=3600, description="seconds an ESME has to answer a request"
    )
    enquire_link_timer_s: float = Field(
        default=30, ge=1, le=3600, description="silence before we ask (seconds)"
    )
    session_init_timer_s: float = Field(
        default=10, ge=0.1, le=600, description="seconds from connection to bind"
    )
    inactivity_timer_s: float | None = Field(
        default=None, description="seconds without traffic after which we unbind; null: never"
    )
    slow_reader_s: float = Field(
        default=30, ge=1, description="seconds a peer may leave what we wrote unread"
    )
    pending_limit: int = Field(
        default=10_000,
        ge=100,
        description="messages waiting for the disk, over all binds, at which we stop reading; at most half of "
        "store.pending_changes, so that peers are slowed down before they are refused",
    )
    tls: TlsSettings = Field(default_factory=TlsSettings)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every address to listen on, each once."""
        return tuple(dict.fromkeys((self.host, *self.further_hosts)))


class LiveAccounts(Protocol):
    """What the listener needs of the accounts' live copy."""

    def get(self, key: str) -> Account | None:
        """By system_id."""
        ...

    def by_number(self, number: int) -> Account | None:
        """By number."""
        ...

    def values(self) -> Collection[Account]:
        """All of them."""
        ...


#: (account or None, system_id, password, address of the peer) -> whether the password is right. Takes as long for an
#: account that does not exist.
PasswordCheck = Callable[[Account | None, str, str, str], Awaitable[bool]]


class Listener:
    """The SMPP door of one node."""

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        accounts: LiveAccounts,
        password_is_right: PasswordCheck,
        submission: Submission,
        operations: Operations,
        binds: Binds,
        seats: Seats,
        clock: Clock,
        throttles: Throttles,
        store_pending: Callable[[], int],
        store_limit: int,
        identity: Identity | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`store_pending`: changes that wait for a commit; at `store_limit` of them the store refuses messages; `now`:
        monotonic seconds."""
        self.settings = settings
        self.accounts = accounts
        self.submission = submission
        self.operations = operations
        self.binds = binds
        self.seats = seats
        self.clock = clock
        self.identity = identity or Identity()
        self.now = now
        self.nobody = Account(0, AccountModel(system_id="nobody"))
        self.session_settings = SessionSettings(
            response_timer=settings.response_timer_s,
            enquire_link_timer=settings.enquire_link_timer_s,
            session_init_timer=settings.session_init_timer_s,
            inactivity_timer=settings.inactivity_timer_s,
        )
        self._password_is_right = password_is_right
        self._throttles = throttles
        self._store_pending = store_pending
        self._pending_limit = max(min(settings.pending_limit, store_limit // 2), 1)
        self._server: asyncio.Server | None = None
        self._tls = (
            TlsDoor(
                settings.tls,
                hosts=settings.hosts,
                make=lambda: Connection(self),
                has_room=self._may_open,
                handshake_s=settings.session_init_timer_s,
            )
            if settings.tls.certificate is not None
            else None
        )
        self._connections: set[Connection] = set()
        self._per_address: Counter[str] = Counter()
        self._paused: set[Connection] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._stopping = False

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self),
            self.settings.hosts,
            self.settings.port,
            backlog=1024,
            # With port 0 the kernel could give one that another reusing socket has bound, and listen() fails.
            reuse_address=self.settings.port != 0,
        )
        self._ticker = loop.create_task(self._tick(), name="smpp-timers")
        if self._tls is not None:
            await self._tls.start()
        _log.info("smpp-listening", hosts=self.settings.hosts, port=self.port, tls_port=self.tls_port or None)

    @property
    def port(self) -> int:
        """The port really listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def tls_port(self) -> int:
        """The port really listened on for TLS; 0 if there is none."""
        return self._tls.port if self._tls is not None else 0

    def reload_tls(self) -> None:
        """Read certificate, key and authorities again; open connections stay. Raises OSError."""
        if self._tls is not None:
            self._tls.reload()

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Accept nothing more, let what is pending be answered, unbind everybody, then close."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        if self._tls is not None:
            self._tls.close()
        deadline = self.now() + timeout_s
        for connection in self._connections:  # who always has more to say would be answered for ever
            connection.hold_reading()
        while self.now() < deadline and any(c.pending for c in self._connections):
            await asyncio.sleep(0.01)
        self._paused.clear()
        for connection in list(self._connections):
            connection.unbind("closing")
            connection.resume_reading()
        while self.now() < deadline and self._connections:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = self.now()
            for connection in list(self._connections):
                connection.tick(now, self.settings.slow_reader_s)
            self.resume_paused()

    # ------------------------------------------------------------------------------------------------ connections

    def opened(self, connection: Connection) -> bool:
        """A connection came; False turns it away. One over TLS was asked about before its handshake."""
        if self._stopping or not (connection.tls or self._may_open(connection.address)):
            return False
        self._connections.add(connection)
        self._per_address[connection.address] += 1
        _connections.inc()
        return True

    def _may_open(self, address: str) -> bool:
        """True if an address may open one more connection; handshakes under way count."""
        shaking = self._tls.shaking if self._tls is not None else _nobody
        settings = self.settings
        total = len(self._connections) + shaking()
        of_address = self._per_address[address] + shaking(address)
        if total < settings.max_connections and of_address < settings.max_connections_per_address:
            return True
        _log.warning("connection-turned-away", address=address, open=total, of_address=of_address)
        return False

    def closed(self, connection: Connection) -> None:
        """A connection went."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._paused.discard(connection)
        self._per_address[connection.address] -= 1
        if not self._per_address[connection.address]:
            del self._per_address[connection.address]
        _connections.dec()

    def overloaded(self) -> bool:
        """True when so much waits for the disk that reading on would only make it wait longer."""
        return self._store_pending() >= self._pending_limit

    def congestion(self, account: Account) -> int:
        """How near an account is to being slowed down, 0 to 99 (SMPP 5.0 §4.8.4.18): the fuller of what it may submit
        in a burst and of what may wait for the disk. Its window is left out: a peer knows what it has unanswered."""
        waiting = self._store_pending() / self._pending_limit
        used = self._throttles.of(account).used(int(self.now() * 1_000_000_000))
        return min(int(100 * max(waiting, used)), 99)

    def wait_for_room(self, connection: Connection) -> None:
        """Read from this connection again when there is room."""
        self._paused.add(connection)

    def resume_paused(self) -> None:
        """Called after each commit and by the clock."""
        if self._paused and self._store_pending() <= self._pending_limit // 2:
            paused, self._paused = self._paused, set()
            for connection in paused:
                connection.resume_reading()

    # ------------------------------------------------------------------------------------------------ binding

    async def admit(self, connection: Connection, pdu: Pdu) -> str:
        """Whether a peer may bind: "" or why not, for the log. The peer learns one status, whatever it is, and the
        password is looked at first, so that nothing about an account is told to who has none (behaviour.md 11)."""
        assert isinstance(pdu, Bind)
        system_id = pdu.system_id.decode("latin-1")
        account = self.accounts.get(system_id)
        right = await self._password_is_right(
            account, system_id, pdu.password.decode("latin-1"), connection.address
        )
        if account is None or not right:
            return "password"
        if not account.may_come_from(connection.address):
            return "address"
        if account.require_tls and not connection.tls:
            return "tls-required"
        if not satisfies(connection.certificate, account.certificates):
            return "certificate"
        if self._stopping:
            return "closing"
        if account.suspended:
            return "suspended"
        if _BIND_TYPES[CommandId(pdu.command_id)] not in account.bind_types:
            return "bind-type"
        if self._collides(account, connection):
            return "name-collision"
        if not self.binds.has_room(account):
            return "too-many-binds"
        try:
            seat = await self.seats.take(account)
        except SeatsUnknown as error:
            _log.warning("seat-not-known", system_id=system_id, error=str(error))
            return "store-away"
        connection.seat = (account.number, seat)
        return "" if seat else "too-many-binds"

    def _collides(self, account: Account, connection: Connection) -> bool:
        """Whether somebody elsewhere has a switch's name already. Where a name belongs to addresses, these decide."""
        if account.role is not Role.SWITCH or account.is_tied:
            return False
        elsewhere = [
            bind.peer for bind in self.binds.of(account.number) if bind.address != connection.address
        ]
        if elsewhere:
            _name_collisions.inc()
            _log.error(
                "switch-name-collision",
                alarm=True,
                name=account.system_id,
                peer=connection.peer,
                connected=elsewhere[0],
            )
        return bool(elsewhere)

    def bound(self, connection: Connection, pdu: Pdu, session: Session) -> None:
        """Answer a bind positively and take the connection in."""
        assert isinstance(pdu, Bind)
        account = self.accounts.get(pdu.system_id.decode("latin-1"))
        assert account is not None
        bind_type = _BIND_TYPES[CommandId(pdu.command_id)]
        ingress = Ingress(
            door="smpp",
            account=account.number,
            role=account.role,
            name=account.system_id,
            peer=connection.peer,
            authenticated="certificate" if account.certificates else "password",
            version=pdu.interface_version,
            trusted=trusted_name(account),
        )
        connection.become(account, bind_type, self.binds.next_number(), ingress, self.clock.now_ms())
        response = response_to(pdu)
        assert isinstance(response, BindResp)
        response.system_id = self.settings.system_id.encode()
        session.respond(pdu, response)
        _bind_answers.labels(status_name(Status.ESME_ROK)).inc()
        _log.info(
            "bound", bind=connection.number, system_id=account.system_id, type=bind_type, peer=connection.peer,
            version=f"0x{pdu.interface_version:02x}", tls=connection.tls or None,
        )  # fmt: skip
        self.binds.add(connection)

    def refused(self, connection: Connection, pdu: Pdu, status: int, why: str) -> None:
        """A bind was refused: one line for the operator; the password is never in it."""
        assert isinstance(pdu, Bind)
        shown = connection.certificate
        _bind_answers.labels(status_name(status)).inc()
        _log.warning(
            "bind-refused",
            system_id=pdu.system_id.decode("latin-1"),
            peer=connection.peer,
            status=status_name(status),
            why=why,
            certificate=f"{shown.subject} {shown.fingerprint}" if shown is not None else None,
        )
