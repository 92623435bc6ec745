"""/admin/api-keys: the keys of operators, and what all keys look like.

In charge of: the routes of one's own keys and of ending any key. Not in charge of: keys of accounts (`accounts.py`),
or what a scope allows (`access/permissions.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from ...access.credentials import ApiKey, Credential, CredentialKind
from ...access.permissions import OperatorRole, Permission
from ..entrance import Identity, operator_at
from ..problems import FieldError, Problem
from ..rooms import Rooms, rooms_of
from ..times import GivenTime, Instant, instant, instant_or_none, ms_of
from .objects import Id, Reason, reason_of

__all__ = ["KeyRequest", "KeyView", "NewKeyView", "issue", "key_view", "router"]

router = APIRouter(prefix="/api-keys", tags=["api-keys"])

Operator = Annotated[Identity, Depends(operator_at)]


class KeyRequest(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(default="", max_length=100, description="for people")
    scopes: list[str] = Field(
        default=[], max_length=50, description="permissions or roles; empty: all that its owner may"
    )
    networks: list[str] = Field(default=[], max_length=64, description="CIDR it may come from; empty: any")
    expires_at: GivenTime | None = None


class KeyView(BaseModel):
    """A key without its secret."""

    id: str
    owner: str
    label: str
    scopes: list[str]
    networks: list[str]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None


class NewKeyView(KeyView):
    """A new key with its token, shown once."""

    token: str


class KeyList(BaseModel):
    """Somebody's keys."""

    items: list[KeyView]


def _facts(key: Credential) -> dict[str, object]:
    scopes, networks = (sorted(key.scopes), list(key.networks)) if isinstance(key, ApiKey) else ([], [])
    return {
        "id": key.id,
        "owner": key.owner,
        "label": key.label,
        "scopes": scopes,
        "networks": networks,
        "created_at": instant(key.created_at),
        "expires_at": instant_or_none(key.expires_at),
        "last_used_at": instant_or_none(key.last_used_at),
    }


def key_view(key: Credential) -> KeyView:
    """A key as it is shown."""
    return KeyView.model_validate(_facts(key))


def _known_scopes(scopes: list[str]) -> None:
    known = {scope.value for scope in (*Permission, *OperatorRole)}
    unknown = [
        FieldError(pointer=f"#/scopes/{at}", code="unknown-scope", detail="no permission and no role")
        for at, scope in enumerate(scopes)
        if scope not in known
    ]
    if unknown:
        raise Problem("invalid-request", errors=unknown)


async def issue(rooms: Rooms, who: Identity, owner: str, body: KeyRequest, reason: str) -> NewKeyView:
    """Make a key with its audit row."""
    async with rooms.audit.entry(who.entry("api-key.create", owner, reason)) as seal:
        try:
            issued = await rooms.credentials.issue_api_key(
                owner,
                scopes=body.scopes,
                networks=body.networks,
                label=body.label,
                expires_at=ms_of(body.expires_at) if body.expires_at else 0,
                writes=lambda key: seal(owner, {"key": key.id, "scopes": sorted(key.scopes)}),
            )
        except ValueError as error:
            raise Problem("invalid-request", "networks must be CIDR, as in 192.0.2.0/24") from error
    return NewKeyView.model_validate({**_facts(issued.key), "token": issued.token})


@router.get("", response_model=KeyList)
async def list_own_keys(request: Request, who: Operator) -> KeyList:
    """Your keys."""
    found = await rooms_of(request).credentials.of(who.owner)
    return KeyList(items=[key_view(one) for one in found if one.kind == CredentialKind.API_KEY])


@router.post("", response_model=NewKeyView, status_code=201)
async def create_own_key(
    request: Request, who: Operator, body: KeyRequest, reason: Reason = None
) -> NewKeyView:
    """Make a key for yourself. It never may more than you; a key cannot make one that may more than itself."""
    _known_scopes(body.scopes)
    if who.key and who.scopes and not (body.scopes and set(body.scopes) <= who.scopes):
        raise Problem("forbidden", "A key with scopes makes only keys with some of those scopes.")
    return await issue(rooms_of(request), who, who.owner, body, reason_of(reason))


@router.delete("/{id}", status_code=204)
async def revoke_key(request: Request, who: Operator, id: Id, reason: Reason = None) -> None:
    """End a key. Your own, or with credentials.write anybody's."""
    rooms = rooms_of(request)
    key = await rooms.credentials.get(id)
    if key is None or key.kind != CredentialKind.API_KEY:
        raise Problem("not-found")
    if key.owner != who.owner and Permission.CREDENTIALS_WRITE not in who.permissions:
        raise Problem("forbidden", more={"permission": Permission.CREDENTIALS_WRITE.value})
    async with rooms.audit.entry(who.entry("api-key.revoke", id, reason_of(reason), owner=key.owner)) as seal:
        await rooms.credentials.revoke(id, writes=seal())
