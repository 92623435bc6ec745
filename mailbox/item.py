"""An item of a box: as it is stored, as it stands for a whole message, and as its owner sees it.

In charge of: reading rows of `mailbox_item`, joining the parts of one message, and what a list shows of something that
was not opened. Not in charge of: reading or changing rows (`box.py`, `endings.py`).

Theory of showing: the sender's receipt says "delivered" when the recipient opens an item, so a list must not give all
of it away. A list has a preview of what was not opened, shorter than the text, and the whole text of what was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..message import Message, MessageState
from . import content
from .folders import Folder

__all__ = ["Group", "Item", "Row", "group_rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `mailbox_item`; see there for the columns. Lists read it without envelope and body."""

    id: int
    subscriber: int
    leader: int
    folder: int
    home: int
    is_read: int
    starred: int
    state: int
    kind: str
    account: int
    sender: str
    recipient: str
    peer: str
    text: str
    alphabet: str
    coding: str
    size: int
    segments: int
    part_reference: int
    part_total: int
    part_number: int
    because: str
    received_at: int
    stored_at: int
    expires_at: int
    retrieved_at: int
    delivered_at: int
    binned_at: int
    created: int
    modseq: int
    envelope: str = ""
    body: bytes = b""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Row:
        """Read a row; columns that are not asked for keep their default, others are left out."""
        return cls(**{name: row[name] for name in _COLUMNS if name in row})

    @property
    def owed(self) -> bool:
        """Does the sender not know the end yet?"""
        return self.state == MessageState.ENROUTE

    def message(self) -> Message:
        """The message it was made of. Only for rows read with envelope and body."""
        return content.message_from(self.id, self.envelope, self.body)


_COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True, slots=True)
class Item:
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


@dataclass(frozen=True, slots=True)
class Group:
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
        return Folder(self.leader.home) is Folder.SENT

    def text(self) -> tuple[str, tuple[int, ...]]:
        """Its text with "…" for parts that are not there, and their numbers."""
        if not self.leader.part_total:
            return self.leader.text, ()
        return content.joined_text((row.message(), row.alphabet) for row in self.rows)

    def item(self, preview_chars: int, *, whole: bool = False) -> Item:
        """Show it: in full if `whole`, or if it was opened before."""
        leader = self.leader
        text, missing = self.text()
        opened = whole or bool(leader.retrieved_at) or self.outgoing
        return Item(
            id=leader.id,
            rev=leader.modseq,
            kind=leader.kind,
            outgoing=self.outgoing,
            peer=leader.peer,
            sender=leader.sender,
            recipient=leader.recipient,
            text=text if opened else None,
            preview=_preview(text, preview_chars),
            coding=leader.coding,
            folder=Folder(leader.folder),
            read=bool(leader.is_read),
            starred=bool(leader.starred),
            because=leader.because,
            state=self._state(),
            received_at=leader.received_at,
            stored_at=max(row.stored_at for row in self.rows),
            expires_at=min(row.expires_at for row in self.rows),
            retrieved_at=leader.retrieved_at,
            delivered_at=max(row.delivered_at for row in self.rows),
            binned_at=leader.binned_at,
            segments=sum(row.segments for row in self.rows),
            bytes=self.size,
            parts_total=leader.part_total,
            parts_missing=missing,
        )

    def _state(self) -> MessageState:
        """ENROUTE while anything is owed, else the leader's."""
        return MessageState.ENROUTE if self.owed else MessageState(self.leader.state)


def _preview(text: str, most: int) -> str:
    """The beginning, never more than half, so that it cannot stand for reading."""
    length = min(most, len(text) // 2)
    return text[:length] + "…" if length else ""


def group_rows(leaders: Sequence[Row], parts: Iterable[Row]) -> list[Group]:
    """Put the rows of messages that came in parts (their leaders among them) behind the leaders, in their order."""
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
