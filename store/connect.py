"""From settings to a store.

In charge of: choosing the engine by the URL. Not in charge of: opening it (`Store.open`).
"""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock, boot_ns
from .engine import Engine
from .failpoints import Failpoint, nothing
from .settings import StoreSettings
from .store import StoreRefused

__all__ = ["connect"]


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
