"""What happened in a box since a client looked last, and word of it while it happens.

In charge of: the change feed (JMAP's `/changes`, RFC 8620 §5.2) and telling those who watch a box that its state moved.
Not in charge of: what an item looks like (`item.py`), how it travels (`api/`).

Theory. The state of a box is its modseq; every item carries that of its last change and every removal leaves one, so
"since" is two index scans. Removals are forgotten after a while (`retention.py`); who was away longer gets StateTooOld
and reads everything again. Watching is by looking: one question a tick for all boxes that somebody watches, whoever
changed them, on any node; a change made in this process is looked for at once. A watcher that is slow misses states in
between and never the last one, so nothing queues up for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from ..store.store import Store
from . import statements as sql
from .box import MAX_PAGE
from .item import Item, Row, group_rows
from .model import BoxError
from .quota import read_parts
from .settings import MailboxSettings

__all__ = ["Changes", "Feed", "Live", "StateTooOld", "TooManyWatchers"]

_log = structlog.get_logger(__name__)


class StateTooOld(BoxError):
    """The feed does not reach back so far: read the box again."""

    reason = "state-too-old"


class TooManyWatchers(BoxError):
    """No room for one more event stream."""

    reason = "too-many-watchers"


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened, each item once with its newest look."""

    created: tuple[Item, ...]
    updated: tuple[Item, ...]
    destroyed: tuple[int, ...]
    state: int  #: ask from here next
    has_more: bool


class Feed:
    """Answers `/changes`."""

    def __init__(self, store: Store, settings: MailboxSettings) -> None:
        self._store = store
        self._settings = settings

    async def since(self, subscriber: int, state: int, *, limit: int = 100) -> Changes:
        """Up to `limit` changes after `state`. Whether the box is open to its owner is the caller's question."""
        limit = max(1, min(limit, MAX_PAGE))
        boxes = await self._store.fetch(sql.BOX, subscriber=subscriber)
        newest = boxes[0]["modseq"] if boxes else 0
        if state < (boxes[0]["pruned"] if boxes else 0) or state > newest:
            raise StateTooOld(f"state {state} is not between what is remembered and {newest}")
        asked = {"subscriber": subscriber, "since": state, "limit": limit + 1}
        changed = [Row.of(row) for row in await self._store.fetch(sql.CHANGED, **asked)]
        gone = [(row["modseq"], row["item"]) for row in await self._store.fetch(sql.GONE, **asked)]
        # What happened while these were read comes next time.
        steps = sorted({row.modseq for row in changed} | {modseq for modseq, _ in gone})
        steps = [modseq for modseq in steps if modseq <= newest]
        has_more = len(steps) > limit
        upto = steps[limit - 1] if has_more else newest
        leaders = [row for row in changed if row.modseq <= upto]
        groups = group_rows(leaders, await read_parts(self._store, subscriber, leaders))
        shown = [(group.leader.created > state, group.item(self._settings.preview_chars)) for group in groups]
        return Changes(
            created=tuple(item for new, item in shown if new),
            updated=tuple(item for new, item in shown if not new),
            destroyed=tuple(item for modseq, item in gone if modseq <= upto),
            state=upto,
            has_more=has_more,
        )


class _Watcher:
    """One event stream: the newest state it has not seen."""

    __slots__ = ("state", "stirred")

    def __init__(self) -> None:
        self.state = 0
        self.stirred = asyncio.Event()


class Live:
    """Tells watchers that the state of a box moved."""

    def __init__(self, store: Store, settings: MailboxSettings) -> None:
        self._store = store
        self._settings = settings
        self._watchers: dict[int, set[_Watcher]] = {}
        self._states: dict[int, int] = {}
        self._number = 0
        self._stirred = asyncio.Event()
        self._looker: asyncio.Task[None] | None = None
        self._closed = False

    def touched(self, subscriber: int) -> None:
        """Something happened in a box here (`Box.on_change`): look at once."""
        if subscriber in self._watchers:
            self._stirred.set()

    @asynccontextmanager
    async def watch(self, subscriber: int) -> AsyncGenerator[AsyncIterator[int]]:
        """`async with live.watch(s) as states: async for state in states: …`; the first comes at once.

        The iterator ends when the process stops. Raises TooManyWatchers.
        """
        watching = len(self._watchers.get(subscriber, ()))
        if watching >= self._settings.watchers_per_box or self._number >= self._settings.watchers:
            raise TooManyWatchers(f"sub_{subscriber}")
        mine = self._watchers.setdefault(subscriber, set())
        watcher = _Watcher()
        mine.add(watcher)
        self._number += 1
        try:
            rows = await self._store.fetch(sql.BOX, subscriber=subscriber)
            self._tell(subscriber, rows[0]["modseq"] if rows else 0)
            watcher.state = self._states.get(subscriber, 0)
            watcher.stirred.set()
            if self._looker is None and not self._closed:
                self._looker = asyncio.get_running_loop().create_task(self._look(), name="mailbox watchers")
            yield self._follow(watcher)
        finally:
            mine.discard(watcher)
            self._number -= 1
            if not mine and self._watchers.get(subscriber) is mine:
                del self._watchers[subscriber]
                self._states.pop(subscriber, None)

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.stirred.set()
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.gather(self._looker, return_exceptions=True)

    async def _follow(self, watcher: _Watcher) -> AsyncIterator[int]:
        while True:
            await watcher.stirred.wait()
            watcher.stirred.clear()
            if self._closed:
                return
            yield watcher.state

    async def _look(self) -> None:
        """One question for up to fifty boxes, each tick, while anybody watches."""
        try:
            while self._watchers:
                ids = list(self._watchers)
                for at in range(0, len(ids), sql.CHUNK):
                    try:
                        found = await self._store.fetch(sql.BOXES, **sql.in_chunk(ids[at : at + sql.CHUNK]))
                    except Exception as error:  # the next tick asks again, whatever was wrong
                        _log.warning("cannot look at watched boxes", error=repr(error))
                        break
                    for row in found:
                        self._tell(row["subscriber"], row["modseq"])
                await self._tick()
        finally:
            self._looker = None

    async def _tick(self) -> None:
        try:
            async with asyncio.timeout(self._settings.live_poll_ms / 1000):
                await self._stirred.wait()
        except TimeoutError:
            pass
        self._stirred.clear()

    def _tell(self, subscriber: int, state: int) -> None:
        if state <= self._states.get(subscriber, -1):
            return
        self._states[subscriber] = state
        for watcher in self._watchers.get(subscriber, ()):
            watcher.state = state
            watcher.stirred.set()
