"""What only SQLite does: one process, one synced log, a disk that is full or fails."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, literal_column, select
from store_tools import eventually, final, message, opened, put_all, rows, settings

from restante.outlet import Write
from restante.store import tables
from restante.store.connect import connect
from restante.store.sqlite import SqliteStore
from restante.store.sqlite_file import database_path
from restante.store.statement import Query, Sql
from restante.store.store import Answer, Release, StoreRefused, StoreUnavailable


class Failing:
    """A connection whose COMMIT fails with an SQLite code, after really committing or not."""

    def __init__(self, real: sqlite3.Connection, code: int, really: bool) -> None:
        self._real, self._code, self._really = real, code, really

    def execute(self, text: str, arguments: Any = ()) -> Any:
        if text == "COMMIT":
            self._real.execute("COMMIT" if self._really else "ROLLBACK")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._real.execute(text, arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def break_next_commit(store: Any, code: int, really: bool) -> sqlite3.Connection:
    real = store._connection
    store._connection = Failing(real, code, really)
    return real


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False


def test_a_second_process_is_refused_with_the_pid_of_the_first(sqlite_url: str) -> None:
    async def run() -> None:
        async with opened(sqlite_url):
            with pytest.raises(StoreRefused, match=f"process {os.getpid()};"):
                await connect(settings(sqlite_url)).open()
            from restante.store import migrate

            with pytest.raises(StoreRefused, match="in use"):
                await asyncio.to_thread(migrate.upgrade, sqlite_url)
        async with opened(sqlite_url):
            pass

    asyncio.run(run())


def test_a_fresh_database_upgrades_itself(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(f"sqlite:///{tmp_path}/new.sqlite") as store:
            assert await store.apply(messages=[message(store)]) is Answer.STORED

    asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://host/x", "sqlite:////none/such/x"]
)
def test_urls_that_name_no_database_are_refused(url: str) -> None:
    with pytest.raises(StoreRefused):
        asyncio.run(connect(settings(url)).open())


def test_paths() -> None:
    assert database_path("sqlite:///a/b%20c.sqlite") == Path("a/b c.sqlite")
    assert database_path("sqlite:////a/b.sqlite?x=1") == Path("/a/b.sqlite")


def test_the_promise_is_verified(sqlite_url: str) -> None:
    async def run() -> None:
        async with opened(sqlite_url) as store:
            pragmas = await store._on_writer(
                lambda: [
                    store._connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("journal_mode", "synchronous")
                ]
            )
            assert pragmas == ["wal", 2]

    asyncio.run(run())


def test_a_database_that_cannot_promise_is_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(Failing):
        def execute(self, text: str, arguments: Any = ()) -> Any:
            return self._real.execute(
                "SELECT 1" if text.startswith("PRAGMA synchronous =") else text, arguments
            )

    plain = SqliteStore._open_connection

    def open_connection(store: SqliteStore, cache_kib: int) -> Any:
        real = plain(store, cache_kib)
        real.execute("PRAGMA synchronous = NORMAL")
        return Forgetful(real, 0, True)

    monkeypatch.setattr(SqliteStore, "_open_connection", open_connection)
    with pytest.raises(StoreRefused, match="synchronous=1"):
        asyncio.run(connect(settings(sqlite_url)).open())


ONE_MESSAGE = """
import asyncio, os, sys
from store_tools import message, opened

async def run():
    async with opened(sys.argv[1], heartbeat_s=60) as store:
        answer = await store.apply(messages=[message(store, body=b"MARK-OF-THE-BODY")])
        os.write(1, b"ANSWERED " + answer.value.encode())

