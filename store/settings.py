"""Settings of the store.

In charge of: declaring them with units and ranges. Not in charge of: reading a file (`config.py`) or acting on them
(the modules that take them).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BusSettings", "RetentionSettings", "StoreSettings"]

DAY = 86_400  #: seconds


class RetentionSettings(BaseModel):
    """How long finished things are kept. What still waits in the queue is never deleted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Days that message text is kept after submission; 0 keeps it as long as the history.
    text_days: int = Field(default=30, ge=0, le=3650)
    #: Days that messages and their events are kept after submission; 0 keeps them for ever.
    history_days: int = Field(default=180, ge=0, le=3650)
    #: Seconds between two rounds of housekeeping.
    every_s: float = Field(default=60.0, gt=0, le=DAY)
    #: Days of partitions that are made ahead on PostgreSQL.
    partitions_ahead_days: int = Field(default=7, ge=1, le=60)


class StoreSettings(BaseModel):
    """Where the truth is kept, and what is promised about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `sqlite:///relative.sqlite`, `sqlite:////absolute/path.sqlite` or `postgresql://user@host/database`.
    url: str = "sqlite:///restante.sqlite"
    #: What an acknowledged message survives. `power-loss` is the promise of the center; `process-crash-only` says in
    #: words that a power failure may lose acknowledged messages.
    durability: Literal["power-loss", "process-crash-only"] = "power-loss"
    #: Name of this node, unique in a cluster: a node that starts under a name ends the earlier life of that name.
    node_name: str = Field(default="", max_length=64)
    #: Address at which other nodes reach this one; shown to people.
    node_address: str = Field(default="", max_length=256)
    #: Seconds between heartbeats.
    heartbeat_s: float = Field(default=1.0, gt=0, le=60)
    #: Seconds without a heartbeat after which other nodes take a node for dead; it stops sending after half of them.
    dead_after_s: float = Field(default=10.0, gt=0, le=600)
    #: Most changes in one commit.
    batch_changes: int = Field(default=1000, ge=1, le=10_000)
    #: Most octets of text in one commit.
    batch_bytes: int = Field(default=4 << 20, ge=1 << 16, le=256 << 20)
    #: Changes that may wait for a commit before new messages are refused (ESME_RMSGQFUL).
    pending_changes: int = Field(default=20_000, ge=1, le=1_000_000)
    #: Most octets the SQLite database may take; 0: as many as the disk has.
    max_bytes: int = Field(default=0, ge=0)
    #: Octets of free disk below which new messages are refused while outcomes are still written.
    min_free_bytes: int = Field(default=64 << 20, ge=0)
    #: Seconds after which a commit whose outcome is not known is given up: its peers get no answer.
    unknown_after_s: float = Field(default=10.0, gt=0, le=300)
    #: Seconds that one read may take.
    read_s: float = Field(default=10.0, gt=0, le=600)
    #: Reads that may run at once.
    readers: int = Field(default=3, ge=1, le=32)
    #: Octets of SQLite's write-ahead log above which an alarm is logged.
    wal_alarm_bytes: int = Field(default=512 << 20, ge=1 << 20)

    retention: RetentionSettings = RetentionSettings()

    @property
    def late_after_ms(self) -> int:
        """Milliseconds without a heartbeat after which a node does not send any more."""
        return int(self.dead_after_s * 500)


class BusSettings(BaseModel):
    """How the nodes of a center wake each other. What the bus loses is repaired from the database."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `nats://host:4222` (several with commas) for large clusters; empty: PostgreSQL's NOTIFY, or nothing on SQLite.
    url: str = Field(default="", pattern=r"^$|^(nats|tls)://\S+$")
    #: Begins the names of channels, for several centers that share one server.
    name: str = Field(default="restante", pattern=r"^[a-z][a-z0-9_]{0,31}$")
