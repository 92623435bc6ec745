"""From places to a decision: a pure function, so that what was decided can be explained and replayed.

In charge of: one policy's judgement of one message at one stage, given where its parties were seen. Not in charge of:
getting locations (`locations.py`), what a verdict is (`check.py`), keeping decisions (evidence rows of the store).

At submit a policy for both or either only records where the sender is, and stops a sender who is OUT under *both*. At
the attempt the recorded state and the recipient's are put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..check import Stage
from .fix import Fix, Reason, Sighting
from .policy import (
    Last,
    OnOutside,
    OnUnknown,
    Policy,
    Roaming,
    Role,
    Subject,
    Then,
    Truth,
    ZonePolicyModel,
    both,
    either,
    settle,
)
from .presence import OUT, Presence, State, unknown
from .rules import Case, Grant, Party

__all__ = ["Act", "Decision", "Given", "PartyFinding", "judge", "look"]


class Act(StrEnum):
    """What a decision asks for."""

    PASS = "pass"  # noqa: S105 - a word, no secret
    RECORD = "record"  #: goes on; the sender's state is kept for the attempt
    BLOCK = "block"
    HOLD = "hold"
    OFFER = "offer"  #: hold, and ask the recipient
    TAG = "tag"
    DIVERT = "divert"


_ACT_OUTSIDE: Mapping[OnOutside, Act] = {
    OnOutside.BLOCK: Act.BLOCK,
    OnOutside.HOLD: Act.HOLD,
    OnOutside.HOLD_AND_OFFER: Act.OFFER,
    OnOutside.FORWARD_AND_TAG: Act.TAG,
    OnOutside.DIVERT: Act.DIVERT,
}


@dataclass(frozen=True, slots=True)
class Given:
    """Everything a judgement rests on besides the case."""

    at: int  #: UTC epoch milliseconds
    submitted_at: int
    sightings: Mapping[Role, Sighting]
    last: Mapping[Role, Last] = field(default_factory=dict[Role, Last])
    recorded_sender: Truth | None = None  #: at the attempt: the sender's state at submit
    offer_accepted: bool = False  #: the recipient answered YES after this message was submitted
    floors_m: Mapping[str, float] = field(default_factory=dict[str, float])  #: least accuracy by source
    home_plmns: frozenset[str] = frozenset()  #: own networks; empty: roaming is not judged


@dataclass(slots=True)
class PartyFinding:
    """What was found about one side."""

    role: Role
    truth: Truth
    reason: str = ""
    presence: Presence = OUT
    zone: str = ""  #: the zone that decided, "zon_3@2"
    fix: Fix | None = None
    radius_m: float = 0.0  #: uncertainty that was used
    last: Last | None = None
    source: str = ""  #: membership that named the zone
    each: list[tuple[str, Presence]] = field(
        default_factory=list[tuple[str, Presence]]
    )  #: every zone's answer


@dataclass(slots=True)
class Decision:
    """One policy's judgement."""

    policy: Policy
    stage: Stage
    at: int
    truth: Truth
    act: Act
    reason: str
    parties: list[PartyFinding]
    until: int = 0  #: HOLD: when to look again

    @property
    def sender_truth(self) -> Truth | None:
        """The sender's state, if it was looked at."""
        return next((found.truth for found in self.parties if found.role is Role.SENDER), None)


def judge(case: Case, given: Given) -> Decision:
    """Judge."""
    policy = case.policy
    if case.bypass:
        return Decision(
            policy, case.stage, given.at, Truth.NOT_APPLICABLE, Act.PASS, f"bypass-{case.bypass}", []
        )
    subject = policy.model.subject
    findings: list[PartyFinding] = []
    for role, party in case.parties.items():
        if role is Role.RECIPIENT and case.stage is Stage.SUBMIT:
            continue
        if role is Role.SENDER and case.stage is Stage.ATTEMPT and given.recorded_sender is not None:
            findings.append(PartyFinding(role, given.recorded_sender, "recorded-at-submit"))
            continue
        findings.append(look(party, policy.model, given))
    truths = {found.role: found.truth for found in findings}
    sender = truths.get(Role.SENDER, Truth.NOT_APPLICABLE)
    recipient = truths.get(Role.RECIPIENT, Truth.NOT_APPLICABLE)
    if case.stage is Stage.SUBMIT and subject in (Subject.BOTH, Subject.EITHER):
        if subject is Subject.BOTH and sender is Truth.OUT:
            return _conclude(case, given, Truth.OUT, findings)
        reason = "recorded" if sender is not Truth.NOT_APPLICABLE else "not-applicable"
        act = Act.RECORD if sender is not Truth.NOT_APPLICABLE else Act.PASS
        return Decision(policy, case.stage, given.at, sender, act, reason, findings)
    truth = either(sender, recipient) if subject is Subject.EITHER else both(sender, recipient)
    return _conclude(case, given, truth, findings)


