"""A store that forgets everything when the test ends, and fails when the test says so.

In charge of: the store's real engine (epochs, claims, group commit, fencing) over an SQLite database in memory, a
clock that tests step, and answers that a disk gives only in bad years. Not in charge of: what the engines on disk do
(`tests/store/`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, bindparam, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.schema import CreateIndex, CreateTable

from restante.smsc import flag_tables, link_tables
from restante.smsc import tables as smsc_tables
from restante.store import tables
from restante.store.engine import Engine
from restante.store.life import Clash, Step, Touched
from restante.store.plan import (
    DELETE_QUEUE,
    INSERT_BODY,
    INSERT_EVENT,
    INSERT_MESSAGE,
    INSERT_QUEUE,
    UPDATE_QUEUE,
    Plan,
)
from restante.store.settings import StoreSettings
from restante.store.statement import SQLITE, Compiled, Query, Sql
from restante.store.store import Answer, Change, StoreUnavailable, Work

START_MS = 1_790_000_000_000  # 21 September 2026, 13:33:20 UTC

#: What a box is to delivery: a row per message, with a unique key.
BOX = Table(
    "test_box",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("read", Integer, nullable=False),
)
PUT_IN_BOX = Sql("test: deposit", insert(BOX).values(id=bindparam("id"), read=0))
BOXED = Query("test: what lies in boxes", select(BOX.c.id, BOX.c.read).order_by(BOX.c.id))
CONCLUDE = Sql(
    "test: the first of handset and reader",
    BOX.update().where(BOX.c.id == bindparam("item"), BOX.c.read == 0).values(read=1),
)
EVENTS = Query("test: all events", select(tables.event).order_by(tables.event.c.at, tables.event.c.sequence))
QUEUE = Query("test: the queue", select(tables.queue).order_by(tables.queue.c.id))
MESSAGES = Query("test: all messages", select(tables.message).order_by(tables.message.c.id))
TEXTS = Query("test: all texts", select(tables.body).order_by(tables.body.c.message))
SILENT = Query(
    "test: silent recipients", select(smsc_tables.recipient).order_by(smsc_tables.recipient.c.number)
)


class SteppedClock:
    """Time moves when a test says so."""

    def __init__(self, now: int = START_MS) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now

    def measured(self, database_ms: int) -> None:
        pass


@cache
def _schema() -> tuple[str, ...]:
    found: list[str] = []
    for table in (
        tables.message,
        tables.body,
        tables.queue,
        tables.event,
        tables.node,
        tables.idempotency,
        smsc_tables.recipient,
        smsc_tables.sent_part,
        link_tables.remote_message,
        link_tables.remote_receipt,
        flag_tables.pending_flag,
        BOX,
    ):
        found.append(str(CreateTable(table).compile(dialect=SQLITE)))
        found += [str(CreateIndex(index).compile(dialect=SQLITE)) for index in table.indexes]
    return tuple(found)


def new_disk() -> sqlite3.Connection:
    """An empty database; several lives of a store may use it one after the other."""
    disk = sqlite3.connect(":memory:", isolation_level=None)
    for statement in _schema():
        disk.execute(statement)
    return disk


class MemoryStore(Engine):
    """See above."""

    dialect = SQLITE
    shared = False

    def __init__(self, disk: sqlite3.Connection | None = None, clock: SteppedClock | None = None) -> None:
        self.boot_ns = 0  # what liveness is judged by; a test moves it to make this life stale
        super().__init__(
            StoreSettings(node_name="test", heartbeat_s=60.0),
            clock=clock or SteppedClock(),
            tick=lambda: self.boot_ns,
        )
        self.disk = disk or new_disk()
        #: Asked about each change: what goes wrong with it. UNKNOWN is not stored, unless `stored_after_all`.
        self.trouble_with: Callable[[Change], Answer | None] = lambda change: None
        self.stored_after_all = False
        self.unavailable = False  # reads and claims fail
        self.holding = False  # commits wait for `let_go`
        self.committed: list[Change] = []
        self._held: list[list[Change]] = []

    async def _connect(self) -> None:
        pass

    async def _disconnect(self) -> None:
        pass

    def _default_name(self) -> str:
        return "test"

    async def _probe(self) -> str:
        return ""

    async def keep_house(self, now_ms: int, text_before: int, history_before: int) -> frozenset[str]:
        return frozenset()

    def _start(self, batch: list[Change]) -> None:
        if self.holding:
            self._held.append(batch)
            return
        answers = [self._commit(change) for change in batch]
        asyncio.get_running_loop().call_soon(self._finished, batch, answers, 0.0)

    def let_go(self) -> None:
        """Commit what was held."""
        self.holding = False
        held, self._held = self._held, []
        for batch in held:
            self._start(batch)

    @property
    def busy(self) -> bool:
        """True while something waits for its answer."""
        writer = self._writer
        return writer is not None and not writer._idle.is_set() and not self._held

    def _commit(self, change: Change) -> Answer:
        trouble = self.trouble_with(change)
        if trouble is not None and not (trouble is Answer.UNKNOWN and self.stored_after_all):
            return trouble
        self.disk.execute("BEGIN")
        try:
            answer = self._run(self._planner.plan((change,)))
        except sqlite3.IntegrityError:
            answer = Answer.CONFLICT
        self.disk.execute("COMMIT" if answer is Answer.STORED else "ROLLBACK")
        if answer is Answer.STORED:
            self.committed.append(change)
            return trouble or answer
        return answer

    def _run(self, plan: Plan) -> Answer:
        disk = self.disk
        for statement, rows in (
            (INSERT_MESSAGE, plan.messages),
            (INSERT_BODY, plan.bodies),
            (INSERT_QUEUE, plan.queue),
        ):
            disk.executemany(statement.compiled(SQLITE).text, rows)
        for statement, rows in ((UPDATE_QUEUE, plan.requeues), (DELETE_QUEUE, plan.releases)):
            for row in rows:
                if disk.execute(statement.compiled(SQLITE).text, row).rowcount != 1:
                    return Answer.FENCED
        disk.executemany(INSERT_EVENT.compiled(SQLITE).text, plan.events)
        for write in plan.writes:
            compiled, arguments = self._step(write)
            if disk.execute(compiled.text, arguments).rowcount != write.expect and write.expect is not None:
                return Answer.CONFLICT
        return Answer.STORED

    async def _read(self, compiled: Compiled, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        if self.unavailable:
            raise StoreUnavailable("the test says so")
        return self._rows(compiled, arguments)

    async def _read_plain(self, query: Query, params: Mapping[str, object]) -> list[Sequence[Any]]:
        compiled = query.compiled(SQLITE)
        return [tuple(row.values()) for row in await self._read(compiled, compiled.arguments(params))]

    def _rows(self, compiled: Compiled, arguments: Sequence[object]) -> list[dict[str, Any]]:
        cursor = self.disk.execute(compiled.text, tuple(arguments))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    async def _transact(self, steps: Sequence[Step]) -> list[Touched]:
        if self.unavailable:
            raise StoreUnavailable("the test says so")
        touched: list[Touched] = []
        self.disk.execute("BEGIN")
        try:
            for compiled, arguments in steps:
                cursor = self.disk.execute(compiled.text, arguments)
                names = [column[0] for column in cursor.description or ()]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []
                touched.append(Touched(len(rows) if names else cursor.rowcount, rows))
        except sqlite3.IntegrityError as error:
            self.disk.execute("ROLLBACK")
            raise Clash(str(error)) from error
        self.disk.execute("COMMIT")
        return touched

    async def claim(self, *, due_before: int, limit: int, recipient: str | None = None) -> list[Work]:
        """Look at every row each time: below which due time all were found is kept by the machine's clock, not ours."""
        self._floor_until = 0.0
        return await super().claim(due_before=due_before, limit=limit, recipient=recipient)

    # --- what tests ask

    def rows(self, query: Query) -> list[dict[str, Any]]:
        """The rows of a query without parameters, at once."""
        return self._rows(query.compiled(SQLITE), ())
