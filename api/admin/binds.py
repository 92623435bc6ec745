"""/admin/binds: who is bound on this node.

In charge of: listing binds and ending one. Not in charge of: binding (`smsc/listener.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...smsc.binds import Bind
from ...store.store import Answer
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import rooms_of
from ..times import Instant, instant
from .objects import Reason, reason_of

__all__ = ["BindView", "bind_view", "router"]

router = APIRouter(prefix="/binds", tags=["binds"])

Reader = Annotated[Identity, Depends(Require(Permission.OVERVIEW_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.BINDS_WRITE))]


class BindView(BaseModel):
    """A bound session."""

    id: str
    account: str
    system_id: str
    role: str
    bind_type: str
    interface_version: str = Field(examples=["3.4"])
    peer: str
    bound_at: Instant
    can_send: bool = Field(description="its window has room for one more request")


class BindList(BaseModel):
    """Every bind of this node, oldest first."""

    items: list[BindView]


def bind_view(bind: Bind) -> BindView:
    """A bind as it is shown."""
    return BindView(
        id=f"bnd_{bind.number}",
        account=bind.account.id,
        system_id=bind.account.system_id,
        role=bind.account.role.value,
        bind_type=bind.bind_type,
        interface_version=f"{bind.version >> 4}.{bind.version & 15}",
        peer=bind.peer,
        bound_at=instant(bind.bound_at),
        can_send=bind.can_send(),
    )


@router.get("", response_model=BindList)
async def list_binds(request: Request, who: Reader) -> BindList:
    """Who is bound here."""
    return BindList(items=[bind_view(bind) for bind in rooms_of(request).binds])


@router.delete("/{id}", status_code=202)
async def unbind(
    request: Request,
    who: Writer,
    id: Annotated[str, Path(pattern=r"^bnd_[0-9]{1,9}$")],
    reason: Reason = None,
) -> None:
    """Ask an ESME to leave; the connection closes when it answered, or in a moment."""
    rooms = rooms_of(request)
    bind = rooms.binds.get(int(id[4:]))
    if bind is None:
        raise Problem("not-found")
    entry = who.entry("bind.unbind", id, reason_of(reason), account=bind.account.id, peer=bind.peer)
    async with rooms.audit.entry(entry) as seal:
        if await rooms.store.apply(writes=seal()) is not Answer.STORED:
            raise Problem("store-unavailable", headers={"Retry-After": "5"})
    bind.unbind(reason_of(reason) or "asked by an operator")
