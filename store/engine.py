"""What both databases have in common: the store's contract on top of a few primitives.

In charge of: life (lease, heartbeat, fence), answers of cold paths, claims, health, bulk work in chunks. Not in charge
of: transactions and connections, which `sqlite.py` and `postgresql.py` add, nor collecting batches (`writer.py`).

Trouble. When the database refuses or is out of reach, the engine says why in `trouble`: health is then "not accepting",
so that nothing new comes in, while outcomes may still be put. Each heartbeat probes, and the first that succeeds ends
the trouble: the store recovers by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect

from ..message import Event, Message
from ..outlet import Write
from . import nodes, work
from .clock import Clock, DatabaseClock, boot_ns
from .failpoints import Failpoint, nothing
from .nodes import Life, LifeState
from .plan import Plan, Planner
from .settings import StoreSettings
from .statement import Compiled, Query, Sql, compile_once
from .store import Answer, Change, Health, Release, Requeue, StoreClosed, StoreRefused, StoreUnavailable, Work
from .writer import Writer

__all__ = ["Clash", "Engine", "Touched"]

log = logging.getLogger(__name__)

#: How long a chunk of bulk work may keep accepts waiting.
CHUNK_SECONDS = 0.02
#: Orphans are looked for this often, besides at start and after a node was found dead.
ORPHANS_EVERY_S = 30.0
#: Below the due time up to which a claim found everything, rows are looked for only this often: dead index entries
#: pile up there (notes/store.md 2).
FULL_CLAIM_EVERY_S = 60.0
FLOOR_MARGIN_MS = 5_000

Step = tuple[Compiled, tuple[object, ...]]


class Clash(Exception):
    """A statement met a unique key or another constraint."""


@dataclass(slots=True)
class Touched:
    """What one statement did."""

    count: int
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Engine(ABC):
    """A store, but for its database."""

    dialect: Dialect
    #: Whether other processes may share the database; if not, every other life is over.
    shared: bool
    #: Whether retention drops whole days.
    drops_days: bool

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Clock | None = None,
        failpoint: Failpoint = nothing,
        tick: Callable[[], int] = boot_ns,
    ) -> None:
        """`tick` counts nanoseconds also while the machine sleeps; liveness is judged by it."""
        self.settings = settings
        self.clock: Clock = clock if clock is not None else DatabaseClock()
        self.epoch = 0
        self.node = 0
        self.trouble = ""  #: why nothing new is accepted, for people
        self._tick = tick
        self._failpoint = failpoint
        self._planner = Planner(settings.batch_bytes)
        self._life: Life | None = None
        self._writer: Writer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._orphans_at = 0.0
        self._floor = 0
        self._floor_until = 0.0
        self._mark = 0
        self._life_hooks: list[Callable[[LifeState], None]] = []
        self._commit_hooks: list[Callable[[], None]] = []
        self._claim_due = work.claim_statement(recipient=False, skip_locked=self.shared).compiled(
            self.dialect
        )
        self._claim_recipient = work.claim_statement(recipient=True, skip_locked=self.shared).compiled(
            self.dialect
        )

    # ------------------------------------------------------------------------------- what a database must add

    @abstractmethod
    async def _connect(self) -> None:
        """Open, verify schema and durability. Raises StoreRefused."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close everything that `_connect` opened, also after it failed half-way."""

    @abstractmethod
    def _start(self, batch: list[Change]) -> None:
        """Commit a batch, then tell the writer on the loop."""

    @abstractmethod
    async def _read(self, compiled: Compiled, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        """Run a query. Raises StoreUnavailable."""

    @abstractmethod
    async def _transact(self, steps: Sequence[Step]) -> list[Touched]:
        """Run statements in a transaction of their own. Raises Clash or StoreUnavailable."""

    @abstractmethod
    async def _probe(self) -> str:
        """Say why nothing new should be accepted; "" if nothing speaks against it."""

    @abstractmethod
    async def keep_house(self, now_ms: int, text_before: int, history_before: int) -> None:
        """What only this database can do against age: days, vacuum. 0 keeps everything; see `sweep.py`."""

    # -------------------------------------------------------------------------------------------- life

    async def open(self) -> None:
        """See `Store.open`."""
        try:
            await self._connect()
            await self._begin_life()
            self._writer = Writer(self._start, self.settings.batch_changes)
            for hook in self._commit_hooks:
                self._writer.after_commit(hook)
            await self.beat()  # whatever speaks against accepting is known before the first message
        except BaseException:
            self._life = self._writer = None
            await self._disconnect()
            raise
        self._tasks.append(asyncio.create_task(self._live(), name="store heartbeat"))

    async def close(self) -> None:
        """See `Store.close`."""
        writer = self._writer
        if writer is not None:
            writer.close("the store is closed")
            await writer.drained()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        life = self._life
        if life is not None and life.state is not LifeState.FENCED and writer is not None:
            try:
                await self.transact(
                    nodes.LEAVE,
                    row_number=life.number,
                    row_epoch=life.epoch,
                    high_water=life.final_high_water(),
                )
            except (StoreUnavailable, Clash):
                log.warning("the node's lease could not be given back; it ends when its heartbeat is too old")
        self._life = self._writer = None
        await self._disconnect()

    async def _begin_life(self) -> None:
        """Lease a number with a new epoch."""
        settings = self.settings
        name = settings.node_name or self._default_name()
        dead_after_ms = int(settings.dead_after_s * 1000)
        for _attempt in range(20):
            rows = await self.read(nodes.NODES)
            facts = (await self.read(nodes.NOW))[0]
            self.clock.measured(facts["now_ms"])
            try:
                seat = nodes.choose_seat(rows, name, dead_after_ms)
            except LookupError as full:
                raise StoreRefused(str(full)) from full
            # A message above the mark would mean that the mark was lost, as in a database copied by hand.
            above = max(seat.high_water, facts["highest"] or 0)
            seat = nodes.Seat(seat.number, seat.epoch, seat.replaces, above)
            life = Life(
                seat,
                stale_after_ns=int(settings.dead_after_s / 2 * 1e9),
                tick=self._tick,
                now_ms=self.clock.now_ms,
            )
            if await self._sit_down(life, seat, name):
                life.on_life(self._tell_life)
                self._life, self.node, self.epoch = life, life.number, life.epoch
                self._planner.begin(self.node)
                if not self.shared:
                    await self.transact(nodes.ALONE, number=self.node)
                return
        raise StoreRefused("no node number could be leased: too many nodes start at once; try again")

    async def _sit_down(self, life: Life, seat: nodes.Seat, name: str) -> bool:
        high_water = life.wanted_high_water()
        values: dict[str, object] = {
            "epoch": seat.epoch,
            "name": name,
            "address": self.settings.node_address,
            "high_water": high_water,
        }
        try:
            if seat.replaces:
                values |= {"row_number": seat.number, "row_epoch": seat.replaces}
                touched = await self.transact(nodes.SIT_DOWN, **values)
            else:
                touched = await self.transact(nodes.NEW_SEAT, number=seat.number, **values)
        except Clash:
            return False
        life.reserved(high_water)
        return touched.count == 1

    @abstractmethod
    def _default_name(self) -> str:
        """The node's name when the settings give none."""

    async def _live(self) -> None:
        """Beat, bury the dead, end trouble."""
        reaped_at = time.monotonic()
        while True:
            await asyncio.sleep(self.settings.heartbeat_s)
            try:
                await self.beat()
                if self.shared and time.monotonic() - reaped_at > self.settings.dead_after_s / 2:
                    reaped_at = time.monotonic()
                    await self.reap()
            except (StoreUnavailable, Clash) as reason:
                self.trouble = self.trouble or str(reason)
                log.warning("a heartbeat failed: %s", reason)
            except Exception:
                log.exception("a heartbeat failed")

    async def beat(self) -> None:
        """One heartbeat: prove our epoch, measure the time, reserve ids, probe."""
        life = self._life
        assert life is not None
        sent_at = self._tick()
        if self.shared or life.wants_ids or self.trouble:
            high_water = life.wanted_high_water()
            touched = await self.transact(
                nodes.BEAT, row_number=life.number, row_epoch=life.epoch, high_water=high_water
            )
            rows = touched.rows
            if rows:
                life.reserved(high_water)
        else:
            rows = await self.read(nodes.LOOK, number=life.number, epoch=life.epoch)
        if not rows:
            life.fenced()
            if self._writer is not None:
                self._writer.close("another life of this node has begun")
            return
        self.clock.measured(rows[0]["heartbeat_at"])
        life.beaten(sent_at)
        trouble = await self._probe()
        if trouble != self.trouble:
            if trouble:
                log.error("accepts stop: %s", trouble)
            else:
                log.warning("accepts go on; what was wrong: %s", self.trouble)
            self.trouble = trouble

    async def reap(self) -> list[int]:
        """End the lives of nodes whose heartbeat is too old; their epochs."""
        dead_after_ms = int(self.settings.dead_after_s * 1000)
        rows = await self.read(nodes.NODES)
        buried: list[int] = []
        epoch = max((row["epoch"] for row in rows), default=0)
        for row in rows:
            late = row["heartbeat_at"] < row["now_ms"] - dead_after_ms
            if row["released"] or not late or row["number"] == self.node:
                continue
            epoch += 1
            try:
                touched = await self.transact(
                    nodes.BURY,
                    row_number=row["number"],
                    row_epoch=row["epoch"],
                    epoch=epoch,
                    dead_after_ms=dead_after_ms,
                )
            except Clash:  # another node took that epoch
                continue
            if touched.count:
                log.warning(
                    "node %d (%s) is dead: its epoch %d ends", row["number"], row["name"], row["epoch"]
                )
                buried.append(row["epoch"])
        if buried:
            self._orphans_at = 0.0
        return buried

    def alive(self) -> bool:
        """See `Store.alive`."""
        return self._life is not None and self._life.state is LifeState.LIVE

    def on_life(self, hook: Callable[[LifeState], None]) -> None:
        """See `Store.on_life`."""
        self._life_hooks.append(hook)

    def _tell_life(self, state: LifeState) -> None:
        for hook in self._life_hooks:
            hook(state)

    def next_id(self) -> int:
        """See `Store.next_id`."""
        if self._life is None:
            raise StoreClosed("the store is not open")
        return self._life.next_id()

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

    async def transact(self, statement: Sql, /, **params: object) -> Touched:
        """Run one statement in a transaction of its own."""
        compiled = statement.compiled(self.dialect)
        return (await self._transact([(compiled, compiled.arguments(params))]))[0]

    async def read(self, query: Query, /, **params: object) -> list[dict[str, Any]]:
        """Run a prepared query."""
        compiled = query.compiled(self.dialect)
        return await self._read(compiled, compiled.arguments(params))

    async def fetch(self, query: Query | Executable, /, **params: object) -> list[Mapping[str, Any]]:
        """See `Store.fetch`."""
        compiled = (
            query.compiled(self.dialect) if isinstance(query, Sql) else compile_once(query, self.dialect)
        )
        return list(await self._read(compiled, compiled.arguments(params)))

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
            took = time.perf_counter() - began
            total += touched[0].count
            if touched[0].count < limit:
                return total
            if took < CHUNK_SECONDS / 2:
                limit = min(limit * 2, 5000)
            elif took > CHUNK_SECONDS:
                limit = max(limit // 2, 10)

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
        freed = await self._chunks(work.ORPHANS.compiled(self.dialect), {})
        self._orphans_at = now + ORPHANS_EVERY_S
        if freed:
            log.warning("%d queue rows of earlier lives are taken up", freed)
            self._floor = 0

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
