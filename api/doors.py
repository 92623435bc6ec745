"""What the routes of one app share among themselves.

In charge of: holding it together. Not in charge of: the rooms behind (`rooms.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .idempotency import Idempotency
from .live import Live
from .paging import Cursors
from .rates import Rates

__all__ = ["Doors"]


@dataclass(slots=True)
class Doors:
    """Made once by `create_app`."""

    cursors: Cursors
    idempotency: Idempotency
    live: Live
    rates: Rates
