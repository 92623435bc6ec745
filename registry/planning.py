"""What an edit will do, worked out before anything is written.

In charge of: the steps of an edit on the objects as this node knows them, every reason against it, and its statements.
Not in charge of: whether the database agrees (`edits.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from ..outlet import Write
from . import tables
from .documents import Problem, differences
from .living import Living
from .versioned import (
    Edit,
    InvalidObject,
    KeyTaken,
    ObjectKind,
    ObjectNotFound,
    StaleVersion,
    Stored,
    View,
    body_text,
)

__all__ = ["Planner", "Step", "Wanted", "step_writes"]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object as somebody wants it, for `Registry.change_all`."""

    kind: ObjectKind[Any, Any]
    make: Callable[[Stored[Any] | None], BaseModel | None]  #: present object -> new value; None deletes
    number: int = 0  #: 0: a new object
    if_match: int | None = None  #: version that must be the present one; None: whichever is
    as_number: int = 0  #: number that a new object takes if it was never used; 0: the next
    revive: bool = False  #: True: the object may be a deleted one


class _Draft:
    """Everything as it will be after an edit: the living objects with the planned ones laid over them (a `View`)."""

    def __init__(self, living: Mapping[str, Living[Any, Any]]) -> None:
        self._living = living
        self._planned: dict[str, dict[int, Stored[Any] | None]] = {}
        self._keys: dict[str, dict[str, int]] = {}

    def plan(self, kind: ObjectKind[Any, Any], number: int, after: Stored[Any] | None) -> None:
        """Lay one object over."""
        before = self.get(kind, number)
        keys = self._keys.setdefault(kind.name, {})
        if before is not None:
            keys[before.key] = 0
        if after is not None:
            keys[after.key] = number
        self._planned.setdefault(kind.name, {})[number] = after

    def get(self, kind: ObjectKind[M, Any], number: int) -> Stored[M] | None:
        """See `View.get`."""
        planned = self._planned.get(kind.name, {})
        return planned[number] if number in planned else self._living[kind.name].stored.get(number)

    def by_key(self, kind: ObjectKind[M, Any], key: str) -> Stored[M] | None:
        """See `View.by_key`."""
        keys = self._keys.get(kind.name, {})
        number = keys[key] if key in keys else self._living[kind.name].keys.get(key, 0)
        return self.get(kind, number) if number else None

    def values(self, kind: ObjectKind[M, Any]) -> Iterable[Stored[M]]:
        """See `View.values`."""
        planned = self._planned.get(kind.name, {})
        for number, stored in self._living[kind.name].stored.items():
            if number not in planned:
                yield stored
        yield from (stored for stored in planned.values() if stored is not None)


@dataclass(slots=True)
class Step:
    """One planned change of one object."""

    kind: ObjectKind[Any, Any]
    stored: Stored[Any]  #: as it will be written; a deleted object with its last value
    built: Any  #: None for a deletion
    from_version: int  #: 0: a new row
    edit: Edit[Any]


class Planner:
    """Works out edits on one state of the objects."""

    def __init__(self, living: Mapping[str, Living[Any, Any]], numbers: set[int], next_number: int) -> None:
        """`numbers`: every number there ever was; `next_number`: one above them."""
        self._living = living
        self._numbers = numbers
        self._taken: set[int] = set()  # by this plan
        self.next_number = next_number  #: the next free number after what was planned

    def plan(self, wanted: Callable[[View], Sequence[Wanted]], actor: str, now: int) -> list[Step]:
        """Work out every step, or raise what is wrong."""
        draft = _Draft(self._living)
        steps: list[Step] = []
        for one in wanted(draft):
            number = one.number or self._new_number(one.as_number)
            step = self._step(one, number, draft, actor, now)
            draft.plan(one.kind, number, None if step.built is None else step.stored)
            steps.append(step)
        for step in steps:
            after = None if step.built is None else step.stored
            problems = list(step.kind.refuse(step.edit.before, after, draft)) if step.kind.refuse else []
            if problems:
                raise InvalidObject(step.kind.name, problems, step.stored.id)
            if step.kind.warn:
                warnings = list(step.kind.warn(step.edit.before, after, draft))
                step.edit = replace(step.edit, warnings=warnings)
        return steps

    def _new_number(self, preferred: int) -> int:
        free = preferred and preferred not in self._numbers and preferred not in self._taken
        number = preferred if free else self.next_number
        self._taken.add(number)
        self.next_number = max(self.next_number, number + 1)
        return number

    def _step(self, one: Wanted, number: int, draft: _Draft, actor: str, now: int) -> Step:
        """One object's step: checks existence, version, key, value."""
        kind = one.kind
        before = draft.get(kind, number)
        gone = self._living[kind.name].gone.get(number) if one.revive and before is None else None
        if one.number and before is None and gone is None:
            raise ObjectNotFound(kind.name, kind.id(number))
        version = before.version if before else gone.version if gone else 0
        if one.if_match is not None and one.if_match != version:
            by, at = (before.updated_by, before.updated_at) if before else ("", 0)
            by, at = (gone.changed_by, gone.changed_at) if gone else (by, at)
            raise StaleVersion(kind.name, kind.id(number), version, by, at)
        value = one.make(before)
        if value is None:
            assert before is not None
            stored = replace(before, version=version + 1, updated_at=now, updated_by=actor, deleted=True)
            return Step(kind, stored, None, version, Edit(before, None, differences(before.body(), None)))
        key = kind.key(value)
        other = draft.by_key(kind, key)
        if other is not None and other.number != number:
            raise KeyTaken(kind.name, key, other.id)
        stored = Stored(number, kind.id(number), key, version + 1, value, now, actor)
        try:
            built = kind.build(stored)
        except ValueError as error:
            raise InvalidObject(kind.name, [Problem("", "refused", str(error))], stored.id) from error
        diff = differences(before.body() if before else None, stored.body())
        return Step(kind, stored, built, version, Edit(before, stored, diff))


def step_writes(step: Step, revision: int, reason: str) -> list[Write]:
    """The statements of one step."""
    stored = step.stored
    body = body_text(stored.value)
    deleted = int(step.built is None)
    row: dict[str, object] = {
        "key": stored.key,
        "version": stored.version,
        "revision": revision,
        "body": body,
        "updated_at": stored.updated_at,
        "updated_by": stored.updated_by,
        "deleted": deleted,
    }
    if step.from_version:
        change = Write(
            tables.UPDATE_OBJECT,
            {**row, "of_number": stored.number, "of_version": step.from_version},
            expect=1,
        )
    else:
        change = Write(
            tables.INSERT_OBJECT, {**row, "number": stored.number, "kind": step.kind.name}, expect=1
        )
    version: dict[str, object] = {
        "number": stored.number,
        "version": stored.version,
        "at": stored.updated_at,
        "author": stored.updated_by,
        "reason": reason,
        "body": body,
        "deleted": deleted,
    }
    return [change, Write(tables.INSERT_VERSION, version, expect=1)]
