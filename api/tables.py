"""The statements of this room, on tables of the store.

In charge of: the memory of Idempotency-Keys and the view into the queue. Not in charge of: the tables themselves
(`store/tables.py`); this room has none of its own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, delete, insert, or_, select, update

from ..store.statement import Query, Sql
from ..store.tables import idempotency, message, node, queue

__all__ = ["ALIVE", "ANSWER", "CLAIM", "FREE", "PURGE", "QUEUED", "READ", "SENT"]

_c = idempotency.c


def _account() -> Any:
    return bindparam("of_account", type_=Integer)


def _key() -> Any:
    return bindparam("of_key", type_=Text)


CLAIM = Sql("api: a request that sends begins", insert(idempotency))
READ = Query(
    "api: what was answered to a key", select(idempotency).where(_c.account == _account(), _c.key == _key())
)
ANSWER = Sql(
    "api: keep an answer",
    update(idempotency)
    .where(_c.account == _account(), _c.key == _key())
    .values(answer=bindparam("answer", type_=Text)),
)
FREE = Sql(
    "api: a request that sends came to nothing",
    delete(idempotency).where(_c.account == _account(), _c.key == _key()),
)
SENT = Query(
    "api: messages of a request that ended without an answer",
    select(message.c.id, message.c.recipient).where(
        message.c.account == _account(),
        message.c.id >= bindparam("low", type_=BigInteger),
        message.c.id < bindparam("high", type_=BigInteger),
        message.c.ingress.like(bindparam("pattern", type_=Text)),
    ),
)
PURGE = Sql(
    "api: forget old answers", delete(idempotency).where(_c.expires_at < bindparam("now", type_=BigInteger))
)
ALIVE = Query(
    "api: is the node of an epoch alive",
    select(node.c.epoch).where(node.c.epoch == bindparam("epoch", type_=BigInteger), node.c.released == 0),
)

QUEUED = Query(
    "api: rows of the queue with one reason, in due order",
    select(queue)
    .where(
        queue.c.reason == bindparam("of_reason", type_=Text),
        or_(
            queue.c.due_at > bindparam("due", type_=BigInteger),
            and_(
                queue.c.due_at == bindparam("due", type_=BigInteger),
                queue.c.id > bindparam("after", type_=BigInteger),
            ),
        ),
    )
    .order_by(queue.c.due_at, queue.c.id)
    .limit(bindparam("limit", type_=BigInteger)),
)
