"""What happens in boxes by itself, on both databases."""

from __future__ import annotations

import asyncio

from box_center import DAY, Center, center
from waiting import soon

from restante.mailbox.settings import MailboxSettings
from restante.mailbox.upkeep import Upkeep
from restante.message import MessageState

ALICE, BOB = "+447700900001", "+447700900002"
QUICK = MailboxSettings(expire_every_s=0.01, retention_every_s=0.01)


def upkeep_of(c: Center) -> Upkeep:
    return Upkeep(c.store, c.subscribers, c.settings, c.endings, c.retention)


def test_validity_retention_and_seals_come_by_themselves(store_url: str):
    async def told() -> None:
        async with center(store_url, QUICK) as c:
            lost = await c.subscriber(BOB)
            unsealed = await c.deposit("Closed before a crash", to=BOB)
            await c.subscribers.close(lost.number)
            alice = await c.subscriber(ALICE)
            binned = await c.deposit("In the bin", expires_at=c.clock.now_ms() + 60 * DAY)
            late = await c.deposit("Late")
            await c.box.delete(alice.number, binned.id)
            upkeep = upkeep_of(c)
            upkeep.start()

            async def ended(id: int) -> bool:
                return len(await c.finals(id)) == 1

            await soon(lambda: ended(unsealed.id), "what a crash left unsealed is sealed at the start")
            assert await c.finals(late.id) == []
            await c.pass_time(2 * DAY)
            await soon(lambda: ended(late.id), "validity")
            await c.pass_time(29 * DAY)
            await soon(lambda: ended(binned.id), "the bin")
            fresh = await c.deposit("Fresh")
            await c.subscribers.close(alice.number)
            await soon(lambda: ended(fresh.id), "the seal")
            await upkeep.close()
            assert await c.finals(unsealed.id) == [(MessageState.UNDELIVERABLE, "number-closed")]
            assert await c.finals(late.id) == [(MessageState.EXPIRED, "expired")]
            assert await c.finals(binned.id) == [(MessageState.EXPIRED, "mailbox-retention")]
            assert await c.finals(fresh.id) == [(MessageState.UNDELIVERABLE, "number-closed")]

    asyncio.run(told())


def test_a_failure_does_not_end_the_rounds(sqlite_url: str):
    async def told() -> None:
        async with center(sqlite_url, QUICK) as c:
            alice = await c.subscriber(ALICE)
            message = await c.deposit()
            upkeep = upkeep_of(c)
            good, asked = c.store.fetch, []

            async def broken(query, /, **_params):
                asked.append(query)
                raise OSError("gone")

            c.store.fetch = broken
            upkeep.start()

            async def tried() -> bool:
                return len(asked) > 6

            await soon(tried, "several rounds")
            c.store.fetch = good
            await c.pass_time(3 * DAY)

            async def ended() -> bool:
                return bool(await c.finals(message.id))

            await soon(ended, "validity")
            await c.subscribers.close(alice.number)
            await upkeep.close()

    asyncio.run(told())
