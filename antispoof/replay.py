"""Verdicts looked up again, and policies tried on them.

In charge of: searching evidence, an operator's reviews, and what a draft of a policy would have done with past
verdicts. Not in charge of: verdicts themselves: a replay asks no register, it applies other rules to what was concluded
then. Genuine messages are not in the evidence but for samples, and no policy does anything to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select

from ..message import Role
from ..outlet import Write
from ..store.store import Store
from . import tables
from .engine import Reason, Verdict
from .evidence import Record
from .policy import Policies, Policy

__all__ = ["Replay", "Replayed", "Search"]

PAGE = 500
MOST_CHANGED = 1000


@dataclass(frozen=True, slots=True)
class Search:
    """Filters; empty ones match everything."""

    sender: str = ""
    link: str = ""
    verdict: str = ""
    reason: str = ""
    action: str = ""
    trusted: str = ""
    message: int = 0
    since: int = 0  #: UTC epoch ms
    until: int = 0


@dataclass(slots=True)
class Replayed:
    """What a draft would have done."""

    rows: int = 0
    before: Counter[str] = field(
        default_factory=Counter[str]
    )  #: action, with " (monitor)" where nothing happened
    after: Counter[str] = field(default_factory=Counter[str])
    changed: list[tuple[Record, str, str]] = field(default_factory=list[tuple[Record, str, str]])
    more_changed: int = 0
    finished: bool = True


class Replay:
    """Over the evidence of all nodes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(
        self, search: Search, *, limit: int, before: tuple[int, int, int] | None = None
    ) -> list[Record]:
        """Newest first. `before`: (at, node, number) of the last row of the page before."""
        v = tables.spoof_verdict.c
        wanted = _conditions(search)
        if before is not None:
            at, node, sequence = before
            wanted.append(
                or_(
                    v.at < at,
                    and_(v.at == at, v.node < node),
                    and_(v.at == at, v.node == node, v.sequence < sequence),
                )
            )
        query = select(tables.spoof_verdict).where(*wanted)
        query = query.order_by(v.at.desc(), v.node.desc(), v.sequence.desc()).limit(limit)
        return [Record.of(row) for row in await self._store.fetch(query)]

    async def all(self, search: Search, most: int) -> AsyncIterator[Record]:
        """Rows newest first, page by page."""
        before: tuple[int, int, int] | None = None
        left = most
        while left > 0:
            page = await self.page(search, limit=min(PAGE, left), before=before)
            for record in page:
                yield record
            if len(page) < PAGE:
                return
            left -= len(page)
            before = (page[-1].at, page[-1].node, page[-1].sequence)

    async def one(self, place: tuple[int, int, int]) -> Record | None:
        """One row."""
        node, day, sequence = place
        rows = await self._store.fetch(tables.ONE, node=node, day=day, sequence=sequence)
        return Record.of(rows[0]) if rows else None

    async def reviews(self, records: Sequence[Record]) -> dict[str, list[Mapping[str, Any]]]:
        """Reviews of some rows, by their ids, oldest first."""
        if not records:
            return {}
        days = [record.day for record in records]
        rows = await self._store.fetch(
            tables.REVIEWS_OF,
            first=min(days),
            last=max(days),
            sequences=sorted({record.sequence for record in records}),
        )
        by_place: dict[tuple[int, int, int], list[Mapping[str, Any]]] = {}
        for row in rows:
            by_place.setdefault((row["node"], row["day"], row["sequence"]), []).append(row)
        return {
            record.id: found
            for record in records
            if (found := by_place.get((record.node, record.day, record.sequence)))
        }

    def review(self, record: Record, *, actor: str, result: str, note: str) -> Write:
        """The statement that keeps an operator's review beside a row, which stays as it is."""
        row = {
            "id": self._store.next_id(),
            "node": record.node,
            "day": record.day,
            "sequence": record.sequence,
            "at": self._store.clock.now_ms(),
            "actor": actor,
            "result": result,
            "note": note,
        }
        return Write(tables.INSERT_REVIEW, row, expect=1)

    async def replay(self, drafts: Iterable[Policy], search: Search, most: int) -> Replayed:
        """Apply a set of policies to past verdicts."""
        policies, done = Policies(drafts), Replayed()
        async for record in self.all(search, most + 1):
            if done.rows == most:
                done.finished = False
                break
            done.rows += 1
            policy = policies.of(Role(record.role), record.link)
            act = policy.act(Verdict(record.verdict), Reason(record.reason))
            was = _worded(record.action, record.enforced)
            would = _worded(act.value, policy.enforced)
            done.before[was] += 1
            done.after[would] += 1
            if was == would:
                continue
            if len(done.changed) < MOST_CHANGED:
                done.changed.append((record, was, would))
            else:
                done.more_changed += 1
        return done


def _worded(action: str, enforced: bool) -> str:
    return action if enforced or action == "accept" else f"{action} (monitor)"


def _conditions(search: Search) -> list[ColumnElement[bool]]:
    v = tables.spoof_verdict.c
    wanted: list[ColumnElement[bool]] = []
    for column, value in (
        (v.sender, search.sender),
        (v.link, search.link),
        (v.verdict, search.verdict),
        (v.reason, search.reason),
        (v.action, search.action),
        (v.trusted, search.trusted),
        (v.message, search.message),
    ):
        if value:
            wanted.append(column == value)
    if search.since:
        wanted.append(v.at >= search.since)
    if search.until:
        wanted.append(v.at < search.until)
    return wanted
