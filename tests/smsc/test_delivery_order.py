"""Who goes when: handsets one by one, ESMEs by their window, receipts with the bind, and whoever is seen again.

In charge of: behaviour.md 2, and what wakes whom. Single attempts are in `test_delivery.py`.
Long because each rule of order is a small story of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
from memory_store import SILENT
from message_path import (
    ABSENT,
    BANK,
    BUSY,
    DAY,
    DELIVERED,
    EAGER,
    HOUR,
    MINUTE,
    PERMANENT,
    PHONE,
    SECOND,
    SHOP,
    SWITCH,
    SYSTEM,
    Path,
    ScriptedBox,
    a_draft,
    failed,
)

from restante.message import Address, EventKind, Kind, MessageState
from restante.outlet import Delivery as Attempt
from restante.outlet import ErrorClass, Outcome
from restante.smsc import pump, recipients
from restante.smsc.delivery import DeliverySettings
from restante.store.store import Answer, QueueReason

D, E, U, R = (
    MessageState.DELIVERED,
    MessageState.EXPIRED,
    MessageState.UNDELIVERABLE,
    MessageState.REJECTED,
)
OTHER_PHONE = "+447700900002"
FULL = failed(ErrorClass.MEMORY_FULL)


# --- handsets: order and the retry clock ---------------------------------------------------------------------------


def test_a_handset_has_one_attempt_outstanding(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        for text in (b"1", b"2", b"3"):
            await path.submit(text=text)
        await path.submit(text=b"x", to=OTHER_PHONE)
        assert path.switch.bodies() == [b"1", b"x"]
        path.switch.answer()
        await path.settle()
        assert path.switch.bodies() == [b"1", b"x", b"2"]

    on_path(test)


def test_the_retry_clock_holds_those_behind_and_success_releases_them_back_to_back(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY
        for text in (b"1", b"2", b"3"):
            await path.submit(text=text)
        assert path.switch.bodies() == [b"1"]
        path.switch.says = lambda attempt: DELIVERED
        await path.step(15 * SECOND)
        assert path.switch.bodies() == [b"1", b"1", b"2", b"3"]
        assert [a.more_messages_to_send for a in path.switch.handed] == [False, True, True, False]

    on_path(test)


def test_a_permanent_failure_frees_those_behind(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        for text in (b"1", b"2"):
            await path.submit(text=text)
        path.switch.answer(PERMANENT)
        await path.settle()
        assert path.switch.bodies() == [b"1", b"2"]

    on_path(test)


def test_order_survives_a_long_wait_in_the_database(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        for text in (b"1", b"2", b"3"):
            await path.submit(text=text)
        await path.step(MINUTE)  # the second failure sends the whole lane to the database
        assert path.delivery.in_memory == 0
        assert {row["due_at"] for row in (await path.queue()).values()} == {path.clock.now + 5 * MINUTE}
        await path.submit(text=b"4")  # comes in while nothing of the lane is in memory
        assert path.switch.bodies() == [b"1", b"1"], "the clock holds newcomers as well"
        path.switch.says = lambda attempt: DELIVERED
        await path.step(5 * MINUTE)
        assert path.switch.bodies() == [b"1", b"1", b"1", b"2", b"3", b"4"]

    on_path(test)


def test_order_survives_a_restart_while_the_clock_runs(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: SYSTEM if attempt.attempt < 3 else DELIVERED
        for text in (b"1", b"2"):
            await path.submit(text=text)
        await path.step(5 * SECOND)  # next try in 30 s: near, so its row stays owned
        path.delivery.halt()
        await path.store.close()
        next_life = await path.next_life()
        assert next_life.switch.bodies() == [b"1", b"1"], "the follower is due, but its head is not"
        await next_life.step(30 * SECOND)
        assert next_life.switch.bodies() == [b"1", b"1", b"1", b"2"]

    on_path(test)


def test_higher_priority_goes_first_among_what_waits(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        for text, priority in ((b"first", 0), (b"low", 0), (b"high", 3), (b"middle", 1)):
            await path.submit(text=text, priority_flag=priority)
        path.switch.says = lambda attempt: DELIVERED
        path.switch.answer()
        await path.settle()
        assert path.switch.bodies() == [b"first", b"high", b"middle", b"low"]

    on_path(test)


def test_priority_counts_among_rows_that_are_read_back_together(on_path):
    async def test(path: Path) -> None:
        at = path.clock.now + HOUR
        for text, priority in ((b"low", 0), (b"high", 2)):
            await path.submit(text=text, priority_flag=priority, schedule_at=at)
        await path.step(HOUR)
        assert path.switch.bodies() == [b"high", b"low"]

    on_path(test)


def test_parts_of_one_message_stay_together(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        await path.submit(text=b"first")
        part: dict[str, Any] = {"esm_class": 0x40, "source": Address(1, 1, "447700900009")}
        await path.submit(text=b"\x05\x00\x03\x07\x02\x01one", **part)
        await path.submit(text=b"between")
        await path.submit(text=b"\x05\x00\x03\x07\x02\x02two", **part)
        path.switch.says = lambda attempt: DELIVERED
        path.switch.answer()
        await path.settle()
        assert [body[-3:] for body in path.switch.bodies()] == [b"rst", b"one", b"two", b"een"]

    on_path(test)


def test_what_expires_behind_a_blocked_head_ends_in_time(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY if attempt.attempt < 3 else None
        await path.submit(text=b"1")
        id = await path.submit(text=b"2", expires_at=path.clock.now + 10 * SECOND)
        await path.step(10 * SECOND)
        assert await path.finals(id) == [(E, "expired")]
        assert path.switch.bodies() == [b"1"]

    on_path(test)


def test_what_expires_behind_an_attempt_under_way_ends_in_time(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        await path.submit(text=b"1")
        id = await path.submit(text=b"2", expires_at=path.clock.now + 10 * SECOND)
        await path.step(10 * SECOND)
        assert await path.finals(id) == [(E, "expired")]

    on_path(test)


def test_a_lane_of_many_messages_does_not_recurse(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        for number in range(400):
            path.submission.submit(
                a_draft(b"%d" % number, receipt=0), path.account("shop"), path.ingress, lambda answer: None
            )
        await path.settle()
        path.switch.says = lambda attempt: PERMANENT  # answers at once, inside `hand`
        path.switch.answer()
        await path.settle()
        assert len(path.switch.handed) == 400
        assert await path.queue() == {}

    on_path(test)


# --- ESMEs: windows ------------------------------------------------------------------------------------------------


def test_an_esme_is_windowed_and_a_refused_message_blocks_nothing(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.says = lambda attempt: (
            SYSTEM if attempt.message.body == b"2" and attempt.attempt == 1 else DELIVERED
        )
        ids = [await path.submit(text=text, to="12345") for text in (b"1", b"2", b"3")]
        assert bank.bodies() == [b"1", b"2", b"3"]
        await path.step(5 * SECOND)
        assert bank.bodies() == [b"1", b"2", b"3", b"2"]
        assert [await path.finals(id) for id in ids] == [[(D, "")]] * 3
        assert not any(attempt.more_messages_to_send for attempt in bank.handed)

    on_path(test)


def test_a_full_window_parks_and_room_wakes_in_turn(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.window, bank.says = 2, lambda attempt: None
        for text in (b"a1", b"a2", b"a3", b"a4"):
            await path.submit(text=text, to="12345")
        for text in (b"b1", b"b2"):
            await path.submit(text=text, to="+442012345678")
        assert bank.bodies() == [b"a1", b"a2"]
        for _ in range(4):
            bank.answer()
            await path.settle()
        assert bank.bodies() == [b"a1", b"a2", b"a3", b"b1", b"a4", b"b2"]
        while bank.open:
            bank.answer()
        await path.settle()
        assert await path.queue() == {}
        assert path.delivery.in_memory == 0

    on_path(test)


def test_a_parked_message_expires_in_time(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.window = 0
        id = await path.submit(to="12345", expires_at=path.clock.now + MINUTE)
        await path.step(MINUTE)
        assert await path.finals(id) == [(E, "expired")]
        assert bank.handed == []

    on_path(test)


def test_a_full_outlet_that_goes_away_does_not_keep_its_queue(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.window = 0
        id = await path.submit(to="12345")
        bank.up = False
        await path.step(SECOND)
        assert await path.boxed() == [id]

    on_path(test, box=ScriptedBox())


def test_an_outlet_that_raises_harms_only_its_own_message(on_path):
    async def test(path: Path) -> None:
        def broken(attempt: object) -> Outcome:
            raise RuntimeError("a bug")

        path.switch.says = broken
        id = await path.submit()
        row = (await path.queue())[id]
        assert (row["attempts"], row["reason"]) == (1, QueueReason.RETRY)
        path.switch.says = lambda attempt: DELIVERED
        await path.step(5 * SECOND)
        assert await path.finals(id) == [(D, "")]

    on_path(test)


def test_an_outlet_that_answers_twice_is_heard_once(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        _, done = path.switch.open[0]
        path.switch.answer()
        done(PERMANENT)
        await path.settle()
        assert await path.finals(id) == [(D, "")]
        await path.submit(text=b"next")
        assert path.switch.bodies() == [b"hello", b"next"]

    on_path(test)


# --- seen again ----------------------------------------------------------------------------------------------------


def test_an_outlet_that_comes_back_wakes_who_waits_behind_it(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.up = False
        ids = [await path.submit(text=text, to="12345") for text in (b"1", b"2")]
        await path.step(MINUTE)
        assert {row["owner"] for row in (await path.queue()).values()} == {0}
        bank.up = True
        bank.wake()
        await path.settle()
        assert bank.bodies() == [b"1", b"2"]
        assert [await path.finals(id) for id in ids] == [[(D, "")]] * 2
        assert await path.store.fetch(SILENT) == []

    on_path(test)


@pytest.fixture
def woken_by_twos(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pump, recipients):
        monkeypatch.setattr(module, "WOKEN_AT_ONCE", 2)


async def seven_behind_a_switch_that_is_away(path: Path) -> None:
    """Each tried as often as the others, and none of them in memory."""
    path.switch.up = False
    for number in range(7):
        await path.submit(text=b"%d" % number, to=f"+44770090010{number}")
        await path.step(SECOND)
    for _ in range(60):
        await path.step(MINUTE)
        rows = (await path.queue()).values()
        if {row["owner"] for row in rows} == {0} and len({row["attempts"] for row in rows}) == 1:
            return
    raise AssertionError("they never waited in the database")


@pytest.mark.usefixtures("woken_by_twos")
def test_a_switch_that_comes_back_wakes_everybody_behind_it_some_at_a_time(on_path):
    async def test(path: Path) -> None:
        await seven_behind_a_switch_that_is_away(path)
        path.switch.up = True
        path.switch.wake()
        await path.settle()
        assert path.switch.bodies() == [b"%d" % number for number in range(7)]
        assert await path.store.fetch(SILENT) == []

    on_path(test)


@pytest.mark.usefixtures("woken_by_twos")
def test_a_switch_that_goes_again_wakes_nobody_else_and_begins_anew_when_it_is_back(on_path):
    async def test(path: Path) -> None:
        await seven_behind_a_switch_that_is_away(path)

        (before,) = {row["attempts"] for row in (await path.queue()).values()}

        def gone_after_three(attempt: Attempt) -> Outcome | None:
            if len(path.switch.handed) == 3:
                path.switch.up = False
            return DELIVERED

        path.switch.says = gone_after_three
        path.switch.up = True
        path.switch.wake()
        await path.settle()
        assert len(path.switch.handed) == 3
        after = [row["attempts"] for _, row in sorted((await path.queue()).items())]
        assert after == [before + 1, before, before, before]
        path.switch.says = lambda attempt: DELIVERED
        path.switch.up = True
        path.switch.wake()
        await path.settle()
        assert sorted(path.switch.bodies()) == [b"%d" % number for number in range(7)]
        assert await path.queue() == {}

    on_path(test)


def test_a_near_try_in_memory_is_woken_as_well(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.up = False
        await path.submit(to="12345")  # next try in a minute: in memory
        await path.submit(to=PHONE)
        bank.up = True
        bank.wake()
        await path.settle()
        assert bank.bodies() == [b"hello"]

    on_path(test)


def test_a_bind_that_breaks_during_an_attempt_wakes_on_its_return(on_path):
    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.wake()  # seen as reachable
        bank.says = lambda attempt: None
        await path.submit(to="12345")
        bank.up = False
        bank.answer(ABSENT, wake=False)
        await path.settle()
        bank.says = lambda attempt: DELIVERED
        bank.up = True
        bank.wake()
        await path.settle()
        assert len(bank.handed) == 2

    on_path(test)


def test_an_outlet_that_returns_while_the_mailbox_is_asked_wakes_what_is_recorded_afterwards(on_path):
    box = ScriptedBox()

    async def test(path: Path) -> None:
        bank = path.outlets["bank"]
        bank.up = False
        box.says = lambda attempt: None
        await path.submit(to="12345")
        assert len(box.open) == 1
        bank.up = True
        bank.wake()
        await path.settle()
        assert bank.bodies() == [], "nothing is on disk that could be woken"
        box.answer(failed(ErrorClass.POLICY), wake=False)
        await path.settle()
        assert bank.bodies() == [b"hello"]

    on_path(test, box=box)


def test_who_is_seen_while_what_waits_for_him_is_put_off_is_looked_for_again(on_path):
    """The head's next try is far: those behind it go to the database, and one of them gets there late."""

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: SYSTEM
        first = await path.submit(text=b"first")
        for _ in range(40):
            await path.step(5 * SECOND)
            if not path.delivery.in_memory:
                break
        late = [Answer.FAILED]
        path.store.trouble_with = lambda change: late.pop() if change.requeue and late else None
        await path.submit(text=b"second")  # put behind the first, but not on disk yet
        path.switch.says = lambda attempt: DELIVERED
        path.delivery.wake(PHONE)
        await path.settle()
        assert await path.finals(first), "it was on disk, and is woken"
        assert not late
        await path.step(SECOND)
        await path.step(SECOND)
        assert path.switch.bodies()[-1] == b"second"
        assert await path.queue() == {}

    on_path(test)


