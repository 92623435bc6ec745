"""Addresses of switches that appeared in traffic and that nobody registered.

In charge of: noticing them, keeping the newest thousand, and forgetting one. Not in charge of: registering them
(operators do, through the registry).

Noticing costs one look into a set; what is new or was seen again is written every few seconds. Both the memory of a
node and the table are bounded, because a peer can name as many switches as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..outlet import Write
from ..signaling.registers import SwitchAddress
from ..store.store import Store
from . import tables
from .switches import Place

__all__ = ["Inbox"]

KEPT = 1000  #: rows of the table
MOST_PENDING = 1000  #: addresses noticed between two writes


@dataclass(slots=True)
class _Seen:
    first_at: int
    last_at: int
    link: str
    side: str
    times: int = 1


class Inbox:
    """Of one node, over a table that all share."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[SwitchAddress, _Seen] = {}
        self.overflowed = 0  #: addresses that found no room

    def notice(self, place: Place, link: str, side: str, at: int) -> None:
        """An address came by; nothing happens if it is registered."""
        if place.switch is not None:
            return
        key = SwitchAddress(place.address.type, place.address.value)
        seen = self._pending.get(key)
        if seen is not None:
            seen.last_at, seen.link, seen.times = at, link, seen.times + 1
        elif len(self._pending) < MOST_PENDING:
            self._pending[key] = _Seen(at, at, link, side)
        else:
            self.overflowed += 1

    async def flush(self) -> None:
        """Write what was noticed."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        writes = [
            Write(
                tables.PUT_UNKNOWN,
                {
                    "type": key.type.value,
                    "value": key.value,
                    "first_at": seen.first_at,
                    "last_at": seen.last_at,
                    "seen": seen.times,
                    "link": seen.link,
                    "side": seen.side,
                },
            )
            for key, seen in pending.items()
        ]
        await self._store.bulk(writes)
        rows = await self._store.fetch(tables.COUNT_UNKNOWN)
        if rows and rows[0]["n"] > KEPT:
            await self._store.bulk([Write(tables.TRIM_UNKNOWN, {"keep": KEPT})])

    async def listed(self, limit: int = KEPT) -> list[Mapping[str, Any]]:
        """Newest first, what this node has not written yet included."""
        await self.flush()
        return await self._store.fetch(tables.UNKNOWN, limit=limit)

    async def forget(self, type: str, value: str) -> bool:
        """Take an address out; whether it was there."""
        touched = await self._store.bulk([Write(tables.FORGET_UNKNOWN, {"of_type": type, "of_value": value})])
        return bool(touched and touched[0])
