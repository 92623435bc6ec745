"""/admin/spoof: switches, networks, rules, exemptions and policies against spoofing; judging what nobody sent.

In charge of: the routes of these objects, evaluating a message, trying drafts of policies on past verdicts, and the
links whose policy fell back. Not in charge of: judging (`antispoof/`), evidence, quarantine and registers
(`verdicts.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from ...access.accounts import Account
from ...access.permissions import Permission
from ...antispoof.exemptions import ExemptionModel
from ...antispoof.kinds import SpoofKinds
from ...antispoof.networks import NetworkModel, PortedModel
from ...antispoof.policy import Policy, PolicyModel
from ...antispoof.replay import Search
from ...antispoof.senders import ProtectedModel, SenderRuleModel
from ...antispoof.switches import GroupModel, SwitchModel, read_address
from ...message import Ingress
from ...registry.versioned import ObjectKind
from ...smsc.identity import ASSERTED_IMSI, ASSERTED_SWITCH, spelled, trusted_name
from ..entrance import Identity, Require
from ..problems import FieldError, Problem
from ..rooms import Rooms, rooms_of
from ..times import GivenTime, Instant, instant, ms_of
from .objects import Editing, Id

__all__ = ["objects", "router"]

router = APIRouter(prefix="/spoof", tags=["spoof"])

Reader = Annotated[Identity, Depends(Require(Permission.SPOOF_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.SPOOF_WRITE))]
#: A number as the rooms have it: "+447700900123", "12345", "@Shop".
Normal = Annotated[
    str, Field(min_length=1, max_length=32, pattern=r"^(\+[0-9]{1,15}|[0-9]{1,15}|[@#].{1,20})$")
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


def account_of(rooms: Rooms, name: str, pointer: str) -> Account:
    """An account by id or system_id. Raises invalid-request."""
    known = rooms.registry.snapshot(rooms.account_kind)
    digits = name.removeprefix("acc_")
    found = known.get(name)
    if found is None and digits != name and digits.isascii() and digits.isdecimal() and len(digits) < 10:
        found = known.by_number(int(digits))
    if found is None:
        error = FieldError(pointer=pointer, code="no-such-account", detail="no account has that name or id")
        raise Problem("invalid-request", errors=[error])
    return found


# ---------------------------------------------------------------------------------------------------------- evaluate


class EvaluateRequest(_Request):
    """A message to suppose."""

    sender: Normal = Field(alias="from")
    account: str = Field(min_length=1, max_length=32, description="the link: system_id or id")
    switch: str = Field(
        default="",
        max_length=255,
        description='the switch it came through: "ipa_name:MSC-A"; empty: the link itself',
    )
    named: bool = Field(
        default=False,
        description="the link merely names the switch, as a gateway does; else it is established",
    )
    imsi: str = Field(default="", pattern=r"^[0-9]{0,15}$", description="of the sender, as the switch says")


class StepView(BaseModel):
    """One step of a judgement."""

    step: str
    says: str


class EvaluateAnswer(BaseModel):
    """What would be concluded, and how."""

    verdict: str
    reason: str
    action: str
    enforced: bool
    steps: list[StepView]
    facts: dict[str, Any]


@router.post(":evaluate", response_model=EvaluateAnswer)
async def evaluate(request: Request, who: Reader, body: EvaluateRequest) -> EvaluateAnswer:
    """Judge a message that nobody sent, with every step, source and age. Registers are asked; nothing is recorded."""
    rooms = rooms_of(request)
    account = account_of(rooms, body.account, "#/account")
    trusted, asserted = trusted_name(account), dict[str, str]()
    if body.switch:
        try:
            found = read_address(body.switch)
        except ValueError as error:
            problem = FieldError(pointer="#/switch", code="not-an-address", detail=str(error))
            raise Problem("invalid-request", errors=[problem]) from None
        if body.named:
            asserted[ASSERTED_SWITCH] = spelled(found.type, found.value)
        else:
            trusted = spelled(found.type, found.value)
    if body.imsi:
        asserted[ASSERTED_IMSI] = body.imsi
    ingress = Ingress(
        door="supposed",
        account=account.number,
        role=account.role,
        name=account.system_id,
        trusted=trusted,
        asserted=asserted,
    )
    steps, facts = await rooms.spoof.evaluate(body.sender, ingress)
    return EvaluateAnswer(
        verdict=str(facts["verdict"]),
        reason=str(facts["reason"]),
        action=str(facts["action"]),
        enforced=bool(facts["enforced"]),
        steps=[StepView(step=one.step, says=one.says) for one in steps],
        facts=facts,
    )


# ------------------------------------------------------------------------------------------------------------ replay


class ReplayRequest(_Request):
    """Drafts of policies to try on past verdicts, beside the present ones."""

    since: GivenTime
    until: GivenTime
    policies: list[dict[str, Any]] = Field(
        default=[], max_length=20, description="bodies; one with the name of a policy stands for it"
    )
    link: str = Field(default="", max_length=15, description="only of this account")
    most: int = Field(default=100_000, ge=1, le=1_000_000, description="verdicts")


class ChangedView(BaseModel):
    """A message that would have fared differently."""

    id: str
    message_id: str | None
    link: str
    sender: str
    verdict: str
    reason: str
    before: str
    after: str


class ReplayAnswer(BaseModel):
    """What the policies would have done."""

    verdicts: int
    before: dict[str, int] = Field(description="what happened")
    after: dict[str, int] = Field(description="what would have")
    changed: list[ChangedView]
    more_changed: int
    finished: bool = Field(description="false: there are more verdicts than `most`")


@router.post(":replay", response_model=ReplayAnswer)
async def replay(request: Request, who: Reader, body: ReplayRequest) -> ReplayAnswer:
    """Apply drafts of policies to past verdicts. Changes nothing, asks no register."""
    rooms = rooms_of(request)
    kind = rooms.spoof_kinds.policy
    by_name = {policy.model.name: policy for policy in rooms.spoof.live.policies.values()}
    for index, given in enumerate(body.policies):
        model = kind.parse(given)
        known = by_name.get(model.name)
        number = known.number if known is not None else (1 << 30) + index
        by_name[model.name] = Policy.made(number, "draft", 0, model)
    search = Search(link=body.link, since=max(1, ms_of(body.since)), until=ms_of(body.until))
    done = await rooms.spoof.replay.replay(by_name.values(), search, body.most)
    return ReplayAnswer(
        verdicts=done.rows,
        before=dict(done.before),
        after=dict(done.after),
        changed=[
            ChangedView(
                id=record.id,
                message_id=str(record.message) if record.message else None,
                link=record.link,
                sender=record.sender,
                verdict=record.verdict,
                reason=record.reason,
                before=was,
                after=would,
            )
            for record, was, would in done.changed
        ],
        more_changed=done.more_changed,
        finished=done.finished,
    )


# ------------------------------------------------------------------------------------------------------------- links


class FallenView(BaseModel):
    """A link whose policy watches instead of acting, because its share of accusations jumped."""

    link: str
    until: Instant


@router.get("/fallen-links", response_model=list[FallenView])
async def fallen_links(request: Request, who: Reader) -> list[FallenView]:
    """Links of this node whose policy has fallen back to monitor mode."""
    rooms = rooms_of(request)
    listed = rooms.spoof.check.fall_back.listed(rooms.store.clock.now_ms())
    return [FallenView(link=link, until=instant(until)) for link, until in sorted(listed.items())]


@router.post("/fallen-links/{id}:reset", status_code=204)
async def reset_link(request: Request, who: Writer, id: Id) -> None:
    """Let a link's policy act again at once."""
    rooms = rooms_of(request)
    async with rooms.audit.entry(who.entry("spoof.reset-link", id)) as seal:
        await rooms.store.apply(writes=seal())
    if not rooms.spoof.check.fall_back.reset(id):
        raise Problem("not-found")


