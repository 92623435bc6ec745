"""Edits on both databases: nobody's work is lost, every step can be undone, everything is live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from live_store import START_MS, Database, StepClock
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import BigInteger, bindparam, select, update
from waiting import soon

from restante.outlet import Write
from restante.registry import tables
from restante.registry.documents import Problem
from restante.registry.edits import Registry
from restante.registry.living import UnknownFilter
from restante.registry.planning import Wanted
from restante.registry.snapshot import Changed
from restante.registry.versioned import (
    Edit,
    EditConflict,
    EditFailed,
    InvalidObject,
    KeyTaken,
    ObjectKind,
    ObjectNotFound,
    StaleVersion,
    Stored,
    View,
)
from restante.store.statement import Query, Sql
from restante.store.store import Answer, Store


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: int = 1


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern="^[a-z0-9-]+$")
    color: str = "red"
    size: int = Field(default=1, ge=1)
    tags: tuple[str, ...] = ()
    big: bool = False
    note: str | None = None
    nested: Nested = Nested()


@dataclass(frozen=True)
class Live:
    number: int
    name: str
    color: str


def build(stored: Stored[Thing]) -> Live:
    if stored.value.color == "octarine":
        raise ValueError("cannot be built in that color")
    return Live(stored.number, stored.value.name, stored.value.color)


def warn(before: Stored[Thing] | None, after: Stored[Thing] | None, view: View) -> Iterable[Problem]:
    if after is not None and after.value.note and view.by_key(THING, after.value.note) is None:
        yield Problem("/note", "nobody", "names a thing that does not exist")
    if after is None and before is not None:
        for other in view.values(THING):
            if other.value.note == before.key:
                yield Problem("", "in-use", f"{other.id} names it")


def refuse(before: Stored[Thing] | None, after: Stored[Thing] | None, view: View) -> Iterable[Problem]:
    if after is not None and sum(other.value.big for other in view.values(THING)) > 1:
        yield Problem("/big", "one-only", "there is a big one already")


THING: ObjectKind[Thing, Live] = ObjectKind("thing", "thg", Thing, lambda t: t.name, build, warn, refuse)
OTHER: ObjectKind[Nested, int] = ObjectKind(
    "other", "oth", Nested, lambda n: str(n.depth), lambda s: s.value.depth
)

Test = Callable[["Center"], Coroutine[Any, Any, None]]


@dataclass
class Center:
    """A store and a registry on it; `another` is one of another process."""

    database: Database
    clock: StepClock
    store: Store
    registry: Registry
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def another(self) -> Registry:
        """On PostgreSQL another node's; SQLite is one process, so there a second memory on the same store."""
        store = self.store
        if not self.database.url.startswith("sqlite"):
            store = await self.stack.enter_async_context(self.database.store(self.clock, "other"))
        return await fresh(store)


async def fresh(store: Store) -> Registry:
    registry = Registry(store)
    registry.register(THING)
    registry.register(OTHER)
    await registry.open()
    return registry


@asynccontextmanager
async def opened(database: Database) -> AsyncGenerator[Center]:
    clock = StepClock()
    async with database.store(clock) as store, AsyncExitStack() as stack:
        yield Center(database, clock, store, await fresh(store), stack)


def run(database: Database, test: Test) -> None:
    async def main() -> None:
        async with opened(database) as center:
            await test(center)

    asyncio.run(main())


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


def test_everything_is_there_again_after_a_restart(live_database: Database) -> None:
    async def test(center: Center) -> None:
        await center.registry.create(THING, {"name": "box"}, actor="op_1")
        await center.registry.create(OTHER, {"depth": 3}, actor="op_1")
        await center.registry.patch(THING, 1, {"color": "blue"}, if_match=1, actor="op_1")
        await center.registry.delete(OTHER, 2, if_match=1, actor="op_1")
        again = await fresh(center.store)
        assert list(again.snapshot(THING).values()) == [Live(1, "box", "blue")]
        assert not list(again.snapshot(OTHER).values())
        edit = await again.create(OTHER, {"depth": 3}, actor="op_1")
        assert edit.after is not None
        assert edit.after.number == 3  # numbers never come again

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


