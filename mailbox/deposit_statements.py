"""The SQL by which something comes into a box.

In charge of: the look-up before deposits, and the writes of a deposit, a part's joining included. Not in charge of:
what becomes of an item afterwards (`statements.py`, whose two rules hold here as well), when to run them (`outlet.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.elements import ColumnElement

from ..access.subscriber_tables import subscriber, subscriber_number
from ..store.statement import Query, Sql
from .statements import CHUNK, IDS, ONE, TRASH, ZERO, modseq, subscriber_id
from .tables import mailbox, mailbox_item

_m = mailbox.c
_i = mailbox_item.c

#: Whose are these messages, by anybody's hand: for deposits and redelivery only.
KNOWN = Query("mailbox: which of these messages are kept", select(_i.id, _i.subscriber).where(_i.id.in_(IDS)))

_NUMBERS = [bindparam(f"r{at}", type_=Text) for at in range(CHUNK)]


def numbers_in_chunk(values: Sequence[str]) -> dict[str, object]:
    """The same for numbers."""
    return {f"r{at}": values[min(at, len(values) - 1)] for at in range(CHUNK)}


#: Everything that decides about deposits for some recipients, in one question.
TARGETS = Query(
    "mailbox: boxes behind some numbers",
    select(
        subscriber_number.c.msisdn,
        subscriber.c.number.label("subscriber"),
        subscriber.c.state,
        func.coalesce(_m.bytes, ZERO).label("bytes"),
        func.coalesce(_m.total, ZERO).label("total"),
    )
    .select_from(subscriber_number)
    .join(subscriber, subscriber.c.number == subscriber_number.c.subscriber)
    .outerjoin(mailbox, _m.subscriber == subscriber.c.number)
    .where(subscriber_number.c.msisdn.in_(_NUMBERS)),
)

# ------------------------------------------------------------------------------------------------------ deposit

OPEN_BOX = Sql(
    "mailbox: a box for a subscriber who has none",
    upsert(mailbox)
    .values(
        subscriber=subscriber_id(),
        **dict.fromkeys(
            ("modseq", "unread", "total", "bytes", "pruned", "deposited_at", "notified_at", "retention_days"),
            ZERO,
        ),
        notify=ONE,
        auto_read=ONE,
        language=literal_column("''", Text),
        settings_version=ONE,
    )
    .on_conflict_do_nothing(index_elements=[_m.subscriber]),
)


def _count_new(purpose: str, *, received: bool) -> Sql:
    values: dict[str, object] = {
        "modseq": _m.modseq + ONE,
        "unread": _m.unread + bindparam("d_unread", type_=Integer),
        "total": _m.total + bindparam("d_total", type_=Integer),
        "bytes": _m.bytes + bindparam("d_bytes", type_=BigInteger),
    }
    if received:
        values["deposited_at"] = bindparam("at", type_=BigInteger)
    counted = update(mailbox).where(
        _m.subscriber == subscriber_id(),
        _m.bytes + bindparam("d_bytes", type_=BigInteger) <= bindparam("quota_bytes", type_=BigInteger),
        _m.total + bindparam("d_total", type_=Integer) <= bindparam("quota_messages", type_=Integer),
        exists().where(subscriber.c.number == _m.subscriber, subscriber.c.state != "closed"),
    )
    return Sql(purpose, counted.values(values))


#: `COUNT` for something new: touches nothing if the box is full or sealed by now.
COUNT_DEPOSIT = _count_new("mailbox: count a deposit", received=True)
COUNT_SENT = _count_new("mailbox: count a copy of what was sent", received=False)

_COPIED = [
    column
    for column in mailbox_item.columns
    if column.name not in ("leader", "created", "modseq", "subscriber")
]


def _deposit(purpose: str, leader: ColumnElement[int]) -> Sql:
    values: dict[str, object] = {column.name: bindparam(column.name, type_=column.type) for column in _COPIED}
    values |= {"subscriber": subscriber_id(), "leader": leader, "created": modseq(), "modseq": modseq()}
    return Sql(purpose, insert(mailbox_item).values(values))


def _leader() -> ColumnElement[int]:
    """The message that a part belongs to: same sender, submitter, reference and total, near in time, outside the bin,
    and without another part of that number; else the part leads."""
    other, rival = mailbox_item.alias("other"), mailbox_item.alias("rival")
    taken = exists().where(
        rival.c.subscriber == subscriber_id(),
        rival.c.leader == other.c.leader,
        rival.c.part_total > ZERO,
        rival.c.part_number == bindparam("part_number", type_=SmallInteger),
        rival.c.body != bindparam("body", type_=LargeBinary),
    )
    found = select(func.max(other.c.leader)).where(
        other.c.subscriber == subscriber_id(),
        other.c.part_total > ZERO,
        other.c.leader.between(
            bindparam("join_low", type_=BigInteger), bindparam("join_high", type_=BigInteger)
        ),
        other.c.part_total == bindparam("part_total", type_=SmallInteger),
        other.c.part_reference == bindparam("part_reference", type_=Integer),
        other.c.account == bindparam("account", type_=Integer),
        other.c.sender == bindparam("sender", type_=Text),
        other.c.recipient == bindparam("recipient", type_=Text),
        other.c.folder != TRASH,
        ~taken,
    )
    return func.coalesce(found.scalar_subquery(), bindparam("id", type_=BigInteger))


DEPOSIT = _deposit("mailbox: deposit", bindparam("id", type_=BigInteger))
DEPOSIT_PART = _deposit("mailbox: deposit a part", _leader())


def _joined() -> tuple[Sql, Sql, Sql]:
    """What a part changes that is in place: the counters, the folder it is in, and the leader that is news again."""
    one, lead, was = (mailbox_item.alias(name) for name in ("one", "lead", "was"))
    part = bindparam("id", type_=BigInteger)
    leads = (
        select(func.count()).where(
            one.c.id == part, one.c.subscriber == subscriber_id(), one.c.leader == one.c.id
        )
    ).scalar_subquery()
    mine = select(was.c.leader).where(was.c.id == part, was.c.subscriber == subscriber_id()).scalar_subquery()
    reopened = (
        select(func.count()).where(
            lead.c.subscriber == subscriber_id(), lead.c.id == mine, lead.c.id != part, lead.c.is_read == ONE
        )
    ).scalar_subquery()
    count = (
        update(mailbox)
        .where(_m.subscriber == subscriber_id())
        .values(total=_m.total + leads, unread=_m.unread + leads + reopened)
    )
    place = (
        update(mailbox_item)
        .where(_i.subscriber == subscriber_id(), _i.id == part)
        .values(folder=select(lead.c.folder).where(lead.c.id == mine).scalar_subquery())
    )
    news = (
        update(mailbox_item)
        .where(_i.subscriber == subscriber_id(), _i.id == mine, _i.id != part)
        .values(is_read=ZERO, modseq=modseq())
    )
    return (
        Sql("mailbox: count what a part begins or reopens", count),
        Sql("mailbox: put a part where its message is", place),
        Sql("mailbox: a message has a part more", news),
    )


JOIN_COUNT, JOIN_PLACE, JOIN_NEWS = _joined()
