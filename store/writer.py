"""Group commit: changes that arrive while a commit is under way form the next batch.

In charge of: collecting changes on the event loop, handing batches to an engine one at a time, giving the answers back
in order, and saying how much waits. Not in charge of: transactions (`sqlite.py`, `postgresql.py`).

There is no timer and no task or future per change. When nothing is under way, a batch starts at the end of the present
turn of the loop, so that everything decoded from one socket read goes together. When a batch comes back, the
next one is started before the answers are given, so that the disk works while the responses are written.

Source: notes/store.md 1; behaviour.md 10.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from .. import metrics
from .store import Answer, Change, StoreClosed

__all__ = ["Writer"]

log = logging.getLogger(__name__)

COMMIT_SECONDS = metrics.histogram(
    "store", "commit_seconds", "Time from the start of a batch to its answers."
)
BATCH_CHANGES = metrics.histogram("store", "batch_changes", "Changes in a batch.", buckets=metrics.SIZES)
ANSWERS = metrics.counter("store", "answers", "Changes by what became of them.", ("answer",))
PENDING = metrics.gauge("store", "pending_changes", "Changes that wait for a commit.")

_STORED = ANSWERS.labels(Answer.STORED.value)


class Writer:
    """Batches for one engine. Every method is called on the event loop."""

    def __init__(self, start: Callable[[list[Change]], None], batch_changes: int) -> None:
        """`start` takes a batch and later calls `finished` on the loop, once."""
        self._start = start
        self._most = batch_changes
        self._pending: list[Change] = []
        self._busy = False
        self._kicked = False
        self._closed = ""
        self._hooks: list[Callable[[], None]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self.commit_ms = 0.0  #: duration of the last batch

    @property
    def pending(self) -> int:
        """Changes that wait for the next batch."""
        return len(self._pending)

    @property
    def closed(self) -> str:
        """Why nothing may be put any more; "" while it may."""
        return self._closed

    def put(self, change: Change) -> None:
        """Take a change. Raises StoreClosed after `close`."""
        if self._closed:
            raise StoreClosed(self._closed)
        self._pending.append(change)
        if not self._busy and not self._kicked:
            self._kicked = True
            self._idle.clear()
            self._loop.call_soon(self._next)

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call `hook` after the answers of each batch."""
        self._hooks.append(hook)

    def finished(self, batch: Sequence[Change], answers: Sequence[Answer] | None, seconds: float) -> None:
        """Hear what became of a batch; no answers means that everything is stored."""
        self._busy = False
        self.commit_ms = seconds * 1000
        if self._pending:
            self._next()
        COMMIT_SECONDS.observe(seconds)
        BATCH_CHANGES.observe(len(batch))
        PENDING.set(len(self._pending))
        if answers is None:
            _STORED.inc(len(batch))
            stored = Answer.STORED
            for change in batch:
                try:
                    change.done(stored)
                except Exception:
                    log.exception("a room failed when it was told that its change is stored")
        else:
            for answer, number in Counter(answers).items():
                ANSWERS.labels(answer.value).inc(number)
            for change, answer in zip(batch, answers, strict=True):
                try:
                    change.done(answer)
                except Exception:
                    log.exception("a room failed when it was told that its change is %s", answer.value)
        for hook in self._hooks:
            try:
                hook()
            except Exception:
                log.exception("a hook failed after a commit")
        if not self._busy and not self._kicked:
            self._idle.set()

    def close(self, why: str) -> None:
        """Take nothing more; what was put is still committed."""
        self._closed = self._closed or why

    async def drained(self) -> None:
        """Wait until everything that was put is answered."""
        await self._idle.wait()

    def _next(self) -> None:
        self._kicked = False
        pending = self._pending
        if self._busy or not pending:
            return
        self._busy = True
        if len(pending) <= self._most:
            self._pending = []
            batch = pending
        else:
            batch = pending[: self._most]
            del pending[: self._most]
        self._start(batch)
