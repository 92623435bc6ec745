"""Takes one task from its lane to an outlet.

In charge of: asking the checks, choosing among the routes, handing over, and outlets without room. Not in charge of:
when a task may start (`desk.py`), what its outcome means (`outcomes.py`), where routes lead (`routing.py`).

    NEW, RETRY, SCHEDULED, REDELIVERY ──> checks of the attempt stage ──> routes ──> outlet ──> outcome
    HELD, PENDING_CHECK ──> checks of the submit stage ──┘   RELEASED: from behind the check that parked it
    DIVERTED ──────────────────────────────────────────────────────────> mailbox ──> outcome
    BLOCKED ──> checks of the attempt stage, as RETRY; rejected again, it goes on like WITHHELD
    WITHHELD ──> routes ──> the outcome of an absent recipient; a deposit is asked for and not made
    QUARANTINED ──> expires
    FORWARDED ──> expires: what became of it nobody told us in time

Checks may take their time: then the task counts as flying and goes back into its lane when they have spoken. Sources:
behaviour.md 2, 4, 5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import structlog

from .. import outlet as seam
from ..check import Action, Stage
from ..message import Ingress, Message, MessageState
from ..outlet import ErrorClass, Outcome, Outlet, Result
from ..store.failpoints import Failpoint, nothing
from ..store.store import UNNOTICED, QueueReason, Store
from .crossing import Crossing
from .desk import Desk
from .holding import PARKED
from .lanes import Lane, Task
from .recipients import Recipients
from .recording import NOT_BOUND, Recording
from .routing import Lead, Router
from .screening import CLEAR, Finding, Screening, evidence_events, held_event

__all__ = ["AGAIN_MS", "Attempt", "Attempts", "Ends"]

_log = structlog.get_logger(__name__)

AGAIN_MS = 1000  #: the box changed under a deposit; a check wants to be asked again without saying when
_THROTTLED_MS = 60_000  #: a check throttled an attempt without saying for how long
_NOT_BOUND = Outcome(Result.FAILED, ErrorClass.ABSENT, reason=NOT_BOUND)
#: How an absent recipient looks until an outlet has shown it: what a withheld message is tried with.
_ABSENT = Outcome(Result.FAILED, ErrorClass.ABSENT, reason="absent")
#: A switch or link that is not bound says nothing about who is behind it: after a restart it may be back in a moment.
_TRANSIT_NOT_BOUND = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason=NOT_BOUND)
_BROKEN = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason="outlet-failed")

#: Told how an attempt ended; the task still counts as flying.
Ends = Callable[[Lane, Task, Outcome], None]


@dataclass(slots=True, eq=False)
class Attempt:
    """What an outlet calls with its outcome: the first call counts."""

    end: Callable[[Outcome], None]
    over: bool = False

    def __call__(self, outcome: Outcome) -> None:
        if self.over:
            _log.error("outcome-twice", reason=outcome.reason)
            return
        self.over = True
        self.end(outcome)


class Attempts:
    """The attempts of one node."""

    def __init__(
        self,
        desk: Desk,
        recording: Recording,
        store: Store,
        *,
        router: Router,
        screening: Screening,
        recipients: Recipients,
        crossing: Crossing,
        mailbox: Outlet | None,
        failpoint: Failpoint = nothing,
    ) -> None:
        """`mailbox` is where diverted messages go."""
        self._desk = desk
        self._recording = recording
        self._store = store
        self._clock = store.clock
        self._router = router
        self._screening = screening
        self._recipients = recipients
        self._crossing = crossing
        self._mailbox = mailbox
        self._failpoint = failpoint
        self._ended: Ends = _nobody
        self._absent: dict[str, Outcome] = {}  # outlet -> what its last absent recipient looked like
        self._parked: dict[str, tuple[Outlet, deque[Lane]]] = {}  # lanes that wait for room at an outlet
        self._up: dict[str, Outlet] = {}  # that were reachable when last seen

    def end_with(self, ended: Ends) -> None:
        """Call `ended` with the outcome of each attempt."""
        self._ended = ended

    # ------------------------------------------------------------------------------------------ checks

    def begin(self, lane: Lane, task: Task) -> None:
        """Start with a task that was taken out of its lane."""
        if task.reason == QueueReason.FORWARDED:
            self._recording.end(
                lane, task, MessageState.EXPIRED, reason="no-receipt", error=ErrorClass.TIMEOUT
            )
            return
        # A quarantined one falls due when it expires; one with a period of zero does so at once.
        if task.ends_at <= self._clock.now_ms() or task.reason == QueueReason.QUARANTINED:
            self._recording.end(lane, task, MessageState.EXPIRED, reason="expired")
        elif task.reason == QueueReason.DIVERTED and self._mailbox is not None:
            self._divert(lane, task, self._mailbox)
        elif task.reason == QueueReason.WITHHELD or (task.reason == QueueReason.BLOCKED and task.cleared):
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
        """The checks have spoken."""
        lane.flying -= 1
        if self._desk.holds(task):
            at_once = lane.advancing and not task.message.schedule_at
            if finding is CLEAR and stage is Stage.ATTEMPT and at_once:  # the common case
                task.resume = None
                self._route(lane, task)
                return
            self._obey(lane, task, stage, finding)
        self._desk.advance(lane)

    def _obey(self, lane: Lane, task: Task, stage: Stage, finding: Finding) -> None:
        """Do what the checks said."""
        message, verdict, now = task.message, finding.verdict, self._clock.now_ms()
        task.notes += evidence_events(message, finding, stage, at=now, node=self._store.node)
        if task.reason == QueueReason.REDELIVERY and verdict.action > Action.FLAG:
            self._recording.let_go(lane, task)  # the copy stays where it is, in the box
        elif verdict.action is Action.REJECT and verdict.veiled:
            # Who was rejected when he sent stays so; where the recipient is may be another place at the next attempt.
            at_attempt = stage is Stage.ATTEMPT
            task.reason, task.cleared = (
                (QueueReason.BLOCKED if at_attempt else QueueReason.WITHHELD),
                at_attempt,
            )
            self._wait(lane, task, now)
        elif verdict.action in (Action.REJECT, Action.DROP):
            state = MessageState.REJECTED if verdict.action is Action.REJECT else MessageState.DELETED
            self._recording.end(lane, task, state, reason=verdict.reason, error=ErrorClass.POLICY)
        elif verdict.action in (Action.HOLD, Action.THROTTLE, Action.QUARANTINE):
            self._park(lane, task, stage, finding, now)
        elif verdict.action is Action.DIVERT and self._mailbox is not None:
            task.reason = QueueReason.DIVERTED
            self._wait(lane, task, now)
        else:
            task.resume = None
            if task.reason == QueueReason.BLOCKED:  # no more
                task.reason = QueueReason.RETRY if task.attempts else QueueReason.NEW
            if stage is Stage.ATTEMPT:
                task.cleared = True
            else:
                task.reason = QueueReason.NEW
            self._wait(lane, task, now)

    def _park(self, lane: Lane, task: Task, stage: Stage, finding: Finding, now: int) -> None:
        """A check wants the message to wait, for a time or for a person."""
        message, verdict = task.message, finding.verdict
        queue, due_at = QueueReason.HELD, message.expires_at
        if verdict.action is Action.QUARANTINE:
            queue = QueueReason.QUARANTINED
        elif verdict.until or verdict.action is Action.THROTTLE:
            due_at = min(max(verdict.until or now + _THROTTLED_MS, now + AGAIN_MS), due_at)
        if due_at <= now:
            self._recording.end(lane, task, MessageState.EXPIRED, reason="expired")
            return
        held = held_event(message, verdict, stage, queue=queue, due_at=due_at, at=now, node=self._store.node)
        task.notes += (held,)
        self._recording.requeue(lane, task, due_at, queue)

    def _wait(self, lane: Lane, task: Task, now: int) -> None:
        """Back into the lane after the checks; one that was scheduled for later goes to the database."""
        if task.message.schedule_at > now:
            reason = QueueReason.SCHEDULED if task.reason == QueueReason.NEW else task.reason
            self._recording.requeue(lane, task, task.message.schedule_at, reason)
        else:
            lane.push(task)

    # ------------------------------------------------------------------------------------------ routes

    def _divert(self, lane: Lane, task: Task, mailbox: Outlet) -> None:
        lane.flying += 1
        task.others, task.lead = [], Lead("divert", mailbox)
        self._hand(lane, task, mailbox)

    def _route(self, lane: Lane, task: Task) -> None:
        leads = self._router.leads(task.message)
        if not leads:
            self._recording.end(
                lane, task, MessageState.UNDELIVERABLE, reason="no-route", error=ErrorClass.PERMANENT
            )
            return
        task.others = [lead for lead in leads if lead.outlet.name not in task.skip] or leads
        task.tried, task.skip = list(task.skip), ()
        self.try_next(lane, task)

    def try_next(self, lane: Lane, task: Task) -> None:
        """Hand over to the first reachable of the routes that are left. The task counts as flying from here on."""
        lane.flying += 1
        while task.others:
            lead = task.others.pop(0)
            task.lead = lead
            lane.handset = lead.outlet.handset
            if not self._crossing.alone and self._crossing.elsewhere(lane, task, lead):
                return
            if lead.outlet.reachable():
                if lane.handset and self._hold_back(lane, task):
                    return
                if task.reason in UNNOTICED and lead.outlet is not self._mailbox:
                    self._ended(lane, task, self._absent.get(lead.outlet.name, _ABSENT))
                    return
                self._hand(lane, task, lead.outlet)
                return
            self._up.pop(lead.outlet.name, None)
        transit = task.lead is not None and task.lead.outlet.transit
        self._ended(lane, task, _TRANSIT_NOT_BOUND if transit else _NOT_BOUND)

    def _hold_back(self, lane: Lane, task: Task) -> bool:
        """True if a handset's retry clock runs because of earlier messages: then this one waits behind them."""
        until = self._recipients.held_until(lane.recipient)
        now = self._clock.now_ms()
        if task.reason in UNNOTICED:  # waits behind its like as well, and nobody else behind it
            until = max(until, self._recording.veiled_until(lane.recipient))
            if until > now:
                lane.flying -= 1
                self._recording.put_behind(lane, task, until)
            return until > now
        if until <= now or task.reason == QueueReason.REDELIVERY:
            return False
        lane.flying -= 1
        lane.push(task)
        if self._recording.is_near(until, now):
            lane.blocked_until = until
        else:
            self._recording.put_all_behind(lane, until)
        return True

    def _hand(self, lane: Lane, task: Task, outlet: Outlet) -> None:
        assert task.lead is not None
        more = bool(lane.waiting) and outlet.handset
        delivery = seam.Delivery(task.message, task.attempts + 1, task.lead.rule, more_messages_to_send=more)
        attempt = Attempt(partial(self._ended, lane, task))
        self._failpoint("before-send")
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

    def reported(
        self, message: Message, failure: Outcome, lead: Lead, *, attempts: int, tried: Collection[str]
    ) -> None:
        """See `Delivery.reported`."""
        if not self._desk.may_enter(message.id):
            return  # the row says retry: whoever takes it up tries again
        task = Task(message, attempts=attempts - 1, reason=QueueReason.RETRY, lead=lead)
        task.others = [other for other in self._router.leads(message) if other.outlet.name not in tried]
        self._desk.watch_again(message.id)
        lane = self._desk.remember(task)
        lane.handset = lead.outlet.handset
        lane.flying += 1
        self._ended(lane, task, failure)

    # ------------------------------------------------------------------------------------------ what outlets are like

    def ready(self, outlet: Outlet) -> bool:
        """An outlet has room, or is reachable, again: go on with who waits for it; True if it had not been there."""
        came_back = outlet.name not in self._up and outlet.reachable()
        if came_back:
            self._up[outlet.name] = outlet
        _, queue = self._parked.get(outlet.name, (outlet, None))
        while queue:
            lane = queue.popleft()
            lane.parked_at = ""
            self._desk.advance(lane)
            if lane.parked_at == outlet.name:  # no room any more; it stands at the end now: lanes take turns
                break
        return came_back

    def up(self) -> list[Outlet]:
        """Outlets that were reachable when last seen."""
        return list(self._up.values())

    def missed(self, outlet: Outlet, outcome: Outcome) -> None:
        """Remember what an outlet's absent recipients look like, and that it was not there itself."""
        if outcome.error is ErrorClass.ABSENT and outcome is not _NOT_BOUND:
            self._absent[outlet.name] = replace(outcome, writes=())
        if not outlet.reachable():
            self._up.pop(outlet.name, None)

    def let_go_of_the_unreachable(self) -> None:
        """Lanes that wait for room at an outlet which is not there any more go on: it will have none for anybody."""
        for outlet, queue in self._parked.values():
            if queue and not outlet.reachable():
                for lane in list(queue):
                    queue.remove(lane)
                    lane.parked_at = ""
                    self._desk.advance(lane)

    def forget(self) -> None:
        """Nothing is ours any more."""
        self._parked.clear()


def _nobody(lane: Lane, task: Task, outcome: Outcome) -> None:
    """Before `end_with`: no attempt begins."""
    raise AssertionError("an attempt ended before anybody was told whom to tell")
