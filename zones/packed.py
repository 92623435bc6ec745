"""Millions of small records by number, in a few octets each.

In charge of: one sorted array of keys, one of packed records, and an overlay of what changed since. Not in charge of:
what the records mean (`members.py`).

Theory. A Python dict of tuples costs some 200 octets an entry, this costs the record and 8. Changes go into an
overlay, a dict that answers first and for its keys alone; when it has grown, both are merged into new arrays on
another thread and swapped in between two steps of the event loop.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from struct import Struct
from typing import Any

__all__ = ["Packed"]

Record = tuple[Any, ...]


class Packed:
    """number -> records. Only the event loop changes it."""

    __slots__ = ("_struct", "_keys", "_records", "_overlay", "_moving")

    def __init__(self, layout: str) -> None:
        """`layout`: of a record, as `struct` spells it."""
        self._struct = Struct(layout)
        self._keys = array("Q")
        self._records = bytearray()
        self._overlay: dict[int, tuple[Record, ...]] = {}
        self._moving: dict[int, tuple[Record, ...]] = {}  # on its way into the arrays

    def __len__(self) -> int:
        """Records, about: the overlay may hide some."""
        return len(self._keys) + len(self._overlay) + len(self._moving)

    def load(self, entries: Iterable[tuple[int, Record]]) -> None:
        """Fill an empty one; entries in order of their keys."""
        pack = self._struct.pack
        for key, record in entries:
            self._keys.append(key)
            self._records += pack(*record)
        if any(one > other for one, other in pairwise(self._keys)):
            raise ValueError("keys are not in order")

    def get(self, key: int) -> Sequence[Record]:
        """Records of a number, in their order."""
        if self._overlay:
            changed = self._overlay.get(key)
            if changed is not None:
                return changed
        if self._moving:
            changed = self._moving.get(key)
            if changed is not None:
                return changed
        keys = self._keys
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            return ()
        size, unpack = self._struct.size, self._struct.unpack_from
        found: list[Record] = []
        while at < len(keys) and keys[at] == key:
            found.append(unpack(self._records, at * size))
            at += 1
        return found

    def put(self, key: int, records: Sequence[Record]) -> None:
        """Replace the records of a number."""
        self._overlay[key] = tuple(records)

    @property
    def changed(self) -> int:
        """Numbers in the overlay."""
        return len(self._overlay)

    def begin_merge(self) -> tuple[array[int], bytearray, Mapping[int, tuple[Record, ...]]]:
        """What `merged` needs; changes from now on are kept apart."""
        if self._moving:
            raise RuntimeError("a merge is under way")
        self._moving, self._overlay = self._overlay, {}
        return self._keys, self._records, self._moving

    def merged(
        self, keys: array[int], records: bytearray, changes: Mapping[int, tuple[Record, ...]]
    ) -> tuple[array[int], bytearray]:
        """New arrays; run it on another thread."""
        size, pack = self._struct.size, self._struct.pack
        new_keys, new_records = array("Q"), bytearray()
        at = 0
        for key in sorted(changes):
            until = bisect_left(keys, key, at)
            new_keys.extend(keys[at:until])
            new_records += records[at * size : until * size]
            for record in changes[key]:
                new_keys.append(key)
                new_records += pack(*record)
            at = until
            while at < len(keys) and keys[at] == key:
                at += 1
        new_keys.extend(keys[at:])
        new_records += records[at * size :]
        return new_keys, new_records

    def end_merge(self, keys: array[int], records: bytearray) -> None:
        """Show the merged arrays."""
        self._keys, self._records = keys, records
        self._moving = {}
