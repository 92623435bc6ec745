"""What follows from a verdict.

In charge of: policies as operators edit them (registry kind "spoof-policy"), the ruling for a verdict on a link, and
the fall-back to monitor mode when a link suddenly looks like nothing but spoofers. Not in charge of: verdicts
(`engine.py`), carrying an action out (`check.py`, the message path).

Which policy counts: the one that names the account, else the one for its class of links, else the built-in one, which
watches and does nothing. Of several that fit equally the older one counts.

The fall-back. A new switch that nobody registered, or a renumbered pool, looks exactly like an attack. So when the
share of accusations that rest on a register jumps above a limit on one link, its policy falls back to monitor mode for
a while, loudly. Accusations by rules of our own do not count: a flood of forged sender names must not switch the
protection off.

Source: notes/antispoof.md 2.5 and 5.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..message import Role
from ..registry.versioned import Stored
from .engine import ON_A_REGISTER, Reason, Verdict
from .switches import Name

__all__ = ["Act", "FallBack", "Mode", "Policies", "Policy", "PolicyModel", "RuleModel", "Ruling"]


class Act(StrEnum):
    """What becomes of a message."""

    ACCEPT = "accept"
    FLAG = "flag"  #: goes on, marked by an optional parameter and an event
    QUARANTINE = "quarantine"  #: stored, until an operator decides or the time is over
    THROTTLE = "throttle"  #: so many a minute go on, flagged; more are refused for now
    REJECT = "reject"
    DROP = "drop"  #: answered as accepted, never delivered


class Mode(StrEnum):
    """Whether a policy acts."""

    MONITOR = "monitor"
    ENFORCE = "enforce"


class RuleModel(BaseModel):
    """What becomes of messages with a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal[Verdict.SPOOFED, Verdict.UNVERIFIABLE]
    reason: Reason | None = Field(default=None, description="only with this reason; null: with any other")
    action: Act


_SPOOFED_BY = {Role.SWITCH: Act.REJECT, Role.ESME: Act.REJECT, Role.INTERCONNECT: Act.QUARANTINE}
#: A gateway that names what it must not is more often misconfigured than hostile.
_BUILT_IN = {Reason.ASSERTED_SWITCH_UNTRUSTED: Act.FLAG}


class PolicyModel(BaseModel):
    """A policy as operators edit it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="unique name")
    ingress: Literal[Role.ESME, Role.SWITCH, Role.INTERCONNECT] = Field(
        description="class of the links it is for"
    )
    accounts: tuple[str, ...] = Field(
        default=(), max_length=1000, description="system_ids it is for; empty: every one of the class"
    )
    mode: Mode = Field(default=Mode.MONITOR, description="monitor: recorded, nothing happens")
    rules: tuple[RuleModel, ...] = Field(
        default=(),
        max_length=50,
        description="what differs from the defaults: spoofed is rejected (interconnect: quarantined), "
        "unverifiable flagged, a name the link must not use flagged",
    )
    grace_s: int = Field(
        default=90, ge=0, le=600, description="seconds for which the switch that served before still counts"
    )
    sample: int = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description="one of so many genuine messages leaves evidence; 0: none",
    )
    quarantine_s: int = Field(
        default=86_400, ge=60, le=2_592_000, description="seconds after which a quarantined message expires"
    )
    throttle_per_minute: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="messages a minute of one link that action throttle lets pass",
    )
    fall_back_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of accusations by registers that falls back to monitor; 0: off",
    )
    fall_back_least: int = Field(
        default=50, ge=1, le=1_000_000, description="messages within a minute before the share means anything"
    )
    fall_back_s: int = Field(default=900, ge=10, le=86_400, description="seconds until it acts again")
    description: str = Field(default="", max_length=200)

    @model_validator(mode="after")
    def _rules_differ(self) -> PolicyModel:
        keys = [(rule.verdict, rule.reason) for rule in self.rules]
        if len(set(keys)) != len(keys):
            raise ValueError("two rules are about the same verdict and reason")
        return self


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy says about one message."""

    act: Act
    enforced: bool
    policy: Policy


