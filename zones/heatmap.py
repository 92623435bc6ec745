"""Where decisions fell, without telling where anybody is.

In charge of: counting people and decisions in the squares of a fixed grid, and leaving out what would point at
somebody. Not in charge of: who may look (`api/`), reading records (`records.py`).

How it keeps people hidden. A square is shown when at least `k` different numbers were there. What is shown is rounded
down to multiples of k, spans of time begin and end with a full hour, and squares lie on one grid of a few sizes: so
that the difference of two maps that hardly differ is nothing or k people, never one.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from math import floor
from typing import NamedTuple

from ..message import id_at
from .presence import Box
from .records import Records

__all__ = ["SIZES", "Bin", "HeatMap", "heat_map"]

HOUR_MS = 3_600_000
#: Degrees of a square, as they are asked for -> squares to a degree: whole numbers, so that all squares fit the grid.
SIZES = {"0.01": 100, "0.02": 50, "0.05": 20, "0.1": 10, "0.2": 5, "0.5": 2, "1": 1}


class Bin(NamedTuple):
    """One square of the map."""

    box: Box  #: west, south, east, north, degrees
    people: int  #: different numbers, rounded down to a multiple of k
    decisions: int  #: the same of decisions


@dataclass(slots=True)
class HeatMap:
    """A whole map."""

    bins: list[Bin] = field(default_factory=list[Bin])
    hidden: int = 0  #: squares with somebody in them, but too few people to be shown
    since: int = 0  #: UTC epoch milliseconds, as it was rounded
    until: int = 0
    finished: bool = True  #: False: there are more records than were read


@dataclass(slots=True)
class _Count:
    people: set[str] = field(default_factory=set[str])
    decisions: int = 0


async def heat_map(
    records: Records,
    *,
    since: int,
    until: int,
    per_degree: int,
    k: int,
    acts: Set[str] = frozenset(),
    boxes: Sequence[Box] = (),
    most: int = 200_000,
) -> HeatMap:
    """Count. `acts`: empty for all; `boxes`: empty for everywhere; `most` messages are read."""
    made = HeatMap(since=since - since % HOUR_MS, until=until + -until % HOUR_MS)
    counts: dict[tuple[int, int], _Count] = {}
    messages = 0
    async for page in records.pages(id_at(made.since), id_at(made.until)):
        wanted = [record for listed in page.values() for record in listed if not acts or record.act in acts]
        fixes = await records.fixes(wanted)
        for record in wanted:
            for party in record.parties.values():
                fix = fixes.get(party.fix)
                if fix is not None and fix.latitude is not None and fix.longitude is not None:
                    square = (floor(fix.longitude * per_degree), floor(fix.latitude * per_degree))
                    count = counts.setdefault(square, _Count())
                    count.people.add(fix.number)
                    count.decisions += 1
        messages += len(page)
        if messages >= most:
            made.finished = False
            break
    for square, count in sorted(counts.items()):
        around = _box(square, per_degree)
        if boxes and not any(_meet(box, around) for box in boxes):
            continue
        if len(count.people) < k:
            made.hidden += 1
        else:
            made.bins.append(Bin(around, _rounded(len(count.people), k), _rounded(count.decisions, k)))
    return made


def _box(square: tuple[int, int], per_degree: int) -> Box:
    x, y = square
    return x / per_degree, y / per_degree, (x + 1) / per_degree, (y + 1) / per_degree


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _rounded(count: int, k: int) -> int:
    return count - count % k
