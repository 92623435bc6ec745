"""The store on PostgreSQL: one writing connection per node, pools for the rest.

In charge of: connections, transactions of batches, what is known after a connection broke, and verifying that the
server keeps its promise. Not in charge of: what is common to both databases (`engine.py`).

Connections. One connection commits batches, one at a time. A small pool takes claims, heartbeats and bulk work; its
plan settings keep claims on the due index (notes/store.md 2). Another pool reads. Session settings carry the plan
settings and timeouts, so a pooler in transaction mode must not stand between.

Failure. A connection lost before COMMIT was sent means that nothing is stored: the batch is run again on a new
connection. Lost after COMMIT was sent, the outcome is unknown: a new connection ends the old session, waits until it
is gone, and looks for a row that only this batch inserted. If that takes longer than `unknown_after_s`, the answer is
UNKNOWN and nobody is told anything.

Sources: behaviour.md 10; notes/store.md 1 to 3; PostgreSQL 15 §30.5, §34 (transaction status).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from . import migrate, partitions, plan
from .engine import Engine
from .life import Clash, Step, Touched
from .plan import Plan
from .server import CONNECT_S, Connection, Pool, connect, create_pool
from .statement import POSTGRESQL, Compiled, Query
from .store import Answer, Change, StoreRefused, StoreUnavailable

__all__ = ["PostgresqlStore"]

log = logging.getLogger(__name__)

#: Rows from which COPY is cheaper than an INSERT for each (bench/store.py).
COPY_FROM = 20
#: Seconds between attempts to connect: the first and the longest.
BACKOFF_S = (0.05, 2.0)
#: Milliseconds after which the server itself ends a statement that a node left behind.
STATEMENT_MS = 60_000

#: Any number for the advisory lock of housekeeping.
HOUSE_LOCK = 0x486F757365

#: A claim must read the due index from its low end and stop; the planner likes to sort instead.
_PLAN_SETTINGS = {"enable_sort": "off", "enable_seqscan": "off", "enable_bitmapscan": "off"}
_SESSION_SETTINGS = {
    "application_name": "restante",
    # A sort that is turned off above and needed all the same looks dear enough to be compiled: 100 ms a statement.
    "jit": "off",
    "statement_timeout": str(STATEMENT_MS),
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class _Mismatch(Exception):
    """A statement touched another number of rows than it must; `answer` is what that means for its change."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.value)
        self.answer = answer


class _Lost(Exception):
    """The writing connection is gone.

    If COMMIT had been sent, `witness` is a plan that is stored exactly if the transaction was committed, and `answers`
    what is then to be answered.
    """

    def __init__(
        self, cause: BaseException, witness: Plan | None = None, answers: list[Answer] | None = None
    ) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.witness = witness
        self.answers = answers


