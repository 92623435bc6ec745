"""What a subscriber is: its states, its settings, and why an edit of it is refused.

In charge of: the words and their rules. Not in charge of: finding and editing (`subscribers.py`), rows
(`subscriber_tables.py`).

Source: behaviour.md 9; E.164 §6 (numbers), E.212 (IMSI: at most 15 digits). The state machine's theory stands in
`subscribers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..store.store import Answer

__all__ = [
    "TRANSITIONS",
    "ImsiTaken",
    "InvalidSubscriber",
    "NotStored",
    "NumberTaken",
    "RowResult",
    "StaleSubscriber",
    "Subscriber",
    "SubscriberClosed",
    "SubscriberError",
    "SubscriberNotFound",
    "SubscriberSettings",
    "SubscriberState",
    "check_numbers",
]


class SubscriberSettings(BaseModel):
    """How subscribers come to be and how long what was read about them is believed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_use: bool = Field(
        default=True,
        description="a number inside own ranges becomes a subscriber with its first message or sign-in",
    )
    cache_ms: int = Field(
        default=1000,
        ge=0,
        le=60_000,
        description="milliseconds a look-up is believed; edits here count at once",
    )
    cache_entries: int = Field(default=100_000, ge=100, description="look-ups remembered")


class SubscriberState(StrEnum):
    """Where a subscriber is in its life."""

    ACTIVE = "active"
    SUSPENDED = "suspended"  #: may not read; what comes is kept
    CLOSED = "closed"  #: for ever; messages to it are undeliverable


#: from -> the states it may go to.
TRANSITIONS: Mapping[SubscriberState, frozenset[SubscriberState]] = {
    SubscriberState.ACTIVE: frozenset({SubscriberState.SUSPENDED, SubscriberState.CLOSED}),
    SubscriberState.SUSPENDED: frozenset({SubscriberState.ACTIVE, SubscriberState.CLOSED}),
    SubscriberState.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscriber as it was read; a newer state is a new object."""

    number: int  #: its id, "sub_<number>" outside; never used again
    state: SubscriberState
    reason: str  #: "", "closed", "ported-out", "reassigned", "imsi-changed", or an operator's word
    imsi: str  #: empty: not known
    numbers: tuple[str, ...]  #: in normal form, the oldest first
    origin: str  #: "api", "csv", "first-use", "successor"
    successor: int  #: who has its numbers now; 0: nobody
    created_at: int  #: UTC epoch milliseconds, as the two below
    changed_at: int
    closed_at: int  #: 0: open
    version: int

    @classmethod
    def of(cls, row: Mapping[str, Any], numbers: Sequence[str]) -> Subscriber:
        """Read a row of the table `subscriber`."""
        return cls(
            number=row["number"],
            state=SubscriberState(row["state"]),
            reason=row["reason"],
            imsi=row["imsi"],
            numbers=tuple(numbers),
            origin=row["origin"],
            successor=row["successor"],
            created_at=row["created_at"],
            changed_at=row["changed_at"],
            closed_at=row["closed_at"],
            version=row["version"],
        )

    def row(self) -> dict[str, object]:
        """Its row; the numbers have rows of their own."""
        return {
            "number": self.number,
            "state": self.state.value,
            "reason": self.reason,
            "imsi": self.imsi,
            "origin": self.origin,
            "successor": self.successor,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "closed_at": self.closed_at,
            "version": self.version,
        }

    @property
    def id(self) -> str:
        """As REST names it."""
        return f"sub_{self.number}"

    @property
    def active(self) -> bool:
        """May it read its box and sign in?"""
        return self.state is SubscriberState.ACTIVE

    @property
    def closed(self) -> bool:
        """Is its life over, and its box sealed?"""
        return self.state is SubscriberState.CLOSED


class SubscriberError(Exception):
    """Why an edit was not made; `reason` is a stable slug."""

    reason = "subscriber-error"


class SubscriberNotFound(SubscriberError):
    """There is no such subscriber."""

    reason = "subscriber-not-found"


class SubscriberClosed(SubscriberError):
    """It is closed, and nothing can be changed any more."""

    reason = "subscriber-closed"


class NumberTaken(SubscriberError):
    """An open subscriber has this number."""

    reason = "number-taken"


class ImsiTaken(SubscriberError):
    """An open subscriber has this card."""

    reason = "imsi-taken"


class InvalidSubscriber(SubscriberError):
    """A number or IMSI that cannot be one, or a change that makes no sense."""

    reason = "invalid-subscriber"


class StaleSubscriber(SubscriberError):
    """It was changed since the version that the edit names."""

    reason = "stale-version"

    def __init__(self, current: int) -> None:
        super().__init__(f"the current version is {current}")
        self.current = current


class NotStored(SubscriberError):
    """The store could not take the change; nothing happened, or that is not known yet."""

    reason = "not-stored"

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"the store answered {answer.value}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row of a bulk provisioning."""

    line: int  #: from 1
    msisdn: str
    subscriber: Subscriber | None
    problem: str = ""  #: slug of the error; empty: made
    detail: str = ""


def check_numbers(numbers: Sequence[str], imsi: str) -> None:
    """Raise InvalidSubscriber for what cannot be an E.164 number in normal form, or an IMSI."""
    for number in numbers:
        digits = number[1:]
        if number[:1] != "+" or not digits.isascii() or not digits.isdecimal() or not 5 <= len(digits) <= 15:
            raise InvalidSubscriber(f"{number!r} is no number in normal form, like +447700900123")
        if digits[0] == "0":
            raise InvalidSubscriber(f"{number!r}: no country code starts with 0")
    if imsi and not (imsi.isascii() and imsi.isdecimal() and 6 <= len(imsi) <= 15):
        raise InvalidSubscriber("an IMSI has 6 to 15 digits")
