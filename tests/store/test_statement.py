"""Statements are compiled once, and lists of any length have one text."""

from __future__ import annotations

import asyncio
import sqlite3

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Text, bindparam, null, select, update
from store_tools import message, opened

from restante.store.statement import POSTGRESQL, SQLITE, Query, Sql, among, begins, compile_once
from restante.store.tables import queue


def test_a_statement_is_compiled_once_for_each_database() -> None:
    sql = Sql("test: x", select(queue.c.id).where(queue.c.id == bindparam("id")))
    assert sql.compiled(SQLITE) is sql.compiled(SQLITE)
    assert sql.compiled(SQLITE).text.endswith("queue.id = ?")
    assert sql.compiled(POSTGRESQL).text.endswith("queue.id = $1::BIGINT")
    assert sql.name == "test: x"


def test_values_in_the_expression_are_constants_and_numbers_are_text() -> None:
    sql = Sql(
        "test: y",
        update(queue)
        .where(queue.c.owner == 0, queue.c.reason == "held", queue.c.id == bindparam("wanted"))
        .values(due_at=bindparam("due"), reason=None),
    )
    for dialect in (SQLITE, POSTGRESQL):
        compiled = sql.compiled(dialect)
        assert "owner = 0" in compiled.text, "an index with WHERE owner = 0 is found only so"
        given_values = compiled.arguments({"wanted": 5, "due": 6})
        assert sorted(map(str, given_values)) == ["5", "6", "None", "held"]
        with pytest.raises(KeyError, match="due"):
            compiled.arguments({"wanted": 5})


def test_lists_given_at_once_are_expanded() -> None:
    compiled = compile_once(select(queue.c.id).where(queue.c.reason.in_(["a", "b"])), SQLITE)
    assert compiled.text.count("?") == 2
    assert compiled.arguments({}) == ("a", "b")


def test_a_name_that_stands_twice_is_given_twice() -> None:
    both = select(queue.c.id).where((queue.c.id == bindparam("x")) | (queue.c.owner == bindparam("x")))
    assert compile_once(both, SQLITE).arguments({"x": 4}) == (4, 4)
    assert compile_once(both, POSTGRESQL).arguments({"x": 4}) == (4,)


ids = Query("test: ids", select(queue.c.id).where(among(queue.c.id, "ids")).order_by(queue.c.id))
numbers = Query(
    "test: numbers",
    select(queue.c.recipient).where(among(queue.c.recipient, "numbers"), among(queue.c.id, "ids")),
)


def test_lists_given_at_run_time(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            odd = '+4"\\7'
            some = [message(store, recipient=odd if n == 3 else "+44") for n in range(400)]
            await store.apply(messages=some)
            every = [one.id for one in some]
            for wanted in ([], every[:1], every[7:9], every):
                found = await store.fetch(ids, ids=wanted)
                assert [row["id"] for row in found] == wanted
            assert await store.fetch(numbers, numbers=[odd, "x"], ids=every) == [{"recipient": odd}]

    asyncio.run(run())


listed = Query(
    "test: listed",
    select(queue.c.id, queue.c.recipient, queue.c.due_at, null().label("absent"))
    .where(among(queue.c.id, "ids"))
    .order_by(queue.c.id.desc())
    .limit(bindparam("most")),
)


def test_plain_rows_are_those_of_a_fetch_in_their_order(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            odd = ['+4"\\7', "@\u00e9\u4e2d\U0001f600", "@\x1f\x7f\u2028", "#"]
            some = [message(store, recipient=odd[n % 4]) for n in range(40)]
            await store.apply(messages=some)
            every = [one.id for one in some]
            for wanted, most in ((every, 100), (every, 7), ([], 7)):
                named = await store.fetch(listed, ids=wanted, most=most)
                plain = await store.fetch_plain(listed, ids=wanted, most=most)
                assert [tuple(row) for row in plain] == [tuple(row.values()) for row in named]
                assert len(plain) == min(len(wanted), most)

    asyncio.run(run())


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"])))
def test_gathered_rows_keep_every_value(number: int, text: str) -> None:
    query = Query("test: kept", select(bindparam("number", type_=BigInteger), bindparam("text", type_=Text)))
    compiled = query.gathered(SQLITE)
    connection = sqlite3.connect(":memory:")
    ((rows,),) = connection.execute(compiled.text, compiled.arguments({"number": number, "text": text}))
    assert orjson.loads(rows) == [[number, text]]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_sqlite_takes_lists_as_json(values: list[int]) -> None:
    import json

    (text,) = ids.compiled(SQLITE).arguments({"ids": values})
    assert isinstance(text, str)
    assert json.loads(text) == values
    assert ids.compiled(POSTGRESQL).arguments({"ids": values}) == (values,)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.lists(st.text(max_size=6), max_size=8)
)
def test_a_beginning_is_a_stretch_of_the_order_in_sqlite(prefix: str, others: list[str]) -> None:
    texts = [one for one in {*others, *(prefix + one for one in others), prefix} if one.isprintable()]
    compiled = compile_once(select(queue.c.recipient).where(begins(queue.c.recipient, prefix)), SQLITE)
    assert "LIKE" not in compiled.text
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE queue (recipient TEXT)")
    connection.executemany("INSERT INTO queue VALUES (?)", [(one,) for one in texts])
    found = [row[0] for row in connection.execute(compiled.text, compiled.arguments({}))]
    assert sorted(found) == sorted(one for one in texts if one.startswith(prefix))


def test_a_beginning_is_what_people_see_in_postgresql() -> None:
    compiled = compile_once(select(queue.c.recipient).where(begins(queue.c.recipient, "@1%")), POSTGRESQL)
    assert "LIKE" in compiled.text
    assert compiled.arguments({}) == ("@1/%",)
