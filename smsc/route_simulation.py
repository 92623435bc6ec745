"""Which way a message would go, and why.

In charge of: following the router for one message that does not exist, and saying of every route whether it counts.
Not in charge of: choosing (`routing.py`), checks, sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..message import Message
from .routing import Route, Router

__all__ = ["Considered", "Simulation", "Way", "simulate"]


@dataclass(frozen=True, slots=True)
class Way:
    """One place that would be tried."""

    rule: str  #: id of the route, or "owner", "own-range"
    outlet: str
    reachable: bool


@dataclass(frozen=True, slots=True)
class Considered:
    """One route and its part in the decision."""

    route: Route
    why: str  #: "used", or what is against it
    place: int = 0  #: in the order of ways, from 1; 0: none
    share: float = 0.0  #: how often it goes first among routes of its prefix and priority


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would happen."""

    ways: Sequence[Way]  #: best first; after a failure that another may not share, the next one is tried
    routes: Sequence[Considered]


def simulate(router: Router, message: Message, routes: Sequence[Route]) -> Simulation:
    """Follow `router`, as it would be with these routes, for a message."""
    router = router.with_routes(routes)
    against: dict[int, str] = {}

    def note(route: Route, why: str) -> None:
        against.setdefault(route.number, why)

    leads = router.leads(message, note)
    ways = [Way(lead.rule, lead.outlet.name, lead.outlet.reachable()) for lead in leads]
    places = {way.rule: place for place, way in enumerate(ways, 1)}
    considered = [_consider(router, route, message, routes, places, against) for route in routes]
    considered.sort(key=lambda one: (not one.place, one.place, one.why != "rejects", one.route.model.name))
    return Simulation(ways, considered)


def _consider(
    router: Router,
    route: Route,
    message: Message,
    routes: Sequence[Route],
    places: dict[str, int],
    against: dict[int, str],
) -> Considered:
    why = _mismatch(router, route, message)
    if why:
        return Considered(route, why)
    model = route.model
    equals = [
        other.model.weight
        for other in routes
        if (other.model.prefix or "+", other.model.priority) == (model.prefix or "+", model.priority)
        and not _mismatch(router, other, message)
    ]
    share = round(model.weight / sum(equals), 4)
    place = places.get(route.id, 0)
    if place:
        return Considered(route, "used", place, share)
    return Considered(route, against.get(route.number, "behind-a-last-resort"), 0, share)


def _mismatch(router: Router, route: Route, message: Message) -> str:
    """Why a route is not about this message; "" if it is."""
    model = route.model
    if not model.enabled:
        return "disabled"
    if not message.recipient.startswith(model.prefix or "+"):
        return "other-prefix"
    return "" if router.fits(route, message) else "other-submitter"
