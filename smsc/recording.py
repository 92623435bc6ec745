"""Records what became of a task: one change, one transaction.

In charge of: the change that ends a message, puts it off or merely lets its row go, and what follows once that is on
disk. Not in charge of: which of them it is (`attempts.py`, `outcomes.py`), the receipt's text (`receipts.py`), putting
changes again until the database takes them (`settlement.py`).

Theory: the events that a task collected ride with its next change. On disk, the task leaves memory, or goes back into
its lane if its next try is near; the receipts that were stored with it are then worked on. A task whose row was lost
is forgotten, and nothing starts until it is known that this life of the node still counts.

    end        row released, final event, receipt     ──> leaves
    requeue    row stays, due later, near             ──> back into the lane, still owned
               row stays, due later, far              ──> leaves; the pump reads it back
    put_behind row stays: its lane's head went far    ──> leaves
    let_go     row released, nothing else             ──> leaves

Sources: behaviour.md 1, 2, 6.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import bindparam, update

from ..message import Kind, Message, MessageState
from ..metrics import tally
from ..outlet import ErrorClass, Outcome, Outlet, Write
from ..store import tables
from ..store.statement import Sql
from ..store.store import (
    UNNOTICED,
    Change,
    QueueReason,
    Release,
    Requeue,
    Store,
    StoreClosed,
)
from .causes import receipt_error
from .desk import Desk, Ended
from .lanes import Lane, Task
from .pump import Pump
from .receipts import Receipts
from .recipients import Recipients
from .records import final_detail
from .settlement import Settlement, Settlements, ignore

__all__ = ["NOT_BOUND", "Recording", "count_ending"]

_endings = tally("delivery", "endings", "Messages that reached a final state", ("state",))
_NAMES = {state: state.name for state in MessageState}

#: The reason of an outcome that is no attempt: nobody is bound.
NOT_BOUND = "not-bound"

#: The text of a one-time code is blanked with the transaction that ends it.
_BLANK = Sql(
    "recording: blank the text of a one-time code",
    update(tables.body).where(tables.body.c.message == bindparam("id")).values(payload=bindparam("nothing")),
)

_MOST_MISSING = 10_000  #: recipients behind outlets whose return is waited for
_MOST_VEILED = 100_000  #: recipients whose withheld messages wait behind each other


class Recording:
    """The changes of one node's tasks."""

    def __init__(
        self,
        desk: Desk,
        store: Store,
        settlements: Settlements,
        *,
        receipts: Receipts,
        recipients: Recipients,
        pump: Pump,
        horizon_s: int,
    ) -> None:
        """`horizon_s`: a next try later than this waits in the database."""
        self._desk = desk
        self._store = store
        self._clock = store.clock
        self.settlements = settlements
        self._receipts = receipts
        self._recipients = recipients
        self._pump = pump
        self._horizon_ms = horizon_s * 1000
        self._veiled: dict[str, int] = {}  # recipient -> next try of what is withheld from him
        self._missing: dict[str, Outlet] = {}  # recipient -> outlet that no node reached when it was tried
        self._unheard: Callable[[Message, MessageState, Outcome | None], None] | None = None
        self._reached: Callable[[Outlet, str], object] = lambda outlet, _: outlet.reachable()

    def cross_with(
        self,
        unheard: Callable[[Message, MessageState, Outcome | None], None],
        reached: Callable[[Outlet, str], object],
    ) -> None:
        """Call `unheard` with each ending that nobody waits for here; `reached` says whether any node reaches an
        outlet for a recipient."""
        self._unheard, self._reached = unheard, reached

    # ------------------------------------------------------------------------------------------ endings

    def end(
        self,
        lane: Lane,
        task: Task,
        state: MessageState,
        *,
        reason: str = "",
        error: ErrorClass | None = None,
        outcome: Outcome | None = None,
        writes: tuple[Write, ...] = (),
    ) -> None:
        """Bring a message to its final state, with the receipt that was asked for."""
        message, lead = task.message, task.lead
        redelivery = task.reason == QueueReason.REDELIVERY
        if redelivery and state is not MessageState.DELIVERED:
            self.let_go(lane, task)  # the end is the box's
            return
        try:
            final, receipts = self._receipts.ending(
                message,
                state,
                at=self._clock.now_ms(),
                reason=reason,
                error=receipt_error(error, reason),
                attempt=task.attempts,
                route=lead.outlet.name if lead is not None else "",
                network_error=outcome.network_error if outcome is not None else b"",
                detail=final_detail(task, outcome),
            )
        except StoreClosed:  # no id for the receipt now
            end = partial(self.end, reason=reason, error=error, outcome=outcome, writes=writes)
            self.later(end, lane, task, state)
            return
        if message.kind == Kind.CODE:
            writes += (Write(_BLANK, {"id": message.id, "nothing": b""}),)
        release = Release(message.id, self._store.epoch)
        change = Change(done=ignore, messages=receipts, release=release, events=final, writes=writes)
        ending = _Ending(self, lane, task, change, state, outcome, self._desk.watcher(message.id))
        if redelivery:
            ending.conflict = partial(self._read_meanwhile, lane, task)
        self.settlements.put(ending)

    def heard(
        self, message: Message, state: MessageState, outcome: Outcome | None, ended: Ended | None
    ) -> None:
        """An ending is on disk: tell whoever waits for it, here or elsewhere."""
        count_ending(state)
        if message.kind == Kind.RECEIPT:
            self._receipts.concluded(message)
        if ended is not None:
            ended(state, outcome)
        elif self._unheard is not None:
            self._unheard(message, state, outcome)

    def _read_meanwhile(self, lane: Lane, task: Task) -> None:
        """The recipient read the box while the copy was on its way: the ending is the box's, not ours."""
        self.let_go(lane, task, self._recipients.reached(task.message.recipient, retried=True))

    def let_go(self, lane: Lane, task: Task, writes: tuple[Write, ...] = ()) -> None:
        """The row leaves the queue; how the message ends is told elsewhere."""
        release = Release(task.message.id, self._store.epoch)
        self.commit(lane, task, Change(done=ignore, release=release, writes=writes))

    # ------------------------------------------------------------------------------------------ another time

    def requeue(
        self,
        lane: Lane,
        task: Task,
        due_at: int,
        reason: str,
        *,
        outcome: Outcome | None = None,
        writes: tuple[Write, ...] = (),
    ) -> None:
        """Put a task off. Near ones stay in memory; a handset's whole lane waits with its head.

        A near one counts as flying until the change is on disk: no second attempt overtakes the record of the first.
        """
        message, now = task.message, self._clock.now_ms()
        due_at = min(due_at, message.expires_at)
        task.reason, task.due_at = reason, due_at
        retried = reason in (QueueReason.RETRY, QueueReason.DIVERTED)
        near = (retried or reason in UNNOTICED) and self.is_near(due_at, now)
        holds_lane = bool(lane.handset) and retried
        if outcome is not None and reason in UNNOTICED and lane.handset:
            self._veil(message.recipient, due_at, now)
        requeue = Requeue(message.id, self._store.epoch, due_at, task.attempts, reason, keep=near)
        change = Change(done=ignore, requeue=requeue, writes=writes)
        missed = None
        lead = task.lead
        # The outlet may have come back since, while the mailbox was asked: its return found nothing to wake either.
        if outcome and lead and (outcome.reason == NOT_BOUND or not lead.outlet.reachable()):
            missed = partial(self._look_again, lead.outlet, message.recipient)
        if holds_lane and near:
            lane.blocked_until = due_at
        if near:
            lane.flying += 1
            back = partial(self._put_off, lane, task, holds_lane)
            self.commit(lane, task, change, back=back, after=missed)
            return
        if holds_lane and missed is None:
            missed = partial(self._look_whether_woken, message.recipient)
        self.commit(lane, task, change, after=missed)
        if holds_lane:
            self.put_all_behind(lane, due_at)

    def is_near(self, due_at: int, now: int) -> bool:
        """True if a next try is soon enough to wait for it in memory."""
        return due_at - now <= self._horizon_ms

    def put_all_behind(self, lane: Lane, due_at: int) -> None:
        """A handset's head went to the database for long: those behind it wait there as well, in the same order."""
        for follower in lane.take_all():
            self.put_behind(lane, follower, due_at)

    def put_behind(self, lane: Lane, task: Task, due_at: int) -> None:
        """One task waits in the database until others have been tried."""
        if not self._desk.holds(task):
            return
        # Never in the past: what is over already would be found late, below where the next claim begins to look.
        due = max(min(due_at, task.message.expires_at), self._clock.now_ms())
        reason = QueueReason.NEW if task.reason == QueueReason.SCHEDULED else task.reason
        requeue = Requeue(task.message.id, self._store.epoch, due, task.attempts, reason)
        after = None
        if task.reason not in UNNOTICED:  # those wait behind their like, by no clock of the recipient's
            after = partial(self._look_whether_woken, task.message.recipient)
        self.commit(lane, task, Change(done=ignore, requeue=requeue), after=after)

    def _look_whether_woken(self, recipient: str) -> None:
        """A row is on disk now that waits for its recipient's clock. Who was seen while it was on its way there was
        looked for too early, and has no clock any more."""
        if not self._recipients.held_until(recipient):
            self._pump.want(recipient)
            self._desk.nudge()

    def _put_off(self, lane: Lane, task: Task, holds_lane: bool) -> None:
        """A near next try is on disk."""
        if holds_lane:
            lane.push(task)
        else:
            lane.delay(task)

    def veiled_until(self, recipient: str) -> int:
        """Until when a blocked recipient looks silent to the senders of what is withheld from him; 0: he does not."""
        return self._veiled.get(recipient, 0)

    def _veil(self, recipient: str, until: int, now: int) -> None:
        if len(self._veiled) >= _MOST_VEILED:
            self._veiled = {number: at for number, at in self._veiled.items() if at > now}
        if len(self._veiled) < _MOST_VEILED:
            self._veiled[recipient] = until

    def _look_again(self, outlet: Outlet, recipient: str) -> None:
        """That an outlet was not there is on disk now. If it came back meanwhile, its return found nothing to wake."""
        if self._reached(outlet, recipient):
            self._pump.want(recipient)
            self._desk.rouse(recipient)
            self._desk.nudge()
        elif self._unheard is not None and len(self._missing) < _MOST_MISSING:
            self._missing[recipient] = outlet

    def look_for_the_missing(self) -> None:
        """Outlets came or went at other nodes: one may be back whose node found nothing to wake, because what waits
        behind it was put off here a moment later."""
        for recipient, outlet in list(self._missing.items()):
            if self._reached(outlet, recipient):
                del self._missing[recipient]
                self._pump.want(recipient)
                self._desk.rouse(recipient)
                self._desk.nudge()

    # ------------------------------------------------------------------------------------------ to disk

    def commit(
        self,
        lane: Lane,
        task: Task,
        change: Change,
        *,
        stored: Callable[[], None] | None = None,
        back: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
        conflict: Callable[[], None] | None = None,
    ) -> None:
        """Put a change. On disk, the task leaves memory (or goes `back` into its lane) and new messages enter;
        `after` comes last."""
        record = _Record(self, lane, task, change)
        record.told, record.back, record.after, record.conflict = stored, back, after, conflict
        self.settlements.put(record)

    def is_stored(self, record: _Record) -> None:
        """A record is on disk."""
        task, back, desk = record.task, record.back, self._desk
        if back is None:
            desk.leave(task)
        else:
            record.lane.flying -= 1
            if desk.holds(task):
                back()
            desk.advance(record.lane)
        for message in record.change.messages:
            desk.admit(message)
        if record.after is not None:
            record.after()

    def is_lost(self, record: _Record) -> None:
        """The row of a task was lost: nothing starts until it is known whether our life was as well."""
        if record.back is not None:
            record.lane.flying -= 1
        self._desk.leave(record.task)
        self._desk.suspicious = True
        self._desk.nudge()

    def later(self, what: Callable[..., None], lane: Lane, task: Task, *args: object) -> None:
        """Do in a moment what the database could not help with now, if the task is still ours."""

        def again() -> None:
            if self._desk.holds(task):
                what(lane, task, *args)

        self.settlements.later(again)


