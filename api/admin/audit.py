"""/admin/audit: who did what.

In charge of: listing and verifying the audit trail. Not in charge of: writing it (`access/audit.py`).
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from ...access.audit import AuditRow
from ...access.permissions import Permission
from ..entrance import Identity, Require
from ..paging import Page, PageQuery, link_next
from ..rooms import doors_of, rooms_of
from ..times import GivenTime, Instant, instant, ms_of

__all__ = ["router"]

router = APIRouter(prefix="/audit", tags=["audit"])

Reader = Annotated[Identity, Depends(Require(Permission.AUDIT_READ))]


class AuditQuery(PageQuery):
    """Filters; all of them must hold."""

    actor: str | None = Field(default=None, max_length=64)
    action: str | None = Field(default=None, max_length=64)
    target: str | None = Field(default=None, max_length=64)
    since: GivenTime | None = None
    until: GivenTime | None = None


class AuditView(BaseModel):
    """One thing that somebody did."""

    id: str
    at: Instant
    actor: str
    action: str
    target: str
    reason: str
    peer: str
    request: str
    detail: dict[str, Any]
    mac: str


class BreakView(BaseModel):
    """A place where the chain does not hold."""

    row: str
    what: str


class VerificationView(BaseModel):
    """What verifying found."""

    holds: bool
    rows: int
    days: int
    broken: int
    breaks: list[BreakView] = Field(description="the first hundred")
    heads: dict[str, str] = Field(
        description="node -> MAC of its newest row; note them where nobody can change them"
    )


def audit_view(row: AuditRow) -> AuditView:
    """A row as it is shown."""
    return AuditView(
        id=row.id,
        at=instant(row.at),
        actor=row.actor,
        action=row.action,
        target=row.target,
        reason=row.reason,
        peer=row.peer,
        request=row.request,
        detail=json.loads(row.detail),
        mac=row.mac,
    )


@router.get("", response_model=Page[AuditView])
async def list_audit(
    request: Request, response: Response, who: Reader, query: Annotated[AuditQuery, Query()]
) -> Page[AuditView]:
    """What was done, newest first."""
    rooms, cursors = rooms_of(request), doors_of(request).cursors
    start = cursors.start("audit", query)
    rows = await rooms.audit.page(
        limit=query.limit + 1,
        before=(int(start[0]), int(start[1]), int(start[2])) if start else None,
        actor=query.actor or "",
        action=query.action or "",
        target=query.target or "",
        since=ms_of(query.since) if query.since else 0,
        until=ms_of(query.until) if query.until else 0,
    )
    positions = [[row.at, row.node, row.sequence] for row in rows]
    page = cursors.page("audit", query, [audit_view(row) for row in rows], positions)
    link_next(request, response, page.next_cursor)
    return page


@router.post(":verify", response_model=VerificationView)
async def verify_audit(request: Request, who: Reader) -> VerificationView:
    """Read the whole trail and say whether anybody changed it."""
    found = await rooms_of(request).audit.verify()
    return VerificationView(
        holds=found.holds,
        rows=found.rows,
        days=found.days,
        broken=found.broken,
        breaks=[BreakView(row=one.row, what=one.what) for one in found.breaks],
        heads=dict(found.heads),
    )
