"""Our end of the Diameter network: which peers there are, who may connect, and over which of them a request goes.

In charge of: connecting to peers and being connected to, with each peer's name bound to its addresses; finding a
connection for a request, direct or through a relay; handing requests to handlers by command. Not in charge of: one
connection (`connection.py`), or messages (`short_messages.py`).

A name belongs to one connection at a time. Whoever claims one that is connected already is refused and counted, and the
alarm is told: it is a misconfiguration or somebody who pretends. The connection that is there is asked whether it still
lives, because the peer may have lost it without our knowing.

A pair may be set up so that either side connects. If both do at once, the one whose name is greater in octets keeps
the connection that it accepted, and gives its own up. While there is one, nobody makes another.

A request that was under way when its connection was lost goes once more over another way, if there is one, marked as
perhaps a repetition.

Source: RFC 6733 §2.4, §5.5.4 (failing over), §5.6.4 (election), §6.1.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...metrics import counter
from ..causes import ResultCode
from ..reconnect import Backoff
from .codec import Avp, Message
from .connection import Connection, Hooks, Identity, Limits, State, Timers, Unavailable
from .dictionary import Command

__all__ = ["Handler", "Node", "PeerSettings"]

_COLLISIONS = counter("signaling", "diameter_collisions", "Connections refused because their name was in use")

MAX_STRANGERS = 100  #: connections that have not said who they are; more are closed at once

#: Handles a request: returns at once, and answers through the connection when it can.
Handler = Callable[[Connection, Message], None]


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One peer."""

    host: str  #: DiameterIdentity that it must have
    address: str = ""  #: to connect to; "": it connects to us
    port: int = 3868
    relay: bool = False  #: passes requests on to others; its Route-Records are believed
    networks: tuple[str, ...] = ()  #: CIDRs that it may connect from; none: from nowhere


@dataclass(slots=True)
class _Peer:
    settings: PeerSettings
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    connection: Connection | None = None
    offered: Connection | None = None  #: made by us, and not introduced so far
    keeper: asyncio.Task[None] | None = None
    backoff: Backoff = field(default_factory=Backoff)

    @property
    def is_open(self) -> bool:
        """Whether requests pass."""
        return self.connection is not None and self.connection.is_open


