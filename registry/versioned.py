"""What an object is that operators edit, and what may go wrong when they do.

In charge of: kinds, stored objects, versions, edits and their errors. Not in charge of: making edits (`edits.py`) or
the live copies (`snapshot.py`); what an account or a route is (their rooms; `serve.py` registers the kinds).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from ..store.store import Answer
from .documents import Difference, Problem, problems_of

__all__ = [
    "Edit",
    "EditConflict",
    "EditFailed",
    "InvalidObject",
    "KeyTaken",
    "ObjectKind",
    "ObjectNotFound",
    "RegistryError",
    "StaleVersion",
    "Stored",
    "Version",
    "View",
    "body_text",
    "refuse_secrets",
]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored(Generic[M]):
    """An object as it is now."""

    number: int  #: inside; counts over all kinds
    id: str  #: outside: "acc_12"
    key: str  #: what people call it: a system_id, a name, a prefix
    version: int  #: from 1; the ETag
    value: M
    updated_at: int  #: UTC epoch milliseconds
    updated_by: str
    deleted: bool = False

    def body(self) -> dict[str, Any]:
        """The value as a JSON object, every field written out."""
        return self.value.model_dump(mode="json")


class View(Protocol):
    """All objects as they will be after an edit: what hooks judge by."""

    def get(self, kind: ObjectKind[M, Any], number: int) -> Stored[M] | None:
        """A living object by number."""
        ...

    def by_key(self, kind: ObjectKind[M, Any], key: str) -> Stored[M] | None:
        """A living object by key."""
        ...

    def values(self, kind: ObjectKind[M, Any]) -> Iterable[Stored[M]]:
        """Every living object of a kind."""
        ...


#: (before, after, everything after the edit) -> problems; None stands for an object that is not there.
Hook = Callable[["Stored[M] | None", "Stored[M] | None", View], Iterable[Problem]]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectKind(Generic[M, T]):
    """A kind of object. Compared by identity: the room that declares it passes the same one everywhere."""

    name: str  #: "account"; stored with each object
    prefix: str  #: of ids outside: "acc"
    model: type[M]  #: pydantic model with extra="forbid"; holds no secret
    key: Callable[[M], str]  #: what must be unique among the living
    build: Callable[[Stored[M]], T]  #: makes what the live snapshot holds; may refuse with ValueError
    warn: Hook[M] | None = None  #: what the editor should know; stops nothing
    refuse: Hook[M] | None = None  #: what must not be saved, beyond what the model can see

    def id(self, number: int) -> str:
        """The id outside."""
        return f"{self.prefix}_{number}"

    def number_of(self, id: str) -> int:
        """The number inside an id; ObjectNotFound for anything that is no id of this kind."""
        prefix, _, digits = id.rpartition("_")
        if prefix != self.prefix or not (digits.isascii() and digits.isdecimal()) or len(digits) > 9:
            raise ObjectNotFound(self.name, id)
        return int(digits)

    def parse(self, body: Mapping[str, Any]) -> M:
        """A value from a JSON object; raises InvalidObject with every problem, unknown fields among them."""
        try:
            return self.model.model_validate_json(json.dumps(body))
        except ValidationError as error:
            raise InvalidObject(self.name, problems_of(error)) from None
        except (TypeError, ValueError):  # not JSON at all
            raise InvalidObject(self.name, [Problem("", "not-json", "not a JSON object")]) from None


def body_text(value: BaseModel) -> str:
    """The value as it is stored."""
    return json.dumps(value.model_dump(mode="json"), separators=(",", ":"), sort_keys=True)


def refuse_secrets(model: type[BaseModel]) -> None:
    """Raise TypeError for a model with a secret in it, however deep: history, diffs and exports show every field."""
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        for name, described in part.get("properties", {}).items():
            kinds: list[dict[str, Any]] = [described, *described.get("anyOf", ()), described.get("items", {})]
            if any(one.get("format") == "password" for one in kinds):  # what pydantic says of SecretStr
                raise TypeError(
                    f"{model.__name__}: {name} is a secret; keep it in access/, not in the registry"
                )


@dataclass(frozen=True, slots=True)
class Version:
    """One entry of an object's history."""

    number: int
    version: int
    at: int  #: UTC epoch milliseconds
    author: str
    reason: str
    body: Mapping[str, Any]
    deleted: bool  #: the version that deleted it; the body is what it was


@dataclass(frozen=True, slots=True)
class Edit(Generic[M]):
    """What an edit did, or would do."""

    before: Stored[M] | None  #: None: there was nothing
    after: Stored[M] | None  #: None: it is gone
    diff: Sequence[Difference]
    warnings: Sequence[Problem] = field(default_factory=list[Problem])
    dry_run: bool = False


class RegistryError(Exception):
    """An edit that was not made. `kind` is the name of the kind, `what` the id or key."""

    def __init__(self, kind: str, what: str, text: str) -> None:
        """`text` is for people."""
        super().__init__(text)
        self.kind = kind
        self.what = what


class ObjectNotFound(RegistryError):
    """There is no such object, or it is deleted."""

    def __init__(self, kind: str, what: str) -> None:
        """Name what was looked for."""
        super().__init__(kind, what, f"{kind} {what} does not exist")


class StaleVersion(RegistryError):
    """Somebody else was faster: If-Match names a version that is not the present one."""

    def __init__(self, kind: str, what: str, current: int, changed_by: str, changed_at: int) -> None:
        """`current`: present version."""
        super().__init__(kind, what, f"{kind} {what} is at version {current}, changed by {changed_by}")
        self.current = current
        self.changed_by = changed_by
        self.changed_at = changed_at


class KeyTaken(RegistryError):
    """Another living object of the kind has that key."""

    def __init__(self, kind: str, key: str, by: str) -> None:
        """`by`: id of the other object."""
        super().__init__(kind, key, f"{kind} {key} exists already ({by})")
        self.by = by


class InvalidObject(RegistryError):
    """The body is not a valid object of its kind."""

    def __init__(self, kind: str, problems: Sequence[Problem], what: str = "") -> None:
        """`problems`: every one that was found."""
        text = "; ".join(f"{one.pointer or '/'}: {one.detail}" for one in problems)
        super().__init__(kind, what, f"{kind} is not valid: {text}")
        self.problems = list(problems)


class EditConflict(RegistryError):
    """A statement that was to ride along found something else than it expected; nothing was written."""

    def __init__(self, kind: str, what: str) -> None:
        """Name the object."""
        super().__init__(
            kind, what, f"{kind} {what}: a change made at the same time is in the way; try again"
        )


class EditFailed(RegistryError):
    """The store could not write it, or cannot say whether it did (UNKNOWN)."""

    def __init__(self, kind: str, what: str, answer: Answer) -> None:
        """`answer`: the store's."""
        super().__init__(kind, what, f"{kind} {what}: the store answered {answer.value}")
        self.answer = answer