# ------------------------------------------------------------------------------------------------------- the objects


def _editing(
    kind_of: Callable[[SpoofKinds], ObjectKind[Any, Any]], model: type[BaseModel], name: str, plural: str
) -> APIRouter:
    return Editing(
        kind_of=lambda rooms: kind_of(rooms.spoof_kinds),
        model=model,
        name=name,
        plural=f"spoof/{plural}",
        read=Permission.SPOOF_READ,
        write=Permission.SPOOF_WRITE,
    ).router()


objects = (
    _editing(lambda kinds: kinds.switch, SwitchModel, "switch", "switches"),
    _editing(lambda kinds: kinds.group, GroupModel, "switch-group", "groups"),
    _editing(lambda kinds: kinds.network, NetworkModel, "network", "networks"),
    _editing(lambda kinds: kinds.ported, PortedModel, "ported-number", "ported-numbers"),
    _editing(lambda kinds: kinds.sender_rule, SenderRuleModel, "sender-rule", "sender-rules"),
    _editing(lambda kinds: kinds.protected, ProtectedModel, "protected-sender", "protected-senders"),
    _editing(lambda kinds: kinds.exemption, ExemptionModel, "spoof-exemption", "exemptions"),
    _editing(lambda kinds: kinds.policy, PolicyModel, "spoof-policy", "policies"),
)
