"""Our place in a Diameter network: one node, and what the rooms use it for.

In charge of: making the node of [diameter] and the HSS as a register; opening and closing. Not in charge of:
connections (`signaling/diameter/`), messages (`sgd_door.py`), or what the HSS is told (`hss_reports.py`).

The node is made early, because registers are made before the way of a message; it is opened late, when there is a way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from ..metrics import gauge
from ..signaling.diameter.connection import Connection, Identity, Limits, Timers
from ..signaling.diameter.dictionary import Application
from ..signaling.diameter.node import Node, PeerSettings
from ..signaling.diameter.realms import Realms
from ..signaling.registers import AffiliationProvider
from ..signaling.s6c import S6cRegister
from .diameter_settings import DiameterPeerSettings, DiameterSettings

__all__ = ["BadDiameter", "DiameterNetwork"]

_log = structlog.get_logger(__name__)

_up = gauge("diameter", "peer_up", "1 while a Diameter peer is connected", ("peer",))

_APPLICATIONS = {"sgd": Application.SGD, "s6c": Application.S6C}
REGISTER = "s6c"  #: its name in [affiliations] and in evidence


class BadDiameter(ValueError):
    """A node that cannot be made as it is configured."""


class DiameterNetwork:
    """The Diameter node of this process. Lives on the event loop."""

    def __init__(self, settings: DiameterSettings, *, center: str, now_ms: Callable[[], int]) -> None:
        """`center`: our E.164 digits."""
        self.settings = settings
        self.identity = Identity(
            settings.identity,
            settings.own_realm,
            tuple(_APPLICATIONS[name] for name in settings.applications),
            state_id=now_ms() // 1000 & 0xFFFFFFFF,
        )
        self.realms = Realms(settings.own_realm)
        self.hss_realm = settings.hss.realm or settings.own_realm
        self.port = 0
        self.on_change: list[Callable[[str, bool], None]] = []  #: told of each peer that comes (True) or goes
        for peer in settings.peers:
            _up.labels(peer.host).set(0)
        self.node = Node(
            self.identity,
            [_peer(peer) for peer in settings.peers],
            {},
            timers=Timers(settings.capabilities_s, settings.watchdog_s),
            limits=Limits(settings.window, settings.incoming),
            alarm=self._alarm,
            changed=self._changed,
        )
        self.register: S6cRegister | None = None
        if "s6c" in settings.applications:
            self.register = S6cRegister(
                self.node,
                center=center,
                realm=self.hss_realm,
                host=settings.hss.host,
                session=self.node.session,
                now_ms=now_ms,
                name=REGISTER,
                learn=self.realms.learn,
            )

    @classmethod
    def of(
        cls, settings: DiameterSettings, *, center: str, now_ms: Callable[[], int]
    ) -> DiameterNetwork | None:
        """The node that the settings describe; None if they describe none. BadDiameter."""
        if settings.identity and not center:
            raise BadDiameter(
                "handsets.center must be given: messages over Diameter name the center by its number"
            )
        return cls(settings, center=center, now_ms=now_ms) if settings.identity else None

    @property
    def registers(self) -> Sequence[AffiliationProvider]:
        """What anti-spoofing and delivery ask."""
        return [self.register] if self.register is not None else []

    @property
    def has_messages(self) -> bool:
        """Whether messages of handsets come and go here."""
        return "sgd" in self.settings.applications

    def peers(self) -> list[tuple[PeerSettings, Connection | None]]:
        """Who there should be, and who there is."""
        return list(self.node.peers())

    def age_s(self, connection: Connection) -> int:
        """Seconds since a peer was admitted."""
        return int(asyncio.get_running_loop().time() - connection.opened_at)

    async def open(self) -> None:
        """Let peers connect, and begin to connect to those that have an address."""
        settings = self.settings
        if settings.host:
            self.port = await self.node.listen(settings.host, settings.port)
        self.node.open()
        _log.info("diameter", identity=settings.identity, port=self.port, peers=len(settings.peers))

    async def close(self) -> None:
        """Say good-bye to everybody."""
        await self.node.close()

    def _changed(self, host: str, up: bool) -> None:
        _up.labels(host).set(int(up))
        _log.info("diameter-peer", peer=host, up=up)
        if up:
            connection = self.node.route(host)
            if connection is not None and connection.peer_host == host:
                self.realms.learn(host, connection.peer_realm)
        for told in self.on_change:
            told(host, up)

    def _alarm(self, host: str, address: str) -> None:
        _log.error("diameter-name-claimed", alarm=True, peer=host, address=address)


def _peer(settings: DiameterPeerSettings) -> PeerSettings:
    return PeerSettings(
        settings.host, settings.address, settings.port, settings.relay, tuple(settings.networks)
    )
