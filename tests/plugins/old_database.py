"""Databases of older revisions, with data in them.

In charge of: making one at a revision, filling every table it has then, and reading all of it back. Not in charge of:
what an upgrade must keep (`tests/store/test_upgrades.py`).

`tests/store/released/NNNN.json` is what a released program left behind after it was used through its own doors: its
schema, its rows, its way to write an object; only the ends of validity were put off to the year 2100. A table that
the file does not know, because it came later or was empty, gets rows made from the types of its columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, LargeBinary, MetaData, Table, Text, insert, select

from alembic import command
from restante.store import migrate

RELEASED = Path(__file__).parents[1] / "store" / "released"
#: Rows made for a table that has none.
MADE_ROWS = 3

Rows = dict[str, list[dict[str, Any]]]


def revisions() -> list[str]:
    """Every revision there is, oldest first."""
    walked = ScriptDirectory.from_config(migrate._config()).walk_revisions()
    return [script.revision for script in walked][::-1]


def environment() -> Any:
    """alembic/env.py, read without running it: its list of rooms and what it leaves out of comparisons."""
    source = (Path(migrate.__file__).parents[1] / "alembic" / "env.py").read_text()
    namespace: dict[str, Any] = {}
    exec(compile(source.rpartition("\nrun()")[0], "env.py", "exec"), namespace)
    return namespace


def gathered() -> MetaData:
    """The tables as every room declares them."""
    metadata = environment()["gather"]()
    assert isinstance(metadata, MetaData)
    return metadata


def released(revision: str) -> Any:
    """What the released program of a revision left behind."""
    return json.loads((RELEASED / f"{revision}.json").read_text())


def bring_to(url: str, revision: str) -> None:
    """Make the schema of a revision in an empty database."""

    def work(connection: Connection) -> None:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()

    migrate.run(url, work)


def fill(url: str, source: Any, *, make: bool = True) -> Rows:
    """Write the rows of `released()` into the tables that there are; `make` some where it has none. What it wrote."""

    def work(connection: Connection) -> Rows:
        written: Rows = {}
        for table in tables(connection):
            given = source["tables"].get(table.name)
            rows = _given(table, given) if given else _made(table) if make else []
            if rows:
                connection.execute(insert(table), rows)
                written[table.name] = rows
        connection.commit()
        return written

    return migrate.run(url, work)


def read_all(url: str) -> Rows:
    """Every row of every table."""

    def work(connection: Connection) -> Rows:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables(connection)
        }

    return migrate.run(url, work)


def tables(connection: Connection) -> list[Table]:
    """The tables of a database as they stand in it, without PostgreSQL's partitions."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [
        table
        for name, table in sorted(metadata.tables.items())
        if name != "alembic_version" and not name.endswith("_default")
    ]


def _given(table: Table, given: Any) -> list[dict[str, Any]]:
    known = set(table.c.keys())
    return [
        {
            name: bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
            for name, value in zip(given["columns"], row, strict=True)
            if name in known
        }
        for row in given["rows"]
    ]


def _made(table: Table) -> list[dict[str, Any]]:
    def value(column: Any, number: int) -> object:
        if isinstance(column.type, LargeBinary):
            return bytes([number])
        return f"{column.name} {number}" if isinstance(column.type, Text) else number

    return [{column.name: value(column, number) for column in table.c} for number in range(1, MADE_ROWS + 1)]
