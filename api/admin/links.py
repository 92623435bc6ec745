"""/admin/links: other message centers at which we bind.

In charge of: the link routes, their states, their password, and how each is on this node. Not in charge of: binding
(`smsc/upstream.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ...access.permissions import Permission
from ...outlet import Write
from ...registry.edits import Riders
from ...registry.versioned import Edit
from ...smsc.links import PASSWORD, Link, LinkModel, LinkState
from ...smsc.upstream import Condition
from ...store.store import Answer
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import Rooms, rooms_of
from .objects import Editing, Id, Known, Reason, reason_of

__all__ = ["router"]

Reader = Annotated[Identity, Depends(Require(Permission.LINKS_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.LINKS_WRITE))]
CredentialWriter = Annotated[Identity, Depends(Require(Permission.CREDENTIALS_WRITE))]


def _forget(rooms: Rooms, edit: Edit[Any]) -> Iterable[Write]:
    """A deleted link leaves no password behind."""
    return rooms.secrets.forget_writes(edit.before.id) if edit.after is None and edit.before else ()


EDITING = Editing(
    kind_of=lambda rooms: rooms.link_kind,
    model=LinkModel,
    name="link",
    plural="links",
    read=Permission.LINKS_READ,
    write=Permission.LINKS_WRITE,
    also=_forget,
)


class LinkBindView(BaseModel):
    """One bind that should stand."""

    bind_type: str
    address: str = Field(description="that was tried last")
    bound: bool
    bound_for_s: float
    unanswered: int = Field(description="messages without a response")
    tries: int = Field(description="in vain since it stood last")
    trouble: str = Field(description="why it does not stand, or ended last")


class LinkStatusView(BaseModel):
    """How a link is."""

    id: str
    name: str
    state: str = Field(description="what is wanted of it")
    condition: Condition
    binds: list[LinkBindView] = Field(description="of this node")
    in_flight: int = Field(description="messages of this node without a response")
    awaited_receipts: int = Field(
        description="messages handed over whose receipt is not there yet, of all nodes"
    )
    kept_receipts: int = Field(description="receipts whose message is not known yet, of all nodes")


class LinkStatusList(BaseModel):
    """How every link is."""

    items: list[LinkStatusView]


class LinkPassword(BaseModel):
    """The password that the other center gave us."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(
        max_length=8, description="SMPP allows 8 characters; it is sealed and never shown again"
    )


VERBS = {
    "suspend": LinkState.SUSPENDED,
    "resume": LinkState.RUNNING,
    "drain": LinkState.DRAINING,
    "isolate": LinkState.ISOLATED,
}

before_ids = APIRouter(prefix="/links", tags=["links"])


def _status(rooms: Rooms, link: Link, awaited: dict[int, int]) -> LinkStatusView:
    upstream = rooms.upstream
    return LinkStatusView(
        id=link.id,
        name=link.name,
        state=link.model.state.value,
        condition=upstream.condition(link),
        binds=[
            LinkBindView(
                bind_type=one.bind_type,
                address=one.address,
                bound=one.bound,
                bound_for_s=one.bound_for_s,
                unanswered=one.unanswered,
                tries=one.tries,
                trouble=one.trouble,
            )
            for one in upstream.statuses(link.number)
        ],
        in_flight=upstream.waits_for_response(link.number),
        awaited_receipts=awaited.get(link.number, 0),
        kept_receipts=upstream.kept_receipts(link.number),
    )


@before_ids.get(":status", response_model=LinkStatusList)
async def statuses(request: Request, who: Reader) -> LinkStatusList:
    """How every link is, on this node."""
    rooms = rooms_of(request)
    awaited = await rooms.upstream.awaited()
    links = rooms.registry.snapshot(rooms.link_kind).values()
    return LinkStatusList(
        items=[_status(rooms, link, awaited) for link in sorted(links, key=lambda link: link.name)]
    )


router: APIRouter = EDITING.router(before_ids)
View: Any = EDITING.view_model()


@router.post("/{id}:{verb}", response_model=View, name="change the state of a link")
async def change_state(
    request: Request,
    response: Response,
    who: Writer,
    id: Id,
    verb: Literal["suspend", "resume", "drain", "isolate"],
    how: Known,
) -> Any:
    """Leave the other center, bind again, finish and leave, or stay bound in silence."""
    registry, kind = rooms_of(request).registry, rooms_of(request).link_kind
    number = kind.number_of(id)

    async def make(riders: Riders) -> Edit[Any]:
        return await registry.patch(
            kind, number, {"state": VERBS[verb].value}, if_match=how.version, actor=who.owner,
            reason=how.reason, dry_run=how.dry_run, writes=riders,
        )  # fmt: skip

    edit = await EDITING.edited(request, who, verb, how, make)
    assert edit.after is not None
    return EDITING.show(edit.after, edit)


@router.put("/{id}/password", status_code=204)
async def set_password(
    request: Request, who: CredentialWriter, id: Id, body: LinkPassword, reason: Reason = None
) -> None:
    """Keep the password that the other center gave us. Binds that stand stay; new ones use it."""
    rooms = rooms_of(request)
    kind = rooms.link_kind
    stored = await rooms.registry.get(kind, kind.number_of(id))
    try:
        body.password.encode("latin-1")
    except UnicodeEncodeError:
        raise Problem("invalid-request", "A password has Latin-1 characters only.") from None
    async with rooms.audit.entry(who.entry("link.password", stored.id, reason_of(reason))) as seal:
        answer = await rooms.store.apply(
            writes=[*rooms.secrets.writes(stored.id, PASSWORD, body.password), *seal()]
        )
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")
    rooms.upstream.renew(stored.number)
