"""Changes of items, as writes.

In charge of: which statements make up a change of flags, a move or a removal, with what they do to the counters. Not in
charge of: reading items before, or running the writes (`box.py`, `quota.py`, `retention.py`).

Theory. An item is read, its new state is computed here, and the write holds only if the item's modseq is still the one
that was read; else the change is undone and the caller reads again. So the counters need no scan and cannot drift. What
happens to several items in one change gets modseqs in a row: the count adds as many steps, and each write subtracts
how many come after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..outlet import Write
from . import statements as sql
from .folders import Folder, counts
from .item import Group

__all__ = ["Flags", "count", "flagging", "removal"]


def count(subscriber: int, steps: int = 1, *, unread: int = 0, total: int = 0, octets: int = 0) -> Write:
    """The first write of every change of a box: `steps` things happen, and the counters change by so much."""
    params = {
        "subscriber": subscriber,
        "steps": steps,
        "d_unread": unread,
        "d_total": total,
        "d_bytes": octets,
    }
    return Write(sql.COUNT, params, expect=1)


@dataclass(frozen=True, slots=True)
class Flags:
    """What an item's owner may change of it."""

    read: bool
    starred: bool
    folder: Folder
    retrieved_at: int

    @classmethod
    def of(cls, group: Group) -> Flags:
        """As they are."""
        leader = group.leader
        return cls(bool(leader.is_read), bool(leader.starred), Folder(leader.folder), leader.retrieved_at)


def flagging(subscriber: int, edits: Sequence[tuple[Group, Flags]], at: int) -> list[Write]:
    """Give items new flags."""
    writes: list[Write] = []
    unread = total = 0
    for index, (group, flags) in enumerate(edits):
        leader = group.leader
        before = counts(Folder(leader.folder), bool(leader.is_read))
        after = counts(flags.folder, flags.read)
        unread += after[0] - before[0]
        total += after[1] - before[1]
        binned_at = 0
        if flags.folder is Folder.TRASH:
            binned_at = leader.binned_at or at
        params: dict[str, object] = {
            "subscriber": subscriber,
            "item": leader.id,
            "seen": leader.modseq,
            "back": len(edits) - 1 - index,
            "to_read": int(flags.read),
            "to_starred": int(flags.starred),
            "to_folder": int(flags.folder),
            "to_binned_at": binned_at,
            "to_retrieved_at": flags.retrieved_at,
        }
        writes.append(Write(sql.FLAG, params, expect=1))
        if leader.part_total:
            follow = ("subscriber", "item", "back", "to_folder")
            writes.append(Write(sql.FOLLOW, {name: params[name] for name in follow}))
    return [count(subscriber, len(edits), unread=unread, total=total), *writes]


def removal(subscriber: int, groups: Sequence[Group], at: int) -> list[Write]:
    """Remove items for good, and remember that they are gone."""
    writes: list[Write] = []
    unread = total = octets = 0
    for index, group in enumerate(groups):
        leader = group.leader
        adds = counts(Folder(leader.folder), bool(leader.is_read))
        unread -= adds[0]
        total -= adds[1]
        octets -= group.size
        item = {"subscriber": subscriber, "item": leader.id}
        writes.append(Write(sql.REMOVE, {**item, "seen": leader.modseq}, expect=1))
        if leader.part_total:
            writes.append(Write(sql.REMOVE_PARTS, item))
        writes.append(Write(sql.BURY, {**item, "back": len(groups) - 1 - index, "at": at}, expect=1))
    return [count(subscriber, len(groups), unread=unread, total=total, octets=octets), *writes]
