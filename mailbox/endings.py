"""The end of messages that lie in a box: exactly one, whoever brings it about.

In charge of: concluding items: the conditional update, the one FINAL event and the receipt, in one change; and the
sweep that ends what nobody opened in time. Not in charge of: why (`box.py`, `retention.py`), what a receipt says
(`smsc/receipts.py`), concluding by redelivery on the handset (`smsc/delivery.py`, with `redelivered_writes`).

Theory. A deposit leaves the message ENROUTE (behaviour.md 1). From there:

    opened by its recipient ─────────> DELIVERED      within the validity period
    redelivered to the handset ──────> DELIVERED
    validity period over ────────────> EXPIRED        the copy stays
    removed by its recipient unread ─> DELETED
    removed by retention unread ─────> EXPIRED
    subscriber closed ───────────────> UNDELIVERABLE

They compete by `UPDATE … WHERE state = ENROUTE`, which touches the row for the first of them only; for the others the
whole change is undone and answered CONFLICT. A queue row that waits for redelivery goes in the same transaction, so
that an attempt under way finds itself fenced. It goes first: delivery too touches the queue before the box, so that
the two wait for each other in a line and never in a circle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..message import Event, Message, MessageState
from ..outlet import Write
from ..smsc.causes import ReceiptError
from ..store.store import Answer, Store
from . import statements as sql
from .edits import count
from .item import Row

__all__ = ["Conclusion", "Ending", "Endings", "redelivered_writes"]

_SWEEP_ROWS = 200  #: concluded side by side; they share commits
_ROUTE = "mailbox"

_ERRORS = {
    MessageState.DELIVERED: ReceiptError.NONE,
    MessageState.EXPIRED: ReceiptError.EXPIRED,
    MessageState.DELETED: ReceiptError.NONE,
    MessageState.UNDELIVERABLE: ReceiptError.PERMANENT,
}


class Ending(Protocol):
    """`smsc.receipts.Receipts.ending`."""

    def __call__(
        self,
        message: Message,
        state: MessageState,
        *,
        at: int,
        reason: str = "",
        error: int = 0,
        route: str = "",
    ) -> tuple[tuple[Event, ...], tuple[Message, ...]]:
        """The FINAL event, and the receipts that were asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What belongs into the change that ends some messages."""

    events: tuple[Event, ...] = ()
    receipts: tuple[Message, ...] = ()
    first: tuple[
        Write, ...
    ] = ()  #: before anything of the box is touched, in the order in which delivery locks
    last: tuple[Write, ...] = ()


class Endings:
    """Concludes items."""

    def __init__(self, store: Store, ending: Ending, admit: Callable[[Message], None]) -> None:
        """`admit` gives a stored receipt to delivery."""
        self._store = store
        self._ending = ending
        self._admit = admit

    def conclude(
        self, rows: Sequence[Row], state: MessageState, *, at: int, reason: str = "", removed: bool = False
    ) -> Conclusion:
        """End the messages of full rows of one box; the change must touch their leader too, as it was read.

        `removed`: the same change removes the rows, which then decides who was first.
        """
        events: list[Event] = []
        receipts: list[Message] = []
        first: list[Write] = []
        last: list[Write] = []
        for row in rows:
            final, wanted = self._ending(
                row.message(), state, at=at, reason=reason, error=_ERRORS[state], route=_ROUTE
            )
            events += final
            receipts += wanted
            params: dict[str, object] = {
                "subscriber": row.subscriber,
                "item": row.id,
                "to_state": int(state),
                "to_delivered_at": at if state is MessageState.DELIVERED else 0,
            }
            first.append(Write(sql.UNQUEUE, {"item": row.id}))
            if not removed:
                last.append(Write(sql.CONCLUDE, params, expect=1))
        return Conclusion(tuple(events), tuple(receipts), tuple(first), tuple(last))

    async def commit(
        self, writes: Sequence[Write], conclusion: Conclusion | None = None, events: Sequence[Event] = ()
    ) -> Answer:
        """Store a change of a box: `writes` begin with its count. Receipts are admitted when they are on disk."""
        ended = conclusion or Conclusion()
        answer = await self._store.apply(
            messages=ended.receipts,
            events=(*events, *ended.events),
            writes=(*ended.first, *writes, *ended.last),
        )
        if answer is Answer.STORED:
            for receipt in ended.receipts:
                self._admit(receipt)
        return answer

    async def end(self, row: Row, state: MessageState, reason: str) -> bool:
        """End one message by itself; False if somebody else was first or the store could not."""
        at = self._store.clock.now_ms()
        touch = Write(sql.TOUCH_LEADER, {"subscriber": row.subscriber, "item": row.leader}, expect=1)
        answer = await self.commit(
            [count(row.subscriber), touch], self.conclude([row], state, at=at, reason=reason)
        )
        return answer is Answer.STORED

    async def expire(self, limit: int = _SWEEP_ROWS) -> int:
        """Tell the senders of what nobody opened in time; how many. Call again at once while it is `limit`."""
        now = self._store.clock.now_ms()
        rows = [Row.of(row) for row in await self._store.fetch(sql.OVERDUE, now=now, limit=limit)]
        ended = await asyncio.gather(*(self.end(row, MessageState.EXPIRED, "expired") for row in rows))
        return sum(ended)

    async def seal(self, subscriber: int) -> int:
        """End everything in the box of a subscriber who was closed; how many messages."""
        after = ended = 0
        while True:
            found = await self._store.fetch(sql.OWED, subscriber=subscriber, after=after, limit=_SWEEP_ROWS)
            rows = [Row.of(row) for row in found]
            if not rows:
                return ended
            after = rows[-1].id
            done = await asyncio.gather(
                *(self.end(row, MessageState.UNDELIVERABLE, "number-closed") for row in rows)
            )
            ended += sum(done)


def redelivered_writes(message: Message, at: int) -> tuple[Write, ...]:
    """For delivery: what becomes true in the box when the handset took its copy. Conflicts if it ended already."""
    item = {"item": message.id}
    return (
        Write(sql.REDELIVERED_COUNT, item, expect=1),
        Write(sql.REDELIVERED, {"item": message.id, "at": at}, expect=1),
        Write(sql.REDELIVERED_READ, item, expect=1),
        Write(sql.REDELIVERED_LEADER, item, expect=1),
    )
