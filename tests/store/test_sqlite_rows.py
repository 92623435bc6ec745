"""Rows that go into SQLite many at a time."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, insert

from restante.store.sqlite_rows import ROWS, RowInsert
from restante.store.statement import Sql

THING = Table("thing", MetaData(), Column("id", Integer), Column("what", LargeBinary))


@pytest.fixture
def connection() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, what BLOB)")
    return made


@pytest.mark.parametrize("number", [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5])
def test_every_row_arrives_as_it_was(connection: sqlite3.Connection, number: int) -> None:
    rows = [(id, bytes([id % 256])) for id in range(number)]
    RowInsert(Sql("test: things", insert(THING))).run(connection, rows)
    assert connection.execute("SELECT id, what FROM thing ORDER BY id").fetchall() == rows


@pytest.mark.parametrize("at", [3, ROWS + 3])
def test_one_that_cannot_be_stored_is_not_passed_over(connection: sqlite3.Connection, at: int) -> None:
    rows = [(id, b"") for id in range(ROWS + 10)]
    rows[at] = (0, b"again")
    with pytest.raises(sqlite3.IntegrityError):
        RowInsert(Sql("test: things", insert(THING))).run(connection, rows)