class Node:
    """All connections of one process. Lives on the event loop."""

    def __init__(
        self,
        identity: Identity,
        peers: Sequence[PeerSettings],
        handlers: Mapping[Command, Handler],
        *,
        timers: Timers | None = None,
        limits: Limits | None = None,
        backoff: Callable[[], Backoff] = Backoff,
        rng: random.Random | None = None,
        alarm: Callable[[str, str], None] = lambda host, address: None,
        changed: Callable[[str, bool], None] = lambda host, up: None,
    ) -> None:
        """`handlers`: by command code. `alarm(host, address)`: somebody there claimed a connected peer's name.

        `changed(host, up)`: a peer came or went.
        """
        self.identity = identity
        self.relays = frozenset(peer.host.lower() for peer in peers if peer.relay)
        self._peers: dict[str, _Peer] = {}
        for peer in peers:
            networks = tuple(ipaddress.ip_network(each) for each in peer.networks)
            self._peers[peer.host.lower()] = _Peer(peer, networks, backoff=backoff())
        self._handlers: dict[int, Handler] = {int(code): handler for code, handler in handlers.items()}
        self._timers = timers or Timers()
        self._limits = limits or Limits()
        self._alarm = alarm
        self._changed = changed
        self._rng = rng or random.Random()
        self._sessions = self._rng.getrandbits(32)
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []

    # ------------------------------------------------------------------------------------------- opening and closing

    def open(self) -> None:
        """Begin to connect to the peers that have an address, and to connect again whenever they are lost."""
        loop = asyncio.get_running_loop()
        for peer in self._peers.values():
            if peer.settings.address and peer.keeper is None:
                peer.keeper = loop.create_task(self._keep(peer), name=f"diameter {peer.settings.host}")

    async def listen(self, address: str, port: int = 3868) -> int:
        """Let peers connect; answers the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._connection(None), address, port)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, say good-bye to every peer, and wait until they are gone."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        keepers = [peer.keeper for peer in self._peers.values() if peer.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        connections = set(self._connections)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.lost for connection in connections])

    def handle(self, command: Command, handler: Handler) -> None:
        """Have requests of this command handled so, from now on."""
        self._handlers[int(command)] = handler

    # ---------------------------------------------------------------------------------------------------- requests

    def session(self) -> str:
        """A new Session-Id (RFC 6733 §8.8)."""
        self._sessions += 1
        return f"{self.identity.host};{self.identity.state_id};{self._sessions & 0xFFFFFFFF}"

    def peers(self) -> Iterator[tuple[PeerSettings, Connection | None]]:
        """Every peer that there should be, with its connection if there is one, in the order given."""
        return ((peer.settings, peer.connection) for peer in self._peers.values())

    def disconnect(self, host: str) -> bool:
        """Say good-bye to a peer; False if it is not connected. It may come back, and we may connect again."""
        peer = self._peers.get(host.lower())
        if peer is None or peer.connection is None:
            return False
        peer.connection.close()
        return True

    def connected(self, host: str) -> bool:
        """Whether a peer of this name is connected."""
        peer = self._peers.get(host.lower())
        return peer is not None and peer.connection is not None

    def route(self, host: str = "") -> Connection | None:
        """The connection for a request to a host: its own, else the first relay's that is up, in the order given.

        Without a host any relay will do, then any peer: the realm alone decides where it goes.
        """
        direct = self._peers.get(host.lower())
        if direct is not None and direct.is_open:
            return direct.connection
        up = [peer for peer in self._peers.values() if peer.is_open]
        relays = [peer for peer in up if peer.settings.relay]
        chosen = next(iter(relays if host else (*relays, *up)), None)
        return chosen.connection if chosen is not None else None

    async def request(
        self, application: int, code: int, avps: Sequence[Avp], timeout_s: float, *, to_host: str = ""
    ) -> Message:
        """Ask over the connection that `route` names, once more over another if it is lost. Unavailable."""
        ends_at = asyncio.get_running_loop().time() + timeout_s
        try:
            return await self._request(application, code, avps, timeout_s, to_host, None)
        except Unavailable as lost:
            left_s = ends_at - asyncio.get_running_loop().time()
            if lost.end_to_end is None or left_s <= 0 or self.route(to_host) is None:
                raise
            return await self._request(application, code, avps, left_s, to_host, lost.end_to_end)

    async def _request(
        self,
        application: int,
        code: int,
        avps: Sequence[Avp],
        timeout_s: float,
        to_host: str,
        end_to_end: int | None,
    ) -> Message:
        connection = self.route(to_host)
        if connection is None:
            raise Unavailable("no-route")
        return await connection.request(application, code, avps, timeout_s, end_to_end=end_to_end)

    # ------------------------------------------------------------------------------------------------- connections

    def _connection(self, peer: _Peer | None) -> Connection:
        expected = peer

        def admit(connection: Connection, message: Message) -> int:
            return self._admit(connection, message, expected)

        hooks = Hooks(self._asked, admit, self._opened, self._closed, self._rng)
        connection = Connection(
            self.identity, hooks, initiator=peer is not None, timers=self._timers, limits=self._limits
        )
        strangers = sum(not each.peer_host for each in self._connections)
        if peer is None and strangers >= MAX_STRANGERS:
            connection.give_up()
        else:
            self._connections.add(connection)
        return connection

    def _admit(self, connection: Connection, message: Message, expected: _Peer | None) -> int:
        host = message.avps.identity("Origin-Host")
        peer = self._peers.get(host)
        if peer is None or (expected is not None and peer is not expected):
            return ResultCode.UNKNOWN_PEER
        if expected is None and not _within(connection.peer_address, peer.networks):
            if peer.connection is not None:
                self._collision(connection, host)
            return ResultCode.UNKNOWN_PEER
        if peer.connection is not None:
            if peer.connection.state is State.OPEN and not self._is_election(peer, peer.connection):
                self._collision(connection, host)
                peer.connection.probe()
            return ResultCode.ELECTION_LOST
        offered = peer.offered
        if expected is None and offered is not None:
            if offered.is_made and self.identity.host.lower().encode() < host.encode():
                return ResultCode.ELECTION_LOST
            offered.give_up()
        return ResultCode.SUCCESS

    def _is_election(self, peer: _Peer, connection: Connection) -> bool:
        """Whether a second connection may be what both sides began at once, and not a claim."""
        age_s = asyncio.get_running_loop().time() - connection.opened_at
        return bool(peer.settings.address) and age_s < self._timers.capabilities_s

    def _collision(self, connection: Connection, host: str) -> None:
        _COLLISIONS.inc()
        self._alarm(host, connection.peer_address)

    def _opened(self, connection: Connection) -> None:
        peer = self._peers[connection.peer_host]
        peer.connection = connection
        peer.backoff.reset()
        self._changed(connection.peer_host, True)

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        peer = self._peers.get(connection.peer_host)
        if peer is not None and peer.connection is connection:
            peer.connection = None
            self._changed(connection.peer_host, False)

    def _asked(self, connection: Connection, message: Message) -> None:
        handler = self._handlers.get(message.code)
        if handler is None:
            connection.refuse(message, ResultCode.COMMAND_UNSUPPORTED)
        else:
            handler(connection, message)

    async def _keep(self, peer: _Peer) -> None:
        """Connect whenever there is no connection, whoever made the one that is lost."""
        while True:
            if peer.connection is None:
                await self._connect(peer)
            if peer.connection is not None:
                await asyncio.shield(peer.connection.lost)
            await asyncio.sleep(peer.backoff.pause())

    async def _connect(self, peer: _Peer) -> None:
        """Connect, and return when the connection is lost, or could not be made."""
        loop = asyncio.get_running_loop()
        settings = peer.settings

        def offer() -> Connection:
            peer.offered = self._connection(peer)
            return peer.offered

        try:
            async with asyncio.timeout(self._timers.capabilities_s):
                _, connection = await loop.create_connection(offer, settings.address, settings.port)
            await asyncio.shield(connection.lost)
        except (OSError, TimeoutError):
            pass
        finally:
            if (
                peer.offered is not None and not peer.offered.is_made
            ):  # some loops ask for it before they connect
                self._connections.discard(peer.offered)
            peer.offered = None


def _within(address: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network for network in networks)
