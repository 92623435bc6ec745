"""The store on SQLite: one process, one writer thread, a write-ahead log that is synced at every commit.

In charge of: the writer thread and its connection, reader connections, the life lock, what happens when the disk is
full or fails, and the database's size. Not in charge of: what is common to both databases (`engine.py`).

Threads. The writer thread owns the only connection that writes and takes jobs from a queue; batches come one at a
time, and between them come claims, heartbeats and chunks of bulk work. Readers are a few threads with connections of
their own that cannot write and whose reads are cut off after a time, so that the log can be checkpointed.

Failure. A statement that finds no room before COMMIT is undone and leaves the rest of its batch alone. Anything that
goes wrong in COMMIT, and any I/O error, closes the connection: a failed fsync is never tried again on the same handle.
The connection is opened anew and verified, the log is written through to the database file, and only then it is
looked up whether the batch is there.

Sources: behaviour.md 10; notes/store.md 1 and 3; sqlite.org/wal.html, sqlite.org/rescode.html.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

from .. import metrics
from . import migrate, partitions, plan, sqlite_file
from .engine import Engine
from .life import Clash, Step, Touched
from .life_lock import LifeLock
from .plan import Plan
from .sqlite_file import database_path, is_full, primary, touch
from .sqlite_rows import RowInsert
from .statement import SQLITE, Compiled, Query
from .store import Answer, Change, StoreRefused, StoreUnavailable

__all__ = ["SqliteStore", "database_path"]

log = logging.getLogger(__name__)

T = TypeVar("T")

WAL_BYTES = metrics.gauge("store", "wal_bytes", "Size of SQLite's write-ahead log.")

#: Virtual machine steps between two looks at a read's deadline.
STEPS_PER_LOOK = 20_000
#: Free pages below which a database with a size limit counts as full.
SPARE_PAGES = 256

#: Freed pages: as many stay for the rows that come, and as many go to the disk in one step, at most so often a round.
KEPT_PAGES = 4_096
VACUUM_PAGES = 128
VACUUM_CHUNKS = 200


class _Mismatch(Exception):
    """A statement touched another number of rows than it must; `answer` is what that means for its change."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.value)
        self.answer = answer


class _Broken(Exception):
    """The connection cannot be trusted any more; `committing` says whether COMMIT had begun."""

    def __init__(self, cause: BaseException, committing: bool) -> None:
        super().__init__(str(cause))
        self.committing = committing
        self.full = is_full(cause)


