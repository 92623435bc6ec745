"""Networks, their numbers, and numbers that left them.

In charge of: networks and ported numbers as operators edit them (registry kinds "network" and "ported-number"), and
the compiled table: which network has a number, an IMSI, a global title. Not in charge of: own number ranges
(`access/ranges.py`), which decide what is ours where no network says so.

The order for a number: ported numbers first, the longest rule; then the longest number range of a network; then own
ranges, which belong to "own" without a network of their own.

Source: notes/antispoof.md 2.3, 2.4 and 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ..access.numbers import NumberRule, PrefixTable
from ..registry.versioned import Stored
from ..signaling.registers import AddressType
from .switches import Name, Place

__all__ = ["Home", "Network", "NetworkModel", "NetworkTable", "Ported", "PortedModel"]

Digits = Annotated[str, Field(pattern=r"^[0-9]{1,15}$")]
E164Prefix = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{0,14}$")]


class NetworkModel(BaseModel):
    """A network as operators edit it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="unique name")
    own: bool = Field(default=False, description="its subscribers are ours")
    plmns: tuple[Annotated[str, Field(pattern=r"^[0-9]{5,6}$")], ...] = Field(
        default=(), max_length=100, description='MCC and MNC: "23415"; an IMSI begins so'
    )
    number_ranges: tuple[E164Prefix, ...] = Field(
        default=(), max_length=10_000, description='"+447700": numbers that begin so, unless they were ported'
    )
    gt_prefixes: tuple[Digits, ...] = Field(
        default=(), max_length=10_000, description="global titles of its switches begin so, without +"
    )
    authoritative: bool | None = Field(
        default=None,
        description="registers may accuse senders of this network; null: if it is our own",
    )
    match: Literal["switch", "network"] | None = Field(
        default=None,
        description="what must agree: the switch, or only its network (roaming); null: own switch, others network",
    )
    home_routed: bool = Field(
        default=False, description="registers name its SMS router: switches and IMSIs say nothing"
    )
    partners: tuple[str, ...] = Field(
        default=(), max_length=1000, description="accounts through which messages of its numbers come"
    )
    description: str = Field(default="", max_length=200)


class PortedModel(BaseModel):
    """A number, or a block of numbers, that another network has now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: NumberRule = Field(
        pattern=r"^\+", description='"+447700900123", or "+44770090*" for a block; unique'
    )
    network: str = Field(
        default="", max_length=64, description="name of the network that has it; empty: somebody else's"
    )
    valid_from: AwareDatetime | None = Field(default=None, description="null: since ever")
    description: str = Field(default="", max_length=200)


@dataclass(frozen=True, slots=True)
class Network:
    """A live network."""

    number: int
    id: str
    model: NetworkModel

    @classmethod
    def of(cls, stored: Stored[NetworkModel]) -> Network:
        """Compile."""
        return cls(stored.number, stored.id, stored.value)

    @property
    def authoritative(self) -> bool:
        """True if registers may accuse its senders."""
        return self.model.own if self.model.authoritative is None else self.model.authoritative

    @property
    def by_switch(self) -> bool:
        """True if two of its switches are two, and not just one network."""
        return (self.model.match or ("switch" if self.model.own else "network")) == "switch"


@dataclass(frozen=True, slots=True)
class Ported:
    """A live ported number."""

    number: int
    model: PortedModel

    @classmethod
    def of(cls, stored: Stored[PortedModel]) -> Ported:
        """Compile."""
        return cls(stored.number, stored.value)

    @property
    def valid_from_ms(self) -> int:
        """UTC epoch milliseconds; 0: since ever."""
        return int(self.model.valid_from.timestamp() * 1000) if self.model.valid_from else 0


@dataclass(frozen=True, slots=True)
class Home:
    """To whom a number belongs."""

    own: bool  #: a subscriber of ours
    network: Network | None
    ported: bool = False  #: a ported number said so

    @property
    def authoritative(self) -> bool:
        """True if registers may accuse its senders: own by default."""
        return self.network.authoritative if self.network is not None else self.own


_FOREIGN = Home(False, None)
_OWN = Home(True, None)
_LEFT = Home(False, None, ported=True)


class NetworkTable:
    """Which network has a number, an IMSI or a switch. Never changed once made."""

    def __init__(
        self,
        networks: Iterable[Network] = (),
        ported: Iterable[Ported] = (),
        *,
        is_own: Callable[[str], bool] = lambda number: False,
        at: int = 0,
    ) -> None:
        """`is_own`: by number ranges. `at`: ported numbers that are valid from a later time are left out."""
        ordered = sorted(networks, key=lambda one: one.number)
        self._by_name = {network.model.name: network for network in ordered}
        self._ranges = PrefixTable(
            (f"{prefix}*", network) for network in ordered for prefix in network.model.number_ranges
        )
        self._titles = PrefixTable(
            (f"{prefix}*", network) for network in ordered for prefix in network.model.gt_prefixes
        )
        self._plmns = PrefixTable(
            (f"{plmn}*", network) for network in ordered for plmn in network.model.plmns
        )
        valid = [one for one in ported if one.valid_from_ms <= at]
        self._ported = PrefixTable((one.model.number, one.model.network) for one in valid)
        self._is_own = is_own

    def get(self, name: str) -> Network | None:
        """By name."""
        return self._by_name.get(name)

    def home(self, number: str) -> Home:
        """To whom a number in normal form belongs."""
        moved = self._ported.find(number)
        if moved is not None:
            network = self._by_name.get(moved)
            return _LEFT if network is None else Home(network.model.own, network, ported=True)
        network = self._ranges.find(number)
        if network is not None:
            return Home(network.model.own, network)
        return _OWN if self._is_own(number) else _FOREIGN

    def of_imsi(self, imsi: str) -> Network | None:
        """The network that issued an IMSI."""
        return self._plmns.find(imsi)

    def of_place(self, place: Place) -> Network | None:
        """The network of a switch: the one it names, else the one of its global title."""
        if place.switch is not None and place.switch.model.network:
            return self._by_name.get(place.switch.model.network)
        return self._titles.find(place.address.value) if place.address.type is AddressType.E164_GT else None
