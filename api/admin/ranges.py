"""/admin/ranges: the numbers of this network.

In charge of: the range routes. Not in charge of: who has a number (`subscribers.py`).
"""

from __future__ import annotations

from ...access.permissions import Permission
from ...access.ranges import RangeModel
from .objects import Editing

__all__ = ["router"]

router = Editing(
    kind_of=lambda rooms: rooms.range_kind,
    model=RangeModel,
    name="range",
    plural="ranges",
    read=Permission.RANGES_READ,
    write=Permission.RANGES_WRITE,
).router()
