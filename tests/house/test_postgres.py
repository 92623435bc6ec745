"""The PostgreSQL server of the tests does what its fixtures promise.

In charge of the fixtures only; what the store does with a server is tested in tests/store/.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from postgres_plugin import OwnServer, Server, binary_folders
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


def value(dsn: str, query: str) -> object:
    """What one query answers."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_a_database_is_empty_and_ones_own(pg_database: str, pg_server: Server) -> None:
    query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert value(pg_database, query) == 0
    other = pg_server.create_database()
    try:
        value(pg_database, "CREATE TABLE mine (id bigint)")
        assert value(pg_database, query) == 1
        assert value(other, query) == 0
    finally:
        pg_server.drop_database(other)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        value(other, "SELECT 1")


def test_sqlalchemy_takes_the_same_address(pg_database: str) -> None:
    async def ask() -> str:
        engine = create_async_engine(pg_database.replace("postgresql://", "postgresql+asyncpg://"))
        try:
            async with engine.connect() as connection:
                return str((await connection.execute(text("SELECT current_database()"))).scalar_one())
        finally:
            await engine.dispose()

    assert asyncio.run(ask()) == urlsplit(pg_database).path.lstrip("/")


def test_the_durable_server_syncs(pg_durable_database: str) -> None:
    assert value(pg_durable_database, "SHOW fsync") == "on"
    assert value(pg_durable_database, "SHOW synchronous_commit") == "on"
    assert value(pg_durable_database, "SHOW full_page_writes") == "on"


def test_an_own_server_comes_back_after_a_crash(pg_own_server: OwnServer) -> None:
    dsn = pg_own_server.create_database()
    value(dsn, "CREATE TABLE kept (id bigint)")
    value(dsn, "INSERT INTO kept VALUES (7)")
    pg_own_server.crash()
    with pytest.raises(OSError):
        value(dsn, "SELECT 1")
    pg_own_server.start()
    assert value(dsn, "SELECT id FROM kept") == 7


@pytest.mark.parametrize("binaries", list(binary_folders()), ids=lambda path: path.parent.name)
def test_every_source_of_a_server_works(binaries: Path) -> None:
    own = OwnServer(binaries)
    try:
        assert value(own.dsn(), "SELECT 1") == 1
    finally:
        own.remove()
