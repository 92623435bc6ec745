"""Edits on both databases: nobody's work is lost, every step can be undone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from live_store import START_MS, Database
from registry_things import THING, Center, Live, Thing, fresh, run
from sqlalchemy import BigInteger, bindparam, select, update

from restante.outlet import Write
from restante.registry import tables
from restante.registry.planning import Wanted
from restante.registry.versioned import (
    Edit,
    EditConflict,
    EditFailed,
    InvalidObject,
    KeyTaken,
    ObjectNotFound,
    StaleVersion,
    View,
)
from restante.store.statement import Query, Sql
from restante.store.store import Answer, Store

ALL_VERSIONS = Query("test: every version", select(tables.object_version))
OBJECTS = Query("test: every object", select(tables.object_table))


def test_a_new_object_is_live_at_once_and_has_its_first_version(live_database: Database) -> None:
    async def test(center: Center) -> None:
        registry = center.registry
        edit = await registry.create(THING, {"name": "box"}, actor="op_1", reason="needed")
        assert edit.before is None
        assert edit.after is not None
        assert (edit.after.id, edit.after.version, edit.after.key) == ("thg_1", 1, "box")
        assert (edit.after.updated_at, edit.after.updated_by) == (START_MS, "op_1")
        snapshot = registry.snapshot(THING)
        assert snapshot.get("box") == snapshot.by_number(1) == Live(1, "box", "red")
        assert list(snapshot.values()) == [Live(1, "box", "red")]
        assert (await registry.get(THING, 1)).value == Thing(name="box")
        assert (await registry.by_key(THING, "box")).number == 1
        (version,) = await registry.history(THING, 1)
        assert (version.version, version.at, version.author, version.reason) == (
            1,
            START_MS,
            "op_1",
            "needed",
        )
        assert version.body == Thing(name="box").model_dump(mode="json")

    run(live_database, test)


def test_replace_patch_and_their_differences(live_database: Database) -> None:
    async def test(center: Center) -> None:
        registry = center.registry
        await registry.create(THING, {"name": "box", "size": 3, "nested": {"depth": 2}}, actor="a")
        center.clock.step(5)
        edit = await registry.replace(THING, 1, {"name": "chest", "size": 3}, if_match=1, actor="b")
        assert [(one.op, one.pointer) for one in edit.diff] == [
            ("replace", "/name"),
            ("replace", "/nested/depth"),
        ]
        snapshot = registry.snapshot(THING)
        assert snapshot.get("box") is None
        assert snapshot.get("chest") is not None
        edit = await registry.patch(THING, 1, {"nested": {"depth": 9}, "size": None}, if_match=2, actor="c")
        assert edit.after is not None
        assert (edit.after.value.size, edit.after.value.nested.depth, edit.after.version) == (1, 9, 3)
        assert (edit.after.updated_at, edit.after.updated_by) == (START_MS + 5000, "c")
        await registry.create(THING, {"name": "box"}, actor="d")  # the old name is free

    run(live_database, test)


def test_two_operators_cannot_overwrite_each_other(live_database: Database) -> None:
    async def test(center: Center) -> None:
        other = await center.another()
        await center.registry.create(THING, {"name": "box"}, actor="a")
        await other.refresh()
        results = await asyncio.gather(
            center.registry.patch(THING, 1, {"size": 2}, if_match=1, actor="a"),
            other.patch(THING, 1, {"size": 3}, if_match=1, actor="b"),
            center.registry.patch(THING, 1, {"size": 4}, if_match=1, actor="c"),
            other.delete(THING, 1, if_match=1, actor="d"),
            return_exceptions=True,
        )
        won = [one for one in results if not isinstance(one, BaseException)]
        lost = [one for one in results if isinstance(one, BaseException)]
        assert len(won) == 1
        assert len(lost) == 3
        assert all(isinstance(one, StaleVersion | ObjectNotFound) for one in lost), lost
        assert len(await center.registry.history(THING, 1)) == 2

    run(live_database, test)


def test_a_stale_version_says_who_was_faster(live_database: Database) -> None:
    async def test(center: Center) -> None:
        other = await center.another()
        await center.registry.create(THING, {"name": "box"}, actor="a")
        await other.patch(THING, 1, {"size": 2}, if_match=1, actor="maria")
        for edit in (
            center.registry.patch(THING, 1, {"size": 3}, if_match=1, actor="b"),
            center.registry.replace(THING, 1, {"name": "x"}, if_match=1, actor="b"),
            center.registry.delete(THING, 1, if_match=1, actor="b"),
            center.registry.rollback(THING, 1, 1, if_match=1, actor="b"),
            center.registry.patch(THING, 1, {"size": 3}, if_match=7, actor="b", dry_run=True),
        ):
            with pytest.raises(StaleVersion) as caught:
                await edit
            assert (caught.value.current, caught.value.changed_by) == (2, "maria")

    run(live_database, test)


def test_the_database_itself_refuses_what_memory_did_not_know(live_database: Database) -> None:
    """The row's version and the unique key are conditions of the statements, not only of the plan."""

    async def test(center: Center) -> None:
        await center.registry.create(THING, {"name": "box"}, actor="a")
        tampered = Sql(
            "test: an edit from elsewhere that forgot the revision",
            update(tables.object_table).values(version=bindparam("new_version", type_=BigInteger)),
        )
        assert await center.store.apply(writes=[Write(tampered, {"new_version": 5})]) is Answer.STORED
        with pytest.raises(EditConflict):
            await center.registry.patch(THING, 1, {"size": 2}, if_match=1, actor="a")
        assert len(await center.registry.history(THING, 1)) == 1
        # Another key that memory does not know.
        renamed = Sql(
            "test: a rename from elsewhere",
            update(tables.object_table).values(
                key=bindparam("new_key", type_=tables.object_table.c.key.type)
            ),
        )
        assert await center.store.apply(writes=[Write(renamed, {"new_key": "taken"})]) is Answer.STORED
        with pytest.raises(EditConflict):
            await center.registry.create(THING, {"name": "taken"}, actor="a")

    run(live_database, test)


