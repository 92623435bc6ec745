"""From settings to a store and a bus.

In charge of: choosing the engine and the bus by their URLs. Not in charge of: opening them (`Store.open`, `Bus.open`).
"""

from __future__ import annotations

from collections.abc import Callable

from .bus import Bus, LocalBus
from .clock import Clock, boot_ns
from .engine import Engine
from .failpoints import Failpoint, nothing
from .settings import BusSettings, StoreSettings
from .store import StoreRefused

__all__ = ["connect", "connect_bus"]


def connect(
    settings: StoreSettings,
    *,
    clock: Clock | None = None,
    failpoint: Failpoint = nothing,
    tick: Callable[[], int] = boot_ns,
) -> Engine:
    """Make the store that a URL names, not yet open. Raises StoreRefused for a URL of neither database."""
    if settings.url.startswith("sqlite"):
        from .sqlite import SqliteStore

        return SqliteStore(settings, clock=clock, failpoint=failpoint, tick=tick)
    if settings.url.startswith(("postgresql://", "postgres://")):
        from .postgresql import PostgresqlStore

        return PostgresqlStore(settings, clock=clock, failpoint=failpoint, tick=tick)
    raise StoreRefused(f"{settings.url!r} names neither sqlite:///… nor postgresql://…")


def connect_bus(settings: BusSettings, store: StoreSettings) -> Bus:
    """Make the bus between the nodes of a store, not yet open."""
    if store.url.startswith("sqlite"):
        return LocalBus()  # one process: there is nobody else to tell
    if settings.url:
        from .bus_nats import NatsBus

        return NatsBus(settings.url, settings.name)
    from .bus_postgresql import PostgresqlBus

    return PostgresqlBus(store.url, settings.name)
