"""/admin/queues: what waits for delivery, and why.

In charge of: counts by reason and the rows of one reason. Not in charge of: delivery (`smsc/delivery.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...message import ID_SHIFT
from ...store.history import Waiting
from ...store.work import RESTORED
from ..entrance import Identity, Require
from ..numbers import shown
from ..paging import Page, PageQuery, link_next
from ..rooms import doors_of, rooms_of
from ..tables import QUEUED
from ..times import Instant, instant, instant_or_none

__all__ = ["QueueView", "queue_views", "router"]

router = APIRouter(prefix="/queues", tags=["queues"])

Reader = Annotated[Identity, Depends(Require(Permission.OVERVIEW_READ))]
MessageReader = Annotated[Identity, Depends(Require(Permission.MESSAGES_READ))]


class QueueView(BaseModel):
    """What waits for one reason."""

    name: str = Field(examples=["retry"])
    messages: int
    next_due_at: Instant | None
    oldest_at: Instant | None = Field(description="when the oldest of them was accepted")


class QueueList(BaseModel):
    """Every reason that anything waits for."""

    items: list[QueueView]
    total: int


class QueuedView(BaseModel):
    """A message that waits."""

    id: str
    recipient: str
    due_at: Instant
    expires_at: Instant
    attempts: int
    priority: int
    owned: bool = Field(description="a node works on it")
    restored: bool = Field(description="came with a restore and waits to be released")


def queue_views(waiting: Iterable[Waiting]) -> list[QueueView]:
    """What waits, by reason."""
    return [
        QueueView(
            name=one.reason,
            messages=one.messages,
            next_due_at=instant_or_none(one.next_due),
            oldest_at=instant_or_none(one.oldest >> ID_SHIFT),
        )
        for one in waiting
    ]


@router.get("", response_model=QueueList)
async def list_queues(request: Request, who: Reader) -> QueueList:
    """How much waits, and for what."""
    views = queue_views(await rooms_of(request).history.waiting())
    return QueueList(items=views, total=sum(one.messages for one in views))


@router.get("/{name}/items", response_model=Page[QueuedView])
async def list_queued(
    request: Request,
    response: Response,
    who: MessageReader,
    name: Annotated[str, Path(pattern=r"^[a-z-]{1,20}$")],
    query: Annotated[PageQuery, Query()],
) -> Page[QueuedView]:
    """What waits for one reason, in due order."""
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    start = cursors.start("queues", query, f"/{name}")
    due, after = (int(start[0]), int(start[1])) if start else (-1, 0)
    rows = await rooms.store.fetch(QUEUED, of_reason=name, due=due, after=after, limit=query.limit + 1)
    views = [
        QueuedView(
            id=str(row["id"]),
            recipient=shown(row["recipient"]),
            due_at=instant(row["due_at"]),
            expires_at=instant(row["expires_at"]),
            attempts=row["attempts"],
            priority=row["priority"],
            owned=row["owner"] > 0,
            restored=row["owner"] == RESTORED,
        )
        for row in rows
    ]
    page = cursors.page("queues", query, views, [[row["due_at"], row["id"]] for row in rows], f"/{name}")
    link_next(request, response, page.next_cursor)
    return page
