"""The center's place in the core network: its doors for handsets and its ways to them, put together.

In charge of: making the intake of handsets and the doors that the configuration opens, finding numbers for cards,
opening and closing. Not in charge of: what any of them does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..access.accounts import Account
from ..access.subscribers import Subscribers
from ..signaling.affiliations import Affiliations
from ..signaling.diameter.connection import Connection
from ..signaling.diameter.dictionary import Application
from ..signaling.gsup_link import Link
from ..signaling.registers import RegisterUnavailable, Who
from ..store.store import Store
from .delivery import Delivery
from .diameter_network import DiameterNetwork
from .gsup_door import GsupDoor
from .handset_commands import HandsetCommands
from .handset_intake import HandsetIntake
from .handset_settings import GsupSettings, HandsetSettings
from .hss_reports import HssReports
from .repeats import Repeats
from .sgd_door import SgdDoor
from .submission import Submission
from .switch import SwitchOutlet

__all__ = ["ConnectedSwitch", "CoreNetwork"]


_GSUP_ID, _DIAMETER_ID = "swl_", "dia_"


@dataclass(frozen=True, slots=True)
class ConnectedSwitch:
    """A switch or Diameter peer as operators see it."""

    id: str
    name: str
    protocol: str  #: "gsup" or "diameter"
    state: str  #: "up"; of Diameter peers also "closing" and "down"
    peer: str  #: "address:port"; "" while it is down
    domains: tuple[str, ...]  #: of whose location updates it spoke; of Diameter peers their applications
    register: str  #: its connection to the register; "" if it needs none
    connected_s: int
    from_handsets: int  #: messages
    to_handsets: int


def _shown(link: Link) -> ConnectedSwitch:
    return ConnectedSwitch(
        id=f"{_GSUP_ID}{link.number}",
        name=link.name,
        protocol="gsup",
        state="up",
        peer=link.peer,
        domains=tuple(sorted(domain.name.lower() for domain in link.domains)),
        register=link.upstream.name.lower(),
        connected_s=int(link.age_s),
        from_handsets=link.messages["mo"],
        to_handsets=link.messages["mt"],
    )


def _applications(connection: Connection) -> tuple[str, ...]:
    names = {Application.SGD: "sgd", Application.S6C: "s6c", Application.RELAY: "relay"}
    return tuple(sorted(names[one] for one in names if one in connection.peer_applications))


class CoreNetwork:
    """What handsets come in and go out by."""

    def __init__(
        self,
        *,
        handsets: HandsetSettings,
        gsup: GsupSettings,
        diameter: DiameterNetwork | None,
        store: Store,
        affiliations: Affiliations,
        subscribers: Subscribers,
        account: Callable[[str], Account | None],
        submission: Submission,
        delivery: Delivery,
        commands: HandsetCommands,
        outlet: SwitchOutlet,
    ) -> None:
        self.outlet = outlet
        self._affiliations = affiliations
        self._subscribers = subscribers
        self.intake = HandsetIntake(
            handsets,
            account=account,
            submission=submission,
            repeats=Repeats(store, keep_ms=handsets.repeat_s * 1000),
            obey=commands.obey,
            number_of=self.number_of,
            clock=store.clock,
        )
        self.gsup: GsupDoor | None = None
        if gsup.host:
            self.gsup = GsupDoor(
                gsup,
                handsets,
                affiliations=affiliations,
                now_ms=store.clock.now_ms,
                intake=self.intake,
                number_of=self.number_of,
                spoke=delivery.spoke,
                present=delivery.present,
                wake=delivery.wake,
                room=outlet.room,
            )
            outlet.add(self.gsup)
        self.diameter = diameter
        self.sgd: SgdDoor | None = None
        self._reports: HssReports | None = None
        if diameter is not None:
            self._join(diameter, handsets, store, delivery)

    def _join(
        self, network: DiameterNetwork, handsets: HandsetSettings, store: Store, delivery: Delivery
    ) -> None:
        """Messages over Diameter, and what the HSS wants to know of them."""
        self.sgd = SgdDoor(
            network,
            handsets,
            affiliations=self._affiliations,
            now_ms=store.clock.now_ms,
            intake=self.intake,
            number_of=self.number_of,
            wake=delivery.wake,
            room=self.outlet.room,
        )
        self.outlet.add(self.sgd)
        if network.register is not None and network.settings.hss.report:
            self._reports = HssReports(network, center=handsets.center, affiliations=self._affiliations)
            self.outlet.on_end.append(self._reports.ended)

    async def number_of(self, imsi: str) -> str:
        """E.164 digits of a card, by what switches told, our subscribers, and the registers; "" if nobody knows."""
        who = Who(imsi=imsi)
        known = self._affiliations.current(who)
        if known is not None and known.msisdn:
            return known.msisdn
        subscriber = await self._subscribers.by_imsi(imsi)
        if subscriber is not None and subscriber.numbers:
            return subscriber.numbers[0].removeprefix("+")
        try:
            return (await self._affiliations.find(who)).affiliation.msisdn
        except RegisterUnavailable:
            return ""

    def switches(self) -> list[ConnectedSwitch]:
        """Those that are connected to this node now, and the Diameter peers that should be."""
        switches = [] if self.gsup is None else [_shown(link) for link in self.gsup.front]
        return [*switches, *self._peers()]

    def _peers(self) -> Iterator[ConnectedSwitch]:
        if self.diameter is None or self.sgd is None:
            return
        for settings, connection in self.diameter.peers():
            up = connection is not None
            yield ConnectedSwitch(
                id=_DIAMETER_ID + settings.host,
                name=settings.host,
                protocol="diameter",
                state="down" if not up else "up" if connection.is_open else "closing",
                peer=f"{connection.peer_address}:{connection.peer_port}" if up else "",
                domains=_applications(connection) if up else (),
                register="",
                connected_s=self.diameter.age_s(connection) if up else 0,
                from_handsets=self.sgd.from_handsets[settings.host],
                to_handsets=self.sgd.to_handsets[settings.host],
            )

    def disconnect(self, id: str) -> bool:
        """End a switch's connection; False if there is none of this id."""
        if id.startswith(_DIAMETER_ID):
            return self.diameter is not None and self.diameter.node.disconnect(id[len(_DIAMETER_ID) :])
        return self.gsup is not None and id.startswith(_GSUP_ID) and self.gsup.front.disconnect(int(id[4:]))

    async def open(self) -> None:
        """Open the doors."""
        if self.gsup is not None:
            await self.gsup.open()
        if self.diameter is not None:
            await self.diameter.open()

    async def close(self) -> None:
        """Close them, and give up what is being looked up."""
        if self.gsup is not None:
            await self.gsup.close()
        for room in (self._reports, self.sgd, self.diameter):
            if room is not None:
                await room.close()
        await self.intake.close()
        await self.outlet.close()
