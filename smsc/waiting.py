"""Messages that wait, taken out of anybody's hands for a moment.

In charge of: finding what waits for its delivery and taking hold of it, so that it can be ended or changed in one
change of the store. Not in charge of: who may do that and what it means (`recall.py`, `submission.py`), parked
messages in the hands of operators (`holding.py`).

Theory. A queue row belongs to nobody, to this node or to another one. Nobody's is touched by a conditional write that
holds only while the row is as it was read. A row of this node stands in a lane: it is lent, so that no attempt starts
meanwhile. A row of another node is that node's: it is asked to let go, and until it did the message counts as under
delivery. So an attempt and a cancellation never both succeed.

What lies in a mailbox or went to another center was handed over and does not wait any more, nor does a long message of
which a part arrived. A withheld message whose deposit was only asked for (behaviour.md 1) has the same events, and is
treated by them: nobody can tell the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Integer, SmallInteger, Text, bindparam, delete, exists, or_, select, update

from ..message import EventKind, Kind, Message
from ..outlet import Write
from ..store import tables
from ..store.statement import Query, Sql
from ..store.store import Answer, QueueReason, Store
from .delivery import Delivery
from .lanes import Loan
from .tables import sent_part

__all__ = ["Held", "Waiting", "Wanted"]

_q, _m, _e = tables.queue.c, tables.message.c, tables.event.c

#: A part of it arrived: half of one version and half of another would be read.
_begun = exists().where(sent_part.c.message == _q.id)
_deposited = exists().where(_e.message == _q.id, _e.kind == EventKind.STORED.value)

_ROW = Query(
    "waiting: one message",
    select(_q.owner, _q.reason, _q.attempts, _q.due_at, or_(_deposited, _begun).label("handed_over")).where(
        _q.id == bindparam("id", type_=BigInteger)
    ),
)

#: What a submitter knows of its messages to a recipient.
_as_submitted = (
    select(_q.id)
    .join(tables.message, _m.id == _q.id)
    .where(
        _q.recipient == bindparam("recipient"),
        _m.account == bindparam("account", type_=Integer),
        _m.kind == int(Kind.MESSAGE),
        _m.source_addr_ton == bindparam("source_ton", type_=SmallInteger),
        _m.source_addr_npi == bindparam("source_npi", type_=SmallInteger),
        _m.source_addr == bindparam("source"),
        _m.dest_addr_ton == bindparam("dest_ton", type_=SmallInteger),
        _m.dest_addr_npi == bindparam("dest_npi", type_=SmallInteger),
        _m.destination_addr == bindparam("destination"),
        or_(
            bindparam("any_service", type_=Integer) == 1,
            _m.service_type == bindparam("service_type", type_=Text),
        ),
    )
    .limit(bindparam("limit", type_=Integer))
)
_OF_RECIPIENT = Query(
    "waiting: messages of an account to a recipient",
    _as_submitted.where(_q.id > bindparam("after", type_=BigInteger)).order_by(_q.id),
)
_NEWEST = Query(
    "waiting: the newest whole messages of an account to a recipient",
    _as_submitted.where(_m.part_total == 0).order_by(_q.id.desc()),
)

#: The row is as it was read: nobody took it, tried it or put it off.
_as_read = (
    _q.id == bindparam("row_id", type_=BigInteger),
    _q.owner == bindparam("row_owner", type_=BigInteger),
    _q.attempts == bindparam("row_attempts", type_=SmallInteger),
    _q.due_at == bindparam("row_due_at", type_=BigInteger),
    _q.reason == bindparam("row_reason"),
)
_TAKE_OUT = Sql("waiting: out of the queue", delete(tables.queue).where(*_as_read))
_PUT_OFF = Sql(
    "waiting: other times, and perhaps nobody's",
    update(tables.queue)
    .where(*_as_read)
    .values(
        owner=bindparam("to_owner", type_=BigInteger),
        due_at=bindparam("to_due_at", type_=BigInteger),
        expires_at=bindparam("to_expires_at", type_=BigInteger),
        reason=bindparam("to_reason"),
    ),
)

#: These rows stand for what is in the hands of a mailbox or of another center.
_ELSEWHERE = (QueueReason.REDELIVERY, QueueReason.FORWARDED)

#: Waits between tries to take hold of a row that is just changing hands (seconds).
_PATIENCE_S = (0.0, 0.01, 0.05, 0.2)
#: The same for a row of another node, which must hear of it, write and be read again.
_PATIENCE_ELSEWHERE_S = (*_PATIENCE_S, 0.25, 0.5)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages: what a submitter knows of them, as it was submitted."""

    account: int
    recipient: str  #: normal form of the destination, which the index knows
    source: tuple[int, int, str]
    destination: tuple[int, int, str]
    service_type: str | None  #: None: any


