"""What happens inside, outside, and when nobody knows.

In charge of: policies as operators edit them (registry kind "zone-policy"), and the logic from states to a decision:
shares and hysteresis, sender and recipient together. Not in charge of: where somebody is
(`locations.py`), which zones count (`rules.py`), verdicts and what a peer sees (`check.py`).

Three values. A subscriber is IN, OUT or UNKNOWN; an ESME, a short code or a name is NOT_APPLICABLE and stands aside.
either = IN if one is IN, OUT only if both are OUT, else UNKNOWN. both = OUT if one is OUT, IN only if both are IN,
else UNKNOWN.

Hysteresis. A fix on the border has a share of its disc inside the zone. At first sight `share_threshold` decides.
While the last state is younger than `dwell_s`, the share must pass the threshold by `hysteresis` to change it: noise
of a few metres on a border changes nothing, and a true exit is seen when the share has fallen below threshold minus
hysteresis, which for the defaults (0.5, 0.2) is about a third of the accuracy radius beyond the border.

Source: issue "home zones" section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..access.numbers import NumberRule, PrefixTable
from ..registry.versioned import Stored
from .presence import Presence, State

__all__ = [
    "Last",
    "OnOutside",
    "OnUnknown",
    "Policy",
    "PolicyName",
    "Roaming",
    "Role",
    "Subject",
    "Then",
    "Truth",
    "Visibility",
    "ZonePolicyModel",
    "both",
    "either",
    "settle",
]


PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]


class Role(StrEnum):
    """Whose place it is about."""

    SENDER = "sender"
    RECIPIENT = "recipient"


class Subject(StrEnum):
    """Who must be inside."""

    RECIPIENT = "recipient"
    SENDER = "sender"
    BOTH = "both"
    EITHER = "either"

    def concerns(self, role: Role) -> bool:
        """Whether that side of a message is looked at."""
        return self not in (Subject.RECIPIENT, Subject.SENDER) or self.value == role.value


class OnOutside(StrEnum):
    """What becomes of a message outside."""

    BLOCK = "block"
    HOLD = "hold"  #: until a fix puts the subscriber inside, or to the end of the validity period
    HOLD_AND_OFFER = (
        "hold_and_offer"  #: the same, and the recipient may have it delivered at once by answering YES
    )
    FORWARD_AND_TAG = "forward_and_tag"  #: goes on, marked for charging
    DIVERT = "divert"  #: straight to the recipient's mailbox


class OnUnknown(StrEnum):
    """What becomes of a message when the location is not known."""

    OPEN = "open"  #: as if inside, counted, with an alarm when it becomes many
    CLOSED = "closed"  #: as if outside
    HOLD = "hold"  #: asked again for unknown_hold_s, then as unknown_then says
    LAST_KNOWN = "last_known"  #: a fix up to last_known_s old will do, then as unknown_then says


class Then(StrEnum):
    """The end of not knowing."""

    OPEN = "open"
    CLOSED = "closed"


class Roaming(StrEnum):
    """What being in a foreign network means."""

    OUTSIDE = "outside"
    UNKNOWN = "unknown"
    OPEN = "open"  #: as if inside


class Visibility(StrEnum):
    """What a peer may learn."""

    GENERIC = "generic"  #: a blocked message takes the path of an absent recipient: a block must not tell who is where
    SPECIFIC = "specific"  #: refused with a status, REJECTD in the receipt


class ZonePolicyModel(BaseModel):
    """A policy as operators edit it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PolicyName = Field(description="unique name")
    description: str = Field(default="", max_length=500, description="for people")
    enforced: bool = Field(
        default=True, description="false: monitor mode; decisions are recorded, nothing happens"
    )
    subject: Subject = Field(default=Subject.RECIPIENT, description="who must be inside")
    on_outside: OnOutside = OnOutside.BLOCK
    on_unknown: OnUnknown = Field(
        description="must be chosen: it decides what an outage of a location source does"
    )
    unknown_hold_s: int = Field(default=600, ge=1, le=604_800, description="seconds; for on_unknown = hold")
    last_known_s: int = Field(
        default=86_400, ge=1, le=2_592_000, description="seconds; for on_unknown = last_known"
    )
    unknown_then: Then = Field(default=Then.OPEN, description="after unknown_hold_s or last_known_s")
    on_no_zone: Then = Field(default=Then.OPEN, description="no zone of the subscriber is in force now")
    roaming: Roaming = Roaming.OUTSIDE
    share_threshold: float = Field(
        default=0.5, ge=0.01, le=1, description="share of a fix that counts as inside"
    )
    hysteresis: float = Field(
        default=0.2, ge=0, le=0.5, description="the share must pass the threshold by so much"
    )
    dwell_s: int = Field(
        default=600, ge=0, le=86_400, description="seconds that the last state holds against noise"
    )
    max_age_s: int = Field(default=900, ge=1, le=604_800, description="seconds; an older fix is UNKNOWN")
    max_accuracy_m: int = Field(
        default=20_000, ge=10, le=1_000_000, description="metres; a coarser fix is UNKNOWN"
    )
    growth_m_s: float = Field(
        default=0, ge=0, le=300, description="metres per second of age added to the accuracy"
    )
    hold_poll_s: int = Field(
        default=300, ge=5, le=86_400, description="seconds between looks while a message is held"
    )
    offer_interval_s: int = Field(default=3600, ge=60, le=604_800, description="seconds between two offers")
    offer_text: str = Field(
        default="A message waits for you outside your home zone. Answer YES to get it now.",
        min_length=1,
        max_length=480,
        description="asked by SMS; hold_and_offer",
    )
    tag: str = Field(default="outside-zone", max_length=64, description="charging mark; forward_and_tag")
    visibility: Visibility = Visibility.GENERIC
    bypass_short_codes: bool = Field(
        default=True, description="messages from and to short codes pass unlooked"
    )
    bypass_numbers: tuple[NumberRule, ...] = Field(
        default=(), max_length=1000, description="numbers on the other side that pass: operator care, VIP"
    )
    bypass_groups: tuple[str, ...] = Field(
        default=(), max_length=100, description="groups whose members pass"
    )
    bypass_service_types: tuple[str, ...] = Field(
        default=(), max_length=32, description="service_type values"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ZonePolicyModel:
        if self.on_outside is OnOutside.HOLD_AND_OFFER and self.subject is not Subject.RECIPIENT:
            raise ValueError("hold_and_offer asks the recipient, so subject must be recipient")
        return self


@dataclass(slots=True)
class Policy:
    """A live policy."""

    number: int
    id: str  #: "zpo_4"
    version: int
    model: ZonePolicyModel
    bypass: PrefixTable[bool]

    @classmethod
    def of(cls, stored: Stored[ZonePolicyModel]) -> Policy:
        """Compile."""
        table: PrefixTable[bool] = PrefixTable((rule, True) for rule in stored.value.bypass_numbers)
        return cls(stored.number, stored.id, stored.version, stored.value, table)


# --------------------------------------------------------------------------------------------------------- logic


class Truth(Enum):
    """Where somebody is, as far as a decision goes."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"  #: nobody who could be somewhere, or nobody the policy speaks of


def both(one: Truth, other: Truth) -> Truth:
    """Both must be inside."""
    if one is Truth.NOT_APPLICABLE:
        return other
    if other is Truth.NOT_APPLICABLE:
        return one
    if Truth.OUT in (one, other):
        return Truth.OUT
    return Truth.IN if one is other is Truth.IN else Truth.UNKNOWN


def either(one: Truth, other: Truth) -> Truth:
    """One must be inside."""
    if one is Truth.NOT_APPLICABLE:
        return other
    if other is Truth.NOT_APPLICABLE:
        return one
    if Truth.IN in (one, other):
        return Truth.IN
    return Truth.OUT if one is other is Truth.OUT else Truth.UNKNOWN


class Last(NamedTuple):
    """The state of a subscriber under a policy when it was last judged."""

    truth: Truth
    at: int  #: UTC epoch milliseconds


def settle(presence: Presence, policy: ZonePolicyModel, last: Last | None, at: int) -> Truth:
    """A share becomes a yes or a no."""
    if presence.state is State.UNKNOWN:
        return Truth.UNKNOWN
    share = presence.share
    threshold = policy.share_threshold
    if presence.state is State.PARTIAL and last is not None and at - last.at < policy.dwell_s * 1000:
        if last.truth is Truth.IN:
            threshold -= policy.hysteresis
        elif last.truth is Truth.OUT:
            threshold = min(1.0, threshold + policy.hysteresis)
    elif presence.state is not State.PARTIAL:
        return Truth.IN if presence.state is State.IN else Truth.OUT
    return Truth.IN if share >= threshold else Truth.OUT
