"""The order in which messages for one recipient are tried.

In charge of: what waits for a recipient on this node, in which order, and whether the next may start. Not in charge
of: starting it, clocks, the database (`delivery.py`). Source: behaviour.md 2.

Theory: all messages for one recipient stand in one lane. Behind a handset the lane is narrow: one attempt at a time
and one retry clock, so that later messages wait while the first one waits. Behind an ESME it is wide: the outlet's
window is the limit, each message has its own clock, and a refused one blocks nothing. Higher priority_flag first,
then arrival; parts of one message stay together behind their first part. What can reorder: a message that was put
back for want of memory, a retry behind an ESME, and a higher priority that arrives while a lower one waits.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from ..message import Message
from ..store.store import QueueReason
from .routing import Lead

__all__ = ["Lane", "Task"]


@dataclass(slots=True, eq=False)
class Task:
    """One message that this node works on."""

    message: Message
    attempts: int = 0  #: finished ones
    due_at: int = 0  #: not before; UTC epoch milliseconds
    reason: str = QueueReason.NEW
    no_mailbox: bool = False  #: the mailbox said that this is not for it
    lead: Lead | None = None  #: where the attempt under way went
    others: list[Lead] = field(default_factory=list[Lead])  #: routes not tried in this attempt
    tried: list[str] = field(default_factory=list[str])  #: routes that failed in this attempt

    @property
    def size(self) -> int:
        """Octets charged to the memory budget."""
        return len(self.message.body) + len(self.message.tlvs) + 1024


@dataclass(slots=True, eq=False)
class Lane:
    """Everything one recipient waits for."""

    recipient: str
    handset: bool = False  #: known from the first outlet that was chosen
    flying: int = 0  #: attempts under way
    blocked_until: int = 0  #: handset: the lane's retry clock
    parked: bool = False  #: stands in an outlet's queue for room in its window
    waiting: list[tuple[int, int, int, Task]] = field(default_factory=list[tuple[int, int, int, Task]])
    groups: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def push(self, task: Task) -> None:
        """Let a task wait in its place."""
        message = task.message
        group = message.id
        if message.part_total > 1:
            group = self.groups.setdefault((message.sender, message.part_reference), message.id)
            group = min(group, message.id)
        heapq.heappush(self.waiting, (-message.priority_flag, group, message.id, task))

    def pop(self) -> Task:
        """Take the next task out."""
        task = heapq.heappop(self.waiting)[3]
        if not self.waiting:
            self.groups.clear()
        return task

    def take_all(self) -> list[Task]:
        """Take every waiting task out, in order."""
        tasks = [entry[3] for entry in sorted(self.waiting, key=lambda entry: entry[:3])]
        self.waiting.clear()
        self.groups.clear()
        return tasks

    def may_start(self, now: int) -> bool:
        """True if the next task may be tried now."""
        if not self.waiting or self.parked:
            return False
        return not self.handset or (self.flying == 0 and self.blocked_until <= now)

    @property
    def idle(self) -> bool:
        """True if the lane can be forgotten."""
        return not self.waiting and not self.flying and not self.parked
