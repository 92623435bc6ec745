"""Tables of home zones, on the store's metadata.

In charge of: columns, keys, indexes and the statements on them. Not in charge of: what they mean (`members.py`,
`locations.py`, `offers.py`, `providers/cells.py`). Zones, policies and memberships of groups are objects of the
registry and have no table here.

Only integers and text cross the drivers, so degrees are kept as ten-millionths (about a centimetre).
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
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from ..store.statement import Query, Sql, among
from ..store.tables import BigId, event, message, metadata, queue

__all__ = ["zone_cell", "zone_fix", "zone_group_member", "zone_member", "zone_offer"]

#: Zones of single numbers. Rows are marked deleted and removed later, so that other nodes hear of it.
zone_member = Table(
    "zone_member",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),  # digits of an E.164 number
    Column("zone", Integer, nullable=False),  # object number of a zone; 0: the circle in this row
    Column("policy", Integer, nullable=False),  # object number
    Column("priority", SmallInteger, nullable=False),  # lower decides
    Column("latitude_e7", Integer, nullable=False),
    Column("longitude_e7", Integer, nullable=False),
    Column("radius_m", Integer, nullable=False),
    Column("valid_from", BigInteger, nullable=False),  # UTC epoch milliseconds; 0: no bound
    Column("valid_to", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),  # id of the change that wrote it; the feed of other nodes
    Column("deleted", SmallInteger, nullable=False),
    Column("updated_by", Text, nullable=False),
    Index("ix_zone_member_number", "number"),
    Index("ix_zone_member_revision", "revision"),
)

#: Which groups a number is in.
zone_group_member = Table(
    "zone_group_member",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("deleted", SmallInteger, nullable=False),
    Index("ix_zone_group_member_revision", "revision"),
    Index("ix_zone_group_member_name", "name", "number"),
    sqlite_with_rowid=False,
)

#: Every position that was used or told; the newest of a number by measured_at is where it is.
zone_fix = Table(
    "zone_fix",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("number", Text, nullable=False),  # normal form
    Column("latitude_e7", Integer, nullable=False),
    Column("longitude_e7", Integer, nullable=False),
    Column("placed", SmallInteger, nullable=False),  # 0: only the cell is known
    Column("accuracy_m", Integer, nullable=False),
    Column("cell", Text, nullable=False),  # "262-02-852-2521" or empty
    Column("plmn", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("measured_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Index("ix_zone_fix_number", "number", "measured_at"),
)

#: Where cells are; from the operator's list or OpenCellID's.
zone_cell = Table(
    "zone_cell",
    metadata,
    Column("mcc", SmallInteger, primary_key=True, autoincrement=False),
    Column("mnc", SmallInteger, primary_key=True, autoincrement=False),
    Column("area", Integer, primary_key=True, autoincrement=False),  # LAC or TAC
    Column("cell", BigInteger, primary_key=True, autoincrement=False),  # CI, ECI or NCI
    Column("radio", Text, nullable=False),
    Column("latitude_e7", Integer, nullable=False),
    Column("longitude_e7", Integer, nullable=False),
    Column("range_m", Integer, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("updated_at", BigInteger, nullable=False),  # UTC epoch seconds, as the lists have it
    Column("source", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: What was offered to whom (hold_and_offer), and whether the answer was YES.
zone_offer = Table(
    "zone_offer",
    metadata,
    Column("number", Text, primary_key=True),  # normal form
    Column("policy", Integer, primary_key=True, autoincrement=False),
    Column("offered_at", BigInteger, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),  # 0: not
    sqlite_with_rowid=False,
)


def _everything(table: Table) -> dict[str, object]:
    return {column.name: bindparam(column.name, type_=column.type) for column in table.c}


def _big(name: str) -> object:
    return bindparam(name, type_=BigInteger)


# ------------------------------------------------------------------------------------------------ members

MEMBERS_PAGE = Query(
    "zones: read all memberships of numbers, a page at a time",
    select(zone_member)
    .where(zone_member.c.deleted == 0, zone_member.c.id > bindparam("after", type_=BigInteger))
    .order_by(zone_member.c.id)
    .limit(bindparam("limit", type_=Integer)),
)
MEMBERS_OF = Query(
    "zones: memberships of some numbers",
    select(zone_member)
    .where(zone_member.c.deleted == 0, among(zone_member.c.number, "numbers"))
    .order_by(zone_member.c.id),
)
MEMBERS_CHANGED = Query(
    "zones: numbers whose memberships changed",
    select(zone_member.c.number, zone_member.c.revision)
    .where(zone_member.c.revision > bindparam("after", type_=BigInteger))
    .order_by(zone_member.c.revision)
    .limit(bindparam("limit", type_=Integer)),
)
MEMBERS_PER = Query(
    "zones: numbers that belong to a zone",
    select(zone_member.c.number)
    .where(
        zone_member.c.deleted == 0,
        zone_member.c.zone == bindparam("zone", type_=Integer),
        zone_member.c.number > bindparam("after", type_=BigInteger),
    )
    .order_by(zone_member.c.number)
    .limit(bindparam("limit", type_=Integer)),
)
INSERT_MEMBER = Sql("zones: add a membership", zone_member.insert().values(_everything(zone_member)))
END_MEMBERS = Sql(
    "zones: end the memberships of a number",
    zone_member.update()
    .where(zone_member.c.number == bindparam("of_number", type_=BigInteger), zone_member.c.deleted == 0)
    .values(deleted=1, revision=bindparam("revision", type_=BigInteger), updated_by=bindparam("updated_by")),
)
SWEEP_MEMBERS = Sql(
    "zones: remove memberships that ended long ago",
    delete(zone_member).where(
        zone_member.c.id.in_(
            select(zone_member.c.id)
            .where(zone_member.c.deleted == 1, zone_member.c.revision < bindparam("before", type_=BigInteger))
            .limit(bindparam("limit", type_=Integer))
        )
    ),
)

# ------------------------------------------------------------------------------------------------ groups

GROUPS_PAGE = Query(
    "zones: read all group members, a page at a time",
    select(zone_group_member.c.number, zone_group_member.c.name)
    .where(
        zone_group_member.c.deleted == 0, zone_group_member.c.number > bindparam("after", type_=BigInteger)
    )
    .order_by(zone_group_member.c.number)
    .limit(bindparam("limit", type_=Integer)),
)
GROUPS_OF = Query(
    "zones: groups of some numbers",
    select(zone_group_member.c.number, zone_group_member.c.name).where(
        zone_group_member.c.deleted == 0, among(zone_group_member.c.number, "numbers")
    ),
)
GROUPS_CHANGED = Query(
    "zones: numbers whose groups changed",
    select(zone_group_member.c.number, zone_group_member.c.revision)
    .where(zone_group_member.c.revision > bindparam("after", type_=BigInteger))
    .order_by(zone_group_member.c.revision)
    .limit(bindparam("limit", type_=Integer)),
)
GROUP_MEMBERS = Query(
    "zones: numbers in a group",
    select(zone_group_member.c.number)
    .where(
        zone_group_member.c.deleted == 0,
        zone_group_member.c.name == bindparam("name"),
        zone_group_member.c.number > bindparam("after", type_=BigInteger),
    )
    .order_by(zone_group_member.c.number)
    .limit(bindparam("limit", type_=Integer)),
)
_group_row = upsert(zone_group_member).values(_everything(zone_group_member))
PUT_GROUP_MEMBER = Sql(
    "zones: put a number into a group, or take it out",
    _group_row.on_conflict_do_update(
        index_elements=[zone_group_member.c.number, zone_group_member.c.name],
        set_={"revision": _group_row.excluded.revision, "deleted": _group_row.excluded.deleted},
    ),
)

# ------------------------------------------------------------------------------------------------ fixes

INSERT_FIX = Sql("zones: keep a fix", zone_fix.insert().values(_everything(zone_fix)))
NEWEST_FIX = Query(
    "zones: newest fix of a number",
    select(zone_fix)
    .where(zone_fix.c.number == bindparam("number"))
    .order_by(zone_fix.c.measured_at.desc(), zone_fix.c.id.desc())
    .limit(1),
)
FIXES_BY_ID = Query(
    "zones: fixes that decisions refer to", select(zone_fix).where(among(zone_fix.c.id, "ids"))
)
FIX_HISTORY = Query(
    "zones: fixes of a number, newest first",
    select(zone_fix)
    .where(
        zone_fix.c.number == bindparam("number"),
        zone_fix.c.measured_at < bindparam("before", type_=BigInteger),
    )
    .order_by(zone_fix.c.measured_at.desc(), zone_fix.c.id.desc())
    .limit(bindparam("limit", type_=Integer)),
)
DELETE_FIXES_OF = Sql(
    "zones: forget where a number was", delete(zone_fix).where(zone_fix.c.number == bindparam("number"))
)
SWEEP_FIXES = Sql(
    "zones: remove old fixes",
    delete(zone_fix).where(
        zone_fix.c.id.in_(
            select(zone_fix.c.id)
            .where(zone_fix.c.id < bindparam("before", type_=BigInteger))
            .limit(bindparam("limit", type_=Integer))
        )
    ),
)

# ------------------------------------------------------------------------------------------------ cells

GET_CELL = Query(
    "zones: where a cell is",
    select(zone_cell).where(
        zone_cell.c.mcc == bindparam("mcc", type_=SmallInteger),
        zone_cell.c.mnc == bindparam("mnc", type_=SmallInteger),
        zone_cell.c.area == bindparam("area", type_=Integer),
        zone_cell.c.cell == bindparam("cell", type_=BigInteger),
    ),
)
_cell_row = upsert(zone_cell).values(_everything(zone_cell))
PUT_CELL = Sql(
    "zones: keep a cell, the newest of two",
    _cell_row.on_conflict_do_update(
        index_elements=[zone_cell.c.mcc, zone_cell.c.mnc, zone_cell.c.area, zone_cell.c.cell],
        set_={
            name: _cell_row.excluded[name]
            for name in ("radio", "latitude_e7", "longitude_e7", "range_m", "samples", "updated_at", "source")
        },
        where=_cell_row.excluded.updated_at >= zone_cell.c.updated_at,
    ),
)
CELLS_IN = Query(
    "zones: cells inside a box",
    select(zone_cell)
    .where(
        zone_cell.c.latitude_e7.between(bindparam("south", type_=Integer), bindparam("north", type_=Integer)),
        zone_cell.c.longitude_e7.between(bindparam("west", type_=Integer), bindparam("east", type_=Integer)),
    )
    .limit(bindparam("limit", type_=Integer)),
)

# ------------------------------------------------------------------------------------------------ offers and holds

GET_OFFER = Query(
    "zones: what was offered to a number under a policy",
    select(zone_offer).where(
        zone_offer.c.number == bindparam("number"), zone_offer.c.policy == bindparam("policy", type_=Integer)
    ),
)
OFFERS_OF = Query(
    "zones: what was offered to a number",
    select(zone_offer).where(zone_offer.c.number == bindparam("number")),
)
_offer_row = upsert(zone_offer).values(_everything(zone_offer))
PUT_OFFER = Sql(
    "zones: remember an offer, unless one was made since",
    _offer_row.on_conflict_do_update(
        index_elements=[zone_offer.c.number, zone_offer.c.policy],
        set_={"offered_at": _offer_row.excluded.offered_at},
        where=zone_offer.c.offered_at <= bindparam("unless_after", type_=BigInteger),
    ),
)
ACCEPT_OFFER = Sql(
    "zones: the answer was YES",
    zone_offer.update()
    .where(
        zone_offer.c.number == bindparam("of_number"),
        zone_offer.c.offered_at > bindparam("offered_after", type_=BigInteger),
    )
    .values(accepted_at=bindparam("accepted_at", type_=BigInteger)),
)

HELD_FOR = Query(
    "zones: messages for a recipient that a check holds",
    select(queue.c.id)
    .where(
        queue.c.recipient == bindparam("number"), queue.c.reason == bindparam("reason"), queue.c.owner == 0
    )
    .order_by(queue.c.id)
    .limit(bindparam("limit", type_=Integer)),
)
HELD_FROM = Query(
    "zones: messages of a sender that a check holds",
    select(queue.c.id)
    .join(message, message.c.id == queue.c.id)
    .where(
        message.c.sender == bindparam("number"),
        message.c.id > bindparam("after", type_=BigInteger),
        queue.c.reason == bindparam("reason"),
        queue.c.owner == 0,
    )
    .order_by(queue.c.id)
    .limit(bindparam("limit", type_=Integer)),
)
HASTEN = Sql(
    "zones: let held messages be judged again now",
    queue.update()
    .where(among(queue.c.id, "ids"), queue.c.reason == bindparam("held"), queue.c.owner == 0)
    .values(due_at=bindparam("due_at", type_=BigInteger)),
)
COUNT_HELD = Query(
    "zones: how many messages wait for a recipient",
    select(queue.c.id)
    .where(
        queue.c.recipient == bindparam("number"),
        queue.c.reason == bindparam("reason"),
        queue.c.id < bindparam("before", type_=BigInteger),
    )
    .limit(bindparam("limit", type_=Integer)),
)

# ------------------------------------------------------------------------------------------------ decisions

EVIDENCE_OF = Query(
    "zones: what checks said about some messages",
    select(event.c.message, event.c.at, event.c.detail)
    .where(among(event.c.message, "ids"), event.c.kind == "evidence")
    .order_by(event.c.message, event.c.at, event.c.sequence),
)
EVIDENCE_BETWEEN = Query(
    "zones: what checks said about messages of a time, newest first",
    select(event.c.message, event.c.at, event.c.sequence, event.c.detail, event.c.node)
    .where(
        event.c.message >= bindparam("first", type_=BigInteger),
        event.c.message < bindparam("before", type_=BigInteger),
        event.c.kind == "evidence",
        event.c.detail.like(bindparam("like")),
    )
    .order_by(event.c.message.desc(), event.c.at.desc(), event.c.sequence.desc())
    .limit(bindparam("limit", type_=Integer)),
)
EVIDENCE_ABOUT = Query(
    "zones: what checks said about messages from or to a number, newest first",
    select(event.c.message, event.c.at, event.c.sequence, event.c.detail, event.c.node)
    .join(message, message.c.id == event.c.message)
    .where(
        (message.c.sender == bindparam("number")) | (message.c.recipient == bindparam("number")),
        event.c.message >= bindparam("first", type_=BigInteger),
        event.c.message < bindparam("before", type_=BigInteger),
        event.c.kind == "evidence",
        event.c.detail.like(bindparam("like")),
    )
    .order_by(event.c.message.desc(), event.c.at.desc(), event.c.sequence.desc())
    .limit(bindparam("limit", type_=Integer)),
)
SIBLINGS = Query(
    "zones: other parts of a message in several parts",
    select(message.c.id)
    .where(
        message.c.recipient == bindparam("recipient"),
        message.c.sender == bindparam("sender"),
        message.c.id > bindparam("after", type_=BigInteger),
        message.c.part_reference == bindparam("part_reference", type_=Integer),
        message.c.part_total == bindparam("part_total", type_=SmallInteger),
    )
    .order_by(message.c.id)
    .limit(300),
)
