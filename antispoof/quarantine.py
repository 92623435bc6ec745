"""Messages that were stored instead of delivered because their sender could not be believed.

In charge of: listing them with their evidence, and letting one go or ending it. Not in charge of: how a parked message
is released or ended (`smsc/holding.py`), expiry (it falls due, and delivery ends it), who may decide (`api/`).

A released message keeps its verdict and evidence: it goes on behind the check that stopped it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..message import Message
from ..outlet import Write
from ..smsc.holding import Holding
from ..store.store import Answer, Store
from . import tables
from .evidence import Record

__all__ = ["Quarantine", "Quarantined"]

NEWEST = 1 << 62


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message that waits for a decision."""

    id: int
    sender: str
    recipient: str
    account: int
    expires_at: int  #: UTC epoch ms at which it ends by itself
    record: Record | None  #: its evidence; None: not written yet


class Quarantine:
    """The quarantine of the center."""

    def __init__(self, store: Store, holding: Holding) -> None:
        self._store = store
        self._holding = holding

    async def listed(self, *, before: int = 0, limit: int = 50) -> list[Quarantined]:
        """Newest first."""
        rows = await self._store.fetch(tables.QUARANTINED, before=before or NEWEST, limit=limit)
        ids = [int(row["id"]) for row in rows]
        evidence = await self._store.fetch(tables.VERDICTS_OF, ids=ids) if ids else []
        records = {int(row["message"]): Record.of(row) for row in evidence}
        return [
            Quarantined(
                int(row["id"]),
                row["sender"],
                row["recipient"],
                row["account"],
                row["due_at"],
                records.get(int(row["id"])),
            )
            for row in rows
        ]

    async def holds(self, id: int) -> bool:
        """Whether a message is in quarantine now."""
        rows = await self._store.fetch(tables.QUARANTINED, before=id + 1, limit=1)
        return bool(rows) and int(rows[0]["id"]) == id

    async def release(self, id: int, by: str, note: str, writes: Sequence[Write]) -> Answer:
        """Let a message go. CONFLICT: it is not in quarantine (any more)."""
        if not await self.holds(id):
            return Answer.CONFLICT
        answer, _ = await self._holding.release(id, by, note, writes)
        return answer

    async def discard(
        self, id: int, by: str, note: str, writes: Sequence[Write]
    ) -> tuple[Answer, tuple[Message, ...]]:
        """End a message as rejected; its receipts are stored and must be admitted."""
        if not await self.holds(id):
            return Answer.CONFLICT, ()
        return await self._holding.discard(id, by, note, writes)
