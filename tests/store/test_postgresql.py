"""What only PostgreSQL does: commits whose outcome is unknown, lost connections, days that are partitions."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from postgres_plugin import OwnServer
from store_plugin import StepClock
from store_tools import eventually, final, message, opened, put_all, rows, settings

from restante.message import id_at
from restante.store import migrate, partitions, tables
from restante.store.connect import connect
from restante.store.partitions import DAY_MS
from restante.store.postgresql import PostgresqlStore
from restante.store.store import Answer, Release, StoreRefused


async def sql(url: str, text: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(text, *arguments)
    finally:
        await connection.close()


END_WRITER = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'restante writer%'"
)


class CutOff:
    """A connection that is cut off around COMMIT: before it was carried out, or after."""

    def __init__(self, real: Any, url: str, really: bool) -> None:
        self._real, self._url, self._really = real, url, really

    async def execute(self, text: str, *arguments: object, timeout: float | None = None) -> str:
        if text == "COMMIT":
            if self._really:
                await self._real.execute("COMMIT")
            await sql(self._url, END_WRITER)
        return await self._real.execute(text, *arguments, timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def cut_off(store: Any, really: bool) -> None:
    store._writing = CutOff(store._writing, store.settings.url, really)


@pytest.mark.parametrize("really", [False, True])
def test_a_commit_that_was_cut_off_is_looked_up_and_kept_once(postgresql_url: str, really: bool) -> None:
    async def run() -> None:
        async with opened(postgresql_url, heartbeat_s=60) as store:
            one, two = message(store), message(store)
            cut_off(store, really)
            answers = await put_all(
                store, {"messages": (one,)}, {"messages": (two,), "events": (final(store, two.id),)}
            )
            assert answers == [Answer.STORED] * 2
            assert len(await rows(store, tables.event)) == 1
            assert [found.id for found in await store.load([one.id, two.id])] == [one.id, two.id]
            # A batch that inserts nothing is recognised by its number.
            cut_off(store, really)
            assert await store.apply(release=Release(one.id, store.epoch)) is Answer.STORED
            assert [row["id"] for row in await rows(store, tables.queue)] == [two.id]
            # And one that goes change by change by the last row it stored.
            cut_off(store, really)
            three, four = message(store), message(store)
            answers = await put_all(
                store, {"messages": (three,)}, {"messages": (one,)}, {"messages": (four,)}
            )
            assert answers == [Answer.STORED, Answer.CONFLICT, Answer.STORED]
            assert len(await store.load([three.id, four.id])) == 2
            # So it is when the last change that was stored inserts nothing, and a later one cannot be.
            cut_off(store, really)
            answers = await put_all(
                store,
                {"messages": (one,)},
                {"release": Release(three.id, store.epoch)},
                {"release": Release(three.id, 99)},
            )
            assert answers == [Answer.CONFLICT, Answer.STORED, Answer.FENCED]
            assert {row["id"] for row in await rows(store, tables.queue)} == {two.id, four.id}
            await store.beat()
            assert store.health().accepting

    asyncio.run(run())


def test_a_connection_lost_between_batches_is_replaced(postgresql_url: str) -> None:
    async def run() -> None:
        async with opened(postgresql_url, heartbeat_s=60) as store:
            for _ in range(3):
                await sql(postgresql_url, END_WRITER)
                assert await store.apply(messages=[message(store)]) is Answer.STORED
            assert len(await rows(store, tables.message)) == 3

    asyncio.run(run())


def test_a_server_that_is_away_is_waited_for_and_said(pg_own_server: OwnServer) -> None:
    url = pg_own_server.create_database()
    migrate.upgrade(url)

    async def run() -> None:
        async with opened(
            url, durability="power-loss", heartbeat_s=0.1, unknown_after_s=1, dead_after_s=600
        ) as store:
            one = message(store)
            assert await store.apply(messages=[one]) is Answer.STORED
            await asyncio.to_thread(pg_own_server.crash)
            lost = [message(store) for _ in range(3)]
            answers = await put_all(store, *({"messages": (each,)} for each in lost))
            assert set(answers) <= {Answer.FAILED, Answer.UNKNOWN}
            await eventually(lambda: not store.health().accepting)
            await asyncio.to_thread(pg_own_server.start)
            await eventually(lambda: store.health().accepting)
            assert await store.apply(release=Release(one.id, store.epoch)) is Answer.STORED
            failed = [each.id for each, answer in zip(lost, answers, strict=True) if answer is Answer.FAILED]
            assert await store.load(failed) == []

    asyncio.run(run())


def test_a_crash_of_the_server_under_load_loses_nothing_that_was_acknowledged(
    pg_own_server: OwnServer,
) -> None:
    url = pg_own_server.create_database()
    migrate.upgrade(url)

    async def run() -> None:
        async with opened(url, durability="power-loss", heartbeat_s=0.1, unknown_after_s=20) as store:
            acknowledged: list[int] = []
            stop = False

            async def load() -> None:
                while not stop:
                    one = message(store)
                    if await store.apply(messages=[one]) is Answer.STORED:
                        acknowledged.append(one.id)

            workers = [asyncio.create_task(load()) for _ in range(20)]
            await eventually(lambda: len(acknowledged) > 200)
            await asyncio.to_thread(pg_own_server.crash)
            before = len(acknowledged)
            await asyncio.to_thread(pg_own_server.start)
            await eventually(lambda: len(acknowledged) > before + 200)
            stop = True
            await asyncio.gather(*workers)
            found = {row["id"] for row in await rows(store, tables.message)}
            assert set(acknowledged) <= found
            assert len(acknowledged) == len(set(acknowledged))

    asyncio.run(run())


def test_a_server_that_does_not_sync_is_refused(postgresql_url: str) -> None:
    store = connect(settings(postgresql_url, durability="power-loss"))
    with pytest.raises(StoreRefused, match="fsync = off"):
        asyncio.run(store.open())


def test_a_server_that_is_not_there_is_refused(pg_server: Any) -> None:
    with pytest.raises(StoreRefused):
        asyncio.run(connect(settings(f"postgresql://nobody@/none?host={pg_server.folder}/missing")).open())


def test_claims_read_the_due_index(postgresql_url: str) -> None:
    async def run() -> None:
        async with opened(postgresql_url, heartbeat_s=60) as store:
            assert isinstance(store, PostgresqlStore)
            assert store._work is not None
            await put_all(store, *({"messages": (message(store, ours=n % 50 == 0),)} for n in range(2000)))
            now = store.clock.now_ms()
            params = {"due_before": now, "now": now, "limit": 100, "epoch": store.epoch, "floor": 0}
            compiled = store._claim_due
            async with store._work.acquire() as connection:
                plan = await connection.fetch(
                    "EXPLAIN (COSTS OFF) " + compiled.text, *compiled.arguments(params)
                )
            text = "\n".join(row["QUERY PLAN"] for row in plan)
            assert "ix_queue_due_at" in text
            assert "Seq Scan" not in text

    asyncio.run(run())


# --- days -----------------------------------------------------------------------------------------------------


def test_claims_for_a_recipient_are_not_compiled(postgresql_url: str) -> None:
    """The plan settings make a sort look dear enough for it, and compiling takes longer than hundreds of claims."""

    async def run() -> None:
        async with opened(postgresql_url, heartbeat_s=60) as store:
            claim = store._claim_recipient
            arguments = {"due_before": 1, "now": 1, "limit": 10, "epoch": 1, "recipient": "+447700900001"}
            async with store._work.acquire() as borrowed:
                explained = await borrowed.fetch(
                    f"EXPLAIN (ANALYZE) {claim.text}", *claim.arguments(arguments)
                )
            plan = "\n".join(row[0] for row in explained)
            assert "Sort" in plan
            assert "JIT" not in plan

    asyncio.run(run())


async def days(store: Any, table: str = "message") -> list[str]:
    async with store._work.acquire() as connection:
        return await partitions.days_of(connection, table)


def test_days_are_made_ahead_and_rows_do_not_fall_into_the_default(postgresql_url: str) -> None:
    async def run() -> None:
        async with opened(postgresql_url, heartbeat_s=60) as store:
            assert len(await days(store)) == 9
            one = message(store)
            await store.apply(messages=[one], events=[final(store, one.id)])
            for table in partitions.TABLES:
                assert await sql(postgresql_url, f"SELECT * FROM {table}_default") == []
                assert len(await days(store, table)) == 9
            await store.keep_house(store.clock.now_ms(), 0, 0)
            assert len(await days(store)) == 9

    asyncio.run(run())


def test_rows_of_a_missed_day_move_into_it(postgresql_url: str) -> None:
    async def run() -> None:
        clock = StepClock()  # years after the days that were made when the store was opened
        async with opened(postgresql_url, clock, heartbeat_s=60) as store:
            one = message(store)
            await store.apply(messages=[one], events=[final(store, one.id)])
            assert len(await sql(postgresql_url, "SELECT * FROM message_default")) == 1
            await store.keep_house(clock.now_ms(), 0, 0)
            for table in partitions.TABLES:
                assert await sql(postgresql_url, f"SELECT * FROM {table}_default") == []
            assert len(await store.load([one.id])) == 1
            assert partitions.first_id((await days(store))[-9]) <= one.id

    asyncio.run(run())


def test_a_node_begins_although_a_backup_keeps_its_days_from_being_made(postgresql_url: str) -> None:
    async def run() -> None:
        backup = await asyncpg.connect(postgresql_url)
        locks = backup.transaction()
        await locks.start()
        for table in partitions.TABLES:
            await backup.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        async with opened(postgresql_url, heartbeat_s=60) as store:
            assert await days(store) == []
            one = message(store)
            assert await store.apply(messages=[one], events=[final(store, one.id)]) is Answer.STORED
            await store.keep_house(store.clock.now_ms(), 0, 0)
            assert await days(store) == []
            await locks.rollback()
            await backup.close()
            await store.keep_house(store.clock.now_ms(), 0, 0)
            for table in partitions.TABLES:
                assert await sql(postgresql_url, f"SELECT * FROM {table}_default") == []
                assert len(await days(store, table)) == 9
            assert len(await store.load([one.id])) == 1

    asyncio.run(run())


def test_a_day_goes_when_nothing_waits_in_it(postgresql_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(postgresql_url, clock, heartbeat_s=60) as store:
            await store.keep_house(clock.now_ms(), 0, 0)
            here = await days(store)
            over, waits = message(store), message(store, id=id_at(clock.ms - DAY_MS))
            await store.apply(messages=[over, waits])
            await store.apply(release=Release(over.id, store.epoch), events=[final(store, over.id)])
            clock.step(3 * DAY_MS)
            before = clock.ms - clock.ms % DAY_MS
            await store.keep_house(clock.now_ms(), before, before)
            left = await days(store)
            gone = set(here) - set(left)
            assert [found.id for found in await store.load([over.id, waits.id])] == [waits.id]
            assert any(
                partitions.first_id(day) <= over.id < partitions.first_id(day) + id_at(DAY_MS) for day in gone
            )

    asyncio.run(run())
