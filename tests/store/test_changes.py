"""A change is kept whole or not at all, and its neighbours in the batch do not notice. Both databases.

In charge of what `put`, `apply` and `bulk` promise; crashes are in test_crash.py, claims in test_claims.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Integer, bindparam, delete, func, insert, select, update
from store_tools import final, message, opened, put_all, rows

from restante.message import Address, EventKind, Kind, MessageState
from restante.outlet import Write
from restante.store import tables
from restante.store.statement import Query, Sql
from restante.store.store import Answer, Change, QueueReason, Release, Requeue, StoreClosed

ANSWER_ROW = Sql("test: remember an answer", insert(tables.idempotency))
CHANGE_ANSWER = Sql(
    "test: change an answer",
    update(tables.idempotency)
    .where(tables.idempotency.c.key == bindparam("wanted_key"))
    .values(answer=bindparam("answer")),
)


def remember(key: str) -> Write:
    params = {"account": 1, "key": key, "digest": "", "answer": "{}", "expires_at": 1}
    return Write(ANSWER_ROW, params, expect=1)


def correct(key: str, expect: int | None = 1) -> Write:
    return Write(CHANGE_ANSWER, {"wanted_key": key, "answer": "[]"}, expect=expect)


def test_a_message_comes_back_as_it_was(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            whole = message(
                store,
                source=Address(5, 0, "Café"),
                body=bytes(range(256)),
                kind=Kind.RECEIPT,
                service_type="CMT",
                esm_class=0x44,
                protocol_id=0x7F,
                priority_flag=3,
                registered_delivery=0x11,
                data_coding=0x19,
                sm_default_msg_id=9,
                tlvs=b"\x14\x00\x00\x01\x00",
                schedule_at=5,
                parent=(1 << 63) - 1,
                reference=65535,
                part_reference=65535,
                part_total=255,
                part_number=254,
                segments=3,
            )
            assert await store.apply(messages=[whole]) is Answer.STORED
            whole.owner = 0  # a loaded message belongs to nobody until it is claimed
            assert await store.load([whole.id, 12345]) == [whole]
            assert await store.load([]) == []
            row = (await rows(store, tables.queue))[0]
            assert (row["owner"], row["priority"], row["due_at"]) == (store.epoch, 3, 5)

    asyncio.run(run())


def test_load_keeps_the_order_that_was_asked_for_and_takes_the_newest_text(store_url: str) -> None:
    newer = Sql("test: another version", insert(tables.body))

    async def run() -> None:
        async with opened(store_url) as store:
            three = [message(store, body=str(n).encode()) for n in range(3)]
            assert await store.apply(messages=three) is Answer.STORED
            params = {"message": three[1].id, "version": 1, "payload": b"new"}
            await store.apply(writes=[Write(newer, params, expect=1)])
            found = await store.load([three[2].id, three[0].id, three[1].id])
            assert [one.body for one in found] == [b"2", b"0", b"new"]

    asyncio.run(run())


def test_everything_in_a_change_becomes_true_together(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            old, receipt = message(store), message(store, kind=Kind.RECEIPT)
            assert await store.apply(messages=[old]) is Answer.STORED
            answer = await store.apply(
                messages=[receipt],
                release=Release(old.id, store.epoch),
                events=[final(store, old.id)],
                writes=[remember("a")],
            )
            assert answer is Answer.STORED
            assert [row["id"] for row in await rows(store, tables.queue)] == [receipt.id]
            assert len(await rows(store, tables.event, message=old.id)) == 1
            assert len(await rows(store, tables.idempotency)) == 1

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["fence", "expect", "key", "id"])
def test_a_change_that_cannot_be_leaves_nothing_and_hurts_nobody(store_url: str, fault: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            old = message(store)
            assert await store.apply(messages=[old], writes=[remember("taken")]) is Answer.STORED
            good = [message(store, body=bytes([n])) for n in range(6)]
            bad = message(store)
            change = {
                "fence": {"release": Release(old.id, store.epoch + 1)},
                "expect": {"writes": (correct("missing"),)},
                "key": {"writes": (remember("taken"),)},
                "id": {"writes": ()},
            }[fault]
            if fault == "id":
                bad = message(store, id=old.id, body=b"another content")
            events = (final(store, old.id, MessageState.EXPIRED),)
            changes: list[dict[str, Any]]
            changes = [{"messages": (one,), "events": (final(store, one.id),)} for one in good]
            changes.insert(3, {"messages": (bad,), "events": events, **change})
            answers = await put_all(store, *changes)
            refused = Answer.FENCED if fault == "fence" else Answer.CONFLICT
            assert answers == [Answer.STORED] * 3 + [refused] + [Answer.STORED] * 3
            kept = await store.load([old.id, bad.id, *(one.id for one in good)])
            assert next(one.body for one in kept if one.id == old.id) == old.body
            assert {one.id for one in kept} == {old.id, *(one.id for one in good)}
            assert {row["message"] for row in await rows(store, tables.event)} == {one.id for one in good}
            assert len(await rows(store, tables.queue)) == 7

    asyncio.run(run())


def test_values_that_a_driver_refuses_fail_alone(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            good, bad = message(store), message(store, sender="@\ud800")
            answers = await put_all(store, {"messages": (good,)}, {"messages": (bad,)}, {"events": ()})
            assert answers == [Answer.STORED, Answer.FAILED, Answer.STORED]
            assert [one.id for one in await store.load([good.id, bad.id])] == [good.id]
            assert store.health().accepting

    asyncio.run(run())


def test_a_write_without_an_expectation_may_touch_any_number_of_rows(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            assert await store.apply(writes=[correct("none", expect=None)]) is Answer.STORED
            assert await store.apply(writes=[remember("a"), correct("a"), remember("b")]) is Answer.STORED
            assert {row["answer"] for row in await rows(store, tables.idempotency)} == {"{}", "[]"}

    asyncio.run(run())


def test_two_changes_of_one_row_in_a_batch_are_taken_in_order(store_url: str) -> None:
    """A cancel put before the outcome of an attempt wins; the outcome is fenced although both were put at once."""

    async def run() -> None:
        async with opened(store_url) as store:
            one, two = message(store), message(store)
            epoch, later = store.epoch, store.clock.now_ms() + 1000
            answers = await put_all(
                store,
                {"messages": (one, two)},
                {"release": Release(one.id, epoch), "events": (final(store, one.id, MessageState.DELETED),)},
                {"requeue": Requeue(one.id, epoch, later, 1, QueueReason.RETRY, keep=True)},
                {"requeue": Requeue(two.id, epoch, later, 1, QueueReason.RETRY, keep=True)},
                {"release": Release(two.id, epoch)},
                {"release": Release(two.id, epoch)},
            )
            stored, fenced = Answer.STORED, Answer.FENCED
            assert answers == [stored, stored, fenced, stored, stored, fenced]
            assert await rows(store, tables.queue) == []
            assert len(await rows(store, tables.event)) == 1

    asyncio.run(run())


def test_requeue_keeps_or_gives_back(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            one, two = message(store), message(store)
            assert await store.apply(messages=[one, two]) is Answer.STORED
            due = store.clock.now_ms() + 60_000
            keep = Requeue(one.id, store.epoch, due, 1, QueueReason.RETRY, keep=True)
            give = Requeue(two.id, store.epoch, due + 1, 2, QueueReason.HELD)
            assert await put_all(store, {"requeue": keep}, {"requeue": give}) == [Answer.STORED] * 2
            found = {row["id"]: row for row in await rows(store, tables.queue)}
            assert (found[one.id]["owner"], found[one.id]["attempts"]) == (store.epoch, 1)
            assert (found[two.id]["owner"], found[two.id]["reason"]) == (0, "held")
            assert await store.next_due() == due + 1
            assert await store.apply(requeue=give) is Answer.FENCED

    asyncio.run(run())


def test_the_queue_row_of_a_new_message(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            now = store.clock.now_ms()
            plain, later = message(store), message(store, schedule_at=now + 5000)
            held, given, refused = message(store), message(store), message(store)
            assert await store.apply(messages=[plain, later]) is Answer.STORED
            reasons = [QueueReason.HELD, QueueReason.NONE]
            assert await store.apply(messages=[held, refused], reasons=reasons) is Answer.STORED
            answer = await store.apply(messages=[given], reasons=[QueueReason.PENDING_CHECK], due_at=[77])
            assert answer is Answer.STORED
            found = {row["id"]: (row["reason"], row["due_at"]) for row in await rows(store, tables.queue)}
            assert found == {
                plain.id: ("new", plain.submitted_at),
                later.id: ("scheduled", now + 5000),
                held.id: ("held", held.expires_at),
                given.id: ("pending-check", 77),
            }
            assert len(await store.load([refused.id])) == 1

    asyncio.run(run())


def test_hooks_follow_the_answers_of_each_batch(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url, batch_changes=4) as store:
            order: list[str] = []
            over = asyncio.Event()
            store.after_commit(lambda: order.append("hook"))

            def done(name: str) -> Change:
                def told(answer: Answer) -> None:
                    order.append(name)
                    if name == "9":
                        over.set()
                    if name == "1":
                        raise RuntimeError("a room that fails hurts only itself")

                return Change(done=told, messages=(message(store),))

            for n in range(10):
                store.put(done(str(n)))
            await over.wait()
            await asyncio.sleep(0)
            assert [name for name in order if name != "hook"] == [str(n) for n in range(10)]
            assert order == ["0", "1", "2", "3", "hook", "4", "5", "6", "7", "hook", "8", "9", "hook"]

    asyncio.run(run())


def test_what_was_put_is_answered_before_close_returns(store_url: str) -> None:
    async def run() -> None:
        answers: list[Answer] = []
        async with opened(store_url) as store:
            for _ in range(3000):
                store.put(Change(done=answers.append, messages=(message(store),)))
        assert answers == [Answer.STORED] * 3000
        with pytest.raises(StoreClosed):
            store.put(Change(done=answers.append))
        with pytest.raises(StoreClosed):
            store.next_id()
        assert not store.health().accepting

    asyncio.run(run())


def test_too_much_pending_stops_accepts_and_nothing_else(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url, pending_changes=10) as store:
            answers: list[Answer] = []
            for _ in range(11):
                store.put(Change(done=answers.append, messages=(message(store),)))
            assert not store.health().accepting
            assert "wait" in store.health().why
            assert store.health().pending == 11
            assert await store.apply(messages=[message(store)]) is Answer.STORED
            assert answers == [Answer.STORED] * 11
            assert store.health().accepting

    asyncio.run(run())


def test_large_texts_are_spread_over_several_commits(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url, batch_bytes=1 << 16) as store:
            changes = [{"messages": (message(store, body=bytes(20_000)),)} for _ in range(20)]
            assert await put_all(store, *changes) == [Answer.STORED] * 20
            assert len(await rows(store, tables.body)) == 20

    asyncio.run(run())


def test_bulk_repeats_a_limited_statement(store_url: str) -> None:
    some = select(tables.queue.c.id).order_by(tables.queue.c.id).limit(bindparam("limit", type_=Integer))
    purge = Sql("test: purge", delete(tables.queue).where(tables.queue.c.id.in_(some)))
    count = Query("test: count", select(func.count().label("left")).select_from(tables.queue))

    async def run() -> None:
        async with opened(store_url) as store:
            await put_all(store, *({"messages": (message(store),)} for _ in range(730)))
            assert await store.bulk([Write(purge, {"limit": 30}), Write(purge, {})]) == [30, 700]
            assert (await store.fetch(count))[0]["left"] == 0

    asyncio.run(run())


def test_events_of_one_millisecond_keep_their_order(store_url: str) -> None:
    async def run() -> None:
        async with opened(store_url) as store:
            one = message(store)
            reasons = [f"r{n}" for n in range(40)]
            events = [final(store, one.id, at=1) for _ in reasons]
            for item, reason in zip(events, reasons, strict=True):
                item.kind, item.reason = EventKind.NOTE, reason
            await put_all(
                store,
                {"messages": (one,), "events": tuple(events[:20])},
                {"events": tuple(events[20:30])},
                {"events": tuple(events[30:])},
            )
            found = sorted(await rows(store, tables.event), key=lambda row: (row["at"], row["sequence"]))
            assert [row["reason"] for row in found] == reasons
            assert {row["node"] for row in found} == {store.node}

    asyncio.run(run())
