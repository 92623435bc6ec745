"""Switches, their addresses, and which of them count as one.

In charge of: switches and groups as operators edit them (registry kinds "switch" and "switch-group"), and the
compiled table that tells which switch an address belongs to. Not in charge of: networks (`networks.py`), or judging
(`engine.py`).

Theory. Addresses are compared as switches, not as text: the same machine has an MSC number, a VLR number and a
Diameter host, and a register names it by one of them while it speaks by another. Two addresses are one switch if both
belong to it; they are *known* to be two only if at least one of them belongs to a switch that has addresses of the
other's type, or if neither is registered and both are names of one type that a machine has only one of. Everything
else is "cannot tell", which never accuses anybody.

Source: notes/antispoof.md 2.3 and 5.1.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..registry.versioned import Stored
from ..signaling.registers import AddressType, SwitchAddress, address

__all__ = [
    "Group",
    "GroupModel",
    "Name",
    "Place",
    "Relation",
    "Switch",
    "SwitchAddressModel",
    "SwitchKind",
    "SwitchModel",
    "SwitchTable",
    "Trust",
    "read_address",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$")]

#: Types of which a machine has one: two of them are two machines, even if nobody registered either.
_ONE_EACH = frozenset(
    {AddressType.IPA_NAME, AddressType.DIAMETER_HOST, AddressType.SMPP_ACCOUNT, AddressType.NODE_ID}
)


class SwitchKind(StrEnum):
    """What a switch is."""

    MSC = "msc"
    VLR = "vlr"
    SGSN = "sgsn"
    MME = "mme"
    SMSF = "smsf"
    IP_SM_GW = "ip-sm-gw"
    ROUTER = "router"  #: an SMS router: behind it the serving switch is hidden
    GATEWAY = "gateway"  #: a link that may name the switches behind it
    MMS_PROXY = "mms-proxy"


class Trust(StrEnum):
    """How a switch must have been established to count."""

    AUTHENTICATED = "authenticated"  #: only its own link speaks for it
    ASSERTED = "asserted"  #: a gateway may name it too
    UNTRUSTED = "untrusted"  #: never


class SwitchAddressModel(BaseModel):
    """One address of a switch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: AddressType
    value: str = Field(
        min_length=1, max_length=255, description="digits without + for e164_gt; a CIDR for ip"
    )
    prefix: bool = Field(default=False, description="e164_gt: every number that begins so")

    @model_validator(mode="after")
    def _spelled(self) -> SwitchAddressModel:
        value = _network(self.value) if self.type is AddressType.IP else address(self.type, self.value).value
        if self.prefix and self.type is not AddressType.E164_GT:
            raise ValueError("prefix is for e164_gt")
        object.__setattr__(self, "value", value)
        return self


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text.strip(), strict=False))


class SwitchModel(BaseModel):
    """A switch as operators edit it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="unique name")
    kind: SwitchKind = SwitchKind.MSC
    network: str = Field(
        default="", max_length=64, description="name of its network; empty: by its addresses"
    )
    trust: Trust = Field(default=Trust.ASSERTED, description="how it must have been established to count")
    addresses: tuple[SwitchAddressModel, ...] = Field(min_length=1, max_length=200)
    enabled: bool = Field(default=True, description="false: as if it were not registered")
    description: str = Field(default="", max_length=200, description="for people")

    @field_validator("addresses")
    @classmethod
    def _different(cls, given: tuple[SwitchAddressModel, ...]) -> tuple[SwitchAddressModel, ...]:
        if len({(one.type, one.value, one.prefix) for one in given}) != len(given):
            raise ValueError("an address stands there twice")
        return given


class GroupModel(BaseModel):
    """Switches that count as one: a pool, or an MSC with the SGSN beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="unique name")
    kind: Literal["pool", "network"] = Field(default="pool", description="for people")
    members: tuple[str, ...] = Field(min_length=1, max_length=1000, description="names of switches")
    description: str = Field(default="", max_length=200)


