"""What an operator may set about delivery.

In charge of: [delivery] of restante.toml. Not in charge of: what follows from it (`delivery.py`, `pump.py`).
Bounds: behaviour.md 10.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DeliverySettings"]


class DeliverySettings(BaseModel):
    """[delivery] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tasks: int = Field(
        default=100_000, ge=100, description="messages kept in memory; more wait in the database"
    )
    max_octets: int = Field(default=256 << 20, ge=1 << 20, description="octets of messages kept in memory")
    horizon_s: int = Field(
        default=60, ge=1, description="a next try later than this waits in the database (seconds)"
    )
    claim_size: int = Field(
        default=1000, ge=1, le=10_000, description="rows read back from the queue at a time"
    )
    unbound_retry_s: int = Field(
        default=3600, ge=60, description="a receipt for an account that is not bound (seconds)"
    )
