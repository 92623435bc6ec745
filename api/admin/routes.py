"""/admin/routes: where messages go.

In charge of: the route routes, and asking which way a message would go. Not in charge of: choosing a route
(`smsc/routing.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from ...access.permissions import Permission
from ...message import Address, Message
from ...smsc.route_simulation import simulate
from ...smsc.routing import Route, RouteModel
from ..entrance import Identity, Require
from ..numbers import normal_of, shown
from ..problems import FieldError, Problem
from ..rooms import rooms_of
from .objects import Editing

__all__ = ["router"]

before_ids = APIRouter(prefix="/routes", tags=["routes"])

Reader = Annotated[Identity, Depends(Require(Permission.ROUTES_READ))]

#: What `why` may say; the words are stable.
WHY = {
    "used": "its place says when it is tried",
    "disabled": "it is switched off",
    "other-prefix": "the recipient does not start with its prefix",
    "other-submitter": "it is for messages of another account",
    "no-such-account": "its account does not exist",
    "no-such-link": "its link does not exist",
    "came-from-there": "the message came from the network it leads to",
    "tried-before": "another route to the same place comes first",
    "not-for-mailbox": "messages of this kind never go to a mailbox",
    "rejects": "it ends the search: nothing behind it is tried",
    "behind-a-last-resort": "a route to the mailbox or to a refusal comes first",
}


class SimulateRequest(BaseModel):
    """A message that does not exist."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    recipient: str = Field(alias="to", min_length=1, max_length=32, description='"+447700900123" or "12345"')
    sender: str = Field(alias="from", default="", max_length=32)
    account: str = Field(
        default="", max_length=15, description="system_id of the submitter; empty: the center itself"
    )
    drafts: list[RouteModel] = Field(
        default=[],
        max_length=100,
        description="routes as they would be; one of a name that exists takes its place",
    )


class WayView(BaseModel):
    """One place that would be tried."""

    rule: str = Field(description='id of a route, "draft_<n>", "owner" or "own-range"')
    outlet: str
    reachable: bool


class ConsideredView(BaseModel):
    """One route and its part in the decision."""

    id: str
    name: str
    why: str = Field(description="; ".join(f"{word}: {text}" for word, text in WHY.items()))
    place: int | None = Field(description="when it is tried, from 1")
    share: float = Field(description="how often it goes first among routes of its prefix and priority")


class SimulateAnswer(BaseModel):
    """Where the message would go."""

    recipient: str
    accepted: bool = Field(description="there is a way; without one it is refused at submit or ends at once")
    ways: list[WayView] = Field(
        description="best first; drawn by weight where routes share, so that it may differ the next time"
    )
    routes: list[ConsideredView] = Field(description="every route, those that are used first")


@before_ids.post(":simulate", response_model=SimulateAnswer)
async def simulate_route(request: Request, who: Reader, body: SimulateRequest) -> SimulateAnswer:
    """Say which way a message would go, by which rule, and why other rules do not count. Nothing is sent."""
    rooms = rooms_of(request)
    account = None
    if body.account:
        account = rooms.registry.snapshot(rooms.account_kind).get(body.account)
        if account is None:
            detail = f"there is no account {body.account}"
            raise Problem(
                "invalid-request",
                errors=[FieldError(pointer="/account", code="no-such-account", detail=detail)],
            )
    nowhere = Address(0, 0, "")
    message = Message(
        nowhere,
        nowhere,
        sender=normal_of(body.sender) if body.sender else "",
        recipient=normal_of(body.recipient),
        account=account.number if account is not None else 0,
    )
    replaced = {draft.name for draft in body.drafts}
    live = [
        route
        for route in rooms.registry.snapshot(rooms.route_kind).values()
        if route.model.name not in replaced
    ]
    drafts = [Route(-number, draft) for number, draft in enumerate(body.drafts, 1)]
    found = simulate(rooms.router, message, [*live, *drafts])
    return SimulateAnswer(
        recipient=shown(message.recipient),
        accepted=bool(found.ways),
        ways=[
            WayView(rule=_rule(way.rule), outlet=way.outlet, reachable=way.reachable) for way in found.ways
        ],
        routes=[
            ConsideredView(
                id=_rule(one.route.id),
                name=one.route.model.name,
                why=one.why,
                place=one.place or None,
                share=one.share,
            )
            for one in found.routes
        ],
    )


def _rule(rule: str) -> str:
    """A draft has no id; its place in the request names it."""
    return rule.replace("rte_-", "draft_")


router: APIRouter = Editing(
    kind_of=lambda rooms: rooms.route_kind,
    model=RouteModel,
    name="route",
    plural="routes",
    read=Permission.ROUTES_READ,
    write=Permission.ROUTES_WRITE,
).router(before_ids)
