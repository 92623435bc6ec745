"""What is written down about a decision, and read back.

In charge of: the facts of an evidence row, rounded for people, and finding the exact ones again: coordinates stand
only in the table of fixes, which evidence names by id. Not in charge of: deciding (`decision.py`), or the rows
(`smsc/screening.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .decision import Decision, PartyFinding
from .policy import Last, Role, Truth

__all__ = ["CHECK", "LIKE", "Record", "RecordedParty", "facts_of", "read_record"]

CHECK = "zones"  #: name of the check, in every row
LIKE = '%"check":"zones"%'  #: finds its rows among the evidence


def facts_of(decision: Decision, *, decimals: int, snapshot: int) -> dict[str, object]:
    """The evidence of one decision, JSON-able."""
    policy = decision.policy
    facts: dict[str, object] = {
        "at": decision.at,
        "policy": f"{policy.id}@{policy.version}",
        "state": decision.truth.value,
        "act": decision.act.value,
        "reason": decision.reason,
        "snapshot": snapshot,
    }
    if not policy.model.enforced:
        facts["mode"] = "monitor"
    if decision.parties:
        facts["parties"] = [_party(found, decision.at, decimals) for found in decision.parties]
    return facts


def _party(found: PartyFinding, at: int, decimals: int) -> dict[str, object]:
    facts: dict[str, object] = {"role": found.role.value, "state": found.truth.value, "reason": found.reason}
    if found.zone:
        facts["zone"] = found.zone
    if found.source:
        facts["membership"] = found.source
    if 0.0 < found.presence.share < 1.0:
        facts["share"] = round(found.presence.share, 4)
    if found.last is not None:
        facts["last"] = [found.last.truth.value, found.last.at]
    fix = found.fix
    if fix is not None:
        facts |= {"fix": str(fix.id), "source": fix.source, "age_s": max(0, at - fix.measured_at) // 1000}
        facts["accuracy_m"] = round(found.radius_m or fix.accuracy_m)
        if fix.latitude is not None and fix.longitude is not None:
            facts["latitude"], facts["longitude"] = (
                round(fix.latitude, decimals),
                round(fix.longitude, decimals),
            )
    return facts


@dataclass(slots=True)
class RecordedParty:
    """One side, as it was recorded."""

    role: Role
    truth: Truth
    reason: str
    fix: int  #: id of the fix; 0: there was none
    last: Last | None
    zone: str = ""


@dataclass(slots=True)
class Record:
    """One decision, as it was recorded."""

    message: int
    at: int
    stage: str
    policy: str  #: "zpo_4@2"
    truth: Truth
    act: str
    reason: str
    snapshot: int
    enforced: bool
    parties: dict[Role, RecordedParty] = field(default_factory=dict[Role, RecordedParty])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])  #: the evidence as it stands

    @property
    def policy_id(self) -> str:
        """Without its version."""
        return self.policy.partition("@")[0]


def read_record(message: int, detail: str) -> list[Record]:
    """The decisions in the detail of an evidence row; none if the row is another check's."""
    row = json.loads(detail)
    if row.get("check") != CHECK:
        return []
    evidence = cast("Mapping[str, Any]", row.get("evidence") or {})
    listed = cast("list[Mapping[str, Any]]", evidence.get("decisions") or [])
    return [_record(message, row, facts) for facts in listed]


def _record(message: int, row: Mapping[str, Any], facts: Mapping[str, Any]) -> Record:
    record = Record(
        message=message,
        at=facts["at"],
        stage=str(row.get("stage", "")),
        policy=facts["policy"],
        truth=Truth(facts["state"]),
        act=facts["act"],
        reason=facts["reason"],
        snapshot=facts.get("snapshot", 0),
        enforced=facts.get("mode") != "monitor",
        facts=facts,
    )
    for party in facts.get("parties", ()):
        role = Role(party["role"])
        last = party.get("last")
        record.parties[role] = RecordedParty(
            role,
            Truth(party["state"]),
            party["reason"],
            int(party.get("fix", 0)),
            Last(Truth(last[0]), last[1]) if last else None,
            party.get("zone", ""),
        )
    return record
