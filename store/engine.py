"""What both databases have in common: the store's contract on top of a few primitives.

In charge of: changes, claims, reads, bulk work in chunks, health. Not in charge of: lease, heartbeat and fence
(`life.py`), collecting batches (`writer.py`), or transactions and connections (`sqlite.py`, `postgresql.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable

from ..message import Event, Message
from ..outlet import Write
from . import nodes, work
from .clock import Clock, boot_ns
from .failpoints import Failpoint, nothing
from .life import Clash, Living, Step, Touched
from .nodes import LifeState
from .plan import Plan
from .settings import StoreSettings
from .statement import Compiled, Query, Sql, compile_once
from .store import Answer, Change, Health, Release, Requeue, StoreClosed, Work

__all__ = ["Clash", "Engine", "Step", "Touched"]

log = logging.getLogger(__name__)

#: How long a chunk of bulk work may keep accepts waiting.
CHUNK_SECONDS = 0.02
#: Fewest rows of a chunk: below this a commit's fsync is what takes the time, and smaller chunks only add more of them.
LEAST_CHUNK = 100
#: Orphans are looked for this often, besides at start and after a node was found dead.
ORPHANS_EVERY_S = 30.0
#: The same after some were found: others may still be held by the last transaction of their owner, or have been written
#: for it by a node that did not know yet.
ORPHANS_AGAIN_S = 1.0
#: Below the due time up to which a claim found everything, rows are looked for only this often: dead index entries
#: pile up there (notes/store.md 2).
FULL_CLAIM_EVERY_S = 60.0
FLOOR_MARGIN_MS = 5_000


class Engine(Living):
    """A store, but for its database."""

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Clock | None = None,
        failpoint: Failpoint = nothing,
        tick: Callable[[], int] = boot_ns,
    ) -> None:
        """See `Living`."""
        super().__init__(settings, clock=clock, failpoint=failpoint, tick=tick)
        self._floor = 0
        self._floor_until = 0.0
        self._mark = 0
        due, recipient = (
            work.claim_statement(recipient=recipient, skip_locked=self.shared) for recipient in (False, True)
        )
        self._orphans = work.orphans_statement(skip_locked=self.shared).compiled(self.dialect)
        self._claim_due = due.compiled(self.dialect)
        self._claim_recipient = recipient.compiled(self.dialect)

    # ------------------------------------------------------------------------------------------ changes

    def put(self, change: Change) -> None:
        """See `Store.put`."""
        if self._writer is None:
            raise StoreClosed("the store is not open")
        self._writer.put(change)

    def after_commit(self, hook: Callable[[], None]) -> None:
        """See `Store.after_commit`."""
        self._commit_hooks.append(hook)
        if self._writer is not None:
            self._writer.after_commit(hook)

    async def apply(
        self,
        *,
        messages: Sequence[Message] = (),
        release: Release | None = None,
        requeue: Requeue | None = None,
        events: Sequence[Event] = (),
        writes: Sequence[Write] = (),
        reasons: Sequence[str] = (),
        due_at: Sequence[int] = (),
    ) -> Answer:
        """See `Store.apply`."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self.put(
            Change(
                done=done,
                messages=tuple(messages),
                reasons=tuple(reasons),
                due_at=tuple(due_at),
                release=release,
                requeue=requeue,
                events=tuple(events),
                writes=tuple(writes),
            )
        )
        return await answered

    def _finished(self, batch: list[Change], answers: list[Answer] | None, seconds: float) -> None:
        """For the engines: a batch is answered. On the loop."""
        if self._writer is not None:
            self._writer.finished(batch, answers, seconds)

    def _step(self, write: Write) -> Step:
        """A room's extra statement, ready for the driver."""
        statement = write.statement
        assert isinstance(statement, Sql)
        compiled = statement.compiled(self.dialect)
        return compiled, compiled.arguments(write.params)

    def _marker(self, plan: Plan) -> Step | None:
        """For a batch that inserts nothing to recognise it by: number it."""
        if plan.recognisable:
            return None
        self._mark += 1
        plan.mark = self._mark
        compiled = nodes.SET_MARK.compiled(self.dialect)
        params = {"row_number": self.node, "row_epoch": self.epoch, "mark": self._mark}
        return compiled, compiled.arguments(params)

    def _recognise(self, plan: Plan) -> Step:
        """The query that finds a row if this plan was committed."""
        if plan.messages:
            query, params = nodes.FIND_MESSAGE, {"id": plan.messages[0][0]}
        elif plan.events:
            row = plan.events[0]
            query, params = (
                nodes.FIND_EVENT,
                {"message": row[0], "at": row[1], "sequence": row[-1], "node": row[-3]},
            )
        else:
            query, params = nodes.FIND_MARK, {"number": self.node, "epoch": self.epoch, "mark": plan.mark}
        compiled = query.compiled(self.dialect)
        return compiled, compiled.arguments(params)

    # --------------------------------------------------------------------------------------- cold paths

    async def fetch(self, query: Query | Executable, /, **params: object) -> list[Mapping[str, Any]]:
        """See `Store.fetch`."""
        compiled = (
            query.compiled(self.dialect) if isinstance(query, Sql) else compile_once(query, self.dialect)
        )
        return list(await self._read(compiled, compiled.arguments(params)))

    async def fetch_plain(self, query: Query, /, **params: object) -> list[Sequence[Any]]:
        """See `Store.fetch_plain`."""
        return await self._read_plain(query, params)

    async def bulk(self, writes: Sequence[Write]) -> list[int]:
        """See `Store.bulk`."""
        counts: list[int] = []
        for write in writes:
            statement = write.statement
            assert isinstance(statement, Sql)
            compiled = statement.compiled(self.dialect)
            if "limit" in compiled.names and "limit" not in write.params:
                counts.append(await self._chunks(compiled, write.params))
            else:
                counts.append((await self._transact([(compiled, compiled.arguments(write.params))]))[0].count)
        return counts

    async def _chunks(self, compiled: Compiled, params: Mapping[str, object]) -> int:
        """Repeat a limited statement until nothing is left, in chunks of about CHUNK_SECONDS."""
        total, limit = 0, 100
        while True:
            await self._quiet()
            began = time.perf_counter()
            touched = await self._transact([(compiled, compiled.arguments({**params, "limit": limit}))])
            # Not the time that the chunk itself waited for accepts: chunks would shrink until none keeps up with them.
            took = touched[0].seconds or time.perf_counter() - began
            total += touched[0].count
            if touched[0].count < limit:
                return total
            if took < CHUNK_SECONDS / 2:
                limit = min(limit * 2, 5000)
            elif took > CHUNK_SECONDS:
                limit = max(limit // 2, LEAST_CHUNK)

    async def _quiet(self) -> None:
        """Let accepts that wait go first."""
        writer = self._writer
        for _turn in range(50):
            if writer is None or not writer.pending:
                return
            await asyncio.sleep(0.001)

    async def load(self, ids: Sequence[int]) -> list[Message]:
        """See `Store.load`."""
        found = await self._load(ids)
        return [work.message_of(*found[id]) for id in ids if id in found]

    async def _load(self, ids: Sequence[int]) -> dict[int, tuple[dict[str, Any], bytes]]:
        if not ids:
            return {}
        span: dict[str, object] = {"ids": list(ids), "low": min(ids), "high": max(ids)}
        texts: dict[int, bytes] = {}
        for row in await self.read(work.BODIES, **span):
            texts[row["message"]] = row["payload"]
        rows = await self.read(work.MESSAGES, **span)
        return {row["id"]: (row, texts.get(row["id"], b"")) for row in rows}

    async def claim(self, *, due_before: int, limit: int, recipient: str | None = None) -> list[Work]:
        """See `Store.claim`."""
        await self._adopt()
        now = time.monotonic()
        params: dict[str, object] = {
            "due_before": due_before,
            "now": self.clock.now_ms(),
            "limit": limit,
            "epoch": self.epoch,
        }
        if recipient is None:
            compiled = self._claim_due
            params["floor"] = self._floor if now < self._floor_until else 0
        else:
            compiled = self._claim_recipient
            params["recipient"] = recipient
        rows = (await self._transact([(compiled, compiled.arguments(params))]))[0].rows
        if recipient is None and len(rows) < limit:
            if now >= self._floor_until:
                self._floor_until = now + FULL_CLAIM_EVERY_S
            self._floor = min(due_before, self.clock.now_ms()) - FLOOR_MARGIN_MS
        rows.sort(key=_by_due if recipient is None else _by_priority)
        if rows:
            self._failpoint("after-claim")
        return await self._works(rows)

    async def _works(self, rows: list[dict[str, Any]]) -> list[Work]:
        found = await self._load([row["id"] for row in rows])
        works: list[Work] = []
        for row in rows:
            if row["id"] not in found:
                log.error("queue row %d has no message; it stays claimed by epoch %d", row["id"], self.epoch)
                continue
            message = work.message_of(*found[row["id"]], owner=self.epoch)
            works.append(Work(message, row["due_at"], row["attempts"], row["reason"]))
        return works

    async def _adopt(self) -> None:
        """Give back the rows of lives that are over, if it is time to look for them."""
        now = time.monotonic()
        if now < self._orphans_at:
            return
        self._failpoint("before-take-over")
        freed = await self._chunks(self._orphans, {"now": self.clock.now_ms()})
        self._orphans_at = now + (ORPHANS_AGAIN_S if freed else ORPHANS_EVERY_S)
        if freed:
            log.warning("%d queue rows of earlier lives are taken up", freed)
            self._floor = 0
            self._failpoint("after-take-over")

    def adopt_soon(self) -> None:
        """A life ended: the next claim looks for its rows."""
        self._orphans_at = 0.0

    async def give_back(self) -> int:
        """Before the end: let other nodes have what this life has not done; how many rows."""
        return await self._chunks(
            work.GIVE_BACK.compiled(self.dialect), {"epoch": self.epoch, "now": self.clock.now_ms()}
        )

    async def next_due(self) -> int | None:
        """See `Store.next_due`."""
        return (await self.read(work.NEXT_DUE))[0]["due_at"]

    # ------------------------------------------------------------------------------------------- health

    def health(self) -> Health:
        """See `Store.health`."""
        writer, life = self._writer, self._life
        if writer is None or life is None:
            return Health(False, "the store is not open")
        pending, commit_ms = writer.pending, writer.commit_ms
        if self.trouble:
            why = self.trouble
        elif writer.closed:
            why = writer.closed
        elif life.state is LifeState.STALE:
            why = "the heartbeat of this node is late: its database is slow or out of reach"
        elif pending >= self.settings.pending_changes:
            why = f"{pending} changes wait for the disk"
        else:
            return Health(True, "", pending, commit_ms)
        return Health(False, why, pending, commit_ms)


def _by_due(row: dict[str, Any]) -> tuple[int, int]:
    return row["due_at"], row["id"]


def _by_priority(row: dict[str, Any]) -> tuple[int, int]:
    return -row["priority"], row["id"]
