"""Messages that came with a restore: counted by the index, and let go while the store is in use. Both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update
from store_tools import eventually, message, opened

from restante import metrics
from restante.outlet import Write
from restante.store import restored, tables, work
from restante.store.restored import Restored
from restante.store.statement import POSTGRESQL, SQLITE, Sql
from restante.store.store import Answer, StoreUnavailable

ELSEWHERE = Sql(
    "test: another node lets one go",
    update(tables.queue)
    .where(
        tables.queue.c.id
        == select(tables.queue.c.id).where(tables.queue.c.owner == -1).limit(1).scalar_subquery()
    )
    .values(owner=0),
)


async def fill(store: Any, waiting: int, other: int) -> set[int]:
    """Rows that wait for a release, and rows that this node works on; the ids of the first."""
    some = [message(store, owner=work.RESTORED) for _ in range(waiting)]
    assert await store.apply(messages=some) is Answer.STORED
    assert await store.apply(messages=[message(store) for _ in range(other)]) is Answer.STORED
    return {one.id for one in some}


def gauge() -> float:
    return metrics.REGISTRY.get_sample_value("restante_store_restored_rows") or 0.0


def test_they_are_let_go_when_asked_and_not_before(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            ids = await fill(store, restored.CHUNK_ROWS + 20, 3)
            room = Restored(store)
            await room.open()
            assert (room.waiting, room.releasing, gauge()) == (len(ids), False, len(ids))
            task = asyncio.create_task(room.run())
            now = store.clock.now_ms()
            assert await store.claim(due_before=now, limit=1000) == []
            room.release()
            assert room.releasing
            await eventually(task.done)  # nothing is left to count
            assert (room.waiting, room.releasing, gauge()) == (0, False, 0)
            room.release()
            assert not room.releasing
            claimed = await store.claim(due_before=store.clock.now_ms(), limit=1000)
            assert {one.message.id for one in claimed} == ids

    asyncio.run(run())


def test_what_others_let_go_is_noticed_and_a_database_that_is_away_is_waited_for(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restored, "COUNT_EVERY_S", 0.01)
    monkeypatch.setattr(restored, "AGAIN_S", 0.01)

    async def run() -> None:
        async with opened(sqlite_url) as store:
            await fill(store, 3, 0)
            room = Restored(store)
            await room.open()
            task = asyncio.create_task(room.run())
            assert await store.bulk([Write(ELSEWHERE, {})]) == [1]
            await eventually(lambda: room.waiting == 2)
            real, asked = store.bulk, 0

            async def away(writes: Any) -> list[int]:
                nonlocal asked
                asked += 1
                if asked < 3:
                    raise StoreUnavailable("gone")
                return await real(writes)

            monkeypatch.setattr(store, "bulk", away)
            room.release()
            await eventually(task.done)
            assert (room.waiting, room.releasing, asked) == (0, False, 3)

    asyncio.run(run())


def test_counting_them_reads_their_part_of_an_index_only(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            await fill(store, 5, 2000)
            dialect = SQLITE if store_url.startswith("sqlite") else POSTGRESQL
            words = "EXPLAIN QUERY PLAN " if dialect is SQLITE else "EXPLAIN "
            compiled = work.RESTORED_ROWS.compiled(dialect)
            if dialect is SQLITE:
                plan = await store._on_writer(
                    lambda: store._connection.execute(
                        words + compiled.text, compiled.arguments({})
                    ).fetchall()
                )
            else:
                async with store._work.acquire() as connection:
                    await connection.execute("ANALYZE queue")
                async with store._reading.acquire() as connection:
                    plan = await connection.fetch(words + compiled.text, *compiled.arguments({}))
            text = " ".join(str(tuple(row)) for row in plan)
            assert "ix_queue_owner" in text, text
            assert "owner" in text.partition("ix_queue_owner")[2], text

    asyncio.run(run())
