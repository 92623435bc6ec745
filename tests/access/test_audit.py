"""The audit trail: rows ride with their change, and whoever changes one is found out."""

from __future__ import annotations

import asyncio

import pytest
from live_store import Database, StepClock
from sqlalchemy import bindparam, delete, update
from sqlalchemy.types import Integer, Text

from restante.access.audit import Audit, Entry
from restante.access.door_tables import audit
from restante.access.key_ring import KeyRing
from restante.outlet import Write
from restante.store.statement import Sql
from restante.store.store import Answer, Store

RING = KeyRing({"00000000": bytes(range(32))})
OTHER = KeyRing({"11111111": bytes(32)})  # somebody else's
DAY_S = 86_400

_CHANGE = Sql(
    "test: change a row behind the trail's back",
    update(audit)
    .where(audit.c.sequence == bindparam("of", type_=Integer))
    .values(reason=bindparam("reason", type_=Text)),
)
_REMOVE = Sql("test: remove a row", delete(audit).where(audit.c.sequence == bindparam("of", type_=Integer)))
_NEVER = Sql("test: touches nothing", delete(audit).where(audit.c.sequence == bindparam("of", type_=Integer)))


async def note(trail: Audit, store: Store, action: str, target: str = "") -> Answer:
    async with trail.entry(Entry("op_1", action, target)) as seal:
        return await store.apply(writes=seal())


def test_rows_are_chained_over_days_and_verify(live_database: Database) -> None:
    async def run() -> None:
        clock = StepClock()
        async with live_database.store(clock) as store:
            trail = Audit(store, RING)
            for _ in range(3):
                assert await note(trail, store, "route.create", target="rte_1") is Answer.STORED
            clock.step(DAY_S)
            await note(trail, store, "route.delete", target="rte_1")
            clock.step(3 * DAY_S)
            await note(trail, store, "account.patch", target="acc_2")
            found = await trail.verify()
            assert found.holds
            assert (found.rows, found.days) == (5, 3)
            rows = await trail.page(limit=10)
            assert [row.sequence for row in rows] == [1, 1, 3, 2, 1]
            assert rows[0].previous == rows[1].mac
            assert found.heads == {str(store.node): rows[0].mac}
            assert [r.target for r in await trail.page(limit=10, action="route.delete")] == ["rte_1"]
            second = await trail.page(limit=2, before=(rows[1].at, rows[1].node, rows[1].sequence))
            assert [row.sequence for row in second] == [3, 2]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (Write(_CHANGE, {"of": 2, "reason": "other"}), "changed"),
        (Write(_REMOVE, {"of": 2}), "missing"),
        (Write(_REMOVE, {"of": 1}), "missing"),
    ],
)
def test_a_change_behind_its_back_is_found(sqlite_copy: Database, write: Write, what: str) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            trail = Audit(store, RING)
            for _ in range(3):
                await note(trail, store, "route.create")
            assert (await trail.verify()).holds
            assert await store.apply(writes=[write]) is Answer.STORED
            found = await trail.verify()
            assert not found.holds
            assert any(what in one.what for one in found.breaks)

    asyncio.run(run())


def test_a_row_made_without_the_key_is_found(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            await note(Audit(store, RING), store, "route.create")
            await note(Audit(store, OTHER), store, "route.delete")
            found = await Audit(store, RING).verify()
            assert found.broken == 1
            assert "without a key of the file" in found.breaks[0].what

    asyncio.run(run())


def test_a_refused_change_leaves_no_row_and_no_gap(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            trail = Audit(store, RING)
            await note(trail, store, "one")
            async with trail.entry(Entry("op_1", "two")) as seal:
                refused = Write(_NEVER, {"of": 99}, expect=1)
                assert await store.apply(writes=[*seal(), refused]) is Answer.CONFLICT
            await note(trail, store, "three")
            assert [row.action for row in await trail.page(limit=9)] == ["three", "one"]
            assert (await trail.verify()).holds

    asyncio.run(run())


def test_many_at_once_stay_a_chain(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            trail = Audit(store, RING)
            answers = await asyncio.gather(*(note(trail, store, f"a{n}") for n in range(30)))
            assert set(answers) == {Answer.STORED}
            found = await trail.verify()
            assert found.holds
            assert found.rows == 30

    asyncio.run(run())


def test_a_clock_that_goes_back_opens_no_older_day(sqlite_copy: Database) -> None:
    async def run() -> None:
        clock = StepClock()
        async with sqlite_copy.store(clock) as store:
            trail = Audit(store, RING)
            await note(trail, store, "one")
            clock.step(-2 * DAY_S)
            await note(trail, store, "two")
            assert (await trail.verify()).holds

    asyncio.run(run())
