"""/admin/accounts: ESMEs, switches and other networks, and their credentials.

In charge of: the account routes, suspension, new passwords and API keys. Not in charge of: what a change does to
binds (they listen to the registry).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...access.accounts import AccountModel
from ...access.credentials import CredentialKind
from ...access.permissions import Permission
from ...outlet import Write
from ...registry.edits import Riders
from ...registry.versioned import Edit
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import Rooms, rooms_of
from .keys import KeyRequest, KeyView, NewKeyView, issue, key_view
from .objects import Editing, Id, Known, Reason, reason_of

__all__ = ["router"]


def _forget(rooms: Rooms, edit: Edit[Any]) -> Iterable[Write]:
    """A deleted account leaves no credential behind."""
    return rooms.credentials.forget_writes(edit.before.id) if edit.after is None and edit.before else ()


EDITING = Editing(
    kind_of=lambda rooms: rooms.account_kind,
    model=AccountModel,
    name="account",
    plural="accounts",
    read=Permission.ACCOUNTS_READ,
    write=Permission.ACCOUNTS_WRITE,
    also=_forget,
)

router: APIRouter = EDITING.router()


class PasswordRequest(BaseModel):
    """A new password for binds; without one, the center makes one."""

    model_config = ConfigDict(extra="forbid")

    password: str | None = Field(
        default=None, min_length=1, max_length=8, description="SMPP allows 8 characters"
    )
    keep_previous_s: int = Field(
        default=0, ge=0, le=604_800, description="the old one works so much longer, seconds"
    )


class PasswordView(BaseModel):
    """Shown once."""

    password: str


Writer = Annotated[Identity, Depends(Require(Permission.ACCOUNTS_WRITE))]
CredentialWriter = Annotated[Identity, Depends(Require(Permission.CREDENTIALS_WRITE))]
Reader = Annotated[Identity, Depends(Require(Permission.ACCOUNTS_READ))]
View: Any = EDITING.view_model()


async def existing(rooms: Rooms, id: str) -> str:
    """The id of an account that lives. Raises not-found."""
    stored = await rooms.registry.get(rooms.account_kind, rooms.account_kind.number_of(id))
    return stored.id


@router.post("/{id}:{verb}", response_model=View, name="suspend or resume an account")
async def suspend(
    request: Request, response: Response, who: Writer, id: Id, verb: Literal["suspend", "resume"], how: Known
) -> Any:
    """Keep an account out, or let it in again; its messages stay."""
    registry, kind = rooms_of(request).registry, rooms_of(request).account_kind
    number = kind.number_of(id)

    async def make(riders: Riders) -> Edit[Any]:
        return await registry.patch(
            kind, number, {"suspended": verb == "suspend"}, if_match=how.version, actor=who.owner,
            reason=how.reason, dry_run=how.dry_run, writes=riders,
        )  # fmt: skip

    edit = await EDITING.edited(request, who, verb, how, make)
    assert edit.after is not None
    return EDITING.show(edit.after, edit)


@router.post("/{id}/credentials:rotate", response_model=PasswordView)
async def rotate_password(
    request: Request, who: CredentialWriter, id: Id, body: PasswordRequest, reason: Reason = None
) -> PasswordView:
    """Give an account a new SMPP password, shown once. Binds that are open stay."""
    rooms = rooms_of(request)
    owner = await existing(rooms, id)
    password = body.password or rooms.credentials.new_password()
    async with rooms.audit.entry(who.entry("account.password", owner, reason_of(reason))) as seal:
        await rooms.credentials.set_password(
            owner,
            CredentialKind.SMPP_PASSWORD,
            password,
            keep_previous_s=body.keep_previous_s,
            writes=seal(),
        )
    return PasswordView(password=password)


class KeyList(BaseModel):
    """The API keys of an account."""

    items: list[KeyView]


@router.get("/{id}/api-keys", response_model=KeyList)
async def list_keys(request: Request, who: Reader, id: Id) -> KeyList:
    """The keys of an account, without their secrets."""
    rooms = rooms_of(request)
    found = await rooms.credentials.of(await existing(rooms, id))
    return KeyList(items=[key_view(one) for one in found if one.kind == CredentialKind.API_KEY])


@router.post("/{id}/api-keys", response_model=NewKeyView, status_code=201)
async def create_key(
    request: Request, who: CredentialWriter, id: Id, body: KeyRequest, reason: Reason = None
) -> NewKeyView:
    """Make an API key for sending over HTTP; its token is shown once."""
    rooms = rooms_of(request)
    owner = await existing(rooms, id)
    if body.scopes:
        raise Problem("invalid-request", "Keys of accounts have no scopes.")
    return await issue(rooms, who, owner, body, reason_of(reason))
