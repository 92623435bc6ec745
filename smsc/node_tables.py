"""Tables of several nodes on one database: what each one reaches, and the seats of binds.

In charge of: columns, and the statements of `neighbours.py`, `handover.py` and `seats.py`. Not in charge of: who lives
(`store/nodes.py`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, Table, Text, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert  # SQLite compiles it too

from ..store.nodes import database_ms
from ..store.statement import Query, Sql, among
from ..store.tables import metadata, node, queue
from .tables import recipient

__all__ = [
    "BEHIND",
    "CHANGED",
    "FORGET_PRESENCE",
    "FORGET_SEATS",
    "OLDER_ELSEWHERE",
    "OTHERS",
    "SEATS_TAKEN",
    "SHOW",
    "SILENCES",
    "STAND_UP",
    "TAKE_SEAT",
    "presence",
    "seat",
]

SILENCES = Query(
    "recipients: what other nodes remember of some",
    select(recipient).where(among(recipient.c.number, "numbers")),
)

#: What each node reaches. A row stays while its life lasts, so that those who look for changes see it go.
presence = Table(
    "presence",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),  # the life that says so
    Column("outlet", Text, primary_key=True),  # Outlet.name
    Column("since", BigInteger, nullable=False),  # UTC epoch milliseconds; 0: not reached any more
    Column("handset", SmallInteger, nullable=False),  # 1: recipients behind it are handsets
    Column("revision", BigInteger, nullable=False),  # counts up within the epoch
)

#: One row a bind, numbered within its account from 1 to max_binds: the key keeps two nodes from using one seat.
seat = Table(
    "seat",
    metadata,
    Column("account", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),  # the life that the bind belongs to
)

_lives = select(node.c.epoch).where(node.c.released == 0)

OTHERS = Query(
    "neighbours: lives that are not over, and how long ago they said so",
    select(node.c.epoch, (database_ms() - node.c.heartbeat_at).label("silent_ms")).where(
        node.c.released == 0
    ),
)
BEHIND = Query(
    "neighbours: how far each life has come",
    select(presence.c.epoch, func.max(presence.c.revision).label("revision"))
    .where(presence.c.epoch.in_(_lives))
    .group_by(presence.c.epoch),
)
CHANGED = Query(
    "neighbours: what a life says since",
    select(presence).where(
        presence.c.epoch == bindparam("epoch"), presence.c.revision > bindparam("after", type_=BigInteger)
    ),
)


def _show() -> Sql:
    new = upsert(presence).values({name: bindparam(name) for name in presence.columns.keys()})  # noqa: SIM118 -- a ColumnCollection
    kept = {name: new.excluded[name] for name in ("since", "handset", "revision")}
    return Sql(
        "neighbours: say what we reach",
        new.on_conflict_do_update(index_elements=[presence.c.epoch, presence.c.outlet], set_=kept),
    )


SHOW = _show()
FORGET_PRESENCE = Sql(
    "neighbours: lives that are over", delete(presence).where(presence.c.epoch.not_in(_lives))
)

#: A row that another node works on, of somebody whose turn is asked for here.
OLDER_ELSEWHERE = Query(
    "neighbours: who else works for these recipients",
    select(queue.c.recipient, func.min(queue.c.id).label("id"))
    .where(
        among(queue.c.recipient, "recipients"),
        queue.c.owner > 0,
        queue.c.owner != bindparam("epoch", type_=BigInteger),
    )
    .group_by(queue.c.recipient),
)

SEATS_TAKEN = Query(
    "seats: those of an account that lives hold",
    select(seat.c.number).where(seat.c.account == bindparam("account"), seat.c.epoch.in_(_lives)),
)


def _take_seat() -> Sql:
    new = upsert(seat).values({name: bindparam(name) for name in seat.columns.keys()})  # noqa: SIM118 -- a ColumnCollection
    return Sql(
        "seats: take one, if it is free or its life is over",
        new.on_conflict_do_update(
            index_elements=[seat.c.account, seat.c.number],
            set_={"epoch": new.excluded.epoch},
            where=seat.c.epoch.not_in(_lives),
        ),
    )


TAKE_SEAT = _take_seat()
STAND_UP = Sql(
    "seats: leave one",
    delete(seat).where(
        seat.c.account == bindparam("of_account"),
        seat.c.number == bindparam("of_number"),
        seat.c.epoch == bindparam("of_epoch"),
    ),
)
FORGET_SEATS = Sql("seats: lives that are over", delete(seat).where(seat.c.epoch.not_in(_lives)))
