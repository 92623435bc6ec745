"""Which zones and which policy concern a message.

In charge of: from a number to its memberships in force, from those to the policy that governs, from a message and a
stage to the cases that must be judged. Not in charge of: judging (`decision.py`), where anybody is (`locations.py`).

Which policy governs a number: of its memberships in force, the one with the lowest priority; among equals the
narrower subject (the number itself, a group, the longest prefix, everyone). Every membership of that number under the
same policy adds its zones; memberships under other policies are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..access.numbers import PrefixTable
from ..check import Stage
from ..message import Message, NumberKind, number_kind
from .geometry import CircleShape
from .members import Member
from .membership import GROUP, Membership
from .policy import Policy, Role, Subject
from .presence import Shape
from .zone import Zone

__all__ = ["Book", "Case", "Drafted", "Grant", "MemberBook", "Party", "Rules", "is_locatable"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Ranks of subjects; a prefix has RANK_PREFIX minus its length.
RANK_NUMBER, RANK_GROUP, RANK_PREFIX, RANK_EVERYONE = 0, 1, 100, 1000


class Book(Protocol[T_co]):
    """Objects by name and number: a registry snapshot, or one with drafts laid over it."""

    def get(self, key: str) -> T_co | None:
        """By name."""
        ...

    def by_number(self, number: int) -> T_co | None:
        """By object number."""
        ...


class MemberBook(Protocol):
    """Memberships of single numbers (`members.Members`)."""

    def of(self, number: str) -> Sequence[Member]:
        """Memberships of a number."""
        ...

    def groups_of(self, number: str) -> Sequence[str]:
        """Groups of a number."""
        ...


class Drafted(Generic[T]):
    """A book with drafts in place of some of its objects."""

    def __init__(self, base: Book[T], drafts: Mapping[int, T], names: Mapping[str, T]) -> None:
        """`names`: the drafts by name."""
        self._base = base
        self._drafts = drafts
        self._names = names

    def get(self, key: str) -> T | None:
        """See `Book.get`."""
        return self._names.get(key) or self._base.get(key)

    def by_number(self, number: int) -> T | None:
        """See `Book.by_number`."""
        return self._drafts.get(number) or self._base.by_number(number)


@dataclass(slots=True)
class Grant:
    """One zone of one number under one policy."""

    policy: Policy
    priority: int
    rank: int
    shape: Shape
    zone: Zone | None  #: None: a circle of the number's own
    source: str  #: "mem_5@2", or "number"
    active: bool  #: in force now

    @property
    def name(self) -> str:
        """Zone and version, for evidence: "zon_3@2"."""
        return f"{self.zone.id}@{self.zone.version}" if self.zone is not None else "own-circle"


@dataclass(slots=True)
class Party:
    """One side of a message under one policy."""

    role: Role
    number: str
    grants: list[Grant]  #: under the case's policy; empty: the policy does not speak of this side
    locatable: bool  #: False: an ESME, a short code, a name: NOT_APPLICABLE

    @property
    def concerned(self) -> bool:
        """True if its place matters."""
        return self.locatable and bool(self.grants)

    @property
    def active(self) -> list[Grant]:
        """Zones in force now."""
        return [grant for grant in self.grants if grant.active]

    @property
    def wanted(self) -> bool:
        """True if somebody must be asked where it is."""
        return self.concerned and any(grant.active for grant in self.grants)


@dataclass(slots=True)
class Case:
    """One policy to judge a message by, at one stage."""

    policy: Policy
    stage: Stage
    parties: dict[Role, Party] = field(default_factory=dict[Role, Party])
    bypass: str = ""  #: why nobody is asked; a stable slug


class Rules:
    """Zones, policies and memberships as they are now, or as a draft would make them."""

    def __init__(
        self,
        *,
        zones: Book[Zone],
        policies: Book[Policy],
        memberships: Iterable[Membership],
        members: MemberBook,
        emergency: Iterable[str] = (),
        revision: int = 0,
        center: frozenset[str] = frozenset(),
    ) -> None:
        """`emergency`: numbers that nothing stops; `revision`: names this state in evidence; `center`: numbers of the
        center itself, which everybody may write to."""
        self.zones = zones
        self.policies = policies
        self.members = members
        self.revision = revision
        self.emergency = frozenset(emergency)
        self.center = center
        self._everyone: list[Membership] = []
        self._groups: dict[str, list[Membership]] = {}
        by_rule: dict[str, list[Membership]] = {}
        for membership in memberships:
            model = membership.model
            if not model.enabled:
                continue
            if model.subject == "*":
                self._everyone.append(membership)
            elif model.subject.startswith(GROUP):
                self._groups.setdefault(model.subject[len(GROUP) :], []).append(membership)
            else:
                by_rule.setdefault(model.subject, []).append(membership)
        self._prefixes: PrefixTable[list[Membership]] = PrefixTable(by_rule.items())
        self._ranked = bool(by_rule)

    # ------------------------------------------------------------------------------------------------ memberships

    def grants(self, number: str, at: int) -> list[Grant]:
        """Every zone of a number; empty for most numbers, and then at once."""
        found: list[Grant] = []
        for member in self.members.of(number):
            self._grant_member(found, member, at)
        if self._groups:
            for group in self.members.groups_of(number):
                self._grant_all(found, self._groups.get(group, ()), RANK_GROUP, at)
        if self._ranked:
            for memberships in self._prefixes.matches(number):
                subject = memberships[0].model.subject
                rank = RANK_PREFIX - len(subject) if subject.endswith("*") else RANK_NUMBER
                self._grant_all(found, memberships, rank, at)
        if self._everyone:
            self._grant_all(found, self._everyone, RANK_EVERYONE, at)
        return found

    def _grant_member(self, found: list[Grant], member: Member, at: int) -> None:
        policy = self.policies.by_number(member.policy)
        if policy is None or at < member.valid_from or (member.valid_to and at >= member.valid_to):
            return
        if not member.zone:
            circle = CircleShape(member.latitude, member.longitude, member.radius_m)
            found.append(Grant(policy, member.priority, RANK_NUMBER, circle, None, "number", True))
            return
        zone = self.zones.by_number(member.zone)
        if zone is not None:
            active = zone.active_at(at)
            found.append(Grant(policy, member.priority, RANK_NUMBER, zone.shape, zone, "number", active))

    def _grant_all(self, found: list[Grant], memberships: Iterable[Membership], rank: int, at: int) -> None:
        for membership in memberships:
            model = membership.model
            if at < membership.starts_ms or (membership.ends_ms and at >= membership.ends_ms):
                continue
            policy = self.policies.get(model.policy)
            if policy is None:
                continue
            source = f"{membership.id}@{membership.version}"
            for name in model.zones:
                zone = self.zones.get(name)
                if zone is not None:
                    active = zone.active_at(at)
                    found.append(Grant(policy, model.priority, rank, zone.shape, zone, source, active))

    # ------------------------------------------------------------------------------------------------ messages

    def cases(
        self, message: Message, stage: Stage, at: int, *, sender_locatable: bool, recipient_locatable: bool
    ) -> list[Case]:
        """What must be judged about a message at a stage; empty for most messages."""
        sender_locatable = sender_locatable and is_locatable(message.sender)
        recipient_locatable = recipient_locatable and is_locatable(message.recipient)
        senders = self.grants(message.sender, at) if sender_locatable else []
        recipients = self.grants(message.recipient, at) if recipient_locatable else []
        if not senders and not recipients:
            return []
        parties = {
            Role.SENDER: Party(Role.SENDER, message.sender, [], sender_locatable),
            Role.RECIPIENT: Party(Role.RECIPIENT, message.recipient, [], recipient_locatable),
        }
        grants = {Role.SENDER: senders, Role.RECIPIENT: recipients}
        policies: list[Policy] = []
        for role in Role:
            policy = governing(grants[role], role)
            if policy is not None and policy not in policies and _is_asked(policy, role, stage):
                policies.append(policy)
        return [self._case(policy, stage, message, parties, grants) for policy in policies]

    def _case(
        self,
        policy: Policy,
        stage: Stage,
        message: Message,
        parties: Mapping[Role, Party],
        grants: Mapping[Role, Sequence[Grant]],
    ) -> Case:
        case = Case(policy, stage, bypass=self._bypass(policy, message))
        for role, party in parties.items():
            if policy.model.subject.concerns(role):
                mine = [grant for grant in grants[role] if grant.policy is policy]
                case.parties[role] = Party(role, party.number, mine, party.locatable)
        return case

    def _bypass(self, policy: Policy, message: Message) -> str:
        """Why a message passes unlooked: the first reason that holds."""
        model = policy.model
        numbers = (message.sender, message.recipient)
        if any(number in self.emergency for number in numbers):
            return "emergency"
        if message.recipient in self.center:
            return "center"
        if model.bypass_short_codes and any(number_kind(number) is NumberKind.SHORT for number in numbers):
            return "short-code"
        if any(number in policy.bypass for number in numbers):
            return "number"
        if message.service_type and message.service_type in model.bypass_service_types:
            return "service-type"
        if model.bypass_groups:
            for number in numbers:
                if any(group in model.bypass_groups for group in self.members.groups_of(number)):
                    return "group"
        return ""


def governing(grants: Sequence[Grant], role: Role) -> Policy | None:
    """The policy that decides for a number in a role."""
    best: Grant | None = None
    for grant in grants:
        if grant.policy.model.subject.concerns(role) and (
            best is None or (grant.priority, grant.rank) < (best.priority, best.rank)
        ):
            best = grant
    return best.policy if best is not None else None


def _is_asked(policy: Policy, role: Role, stage: Stage) -> bool:
    """Sender alone: at submit. Recipient alone: at the attempt. Both and either: at both stages."""
    subject = policy.model.subject
    if subject is Subject.SENDER:
        return stage is Stage.SUBMIT
    if subject is Subject.RECIPIENT:
        return stage is Stage.ATTEMPT
    return True


def is_locatable(number: str) -> bool:
    """Only E.164 numbers are somewhere."""
    return number_kind(number) is NumberKind.E164
