"""The change feed and those who watch, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from box_center import DAY, Center, center
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_plugin import StepClock

from restante.mailbox.changes import Live, StateTooOld, TooManyWatchers
from restante.mailbox.folders import Folder
from restante.mailbox.item import Item
from restante.mailbox.model import BatchAction, BoxError, Wanted
from restante.mailbox.settings import MailboxSettings

ALICE = "+447700900001"
QUICK = MailboxSettings(live_poll_ms=10, watchers_per_box=2, watchers=3)


def run(
    url: str, story: Callable[[Center], Awaitable[None]], settings: MailboxSettings | None = None
) -> None:
    async def told() -> None:
        async with center(url, settings) as c:
            await story(c)

    asyncio.run(told())


def test_created_updated_and_destroyed(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        assert (await c.feed.since(alice.number, 0)).state == 0
        one, two, three = [(await c.deposit(f"No {at}")).id for at in range(3)]
        first = await c.feed.since(alice.number, 0)
        assert [item.id for item in first.created] == [one, two, three]
        assert (first.updated, first.destroyed, first.has_more) == ((), (), False)
        await c.box.change(alice.number, one, starred=True)
        await c.box.delete(alice.number, two, permanent=True)
        second = await c.feed.since(alice.number, first.state)
        assert second.created == ()
        assert [(item.id, item.starred) for item in second.updated] == [(one, True)]
        assert second.destroyed == (two,)
        assert (await c.feed.since(alice.number, second.state)).state == second.state
        assert second.state == (await c.box.summary(alice.number)).state

    run(store_url, story)


def test_it_comes_in_pages_without_losing_any(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"No {at}")).id for at in range(60)]
        await c.box.batch(alice.number, ids[:40], BatchAction.READ)
        for id in ids[10:20]:
            await c.box.delete(alice.number, id, permanent=True)
        state, items, gone, asked = 0, {}, set(), 0
        while True:
            changes = await c.feed.since(alice.number, state, limit=7)
            for item in (*changes.created, *changes.updated):
                assert item.id not in items  # each once, with its newest look
                items[item.id] = item
            gone.update(changes.destroyed)
            state = changes.state
            asked += 1
            if not changes.has_more:
                break
        assert gone == set(ids[10:20])
        assert set(items) == set(ids) - gone
        assert {id for id, item in items.items() if item.read} == set(ids[:40]) - gone
        assert asked == 9  # 60 steps that still count, seven at a time

    run(store_url, story)


def test_a_state_that_is_forgotten_or_was_never_is_refused(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        one = (await c.deposit("One")).id
        await c.deposit("Two")
        old = (await c.feed.since(alice.number, 0)).state
        await c.box.delete(alice.number, one, permanent=True)
        assert (await c.feed.since(alice.number, old)).destroyed == (one,)
        with pytest.raises(StateTooOld):
            await c.feed.since(alice.number, old + 100)
        await c.pass_time(31 * DAY)
        assert (await c.retention.sweep()).pruned == 1
        with pytest.raises(StateTooOld):
            await c.feed.since(alice.number, old)
        newest = (await c.box.summary(alice.number)).state
        assert (await c.feed.since(alice.number, newest)).created == ()

    run(store_url, story)


def test_the_state_only_grows_whoever_changes_what(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        ids = [(await c.deposit(f"No {at}")).id for at in range(10)]
        before = (await c.box.summary(alice.number)).state
        await asyncio.gather(
            *(c.box.open(alice.number, id) for id in ids),
            *(c.box.change(alice.number, id, starred=True) for id in ids),
            *(c.deposit(f"More {at}") for at in range(10)),
        )
        changes = await c.feed.since(alice.number, before, limit=200)
        assert changes.state == (await c.box.summary(alice.number)).state
        revs = [item.rev for item in (*changes.created, *changes.updated)]
        assert len(set(revs)) == len(revs) == 20

    run(store_url, story)


def test_a_client_that_follows_has_what_the_box_has(store_url: str):
    """Random edits; after each a client applies the feed, and at the end it has the same picture."""
    edits = st.lists(
        st.tuples(
            st.sampled_from(["deposit", "read", "unread", "star", "bin", "back", "remove", "open"]),
            st.integers(0, 7),
        ),
        min_size=5,
        max_size=25,
    )

    @given(edits, st.integers(1, 5))
    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def follow(steps: list[tuple[str, int]], limit: int) -> None:
        async def told() -> None:
            async with center(store_url) as c:
                await _follow(c, steps, limit)

        asyncio.run(told())

    follow()


async def _follow(c: Center, steps: list[tuple[str, int]], limit: int) -> None:
    known = await c.subscribers.find(ALICE)
    alice = (await c.subscribers.reassign(ALICE))[1] if known else await c.subscriber(ALICE)
    box, ids, picture, state = alice.number, [], {}, 0
    for action, at in steps:
        id = ids[at % len(ids)] if ids else 0
        try:
            if action == "deposit":
                ids.append((await c.deposit(f"No {at}")).id)
            elif action == "open":
                await c.box.open(box, id)
            elif action in ("read", "unread"):
                await c.box.change(box, id, read=action == "read")
            elif action == "star":
                await c.box.change(box, id, starred=True)
            elif action == "bin":
                await c.box.change(box, id, folder=Folder.TRASH)
            elif action == "back":
                await c.box.change(box, id, folder=Folder.INBOX)
            else:
                await c.box.delete(box, id, permanent=True)
        except BoxError:
            pass
        has_more = True
        while has_more:
            changes = await c.feed.since(box, state, limit=limit)
            state, has_more = changes.state, changes.has_more
            for item in (*changes.created, *changes.updated):
                picture[item.id] = item
            for gone in changes.destroyed:
                picture.pop(gone, None)
    items: list[Item] = []
    for folder in Folder:
        items += (await c.box.page(box, Wanted(folder), limit=200)).items
    assert picture == {item.id: item for item in items}
    outside = [item for item in items if item.folder is not Folder.TRASH]
    summary = await c.box.summary(box)
    assert summary.total == len(outside)
    assert summary.unread == sum(not item.read for item in outside)
    assert summary.bytes == sum(item.bytes for item in items)


def test_two_nodes_change_one_box_and_a_client_misses_nothing(postgresql_url: str):
    """Readers of the feed never see a state before everything up to it is there, whoever commits."""

    async def told() -> None:
        clock = StepClock()
        async with (
            center(postgresql_url, clock=clock, node_name="one") as one,
            center(postgresql_url, clock=clock, node_name="two") as two,
        ):
            alice = (await one.subscriber(ALICE)).number
            picture: dict[int, Item] = {}
            done = asyncio.Event()

            async def follow() -> int:
                state = 0
                while True:
                    last = done.is_set()
                    changes = await one.feed.since(alice, state, limit=5)
                    assert changes.state >= state
                    state = changes.state
                    picture.update({item.id: item for item in (*changes.created, *changes.updated)})
                    for gone in changes.destroyed:
                        picture.pop(gone, None)
                    if last and not changes.has_more:
                        return state

            async def work(c: Center) -> None:
                for at in range(12):
                    message = await c.deposit(f"No {at}")
                    await c.box.open(alice, message.id)
                    await c.box.change(alice, message.id, starred=True)
                    if at % 3 == 0:
                        await c.box.delete(alice, message.id, permanent=True)

            following = asyncio.create_task(follow())
            await asyncio.gather(work(one), work(two), work(one), work(two))
            done.set()
            assert await following == (await two.box.summary(alice)).state
            items = (await two.box.page(alice, limit=200)).items
            assert picture == {item.id: item for item in items}
            assert len(items) == 32
            summary = await one.box.summary(alice)
            assert (summary.total, summary.unread) == (32, 0)

    asyncio.run(told())


def test_two_nodes_that_see_one_item_conclude_it_once(postgresql_url: str):
    async def told() -> None:
        clock = StepClock()
        async with (
            center(postgresql_url, clock=clock, node_name="one") as one,
            center(postgresql_url, clock=clock, node_name="two") as two,
        ):
            alice = (await one.subscriber(ALICE)).number
            messages = [await one.deposit(f"No {at}") for at in range(10)]
            await asyncio.gather(*(c.box.open(alice, m.id) for m in messages for c in (one, two)))
            for message in messages:
                assert len(await one.finals(message.id)) == 1
            assert len(one.receipts) + len(two.receipts) == 10

    asyncio.run(told())


def test_watchers_hear_of_changes_here_and_elsewhere(store_url: str):
    async def story(c: Center) -> None:
        alice = await c.subscriber(ALICE)
        bob = await c.subscriber("+447700900002")
        async with asyncio.timeout(60), c.live.watch(alice.number) as states:
            assert await anext(states) == 0
            message = await c.deposit()  # by delivery: found by looking
            assert await anext(states) == 1
            await c.deposit(to="+447700900002")
            await c.box.open(alice.number, message.id)  # by this process: told at once
            assert await anext(states) == 2
            for _ in range(5):
                await c.deposit()
            newest = (await c.box.summary(alice.number)).state
            while await anext(states) != newest:  # a slow watcher may miss some, never the last
                pass
        assert (await c.box.summary(bob.number)).state == 1

    run(store_url, story, QUICK)


def test_watchers_are_bounded_and_end_with_the_process(sqlite_url: str):
    async def story(c: Center) -> None:
        one, two = await c.subscriber(ALICE), await c.subscriber("+447700900002")
        live: Live = c.live
        async with live.watch(one.number) as first, live.watch(one.number):
            with pytest.raises(TooManyWatchers):
                async with live.watch(one.number):
                    pass
            async with live.watch(two.number):
                with pytest.raises(TooManyWatchers):
                    async with live.watch(two.number):
                        pass
            assert await anext(first) == 0
            await live.close()
            assert [state async for state in first] == []
        assert live._watchers == {}

    run(sqlite_url, story, QUICK)
