"""Sees that each outcome gets to disk.

In charge of: putting delivery's changes, hearing what became of them, and putting them again as long as the database
says no. Not in charge of: what stands in a change, or what follows when it is stored (`recording.py`).

What an answer means:
    STORED    on disk; whoever put it goes on
    FENCED    the queue row is another's by now, or gone: whoever put it forgets the message
    CONFLICT  a room's extra write met another state: whoever put it decides. If nobody does, a commit that was in doubt
              is on disk after all and its receipts exist: they get new ids, so that the change is found to be fenced.
              Writes that still conflict are dropped: that an attempt was made counts more
    FULL, FAILED, UNKNOWN  put again in a moment; nothing is sent again meanwhile
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

import structlog

from ..store.failpoints import Failpoint, nothing
from ..store.store import Answer, Change, Store, StoreClosed

__all__ = ["PUT_AGAIN_MS", "Settlement", "Settlements", "ignore"]

_log = structlog.get_logger(__name__)

PUT_AGAIN_MS = 1000  #: between two tries to record an outcome


class Settlement(ABC):
    """One change that is on its way to disk, and what follows. One of the three is called once, except after a halt."""

    __slots__ = ("change", "conflicts", "room")

    def __init__(self, room: Settlements, change: Change) -> None:
        self.room = room
        self.change = change
        self.conflicts = 0

    @abstractmethod
    def stored(self) -> None:
        """It is on disk."""

    @abstractmethod
    def lost(self) -> None:
        """The row is another's by now."""

    def conflicted(self) -> bool:
        """A room's write met another state: False if nobody decides what follows from that."""
        return False

    def __call__(self, answer: Answer) -> None:
        """Hear the store's answer."""
        # Otherwise the two would keep each other, and the message, until somebody looks for cycles.
        self.change.done = ignore
        if answer is Answer.STORED:
            self.room.settled()
            self.stored()
            self.room.failpoint("after-finish")
        else:
            self.room.refused(self, answer)


def ignore(answer: Answer) -> None:
    """Nobody waits for this answer, or nobody does yet: it is replaced when the change is put."""


class Settlements:
    """The outcomes of one node that are on their way to disk."""

    def __init__(self, store: Store, *, closed: Callable[[], None], failpoint: Failpoint = nothing) -> None:
        """`closed` is called when the store takes nothing any more."""
        self._store = store
        self._closed = closed
        self.failpoint = failpoint
        self._later: list[tuple[int, Callable[[], None]]] = []  # (when, what)
        self._under_way = 0

    @property
    def pending(self) -> int:
        """Outcomes that are not on disk yet."""
        return self._under_way + len(self._later)

    def put(self, settlement: Settlement) -> None:
        """Record a change."""
        settlement.change.done = settlement
        try:
            self._store.put(settlement.change)
        except StoreClosed:
            self._closed()
        else:
            self._under_way += 1

    def later(self, what: Callable[[], None]) -> None:
        """Do something in a moment, because the database cannot now."""
        self._later.append((self._store.clock.now_ms() + PUT_AGAIN_MS, what))

    def tick(self, now: int) -> None:
        """Put again what waited long enough."""
        if self._later:
            ready = [what for at, what in self._later if at <= now]
            self._later = [(at, what) for at, what in self._later if at > now]
            for what in ready:
                what()

    def forget(self) -> None:
        """Put nothing again: this node may not write any more."""
        self._later.clear()
        self._under_way = 0

    def settled(self) -> None:
        """One less is under way."""
        if self._under_way:
            self._under_way -= 1

    def refused(self, settlement: Settlement, answer: Answer) -> None:
        """The store did not take it."""
        self.settled()
        if answer is Answer.FENCED:
            settlement.lost()
        elif answer is Answer.CONFLICT:
            if not settlement.conflicted():
                self._conflict(settlement)
        else:
            _log.warning("outcome-not-stored", answer=answer.value)
            self.later(lambda: self.put(settlement))

    def _conflict(self, settlement: Settlement) -> None:
        """Nobody expected a conflict: make the change one that cannot have any."""
        change = settlement.change
        settlement.conflicts += 1
        try:
            change.messages = tuple(replace(m, id=self._store.next_id()) for m in change.messages)
        except StoreClosed:
            self.later(lambda: self._conflict(settlement))
            return
        if settlement.conflicts > 1:
            names = [write.statement.name for write in change.writes]
            _log.error("writes-dropped", writes=names, conflicts=settlement.conflicts)
            change.writes = ()
            self.later(lambda: self.put(settlement))
        else:
            self.put(settlement)
