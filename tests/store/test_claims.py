"""Claims take what nobody owns, in order, once. Both databases.

In charge of `claim` and `next_due`; who is dead is in test_nodes.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

from store_plugin import StepClock
from store_tools import epochs, message, opened, put_all, rows

from restante.store import tables
from restante.store.engine import Engine
from restante.store.store import Answer, QueueReason, Requeue

FAR = 1 << 60


async def wait(store: Engine, due: int, reason: str = QueueReason.RETRY, **other: Any) -> int:
    """A message in the queue that nobody owns."""
    one = message(store, ours=False, **other)
    assert await store.apply(messages=[one], reasons=[reason], due_at=[due]) is Answer.STORED
    return one.id


def test_due_rows_come_in_due_order_and_become_ours(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock) as store:
            now = clock.now_ms()
            third, first, second = (
                await wait(store, now - 1),
                await wait(store, now - 30),
                await wait(store, now - 30),
            )
            later = await wait(store, now + 10)
            assert await store.next_due() == now - 30
            two = await store.claim(due_before=now, limit=2)
            assert [work.message.id for work in two] == [first, second]
            assert [work.message.owner for work in two] == [store.epoch] * 2
            assert [(work.due_at, work.attempts, work.reason) for work in two] == [(now - 30, 0, "retry")] * 2
            assert two[0].message.body == b"Your parcel waits."
            assert [work.message.id for work in await store.claim(due_before=now, limit=9)] == [third]
            assert await store.claim(due_before=now, limit=9) == []
            assert await epochs(store) == {first: 1, second: 1, third: 1, later: 0}
            assert await store.next_due() == now + 10
            clock.step(10)
            assert [work.message.id for work in await store.claim(due_before=now + 10, limit=9)] == [later]
            assert await store.next_due() is None

    asyncio.run(run())


def test_a_recipient_seen_again_gets_what_may_be_early(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock) as store:
            now = clock.now_ms()
            low = await wait(store, now + 9000)
            high = await wait(store, now + 9000, priority_flag=3)
            low_too = await wait(store, now + 1)
            for reason in (QueueReason.HELD, QueueReason.QUARANTINED, QueueReason.SCHEDULED):
                await wait(store, now + 5, reason)
            await wait(store, now, recipient="+447700900002")
            due_held = await wait(store, now, QueueReason.HELD)
            works = await store.claim(due_before=FAR, limit=10, recipient="+447700900001")
            assert [work.message.id for work in works] == [high, low, low_too, due_held]

    asyncio.run(run())


def test_a_row_below_the_floor_is_found_again(store_url: str) -> None:
    """After an exhausting claim, looking below its due time is put off; what is given back there is not lost."""

    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock) as store:
            now = clock.now_ms()
            assert await store.claim(due_before=now, limit=5) == []
            old = await wait(store, now - 100_000)
            assert await store.claim(due_before=now, limit=5) == []
            store._floor_until = 0.0  # a minute later
            assert [work.message.id for work in await store.claim(due_before=now, limit=5)] == [old]

    asyncio.run(run())


def test_rows_of_an_earlier_life_are_taken_up(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            born_owned = [message(store) for _ in range(250)]
            await put_all(store, *({"messages": (one,)} for one in born_owned))
            assert await store.claim(due_before=FAR, limit=10) == []
            first = store.epoch
        async with opened(store_url) as store:
            assert store.epoch > first
            works = await store.claim(due_before=store.clock.now_ms(), limit=1000)
            assert [work.message.id for work in works] == [one.id for one in born_owned]
            assert set((await epochs(store)).values()) == {store.epoch}

    asyncio.run(run())


def test_two_claims_at_once_share_the_rows(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            now = store.clock.now_ms()
            await put_all(store, *({"messages": (message(store, ours=False),)} for _ in range(300)))
            parts = await asyncio.gather(*(store.claim(due_before=now + 9000, limit=60) for _ in range(6)))
            ids = [work.message.id for part in parts for work in part]
            more = await store.claim(due_before=now + 9000, limit=300)
            ids += [work.message.id for work in more]
            assert len(ids) == len(set(ids)) == 300

    asyncio.run(run())


def test_a_claimed_row_that_is_given_back_can_be_claimed_again(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            now = store.clock.now_ms()
            id = await wait(store, now)
            for attempt in range(1, 4):
                works = await store.claim(due_before=now + attempt, limit=5)
                assert [work.message.id for work in works] == [id]
                assert works[0].attempts == attempt - 1
                back = Requeue(id, store.epoch, now + attempt, attempt, QueueReason.RETRY)
                assert await store.apply(requeue=back) is Answer.STORED
            row = (await rows(store, tables.queue))[0]
            assert (row["attempts"], row["owner"]) == (3, 0)

    asyncio.run(run())
