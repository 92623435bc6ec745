"""Folders of a box, and which moves there are.

In charge of: the folders, what counts as unread and total, and where an item may go. Not in charge of: doing it
(`box.py`).

The vocabulary is OMA NMS's (folders, flags); the bin is behaviour.md 1's and the issue's: 30 days.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Folder", "IllegalMove", "after_move", "counts"]


class Folder(IntEnum):
    """Stored as a number; REST says the name in lower case."""

    INBOX = 0
    SENT = 1
    SAVED = 2
    TRASH = 3  #: the bin: 30 days, then gone

    @property
    def word(self) -> str:
        """As REST spells it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Folder:
        """The folder of that name. Raises ValueError."""
        try:
            return cls[word.upper()]
        except KeyError:
            raise ValueError(f"no folder {word!r}; there are {', '.join(f.word for f in cls)}") from None


class IllegalMove(Exception):
    """An item cannot go there."""


#: from -> where its owner may move an item. What was received is never sent, and the other way round.
MOVES = {
    Folder.INBOX: frozenset({Folder.SAVED, Folder.TRASH}),
    Folder.SENT: frozenset({Folder.SAVED, Folder.TRASH}),
    Folder.SAVED: frozenset({Folder.INBOX, Folder.SENT, Folder.TRASH}),
    Folder.TRASH: frozenset({Folder.INBOX, Folder.SENT, Folder.SAVED}),
}


def after_move(now: Folder, to: Folder, *, outgoing: bool) -> Folder:
    """The folder after a move. Raises IllegalMove."""
    if to is now:
        return now
    if to not in MOVES[now] or to is (Folder.INBOX if outgoing else Folder.SENT):
        raise IllegalMove(f"an item cannot move from {now.word} to {to.word}")
    return to


def counts(folder: Folder, is_read: bool) -> tuple[int, int]:
    """What an item adds to the counters (unread, total): nothing in the bin."""
    if folder is Folder.TRASH:
        return 0, 0
    return (0 if is_read else 1), 1