def _conclude(case: Case, given: Given, truth: Truth, findings: list[PartyFinding]) -> Decision:
    """From the combined truth to an act."""
    policy, model = case.policy, case.policy.model
    decisive = next((found for found in findings if found.truth is truth), None)
    reason = decisive.reason if decisive is not None else ""

    def decided(act: Act, why: str, until: int = 0) -> Decision:
        return Decision(policy, case.stage, given.at, truth, act, why, findings, until)

    if truth in (Truth.IN, Truth.NOT_APPLICABLE):
        return decided(Act.PASS, reason or ("inside" if truth is Truth.IN else "not-applicable"))
    poll = given.at + model.hold_poll_s * 1000
    if truth is Truth.UNKNOWN:
        if model.on_unknown is OnUnknown.OPEN:
            return decided(Act.PASS, reason)
        ends = given.submitted_at + model.unknown_hold_s * 1000
        if model.on_unknown is OnUnknown.HOLD and given.at < ends:
            return decided(Act.HOLD, reason, min(poll, ends))
        if model.on_unknown is not OnUnknown.CLOSED and model.unknown_then is Then.OPEN:
            return decided(Act.PASS, reason)
    act = _ACT_OUTSIDE[model.on_outside]
    if act is Act.OFFER and given.offer_accepted:
        return decided(Act.PASS, "offer-accepted")
    return decided(act, reason or "outside", poll if act in (Act.HOLD, Act.OFFER) else 0)


def look(party: Party, model: ZonePolicyModel, given: Given) -> PartyFinding:
    """One side: from memberships and sighting to a truth."""
    role = party.role
    if not party.locatable:
        return PartyFinding(role, Truth.NOT_APPLICABLE, "not-applicable")
    if not party.grants:
        return PartyFinding(role, Truth.NOT_APPLICABLE, "not-a-member")
    active = party.active
    if not active:
        truth = Truth.IN if model.on_no_zone is Then.OPEN else Truth.OUT
        return PartyFinding(role, truth, "no-zone")
    sighting = given.sightings.get(role, Sighting(None, Reason.NONE))
    fix, last = sighting.fix, given.last.get(role)
    if fix is None:
        return PartyFinding(role, Truth.UNKNOWN, sighting.reason, unknown(sighting.reason), last=last)
    if fix.plmn and given.home_plmns and fix.plmn not in given.home_plmns:
        if model.roaming is Roaming.OPEN:
            return PartyFinding(role, Truth.IN, "roaming", fix=fix, last=last)
        truth = Truth.OUT if model.roaming is Roaming.OUTSIDE else Truth.UNKNOWN
        return PartyFinding(role, truth, "roaming", fix=fix, last=last)
    radius, problem = _usable(fix, model, given)
    if problem:
        return PartyFinding(
            role, Truth.UNKNOWN, problem, unknown(problem), fix=fix, radius_m=radius, last=last
        )
    presence, grant, each = _nearest(active, fix, radius)
    truth = settle(presence, model, last, given.at)
    reason = {Truth.IN: "inside", Truth.OUT: "outside"}.get(truth, presence.reason)
    name, source = (grant.name, grant.source) if grant is not None else ("", "")
    return PartyFinding(role, truth, reason, presence, name, fix, radius, last, source, each)


def _usable(fix: Fix, model: ZonePolicyModel, given: Given) -> tuple[float, str]:
    """The uncertainty to reckon with, and why the fix cannot be used, if so."""
    age_s = max(0.0, (given.at - fix.measured_at) / 1000)
    radius = max(fix.accuracy_m, given.floors_m.get(fix.source, 0.0)) + model.growth_m_s * age_s
    oldest = model.max_age_s
    if model.on_unknown is OnUnknown.LAST_KNOWN:
        oldest = max(oldest, model.last_known_s)
    if age_s > oldest:
        return radius, Reason.STALE
    if fix.latitude is not None and radius > model.max_accuracy_m:
        return radius, Reason.COARSE
    return radius, ""


def _nearest(
    grants: list[Grant], fix: Fix, radius: float
) -> tuple[Presence, Grant | None, list[tuple[str, Presence]]]:
    """All zones together, and the one that decided: any IN, else the highest share, else UNKNOWN if any, else OUT."""
    best, best_grant = OUT, None
    doubt: tuple[Presence, Grant] | None = None
    each: list[tuple[str, Presence]] = []
    for grant in grants:
        presence = grant.shape.presence(fix, radius)
        each.append((grant.name, presence))
        if presence.state is State.IN:
            return presence, grant, each
        if presence.state is State.PARTIAL and presence.share > best.share:
            best, best_grant = presence, grant
        elif presence.state is State.UNKNOWN and doubt is None:
            doubt = presence, grant
    if best.state is State.PARTIAL or doubt is None:
        return best, best_grant, each
    return doubt[0], doubt[1], each
