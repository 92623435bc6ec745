"""All objects as one document: to look at, to keep beside the code, to carry to another center.

In charge of: export, and import with a dry run, in one transaction. Not in charge of: credentials and subscribers:
they are no objects of the registry and never exported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from .documents import Problem, pointer
from .edits import Registry, Riders
from .planning import Wanted
from .versioned import Edit, InvalidObject, ObjectKind, ObjectNotFound, Stored, View, body_text

__all__ = ["FORMAT", "Imported", "export_definitions", "import_definitions"]

FORMAT = 1  #: of the document

DOCUMENT = "definitions"  #: what errors call the document as a whole


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do."""

    edits: Sequence[Edit[Any]]
    unchanged: int  #: objects that are like that already


async def export_definitions(registry: Registry) -> dict[str, Any]:
    """Every living object: {"format": 1, "revision": …, "objects": {"account": [{"id": …, "value": {…}}]}}."""
    objects: dict[str, list[dict[str, Any]]] = {}
    for kind in registry.kinds():
        entries = objects[kind.name] = []
        after = ""
        while True:
            page = await registry.page(kind, after=after, limit=1000)
            entries.extend({"id": stored.id, "value": stored.body()} for stored in page.items)
            if page.next_after is None:
                break
            after = page.next_after
    return {"format": FORMAT, "revision": registry.revision, "objects": objects}


async def import_definitions(
    registry: Registry,
    document: Mapping[str, Any],
    *,
    actor: str,
    reason: str = "",
    dry_run: bool = False,
    prune: bool = False,
    writes: Riders = (),
) -> Imported:
    """Make the registry like the document: all of it or, if anything is wrong, nothing.

    Objects are matched by kind and key. A new one takes the number of its "id" if that number was never used here, so
    that an empty center gets the same ids. `prune` deletes living objects that the document lacks, of the kinds that it
    names. Raises InvalidObject with pointers into the document, and what edits raise.
    """
    wanted = _parse(registry, document)
    unchanged = 0

    def plan(view: View) -> list[Wanted]:
        nonlocal unchanged
        unchanged = 0
        plans: list[Wanted] = []
        for kind, entries in wanted:
            if prune:
                kept = {kind.key(value) for _, value in entries}
                gone = [stored for stored in view.values(kind) if stored.key not in kept]
                plans += [Wanted(kind, lambda _: None, stored.number) for stored in gone]
            for number, value in entries:
                found = view.by_key(kind, kind.key(value))
                if found is not None and body_text(found.value) == body_text(value):
                    unchanged += 1
                else:
                    plans.append(Wanted(kind, _always(value), found.number if found else 0, as_number=number))
        return plans

    edits = await registry.change_all(
        plan, actor=actor, reason=reason or "import", dry_run=dry_run, writes=writes
    )
    return Imported(edits, unchanged)


def _always(value: BaseModel) -> Callable[[Stored[Any] | None], BaseModel]:
    return lambda _: value


def _parse(
    registry: Registry, document: Mapping[str, Any]
) -> list[tuple[ObjectKind[Any, Any], list[tuple[int, BaseModel]]]]:
    """The document's objects as values with the numbers they had, in the registry's order of kinds."""
    problems: list[Problem] = []
    if document.get("format") != FORMAT:
        problems.append(Problem("/format", "unknown-format", f"this center reads format {FORMAT}"))
    objects = document.get("objects")
    if not isinstance(objects, Mapping):
        raise InvalidObject(
            DOCUMENT, [*problems, Problem("/objects", "missing-field", "an object of lists is needed")]
        )
    by_kind = cast("Mapping[str, Any]", objects)
    names = {kind.name for kind in registry.kinds()}
    for name in sorted(set(by_kind) - names):
        problems.append(Problem(pointer(("objects", name)), "unknown-field", "there is no such kind"))
    found: list[tuple[ObjectKind[Any, Any], list[tuple[int, BaseModel]]]] = []
    for kind in registry.kinds():
        if kind.name in by_kind:
            found.append((kind, _entries(kind, by_kind[kind.name], problems)))
    if problems:
        raise InvalidObject(DOCUMENT, problems)
    return found


def _entries(kind: ObjectKind[Any, Any], listed: Any, problems: list[Problem]) -> list[tuple[int, BaseModel]]:
    """The values of one kind; what is wrong is added to `problems`."""
    entries: list[tuple[int, BaseModel]] = []
    keys: set[str] = set()
    if not isinstance(listed, list):
        problems.append(Problem(pointer(("objects", kind.name)), "not-a-list", "a list of objects is needed"))
        return entries
    for index, entry in enumerate(cast("list[Any]", listed)):
        here = ("objects", kind.name, index)
        if not isinstance(entry, Mapping) or set(cast("Mapping[str, Any]", entry)) - {"id", "value"}:
            problems.append(Problem(pointer(here), "not-an-entry", 'an entry has "value" and may have "id"'))
            continue
        fields = cast("Mapping[str, Any]", entry)
        try:
            value = kind.parse(fields.get("value"))  # type: ignore[arg-type]  # anything else is refused as not JSON
            number = kind.number_of(str(fields["id"])) if "id" in fields else 0
        except InvalidObject as error:
            problems += [
                one._replace(pointer=pointer((*here, "value")) + one.pointer) for one in error.problems
            ]
        except ObjectNotFound:
            problems.append(
                Problem(pointer((*here, "id")), "not-an-id", f"ids here start with {kind.prefix}_")
            )
        else:
            if kind.key(value) in keys:
                problems.append(Problem(pointer(here), "key-twice", f"{kind.key(value)} stands here twice"))
            keys.add(kind.key(value))
            entries.append((number, value))
    return entries