def test_many_creations_on_two_nodes_at_once_all_get_their_own_number(live_database: Database) -> None:
    async def test(center: Center) -> None:
        other = await center.another()
        names = [f"thing-{n}" for n in range(12)]
        edits = await asyncio.gather(
            *(
                (center.registry if n % 2 else other).create(THING, {"name": name}, actor="a")
                for n, name in enumerate(names)
            )
        )
        assert sorted(edit.after.number for edit in edits if edit.after) == list(range(1, 13))
        await center.registry.refresh()
        await other.refresh()
        for registry in (center.registry, other):
            assert sorted(one.name for one in registry.snapshot(THING).values()) == sorted(names)
        assert center.registry.revision == other.revision == 12

    run(live_database, test)


def test_the_same_key_at_once_is_given_once(live_database: Database) -> None:
    async def test(center: Center) -> None:
        other = await center.another()
        results = await asyncio.gather(
            *(one.create(THING, {"name": "box"}, actor="a") for one in (center.registry, other) * 3),
            return_exceptions=True,
        )
        assert sum(isinstance(one, KeyTaken) for one in results) == 5
        assert len(await center.store.fetch(OBJECTS)) == 1
        with pytest.raises(KeyTaken) as caught:
            await center.registry.create(THING, {"name": "box"}, actor="a", dry_run=True)
        assert caught.value.by == "thg_1"

    run(live_database, test)


