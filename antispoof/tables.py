"""Tables of anti-spoofing: evidence, its reviews, and addresses of switches that nobody registered.

In charge of: columns, keys, indexes and SQL. Not in charge of: what is written (`evidence.py`, `inbox.py`), or the
objects that operators edit (`registry/`). Times are UTC epoch milliseconds. No message text stands in any of them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from ..store.statement import Query, Sql, among
from ..store.store import QueueReason
from ..store.tables import BigId, event, message, metadata, queue

__all__ = ["spoof_review", "spoof_unknown", "spoof_verdict"]

#: Evidence of one verdict; append-only, one chain a node and day (see `evidence.py`).
spoof_verdict = Table(
    "spoof_verdict",
    metadata,
    Column("node", SmallInteger, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01, UTC
    Column("sequence", Integer, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("at", BigInteger, nullable=False),  # of the verdict
    Column("message", BigInteger, nullable=False),  # id; 0: it was refused without being stored
    Column("link", Text, nullable=False),  # system_id of the account
    Column("role", Text, nullable=False),  # message.Role
    Column("sender", Text, nullable=False),  # normal form
    Column("trusted", Text, nullable=False),  # "ipa_name:MSC-A"; empty: nobody knows
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("enforced", SmallInteger, nullable=False),
    Column("facts", Text, nullable=False),  # JSON object: everything else
    Column("previous", Text, nullable=False),  # mac of the row before
    Column("mac", Text, nullable=False),
    Index("ix_spoof_verdict_at", "at"),
    Index("ix_spoof_verdict_sender", "sender", "at"),
    Index("ix_spoof_verdict_message", "message"),
)

#: What an operator thinks of a verdict; the evidence itself is never touched.
spoof_review = Table(
    "spoof_review",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("node", SmallInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("result", Text, nullable=False),  # "false-positive", "confirmed"
    Column("note", Text, nullable=False),
    Index("ix_spoof_review_of", "node", "day", "sequence"),
)

#: Switches that appeared in traffic and that nobody registered.
spoof_unknown = Table(
    "spoof_unknown",
    metadata,
    Column("type", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),  # how often
    Column("link", Text, nullable=False),  # over which link it came last
    Column("side", Text, nullable=False),  # "trusted": it sent; "affiliated": a register named it
    Index("ix_spoof_unknown_last_at", "last_at"),
    sqlite_with_rowid=False,
)

_v = spoof_verdict.c

INSERT_VERDICT = Sql("spoof: append evidence", spoof_verdict.insert())
HEAD = Query(
    "spoof: newest evidence of a node",
    select(_v.day, _v.sequence, _v.mac, _v.at)
    .where(_v.node == bindparam("node", type_=SmallInteger))
    .order_by(_v.day.desc(), _v.sequence.desc())
    .limit(1),
)
NODES = Query("spoof: nodes with evidence", select(_v.node).distinct().order_by(_v.node))
CHAIN = Query(
    "spoof: evidence of a node in order",
    select(spoof_verdict)
    .where(
        _v.node == bindparam("node", type_=SmallInteger),
        or_(
            _v.day > bindparam("day", type_=Integer),
            and_(
                _v.day == bindparam("day", type_=Integer), _v.sequence > bindparam("sequence", type_=Integer)
            ),
        ),
    )
    .order_by(_v.day, _v.sequence)
    .limit(bindparam("limit", type_=Integer)),
)
ONE = Query(
    "spoof: one piece of evidence",
    select(spoof_verdict).where(
        _v.node == bindparam("node", type_=SmallInteger),
        _v.day == bindparam("day", type_=Integer),
        _v.sequence == bindparam("sequence", type_=Integer),
    ),
)
KNOWN = Query("spoof: messages that have evidence", select(_v.message).where(among(_v.message, "ids")))
#: Evidence that stands in the events of messages; the chain may lack the last of it after a crash.
IN_EVENTS = Query(
    "spoof: evidence in events",
    select(event.c.message, event.c.at, event.c.detail)
    .where(
        event.c.message >= bindparam("first", type_=BigInteger),
        event.c.kind == "evidence",
        event.c.node == bindparam("node", type_=SmallInteger),
        event.c.detail.like(bindparam("like")),
    )
    .order_by(event.c.message)
    .limit(bindparam("limit", type_=Integer)),
)
SWEEP_VERDICTS = Sql(
    "spoof: remove old evidence, whole days",
    delete(spoof_verdict).where(_v.day < bindparam("before", type_=Integer)),
)
SWEEP_REVIEWS = Sql(
    "spoof: remove reviews of evidence that is gone",
    delete(spoof_review).where(spoof_review.c.day < bindparam("before", type_=Integer)),
)
INSERT_REVIEW = Sql("spoof: an operator's review", spoof_review.insert())
REVIEWS_OF = Query(
    "spoof: reviews of some evidence",
    select(spoof_review)
    .where(
        spoof_review.c.day.between(bindparam("first", type_=Integer), bindparam("last", type_=Integer)),
        among(spoof_review.c.sequence, "sequences"),
    )
    .order_by(spoof_review.c.id),
)
QUARANTINED = Query(
    "spoof: messages in quarantine, newest first",
    select(queue.c.id, queue.c.due_at, message.c.sender, message.c.recipient, message.c.account)
    .join(message, message.c.id == queue.c.id)
    .where(
        queue.c.reason == QueueReason.QUARANTINED,
        queue.c.owner == 0,
        queue.c.id < bindparam("before", type_=BigInteger),
    )
    .order_by(queue.c.id.desc())
    .limit(bindparam("limit", type_=Integer)),
)
VERDICTS_OF = Query(
    "spoof: evidence about some messages",
    select(spoof_verdict).where(among(_v.message, "ids")).order_by(_v.at),
)

_unknown_row = upsert(spoof_unknown).values(
    {column.name: bindparam(column.name, type_=column.type) for column in spoof_unknown.c}
)
PUT_UNKNOWN = Sql(
    "spoof: an address that nobody registered was seen",
    _unknown_row.on_conflict_do_update(
        index_elements=[spoof_unknown.c.type, spoof_unknown.c.value],
        set_={
            "last_at": _unknown_row.excluded.last_at,
            "seen": spoof_unknown.c.seen + _unknown_row.excluded.seen,
            "link": _unknown_row.excluded.link,
            "side": _unknown_row.excluded.side,
        },
    ),
)
UNKNOWN = Query(
    "spoof: addresses that nobody registered, newest first",
    select(spoof_unknown).order_by(spoof_unknown.c.last_at.desc()).limit(bindparam("limit", type_=Integer)),
)
COUNT_UNKNOWN = Query(
    "spoof: how many addresses nobody registered", select(func.count().label("n")).select_from(spoof_unknown)
)
FORGET_UNKNOWN = Sql(
    "spoof: forget an address",
    delete(spoof_unknown).where(
        spoof_unknown.c.type == bindparam("of_type"), spoof_unknown.c.value == bindparam("of_value")
    ),
)
_oldest = (
    select(spoof_unknown.c.last_at)
    .order_by(spoof_unknown.c.last_at.desc())
    .limit(1)
    .offset(bindparam("keep", type_=Integer))
    .scalar_subquery()
)
TRIM_UNKNOWN = Sql(
    "spoof: forget addresses that were not seen for longest",
    delete(spoof_unknown).where(spoof_unknown.c.last_at <= _oldest),
)

EVIDENCE_OF = Query(
    "spoof: what checks said about a message",
    select(event.c.detail).where(
        event.c.message == bindparam("message", type_=BigInteger), event.c.kind == "evidence"
    ),
)
