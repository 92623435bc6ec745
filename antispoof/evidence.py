"""Evidence: why somebody was accused, in a chain that shows when it was changed.

In charge of: appending evidence behind the message path, the chain and its verification, taking up after a crash what
the chain lacks, and finding rows again. Not in charge of: what a row says (`check.py`), reviews (`reviews.py`).

How it is written. The verdict's facts ride as an event in the transaction that stores the message, so that they are
as durable as the message itself. The chain is written behind it, in batches, by one task of each node: each row names
the row before it, so rows are written in order, and only a commit moves the head. A crash may cut off the last rows; at
the next start they are made again from the events (`recovered` says so). If the database is away the rows wait, at most
`MOST_WAITING`; what is more than that is counted as lost from the chain, and still stands in the events.

How the chain works is as in `access/audit.py`: one chain a node and day, each row with the MAC of the row before it,
also across days; the key is derived from the master key and is not in the database. Retention removes whole days from
the beginning, so the first row that is left vouches for itself only. Source: behaviour.md 11.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from ..access.key_ring import KeyRing
from ..message import id_at
from ..metrics import counter, gauge
from ..outlet import Write
from ..store.store import Answer, Store, StoreClosed
from . import tables

__all__ = ["CHECK", "Break", "EvidenceLog", "Record", "Verification", "evidence_id", "place_of"]

log = structlog.get_logger(__name__)

_written = counter("antispoof", "evidence_rows", "Rows of evidence written")
_lost = counter("antispoof", "evidence_lost", "Rows of evidence that found no room in memory")
_waiting = gauge("antispoof", "evidence_waiting", "Rows of evidence that wait for the database")

CHECK = "anti-spoof"  #: name of the check, in events
DAY_MS = 86_400_000
MOST_WAITING = 20_000
BATCH = 200
MOST_RECOVERED = 20_000
LOOK_BACK_MS = (
    3_600_000  #: messages older than the newest evidence by more than this are not looked at after a crash
)
RETRY_S = 1.0
CHUNK = 1000
BREAKS_KEPT = 100

#: Facts that have columns of their own.
_COLUMNS = ("at", "link", "role", "sender", "trusted", "verdict", "reason", "action", "enforced")


def evidence_id(node: int, day: int, sequence: int) -> str:
    """As written outside."""
    return f"spv_{node}_{day}_{sequence}"


def place_of(id: str) -> tuple[int, int, int] | None:
    """Node, day and number of an id; None if it is none."""
    prefix, *rest = id.split("_")
    if (
        prefix != "spv"
        or len(rest) != 3
        or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in rest)
    ):
        return None
    node, day, sequence = map(int, rest)
    return node, day, sequence


@dataclass(frozen=True, slots=True)
class Record:
    """One row of evidence, read back."""

    node: int
    day: int
    sequence: int
    at: int
    message: int
    link: str
    role: str
    sender: str
    trusted: str
    verdict: str
    reason: str
    action: str
    enforced: bool
    facts: Mapping[str, Any]

    @property
    def id(self) -> str:
        """As written outside."""
        return evidence_id(self.node, self.day, self.sequence)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Record:
        """Of a row of the table."""
        values: dict[str, Any] = {name: row[name] for name in row if name not in ("previous", "mac")}
        values["enforced"], values["facts"] = bool(row["enforced"]), json.loads(row["facts"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain does not hold."""

    row: str
    what: str


@dataclass(slots=True)
class Verification:
    """What verifying found."""

    rows: int = 0
    broken: int = 0
    breaks: list[Break] = field(default_factory=list[Break])  #: the first hundred
    heads: dict[str, str] = field(default_factory=dict[str, str])  #: node -> MAC of its newest row

    @property
    def holds(self) -> bool:
        """True if nobody has changed anything."""
        return not self.broken


