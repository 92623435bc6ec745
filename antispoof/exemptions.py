"""Who is not judged, why, and until when.

In charge of: exemptions as operators edit them (registry kind "spoof-exemption"), each with a reason and an end, and
the compiled table. Not in charge of: judging (`engine.py`). An exemption that ended is left out when the table is made;
`next_change` says when it must be made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ..access.numbers import PrefixTable, check_number_rule
from ..registry.versioned import Stored
from .switches import Name

__all__ = ["Exemption", "ExemptionKind", "ExemptionModel", "ExemptionTable"]


class ExemptionKind(StrEnum):
    """What is exempt."""

    NUMBER = "number"  #: a sender, or with * a range of them
    IMSI_PREFIX = "imsi-prefix"  #: senders whose IMSI, as the register has it, begins so
    SWITCH = "switch"  #: whatever comes through it, by name
    ACCOUNT = "account"  #: a link, by system_id
    NETWORK = "network"  #: senders whose number belongs to it, by name


class ExemptionModel(BaseModel):
    """An exemption as operators edit it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="unique name")
    kind: ExemptionKind
    value: str = Field(min_length=1, max_length=64, description='"+4477009*", "23415", a name')
    reason: str = Field(min_length=3, max_length=500, description="why; mandatory")
    expires_at: AwareDatetime = Field(description="until when; mandatory")

    @model_validator(mode="after")
    def _well_formed(self) -> ExemptionModel:
        if not self.reason.strip():
            raise ValueError("the reason says nothing")
        if self.kind is ExemptionKind.NUMBER:
            check_number_rule(self.value)
        elif self.kind is ExemptionKind.IMSI_PREFIX and not (
            self.value.isascii() and self.value.isdecimal() and len(self.value) <= 15
        ):
            raise ValueError("an IMSI has at most 15 digits")
        return self


@dataclass(frozen=True, slots=True)
class Exemption:
    """A live exemption."""

    number: int
    id: str
    model: ExemptionModel
    expires_at: int  #: UTC epoch milliseconds

    @classmethod
    def of(cls, stored: Stored[ExemptionModel]) -> Exemption:
        """Compile."""
        return cls(stored.number, stored.id, stored.value, int(stored.value.expires_at.timestamp() * 1000))


class ExemptionTable:
    """Exemptions in force. Never changed once made."""

    def __init__(self, exemptions: Iterable[Exemption] = (), *, at: int = 0) -> None:
        """Those that ended at `at` (UTC epoch ms) are left out."""
        ordered = sorted((one for one in exemptions if one.expires_at > at), key=lambda one: one.number)
        self.next_change = min((one.expires_at for one in ordered), default=0)  #: 0: never
        of_kind: dict[ExemptionKind, list[Exemption]] = {kind: [] for kind in ExemptionKind}
        for one in ordered:
            of_kind[one.model.kind].append(one)
        self._numbers = PrefixTable((one.model.value, one) for one in of_kind[ExemptionKind.NUMBER])
        self._imsis = PrefixTable((one.model.value + "*", one) for one in of_kind[ExemptionKind.IMSI_PREFIX])
        self._names = {
            (kind, one.model.value): one
            for kind in (ExemptionKind.SWITCH, ExemptionKind.ACCOUNT, ExemptionKind.NETWORK)
            for one in reversed(of_kind[kind])
        }
        self.any = bool(ordered)

    def find(self, *, sender: str, account: str, switch: str, network: str, imsi: str) -> Exemption | None:
        """The exemption that covers a message; names are "" where nobody knows."""
        if not self.any:
            return None
        names = self._names
        return (
            self._numbers.find(sender)
            or names.get((ExemptionKind.ACCOUNT, account))
            or names.get((ExemptionKind.SWITCH, switch))
            or names.get((ExemptionKind.NETWORK, network))
            or self._imsis.find(imsi)
        )
