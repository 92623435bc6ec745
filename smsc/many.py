"""One text for many destinations under one public id.

In charge of: collecting what the intake decides about each destination of a submit_multi, the one change that stores
all that were accepted, and the one answer. Not in charge of: those decisions (`submission.py`), PDUs (`connection.py`).

Theory. Each destination passes the intake by itself, and its change is kept back here. When the last one is decided,
what was accepted becomes one change: all of it is on disk, or none of it. The public id names them all and is no
message itself. Sources: SMPP 3.4 §4.5; behaviour.md 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..outlet import Write
from ..store.store import Answer, Change
from .answers import Accepted, Refused

__all__ = ["Many"]


@dataclass(eq=False)
class Many:
    """One submit_multi on its way to its answer."""

    id: int  #: the public id
    size: int  #: destinations
    put: Callable[[Change], None]
    done: Callable[
        [list[Accepted | Refused]], None
    ]  #: called once, with an answer for each destination in order
    writes: Callable[[], tuple[Write, ...]] = tuple  #: of the whole; asked when all is decided
    _answers: dict[int, Accepted | Refused] = field(default_factory=dict[int, "Accepted | Refused"])
    _changes: list[tuple[Change, Change | None]] = field(default_factory=list[tuple[Change, "Change | None"]])
    _closed: bool = False

    def answered(self, index: int, answer: Accepted | Refused) -> None:
        """The intake has spoken about one destination: refused it before it was stored, or what the store said."""
        self._answers[index] = answer
        if len(self._answers) == self.size:
            self.done([self._answers[at] for at in range(self.size)])
        else:
            self._close_if_decided()

    def keep(self, change: Change, instead: Change | None = None) -> None:
        """One destination is accepted, if the store agrees; `instead` is put if it does not because of a conflict."""
        self._changes.append((change, instead))
        self._close_if_decided()

    def _close_if_decided(self) -> None:
        if self._closed or not self._changes or len(self._answers) + len(self._changes) < self.size:
            return
        self._closed = True
        self._put([change for change, _ in self._changes], self._stored)

    def _put(self, changes: list[Change], done: Callable[[list[Change], Answer], None]) -> None:
        self.put(
            Change(
                done=partial(done, changes),
                messages=tuple(message for change in changes for message in change.messages),
                reasons=tuple(reason for change in changes for reason in change.reasons),
                due_at=tuple(due_at for change in changes for due_at in change.due_at),
                events=tuple(event for change in changes for event in change.events),
                writes=(*self.writes(), *(write for change in changes for write in change.writes)),
            )
        )

    def _stored(self, changes: list[Change], answer: Answer) -> None:
        """The store has spoken: a conflict may be about something that is given up for the second time."""
        if answer is Answer.CONFLICT and any(instead is not None for _, instead in self._changes):
            for change, instead in self._changes:
                if instead is not None:
                    change.done(answer)
            self._put([instead or change for change, instead in self._changes], _tell)
        else:
            _tell(changes, answer)


def _tell(changes: list[Change], answer: Answer) -> None:
    for change in changes:
        change.done(answer)
