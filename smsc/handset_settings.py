"""What can be set about handsets and the switches behind which they are.

In charge of: [handsets] and [gsup] of restante.toml. Not in charge of: registers ([affiliations]), or which
messages go to handsets (a route with target "switch").
"""

from __future__ import annotations

import ipaddress
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = ["GsupSettings", "HandsetSettings", "SwitchSettings"]


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError("not the name of a time zone") from error
    return name


Cidr = Annotated[str, AfterValidator(_network)]


class HandsetSettings(BaseModel):
    """[handsets]: messages from and to handsets, whatever their switches speak."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str = Field(
        default="",
        max_length=15,
        description="system_id of the account (role switch) under which messages of handsets are taken in",
    )
    center: str = Field(
        default="",
        pattern=r"^([1-9][0-9]{2,14})?$",
        description="E.164 digits of this center, as handsets and switches know it",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="IANA name; times shown by handsets are written in it"
    )
    repeat_s: int = Field(
        default=600,
        ge=0,
        le=86_400,
        description="seconds in which a repeated message of a handset is acknowledged and not stored again",
    )
    window: int = Field(
        default=1000, ge=1, le=100_000, description="messages under way to handsets at the same time"
    )
    answer_s: float = Field(
        default=45.0, gt=0, le=300, description="seconds a switch may take to deliver a message"
    )


class SwitchSettings(BaseModel):
    """[[gsup.switches]]: a switch that may connect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[!-~]{1,64}$", description="as it calls itself (ipa-name)")
    networks: tuple[Cidr, ...] = Field(
        min_length=1, max_length=64, description="CIDR networks it may connect from"
    )


class GsupSettings(BaseModel):
    """[gsup]: switches connect to the center as to their register (OsmoHLR)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="", max_length=255, description="address to listen on; empty: closed")
    port: int = Field(default=4222, ge=0, le=65_535, description="TCP port; 0: any free one")
    register_host: str = Field(
        default="127.0.0.1", max_length=255, description="of the real register, to which everything else goes"
    )
    register_port: int = Field(default=4222, ge=1, le=65_535, description="its GSUP port")
    switches: tuple[SwitchSettings, ...] = Field(
        default=(), max_length=1000, description="[[gsup.switches]]: who may connect; others are refused"
    )
    max_links: int = Field(default=200, ge=1, le=10_000, description="connections at the same time")
    late_s: float = Field(
        default=60.0,
        ge=0,
        le=600,
        description="seconds a subscriber stays engaged after a switch did not answer in time",
    )
    alerts: float = Field(
        default=200.0, gt=0, le=100_000, description="alerts a second that one switch may wake recipients by"
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> GsupSettings:
        names = [switch.name for switch in self.switches]
        if len(set(names)) != len(names):
            raise ValueError("two switches have the same name")
        return self
