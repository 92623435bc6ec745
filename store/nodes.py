"""Who is alive: node numbers, epochs, heartbeats, and the reserve of message ids.

In charge of: leasing a number for this node's life, knowing whether that life is still ours, reserving ids ahead so
that none is made twice, and finding epochs that are over. Not in charge of: what happens to the work of a dead node
(`claim` in `engine.py`) or stopping to send (whoever asked `alive` or `on_life`).

Theory. A row of `node` is a number's life: its epoch is taken from a counter that only grows (the highest epoch of
any row, plus one), so it names that life for ever. Every queue row names the epoch that works on it and every later
write names the epoch it expects, so that a process which lost its epoch can do no harm, however late it writes. An
epoch is lost when somebody else writes a higher one into the row: a node of the same name that starts, or another
node that found the heartbeat too old. Both do it by compare-and-set, so one wins.

    LIVE ---- no heartbeat for half of `dead_after_s` ----> STALE ---- a heartbeat succeeds ----> LIVE
      |                                                       |
      +------------- the row has another epoch -------------->+--> FENCED (for ever)

A STALE node must not send: it may already have been taken for dead. Its writes are still put: the fence decides.
The age of the last heartbeat is judged by a clock that also counts while the machine sleeps, at the moment of asking,
so a process that was stopped and goes on finds itself STALE before it can send anything.

Ids. `high_water` is an id above every id that this number has made; it is reserved ahead and durably. After a crash the
next life starts above it, whatever the clock says. When a heartbeat is late, ids stay within the reserve and fall
behind the clock for a while.

Source: behaviour.md 10; notes/store.md 4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import BigInteger, bindparam, func, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..message import ID_SHIFT, MAX_NODE, IdGenerator, id_at
from .statement import Query, Sql
from .store import StoreClosed
from .tables import event, message, node, queue

__all__ = ["DRAIN", "Life", "LifeState", "Seat", "choose_seat", "database_ms"]

log = logging.getLogger(__name__)

#: Ids are reserved this far ahead, and again when half of it is used: a node that cannot reach its database runs dry.
RESERVE_MS = 20_000


#: What an operator may ask of a node (`wanted`): take nothing new, hand over what is not done, and end.
DRAIN = "drain"


class database_ms(FunctionElement[int]):
    """The database's own clock in epoch milliseconds; for the liveness of nodes only."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_ms, "postgresql")
