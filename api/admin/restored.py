"""/admin/restored: messages that came with a restore.

In charge of: how many wait, and letting them go. Not in charge of: doing it (`store/restored.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...store.restored import Restored
from ...store.store import Answer
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import rooms_of
from .objects import Reason, reason_of

__all__ = ["router"]

router = APIRouter(prefix="/restored", tags=["restored"])

Reader = Annotated[Identity, Depends(Require(Permission.OVERVIEW_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.MESSAGES_WRITE))]


class RestoredView(BaseModel):
    """Messages that were in the queue of the center whose backup this is."""

    waiting: int = Field(description="how many wait; a minute old at most")
    releasing: bool = Field(description="this node is letting them go")


def _view(restored: Restored) -> RestoredView:
    return RestoredView(waiting=restored.waiting, releasing=restored.releasing)


@router.get("", response_model=RestoredView)
async def read_restored(request: Request, who: Reader) -> RestoredView:
    """How many restored messages wait to be released."""
    return _view(rooms_of(request).restored)


@router.post(":release", status_code=202, response_model=RestoredView)
async def release_restored(request: Request, who: Writer, reason: Reason = None) -> RestoredView:
    """Let all of them go: they are sent as if their first or next attempt were due."""
    rooms = rooms_of(request)
    waiting = rooms.restored.waiting
    if waiting and not rooms.restored.releasing:
        entry = who.entry("restored.release", "restored", reason_of(reason), waiting=waiting)
        async with rooms.audit.entry(entry) as seal:
            if await rooms.store.apply(writes=seal()) is not Answer.STORED:
                raise Problem("store-unavailable", headers={"Retry-After": "5"})
        rooms.restored.release()
    return _view(rooms.restored)
