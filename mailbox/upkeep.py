"""What boxes need while nobody asks for anything.

In charge of: when the sweeps run: the end of validity periods, retention, and the end of what lies in sealed boxes. Not
in charge of: what they do (`endings.py`, `retention.py`).

Theory. Each sweep finds by itself what is due, so a process that dies loses none of it, and several nodes may sweep at
once. Only sealing is told by a hook; what a crash kept from being sealed is found at the next start, by the subscribers
that were closed lately, and whatever is older than that ends with its validity period.
"""

from __future__ import annotations

import asyncio

import structlog

from ..access.subscriber import Subscriber
from ..access.subscribers import Subscribers
from ..store.chores import Chores
from ..store.store import Store
from .endings import Endings
from .retention import Retention
from .settings import DAY_MS, MailboxSettings

__all__ = ["Upkeep"]

_log = structlog.get_logger(__name__)

_FULL_SWEEP = 200  #: rows of one look; while it finds so many, the next look follows at once


class Upkeep:
    """The mailbox's tasks of one process."""

    def __init__(
        self,
        store: Store,
        subscribers: Subscribers,
        settings: MailboxSettings,
        endings: Endings,
        retention: Retention,
    ) -> None:
        self._store = store
        self._subscribers = subscribers
        self._settings = settings
        self._endings = endings
        self._retention = retention
        self._sealed: asyncio.Queue[int] = asyncio.Queue()
        self._chores = Chores()
        subscribers.on_barred(self._barred)

    def start(self) -> None:
        """Begin."""
        self._chores.every(self._settings.expire_every_s, self._expire, "mailbox validity")
        self._chores.every(self._settings.retention_every_s, self._sweep, "mailbox retention")
        self._chores.begin(self._seal(), "mailbox seals")

    async def close(self) -> None:
        """Stop; whatever is due is found at the next start."""
        await self._chores.close()

    def _barred(self, subscriber: Subscriber) -> None:
        if subscriber.closed:
            self._sealed.put_nowait(subscriber.number)

    async def _expire(self) -> None:
        while await self._endings.expire(_FULL_SWEEP) == _FULL_SWEEP:
            await asyncio.sleep(0)

    async def _sweep(self) -> None:
        swept = await self._retention.sweep()
        if swept.aged or swept.binned:
            _log.info("mailbox retention", aged=swept.aged, binned=swept.binned, pruned=swept.pruned)

    async def _seal(self) -> None:
        """Seal what was closed lately, then each one that is closed from now on."""
        try:
            for number in await self._subscribers.closed_since(self._store.clock.now_ms() - DAY_MS):
                await self._endings.seal(number)
        except Exception as error:  # those end with their validity periods
            _log.warning("sealed boxes were not looked for", error=repr(error))
        while True:
            number = await self._sealed.get()
            try:
                await self._endings.seal(number)
            except Exception as error:  # the next start finds it, or its validity period ends it
                _log.warning("a box was not sealed", subscriber=number, error=repr(error))
