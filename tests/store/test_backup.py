"""A backup taken under load holds all that was acknowledged before, and comes back into either database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_plugin import Server
from sqlalchemy import select
from store_tools import final, message, opened

from restante.store import backup as backups
from restante.store import migrate, tables
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
    assert restores.release(empty_url) == done.waiting
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
    with pytest.raises(StoreRefused, match=r"newer|damaged"):
        restores.restore(f"sqlite:///{tmp_path}/new.sqlite", file, now_ms=1)
