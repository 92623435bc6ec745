"""The order in which messages for one recipient are tried.

In charge of: what waits for a recipient on this node, in which order, whether the next may start, and when to look at
the lane again. Not in charge of: starting it, clocks, the database (`desk.py`, `recording.py`). Source: behaviour.md 2.

Theory: all messages for one recipient stand in one lane. Behind a handset the lane is narrow: one attempt at a time
and one retry clock, so that later messages wait while the first one waits. Behind an ESME it is wide: the outlet's
window is the limit, each message has its own clock, and a refused one blocks nothing. Until the first outlet is chosen
nobody knows which of the two it is, and it counts as narrow. Higher priority_flag first, then arrival; parts of one
message stay together behind their first part. What can reorder: a message that was put back for want of memory, a
retry behind an ESME, and a higher priority that arrives while a lower one waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..message import Event, Message
from ..store.store import QueueReason
from .routing import Lead

__all__ = ["NEVER", "Lane", "Loan", "Task"]

NEVER = 1 << 62  #: a time that does not come; UTC epoch milliseconds

#: Multipart messages of one lane whose parts are kept together at a time; more than that are tried as they came.
_MAX_GROUPS = 1000


@dataclass(slots=True, eq=False)
class Task:
    """One message that this node works on."""

    message: Message
    attempts: int = 0  #: finished ones
    due_at: int = 0  #: not before; UTC epoch milliseconds
    reason: str = QueueReason.NEW
    no_mailbox: bool = False  #: the mailbox said that this is not for it
    cleared: bool = False  #: the checks of the attempt stage have spoken, and the attempt has not begun
    resume: tuple[str, str] | None = None  #: (stage, check) behind which its checks go on; `holding.py`
    claimed: bool = (
        False  #: from the database: older ones of its recipient may be on their way to another node
    )
    looked: bool = False  #: nobody else works for its recipient, says the database (`handover.py`)
    passes: int = 0  #: times it was handed between nodes since its last attempt
    skip: tuple[str, ...] = ()  #: routes that failed in this attempt at another node
    notes: tuple[Event, ...] = ()  #: events that ride with its next change
    lead: Lead | None = None  #: where the attempt under way went
    others: list[Lead] = field(default_factory=list[Lead])  #: routes not tried in this attempt
    tried: list[str] = field(default_factory=list[str])  #: routes that failed in this attempt

    @property
    def size(self) -> int:
        """Octets charged to the memory budget."""
        return len(self.message.body) + len(self.message.tlvs) + 1024

    @property
    def ends_at(self) -> int:
        """When it expires if it still waits. A period of zero allows one attempt; a redelivery is one attempt."""
        message = self.message
        if self.reason == QueueReason.REDELIVERY:
            return NEVER
        if not self.attempts and message.expires_at <= message.submitted_at:
            return NEVER
        return message.expires_at


@dataclass(slots=True)
class _Group:
    """The parts of one message that were seen in a lane."""

    first: int  #: lowest id: the place of all of them
    ids: dict[int, int]  #: part_number -> message id


@dataclass(slots=True, eq=False)
class Lane:
    """Everything one recipient waits for."""

    recipient: str
    handset: bool | None = None  #: known from the first outlet that was chosen
    flying: int = 0  #: attempts under way, and outcomes of attempts that must be on disk before the next try
    blocked_until: int = 0  #: handset: the lane's retry clock
    parked_at: str = ""  #: name of the outlet in whose queue it stands for room in a window
    contested: bool = False  #: one of its messages went to another node in the middle of an attempt
    advancing: bool = False  #: somebody is starting what may start; guards against doing so twice at a time
    alarm: int = 0  #: earliest timer that is set for it; 0: none
    expiry: int = NEVER  #: nothing that waits ends before this
    waiting: list[tuple[int, int, int, Task]] = field(default_factory=list[tuple[int, int, int, Task]])
    #: ESME: put off, each with its own clock; (due time, id, task)
    delayed: list[tuple[int, int, Task]] = field(default_factory=list[tuple[int, int, Task]])
    groups: dict[tuple[str, int, int], _Group] = field(default_factory=dict[tuple[str, int, int], _Group])

    def push(self, task: Task) -> None:
        """Let a task wait in its place."""
        message = task.message
        place = self._place(message) if message.part_total > 1 else message.id
        heapq.heappush(self.waiting, (-message.priority_flag, place, message.id, task))
        self.expiry = min(self.expiry, task.ends_at)

    def _place(self, message: Message) -> int:
        """Where a part stands: with the first of its message."""
        key = (message.sender, message.part_reference, message.part_total)
        group = self.groups.get(key)
        if group is None or group.ids.get(message.part_number, message.id) != message.id:
            # Unknown, or its number was seen under another id: the reference is used again for another message.
            if len(self.groups) >= _MAX_GROUPS:
                self.groups.pop(next(iter(self.groups)))
            self.groups[key] = _Group(message.id, {message.part_number: message.id})
            return message.id
        group.ids[message.part_number] = message.id
        if message.id < group.first:  # a later part came first
            mine = set(group.ids.values())
            group.first = message.id
            self.waiting = [
                (priority, group.first if id in mine else place, id, task)
                for priority, place, id, task in self.waiting
            ]
            heapq.heapify(self.waiting)
        return group.first

    def pop(self) -> Task:
        """Take the next task out."""
        task = heapq.heappop(self.waiting)[3]
        message = task.message
        if message.part_total > 1:
            self._forget_complete(message)
        if not self.waiting:
            self.expiry = NEVER
        return task

    def _forget_complete(self, message: Message) -> None:
        key = (message.sender, message.part_reference, message.part_total)
        group = self.groups.get(key)
        if group is None or len(group.ids) < message.part_total:
            return
        mine = group.ids.values()
        if not any(id in mine for _, _, id, _ in self.waiting):
            del self.groups[key]

    def remove(self, task: Task) -> bool | None:
        """Take one task out of the middle: True if it was put off by its own clock, False if not, None if not here."""
        waiting = [entry for entry in self.waiting if entry[-1] is not task]
        if len(waiting) < len(self.waiting):
            heapq.heapify(waiting)
            self.waiting = waiting
            return False
        delayed = [entry for entry in self.delayed if entry[-1] is not task]
        if len(delayed) < len(self.delayed):
            heapq.heapify(delayed)
            self.delayed = delayed
            return True
        return None

    def take_all(self) -> list[Task]:
        """Take every waiting task out, in order."""
        tasks = [entry[3] for entry in sorted(self.waiting, key=lambda entry: entry[:3])]
        self.waiting.clear()
        self.groups.clear()
        self.expiry = NEVER
        return tasks

    def standing(self) -> Iterator[Task]:
        """Everything that waits here, in no order."""
        for entry in self.waiting:
            yield entry[3]
        for _, _, task in self.delayed:
            yield task

    def delay(self, task: Task) -> None:
        """Put a task off until its own due time."""
        heapq.heappush(self.delayed, (task.due_at, task.message.id, task))

    def ripen(self, now: int) -> None:
        """Let what was put off until now wait in its place."""
        while self.delayed and self.delayed[0][0] <= now:
            self.push(heapq.heappop(self.delayed)[2])

    def take_expired(self, now: int) -> list[Task]:
        """Take out what ended while it waited."""
        if self.expiry > now:
            return []
        expired: list[Task] = []
        for task in self.take_all():
            if task.ends_at <= now:
                expired.append(task)
            else:
                self.push(task)
        return expired

    def may_start(self, now: int) -> bool:
        """True if the next task may be tried now."""
        if not self.waiting or self.parked_at:
            return False
        return self.handset is False or (self.flying == 0 and self.blocked_until <= now)

    def look_again_at(self, now: int) -> int:
        """When something here becomes due without anybody saying so."""
        at = self.delayed[0][0] if self.delayed else NEVER
        if self.waiting:
            at = min(at, self.expiry)
            if self.blocked_until > now and not self.flying:
                at = min(at, self.blocked_until)
        return at

    @property
    def idle(self) -> bool:
        """True if the lane can be forgotten."""
        return not self.waiting and not self.flying and not self.parked_at and not self.delayed


@dataclass(frozen=True, slots=True, eq=False)
class Loan:
    """A task that was taken out of its lane for a moment; see `Desk.lend`."""

    task: Task
    lane: Lane
    delayed: bool  #: it had been put off by its own clock
