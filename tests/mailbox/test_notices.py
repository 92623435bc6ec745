"""What a handset is told when it is seen again, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from box_center import HOUR, Center, center

from restante.mailbox.model import Choices
from restante.mailbox.settings import MailboxSettings, NoticeText, OnReachable
from restante.message import Kind

ALICE = "+447700900001"


def run(
    url: str, story: Callable[[Center], Awaitable[None]], settings: MailboxSettings | None = None
) -> None:
    async def told() -> None:
        async with center(url, settings) as c:
            await story(c)

    asyncio.run(told())


def test_one_notice_says_how_many_wait(store_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        assert await c.notices.look(ALICE) == 0
        await c.deposit()
        assert await c.notices.look(ALICE) == 1
        assert c.sent == [(Kind.NOTICE, ALICE, "You have 1 new message in your mailbox.")]
        assert await c.notices.look(ALICE) == 0  # the notice itself showed the handset
        await c.deposit()
        assert await c.notices.look(ALICE) == 0  # too soon
        await c.pass_time(HOUR)
        assert await c.notices.look(ALICE) == 1
        assert c.sent[-1][2] == "You have 2 new messages in your mailbox."
        await c.pass_time(HOUR)
        assert await c.notices.look(ALICE) == 0  # nothing new since

    run(store_url, story)


def test_nothing_is_said_of_what_was_read_or_by_those_who_want_none(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        message = await c.deposit()
        await c.box.open(alice.number, message.id)
        assert await c.notices.look(ALICE) == 0
        await c.deposit()
        await c.box.choose(alice.number, Choices(notify=False))
        assert await c.notices.look(ALICE) == 0
        await c.box.choose(alice.number, Choices())
        await c.subscribers.suspend(alice.number)
        assert await c.notices.look(ALICE) == 0
        assert await c.notices.look("+447700900777") == 0
        assert c.sent == []

    run(store_url, story)


def test_being_seen_many_times_at_once_sends_one_notice(store_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        await c.deposit()
        assert sorted(await asyncio.gather(*(c.notices.look(ALICE) for _ in range(6)))) == [0] * 5 + [1]
        assert len(c.sent) == 1

    run(store_url, story)


def test_seen_returns_at_once_and_survives_a_number_that_fails(sqlite_url: str):
    async def story(c: Center) -> None:
        await c.subscriber(ALICE)
        await c.deposit()
        find = c.subscribers.find

        async def failing(msisdn: str):
            if msisdn == "+1":
                raise OSError("gone")
            return await find(msisdn)

        c.subscribers.find = failing
        for number in ("+1", ALICE, ALICE):
            c.notices.seen(number)
        assert c.sent == []
        async with asyncio.timeout(60):
            while not c.sent:
                await asyncio.sleep(0.001)
        await c.notices.close()
        assert len(c.sent) == 1

    run(sqlite_url, story)


def test_redeliver_and_nothing(store_url: str):
    async def redelivers(c: Center) -> None:
        await c.subscriber(ALICE)
        messages = [await c.deposit(f"No {at}") for at in range(3)]
        assert await c.notices.look(ALICE) == 3
        assert [message.id for message, _ in c.admitted] == [message.id for message in messages]
        assert c.sent == []

    async def stays_silent(c: Center) -> None:
        await c.deposit()
        assert await c.notices.look(ALICE) == 0
        c.notices.seen(ALICE)
        assert c.notices._worker is None

    run(store_url, redelivers, MailboxSettings(on_reachable=OnReachable.REDELIVER))
    run(store_url, stays_silent, MailboxSettings(on_reachable=OnReachable.NOTHING))


def test_texts_follow_the_language(sqlite_url: str):
    german = NoticeText(one="1 neue Nachricht.", many="{count} neue Nachrichten.")
    english = NoticeText(one="1 new.", many="{count} new.")
    settings = MailboxSettings(language="de", notices={"de": german, "en": english})

    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        assert c.notices.text(1) == "1 neue Nachricht."
        assert c.notices.text(12) == "12 neue Nachrichten."
        assert c.notices.text(3, "xx") == "3 neue Nachrichten."
        await c.box.choose(alice.number, Choices(language="en"))
        await c.deposit()
        await c.notices.look(ALICE)
        assert c.sent[-1][2] == "1 new."

    run(sqlite_url, story, settings)