def test_a_rule_over_all_objects_holds_when_two_nodes_edit_at_once(live_database: Database) -> None:
    """Each edit alone is fine, and their rows do not touch; only one may win."""

    async def test(center: Center) -> None:
        other = await center.another()
        await center.registry.create(THING, {"name": "a"}, actor="x")
        await center.registry.create(THING, {"name": "b"}, actor="x")
        for version in range(1, 11, 2):
            await other.refresh()
            results = await asyncio.gather(
                center.registry.patch(THING, 1, {"big": True}, if_match=version, actor="x"),
                other.patch(THING, 2, {"big": True}, if_match=version, actor="y"),
                return_exceptions=True,
            )
            assert sorted(type(one).__name__ for one in results) == ["Edit", "InvalidObject"]
            for number in (1, 2):  # both at the same version again
                now = await center.registry.get(THING, number)
                for step in range(now.version, version + 2):
                    await center.registry.patch(THING, number, {"big": False}, if_match=step, actor="x")

    run(live_database, test)


def test_a_dry_run_shows_everything_and_does_nothing(live_database: Database) -> None:
    async def test(center: Center) -> None:
        registry = center.registry
        await registry.create(THING, {"name": "box"}, actor="a")
        before = json.dumps([await center.store.fetch(q) for q in (OBJECTS, ALL_VERSIONS)], default=str)
        edit = await registry.create(THING, {"name": "bag", "note": "none"}, actor="a", dry_run=True)
        assert edit.dry_run
        assert edit.after is not None
        assert [one.code for one in edit.warnings] == ["nobody"]
        edit = await registry.patch(THING, 1, {"size": 4}, if_match=1, actor="a", dry_run=True)
        assert [(one.pointer, one.before, one.after) for one in edit.diff] == [("/size", 1, 4)]
        edit = await registry.delete(THING, 1, if_match=1, actor="a", dry_run=True)
        assert edit.after is None
        with pytest.raises(InvalidObject):
            await registry.patch(THING, 1, {"size": 0}, if_match=1, actor="a", dry_run=True)
        assert (
            json.dumps([await center.store.fetch(q) for q in (OBJECTS, ALL_VERSIONS)], default=str) == before
        )
        assert list(registry.snapshot(THING).values()) == [Live(1, "box", "red")]
        assert registry.revision == 1

    run(live_database, test)


def test_rollback_writes_the_old_value_as_a_new_version(live_database: Database) -> None:
    async def test(center: Center) -> None:
        registry = center.registry
        await registry.create(THING, {"name": "box"}, actor="a")
        await registry.patch(THING, 1, {"color": "blue", "name": "chest"}, if_match=1, actor="b")
        edit = await registry.rollback(THING, 1, 1, if_match=2, actor="c")
        assert edit.after is not None
        assert (edit.after.version, edit.after.key, edit.after.value.color) == (3, "box", "red")
        versions = await registry.history(THING, 1)
        assert [one.version for one in versions] == [3, 2, 1]
        assert versions[0].body == versions[2].body
        assert versions[0].reason == "back to version 1"
        with pytest.raises(ObjectNotFound):
            await registry.rollback(THING, 1, 9, if_match=3, actor="c")

    run(live_database, test)


def test_a_deleted_object_can_come_back_unless_its_key_is_taken(live_database: Database) -> None:
    async def test(center: Center) -> None:
        registry = center.registry
        await registry.create(THING, {"name": "box"}, actor="a")
        await registry.delete(THING, 1, if_match=1, actor="a", reason="old")
        with pytest.raises(ObjectNotFound):
            await registry.get(THING, 1)
        with pytest.raises(ObjectNotFound):
            await registry.patch(THING, 1, {"size": 2}, if_match=2, actor="a")
        assert [one.deleted for one in await registry.history(THING, 1)] == [True, False]
        again = await fresh(center.store)  # what was deleted before a restart comes back as well
        with pytest.raises(StaleVersion):
            await again.rollback(THING, 1, 1, if_match=1, actor="a")
        with pytest.raises(InvalidObject):
            await again.rollback(THING, 1, 2, if_match=2, actor="a")
        edit = await again.rollback(THING, 1, 1, if_match=2, actor="a")
        assert edit.after is not None
        assert edit.after.version == 3
        await again.delete(THING, 1, if_match=3, actor="a")
        await again.create(THING, {"name": "box"}, actor="a")
        with pytest.raises(KeyTaken):
            await again.rollback(THING, 1, 1, if_match=4, actor="a")

    run(live_database, test)


