"""Telling a handset that its owner's box has something new.

In charge of: what happens when a recipient is seen again (behaviour.md 1: notice, redeliver or nothing), and how often
a notice may come. Not in charge of: noticing that it was seen (`smsc/recipients.py`), sending (`smsc/submission.py`).

Theory. A notice is due when something came after the last one and enough time passed; both stand in the box's row and
are decided by one conditional update, so that several nodes that see the handset send one notice. It is written before
it is sent: a crash in between costs a notice, and never makes two. Being delivered, a notice shows the handset again,
which then finds nothing new.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from ..access.subscribers import Subscribers
from ..message import Kind
from ..outlet import Write
from ..store.store import Answer, Store
from . import statements as sql
from .model import BoxError
from .redelivery import Redelivery
from .settings import MailboxSettings, OnReachable

__all__ = ["MAX_SEEN", "Notices", "Send"]

_log = structlog.get_logger(__name__)

MAX_SEEN = 100_000  #: numbers waiting to be looked at; more are forgotten until they are seen again


class Send(Protocol):
    """`smsc.submission.Submission.send_system`."""

    async def __call__(self, kind: Kind, recipient: str, text: str) -> int:
        """Send a message of the center's own; its id."""
        ...


class Notices:
    """Looks at the boxes of recipients who were seen again, one after the other."""

    def __init__(
        self,
        store: Store,
        subscribers: Subscribers,
        redelivery: Redelivery,
        settings: MailboxSettings,
        send: Send,
    ) -> None:
        self._store = store
        self._subscribers = subscribers
        self._redelivery = redelivery
        self._settings = settings
        self._send = send
        self._seen: dict[str, None] = {}
        self._worker: asyncio.Task[None] | None = None

    def seen(self, number: str) -> None:
        """A recipient, in normal form, was seen. Returns at once."""
        if self._settings.on_reachable is OnReachable.NOTHING or len(self._seen) >= MAX_SEEN:
            return
        self._seen[number] = None
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="mailbox notices")

    async def close(self) -> None:
        """Forget who was seen."""
        self._seen.clear()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._seen:
                number = next(iter(self._seen))
                del self._seen[number]
                try:
                    await self.look(number)
                except Exception as error:  # one number's trouble is not the next one's
                    _log.warning("no look at a box", number=number, error=repr(error))
        finally:
            self._worker = None

    async def look(self, number: str) -> int:
        """Do what is due for a number that was seen: how many messages were sent to it."""
        subscriber = await self._subscribers.find(number)
        if subscriber is None or not subscriber.active:
            return 0
        if self._settings.on_reachable is OnReachable.REDELIVER:
            try:
                return await self._redelivery.everything(subscriber.number, number)
            except BoxError as error:
                _log.info("nothing redelivered", number=number, reason=error.reason)
                return 0
        if self._settings.on_reachable is OnReachable.NOTHING:
            return 0
        return await self._notice(subscriber.number, number)

    async def _notice(self, subscriber: int, number: str) -> int:
        boxes = await self._store.fetch(sql.BOX, subscriber=subscriber)
        if not boxes:
            return 0
        now = self._store.clock.now_ms()
        box = boxes[0]
        latest = now - self._settings.notice_interval_s * 1000
        due = box["notify"] and box["unread"] and box["deposited_at"]
        if not due or box["notified_at"] > latest:
            return 0
        params: dict[str, object] = {"subscriber": subscriber, "latest": latest, "at": now}
        if await self._store.apply(writes=(Write(sql.NOTIFIED, params, expect=1),)) is not Answer.STORED:
            return 0
        await self._send(Kind.NOTICE, number, self.text(box["unread"], box["language"]))
        return 1

    def text(self, count: int, language: str = "") -> str:
        """What a notice says."""
        texts = self._settings.notices
        chosen = texts.get(language) or texts.get(self._settings.language) or next(iter(texts.values()))
        return chosen.one if count == 1 else chosen.many.replace("{count}", str(count))