@dataclass(frozen=True, slots=True)
class Policy:
    """A live policy."""

    number: int
    id: str  #: "spo_3"; "built-in"
    version: int
    model: PolicyModel
    acts: dict[tuple[Verdict, Reason | None], Act] = field(
        default_factory=dict[tuple[Verdict, "Reason | None"], Act]
    )

    @classmethod
    def of(cls, stored: Stored[PolicyModel]) -> Policy:
        """Compile."""
        return cls.made(stored.number, stored.id, stored.version, stored.value)

    @classmethod
    def made(cls, number: int, id: str, version: int, model: PolicyModel) -> Policy:
        """Compile a model that may be a draft."""
        acts = {(rule.verdict, rule.reason): rule.action for rule in model.rules}
        return cls(number, id, version, model, acts)

    def act(self, verdict: Verdict, reason: Reason) -> Act:
        """What becomes of a message with this verdict."""
        if verdict not in (Verdict.SPOOFED, Verdict.UNVERIFIABLE):
            return Act.ACCEPT
        said = self.acts.get((verdict, reason)) or self.acts.get((verdict, None))
        if said is not None:
            return said
        if verdict is Verdict.UNVERIFIABLE:
            return Act.FLAG
        return _BUILT_IN.get(reason) or _SPOOFED_BY[self.model.ingress]

    @property
    def enforced(self) -> bool:
        """True if it acts."""
        return self.model.mode is Mode.ENFORCE


_CLASSES = (Role.ESME, Role.SWITCH, Role.INTERCONNECT)


class Policies:
    """Which policy counts on a link. Never changed once made."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._by_account: dict[tuple[Role, str], Policy] = {}
        self._by_class: dict[Role, Policy] = {
            role: Policy.made(0, "built-in", 0, PolicyModel(name=f"built-in {role.value}", ingress=role))
            for role in _CLASSES
        }
        named: set[Role] = set()
        for policy in sorted(policies, key=lambda one: one.number):
            role = Role(policy.model.ingress)
            for account in policy.model.accounts:
                self._by_account.setdefault((role, account), policy)
            if not policy.model.accounts and role not in named:
                named.add(role)
                self._by_class[role] = policy

    def of(self, role: Role, account: str) -> Policy:
        """The policy of a link."""
        return self._by_account.get((role, account)) or self._by_class[role]


WINDOW_MS = 60_000


@dataclass(slots=True)
class _Link:
    since: int = 0
    judged: int = 0
    accused: int = 0
    until: int = 0  #: UTC epoch ms; monitor mode until then


class FallBack:
    """Which links have fallen back to monitor mode. Bounded by the number of accounts that ever sent."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def count(
        self, account: str, policy: Policy, verdict: Verdict, reason: Reason, now: int, weight: int = 1
    ) -> bool:
        """Count one judged message, or `weight` that were genuine. True if the link has fallen back just now."""
        model = policy.model
        if not model.fall_back_share:
            return False
        link = self._links.get(account)
        if link is None:
            link = self._links[account] = _Link(since=now)
        if now - link.since >= WINDOW_MS:
            link.since, link.judged, link.accused = now, 0, 0
        link.judged += weight
        if verdict is not Verdict.SPOOFED or reason not in ON_A_REGISTER:
            return False
        link.accused += 1
        if link.judged < model.fall_back_least or link.accused < model.fall_back_share * link.judged:
            return False
        fresh = link.until <= now
        link.until = now + model.fall_back_s * 1000
        return fresh

    def active(self, account: str, now: int) -> bool:
        """True while a link is in monitor mode because of its share."""
        link = self._links.get(account)
        return link is not None and link.until > now

    def listed(self, now: int) -> dict[str, int]:
        """account -> UTC epoch ms at which its policy acts again."""
        return {account: link.until for account, link in self._links.items() if link.until > now}

    def reset(self, account: str) -> bool:
        """Let the policy of a link act again at once."""
        link = self._links.pop(account, None)
        return link is not None
