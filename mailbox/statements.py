"""The SQL of the mailbox.

In charge of: every statement on this room's tables, each with its purpose. Not in charge of: when to run which
(`box.py`, `endings.py`, `retention.py`), deposits (`deposit_statements.py`), columns (`tables.py`).

Two rules hold for all of them. Whatever a subscriber can cause names the subscriber beside the item, so that another's
id touches nothing. And every change begins with the box's own row (`COUNT`), which puts the changes of one box in
order and keeps transactions from waiting for each other in circles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Integer,
    Select,
    SmallInteger,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.elements import ColumnElement

from ..store.statement import Query, Sql
from ..store.tables import queue
from .folders import Folder
from .item import LISTED
from .tables import mailbox, mailbox_gone, mailbox_item, mailbox_listing

CHUNK = 50  #: ids of one IN list; always as many, so that a statement is compiled once

_m = mailbox.c
_i = mailbox_item.c
_g = mailbox_gone.c

#: Constants that an index's condition names must stand in the text, or no index is used.
ZERO = literal_column("0", Integer)
ONE = literal_column("1", Integer)
TRASH = literal_column("3", Integer)  # folders.Folder.TRASH
ENROUTE = literal_column("1", Integer)  # MessageState.ENROUTE
DELIVERED = literal_column("2", Integer)  # MessageState.DELIVERED

IDS = [bindparam(f"i{at}", type_=BigInteger) for at in range(CHUNK)]


def in_chunk(values: Sequence[int]) -> dict[str, object]:
    """Parameters for a list of at most CHUNK ids, not empty; the last one is repeated to the full length."""
    return {f"i{at}": values[min(at, len(values) - 1)] for at in range(CHUNK)}


def subscriber_id() -> ColumnElement[int]:
    """Whose box."""
    return bindparam("subscriber", type_=Integer)


def _mine() -> ColumnElement[bool]:
    return _i.subscriber == subscriber_id()


def modseq(back: ColumnElement[int] | None = None) -> ColumnElement[int]:
    """The box's modseq in an update, less how many changes of the same transaction come later."""
    now = select(_m.modseq).where(_m.subscriber == subscriber_id()).scalar_subquery()
    return now if back is None else now - back


# ------------------------------------------------------------------------------------------------------ reading

#: What lists read of a leader.
SHOWN = [mailbox_item.columns[name] for name in LISTED]

#: The same for walks over the boxes of many.
WALKED = [*SHOWN, _i.subscriber]

BOX = Query("mailbox: counters and choices of a box", select(mailbox).where(_m.subscriber == subscriber_id()))

BOXES = Query("mailbox: counters of some boxes", select(mailbox).where(_m.subscriber.in_(IDS)))

#: One row for the poll that every client makes: the counters, and the oldest item of the inbox.
SUMMARY = Query(
    "mailbox: summary of a box",
    select(
        mailbox,
        func.coalesce(
            select(func.min(_i.id))
            .where(_i.subscriber == _m.subscriber, _i.folder == ZERO, _i.leader == _i.id)
            .scalar_subquery(),
            ZERO,
        ).label("oldest"),
    ).where(_m.subscriber == subscriber_id()),
)

#: By their ids; the subscriber is compared in a way for which no index is used, or SQLite would walk the whole box.
ITEMS = Query(
    "mailbox: some items of a box",
    select(mailbox_item).where(_i.subscriber + ZERO == subscriber_id(), _i.id.in_(IDS)),
)

PARTS = Query(
    "mailbox: parts behind some leaders",
    select(mailbox_item).where(_mine(), _i.leader.in_(IDS), _i.part_total > ZERO).order_by(_i.leader, _i.id),
)


@cache
def listing(*, folder: bool, unread: bool, starred: bool, kind: bool, sender: bool, peer: bool) -> Query:
    """Leaders of a box from `high` (exclusive) down to `low`, with the filters that are asked for."""
    where: list[ColumnElement[bool]] = [
        _mine(),
        _i.leader == _i.id,
        _i.id < bindparam("high", type_=BigInteger),
        _i.id >= bindparam("low", type_=BigInteger),
    ]
    if unread:
        where.append(_i.is_read == ZERO)
    if starred:
        where.append(_i.starred == ONE)
    if kind:
        where.append(_i.kind == bindparam("kind", type_=Text))
    if sender:
        where.append(_i.sender == bindparam("sender", type_=Text))
    if peer:
        where.append(_i.peer == bindparam("peer", type_=Text))
    state = select(_m.modseq).where(_m.subscriber == subscriber_id()).scalar_subquery().label("box_modseq")
    limit = bindparam("limit", type_=Integer)
    if folder:
        where.append(_i.folder == bindparam("folder", type_=SmallInteger))
        chosen = select(*SHOWN, state).where(*where).order_by(_i.id.desc()).limit(limit)
    else:
        newest = _newest_of_all(where, limit)
        chosen = select(*SHOWN, state).where(_i.id.in_(newest)).order_by(_i.id.desc())
    return Query("mailbox: list of a folder", chosen)