class EvidenceLog:
    """The chain of one node. Lives on the event loop."""

    def __init__(self, store: Store, ring: KeyRing) -> None:
        self._store = store
        self._keys = ring.keys("spoof evidence")
        self._queue: deque[dict[str, Any]] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._head: tuple[int, int, str] | None = None  # day, number, MAC; None: not read, or in doubt
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------------ life

    async def open(self) -> None:
        """Take up what a crash cut off, then write what comes."""
        await self._read_head()
        await self._recover()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="spoof evidence")

    async def close(self) -> None:
        """Write what waits, as far as the database lets us within a moment."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(2.0):
                await self._idle.wait()
        except TimeoutError:
            log.warning("spoof.evidence-left", rows=len(self._queue))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _recover(self) -> None:
        heads = await self._store.fetch(tables.HEAD, node=self._store.node)
        newest = heads[0]["at"] if heads else self._store.clock.now_ms()
        rows = await self._store.fetch(
            tables.IN_EVENTS,
            first=id_at(max(0, newest - LOOK_BACK_MS)),
            node=self._store.node,
            like=f'%"check":"{CHECK}"%',
            limit=MOST_RECOVERED,
        )
        ids = [int(row["message"]) for row in rows]
        known = (
            {int(row["message"]) for row in await self._store.fetch(tables.KNOWN, ids=ids)}
            if ids
            else set[int]()
        )
        for row in rows:
            if row["message"] not in known:
                facts = json.loads(row["detail"])["evidence"]
                self.append({**facts, "message": int(row["message"]), "recovered": True})
        if self._queue:
            log.warning("spoof.evidence-recovered", rows=len(self._queue))

    # ------------------------------------------------------------------------------------------------ writing

    def append(self, facts: Mapping[str, Any]) -> None:
        """Write one row soon. `facts` has at least what has a column, and "message"."""
        if len(self._queue) >= MOST_WAITING:
            _lost.inc()
            return
        self._queue.append(dict(facts))
        self._idle.clear()
        self._more.set()

    async def drained(self) -> None:
        """Until everything is written."""
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            _waiting.set(len(self._queue))
            batch = [self._queue[index] for index in range(min(BATCH, len(self._queue)))]
            try:
                written = await self._write(batch)
            except StoreClosed:
                return
            except Exception as error:  # the database may come back
                log.warning("spoof.evidence-waits", error=type(error).__name__)
                written = False
            if not written:
                self._head = None
                await asyncio.sleep(RETRY_S)
                continue
            for _ in batch:
                self._queue.popleft()
            _written.inc(len(batch))
            if not self._queue:
                self._more.clear()
                self._idle.set()
                _waiting.set(0)

    async def _read_head(self) -> tuple[int, int, str]:
        rows = await self._store.fetch(tables.HEAD, node=self._store.node)
        self._head = (rows[0]["day"], rows[0]["sequence"], rows[0]["mac"]) if rows else (0, 0, "")
        return self._head

    async def _write(self, batch: Sequence[Mapping[str, Any]]) -> bool:
        doubt = self._head is None
        day, sequence, head = self._head or await self._read_head()
        if doubt:  # a commit whose end nobody knew may have been one
            batch = await self._not_written(batch)
        writes: list[Write] = []
        today = max(self._store.clock.now_ms() // DAY_MS, day)
        for facts in batch:
            sequence = sequence + 1 if today == day else 1
            day = today
            row = self._row(facts, day, sequence, head)
            head = row["mac"]
            writes.append(Write(tables.INSERT_VERDICT, row, expect=1))
        if writes and await self._store.apply(writes=writes) is not Answer.STORED:
            return False
        self._head = (day, sequence, head)
        return True

    async def _not_written(self, batch: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        ids = [facts["message"] for facts in batch if facts["message"]]
        known = (
            {row["message"] for row in await self._store.fetch(tables.KNOWN, ids=ids)} if ids else set[int]()
        )
        return [facts for facts in batch if facts["message"] not in known]

    def _row(self, facts: Mapping[str, Any], day: int, sequence: int, previous: str) -> dict[str, Any]:
        rest = {name: value for name, value in facts.items() if name not in _COLUMNS and name != "message"}
        row: dict[str, Any] = {
            "node": self._store.node,
            "day": day,
            "sequence": sequence,
            "message": facts["message"],
            **{name: facts[name] for name in _COLUMNS},
            "enforced": int(facts["enforced"]),
            "facts": json.dumps(rest, sort_keys=True, separators=(",", ":"), default=str),
            "previous": previous,
        }
        row["mac"] = self._keys.mac(*_sealed_columns(row))
        return row

    # ------------------------------------------------------------------------------------------------ reading

    async def verify(self) -> Verification:
        """Read every row of every node and say where the chain breaks."""
        found = Verification()
        for node_row in await self._store.fetch(tables.NODES):
            node = int(node_row["node"])
            before: Mapping[str, Any] | None = None
            async for row in self._chain(node):
                found.rows += 1
                for what in self._faults(row, before):
                    found.broken += 1
                    if len(found.breaks) < BREAKS_KEPT:
                        found.breaks.append(Break(evidence_id(node, row["day"], row["sequence"]), what))
                before = row
            found.heads[str(node)] = before["mac"] if before is not None else ""
        return found

    def _faults(self, row: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
        faults: list[str] = []
        same_day = before is not None and row["day"] == before["day"]
        expected = before["sequence"] + 1 if same_day and before is not None else 1
        if row["sequence"] != expected:
            faults.append(f"rows are missing: number {row['sequence']} follows where {expected} should")
        elif before is not None and row["previous"] != before["mac"]:
            faults.append("it does not name the row before it")
        if not self._keys.made(row["mac"], *_sealed_columns(row)):
            faults.append("it was changed, or written without a key of the file")
        return faults

    async def _chain(self, node: int) -> AsyncIterator[Mapping[str, Any]]:
        day, sequence = -1, 0
        while rows := await self._store.fetch(
            tables.CHAIN, node=node, day=day, sequence=sequence, limit=CHUNK
        ):
            for row in rows:
                yield row
            day, sequence = rows[-1]["day"], rows[-1]["sequence"]


def _sealed_columns(row: Mapping[str, Any]) -> list[str]:
    return [str(row[column.name]) for column in tables.spoof_verdict.columns if column.name != "mac"]
