"""What a handset may ask about a message it sent: SMS-COMMAND.

In charge of: finding the message meant, answering an enquiry by a status report, and refusing what this center does not
do for handsets. Not in charge of: reading commands (`signaling/tpdu.py`), or who sent them (`handset_intake.py`).

A message is meant by its recipient and TP-MR, among those of the handset that asks: the newest of the last week. An
enquiry is acknowledged when its answer is on disk; the answer goes the way of every status report. Whoever asks for
something else learns that it cannot be done, which §9.2.3.19 allows.

Source: 3GPP TS 23.040 §9.2.2.4, §9.2.3.18 (TP-MN), §9.2.3.19 (TP-CT), §9.2.3.26 (TP-SRQ).
"""

from __future__ import annotations

from collections.abc import Callable

from ..access.accounts import Account
from ..message import Message
from ..signaling.causes import DeliveryFailure, FailureCause, RpCause
from ..signaling.tpdu import CT_ENQUIRY, Command
from ..store.history import Filters, History, MessageView
from ..store.store import Answer, Store
from .handset_intake import ACKNOWLEDGED, Reply
from .receipts import Receipts

__all__ = ["HandsetCommands"]

SEARCHED_MS = 7 * 24 * 3600 * 1000
SEARCHED_MESSAGES = 512  #: to one recipient; TP-MR begins anew after 256

_UNSUPPORTED = Reply(
    RpCause.FACILITY_REJECTED,
    FailureCause.COMMAND_UNSUPPORTED,
    DeliveryFailure.USER_NOT_SC_USER,
    "unsupported",
)
_NOT_THERE = Reply(
    RpCause.FACILITY_REJECTED,
    FailureCause.COMMAND_CANNOT_BE_ACTIONED,
    DeliveryFailure.USER_NOT_SC_USER,
    "not-there",
)
_NOT_STORED = Reply(
    RpCause.TEMPORARY_FAILURE, FailureCause.SC_SYSTEM_FAILURE, DeliveryFailure.SC_CONGESTION, "failed"
)


class HandsetCommands:
    """Obeys commands of handsets."""

    def __init__(
        self, store: Store, history: History, receipts: Receipts, admit: Callable[[Message], None]
    ) -> None:
        """`admit`: works on a message that is on disk."""
        self._store = store
        self._history = history
        self._receipts = receipts
        self._admit = admit

    async def obey(self, command: Command, sender: str, recipient: str, account: Account) -> Reply:
        """Carry a command out. OSError if the database does not answer."""
        if command.ct != CT_ENQUIRY:
            return _UNSUPPORTED
        view = await self._find(sender, recipient, command.mn, account)
        if view is None:
            return _NOT_THERE
        now = self._store.clock.now_ms()
        told = self._receipts.inquiry(view.message, view.state, at=now, reference=command.mr)
        if await self._store.apply(messages=[told]) is not Answer.STORED:
            return _NOT_STORED
        self._admit(told)
        return ACKNOWLEDGED

    async def _find(
        self, sender: str, recipient: str, reference: int, account: Account
    ) -> MessageView | None:
        if not sender or not recipient:
            return None
        since = self._store.clock.now_ms() - SEARCHED_MS
        filters = Filters(account=account.number, sender=sender, recipient=recipient, since=since)
        for view in await self._history.search(filters, limit=SEARCHED_MESSAGES):
            if view.message.reference == reference:
                return view
        return None
