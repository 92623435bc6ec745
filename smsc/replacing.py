"""New messages that take the place of waiting ones (replace_if_present_flag).

In charge of: finding the message that a new one replaces, and the one change that ends it and stores the new one. Not
in charge of: replace_sm, which changes a message (`recall.py`), taking hold of what waits (`waiting.py`).

Theory. Replaced is the newest message of the same account that waits from the same source to the same destination with
the same service_type, as they were submitted. It ends DELETED under its own id, with the receipt that was asked for, in
the transaction that stores the new one: so there are never both and never none. If it changed hands meanwhile, somebody
else is looked for; what is under delivery is too late to replace. New messages for one place go one after the other, so
that of many in a row the last one remains. Parts of a multipart message neither replace nor are replaced.

Sources: SMPP 3.4 §5.2.18; behaviour.md 7.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from weakref import WeakValueDictionary

import structlog

from ..message import Event, Ingress, Message, MessageState
from ..store.store import Answer, Change, QueueReason, Store, StoreClosed
from .causes import ReceiptError
from .delivery import Delivery
from .receipts import Receipts
from .waiting import Held, Waiting, Wanted

__all__ = ["Replacing"]

_log = structlog.get_logger(__name__)

_LOOKS = 3  #: times that somebody is looked for, if the one who was found changed hands
_NEWEST = 3  #: messages looked at each time: who is under delivery is passed over

#: Keep a change until others are ready; the second one is put if the first one conflicts.
Keep = Callable[[Change, Change | None], None]


class Replacing:
    """For one node. Lives on the event loop."""

    def __init__(self, *, store: Store, delivery: Delivery, receipts: Receipts, waiting: Waiting) -> None:
        """`receipts` makes the DELETED receipt."""
        self._store = store
        self._delivery = delivery
        self._receipts = receipts
        self._waiting = waiting
        self._lines: WeakValueDictionary[Wanted, asyncio.Lock] = WeakValueDictionary()
        self._under_way: set[asyncio.Task[None]] = set()

    def put(self, change: Change, by: Ingress) -> None:
        """Put the change that stores a new message, with the end of the one that it replaces, if there is one."""
        self._begin(change, self._put_in_line(change, by))

    def join(self, change: Change, by: Ingress, keep: Keep) -> None:
        """The same for one destination of a submit_multi, whose changes are put together."""
        self._begin(change, self._keep(change, by, keep))

    def _begin(self, change: Change, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:  # a bug must not leave a peer without its answer
                _log.exception("replacement-failed", message=change.messages[0].id)
                change.done(Answer.FAILED)

        task = asyncio.get_running_loop().create_task(guarded(), name="replacement")
        self._under_way.add(task)  # as many as submits under way: windows bound them
        task.add_done_callback(self._under_way.discard)

    async def _put_in_line(self, change: Change, by: Ingress) -> None:
        wanted = _place_of(change.messages[0])
        line = self._lines.get(wanted)
        if line is None:
            line = self._lines[wanted] = asyncio.Lock()
        async with line:
            for _ in range(_LOOKS):
                held = await self._hold(wanted)
                whole = self._together(change, held, by) if held is not None else None
                if whole is None:
                    break
                if await self._put(whole) is not Answer.CONFLICT:
                    return
            await self._put(change)

    async def _keep(self, change: Change, by: Ingress, keep: Keep) -> None:
        held = await self._hold(_place_of(change.messages[0]))
        whole = self._together(change, held, by) if held is not None else None
        if whole is None:
            keep(change, None)
        else:
            keep(whole, change)

    async def _hold(self, wanted: Wanted) -> Held | None:
        """The newest one that waits, out of anybody's hands."""
        try:
            for id in await self._waiting.newest(wanted, _NEWEST):
                held = await self._waiting.hold(id)
                if held is not None:
                    return held
        except OSError:  # the store will say so itself
            return None
        return None

    def _together(self, change: Change, held: Held, by: Ingress) -> Change | None:
        """One change that ends the old one and stores the new one; a conflict only lets the old one go."""
        try:
            final, receipts = self._ending(held, change.messages[0], by)
        except StoreClosed:  # no id for the receipt now
            self._waiting.done(held, None)
            return None

        def done(answer: Answer) -> None:
            self._waiting.done(held, answer)
            if answer is not Answer.CONFLICT:
                change.done(answer)
            if answer is Answer.STORED:
                self._delivery.concluded(held.message.id, MessageState.DELETED, receipts=receipts)

        return Change(
            done,
            messages=change.messages + receipts,
            reasons=change.reasons + (QueueReason.NEW,) * len(receipts),
            due_at=change.due_at + tuple(receipt.submitted_at for receipt in receipts),
            events=change.events + final,
            writes=(held.take_out(), *change.writes),
        )

    def _ending(self, held: Held, new: Message, by: Ingress) -> tuple[tuple[Event, ...], tuple[Message, ...]]:
        detail = {"by": by.name, "door": by.door, "replaced_by": str(new.id)}
        return self._receipts.ending(
            held.message,
            MessageState.DELETED,
            at=self._store.clock.now_ms(),
            reason="replaced",
            error=ReceiptError.CANCELLED,
            attempt=held.attempts,
            detail=json.dumps(detail, separators=(",", ":")),
        )

    async def _put(self, change: Change) -> Answer:
        """Put a change and wait for its answer, after it was told."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            answered.set_result(answer)
            change.done(answer)

        try:
            self._store.put(replace(change, done=done))
        except StoreClosed:
            done(Answer.FAILED)
        return await answered


def _place_of(message: Message) -> Wanted:
    return Wanted(
        message.account, message.recipient, message.source, message.destination, message.service_type
    )
