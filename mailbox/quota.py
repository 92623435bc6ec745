"""Room in a box.

In charge of: what a full box drops for something new (behaviour.md 9): the oldest read items, those in the bin first
and starred ones last, never unread ones and never one whose sender does not know the end. Not in charge of: refusing
(`outlet.py`), age (`retention.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..store.store import Store
from . import statements as sql
from .folders import Folder
from .item import Group, Row, group_rows

__all__ = ["MOST_DROPPED", "droppable", "read_parts"]

MOST_DROPPED = 200  #: items one deposit may push out; more would be too much for one transaction


async def droppable(
    store: Store, subscriber: int, *, octets: int, messages: int, chosen: Collection[int] = ()
) -> list[Group] | None:
    """The items to drop so that so many octets and messages have room; None if that cannot be.

    `chosen` are ids that another deposit drops already.
    """
    found = await store.fetch(sql.DROPPABLE, subscriber=subscriber, limit=MOST_DROPPED + len(chosen))
    leaders = [Row.of(row) for row in found if row["id"] not in chosen]
    dropped: list[Group] = []
    for group in group_rows(leaders, await read_parts(store, subscriber, leaders)):
        if octets <= 0 and messages <= 0:
            break
        if octets <= 0 and group.leader.folder == Folder.TRASH:
            continue  # what is in the bin is not counted as a message
        dropped.append(group)
        octets -= group.size
        messages -= 0 if group.leader.folder == Folder.TRASH else 1
    return dropped if octets <= 0 and messages <= 0 else None


async def read_parts(store: Store, subscriber: int, leaders: Sequence[Row]) -> list[Row]:
    """All rows, in full, of those messages that came in parts."""
    ids = [row.id for row in leaders if row.part_total]
    parts: list[Row] = []
    for at in range(0, len(ids), sql.CHUNK):
        chunk = sql.in_chunk(ids[at : at + sql.CHUNK])
        parts += [Row.of(row) for row in await store.fetch(sql.PARTS, subscriber=subscriber, **chunk)]
    return parts
