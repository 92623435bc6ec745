"""Messages that a check parked, in the hands of an operator.

In charge of: letting a held or quarantined message go, or ending it, whatever node it is on; each time with author and
note in its trace. Not in charge of: parking it (`submission.py`, `attempts.py`), who may do this (`api/`), judging it
again (`screening.py`).

Theory. A parked row belongs to nobody. What an operator does is one conditional update on its queue reason: if the
row fell due meanwhile, was taken, ended or was released by a colleague, the whole change is undone and answered
CONFLICT. A released row has a reason of its own, so that after a crash too its checks resume behind the one that
parked it; the event tells which that is. Source: behaviour.md 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, select, update

from ..message import Event, EventKind, Message, MessageState
from ..outlet import Write
from ..store import tables
from ..store.statement import Query, Sql
from ..store.store import Answer, QueueReason, Store
from .causes import ReceiptError
from .receipts import Receipts

__all__ = ["PARKED", "Holding", "resumes_behind"]

#: Queue reasons of rows that wait for a check or a person.
PARKED = frozenset({QueueReason.HELD, QueueReason.QUARANTINED, QueueReason.PENDING_CHECK})

_row = tables.queue.c
_parked = (_row.id == bindparam("row_id"), _row.owner == 0, _row.reason.in_(sorted(PARKED)))

_RELEASE = Sql(
    "holding: let a parked message go",
    update(tables.queue).where(*_parked).values(reason=QueueReason.RELEASED, due_at=bindparam("due_at")),
)
_DISCARD = Sql("holding: end a parked message", delete(tables.queue).where(*_parked))

#: The newest event of one kind.
_LAST_EVENT = Query(
    "holding: by which check a message was parked",
    select(tables.event.c.detail)
    .where(tables.event.c.message == bindparam("id"), tables.event.c.kind == bindparam("kind"))
    .order_by(tables.event.c.at.desc(), tables.event.c.sequence.desc())
    .limit(1),
)


async def _last(store: Store, id: int, kind: EventKind) -> Mapping[str, object]:
    rows = await store.fetch(_LAST_EVENT, id=id, kind=kind.value)
    return json.loads(rows[0]["detail"] or "{}") if rows else {}


async def resumes_behind(store: Store, id: int) -> tuple[str, str]:
    """(stage, check) behind which the checks of a released message go on; empty if nobody knows."""
    facts = await _last(store, id, EventKind.RELEASED)
    return str(facts.get("stage", "")), str(facts.get("check", ""))


class Holding:
    """What operators do with parked messages."""

    def __init__(self, store: Store, receipts: Receipts) -> None:
        """`receipts` makes the receipt of a message that is ended here."""
        self._store = store
        self._receipts = receipts

    async def release(
        self, id: int, by: str, note: str = "", writes: Sequence[Write] = ()
    ) -> tuple[Answer, Message | None]:
        """Let a message go. `by`: the operator; `writes` (audit) ride along. CONFLICT: it is not parked (any more)."""
        found = await self._store.load([id])
        if not found:
            return Answer.CONFLICT, None
        message, now = found[0], self._store.clock.now_ms()
        parked = await _last(self._store, id, EventKind.HELD)
        facts = {"by": by, "note": note, "check": parked.get("check", ""), "stage": parked.get("stage", "")}
        due_at = max(now, message.schedule_at)
        answer = await self._store.apply(
            events=[self._event(message, EventKind.RELEASED, now, facts)],
            writes=[Write(_RELEASE, {"row_id": id, "due_at": due_at}, expect=1), *writes],
        )
        return answer, message

    async def discard(
        self, id: int, by: str, note: str = "", writes: Sequence[Write] = ()
    ) -> tuple[Answer, tuple[Message, ...]]:
        """End a parked message as REJECTED; the receipts that were asked for are stored and must be admitted."""
        found = await self._store.load([id])
        if not found:
            return Answer.CONFLICT, ()
        message, now = found[0], self._store.clock.now_ms()
        final, receipts = self._receipts.ending(
            message,
            MessageState.REJECTED,
            at=now,
            reason="discarded",
            error=ReceiptError.POLICY,
            detail=json.dumps({"by": by, "note": note}, separators=(",", ":")),
        )
        answer = await self._store.apply(
            messages=receipts,
            events=final,
            writes=[Write(_DISCARD, {"row_id": id}, expect=1), *writes],
        )
        return answer, receipts if answer is Answer.STORED else ()

    def _event(self, message: Message, kind: EventKind, at: int, facts: Mapping[str, object]) -> Event:
        return Event(
            message.id, at, kind, account=message.account, node=self._store.node,
            detail=json.dumps(facts, separators=(",", ":")),
        )  # fmt: skip
