"""Questions to somebody else's database: they read, end in time, and change nothing; on both databases."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from restante.store.lookup import Lookup, LookupFailed, lookup
from restante.store.store import StoreRefused

TABLE = (
    "CREATE TABLE served (msisdn TEXT, imsi TEXT, addresses TEXT)",
    "INSERT INTO served VALUES ('447700900001', '001010000000001', 'ipa_name:MSC-A'), ('''; DROP', NULL, 'odd')",
)
BY_NUMBER = "SELECT imsi, addresses FROM served WHERE msisdn = :msisdn;"
LONG = 20.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with two subscribers."""
    if request.param == "sqlite":
        with sqlite3.connect(tmp_path / "served.db") as made:
            for statement in TABLE:
                made.execute(statement)
        made.close()
        yield f"sqlite:///{tmp_path}/served.db"
        return
    address: str = request.getfixturevalue("pg_database")

    async def fill() -> None:
        connection: Any = await asyncpg.connect(address)  # type: ignore[reportUnknownMemberType]  # not annotated
        for statement in (*TABLE, "CREATE SEQUENCE counter"):
            await connection.execute(statement)
        await connection.close()

    asyncio.run(fill())
    yield address


def asked(
    url: str,
    statement: str,
    then: Callable[[Lookup], Awaitable[Any]],
    most_rows: int = 5,
    most_s: float = LONG,
) -> Any:
    """What came of it."""

    async def main() -> Any:
        made = lookup(url, statement, most_rows=most_rows, connections=2, most_s=most_s)
        try:
            return await then(made)
        finally:
            await made.close()

    return asyncio.run(main())


def test_values_are_values_and_nothing_else(url: str) -> None:
    async def ask(made: Lookup) -> list[Any]:
        assert made.names == {"msisdn"}
        values = ("447700900001", "'; DROP", "' OR '1'='1", None)
        return [await made.ask({"msisdn": value}, LONG) for value in values]

    anna, odd, tricky, nobody = asked(url, BY_NUMBER, ask)
    assert anna == [{"imsi": "001010000000001", "addresses": "ipa_name:MSC-A"}]
    assert odd == [{"imsi": None, "addresses": "odd"}]
    assert tricky == nobody == []


def test_rows_are_bounded(url: str) -> None:
    statement = "SELECT a.msisdn FROM served a, served b, served c WHERE :msisdn <> ''"
    assert len(asked(url, statement, lambda made: made.ask({"msisdn": "x"}, LONG), most_rows=5)) == 5


def test_nothing_is_written(url: str) -> None:
    statements = [
        "DELETE FROM served WHERE msisdn = :msisdn",
        "SELECT 1) AS a; DELETE FROM served; --:msisdn",
    ]
    if url.startswith("postgresql"):
        statements.append("SELECT nextval('counter'), CAST(:msisdn AS text)")
    for statement in statements:
        with pytest.raises(LookupFailed) as failed:
            asked(url, statement, lambda made: made.ask({"msisdn": "447700900001"}, LONG))
        assert failed.value.refused
    count = "SELECT count(*) AS total FROM served WHERE :msisdn <> ''"
    assert asked(url, count, lambda made: made.ask({"msisdn": "x"}, LONG)) == [{"total": 2}]


def test_a_question_ends_in_time_and_the_next_is_answered(url: str) -> None:
    slow = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000)
        SELECT max(i) AS most FROM n WHERE CAST(:msisdn AS text) <> ''"""

    async def ask(made: Lookup) -> list[bool]:
        said: list[bool] = []
        for _ in range(2):
            with pytest.raises(LookupFailed) as failed:
                await made.ask({"msisdn": "x"}, 0.2)
            said.append(failed.value.slow)
        return said

    assert asked(url, slow, ask, most_s=0.2) == [True, True]
    assert asked(url, BY_NUMBER, lambda made: made.ask({"msisdn": "447700900001"}, LONG))


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/nothing.db", "postgresql://nobody@127.0.0.1:1/none"):
        with pytest.raises(LookupFailed) as failed:
            asked(url, BY_NUMBER, lambda made: made.ask({"msisdn": "1"}, LONG))
        assert not failed.value.slow
    assert not (tmp_path / "nothing.db").exists()
    with pytest.raises(StoreRefused):
        lookup("mysql://x/y", BY_NUMBER, most_rows=1, connections=1, most_s=1)
