"""A backup taken under load holds all that was acknowledged before, and comes back into either database."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from old_database import Rows, bring_to, fill, read_all, released, revisions
from postgres_plugin import Server
from sqlalchemy import select
from store_plugin import StepClock
from store_tools import DAY_MS, final, message, opened

from restante.store import backup as backups
from restante.store import migrate, partitions, tables
from restante.store import restore as restores
from restante.store.statement import Query
from restante.store.store import Answer, Release, StoreRefused

ENGINES = ["sqlite", "postgresql"]
_MESSAGES = Query("test: every message", select(tables.message.c.id))


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, tmp_path: Path, pg_server: Server) -> Iterator[str]:
    """A database to restore into, of the kind that the test names."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/restored.sqlite"
        return
    dsn = pg_server.create_database()
    yield dsn
    pg_server.drop_database(dsn)


async def _taken_under_load(url: str, file: Path) -> tuple[set[int], int]:
    """Take a backup while messages are accepted and delivered: the ids acknowledged before, and the last id made."""
    async with opened(url) as store:
        before: set[int] = set()
        for _ in range(50):
            made = message(store, ours=False)
            assert await store.apply(messages=[made]) is Answer.STORED
            before.add(made.id)
        over = asyncio.Event()

        async def load() -> None:
            while not over.is_set():
                made = message(store)
                assert await store.apply(messages=[made]) is Answer.STORED
                gone = Release(made.id, store.epoch)
                assert await store.apply(release=gone, events=[final(store, made.id)]) is Answer.STORED

        work = asyncio.create_task(load())
        now = store.clock.now_ms()
        await asyncio.to_thread(backups.backup, url, file, now_ms=now)
        over.set()
        await work
        return before, store.next_id()