@dataclass(frozen=True, slots=True)
class Held:
    """One message that nobody tries now. `Waiting.done` must follow."""

    message: Message
    reason: str  #: its QueueReason
    attempts: int
    owner: int
    due_at: int
    loan: Loan | None  #: it stands in a lane of this node

    def _row(self) -> dict[str, object]:
        return {
            "row_id": self.message.id,
            "row_owner": self.owner,
            "row_attempts": self.attempts,
            "row_due_at": self.due_at,
            "row_reason": self.reason,
        }

    def take_out(self) -> Write:
        """End its waiting; conflicts if it changed hands."""
        return Write(_TAKE_OUT, self._row(), expect=1)

    def put_off(self, *, due_at: int, expires_at: int, reason: str, owner: int) -> Write:
        """Let it wait for another time; conflicts if it changed hands."""
        to: dict[str, object] = {
            "to_due_at": due_at,
            "to_expires_at": expires_at,
            "to_reason": reason,
            "to_owner": owner,
        }
        return Write(_PUT_OFF, self._row() | to, expect=1)


class Waiting:
    """What waits, as seen from one node."""

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        ask_to_let_go: Callable[[int, int], None] = lambda epoch, id: None,
    ) -> None:
        """`ask_to_let_go(epoch, id)`: tell another node that somebody wants a row of its."""
        self._store = store
        self._delivery = delivery
        self._ask_to_let_go = ask_to_let_go

    async def find(self, wanted: Wanted, after: int, limit: int) -> list[int]:
        """Ids of messages that may wait, oldest first; more follow after the last one."""
        rows = await self._store.fetch(_OF_RECIPIENT, after=after, limit=limit, **_params(wanted))
        return [int(row["id"]) for row in rows]

    async def newest(self, wanted: Wanted, limit: int) -> list[int]:
        """Ids of messages that may wait and are no parts of longer ones, newest first."""
        rows = await self._store.fetch(_NEWEST, limit=limit, **_params(wanted))
        return [int(row["id"]) for row in rows]

    async def hold(self, id: int) -> Held | None:
        """Take hold of a message; None if it does not wait, or an attempt is under way. Raises OSError."""
        elsewhere = False
        for turn, pause in enumerate(_PATIENCE_ELSEWHERE_S):
            if turn >= len(_PATIENCE_S) and not elsewhere:
                return None
            if pause:
                await asyncio.sleep(pause)
            rows = await self._store.fetch(_ROW, id=id)
            if not rows or rows[0]["handed_over"] or rows[0]["reason"] in _ELSEWHERE:
                return None
            row, owner = rows[0], int(rows[0]["owner"])
            if owner == 0:
                loaded = await self._store.load([id])
                return self._held(row, loaded[0], None) if loaded else None
            if owner == self._store.epoch:
                loan = self._delivery.lend(id)
                if loan is not None:
                    return self._held(row, loan.task.message, loan)
            else:
                elsewhere = True
                self._ask_to_let_go(owner, id)
        return None

    def _held(self, row: Mapping[str, Any], message: Message, loan: Loan | None) -> Held:
        return Held(
            message, str(row["reason"]), int(row["attempts"]), int(row["owner"]), int(row["due_at"]), loan
        )

    def done(self, held: Held, answer: Answer | None, *, changed: Message | None = None) -> None:
        """What became of the change. `answer`: None if none was put; `changed`: it goes on waiting in its lane so.

        If the outcome is not known the message leaves memory: its row, if there is one, is found again later.
        """
        loan = held.loan
        if loan is None:
            return
        if (answer is Answer.STORED and changed is None) or answer is Answer.UNKNOWN:
            self._delivery.give_up(loan)
        else:
            self._delivery.take_back(loan, changed if answer is Answer.STORED else None)

    async def let_go(self, id: int) -> bool:
        """Another node wants a message of ours that waits: its row becomes nobody's; False if it is under way."""
        loan = self._delivery.lend(id)
        if loan is None:
            return False
        rows = await self._store.fetch(_ROW, id=id)
        if not rows or int(rows[0]["owner"]) != self._store.epoch:
            self._delivery.take_back(loan)
            return False
        held = self._held(rows[0], loan.task.message, loan)
        message = held.message
        write = held.put_off(
            due_at=max(held.due_at, self._store.clock.now_ms() + _LEFT_ALONE_MS),
            expires_at=message.expires_at,
            reason=held.reason,
            owner=0,
        )
        answer: Answer | None = None
        try:
            answer = await self._store.apply(writes=[write])
        finally:
            self.done(held, answer)
        return answer is Answer.STORED


def _params(wanted: Wanted) -> dict[str, object]:
    return {
        "account": wanted.account,
        "recipient": wanted.recipient,
        "source_ton": wanted.source[0],
        "source_npi": wanted.source[1],
        "source": wanted.source[2],
        "dest_ton": wanted.destination[0],
        "dest_npi": wanted.destination[1],
        "destination": wanted.destination[2],
        "any_service": int(wanted.service_type is None),
        "service_type": wanted.service_type or "",
    }


#: A row that was let go for another node is not claimed again at once.
_LEFT_ALONE_MS = 1000
