"""What can be set about Diameter.

In charge of: [diameter] of restante.toml. Not in charge of: what handsets are told ([handsets]), which registers are
asked first ([affiliations]), or which switches are believed (objects that operators edit).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from .handset_settings import Cidr

__all__ = ["DiameterPeerSettings", "DiameterSettings", "HssSettings"]

_IDENTITY = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"

ApplicationName = Literal["sgd", "s6c"]


def _lower(text: str) -> str:
    return text.lower()


#: A name of a host or realm (RFC 6733 §4.3.1); compares without case.
DiameterIdentity = Annotated[str, Field(max_length=255, pattern=_IDENTITY), AfterValidator(_lower)]
OptionalIdentity = Annotated[
    str, Field(max_length=255, pattern=rf"(^$)|({_IDENTITY})"), AfterValidator(_lower)
]


class DiameterPeerSettings(BaseModel):
    """[[diameter.peers]]: a node that we are connected to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: DiameterIdentity = Field(description="its DiameterIdentity, which it must say")
    address: str = Field(
        default="", max_length=255, description="where we connect to; empty: it connects to us"
    )
    port: int = Field(default=3868, ge=1, le=65_535, description="its TCP port")
    relay: bool = Field(
        default=False,
        description="passes on for others: what it says of their names (Route-Record) is believed",
    )
    networks: tuple[Cidr, ...] = Field(
        default=(), max_length=64, description="CIDR networks it may connect from; empty: it may not"
    )

    @model_validator(mode="after")
    def _is_reachable(self) -> DiameterPeerSettings:
        if not self.address and not self.networks:
            raise ValueError(f"{self.host} has neither an address nor networks")
        return self


class HssSettings(BaseModel):
    """The register behind S6c."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: OptionalIdentity = Field(default="", description="of the HSS; empty: the realm decides")
    realm: OptionalIdentity = Field(default="", description="of the HSS; empty: ours")
    report: bool = Field(
        default=True,
        description="tell the HSS when somebody could not be reached and when that is over, so that it alerts us",
    )


class DiameterSettings(BaseModel):
    """[diameter]: messages from and to MMEs (SGd), and the HSS as a register (S6c)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: OptionalIdentity = Field(
        default="", description="our DiameterIdentity, a full domain name; empty: no Diameter"
    )
    realm: OptionalIdentity = Field(default="", description="our realm; empty: the identity's domain")
    host: str = Field(default="", max_length=255, description="address to listen on; empty: we only connect")
    port: int = Field(default=3868, ge=0, le=65_535, description="TCP port; 0: any free one")
    applications: tuple[ApplicationName, ...] = Field(
        default=("sgd", "s6c"), min_length=1, max_length=2, description="what we speak: sgd, s6c"
    )
    peers: tuple[DiameterPeerSettings, ...] = Field(
        default=(),
        max_length=1000,
        description="[[diameter.peers]] with host, address, port, relay, networks: who we are connected to; "
        "others are refused",
    )
    hss: HssSettings = HssSettings()
    capabilities_s: float = Field(
        default=10.0, ge=0.5, le=60, description="seconds in which a connection must have introduced itself"
    )
    watchdog_s: float = Field(
        default=30.0, ge=6, le=600, description="seconds of silence before a peer is asked whether it lives"
    )
    window: int = Field(
        default=1000, ge=1, le=100_000, description="requests of ours that one peer may have unanswered"
    )
    incoming: int = Field(
        default=1000, ge=1, le=100_000, description="requests of one peer that we may have unanswered"
    )
    alerts: float = Field(
        default=200.0, gt=0, le=100_000, description="alerts a second that one peer may wake recipients by"
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> DiameterSettings:
        names = [peer.host for peer in self.peers]
        if len(set(names)) != len(names):
            raise ValueError("two peers have the same host")
        if self.identity in names:
            raise ValueError("a peer has our own identity")
        if self.identity and "." not in self.identity and not self.realm:
            raise ValueError("an identity without a domain needs a realm")
        return self

    @property
    def own_realm(self) -> str:
        """Our realm."""
        return self.realm or self.identity.partition(".")[2]