def _newest_of_all(where: Sequence[ColumnElement[bool]], limit: BindParameter[int]) -> Select[tuple[int]]:
    """Ids of the newest items outside the bin. Each folder gives its newest, from its own stretch of the index: a
    condition on the folder alone would read and sort every item of the box, however few are wanted."""
    folders = [
        select(_i.id)
        .where(*where, _i.folder == literal_column(str(int(folder)), SmallInteger))
        .order_by(_i.id.desc())
        .limit(limit)
        .subquery()
        for folder in Folder
        if folder is not Folder.TRASH
    ]
    newest = union_all(*(select(one.c.id) for one in folders)).subquery()
    return select(newest.c.id).order_by(newest.c.id.desc()).limit(limit)


def _conversations() -> Query:
    newest = func.max(_i.id).label("newest")
    grouped = (
        select(
            newest,
            func.count().label("total"),
            func.sum(ONE - _i.is_read).label("unread"),
        )
        .where(_mine(), _i.leader == _i.id, _i.folder != TRASH)
        .group_by(_i.peer)
        .having(newest < bindparam("high", type_=BigInteger))
        .order_by(newest.desc())
        .limit(bindparam("limit", type_=Integer))
        .subquery()
    )
    joined = select(*SHOWN, grouped.c.total, grouped.c.unread).join(grouped, _i.id == grouped.c.newest)
    return Query("mailbox: newest item of each correspondent", joined.where(_mine()).order_by(_i.id.desc()))


CONVERSATIONS = _conversations()

CHANGED = Query(
    "mailbox: items changed since",
    select(*SHOWN)
    .where(_mine(), _i.modseq > bindparam("since", type_=BigInteger), _i.leader == _i.id)
    .order_by(_i.modseq)
    .limit(bindparam("limit", type_=Integer)),
)

GONE = Query(
    "mailbox: items removed since",
    select(_g.modseq, _g.item)
    .where(_g.subscriber == subscriber_id(), _g.modseq > bindparam("since", type_=BigInteger))
    .order_by(_g.modseq)
    .limit(bindparam("limit", type_=Integer)),
)


def _droppable() -> Query:
    part = mailbox_item.alias("part")
    owed = exists().where(
        part.c.subscriber == subscriber_id(),
        part.c.leader == _i.id,
        part.c.part_total > ZERO,
        part.c.state == ENROUTE,
    )
    chosen = (
        select(*SHOWN)
        .where(_mine(), _i.leader == _i.id, _i.is_read == ONE, _i.state != ENROUTE, ~owed)
        .order_by(case((_i.folder == TRASH, ZERO), else_=ONE), _i.starred, _i.id)
        .limit(bindparam("limit", type_=Integer))
    )
    return Query("mailbox: what a full box may drop", chosen)


#: Read ones whose sender knows the end, in the order in which they are dropped: the bin first, starred ones last.
DROPPABLE = _droppable()

# -------------------------------------------------------------------------------------------------- every change

#: Begins every change: counts it, and takes the box's place in the order.
COUNT = Sql(
    "mailbox: count a change",
    update(mailbox)
    .where(_m.subscriber == subscriber_id())
    .values(
        modseq=_m.modseq + bindparam("steps", type_=Integer),
        unread=_m.unread + bindparam("d_unread", type_=Integer),
        total=_m.total + bindparam("d_total", type_=Integer),
        bytes=_m.bytes + bindparam("d_bytes", type_=BigInteger),
    ),
)


def _back() -> ColumnElement[int]:
    return bindparam("back", type_=Integer)


def _seen() -> ColumnElement[bool]:
    """The item is as it was read."""
    return and_(
        _mine(),
        _i.id == bindparam("item", type_=BigInteger),
        _i.modseq == bindparam("seen", type_=BigInteger),
    )


