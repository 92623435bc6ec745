"""Takes each stored message to an outcome.

In charge of: what this node works on, starting attempts, and turning each outcome into one change: finished, tried
again later, or deposited in the mailbox. Not in charge of: where to (`routing.py`), when again (`retry.py`), in which
order (`lanes.py`), how it is handed over (outlets), what the submitter is told (`receipts.py`).

Theory: a message enters with `admit` after its insert is on disk and after its response left, or through the pump,
which claims rows that fell due. It leaves memory when the change that records its outcome is on disk; until then it is
ours and may be recorded again, never sent again. Everything here runs on the event loop without suspending; only the
pump awaits the database. A node that lost its lease forgets everything at once and sends nothing more.

How it fails: the database refuses a change -> it is put again each second, and the message stays where it is. The
process dies -> rows of this epoch are claimed by the next one; a message that had been handed over but not recorded
may be handed over twice. Sources: behaviour.md 1, 2, 5, 6.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import bindparam, select, update

from .. import outlet as seam
from ..access.accounts import Account
from ..check import Action, Stage
from ..message import Event, EventKind, Ingress, Kind, Message, MessageState
from ..metrics import counter, gauge
from ..outlet import ErrorClass, Outcome, Outlet, Result, Write
from ..store import tables
from ..store.failpoints import Failpoint, nothing
from ..store.statement import Query, Sql
from ..store.store import Answer, Change, QueueReason, Release, Requeue, Store, StoreClosed
from .causes import receipt_error
from .lanes import Lane, Task
from .receipts import Receipts
from .recipients import Recipients
from .retry import DEFAULT_SCHEDULES, Next, Schedule, decide
from .routing import Lead, Router
from .screening import Finding, Screening

__all__ = ["Delivery", "DeliverySettings", "Redelivery"]

_log = structlog.get_logger(__name__)

_attempts = counter(
    "delivery", "attempts", "Attempts that ended, by result and error class", ("result", "error")
)
_endings = counter("delivery", "endings", "Messages that reached a final state", ("state",))
_in_memory = gauge("delivery", "tasks", "Messages this node works on")


class DeliverySettings(BaseModel):
    """[delivery] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tasks: int = Field(
        default=100_000, ge=100, description="messages kept in memory; more wait in the database"
    )
    max_octets: int = Field(default=256 << 20, ge=1 << 20, description="octets of messages kept in memory")
    horizon_s: int = Field(
        default=60, ge=1, description="a next try later than this waits in the database (seconds)"
    )
    claim_size: int = Field(
        default=1000, ge=1, le=10_000, description="rows read back from the queue at a time"
    )
    unbound_retry_s: int = Field(
        default=3600, ge=60, description="a receipt for an account that is not bound (seconds)"
    )


class Redelivery(Protocol):
    """What delivery needs of the mailbox for a copy that is wanted on the handset."""

    def redelivered_writes(self, message: Message, at: int) -> tuple[Write, ...]:
        """Writes that conclude the box row; they conflict if the recipient read it meanwhile."""
        ...


#: The text of a one-time code is blanked with the transaction that ends it.
_BLANK = Sql(
    "delivery: blank the text of a one-time code",
    update(tables.body).where(tables.body.c.message == bindparam("id")).values(payload=bindparam("nothing")),
)

#: Rows of this epoch that memory does not know: left by a change whose commit was in doubt.
_OWNED_AND_OLD = Query(
    "delivery: rows of this node that nobody works on",
    select(tables.queue.c.id, tables.queue.c.due_at, tables.queue.c.attempts, tables.queue.c.reason)
    .where(tables.queue.c.owner == bindparam("owner"), tables.queue.c.due_at < bindparam("before"))
    .order_by(tables.queue.c.id)
    .limit(bindparam("limit")),
)

_RECONCILE_EVERY_MS = 30_000
_TICK_S = 1.0
_PUT_AGAIN_MS = 1000
_NOT_BOUND = Outcome(Result.FAILED, ErrorClass.ABSENT, reason="not-bound")