def test_waking_a_recipient_tries_what_waits_here_and_in_the_database(on_path):
    async def test(path: Path) -> None:
        seen: list[str] = []
        path.delivery.on_seen(seen.append)
        path.switch.says = lambda attempt: ABSENT
        for text in (b"1", b"2"):
            await path.submit(text=text)
        await path.step(MINUTE)
        later = await path.submit(text=b"later", schedule_at=path.clock.now + DAY)
        path.switch.says = lambda attempt: DELIVERED
        path.delivery.wake(PHONE)
        await path.settle()
        assert path.switch.bodies() == [b"1", b"1", b"1", b"2"]
        assert list(await path.queue()) == [later], "a schedule is no absence"
        assert seen == [PHONE, PHONE]  # by the call, then by the first success

    on_path(test)


@pytest.mark.parametrize(("failure", "woken"), [(ABSENT, True), (BUSY, True), (FULL, False)])
def test_who_is_there_may_still_be_full(on_path, failure: Outcome, woken: bool):
    """Presence wakes who was absent; who had no memory is woken when it says that it has some (behaviour.md 5)."""

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: failure
        for text in (b"1", b"2"):
            await path.submit(text=text)
        path.switch.says = lambda attempt: DELIVERED
        for sign in (path.delivery.spoke, path.delivery.present, path.delivery.spoke_elsewhere):
            sign(PHONE)
        await path.settle()
        assert path.switch.bodies() == ([b"1", b"1", b"2"] if woken else [b"1"])
        path.delivery.wake(PHONE)
        await path.settle()
        assert path.switch.bodies() == [b"1", b"1", b"2"]

    on_path(test)