FLAG = Sql(
    "mailbox: flags and folder of an item",
    update(mailbox_item)
    .where(_seen())
    .values(
        is_read=bindparam("to_read", type_=SmallInteger),
        starred=bindparam("to_starred", type_=SmallInteger),
        folder=bindparam("to_folder", type_=SmallInteger),
        binned_at=bindparam("to_binned_at", type_=BigInteger),
        retrieved_at=bindparam("to_retrieved_at", type_=BigInteger),
        modseq=modseq(_back()),
    ),
)

#: The other parts go where their leader goes; their flags are the leader's.
FOLLOW = Sql(
    "mailbox: parts follow their leader",
    update(mailbox_item)
    .where(
        _mine(), _i.leader == bindparam("item", type_=BigInteger), _i.part_total > ZERO, _i.leader != _i.id
    )
    .values(
        folder=bindparam("to_folder", type_=SmallInteger),
        modseq=modseq(_back()),
    ),
)

#: The one conditional update by which retrieval, redelivery, expiry and deletion compete.
CONCLUDE = Sql(
    "mailbox: conclude an item",
    update(mailbox_item)
    .where(_mine(), _i.id == bindparam("item", type_=BigInteger), _i.state == ENROUTE)
    .values(
        state=bindparam("to_state", type_=SmallInteger),
        delivered_at=bindparam("to_delivered_at", type_=BigInteger),
        modseq=modseq(),
    ),
)

TOUCH_LEADER = Sql(
    "mailbox: a part of an item changed",
    update(mailbox_item).where(_mine(), _i.id == bindparam("item", type_=BigInteger)).values(modseq=modseq()),
)

REMOVE = Sql("mailbox: remove an item", delete(mailbox_item).where(_seen()))

REMOVE_PARTS = Sql(
    "mailbox: remove the parts behind an item",
    delete(mailbox_item).where(
        _mine(), _i.leader == bindparam("item", type_=BigInteger), _i.part_total > ZERO
    ),
)

BURY = Sql(
    "mailbox: remember what was removed",
    # Inline: nobody wants the computed key returned.
    insert(mailbox_gone)
    .inline()
    .values(
        subscriber=subscriber_id(),
        modseq=modseq(_back()),
        item=bindparam("item", type_=BigInteger),
        at=bindparam("at", type_=BigInteger),
    ),
)

# --------------------------------------------------------------------------------------------------- redelivery

REQUEUE = Sql(
    "mailbox: back into the queue",
    insert(queue).values({column.name: bindparam(column.name) for column in queue.columns}),
)

UNQUEUE = Sql(
    "mailbox: no redelivery any more",
    delete(queue).where(queue.c.id == bindparam("item", type_=BigInteger), queue.c.reason == "redelivery"),
)


def _redelivered() -> tuple[Sql, Sql, Sql, Sql]:
    """By id alone, for delivery knows no subscribers; the item says whose it is."""
    whose, part, lead = (mailbox_item.alias(name) for name in ("whose", "part", "lead"))
    item = bindparam("item", type_=BigInteger)
    owner = select(whose.c.subscriber).where(whose.c.id == item).scalar_subquery()
    leader = select(whose.c.leader).where(whose.c.id == item).scalar_subquery()
    modseq = select(_m.modseq).where(_m.subscriber == owner).scalar_subquery()
    owed = exists().where(
        part.c.subscriber == owner,
        or_(part.c.id == leader, and_(part.c.leader == leader, part.c.part_total > ZERO)),
        part.c.state == ENROUTE,
    )
    unread = (
        select(func.count()).where(lead.c.id == leader, lead.c.is_read == ZERO, lead.c.folder != TRASH, ~owed)
    ).scalar_subquery()
    count = update(mailbox).where(_m.subscriber == owner).values(modseq=_m.modseq + ONE)
    conclude = (
        update(mailbox_item)
        .where(_i.id == item, _i.state == ENROUTE)
        .values(state=DELIVERED, delivered_at=bindparam("at", type_=BigInteger), modseq=modseq)
    )
    read = update(mailbox).where(_m.subscriber == owner).values(unread=_m.unread - unread)
    flag = (
        update(mailbox_item)
        .where(_i.id == leader)
        .values(is_read=case((owed, _i.is_read), else_=ONE), modseq=modseq)
    )
    return (
        Sql("mailbox: count a redelivery", count),
        Sql("mailbox: conclude what was redelivered", conclude),
        Sql("mailbox: redelivered is read", read),
        Sql("mailbox: a redelivered message", flag),
    )


REDELIVERED_COUNT, REDELIVERED, REDELIVERED_READ, REDELIVERED_LEADER = _redelivered()

# -------------------------------------------------------------------------------------------- time and retention

