"""/admin/sessions: who is signed in.

In charge of: listing everybody's sessions and ending them. Not in charge of: one's own (`api/auth.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from ...access.permissions import Permission
from ..auth import SessionView, session_view
from ..entrance import Identity, Require
from ..paging import Page, PageQuery, link_next
from ..problems import Problem
from ..rooms import doors_of, rooms_of
from .objects import Reason, reason_of

__all__ = ["router"]

router = APIRouter(prefix="/sessions", tags=["sessions"])

Writer = Annotated[Identity, Depends(Require(Permission.SESSIONS_WRITE))]


class OwnedSession(SessionView):
    """A session and whose it is."""

    owner: str


class SessionQuery(PageQuery):
    """Filters."""

    owner: str | None = Field(default=None, pattern=r"^(op|sub)_[0-9]{1,9}$")


@router.get("", response_model=Page[OwnedSession])
async def list_sessions(
    request: Request, response: Response, who: Writer, query: Annotated[SessionQuery, Query()]
) -> Page[OwnedSession]:
    """Live sessions; with `owner` those of one person."""
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    current = who.session.id if who.session else ""
    start = cursors.start("sessions", query)
    if query.owner:
        found = (await rooms.sessions.of(query.owner))[: query.limit]
    else:
        found = await rooms.sessions.live(after=str(start[0]) if start else "", limit=query.limit + 1)
    views = [OwnedSession(**session_view(one, current).model_dump(), owner=one.owner) for one in found]
    page = cursors.page("sessions", query, views, [[one.id] for one in found])
    link_next(request, response, page.next_cursor)
    return page


@router.delete("/{id}", status_code=204)
async def end_session(
    request: Request, who: Writer, id: Annotated[str, Path(max_length=64)], reason: Reason = None
) -> None:
    """Sign somebody out; event streams of the session close within five seconds."""
    rooms = rooms_of(request)
    found = await rooms.sessions.find(id)
    if found is None or found.revoked_at:
        raise Problem("not-found")
    async with rooms.audit.entry(
        who.entry("session.revoke", id, reason_of(reason), owner=found.owner)
    ) as seal:
        if not await rooms.sessions.revoke(id, found.owner, "operator", writes=seal()):
            raise Problem("not-found")
