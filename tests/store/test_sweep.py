"""Retention: text and history have ages of their own, and what waits is never touched. Both databases."""

from __future__ import annotations

import asyncio

from sqlalchemy import insert
from store_plugin import StepClock
from store_tools import DAY_MS, final, message, opened, put_all, rows

from restante.outlet import Write
from restante.store import tables
from restante.store.engine import Engine
from restante.store.settings import RetentionSettings
from restante.store.statement import Sql
from restante.store.store import Answer, Release
from restante.store.sweep import Sweep

ANSWER_ROW = Sql("test: remember an answer", insert(tables.idempotency))


async def over(store: Engine, number: int) -> list[int]:
    """Messages that are delivered."""
    some = [message(store, body=bytes([n % 256])) for n in range(number)]
    assert set(await put_all(store, *({"messages": (one,)} for one in some))) == {Answer.STORED}
    ends = ({"release": Release(one.id, store.epoch), "events": (final(store, one.id),)} for one in some)
    assert set(await put_all(store, *ends)) == {Answer.STORED}
    return [one.id for one in some]


async def left(store: Engine) -> tuple[set[int], set[int], set[int]]:
    """Ids in message, body and event."""
    return (
        {row["id"] for row in await rows(store, tables.message)},
        {row["message"] for row in await rows(store, tables.body)},
        {row["message"] for row in await rows(store, tables.event)},
    )


def sweep(store: Engine, text_days: int, history_days: int) -> Sweep:
    return Sweep(store, RetentionSettings(text_days=text_days, history_days=history_days))


def test_text_goes_before_history_and_what_waits_stays(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            housekeeping = sweep(store, text_days=2, history_days=5)
            await housekeeping.once()  # days
            old = set(await over(store, 300))
            waiting = message(store)
            await store.apply(messages=[waiting], events=[final(store, waiting.id)])
            keeps = {waiting.id}
            everything = old | keeps
            await housekeeping.once()
            assert await left(store) == (everything, everything, everything)
            clock.step(3 * DAY_MS + 1000)
            await store.beat()  # ids follow the clock
            young = set(await over(store, 3))
            await housekeeping.once()
            assert await left(store) == (everything | young, keeps | young, everything | young)
            clock.step(3 * DAY_MS)
            await housekeeping.once()
            assert await left(store) == (keeps | young, keeps, keeps | young)
            await store.apply(release=Release(waiting.id, store.epoch))
            await housekeeping.once()
            assert await left(store) == (young, set(), young)

    asyncio.run(run())


def test_an_event_that_comes_after_its_message_went_goes_too(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            housekeeping = sweep(store, text_days=1, history_days=1)
            await housekeeping.once()
            (id,) = await over(store, 1)
            clock.step(4 * DAY_MS)
            await housekeeping.once()
            assert await left(store) == (set(), set(), set())
            await store.apply(events=[final(store, id)])
            await housekeeping.once()
            assert await left(store) == (set(), set(), set())

    asyncio.run(run())


def test_nothing_goes_when_nothing_is_said(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            ids = set(await over(store, 5))
            clock.step(3000 * DAY_MS)
            await sweep(store, text_days=0, history_days=0).once()
            assert await left(store) == (ids, ids, ids)

    asyncio.run(run())


def test_answers_are_forgotten(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            for key, lives in (("short", 1000), ("long", 5000)):
                params = {"account": 1, "key": key, "digest": "", "answer": "{}"}
                write = Write(ANSWER_ROW, {**params, "expires_at": clock.ms + lives}, expect=1)
                assert await store.apply(writes=[write]) is Answer.STORED
            clock.step(2000)
            await sweep(store, 1, 1).once()
            assert [row["key"] for row in await rows(store, tables.idempotency)] == ["long"]

    asyncio.run(run())


def test_sqlite_gives_pages_back(sqlite_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(sqlite_url, clock, heartbeat_s=60) as store:
            some = [message(store, body=bytes(60_000)) for _ in range(600)]
            await put_all(store, *({"messages": (one,)} for one in some))
            await put_all(store, *({"release": Release(one.id, store.epoch)} for one in some))

            def pages(name: str) -> int:
                return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

            before = await store._on_writer(lambda: pages("page_count"))
            clock.step(40 * DAY_MS)
            housekeeping = sweep(store, 30, 0)
            await housekeeping.once()
            await housekeeping.once()
            after = await store._on_writer(lambda: pages("page_count"))
            assert after < before * 0.7
            assert await store._on_writer(lambda: pages("freelist_count")) <= 4096

    asyncio.run(run())