OVERDUE = Query(
    "mailbox: validity over, sender not told",
    select(mailbox_item)
    .where(_i.state == ENROUTE, _i.expires_at <= bindparam("now", type_=BigInteger))
    .order_by(_i.expires_at)
    .limit(bindparam("limit", type_=Integer)),
)

OWED = Query(
    "mailbox: items of a box whose sender is not told",
    select(mailbox_item)
    .where(_mine(), _i.state == ENROUTE, _i.id > bindparam("after", type_=BigInteger))
    .order_by(_i.id)
    .limit(bindparam("limit", type_=Integer)),
)

_walk = and_(
    _i.leader == _i.id,
    _i.id > bindparam("after", type_=BigInteger),
    _i.id < bindparam("before", type_=BigInteger),
)

OLD = Query(
    "mailbox: leaders older than",
    select(*WALKED).where(_walk).order_by(_i.id).limit(bindparam("limit", type_=Integer)),
)

OLD_OF = Query(
    "mailbox: leaders of a box older than",
    select(*WALKED).where(_mine(), _walk).order_by(_i.id).limit(bindparam("limit", type_=Integer)),
)

BINNED = Query(
    "mailbox: leaders too long in the bin",
    select(*WALKED)
    .where(_i.binned_at > ZERO, _i.binned_at <= bindparam("before", type_=BigInteger), _i.leader == _i.id)
    .order_by(_i.binned_at)
    .limit(bindparam("limit", type_=Integer)),
)

CHOOSY = Query(
    "mailbox: boxes with a retention of their own",
    select(_m.subscriber, _m.retention_days)
    .where(_m.retention_days != ZERO, _m.subscriber > bindparam("after", type_=Integer))
    .order_by(_m.subscriber)
    .limit(bindparam("limit", type_=Integer)),
)

PRUNABLE = Query(
    "mailbox: boxes with old marks of removal",
    select(_g.subscriber, func.max(_g.modseq).label("modseq"))
    .where(_g.at <= bindparam("before", type_=BigInteger))
    .group_by(_g.subscriber)
    .limit(bindparam("limit", type_=Integer)),
)

PRUNED = Sql(
    "mailbox: changes before this are forgotten",
    update(mailbox)
    .where(_m.subscriber == subscriber_id(), _m.pruned < bindparam("upto", type_=BigInteger))
    .values(pruned=bindparam("upto", type_=BigInteger)),
)

PRUNE = Sql(
    "mailbox: forget removals",
    delete(mailbox_gone).where(
        _g.subscriber == subscriber_id(), _g.modseq <= bindparam("upto", type_=BigInteger)
    ),
)

# ------------------------------------------------------------------------------------------------ choices, notices

CHOOSE = Sql(
    "mailbox: what the subscriber chose",
    update(mailbox)
    .where(_m.subscriber == subscriber_id(), _m.settings_version == bindparam("seen", type_=Integer))
    .values(
        retention_days=bindparam("to_retention_days", type_=Integer),
        notify=bindparam("to_notify", type_=SmallInteger),
        auto_read=bindparam("to_auto_read", type_=SmallInteger),
        language=bindparam("to_language", type_=Text),
        settings_version=_m.settings_version + ONE,
    ),
)

#: Touches the box only if a notice is due, so that of several nodes one sends it.
NOTIFIED = Sql(
    "mailbox: a notice is sent",
    update(mailbox)
    .where(
        _m.subscriber == subscriber_id(),
        _m.notify == ONE,
        _m.unread > ZERO,
        _m.deposited_at > ZERO,
        _m.notified_at <= bindparam("latest", type_=BigInteger),
    )
    .values(notified_at=bindparam("at", type_=BigInteger), deposited_at=ZERO),
)

# ------------------------------------------------------------------------------------------------ keywords

LISTING = Query(
    "mailbox: what LIST showed a subscriber last",
    select(mailbox_listing.c.ids).where(
        mailbox_listing.c.subscriber == bindparam("subscriber", type_=Integer)
    ),
)
_listing_row = upsert(mailbox_listing).values(
    subscriber=bindparam("subscriber", type_=Integer),
    ids=bindparam("ids", type_=Text),
    listed_at=bindparam("listed_at", type_=BigInteger),
)
PUT_LISTING = Sql(
    "mailbox: remember what LIST shows",
    _listing_row.on_conflict_do_update(
        index_elements=[mailbox_listing.c.subscriber],
        set_={"ids": _listing_row.excluded.ids, "listed_at": _listing_row.excluded.listed_at},
    ),
)
