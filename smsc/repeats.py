"""Messages of handsets that come a second time, because the first answer was lost on the way.

In charge of: recognising a repeated SMS-SUBMIT by who sent it, to whom, TP-MR and octets, for some minutes, also after
a restart and on another node; TP-RD. Not in charge of: answering it (`handset_intake.py`).

Theory. The mark of a message is written in the transaction that stores the message: so there is never one without the
other. The mark is one row by sender, recipient and TP-MR, and carries a digest of the TPDU. A row that lives, of the
same digest, undoes the transaction: the message is stored already. One of another digest is overwritten, because
handsets count TP-MR to 255 only and begin anew when they are switched on; unless TP-RD asks to refuse that. Memory
only saves the database the question when the repetition comes by the same link; what comes by another is judged anew.

Source: 3GPP TS 23.040 §9.2.3.6 (TP-MR), §9.2.3.25 (TP-RD).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from ..outlet import Write
from ..store.store import Store
from .mark_tables import MARK_SUBMIT, READ_MARK

__all__ = ["Mark", "Repeats"]

_RD_BIT = 0x04  #: of the first octet: set by handsets when they repeat by themselves


@dataclass(frozen=True, slots=True)
class Mark:
    """By what a message of a handset is known again."""

    account: int
    key: str
    digest: str
    reject_duplicates: bool  #: TP-RD
    link: str  #: by which it came

    @classmethod
    def of(cls, account: int, sender: str, recipient: str, mr: int, tpdu: bytes, link: str) -> Mark:
        """The mark of a submit; TP-RD is no part of it, because a repetition may set it."""
        bare = bytes((tpdu[0] & ~_RD_BIT,)) + tpdu[1:]
        digest = hashlib.sha256(bare).hexdigest()
        return cls(account, f"mo:{sender}:{recipient}:{mr}", digest, bool(tpdu[0] & _RD_BIT), link)


class Repeats:
    """The marks of one center."""

    def __init__(self, store: Store, *, keep_ms: int, entries: int = 20_000) -> None:
        """`keep_ms`: for how long a repetition is recognised. `entries`: marks kept in memory."""
        self._store = store
        self._keep_ms = keep_ms
        self._entries = entries
        self._stored: OrderedDict[tuple[int, str], tuple[Mark, int]] = OrderedDict()

    def is_known(self, mark: Mark) -> bool:
        """Whether memory knows that the same came by the same link and is stored."""
        found = self._stored.get((mark.account, mark.key))
        if found is None:
            return False
        stored, until = found
        same = (stored.digest, stored.link) == (mark.digest, mark.link)
        return same and until > self._store.clock.now_ms()

    def write(self, mark: Mark) -> Write:
        """For the transaction that stores the message: a conflict if it is stored already, or TP-RD forbids it."""
        now = self._store.clock.now_ms()
        row = {
            "account": mark.account,
            "key": mark.key,
            "digest": mark.digest,
            "answer": "{}",
            "expires_at": now + self._keep_ms,
            "now": now,
            "replaces": int(not mark.reject_duplicates),
        }
        return Write(MARK_SUBMIT, row, expect=1)

    def stored(self, mark: Mark) -> None:
        """The message is on disk."""
        self._stored[mark.account, mark.key] = (mark, self._store.clock.now_ms() + self._keep_ms)
        self._stored.move_to_end((mark.account, mark.key))
        if len(self._stored) > self._entries:
            self._stored.popitem(last=False)

    async def is_same(self, mark: Mark) -> bool:
        """After a conflict: whether the very same message is stored; if not, TP-RD forbade it."""
        rows = await self._store.fetch(READ_MARK, of_account=mark.account, of_key=mark.key)
        return bool(rows) and rows[0]["digest"] == mark.digest
