"""What can be set about anti-spoofing and about the registers that it asks.

In charge of: [antispoof] and [affiliations] of restante.toml. Not in charge of: switches, networks and policies, which
operators edit while the center runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from ..signaling.affiliations import AffiliationSettings

__all__ = [
    "HttpSourceSettings",
    "OsmoHlrSettings",
    "RangeSettings",
    "SourceName",
    "SourcesSettings",
    "SpoofSettings",
    "SqlSourceSettings",
    "TableSettings",
]

SourceName = Literal["table", "osmo-hlr", "http", "s6c", "sql"]


class TableSettings(BaseModel):
    """Subscribers whose switches never change: fixed lines, machines, a laboratory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = Field(
        default=None,
        description="CSV file with the columns msisdn, imsi, status, addresses; relative to the configuration file",
    )


class OsmoHlrSettings(BaseModel):
    """The control interface of an OsmoHLR."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="", max_length=255, description="of the CTRL port; empty: there is none")
    port: int = Field(default=4259, ge=1, le=65_535, description="CTRL port")


class HttpSourceSettings(BaseModel):
    """A look-up service that is asked by GET."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="",
        description="with {msisdn} or {imsi} where the digits go; empty: there is none",
        pattern=r"^(|https?://.*\{(msisdn|imsi)\}.*)$",
    )
    token: SecretStr = Field(default=SecretStr(""), description="bearer token; empty: none is sent")
    allowed_hosts: frozenset[str] = Field(
        default=frozenset(), description="addresses or networks it may have although they are private"
    )


class SqlSourceSettings(BaseModel):
    """A database of subscribers, which is only read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(
        default=SecretStr(""),
        description="postgresql://user@host/database, or sqlite:///file relative to the configuration file; "
        "empty: there is none",
    )
    query: str = Field(
        default="",
        max_length=10_000,
        pattern=r"^(|[\s\S]*:(msisdn|imsi)\b[\s\S]*)$",
        description="one SELECT with :msisdn and :imsi (digits, NULL where not known) that answers the columns "
        "msisdn, imsi, status, addresses",
    )
    connections: int = Field(default=4, ge=1, le=100, description="to PostgreSQL, at most")

    @model_validator(mode="after")
    def _is_whole(self) -> SqlSourceSettings:
        if bool(self.url.get_secret_value()) is not bool(self.query):
            raise ValueError("url and query go together")
        return self


class RangeSettings(BaseModel):
    """The registers for some subscribers, by the longest prefix that matches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    msisdn: str = Field(default="", pattern=r"^[0-9]{0,15}$", description="prefix of E.164 digits")
    imsi: str = Field(default="", pattern=r"^[0-9]{0,15}$", description="prefix of an IMSI")
    registers: tuple[SourceName, ...] = Field(max_length=8, description="asked in this order")
    authoritative: bool = Field(
        default=True, description="false: what they say may acquit a sender, never accuse"
    )


class SourcesSettings(AffiliationSettings):
    """Which registers say who serves a subscriber, and how long that is good."""

    order: tuple[SourceName, ...] = Field(
        default=("osmo-hlr", "s6c", "sql", "http", "table"),
        description="registers in the order in which they are asked; those that are not configured are left out",
    )
    ranges: tuple[RangeSettings, ...] = Field(
        default=(),
        max_length=10_000,
        description="[[affiliations.ranges]] with msisdn or imsi (prefixes of digits), registers, authoritative: "
        "other registers for some subscribers",
    )
    table: TableSettings = TableSettings()
    osmo_hlr: OsmoHlrSettings = OsmoHlrSettings()
    http: HttpSourceSettings = HttpSourceSettings()
    sql: SqlSourceSettings = SqlSourceSettings()


class SpoofSettings(BaseModel):
    """Settings of anti-spoofing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="false: no message is looked at")
    deadline_ms: int = Field(
        default=300, ge=10, le=4000, description="milliseconds that a message waits for registers, all in all"
    )
    verdict_tag: int = Field(
        default=0x1552,
        ge=0x1400,
        le=0x3FFF,
        description="optional parameter in which flagged messages say their verdict; nobody else may send it",
    )
    remembered: int = Field(
        default=100_000, ge=100, le=10_000_000, description="senders whose last verdict is kept in memory"
    )
    multipart_s: int = Field(
        default=60, ge=1, le=3600, description="seconds a verdict holds for the other parts of a message"
    )
    evidence_days: int = Field(
        default=365, ge=0, le=3650, description="days that evidence is kept; 0: for ever"
    )
