"""Delivery under anything that may happen in any order: hypothesis looks for the order in which it breaks.

In charge of the promises that hold whatever outlets, phones, the database and the process do:
- an accepted message is in the queue, in a mailbox, or ended: in exactly one of them;
- it ends once, and its submitter is told once, if asked for;
- a life that is over sends nothing and changes nothing;
- behind a handset, messages of one priority arrive in the order in which they were accepted.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory_store import EVENTS, MESSAGES, QUEUE, MemoryStore, SteppedClock
from message_path import (
    ABSENT,
    BUSY,
    CONGESTED,
    DAY,
    DELIVERED,
    HOUR,
    MINUTE,
    PERMANENT,
    SECOND,
    SYSTEM,
    ScriptedBox,
    a_draft,
    failed,
    make_path,
)

from restante.message import EventKind, Kind, MessageState
from restante.outlet import Delivery, ErrorClass
from restante.smsc.delivery import DeliverySettings
from restante.smsc.submission import Accepted
from restante.store.store import Answer, Change

T = TypeVar("T")

PHONES = ["+447700900001", "+447700900002"]
RECIPIENTS = [*PHONES, "12345"]
OUTCOMES = {
    "delivered": DELIVERED,
    "absent": ABSENT,
    "busy": BUSY,
    "congested": CONGESTED,
    "system": SYSTEM,
    "permanent": PERMANENT,
    "timeout": failed(ErrorClass.TIMEOUT),
}
BOX = {
    "deposit": None,
    "full": failed(ErrorClass.PERMANENT, "mailbox-full"),
    "not material": failed(ErrorClass.POLICY, "type-0"),
    "away": failed(ErrorClass.SYSTEM, "mailbox-unavailable"),
}
LONG = os.environ.get("RESTANTE_LONG") == "1"


class DeliveryMachine(RuleBasedStateMachine):
    """One center through several lives."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.accepted: dict[int, int] = {}  # id -> receipts asked for
        self.priority: dict[int, int] = {}
        self.arrived: dict[str, list[int]] = defaultdict(
            list
        )  # recipient -> ids in the order of their success
        self.cancelled: dict[int, int] = {}  # id -> attempts before
        self.troubled = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(with_box=st.booleans())
    def begin(self, with_box: bool) -> None:
        self.run(self._begin())
        if not with_box:  # then what fails waits for its next try
            self.change_box("not material")

    async def _begin(self) -> None:
        clock = SteppedClock()
        store = MemoryStore(clock=clock)
        await store.open()
        self.path = await make_path(
            store, clock, box=ScriptedBox(), settings=DeliverySettings(max_tasks=1000, claim_size=3)
        )
        assert self.path.box
        self.deposit = self.path.box.says
        for name in ("msc1", "bank"):
            self.path.outlets[name].says = lambda attempt: None

    @property
    def open(self) -> list[tuple[Any, int, Delivery]]:
        outlets = [self.path.outlets[name] for name in ("msc1", "bank")]
        return [(o, at, entry[0]) for o in outlets for at, entry in enumerate(o.open)]

    # --- what happens

    @rule(
        to=st.sampled_from(RECIPIENTS),
        receipt=st.sampled_from([0, 1, 2, 0x11]),
        priority=st.sampled_from([0, 0, 0, 2]),
        validity=st.sampled_from([0, 20 * SECOND, 10 * MINUTE, DAY]),
        scheduled=st.sampled_from([0, 0, 0, 30 * SECOND]),
        part=st.sampled_from([0, 0, 1, 2]),
    )
    def submit(self, to: str, receipt: int, priority: int, validity: int, scheduled: int, part: int) -> None:
        now = self.path.clock.now
        draft = a_draft(
            to=to,
            receipt=receipt,
            priority_flag=priority,
            schedule_at=now + scheduled if scheduled else 0,
            expires_at=now + scheduled + validity + 1 if validity else 0,
        )
        if part:
            draft.esm_class, draft.body = 0x40, b"\x05\x00\x03\x09\x02%c" % part + draft.body
        answer = self.run(self.path.answer_to(draft))
        if isinstance(answer, Accepted):
            self.accepted[answer.id] = receipt & 3
            # Scheduled ones and parts stand where their time or their message is: not compared with others.
            self.priority[answer.id] = -1 - answer.id if scheduled or part else priority

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from(sorted(OUTCOMES)))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        outlet, at, attempt = data.draw(st.sampled_from(self.open))
        if outcome == "delivered":
            self.arrived[attempt.message.recipient].append(attempt.message.id)
        outlet.answer(OUTCOMES[outcome], at=at)
        self.run(self.path.settle())

    @rule(ms=st.sampled_from([SECOND, 15 * SECOND, 31 * SECOND, MINUTE, 6 * MINUTE, 2 * HOUR]))
    def step(self, ms: int) -> None:
        self.run(self.path.step(ms))

    @rule(to=st.sampled_from(RECIPIENTS))
    def wake(self, to: str) -> None:
        self.path.delivery.wake(to)
        self.run(self.path.settle())

    @rule(name=st.sampled_from(["msc1", "bank", "shop"]), up=st.booleans())
    def bind(self, name: str, up: bool) -> None:
        outlet = self.path.outlets[name]
        outlet.up = up
        outlet.wake()
        self.run(self.path.settle())

    @rule(name=st.sampled_from(["msc1", "bank"]), window=st.sampled_from([0, 1, 1000]))
    def resize(self, name: str, window: int) -> None:
        outlet = self.path.outlets[name]
        outlet.window = window
        outlet.wake()
        self.run(self.path.settle())

    @rule(how=st.sampled_from(sorted(BOX)))
    def change_box(self, how: str) -> None:
        said = BOX[how]
        assert self.path.box
        self.path.box.says = self.deposit if said is None else lambda attempt: said

    @rule(
        answer=st.sampled_from([Answer.FAILED, Answer.FULL, Answer.UNKNOWN]),
        after_all=st.booleans(),
        changes=st.integers(1, 5),
    )
    def trouble(self, answer: Answer, after_all: bool, changes: int) -> None:
        self.troubled = True
        left = changes

        def trouble(change: Change) -> Answer | None:
            nonlocal left
            left -= 1
            return answer if left >= 0 else None

        self.path.store.trouble_with = trouble
        self.path.store.stored_after_all = after_all

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Somebody else ends a message: its row goes, with the event and the receipt."""
        id = data.draw(st.sampled_from(sorted(self.accepted)))
        if self.path.store.disk.execute("DELETE FROM queue WHERE id = ?", (id,)).rowcount:
            self.cancelled[id] = len([1 for attempt in self._attempts() if attempt.message.id == id])

    def _attempts(self) -> list[Delivery]:
        return [attempt for outlet in self.path.outlets.values() for attempt in outlet.handed]

    @rule(held=st.booleans())
    def crash(self, held: bool) -> None:
        self.run(self._crash(held))

    async def _crash(self, held: bool) -> None:
        old = self.path
        old.store.boot_ns += 10**12  # it was stopped, and finds itself late
        late = [entry for o in old.outlets.values() for entry in o.open]
        for outlet in old.outlets.values():
            outlet.open.clear()
        self.path = await old.next_life(settings=DeliverySettings(max_tasks=1000, claim_size=3))
        sent = self._sent()
        on_disk = self._disk()
        for attempt, done in late:
            if held:
                self.arrived[attempt.message.recipient].append(attempt.message.id)
            done(DELIVERED if held else ABSENT)
        for _ in range(20):
            await asyncio.sleep(0)
        old.delivery.tick()
        for _ in range(20):
            await asyncio.sleep(0)
        assert self._sent() == sent, "a zombie sent something"
        assert self._disk() == on_disk, "a zombie wrote something"
        old.delivery.halt()

    # --- what must hold

    def _sent(self) -> int:
        """Attempts that left the house; an offer to the mailbox did not."""
        return sum(len(outlet.handed) for outlet in self.path.outlets.values())

    def _disk(self) -> tuple[Any, ...]:
        rows = self.path.store.rows
        return tuple([tuple(row.values()) for row in rows(query)] for query in (QUEUE, EVENTS, MESSAGES))

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        if not hasattr(self, "path"):
            return
        rows = self.path.store.rows
        queued = {row["id"] for row in rows(QUEUE)}
        boxed = {row[0] for row in self.path.store.disk.execute("SELECT id FROM test_box")}
        finals = Counter(row["message"] for row in rows(EVENTS) if row["kind"] == EventKind.FINAL)
        for id in self.accepted:
            places = (id in queued) + (id in boxed) + (id in finals) + (id in self.cancelled)
            assert places == 1, (
                f"message {id}: queued {id in queued}, boxed {id in boxed}, final {finals[id]}"
            )
        assert all(count == 1 for count in finals.values()), f"ended twice: {finals}"
        over = self.accepted.keys() - queued - self.cancelled.keys()
        assert self.troubled or not any(self.path.delivery.knows(id) for id in over)

    @invariant()
    def each_submitter_is_told_once(self) -> None:
        if not hasattr(self, "path"):
            return
        rows = self.path.store.rows
        ends = {row["message"]: row["state"] for row in rows(EVENTS) if row["kind"] == EventKind.FINAL}
        told = Counter(
            row["parent"] for row in rows(MESSAGES) if row["kind"] == Kind.RECEIPT and row["esm_class"] == 4
        )
        for id, asked in self.accepted.items():
            wanted = id in ends and (asked == 1 or (asked == 2 and ends[id] != MessageState.DELIVERED))
            assert told[id] == wanted, f"message {id}: {told[id]} receipts"

    @invariant()
    def an_attempt_under_way_when_its_row_was_lost_is_the_last(self) -> None:
        """What waited in memory may be tried once before the store says that its row is gone, but never again."""
        if self.cancelled:
            tried = Counter(attempt.message.id for attempt in self._attempts())
            for id, before in self.cancelled.items():
                assert tried[id] <= before + 1, f"message {id} was tried {tried[id] - before} times"

    @invariant()
    def handsets_get_them_in_order(self) -> None:
        if self.troubled:
            return
        for phone in PHONES:
            by_priority: dict[int, list[int]] = defaultdict(list)
            for id in dict.fromkeys(self.arrived[phone]):
                if id in self.accepted:
                    by_priority[self.priority[id]].append(id)
            for ids in by_priority.values():
                assert ids == sorted(ids), f"{phone} got {ids}"

    def teardown(self) -> None:
        if hasattr(self, "path"):
            self.run(self._come_to_an_end())
        self.loop.close()

    async def _come_to_an_end(self) -> None:
        """Everything works again: then everything ends, and nothing is left over."""
        path = self.path
        path.store.trouble_with = lambda change: None
        assert path.box
        path.box.says = self.deposit
        for outlet in path.outlets.values():
            outlet.up, outlet.window, outlet.says = True, 1000, lambda attempt: DELIVERED
            while outlet.open:
                outlet.answer()
            outlet.wake()
        for ms in (SECOND, SECOND, 31 * SECOND, 31 * SECOND, 31 * SECOND, HOUR, DAY, 3 * DAY, 4 * DAY):
            await path.step(ms)
        self.each_message_is_in_one_place()
        self.each_submitter_is_told_once()
        left = await path.queue()
        note(f"left: {left}")
        assert not left
        assert path.delivery.in_memory == 0
        assert path.delivery._desk.lanes == {}
        assert path.delivery._desk.octets == 0
        assert path.delivery._settlements.pending == 0
        assert path.receipts.waiting(1) == 0
        for task in asyncio.all_tasks(self.loop):
            if task is not asyncio.current_task():
                task.cancel()


DeliveryMachine.TestCase.settings = settings(
    max_examples=600 if LONG else 60,
    stateful_step_count=60 if LONG else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
test_delivery_whatever_happens = DeliveryMachine.TestCase
