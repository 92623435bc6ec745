"""A box by SMS: what LIST shows, what the numbers behind GET and DEL mean, and what a sender learns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from box_center import Center, center

from restante.mailbox.folders import Folder
from restante.mailbox.keywords import BoxKeywords
from restante.mailbox.settings import KeywordTexts, MailboxSettings
from restante.message import MessageState

PHONE = "+447700900001"


def run(url: str, story: Callable[[Center], Awaitable[None]]) -> None:
    async def told() -> None:
        async with center(url) as c:
            await story(c)

    asyncio.run(told())


def words(center: Center, **settings: Any) -> BoxKeywords:
    return BoxKeywords(center.store, center.subscribers, center.box, MailboxSettings.model_validate(settings))


def test_a_list_shows_beginnings_and_retrieves_nothing(store_url: str) -> None:
    async def scenario(center: Center) -> None:
        await center.subscriber(PHONE)
        keywords = words(center)
        assert await keywords.list(PHONE, "") == "Your mailbox is empty."
        await center.deposit("the first of them")
        second = await center.deposit(
            "Your parcel waits for you behind the counter until Friday", sender="@Shop"
        )
        answer = await keywords.list(PHONE, "")
        assert answer.splitlines() == [
            "2 new of 2:",
            "1 Shop: Your parcel waits fo..",
            "2 +447700900999: the firs..",
        ]
        owner = await center.owner(PHONE)
        assert (await center.box.peek(owner.number, second.id)).state is MessageState.ENROUTE
        assert center.receipts == []

    run(store_url, scenario)


def test_get_is_the_retrieval_and_may_be_asked_again(store_url: str) -> None:
    async def scenario(center: Center) -> None:
        await center.subscriber(PHONE)
        sent = await center.deposit("the whole text")
        keywords = words(center)
        assert await keywords.get(PHONE, "1") == "+447700900999: the whole text"  # LIST was never sent
        owner = await center.owner(PHONE)
        assert (await center.box.peek(owner.number, sent.id)).state is MessageState.DELIVERED
        assert await keywords.get(PHONE, "1") == "+447700900999: the whole text"
        for wanted in ("", "0", "2", "6", "99999", "-1", "one", "²"):
            assert "no such message" in await keywords.get(PHONE, wanted)

    run(store_url, scenario)


def test_a_number_means_what_was_listed_whatever_comes_or_goes(store_url: str) -> None:
    async def scenario(center: Center) -> None:
        await center.subscriber(PHONE)
        first, second = await center.deposit("first"), await center.deposit("second")
        keywords = words(center)
        await keywords.list(PHONE, "")
        await center.deposit("third")
        assert await keywords.delete(PHONE, "1.") == "The message is in the bin."
        assert await keywords.delete(PHONE, "1") == "The message is in the bin."  # said twice, done once
        owner = await center.owner(PHONE)
        assert (await center.box.peek(owner.number, second.id)).folder is Folder.TRASH
        assert (await keywords.get(PHONE, "2")).endswith("first")
        await center.box.delete(owner.number, first.id, permanent=True)
        assert "no such message" in await keywords.get(PHONE, "2")
        assert "no such message" in await keywords.delete(PHONE, "2")
        assert "1 new of 1" in await keywords.list(PHONE, "")

    run(store_url, scenario)


def test_every_number_reads_its_own_box_only(store_url: str) -> None:
    async def scenario(center: Center) -> None:
        await center.subscriber(PHONE)
        other = await center.subscriber("+447700900002")
        await center.deposit("for the first")
        keywords = words(center)
        assert "empty" in await keywords.list("+447700900002", "")
        assert "no such message" in await keywords.get("+447700900002", "1")
        assert await keywords.list("+447700900003", "") == "You have no mailbox."
        await center.subscribers.close(other.number)
        for word in (keywords.list, keywords.get, keywords.delete):
            assert await word("+447700900002", "1") == "You have no mailbox."

    run(store_url, scenario)


def test_answers_speak_the_language_of_the_box(store_url: str) -> None:
    async def scenario(center: Center) -> None:
        await center.subscriber(PHONE)
        texts = {"en": KeywordTexts(), "de": KeywordTexts(empty="Ihr Postfach ist leer.")}
        keywords = words(
            center, keyword_texts={key: text.model_dump() for key, text in texts.items()}, language="de"
        )
        assert await keywords.list(PHONE, "") == "Ihr Postfach ist leer."

    run(store_url, scenario)
