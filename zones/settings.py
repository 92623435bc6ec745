"""What can be set about home zones.

In charge of: [zones] of restante.toml. Not in charge of: policies, which operators edit while the center runs.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["CamaraSettings", "LocationSettings", "MlpSettings", "OfferTexts", "ZonesSettings"]


class MlpSettings(BaseModel):
    """A location server that speaks OMA MLP 3.x (a GMLC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="", description="of the SLIR service; empty: there is none")
    client: str = Field(default="", max_length=64, description="client id")
    password: SecretStr = Field(default=SecretStr(""), description="of the client")
    service: str = Field(default="", max_length=64, description="serviceid; empty: not sent")
    response_s: int = Field(default=5, ge=1, le=60, description="seconds the server may take, told to it")
    version: str = Field(
        default="3.2.0", pattern=r"^3\.[0-9]\.[0-9]$", description="of the protocol, as it is written"
    )


class CamaraSettings(BaseModel):
    """A server of CAMARA location-retrieval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="", description='up to and with the version: "https://host/location-retrieval/v0.5"'
    )
    token: SecretStr = Field(default=SecretStr(""), description="bearer token; empty: none is sent")
    max_surface_m2: int = Field(default=0, ge=0, description="largest area wanted; 0: any")


class LocationSettings(BaseModel):
    """Where locations come from, and what is kept of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: tuple[Annotated[str, Field(pattern=r"^(mlp|camara)$")], ...] = Field(
        default=("mlp", "camara"), description="location servers in the order in which they are asked"
    )
    submit_budget_ms: int = Field(
        default=200,
        ge=0,
        le=4000,
        description="milliseconds a submission waits for a location; then it is decided later",
    )
    attempt_budget_ms: int = Field(
        default=3000,
        ge=0,
        le=4000,
        description="milliseconds an attempt waits for a location; then it is unknown",
    )
    cached: int = Field(
        default=200_000, ge=100, le=10_000_000, description="numbers whose last fix is kept in memory"
    )
    cache_s: int = Field(
        default=60, ge=0, le=86_400, description="seconds a fix from a server is used without asking again"
    )
    miss_s: int = Field(
        default=10, ge=0, le=3600, description="seconds before a number without location is asked for again"
    )
    breaker_failures: int = Field(
        default=5, ge=1, le=1000, description="failures in a row after which a server is left alone"
    )
    breaker_s: int = Field(default=30, ge=1, le=3600, description="seconds it is left alone")
    in_flight: int = Field(default=64, ge=1, le=10_000, description="questions one server may have open")
    retention_days: int = Field(default=7, ge=1, le=365, description="days that positions are kept")
    future_s: int = Field(
        default=300, ge=0, le=86_400, description="seconds that measured_at may be ahead of our clock"
    )
    floor_push_m: int = Field(default=25, ge=0, description="metres; no pushed fix counts as more accurate")
    floor_cell_m: int = Field(
        default=300, ge=0, description="metres; the same for cells, whose ranges are guesses"
    )
    floor_server_m: int = Field(default=50, ge=0, description="metres; the same for location servers")
    unplaced_cell_m: int = Field(
        default=15_000, ge=100, description="metres; range of a cell whose entry names none"
    )
    outgoing_hosts: frozenset[str] = Field(
        default=frozenset(),
        description="addresses or networks that location servers may have although they are private",
    )
    mlp: MlpSettings = MlpSettings()
    camara: CamaraSettings = CamaraSettings()


class OfferTexts(BaseModel):
    """What an answer to an offer is answered; the offer itself is worded by its policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: str = Field(default="Your messages follow.", min_length=1, max_length=160, description="to YES")
    declined: str = Field(
        default="Your messages wait until you are back.", min_length=1, max_length=160, description="to NO"
    )
    nothing: str = Field(
        default="Nothing waits for your answer.",
        min_length=1,
        max_length=160,
        description="to YES and NO of somebody who was not asked",
    )


class ZonesSettings(BaseModel):
    """Settings of home zones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="false: no message is looked at")
    max_vertices: int = Field(default=50_000, ge=100, le=1_000_000, description="vertices of one zone")
    emergency_numbers: tuple[str, ...] = Field(
        default=("112", "911", "999", "110", "116117"), description="short codes that nothing stops"
    )
    home_plmns: frozenset[Annotated[str, Field(pattern=r"^[0-9]{5,6}$")]] = Field(
        default=frozenset(), description='own networks, MCC and MNC: "26202"; empty: roaming is not judged'
    )
    log_inside: bool = Field(default=True, description="decisions that let a message pass leave evidence too")
    log_decimals: int = Field(
        default=2, ge=0, le=7, description="decimals of degrees in evidence; 2 is about a kilometre"
    )
    multipart_s: int = Field(
        default=3600, ge=60, le=86_400, description="seconds a decision holds for all parts of a message"
    )
    max_held: int = Field(
        default=500, ge=1, le=100_000, description="messages held for one recipient; more are blocked"
    )
    alarm_unknown: int = Field(
        default=100, ge=1, description="decisions on unknown locations within a minute that raise an alarm"
    )
    heatmap_people: int = Field(
        default=5,
        ge=2,
        le=1000,
        description="a square of the heat map shows at least so many people, or nothing",
    )
    verify_least_radius_m: int = Field(
        default=2_000,
        ge=1,
        le=200_000,
        description="metres; smallest circle that an application may ask about (CAMARA location-verification)",
    )
    offers: OfferTexts = OfferTexts()
    location: LocationSettings = LocationSettings()
