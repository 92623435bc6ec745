"""Who belongs to which zones: the part that operators edit one by one.

In charge of: memberships of prefixes, groups and everyone (registry kind "membership"). Not in charge of: memberships
of single numbers and who is in which group, of which there may be millions (`members.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ..access.numbers import check_number_rule
from ..registry.versioned import Stored
from .policy import PolicyName
from .zone import ZoneName

__all__ = ["GROUP", "Membership", "MembershipModel"]

GROUP = "group:"


def _subject(text: str) -> str:
    if text.startswith(GROUP):
        name = text[len(GROUP) :]
        if not name or len(name) > 64 or not name.isprintable() or name != name.strip():
            raise ValueError("after group: comes a name of 1 to 64 characters")
        return text
    check_number_rule(text)
    if text != "*" and not text.startswith("+"):
        raise ValueError("only E.164 numbers can be somewhere: +4477*, group:name, or * for everyone")
    return text


class MembershipModel(BaseModel):
    """Whom a policy binds to which zones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$", description="unique name")
    description: str = Field(default="", max_length=500, description="for people")
    subject: Annotated[str, AfterValidator(_subject)] = Field(
        max_length=80, description='"+4477*", "+447700900123", "group:students", "*" for everyone'
    )
    zones: tuple[ZoneName, ...] = Field(
        min_length=1, max_length=1000, description="inside any of them is inside"
    )
    policy: PolicyName
    priority: int = Field(
        default=100, ge=0, le=1000, description="lower decides; among equals the narrower subject"
    )
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    enabled: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> MembershipModel:
        if self.valid_from and self.valid_to and self.valid_to <= self.valid_from:
            raise ValueError("valid_to must be after valid_from")
        return self


@dataclass(slots=True)
class Membership:
    """A live membership."""

    number: int
    id: str  #: "mem_5"
    version: int
    model: MembershipModel
    starts_ms: int
    ends_ms: int  #: 0: no bound

    @classmethod
    def of(cls, stored: Stored[MembershipModel]) -> Membership:
        """Compile."""
        model = stored.value
        starts = int(model.valid_from.timestamp() * 1000) if model.valid_from else 0
        ends = int(model.valid_to.timestamp() * 1000) if model.valid_to else 0
        return cls(stored.number, stored.id, stored.version, model, starts, ends)
