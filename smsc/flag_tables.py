"""The table of delivery pending flags and its statements.

In charge of: columns, keys, SQL. Not in charge of: what a flag is (`pending_flags.py`).
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
    exists,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite compiles it too

from ..store.statement import Query, Sql, among
from ..store.tables import metadata
from .tables import recipient as silent

__all__ = ["ARMED", "CLAIM", "DROP", "DUE", "FORGET_FLAGS", "PUT_DUE", "SET", "pending_flag"]

#: One row for each account, recipient and asking address.
pending_flag = Table(
    "pending_flag",
    metadata,
    Column("account", Integer, primary_key=True, autoincrement=False),
    Column("recipient", Text, primary_key=True),  # normal form
    Column("esme_addr", Text, primary_key=True),  # who asked, as it was submitted
    Column("esme_addr_ton", SmallInteger, primary_key=True, autoincrement=False),
    Column("esme_addr_npi", SmallInteger, primary_key=True, autoincrement=False),
    Column("source_addr", Text, nullable=False),  # the handset, as it was submitted
    Column("source_addr_ton", SmallInteger, nullable=False),
    Column("source_addr_npi", SmallInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),  # 0: armed; else when its alert may be sent
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_pending_flag_recipient", "recipient"),
    Index("ix_pending_flag_expires_at", "expires_at"),
    # Armed ones may be many; whose alert is due are few.
    Index(
        "ix_pending_flag_due",
        "account",
        "due_at",
        sqlite_where=text("due_at > 0"),
        postgresql_where=text("due_at > 0"),
    ),
    sqlite_with_rowid=False,
)
_c = pending_flag.c


def _set() -> Sql:
    new = upsert(pending_flag).values({name: bindparam(name) for name in pending_flag.columns.keys()})  # noqa: SIM118 -- a ColumnCollection
    renewed = ("source_addr", "source_addr_ton", "source_addr_npi", "due_at", "expires_at")
    return Sql(
        "flags: tell an account when a recipient comes back",
        new.on_conflict_do_update(
            index_elements=list(pending_flag.primary_key.columns),
            set_={name: new.excluded[name] for name in renewed},
        ),
    )


SET = _set()

PUT_DUE = Sql(
    "flags: recipients were seen",
    update(pending_flag)
    .where(among(_c.recipient, "recipients"), _c.due_at == 0)
    .values(due_at=bindparam("now", type_=BigInteger)),
)

#: Armed, and yet the recipient is reached: whoever saw it died, or is another node.
ARMED = Query(
    "flags: armed ones, by recipient, and who of these is silent",
    select(_c.recipient, exists().where(silent.c.number == _c.recipient).label("silent"))
    .where(_c.due_at == 0, _c.recipient > bindparam("after", type_=Text))
    .order_by(_c.recipient)
    .limit(bindparam("limit", type_=Integer)),
)

DUE = Query(
    "flags: alerts of accounts that are bound here",
    select(pending_flag)
    .where(among(_c.account, "accounts"), _c.due_at > 0, _c.due_at <= bindparam("now", type_=BigInteger))
    .order_by(_c.due_at)
    .limit(bindparam("limit", type_=Integer)),
)

_one = and_(
    _c.account == bindparam("of_account", type_=Integer),
    _c.recipient == bindparam("of_recipient", type_=Text),
    _c.esme_addr == bindparam("of_esme_addr", type_=Text),
    _c.esme_addr_ton == bindparam("of_ton", type_=SmallInteger),
    _c.esme_addr_npi == bindparam("of_npi", type_=SmallInteger),
    _c.due_at == bindparam("was_due_at", type_=BigInteger),
)
CLAIM = Sql(
    "flags: this node sends the alert",
    update(pending_flag).where(_one).values(due_at=bindparam("until", type_=BigInteger)),
)
DROP = Sql("flags: the alert was sent", delete(pending_flag).where(_one))

FORGET_FLAGS = Sql(
    "flags: nobody came for so long",
    delete(pending_flag).where(
        tuple_(*pending_flag.primary_key.columns).in_(
            select(*pending_flag.primary_key.columns)
            .where(_c.expires_at < bindparam("now", type_=BigInteger))
            .limit(bindparam("limit", type_=Integer))
        )
    ),
)
