"""Looking at a database beside a running center.

In charge of: reading without a lease, an epoch or the life lock, for `restante doctor` and for what `restante serve`
looks at before it starts. Not in charge of: anything that writes, and anything a node does (`engine.py`).

None of this is for use on a running event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from .migrate import run
from .statement import Query
from .tables import node

__all__ = ["durability_settings", "newest_sign_of_life", "rows"]

_NEWEST = Query(
    "inspection: the newest sign of life of any node", select(func.max(node.c.heartbeat_at).label("at"))
)

#: What PostgreSQL must not have switched off for its commits to survive a power failure.
_PROMISES = ("fsync", "synchronous_commit", "full_page_writes")


def rows(url: str, query: Query, **params: object) -> list[Mapping[str, Any]]:
    """Run one of the rooms' queries. Raises StoreRefused."""

    def ask(connection: Connection) -> list[Mapping[str, Any]]:
        return [dict(row) for row in connection.execute(query.expression, params).mappings()]

    return run(url, ask)


def newest_sign_of_life(url: str) -> int:
    """UTC epoch milliseconds of the newest heartbeat; 0 if there never was one. Raises StoreRefused."""
    return int(rows(url, _NEWEST)[0]["at"] or 0)


def durability_settings(url: str) -> dict[str, str]:
    """PostgreSQL's settings that its promise rests on; {} for SQLite, whose promise is verified at each start."""
    if url.startswith("sqlite"):
        return {}

    def ask(connection: Connection) -> dict[str, str]:
        return {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in _PROMISES}

    return run(url, ask)
