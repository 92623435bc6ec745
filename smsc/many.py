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
    _answers: dict[int, Accepted | Refused] = field(default_factory=dict[int, "Accepted | Refused"])
    _changes: list[Change] = field(default_factory=list[Change])
    _closed: bool = False

    def answered(self, index: int, answer: Accepted | Refused) -> None:
        """The intake has spoken about one destination: refused it before it was stored, or what the store said."""
        self._answers[index] = answer
        if len(self._answers) == self.size:
            self.done([self._answers[at] for at in range(self.size)])
        else:
            self._close_if_decided()

    def keep(self, change: Change) -> None:
        """One destination is accepted, if the store agrees."""
        self._changes.append(change)
        self._close_if_decided()

    def _close_if_decided(self) -> None:
        if self._closed or not self._changes or len(self._answers) + len(self._changes) < self.size:
            return
        self._closed = True
        changes = self._changes
        self.put(
            Change(
                done=partial(_tell, changes),
                messages=tuple(message for change in changes for message in change.messages),
                reasons=tuple(reason for change in changes for reason in change.reasons),
                due_at=tuple(due_at for change in changes for due_at in change.due_at),
                events=tuple(event for change in changes for event in change.events),
            )
        )


def _tell(changes: list[Change], answer: Answer) -> None:
    for change in changes:
        change.done(answer)
