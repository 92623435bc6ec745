"""From changes to rows: what a batch becomes before a driver sees it.

In charge of: the statements of the hot path, the rows for each of them, and where a batch must be cut so that running
it statement by statement gives what running it change by change would give. Not in charge of: running it
(`sqlite.py`, `postgresql.py`) or collecting it (`writer.py`).

Order. All inserts of a batch come first, then requeues, then releases, then events, then the extra writes of each
change in turn. That differs from change by change only when two changes of a batch touch the same queue row, so a
batch is cut before the second of them. Everything that a statement must touch is counted; when a count is wrong the
engine undoes the batch and runs it again change by change.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, update
from sqlalchemy import column as sql_column
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import func
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import BigInteger, SmallInteger, Text, TypeEngine

from ..message import Message
from ..outlet import Write
from .statement import Sql
from .store import Change, QueueReason
from .tables import SLOT_SHIFT, body, event, message, queue

__all__ = [
    "DELETE_QUEUE",
    "DELETE_QUEUE_ALL",
    "INSERT_BODY",
    "INSERT_EVENT",
    "INSERT_MESSAGE",
    "INSERT_QUEUE",
    "UPDATE_QUEUE",
    "UPDATE_QUEUE_ALL",
    "Plan",
    "Planner",
]

INSERT_MESSAGE = Sql("store: accept a message", insert(message))
INSERT_BODY = Sql("store: keep its text", insert(body))
INSERT_QUEUE = Sql("store: let it wait for its outcome", insert(queue))
INSERT_EVENT = Sql("store: record what happened", insert(event))
UPDATE_QUEUE = Sql(
    "store: wait again, if it is still ours",
    update(queue)
    .where(queue.c.id == bindparam("row_id"), queue.c.owner == bindparam("row_owner"))
    .values(
        due_at=bindparam("due_at"),
        attempts=bindparam("attempts"),
        reason=bindparam("reason"),
        owner=bindparam("owner"),
    ),
)
DELETE_QUEUE = Sql(
    "store: leave the queue, if it is still ours",
    delete(queue).where(queue.c.id == bindparam("row_id"), queue.c.owner == bindparam("row_owner")),
)


def _rows(**columns: type[TypeEngine[Any]]) -> TableValuedAlias:
    """A table made of one array parameter a column (PostgreSQL)."""
    arrays = [bindparam(name + "_list", type_=ARRAY(kind)) for name, kind in columns.items()]
    names = [sql_column(name, kind) for name, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*names, name="given").render_derived()


_left = _rows(id=BigInteger, owner=BigInteger)
DELETE_QUEUE_ALL = Sql(
    "store: leave the queue, many rows at once (PostgreSQL)",
    delete(queue).where(queue.c.id == _left.c.id, queue.c.owner == _left.c.owner),
)
_back = _rows(
    due_at=BigInteger, attempts=SmallInteger, owner=BigInteger, reason=Text, id=BigInteger, was=BigInteger
)
UPDATE_QUEUE_ALL = Sql(
    "store: wait again, many rows at once (PostgreSQL)",
    update(queue)
    .where(queue.c.id == _back.c.id, queue.c.owner == _back.c.was)
    .values(due_at=_back.c.due_at, attempts=_back.c.attempts, reason=_back.c.reason, owner=_back.c.owner),
)

_AFTER_ADDRESSES = attrgetter(
    "service_type", "esm_class", "protocol_id", "priority_flag", "registered_delivery", "data_coding",
    "sm_default_msg_id", "tlvs", "submitted_at", "schedule_at", "expires_at", "parent", "reference",
    "part_reference", "part_total", "part_number", "segments",
)  # fmt: skip

#: Parked until released or over: nobody looks at the row before it expires, unless a due time is given.
_PARKED: Final = frozenset({QueueReason.HELD, QueueReason.QUARANTINED})
_SEQUENCE_MASK = 0x7FFFFFFF

Row = tuple[object, ...]


class Plan:
    """The rows of `changes`, grouped by statement."""

    __slots__ = (
        "bodies",
        "changes",
        "events",
        "mark",
        "messages",
        "queue",
        "releases",
        "requeues",
        "size",
        "writes",
    )

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.messages: list[Row] = []
        self.bodies: list[Row] = []
        self.queue: list[Row] = []
        self.requeues: list[Row] = []
        self.releases: list[tuple[int, int]] = []
        self.events: list[Row] = []
        self.writes: list[Write] = []
        self.size = 0  # octets of text
        self.mark = 0  # number by which it is recognised, if it inserts no row of its own

    @property
    def recognisable(self) -> bool:
        """True if it inserts a row by which its commit can be found again."""
        return bool(self.messages or self.events)


class Planner:
    """Makes plans for one node's life. Used by one thread at a time."""

    __slots__ = ("_batch_bytes", "_node", "_sequence")

    def __init__(self, batch_bytes: int) -> None:
        self._batch_bytes = batch_bytes
        self._node = 0
        self._sequence = 0

    def begin(self, node_number: int) -> None:
        """Say which node writes."""
        self._node = node_number

    def plan(self, changes: Sequence[Change], start: int = 0) -> Plan:
        """Plan as many of `changes[start:]` as may run statement by statement; at least one."""
        plan = Plan()
        touched: set[int] = set()
        planned = plan.changes
        for at in range(start, len(changes)):
            change = changes[at]
            moved = change.release or change.requeue
            if moved is not None:
                if moved.id in touched or plan.size > self._batch_bytes:
                    return plan
                touched.add(moved.id)
                self._move(plan, change)
            elif plan.size > self._batch_bytes:
                return plan
            if change.messages:
                self._insert(plan, change)
            if change.events:
                self._record(plan, change)
            if change.writes:
                plan.writes.extend(change.writes)
            planned.append(change)
        return plan

    def _insert(self, plan: Plan, change: Change) -> None:
        reasons, dues = change.reasons, change.due_at
        for index, m in enumerate(change.messages):
            plan.messages.append(
                (m.id, int(m.kind), m.account, m.ingress, m.sender, m.recipient)
                + m.source
                + m.destination
                + _AFTER_ADDRESSES(m)
                + (m.id >> SLOT_SHIFT,)
            )
            plan.bodies.append((m.id, 0, m.body))
            plan.size += len(m.body) + len(m.tlvs)
            if reasons:
                reason = reasons[index]
                if not reason:
                    continue
            else:
                reason = QueueReason.SCHEDULED if m.schedule_at > m.submitted_at else QueueReason.NEW
            due = dues[index] if dues else _first_due(m, reason)
            plan.queue.append((m.id, m.recipient, due, m.expires_at, 0, m.owner, m.priority_flag, reason))

    def _move(self, plan: Plan, change: Change) -> None:
        release, requeue = change.release, change.requeue
        if release is not None:
            plan.releases.append((release.id, release.owner))
        if requeue is not None:
            owner = requeue.owner if requeue.keep else requeue.heir
            plan.requeues.append(
                (requeue.due_at, requeue.attempts, owner, requeue.reason, requeue.id, requeue.owner)
            )

    def _record(self, plan: Plan, change: Change) -> None:
        for e in change.events:
            self._sequence = sequence = (self._sequence + 1) & _SEQUENCE_MASK
            plan.events.append(
                (
                    e.message, e.at, str(e.kind), int(e.state), str(e.reason), e.attempt, e.account,
                    e.segments, e.route, e.node or self._node, e.detail, sequence,
                )
            )  # fmt: skip


def _first_due(m: Message, reason: str) -> int:
    if reason in _PARKED:
        return m.expires_at
    return m.schedule_at or m.submitted_at
