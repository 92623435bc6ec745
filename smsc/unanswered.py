"""Messages that are on disk and whose door has not written its answer yet.

In charge of: keeping the messages of one request back from delivery until its answer has left, so that nobody is told
what became of a message before being told its id (behaviour.md 6). Not in charge of: doors that answer with the commit
itself (`submission.py`).

How it fails: a door that never says so leaves its messages to the pump, which finds rows that nobody works on.
"""

from __future__ import annotations

from collections.abc import Callable

from ..message import Message

__all__ = ["Unanswered"]


class Unanswered:
    """The messages of one request."""

    def __init__(self, admit: Callable[[Message, str], None]) -> None:
        """`admit` lets delivery have one, with its QueueReason."""
        self._admit = admit
        self._kept: list[tuple[Message, str]] = []
        self._answered = False

    def keep(self, message: Message, reason: str) -> None:
        """A message was stored."""
        if self._answered:  # the answer was given up before
            self._admit(message, reason)
        else:
            self._kept.append((message, reason))

    def answered(self) -> None:
        """The answer has left, or will not come."""
        self._answered = True
        kept, self._kept = self._kept, []
        for message, reason in kept:
            self._admit(message, reason)
