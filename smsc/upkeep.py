"""Housekeeping of the message path.

In charge of: forgetting what an ending left behind and nobody will ask for: parts of long messages that were not
delivered, recipients that nobody writes to any more, flags whose handset never came back. Not in charge of: retention
of messages (`store/sweep.py`).

Each round runs behind accepts, in chunks (behaviour.md 10).
"""

from __future__ import annotations

from ..outlet import Write
from ..store.chores import every
from ..store.store import Store
from .flag_tables import FORGET_FLAGS
from .tables import FORGET_OLD, SWEEP_PARTS

__all__ = ["SILENT_FOR_MS", "Upkeep"]

EVERY_S = 600.0
#: A recipient whose last try is so long ago, and for whom nothing waits, is forgotten: the longest validity period.
SILENT_FOR_MS = 30 * 24 * 3600 * 1000


class Upkeep:
    """One round after the other."""

    def __init__(self, store: Store) -> None:
        """On one store; several nodes may sweep the same tables."""
        self._store = store

    async def run(self, every_s: float = EVERY_S) -> None:
        """Sweep until cancelled."""
        await every(every_s, self.once, "upkeep of the path", at_once=False)

    async def once(self) -> tuple[int, int, int]:
        """One round: notes about parts, recipients, and flags, that were forgotten."""
        now = self._store.clock.now_ms()
        parts, silent, flags = await self._store.bulk(
            [
                Write(SWEEP_PARTS, {}),
                Write(FORGET_OLD, {"before": now - SILENT_FOR_MS}),
                Write(FORGET_FLAGS, {"now": now}),
            ]
        )
        return parts, silent, flags
