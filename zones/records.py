"""Recorded decisions, read back a page at a time.

In charge of: finding the evidence rows of home zones by time or by number, whole messages at a time, and the fixes
that they name. Not in charge of: what a record holds (`evidence.py`), what is made of it (`replay.py`, `heatmap.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any

from ..store.store import Store
from . import tables
from .evidence import LIKE, Record, read_record
from .fix import Fix
from .locations import fix_of_row

__all__ = ["Records"]

PAGE = 1_000


class Records:
    """What was decided, on one database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pages(
        self, first: int, before: int, *, number: str = ""
    ) -> AsyncGenerator[Mapping[int, list[Record]]]:
        """Records by message, newest message first, oldest record of it first.

        `first` and `before`: message ids, the latter not included; `number`: of a sender or recipient.
        """
        while True:
            rows = await self._rows(number, first, before)
            ids = sorted({int(row["message"]) for row in rows}, reverse=True)
            whole = len(rows) < PAGE
            if not whole and len(ids) > 1:
                ids.pop()  # its older rows are on the next page
            found: dict[int, list[Record]] = {id: [] for id in ids}
            for row in reversed(rows):
                id = int(row["message"])
                if id in found:
                    found[id] += read_record(id, row["detail"])
            if found:
                yield found
            if whole:
                return
            before = ids[-1]

    async def _rows(self, number: str, first: int, before: int) -> Sequence[Mapping[str, Any]]:
        asked: dict[str, object] = {"first": first, "before": before, "like": LIKE, "limit": PAGE}
        if number:
            return await self._store.fetch(tables.EVIDENCE_ABOUT, number=number, **asked)
        return await self._store.fetch(tables.EVIDENCE_BETWEEN, **asked)

    async def fixes(self, records: Iterable[Record]) -> dict[int, Fix]:
        """The fixes that some records name, by id; those that retention has removed are missing."""
        ids = sorted({party.fix for record in records for party in record.parties.values() if party.fix})
        found: dict[int, Fix] = {}
        for start in range(0, len(ids), PAGE):
            for row in await self._store.fetch(tables.FIXES_BY_ID, ids=ids[start : start + PAGE]):
                found[row["id"]] = fix_of_row(row)
        return found
