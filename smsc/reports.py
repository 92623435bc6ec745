"""What another center reports about a message that was handed on to it.

In charge of: the change that follows from such a report: the end of the message with its receipt, or an attempt that
failed and goes its usual way. Not in charge of: reading reports and finding whose they are (`link_receipts.py`), what
follows from a failed attempt (`delivery.py`).

Theory. A forwarded row belongs to nobody. A report takes it in one conditional write, so that of two reports, or of a
report and the clock, one wins and the other is answered CONFLICT. An end is one transaction with the FINAL event, the
receipt and the reporter's own writes. A failure first makes the row ours, as one that waits for its next try: if this
life ends before the failure is recorded, the message is tried once more, which loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import bindparam, delete, update

from ..message import Event, EventKind, Message, MessageState
from ..outlet import ErrorClass, Outcome, Result, Write
from ..store import tables
from ..store.statement import Sql
from ..store.store import Answer, Change, QueueReason, Store, StoreClosed
from .causes import receipt_error
from .delivery import Delivery
from .receipts import Receipts
from .recipients import Recipients
from .routing import Lead

__all__ = ["Report", "Reports"]

_row = tables.queue.c
_forwarded = (_row.id == bindparam("row_id"), _row.owner == 0, _row.reason == QueueReason.FORWARDED)

_END = Sql("reports: end a forwarded message", delete(tables.queue).where(*_forwarded))
_TAKE = Sql(
    "reports: take a forwarded message back for its next try",
    update(tables.queue)
    .where(*_forwarded)
    .values(owner=bindparam("epoch"), reason=QueueReason.RETRY, due_at=bindparam("due_at")),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was said about one message, and what its bearer wants written with it."""

    message: Message
    lead: Lead  #: through which it was forwarded
    attempt: int  #: number of that attempt
    state: MessageState  #: as reported
    reason: str = ""  #: stable slug
    error: ErrorClass | None = (
        None  #: set: the attempt failed, and what follows is decided here; None: `state` is final
    )
    network_error: bytes = b""
    remote_id: str = ""
    tried: Collection[str] = ()  #: outlets that had the message before
    end: Write | None = (
        None  #: takes the message out of the queue, if more must hold than that it is forwarded
    )
    writes: tuple[Write, ...] = field(default=())


class Reports:
    """Turns reports into changes. Lives on the event loop."""

    def __init__(self, store: Store, receipts: Receipts, recipients: Recipients, delivery: Delivery) -> None:
        """Keep all four."""
        self._store = store
        self._receipts = receipts
        self._recipients = recipients
        self._delivery = delivery

    def settle(self, report: Report, done: Callable[[Answer], None]) -> None:
        """Record a report that says how it ended. `done` is called once it is on disk; CONFLICT: the message is not
        forwarded any more. Raises StoreClosed."""
        if report.error is None:
            self._end(report, done)
        else:
            self._take_back(report, report.error, done)

    def note(self, report: Report, done: Callable[[Answer], None]) -> None:
        """Record a report that is no end (ENROUTE, ACCEPTED) and tell who asked to be told. Raises StoreClosed."""
        message, now = report.message, self._store.clock.now_ms()
        facts = {"reported": report.state.name, "remote_id": report.remote_id}
        said = Event(
            message.id, now, EventKind.NOTE, reason="reported", attempt=report.attempt, account=message.account,
            segments=message.segments, route=report.lead.outlet.name, node=self._store.node,
            detail=json.dumps(facts, separators=(",", ":")),
        )  # fmt: skip
        notifications = self._receipts.notification(message, at=now)

        def stored(answer: Answer) -> None:
            if answer is Answer.STORED:
                for notification in notifications:
                    self._delivery.admit(notification)
            done(answer)

        self._store.put(Change(stored, messages=notifications, events=(said,), writes=report.writes))

    def _end(self, report: Report, done: Callable[[Answer], None]) -> None:
        message, outlet = report.message, report.lead.outlet
        facts = {"rule": report.lead.rule, "remote_id": report.remote_id, "reported": report.state.name}
        final, receipts = self._receipts.ending(
            message,
            report.state,
            at=self._store.clock.now_ms(),
            reason=report.reason,
            error=receipt_error(None, report.reason),
            attempt=report.attempt,
            route=outlet.name,
            network_error=report.network_error,
            detail=json.dumps({k: v for k, v in facts.items() if v}, separators=(",", ":")),
        )
        writes: tuple[Write, ...] = (
            *report.writes,
            report.end or Write(_END, {"row_id": message.id}, expect=1),
        )
        if report.state is MessageState.DELIVERED:
            writes += self._recipients.reached(message.recipient, retried=report.attempt > 1)

        def stored(answer: Answer) -> None:
            if answer is Answer.STORED:
                self._delivery.concluded(message.id, report.state, _failure(report), receipts)
            else:
                for receipt in receipts:
                    self._receipts.concluded(receipt)
            done(answer)

        change = Change(stored, messages=receipts, events=final, writes=writes)
        try:
            self._store.put(change)
        except StoreClosed:
            for receipt in receipts:
                self._receipts.concluded(receipt)
            raise

    def _take_back(self, report: Report, error: ErrorClass, done: Callable[[Answer], None]) -> None:
        epoch, now = self._store.epoch, self._store.clock.now_ms()
        taken = Write(_TAKE, {"row_id": report.message.id, "epoch": epoch, "due_at": now}, expect=1)
        change = Change(partial(self._taken, report, error, done), writes=(taken, *report.writes))
        self._store.put(change)

    def _taken(
        self, report: Report, error: ErrorClass, done: Callable[[Answer], None], answer: Answer
    ) -> None:
        done(answer)
        if answer is Answer.STORED:
            failure = _failure(report)
            assert failure is not None
            self._delivery.reported(
                report.message, failure, report.lead, attempts=report.attempt, tried=report.tried
            )


def _failure(report: Report) -> Outcome | None:
    """A report as the failed attempt that it is, or leads to; None for a delivery."""
    if report.state is MessageState.DELIVERED:
        return None
    return Outcome(
        Result.FAILED,
        report.error or ErrorClass.PERMANENT,
        report.reason or "reported-undelivered",
        network_error=report.network_error,
        remote_id=report.remote_id,
        detail={"reported": report.state.name},
    )
