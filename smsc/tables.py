"""Tables of the message path that only this room uses, on the store's metadata.

In charge of: what is remembered per recipient that could not be reached (our message-waiting data, behaviour.md 5;
the idea is 3GPP TS 23.040 §3.2.6's), and of long messages whose parts are on their way. Not in charge of: messages and
queue (`store/tables.py`).
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
    bindparam,
    delete,
    exists,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite compiles it too

from ..store.statement import Query, Sql
from ..store.tables import BigId, metadata, queue

__all__ = [
    "ALL_SILENT",
    "FORGET",
    "FORGET_OLD",
    "FORGET_PARTS",
    "NOTE_PARTS",
    "PARTS_OF",
    "REMEMBER",
    "SILENT_BEHIND",
    "STOP_CLOCK",
    "SWEEP_PARTS",
    "recipient",
    "sent_part",
]

#: One row per recipient whose last attempt failed for a reason that will pass; success deletes it.
recipient = Table(
    "recipient",
    metadata,
    Column("number", Text, primary_key=True),  # normal form
    Column("cause", Text, nullable=False),  # an ErrorClass
    Column("since", BigInteger, nullable=False),  # first failure of this silence
    Column("next_try", BigInteger, nullable=False),
    Column("failures", SmallInteger, nullable=False),
    Column("outlet", Text, nullable=False),  # where it was tried last; a bind there wakes it
    Column("alert_wanted", SmallInteger, nullable=False),  # 1: a network alert is expected
    Index("ix_recipient_outlet_since", "outlet", "since", "number"),
)


def _remember() -> Sql:
    new = upsert(recipient).values({name: bindparam(name) for name in recipient.columns.keys()})  # noqa: SIM118 -- a ColumnCollection
    kept = {name: new.excluded[name] for name in ("cause", "next_try", "failures", "outlet", "alert_wanted")}
    return Sql(
        "recipients: remember a failure",
        new.on_conflict_do_update(index_elements=[recipient.c.number], set_=kept),
    )


#: Insert or update; `since` stays that of the first failure. ON CONFLICT is spelled alike by both databases.
REMEMBER = _remember()

#: Who was woken is not held back by its clock, whichever node tries it.
STOP_CLOCK = Sql(
    "recipients: woken", update(recipient).where(recipient.c.number == bindparam("woken")).values(next_try=0)
)

FORGET = Sql("recipients: reached again", delete(recipient).where(recipient.c.number == bindparam("number")))

#: Whom to wake when an outlet comes back, longest silence first.
SILENT_BEHIND = Query(
    "recipients: waiting behind an outlet",
    select(recipient.c.since, recipient.c.number)
    .where(
        recipient.c.outlet == bindparam("outlet"),
        recipient.c.since <= bindparam("until"),
        tuple_(recipient.c.since, recipient.c.number)
        > tuple_(bindparam("since", type_=BigInteger), bindparam("number", type_=Text)),
    )
    .order_by(recipient.c.since, recipient.c.number)
    .limit(bindparam("limit")),
)

#: Whom nobody writes to any more: nothing waits for them, and the last try is long ago.
FORGET_OLD = Sql(
    "recipients: silent for long, and nothing waits for them",
    delete(recipient).where(
        recipient.c.number.in_(
            select(recipient.c.number)
            .where(
                recipient.c.since < bindparam("before", type_=BigInteger),
                recipient.c.next_try < bindparam("before", type_=BigInteger),
                ~exists().where(queue.c.recipient == recipient.c.number),
            )
            .limit(bindparam("limit", type_=Integer))
        )
    ),
)

ALL_SILENT = Query(
    "recipients: read back at start, oldest first",
    select(recipient).order_by(recipient.c.since).limit(bindparam("limit")),
)


# ------------------------------------------------------------------------------------------------- long messages

#: One row per long message of which a part was acknowledged; it leaves with the message.
sent_part = Table(
    "sent_part",
    metadata,
    Column("message", BigId, primary_key=True, autoincrement=False),
    Column("outlet", Text, nullable=False),  # who acknowledged; another outlet begins anew
    Column("reference", Integer, nullable=False),  # of the whole, 0..65535
    Column("total", SmallInteger, nullable=False),  # parts
    Column("acknowledged", SmallInteger, nullable=False),  # from the first one on
)

PARTS_OF = Query(
    "parts: what of a message was acknowledged",
    select(sent_part).where(sent_part.c.message == bindparam("id", type_=BigInteger)),
)


def _note() -> Sql:
    """Insert or update, while the queue row is ours: a node that lost the message touches nothing (fencing)."""
    ours = select(
        queue.c.id,
        bindparam("outlet", type_=Text),
        bindparam("reference", type_=Integer),
        bindparam("total", type_=SmallInteger),
        bindparam("acknowledged", type_=SmallInteger),
    ).where(queue.c.id == bindparam("id"), queue.c.owner == bindparam("epoch"))
    new = upsert(sent_part).from_select(list(sent_part.columns.keys()), ours)
    kept = {name: new.excluded[name] for name in ("outlet", "reference", "total", "acknowledged")}
    return Sql(
        "parts: remember what was acknowledged",
        new.on_conflict_do_update(index_elements=[sent_part.c.message], set_=kept),
    )


NOTE_PARTS = _note()

FORGET_PARTS = Sql(
    "parts: all of them arrived",
    delete(sent_part).where(sent_part.c.message == bindparam("id", type_=BigInteger)),
)

#: What endings other than delivery leave behind.
SWEEP_PARTS = Sql(
    "parts: of messages that ended otherwise",
    delete(sent_part).where(
        sent_part.c.message.in_(
            select(sent_part.c.message)
            .where(~exists().where(queue.c.id == sent_part.c.message))
            .limit(bindparam("limit", type_=Integer))
        )
    ),
)
