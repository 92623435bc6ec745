"""Where is my message: views, traces, searches. Both databases."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import insert
from store_plugin import StepClock
from store_tools import final, message, opened

from restante.message import Event, EventKind, Kind, MessageState, id_at
from restante.outlet import Write
from restante.store import tables
from restante.store.history import Filters, History
from restante.store.statement import Sql
from restante.store.store import QueueReason, Release, Requeue

NEW_TEXT = Sql("test: another version", insert(tables.body))


def test_a_state_is_derived_from_rows(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            history, epoch = History(store), store.epoch
            assert await history.message(5) is None
            assert await history.trace(5) == []
            one = message(store, schedule_at=clock.ms + 1000, segments=2)
            await store.apply(messages=[one])
            view = await history.message(one.id)
            assert view is not None
            assert (view.state, view.due_at, view.queued) == (MessageState.SCHEDULED, clock.ms + 1000, True)
            assert (view.queue_reason, view.message.body, view.attempts) == ("scheduled", b"", 0)
            clock.step(2000)
            view = await history.message(one.id)
            assert view is not None
            assert view.state is MessageState.ENROUTE
            failed = Event(
                one.id, clock.ms, EventKind.ATTEMPT, reason="absent", attempt=1, route="switch:msc1"
            )
            due = clock.ms + 60_000
            await store.apply(
                requeue=Requeue(one.id, epoch, due, 1, QueueReason.RETRY, keep=True), events=[failed]
            )
            view = await history.message(one.id)
            assert view is not None
            assert (view.state, view.reason, view.attempts) == (MessageState.ENROUTE, "absent", 1)
            assert (view.due_at, view.queue_reason, view.route) == (due, "retry", "switch:msc1")
            clock.step(5)
            stored = Event(one.id, clock.ms, EventKind.STORED)
            await store.apply(release=Release(one.id, epoch), events=[stored])
            view = await history.message(one.id)
            assert view is not None
            assert (view.state, view.in_mailbox, view.queued) == (MessageState.ENROUTE, True, False)
            clock.step(5)
            ended = final(store, one.id)
            ended.reason = "retrieved"
            await store.apply(events=[Event(one.id, clock.ms, EventKind.RETRIEVED), ended])
            view = await history.message(one.id)
            assert view is not None
            assert (view.state, view.in_mailbox, view.reason) == (MessageState.DELIVERED, False, "retrieved")
            assert (view.final_at, view.stored_at) == (clock.ms, clock.ms - 5)
            trace = await history.trace(one.id)
            assert [event.kind for event in trace] == ["accepted", "attempt", "stored", "retrieved", "final"]
            assert trace[0].state is MessageState.SCHEDULED
            assert (trace[0].node, trace[0].segments, trace[0].at) == (store.node, 2, one.submitted_at)
            assert trace[1] == Event(**{**dict_of(failed), "node": store.node})

    asyncio.run(run())


def dict_of(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__slots__}


def test_search_pages_newest_first(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url, heartbeat_s=60) as store:
            history = History(store)
            some = [message(store) for _ in range(25)]
            await store.apply(messages=some)
            seen: list[int] = []
            before = 0
            while page := await history.search(Filters(), before, 10):
                seen += [view.message.id for view in page]
                before = seen[-1]
            assert seen == [one.id for one in reversed(some)]

    asyncio.run(run())


def test_search_filters(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            history = History(store)

            async def find(**wanted: Any) -> list[int]:
                return [view.message.id for view in await history.search(Filters(**wanted))]

            mine = message(store, account=1)
            clock.step(1000)
            theirs = message(store, account=2, sender="@100%", recipient="+4670")
            clock.step(1000)
            scheduled = message(store, account=1, recipient="+46709", schedule_at=clock.ms + 5000)
            receipt = message(store, account=1, kind=Kind.RECEIPT, parent=mine.id)
            child = message(store, account=3, parent=77)
            await store.apply(messages=[mine, theirs, scheduled, receipt, child])
            await store.apply(
                release=Release(mine.id, store.epoch), events=[final(store, mine.id, MessageState.EXPIRED)]
            )
            assert await find() == [child.id, scheduled.id, theirs.id, mine.id]
            assert await find(kinds=frozenset()) == [child.id, receipt.id, scheduled.id, theirs.id, mine.id]
            assert await find(kinds=frozenset({Kind.RECEIPT})) == [receipt.id]
            assert await find(account=1) == [scheduled.id, mine.id]
            assert await find(recipient="+4670") == [theirs.id]
            assert await find(recipient="+4670*") == [scheduled.id, theirs.id]
            assert await find(sender="@100%*") == [theirs.id]
            assert await find(sender="@1%*") == []
            assert await find(id=mine.id) == [mine.id]
            assert await find(id=77) == [child.id]
            assert await find(since=theirs.submitted_at, until=scheduled.submitted_at) == [theirs.id]
            assert await find(states=frozenset({MessageState.EXPIRED})) == [mine.id]
            assert await find(states=frozenset({MessageState.SCHEDULED})) == [scheduled.id]
            assert await find(states=frozenset({MessageState.ENROUTE})) == [child.id, theirs.id]
            both = frozenset({MessageState.EXPIRED, MessageState.SCHEDULED})
            assert await find(states=both) == [scheduled.id, mine.id]
            assert await find(states=frozenset({MessageState.REJECTED})) == []
            assert [view.message.id for view in await history.children(77)] == [child.id]
            assert [view.message.id for view in await history.receipts(mine.id)] == [receipt.id]
            assert await history.children(0) == []

    asyncio.run(run())


def test_a_search_for_an_address_goes_through_all_of_time(store_url: str) -> None:
    """Messages of one recipient, days apart, between those of others; pages of every size see each once."""

    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            history = History(store)
            assert await history.search(Filters(recipient="+4670")) == []
            mine: list[int] = []
            for hours in (0, 0, 1, 2, 2, 50, 51, 700, 700, 701):
                at = id_at(clock.ms + hours * 3_600_000) + len(mine)
                one, other = message(store, id=at, recipient="+4670"), message(store, id=at + 500)
                await store.apply(messages=[one, other], reasons=[QueueReason.NONE] * 2)
                mine.append(one.id)
            for limit in (1, 3, 100):
                seen: list[int] = []
                wanted = Filters(recipient="+4670", sender="@Sh*")
                while page := await history.search(wanted, seen[-1] if seen else 0, limit):
                    seen += [view.message.id for view in page]
                assert seen == mine[::-1]
            since = Filters(recipient="+4670", since=clock.ms + 3_600_000, until=clock.ms + 51 * 3_600_000)
            assert [view.message.id for view in await history.search(since)] == mine[2:6][::-1]

    asyncio.run(run())


def test_text_is_asked_for_by_itself(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url, heartbeat_s=60) as store:
            history = History(store)
            one, two = message(store, body=b"old"), message(store, body=b"other")
            await store.apply(messages=[one, two])
            await store.apply(
                writes=[Write(NEW_TEXT, {"message": one.id, "version": 1, "payload": b"new"}, expect=1)]
            )
            assert await history.texts([one.id, two.id, 9]) == {one.id: b"new", two.id: b"other"}
            assert await history.text_versions(one.id) == {0: b"old", 1: b"new"}
            assert await history.texts([]) == {}

    asyncio.run(run())


def test_counts(store_url: str) -> None:
    async def run() -> None:
        clock = StepClock()
        async with opened(store_url, clock, heartbeat_s=60) as store:
            minute = clock.ms - clock.ms % 60_000
            some = [message(store) for _ in range(3)]
            held = message(store, schedule_at=clock.ms + 150_000)
            await store.apply(messages=[*some, held])
            await store.apply(release=Release(some[0].id, store.epoch), events=[final(store, some[0].id)])
            counts = await History(store).counts()
            assert counts.accepted == {minute: 4}
            assert counts.ended == {minute: {MessageState.DELIVERED: 1}}
            assert counts.due_in_minutes == {0: 2, 2: 1}
            waiting = {found.reason: (found.messages, found.oldest) for found in counts.waiting}
            assert waiting == {"new": (2, some[1].id), "scheduled": (1, held.id)}

    asyncio.run(run())
