"""The objects as this node knows them.

In charge of: keeping one kind's objects as of one revision, reading rows, and lists with filters. Not in charge of:
when to read (`edits.py`), or what other rooms see (`snapshot.py`).
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import structlog
from pydantic import BaseModel

from .snapshot import Changed, Snapshot
from .versioned import ObjectKind, RegistryError, Stored

__all__ = ["Gone", "Living", "Page", "UnknownFilter", "read_rows"]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """A part of a list, in order of keys."""

    items: Sequence[Stored[M]]
    next_after: str | None  #: pass it as `after` for more; None: that was all


class UnknownFilter(RegistryError):
    """A filter names a field that the kind does not have."""

    def __init__(self, kind: str, name: str) -> None:
        """`name`: of the filter."""
        super().__init__(kind, name, f"{kind} has no field {name}")


@dataclass(slots=True)
class Gone:
    """What is remembered of a deleted object."""

    version: int
    changed_by: str
    changed_at: int


@dataclass(slots=True)
class Living(Generic[M, T]):
    """The objects of one kind, as of one revision."""

    kind: ObjectKind[M, T]
    snapshot: Snapshot[T]
    stored: dict[int, Stored[M]] = field(default_factory=dict[int, "Stored[M]"])
    built: dict[int, T] = field(default_factory=dict[int, T])
    by_key: dict[str, T] = field(default_factory=dict[str, T])
    keys: dict[str, int] = field(default_factory=dict[str, int])
    gone: dict[int, Gone] = field(default_factory=dict[int, Gone])
    sorted_keys: list[str] | None = None  #: made when a list is asked for

    def in_order(self) -> list[str]:
        """Every key, sorted."""
        if self.sorted_keys is None:
            self.sorted_keys = sorted(self.keys)
        return self.sorted_keys

    def page(self, after: str, limit: int, filters: Mapping[str, str], q: str) -> Page[M]:
        """See `Registry.page`."""
        keys = self.in_order()
        items: list[Stored[M]] = []
        for key in keys[bisect_right(keys, after) :]:
            stored = self.stored[self.keys[key]]
            if _sought(stored, q) and all(_fits(self.kind, stored.value, *one) for one in filters.items()):
                if len(items) == limit:
                    return Page(items, items[-1].key)
                items.append(stored)
        return Page(items, None)

    def as_it_is(self) -> Living[M, T]:
        """What planning needs, as it is now: it may be read on another thread while this one goes on."""
        return Living(self.kind, self.snapshot, dict(self.stored), keys=dict(self.keys), gone=dict(self.gone))

    def absorb(self, news: Iterable[tuple[Stored[M], T | None]], revision: int) -> list[Changed[T]]:
        """Take new states over, all at once, and show them. The built object is None for a deleted one.

        Costs what changed, however much there is beside it. Returns what changed: the last that holds what was before.
        """
        changes: list[Changed[T]] = []
        came: set[str] = set()
        went: set[str] = set()
        newest, in_order = next(reversed(self.built), 0), True
        for stored, built in news:
            number = stored.number
            changes.append(Changed(number, self.built.get(number), built))
            old = self.stored.get(number)
            if old is not None and self.keys.get(old.key) == number:
                went.add(old.key)
                del self.keys[old.key], self.by_key[old.key]
            self.gone.pop(number, None)
            if built is None:
                self.gone[number] = Gone(stored.version, stored.updated_by, stored.updated_at)
                self.stored.pop(number, None)
                self.built.pop(number, None)
                continue
            if number not in self.built:  # it goes to the end
                in_order, newest = in_order and number > newest, number
            self.stored[number] = stored
            self.built[number] = built
            self.keys[stored.key] = number
            self.by_key[stored.key] = built
            came.add(stored.key)
        if not in_order:
            everything = sorted(self.built.items())
            self.built.clear()
            self.built.update(everything)
        if self.sorted_keys is not None and came != went:
            touched = came | went
            kept = [key for key in self.sorted_keys if key not in touched]
            self.sorted_keys = sorted(
                [*kept, *(key for key in touched if key in self.keys)]
            )  # nearly in order
        self.snapshot.replace(self.by_key, self.built, revision, changes)
        return changes


def read_rows(
    kind: ObjectKind[Any, Any], rows: Iterable[Mapping[str, Any]]
) -> Iterable[tuple[Stored[Any], Any]]:
    """Rows as objects. One that this version of the center cannot read is left as it was, and named in the log."""
    for row in rows:
        try:
            value = kind.parse(json.loads(row["body"]))
            stored = Stored(
                number=row["number"],
                id=kind.id(row["number"]),
                key=row["key"],
                version=row["version"],
                value=value,
                updated_at=row["updated_at"],
                updated_by=row["updated_by"],
                deleted=bool(row["deleted"]),
            )
            yield stored, None if stored.deleted else kind.build(stored)
        except (RegistryError, ValueError) as error:
            log.error(
                "registry.unreadable", id=kind.id(row["number"]), version=row["version"], error=str(error)
            )


def _sought(stored: Stored[Any], q: str) -> bool:
    """Whether an object is what a free text asks for."""
    wanted = q.casefold()
    return (
        wanted in stored.key.casefold() or wanted in str(getattr(stored.value, "description", "")).casefold()
    )


def _fits(kind: ObjectKind[Any, Any], value: BaseModel, name: str, wanted: str) -> bool:
    """Whether one field is, or holds, what a filter asks for."""
    found: Any = value
    for step in name.split("."):
        if not isinstance(found, BaseModel) or step not in type(found).model_fields:
            if found is None:
                return wanted == ""
            raise UnknownFilter(kind.name, name)
        found = getattr(found, step)
    if isinstance(found, bool):
        return wanted == str(found).lower()
    if found is None:
        return wanted == ""
    if isinstance(found, tuple | list | frozenset | set):
        return wanted in map(str, cast("Iterable[object]", found))
    return str(found) == wanted
