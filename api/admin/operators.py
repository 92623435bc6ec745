"""/admin/operators: the people who run the center.

In charge of: the operator routes and passwords. Not in charge of: keys (`keys.py`) and sessions (`sessions.py`).

An operator who is deleted, suspended or given another role is signed out in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ...access.credentials import CredentialKind
from ...access.operators import PASSWORD_MINIMUM, OperatorModel
from ...access.permissions import Permission
from ...outlet import Write
from ...registry.versioned import Edit
from ..entrance import Identity, Require, operator_at
from ..problems import FieldError, Problem
from ..rooms import Rooms, rooms_of
from .objects import Editing, Id, Reason, reason_of

__all__ = ["router"]


def _signed_out(rooms: Rooms, edit: Edit[Any]) -> Iterable[Write]:
    if edit.before is None:
        return ()
    writes: list[Write] = [rooms.sessions.revoking(edit.before.id, "operator-changed")]
    if edit.after is None:
        writes += rooms.credentials.forget_writes(edit.before.id)
    return writes


def _ended(rooms: Rooms, edit: Edit[Any]) -> None:
    if edit.before is not None:
        rooms.sessions.ended_of(edit.before.id)


EDITING = Editing(
    kind_of=lambda rooms: rooms.operator_kind,
    model=OperatorModel,
    name="operator",
    plural="operators",
    read=Permission.OPERATORS_READ,
    write=Permission.OPERATORS_WRITE,
    also=_signed_out,
    after_edit=_ended,
)

router = APIRouter(prefix="/operators", tags=["operators"])

SignedIn = Annotated[Identity, Depends(operator_at)]
Writer = Annotated[Identity, Depends(Require(Permission.OPERATORS_WRITE))]


class MeView(BaseModel):
    """Who is asking."""

    id: str
    name: str
    role: str
    permissions: list[str] = Field(description="of this session or key")
    key: str | None


class PasswordChange(BaseModel):
    """One's own new password."""

    model_config = ConfigDict(extra="forbid")

    current: SecretStr = Field(max_length=256)
    password: SecretStr = Field(min_length=PASSWORD_MINIMUM, max_length=128)


class PasswordView(BaseModel):
    """Shown once."""

    password: str


# Before "/{id}", which would take "me" for an id.
@router.get("/me", response_model=MeView)
async def read_me(who: SignedIn) -> MeView:
    """Who you are here, and what you may do."""
    assert who.operator is not None
    return MeView(
        id=who.owner,
        name=who.name,
        role=who.operator.role,
        permissions=sorted(who.permissions),
        key=who.key or None,
    )


@router.post("/me/password", status_code=204)
async def change_password(request: Request, who: SignedIn, body: PasswordChange) -> None:
    """Change your own password; your other sessions end. Not with a key."""
    rooms = rooms_of(request)
    if who.session is None:
        raise Problem("forbidden", "Sign in with your password to change it.")
    kind, credentials = CredentialKind.OPERATOR_PASSWORD, rooms.credentials
    current = body.current.get_secret_value()
    if not await credentials.verify(who.owner, kind, current, address=who.peer, name=who.name):
        wrong = FieldError(pointer="#/current", code="wrong-password", detail="not your password")
        raise Problem("invalid-request", errors=[wrong])
    async with rooms.audit.entry(who.entry("operator.password", who.owner)) as seal:
        revoking = rooms.sessions.revoking(who.owner, "password-changed", but=who.session.id)
        await credentials.set_password(
            who.owner, kind, body.password.get_secret_value(), writes=(revoking, *seal())
        )
    rooms.sessions.ended_of(who.owner, but=who.session.id)


@router.post("/{id}/credentials:rotate", response_model=PasswordView)
async def reset_password(request: Request, who: Writer, id: Id, reason: Reason = None) -> PasswordView:
    """Give an operator a new random password, shown once; all sessions of the operator end."""
    rooms = rooms_of(request)
    stored = await rooms.registry.get(rooms.operator_kind, rooms.operator_kind.number_of(id))
    password = rooms.credentials.new_password(20)
    async with rooms.audit.entry(who.entry("operator.password", stored.id, reason_of(reason))) as seal:
        writes = (rooms.sessions.revoking(stored.id, "password-changed"), *seal())
        await rooms.credentials.set_password(
            stored.id, CredentialKind.OPERATOR_PASSWORD, password, writes=writes
        )
    rooms.sessions.ended_of(stored.id)
    return PasswordView(password=password)


EDITING.router(router)
