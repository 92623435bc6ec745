"""Delivery when the database, the process or the lease fails: nothing is lost, recorded twice or sent without right.

Long because each way to fail is a short story of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from memory_store import SteppedClock
from message_path import (
    ABSENT,
    BUSY,
    CONGESTED,
    DELIVERED,
    HOUR,
    MINUTE,
    PERMANENT,
    PHONE,
    SECOND,
    Path,
    ScriptedBox,
    a_draft,
)
from waiting import soon_true

from restante.message import EventKind, MessageState
from restante.smsc.delivery import DeliverySettings
from restante.smsc.routing import RouteModel
from restante.store.store import Answer, Change, StoreClosed

D = MessageState.DELIVERED


def times(number: int, answer: Answer, when: Callable[[Change], bool]) -> Callable[[Change], Answer | None]:
    """Trouble for the first few changes of a kind."""
    left = number

    def trouble(change: Change) -> Answer | None:
        nonlocal left
        if left and when(change):
            left -= 1
            return answer
        return None

    return trouble


def ends(change: Change) -> bool:
    return change.release is not None


def puts_off(change: Change) -> bool:
    return change.requeue is not None


# --- the database says no ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Answer.FAILED, Answer.FULL, Answer.UNKNOWN])
def test_an_outcome_that_was_not_stored_is_put_again_and_nothing_is_sent_again(on_path, answer):
    async def test(path: Path) -> None:
        path.store.trouble_with = times(3, answer, ends)
        id = await path.submit(receipt=1)
        assert path.shop.handed == [], "no receipt before the ending is on disk"
        for _ in range(3):
            await path.step(SECOND)
        assert len(path.switch.handed) == 1
        assert await path.finals(id) == [(D, "")]
        assert len(path.receipt_texts()) == 1
        assert await path.queue() == {}

    on_path(test)


def test_a_retry_waits_for_the_record_of_the_first_attempt(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY if attempt.attempt == 1 else DELIVERED
        path.store.trouble_with = times(30, Answer.FAILED, puts_off)
        id = await path.submit()
        for _ in range(20):  # the next try was due after 15 s
            await path.step(SECOND)
        assert len(path.switch.handed) == 1
        for _ in range(12):
            await path.step(SECOND)
        assert [a.attempt for a in path.switch.handed] == [1, 2]
        assert await path.finals(id) == [(D, "")]
        assert [e.attempt for e in await path.events(id)][:2] == [1, 2]

    on_path(test)


def test_a_commit_in_doubt_that_did_succeed_is_not_repeated(on_path):
    async def test(path: Path) -> None:
        path.store.trouble_with = times(1, Answer.UNKNOWN, ends)
        path.store.stored_after_all = True
        id = await path.submit()
        assert await path.finals(id) == [(D, "")], "on disk, but nobody knows"
        await path.step(SECOND)
        assert path.delivery.in_memory == 0
        for _ in range(3):
            await path.step(31 * SECOND)  # the receipt is an owned row that memory does not know
        assert await path.finals(id) == [(D, "")]
        assert len(path.receipt_texts()) == 1
        assert len(path.switch.handed) == 1
        assert await path.queue() == {}

    on_path(test)


def test_a_deposit_in_doubt_that_did_succeed_is_not_repeated(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        path.store.trouble_with = times(1, Answer.UNKNOWN, ends)
        path.store.stored_after_all = True
        id = await path.submit(receipt=0x11)
        for _ in range(5):
            await path.step(31 * SECOND)
        assert await path.boxed() == [id]
        assert await path.kinds(id) == [EventKind.ATTEMPT, EventKind.STORED]
        assert len(path.shop.handed) == 1
        assert path.delivery.in_memory == 0
        assert await path.queue() == {}

    on_path(test, box=ScriptedBox())


def test_writes_that_never_fit_do_not_hold_the_message_for_ever(on_path):
    async def test(path: Path) -> None:
        path.store.trouble_with = lambda change: Answer.CONFLICT if ends(change) and change.writes else None
        path.switch.says = lambda attempt: ABSENT if attempt.attempt == 1 else DELIVERED
        id = await path.submit()
        await path.step(MINUTE)  # success after silence writes to the recipients' table
        await path.step(2 * SECOND)
        assert await path.finals(id) == [(D, "")]
        assert len(path.switch.handed) == 2

    on_path(test)


def test_without_ids_for_receipts_an_ending_waits(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        next_id = path.receipts._next_id

        def used_up() -> int:
            raise StoreClosed("all reserved message ids are used")

        path.receipts._next_id = used_up
        path.switch.answer()
        await path.settle()
        assert await path.finals(id) == []
        await path.step(SECOND)
        assert await path.finals(id) == []
        path.receipts._next_id = next_id
        await path.step(SECOND)
        assert await path.finals(id) == [(D, "")]
        assert len(path.switch.handed) == 1
        assert len(path.receipt_texts()) == 1

    on_path(test)


def test_a_database_that_cannot_be_read_is_asked_again_and_nobody_is_forgotten(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.up = False
        await path.submit(to="12345")
        await path.step(MINUTE)
        path.store.unavailable = True
        bank.up = True
        bank.wake()
        path.delivery.wake(PHONE)
        with pytest.raises(Exception, match="the test says so"):
            await path.delivery.turn()
        path.store.unavailable = False
        await path.settle()
        assert bank.bodies() == [b"hello"]

    on_path(test)


def test_the_runner_survives_a_database_that_is_away(on_path):
    async def test(path: Path) -> None:
        path.store.unavailable = True
        path.delivery.start()
        await asyncio.sleep(0)
        path.store.unavailable = False
        path.delivery.wake(PHONE)
        answers: list[object] = []
        path.submission.submit(a_draft(), path.account("shop"), path.ingress, answers.append)
        await soon_true(lambda: path.switch.handed)
        await path.delivery.stop()

    on_path(test)


# --- the row is not ours any more ----------------------------------------------------------------------------------


def cancel(path: Path, *ids: int) -> None:
    """Somebody else ends messages: their rows go."""
    for id in ids:
        path.store.disk.execute("DELETE FROM queue WHERE id = ?", (id,))


def test_a_fenced_outcome_is_dropped_and_the_lane_goes_on(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit(text=b"1")
        await path.submit(text=b"2")
        cancel(path, id)
        path.switch.answer()
        await path.settle()
        assert await path.events(id) == []
        assert path.receipt_texts() == []
        assert path.switch.bodies() == [b"1", b"2"]
        path.switch.answer()
        await path.settle()
        assert len(path.receipt_texts()) == 1
        assert path.delivery.in_memory == 0

    on_path(test)


def test_a_fenced_retry_is_not_sent_again(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit(text=b"1")
        await path.submit(text=b"2")
        cancel(path, id)
        path.switch.says = lambda attempt: DELIVERED
        path.switch.answer(BUSY)
        await path.settle()
        await path.step(MINUTE)
        assert path.switch.bodies() == [b"1", b"2"]
        assert await path.events(id) == []

    on_path(test)


def test_an_answer_that_comes_after_fencing_moves_the_lane_on(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: CONGESTED
        path.outlets["bank"].says = lambda attempt: None
        id = await path.submit(text=b"1")
        await path.submit(text=b"2")
        cancel(path, id)
        path.outlets["bank"].says = lambda attempt: DELIVERED
        path.outlets["bank"].answer(PERMANENT)
        await path.settle()
        assert path.outlets["bank"].bodies() == [b"1", b"2"]

    routes = [
        RouteModel(name=n, prefix="+4477", account=n, priority=p) for p, n in enumerate(("msc1", "bank"))
    ]
    on_path(test, routes=routes)


def test_a_node_with_a_late_heartbeat_starts_nothing_until_it_is_in_time(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        for text in (b"1", b"2"):
            await path.submit(text=text)
        path.store.boot_ns += 60 * 10**9
        path.switch.answer()
        await path.settle()
        assert path.switch.bodies() == [b"1"]
        await path.store.beat()
        path.delivery.resume()
        await path.settle()
        assert path.switch.bodies() == [b"1", b"2"]

    on_path(test)


def test_a_paused_node_records_what_ends(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit(text=b"1")
        await path.submit(text=b"2")
        path.delivery.pause()
        path.switch.answer()
        await path.settle()
        assert await path.finals(id) == [(D, "")]
        assert path.switch.bodies() == [b"1"]
        path.delivery.resume()
        assert path.switch.bodies() == [b"1", b"2"]

    on_path(test)


def test_after_a_halt_nothing_is_sent_or_recorded(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        path.outlets["bank"].window = 0
        id = await path.submit(text=b"1")
        await path.submit(text=b"2")
        await path.submit(text=b"parked", to="12345")
        path.delivery.halt()
        path.switch.answer()
        path.outlets["bank"].window = 10
        path.outlets["bank"].wake()
        path.delivery.wake(PHONE)
        path.delivery.admit((await path.store.load([id]))[0])
        path.delivery.tick()
        await asyncio.sleep(0)
        assert path.switch.bodies() == [b"1"]
        assert path.outlets["bank"].handed == []
        assert await path.events() == []
        assert not path.delivery.has_room()
        assert path.delivery.in_memory == 0

    on_path(test)


def test_a_closed_store_halts_the_engine(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        await path.submit(text=b"1")
        await path.submit(text=b"2")
        path.store._writer.close("fenced")
        path.switch.answer()
        assert path.switch.bodies() == [b"1"]
        assert not path.delivery.has_room()
        with pytest.raises(StoreClosed):
            path.store.put(Change(lambda answer: None))

    on_path(test)


def test_a_zombie_can_do_no_harm_to_the_next_life(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        ids = [await path.submit(text=text) for text in (b"1", b"2")]
        zombie_answers = list(path.switch.open)
        path.switch.open.clear()
        again = await path.next_life()
        assert again.switch.bodies() == [b"1", b"1"]
        zombie_answers[0][1](PERMANENT)  # the old process wakes up and hears its answer
        await path.settle()
        assert await again.finals(ids[0]) == []
        again.switch.says = lambda attempt: DELIVERED
        again.switch.answer()
        await again.settle()
        assert [await again.finals(id) for id in ids] == [[(D, "")]] * 2
        assert len(again.receipt_texts()) == 2

    on_path(test)


# --- a new life ----------------------------------------------------------------------------------------------------


def test_a_restart_picks_up_everything_exactly_once(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY if attempt.message.recipient == PHONE else None
        near = await path.submit(text=b"near")
        behind = await path.submit(text=b"behind")
        flying = await path.submit(text=b"flying", to="+447700900002")
        waiting = await path.submit(text=b"waiting", to="+447700900002")
        scheduled = await path.submit(
            text=b"scheduled", to="+447700900003", schedule_at=path.clock.now + HOUR
        )
        path.switch.open.clear()
        path.switch.handed.clear()
        path.switch.says = lambda attempt: DELIVERED
        again = await path.next_life()
        assert again.switch.bodies() == [b"flying", b"waiting"]
        await again.step(15 * SECOND)
        assert again.switch.bodies()[2:] == [b"near", b"behind"]
        await again.step(HOUR)
        assert again.switch.bodies()[4:] == [b"scheduled"]
        for id in (near, behind, flying, waiting, scheduled):
            assert await again.finals(id) == [(D, "")]
        assert len(again.receipt_texts()) == 5
        assert await again.queue() == {}

    on_path(test)


def test_rows_beyond_the_memory_budget_wait_and_are_read_back(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.says = lambda attempt: None
        for number in range(250):
            path.submission.submit(
                a_draft(b"%d" % number, to="12345", receipt=0),
                path.account("shop"),
                path.ingress,
                lambda answer: None,
            )
        await path.settle()
        path.submission.submit(
            a_draft(b"250", to="12345", receipt=0), path.account("shop"), path.ingress, lambda answer: None
        )
        await path.settle()
        assert not path.delivery.has_room()
        owners = [row["owner"] for row in (await path.queue()).values()]
        assert owners.count(0) >= 1
        bank.says = lambda attempt: DELIVERED
        while bank.open:
            bank.answer()
        for _ in range(5):
            await path.step(SECOND)
        assert await path.queue() == {}
        assert sorted(int(body) for body in bank.bodies()) == list(range(251))

    on_path(test, settings=DeliverySettings(max_tasks=100))


def test_an_unowned_row_is_left_alone_until_its_answer_left(on_path):
    async def test(path: Path) -> None:
        path.delivery.has_room = lambda: False  # type: ignore[method-assign]
        await path.submit()
        assert path.switch.handed == []
        await path.step(SECOND)
        assert len(path.switch.handed) == 1

    on_path(test)


def test_a_lost_row_of_this_node_is_found_and_a_finished_one_is_not(on_path):
    async def test(path: Path) -> None:
        path.store.trouble_with = times(
            1, Answer.UNKNOWN, lambda change: bool(change.messages) and not change.release
        )
        path.store.stored_after_all = True
        answers: list[object] = []
        path.submission.submit(a_draft(), path.account("shop"), path.ingress, answers.append)
        await path.settle()
        assert getattr(answers[0], "unknown", False)
        assert path.switch.handed == []
        await path.step(31 * SECOND)
        assert len(path.switch.handed) == 1
        assert await path.queue() == {}

    on_path(test)


def test_a_row_that_ends_while_it_is_looked_for_is_not_sent_again(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        await path.submit(receipt=0)
        path.clock.now += 40 * SECOND
        await path.store.beat()
        fetch = path.store.fetch

        async def slow(query, /, **params):
            rows = await fetch(query, **params)
            if query.name.startswith("pump:") and path.switch.open:
                path.switch.answer()  # ends, is recorded and forgotten while the answer travels
                while path.delivery.in_memory:
                    await asyncio.sleep(0)
            return rows

        path.store.fetch = slow
        await path.settle()
        assert len(path.switch.handed) == 1
        assert await path.queue() == {}

    on_path(test)


def test_a_row_claimed_before_its_leaving_was_heard_is_not_lost(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit()
        await path.step(MINUTE)
        assert path.delivery.in_memory == 0
        path.switch.says = lambda attempt: None
        path.delivery.wake(PHONE)
        await path.settle()
        assert path.delivery.knows(id)
        finished = path.store._finished
        late: list[tuple] = []
        path.store._finished = lambda *args: late.append(args)  # the loop hears of the commit later
        path.switch.answer(ABSENT)
        for _ in range(8):
            await asyncio.sleep(0)
        assert (await path.queue())[id]["owner"] == 0
        path.switch.says = lambda attempt: DELIVERED
        path.delivery._pump.want(PHONE)
        await path.delivery.turn()  # claims it, while memory still holds it
        path.recipients.woken(PHONE)
        path.store._finished = finished
        for args in late:
            finished(*args)
        await path.settle()
        assert await path.finals(id) == [(D, "")]
        assert await path.queue() == {}

    on_path(test)


def test_a_recipient_who_is_seen_while_his_rows_are_looked_for_is_looked_for_again(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        id = await path.submit()
        await path.step(MINUTE)
        path.switch.says = lambda attempt: DELIVERED
        claim = path.store.claim
        asked: list[str] = []

        async def too_early(**params):
            """The first answer about the phone is as old as its question, and the phone is seen before it comes."""
            if params.get("recipient") != PHONE:
                return await claim(**params)
            asked.append(PHONE)
            if len(asked) == 1:
                path.delivery.wake(PHONE)
                return []
            return await claim(**params)

        path.store.claim = too_early
        path.delivery.wake(PHONE)
        await path.settle()
        assert await path.finals(id) == [(D, "")]

    on_path(test)


def test_what_a_dead_node_put_off_while_its_receiver_bound_here_is_woken_by_its_death(on_path):
    async def test(path: Path) -> None:
        path.shop.up = False
        await path.submit(receipt=1)
        assert path.receipt_texts() == []
        behind = path.recipients.behind

        async def nobody(outlet, **asked):
            """The dead node's record is not on disk yet."""
            return []

        path.recipients.behind = nobody
        path.shop.up = True
        path.delivery.outlet_ready(path.shop)
        await path.settle()
        path.recipients.behind = behind
        await path.step(MINUTE)
        assert path.receipt_texts() == []
        path.delivery.life_ended()
        await path.settle()
        assert len(path.receipt_texts()) == 1

    on_path(test)


