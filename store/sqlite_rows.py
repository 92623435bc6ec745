"""Many rows with one statement.

In charge of: inserting rows into SQLite with as few steps of the driver as sensible. Not in charge of: what the rows
are (`plan.py`) or in which transaction they stand (`sqlite.py`).

`executemany` runs a statement a row, and the driver gives the interpreter's lock away and takes it back around each:
beside a busy event loop every row may have to wait for it. One statement with many rows does so once, and costs a
quarter less by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

from .statement import SQLITE, Sql

__all__ = ["RowInsert"]

#: Rows of one statement. More gain nothing; with 31 columns these are 1 984 variables of the 32 766 that SQLite allows.
ROWS: Final = 64


class RowInsert:
    """An INSERT of one row, and the same of many."""

    __slots__ = ("_many", "_one")

    def __init__(self, insert: Sql) -> None:
        """`insert`: INSERT … VALUES with a parameter for each column, in the order of the rows."""
        self._one = insert.compiled(SQLITE).text
        head, word, values = self._one.partition("VALUES ")
        self._many = head + word + ", ".join([values] * ROWS)

    def run(self, connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert `rows` in their order."""
        whole = len(rows) - len(rows) % ROWS
        for start in range(0, whole, ROWS):
            connection.execute(self._many, tuple(chain.from_iterable(rows[start : start + ROWS])))
        if whole < len(rows):
            connection.executemany(self._one, rows[whole:])
