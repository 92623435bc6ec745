"""Housekeeping: what is old enough goes.

In charge of: retention of text and of history by age, forgotten answers, and having the database tidy itself. Not in
charge of: the mailbox, which keeps its own copies for as long as it wants (`mailbox/`), or partitions as such
(`partitions.py`).

Text and history have ages of their own. A message that is still in the queue loses neither. On PostgreSQL whole days
are dropped; what a day cannot lose yet, and everything on SQLite, is deleted in chunks behind accepts.

Source: behaviour.md 9 and 10.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import BigInteger, Column, Delete, Integer, Table, bindparam, delete, exists, select

from .. import metrics
from ..message import id_at
from ..outlet import Write
from .engine import Engine
from .partitions import DAY_MS
from .settings import RetentionSettings
from .statement import Sql
from .store import StoreUnavailable
from .tables import body, event, idempotency, message, queue

__all__ = ["Sweep"]

log = logging.getLogger(__name__)

DELETED = metrics.counter("store", "deleted_rows", "Rows that retention deleted in chunks.", ("table",))


def _aged(table: Table, column: Column[int]) -> Delete:
    """Rows below a message id that nothing waits for, oldest first, as many messages as `limit` says."""
    waiting = exists().where(queue.c.id == column)
    old = (
        select(column)
        .where(column < bindparam("before", type_=BigInteger), ~waiting)
        .distinct()
        .order_by(column)
        .limit(bindparam("limit", type_=Integer))
    )
    return delete(table).where(column.in_(old))


DELETE_TEXT = Sql("sweep: text that is old enough", _aged(body, body.c.message))
DELETE_EVENTS = Sql("sweep: events that are old enough", _aged(event, event.c.message))
DELETE_MESSAGES = Sql("sweep: messages that are old enough", _aged(message, message.c.id))
FORGET_ANSWERS = Sql(
    "sweep: answers that need not be given again",
    delete(idempotency).where(idempotency.c.expires_at < bindparam("now", type_=BigInteger)),
)


class Sweep:
    """One round after the other, on one store."""

    def __init__(self, store: Engine, retention: RetentionSettings) -> None:
        self._store = store
        self._retention = retention

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.once()
            except StoreUnavailable as reason:
                log.warning("housekeeping waits for the database: %s", reason)
            except Exception:
                log.exception("housekeeping failed; it is tried again")
            await asyncio.sleep(self._retention.every_s)

    async def once(self) -> None:
        """One round."""
        store, now = self._store, self._store.clock.now_ms()
        history_before = self._before(now, self._retention.history_days)
        text_before = max(history_before, self._before(now, self._retention.text_days))
        tidy = await store.keep_house(now, text_before, history_before)
        for table, statement, before in (
            ("body", DELETE_TEXT, text_before),
            ("event", DELETE_EVENTS, history_before),
            ("message", DELETE_MESSAGES, history_before),
        ):
            if table in tidy:
                await self._delete(table, statement, before)
        await store.bulk([Write(FORGET_ANSWERS, {"now": now})])

    def _before(self, now: int, days: int) -> int:
        """Everything submitted before this goes; 0: nothing. Where days are dropped, only whole days go."""
        if not days:
            return 0
        before = now - days * DAY_MS
        return before - before % DAY_MS if self._store.drops_days else before

    async def _delete(self, table: str, statement: Sql, before: int) -> None:
        if before:
            gone = (await self._store.bulk([Write(statement, {"before": id_at(before)})]))[0]
            if gone:
                DELETED.labels(table).inc(gone)
