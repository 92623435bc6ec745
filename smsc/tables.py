"""Tables of the message path that only this room uses, on the store's metadata.

In charge of: what is remembered per recipient that could not be reached (our message-waiting data, behaviour.md 5;
the idea is 3GPP TS 23.040 §3.2.6's). Not in charge of: messages and queue (`store/tables.py`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite compiles it too

from ..store.statement import Query, Sql
from ..store.tables import metadata

__all__ = ["ALL_SILENT", "FORGET", "REMEMBER", "SILENT_BEHIND", "recipient"]

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
    Index("ix_recipient_outlet", "outlet"),
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

FORGET = Sql("recipients: reached again", delete(recipient).where(recipient.c.number == bindparam("number")))

#: Whom to wake when an outlet comes back, longest silence first.
SILENT_BEHIND = Query(
    "recipients: waiting behind an outlet",
    select(recipient.c.number)
    .where(recipient.c.outlet == bindparam("outlet"))
    .order_by(recipient.c.since)
    .limit(bindparam("limit")),
)

ALL_SILENT = Query(
    "recipients: read back at start, oldest first",
    select(recipient).order_by(recipient.c.since).limit(bindparam("limit")),
)
