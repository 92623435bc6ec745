"""How long boxes keep things.

In charge of: removing items for their age, emptying bins, forgetting removals that the change feed need not tell any
more. Not in charge of: text and history of messages (`store/sweep.py`), room (`quota.py`).

Theory. Ids are ordered by time, so age is a range of ids. Ordinary items go after the center's days or the shorter ones
that their owner chose; saved and starred ones have days of their own; the bin has its own. Whatever goes while its
sender waits ends as expired, in the same change. Work is done in changes of at most fifty items of one box, one after
the other, so that accepts never wait behind more than one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..message import MessageState, id_at
from ..outlet import Write
from ..store.store import Answer, Store
from . import statements as sql
from .edits import removal
from .endings import Endings
from .folders import Folder
from .item import Group, Row, group_rows
from .quota import read_parts
from .settings import DAY_MS, MailboxSettings

__all__ = ["Retention", "Swept"]

_CHUNK = 50


@dataclass(slots=True)
class Swept:
    """What one pass removed."""

    aged: int = 0  #: items, for their age
    binned: int = 0  #: items, from bins
    pruned: int = 0  #: marks of removal


class Retention:
    """Runs passes over all boxes."""

    def __init__(self, store: Store, settings: MailboxSettings, endings: Endings) -> None:
        self._store = store
        self._settings = settings
        self._endings = endings

    async def sweep(self) -> Swept:
        """One pass; cheap when nothing is due."""
        now = self._store.clock.now_ms()
        swept = Swept()
        swept.binned = await self._empty_bins(now)
        swept.aged = await self._age_of_choosy(now) + await self._age_of_all(now)
        swept.pruned = await self._prune(now)
        return swept

    async def _empty_bins(self, now: int) -> int:
        before = now - self._settings.bin_days * DAY_MS
        removed = 0
        while True:
            rows = await self._store.fetch(sql.BINNED, before=before, limit=_CHUNK)
            found = [Row.of(row) for row in rows]
            done = await self._remove(found, now)
            removed += done
            if len(found) < _CHUNK or not done:
                return removed

    async def _age_of_choosy(self, now: int) -> int:
        """Boxes whose owners chose fewer days."""
        after = removed = 0
        while True:
            boxes = await self._store.fetch(sql.CHOOSY, after=after, limit=_CHUNK)
            for box in boxes:
                after = box["subscriber"]
                days = min(box["retention_days"], self._settings.retention_days)
                cut = id_at(now - days * DAY_MS)
                removed += await self._walk(
                    lambda at, subscriber=after, cut=cut: self._store.fetch(
                        sql.OLD_OF, subscriber=subscriber, after=at, before=cut, limit=_CHUNK
                    ),
                    now,
                )
            if len(boxes) < _CHUNK:
                return removed

    async def _age_of_all(self, now: int) -> int:
        cut = id_at(now - self._settings.retention_days * DAY_MS)
        return await self._walk(
            lambda at: self._store.fetch(sql.OLD, after=at, before=cut, limit=_CHUNK), now
        )

    async def _walk(self, read: Callable[[int], Awaitable[list[Mapping[str, Any]]]], now: int) -> int:
        """Go through old items by id; saved and starred ones stay until their own age."""
        kept_from = id_at(now - self._settings.saved_retention_days * DAY_MS)
        after = removed = 0
        while True:
            found = [Row.of(row) for row in await read(after)]
            due = [row for row in found if row.id < kept_from or not _precious(row)]
            removed += await self._remove(due, now)
            if len(found) < _CHUNK:
                return removed
            after = found[-1].id

    async def _remove(self, leaders: Sequence[Row], now: int) -> int:
        """Remove messages, box by box; those that change meanwhile stay for the next pass. How many."""
        removed = 0
        ordered = sorted(leaders, key=lambda row: row.subscriber)
        for subscriber, rows in groupby(ordered, key=lambda row: row.subscriber):
            groups = await self._in_full(subscriber, list(rows))
            owed = [row for group in groups for row in group.owed]
            conclusion = self._endings.conclude(
                owed, MessageState.EXPIRED, at=now, reason="mailbox-retention", removed=True
            )
            answer = await self._endings.commit(removal(subscriber, groups, now), conclusion)
            removed += len(groups) if answer is Answer.STORED else 0
            await asyncio.sleep(0)
        return removed

    async def _in_full(self, subscriber: int, leaders: Sequence[Row]) -> list[Group]:
        """Whole messages; with envelope and body where an end is owed, because a receipt is made of them."""
        groups = group_rows(leaders, await read_parts(self._store, subscriber, leaders))
        ids = [group.leader.id for group in groups if group.owed and not group.leader.part_total]
        if not ids:
            return groups
        rows = await self._store.fetch(sql.ITEMS, subscriber=subscriber, **sql.in_chunk(ids))
        full = {row["id"]: Row.of(row) for row in rows}
        return [
            Group(full[group.leader.id], (full[group.leader.id],)) if group.leader.id in full else group
            for group in groups
        ]

    async def _prune(self, now: int) -> int:
        """Forget removals; first say how far back the feed reaches, then delete."""
        before = now - self._settings.feed_days * DAY_MS
        pruned = 0
        while True:
            boxes = await self._store.fetch(sql.PRUNABLE, before=before, limit=_CHUNK)
            for box in boxes:
                upto = {"subscriber": box["subscriber"], "upto": box["modseq"]}
                touched = await self._store.bulk([Write(sql.PRUNED, upto), Write(sql.PRUNE, upto)])
                pruned += touched[1]
            if len(boxes) < _CHUNK:
                return pruned


def _precious(row: Row) -> bool:
    return bool(row.starred) or Folder(row.folder) is Folder.SAVED
