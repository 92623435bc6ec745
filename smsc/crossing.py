"""What delivery does about other nodes: whether a message is tried here, elsewhere, or in a moment.

In charge of: giving a message to the node that hands it over, waiting while another node still works for the same
handset, and looking at what waits when outlets come or go elsewhere. Not in charge of: which node that is
(`neighbours.py`), how it is told (`handover.py`), or attempts (`attempts.py`). Source: behaviour.md 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ..message import Message, MessageState
from ..outlet import Outcome, Outlet
from ..store.store import UNNOTICED, Change, Requeue, Store
from .desk import Desk
from .handover import MOST_PASSES, Handover, note_of
from .lanes import NEVER, Lane, Task
from .recipients import Recipients, Silence
from .recording import Recording
from .routing import Lead
from .settlement import ignore

__all__ = ["OUT_OF_REACH", "Crossing"]

#: The reason of an outcome: the switch that serves the recipient is not connected here.
OUT_OF_REACH = "switch-not-connected"

_LOOK_AGAIN_MS = 200  #: another node still works for a handset
_AGREE_MS = 1000  #: the nodes send a message to and fro: they do not agree yet who works on it
_MODE_MASK, _MODE_TRANSACTION = 0x03, 0x02  #: of esm_class (SMPP 3.4 §5.2.12)


class Crossing:
    """For one delivery engine. Without `handover` there are no other nodes, and it says so without looking."""

    def __init__(
        self,
        desk: Desk,
        recording: Recording,
        store: Store,
        recipients: Recipients,
        handover: Handover | None,
    ) -> None:
        self._desk = desk
        self._recording = recording
        self._store = store
        self._recipients = recipients
        self._handover = handover
        if handover is not None:
            desk.give_with(self.admitted_elsewhere)
            recording.cross_with(self.ended, self.place)

    @property
    def alone(self) -> bool:
        """True if there is no other node."""
        return self._handover is None or self._handover.alone

    def place(self, outlet: Outlet, recipient: str) -> int:
        """The epoch of the node that hands a message over there; 0 if the outlet is not reached from anywhere."""
        if self._handover is None:
            return self._store.epoch if outlet.reachable() else 0
        return self._handover.place(outlet, recipient)

    def owner(self, message: Message, leads: Iterable[Lead]) -> int:
        """The epoch that should own a message: that of the node which will hand it over, else ours."""
        places = (self.place(lead.outlet, message.recipient) for lead in leads)
        return next((place for place in places if place), self._store.epoch)

    def admitted_elsewhere(self, message: Message) -> bool:
        """Tell the node that owns a new message's row, if it is not this one."""
        if self._handover is None or message.owner in (0, self._store.epoch):
            return False
        self._handover.hand(message.owner, message.id, ended=self._desk.watcher(message.id))
        return True

    def elsewhere(self, lane: Lane, task: Task, lead: Lead) -> bool:
        """True if another node hands it over, or may still work for the same handset: then it is not tried now.

        Called before an attempt, with the task counted as flying.
        """
        handover = self._handover
        if handover is None or task.reason in UNNOTICED:
            return False
        place = handover.place(lead.outlet, task.message.recipient)
        if place and place != self._store.epoch:
            self._pass_on(lane, task, place, handover)
            return True
        look = bool(place) and lead.outlet.handset and not task.looked
        if look and (task.claimed or lane.contested or handover.unsettled):
            handover.look(task.message.recipient, task.message.id, partial(self._looked, lane, task))
            return True
        return False

    def _looked(self, lane: Lane, task: Task, taken: bool, silence: Silence | None) -> None:
        """Whether somebody else still works for a handset: then this one waits a moment."""
        lane.flying -= 1
        if self._desk.holds(task):
            self._recipients.learn(task.message.recipient, silence)
            if taken:
                lane.blocked_until = max(lane.blocked_until, self._store.clock.now_ms() + _LOOK_AGAIN_MS)
            else:
                lane.contested = False
                task.looked = True
            lane.push(task)
        self._desk.advance(lane)

    def misplaced(self, lane: Lane, task: Task, outcome: Outcome) -> bool:
        """True if an attempt found that only another node reaches the recipient's switch: then that one has it now.

        Called after an attempt, with the task not counted as flying any more.
        """
        lead, handover = task.lead, self._handover
        if handover is None or lead is None or outcome.reason != OUT_OF_REACH or task.reason in UNNOTICED:
            return False
        place = handover.place(lead.outlet, task.message.recipient)
        if place in (0, self._store.epoch):
            return False
        lane.flying += 1
        self._pass_on(lane, task, place, handover)
        return True

    def _pass_on(self, lane: Lane, task: Task, place: int, handover: Handover) -> None:
        """Give a message to the node that will hand it over. After too many times it waits until the nodes agree."""
        lane.flying -= 1
        lane.contested = lane.contested or bool(lane.handset and task.tried)
        message, now = task.message, self._store.clock.now_ms()
        requeue = Requeue(message.id, self._store.epoch, now, task.attempts, task.reason, heir=place)
        tell: Callable[[], None] | None = partial(
            handover.hand, place, message.id, note_of(task), self._desk.watcher(message.id)
        )
        if task.passes >= MOST_PASSES:
            requeue.due_at, requeue.heir, tell = now + _AGREE_MS, 0, None
        writes = self._recipients.clock_stopped(message.recipient)
        self._recording.commit(lane, task, Change(done=ignore, requeue=requeue, writes=writes), stored=tell)

    def look_around(self) -> None:
        """Outlets came or went at other nodes: what waits here for a clock may be theirs now."""
        self._recording.look_for_the_missing()
        for lane in list(self._desk.lanes.values()):
            if not lane.flying and not lane.parked_at and any(map(self._is_elsewhere, lane.standing())):
                lane.blocked_until = 0
                lane.ripen(NEVER)
                self._desk.advance(lane)

    def _is_elsewhere(self, task: Task) -> bool:
        place = self.place(task.lead.outlet, task.message.recipient) if task.lead is not None else 0
        return place not in (0, self._store.epoch)

    def woken(self, recipient: str) -> None:
        """A recipient was seen here: others may keep something for it."""
        if self._handover is not None:
            self._handover.seen(recipient)

    def spoke(self, number: str) -> None:
        """A handset that is not known to be silent spoke here: others may know it to be."""
        if self._handover is not None:
            self._handover.spoke(number)

    def ended(self, message: Message, state: MessageState, outcome: Outcome | None) -> None:
        """A message ended for which nobody waits here: its submitter may wait at the node it came from."""
        if self._handover is not None and message.esm_class & _MODE_MASK == _MODE_TRANSACTION:
            self._handover.tell_end(message.id, state, outcome)