def _now_postgresql(_element: database_ms, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


@compiles(database_ms, "sqlite")
def _now_sqlite(_element: database_ms, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


NODES = Query(
    "nodes: everybody, and the database's time",
    select(node, database_ms().label("now_ms")).order_by(node.c.number),
)
NOW = Query(
    "nodes: the database's time and the highest id",
    select(database_ms().label("now_ms"), select(func.max(message.c.id)).scalar_subquery().label("highest")),
)
SIT_DOWN = Sql(
    "nodes: begin a life on a number that exists, if nobody was faster",
    update(node)
    .where(node.c.number == bindparam("row_number"), node.c.epoch == bindparam("row_epoch"))
    .values(
        epoch=bindparam("epoch"),
        name=bindparam("name"),
        address=bindparam("address"),
        heartbeat_at=database_ms(),
        started_at=database_ms(),
        high_water=bindparam("high_water"),
        released=0,
        wanted="",
        version=bindparam("version"),
    ),
)
NEW_SEAT = Sql(
    "nodes: begin a life on a new number",
    insert(node).values(
        number=bindparam("number"),
        epoch=bindparam("epoch"),
        name=bindparam("name"),
        address=bindparam("address"),
        heartbeat_at=database_ms(),
        started_at=database_ms(),
        high_water=bindparam("high_water"),
        released=0,
        mark=0,
        wanted="",
        version=bindparam("version"),
    ),
)
BEAT = Sql(
    "nodes: say that we live, and reserve ids",
    update(node)
    .where(node.c.number == bindparam("row_number"), node.c.epoch == bindparam("row_epoch"))
    .values(heartbeat_at=database_ms(), high_water=bindparam("high_water"))
    .returning(node.c.heartbeat_at, node.c.wanted),
)
LEAVE = Sql(
    "nodes: end a life in order",
    update(node)
    .where(node.c.number == bindparam("row_number"), node.c.epoch == bindparam("row_epoch"))
    .values(heartbeat_at=database_ms(), high_water=bindparam("high_water"), released=1),
)
BURY = Sql(
    "nodes: end the life of a node whose heartbeat is too old, if nobody was faster",
    update(node)
    .where(
        node.c.number == bindparam("row_number"),
        node.c.epoch == bindparam("row_epoch"),
        node.c.heartbeat_at < database_ms() - bindparam("dead_after_ms", type_=BigInteger),
    )
    .values(epoch=bindparam("epoch"), released=1),
)
ALONE = Sql(
    "nodes: every other life is over, because only one process may have this database open",
    update(node).where(node.c.number != bindparam("number"), node.c.released == 0).values(released=1),
)
LOOK = Query(
    "nodes: our row, and the database's time as the heartbeat",
    select(database_ms().label("heartbeat_at"), node.c.wanted).where(
        node.c.number == bindparam("number"), node.c.epoch == bindparam("epoch")
    ),
)

WANT = Sql(
    "nodes: ask something of a live node",
    update(node)
    .where(
        node.c.number == bindparam("row_number"), node.c.epoch == bindparam("row_epoch"), node.c.released == 0
    )
    .values(wanted=bindparam("wanted")),
)
#: Who there is, for people: with the queue rows each one works on.
ROLL = Query(
    "nodes: everybody, with what they work on",
    select(
        node,
        database_ms().label("now_ms"),
        select(func.count()).where(queue.c.owner == node.c.epoch).scalar_subquery().label("owned"),
    ).order_by(node.c.number),
)

# A batch whose commit was cut off is recognised by a row that only it inserts, or by its number.
SET_MARK = Sql(
    "nodes: number a batch that inserts no row of its own",
    update(node)
    .where(node.c.number == bindparam("row_number"), node.c.epoch == bindparam("row_epoch"))
    .values(mark=bindparam("mark")),
)
FIND_MARK = Query(
    "nodes: was the batch with this number committed?",
    select(node.c.mark).where(
        node.c.number == bindparam("number"),
        node.c.epoch == bindparam("epoch"),
        node.c.mark == bindparam("mark"),
    ),
)
FIND_MESSAGE = Query(
    "nodes: was the batch with this message committed?",
    select(message.c.id).where(message.c.id == bindparam("id")),
)
FIND_EVENT = Query(
    "nodes: was the batch with this event committed?",
    select(event.c.message).where(
        event.c.message == bindparam("message"),
        event.c.at == bindparam("at"),
        event.c.node == bindparam("node"),
        event.c.sequence == bindparam("sequence"),
    ),
)


@dataclass(frozen=True, slots=True)
class Seat:
    """What a starting node would write: a life on a number."""

    number: int
    epoch: int
    replaces: int  #: epoch that must still stand in the row; 0: there is no row yet
    high_water: int  #: as found; ids start above it


def choose_seat(rows: Sequence[Mapping[str, Any]], name: str, dead_after_ms: int) -> Seat:
    """Choose a number: our own by name, else one given back, else a new one, else a dead one.

    Raises LookupError when all numbers are taken by live nodes.
    """
    epoch = max((row["epoch"] for row in rows), default=0) + 1

    def seat(row: Mapping[str, Any]) -> Seat:
        return Seat(row["number"], epoch, row["epoch"], row["high_water"])

    ours = [row for row in rows if row["name"] == name]
    released = [row for row in rows if row["released"]]
    if ours or released:
        return seat((ours or released)[0])
    number = max((row["number"] for row in rows), default=0) + 1
    if number <= MAX_NODE:
        return Seat(number, epoch, 0, 0)
    for row in rows:
        if row["heartbeat_at"] < row["now_ms"] - dead_after_ms:
            return seat(row)
    raise LookupError(f"all {MAX_NODE} node numbers are taken by live nodes")


class LifeState(Enum):
    """See the theory above."""

    LIVE = "live"
    STALE = "stale"
    FENCED = "fenced"


class Life:
    """This node's present life. Lives on the event loop."""

    def __init__(
        self, seat: Seat, *, stale_after_ns: int, tick: Callable[[], int], now_ms: Callable[[], int]
    ) -> None:
        """`tick` counts nanoseconds, also while the machine sleeps; `now_ms` is the center's clock."""
        self.number = seat.number
        self.epoch = seat.epoch
        self._stale_after_ns = stale_after_ns
        self._tick = tick
        self._now_ms = now_ms
        self._stale_at = tick() + stale_after_ns
        self._state = LifeState.LIVE
        self._hooks: list[Callable[[LifeState], None]] = []
        self._reserved = 0
        self._ids = IdGenerator(seat.number, seat.high_water, self._id_ms)
        self._made = max(seat.high_water, id_at(now_ms()))

    @property
    def state(self) -> LifeState:
        """As it is at this moment, not as it was at the last heartbeat."""
        if self._state is LifeState.LIVE and self._tick() > self._stale_at:
            self._become(LifeState.STALE)
        return self._state

    def on_life(self, hook: Callable[[LifeState], None]) -> None:
        """Call `hook` when the state changes."""
        self._hooks.append(hook)

    def beaten(self, sent_at: int) -> None:
        """A heartbeat that was sent at tick `sent_at` found our epoch in place."""
        self._stale_at = sent_at + self._stale_after_ns
        if self._state is LifeState.STALE:
            self._become(LifeState.LIVE)

    def fenced(self) -> None:
        """Our epoch is gone."""
        if self._state is not LifeState.FENCED:
            log.error("another life of node %d has begun: this one (epoch %d) stops", self.number, self.epoch)
            self._become(LifeState.FENCED)

    def _become(self, state: LifeState) -> None:
        self._state = state
        for hook in self._hooks:
            try:
                hook(state)
            except Exception:
                log.exception("a hook failed when this node became %s", state.value)

    # ------------------------------------------------------------------------------------------------ ids

    def _id_ms(self) -> int:
        """The time for ids: the clock's, but within the reserve, which a late heartbeat may leave behind."""
        return min(self._now_ms(), (self._reserved >> ID_SHIFT) - 1)

    def next_id(self) -> int:
        """Make an id. Raises StoreClosed when the reserve is used up: the database was out of reach for too long."""
        made = self._ids.next()
        if made >= self._reserved:
            raise StoreClosed("all reserved message ids are used: the database is out of reach")
        self._made = made
        return made

    @property
    def wants_ids(self) -> bool:
        """True when half of the reserve is used up by time or by ids."""
        return self._reserved < max(self._made, id_at(self._now_ms())) + id_at(RESERVE_MS // 2)

    def wanted_high_water(self) -> int:
        """What to write into the row to have ids for the next while."""
        return max(self._reserved, max(self._made, id_at(self._now_ms())) + id_at(RESERVE_MS))

    def reserved(self, high_water: int) -> None:
        """The row holds `high_water`, durably."""
        self._reserved = high_water

    def final_high_water(self) -> int:
        """What to write when the life ends in order: nothing above it was made."""
        return self._ids.next()