class SqliteStore(Engine):
    """See `Store`."""

    dialect = SQLITE
    shared = False
    drops_days = False

    _connection: sqlite3.Connection | None = None  #: used by the writer thread only
    _thread: threading.Thread | None = None
    _readers: ThreadPoolExecutor | None = None
    _lock: LifeLock | None = None

    # ----------------------------------------------------------------------------------- open and close

    async def _connect(self) -> None:
        self.path = database_path(self.settings.url)
        self._loop = asyncio.get_running_loop()
        self._lock = LifeLock(self.path)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._reader_connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._wal_alarmed = False
        if not self.path.parent.is_dir():
            raise StoreRefused(f"the folder {self.path.parent} does not exist")
        self._lock.take()
        if not self.path.exists() or self.path.stat().st_size == 0:
            await asyncio.to_thread(migrate.upgrade, self.settings.url, locked=True)
        await asyncio.to_thread(migrate.verify, self.settings.url)
        self._thread = threading.Thread(target=self._work, name="store writer", daemon=True)
        self._thread.start()
        self._readers = ThreadPoolExecutor(self.settings.readers, "store reader")
        await self._on_writer(self._reopen)

    async def _disconnect(self) -> None:
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown, wait=True, cancel_futures=True)
            self._readers = None
            for connection in self._reader_connections:
                connection.close()
            self._reader_connections.clear()
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._lock is not None:
            self._lock.drop()

    def _default_name(self) -> str:
        return socket.gethostname()

    def _open_connection(self, cache_kib: int) -> sqlite3.Connection:
        return sqlite_file.open_file(self.path, cache_kib)

    def _reopen(self) -> None:
        """(writer thread) Open the writing connection and make sure that it keeps the promise."""
        self._shut()
        connection = self._open_connection(sqlite_file.WRITER_CACHE_KIB)
        try:
            sqlite_file.promise(connection, self.settings)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _shut(self) -> None:
        """(writer thread) Close the writing connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as reason:
                log.warning("the database was not closed cleanly: %s", reason)

    # ------------------------------------------------------------------------------------ writer thread

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                break
            job()
        self._shut()

    async def _on_writer(self, job: Callable[[], T]) -> T:
        """Run a job on the writer thread, between batches."""
        answered: asyncio.Future[T] = self._loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            if answered.done():
                return
            if error is not None:
                answered.set_exception(error)
            else:
                answered.set_result(value)  # type: ignore[arg-type]  # T may be None itself

        def run() -> None:
            try:
                value = job()
            except BaseException as error:
                self._loop.call_soon_threadsafe(settle, None, error)
            else:
                self._loop.call_soon_threadsafe(settle, value, None)

        self._jobs.put(run)
        return await answered

    def _start(self, batch: list[Change]) -> None:
        def run() -> None:
            began = time.perf_counter()
            try:
                answers = self._commit_all(batch)
            except BaseException:
                log.exception("a batch of %d changes failed", len(batch))
                answers = [Answer.FAILED] * len(batch)
            seconds = time.perf_counter() - began
            try:
                self._loop.call_soon_threadsafe(self._finished, batch, answers, seconds)
            except RuntimeError:  # the loop is gone: nobody is left to tell
                log.warning("a batch ended after the event loop did")

        self._jobs.put(run)

    def _commit_all(self, batch: list[Change]) -> list[Answer] | None:
        """(writer thread) Commit a batch, in as many transactions as its plans are. None: all stored."""
        first = self._planner.plan(batch)
        if len(first.changes) == len(batch):
            return self._commit(first)
        answers: list[Answer] = []
        part = first
        while True:
            answers.extend(self._commit(part) or [Answer.STORED] * len(part.changes))
            if len(answers) == len(batch):
                return answers
            part = self._planner.plan(batch, len(answers))

    def _commit(self, part: Plan) -> list[Answer] | None:
        """(writer thread) Commit one plan; change by change if it does not go as a whole."""
        try:
            connection = self._ready()
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._run(connection, part)
            except (_Mismatch, sqlite3.Error, ValueError, OverflowError, TypeError) as error:
                if primary(error) == sqlite3.SQLITE_IOERR:
                    raise _Broken(error, committing=False) from error
                self._undo(connection)
                if primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    return self._failed(part, f"another process holds the database: {error}")
                return self._commit_singly(part)
            self._end(connection)
        except _Broken as broken:
            return self._after_break(part, broken)
        except (sqlite3.Error, OSError, StoreRefused) as error:
            return self._failed(part, str(error))
        return None

    def _ready(self) -> sqlite3.Connection:
        if self._connection is None:
            self._reopen()
        assert self._connection is not None
        return self._connection

    def _run(self, connection: sqlite3.Connection, part: Plan) -> None:
        """Run a plan's statements. Raises _Mismatch when a count is wrong."""
        many = connection.executemany
        _INSERT_MESSAGES.run(connection, part.messages)
        _INSERT_BODIES.run(connection, part.bodies)
        _INSERT_QUEUED.run(connection, part.queue)
        if part.requeues and many(_UPDATE_QUEUE, part.requeues).rowcount != len(part.requeues):
            raise _Mismatch(Answer.FENCED)
        if part.releases and many(_DELETE_QUEUE, part.releases).rowcount != len(part.releases):
            raise _Mismatch(Answer.FENCED)
        _INSERT_EVENTS.run(connection, part.events)
        for write in part.writes:
            compiled, arguments = self._step(write)
            touched = connection.execute(compiled.text, arguments).rowcount
            if write.expect is not None and touched != write.expect:
                raise _Mismatch(Answer.CONFLICT)
        marker = self._marker(part)
        if marker is not None:
            connection.execute(marker[0].text, marker[1])

    def _end(self, connection: sqlite3.Connection) -> None:
        """COMMIT: what happens in here decides between stored and not."""
        self._failpoint("before-commit")
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _Broken(error, committing=True) from error
        self._failpoint("after-commit")

    def _undo(self, connection: sqlite3.Connection) -> None:
        """ROLLBACK; SQLite has done it already after some errors."""
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _Broken(error, committing=False) from error

    def _commit_singly(self, part: Plan) -> list[Answer]:
        """Each change by itself in one transaction: the ones that cannot be are answered so, the others are stored.

        When there is no room, SQLite gives the whole transaction up. Then new messages are refused, to leave what
        room there is to outcomes, and the others are tried again.
        """
        decided: dict[int, Answer] = {}
        for _pass in range(3):
            answers = self._pass_singly(part, decided)
            if answers is not None:
                return answers
        return [Answer.FULL] * len(part.changes)

    def _pass_singly(self, part: Plan, decided: dict[int, Answer]) -> list[Answer] | None:
        """One transaction for the changes that are not decided. None: it ran out of room; `decided` says more."""
        connection = self._ready()
        connection.execute("BEGIN IMMEDIATE")
        answers: list[Answer] = []
        stored = self._planner.plan(())
        for index, change in enumerate(part.changes):
            if index in decided:
                answers.append(decided[index])
                continue
            connection.execute("SAVEPOINT one")
            single = self._planner.plan((change,))
            try:
                self._run(connection, single)
                answer = Answer.STORED
                stored = single
            except (_Mismatch, sqlite3.Error, ValueError, OverflowError, TypeError) as error:
                if primary(error) == sqlite3.SQLITE_IOERR:
                    raise _Broken(error, committing=False) from error
                answer = decided[index] = self._refusal(change, error)
                if not connection.in_transaction:
                    for other, waiting in enumerate(part.changes):
                        if waiting.messages:
                            decided.setdefault(other, Answer.FULL)
                    return None
                connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            answers.append(answer)
        try:
            self._end(connection)
        except _Broken as broken:
            whole = self._after_break(stored, broken)
            if whole is not None and stored.changes:
                return [whole[0] if answer is Answer.STORED else answer for answer in answers]
        return answers

    def _refusal(self, change: Change, error: Exception) -> Answer:
        """Why one change cannot be stored."""
        if isinstance(error, _Mismatch):
            return error.answer
        if is_full(error):
            self.trouble = "the disk or the size limit of the database is full"
            return Answer.FULL
        if isinstance(error, sqlite3.IntegrityError):
            for message in change.messages:
                log.error("message %d is not stored: %s", message.id, error)
            return Answer.CONFLICT
        log.error("a change cannot be stored: %s", error)
        return Answer.FAILED

    def _failed(self, part: Plan, why: str) -> list[Answer]:
        """Nothing was stored, for a reason that is not the changes'."""
        log.error("%d changes are not stored: %s", len(part.changes), why)
        self.trouble = why
        return [Answer.FAILED] * len(part.changes)

    def _after_break(self, part: Plan, broken: _Broken) -> list[Answer] | None:
        """Replace the connection, then find out whether the plan was committed. None: it was."""
        self.trouble = "the disk is full" if broken.full else f"the database failed: {broken}"
        log.error("the writing connection is replaced: %s", broken)
        refused = Answer.FULL if broken.full else Answer.FAILED
        deadline = time.monotonic() + self.settings.unknown_after_s
        while True:
            try:
                self._reopen()
                if broken.committing and self._committed(part):
                    return None
                return [refused] * len(part.changes)
            except (sqlite3.Error, OSError, StoreRefused) as error:
                if not broken.committing:
                    return [refused] * len(part.changes)
                if time.monotonic() > deadline:
                    log.error("whether %d changes are stored is not known: %s", len(part.changes), error)
                    return [Answer.UNKNOWN] * len(part.changes)
            time.sleep(0.1)

    def _committed(self, part: Plan) -> bool:
        assert self._connection is not None
        compiled, arguments = self._recognise(part)
        return self._connection.execute(compiled.text, arguments).fetchone() is not None

    # --------------------------------------------------------------------------------------- cold paths

    async def _transact(self, steps: Sequence[Step]) -> list[Touched]:
        return await self._on_writer(lambda: self._transact_now(steps))

    def _transact_now(self, steps: Sequence[Step]) -> list[Touched]:
        """(writer thread) Statements in a transaction of their own."""
        try:
            connection, began = self._ready(), time.perf_counter()
            try:
                connection.execute("BEGIN IMMEDIATE")
                touched = [touch(connection, compiled, arguments) for compiled, arguments in steps]
                connection.execute("COMMIT")
                touched[0].seconds = time.perf_counter() - began
            except BaseException as error:
                if primary(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
                    self._shut()
                elif connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError as error:
            raise Clash(str(error)) from error
        except (sqlite3.Error, OSError, StoreRefused) as error:
            self.trouble = str(error)
            raise StoreUnavailable(str(error)) from error
        return touched

    async def _read(self, compiled: Compiled, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        return await self._on_reader(self._read_named, compiled, arguments)

    async def _read_plain(self, query: Query, params: Mapping[str, object]) -> list[Sequence[Any]]:
        compiled = query.gathered(self.dialect)
        _names, ((rows,),) = await self._on_reader(self._read_now, compiled, compiled.arguments(params))
        return orjson.loads(rows)

    async def _on_reader(
        self,
        read: Callable[[Compiled, tuple[object, ...]], T],
        compiled: Compiled,
        arguments: tuple[object, ...],
    ) -> T:
        if self._readers is None:
            raise StoreUnavailable("the store is not open")
        return await self._loop.run_in_executor(self._readers, read, compiled, arguments)

    def _read_named(self, compiled: Compiled, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
        """(reader thread) One read, each row by the names of its columns."""
        names, rows = self._read_now(compiled, arguments)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _read_now(
        self, compiled: Compiled, arguments: tuple[object, ...]
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """(reader thread) One read, cut off at its deadline."""
        deadline = time.monotonic() + self.settings.read_s
        try:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._open_connection(sqlite_file.READER_CACHE_KIB)
                connection.execute("PRAGMA query_only = ON")
                self._local.connection = connection
                self._reader_connections.append(connection)
            connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_PER_LOOK)
            cursor = connection.execute(compiled.text, arguments)
            return [column[0] for column in cursor.description], cursor.fetchall()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise StoreUnavailable(f"a read took longer than {self.settings.read_s:g} s") from error
            raise StoreUnavailable(str(error)) from error

    async def keep_house(self, now_ms: int, text_before: int, history_before: int) -> frozenset[str]:
        """Give a few freed pages back to the disk; rows are deleted in chunks by `sweep.py`."""
        for _chunk in range(VACUUM_CHUNKS):
            await self._quiet()
            if not await self._on_writer(self._vacuum):
                break
        return frozenset(partitions.TABLES)

    def _vacuum(self) -> bool:
        """(writer thread) Free some pages; False if few are left. Some stay for the rows that come."""
        connection = self._ready()
        spare = connection.execute("PRAGMA freelist_count").fetchone()[0]
        if spare <= KEPT_PAGES:
            return False
        # One step of the statement frees one page; a script is stepped to its end.
        connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
        return True

    async def _probe(self) -> str:
        """See `Engine._probe`: room on the disk, room below the size limit, size of the log."""
        try:
            disk = os.statvfs(self.path.parent)
            wal = os.path.getsize(f"{self.path}-wal")
        except OSError as error:
            return f"the database's folder: {error.strerror}"
        WAL_BYTES.set(wal)
        if (wal > self.settings.wal_alarm_bytes) != self._wal_alarmed:
            self._wal_alarmed = not self._wal_alarmed
            log.warning("the write-ahead log has %d octets; is a long read or a backup under way?", wal)
        free = disk.f_bavail * disk.f_frsize
        if free < self.settings.min_free_bytes:
            return f"the disk has {free >> 20} MiB left, less than the {self.settings.min_free_bytes >> 20} MiB wanted"
        if self.settings.max_bytes:
            return await self._on_writer(self._probe_limit)
        return ""

    def _probe_limit(self) -> str:
        """(writer thread) Whether pages are left below the size limit."""
        connection = self._connection
        if connection is None:
            return self.trouble or "the database is not open"
        most, used, spare = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("max_page_count", "page_count", "freelist_count")
        )
        if most - used + spare >= min(SPARE_PAGES, most // 8):
            return ""
        return f"the database has reached its size limit of {self.settings.max_bytes >> 20} MiB"


_INSERT_MESSAGES = RowInsert(plan.INSERT_MESSAGE)
_INSERT_BODIES = RowInsert(plan.INSERT_BODY)
_INSERT_QUEUED = RowInsert(plan.INSERT_QUEUE)
_INSERT_EVENTS = RowInsert(plan.INSERT_EVENT)
_UPDATE_QUEUE = plan.UPDATE_QUEUE.compiled(SQLITE).text
_DELETE_QUEUE = plan.DELETE_QUEUE.compiled(SQLITE).text
