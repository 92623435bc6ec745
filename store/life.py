"""A store's life on its database: the primitives a database adds, lease, heartbeat, fence.

In charge of: opening and closing, the node's lease and epoch, heartbeats, burying dead nodes, ids. Not in charge of:
what the rows of `node` mean (`nodes.py`), changes and claims (`engine.py`), or connections (`sqlite.py`,
`postgresql.py`).

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

from sqlalchemy.engine import Dialect

from .. import __version__
from . import nodes
from .clock import Clock, DatabaseClock, boot_ns
from .failpoints import Failpoint, nothing
from .nodes import Life, LifeState
from .plan import Planner
from .settings import StoreSettings
from .statement import Compiled, Query, Sql
from .store import Change, StoreClosed, StoreRefused, StoreUnavailable
from .writer import Writer

__all__ = ["Clash", "Living", "Step", "Touched"]

log = logging.getLogger(__name__)

Step = tuple[Compiled, tuple[object, ...]]


class Clash(Exception):
    """A statement met a unique key or another constraint."""


@dataclass(slots=True)
class Touched:
    """What one statement did."""

    count: int
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    #: How long its transaction kept the writer from others; 0: nobody waits for it, or nobody measured.
    seconds: float = 0.0


class Living(ABC):
    """What lives on a database and has not yet anything to do there."""

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
        self._orphans_at = 0.0  # monotonic time at which rows of ended lives are looked for again
        self._life_hooks: list[Callable[[LifeState], None]] = []
        self._commit_hooks: list[Callable[[], None]] = []
        self._wanted = ""
        #: Called with what an operator asks of this node, when that changes.
        self.on_wanted: list[Callable[[str], None]] = []

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
    async def _read_plain(self, query: Query, params: Mapping[str, object]) -> list[Sequence[Any]]:
        """See `Store.fetch_plain`. Raises StoreUnavailable."""

    @abstractmethod
    async def _transact(self, steps: Sequence[Step]) -> list[Touched]:
        """Run statements in a transaction of their own. Raises Clash or StoreUnavailable."""

    @abstractmethod
    async def _probe(self) -> str:
        """Say why nothing new should be accepted; "" if nothing speaks against it."""

    @abstractmethod
    async def keep_house(self, now_ms: int, text_before: int, history_before: int) -> frozenset[str]:
        """What only this database can do against age: days, vacuum. 0 keeps everything; see `sweep.py`.

        Answers the tables of which single rows may now be deleted: not those whose old days could not be dropped yet,
        and none where another node keeps house.
        """

    async def transact(self, statement: Sql, /, **params: object) -> Touched:
        """Run one statement in a transaction of its own."""
        compiled = statement.compiled(self.dialect)
        return (await self._transact([(compiled, compiled.arguments(params))]))[0]

    async def read(self, query: Query, /, **params: object) -> list[dict[str, Any]]:
        """Run a prepared query."""
        compiled = query.compiled(self.dialect)
        return await self._read(compiled, compiled.arguments(params))

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
            "version": __version__,
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
                if self.shared and time.monotonic() - reaped_at > self.settings.dead_after_s / 10:
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
        self._want(rows[0]["wanted"])
        trouble = await self._probe()
        if trouble != self.trouble:
            if trouble:
                log.error("accepts stop: %s", trouble)
            else:
                log.warning("accepts go on; what was wrong: %s", self.trouble)
            self.trouble = trouble

    def _want(self, wanted: str) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            for hook in self.on_wanted:
                hook(wanted)

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
