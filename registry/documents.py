"""JSON documents: merging, comparing, and pointing at what is wrong.

In charge of: merge-patch (RFC 7396), differences named by JSON pointers (RFC 6901), and turning pydantic's complaints
into problems without ever repeating a value. Not in charge of: what the documents mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

from pydantic import ValidationError

__all__ = ["Difference", "Problem", "differences", "merge_patch", "pointer", "problems_of"]

Document = Mapping[str, Any]


class Problem(NamedTuple):
    """Something wrong with, or worth knowing about, one place of a document."""

    pointer: str  #: JSON pointer, e.g. "/numbers/0"; "" is the whole document
    code: str  #: stable slug
    detail: str  #: for people; never holds the value


class Difference(NamedTuple):
    """One change between two documents."""

    op: Literal["add", "remove", "replace"]  #: as RFC 6902 names them
    pointer: str
    before: Any = None
    after: Any = None


def pointer(path: Iterable[str | int]) -> str:
    """A JSON pointer from its steps."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a merge-patch (RFC 7396 §2): objects merge, null removes, anything else replaces. Changes neither."""
    if not isinstance(patch, Mapping):
        return patch
    merged: dict[str, Any] = {}
    if isinstance(target, Mapping):
        merged.update(cast(Document, target))
    for name, value in cast(Document, patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def differences(before: Any, after: Any) -> list[Difference]:
    """What must be done to `before` to get `after`: objects by name, the rest as a whole. None is no document."""
    if before is None or after is None:
        op = "add" if before is None else "remove"
        return [] if before is after else [Difference(op, "", before, after)]
    return list(_compare(before, after, ()))


def _compare(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if all(isinstance(one, Mapping) for one in (before, after)):
        old, new = cast(Document, before), cast(Document, after)
        for name in sorted({*old, *new}):
            here = (*path, name)
            if name not in new:
                yield Difference("remove", pointer(here), before=old[name])
            elif name not in old:
                yield Difference("add", pointer(here), after=new[name])
            else:
                yield from _compare(old[name], new[name], here)
    elif before != after or type(before) is not type(after):
        yield Difference("replace", pointer(path), before, after)


def problems_of(error: ValidationError) -> list[Problem]:
    """Each complaint with the place it is about; the value itself is left out, it may be a secret."""
    codes = {"extra_forbidden": "unknown-field", "missing": "missing-field"}
    found: list[Problem] = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        code = codes.get(one["type"])
        detail = one["msg"].removeprefix("Value error, ")
        found.append(Problem(pointer(one["loc"]), code or one["type"].replace("_", "-"), detail))
    return found