def test_edits_elsewhere_are_live_within_a_second(live_database: Database) -> None:
    async def test(center: Center) -> None:
        other = await center.another()
        seen: list[Changed[Live]] = []
        other.snapshot(THING).on_change(seen.extend)
        watching = asyncio.create_task(other.watch(0.05))
        try:
            await center.registry.create(THING, {"name": "box"}, actor="a")

            async def arrived() -> bool:
                return other.snapshot(THING).get("box") is not None

            await soon(arrived)
            await center.registry.patch(THING, 1, {"color": "blue"}, if_match=1, actor="a")
            await center.registry.delete(THING, 1, if_match=2, actor="a")

            async def gone() -> bool:
                return other.snapshot(THING).get("box") is None

            await soon(gone)
        finally:
            watching.cancel()
        assert seen[0] == Changed(1, None, Live(1, "box", "red"))
        assert seen[-1].after is None

    run(live_database, test)


def test_listeners_hear_each_change_once_and_cannot_break_an_edit(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        heard: list[Changed[Live]] = []

        def broken(changes: object) -> None:
            raise RuntimeError("a listener's fault")

        snapshot = center.registry.snapshot(THING)
        snapshot.on_change(broken)
        snapshot.on_change(heard.extend)
        await center.registry.create(THING, {"name": "box"}, actor="a")
        await center.registry.create(OTHER, {}, actor="a")
        await center.registry.refresh()
        assert heard == [Changed(1, None, Live(1, "box", "red"))]
        revision = snapshot.revision
        await center.registry.patch(THING, 1, {"color": "blue"}, if_match=1, actor="a")
        assert heard[1:] == [Changed(1, Live(1, "box", "red"), Live(1, "box", "blue"))]
        assert snapshot.revision > revision

    run(sqlite_copy, test)


def test_a_look_up_taken_early_stays_live(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        find = center.registry.snapshot(THING).get
        by_number = center.registry.snapshot(THING).by_number
        await center.registry.create(THING, {"name": "box"}, actor="a")
        assert find("box") is by_number(1) is not None

    run(sqlite_copy, test)


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


def test_unknown_fields_and_wrong_values_are_refused_where_they_stand(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        with pytest.raises(InvalidObject) as caught:
            await center.registry.create(
                THING, {"name": "Box!", "nested": {"deep": 1}, "colour": "red"}, actor="a"
            )
        assert {(one.pointer, one.code) for one in caught.value.problems} == {
            ("/name", "string-pattern-mismatch"),
            ("/nested/deep", "unknown-field"),
            ("/colour", "unknown-field"),
        }
        with pytest.raises(InvalidObject) as caught:
            await center.registry.create(THING, {"name": "box", "color": "octarine"}, actor="a")
        assert caught.value.problems == [Problem("", "refused", "cannot be built in that color")]
        with pytest.raises(InvalidObject):
            await center.registry.create(THING, {"name": {1, 2}}, actor="a")
        await center.registry.create(THING, {"name": "one", "big": True}, actor="a")
        with pytest.raises(InvalidObject) as caught:
            await center.registry.create(THING, {"name": "two", "big": True}, actor="a")
        assert [one.code for one in caught.value.problems] == ["one-only"]

    run(sqlite_copy, test)


def test_texts_with_nul_and_lone_surrogates_do_not_reach_the_database(live_database: Database) -> None:
    async def test(center: Center) -> None:
        await center.registry.create(THING, {"name": "box", "color": "a\0b"}, actor="a", reason="x\0y")
        assert (await center.registry.get(THING, 1)).value.color == "a\0b"
        with pytest.raises(InvalidObject):
            await center.registry.create(THING, {"name": "bag", "color": "\ud800"}, actor="a")

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


def test_lists_come_in_pages_by_key_and_can_be_filtered(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        registry = center.registry
        for n in range(25):
            body = {"name": f"t-{n:02}", "color": "red" if n % 2 else "blue", "tags": [f"k{n % 3}"]}
            await registry.create(THING, body, actor="x")
        keys: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await registry.page(THING, after=after, limit=10)
            keys += [stored.key for stored in page.items]
            after = page.next_after
            if len(keys) == 10:  # a row that comes in between, before the cursor: no repetition
                await registry.create(THING, {"name": "a-first"}, actor="x")
        assert keys == [f"t-{n:02}" for n in range(25)]
        red = await registry.page(THING, filters={"color": "red", "tags": "k0"}, limit=3)
        assert [stored.key for stored in red.items] == ["t-03", "t-09", "t-15"]
        assert red.next_after == "t-15"
        last = await registry.page(THING, filters={"color": "red", "tags": "k0"}, after="t-15")
        assert ([stored.key for stored in last.items], last.next_after) == (["t-21"], None)
        assert len((await registry.page(THING, q="T-1")).items) == 10
        assert len((await registry.page(THING, filters={"nested.depth": "1", "big": "false"})).items) == 26
        assert len((await registry.page(THING, filters={"note": ""})).items) == 26
        with pytest.raises(UnknownFilter):
            await registry.page(THING, filters={"colour": "red"})

    run(sqlite_copy, test)


def test_history_comes_in_pages(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        await center.registry.create(THING, {"name": "a"}, actor="x")
        for n in range(1, 6):
            await center.registry.patch(THING, 1, {"size": n + 1}, if_match=n, actor="x")
        first = await center.registry.history(THING, 1, limit=4)
        assert [one.version for one in first] == [6, 5, 4, 3]
        rest = await center.registry.history(THING, 1, before=first[-1].version)
        assert [one.version for one in rest] == [2, 1]
        with pytest.raises(ObjectNotFound):
            await center.registry.history(THING, 2)
        with pytest.raises(ObjectNotFound):
            await center.registry.history(OTHER, 1)  # another kind's number

    run(sqlite_copy, test)


def test_a_row_that_cannot_be_read_leaves_the_rest_alive(sqlite_copy: Database) -> None:
    """A newer node wrote a field that this one does not know."""

    async def test(center: Center) -> None:
        await center.registry.create(THING, {"name": "a"}, actor="x")
        await center.registry.create(THING, {"name": "b"}, actor="x")
        garble = Sql(
            "test: garble a body",
            update(tables.object_table)
            .where(tables.object_table.c.number == 1)
            .values(body=bindparam("new_body", type_=tables.object_table.c.body.type)),
        )
        await center.store.apply(writes=[Write(garble, {"new_body": '{"name":"a","newer":1}'})])
        again = await fresh(center.store)
        assert [one.name for one in again.snapshot(THING).values()] == ["b"]

    run(sqlite_copy, test)


def test_ids_are_read_strictly() -> None:
    assert THING.number_of("thg_12") == 12
    for wrong in ("acc_12", "thg_", "thg_x", "12", "thg_１２", "thg_-1", "thg_1e9", "thg_99999999999", ""):
        with pytest.raises(ObjectNotFound):
            THING.number_of(wrong)


class WithSecret(BaseModel):
    inner: list[SecretStr] = []


def test_a_kind_with_a_secret_is_refused() -> None:
    kind: ObjectKind[WithSecret, int] = ObjectKind("s", "s", WithSecret, lambda _: "x", lambda _: 1)
    registry = Registry(None)  # type: ignore[arg-type]  # not asked before open
    with pytest.raises(TypeError, match="inner is a secret"):
        registry.register(kind)
    registry.register(THING)
    with pytest.raises(ValueError, match="registered already"):
        registry.register(THING)
