"""Which zones contain a place: for maps, for the question "what would apply here", never on a message's way.

In charge of: an index of zones by their boxes that is right after every change. Not in charge of: the zones of one
subscriber, which are looked up by number (`rules.py`).

Theory. A grid of levels: each level halves the cells of the one above, and a box stands in the level whose cells are
just larger than itself, in the one, two or four cells that it touches. A place is asked for in one cell of each level
that has any; boxes give candidates and each candidate's own shape decides. A tree would answer as fast and be smaller,
but shapely's cannot change: it had to be built anew, and that held the event loop up. Here a change touches a few
small dictionaries (a level is a dictionary of columns, a column one of rows), whatever there is already.

Many changes at once, as of an import, are taken in a slice at a time between the other work of the loop. Whoever can
wait awaits `settled`; whoever asks without waiting has the rest taken in first, and is answered right too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import floor, frexp
from typing import TypeVar

from .geometry import cap_boxes
from .presence import Box, Position, Presence, Shape, State

__all__ = ["ZoneIndex"]

V = TypeVar("V")

#: Level of the smallest cells: 2**-6 degrees, about 1.7 km of latitude. Smaller boxes stand in these.
FINEST = -6
#: Changes that are made at once.
AT_ONCE = 64
#: How long a slice of more than that may take (seconds).
SLICE_S = 0.002

Numbers = tuple[int, ...]  # of integers, so that the garbage collector leaves it alone


@dataclass(slots=True)
class _Entry:
    """An indexed zone."""

    shape: Shape
    boxes: tuple[Box, ...]


@dataclass(slots=True)
class _Level:
    """Boxes of about one size."""

    scale: float  #: cells a degree
    columns: dict[int, dict[int, Numbers]] = field(default_factory=dict[int, dict[int, Numbers]])

    def cells(self, box: Box) -> tuple[int, int, int, int]:
        """First and last column, first and last row."""
        west, south, east, north = box
        scale = self.scale
        return (
            floor((west + 180.0) * scale),
            floor((east + 180.0) * scale),
            floor((south + 90.0) * scale),
            floor((north + 90.0) * scale),
        )

    def add(self, number: int, box: Box) -> None:
        """Enter a box."""
        first, last, low, high = self.cells(box)
        for x in range(first, last + 1):
            rows = self.columns.setdefault(x, {})
            for y in range(low, high + 1):
                there = rows.get(y, ())
                if number not in there:  # of a zone with two boxes that meet in a cell
                    rows[y] = (*there, number)

    def take(self, number: int, box: Box) -> None:
        """Take a box out; empty places go too."""
        first, last, low, high = self.cells(box)
        for x in range(first, last + 1):
            rows = self.columns.get(x, {})
            for y in range(low, high + 1):
                left = tuple(one for one in rows.get(y, ()) if one != number)
                if left:
                    rows[y] = left
                else:
                    rows.pop(y, None)
            if not rows:
                self.columns.pop(x, None)

    def around(self, box: Box) -> Iterator[Numbers]:
        """What stands in the cells that a box touches."""
        first, last, low, high = self.cells(box)
        for rows in _between(self.columns, first, last):
            yield from _between(rows, low, high)


def _between(places: dict[int, V], first: int, last: int) -> Iterator[V]:
    """Values of the keys in a range, by the shorter way."""
    if last - first < len(places):
        for at in range(first, last + 1):
            if at in places:
                yield places[at]
    else:
        for at, value in places.items():
            if first <= at <= last:
                yield value


class ZoneIndex:
    """All zones by place, on one node."""

    def __init__(self, shapes: Iterable[tuple[int, Shape]] = ()) -> None:
        """Zones by number."""
        self._entries: dict[int, _Entry] = {}
        self._levels: dict[int, _Level] = {}
        self._coming: dict[int, Shape | None] = {}  # not entered yet; None: to be taken out
        self._entering: asyncio.Task[None] | None = None
        self.snapshot = 0  #: counts changes; decisions name it
        for number, shape in shapes:
            self.put(number, shape)

    def __len__(self) -> int:
        """Zones in it."""
        self._catch_up()
        return len(self._entries)

    # ------------------------------------------------------------------------------------------------ changing

    def put(self, number: int, shape: Shape) -> None:
        """Add a zone or replace its shape."""
        self._coming.pop(number, None)
        self.snapshot += 1
        self._take_out(number)
        entry = _Entry(shape, tuple(shape.boxes()))
        self._entries[number] = entry
        for box in entry.boxes:
            size = _level_of(box)
            level = self._levels.get(size)
            if level is None:
                level = self._levels[size] = _Level(2.0**-size)
            level.add(number, box)

    def remove(self, number: int) -> None:
        """Take a zone out."""
        self._coming.pop(number, None)
        if self._take_out(number):
            self.snapshot += 1

    def _take_out(self, number: int) -> bool:
        entry = self._entries.pop(number, None)
        if entry is None:
            return False
        for box in entry.boxes:
            size = _level_of(box)
            level = self._levels[size]
            level.take(number, box)
            if not level.columns:
                del self._levels[size]
        return True

    def change(self, changes: Iterable[tuple[int, Shape | None]]) -> None:
        """Put zones, and remove those with None: at once if they are few, else soon."""
        self._coming.update(changes)
        if len(self._coming) > AT_ONCE:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # at start, before there is a loop
                pass
            else:
                if self._entering is None:
                    self._entering = loop.create_task(self._enter(), name="zones index")
                return
        self._catch_up()

    async def _enter(self) -> None:
        """Take in what comes, a slice at a time."""
        try:
            while self._coming:
                ends = time.monotonic() + SLICE_S
                while self._coming and time.monotonic() < ends:
                    self._enter_one()
                await asyncio.sleep(0)
        finally:
            self._entering = None

    def _enter_one(self) -> None:
        number, shape = self._coming.popitem()
        if shape is None:
            self.remove(number)
        else:
            self.put(number, shape)

    def _catch_up(self) -> None:
        while self._coming:
            self._enter_one()

    async def settled(self) -> None:
        """Until everything that was changed so far is in."""
        while self._entering is not None:
            await asyncio.wait([self._entering])

    # ------------------------------------------------------------------------------------------------ asking

    def containing(self, fix: Position, radius_m: float = 0.0) -> list[tuple[int, Presence]]:
        """Zones that a fix lies in, or may lie in, by number."""
        latitude, longitude = fix.latitude, fix.longitude
        if latitude is None or longitude is None:
            return []
        self._catch_up()
        if radius_m > 0:
            numbers = {n for box in cap_boxes(latitude, longitude, radius_m) for n in self._meeting(box)}
        else:
            numbers = self._at(latitude, longitude)
        found: list[tuple[int, Presence]] = []
        for number in numbers:
            presence = self._entries[number].shape.presence(fix, radius_m)
            if presence.state in (State.IN, State.PARTIAL):
                found.append((number, presence))
        if len(found) > 1:
            found.sort(key=_number)
        return found

    def within(self, box: Box) -> list[int]:
        """Numbers of zones whose boxes meet a box."""
        self._catch_up()
        return sorted(set(self._meeting(box)))

    def _at(self, latitude: float, longitude: float) -> list[int]:
        """Numbers of zones with a box around a place, each once."""
        x, y = longitude + 180.0, latitude + 90.0
        entries = self._entries
        found: list[int] = []
        for level in self._levels.values():
            rows = level.columns.get(int(x * level.scale))
            if rows is None:
                continue
            for number in rows.get(int(y * level.scale), ()):
                for west, south, east, north in entries[number].boxes:
                    if west <= longitude <= east and south <= latitude <= north and number not in found:
                        found.append(number)
        return found

    def _meeting(self, box: Box) -> Iterator[int]:
        """Numbers of zones with a box that meets one; some more than once."""
        entries = self._entries
        for level in self._levels.values():
            for numbers in level.around(box):
                for number in numbers:
                    if any(_meets(box, one) for one in entries[number].boxes):
                        yield number


def _level_of(box: Box) -> int:
    """The level whose cells are as large as a box, or just larger."""
    return max(FINEST, frexp(max(box[2] - box[0], box[3] - box[1]))[1])


def _number(found: tuple[int, Presence]) -> int:
    return found[0]


def _meets(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