# --- the end -------------------------------------------------------------------------------------------------------


def test_a_graceful_stop_starts_nothing_and_records_what_ends(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        ids = [await path.submit(text=text) for text in (b"1", b"2")]
        other = await path.submit(text=b"3", to="+447700900002")
        stopping = asyncio.ensure_future(path.delivery.stop(30))
        await asyncio.sleep(0)
        path.switch.answer()
        path.switch.answer(BUSY)
        await stopping
        assert path.switch.bodies() == [b"1", b"3"]
        assert await path.finals(ids[0]) == [(D, "")]
        assert (await path.queue())[other]["attempts"] == 1
        assert path.shop.handed == [], "a receipt is not begun any more"
        path.switch.says = lambda attempt: DELIVERED
        again = await path.next_life()
        assert again.switch.bodies()[2:] == [b"2"]
        assert len(again.receipt_texts()) == 2
        await again.step(15 * SECOND)
        assert again.switch.bodies()[3:] == [b"3"]

    on_path(test)


def test_a_stop_waits_no_longer_than_it_may(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        await path.submit()
        path.delivery.start()
        await path.delivery.stop(0.05)
        assert path.switch.open
        path.switch.answer()
        assert len(await path.queue()) == 1

    on_path(test)


def test_a_failover_during_a_stop_is_left_to_the_next_life(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        stopping = asyncio.ensure_future(path.delivery.stop(30))
        await asyncio.sleep(0)
        path.switch.answer(CONGESTED)
        await stopping
        assert path.outlets["bank"].handed == []
        assert (await path.queue())[id]["attempts"] == 0
        again = await path.next_life(routes=routes)
        again.switch.answer()
        await again.settle()
        assert await again.finals(id) == [(D, "")]

    routes = [
        RouteModel(name=n, prefix="+4477", account=n, priority=p) for p, n in enumerate(("msc1", "bank"))
    ]
    on_path(test, routes=routes)


def test_the_clock_of_the_tests_does_not_run_by_itself():
    clock = SteppedClock()
    assert clock.now_ms() == clock.now_ms()
