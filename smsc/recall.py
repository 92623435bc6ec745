"""What a submitter may do to a message after it was accepted: cancel it, replace its text and times, or change its
mind about the receipt.

In charge of: who may (behaviour.md 7), which messages a request means, the one change of the store that each leads to,
and its answer. Not in charge of: PDUs and HTTP (`operations.py`, `api/`), taking hold of what waits (`waiting.py`).

A message is its submitter's as long as it waits for its delivery. Under delivery, in a mailbox, and after its end it
is not; another's message is like one that never was. A cancelled message ends DELETED, with the receipt that was asked
for. A replacement is a new version of the body; the message row is brought up to it, and the event says what was
before. Sources: SMPP 3.4 §4.9, §4.10.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    SmallInteger,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)

from ..access.accounts import Account
from ..message import Address, Event, EventKind, Ingress, Message, MessageState
from ..outlet import Write
from ..store import tables
from ..store.history import History, MessageView
from ..store.statement import Sql
from ..store.store import Answer, QueueReason, Store
from .answers import FAILED, MAX_BODY, REFUSAL_BY_ANSWER, TOO_LONG, Refused
from .causes import ReceiptError
from .delivery import Delivery
from .holding import PARKED
from .normaliser import Normalisers
from .parts import find_place
from .permits import default_source
from .receipts import Receipts
from .smpp.command_status import CommandStatus as Status
from .text import codings
from .validity import set_times
from .waiting import Held, Waiting, Wanted

__all__ = ["MOST_CANCELLED", "Recall", "Replacement"]

MOST_CANCELLED = 10_000  #: messages that one request by addresses ends; the peer may ask again
_RECEIPT_BITS, _RECEIPT_ALWAYS = 0x03, 0x01  # of registered_delivery (SMPP 3.4 §5.2.17)
_BATCH = 100  #: of them side by side, so that they share commits

NOT_CANCELLED = Refused(
    Status.ESME_RCANCELFAIL, "not-waiting", "message is unknown, over, in a mailbox, or under delivery"
)
NOT_REPLACED = Refused(
    Status.ESME_RREPLACEFAIL, "not-waiting", "message is unknown, over, in a mailbox, or under delivery"
)
_NOWHERE = Refused(Status.ESME_RINVDSTADR, "destination-missing", "without an id a destination must be named")
_NOT_A_PART = Refused(
    Status.ESME_RREPLACEFAIL, "other-part", "the new text is not the same part of its multipart message"
)

_b = tables.body.c
_NEW_TEXT = Sql(
    "recall: a new version of the text",
    insert(tables.body).from_select(
        ["message", "version", "payload"],
        select(
            bindparam("id", type_=BigInteger),
            func.coalesce(func.max(_b.version), 0) + literal(1, Integer),
            bindparam("payload", type_=LargeBinary),
        ).where(_b.message == bindparam("id", type_=BigInteger)),
    ),
)
_NEW_TIMES = Sql(
    "recall: the message as it is now",
    update(tables.message)
    .where(tables.message.c.id == bindparam("row_id", type_=BigInteger))
    .values(
        schedule_at=bindparam("to_schedule_at", type_=BigInteger),
        expires_at=bindparam("to_expires_at", type_=BigInteger),
        registered_delivery=bindparam("to_registered_delivery", type_=SmallInteger),
        sm_default_msg_id=bindparam("to_sm_default_msg_id", type_=SmallInteger),
        data_coding=bindparam("to_data_coding", type_=SmallInteger),
        segments=bindparam("to_segments", type_=SmallInteger),
    ),
)


#: What a replacement may change apart from the text.
_CHANGEABLE = (
    "schedule_at", "expires_at", "registered_delivery", "sm_default_msg_id", "data_coding", "segments",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replacement:
    """What replace_sm brings (SMPP 3.4 §4.10.1). Times are UTC epoch milliseconds; 0: as before."""

    body: bytes
    registered_delivery: int | None = None  #: None: as before
    sm_default_msg_id: int = 0
    schedule_at: int = 0
    expires_at: int = 0
    data_coding: int | None = None  #: None: as before; replace_sm cannot say it


class Recall:
    """Carries requests about waiting messages out. A method's answer is None, or why nothing was done."""

    def __init__(
        self, *, store: Store, history: History, delivery: Delivery, receipts: Receipts, waiting: Waiting
    ) -> None:
        """`receipts` makes the DELETED receipt."""
        self._store = store
        self._history = history
        self._delivery = delivery
        self._receipts = receipts
        self._waiting = waiting
        self._normalisers = Normalisers()

    async def find(
        self, account: Account, id: int, source: Address | None = None, destination: Address | None = None
    ) -> list[MessageView]:
        """The messages that an account knows by an id; several under the public id of a submit_multi.

        `source` and `destination` as they were submitted; None: any. Empty: not this account's, or nothing.
        """
        view = await self._history.message(id)
        found = [view] if view is not None else await self._history.children(id)
        return [
            view
            for view in found
            if view.message.account == account.number
            and not view.message.is_system
            and (source is None or _is_source(source, view.message, account))
            and (destination is None or destination == view.message.destination)
        ]

    # ------------------------------------------------------------------------------------------------ cancelling

    async def cancel(
        self,
        account: Account,
        id: int,
        by: Ingress,
        *,
        source: Address | None = None,
        destination: Address | None = None,
    ) -> Refused | None:
        """Cancel what waits under an id; with a destination, of a submit_multi only what goes there."""
        found = await self.find(account, id, source, destination)
        return await self._cancel_all([view.message.id for view in found if not view.final_at], by)

    async def cancel_matching(
        self, account: Account, source: Address, destination: Address, service_type: str, by: Ingress
    ) -> Refused | None:
        """Cancel everything that waits from one address to another, as they were submitted.

        `service_type`: "" means any (SMPP 3.4 §4.9.1).
        """
        if not destination.digits:
            return _NOWHERE
        if not source.digits:
            source = default_source(account) or source
        recipient = self._normalisers.of(account.number_rules).normal(destination)
        wanted = Wanted(account.number, recipient, source, destination, service_type or None)
        answer: Refused | None = NOT_CANCELLED
        after = cancelled = 0
        while cancelled < MOST_CANCELLED:
            ids = await self._waiting.find(wanted, after, _BATCH)
            if ids and await self._cancel_all(ids, by) is None:
                answer = None
            if len(ids) < _BATCH:
                break
            after, cancelled = ids[-1], cancelled + len(ids)
        return answer

    async def _cancel_all(self, ids: Sequence[int], by: Ingress) -> Refused | None:
        """None if one of them at least was cancelled."""
        if not ids:
            return NOT_CANCELLED
        answers = await asyncio.gather(*(self.cancel_row(id, by) for id in ids))
        return None if None in answers else answers[0]

    async def cancel_row(self, id: int, by: Ingress, writes: tuple[Write, ...] = ()) -> Refused | None:
        """Cancel one message for whoever may: its account or an operator. `writes` ride in the transaction."""
        held = await self._waiting.hold(id)
        if held is None:
            return NOT_CANCELLED
        answer: Answer | None = None
        receipts: tuple[Message, ...] = ()
        try:
            final, receipts = self.ending(held, "cancelled", by)
            answer = await self._store.apply(
                messages=receipts, events=final, writes=[held.take_out(), *writes]
            )
        finally:
            self._waiting.done(held, answer)
        if answer is not Answer.STORED:
            return NOT_CANCELLED if answer is Answer.CONFLICT else _refusal(answer)
        self._delivery.concluded(id, MessageState.DELETED, receipts=receipts)
        return None

    def ending(self, held: Held, reason: str, by: Ingress) -> tuple[tuple[Event, ...], tuple[Message, ...]]:
        """The DELETED end of a message that is held, and its receipt."""
        return self._receipts.ending(
            held.message,
            MessageState.DELETED,
            at=self._store.clock.now_ms(),
            reason=reason,
            error=ReceiptError.CANCELLED,
            attempt=held.attempts,
            detail=json.dumps({"by": by.name, "door": by.door}, separators=(",", ":")),
        )

    # ------------------------------------------------------------------------------------------------ replacing

    async def replace(
        self,
        account: Account,
        id: int,
        new: Replacement,
        by: Ingress,
        *,
        source: Address | None = None,
        writes: tuple[Write, ...] = (),
    ) -> Refused | None:
        """Give a message another text, and perhaps other times. Not for a submit_multi, whose id names many. `writes`
        ride in the transaction."""
        if len(new.body) > MAX_BODY:
            return TOO_LONG
        if not await self._is_one(account, id, source):
            return NOT_REPLACED
        return await self._edit(
            id,
            by,
            lambda message: self._changed(message, new, account),
            lambda message: [_new_text(message), _as_it_is(message), *writes],
            rescheduled=bool(new.schedule_at),
        )

    async def want_receipt(self, account: Account, id: int, wanted: bool, by: Ingress) -> Refused | None:
        """Have the end of a message told from now on, or not any more. Not for a submit_multi."""
        if not await self._is_one(account, id):
            return NOT_REPLACED
        return await self._edit(
            id, by, lambda message: _with_receipt(message, wanted), lambda message: [_as_it_is(message)]
        )

    async def _is_one(self, account: Account, id: int, source: Address | None = None) -> bool:
        """Whether an id names one message of an account that is not over."""
        found = await self.find(account, id, source)
        return len(found) == 1 and found[0].message.id == id and not found[0].final_at

    async def _edit(
        self,
        id: int,
        by: Ingress,
        edit: Callable[[Message], Message | Refused],
        writes: Callable[[Message], list[Write]],
        *,
        rescheduled: bool = False,
    ) -> Refused | None:
        """Change a message that waits; `edit` makes the message it is to be, `writes` what the store needs for it."""
        held = await self._waiting.hold(id)
        if held is None:
            return NOT_REPLACED
        answer: Answer | None = None
        changed: Message | None = None
        try:
            message = edit(held.message)
            if isinstance(message, Refused):
                return message
            place, stays = self._place(held, message, rescheduled=rescheduled)
            answer = await self._store.apply(
                events=[self._replaced(held, message, by)],
                writes=[place, *writes(message)],
            )
            changed = message if stays else None
        finally:
            self._waiting.done(held, answer, changed=changed)
        if answer is Answer.STORED:
            return None
        return NOT_REPLACED if answer is Answer.CONFLICT else _refusal(answer)

    def _changed(self, message: Message, new: Replacement, account: Account) -> Message | Refused:
        """The message as it is to be."""
        now = self._store.clock.now_ms()
        receipt = new.registered_delivery
        draft = replace(
            message,
            body=new.body,
            registered_delivery=message.registered_delivery if receipt is None else receipt,
            sm_default_msg_id=new.sm_default_msg_id,
            data_coding=message.data_coding if new.data_coding is None else new.data_coding,
            schedule_at=new.schedule_at or message.schedule_at,
            expires_at=new.expires_at or message.expires_at,
        )
        find_place(draft, codings.DefaultAlphabet(account.default_alphabet))
        if (draft.part_reference, draft.part_total, draft.part_number) != (
            message.part_reference, message.part_total, message.part_number,
        ):  # fmt: skip
            return _NOT_A_PART
        return set_times(draft, account, now) or draft

    def _place(self, held: Held, message: Message, *, rescheduled: bool) -> tuple[Write, bool]:
        """Where it waits now, and whether it stays with this node."""
        reason, due_at, owner = held.reason, min(held.due_at, message.expires_at), held.owner
        if reason in PARKED:
            due_at = message.expires_at if held.due_at == held.message.expires_at else due_at
        elif rescheduled and message.schedule_at:
            due_at, owner = message.schedule_at, 0
            if reason in (QueueReason.NEW, QueueReason.RETRY):  # these two may be tried early
                reason = QueueReason.SCHEDULED
        write = held.put_off(due_at=due_at, expires_at=message.expires_at, reason=reason, owner=owner)
        return write, owner != 0

    def _replaced(self, held: Held, message: Message, by: Ingress) -> Event:
        """What was before, apart from the text, which is kept as a version."""
        old = held.message
        before = {
            name: getattr(old, name) for name in _CHANGEABLE if getattr(old, name) != getattr(message, name)
        }
        return Event(
            message.id,
            self._store.clock.now_ms(),
            EventKind.REPLACED,
            attempt=held.attempts,
            account=message.account,
            segments=message.segments,
            node=self._store.node,
            detail=json.dumps({"by": by.name, "door": by.door, "before": before}, separators=(",", ":")),
        )


def _with_receipt(message: Message, wanted: bool) -> Message:
    bits = message.registered_delivery & ~_RECEIPT_BITS
    return replace(message, registered_delivery=bits | (_RECEIPT_ALWAYS if wanted else 0))


def _new_text(message: Message) -> Write:
    return Write(_NEW_TEXT, {"id": message.id, "payload": message.body}, expect=1)


def _as_it_is(message: Message) -> Write:
    row: dict[str, object] = {
        "row_id": message.id,
        "to_schedule_at": message.schedule_at,
        "to_expires_at": message.expires_at,
        "to_registered_delivery": message.registered_delivery,
        "to_sm_default_msg_id": message.sm_default_msg_id,
        "to_data_coding": message.data_coding,
        "to_segments": message.segments,
    }
    return Write(_NEW_TIMES, row, expect=1)


def _is_source(asked: Address, message: Message, account: Account) -> bool:
    """The source as it was submitted; who named none is known by the one that was put in."""
    return message.source == (asked if asked.digits else default_source(account) or asked)


def _refusal(answer: Answer | None) -> Refused:
    return FAILED if answer is None else REFUSAL_BY_ANSWER.get(answer, FAILED)
