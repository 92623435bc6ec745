"""Tables of the objects that operators edit.

In charge of: columns, keys, indexes and the statements on them. Not in charge of: what an edit is (`edits.py`).

Every edit raises the one number in `registry` in its own transaction, and only if it still is what the editor saw. So
edits happen one after the other over all nodes, rows of a revision are seen together, and "what is new?" is one look at
one row.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    bindparam,
    insert,
    select,
    text,
)
from sqlalchemy import update as update_

from ..store.statement import Query, Sql
from ..store.tables import metadata

__all__ = ["object_table", "object_version", "registry"]

#: One row: how many edits there have been, and the next free object number.
registry = Table(
    "registry",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("revision", BigInteger, nullable=False),
    Column("next_number", Integer, nullable=False),
)

#: The present state of each object, deleted ones included. Numbers count over all kinds and never come again.
object_table = Table(
    "object",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),  # "account", "route", …
    Column("key", Text, nullable=False),  # what people call it; unique among the living of a kind
    Column("version", Integer, nullable=False),  # from 1; the ETag
    Column("revision", BigInteger, nullable=False),  # registry.revision of the edit that wrote it
    Column("body", Text, nullable=False),  # JSON object, every field written out
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", Text, nullable=False),
    Column("deleted", SmallInteger, nullable=False),  # 1: deleted
    Index(
        "uq_object_kind_key",
        "kind",
        "key",
        unique=True,
        sqlite_where=text("deleted = 0"),
        postgresql_where=text("deleted = 0"),
    ),
    Index("ix_object_revision", "revision"),
)

#: Every version there ever was; append-only.
object_version = Table(
    "object_version",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("deleted", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)

GET_REVISION = Query(
    "registry: see whether anything changed", select(registry.c.revision, registry.c.next_number)
)

GET_CHANGED = Query(
    "registry: read objects edited after a revision",
    select(object_table)
    .where(object_table.c.revision > bindparam("revision", type_=BigInteger))
    .order_by(object_table.c.number),
)

GET_HISTORY = Query(
    "registry: read versions of an object, newest first",
    select(object_version)
    .where(
        object_version.c.number == bindparam("number", type_=Integer),
        object_version.c.version < bindparam("before", type_=Integer),
    )
    .order_by(object_version.c.version.desc())
    .limit(bindparam("limit", type_=Integer)),
)

BEGIN = Sql(
    "registry: write the first row",
    insert(registry).values(id=1, revision=0, next_number=1),
)

RAISE_REVISION = Sql(
    "registry: take the next revision, if nobody else did",
    update_(registry)
    .where(registry.c.revision == bindparam("seen", type_=BigInteger))
    .values(
        revision=bindparam("new_revision", type_=BigInteger),
        next_number=bindparam("new_number", type_=Integer),
    ),
)

INSERT_OBJECT = Sql(
    "registry: create an object",
    insert(object_table).values(
        {column.name: bindparam(column.name, type_=column.type) for column in object_table.c}
    ),
)

UPDATE_OBJECT = Sql(
    "registry: replace an object, if its version is the one that was edited",
    update_(object_table)
    .where(
        object_table.c.number == bindparam("of_number", type_=Integer),
        object_table.c.version == bindparam("of_version", type_=Integer),
    )
    .values(
        {
            name: bindparam(name, type_=object_table.c[name].type)
            for name in ("key", "version", "revision", "body", "updated_at", "updated_by", "deleted")
        }
    ),
)

INSERT_VERSION = Sql(
    "registry: keep a version",
    insert(object_version).values(
        {column.name: bindparam(column.name, type_=column.type) for column in object_version.c}
    ),
)
