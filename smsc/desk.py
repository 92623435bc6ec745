"""The messages this node works on, and which of them may start.

In charge of: tasks and their lanes in memory, the bounds of that memory, the gates that hold everything back, and the
clock of the lanes. Not in charge of: what an attempt is (`attempts.py`), what is written (`recording.py`), the order
within a lane (`lanes.py`), reading work back (`pump.py`).

Theory: a task enters once, stands in the lane of its recipient or flies, and leaves when the change that records its
outcome is on disk. Until then it is ours and may be recorded again, never sent again. A row that was claimed again
before memory heard that it had left waits as a successor. Four gates say whether an attempt may start:

    paused      the lease is in doubt           until it is certain again
    suspicious  a row of ours was lost          until it is known that our life still counts
    draining    this node is about to stop      outcomes are still recorded
    stopping    nothing counts any more         everything is forgotten

Sources: behaviour.md 1, 2, 10.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from ..message import Message, MessageState
from ..outlet import Outcome
from ..store.store import QueueReason, Store
from .lanes import NEVER, Lane, Loan, Task
from .recipients import Recipients

__all__ = ["Desk", "Ended"]

#: Told of one message's end: its state, and the failure that led to it.
Ended = Callable[[MessageState, Outcome | None], None]

_MOST_WATCHED_BEYOND = 10_000  #: forwarded messages in transaction mode whose end somebody waits for


_LEAST_SWEPT = 1000  #: timers that are not worth a sweep


class Desk:
    """The work of one node. Every method runs on the event loop and returns at once."""

    def __init__(self, store: Store, recipients: Recipients, *, max_tasks: int, max_octets: int) -> None:
        """`max_tasks`, `max_octets`: what may be in memory at a time."""
        self._store = store
        self._clock = store.clock
        self._recipients = recipients
        self._max_tasks = max_tasks
        self._max_octets = max_octets
        self._begin: Callable[[Lane, Task], None] = _nobody
        self._elsewhere: Callable[[Message], bool] | None = None
        self.lanes: dict[str, Lane] = {}
        self.tasks: dict[int, Task] = {}
        self.octets = 0
        self._successors: dict[int, Task] = {}  # claimed again before memory heard that it had left
        self._watched: dict[int, Ended] = {}
        self._watched_beyond: OrderedDict[int, Ended] = OrderedDict()  # of forwarded messages
        self._timers: list[tuple[int, int, Lane]] = []  # (when, serial, lane)
        self._serial = 0
        self._swept_at = _LEAST_SWEPT  # timers at which dead ones are dropped
        self._news = asyncio.Event()
        self.paused = False
        self.suspicious = False
        self.draining = False
        self.stopping = False

    def begin_with(self, begin: Callable[[Lane, Task], None]) -> None:
        """Call `begin` with a task that was taken out of its lane because it may start."""
        self._begin = begin

    def give_with(self, elsewhere: Callable[[Message], bool]) -> None:
        """Ask `elsewhere` about each new message: True if another node owns its row, and knows of it now."""
        self._elsewhere = elsewhere

    # ------------------------------------------------------------------------------------------ who is here

    def room(self) -> int:
        """How many more messages may be taken up: none while others may take this node for dead."""
        if self.stopping or self.draining or self.octets >= self._max_octets or not self._store.alive():
            return 0
        return max(self._max_tasks - len(self.tasks), 0)

    def knows(self, id: int) -> bool:
        """True if this node works on a message."""
        return id in self.tasks

    def holds(self, task: Task) -> bool:
        """True while a task is this node's: not after a halt, and not once its row was lost."""
        return not self.stopping and self.tasks.get(task.message.id) is task

    def may_send(self) -> bool:
        """True if an attempt may start: asked before each one, so that a node that slept notices (behaviour.md 10)."""
        held = self.stopping or self.draining or self.paused or self.suspicious
        return not held and self._store.alive()

    def admit(self, message: Message, reason: str = QueueReason.NEW) -> None:
        """Work on a message whose queue row this node owns, or tell the node that does. Call after its response has
        left."""
        if self._elsewhere is not None and self._elsewhere(message):
            return
        lane = self._enter(Task(message, reason=reason))
        if lane is not None:
            self.advance(lane)

    def take(self, tasks: Sequence[Task]) -> None:
        """Work on messages whose rows the pump claimed: all of them find their place before the first one starts."""
        lanes: dict[str, Lane] = {}
        for task in tasks:
            lane = self._enter(task)
            if lane is not None:
                lanes[lane.recipient] = lane
            elif not self.stopping and not self.draining:
                self._successors[task.message.id] = task
        for lane in lanes.values():
            self.advance(lane)

    def may_enter(self, id: int) -> bool:
        """False if a message is known already, or nothing is taken up any more."""
        return not (self.stopping or self.draining or id in self.tasks)

    def _enter(self, task: Task) -> Lane | None:
        """Let a task wait in its lane; None if it may not enter."""
        if not self.may_enter(task.message.id):
            return None
        lane = self.remember(task)
        lane.push(task)
        return lane

    def remember(self, task: Task) -> Lane:
        """Take a task into memory; the lane that it belongs to."""
        recipient = task.message.recipient
        self.tasks[task.message.id] = task
        self.octets += task.size
        lane = self.lanes.get(recipient)
        if lane is None:
            lane = self.lanes[recipient] = Lane(recipient)
        return lane

    def leave(self, task: Task) -> None:
        """Forget a task: its outcome is on disk, or the row is not ours any more."""
        id = task.message.id
        if self.tasks.get(id) is not task:
            return
        del self.tasks[id]
        self.octets -= task.size
        self._watched.pop(id, None)
        successor = self._successors.pop(id, None)
        if successor is not None:
            self.take([successor])

    def watch(self, id: int, ended: Ended) -> None:
        """Tell of the end of a message that is about to be admitted; not called if this node loses it."""
        self._watched[id] = ended

    def watcher(self, id: int) -> Ended | None:
        """Who wants to hear of a message's end: asked once, when the end is being recorded."""
        return self._watched.pop(id, None)

    def watch_beyond(self, id: int) -> None:
        """Another center has the message now: whoever waits for its end (transaction mode) waits for its receipt."""
        waits = self._watched.pop(id, None)
        if waits is not None:
            while len(self._watched_beyond) >= _MOST_WATCHED_BEYOND:
                self._watched_beyond.popitem(last=False)
            self._watched_beyond[id] = waits

    def watch_again(self, id: int) -> None:
        """The other center gave the message back."""
        waits = self._watched_beyond.pop(id, None)
        if waits is not None:
            self._watched[id] = waits

    def watcher_beyond(self, id: int) -> Ended | None:
        """Who wants to hear of the end of a message that another center had."""
        return self._watched_beyond.pop(id, None)

    # ------------------------------------------------------------------------------------------ who is lent

    def lend(self, id: int) -> Loan | None:
        """Take a message that waits out of its lane, for whoever changes or ends it (`waiting.py`); None if it does not
        wait here, is under way, or somebody waits for its outcome. A handset's lane stands still meanwhile."""
        task = self.tasks.get(id)
        lane = self.lanes.get(task.message.recipient) if task is not None else None
        if task is None or lane is None or id in self._watched:
            return None
        delayed = lane.remove(task)
        if delayed is None:
            return None
        lane.flying += 1
        return Loan(task, lane, delayed)

    def take_back(self, loan: Loan, message: Message | None = None) -> None:
        """Go on with a message that was lent; `message`: as it is now, if it was changed."""
        task, lane = loan.task, loan.lane
        lane.flying -= 1
        if self.holds(task):
            if message is not None:
                self.octets -= task.size
                task.message = message
                self.octets += task.size
            (lane.delay if loan.delayed else lane.push)(task)
        self.advance(lane)

    def give_up(self, loan: Loan) -> None:
        """Forget a message that was lent: it is over, or its row is not ours any more."""
        loan.lane.flying -= 1
        self.leave(loan.task)
        self.advance(loan.lane)

    # ------------------------------------------------------------------------------------------ who may start

    def advance(self, lane: Lane) -> None:
        """Start whatever may start in a lane. Outlets may answer at once: then this is called from inside itself."""
        if lane.advancing:
            return
        lane.advancing = True
        try:
            while lane.waiting and lane.may_start(self._clock.now_ms()) and self.may_send():
                task = lane.pop()
                if self.holds(task):
                    self._begin(lane, task)
        finally:
            lane.advancing = False
        if lane.idle:
            if self.lanes.get(lane.recipient) is lane:
                del self.lanes[lane.recipient]
        elif lane.waiting or lane.delayed:
            self._arm(lane)

    def advance_all(self) -> None:
        """A gate was opened."""
        for lane in list(self.lanes.values()):
            self.advance(lane)

    def rouse(self, recipient: str) -> None:
        """Try what waits for a recipient in memory, whatever its clock says."""
        self._recipients.woken(recipient)
        lane = self.lanes.get(recipient)
        if lane is not None:
            lane.blocked_until = 0
            lane.ripen(NEVER)
            self.advance(lane)

    # ------------------------------------------------------------------------------------------ the clock

    def _arm(self, lane: Lane) -> None:
        """See to it that a lane is looked at again in time."""
        at = lane.look_again_at(self._clock.now_ms())
        if at < NEVER and (not lane.alarm or at < lane.alarm):
            lane.alarm = at
            self._serial += 1
            heapq.heappush(self._timers, (at, self._serial, lane))
            if len(self._timers) >= self._swept_at:
                self._sweep_timers()
            if self._timers[0][1] == self._serial:
                self.nudge()

    def _sweep_timers(self) -> None:
        """Drop timers that mean nothing any more. Whoever waits for a moment sets one at the end of its validity
        period, days ahead: without this the heap would hold everything that ever waited in that time."""
        self._timers = [
            (at, serial, lane)
            for at, serial, lane in self._timers
            if lane.alarm == at and self.lanes.get(lane.recipient) is lane
        ]
        heapq.heapify(self._timers)
        self._swept_at = max(_LEAST_SWEPT, 2 * len(self._timers))

    def ripe(self, now: int) -> Iterator[Lane]:
        """Lanes whose timers have come; whoever asks looks for what expired there, and advances them."""
        while self._timers and self._timers[0][0] <= now:
            at, _, lane = heapq.heappop(self._timers)
            if lane.alarm == at and self.lanes.get(lane.recipient) is lane:
                lane.alarm = 0
                lane.ripen(now)
                yield lane

    def nudge(self) -> None:
        """There is something to do before the next tick."""
        self._news.set()

    def heard(self) -> None:
        """What was said until now is being done."""
        self._news.clear()

    async def rest(self, most_s: float) -> None:
        """Wait for a nudge, the next timer, or so many seconds."""
        if self._timers:
            most_s = min(most_s, max(0.0, (self._timers[0][0] - self._clock.now_ms()) / 1000))
        try:
            await asyncio.wait_for(self._news.wait(), most_s)
        except TimeoutError:
            return

    # ------------------------------------------------------------------------------------------ the end

    @property
    def under_way(self) -> bool:
        """True while any attempt has not ended."""
        return any(lane.flying for lane in self.lanes.values())

    def drain(self) -> None:
        """Start nothing more."""
        self.draining = True
        self._successors.clear()

    def forget(self) -> None:
        """Nothing here is ours any more."""
        self.stopping = True
        for known in (self.tasks, self.lanes, self._successors, self._watched, self._watched_beyond):
            known.clear()
        self._timers.clear()
        self.octets = 0
        self.nudge()


def _nobody(lane: Lane, task: Task) -> None:
    """Before `begin_with`: nothing is begun."""
    raise AssertionError("a task may start before anybody was told how")
