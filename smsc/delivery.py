"""Takes each stored message to an outcome.

In charge of: what this node works on, starting attempts, and turning each outcome into one change: finished, tried
again later, or deposited in the mailbox. Not in charge of: where to (`routing.py`), when again (`retry.py`), in which
order (`lanes.py`), reading work back (`pump.py`), getting outcomes to disk (`settlement.py`), how a message is handed
over (outlets), what the submitter is told (`receipts.py`).

Theory: a message enters with `admit` after its insert is on disk and after its response left, or through the pump,
which claims rows that fell due. It leaves memory when the change that records its outcome is on disk; until then it is
ours and may be recorded again, never sent again. Everything here runs on the event loop without suspending; only the
pump awaits the database. A node that lost its lease forgets everything at once and sends nothing more; one whose
heartbeat is late starts nothing until it is in time again.

    NEW, RETRY, SCHEDULED, REDELIVERY ──> checks of the attempt stage ──> routes ──> outlet ──> outcome
    HELD, PENDING_CHECK ──> checks of the submit stage ──┘   RELEASED: from behind the check that parked it
    DIVERTED ──────────────────────────────────────────────────────────> mailbox ──> outcome
    outcome FORWARDED: out of memory, nobody's row, until the other center's receipt comes (`reports.py`) or is overdue
    WITHHELD ──> routes ──> the outcome of an absent recipient; a deposit is asked for and not made
    QUARANTINED ──> expires

How it fails: the database refuses a change -> it is put again each second, and the message stays where it is. The
process dies -> rows of this epoch are claimed by the next one; a message that had been handed over but not recorded
may be handed over twice. Sources: behaviour.md 1, 2, 4, 5, 6.

Long because one state machine is easier to follow in one place: which task stands in a lane, flies or is recorded.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Protocol

import structlog

from .. import outlet as seam
from ..access.accounts import Account
from ..check import Action, Stage
from ..message import Event, EventKind, Ingress, Kind, Message, MessageState
from ..metrics import counter, gauge
from ..outlet import ErrorClass, Outcome, Outlet, Result, Write
from ..store.failpoints import Failpoint, nothing
from ..store.store import Answer, Change, QueueReason, Release, Requeue, Store, StoreClosed
from .attempts import BLANK, OUR_LIFE, Attempt
from .causes import receipt_error
from .delivery_settings import DeliverySettings
from .holding import PARKED, Holding
from .lanes import NEVER, Lane, Task
from .pump import Pump
from .receipts import Receipts
from .recipients import Recipients
from .records import acknowledged_events, attempt_event, final_detail, stored_event
from .retry import DEFAULT_SCHEDULES, Next, Schedule, decide
from .routing import Lead, Router
from .screening import Finding, Screening, evidence_events, held_event
from .settlement import Settlements

__all__ = ["Delivery", "DeliverySettings", "Ended", "Redelivery"]

_log = structlog.get_logger(__name__)

_attempts = counter(
    "delivery", "attempts", "Attempts that ended, by result and error class", ("result", "error")
)
_endings = counter("delivery", "endings", "Messages that reached a final state", ("state",))
#: Label values are few, and looking a child up costs less than `labels` does.
_attempted = cache(_attempts.labels)
_ended = cache(_endings.labels)
_in_memory = gauge("delivery", "tasks", "Messages this node works on")


class Redelivery(Protocol):
    """What delivery needs of the mailbox for a copy that is wanted on the handset."""

    def redelivered_writes(self, message: Message, at: int) -> tuple[Write, ...]:
        """Writes that conclude the box row; they conflict if the recipient read it meanwhile."""
        ...


#: Told of one message's end: its state, and the failure that led to it.
Ended = Callable[[MessageState, Outcome | None], None]

_TICK_S = 1.0
_MOST_WATCHED_BEYOND = 10_000  #: forwarded messages in transaction mode whose end somebody waits for
_MOST_VEILED = 100_000  #: recipients whose withheld messages wait behind each other
_AGAIN_MS = 1000  #: the box changed under a deposit; a check wants to be asked again without saying when
_THROTTLED_MS = 60_000  #: a check throttled an attempt without saying for how long
_NOT_BOUND = Outcome(Result.FAILED, ErrorClass.ABSENT, reason="not-bound")
#: How an absent recipient looks until an outlet has shown it: what a withheld message is tried with.
_ABSENT = Outcome(Result.FAILED, ErrorClass.ABSENT, reason="absent")
#: A switch or link that is not bound says nothing about who is behind it: after a restart it may be back in a moment.
_TRANSIT_NOT_BOUND = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason="not-bound")
_BROKEN = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason="outlet-failed")


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
        self._failpoint = failpoint
        self._seen_hooks: list[Callable[[str], None]] = []
        self._settlements = Settlements(store, closed=self.halt)
        self._holding = Holding(store, receipts)
        self._pump = Pump(store, recipients, receipts, self, claim_size=self._settings.claim_size)
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[int, Task] = {}
        self._successors: dict[int, Task] = {}  # claimed again before memory heard that it had left
        self._watched: dict[int, Ended] = {}
        self._watched_beyond: OrderedDict[int, Ended] = OrderedDict()  # of forwarded messages
        self._veiled: dict[str, int] = {}  # recipient -> next try of what is withheld from him
        self._absent: dict[str, Outcome] = {}  # outlet -> what its last absent recipient looked like
        self._octets = 0
        self._timers: list[tuple[int, int, Lane]] = []  # (when, serial, lane)
        self._serial = 0
        self._parked: dict[str, tuple[Outlet, deque[Lane]]] = {}
        self._up: set[str] = set()  # outlets that were reachable when last seen
        self._nudge = asyncio.Event()
        self._paused = False  # the lease is in doubt: start nothing for now
        self._suspicious = False  # a row was lost: start nothing until it is known that our life still counts
        self._draining = False  # start nothing, record what ends
        self._stopping = False  # do nothing
        self._runner: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------------ entrance

    def start(self) -> None:
        """Begin to work: claims what earlier lives left and everything that falls due."""
        self._runner = asyncio.get_running_loop().create_task(self._run(), name="delivery")

    def has_room(self) -> bool:
        """False when memory is spoken for: then new rows are stored unowned and the pump reads them back."""
        return self.room() > 0

    def room(self) -> int:
        """How many more messages may be taken up."""
        if self._stopping or self._draining or self._octets >= self._settings.max_octets:
            return 0
        return max(self._settings.max_tasks - len(self._tasks), 0)

    def knows(self, id: int) -> bool:
        """True if this node works on a message."""
        return id in self._tasks

    @property
    def in_memory(self) -> int:
        """Messages this node works on."""
        return len(self._tasks)

    def admit(self, message: Message, reason: str = QueueReason.NEW) -> None:
        """Work on a message whose queue row this node owns. Call after its response has left."""
        lane = self._enter(Task(message, reason=reason))
        if lane is not None:
            self._advance(lane)

    def take(self, tasks: Sequence[Task]) -> None:
        """Work on messages whose rows the pump claimed: all of them find their place before the first one starts."""
        lanes: dict[str, Lane] = {}
        for task in tasks:
            lane = self._enter(task)
            if lane is not None:
                lanes[lane.recipient] = lane
            elif not self._stopping and not self._draining:
                self._successors[task.message.id] = task
        for lane in lanes.values():
            self._advance(lane)

    def watch(self, id: int, ended: Ended) -> None:
        """Tell of the end of a message that is about to be admitted; not called if this node loses it."""
        self._watched[id] = ended

    def on_seen(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with a recipient who was seen again: by `wake`, or by a success after failures."""
        self._seen_hooks.append(hook)

    def pause(self) -> None:
        """The lease is in doubt: start nothing until `resume`. What is under way goes on."""
        self._paused = True

    def resume(self) -> None:
        """The lease is certain again."""
        self._paused = False
        for lane in list(self._lanes.values()):
            self._advance(lane)

    def wake(self, recipient: str) -> None:
        """The recipient was seen again: try what waits for it, here and in the database."""
        self._pump.want(recipient)
        self.rouse(recipient)
        self._nudge.set()
        self._seen(recipient)

    def spoke(self, number: str) -> None:
        """A handset sent something through a switch: if it was silent, it is seen again."""
        if self._recipients.is_silent(number):
            self.wake(number)

    def rouse(self, recipient: str) -> None:
        """Try what waits for a recipient in memory, whatever its clock says."""
        self._recipients.woken(recipient)
        lane = self._lanes.get(recipient)
        if lane is not None:
            lane.blocked_until = 0
            lane.ripen(NEVER)
            self._advance(lane)

    def outlet_ready(self, outlet: Outlet) -> None:
        """An outlet has room, or is reachable, again (`Outlet.wake_with`)."""
        if outlet.name not in self._up and outlet.reachable():
            self._up.add(outlet.name)
            self._pump.came_back(outlet.name)
            self._nudge.set()
        _, queue = self._parked.get(outlet.name, (outlet, None))
        while queue:
            lane = queue.popleft()
            lane.parked_at = ""
            self._advance(lane)
            if lane.parked_at == outlet.name:  # no room any more; it stands at the end now: lanes take turns
                return

    def concluded(
        self, id: int, state: MessageState, failure: Outcome | None = None, receipts: Sequence[Message] = ()
    ) -> None:
        """A forwarded message ended by what the other center reported, and that is on disk with its `receipts`."""
        _ended(state.name).inc()
        ended = self._watched_beyond.pop(id, None)
        if ended is not None:
            ended(state, failure)
        for receipt in receipts:
            self.admit(receipt)

    def reported(
        self, message: Message, failure: Outcome, lead: Lead, *, attempts: int, tried: Collection[str]
    ) -> None:
        """Another center could not deliver a message, and its queue row is ours again: go on as if the attempt through
        `lead` had failed just now. `tried`: outlets that are not asked once more before its next try."""
        if self._stopping or self._draining or message.id in self._tasks:
            return  # the row says retry: whoever takes it up tries again
        task = Task(message, attempts=attempts - 1, reason=QueueReason.RETRY, lead=lead)
        task.others = [other for other in self._router.leads(message) if other.outlet.name not in tried]
        waits = self._watched_beyond.pop(message.id, None)
        if waits is not None:
            self._watched[message.id] = waits
        lane = self._remember(task)
        lane.handset = lead.outlet.handset
        lane.flying += 1
        self._outcome(lane, task, failure)

    async def release(self, id: int, by: str, note: str = "", writes: Sequence[Write] = ()) -> Answer:
        """An operator lets a held or quarantined message go; CONFLICT if it is not parked (any more)."""
        answer, message = await self._holding.release(id, by, note, writes)
        if answer is Answer.STORED and message is not None:
            self._nudge.set()
        return answer

    async def discard(self, id: int, by: str, note: str = "", writes: Sequence[Write] = ()) -> Answer:
        """An operator ends a held or quarantined message as REJECTED; CONFLICT if it is not parked (any more)."""
        answer, receipts = await self._holding.discard(id, by, note, writes)
        if answer is Answer.STORED:
            _ended(MessageState.REJECTED.name).inc()
        for receipt in receipts:
            self.admit(receipt)
        return answer

    def _enter(self, task: Task) -> Lane | None:
        """Let a task wait in its lane; None if it is known already, or nothing is taken up any more."""
        message = task.message
        if self._stopping or self._draining or message.id in self._tasks:
            return None
        lane = self._remember(task)
        lane.push(task)
        return lane

    def _remember(self, task: Task) -> Lane:
        """Take a task into memory; its lane."""
        recipient = task.message.recipient
        self._tasks[task.message.id] = task
        self._octets += task.size
        lane = self._lanes.get(recipient)
        if lane is None:
            lane = self._lanes[recipient] = Lane(recipient)
        return lane

    def _leave(self, task: Task) -> None:
        """Forget a task: its outcome is on disk, or the row is not ours any more."""
        id = task.message.id
        if self._tasks.get(id) is not task:
            return
        del self._tasks[id]
        self._octets -= task.size
        self._watched.pop(id, None)
        successor = self._successors.pop(id, None)
        if successor is not None:
            self.take([successor])

    def _holds(self, task: Task) -> bool:
        """True while a task is this node's: not after a halt, and not once its row was lost."""
        return not self._stopping and self._tasks.get(task.message.id) is task

    def _may_send(self) -> bool:
        """True if an attempt may start: asked before each one, so that a node that slept notices (behaviour.md 10)."""
        held = self._stopping or self._draining or self._paused or self._suspicious
        return not held and self._store.alive()

    # ------------------------------------------------------------------------------------------------ attempts

    def _advance(self, lane: Lane) -> None:
        """Start whatever may start in a lane. Outlets may answer at once: then this is called from inside itself."""
        if lane.advancing:
            return
        lane.advancing = True
        try:
            while lane.may_start(self._clock.now_ms()) and self._may_send():
                self._begin(lane, lane.pop())
        finally:
            lane.advancing = False
        if lane.idle:
            if self._lanes.get(lane.recipient) is lane:
                del self._lanes[lane.recipient]
        else:
            self._arm(lane)

    def _begin(self, lane: Lane, task: Task) -> None:
        if not self._holds(task):
            return
        if task.reason == QueueReason.FORWARDED:  # what became of it nobody told us in time
            self._end(lane, task, MessageState.EXPIRED, reason="no-receipt", error=ErrorClass.TIMEOUT)
            return
        # A quarantined one falls due when it expires; one with a period of zero does so at once.
        if task.ends_at <= self._clock.now_ms() or task.reason == QueueReason.QUARANTINED:
            self._end(lane, task, MessageState.EXPIRED, reason="expired")
        elif task.reason == QueueReason.DIVERTED and self._mailbox is not None:
            self._divert(lane, task, self._mailbox)
        elif task.reason == QueueReason.WITHHELD:
            self._route(lane, task)
        elif task.reason in PARKED:
            self._examine(lane, task, Stage.SUBMIT)
        elif task.resume is not None and task.resume[0] == Stage.SUBMIT.value:
            self._examine(lane, task, Stage.SUBMIT, after=task.resume[1])
        elif task.cleared or task.message.is_system or not self._screening.has(Stage.ATTEMPT):
            self._route(lane, task)
        else:
            self._examine(lane, task, Stage.ATTEMPT, after=task.resume[1] if task.resume else "")

    def _examine(self, lane: Lane, task: Task, stage: Stage, after: str = "") -> None:
        """Ask the checks of a stage, then go on. The task counts as flying."""
        lane.flying += 1
        ingress = Ingress.decode(task.message.ingress)
        judged = partial(self._judged, lane, task, stage)
        self._screening.examine(task.message, ingress, stage, judged, after)

    def _judged(self, lane: Lane, task: Task, stage: Stage, finding: Finding) -> None:
        """Do what the checks said."""
        lane.flying -= 1
        if not self._holds(task):
            self._advance(lane)
            return
        message, verdict, now = task.message, finding.verdict, self._clock.now_ms()
        node = self._store.node
        task.notes += evidence_events(message, finding, stage, at=now, node=node)
        if task.reason == QueueReason.REDELIVERY and verdict.action > Action.FLAG:
            self._end(lane, task, MessageState.REJECTED)  # the copy stays where it is, in the box
        elif verdict.action is Action.REJECT and verdict.veiled:
            task.reason = QueueReason.WITHHELD
            self._wait(lane, task, now)
        elif verdict.action in (Action.REJECT, Action.DROP):
            state = MessageState.REJECTED if verdict.action is Action.REJECT else MessageState.DELETED
            self._end(lane, task, state, reason=verdict.reason, error=ErrorClass.POLICY)
        elif verdict.action in (Action.HOLD, Action.THROTTLE, Action.QUARANTINE):
            queue, due_at = QueueReason.HELD, message.expires_at
            if verdict.action is Action.QUARANTINE:
                queue = QueueReason.QUARANTINED
            elif verdict.until or verdict.action is Action.THROTTLE:
                due_at = min(max(verdict.until or now + _THROTTLED_MS, now + _AGAIN_MS), due_at)
            if due_at <= now:
                self._end(lane, task, MessageState.EXPIRED, reason="expired")
            else:
                task.notes += (
                    held_event(message, verdict, stage, queue=queue, due_at=due_at, at=now, node=node),
                )
                self._requeue(lane, task, due_at, queue)
        elif verdict.action is Action.DIVERT and self._mailbox is not None:
            task.reason = QueueReason.DIVERTED
            self._wait(lane, task, now)
        else:
            task.resume = None
            if stage is Stage.ATTEMPT:
                task.cleared = True
            else:
                task.reason = QueueReason.NEW
            self._wait(lane, task, now)
        self._advance(lane)

    def _wait(self, lane: Lane, task: Task, now: int) -> None:
        """Back into the lane after the checks; one that was scheduled for later goes to the database."""
        if task.message.schedule_at > now:
            reason = QueueReason.SCHEDULED if task.reason == QueueReason.NEW else task.reason
            self._requeue(lane, task, task.message.schedule_at, reason)
        else:
            lane.push(task)

    def _divert(self, lane: Lane, task: Task, mailbox: Outlet) -> None:
        lane.flying += 1
        task.others, task.lead = [], Lead("divert", mailbox)
        self._hand(lane, task, mailbox)

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
                if lane.handset and self._hold_back(lane, task):
                    return
                if task.reason == QueueReason.WITHHELD and lead.outlet is not self._mailbox:
                    self._outcome(lane, task, self._absent.get(lead.outlet.name, _ABSENT))
                    return
                self._hand(lane, task, lead.outlet)
                return
            self._up.discard(lead.outlet.name)
        transit = task.lead is not None and task.lead.outlet.transit
        self._outcome(lane, task, _TRANSIT_NOT_BOUND if transit else _NOT_BOUND)

    def _hold_back(self, lane: Lane, task: Task) -> bool:
        """True if a handset's retry clock runs because of earlier messages: then this one waits behind them."""
        until = self._recipients.held_until(lane.recipient)
        now = self._clock.now_ms()
        if task.reason == QueueReason.WITHHELD:  # waits behind its like as well, and nobody else behind it
            until = max(until, self._veiled.get(lane.recipient, 0))
            if until > now:
                lane.flying -= 1
                self._put_behind(lane, task, until)
            return until > now
        if until <= now or task.reason == QueueReason.REDELIVERY:
            return False
        lane.flying -= 1
        if self._is_near(until, now):
            lane.blocked_until = until
            lane.push(task)
        else:
            lane.push(task)
            for follower in lane.take_all():
                self._put_behind(lane, follower, until)
        return True

    def _hand(self, lane: Lane, task: Task, outlet: Outlet) -> None:
        assert task.lead is not None
        more = bool(lane.waiting) and outlet.handset
        delivery = seam.Delivery(task.message, task.attempts + 1, task.lead.rule, more_messages_to_send=more)
        attempt = Attempt(partial(self._outcome, lane, task))
        try:
            taken = outlet.hand(delivery, attempt)
        except Exception:  # one outlet's bug must not stop the others
            _log.exception("outlet-failed", outlet=outlet.name)
            if not attempt.over:
                attempt(_BROKEN)
            return
        if taken or attempt.over:
            self._failpoint("after-send")
            return
        attempt.over = True
        lane.flying -= 1
        lane.push(task)
        lane.parked_at = outlet.name
        self._parked.setdefault(outlet.name, (outlet, deque()))[1].append(lane)

    # ------------------------------------------------------------------------------------------------ outcomes

    def _outcome(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """An attempt ended."""
        lane.flying -= 1
        if self._holds(task):
            task.cleared = False
            _attempted(outcome.result.value, outcome.error or "").inc()
            if outcome.error is ErrorClass.ABSENT and outcome is not _NOT_BOUND and task.lead is not None:
                self._absent[task.lead.outlet.name] = replace(outcome, writes=())
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
        self._advance(lane)

    def _delivered(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        self._failpoint("before-finish")
        message, now = task.message, self._clock.now_ms()
        lane.blocked_until = 0
        silent = self._recipients.is_silent(message.recipient)
        if silent or task.attempts:  # whatever else waits by its own clock need not wait any longer
            lane.ripen(NEVER)
            self._pump.want(message.recipient)
            self._nudge.set()
        if silent:
            self._seen(message.recipient)
        if not lane.waiting and self._pump.reached(message.recipient):
            self._nudge.set()
        reached = self._recipients.reached(message.recipient, retried=task.attempts > 0)
        writes = outcome.writes + reached
        if task.reason == QueueReason.REDELIVERY and self.redelivery is not None:
            writes += self.redelivery.redelivered_writes(message, now)
        task.attempts += 1
        if message.kind == Kind.RECEIPT:
            task.notes += acknowledged_events(message, at=now, node=self._store.node)
        self._end(lane, task, MessageState.DELIVERED, outcome=outcome, writes=writes)

    def _forwarded(self, lane: Lane, task: Task, outcome: Outcome) -> None:
        """Another center took it: the row is nobody's until its receipt comes or is overdue."""
        message, now = task.message, self._clock.now_ms()
        task.attempts += 1
        forwarded = attempt_event(task, outcome, at=now, node=self._store.node, due_at=outcome.overdue_at)
        forwarded.kind = EventKind.FORWARDED
        requeue = Requeue(
            message.id, self._store.epoch, outcome.overdue_at, task.attempts, QueueReason.FORWARDED
        )
        change = Change(done=_ignore, requeue=requeue, events=(forwarded,), writes=outcome.writes)
        waits = self._watched.pop(message.id, None)
        if waits is not None:  # transaction mode: somebody waits for the end
            while len(self._watched_beyond) >= _MOST_WATCHED_BEYOND:
                self._watched_beyond.popitem(last=False)
            self._watched_beyond[message.id] = waits
        self._commit(lane, task, change)

    def _deposited(self, lane: Lane, task: Task, outcome: Outcome, failure: Outcome | None = None) -> None:
        """The mailbox took it: not an ending, unless the account wants its receipt now (behaviour.md 1)."""
        assert self._mailbox is not None
        message, now, mailbox = task.message, self._clock.now_ms(), self._mailbox.name
        events: tuple[Event, ...] = ()
        withheld = task.reason == QueueReason.WITHHELD
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
            self._settlements.later(partial(self._again, self._deposited, lane, task, outcome, failure))
            return
        change = Change(done=_ignore, messages=receipts, events=events, writes=writes)
        if withheld and not is_end:  # it waits where nobody can read it, for the end of its validity period
            epoch, due_at = self._store.epoch, message.expires_at
            change.requeue = Requeue(message.id, epoch, due_at, task.attempts, QueueReason.WITHHELD)
        else:
            change.release = Release(message.id, self._store.epoch)
        if is_end:
            _ended(MessageState.DELIVERED.name).inc()
        self._commit(lane, task, change, conflict=partial(self._box_changed, lane, task, failure))

    def _box_changed(self, lane: Lane, task: Task, failure: Outcome | None) -> None:
        """Quota or subscriber changed while the deposit was under way: ask the mailbox again in a moment."""
        if failure is not None and self._mailbox is not None:
            deposit = partial(self._again, self._deposit, lane, task, self._mailbox, failure)
            self._settlements.later(deposit)
        else:
            self._requeue(lane, task, self._clock.now_ms() + _AGAIN_MS, _retry_reason(task))

    def _failed(self, lane: Lane, task: Task, outcome: Outcome, *, deposit: bool = True) -> None:
        """Follow the schedule of the error class."""
        message, now = task.message, self._clock.now_ms()
        error = outcome.error or ErrorClass.SYSTEM
        outlet = task.lead.outlet if task.lead is not None else None
        if outlet is not None and not outlet.reachable():
            self._up.discard(outlet.name)
        if message.kind == Kind.RECEIPT and outcome.reason == _NOT_BOUND.reason:
            due = min(now + self._settings.unbound_retry_s * 1000, message.expires_at)
            self._requeue(lane, task, due, QueueReason.RETRY, outcome)
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
            more_routes=any(lead.outlet.reachable() for lead in task.others),
            mailbox=mailbox is not None and may_deposit,
            schedules=self._schedules,
        )
        if decision.next is Next.ROUTE:
            if self._may_send():
                lane.flying += 1
                self._try_next(lane, task)
            else:  # its row stays as it is: tried again from the beginning when sending is allowed
                self._leave(task)
            return
        task.attempts += 1
        if decision.next is Next.DEPOSIT:
            assert mailbox is not None
            self._deposit(lane, task, mailbox, outcome)
        elif decision.next is Next.LATER:
            task.notes += (self._failure(task, outcome, now, decision.due_at),)
            self._requeue(lane, task, decision.due_at, _retry_reason(task), outcome)
        else:
            task.notes += (self._failure(task, outcome, now),)
            reason = outcome.reason or str(error)
            self._end(lane, task, MessageState.UNDELIVERABLE, reason=reason, error=error, outcome=outcome)

    def _deposit(self, lane: Lane, task: Task, mailbox: Outlet, failure: Outcome) -> None:
        """Offer a message that could not be delivered to the mailbox."""
        lane.flying += 1

        def answered(outcome: Outcome) -> None:
            lane.flying -= 1
            if self._holds(task):
                if outcome.result is Result.STORED:
                    self._deposited(lane, task, outcome, failure)
                elif (
                    outcome.error is ErrorClass.PERMANENT
                ):  # full, closed: the message's end (behaviour.md 1)
                    task.notes += (self._failure(task, failure, self._clock.now_ms()),)
                    self._end(
                        lane, task, MessageState.UNDELIVERABLE, reason=outcome.reason, error=outcome.error
                    )
                else:  # not mailbox material, or the box cannot say now: the schedule goes on without it
                    task.no_mailbox = outcome.error is ErrorClass.POLICY
                    self._failed_undeposited(lane, task, failure)
            self._advance(lane)

        because = str(failure.error or failure.reason)
        attempt = Attempt(answered)
        offer = seam.Delivery(task.message, task.attempts, "deposit", because=because)
        if not mailbox.hand(offer, attempt) and not attempt.over:
            attempt.over = True
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
        task.notes += (self._failure(task, outcome, self._clock.now_ms()),)
        self._commit(lane, task, Change(done=_ignore, release=Release(task.message.id, self._store.epoch)))

    def _failure(self, task: Task, outcome: Outcome, at: int, due_at: int = 0) -> Event:
        return attempt_event(task, outcome, at=at, node=self._store.node, due_at=due_at)

    def _silent(
        self, lane: Lane, task: Task, failure: Outcome, at: int, *, next_try: int
    ) -> tuple[Write, ...]:
        """Remember that a recipient was not reached."""
        if failure.error is None or task.lead is None or task.reason == QueueReason.WITHHELD:
            return ()
        return self._recipients.failed(
            task.message.recipient, failure.error, at=at, next_try=next_try, outlet=task.lead.outlet.name,
            handset=bool(lane.handset) or task.lead.outlet.transit,
        )  # fmt: skip

    def _seen(self, recipient: str) -> None:
        for hook in self._seen_hooks:
            hook(recipient)

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
        writes: tuple[Write, ...] = (),
    ) -> None:
        """Bring a message to its final state, with the receipt that was asked for."""
        message, lead = task.message, task.lead
        release = Release(message.id, self._store.epoch)
        if task.reason == QueueReason.REDELIVERY and state is not MessageState.DELIVERED:
            self._commit(lane, task, Change(done=_ignore, release=release))  # the end is the box's
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
            end = partial(self._end, reason=reason, error=error, outcome=outcome, writes=writes)
            self._settlements.later(partial(self._again, end, lane, task, state))
            return
        if message.kind == Kind.CODE:
            writes += (Write(BLANK, {"id": message.id, "nothing": b""}),)
        change = Change(done=_ignore, messages=receipts, release=release, events=final, writes=writes)
        conflict = None
        if task.reason == QueueReason.REDELIVERY:
            conflict = partial(self._read_meanwhile, lane, task)
        ended = self._watched.pop(message.id, None)

        def stored() -> None:
            _ended(state.name).inc()
            if message.kind == Kind.RECEIPT:
                self._receipts.concluded(message)
            if ended is not None:
                ended(state, outcome)

        self._commit(lane, task, change, stored=stored, conflict=conflict)

    def _again(self, what: Callable[..., None], lane: Lane, task: Task, *args: object) -> None:
        """Finish what the database could not help with before."""
        if self._holds(task):
            what(lane, task, *args)

    def _read_meanwhile(self, lane: Lane, task: Task) -> None:
        """The recipient read the box while the copy was on its way: the ending is the box's, not ours."""
        writes = self._recipients.reached(task.message.recipient, retried=True)
        release = Release(task.message.id, self._store.epoch)
        self._commit(lane, task, Change(done=_ignore, release=release, writes=writes))

    def _requeue(
        self, lane: Lane, task: Task, due_at: int, reason: str, outcome: Outcome | None = None
    ) -> None:
        """Put a task off. Near ones stay in memory; a handset's whole lane waits with its head.

        A near one counts as flying until the change is on disk: no second attempt overtakes the record of the first.
        """
        message, now = task.message, self._clock.now_ms()
        due_at = min(due_at, message.expires_at)
        task.reason, task.due_at = reason, due_at
        retried = reason in (QueueReason.RETRY, QueueReason.DIVERTED)
        near = (retried or reason == QueueReason.WITHHELD) and self._is_near(due_at, now)
        holds_lane = bool(lane.handset) and retried
        writes: tuple[Write, ...] = ()
        if outcome is not None and reason == QueueReason.WITHHELD and lane.handset:
            self._veil(message.recipient, due_at, now)
        if outcome is not None:
            writes = self._silent(lane, task, outcome, now, next_try=due_at)
        requeue = Requeue(message.id, self._store.epoch, due_at, task.attempts, reason, keep=near)
        change = Change(done=_ignore, requeue=requeue, writes=writes)
        missed = None
        if outcome is not None and outcome.reason == _NOT_BOUND.reason and task.lead is not None:
            missed = partial(self._look_again, task.lead.outlet, message.recipient)
        if holds_lane and near:
            lane.blocked_until = due_at
        if near:
            lane.flying += 1
            back = partial(self._put_off, lane, task, holds_lane)
            self._commit(lane, task, change, back=back, after=missed)
            return
        self._commit(lane, task, change, after=missed)
        if holds_lane:
            for follower in lane.take_all():
                self._put_behind(lane, follower, due_at)

    def _veil(self, recipient: str, until: int, now: int) -> None:
        """A blocked recipient looks silent until then, to the senders of what is withheld from him."""
        if len(self._veiled) >= _MOST_VEILED:
            self._veiled = {number: at for number, at in self._veiled.items() if at > now}
        if len(self._veiled) < _MOST_VEILED:
            self._veiled[recipient] = until

    def _look_again(self, outlet: Outlet, recipient: str) -> None:
        """That an outlet was not there is on disk now. If it came back meanwhile, its return found nothing to wake."""
        if outlet.reachable():
            self._pump.want(recipient)
            self.rouse(recipient)
            self._nudge.set()

    def _put_off(self, lane: Lane, task: Task, holds_lane: bool) -> None:
        """A near next try is on disk."""
        if holds_lane:
            lane.push(task)
        else:
            lane.delay(task)

    def _is_near(self, due_at: int, now: int) -> bool:
        return due_at - now <= self._settings.horizon_s * 1000

    def _put_behind(self, lane: Lane, task: Task, due_at: int) -> None:
        """A handset's head went to the database for long: those behind it wait there as well, in the same order."""
        if not self._holds(task):
            return
        due = min(due_at, task.message.expires_at)
        reason = QueueReason.NEW if task.reason == QueueReason.SCHEDULED else task.reason
        requeue = Requeue(task.message.id, self._store.epoch, due, task.attempts, reason)
        self._commit(lane, task, Change(done=_ignore, requeue=requeue))

    def _commit(
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
        change.events = task.notes + change.events
        task.notes = ()

        def is_stored(change: Change) -> None:
            if stored is not None:
                stored()
            if back is None:
                self._leave(task)
            else:
                lane.flying -= 1
                if self._holds(task):
                    back()
                self._advance(lane)
            for message in change.messages:
                self.admit(message)
            if after is not None:
                after()

        def is_lost() -> None:
            if back is not None:
                lane.flying -= 1
            self._leave(task)
            self._suspicious = True
            self._nudge.set()

        self._settlements.put(change, stored=is_stored, lost=is_lost, conflict=conflict)

    # ------------------------------------------------------------------------------------------------ the clock

    def _arm(self, lane: Lane) -> None:
        """See to it that a lane is looked at again in time."""
        at = lane.look_again_at(self._clock.now_ms())
        if at < NEVER and (not lane.alarm or at < lane.alarm):
            lane.alarm = at
            self._serial += 1
            heapq.heappush(self._timers, (at, self._serial, lane))
            if self._timers[0][1] == self._serial:
                self._nudge.set()

    def tick(self) -> None:
        """Do what the clock says: timers of lanes, and changes to put again."""
        now = self._clock.now_ms()
        while self._timers and self._timers[0][0] <= now:
            at, _, lane = heapq.heappop(self._timers)
            if lane.alarm == at and self._lanes.get(lane.recipient) is lane:
                lane.alarm = 0
                lane.ripen(now)
                for task in lane.take_expired(now):
                    if self._holds(task):
                        self._end(lane, task, MessageState.EXPIRED, reason="expired")
                self._advance(lane)
        for outlet, queue in self._parked.values():
            if queue and not outlet.reachable():  # it will have no room for anybody
                for lane in list(queue):
                    queue.remove(lane)
                    lane.parked_at = ""
                    self._advance(lane)
        self._settlements.tick(now)
        _in_memory.set(len(self._tasks))

    async def _ask_for_our_life(self) -> None:
        """A row was lost: go on if only the row was, halt if this life is over."""
        life = await self._store.fetch(OUR_LIFE, row_number=self._store.node, row_epoch=self._store.epoch)
        if not life:
            self.halt()
            return
        self._suspicious = False
        for lane in list(self._lanes.values()):
            self._advance(lane)

    async def turn(self) -> bool:
        """One round of work: read back what should be worked on, then do what the clock says; True if there is more."""
        if self._suspicious:
            await self._ask_for_our_life()
        more = not self._draining and await self._pump.turn()
        self.tick()
        return more

    async def _run(self) -> None:
        while not self._stopping:
            self._nudge.clear()
            busy = False
            try:
                busy = await self.turn()
            except StoreClosed:
                self.halt()
                return
            except Exception:  # the database is away: the queue is not, and the next round may succeed
                _log.exception("delivery-turn-failed")
            if busy:
                continue
            wait = _TICK_S
            if self._timers:
                wait = min(wait, max(0.0, (self._timers[0][0] - self._clock.now_ms()) / 1000))
            try:
                await asyncio.wait_for(self._nudge.wait(), wait)
            except TimeoutError:
                continue

    # ------------------------------------------------------------------------------------------------ the end

    def halt(self) -> None:
        """This node may not write any more: forget everything, send nothing."""
        if not self._stopping:
            _log.error("delivery-halted", tasks=len(self._tasks))
        self._stopping = True
        self._settlements.forget()
        for known in (self._tasks, self._lanes, self._parked, self._successors, self._watched):
            known.clear()
        self._watched_beyond.clear()
        self._timers.clear()
        self._octets = 0
        self._nudge.set()

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Start nothing more, let attempts under way end for at most `timeout_s`; the rest stays in the queue."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        self._draining = True
        self._successors.clear()
        while any(lane.flying for lane in self._lanes.values()) or self._settlements.pending:
            if self._stopping or asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.02)
        self._stopping = True
        self._nudge.set()
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)


def _ignore(answer: Answer) -> None:
    """Replaced when the change is put."""


def _retry_reason(task: Task) -> str:
    """A diverted message goes to the mailbox at its next try as well, a withheld one nowhere."""
    stays = task.reason in (QueueReason.DIVERTED, QueueReason.WITHHELD)
    return task.reason if stays else QueueReason.RETRY
