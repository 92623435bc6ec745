"""Who did what, in a chain that shows when somebody has changed it.

In charge of: making the audit row that rides in a change's transaction, reading rows back, and verifying the chain.
Not in charge of: deciding what is audited (the doors: every write at the admin door, every reveal).

How the chain works (behaviour.md 11). Each node writes one chain a day: rows numbered from 1, each with the MAC of the
row before it; a day's first row carries the MAC of the last row of that node's last day with rows, so that yesterday's
head is anchored in today. The MAC's key is derived from the master key and is not in the database: whoever can
write there cannot make a row that fits. Rows cut from the end are noticed when a head that was noted
elsewhere (`Verification.heads`, also logged at a day's first row) is no longer found.

Because a row names the row before it, a node writes one audited change at a time: `entry` holds a lock from reading
the head to the commit. If the change is refused, its row was never there, and the next one reads the head again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import structlog
from sqlalchemy import ColumnElement, Select, and_, bindparam, insert, or_, select

from ..outlet import Write
from ..store.statement import Query, Sql
from ..store.store import Store
from .door_tables import audit
from .key_ring import KeyRing

__all__ = ["Audit", "AuditRow", "Break", "Entry", "Seal", "Verification"]

DAY_MS = 86_400_000
BREAKS_KEPT = 100  #: of a verification; the count goes on
CHUNK = 1000  #: rows read at once while verifying

_INSERT = Sql("access: append an audit row", insert(audit))
_HEAD = Query(
    "access: newest audit row of a node",
    select(audit.c.day, audit.c.sequence, audit.c.mac)
    .where(audit.c.node == bindparam("node", type_=audit.c.node.type))
    .order_by(audit.c.day.desc(), audit.c.sequence.desc())
    .limit(1),
)
_NODES = Query("access: nodes with audit rows", select(audit.c.node).distinct().order_by(audit.c.node))
_CHAIN = Query(
    "access: audit rows of a node in order",
    select(audit)
    .where(
        audit.c.node == bindparam("node", type_=audit.c.node.type),
        or_(
            audit.c.day > bindparam("day", type_=audit.c.day.type),
            and_(
                audit.c.day == bindparam("day", type_=audit.c.day.type),
                audit.c.sequence > bindparam("sequence", type_=audit.c.sequence.type),
            ),
        ),
    )
    .order_by(audit.c.day, audit.c.sequence)
    .limit(CHUNK),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is said about one action."""

    actor: str  #: "op_2", "key_4", "cli"
    action: str  #: "account.replace"
    target: str = ""  #: "acc_12"
    reason: str = ""
    peer: str = ""
    request: str = ""  #: X-Request-ID
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row as it was written."""

    node: int
    day: int
    sequence: int
    at: int
    actor: str
    action: str
    target: str
    reason: str
    peer: str
    request: str
    detail: str
    previous: str
    mac: str

    @property
    def id(self) -> str:
        """As written outside: node, day, number."""
        return f"aud_{self.node}_{self.day}_{self.sequence}"


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain does not hold."""

    row: str  #: id of the row that does not fit
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found."""

    rows: int
    days: int
    breaks: tuple[Break, ...]  #: the first hundred
    broken: int  #: how many there are
    heads: Mapping[str, str]  #: node -> mac of its newest row: note them elsewhere

    @property
    def holds(self) -> bool:
        """True if nobody has changed anything."""
        return not self.broken


class Seal(Protocol):
    """Makes the audit row's write, perhaps with a target or detail that was not known before."""

    def __call__(
        self, target: str | None = None, detail: Mapping[str, Any] | None = None
    ) -> tuple[Write, ...]:
        """The writes that must ride."""
        ...


