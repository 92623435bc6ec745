"""What became of a message, in one word for people.

In charge of: the words. Not in charge of: states (`message.py`) or deriving them (`store/history.py`).
"""

from __future__ import annotations

from ..message import MessageState
from ..store.history import MessageView

__all__ = ["GROUPS", "group_of"]

GROUPS = {
    MessageState.DELIVERED: "delivered",
    MessageState.EXPIRED: "expired",
    MessageState.DELETED: "deleted",
    MessageState.REJECTED: "rejected",
    MessageState.UNDELIVERABLE: "failed",
    MessageState.SKIPPED: "failed",
}


def group_of(view: MessageView) -> str:
    """pending, stored (in the mailbox, and nothing else under way), delivered, failed, rejected, expired, deleted."""
    if view.final_at:
        return GROUPS[view.state]
    return "stored" if view.in_mailbox and not view.queued else "pending"