@dataclass(slots=True, eq=False)
class _Settlement:
    """Waits for the answer to one change; called by the store."""

    engine: Delivery
    on_stored: Callable[[], None]
    on_conflict: Callable[[], None] | None = None
    change: Change | None = None

    def __call__(self, answer: Answer) -> None:
        if answer is Answer.STORED:
            self.on_stored()
        elif answer is Answer.CONFLICT and self.on_conflict is not None:
            self.on_conflict()
        else:
            self.engine.unsettled(self, answer)


class Delivery:
    """The delivery engine of one node."""

    def __init__(
        self,
        *,
        store: Store,
        router: Router,
        screening: Screening,
        receipts: Receipts,
        recipients: Recipients,
        accounts: Callable[[int], Account | None],
        random: Callable[[], float],
        mailbox: Outlet | None = None,
        settings: DeliverySettings | None = None,
        schedules: Mapping[ErrorClass, Schedule] = DEFAULT_SCHEDULES,
        failpoint: Failpoint = nothing,
    ) -> None:
        """`mailbox` is where what cannot be delivered is deposited; `random` in [0, 1) spreads retries."""
        self._store = store
        self._clock = store.clock
        self._router = router
        self._screening = screening
        self._receipts = receipts
        self._recipients = recipients
        self._accounts = accounts
        self._random = random
        self._mailbox = mailbox
        self._settings = settings or DeliverySettings()
        self._schedules = schedules
        self.redelivery: Redelivery | None = None
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[int, Task] = {}
        self._octets = 0
        self._timers: list[
            tuple[int, int, str, Task | None]
        ] = []  # (due, serial, recipient, task of a wide lane)
        self._serial = 0
        self._parked: dict[str, deque[Lane]] = {}
        self._up: set[str] = set()  # outlets that were reachable when last seen
        self._back: set[str] = set()  # outlets that came back; the pump wakes who waits behind them
        self._wanted: set[str] = set()  # recipients seen again; the pump claims their rows
        self._doubtful: list[tuple[int, _Settlement]] = []  # (when to put again, change)
        self._nudge = asyncio.Event()
        self._stopping = False
        self._paused = False
        self._failpoint = failpoint
        self._seen: list[Callable[[str], None]] = []
        self._reconciled_at = 0
        self._runner: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------------ entrance

    def start(self) -> None:
        """Begin to work: claims what earlier lives left and everything that falls due."""
        self._runner = asyncio.get_running_loop().create_task(self._run(), name="delivery")

    def has_room(self) -> bool:
        """False when memory is spoken for: then new rows are stored unowned and the pump reads them back."""
        return (
            not self._stopping
            and len(self._tasks) < self._settings.max_tasks
            and (self._octets < self._settings.max_octets)
        )

    def admit(self, message: Message, reason: str = QueueReason.NEW) -> None:
        """Work on a message whose queue row this node owns. Call after its response has left."""
        self._enter(Task(message, reason=reason))

    def wake(self, recipient: str) -> None:
        """The recipient was seen again: try what waits for it, here and in the database."""
        lane = self._lanes.get(recipient)
        if lane is not None:
            lane.blocked_until = 0
            self._advance(lane)
        self._wanted.add(recipient)
        self._nudge.set()

    def outlet_ready(self, outlet: Outlet) -> None:
        """An outlet has room, or is reachable, again (`Outlet.wake_with`)."""
        if outlet.name not in self._up and outlet.reachable():
            self._up.add(outlet.name)
            self._back.add(outlet.name)
            self._nudge.set()
        queue = self._parked.get(outlet.name)
        while queue:
            lane = queue.popleft()
            lane.parked = False
            self._advance(lane)
            if lane.parked:  # no room any more; it stands at the end now, so that lanes take turns
                return

    def on_seen(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with a recipient that was silent and took a message now (behaviour.md 1: seen again)."""
        self._seen.append(hook)

    def pause(self) -> None:
        """The lease is in doubt: start nothing until `resume`. What is under way goes on."""
        self._paused = True

    def resume(self) -> None:
        """The lease is certain again."""
        self._paused = False
        for lane in list(self._lanes.values()):
            self._advance(lane)

    @property
    def in_memory(self) -> int:
        """Messages this node works on."""
        return len(self._tasks)

    def _enter(self, task: Task) -> None:
        message = task.message
        if self._stopping or message.id in self._tasks:
            return
        self._tasks[message.id] = task
        self._octets += task.size
        if task.due_at > self._clock.now_ms():
            self._arm(task.due_at, message.recipient, task)
            return
        lane = self._lanes.get(message.recipient)
        if lane is None:
            lane = self._lanes[message.recipient] = Lane(message.recipient)
        lane.push(task)
        self._advance(lane)

    def _leave(self, task: Task) -> None:
        """Forget a task: its outcome is on disk, or the row is not ours any more."""
        if self._tasks.pop(task.message.id, None) is not None:
            self._octets -= task.size

    # ------------------------------------------------------------------------------------------------ attempts

    def _advance(self, lane: Lane) -> None:
        """Start whatever may start in a lane."""
        while not (self._stopping or self._paused):
            now = self._clock.now_ms()
            if not lane.may_start(now):
                break
            task = lane.pop()
            if _expired(task, now):
                self._end(lane, task, MessageState.EXPIRED, reason="expired")
            elif task.reason in _PARKED_BY_CHECK:
                self._resume(lane, task)
            else:
                self._screen(lane, task)
        if lane.idle:
            self._lanes.pop(lane.recipient, None)
        elif lane.handset and lane.blocked_until and lane.waiting and not lane.flying:
            self._arm(min(lane.blocked_until, lane.waiting[0][3].message.expires_at), lane.recipient)

    def _screen(self, lane: Lane, task: Task) -> None:
        """Ask the checks of the attempt stage, then try."""
        message = task.message
        if message.is_system or not self._screening.has(Stage.ATTEMPT):
            self._route(lane, task)
            return
        lane.flying += 1
        ingress = Ingress.decode(message.ingress)
        self._screening.examine(message, ingress, Stage.ATTEMPT, partial(self._judged, lane, task))

    def _judged(self, lane: Lane, task: Task, finding: Finding) -> None:
        """Do what the attempt-stage checks said."""
        lane.flying -= 1
        verdict = finding.verdict
        now = self._clock.now_ms()
        events = evidence_events(task.message, finding, now, self._store.node)
        if verdict.action in (Action.REJECT, Action.DROP):
            state = MessageState.REJECTED if verdict.action is Action.REJECT else MessageState.DELETED
            self._end(lane, task, state, reason=verdict.reason, error=ErrorClass.POLICY, events=events)
        elif verdict.action in (Action.HOLD, Action.THROTTLE):
            until = min(verdict.until or task.message.expires_at, task.message.expires_at)
            self._requeue(lane, task, until, QueueReason.HELD, events)
        elif verdict.action is Action.QUARANTINE:
            self._requeue(lane, task, task.message.expires_at, QueueReason.QUARANTINED, events)
        else:
            if events:
                self._note(events)
            if verdict.action is Action.DIVERT and self._mailbox is not None:
                lane.flying += 1
                task.lead = Lead("divert", self._mailbox)
                self._hand(lane, task, self._mailbox)
                return
            self._route(lane, task)
        self._advance(lane)

    def _resume(self, lane: Lane, task: Task) -> None:
        """A parked row fell due: the check that parked it is asked again, with those behind it."""
        if task.reason == QueueReason.QUARANTINED:
            self._end(lane, task, MessageState.REJECTED, reason="quarantine-expired", error=ErrorClass.POLICY)
            return
        lane.flying += 1
        task.reason = QueueReason.NEW
        ingress = Ingress.decode(task.message.ingress)
        self._screening.examine(task.message, ingress, Stage.SUBMIT, partial(self._judged, lane, task))

    def _route(self, lane: Lane, task: Task) -> None:
        leads = self._router.leads(task.message)
        if not leads:
            self._end(lane, task, MessageState.UNDELIVERABLE, reason="no-route", error=ErrorClass.PERMANENT)
            return
        task.others = leads
        task.tried.clear()
        lane.flying += 1
        self._try_next(lane, task)

    def _try_next(self, lane: Lane, task: Task) -> None:
        """Hand over to the first reachable of the routes that are left. The task counts as flying."""
        while task.others:
            lead = task.others.pop(0)
            task.lead = lead
            lane.handset = lead.outlet.handset
            if lead.outlet.reachable():
                self._hand(lane, task, lead.outlet)
                return
            self._up.discard(lead.outlet.name)
        self._outcome(lane, task, _NOT_BOUND)

    def _hand(self, lane: Lane, task: Task, outlet: Outlet) -> None:
        assert task.lead is not None
        delivery = seam.Delivery(
            task.message, task.attempts + 1, task.lead.rule, more_messages_to_send=bool(lane.waiting)
        )
        if outlet.hand(delivery, partial(self._outcome, lane, task)):
            self._failpoint("after-send")
            return
        lane.flying -= 1
        lane.push(task)
        lane.parked = True
        queue = self._parked.get(outlet.name)
        if queue is None:
            queue = self._parked[outlet.name] = deque()
        queue.append(lane)

    # ------------------------------------------------------------------------------------------------ outcomes

    def _outcome(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """An attempt ended."""
        lane.flying -= 1
        if self._stopping or task.message.id not in self._tasks:
            return
        _attempts.labels(outcome.result.value, outcome.error or "").inc()
        if outcome.result is Result.DELIVERED:
            lane.blocked_until = 0
            self._delivered(lane, task, outcome)
        elif outcome.result is Result.STORED:
            self._deposited(lane, task, outcome)
        elif task.reason == QueueReason.REDELIVERY:
            self._give_up_redelivery(lane, task, outcome)
        else:
            self._failed(lane, task, outcome)
        self._advance(lane)

    def _delivered(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        self._failpoint("before-finish")
        recipient = task.message.recipient
        if self._seen and self._recipients.silence(recipient) is not None:
            for hook in self._seen:
                hook(recipient)
        writes = outcome.writes + self._recipients.reached(recipient, retried=task.attempts > 0)
        if task.reason == QueueReason.REDELIVERY and self.redelivery is not None:
            writes += self.redelivery.redelivered_writes(task.message, self._clock.now_ms())
        task.attempts += 1
        self._end(lane, task, MessageState.DELIVERED, outcome=outcome, writes=writes)

    def _deposited(self, lane: Lane, task: Task, outcome: Outcome, failure: Outcome | None = None) -> None:
        """The mailbox took it: not an ending, unless the account wants its receipt now (behaviour.md 1)."""
        message = task.message
        now = self._clock.now_ms()
        events: tuple[Event, ...] = ()
        if failure is not None:
            events = (self._attempt_event(task, failure, now),)
        route = task.lead.outlet.name if task.lead is not None else ""
        events += (
            Event(
                message.id, now, EventKind.STORED, reason=failure.reason if failure else outcome.reason,
                attempt=task.attempts, account=message.account, segments=message.segments, route=route,
                node=self._store.node,
            ),
        )  # fmt: skip
        account = self._accounts(message.account)
        if account is not None and account.receipt_at == "deposit":
            final, receipts = self._receipts.ending(
                message,
                MessageState.DELIVERED,
                at=now,
                reason="deposited",
                attempt=task.attempts,
                route="mailbox",
            )
            events += final
        else:
            error = receipt_error(failure.error, failure.reason) if failure else 0
            receipts = self._receipts.notification(message, at=now, error=error)
        writes = outcome.writes
        if failure is not None and failure.error is not None and task.lead is not None:
            writes += self._recipients.failed(
                message.recipient, failure.error, at=now, next_try=0, outlet=task.lead.outlet.name
            )
        self._commit(
            lane,
            task,
            Change(
                done=_ignore,
                messages=receipts,
                release=Release(message.id, self._store.epoch),
                events=events,
                writes=writes,
            ),
            on_conflict=partial(self._box_changed, lane, task),
        )

    def _box_changed(self, lane: Lane, task: Task) -> None:
        """Quota or subscriber changed while the deposit was under way: ask the mailbox again in a moment."""
        self._requeue(lane, task, self._clock.now_ms() + _PUT_AGAIN_MS, QueueReason.RETRY, ())

    def _failed(self, lane: Lane, task: Task, outcome: Outcome, *, deposit: bool = True) -> None:
        """Follow the schedule of the error class."""
        assert outcome.error is not None
        message = task.message
        now = self._clock.now_ms()
        if message.kind == Kind.RECEIPT and outcome is _NOT_BOUND:
            due = min(now + self._settings.unbound_retry_s * 1000, message.expires_at)
            self._requeue(lane, task, due, QueueReason.RETRY, (), outcome)
            return
        mailbox = self._mailbox
        from_mailbox = task.lead is not None and task.lead.outlet is mailbox
        may_deposit = (
            deposit and mailbox is not None and not (from_mailbox or task.no_mailbox or message.is_system)
        )
        if task.lead is not None and deposit:
            task.tried.append(task.lead.outlet.name)
        decision = decide(
            message,
            outcome.error,
            attempts=task.attempts + 1,
            now=now,
            random=self._random(),
            more_routes=any(lead.outlet.reachable() for lead in task.others),
            mailbox=may_deposit,
            schedules=self._schedules,
        )
        if decision.next is Next.ROUTE:
            lane.flying += 1
            self._try_next(lane, task)
            return
        task.attempts += 1
        if decision.next is Next.DEPOSIT:
            assert mailbox is not None
            self._deposit(lane, task, mailbox, outcome)
        elif decision.next is Next.LATER:
            events = (self._attempt_event(task, outcome, now, decision.due_at),)
            self._requeue(lane, task, decision.due_at, QueueReason.RETRY, events, outcome)
        else:
            event = self._attempt_event(task, outcome, now)
            self._end(
                lane, task, MessageState.UNDELIVERABLE, reason=outcome.reason, error=outcome.error,
                outcome=outcome, events=(event,),
            )  # fmt: skip

    def _deposit(self, lane: Lane, task: Task, mailbox: Outlet, failure: Outcome) -> None:
        """Offer a message that could not be delivered to the mailbox."""
        lane.flying += 1

        def answered(outcome: Outcome) -> None:
            lane.flying -= 1
            if self._stopping or task.message.id not in self._tasks:
                return
            if outcome.result is Result.STORED:
                self._deposited(lane, task, outcome, failure)
            elif (
                outcome.error is ErrorClass.PERMANENT
            ):  # full, closed: the message's own end (behaviour.md 1)
                event = self._attempt_event(task, failure, self._clock.now_ms())
                self._end(
                    lane, task, MessageState.UNDELIVERABLE, reason=outcome.reason, error=outcome.error,
                    events=(event,),
                )  # fmt: skip
            else:  # not mailbox material, or the box cannot say now: the schedule goes on without it
                task.no_mailbox = outcome.error is ErrorClass.POLICY
                self._failed_undeposited(lane, task, failure)
            self._advance(lane)

        because = str(failure.error or failure.reason)
        if not mailbox.hand(seam.Delivery(task.message, task.attempts, "deposit", because=because), answered):
            lane.flying -= 1
            self._failed_undeposited(lane, task, failure)

    def _failed_undeposited(self, lane: Lane, task: Task, failure: Outcome) -> None:
        """Judge a failure again as if there were no mailbox."""
        task.attempts -= 1
        task.others.clear()
        self._failed(lane, task, failure, deposit=False)

    def _give_up_redelivery(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """The handset did not take its copy: the box keeps it, nothing else changes."""
        task.attempts += 1
        event = self._attempt_event(task, outcome, self._clock.now_ms())
        release = Release(task.message.id, self._store.epoch)
        self._commit(lane, task, Change(done=_ignore, release=release, events=(event,)))

    def _attempt_event(self, task: Task, outcome: Outcome, at: int, due_at: int = 0) -> Event:
        facts: dict[str, object] = {"error": str(outcome.error or ""), **outcome.detail}
        if outcome.status:
            facts["command_status"] = outcome.status
        if due_at:
            facts["due_at"] = due_at
        if task.tried:
            facts["tried"] = list(task.tried)
        message = task.message
        return Event(
            message.id,
            at,
            EventKind.ATTEMPT,
            reason=outcome.reason or str(outcome.error or ""),
            attempt=task.attempts,
            account=message.account,
            segments=message.segments,
            route=task.lead.outlet.name if task.lead is not None else "",
            node=self._store.node,
            detail=json.dumps(facts, separators=(",", ":")),
        )

    # ------------------------------------------------------------------------------------------------ changes

    def _end(
        self,
        lane: Lane,
        task: Task,
        state: MessageState,
        *,
        reason: str = "",
        error: ErrorClass | None = None,
        outcome: Outcome | None = None,
        events: tuple[Event, ...] = (),
        writes: tuple[Write, ...] = (),
    ) -> None:
        """Bring a message to its final state, with the receipt that was asked for."""
        message = task.message
        lead = task.lead
        if task.reason == QueueReason.REDELIVERY and state is not MessageState.DELIVERED:
            release = Release(message.id, self._store.epoch)
            self._commit(lane, task, Change(done=_ignore, release=release, events=events))
            return
        final, receipts = self._receipts.ending(
            message,
            state,
            at=self._clock.now_ms(),
            reason=reason,
            error=receipt_error(error, reason),
            attempt=task.attempts,
            route=lead.outlet.name if lead is not None else "",
            network_error=outcome.network_error if outcome is not None else b"",
            detail=_final_detail(lead, outcome),
        )
        if message.kind == Kind.CODE:
            writes += (Write(_BLANK, {"id": message.id, "nothing": b""}),)
        _endings.labels(state.name).inc()
        change = Change(
            done=_ignore,
            messages=receipts,
            release=Release(message.id, self._store.epoch),
            events=events + final,
            writes=writes,
        )
        on_conflict = (
            partial(self._read_meanwhile, lane, task) if task.reason == QueueReason.REDELIVERY else None
        )
        self._commit(lane, task, change, on_conflict=on_conflict)

    def _read_meanwhile(self, lane: Lane, task: Task) -> None:
        """The recipient read the box while the copy was on its way: the ending is the box's, not ours."""
        self._commit(lane, task, Change(done=_ignore, release=Release(task.message.id, self._store.epoch)))

    def _requeue(
        self,
        lane: Lane,
        task: Task,
        due_at: int,
        reason: str,
        events: tuple[Event, ...],
        outcome: Outcome | None = None,
    ) -> None:
        """Put a task off. Near ones stay in memory; a handset's whole lane waits with its head."""
        message = task.message
        now = self._clock.now_ms()
        task.reason, task.due_at = reason, due_at
        near = due_at - now <= self._settings.horizon_s * 1000 and reason == QueueReason.RETRY
        writes: tuple[Write, ...] = ()
        if outcome is not None and outcome.error is not None and task.lead is not None:
            writes = self._recipients.failed(
                message.recipient, outcome.error, at=now, next_try=due_at, outlet=task.lead.outlet.name
            )
        requeue = Requeue(message.id, self._store.epoch, due_at, task.attempts, reason, keep=near)
        change = Change(done=_ignore, requeue=requeue, events=events, writes=writes)
        self._commit(lane, task, change, stays=near)
        holds_lane = lane.handset and reason == QueueReason.RETRY
        if near and holds_lane:
            lane.blocked_until = due_at
            lane.push(task)
        elif near:
            self._arm(due_at, message.recipient, task)
        if holds_lane and not near:
            for follower in lane.take_all():
                self._put_behind(lane, follower, due_at)

    def _put_behind(self, lane: Lane, task: Task, due_at: int) -> None:
        """A handset's head went to the database for long: those behind it wait there as well, in the same order."""
        due = min(due_at, task.message.expires_at)
        requeue = Requeue(task.message.id, self._store.epoch, due, task.attempts, task.reason)
        self._commit(lane, task, Change(done=_ignore, requeue=requeue))

    def _commit(
        self,
        lane: Lane,
        task: Task,
        change: Change,
        *,
        stays: bool = False,
        on_conflict: Callable[[], None] | None = None,
    ) -> None:
        """Put a change; when it is on disk the task leaves memory (unless it stays) and new messages enter."""

        def stored() -> None:
            if not stays:
                self._leave(task)
            for message in change.messages:
                self._enter(Task(message))

        settlement = _Settlement(self, stored, on_conflict, change)
        change.done = settlement
        self._put(settlement)

    def _put(self, settlement: _Settlement) -> None:
        assert settlement.change is not None
        try:
            self._store.put(settlement.change)
        except StoreClosed:
            self.halt()

    def unsettled(self, settlement: _Settlement, answer: Answer) -> None:
        """A change was not stored. Fenced: the row is another node's. Else: put it again in a moment."""
        change = settlement.change
        assert change is not None
        if answer is Answer.FENCED:
            fence = change.release or change.requeue
            task = self._tasks.get(fence.id) if fence is not None else None
            if task is not None:
                self._leave(task)
            return
        _log.warning("outcome-not-stored", answer=answer.value)
        self._doubtful.append((self._clock.now_ms() + _PUT_AGAIN_MS, settlement))

    def _note(self, events: tuple[Event, ...]) -> None:
        """Events that ride alone: evidence of a verdict that did not stop the message."""
        try:
            self._store.put(Change(done=_ignore, events=events))
        except StoreClosed:
            self.halt()

    # ------------------------------------------------------------------------------------------------ the pump

    def _arm(self, due_at: int, recipient: str, task: Task | None = None) -> None:
        self._serial += 1
        heapq.heappush(self._timers, (due_at, self._serial, recipient, task))
        if self._timers[0][1] == self._serial:
            self._nudge.set()

    def tick(self) -> None:
        """Do what the clock says: timers of lanes and tasks, and changes to put again."""
        now = self._clock.now_ms()
        while self._timers and self._timers[0][0] <= now:
            _, _, recipient, task = heapq.heappop(self._timers)
            lane = self._lanes.get(recipient)
            if task is not None:
                if task.message.id not in self._tasks:
                    continue
                if lane is None:
                    lane = self._lanes[recipient] = Lane(recipient)
                lane.push(task)
            if lane is not None:
                self._expire(lane, now)
                self._advance(lane)
        if self._doubtful:
            ready = [s for at, s in self._doubtful if at <= now]
            self._doubtful = [(at, s) for at, s in self._doubtful if at > now]
            for settlement in ready:
                self._put(settlement)
        _in_memory.set(len(self._tasks))

    def _expire(self, lane: Lane, now: int) -> None:
        """End what expired while its lane was blocked."""
        if lane.blocked_until <= now or not any(entry[3].message.expires_at <= now for entry in lane.waiting):
            return
        for task in lane.take_all():
            if task.message.expires_at <= now:
                self._end(lane, task, MessageState.EXPIRED, reason="expired")
            else:
                lane.push(task)

    async def _run(self) -> None:
        while not self._stopping:
            self._nudge.clear()
            try:
                busy = await self.pump()
            except StoreClosed:
                self.halt()
                return
            except Exception:  # the database is away: the queue is not, and the next round may succeed
                _log.exception("pump-failed")
                busy = False
            self.tick()
            if busy:
                continue
            wait = _TICK_S
            if self._timers:
                wait = min(wait, max(0.0, (self._timers[0][0] - self._clock.now_ms()) / 1000))
            try:
                await asyncio.wait_for(self._nudge.wait(), wait)
            except TimeoutError:
                continue

    async def pump(self) -> bool:
        """Read back what fell due and who is wanted; True if there is more."""
        more = False
        while self._back:
            outlet = self._back.pop()
            for recipient in await self._recipients.behind(outlet):
                self._wanted.add(recipient)
        while self._wanted and self.has_room():
            more = await self._claim(recipient=self._wanted.pop()) or more
        if self.has_room():
            more = await self._claim() or more
        now = self._clock.now_ms()
        if now - self._reconciled_at >= _RECONCILE_EVERY_MS:
            self._reconciled_at = now
            await self._reconcile(now)
        return more

    async def _claim(self, recipient: str | None = None) -> bool:
        limit = min(self._settings.claim_size, max(1, self._settings.max_tasks - len(self._tasks)))
        now = self._clock.now_ms()
        due_before = now if recipient is None else _FAR_FUTURE
        works = await self._store.claim(due_before=due_before, limit=limit, recipient=recipient)
        for work in works:
            self._enter(Task(work.message, attempts=work.attempts, reason=work.reason))
        full = len(works) == limit
        if full and recipient is not None:
            self._wanted.add(recipient)
        return full

    async def _reconcile(self, now: int) -> None:
        """Find rows of this epoch that nobody works on (a commit in doubt that did succeed) and take them up."""
        rows = await self._store.fetch(
            _OWNED_AND_OLD,
            owner=self._store.epoch,
            before=now - _RECONCILE_EVERY_MS,
            limit=self._settings.claim_size,
        )
        lost = {int(row["id"]): row for row in rows if int(row["id"]) not in self._tasks}
        for message in await self._store.load(list(lost)):
            row = lost[message.id]
            self._enter(Task(message, attempts=int(row["attempts"]), reason=str(row["reason"])))

    # ------------------------------------------------------------------------------------------------ the end

    def halt(self) -> None:
        """This node may not write any more: forget everything, send nothing."""
        if not self._stopping:
            _log.error("delivery-halted", tasks=len(self._tasks))
        self._stopping = True
        self._tasks.clear()
        self._lanes.clear()
        self._timers.clear()
        self._octets = 0
        self._nudge.set()

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Start nothing more, let attempts under way end for at most `timeout_s`; the rest stays in the queue."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        for lane in self._lanes.values():
            for task in lane.take_all():
                self._leave(task)
        while any(lane.flying for lane in self._lanes.values()) or self._doubtful:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.02)
        self._stopping = True
        self._nudge.set()
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)