def test_waking_somebody_who_is_not_there_after_all_tries_once(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        for number in range(30):
            await path.submit(text=b"%d" % number)
        await path.step(MINUTE)
        assert len(path.switch.handed) == 2
        path.delivery.wake(PHONE)
        await path.settle()
        assert len(path.switch.handed) == 3, "one message goes first"
        path.switch.says = lambda attempt: DELIVERED
        path.delivery.wake(PHONE)
        await path.settle()
        assert len(path.switch.handed) == 33, "the rest after its success, claim by claim"
        assert path.switch.bodies()[3:] == [b"%d" % number for number in range(30)]

    on_path(test, settings=DeliverySettings(claim_size=10))


def test_a_receipt_waits_for_its_account_and_comes_with_the_bind(on_path):
    async def test(path: Path) -> None:
        path.shop.up = False
        await path.submit()
        (row,) = (await path.queue()).values()
        assert (row["recipient"], row["owner"]) == ("=1", 0)
        assert row["due_at"] == path.clock.now + HOUR
        path.shop.up = True
        path.shop.wake()
        await path.settle()
        assert "stat:DELIVRD" in path.receipt_texts()[0]
        assert await path.queue() == {}

    on_path(test)


def test_a_receipt_is_kept_for_seven_days_and_has_no_receipt(on_path):
    async def test(path: Path) -> None:
        path.shop.up = False
        id = await path.submit()
        for _ in range(8):
            await path.step(DAY)
        assert await path.queue() == {}
        (receipt,) = [i for i, row in (await path.messages()).items() if row["kind"] == Kind.RECEIPT]
        assert await path.finals(receipt) == [(E, "expired")]
        assert await path.kinds(id) == [EventKind.FINAL]
        assert len(await path.messages()) == 2
        assert path.receipts.waiting(1) == 0

    on_path(test)


def test_receipts_beyond_the_cap_are_not_made_and_the_ending_says_so(on_path):
    async def test(path: Path) -> None:
        path.shop.up = False
        ids = [await path.submit(text=b"%d" % n) for n in range(3)]
        details = [(await path.events(id))[0].detail for id in ids]
        assert ['"receipt":"capped"' in detail for detail in details] == [False, False, True]
        assert [await path.finals(id) for id in ids] == [[(D, "")]] * 3
        assert path.receipts.waiting(1) == 2
        path.shop.up = True
        path.shop.wake()
        await path.settle()
        assert path.receipts.waiting(1) == 0
        await path.submit()
        assert len(path.shop.handed) == 3

    on_path(test, models=[SHOP.model_copy(update={"receipt_cap": 2}), SWITCH, BANK, EAGER])


def test_a_receipt_for_an_account_that_was_deleted_ends(on_path):
    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: None
        id = await path.submit()
        del path.accounts[1]
        path.switch.answer()
        await path.settle()
        assert await path.finals(id) == [(D, "")]
        assert await path.queue() == {}

    on_path(test)
