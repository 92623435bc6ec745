"""The center's place in the core network: its doors for handsets and its ways to them, put together.

In charge of: making the intake of handsets and the doors that the configuration opens, finding numbers for cards,
opening and closing. Not in charge of: what any of them does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..access.accounts import Account
from ..access.subscribers import Subscribers
from ..signaling.affiliations import Affiliations
from ..signaling.gsup_link import Link
from ..signaling.registers import RegisterUnavailable, Who
from ..store.store import Store
from .delivery import Delivery
from .gsup_door import GsupDoor
from .handset_commands import HandsetCommands
from .handset_intake import HandsetIntake
from .handset_settings import GsupSettings, HandsetSettings
from .repeats import Repeats
from .submission import Submission
from .switch import SwitchOutlet

__all__ = ["ConnectedSwitch", "CoreNetwork"]


_GSUP_ID = "swl_"


@dataclass(frozen=True, slots=True)
class ConnectedSwitch:
    """A switch as operators see it."""

    id: str
    name: str
    protocol: str  #: "gsup" or "diameter"
    peer: str  #: "address:port"
    domains: tuple[str, ...]  #: of whose location updates it spoke
    register: str  #: its connection to the register
    connected_s: int
    from_handsets: int  #: messages
    to_handsets: int


def _shown(link: Link) -> ConnectedSwitch:
    return ConnectedSwitch(
        id=f"{_GSUP_ID}{link.number}",
        name=link.name,
        protocol="gsup",
        peer=link.peer,
        domains=tuple(sorted(domain.name.lower() for domain in link.domains)),
        register=link.upstream.name.lower(),
        connected_s=int(link.age_s),
        from_handsets=link.messages["mo"],
        to_handsets=link.messages["mt"],
    )


class CoreNetwork:
    """What handsets come in and go out by."""

    def __init__(
        self,
        *,
        handsets: HandsetSettings,
        gsup: GsupSettings,
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
        """Those that are connected to this node now."""
        return [] if self.gsup is None else [_shown(link) for link in self.gsup.front]

    def disconnect(self, id: str) -> bool:
        """End a switch's connection; False if there is none of this id."""
        return self.gsup is not None and id.startswith(_GSUP_ID) and self.gsup.front.disconnect(int(id[4:]))

    async def open(self) -> None:
        """Open the doors."""
        if self.gsup is not None:
            await self.gsup.open()

    async def close(self) -> None:
        """Close them, and give up what is being looked up."""
        if self.gsup is not None:
            await self.gsup.close()
        await self.intake.close()
        await self.outlet.close()