@pytest.mark.parametrize("empty_url", ENGINES, indirect=True)
def test_everything_acknowledged_before_comes_back_once(
    store_url: str, empty_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "copy.backup"
    before, last = asyncio.run(_taken_under_load(store_url, file))
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy.backup"]
    assert file.stat().st_mode & 0o777 == 0o600

    done = restores.restore(empty_url, file, now_ms=1)
    assert done.waiting >= len(before)
    assert migrate.current(empty_url) == migrate.head()

    async def look() -> None:
        async with opened(empty_url) as store:
            assert store.epoch > restores.EPOCHS_AHEAD
            assert store.next_id() > last
            far = store.clock.now_ms() + 10**12
            assert await store.claim(due_before=far, limit=1000) == []
            assert before <= {row["id"] for row in await store.fetch(_MESSAGES)}

    async def claim() -> list[int]:
        async with opened(empty_url) as store:
            far = store.clock.now_ms() + 10**12
            return [one.message.id for one in await store.claim(due_before=far, limit=100_000)]

    asyncio.run(look())
    assert restores.release(empty_url, now_ms=1) == done.waiting
    claimed = asyncio.run(claim())
    assert before <= set(claimed)
    assert len(claimed) == len(set(claimed)) == done.waiting

    with pytest.raises(StoreRefused, match="not empty"):
        restores.restore(empty_url, file, now_ms=1)


def test_what_exists_is_not_replaced_and_nothing_half_is_left(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("mine")
    with pytest.raises(StoreRefused, match="exists"):
        backups.backup(sqlite_url, file, now_ms=1)
    with pytest.raises(StoreRefused, match="no backup"):
        restores.restore(f"sqlite:///{tmp_path}/new.sqlite", file, now_ms=1)
    with pytest.raises(StoreRefused):
        backups.backup(sqlite_url, tmp_path / "no folder" / "file", now_ms=1)
    assert file.read_text() == "mine"
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize("harm", ["UPDATE backup SET rows = rows + 1", "UPDATE backup SET revision = '9999'"])
def test_a_damaged_or_newer_backup_is_refused(sqlite_url: str, tmp_path: Path, harm: str) -> None:
    file = tmp_path / "copy.backup"
    backups.backup(sqlite_url, file, now_ms=1)
    with sqlite3.connect(file) as connection:
        connection.execute(harm)
        if "9999" in harm:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreRefused, match=rf"9999.*newer.*{migrate.head()}|damaged"):
        restores.restore(f"sqlite:///{tmp_path}/new.sqlite", file, now_ms=1)


# --- other programs -------------------------------------------------------------------------------------------

#: What a restore changes, by table: the queue waits, and lives of the old center are over.
CHANGED = {"queue": {"owner"}, "node": {"epoch", "released", "high_water"}}


def _as_restored(table: str, rows: list[dict[str, Any]], columns: set[str]) -> list[str]:
    names = sorted(columns - CHANGED.get(table, set()))
    return sorted(repr([row[name] for name in names]) for row in rows)


@pytest.fixture
def old_url(request: pytest.FixtureRequest, tmp_path: Path, pg_server: Server) -> Iterator[str]:
    """A database without any table, of the kind that the test names."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/old.sqlite"
        return
    dsn = pg_server.create_database()
    yield dsn
    pg_server.drop_database(dsn)


def _old_backup(url: str, revision: str, file: Path) -> Rows:
    bring_to(url, revision)
    written = fill(url, released("0005"))
    assert backups.backup(url, file, now_ms=1).revision == revision
    return written


@pytest.mark.parametrize(
    ("old_url", "empty_url", "revision"),
    [
        ("sqlite", "postgresql", "0005"),
        ("postgresql", "sqlite", "0005"),
        ("postgresql", "postgresql", revisions()[-2]),
        ("sqlite", "sqlite", revisions()[-2]),
    ],
    indirect=["old_url", "empty_url"],
)
def test_a_backup_of_an_older_schema_comes_back_with_this_programs(
    old_url: str, empty_url: str, revision: str, tmp_path: Path
) -> None:
    file = tmp_path / "old.backup"
    written = _old_backup(old_url, revision, file)
    done = restores.restore(empty_url, file, now_ms=1)
    assert (done.backup.revision, done.revision) == (revision, migrate.head())
    assert done.waiting == len(written["queue"])
    migrate.verify(empty_url)
    now = read_all(empty_url)
    for table, rows in written.items():
        columns = set(rows[0])
        assert _as_restored(table, now[table], columns) == _as_restored(table, rows, columns), table

    async def claimed() -> set[int]:
        async with opened(empty_url) as store:
            far = store.clock.now_ms() + 10**13
            return {one.message.id for one in await store.claim(due_before=far, limit=1000)}

    assert asyncio.run(claimed()) == set()
    assert restores.release(empty_url, now_ms=1) == done.waiting
    known = {row["id"] for row in written["message"]}
    assert asyncio.run(claimed()) == {row["id"] for row in written["queue"]} & known


@pytest.mark.parametrize("empty_url", ENGINES, indirect=True)
def test_an_upgrade_that_breaks_off_after_a_restore_can_go_on(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.backup"
    written = _old_backup(f"sqlite:///{tmp_path}/old.sqlite", "0005", file)
    real = migrate.upgrade

    def breaks(url: str, *, to: str = "head", locked: bool = False) -> None:
        if to == "head":
            raise StoreRefused("no room")
        real(url, to=to, locked=locked)

    monkeypatch.setattr(migrate, "upgrade", breaks)
    with pytest.raises(
        StoreRefused, match=rf"with schema 0005.*to {migrate.head()} failed: no room; .*db upgrade"
    ):
        restores.restore(empty_url, file, now_ms=1)
    monkeypatch.undo()
    assert migrate.current(empty_url) == "0005"
    migrate.upgrade(empty_url)
    assert restores.release(empty_url, now_ms=1) == len(written["queue"])


# --- PostgreSQL: what else locks tables -----------------------------------------------------------------------


class Pause:
    """A backup stands still after its first table of messages, until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        real = backups._copy_table

        async def copy(connection: Any, target: sqlite3.Connection, table: str) -> None:
            await real(connection, target, table)
            if table == "body":
                self.reached.set()
                assert await asyncio.to_thread(self.go_on.wait, 60)

        monkeypatch.setattr(backups, "_copy_table", copy)


async def _days(store: Any) -> set[str]:
    async with store._work.acquire() as connection:
        return {
            f"{table}_{day}"
            for table in partitions.TABLES
            for day in await partitions.days_of(connection, table)
        }


def test_retention_beside_a_backup_drops_nothing_of_it_and_stops_nobody(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, pause, file = StepClock(), Pause(monkeypatch), tmp_path / "copy.backup"

    async def run() -> set[int]:
        async with opened(postgresql_url, clock, heartbeat_s=60) as store:
            await store.keep_house(clock.now_ms(), 0, 0)
            old = [message(store) for _ in range(20)]
            assert await store.apply(messages=old) is Answer.STORED
            for one in old:
                gone = Release(one.id, store.epoch)
                assert await store.apply(release=gone, events=[final(store, one.id)]) is Answer.STORED
            clock.step(3 * DAY_MS)
            await store.beat()  # ids follow the clock
            days, before = await _days(store), clock.ms - clock.ms % DAY_MS
            copying = asyncio.create_task(
                asyncio.to_thread(backups.backup, postgresql_url, file, now_ms=clock.ms)
            )
            assert await asyncio.to_thread(pause.reached.wait, 60)

            housekeeping = asyncio.create_task(store.keep_house(clock.now_ms(), before, before))
            accepted = 0
            while not housekeeping.done() or not accepted:
                assert await store.apply(messages=[message(store)]) is Answer.STORED
                accepted += 1
            # The new days cannot be attached, the old ones not be dropped, and no row of theirs is to be deleted.
            assert await housekeeping == frozenset()
            assert await _days(store) == days
            assert not copying.done()
            pause.go_on.set()
            made = await copying
            assert made.rows

            assert await store.keep_house(clock.now_ms(), before, before) == frozenset(partitions.TABLES)
            assert days - await _days(store)
            assert await store.load([one.id for one in old]) == []
            return {one.id for one in old}

    ids = asyncio.run(run())
    with backups.opened(file) as (copy, _):
        for table, column in partitions.TABLES.items():
            assert ids <= {row[0] for row in copy.execute(f"SELECT {column} FROM {table}")}, table


def test_a_backup_that_gets_no_lock_says_on_what(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "BUSY_S", 0.2)

    async def run() -> None:
        holder = await asyncpg.connect(postgresql_url)
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(StoreRefused, match="held the table event"):
                    await asyncio.to_thread(
                        backups.backup, postgresql_url, tmp_path / "copy.backup", now_ms=1
                    )
        finally:
            await holder.close()

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []
