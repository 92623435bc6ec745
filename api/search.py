"""The words of a search box.

In charge of: reading `from:+4477… is:unread lunch` into filters and free text. Not in charge of: searching.
A word that is no filter, or a filter with a value that cannot be, is taken as text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from .times import ms_of

__all__ = ["Words", "words_of"]


@dataclass(frozen=True, slots=True)
class Words:
    """What was typed. Times are UTC epoch milliseconds; 0: not said."""

    sender: str = ""
    recipient: str = ""
    kind: str = ""
    state: str = ""
    account: str = ""
    id: str = ""
    unread: bool = False
    starred: bool = False
    after: int = 0
    before: int = 0
    text: str = ""


_NONE = Words()

_TEXT_FILTERS = {
    "from": "sender",
    "to": "recipient",
    "state": "state",
    "account": "account",
    "esme": "account",
    "id": "id",
}
_FLAGS = {"unread": "unread", "starred": "starred"}


def words_of(text: str) -> Words:
    """Read a search."""
    words = _NONE
    if not text:
        return words
    free: list[str] = []
    for word in text.split():
        found = _filter(words, word)
        if found is None:
            free.append(word)
        else:
            words = found
    return replace(words, text=" ".join(free))


def _filter(words: Words, word: str) -> Words | None:
    name, colon, value = word.partition(":")
    if not colon or not value:
        return None
    if name in _TEXT_FILTERS:
        return replace(words, **{_TEXT_FILTERS[name]: value})
    if name == "is" and value in _FLAGS:
        return replace(words, **{_FLAGS[value]: True})
    if name == "kind" and value in ("sms", "mms"):
        return replace(words, kind=value)
    if name in ("after", "before"):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        if not 1970 <= when.year < 2200:
            return None
        return replace(words, after=ms_of(when)) if name == "after" else replace(words, before=ms_of(when))
    return None
