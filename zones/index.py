"""Which zones contain a place: for maps, for the question "what would apply here", never on a message's way.

In charge of: an index of zones by their boxes, kept up to date while it is asked. Not in charge of: the zones of one
subscriber, which are looked up by number (`rules.py`).

Theory. Shapely's tree cannot change, so zones that were added, edited or removed since it was built stand in an
overlay and in a set of numbers that the tree's answers are held against. When the overlay has grown, a new tree is
built on another thread from copies, and swapped in between two steps of the event loop; what changed during the
building stays in the overlay. Boxes give candidates and each candidate's own shape decides: `tree.query(predicate=…)`
costs several times as much.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from .geometry import cap_boxes
from .presence import Box, Position, Presence, Shape, State

__all__ = ["Entry", "ZoneIndex"]

#: Overlay entries that start a new tree; each costs about a tenth of a microsecond per question.
REBUILD_FROM = 128
#: Boxes of one tree: building one takes some milliseconds.
TILE = 10_000
#: New boxes made at once.
CHUNK = 1_000


@dataclass(slots=True)
class Entry:
    """An indexed zone."""

    number: int
    shape: Shape
    boxes: list[Box]


@dataclass(slots=True)
class _Tile:
    """The zones of a stripe of longitudes."""

    tree: shapely.STRtree
    boxes: NDArray[np.object_]
    entries: list[Entry]  #: by position in the tree; a zone with two boxes stands there twice
    around: Box  #: all of them


_Base = list[_Tile]


def _build(base: _Base, stale: Set[int], news: Sequence[Entry]) -> _Base:
    """The tiles of what still counts in `base`, and of news; run it on another thread.

    No other thread runs while a tree is built, the event loop least of all: so trees are kept small, boxes that exist
    are used again, and new ones are made a few at a time.
    """
    entries: list[Entry] = []
    parts: list[NDArray[np.object_]] = [np.empty(0, dtype=object)]
    for tile in base:
        kept = [at for at, entry in enumerate(tile.entries) if entry.number not in stale]
        entries += [tile.entries[at] for at in kept]
        time.sleep(0)  # lets the loop go first, here and below
        parts.append(tile.boxes[np.asarray(kept, dtype=np.int64)])
    for start in range(0, len(news), CHUNK):
        chunk = news[start : start + CHUNK]
        entries += [entry for entry in chunk for _ in entry.boxes]
        corners = np.array([box for entry in chunk for box in entry.boxes], dtype=np.float64).reshape(-1, 4)
        made: Any = shapely.box(corners[:, 0], corners[:, 1], corners[:, 2], corners[:, 3])
        parts.append(np.asarray(made, dtype=object))
    boxes: NDArray[np.object_] = np.concatenate(parts)
    bounds_of = cast("Callable[[Any], NDArray[np.float64]]", shapely.bounds)
    bounds = [bounds_of(boxes[at : at + CHUNK]) for at in range(0, len(boxes), CHUNK)]
    corners = np.concatenate(bounds) if bounds else np.empty((0, 4))
    order = np.argsort(corners[:, 0] + corners[:, 2], kind="stable")
    starts = range(0, len(order), TILE)
    return [_tile(boxes, entries, corners, order[start : start + TILE]) for start in starts]


def _tile(
    boxes: NDArray[np.object_],
    entries: Sequence[Entry],
    corners: NDArray[np.float64],
    chosen: NDArray[np.int64],
) -> _Tile:
    mine, own = boxes[chosen], corners[chosen]
    tree = shapely.STRtree(cast("Any", mine))
    time.sleep(0)
    tree.query(shapely.Point(0, 0))  # GEOS sorts the tree at the first question: let it be this one
    low, high = own.min(axis=0), own.max(axis=0)
    around = (float(low[0]), float(low[1]), float(high[2]), float(high[3]))
    return _Tile(tree, mine, [entries[at] for at in chosen.tolist()], around)


class ZoneIndex:
    """All zones by place, on one node."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Build at once; later changes go through `put` and `remove`."""
        self._entries: dict[int, Entry] = {entry.number: entry for entry in entries}
        self._base = _build([], frozenset(), list(self._entries.values()))
        self._overlay: dict[int, Entry] = {}
        self._stale: set[int] = set()  # numbers whose entry in the tree does not count any more
        self._building: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self.snapshot = 0  #: counts changes; decisions name it

    def __len__(self) -> int:
        """Zones in it."""
        return len(self._entries)

    def put(self, number: int, shape: Shape) -> None:
        """Add a zone or replace its shape."""
        entry = Entry(number, shape, shape.boxes())
        self.snapshot += 1
        if number in self._entries:
            self._stale.add(number)
        self._entries[number] = entry
        self._overlay[number] = entry
        self._rebuild_soon()

    def remove(self, number: int) -> None:
        """Take a zone out."""
        if self._entries.pop(number, None) is not None:
            self.snapshot += 1
            self._overlay.pop(number, None)
            self._stale.add(number)
            self._rebuild_soon()

    def containing(self, fix: Position, radius_m: float = 0.0) -> list[tuple[int, Presence]]:
        """Zones that a fix lies in, or may lie in, by number."""
        latitude, longitude = fix.latitude, fix.longitude
        if latitude is None or longitude is None:
            return []
        found: list[tuple[int, Presence]] = []
        for entry in self._candidates(latitude, longitude, radius_m):
            presence = entry.shape.presence(fix, radius_m)
            if presence.state in (State.IN, State.PARTIAL):
                found.append((entry.number, presence))
        if len(found) > 1:
            found.sort(key=_number)
        return found

    def within(self, box: Box) -> list[int]:
        """Numbers of zones whose boxes meet a box."""
        numbers = {entry.number for entry in self._indexed(box)} - self._stale
        numbers |= {n for n, entry in self._overlay.items() if any(_meets(box, one) for one in entry.boxes)}
        return sorted(numbers)

    def _indexed(self, box: Box) -> list[Entry]:
        """Entries of the trees whose boxes meet a box."""
        west, south, east, north = box
        found: list[Entry] = []
        for tile in self._base:
            w, s, e, n = tile.around
            if w <= east and west <= e and s <= north and south <= n:
                asked: Any = (
                    shapely.points(west, south) if west == east else shapely.box(west, south, east, north)
                )
                hits: Any = tile.tree.query(asked)
                if len(hits):
                    found += [tile.entries[at] for at in hits.tolist()]
        return found

    def _candidates(self, latitude: float, longitude: float, radius_m: float) -> list[Entry]:
        stale = self._stale
        boxes = [(longitude, latitude, longitude, latitude)]
        if radius_m > 0:
            boxes = cap_boxes(latitude, longitude, radius_m)
        found = [entry for box in boxes for entry in self._indexed(box)]
        if stale:
            found = [entry for entry in found if entry.number not in stale]
        if len(found) > 1:
            found = list({entry.number: entry for entry in found}.values())  # two boxes may both be hit
        for entry in self._overlay.values():
            if any(_meets(one, box) for one in entry.boxes for box in boxes):
                found.append(entry)
        return found

    # ------------------------------------------------------------------------------------------------ rebuilding

    def _rebuild_soon(self) -> None:
        if len(self._overlay) + len(self._stale) < REBUILD_FROM or self._building is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # at start, before there is a loop
            return
        self._building = loop.create_task(self.rebuild())

    async def rebuild(self) -> None:
        """Build a tree of everything there is now, beside the running questions."""
        async with self._turn:  # two builds at once would only stand in each other's way
            base, stale, overlay = self._base, frozenset(self._stale), dict(self._overlay)
            # What the overlay replaces counts no more in the old trees.
            gone = stale | overlay.keys()
            new = await asyncio.to_thread(_build, base, gone, list(overlay.values()))
            self._swap(new, stale, overlay)
        if self._building is asyncio.current_task():
            self._building = None
        self._rebuild_soon()

    def _swap(self, base: _Base, stale: Set[int], taken: Mapping[int, Entry]) -> None:
        """Show a new tree; what changed while it was built stays in the overlay."""
        self._base = base
        changed = {number for number, entry in taken.items() if self._entries.get(number) is not entry}
        self._stale = (self._stale - stale - taken.keys()) | changed
        self._overlay = {n: entry for n, entry in self._overlay.items() if taken.get(n) is not entry}

    @property
    def settled(self) -> asyncio.Task[None] | None:
        """The rebuild under way, for those who want to wait for it."""
        return self._building


def _number(found: tuple[int, Presence]) -> int:
    return found[0]


def _meets(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
