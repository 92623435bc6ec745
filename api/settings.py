"""Settings of the HTTP doors.

In charge of: what `restante.toml` says under `http` and `ops`, and refusing what would be unsafe. Not in charge of:
reading the file (`config.py`), or what the settings do (`server.py`, `frame.py`).
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["HttpSettings", "OpsSettings", "is_loopback"]


def is_loopback(host: str) -> bool:
    """True if only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HttpSettings(BaseModel):
    """The REST door. Limits protect the center from slow, large and many requests."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8775, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate chain; with tls_key"
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the private key of tls_certificate")
    proxy_ends_tls: bool = Field(
        default=False, description="true: a proxy in front ends TLS, so plain HTTP may leave this machine"
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description="CIDR networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    origins: tuple[str, ...] = Field(
        default=(),
        description='further origins whose pages may use cookies here, e.g. "https://mail.example"',
    )
    body_max_octets: int = Field(default=1_048_576, ge=1024, description="largest request body, octets")
    import_max_octets: int = Field(
        default=16_777_216, ge=1024, description="largest body of an import (CSV, definitions), octets"
    )
    header_max_octets: int = Field(
        default=32_768, ge=4096, description="largest request line with headers, octets"
    )
    header_timeout_s: float = Field(
        default=10.0, gt=0, description="a request's headers must be complete within, seconds"
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="a request's body must be complete within, seconds"
    )
    idle_timeout_s: int = Field(
        default=30, ge=1, description="a connection without a request is closed after, seconds"
    )
    connections_max: int = Field(default=4096, ge=1, description="connections at one time")
    connections_per_address: int = Field(
        default=256,
        ge=1,
        description="connections at one time from one address; trusted proxies are not limited",
    )
    streams_max: int = Field(default=2000, ge=1, description="event streams open at one time")
    streams_per_owner: int = Field(default=10, ge=1, description="event streams one person may have open")
    anonymous_per_minute: int = Field(
        default=120, ge=1, description="requests a minute from one address without credentials"
    )
    subscriber_per_minute: int = Field(default=600, ge=1, description="requests a minute of one subscriber")
    operator_per_minute: int = Field(
        default=6000, ge=1, description="requests a minute of one operator or operator's key"
    )
    account_per_minute: int = Field(
        default=60_000, ge=1, description="requests a minute of one account; its throughput counts too"
    )
    stop_s: int = Field(
        default=3,
        ge=1,
        le=60,
        description="requests under way may take this long when the center stops, seconds",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in given)

    @model_validator(mode="after")
    def _safe(self) -> HttpSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.tls_certificate is None and not self.proxy_ends_tls and not is_loopback(self.host):
            raise ValueError(
                f"plain HTTP on {self.host} would carry passwords in the clear: set tls_certificate and tls_key, "
                "or proxy_ends_tls = true if a proxy in front ends TLS"
            )
        return self


class OpsSettings(BaseModel):
    """The operations door: health, metrics, version. No credentials, so it belongs on loopback."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="address to listen on; keep it where only your monitoring reaches it"
    )
    port: int = Field(default=9775, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    disk_free_min_mb: int = Field(
        default=256, ge=0, description="not ready when the data folder has less free, MB"
    )
