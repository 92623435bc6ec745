"""The words in which a box is asked and answers.

In charge of: filters, pages, summaries, choices, and why a box refuses. Not in charge of: items (`item.py`), doing
anything (`box.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..store.store import Answer
from .folders import Folder
from .item import Item

__all__ = [
    "BatchAction",
    "BatchResult",
    "BoxClosed",
    "BoxError",
    "BoxUnavailable",
    "Choices",
    "Conversation",
    "ItemNotFound",
    "Page",
    "StaleItem",
    "Summary",
    "Wanted",
]


class BoxError(Exception):
    """Why a box did not do it; `reason` is a stable slug."""

    reason = "mailbox-error"


class BoxClosed(BoxError):
    """The subscriber is unknown, suspended or closed."""

    reason = "mailbox-closed"


class ItemNotFound(BoxError):
    """There is no such item in this box."""

    reason = "item-not-found"


class StaleItem(BoxError):
    """The item or the choices changed since the version that the edit names."""

    reason = "stale-version"

    def __init__(self, current: int) -> None:
        super().__init__(f"the current version is {current}")
        self.current = current


class BoxUnavailable(BoxError):
    """The store could not take the change now."""

    reason = "mailbox-unavailable"

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"the store answered {answer.value}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Summary:
    """What a client asks for most often."""

    subscriber: int
    unread: int  #: outside the bin
    total: int  #: outside the bin
    bytes: int  #: the bin included
    quota_bytes: int
    quota_messages: int
    state: int  #: of the change feed
    oldest_expires_at: int  #: when the oldest item of the inbox is removed for its age; 0: it is empty


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of a list. Times are UTC epoch milliseconds of arrival at the center."""

    folder: Folder | None = None  #: None: all but the bin
    unread: bool = False  #: only unread ones
    starred: bool = False  #: only starred ones
    kind: str = ""  #: "sms", "mms"
    sender: str = ""  #: normal form
    peer: str = ""  #: one conversation
    since: int = 0  #: not before
    until: int = 0  #: before; 0: no bound
    text: str = ""  #: occurs in text, sender or recipient, whatever the case


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, newest first."""

    items: tuple[Item, ...]
    after: int  #: give it as `before` for the next page; 0: no more
    state: int  #: of the change feed, not newer than the items


@dataclass(frozen=True, slots=True)
class Conversation:
    """A correspondent, with the newest item."""

    peer: str
    total: int
    unread: int
    newest: Item


@dataclass(frozen=True, slots=True)
class Choices:
    """What a subscriber may set."""

    retention_days: int = 0  #: 0: as the center does; may only be shorter
    notify: bool = True  #: notices to the handset
    auto_read: bool = True  #: opening marks read
    language: str = ""  #: of notices; empty: the center's
    version: int = 0  #: for If-Match; 0: nothing was set yet


class BatchAction(StrEnum):
    """What a batch does with each item."""

    READ = "read"
    UNREAD = "unread"
    STAR = "star"
    UNSTAR = "unstar"
    MOVE = "move"
    DELETE = "delete"  #: to the bin; from the bin for good
    REDELIVER = "redeliver"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one item of a batch."""

    id: int
    problem: str = ""  #: slug; empty: done