class PostgresqlStore(Engine):
    """See `Store`."""

    dialect = POSTGRESQL
    shared = True
    drops_days = True

    _writing: Connection | None = None
    _work: Pool | None = None
    _reading: Pool | None = None
    _task: asyncio.Task[None] | None = None
    _session = ""  #: application_name of the writing connection: unique, so that it can be ended by name
    _sessions = 0
    _full = False

    # ----------------------------------------------------------------------------------- open and close

    async def _connect(self) -> None:
        url = self.settings.url
        await asyncio.to_thread(migrate.verify, url)
        self._batches: asyncio.Queue[list[Change]] = asyncio.Queue()
        self._connecting = asyncio.Lock()
        try:
            self._work = await create_pool(url, 3, {**self._session_settings(), **_PLAN_SETTINGS})
            self._reading = await create_pool(
                url,
                self.settings.readers,
                {**self._session_settings(), "default_transaction_read_only": "on"},
            )
            connection = await self._writer_connection()
            await self._verify_promise(connection)
            async with self._work.acquire() as borrowed:
                # The first day must not begin in the default partition. The server's clock is good enough here.
                now_ms = int(await borrowed.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000"))
                days = self.settings.retention.partitions_ahead_days
                await partitions.ensure(borrowed, now_ms, days)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreRefused(f"the database cannot be used: {error}") from error
        self._task = asyncio.create_task(self._write(), name="store writer")

    async def _disconnect(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.terminate() if writing.is_closed() else await writing.close(timeout=CONNECT_S)
        for pool in (self._work, self._reading):
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), CONNECT_S)
                except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    pool.terminate()
        self._work = self._reading = None

    def _default_name(self) -> str:
        return socket.gethostname()

    def _session_settings(self) -> dict[str, str]:
        """A node that stops in the middle of a transaction keeps its rows locked: before others may take it for dead,
        the server has ended that transaction, so that they can take the rows over."""
        idle_ms = str(max(self.settings.late_after_ms, 1))
        return {**_SESSION_SETTINGS, "idle_in_transaction_session_timeout": idle_ms}

    async def _writer_connection(self) -> Connection:
        """The writing connection, made anew if it is gone. Raises OSError or what asyncpg raises."""
        async with self._connecting:
            if self._writing is None or self._writing.is_closed():
                self._sessions += 1
                session = f"restante writer {socket.gethostname()[:30]} {time.time_ns():x}.{self._sessions}"
                settings = {**self._session_settings(), **_PLAN_SETTINGS, "application_name": session}
                self._writing = await connect(self.settings.url, settings)
                self._session = session
            return self._writing

    async def _verify_promise(self, connection: Connection) -> None:
        found = {
            name: str(await connection.fetchval(f"SHOW {name}"))
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        }
        broken = [f"{name} = {value}" for name, value in found.items() if value == "off"]
        if broken and self.settings.durability == "power-loss":
            raise StoreRefused(
                f"the PostgreSQL server does not keep what it confirms ({', '.join(broken)}). Turn these on, or say "
                'store.durability = "process-crash-only" if acknowledged messages may be lost'
            )

    # ------------------------------------------------------------------------------------------ batches

    def _start(self, batch: list[Change]) -> None:
        self._batches.put_nowait(batch)

    async def _write(self) -> None:
        """The writer: one batch after the other."""
        while True:
            batch = await self._batches.get()
            began = time.perf_counter()
            answers: list[Answer] | None
            try:
                answers = await self._commit_all(batch)
            except Exception:
                log.exception("a batch of %d changes failed", len(batch))
                answers = [Answer.FAILED] * len(batch)
            self._finished(batch, answers, time.perf_counter() - began)

    async def _commit_all(self, batch: list[Change]) -> list[Answer] | None:
        part = self._planner.plan(batch)
        if len(part.changes) == len(batch):
            return await self._commit(part)
        answers: list[Answer] = []
        while True:
            answers.extend(await self._commit(part) or [Answer.STORED] * len(part.changes))
            if len(answers) == len(batch):
                return answers
            part = self._planner.plan(batch, len(answers))

    async def _commit(self, part: Plan) -> list[Answer] | None:
        """Commit one plan, on as many connections as it takes. None: all stored."""
        deadline = time.monotonic() + self.settings.unknown_after_s
        pause = BACKOFF_S[0]
        while True:
            try:
                return await self._attempt(part)
            except _Lost as lost:
                self.trouble = f"the connection to the database was lost: {lost}"
                log.error("%s", self.trouble)
                self._drop_writer()
                if lost.witness is not None:
                    committed = await self._resolve(lost.witness, deadline)
                    if committed is None:
                        return [Answer.UNKNOWN] * len(part.changes)
                    if committed:
                        return lost.answers
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                self.trouble = f"no connection to the database: {error}"
            if time.monotonic() > deadline:
                return [Answer.FAILED] * len(part.changes)
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_S[1])

    async def _attempt(self, part: Plan) -> list[Answer] | None:
        connection = await self._writer_connection()
        try:
            await connection.execute("BEGIN")
            await self._run(connection, part)
        except Exception as error:
            if _is_lost(connection, error):
                raise _Lost(error) from error
            return await self._commit_singly(connection, part)
        await self._end(connection, part, None)
        return None

    async def _run(self, connection: Connection, part: Plan) -> None:
        """Run a plan's statements. Raises _Mismatch when a count is wrong."""
        if len(part.messages) >= COPY_FROM:
            await connection.copy_records_to_table("message", records=part.messages, columns=_MESSAGE_COLUMNS)
            await connection.copy_records_to_table("body", records=part.bodies, columns=_BODY_COLUMNS)
            if part.queue:
                await connection.copy_records_to_table("queue", records=part.queue, columns=_QUEUE_COLUMNS)
        elif part.messages:
            await connection.executemany(_INSERT_MESSAGE, part.messages)
            await connection.executemany(_INSERT_BODY, part.bodies)
            if part.queue:
                await connection.executemany(_INSERT_QUEUE, part.queue)
        if part.requeues:
            columns = list(zip(*part.requeues, strict=True))
            touched = _count(await connection.execute(_UPDATE_QUEUE_ALL, *columns))
            if touched != len(part.requeues):
                raise _Mismatch(Answer.FENCED)
        if part.releases:
            ids, owners = zip(*part.releases, strict=True)
            if _count(await connection.execute(_DELETE_QUEUE_ALL, ids, owners)) != len(part.releases):
                raise _Mismatch(Answer.FENCED)
        if len(part.events) >= COPY_FROM:
            await connection.copy_records_to_table("event", records=part.events, columns=_EVENT_COLUMNS)
        elif part.events:
            await connection.executemany(_INSERT_EVENT, part.events)
        for write in part.writes:
            compiled, arguments = self._step(write)
            touched = _count(await connection.execute(compiled.text, *arguments))
            if write.expect is not None and touched != write.expect:
                raise _Mismatch(Answer.CONFLICT)
        marker = self._marker(part)
        if marker is not None:
            await connection.execute(marker[0].text, *marker[1])

    async def _end(self, connection: Connection, witness: Plan, answers: list[Answer] | None) -> None:
        """COMMIT: what happens in here decides between stored and not."""
        self._failpoint("before-commit")
        try:
            await connection.execute("COMMIT", timeout=self.settings.unknown_after_s)
        except Exception as error:
            raise _Lost(error, witness, answers) from error
        self._failpoint("after-commit")

    async def _commit_singly(self, connection: Connection, part: Plan) -> list[Answer]:
        """Each change by itself in one transaction: the ones that cannot be are answered so, the others are stored."""
        answers: list[Answer] = []
        stored = self._planner.plan(())
        try:
            await connection.execute("ROLLBACK")
            await connection.execute("BEGIN")
            for change in part.changes:
                await connection.execute("SAVEPOINT one")
                single = self._planner.plan((change,))
                try:
                    await self._run(connection, single)
                    answer = Answer.STORED
                    stored = single
                except Exception as error:
                    if _is_lost(connection, error):
                        raise
                    answer = self._refusal(change, error)
                    await connection.execute("ROLLBACK TO SAVEPOINT one")
                await connection.execute("RELEASE SAVEPOINT one")
                answers.append(answer)
        except Exception as error:
            raise _Lost(error) from error
        await self._end(connection, stored, answers)
        return answers

    def _refusal(self, change: Change, error: Exception) -> Answer:
        """Why one change cannot be stored."""
        if isinstance(error, _Mismatch):
            return error.answer
        if isinstance(error, asyncpg.DiskFullError):
            self.trouble, self._full = "the disk of the database server is full", True
            return Answer.FULL
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            for message in change.messages:
                log.error("message %d is not stored: %s", message.id, error)
            return Answer.CONFLICT
        log.error("a change cannot be stored: %s: %s", type(error).__name__, error)
        return Answer.FAILED

    def _drop_writer(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.terminate()

    async def _resolve(self, witness: Plan, deadline: float) -> bool | None:
        """Find out whether a transaction was committed although nobody said so. None: it could not be found out."""
        if not witness.changes:
            return True  # it had stored nothing
        old_session = self._session
        pause = BACKOFF_S[0]
        while True:
            try:
                connection = await self._writer_connection()
                while await connection.fetchrow(_END_SESSION, old_session) is not None:
                    if time.monotonic() > deadline:
                        raise TimeoutError("the old session does not end")
                    await asyncio.sleep(BACKOFF_S[0])
                compiled, arguments = self._recognise(witness)
                committed = await connection.fetchrow(compiled.text, *arguments) is not None
                log.warning("the commit that was cut off %s", "was carried out" if committed else "was not")
                return committed
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    log.error("whether a batch is stored is not known: %s", error)
                    return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_S[1])

    # --------------------------------------------------------------------------------------- cold paths

    async def _transact(self, steps: Sequence[Step]) -> list[Touched]:
        if self._work is None:
            raise StoreUnavailable("the store is not open")
        try:
            async with self._work.acquire(timeout=CONNECT_S) as borrowed:
                if len(steps) == 1:
                    return [await _touch(borrowed, *steps[0])]
                async with borrowed.transaction():
                    return [await _touch(borrowed, *step) for step in steps]
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Clash(str(error)) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            self.trouble = f"the database: {error or type(error).__name__}"
            raise StoreUnavailable(self.trouble) from error

    async def _read(self, compiled: Compiled, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        return [dict(row) for row in await self._read_now(compiled, arguments)]

    async def _read_plain(self, query: Query, params: Mapping[str, object]) -> list[Sequence[Any]]:
        compiled = query.compiled(self.dialect)
        return [tuple(row.values()) for row in await self._read_now(compiled, compiled.arguments(params))]

    async def _read_now(self, compiled: Compiled, arguments: tuple[object, ...]) -> list[Mapping[str, Any]]:
        if self._reading is None:
            raise StoreUnavailable("the store is not open")
        try:
            async with self._reading.acquire(timeout=CONNECT_S) as borrowed:
                return await borrowed.fetch(compiled.text, *arguments, timeout=self.settings.read_s)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise StoreUnavailable(f"the database: {error or type(error).__name__}") from error

    async def keep_house(self, now_ms: int, text_before: int, history_before: int) -> frozenset[str]:
        """Make days ahead, drop days that are over, vacuum the queue. One node at a time does it."""
        tidy: set[str] = set()
        if self._work is None:
            raise StoreUnavailable("the store is not open")
        try:
            async with self._work.acquire(timeout=CONNECT_S) as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", HOUSE_LOCK):
                    return frozenset()
                try:
                    await partitions.ensure(connection, now_ms, self.settings.retention.partitions_ahead_days)
                    for table in partitions.TABLES:
                        before = text_before if table == "body" else history_before
                        if await partitions.drop_before(connection, table, before):
                            tidy.add(table)
                    await connection.execute("VACUUM (INDEX_CLEANUP ON, ANALYZE) queue")
                finally:
                    await connection.execute("SELECT pg_advisory_unlock($1)", HOUSE_LOCK)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise StoreUnavailable(f"housekeeping: {error or type(error).__name__}") from error
        return frozenset(tidy)

    async def _probe(self) -> str:
        """See `Engine._probe`: the writing connection stands; after a full disk, room is tried for."""
        try:
            connection = await self._writer_connection()
            if self._full and self._work is not None:
                async with self._work.acquire(timeout=CONNECT_S) as borrowed, borrowed.transaction():
                    await borrowed.execute(_TRY_ROOM)
                    await borrowed.execute("DROP TABLE restante_room")
                self._full = False
        except asyncpg.DiskFullError:
            return "the disk of the database server is full"
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            return f"no connection to the database: {error or type(error).__name__}"
        return "" if not connection.is_closed() else "the connection to the database was lost"


_LOSSES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
)


