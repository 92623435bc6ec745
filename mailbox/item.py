"""An item of a box: as it is stored, as it stands for a whole message, and as its owner sees it.

In charge of: reading rows of `mailbox_item`, joining the parts of one message, and what a list shows of something that
was not opened. Not in charge of: reading or changing rows (`box.py`, `endings.py`).

Theory of showing: the sender's receipt says "delivered" when the recipient opens an item, so a list must not give all
of it away. A list has a preview of what was not opened, shorter than the text, and the whole text of what was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, cast

from ..message import Message, MessageState
from . import content
from .folders import Folder

__all__ = ["LISTED", "PART_TOTAL", "Group", "Item", "Row", "group_rows"]


class Row(NamedTuple):
    """A row of `mailbox_item`; see there for the columns. Lists read only the first of them."""

    id: int
    folder: int
    home: int
    is_read: int
    starred: int
    state: int
    kind: str
    sender: str
    recipient: str
    peer: str
    text: str
    coding: str
    size: int
    segments: int
    part_total: int
    because: str
    received_at: int
    stored_at: int
    expires_at: int
    retrieved_at: int
    delivered_at: int
    binned_at: int
    created: int
    modseq: int
    # Not read for lists, which are of leaders only.
    leader: int = 0
    subscriber: int = 0
    account: int = 0
    alphabet: str = ""
    part_reference: int = 0
    part_number: int = 0
    envelope: str = ""
    body: bytes = b""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Row:
        """Read a row of all columns, or of those for lists; other columns are left out."""
        if "body" in row:
            return cls._make(_ALL(row))
        return cls._make((*_LISTED(row), row["id"], row.get("subscriber", 0), *_NOT_LISTED))

    @classmethod
    def listed(cls, values: Sequence[Any], subscriber: int) -> Row:
        """Read the values of `LISTED`, of a leader."""
        return cls._make((*values, values[0], subscriber, *_NOT_LISTED))

    @property
    def owed(self) -> bool:
        """Does the sender not know the end yet?"""
        return self.state == MessageState.ENROUTE

    def message(self) -> Message:
        """The message it was made of. Only for rows read with envelope and body."""
        return content.message_from(self.id, self.envelope, self.body)


#: Columns that lists read, how many, and which of them says that a message came in parts.
LISTED = Row._fields[: Row._fields.index("leader")]
_SHOWN = len(LISTED)
PART_TOTAL = LISTED.index("part_total")

_NOT_LISTED = (0, "", 0, 0, "", b"")  # account to body
_ALL = cast("Callable[[Mapping[str, Any]], tuple[Any, ...]]", itemgetter(*Row._fields))
_LISTED = cast("Callable[[Mapping[str, Any]], tuple[Any, ...]]", itemgetter(*LISTED))

#: By number; looking up costs less than asking the enumerations.
_FOLDERS = tuple(Folder)
_STATES = tuple(MessageState)
_SENT = int(Folder.SENT)


class Item(NamedTuple):
    """What its owner, or an operator, is shown. Times are UTC epoch milliseconds; 0 means never."""

    id: int  #: names it in every request; the message's id for a received one
    rev: int  #: grows with each change
    kind: str  #: content.ItemKind: "sms", "mms"
    outgoing: bool  #: a copy of something its owner sent
    peer: str  #: the other side, in normal form; also names the conversation
    sender: str  #: normal form
    recipient: str  #: normal form: the number it was sent to
    text: str | None  #: None: not opened yet, see `preview`
    preview: str  #: the beginning of the text
    coding: str  #: codings.Coding
    folder: Folder
    read: bool
    starred: bool
    because: str  #: why it is here: an error class, "divert", "mailbox" …
    state: MessageState  #: of the message: ENROUTE until opened, redelivered or expired; of parts, the least final
    received_at: int  #: by the center
    stored_at: int
    expires_at: int  #: end of the sender's validity period
    retrieved_at: int
    delivered_at: int
    binned_at: int
    segments: int
    bytes: int  #: octets counted against the quota
    parts_total: int  #: 0: came in one
    parts_missing: tuple[int, ...]  #: numbers of parts that did not come, yet

    @property
    def opened(self) -> bool:
        """Was it read in full?"""
        return self.text is not None

    @classmethod
    def alone(cls, values: Sequence[Any], preview_chars: int, *, whole: bool = False) -> Item:
        """A message that came in one, by its values of `LISTED`: in full if `whole`, or if it was opened before.

        By position, because a page is 50 of them, and naming the values costs more than finding them.
        """
        (
            id, folder, home, is_read, starred, state, kind, sender, recipient, peer, text, coding, size, segments,
            part_total, because, received_at, stored_at, expires_at, retrieved_at, delivered_at, binned_at, _, modseq,
        ) = values  # fmt: skip
        outgoing = home == _SENT
        shown = text if whole or retrieved_at or outgoing else None
        return cls(
            id, modseq, kind, outgoing, peer, sender, recipient, shown, _preview(text, preview_chars), coding,
            _FOLDERS[folder], is_read == 1, starred == 1, because, _STATES[state], received_at, stored_at, expires_at,
            retrieved_at, delivered_at, binned_at, segments, size, part_total, (),
        )  # fmt: skip


class Group(NamedTuple):
    """A whole message: its leader and the parts behind it, all of one box."""

    leader: Row
    rows: tuple[Row, ...]  #: the leader first, then by id

    @property
    def size(self) -> int:
        """Octets of all its rows."""
        return sum(row.size for row in self.rows)

    @property
    def owed(self) -> tuple[Row, ...]:
        """Rows whose sender does not know the end yet."""
        return tuple(row for row in self.rows if row.owed)

    @property
    def outgoing(self) -> bool:
        """Is it a copy of something its owner sent?"""
        return self.leader.home == Folder.SENT

    def text(self) -> tuple[str, tuple[int, ...]]:
        """Its text with "…" for parts that are not there, and their numbers."""
        if not self.leader.part_total:
            return self.leader.text, ()
        return content.joined_text((row.message(), row.alphabet) for row in self.rows)

    def item(self, preview_chars: int, *, whole: bool = False) -> Item:
        """Show it: in full if `whole`, or if it was opened before."""
        leader, rows = self
        alone = Item.alone(leader[:_SHOWN], preview_chars, whole=whole)
        if not leader.part_total:
            return alone
        text, missing = self.text()
        return alone._replace(
            text=text if whole or alone.opened else None,
            preview=_preview(text, preview_chars),
            state=MessageState.ENROUTE if self.owed else alone.state,
            stored_at=max(row.stored_at for row in rows),
            expires_at=min(row.expires_at for row in rows),
            delivered_at=max(row.delivered_at for row in rows),
            segments=sum(row.segments for row in rows),
            bytes=self.size,
            parts_missing=missing,
        )


def _preview(text: str, most: int) -> str:
    """The beginning, never more than half, so that it cannot stand for reading."""
    length = min(most, len(text) // 2)
    return text[:length] + "…" if length else ""


def group_rows(leaders: Sequence[Row], parts: Sequence[Row]) -> list[Group]:
    """Put the rows of messages that came in parts (their leaders among them) behind the leaders, in their order."""
    if not parts:
        return [Group(row, (row,)) for row in leaders]
    behind: dict[int, list[Row]] = {row.id: [] for row in leaders}
    full = {row.id: row for row in leaders}
    for part in parts:
        if part.leader not in behind:
            continue
        if part.id == part.leader:
            full[part.id] = part
        else:
            behind[part.leader].append(part)
    return [
        Group(full[row.id], (full[row.id], *sorted(behind[row.id], key=lambda part: part.id)))
        for row in leaders
    ]
