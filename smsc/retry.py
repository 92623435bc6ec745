"""What follows from a failed attempt.

In charge of: one schedule per error class, as data, and the decision it leads to: another route, another time, the
mailbox, or the end. Not in charge of: carrying the decision out (`outcomes.py`) or classifying failures (`causes.py`).

Rules (behaviour.md 1 and 5):
- datagram and transaction mode have one attempt and no mailbox;
- a class may be tried on another route at once, when the failure cannot be shared by it;
- the mailbox follows after `deposit_after` attempts, where the class allows it;
- a message whose validity period is over expires; it is not deposited any more;
- a due time is never beyond the end of the validity period, where the message expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field

from ..message import Message
from ..outlet import ErrorClass

__all__ = ["DEFAULT_SCHEDULES", "Decision", "Next", "Schedule", "decide", "has_one_attempt"]

_ESM_MODE_MASK = 0x03
_MODE_DATAGRAM = 0x01
_MODE_FORWARD = 0x02


def has_one_attempt(message: Message) -> bool:
    """True in datagram and transaction (forward) mode (SMPP 3.4 §5.2.12, §2.10)."""
    return message.esm_class & _ESM_MODE_MASK in (_MODE_DATAGRAM, _MODE_FORWARD)


class Schedule(BaseModel):
    """How one error class is retried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delays_s: tuple[
        int, ...
    ]  #: seconds before attempt 2, 3, …; the last one repeats; empty: no further attempt
    attempts: int = Field(default=0, ge=0)  #: at most so many in all; 0: until the validity period ends
    other_route: bool = False  #: try the next route at once
    deposit_after: int = Field(default=0, ge=0)  #: to the mailbox after so many attempts; 0: never
    jitter: float = Field(default=0.1, ge=0, le=0.5)  #: each delay is changed by up to this share

    def delay_ms(self, attempts: int, random: float) -> int | None:
        """Milliseconds to the next attempt after `attempts` made, or None. `random` is in [0, 1)."""
        if not self.delays_s or (self.attempts and attempts >= self.attempts):
            return None
        delay = self.delays_s[min(attempts, len(self.delays_s)) - 1]
        return max(1, round(delay * 1000 * (1 + self.jitter * (2 * random - 1))))


_MINUTE, _HOUR = 60, 3600

#: An absent recipient reads the mailbox from any device at once; a busy one is asked again first. A timeout may have
#: been a delivery, so that the copy in the box comes late.
DEFAULT_SCHEDULES: Mapping[ErrorClass, Schedule] = {
    ErrorClass.BUSY: Schedule(delays_s=(15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE), deposit_after=4),
    ErrorClass.ABSENT: Schedule(
        delays_s=(_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR), deposit_after=1
    ),
    ErrorClass.MEMORY_FULL: Schedule(delays_s=(5 * _MINUTE, 30 * _MINUTE, _HOUR, 6 * _HOUR), deposit_after=1),
    ErrorClass.CONGESTED: Schedule(delays_s=(1, 2, 5, 10, 30, _MINUTE), other_route=True, deposit_after=12),
    ErrorClass.SYSTEM: Schedule(
        delays_s=(5, 30, 2 * _MINUTE, 10 * _MINUTE, _HOUR), other_route=True, deposit_after=4
    ),
    ErrorClass.TIMEOUT: Schedule(delays_s=(30, 2 * _MINUTE, 10 * _MINUTE, _HOUR), deposit_after=3),
    ErrorClass.PERMANENT: Schedule(delays_s=()),
    ErrorClass.POLICY: Schedule(delays_s=()),
}


class Next(Enum):
    """What to do after a failed attempt."""

    ROUTE = "route"  #: the next route, now, as part of the same attempt
    LATER = "later"  #: again at `due_at`
    DEPOSIT = "deposit"  #: to the mailbox
    END = "end"  #: UNDELIVERABLE


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of `decide`."""

    next: Next
    due_at: int = 0  #: LATER: UTC epoch milliseconds


def decide(
    message: Message,
    error: ErrorClass,
    *,
    attempts: int,
    now: int,
    random: float,
    more_routes: bool,
    mailbox: bool,
    schedules: Mapping[ErrorClass, Schedule] = DEFAULT_SCHEDULES,
) -> Decision:
    """Decide what follows from attempt number `attempts` having failed.

    `mailbox`: the message may be deposited (it has not been refused there before).
    """
    schedule = schedules[error]
    if more_routes and schedule.other_route:
        return Decision(Next.ROUTE)
    if has_one_attempt(message):
        return Decision(Next.END)
    alive = now < message.expires_at
    if alive and mailbox and schedule.deposit_after and attempts >= schedule.deposit_after:
        return Decision(Next.DEPOSIT)
    delay = schedule.delay_ms(attempts, random)
    if delay is None:
        return Decision(Next.END)
    return Decision(Next.LATER, min(now + delay, message.expires_at))
