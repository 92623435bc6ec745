"""/admin/switch-links: which switches are connected to this node.

In charge of: listing them, and the Diameter peers that should be, and ending a connection. Not in charge of: connecting
(`signaling/gsup_front.py`, `signaling/diameter/node.py`), or which switches exist (`antispoof/`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...smsc.core_network import ConnectedSwitch
from ...store.store import Answer
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import Rooms, rooms_of
from .objects import Reason, reason_of

__all__ = ["router"]

router = APIRouter(prefix="/switch-links", tags=["switches"])

Reader = Annotated[Identity, Depends(Require(Permission.OVERVIEW_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.BINDS_WRITE))]


class SwitchLinkView(BaseModel):
    """A connected switch."""

    id: str
    name: str
    protocol: str = Field(examples=["gsup", "diameter"])
    state: str = Field(
        description="up; a Diameter peer may also be closing, or down: configured and not connected"
    )
    peer: str = Field(description="address it comes from; empty while it is down")
    domains: list[str] = Field(
        description="of whose location updates it spoke: cs, ps; of a Diameter peer its applications: "
        "sgd, s6c, relay"
    )
    register_: str = Field(
        serialization_alias="register",
        description="its connection to the register: up, down, connecting, introducing; empty if it needs none",
    )
    connected_s: int = Field(description="seconds since it connected")
    from_handsets: int = Field(description="messages it brought")
    to_handsets: int = Field(description="messages it was given")


class SwitchLinkList(BaseModel):
    """Every switch of this node in the order in which they came, then every Diameter peer that is configured."""

    items: list[SwitchLinkView]


def _view(switch: ConnectedSwitch) -> SwitchLinkView:
    return SwitchLinkView(
        id=switch.id,
        name=switch.name,
        protocol=switch.protocol,
        state=switch.state,
        peer=switch.peer,
        domains=list(switch.domains),
        register_=switch.register,
        connected_s=switch.connected_s,
        from_handsets=switch.from_handsets,
        to_handsets=switch.to_handsets,
    )


def _switches(rooms: Rooms) -> list[ConnectedSwitch]:
    return rooms.core.switches() if rooms.core is not None else []


@router.get("", response_model=SwitchLinkList)
async def list_switch_links(request: Request, who: Reader) -> SwitchLinkList:
    """Which switches are connected here."""
    return SwitchLinkList(items=[_view(switch) for switch in _switches(rooms_of(request))])


@router.delete("/{id}", status_code=202)
async def disconnect_switch(
    request: Request,
    who: Writer,
    id: Annotated[str, Path(pattern=r"^(swl_[0-9]{1,9}|dia_[A-Za-z0-9._-]{1,255})$")],
    reason: Reason = None,
) -> None:
    """End a switch's connection; it may come back."""
    rooms = rooms_of(request)
    found = next((one for one in _switches(rooms) if one.id == id and one.state != "down"), None)
    if found is None or rooms.core is None:
        raise Problem("not-found")
    entry = who.entry("switch-link.disconnect", id, reason_of(reason), name=found.name, peer=found.peer)
    async with rooms.audit.entry(entry) as seal:
        if await rooms.store.apply(writes=seal()) is not Answer.STORED:
            raise Problem("store-unavailable", headers={"Retry-After": "5"})
    rooms.core.disconnect(id)