_PARKED_BY_CHECK = frozenset({QueueReason.HELD, QueueReason.QUARANTINED, QueueReason.PENDING_CHECK})
_FAR_FUTURE = 1 << 62


def _expired(task: Task, now: int) -> bool:
    """True at the end of the validity period; a period of zero still allows one attempt."""
    message = task.message
    return message.expires_at <= now and (task.attempts > 0 or message.expires_at > message.submitted_at)


def _ignore(answer: Answer) -> None:
    """Nobody waits for this answer."""


def _final_detail(lead: Lead | None, outcome: Outcome | None) -> str:
    facts: dict[str, object] = {}
    if lead is not None:
        facts["rule"] = lead.rule
    if outcome is not None:
        if outcome.remote_id:
            facts["remote_id"] = outcome.remote_id
        if outcome.status:
            facts["command_status"] = outcome.status
    return json.dumps(facts, separators=(",", ":")) if facts else ""


def evidence_events(message: Message, finding: Finding, at: int, node: int) -> tuple[Event, ...]:
    """One EVIDENCE row per verdict that had something to say."""
    return tuple(
        Event(
            message.id,
            at,
            EventKind.EVIDENCE,
            reason=verdict.reason,
            account=message.account,
            node=node,
            detail=json.dumps(
                {
                    "check": verdict.check,
                    "action": verdict.action.name.lower(),
                    "mode": "enforce" if verdict.enforced else "monitor",
                    **verdict.evidence,
                },
                separators=(",", ":"),
                default=str,
            ),
        )
        for verdict in finding.evidence
    )
