"""A database's schema as plain data, to compare two databases of one kind.

In charge of: everything that a table's declaration says: columns with type, NULL and default, keys, WITHOUT ROWID,
partition keys, indexes with their conditions. Not in charge of: the order of columns, which an upgrade cannot keep, nor
partitions and storage parameters, which are no part of a declaration.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, MetaData, text

Picture = dict[str, Any]

_PG_TABLES = """
SELECT c.oid, c.relname, pg_get_partkeydef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
"""
_PG_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped
"""
_PG_CONSTRAINTS = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = :oid"
_PG_INDEXES = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = :oid"


def picture(connection: Connection) -> Picture:
    """Each table of a database."""
    return _of_sqlite(connection) if connection.dialect.name == "sqlite" else _of_postgresql(connection)


def declared(connection: Connection, metadata: MetaData) -> Picture:
    """Each table as it is declared, made in a database that is empty and stays so."""
    metadata.create_all(connection)
    try:
        return picture(connection)
    finally:
        connection.rollback()


def _of_sqlite(connection: Connection) -> Picture:
    found: Picture = {}
    for row in connection.execute(text("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'")):
        name, without_rowid = row
        if name.startswith("sqlite_") or name == "alembic_version":
            continue
        columns = connection.execute(
            text('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(:name)'),
            {"name": name},
        )
        indexes = connection.execute(
            text("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :name"), {"name": name}
        )
        found[name] = {
            "columns": sorted(map(tuple, columns)),
            "without rowid": without_rowid,
            "indexes": sorted(" ".join((sql or "of a key").split()) for (sql,) in indexes),
        }
    return found


def _of_postgresql(connection: Connection) -> Picture:
    def rows(query: str, **of: object) -> list[Any]:
        return sorted(tuple(row) for row in connection.execute(text(query), of))

    return {
        name: {
            "columns": rows(_PG_COLUMNS, oid=oid),
            "partitioned by": key,
            "constraints": rows(_PG_CONSTRAINTS, oid=oid),
            "indexes": rows(_PG_INDEXES, oid=oid),
        }
        for oid, name, key in rows(_PG_TABLES)
    }
