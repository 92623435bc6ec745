"""Decides what follows from the outcome of an attempt.

In charge of: delivered, deposited, failed: which change that becomes, what is remembered of the recipient, and who is
told. Not in charge of: the attempt (`attempts.py`), the change itself (`recording.py`), the schedules (`retry.py`).

    DELIVERED ──> end                     STORED ──> let go, or an end if the account wants its receipt at deposit
    FAILED    ──> another route | the mailbox | later | end, as the schedule of its error class says
    FORWARDED ──> out of memory, nobody's row, until the other center's receipt comes (`reports.py`) or is overdue
    a redelivery that failed ──> let go: the box keeps the copy

Sources: behaviour.md 1, 2, 5, 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from .. import outlet as seam
from ..access.accounts import Account
from ..message import Event, EventKind, Kind, Message, MessageState
from ..metrics import tally
from ..outlet import ErrorClass, Outcome, Outlet, Result, Write
from ..store.failpoints import Failpoint, nothing
from ..store.store import UNNOTICED, Change, QueueReason, Release, Requeue, Store, StoreClosed
from .attempts import AGAIN_MS, Attempt, Attempts
from .causes import receipt_error
from .crossing import Crossing
from .desk import Desk
from .lanes import NEVER, Lane, Task
from .pending_flags import flag_write, sets_flag
from .pump import Pump
from .receipts import Receipts
from .recipients import Recipients
from .recording import NOT_BOUND, Recording, count_ending
from .records import acknowledged_events, attempt_event, stored_event
from .retry import Next, Schedule, decide
from .settlement import ignore

__all__ = ["Outcomes", "Redelivery"]

_attempts = tally(
    "delivery", "attempts", "Attempts that ended, by result and error class", ("result", "error")
)


class Redelivery(Protocol):
    """What delivery needs of the mailbox for a copy that is wanted on the handset."""

    def redelivered_writes(self, message: Message, at: int) -> tuple[Write, ...]:
        """Writes that conclude the box row; they conflict if the recipient read it meanwhile."""
        ...


class Outcomes:
    """What outcomes mean on one node."""

    def __init__(
        self,
        desk: Desk,
        attempts: Attempts,
        recording: Recording,
        crossing: Crossing,
        store: Store,
        *,
        receipts: Receipts,
        recipients: Recipients,
        pump: Pump,
        accounts: Callable[[int], Account | None],
        random: Callable[[], float],
        seen: Callable[[str], None],
        mailbox: Outlet | None,
        schedules: Mapping[ErrorClass, Schedule],
        unbound_retry_s: int,
        failpoint: Failpoint = nothing,
    ) -> None:
        """`seen` is told of a recipient who was silent and is reached again; `random` in [0, 1) spreads retries."""
        self._desk = desk
        self._attempts = attempts
        self._recording = recording
        self._crossing = crossing
        self._store = store
        self._clock = store.clock
        self._receipts = receipts
        self._recipients = recipients
        self._pump = pump
        self._accounts = accounts
        self._random = random
        self._seen = seen
        self._mailbox = mailbox
        self._schedules = schedules
        self._unbound_retry_ms = unbound_retry_s * 1000
        self._failpoint = failpoint
        self.redelivery: Redelivery | None = None

    def ended(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """An attempt ended."""
        lane.flying -= 1
        if self._desk.holds(task) and not self._crossing.misplaced(lane, task, outcome):
            task.cleared = False
            _attempts.count(outcome.result, outcome.error or "")
            if outcome.result is Result.DELIVERED:
                self._delivered(lane, task, outcome)
            elif outcome.result is Result.STORED:
                self._deposited(lane, task, outcome)
            elif task.reason == QueueReason.REDELIVERY:  # a forwarded copy stays as well: nobody saw it yet
                self._give_up_redelivery(lane, task, outcome)
            elif outcome.result is Result.FORWARDED:
                self._forwarded(lane, task, outcome)
            else:
                self._failed(lane, task, outcome)
        self._desk.advance(lane)

    # ------------------------------------------------------------------------------------------ delivered

    def _delivered(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        self._failpoint("before-finish")
        message, now = task.message, self._clock.now_ms()
        lane.blocked_until = 0
        silent = self._recipients.is_silent(message.recipient)
        if silent or task.attempts:  # whatever else waits by its own clock need not wait any longer
            lane.ripen(NEVER)
            self._pump.want(message.recipient)
            self._desk.nudge()
        if silent:
            self._seen(message.recipient)
        if not lane.waiting and self._pump.reached(message.recipient):
            self._desk.nudge()
        reached = self._recipients.reached(message.recipient, retried=task.attempts > 0)
        writes = outcome.writes + reached
        if task.reason == QueueReason.REDELIVERY and self.redelivery is not None:
            writes += self.redelivery.redelivered_writes(message, now)
        task.attempts += 1
        if message.kind == Kind.RECEIPT:
            task.notes += acknowledged_events(message, at=now, node=self._store.node)
        self._recording.end(lane, task, MessageState.DELIVERED, outcome=outcome, writes=writes)

    # ------------------------------------------------------------------------------------------ forwarded

    def _forwarded(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """Another center took it: the row is nobody's until its receipt comes or is overdue."""
        message, now = task.message, self._clock.now_ms()
        task.attempts += 1
        forwarded = attempt_event(task, outcome, at=now, node=self._store.node, due_at=outcome.overdue_at)
        forwarded.kind = EventKind.FORWARDED
        requeue = Requeue(
            message.id, self._store.epoch, outcome.overdue_at, task.attempts, QueueReason.FORWARDED
        )
        change = Change(done=ignore, requeue=requeue, events=(forwarded,), writes=outcome.writes)
        self._desk.watch_beyond(message.id)
        self._recording.commit(lane, task, change)

    # ------------------------------------------------------------------------------------------ deposited

    def _deposited(self, lane: Lane, task: Task, outcome: Outcome, failure: Outcome | None = None) -> None:
        """The mailbox took it: not an ending, unless the account wants its receipt now (behaviour.md 1)."""
        assert self._mailbox is not None
        message, now, mailbox = task.message, self._clock.now_ms(), self._mailbox.name
        events: tuple[Event, ...] = ()
        withheld = task.reason in UNNOTICED
        writes = () if withheld else outcome.writes
        if failure is not None:
            events = (self._failure(task, failure, now),)
            writes += self._silent(lane, task, failure, now, next_try=0)
        reason = failure.reason if failure else outcome.reason
        events += (stored_event(task, reason, mailbox, at=now, node=self._store.node),)
        account = self._accounts(message.account)
        is_end = account is not None and account.receipt_at == "deposit"
        receipts: tuple[Message, ...] = ()
        try:
            if is_end:
                final, receipts = self._receipts.ending(
                    message, MessageState.DELIVERED, at=now, reason="deposited", attempt=task.attempts,
                    route=mailbox,
                )  # fmt: skip
                events += final
            else:
                error = receipt_error(failure.error, failure.reason) if failure else 0
                receipts = self._receipts.notification(message, at=now, error=error)
        except StoreClosed:  # no ids for receipts now
            self._recording.later(self._deposited, lane, task, outcome, failure)
            return
        change = Change(done=ignore, messages=receipts, events=events, writes=writes)
        if withheld and not is_end:  # it waits where nobody can read it, for the end of its validity period
            epoch, due_at = self._store.epoch, message.expires_at
            change.requeue = Requeue(message.id, epoch, due_at, task.attempts, QueueReason.WITHHELD)
        else:
            change.release = Release(message.id, self._store.epoch)
        if is_end:
            count_ending(MessageState.DELIVERED)
        self._recording.commit(lane, task, change, conflict=partial(self._box_changed, lane, task, failure))

    def _box_changed(self, lane: Lane, task: Task, failure: Outcome | None) -> None:
        """Quota or subscriber changed while the deposit was under way: ask the mailbox again in a moment."""
        if failure is not None and self._mailbox is not None:
            self._recording.later(self._deposit, lane, task, self._mailbox, failure)
        else:
            again = self._clock.now_ms() + AGAIN_MS
            self._recording.requeue(lane, task, again, _retry_reason(task))

    # ------------------------------------------------------------------------------------------ failed

    def _failed(self, lane: Lane, task: Task, outcome: Outcome, *, deposit: bool = True) -> None:
        """Follow the schedule of the error class."""
        message, now = task.message, self._clock.now_ms()
        error = outcome.error or ErrorClass.SYSTEM
        outlet = task.lead.outlet if task.lead is not None else None
        if outlet is not None:
            self._attempts.missed(outlet, outcome)
        if message.kind == Kind.RECEIPT and outcome.reason == NOT_BOUND:
            due = min(now + self._unbound_retry_ms, message.expires_at)
            self._later(lane, task, outcome, now, due, QueueReason.RETRY)
            return
        mailbox = self._mailbox
        may_deposit = deposit and not (outlet is mailbox or task.no_mailbox or message.is_system)
        if outlet is not None and deposit:
            task.tried.append(outlet.name)
        decision = decide(
            message,
            error,
            attempts=task.attempts + 1,
            now=now,
            random=self._random(),
            more_routes=any(self._crossing.place(lead.outlet, message.recipient) for lead in task.others),
            mailbox=mailbox is not None and may_deposit,
            schedules=self._schedules,
        )
        if decision.next is Next.ROUTE:
            if self._desk.may_send():
                self._attempts.try_next(lane, task)
            else:  # its row stays as it is: tried again from the beginning when sending is allowed
                self._desk.leave(task)
            return
        task.attempts += 1
        if decision.next is Next.DEPOSIT:
            assert mailbox is not None
            self._deposit(lane, task, mailbox, outcome)
        elif decision.next is Next.LATER:
            task.notes += (self._failure(task, outcome, now, decision.due_at),)
            self._later(lane, task, outcome, now, decision.due_at, _retry_reason(task))
        else:
            task.notes += (self._failure(task, outcome, now),)
            reason = outcome.reason or str(error)
            flagged = sets_flag(message, outcome.error)
            writes = self._silent(lane, task, outcome, now, next_try=0) if flagged else ()
            self._recording.end(
                lane, task, MessageState.UNDELIVERABLE, reason=reason, error=error, outcome=outcome,
                writes=writes,
            )  # fmt: skip

    def _later(self, lane: Lane, task: Task, outcome: Outcome, now: int, due_at: int, reason: str) -> None:
        """Tried again by the clock, or when the recipient is seen."""
        due_at = min(due_at, task.message.expires_at)
        task.reason = reason
        writes = self._silent(lane, task, outcome, now, next_try=due_at)
        self._recording.requeue(lane, task, due_at, reason, outcome=outcome, writes=writes)

    def _deposit(self, lane: Lane, task: Task, mailbox: Outlet, failure: Outcome) -> None:
        """Offer a message that could not be delivered to the mailbox."""
        lane.flying += 1

        def answered(outcome: Outcome) -> None:
            lane.flying -= 1
            if self._desk.holds(task):
                self._offered(lane, task, outcome, failure)
            self._desk.advance(lane)

        because = str(failure.error or failure.reason)
        attempt = Attempt(answered)
        offer = seam.Delivery(task.message, task.attempts, "deposit", because=because)
        if not mailbox.hand(offer, attempt) and not attempt.over:
            attempt.over = True
            lane.flying -= 1
            self._failed_undeposited(lane, task, failure)

    def _offered(self, lane: Lane, task: Task, outcome: Outcome, failure: Outcome) -> None:
        """What the mailbox said to it."""
        if outcome.result is Result.STORED:
            self._deposited(lane, task, outcome, failure)
        elif outcome.error is ErrorClass.PERMANENT:  # full, closed: the message's end (behaviour.md 1)
            task.notes += (self._failure(task, failure, self._clock.now_ms()),)
            self._recording.end(
                lane, task, MessageState.UNDELIVERABLE, reason=outcome.reason, error=outcome.error
            )
        else:  # not mailbox material, or the box cannot say now: the schedule goes on without it
            task.no_mailbox = outcome.error is ErrorClass.POLICY
            self._failed_undeposited(lane, task, failure)

    def _failed_undeposited(self, lane: Lane, task: Task, failure: Outcome) -> None:
        """Judge a failure again as if there were no mailbox."""
        task.attempts -= 1
        task.others.clear()
        self._failed(lane, task, failure, deposit=False)

    def _give_up_redelivery(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """The handset did not take its copy: the box keeps it, nothing else changes."""
        if task.lead is not None:
            self._attempts.missed(task.lead.outlet, outcome)
        task.attempts += 1
        task.notes += (self._failure(task, outcome, self._clock.now_ms()),)
        self._recording.let_go(lane, task)

    def _failure(self, task: Task, outcome: Outcome, at: int, due_at: int = 0) -> Event:
        return attempt_event(task, outcome, at=at, node=self._store.node, due_at=due_at)

    def _silent(
        self, lane: Lane, task: Task, failure: Outcome, at: int, *, next_try: int
    ) -> tuple[Write, ...]:
        """Remember that a recipient was not reached, and who wants to hear of its return."""
        if task.lead is None or task.reason in UNNOTICED:
            return ()
        error = failure.error or ErrorClass.SYSTEM
        writes = self._recipients.failed(
            task.message.recipient, error, at=at, next_try=next_try, outlet=task.lead.outlet.name,
            handset=bool(lane.handset) or task.lead.outlet.transit,
        )  # fmt: skip
        if sets_flag(task.message, error):
            writes += (flag_write(task.message, at),)
        return writes


def _retry_reason(task: Task) -> str:
    """A diverted message goes to the mailbox at its next try as well, a withheld one nowhere."""
    stays = task.reason in (QueueReason.DIVERTED, *UNNOTICED)
    return task.reason if stays else QueueReason.RETRY
