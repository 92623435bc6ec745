"""Export and import: all objects as one document, all or nothing, and nothing secret in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from live_store import Database
from pydantic import BaseModel, ConfigDict

from restante.registry.definitions import FORMAT, export_definitions, import_definitions
from restante.registry.edits import Registry
from restante.registry.versioned import InvalidObject, ObjectKind
from restante.store.store import Store


class Cat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    lives: int = 9


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    chases: str = ""


CAT: ObjectKind[Cat, Cat] = ObjectKind("cat", "cat", Cat, lambda c: c.name, lambda s: s.value)
DOG: ObjectKind[Dog, Dog] = ObjectKind("dog", "dog", Dog, lambda d: d.name, lambda s: s.value)


async def registry_on(store: Store) -> Registry:
    registry = Registry(store)
    registry.register(CAT)
    registry.register(DOG)
    await registry.open()
    return registry


def run(database: Database, test: Callable[[Registry], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with database.store() as store:
            await test(await registry_on(store))

    asyncio.run(main())


def document(**objects: Any) -> dict[str, Any]:
    return {"format": FORMAT, "objects": objects}


async def fill(registry: Registry) -> None:
    await registry.create(CAT, {"name": "tom"}, actor="x")
    await registry.create(CAT, {"name": "gone"}, actor="x")
    await registry.create(DOG, {"name": "rex", "chases": "tom"}, actor="x")
    await registry.delete(CAT, 2, if_match=1, actor="x")


def test_an_export_names_every_living_object(live_database: Database) -> None:
    exported: dict[str, Any] = {}

    async def make(registry: Registry) -> None:
        await fill(registry)
        exported.update(json.loads(json.dumps(await export_definitions(registry))))

    run(live_database, make)
    assert exported["objects"] == {
        "cat": [{"id": "cat_1", "value": {"name": "tom", "lives": 9}}],
        "dog": [{"id": "dog_3", "value": {"name": "rex", "chases": "tom"}}],
    }


def test_an_import_gives_the_same_ids_where_they_are_free(sqlite_copy: Database) -> None:
    async def test(registry: Registry) -> None:
        done = await import_definitions(
            registry,
            document(
                dog=[{"id": "dog_30", "value": {"name": "rex"}}],
                cat=[
                    {"id": "cat_7", "value": {"name": "tom"}},
                    {"id": "cat_7", "value": {"name": "kit"}},
                ],
            ),
            actor="x",
        )
        numbers = {edit.after.key: edit.after.number for edit in done.edits if edit.after}
        assert (numbers["tom"], numbers["rex"]) == (7, 30)
        assert len(set(numbers.values())) == 3
        edit = await registry.create(CAT, {"name": "next"}, actor="x")
        assert edit.after is not None
        assert edit.after.number == 31
        again = await export_definitions(registry)
        assert (await import_definitions(registry, again, actor="x")).unchanged == 4
        assert registry.revision == 2
        # A number that was used before, by whatever, is not given again.
        await registry.delete(CAT, 7, if_match=1, actor="x")
        done = await import_definitions(
            registry, document(cat=[{"id": "cat_7", "value": {"name": "tom"}}]), actor="x"
        )
        assert done.edits[0].after is not None
        assert done.edits[0].after.number == 32

    run(sqlite_copy, test)


def test_an_import_changes_what_differs_and_deletes_only_when_asked(live_database: Database) -> None:
    async def test(registry: Registry) -> None:
        await fill(registry)
        wanted = document(cat=[{"value": {"name": "kit"}}, {"value": {"name": "tom", "lives": 8}}])
        preview = await import_definitions(registry, wanted, actor="y", dry_run=True, prune=True)
        assert [edit.dry_run for edit in preview.edits] == [True, True]
        assert registry.snapshot(CAT).get("kit") is None
        await import_definitions(registry, wanted, actor="y", reason="move")
        tom = await registry.by_key(CAT, "tom")
        assert (tom.number, tom.version, tom.value.lives) == (1, 2, 8)
        assert (await registry.history(CAT, 1))[0].reason == "move"
        assert registry.snapshot(DOG).get("rex") is not None
        fewer = document(cat=[{"value": {"name": "kit"}}])
        done = await import_definitions(registry, fewer, actor="y", prune=True)
        assert [edit.after for edit in done.edits] == [None]
        assert done.unchanged == 1
        assert registry.snapshot(CAT).get("tom") is None
        assert registry.snapshot(DOG).get("rex") is not None  # a kind that is not named is left alone

    run(live_database, test)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"format": 99, "objects": {}}, {"/format"}),
        ({"format": FORMAT}, {"/objects"}),
        (document(bird=[]), {"/objects/bird"}),
        (document(cat={}), {"/objects/cat"}),
        (document(cat=[1, {"value": {"name": "a"}, "password": "x"}]), {"/objects/cat/0", "/objects/cat/1"}),
        (
            document(cat=[{"value": {"name": "a", "lives": "many"}}, {"value": {}}]),
            {"/objects/cat/0/value/lives", "/objects/cat/1/value/name"},
        ),
        (document(cat=[{"value": {"name": "a"}}, {"value": {"name": "a"}}]), {"/objects/cat/1"}),
        (document(cat=[{"id": "dog_1", "value": {"name": "a"}}]), {"/objects/cat/0/id"}),
        (document(cat=[{"value": None}, {"id": "cat_1"}]), {"/objects/cat/0/value", "/objects/cat/1/value"}),
    ],
)
def test_a_wrong_document_is_refused_as_a_whole(sqlite_copy: Database, wrong: Any, where: set[str]) -> None:
    async def test(registry: Registry) -> None:
        with pytest.raises(InvalidObject) as caught:
            await import_definitions(registry, wrong, actor="x")
        assert {one.pointer for one in caught.value.problems} == where
        assert registry.revision == 0

    run(sqlite_copy, test)


def test_a_thousand_objects_are_one_edit(sqlite_copy: Database) -> None:
    async def test(registry: Registry) -> None:
        cats = [{"value": {"name": f"cat-{n}"}} for n in range(1000)]
        done = await import_definitions(registry, document(cat=cats), actor="x")
        assert len(done.edits) == 1000
        assert registry.revision == 1
        assert len(registry.snapshot(CAT)) == 1000
        exported = await export_definitions(registry)
        assert len(exported["objects"]["cat"]) == 1000

    run(sqlite_copy, test)
