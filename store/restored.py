"""Messages that came with a restore and wait for an operator's word, while the center serves.

In charge of: knowing how many there are without asking at each question, and letting them go. Not in charge of: the
restore, or the same without a center (`restore.py`).

Nothing is restored into a database that is in use, so they only get fewer: they are counted at start, once a minute
while there are any, and never again when there are none. The count reads their part of an index (`RESTORED_ROWS`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from .. import metrics
from ..outlet import Write
from . import work
from .store import Store, StoreClosed

__all__ = ["Restored"]

log = logging.getLogger(__name__)

WAITING = metrics.gauge(
    "store", "restored_rows", "Messages that came with a restore and wait to be released."
)

#: Another node, or a command beside the center, may have let them go.
COUNT_EVERY_S = 60.0
#: After the database could not be asked.
AGAIN_S = 1.0
#: Rows let go in one transaction, each time as due at that moment: claims look for older ones once a minute only.
CHUNK_ROWS = 500


class Restored:
    """What one node knows of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked = asyncio.Event()
        self.waiting = 0  #: a minute old at most

    @property
    def releasing(self) -> bool:
        """True from `release` until all are let go."""
        return self._asked.is_set()

    async def open(self) -> None:
        """Count, and say it. Raises StoreUnavailable."""
        await self._count()
        if self.waiting:
            log.warning("%d restored messages wait for an operator; run: restante db release", self.waiting)

    def release(self) -> None:
        """Let all of them go; returns at once, `run` does it."""
        if self.waiting:
            self._asked.set()

    async def run(self) -> None:
        """Count and let go until none is left, or until cancelled."""
        while self.waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), COUNT_EVERY_S)
            try:
                if self.releasing:
                    log.warning("%d restored messages are released", await self._let_go())
                await self._count()
            except StoreClosed:
                return
            except Exception as reason:  # whatever was wrong, an operator's word is not forgotten
                log.warning("restored messages wait for the database: %r", reason)
                await asyncio.sleep(AGAIN_S)
            else:
                self._asked.clear()

    async def _count(self) -> None:
        self.waiting = int((await self._store.fetch(work.RESTORED_ROWS))[0]["rows"])
        WAITING.set(self.waiting)

    async def _let_go(self) -> int:
        gone = 0
        while True:
            these = {"epoch": work.RESTORED, "now": self._store.clock.now_ms(), "limit": CHUNK_ROWS}
            (touched,) = await self._store.bulk([Write(work.GIVE_BACK, these)])
            gone += touched
            if touched < CHUNK_ROWS:
                return gone
