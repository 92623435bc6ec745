"""/admin/routes: where messages go.

In charge of: the route routes. Not in charge of: choosing a route (`smsc/routing.py`).
"""

from __future__ import annotations

from ...access.permissions import Permission
from ...smsc.routing import RouteModel
from .objects import Editing

__all__ = ["router"]

router = Editing(
    kind_of=lambda rooms: rooms.route_kind,
    model=RouteModel,
    name="route",
    plural="routes",
    read=Permission.ROUTES_READ,
    write=Permission.ROUTES_WRITE,
).router()
