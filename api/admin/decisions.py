"""/admin/decisions: what the home zones decided, would decide, and would have decided.

In charge of: explaining a message that nobody sent, the log with its filters, and trying a draft on recorded traffic.
Not in charge of: deciding (`zones/`). Exact places are shown to those who may read locations, and audited; the log
rounds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from ...access.permissions import Permission
from ...message import NumberKind, id_at, number_kind
from ...registry.versioned import ObjectKind, Stored
from ...zones.fix import Fix
from ...zones.heatmap import SIZES, heat_map
from ...zones.policy import Policy, Role
from ...zones.replay import step_facts
from ...zones.rules import Drafted, Rules
from ...zones.zone import Zone
from ..entrance import Identity, Require
from ..problems import FieldError, Problem
from ..rooms import Rooms, rooms_of
from ..times import GivenTime, Instant, instant, ms_of
from .zones import boxes_of

__all__ = ["router"]

router = APIRouter(prefix="/decisions", tags=["decisions"])

Locator = Annotated[Identity, Depends(Require(Permission.LOCATIONS_READ))]
Reader = Annotated[Identity, Depends(Require(Permission.ZONES_READ))]
#: A number as the rooms have it: "+447700900123", "12345", "@Shop".
Normal = Annotated[
    str, Field(min_length=1, max_length=32, pattern=r"^(\+[0-9]{1,15}|[0-9]{1,15}|[@#].{1,20})$")
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Place(_Request):
    """A place to suppose somebody at."""

    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)
    accuracy_m: float = Field(default=50.0, ge=0, le=5_000_000, allow_inf_nan=False)


class ExplainRequest(_Request):
    """A message to suppose."""

    sender: Normal = Field(alias="from")
    recipient: Normal = Field(alias="to")
    service_type: str = Field(default="", max_length=5)
    at: GivenTime | None = Field(default=None, description="when; now if it is left out")
    from_application: bool = Field(default=False, description="an ESME sends it: its number is nowhere")
    sender_at: Place | None = Field(default=None, description="instead of where the sender was seen last")
    recipient_at: Place | None = None


class ExplainAnswer(BaseModel):
    """Every judgement that the message would meet, in order; none: no policy concerns it."""

    steps: list[dict[str, Any]]


@router.post(":explain", response_model=ExplainAnswer)
async def explain(request: Request, who: Locator, body: ExplainRequest) -> ExplainAnswer:
    """Say what would be decided about a message and why, with every zone's answer. Nothing is sent or remembered."""
    rooms = rooms_of(request)
    target = f"{body.sender} -> {body.recipient}"
    async with rooms.audit.entry(who.entry("decision.explain", target)) as seal:
        await rooms.store.apply(writes=seal())
    at = ms_of(body.at) if body.at else rooms.store.clock.now_ms()
    places = {
        role: Fix(number, place.latitude, place.longitude, place.accuracy_m, at, at, "supposed")
        for role, number, place in (
            (Role.SENDER, body.sender, body.sender_at),
            (Role.RECIPIENT, body.recipient, body.recipient_at),
        )
        if place is not None
    }
    rules = rooms.zones.rules
    found = await rooms.zones.replay.explain(
        rules,
        body.sender,
        body.recipient,
        at=at,
        service_type=body.service_type,
        sender_is_esme=body.from_application,
        places=places,
    )
    return ExplainAnswer(steps=[step_facts(one, rules.revision) for one in found])


# --------------------------------------------------------------------------------------------------------------- log


class DecisionView(BaseModel):
    """One recorded decision; places are rounded."""

    message_id: str
    sender: str
    recipient: str
    at: Instant
    stage: str
    policy: str
    state: str
    act: str
    reason: str
    enforced: bool
    facts: dict[str, Any]


class DecisionList(BaseModel):
    """Decisions, newest first."""

    items: list[DecisionView]
    next_before: str | None = Field(description="pass it as `before` for more")


