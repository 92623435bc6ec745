"""/admin/nodes: the nodes of this center, and taking one out of service.

In charge of: listing them, and asking one to drain. Not in charge of: how a node drains (`serve.py`), who lives
(`store/nodes.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...store.roll import Member, MemberState
from ...store.store import Answer
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import rooms_of
from ..times import Instant, instant
from .objects import Reason, reason_of

__all__ = ["router"]

router = APIRouter(prefix="/nodes", tags=["nodes"])

Reader = Annotated[Identity, Depends(Require(Permission.OVERVIEW_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.NODES_WRITE))]


class NodeView(BaseModel):
    """A node in its present or last life."""

    id: str = Field(examples=["nod_1"])
    name: str
    state: MemberState = Field(
        description="live; late: silent for so long that it does not send; draining: hands over, then ends; ended"
    )
    here: bool = Field(description="the node that answers this")
    address: str = Field(description="as its configuration says")
    version: str = Field(description="of the program")
    epoch: int = Field(description="of its life")
    started_at: Instant
    heartbeat_at: Instant
    messages: int = Field(description="messages it works on")


class NodeList(BaseModel):
    """Every node that the center ever had, by number."""

    items: list[NodeView]


def _view(member: Member) -> NodeView:
    return NodeView(
        id=f"nod_{member.number}",
        name=member.name,
        state=member.state,
        here=member.here,
        address=member.address,
        version=member.version,
        epoch=member.epoch,
        started_at=instant(member.started_at),
        heartbeat_at=instant(member.heartbeat_at),
        messages=member.owned,
    )


@router.get("", response_model=NodeList)
async def list_nodes(request: Request, who: Reader) -> NodeList:
    """Which nodes there are, how each is, and how much it works on."""
    return NodeList(items=[_view(member) for member in await rooms_of(request).roll.members()])


@router.post("/{id}:drain", status_code=202, response_model=NodeView)
async def drain_node(
    request: Request,
    who: Writer,
    id: Annotated[str, Path(pattern=r"^nod_[0-9]{1,4}$")],
    last: Annotated[bool, Query(description="also if no other node serves")] = False,
    reason: Reason = None,
) -> NodeView:
    """Ask a node to take nothing new, unbind its peers, hand over what it has not done, and end."""
    rooms = rooms_of(request)
    members = await rooms.roll.members()
    member = next((one for one in members if one.number == int(id[4:])), None)
    if member is None:
        raise Problem("not-found")
    if member.state == "ended":
        raise Problem("conflict", "That node has ended.")
    if not last and not any(one.serves for one in members if one is not member):
        raise Problem("conflict", "No other node serves: nobody would take what it hands over.")
    entry = who.entry("node.drain", id, reason_of(reason), name=member.name, epoch=member.epoch)
    async with rooms.audit.entry(entry) as seal:
        answer = await rooms.roll.drain(member, seal())
    if answer is Answer.CONFLICT:
        raise Problem("conflict", "That node has ended meanwhile.")
    if answer is not Answer.STORED:
        raise Problem("store-unavailable", headers={"Retry-After": "5"})
    return _view(member)
