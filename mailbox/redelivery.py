"""Items of a box on their way to the handset, because their owner asks or because it was seen again.

In charge of: putting an item into the queue once more. Not in charge of: the attempt (`smsc/delivery.py`), what becomes
true in the box when it succeeds (`endings.redelivered_writes`).

Theory. While its sender waits for the end, an item goes out as the message it is: a queue row under its own id with the
reason "redelivery", one attempt, and whichever of handset and reader is first ends it. When the end is known, the
message is over and cannot be delivered a second time: what goes out then is a copy, a message of the center's own in
datagram mode (one attempt, no receipt, no mailbox) with the item's id as its parent. A copy is made from what the box
keeps, so that it does not matter whether history has forgotten the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..message import Event, EventKind, Message
from ..outlet import Write
from ..smsc.receipts import SYSTEM_INGRESS
from ..store.store import Answer, QueueReason, Store
from . import statements as sql
from .box import Box
from .endings import redelivered_writes
from .item import Group, Row
from .model import BoxError, BoxUnavailable, ItemNotFound, Wanted
from .settings import MailboxSettings

__all__ = ["NotForHandset", "Redelivery", "UnderWay"]

_DATAGRAM = 1  # esm_class bits 1-0 (SMPP 3.4 §5.2.12)
_MODE = 0x03
_COPY_VALIDITY_MS = 3_600_000


class UnderWay(BoxError):
    """It is on its way already."""

    reason = "redelivery-under-way"


class NotForHandset(BoxError):
    """What its owner sent cannot be delivered to its owner."""

    reason = "not-redeliverable"


class Redelivery:
    """Hands items to delivery. Implements `smsc.delivery.Redelivery`."""

    def __init__(
        self, store: Store, box: Box, settings: MailboxSettings, admit: Callable[[Message, str], None]
    ) -> None:
        """`admit` is `Delivery.admit`: a message whose queue row this node owns, and the row's reason."""
        self._store = store
        self._box = box
        self._settings = settings
        self._admit = admit

    def redelivered_writes(self, message: Message, at: int) -> tuple[Write, ...]:
        """What concludes the item when the handset took it; conflicts if it was read meanwhile."""
        return redelivered_writes(message, at)

    async def request(self, subscriber: int, id: int) -> None:
        """Its owner wants it on the handset. Raises BoxClosed, ItemNotFound, NotForHandset, UnderWay."""
        await self._box.check_open(subscriber)
        group = (await self._box.groups(subscriber, [id])).get(id)
        if group is None:
            raise ItemNotFound(str(id))
        await self._send(group, "requested")

    async def everything(self, subscriber: int, number: str) -> int:
        """The handset was seen: send what was never handed over to this number, oldest first; how many."""
        await self._box.check_open(subscriber)
        waiting: list[int] = []
        before = 0
        while True:
            page = await self._box.page(subscriber, Wanted(unread=True), before=before, limit=200)
            waiting += [item.id for item in page.items if not item.opened and item.recipient == number]
            if not page.after:
                break
            before = page.after
        sent = 0
        for id in sorted(waiting)[: self._settings.redeliver_at_most]:
            group = (await self._box.groups(subscriber, [id])).get(id)
            if group is None or not group.owed:
                continue
            try:
                await self._send(group, "seen-again")
            except UnderWay:
                continue
            sent += 1
        return sent

    async def _send(self, group: Group, reason: str) -> None:
        if group.outgoing:
            raise NotForHandset(str(group.leader.id))
        now = self._store.clock.now_ms()
        rows = [row for row in group.owed if row.expires_at > now]
        if rows:
            await self._again(rows, now, reason)
        else:
            await self._copies(group, now, reason)

    async def _again(self, rows: list[Row], now: int, reason: str) -> None:
        """The messages themselves, under their ids."""
        messages = [replace(row.message(), owner=self._store.epoch) for row in rows]
        writes = [
            Write(
                sql.REQUEUE,
                {
                    "id": message.id,
                    "recipient": message.recipient,
                    "due_at": now,
                    "expires_at": message.expires_at,
                    "attempts": 0,
                    "owner": self._store.epoch,
                    "priority": message.priority_flag,
                    "reason": QueueReason.REDELIVERY,
                },
                expect=1,
            )
            for message in messages
        ]
        answer = await self._store.apply(
            events=[self._event(row, now, reason) for row in rows], writes=writes
        )
        if answer is Answer.CONFLICT:
            raise UnderWay(str(rows[0].leader))
        if answer is not Answer.STORED:
            raise BoxUnavailable(answer)
        for message in messages:
            self._admit(message, QueueReason.REDELIVERY)

    async def _copies(self, group: Group, now: int, reason: str) -> None:
        """Copies under new ids of messages that are over."""
        copies = [self._copy(row, now) for row in group.rows]
        events = [self._event(row, now, reason) for row in group.rows]
        answer = await self._store.apply(messages=copies, events=events)
        if answer is not Answer.STORED:
            raise BoxUnavailable(answer)
        for copy in copies:
            self._admit(copy, QueueReason.NEW)

    def _copy(self, row: Row, now: int) -> Message:
        original = row.message()
        return replace(
            original,
            id=self._store.next_id(),
            parent=original.id,
            account=0,
            ingress=SYSTEM_INGRESS.encoded,
            esm_class=original.esm_class & ~_MODE | _DATAGRAM,
            registered_delivery=0,
            submitted_at=now,
            schedule_at=0,
            expires_at=now + _COPY_VALIDITY_MS,
            owner=self._store.epoch,
        )

    def _event(self, row: Row, now: int, reason: str) -> Event:
        return Event(
            row.id,
            now,
            EventKind.REDELIVERY,
            state=row.state,
            reason=reason,
            account=row.account,
            segments=row.segments,
            route="mailbox",
            node=self._store.node,
        )
