"""Where a fix lies relative to a shape: the vocabulary, and the shapes that need no geometry.

In charge of: the four states, how several zones of one subscriber combine, lists of cells, unions. Not in charge of:
circles (`geometry.py`), polygons (`polygon.py`), or what follows from a state (`policy.py`).

Sources: CAMARA location-verification 3.0 (PARTIAL with its share); 3GPP TS 43.073 (areas made of cells).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

__all__ = [
    "IN",
    "OUT",
    "Box",
    "Cell",
    "CellShape",
    "Position",
    "Presence",
    "Shape",
    "State",
    "UnionShape",
    "any_of",
    "unknown",
]

Box = tuple[float, float, float, float]  #: west, south, east, north in degrees; never across 180
Cell = tuple[int, int, int, int]  #: MCC, MNC, LAC or TAC, cell identity; in patterns -1 stands for any


class State(Enum):
    """What is known about a fix and a zone."""

    IN = "in"
    OUT = "out"
    PARTIAL = "partial"  #: the fix is uncertain and may lie on either side
    UNKNOWN = "unknown"


class Presence(NamedTuple):
    """The answer about one fix and one zone."""

    state: State
    share: float = 0.0  #: PARTIAL: part of the fix's disc that lies inside, above 0 and below 1; IN: 1
    reason: str = ""  #: UNKNOWN: stable slug


IN = Presence(State.IN, 1.0)
OUT = Presence(State.OUT, 0.0)


def unknown(reason: str) -> Presence:
    """No answer, and why."""
    return Presence(State.UNKNOWN, 0.0, reason)


class Position(Protocol):
    """What shapes need of a fix."""

    @property
    def latitude(self) -> float | None:
        """Degrees; None: only the cell is known."""
        ...

    @property
    def longitude(self) -> float | None:
        """Degrees."""
        ...

    @property
    def cell(self) -> Cell | None:
        """Serving cell: MCC, MNC, LAC or TAC, cell identity."""
        ...


class Shape(Protocol):
    """A compiled shape."""

    def presence(self, fix: Position, radius_m: float) -> Presence:
        """Where a fix lies whose true place is within `radius_m` of its coordinates."""
        ...

    def boxes(self) -> list[Box]:
        """Boxes that together cover it; empty for a shape without a place (cells)."""
        ...


class CellShape:
    """A set of cells: no geometry and no geometric error (3GPP TS 43.073 calls it a localised service area)."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self, patterns: Iterable[Cell]) -> None:
        self._exact: set[Cell] = set()
        self._patterns: set[Cell] = set()
        for pattern in patterns:
            (self._patterns if -1 in pattern else self._exact).add(pattern)

    def presence(self, fix: Position, radius_m: float) -> Presence:
        """See `Shape.presence`: IN or OUT by the serving cell alone."""
        cell = fix.cell
        if cell is None:
            return unknown("no-cell")
        if cell in self._exact:
            return IN
        if self._patterns:
            mcc, mnc, area, _ = cell
            wild = ((mcc, mnc, area, -1), (mcc, mnc, -1, -1), (mcc, -1, -1, -1))
            if any(pattern in self._patterns for pattern in wild):
                return IN
        return OUT

    def boxes(self) -> list[Box]:
        """See `Shape.boxes`."""
        return []


class UnionShape:
    """Inside if inside any of its members."""

    __slots__ = ("members",)

    def __init__(self, members: Sequence[Shape]) -> None:
        self.members = tuple(members)

    def presence(self, fix: Position, radius_m: float) -> Presence:
        """See `Shape.presence`."""
        return any_of(member.presence(fix, radius_m) for member in self.members)

    def boxes(self) -> list[Box]:
        """See `Shape.boxes`."""
        return [box for member in self.members for box in member.boxes()]


def any_of(presences: Iterable[Presence]) -> Presence:
    """Several zones of one subscriber: any IN is IN, else the highest share, else UNKNOWN if any is, else OUT."""
    best: Presence = OUT
    doubt: Presence | None = None
    for presence in presences:
        if presence.state is State.IN:
            return presence
        if presence.state is State.PARTIAL:
            if presence.share > best.share:
                best = presence
        elif presence.state is State.UNKNOWN:
            doubt = doubt or presence
    if best.state is State.PARTIAL or doubt is None:
        return best
    return doubt