asyncio.run(run())
"""


SYNCED = r"f(data)?sync\(\d+<[^>]*-wal>\)\s*= 0|f(data)?sync resumed"


def test_a_sync_precedes_the_answer(sqlite_url: str, tmp_path: Path, component: Callable[..., str]) -> None:
    """Seen from outside: the log is written, then synced, and only then the answer is written."""
    strace, log = component("strace", "strace"), tmp_path / "strace.log"
    command = [strace, "-f", "-y", "-s", "4096", "-e", "trace=pwrite64,write,fdatasync,fsync", "-o", str(log)]
    command += [sys.executable, "-c", ONE_MESSAGE, sqlite_url]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "plugins")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert "ANSWERED stored" in done.stdout, done.stderr
    calls = log.read_text().splitlines()
    written = max(n for n, call in enumerate(calls) if "-wal>" in call and "MARK-OF-THE-BODY" in call)
    answered = next(n for n, call in enumerate(calls) if "ANSWERED" in call)
    synced = [n for n, call in enumerate(calls) if re.search(SYNCED, call)]
    assert any(written < n < answered for n in synced), calls[written : answered + 1]


@pytest.mark.parametrize("really", [False, True])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL])
def test_a_failed_commit_is_looked_up_on_a_new_connection(sqlite_url: str, code: int, really: bool) -> None:
    async def run() -> None:
        async with opened(sqlite_url, heartbeat_s=60) as store:
            first = message(store)
            await store.apply(messages=[first])
            old = break_next_commit(store, code, really)
            one, two = message(store), message(store)
            answers = await put_all(
                store, {"messages": (one,)}, {"messages": (two,), "events": (final(store, two.id),)}
            )
            refused = Answer.FULL if code == sqlite3.SQLITE_FULL else Answer.FAILED
            assert answers == [Answer.STORED if really else refused] * 2
            assert is_closed(old)
            assert len(await store.load([one.id, two.id])) == (2 if really else 0)
            assert not store.health().accepting
            # Outcomes are still written, and the next heartbeat finds that all is well again.
            assert await store.apply(release=Release(first.id, store.epoch)) is Answer.STORED
            await store.beat()
            assert store.health().accepting

    asyncio.run(run())


@pytest.mark.parametrize("really", [False, True])
def test_a_batch_without_rows_of_its_own_is_recognised_too(sqlite_url: str, really: bool) -> None:
    async def run() -> None:
        async with opened(sqlite_url, heartbeat_s=60) as store:
            one = message(store)
            await store.apply(messages=[one])
            break_next_commit(store, sqlite3.SQLITE_IOERR_WRITE, really)
            answer = await store.apply(release=Release(one.id, store.epoch))
            assert answer is (Answer.STORED if really else Answer.FAILED)
            assert len(await rows(store, tables.queue)) == (0 if really else 1)

    asyncio.run(run())


def test_an_outcome_that_stays_unknown_is_said_to_be_unknown(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(sqlite_url, heartbeat_s=60, unknown_after_s=0.3) as store:
            assert isinstance(store, SqliteStore)
            plain = store._open_connection

            def broken(cache_kib: int) -> Any:
                raise sqlite3.OperationalError("disk I/O error")

            break_next_commit(store, sqlite3.SQLITE_IOERR_FSYNC, really=True)
            monkeypatch.setattr(store, "_open_connection", broken)
            one = message(store)
            assert await store.apply(messages=[one]) is Answer.UNKNOWN
            assert await store.apply(messages=[message(store)]) is Answer.FAILED
            with pytest.raises(StoreUnavailable):
                await store.beat()
            assert not store.health().accepting
            monkeypatch.setattr(store, "_open_connection", plain)
            await store.beat()
            assert store.health().accepting
            assert len(await store.load([one.id])) == 1
            assert await store.apply(messages=[message(store)]) is Answer.STORED

    asyncio.run(run())


def test_a_full_database_refuses_messages_keeps_outcomes_and_recovers(sqlite_url: str) -> None:
    purge = Sql("test: make room", delete(tables.body))

    async def run() -> None:
        async with opened(sqlite_url, heartbeat_s=60, max_bytes=2 << 20) as store:
            stored: list[int] = []
            refused = 0
            while not refused:
                batch = [message(store, body=bytes(2000)) for _ in range(40)]
                answers = await put_all(store, *({"messages": (one,)} for one in batch))
                assert set(answers) <= {Answer.STORED, Answer.FULL}
                stored += [
                    one.id for one, answer in zip(batch, answers, strict=True) if answer is Answer.STORED
                ]
                refused += answers.count(Answer.FULL)
                if refused:
                    assert len(await store.load([one.id for one in batch])) == answers.count(Answer.STORED)
            assert not store.health().accepting
            assert "full" in store.health().why
            mixed = await put_all(
                store,
                {"release": Release(stored[0], store.epoch)},
                {"messages": tuple(message(store, body=bytes(60_000)) for _ in range(4))},
                {"release": Release(stored[1], store.epoch)},
            )
            assert mixed == [Answer.STORED, Answer.FULL, Answer.STORED]
            await store.beat()
            assert not store.health().accepting, "a probe that writes nothing big would have been content"
            await store.bulk([Write(purge, {})])
            await store.beat()
            assert store.health().accepting
            assert await store.apply(messages=[message(store, body=bytes(60_000))]) is Answer.STORED

    asyncio.run(run())


def test_a_disk_that_is_almost_full_stops_accepts_before_outcomes_fail(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(sqlite_url, heartbeat_s=0.02) as store:
            assert store.health().accepting
            real = os.statvfs

            def small(path: Any) -> Any:
                found = list(real(path))
                found[4] = 3  # f_bavail
                return os.statvfs_result(found)

            monkeypatch.setattr(os, "statvfs", small)
            await eventually(lambda: not store.health().accepting)
            assert "MiB" in store.health().why
            assert await store.apply(messages=[message(store)]) is Answer.STORED
            monkeypatch.setattr(os, "statvfs", real)
            await eventually(lambda: store.health().accepting)

    asyncio.run(run())


def test_a_lock_held_by_a_person_is_waited_for_and_then_said(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restante.store.sqlite_file.BUSY_MS", 50)

    async def run() -> None:
        async with opened(sqlite_url, heartbeat_s=60) as store:
            other = sqlite3.connect(database_path(sqlite_url), isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            assert await store.apply(messages=[message(store)]) is Answer.FAILED
            assert not store.health().accepting
            other.execute("ROLLBACK")
            other.close()
            await store.beat()
            assert store.health().accepting
            assert await store.apply(messages=[message(store)]) is Answer.STORED

    asyncio.run(run())


def test_a_read_ends_at_its_deadline_and_readers_cannot_write(sqlite_url: str) -> None:
    numbers = select(literal_column("1").label("n")).cte("numbers", recursive=True)
    endless_numbers = numbers.union_all(select(numbers.c.n + 1))
    endless = Query("test: endless", select(func.count().label("n")).select_from(endless_numbers))

    async def run() -> None:
        async with opened(sqlite_url, read_s=0.3) as store:
            with pytest.raises(StoreUnavailable, match="longer"):
                await store.fetch(endless)
            with pytest.raises(StoreUnavailable, match="readonly"):
                await store.fetch(delete(tables.queue))
            assert await store.fetch(select(tables.queue)) == []

    asyncio.run(run())