@dataclass(frozen=True, slots=True)
class Switch:
    """A live switch."""

    number: int
    id: str  #: "swi_4"
    version: int
    model: SwitchModel

    @classmethod
    def of(cls, stored: Stored[SwitchModel]) -> Switch:
        """Compile."""
        return cls(stored.number, stored.id, stored.version, stored.value)

    @property
    def hides(self) -> bool:
        """True if another switch may serve the subscriber behind it."""
        return self.model.kind in (SwitchKind.ROUTER, SwitchKind.IP_SM_GW)


@dataclass(frozen=True, slots=True)
class Group:
    """A live group."""

    number: int
    model: GroupModel

    @classmethod
    def of(cls, stored: Stored[GroupModel]) -> Group:
        """Compile."""
        return cls(stored.number, stored.value)


class Place(NamedTuple):
    """An address and the switch it belongs to, if that is known."""

    address: SwitchAddress
    switch: Switch | None


class Relation(Enum):
    """How two addresses stand to each other."""

    SAME = "same"  #: one switch
    GROUP = "group"  #: two that count as one
    OTHER = "other"  #: known to be two
    UNTOLD = "untold"  #: nobody can tell


def read_address(text: str) -> SwitchAddress:
    """An address as `Ingress` writes it: "ipa_name:MSC-A". Raises ValueError."""
    kind, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is not type:value")
    return address(AddressType(kind), value)


class SwitchTable:
    """Which switch has an address. Never changed once made."""

    def __init__(self, switches: Iterable[Switch] = (), groups: Iterable[Group] = ()) -> None:
        """Disabled switches are left out; of two with one address the older counts."""
        self._exact: dict[tuple[AddressType, str], Switch] = {}
        self._prefixes: dict[str, Switch] = {}
        self._networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Switch]] = []
        self._types: dict[int, frozenset[AddressType]] = {}
        by_name: dict[str, Switch] = {}
        for switch in sorted(switches, key=lambda one: one.number):
            if not switch.model.enabled:
                continue
            by_name[switch.model.name] = switch
            self._types[switch.number] = frozenset(one.type for one in switch.model.addresses)
            for one in switch.model.addresses:
                if one.prefix:
                    self._prefixes.setdefault(one.value, switch)
                elif one.type is AddressType.IP:
                    self._networks.append((ipaddress.ip_network(one.value), switch))
                else:
                    self._exact.setdefault((one.type, one.value), switch)
        self._networks.sort(key=lambda pair: -pair[0].prefixlen)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)
        self._groups: dict[int, frozenset[int]] = {}
        for group in groups:
            for name in group.model.members:
                if name in by_name:
                    number = by_name[name].number
                    self._groups[number] = self._groups.get(number, frozenset()) | {group.number}

    def find(self, of: SwitchAddress) -> Switch | None:
        """The switch of an address: an exact one, else the longest prefix or the narrowest network."""
        found = self._exact.get((of.type, of.value))
        if found is not None:
            return found
        if of.type is AddressType.E164_GT:
            for length in self._lengths:
                found = self._prefixes.get(of.value[:length])
                if found is not None and length <= len(of.value):
                    return found
        elif of.type is AddressType.IP and self._networks:
            return self._by_ip(of.value)
        return None

    def _by_ip(self, value: str) -> Switch | None:
        try:
            wanted = ipaddress.ip_address(value)
        except ValueError:
            return None
        for network, switch in self._networks:
            if wanted in network:
                return switch
        return None

    def place(self, of: SwitchAddress) -> Place:
        """An address with its switch."""
        return Place(of, self.find(of))

    def relation(self, one: Place, other: Place) -> Relation:
        """How two addresses stand to each other."""
        mine, theirs = one.switch, other.switch
        same_address = one.address.type is other.address.type and one.address.value == other.address.value
        if same_address or (mine is not None and theirs is not None and mine.number == theirs.number):
            return Relation.SAME
        if mine is not None and theirs is not None:
            shared = self._groups.get(mine.number, frozenset[int]()) & self._groups.get(
                theirs.number, frozenset[int]()
            )
            return Relation.GROUP if shared else Relation.OTHER
        if mine is not None:
            known = other.address.type in self._types[mine.number]
        elif theirs is not None:
            known = one.address.type in self._types[theirs.number]
        else:
            known = one.address.type is other.address.type and one.address.type in _ONE_EACH
        return Relation.OTHER if known else Relation.UNTOLD
