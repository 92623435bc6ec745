"""What a node knows: live at once, within a second elsewhere, again after a restart; lists, histories, bad rows."""

from __future__ import annotations

import asyncio
import random

import pytest
from live_store import Database
from pydantic import BaseModel, SecretStr
from registry_things import OTHER, THING, Center, Live, Thing, fresh, run
from sqlalchemy import bindparam, update
from waiting import soon

from restante.outlet import Write
from restante.registry import tables
from restante.registry.documents import Problem
from restante.registry.edits import Registry
from restante.registry.living import Living, UnknownFilter
from restante.registry.snapshot import Changed, Snapshot
from restante.registry.versioned import (
    InvalidObject,
    ObjectKind,
    ObjectNotFound,
    Stored,
)
from restante.store.statement import Sql


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


def test_what_is_absorbed_bit_by_bit_is_as_if_built_anew() -> None:
    """Creations, renamings (keys that change hands too), deletions and returns, in batches of any size."""
    rnd = random.Random(12)
    living: Living[Thing, Live] = Living(THING, Snapshot[Live]())
    model: dict[int, str] = {}
    heard: list[Changed[Live]] = []
    living.snapshot.on_change(heard.extend)
    for revision in range(1, 400):
        wanted = dict(model)
        for number in rnd.sample(range(1, 40), rnd.randrange(1, 6)):
            wanted.pop(number, None)
            if rnd.random() < 0.7:
                free = sorted({f"k{n}" for n in range(60)} - set(wanted.values()))
                wanted[number] = rnd.choice(free)
        touched = [n for n in range(1, 40) if model.get(n) != wanted.get(n)]
        rnd.shuffle(touched)
        news: list[tuple[Stored[Thing], Live | None]] = []
        for number in touched:
            key = wanted.get(number, model.get(number, ""))
            stored = Stored(number, f"thg_{number}", key, revision, Thing(name=key), 0, "op_1")
            news.append((stored, Live(number, key, "red") if number in wanted else None))
        heard.clear()
        living.absorb(news, revision)
        assert {one.number for one in heard} == set(touched)
        assert {one.number: one.before.name for one in heard if one.before} == {
            n: model[n] for n in touched if n in model
        }
        model = wanted
        assert [(one.number, one.name) for one in living.snapshot.values()] == sorted(model.items())
        assert living.in_order() == sorted(model.values())
        for number, key in model.items():
            by_key, by_number = living.snapshot.get(key), living.snapshot.by_number(number)
            assert by_key is by_number
            assert by_key is not None
        assert len(living.snapshot) == len(living.by_key) == len(living.keys) == len(model)
