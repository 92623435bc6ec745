"""Migrations make what the tables say, on both databases, and every other revision is refused with the command."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from old_database import environment
from source_tree import ROOT
from sqlalchemy import Connection, inspect, text
from store_tools import final, message, opened, settings

from restante.store import migrate
from restante.store.connect import connect
from restante.store.store import Answer, Release, StoreRefused

#: Revisions that databases outside this house have been through, and the beginning of the SHA-256 of each file.
LANDED = {
    "0001": "61edd9c0d6fc",
    "0002": "d5f7dc27407d",
    "0003": "bab849f7c6d0",
    "0004": "840836985f70",
    "0005": "00099b32d5d3",
    "0006": "3870242eea98",
    "0007": "67b7013090eb",
    "0008": "ce3526367346",
    "0009": "70e3d2a5d06f",
    "0010": "de5f47a1bfeb",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite"
    return str(request.getfixturevalue("pg_database"))


def test_tables_equal_migrations(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    env = environment()
    metadata = env["gather"]()

    def compare(connection: Connection) -> list[Any]:
        options = {"include_object": env["is_declared"], "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert migrate.run(empty_url, compare) == []


def test_every_room_with_tables_is_gathered() -> None:
    listed = subprocess.run(["git", "ls-files", "*/*tables.py"], cwd=ROOT, capture_output=True, text=True)
    paths = [Path(line) for line in listed.stdout.splitlines()]
    assert Path("store/tables.py") in paths
    declaring = {
        "restante." + ".".join(path.with_suffix("").parts)
        for path in paths
        if " = Table(\n" in (ROOT / path).read_text()
    }
    assert declaring <= set(environment()["ROOMS"])


def test_a_revision_that_has_landed_is_never_edited() -> None:
    files = {path.name[:4]: path for path in (ROOT / "alembic" / "versions").glob("[0-9]*.py")}
    now = {revision: hashlib.sha256(files[revision].read_bytes()).hexdigest()[:12] for revision in LANDED}
    assert now == LANDED, "put the change into a new revision on top of the newest"


def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    tables = migrate.run(empty_url, lambda connection: sorted(inspect(connection).get_table_names()))
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    assert migrate.run(empty_url, lambda connection: sorted(inspect(connection).get_table_names())) == tables


def test_downgrade_leaves_nothing(empty_url: str) -> None:
    from alembic import command

    migrate.upgrade(empty_url)

    def down(connection: Connection) -> list[str]:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
        return inspect(connection).get_table_names()

    assert migrate.run(empty_url, down) == ["alembic_version"]


@pytest.mark.parametrize(
    ("revision", "fix"), [("0001", "restante db upgrade"), ("9999", "restante db restore")]
)
def test_another_revision_is_refused_with_the_command(store_url: str, revision: str, fix: str) -> None:
    def set_revision(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.commit()

    migrate.run(store_url, set_revision)
    with pytest.raises(StoreRefused, match=f"{revision}.*{migrate.head()}.*{fix}"):
        asyncio.run(connect(settings(store_url)).open())
    if revision > migrate.head():
        with pytest.raises(StoreRefused, match=f"{revision}.*{migrate.head()}.*{fix}"):
            migrate.upgrade(store_url)
        assert migrate.current(store_url) == revision


def test_an_empty_postgresql_is_refused_with_the_command(pg_database: str) -> None:
    with pytest.raises(StoreRefused, match="restante db upgrade"):
        asyncio.run(connect(settings(pg_database)).open())


def test_nodes_that_upgrade_at_once_take_turns(pg_database: str) -> None:
    async def run() -> None:
        await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, pg_database) for _ in range(3)))
        async with opened(pg_database):
            pass

    asyncio.run(run())


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/half.sqlite"

    def in_the_way(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE queue (id INTEGER)"))
        connection.commit()

    migrate.run(url, in_the_way)
    with pytest.raises(Exception, match="queue"):
        migrate.upgrade(url)
    tables = migrate.run(url, lambda connection: inspect(connection).get_table_names())
    assert set(tables) <= {"queue", "alembic_version"}
    assert migrate.current(url) is None


# --- beside nodes that serve (PostgreSQL) ----------------------------------------------------------------------


def test_who_holds_a_table_for_long_makes_an_upgrade_give_up_and_lose_nothing(
    pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(pg_database, to="0010")
    monkeypatch.setattr(migrate, "LOCK_WAIT_MS", 50)
    monkeypatch.setattr(migrate, "LOCK_PAUSE_S", 0.01)

    async def run() -> None:
        report = await asyncpg.connect(pg_database)
        try:
            async with report.transaction():
                await report.execute("LOCK TABLE message IN ACCESS SHARE MODE")  # as a backup does
                with pytest.raises(StoreRefused, match=r"step to schema 0011.*not done.*again"):
                    await asyncio.to_thread(migrate.upgrade, pg_database)
        finally:
            await report.close()

    asyncio.run(run())
    assert migrate.current(pg_database) == "0010"
    migrate.upgrade(pg_database)
    migrate.verify(pg_database)


def test_a_step_that_changes_busy_tables_waits_for_their_writers_and_not_they_for_it(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements stand in the order that would lock it up with a writer, who has messages and wants the queue."""
    steps, failed = 0, []

    def apply(connection: Connection, revision: str) -> None:
        nonlocal steps
        try:
            connection.execute(
                text(f"ALTER TABLE queue ADD COLUMN trial_{revision} INTEGER NOT NULL DEFAULT 0")
            )
            connection.execute(text(f"CREATE INDEX trial_{revision} ON message (submitted_at)"))
        except Exception as error:
            failed.append(error)
            raise
        connection.commit()
        steps += 1

    monkeypatch.setattr(migrate, "_apply", apply)

    def upgrade(connection: Connection) -> None:
        for step in range(10):
            migrate._apply_in_turn(connection, str(step))

    async def run() -> None:
        async with opened(postgresql_url) as store:
            over = asyncio.Event()

            async def load() -> int:
                count = 0
                while not over.is_set():
                    one = message(store)
                    assert await store.apply(messages=[one]) is Answer.STORED
                    gone = Release(one.id, store.epoch)
                    assert await store.apply(release=gone, events=[final(store, one.id)]) is Answer.STORED
                    count += 1
                return count

            writers = [asyncio.create_task(load()) for _ in range(20)]
            await asyncio.to_thread(migrate.run, postgresql_url, upgrade)
            over.set()
            assert all(await asyncio.gather(*writers))

    asyncio.run(run())
    assert (steps, failed) == (10, [])
