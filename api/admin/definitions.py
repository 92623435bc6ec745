"""/admin/definitions: every object that operators edit, as one document.

In charge of: export, and import with a dry run. Not in charge of: the document (`registry/definitions.py`).
Credentials, subscribers and messages are no part of it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...registry.definitions import Imported, export_definitions, import_definitions
from ..entrance import Identity, Require
from ..rooms import rooms_of
from .objects import EditView, New, edit_view

__all__ = ["router"]

router = APIRouter(prefix="/definitions", tags=["definitions"])

Reader = Annotated[Identity, Depends(Require(Permission.DEFINITIONS_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.DEFINITIONS_WRITE))]


class Definitions(BaseModel):
    """Every object."""

    format: int
    revision: int
    objects: dict[str, list[dict[str, Any]]] = Field(description="kind -> [{id, value}]")


class ImportView(BaseModel):
    """What an import did, or would do."""

    dry_run: bool
    edits: list[EditView]
    unchanged: int


@router.get("", response_model=Definitions)
async def read_definitions(request: Request, who: Reader) -> Any:
    """Every object that operators edit."""
    return await export_definitions(rooms_of(request).registry)


@router.put("", response_model=ImportView)
async def write_definitions(
    request: Request,
    who: Writer,
    body: Annotated[dict[str, Any], Body(description="as GET gives it; `revision` is ignored")],
    how: New,
    prune: Annotated[
        bool, Query(description="delete objects that the document lacks, of the kinds it names")
    ] = False,
) -> ImportView:
    """Make everything like the document: all of it, or nothing."""
    rooms = rooms_of(request)
    if how.dry_run:
        done = await import_definitions(
            rooms.registry, body, actor=who.owner, reason=how.reason, dry_run=True, prune=prune
        )
        return _view(done, dry_run=True)
    async with rooms.audit.entry(
        who.entry("definitions.import", "definitions", how.reason, prune=prune)
    ) as seal:
        done = await import_definitions(
            rooms.registry, body, actor=who.owner, reason=how.reason, prune=prune, writes=seal()
        )
    for edit in done.edits:  # changed operators are judged anew at each request; their sessions end as well
        if edit.before is not None and edit.before.id.startswith("op_"):
            await rooms.sessions.revoke_all(edit.before.id, "operator-changed")
    return _view(done, dry_run=False)


def _view(done: Imported, *, dry_run: bool) -> ImportView:
    return ImportView(
        dry_run=dry_run, edits=[edit_view(edit) for edit in done.edits], unchanged=done.unchanged
    )