class Audit:
    """The audit trail of one node."""

    def __init__(self, store: Store, ring: KeyRing) -> None:
        self._store = store
        self._keys = ring.keys("audit")
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger(__name__)

    @asynccontextmanager
    async def entry(self, entry: Entry) -> AsyncGenerator[Seal]:
        """Give what makes the write that must ride with the change; commit inside the block.

            async with audit.entry(Entry("op_2", "route.create")) as seal:
                await registry.create(kind, body, actor="op_2", writes=lambda edit: seal(edit.after.id))

        A seal may be asked again when a change is planned anew: it is always the same row, the last one counts.
        """
        async with self._turn:
            node = self._store.node
            now = self._store.clock.now_ms()
            heads = await self._store.fetch(_HEAD, node=node)
            # A clock that went back must not open an older day: the chain goes on in the newest.
            day = max(now // DAY_MS, heads[0]["day"] if heads else 0)
            same_day = bool(heads) and heads[0]["day"] == day
            if heads and not same_day:
                self._log.info("audit.head", node=node, day=heads[0]["day"], mac=heads[0]["mac"])
            place: dict[str, Any] = {
                "node": node,
                "day": day,
                "sequence": heads[0]["sequence"] + 1 if same_day else 1,
                "at": now,
                "previous": heads[0]["mac"] if heads else "",
            }
            yield partial(self._sealed, entry, place)

    def _sealed(
        self,
        entry: Entry,
        place: Mapping[str, Any],
        target: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> tuple[Write, ...]:
        facts = dict(entry.detail if detail is None else detail)
        row: dict[str, Any] = {
            **place,
            "actor": entry.actor,
            "action": entry.action,
            "target": entry.target if target is None else target,
            "reason": entry.reason,
            "peer": entry.peer,
            "request": entry.request,
            "detail": json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str),
        }
        row["mac"] = self._keys.mac(*_sealed_columns(row))
        return (Write(_INSERT, row, expect=1),)

    async def page(
        self,
        *,
        limit: int,
        before: tuple[int, int, int] | None = None,
        actor: str = "",
        action: str = "",
        target: str = "",
        since: int = 0,
        until: int = 0,
    ) -> list[AuditRow]:
        """Rows, newest first. `before`: (at, node, sequence) of the last row of the page before."""
        wanted: list[ColumnElement[bool]] = []
        for column, value in ((audit.c.actor, actor), (audit.c.target, target), (audit.c.action, action)):
            if value:
                wanted.append(column == value)
        if since:
            wanted.append(audit.c.at >= since)
        if until:
            wanted.append(audit.c.at < until)
        if before:
            at, node, sequence = before
            wanted.append(
                or_(
                    audit.c.at < at,
                    and_(audit.c.at == at, audit.c.node < node),
                    and_(audit.c.at == at, audit.c.node == node, audit.c.sequence < sequence),
                )
            )
        query: Select[Any] = select(audit).where(*wanted)
        query = query.order_by(audit.c.at.desc(), audit.c.node.desc(), audit.c.sequence.desc()).limit(limit)
        return [AuditRow(**row) for row in await self._store.fetch(query)]

    async def verify(self) -> Verification:
        """Read every row of every node and say where the chain breaks."""
        rows = days = broken = 0
        breaks: list[Break] = []
        heads: dict[str, str] = {}
        for node_row in await self._store.fetch(_NODES):
            node = int(node_row["node"])
            previous, day, sequence = "", -1, 0
            async for row in self._chain(node):
                rows += 1
                days += row["day"] != day
                expected = sequence + 1 if row["day"] == day else 1
                for what in self._faults(row, previous, expected):
                    broken += 1
                    if len(breaks) < BREAKS_KEPT:
                        breaks.append(Break(f"aud_{node}_{row['day']}_{row['sequence']}", what))
                previous, day, sequence = row["mac"], row["day"], row["sequence"]
            heads[str(node)] = previous
        return Verification(rows, days, tuple(breaks), broken, heads)

    def _faults(self, row: Mapping[str, Any], previous: str, expected: int) -> list[str]:
        """What does not fit about one row."""
        faults: list[str] = []
        if row["sequence"] != expected:
            faults.append(f"rows are missing: number {row['sequence']} follows where {expected} should")
        elif row["previous"] != previous:
            faults.append("it does not name the row before it")
        if not self._keys.made(row["mac"], *_sealed_columns(row)):
            faults.append("it was changed, or written without a key of the file")
        return faults

    async def _chain(self, node: int) -> AsyncIterator[Mapping[str, Any]]:
        day, sequence = -1, 0
        while rows := await self._store.fetch(_CHAIN, node=node, day=day, sequence=sequence):
            for row in rows:
                yield row
            day, sequence = rows[-1]["day"], rows[-1]["sequence"]


def _sealed_columns(row: Mapping[str, Any]) -> list[str]:
    return [str(row[column.name]) for column in audit.columns if column.name != "mac"]