class _Record(Settlement):
    """The change of a task. Plain slots and no closures: there are four of these in the life of a message."""

    __slots__ = ("after", "back", "conflict", "lane", "recording", "task", "told")

    def __init__(self, recording: Recording, lane: Lane, task: Task, change: Change) -> None:
        Settlement.__init__(self, recording.settlements, change)
        change.events = task.notes + change.events
        task.notes = ()
        self.recording = recording
        self.lane = lane
        self.task = task
        self.told: Callable[[], None] | None = None
        self.back: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None
        self.conflict: Callable[[], None] | None = None

    def stored(self) -> None:
        if self.told is not None:
            self.told()
        self.recording.is_stored(self)

    def lost(self) -> None:
        self.recording.is_lost(self)

    def conflicted(self) -> bool:
        if self.conflict is None:
            return False
        self.conflict()
        return True


class _Ending(_Record):
    """The change that ends a message."""

    __slots__ = ("ended", "outcome", "state")

    def __init__(
        self,
        recording: Recording,
        lane: Lane,
        task: Task,
        change: Change,
        state: MessageState,
        outcome: Outcome | None,
        ended: Ended | None,
    ) -> None:
        _Record.__init__(self, recording, lane, task, change)
        self.state = state
        self.outcome = outcome
        self.ended = ended

    def stored(self) -> None:
        recording = self.recording
        recording.heard(self.task.message, self.state, self.outcome, self.ended)
        recording.is_stored(self)


def count_ending(state: MessageState) -> None:
    """A message reached a final state."""
    _endings.count(_NAMES[state])