@router.get("", response_model=DecisionList)
async def list_decisions(
    request: Request,
    who: Reader,
    msisdn: Annotated[str, Query(max_length=32, description="sender or recipient")] = "",
    state: Annotated[Literal["in", "out", "unknown", "not-applicable"] | None, Query()] = None,
    since: Annotated[GivenTime | None, Query()] = None,
    before: Annotated[str, Query(pattern=r"^[0-9]{0,19}$", description="message id")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DecisionList:
    """What was decided, newest first."""
    number = msisdn.strip()
    if number and number_kind(number) is NumberKind.SHORT and len(number) > 6:
        number = f"+{number}"  # a plus sign is a space in a query
    found = await rooms_of(request).zones.replay.log(
        number=number,
        first=id_at(max(0, ms_of(since))) if since else 0,
        before=int(before) if before else 0,
        state=state or "",
        limit=limit,
    )
    items = [
        DecisionView(
            message_id=str(one.message),
            sender=one.sender,
            recipient=one.recipient,
            at=instant(one.record.at),
            stage=one.record.stage,
            policy=one.record.policy,
            state=one.record.truth.value,
            act=one.record.act,
            reason=one.record.reason,
            enforced=one.record.enforced,
            facts=dict(one.record.facts),
        )
        for one in found
    ]
    return DecisionList(items=items, next_before=items[-1].message_id if len(items) == limit else None)


# ---------------------------------------------------------------------------------------------------------- heat map


class BinView(BaseModel):
    """A square with enough people in it to show nobody."""

    west: float
    south: float
    east: float
    north: float
    people: int = Field(description="rounded down to a multiple of `k`")
    decisions: int = Field(description="rounded down to a multiple of `k`")


class HeatMapAnswer(BaseModel):
    """Where decisions fell."""

    bins: list[BinView]
    hidden: int = Field(description="squares with fewer than `k` people")
    k: int
    since: Instant = Field(description="begins with a full hour")
    until: Instant = Field(description="ends with a full hour")
    finished: bool = Field(description="false: only the newest records were read")


@router.get(":heatmap", response_model=HeatMapAnswer)
async def show_heat_map(
    request: Request,
    who: Reader,
    since: Annotated[GivenTime, Query()],
    until: Annotated[GivenTime, Query()],
    bin: Annotated[
        Literal["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"], Query(description="degrees")
    ] = "0.1",
    act: Annotated[
        list[Literal["pass", "record", "block", "hold", "offer", "tag", "divert"]] | None,
        Query(description="only these; more than one is allowed"),
    ] = None,
    bbox: Annotated[str | None, Query(max_length=100, description="west,south,east,north")] = None,
) -> HeatMapAnswer:
    """How many people were where when it was decided about their messages: squares with at least k of them."""
    room = rooms_of(request).zones
    made = await heat_map(
        room.replay.records,
        since=max(0, ms_of(since)),
        until=max(0, ms_of(until)),
        per_degree=SIZES[bin],
        k=room.settings.heatmap_people,
        acts=frozenset(act or ()),
        boxes=boxes_of(bbox) if bbox else (),
    )
    return HeatMapAnswer(
        bins=[
            BinView(west=w, south=s, east=e, north=n, people=one.people, decisions=one.decisions)
            for one in made.bins
            for w, s, e, n in [one.box]
        ],
        hidden=made.hidden,
        k=room.settings.heatmap_people,
        since=instant(made.since),
        until=instant(made.until),
        finished=made.finished,
    )


# ---------------------------------------------------------------------------------------------------------- simulate


class SimulateRequest(_Request):
    """A draft to try on recorded decisions; without one the present rules are checked against their own records."""

    since: GivenTime
    until: GivenTime
    policies: list[dict[str, Any]] = Field(default=[], max_length=20, description="bodies, by their names")
    zones: list[dict[str, Any]] = Field(default=[], max_length=100)
    most: int = Field(default=100_000, ge=1, le=1_000_000, description="messages")


class ChangedView(BaseModel):
    """A message that would have fared differently."""

    message_id: str
    before: str
    after: str


class SimulateAnswer(BaseModel):
    """What the draft would have done."""

    messages: int
    decisions: int
    same: int
    unrecorded: int = Field(description="decisions that would have needed a place nobody asked for then")
    before: dict[str, int]
    after: dict[str, int]
    changed: list[ChangedView]
    more_changed: int
    finished: bool = Field(description="false: there are more messages than `most`")


@router.post(":simulate", response_model=SimulateAnswer)
async def simulate(request: Request, who: Reader, body: SimulateRequest) -> SimulateAnswer:
    """Make recorded decisions again under a draft of policies or shapes. Changes nothing."""
    rooms = rooms_of(request)
    rules = _draft_rules(rooms, body)
    done = await rooms.zones.replay.simulate(
        rules, first=id_at(max(0, ms_of(body.since))), before=id_at(max(0, ms_of(body.until))), most=body.most
    )
    return SimulateAnswer(
        messages=done.messages,
        decisions=done.decisions,
        same=done.same,
        unrecorded=done.unrecorded,
        before=dict(done.before),
        after=dict(done.after),
        changed=[ChangedView(message_id=str(id), before=was, after=would) for id, was, would in done.changed],
        more_changed=done.more_changed,
        finished=done.finished,
    )


def _draft_rules(rooms: Rooms, body: SimulateRequest) -> Rules:
    """The present rules with drafts in place of objects of the same name."""
    room, kinds = rooms.zones, rooms.zone_kinds
    policies: dict[str, Policy] = {
        draft.model.name: draft
        for draft in (
            Policy.of(
                _stored(kinds.policy, given, room.policies.get(str(given.get("name"))), "policies", index)
            )
            for index, given in enumerate(body.policies)
        )
    }
    zones: dict[str, Zone] = {
        draft.model.name: draft
        for draft in (
            Zone.of(_stored(kinds.zone, given, room.zones.get(str(given.get("name"))), "zones", index))
            for index, given in enumerate(body.zones)
        )
    }
    return room.drafted(
        Drafted(room.zones, {zone.number: zone for zone in zones.values()}, zones),
        Drafted(room.policies, {policy.number: policy for policy in policies.values()}, policies),
    )


def _stored(
    kind: ObjectKind[Any, Any], given: Mapping[str, Any], known: Any, where: str, index: int
) -> Stored[Any]:
    """A draft in the place of a living object."""
    if known is None:
        error = FieldError(
            pointer=f"#/{where}/{index}/name", code="not-known", detail="nothing has that name"
        )
        raise Problem("invalid-request", errors=[error])
    return Stored(known.number, known.id, known.model.name, 0, kind.parse(given), 0, "draft")
