"""Tables and statements of subscribers, on the store's metadata.

In charge of: columns, keys, indexes, and the SQL that reads and changes them. Not in charge of: what a change means
(`subscribers.py`).

A subscriber row is never deleted and its number never used again, so that rows elsewhere may point to it for ever. A
row of `subscriber_number` says who has a number now, or who had it last if that subscriber is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    exists,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from ..store.statement import Query, Sql
from ..store.tables import metadata

__all__ = ["CHUNK", "in_chunk", "subscriber", "subscriber_number"]

#: Who has a box. States: see `subscribers.SubscriberState`.
subscriber = Table(
    "subscriber",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),  # why it is in this state
    Column("imsi", Text, nullable=False),  # empty: not known
    Column("origin", Text, nullable=False),  # how it came to be
    Column("successor", Integer, nullable=False),  # who has its numbers since it was closed; 0: nobody
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=False),  # 0: open
    Column("version", Integer, nullable=False),
    # One card, one open subscriber.
    Index(
        "uq_subscriber_imsi",
        "imsi",
        unique=True,
        sqlite_where=text("imsi <> '' AND state <> 'closed'"),
        postgresql_where=text("imsi <> '' AND state <> 'closed'"),
    ),
)

subscriber_number = Table(
    "subscriber_number",
    metadata,
    Column("msisdn", Text, primary_key=True),  # normal form, "+4477…"
    Column("subscriber", Integer, nullable=False, index=True),
    Column("since", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# ------------------------------------------------------------------------------------------------------ reading

CHUNK = 50  #: values of one IN list; compiled once, because its length is always the same

_NUMBERS = [bindparam(f"n{at}", type_=Integer) for at in range(CHUNK)]


def in_chunk(values: Sequence[int]) -> Mapping[str, object]:
    """Parameters for a list of at most CHUNK numbers, not empty; the last one is repeated to the full length."""
    return {f"n{at}": values[min(at, len(values) - 1)] for at in range(CHUNK)}


_s = subscriber.c
_n = subscriber_number.c

BY_NUMBER = Query("subscribers: one by its id", select(subscriber).where(_s.number == bindparam("number")))

BY_MSISDN = Query(
    "subscribers: who has a number",
    select(subscriber)
    .join(subscriber_number, _n.subscriber == _s.number)
    .where(_n.msisdn == bindparam("msisdn")),
)

BY_IMSI = Query(
    "subscribers: who has a card",
    # The condition of its index stands in the text, or the index is not used.
    select(subscriber).where(_s.imsi == bindparam("imsi"), text("imsi <> '' AND state <> 'closed'")),
)

NUMBERS_OF = Query(
    "subscribers: numbers of some",
    select(subscriber_number).where(_n.subscriber.in_(_NUMBERS)).order_by(_n.since, _n.msisdn),
)

HIGHEST = Query(
    "subscribers: highest id in use", select(func.coalesce(func.max(_s.number), 0).label("highest"))
)

PAGE = Query(
    "subscribers: a page by id",
    select(subscriber)
    .where(_s.number > bindparam("after"))
    .order_by(_s.number)
    .limit(bindparam("limit", type_=Integer)),
)

PAGE_IN_STATE = Query(
    "subscribers: a page in one state",
    select(subscriber)
    .where(_s.number > bindparam("after"), _s.state == bindparam("state"))
    .order_by(_s.number)
    .limit(bindparam("limit", type_=Integer)),
)

#: `pattern` is a prefix with % behind it.
PAGE_BY_MSISDN = Query(
    "subscribers: a page by number prefix",
    select(subscriber)
    .where(
        _s.number > bindparam("after"),
        exists().where(and_(_n.subscriber == _s.number, _n.msisdn.like(bindparam("pattern", type_=Text)))),
    )
    .order_by(_s.number)
    .limit(bindparam("limit", type_=Integer)),
)

CLOSED_SINCE = Query(
    "subscribers: closed lately",
    select(_s.number).where(_s.state == "closed", _s.closed_at >= bindparam("since")).order_by(_s.number),
)

# ------------------------------------------------------------------------------------------------------ writing

NEW = Sql(
    "subscribers: create",
    insert(subscriber).values({column.name: bindparam(column.name) for column in subscriber.columns}),
)


def _claim() -> Sql:
    new = upsert(subscriber_number).values(
        msisdn=bindparam("msisdn"), subscriber=bindparam("subscriber"), since=bindparam("since")
    )
    free = exists().where(and_(_s.number == _n.subscriber, _s.state == "closed"))
    return Sql(
        "subscribers: give a free number",
        new.on_conflict_do_update(
            index_elements=[_n.msisdn],
            set_={"subscriber": new.excluded.subscriber, "since": new.excluded.since},
            where=free,
        ),
    )


#: Touches one row if the number is new or its last owner is closed, and none if somebody has it.
CLAIM = _claim()

#: Hands a number from one subscriber to another, in the change that closes the first.
PASS_ON = Sql(
    "subscribers: pass a number on",
    update(subscriber_number)
    .where(_n.msisdn == bindparam("msisdn"), _n.subscriber == bindparam("giver"))
    .values(subscriber=bindparam("taker"), since=bindparam("at")),
)

_unchanged = and_(_s.number == bindparam("id"), _s.version == bindparam("seen"), _s.state != "closed")

SET_STATE = Sql(
    "subscribers: change the state",
    update(subscriber)
    .where(_unchanged)
    .values(
        state=bindparam("to_state"),
        reason=bindparam("why"),
        changed_at=bindparam("at"),
        closed_at=bindparam("closing"),
        successor=bindparam("heir"),
        version=_s.version + text("1"),
    ),
)

SET_IMSI = Sql(
    "subscribers: learn the card",
    update(subscriber)
    .where(_unchanged)
    .values(imsi=bindparam("card"), changed_at=bindparam("at"), version=_s.version + text("1")),
)

TOUCH = Sql(
    "subscribers: count an edit",
    update(subscriber).where(_unchanged).values(changed_at=bindparam("at"), version=_s.version + text("1")),
)
