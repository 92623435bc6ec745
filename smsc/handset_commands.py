"""What a handset may ask about a message it sent: SMS-COMMAND.

In charge of: finding the message meant, and what becomes of it: an enquiry is answered by a status report, a message
that waits is deleted, a status report is asked for or not any more. Not in charge of: reading commands
(`signaling/tpdu.py`), who sent them (`handset_intake.py`), how what waits is changed (`recall.py`).

A message is meant by its recipient and TP-MR, among those of the handset that asks: the newest of the last week. A
command passes the checks of a message from the same handset to the same recipient, because whoever may not send in
somebody's name must not delete in it either. It is acknowledged when its effect is on disk. What is over, under
delivery or in a mailbox cannot be changed any more. With TP-SRR set the handset is also told by a status report what
became of the message. Whoever asks for something else learns that it cannot be done, which §9.2.3.19 allows.

Source: 3GPP TS 23.040 §9.2.2.4, §9.2.3.18 (TP-MN), §9.2.3.19 (TP-CT), §9.2.3.26 (TP-SRQ).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..access.accounts import Account
from ..check import Action, Stage
from ..message import Address, Ingress, Message, MessageState
from ..signaling.causes import DeliveryFailure, FailureCause, RpCause
from ..signaling.tpdu import CT_CANCEL_STATUS_REPORT, CT_DELETE, CT_ENABLE_STATUS_REPORT, CT_ENQUIRY, Command
from ..store.history import Filters, History, MessageView
from ..store.store import Answer, Store
from .answers import Refused
from .handset_intake import ACKNOWLEDGED, BUSY, REJECTED, Reply
from .limits import Throttles
from .recall import NOT_CANCELLED, NOT_REPLACED, Recall
from .receipts import Receipts
from .screening import Finding, Screening
from .smpp.command_status import CommandStatus

__all__ = ["HandsetCommands"]

SEARCHED_MS = 7 * 24 * 3600 * 1000
SEARCHED_MESSAGES = 512  #: to one recipient; TP-MR begins anew after 256

_KNOWN = frozenset({CT_ENQUIRY, CT_DELETE, CT_CANCEL_STATUS_REPORT, CT_ENABLE_STATUS_REPORT})
#: Verdicts with which a message would not have gone on by itself.
_REFUSING = frozenset({Action.REJECT, Action.DROP, Action.QUARANTINE, Action.THROTTLE})

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
        self,
        store: Store,
        history: History,
        receipts: Receipts,
        recall: Recall,
        screening: Screening,
        throttles: Throttles,
        admit: Callable[[Message], None],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`admit`: works on a message that is on disk."""
        self._store = store
        self._history = history
        self._receipts = receipts
        self._recall = recall
        self._screening = screening
        self._throttles = throttles
        self._admit = admit
        self._monotonic_ns = monotonic_ns

    async def obey(
        self, command: Command, number: Address, sender: str, recipient: str, account: Account, by: Ingress
    ) -> Reply:
        """Carry a command out. `sender` and `recipient` in normal form. OSError if the database does not answer."""
        if command.ct not in _KNOWN:
            return _UNSUPPORTED
        if not sender or not recipient:
            return _NOT_THERE
        if self._throttles.of(account).take(self._monotonic_ns()):
            return BUSY
        now = self._store.clock.now_ms()
        said = Message(
            number, command.da, sender=sender, recipient=recipient, account=account.number,
            ingress=by.encoded, submitted_at=now,
        )  # fmt: skip
        refusal = await self._judge(said, by)
        if refusal is not None:
            return refusal
        view = await self._find(sender, recipient, command.mn, account)
        if view is None:
            return _NOT_THERE
        state = view.state
        if command.ct != CT_ENQUIRY:
            refused = await self._change(command.ct, view.message.id, account, by)
            if refused is not None:
                return _NOT_THERE if refused in (NOT_CANCELLED, NOT_REPLACED) else _NOT_STORED
            state = MessageState.DELETED if command.ct == CT_DELETE else state
        if command.ct == CT_ENQUIRY or command.srr:
            return await self._report(view.message, state, command.mr)
        return ACKNOWLEDGED

    async def _change(self, what: int, id: int, account: Account, by: Ingress) -> Refused | None:
        if what == CT_DELETE:
            return await self._recall.cancel(account, id, by)
        return await self._recall.want_receipt(account, id, what == CT_ENABLE_STATUS_REPORT, by)

    async def _report(self, message: Message, state: MessageState, reference: int) -> Reply:
        """Tell the handset by a status report."""
        told = self._receipts.inquiry(message, state, at=self._store.clock.now_ms(), reference=reference)
        if await self._store.apply(messages=[told]) is not Answer.STORED:
            return _NOT_STORED
        self._admit(told)
        return ACKNOWLEDGED

    async def _judge(self, said: Message, by: Ingress) -> Reply | None:
        """Ask the checks about a message that would say the same; nothing of it is kept but their evidence."""
        asked: asyncio.Future[Finding] = asyncio.get_running_loop().create_future()

        def heard(finding: Finding) -> None:
            if not asked.done():  # we may be closing
                asked.set_result(finding)

        self._screening.examine(said, by, Stage.SUBMIT, heard)
        finding = await asked
        verdict = finding.verdict
        reply = None
        if verdict.action in _REFUSING and not verdict.veiled:
            reply = BUSY if verdict.action is Action.THROTTLE else REJECTED
        status = (verdict.status or CommandStatus.ESME_RSUBMITFAIL) if reply is not None else 0
        for one in finding.evidence:
            if one.answered is not None:
                one.answered(said, status)
        return reply

    async def _find(
        self, sender: str, recipient: str, reference: int, account: Account
    ) -> MessageView | None:
        since = self._store.clock.now_ms() - SEARCHED_MS
        filters = Filters(account=account.number, sender=sender, recipient=recipient, since=since)
        for view in await self._history.search(filters, limit=SEARCHED_MESSAGES):
            if view.message.reference == reference:
                return view
        return None
