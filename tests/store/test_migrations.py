"""Migrations make what the tables say, on both databases, and every other revision is refused with the command."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from old_database import environment
from source_tree import ROOT
from sqlalchemy import Connection, inspect, text
from store_tools import opened, settings

from restante.store import migrate
from restante.store.connect import connect
from restante.store.store import StoreRefused

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


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_another_revision_is_refused_with_the_command(store_url: str, revision: str) -> None:
    def set_revision(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.commit()

    migrate.run(store_url, set_revision)
    with pytest.raises(StoreRefused, match="restante db upgrade"):
        asyncio.run(connect(settings(store_url)).open())


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
