"""SQL that is written once in SQLAlchemy Core and executed by the drivers.

In charge of: naming a statement and compiling it once per dialect to text and an order of parameters. Not in charge
of: running it. Rooms declare their statements beside their tables, each with a purpose a reader understands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ClauseElement

__all__ = ["Compiled", "Query", "Sql"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Driver-ready text with the parameter names in positional order, and constants baked into the expression."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, object]

    def arguments(self, params: Mapping[str, object]) -> tuple[object, ...]:
        """Order `params` for the driver; KeyError names a missing one."""
        constants = self.constants
        return tuple(params[name] if name in params else constants[name] for name in self.names)


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


def compile_once(expression: Executable, dialect: Dialect) -> Compiled:
    """Compile an expression with bind parameters left open; parameters with a value become constants."""
    assert isinstance(expression, ClauseElement)
    compiled = expression.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    names = tuple(compiled.positiontup or ())  # type: ignore[attr-defined]  # both dialects are positional
    return Compiled(str(compiled), names, {k: v for k, v in compiled.params.items() if v is not None})