def test_warnings_see_what_the_same_edit_changes(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        def thing(name: str, note: str | None) -> Wanted:
            return Wanted(THING, lambda _: Thing(name=name, note=note))

        edits = await center.registry.change_all(lambda _: [thing("a", "b"), thing("b", None)], actor="x")
        assert [list(edit.warnings) for edit in edits] == [[], []]
        edit = await center.registry.delete(THING, 2, if_match=1, actor="x", dry_run=True)
        assert [one.code for one in edit.warnings] == ["in-use"]

    run(sqlite_copy, test)


def test_several_edits_are_one(live_database: Database) -> None:
    async def test(center: Center) -> None:
        await center.registry.create(THING, {"name": "a"}, actor="x")

        def swap(view: View) -> list[Wanted]:
            first = view.by_key(THING, "a")
            assert first is not None
            return [
                Wanted(THING, lambda _: None, first.number),
                Wanted(THING, lambda _: Thing(name="a", size=2)),
                Wanted(THING, lambda _: Thing(name="a")),
            ]

        with pytest.raises(KeyTaken):
            await center.registry.change_all(swap, actor="x")
        assert center.registry.snapshot(THING).by_number(1) is not None
        await center.registry.change_all(lambda view: swap(view)[:2], actor="x")
        assert [one.number for one in center.registry.snapshot(THING).values()] == [2]
        assert center.registry.revision == 2

    run(live_database, test)


def test_riders_share_the_fate_of_the_edit(live_database: Database) -> None:
    """An audit row, a credential: written with the edit or not at all."""
    note = Sql(
        "test: ride along",
        tables.object_version.insert().values(
            {column.name: bindparam(column.name, type_=column.type) for column in tables.object_version.c}
        ),
    )

    def row(number: int) -> dict[str, object]:
        return {
            "number": number,
            "version": 1,
            "at": 0,
            "author": "",
            "reason": "",
            "body": "{}",
            "deleted": 0,
        }

    async def test(center: Center) -> None:
        def of(edit: Edit[Any]) -> list[Write]:
            assert edit.after is not None
            return [Write(note, row(1000 + edit.after.number))]

        await center.registry.create(THING, {"name": "a"}, actor="x", writes=of)
        numbers = {version["number"] for version in await center.store.fetch(ALL_VERSIONS)}
        assert numbers == {1, 1001}
        with pytest.raises(EditConflict):
            await center.registry.create(THING, {"name": "b"}, actor="x", writes=[Write(note, row(1001))])
        assert center.registry.snapshot(THING).get("b") is None
        assert len(await center.store.fetch(OBJECTS)) == 1
        with pytest.raises(InvalidObject):
            await center.registry.create(THING, {"name": "B"}, actor="x", writes=[Write(note, row(2000))])
        await center.registry.create(
            THING, {"name": "c"}, actor="x", dry_run=True, writes=[Write(note, row(2000))]
        )
        assert len(await center.store.fetch(ALL_VERSIONS)) == 2

    run(live_database, test)


def test_a_store_that_takes_nothing_leaves_everything_as_it_was(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        class Full:
            def __init__(self, store: Store) -> None:
                self.store = store

            def __getattr__(self, name: str) -> Any:
                return getattr(self.store, name)

            async def apply(self, **_: object) -> Answer:
                return Answer.FULL

        registry = await fresh(center.store)
        registry._store = Full(center.store)  # type: ignore[assignment]  # all that an edit asks of a store
        with pytest.raises(EditFailed) as caught:
            await registry.create(THING, {"name": "a"}, actor="x")
        assert caught.value.answer is Answer.FULL
        assert registry.snapshot(THING).get("a") is None

    run(sqlite_copy, test)
