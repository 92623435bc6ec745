"""What delivery writes into the trace of a message.

In charge of: the event rows of attempts, deposits and acknowledged receipts, and the detail of an ending. Not in charge
of: when they are written (`outcomes.py`, `recording.py`), evidence of checks (`screening.py`), the FINAL event itself
(`receipts.py`).
"""

from __future__ import annotations

import json
from functools import lru_cache

from ..message import Event, EventKind, Message, MessageState
from ..outlet import Outcome, Result
from .lanes import Task
from .receipts import reported_state

__all__ = ["acknowledged_events", "attempt_event", "final_detail", "stored_event"]


def attempt_event(task: Task, outcome: Outcome, *, at: int, node: int, due_at: int = 0) -> Event:
    """An attempt failed. `due_at`: of the next one; 0: none follows."""
    facts: dict[str, object] = {"error": str(outcome.error)} if outcome.error else {}
    facts |= outcome.detail
    if outcome.status:
        facts["command_status"] = outcome.status
    if outcome.remote_id:
        facts["remote_id"] = outcome.remote_id
    if due_at:
        facts["due_at"] = due_at
    if task.tried:
        facts["tried"] = list(task.tried)
    message = task.message
    return Event(
        message.id,
        at,
        EventKind.ATTEMPT,
        reason=outcome.reason or str(outcome.error or ""),
        attempt=task.attempts,
        account=message.account,
        segments=message.segments,
        route=task.lead.outlet.name if task.lead is not None else "",
        node=node,
        detail=json.dumps(facts, separators=(",", ":"), default=str),
    )


def stored_event(task: Task, reason: str, mailbox: str, *, at: int, node: int) -> Event:
    """The mailbox has it; `reason`: why it went there."""
    message = task.message
    return Event(
        message.id, at, EventKind.STORED, reason=reason, attempt=task.attempts, account=message.account,
        segments=message.segments, route=mailbox, node=node,
    )  # fmt: skip


def acknowledged_events(receipt: Message, *, at: int, node: int) -> tuple[Event, ...]:
    """The submitter took a final receipt: an event of the message that it is about."""
    state = reported_state(receipt)
    if not receipt.parent or state is MessageState.UNKNOWN:
        return ()
    return (Event(receipt.parent, at, EventKind.RECEIPT, state, account=receipt.account, node=node),)


def final_detail(task: Task, outcome: Outcome | None) -> str:
    """JSON: by which rule it ended where it did, and what the peer said."""
    if not task.tried and (outcome is None or not (outcome.remote_id or outcome.status or outcome.detail)):
        return _rule_detail(task.lead.rule) if task.lead is not None else ""
    facts: dict[str, object] = {}
    if task.lead is not None:
        facts["rule"] = task.lead.rule
    if task.tried:
        facts["tried"] = list(task.tried)
    if outcome is not None:
        if outcome.remote_id:
            facts["remote_id"] = outcome.remote_id
        if outcome.status:
            facts["command_status"] = outcome.status
        if outcome.result is Result.DELIVERED:
            facts |= outcome.detail
    return json.dumps(facts, separators=(",", ":")) if facts else ""


@lru_cache(maxsize=1024)  # the common ending says only by which rule it went
def _rule_detail(rule: str) -> str:
    return json.dumps({"rule": rule}, separators=(",", ":"))