def _is_lost(connection: Connection, error: Exception) -> bool:
    """Whether an error says something about the connection rather than about the statement."""
    return connection.is_closed() or isinstance(error, _LOSSES)


async def _touch(connection: Connection, compiled: Compiled, arguments: tuple[object, ...]) -> Touched:
    """Run one statement; rows if it returns some."""
    if "RETURNING" in compiled.text:
        rows = await connection.fetch(compiled.text, *arguments)
        return Touched(len(rows), [dict(row) for row in rows])
    return Touched(_count(await connection.execute(compiled.text, *arguments)))


def _count(tag: str) -> int:
    """Rows of a command tag like `DELETE 3` or `INSERT 0 3`; 0 for others."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


_INSERT_MESSAGE = plan.INSERT_MESSAGE.compiled(POSTGRESQL).text
_INSERT_BODY = plan.INSERT_BODY.compiled(POSTGRESQL).text
_INSERT_QUEUE = plan.INSERT_QUEUE.compiled(POSTGRESQL).text
_INSERT_EVENT = plan.INSERT_EVENT.compiled(POSTGRESQL).text
_UPDATE_QUEUE_ALL = plan.UPDATE_QUEUE_ALL.compiled(POSTGRESQL).text
_DELETE_QUEUE_ALL = plan.DELETE_QUEUE_ALL.compiled(POSTGRESQL).text
_MESSAGE_COLUMNS = plan.INSERT_MESSAGE.compiled(POSTGRESQL).names
_BODY_COLUMNS = plan.INSERT_BODY.compiled(POSTGRESQL).names
_QUEUE_COLUMNS = plan.INSERT_QUEUE.compiled(POSTGRESQL).names
_EVENT_COLUMNS = plan.INSERT_EVENT.compiled(POSTGRESQL).names

#: End a session by its unique name; a row as long as it is there.
_END_SESSION = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
_TRY_ROOM = (
    "CREATE TEMPORARY TABLE restante_room ON COMMIT DROP AS"
    " SELECT repeat('x', 8000) AS text FROM generate_series(1, 256)"
)
