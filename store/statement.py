"""SQL that is written once in SQLAlchemy Core and executed by the drivers.

In charge of: naming a statement and compiling it once per dialect to text and an order of parameters. Not in charge
of: running it. Rooms declare their statements beside their tables, each with a purpose a reader understands.

Parameters are integers, text, octets or (for `among`) lists of integers or text; no type of SQLAlchemy that converts
values on their way in or out is honoured, because the drivers are called directly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import BigInteger, Executable, Select, Text, and_, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import asyncpg as postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement
from sqlalchemy.types import Boolean, TypeEngine

__all__ = ["POSTGRESQL", "SQLITE", "Compiled", "Query", "Sql", "among", "begins", "compile_once"]

SQLITE: Dialect = sqlite.dialect()
POSTGRESQL: Dialect = postgresql.dialect()


@dataclass(frozen=True, slots=True)
class Compiled:
    """Driver-ready text with the parameter names in positional order, and constants baked into the expression."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, object]
    json_lists: bool = False  #: the driver takes a list as a JSON array (SQLite)

    def arguments(self, params: Mapping[str, object]) -> tuple[object, ...]:
        """Order `params` for the driver; KeyError names a missing one."""
        constants = self.constants
        values = [params[name] if name in params else constants[name] for name in self.names]
        if self.json_lists:
            values = [json.dumps(value) if isinstance(value, list | tuple) else value for value in values]
        return tuple(values)


@dataclass(frozen=True, eq=False)
class Sql:
    """A named statement. Compare by identity; `compiled` caches one result per dialect name."""

    name: str  #: "room: what it is for", for logs and slow-query reports
    expression: Executable
    cache: dict[str, Compiled] = field(default_factory=dict[str, "Compiled"], repr=False)

    def compiled(self, dialect: Dialect) -> Compiled:
        """Compile for a dialect, once."""
        found = self.cache.get(dialect.name)
        if found is None:
            found = self.cache[dialect.name] = compile_once(self.expression, dialect)
        return found


class Query(Sql):
    """A named SELECT."""

    def gathered(self, dialect: Dialect) -> Compiled:
        """The same for SQLite, with all rows in one: a JSON array of arrays. Its columns hold no octets.

        For each row that it steps to, the driver gives the interpreter's lock away and waits for it behind the loop.
        """
        kept = f"{dialect.name}, gathered"
        found = self.cache.get(kept)
        if found is None:
            rows = cast("Select[Any]", self.expression).subquery()
            gathered = select(func.json_group_array(func.json_array(*rows.c)))
            found = self.cache[kept] = compile_once(gathered, dialect)
        return found


def compile_once(expression: Executable, dialect: Dialect) -> Compiled:
    """Compile an expression; parameters that have a value in it become constants, the others stay open."""
    assert isinstance(expression, ClauseElement)
    # Numbers that stand in the expression become part of the text: an index with `WHERE owner = 0` is found only so.
    visitors.traverse(expression, {}, {"bindparam": _number_in_text})
    compiled = cast(SQLCompiler, expression.compile(dialect=dialect))
    required = {name for name, bind in compiled.binds.items() if bind.required}
    # An IN over a list is expanded here, with the list that the expression holds.
    expanded = compiled.construct_expanded_state(dict.fromkeys(required))
    constants = {name: value for name, value in expanded.parameters.items() if name not in required}
    names = tuple(expanded.positiontup or ())
    return Compiled(expanded.statement, names, constants, json_lists=dialect.name == SQLITE.name)


def _number_in_text(bind: BindParameter[Any]) -> None:
    if type(bind.value) is int and not bind.required:
        bind.literal_execute = True


class among(ColumnElement[bool]):
    """`column IN (a list given at run time)`: one text for lists of every length, on both databases.

    The parameter is a list of integers or of text: `among(queue.c.id, "ids")`, then `fetch(query, ids=[1, 2])`.
    """

    inherit_cache = False
    type: TypeEngine[Any] = Boolean()

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        item: Any = BigInteger() if column.type.python_type is int else Text()
        self.array: BindParameter[Any] = bindparam(name, type_=ARRAY(item))
        self.json: BindParameter[Any] = bindparam(name, type_=Text)

    def self_group(self, against: Any = None) -> among:
        """Stand as it is beside AND and OR; SQLAlchemy would compare it with 1, which no index can answer."""
        return self


class begins(ColumnElement[bool]):
    """`column` begins with a text that is known here: by an index where the database has one for that.

    SQLite compares texts octet by octet, so a stretch of the index answers it, and LIKE, which knows no case there,
    would read them all. PostgreSQL's order is that of people: there it is LIKE.
    """

    inherit_cache = False
    type: TypeEngine[Any] = Boolean()

    def __init__(self, column: ColumnElement[Any], prefix: str) -> None:
        """An empty prefix: every text."""
        self.column = column
        self.pattern = column.startswith(prefix, autoescape=True)
        behind = _first_behind(prefix)
        self.stretch = and_(column >= prefix, column < behind) if behind else column >= prefix

    def self_group(self, against: Any = None) -> begins:
        """As `among.self_group`."""
        return self


def _first_behind(prefix: str) -> str:
    """The least text, by octets of UTF-8, that is greater than all that begin with `prefix`; "" if there is none."""
    for length in range(len(prefix), 0, -1):
        code = ord(prefix[length - 1]) + 1
        if 0xD800 <= code <= 0xDFFF:  # surrogates are no characters
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[: length - 1] + chr(code)
    return ""


@compiles(begins, "postgresql")
def _begins_postgresql(element: begins, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.pattern, **kw)


@compiles(begins, "sqlite")
def _begins_sqlite(element: begins, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.stretch, **kw)})"


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY ({compiler.process(element.array, **kw)})"


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    # The list travels as a JSON array (see Compiled.arguments).
    column, array = compiler.process(element.column, **kw), compiler.process(element.json, **kw)
    return f"{column} IN (SELECT value FROM json_each({array}))"  # noqa: S608  # both were made by the compiler
