"""Tables of upstream links, on the store's metadata.

In charge of: which of our messages another center knows under which id, and receipts that came before it was known
whose they are. Not in charge of: what ids mean (`remote_ids.py`), matching (`link_receipts.py`).

A row of `remote_message` is written in the transaction that records that a message was forwarded, and stays for a
while after its receipt, so that a second one is known for what it is. A row of `remote_receipt` is an answered
deliver_sm that waits for its message.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite compiles it too

from ..store.statement import Query, Sql, among
from ..store.store import QueueReason
from ..store.tables import BigId, metadata, queue

__all__ = ["remote_message", "remote_receipt"]

#: Ours under the other center's id.
remote_message = Table(
    "remote_message",
    metadata,
    Column("link", Integer, primary_key=True, autoincrement=False),  # object number
    Column("key", Text, primary_key=True),  # remote_ids.key_of
    Column("message", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient", Text, nullable=False),  # normal form; a receipt names it too
    Column("remote_id", Text, nullable=False),  # as it was given
    Column("rule", Text, nullable=False),  # by which it went there
    Column("attempt", SmallInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger, nullable=False),  # 0: its receipt is awaited
    Column("expires_at", BigInteger, nullable=False),  # when the row goes
    Index("ix_remote_message_expires_at", "expires_at"),
    Index("ix_remote_message_message", "message"),
    # "What does this link owe?" Short, because receipts take rows out of it.
    Index(
        "ix_remote_message_awaited",
        "link",
        sqlite_where=text("settled_at = 0"),
        postgresql_where=text("settled_at = 0"),
    ),
    sqlite_with_rowid=False,
)

#: Receipts whose message is not known yet.
remote_receipt = Table(
    "remote_receipt",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("link", Integer, nullable=False),
    Column("remote_id", Text, nullable=False),  # as the receipt has it
    Column("key", Text, nullable=False),  # first reading; the others, or the same again
    Column("key_2", Text, nullable=False),
    Column("key_3", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("network_error", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_remote_receipt_expires_at", "expires_at"),
)

_known, _parked = remote_message.c, remote_receipt.c


def _everything(table: Table) -> dict[str, object]:
    return {column.name: bindparam(column.name, type_=column.type) for column in table.c}


#: An id given twice for the same message (a second attempt, or a center with one id for all) is awaited anew.
_new = upsert(remote_message).values(_everything(remote_message))
REMEMBER = Sql(
    "links: remember the other center's id",
    _new.on_conflict_do_update(
        index_elements=[_known.link, _known.key, _known.message],
        set_={
            name: _new.excluded[name] for name in ("rule", "attempt", "sent_at", "settled_at", "expires_at")
        },
    ),
)
FIND = Query(
    "links: whose ids are these",
    select(remote_message)
    .where(_known.link == bindparam("of_link", type_=Integer), among(_known.key, "keys"))
    .order_by(_known.sent_at.desc(), _known.message.desc())
    .limit(bindparam("limit", type_=Integer)),
)
SETTLED = Sql(
    "links: a receipt came",
    update(remote_message)
    .where(
        _known.link == bindparam("of_link"),
        _known.key == bindparam("of_key"),
        _known.message == bindparam("of_message"),
    )
    .values(settled_at=bindparam("settled_at"), expires_at=bindparam("expires_at")),
)
SETTLED_ALL = Sql(
    "links: nothing of a message is awaited any more",
    update(remote_message)
    .where(_known.message == bindparam("of_message"), _known.settled_at == 0)
    .values(settled_at=bindparam("settled_at"), expires_at=bindparam("expires_at")),
)
#: Guards the end of a message: of a long one each part has a receipt of its own.
ALL_SETTLED = Sql(
    "links: end a forwarded message of which nothing is awaited",
    delete(queue).where(
        queue.c.id == bindparam("row_id", type_=BigInteger),
        queue.c.owner == 0,
        queue.c.reason == QueueReason.FORWARDED,
        ~select(_known.message)
        .where(
            _known.message == bindparam("row_id", type_=BigInteger),
            _known.link == bindparam("of_link", type_=Integer),
            _known.settled_at == 0,
        )
        .exists(),
    ),
)
WAITS = Query(
    "links: where is a message now",
    select(queue.c.owner, queue.c.reason).where(queue.c.id == bindparam("of_message", type_=BigInteger)),
)
AWAITED = Query(
    "links: how many receipts each link owes",
    select(_known.link, func.count().label("awaited")).where(_known.settled_at == 0).group_by(_known.link),
)
OWES = Query(
    "links: does a link owe a receipt",
    select(_known.message)
    .where(_known.link == bindparam("of_link", type_=Integer), _known.settled_at == 0)
    .limit(1),
)
TRIED = Query(
    "links: where a message has been",
    select(_known.link).where(_known.message == bindparam("of_message", type_=BigInteger)).distinct(),
)

PARK = Sql(
    "links: keep a receipt until it is known whose it is",
    insert(remote_receipt).values(_everything(remote_receipt)),
)
UNPARK = Sql(
    "links: a kept receipt found its message", delete(remote_receipt).where(_parked.id == bindparam("row_id"))
)
COUNT_PARKED = Query(
    "links: how many receipts are kept",
    select(_parked.link, func.count().label("kept")).group_by(_parked.link),
)
#: A new id beside a kept receipt, whichever of the two came first.
MATCHES = Query(
    "links: kept receipts whose message is known by now",
    select(remote_receipt)
    .where(
        select(_known.message)
        .where(
            _known.link == _parked.link,
            or_(_known.key == _parked.key, _known.key == _parked.key_2, _known.key == _parked.key_3),
            _known.settled_at == 0,
        )
        .exists()
    )
    .order_by(_parked.id)
    .limit(bindparam("limit", type_=Integer)),
)

PURGE = (
    Sql(
        "links: forget ids whose time is over",
        delete(remote_message).where(
            _known.expires_at < bindparam("now", type_=BigInteger),
            _known.message.in_(
                select(_known.message)
                .where(_known.expires_at < bindparam("now", type_=BigInteger))
                .limit(bindparam("limit", type_=Integer))
            ),
        ),
    ),
    Sql(
        "links: drop receipts that nobody's message is about",
        delete(remote_receipt).where(
            _parked.id.in_(
                select(_parked.id)
                .where(_parked.expires_at < bindparam("now", type_=BigInteger))
                .limit(bindparam("limit", type_=Integer))
            )
        ),
    ),
)
