"""The seam through which policy reaches the message path.

In charge of: what a check is, what it may answer, and which answer wins. Not in charge of: running checks
(`smsc/screening.py`) or any policy (`zones/`, `antispoof/`, …). A new policy is one class with this interface and one
line in `serve.py`; CONTRIBUTING has a skeleton.

Order and strength: behaviour.md 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from .message import Ingress, Message

__all__ = ["ACCEPT", "Action", "Check", "Evidence", "Stage", "Verdict", "strongest"]


class Stage(StrEnum):
    """When a check is asked."""

    SUBMIT = "submit"  #: before the positive answer; once per message
    ATTEMPT = "attempt"  #: before each delivery attempt


class Action(IntEnum):
    """What a verdict asks for, weakest first: the strongest of a chain wins, and a REJECT ends the chain."""

    ACCEPT = 0
    FLAG = 1  #: goes on, marked in its events
    DIVERT = 2  #: straight to the recipient's mailbox, no attempt on the handset
    HOLD = 3  #: stored, not deliverable until released or `until`
    THROTTLE = 4  #: refused for now: the peer may try again
    QUARANTINE = 5  #: stored, readable by nobody, until an operator decides
    DROP = 6  #: answered as accepted, never delivered
    REJECT = 7  #: refused, with `status`


Evidence = Mapping[str, object]  #: facts behind a verdict, JSON-able, never message text


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's answer about one message.

    `public` may be shown to the peer; `evidence` and `reason` are for operators.
    """

    action: Action = Action.ACCEPT
    check: str = ""  #: name of the check
    reason: str = ""  #: stable slug, e.g. "source-not-allowed"
    status: int = 0  #: command_status for the peer when refused (SMPP 3.4 §5.1.3)
    public: str = ""  #: text for the peer
    evidence: Evidence = field(default_factory=dict[str, object])
    enforced: bool = True  #: False: monitor mode; recorded, never counts
    until: int = 0  #: HOLD, QUARANTINE: UTC epoch milliseconds of the next decision; 0: until released
    pending: bool = False  #: HOLD at submit: the check owes its answer, before the first attempt
    tlvs: bytes = b""  #: FLAG at submit: optional parameters that the message has from here on
    #: At submit: called once with the message and the status it was answered with, 0 if it was accepted. A message
    #: that was stored has its id then, and is on disk.
    answered: Callable[[Message, int], None] | None = None
    veiled: bool = False  #: REJECT: the message goes the way of an absent recipient's, so that nobody notices

    @property
    def counts(self) -> bool:
        """True if the verdict changes what happens to the message."""
        return self.enforced and self.action is not Action.ACCEPT


ACCEPT = Verdict()  #: the common answer; shared, so that it costs nothing


class Check(Protocol):
    """A policy. Called once per message and stage, in the order of registration, on the event loop.

    `examine` answers at once in the common case; only when it must look something up does it return an awaitable,
    which parks that message alone. An awaitable must respect its own deadline and answer rather than raise: "I
    don't know" is a verdict. System messages are never examined.
    """

    name: str  #: stable, appears in events
    stages: frozenset[Stage]

    def examine(self, message: Message, ingress: Ingress, stage: Stage) -> Verdict | Awaitable[Verdict]:
        """Judge a message. Must not change it."""
        ...


def strongest(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict that decides: the strongest that counts, the first among equals; ACCEPT if none does."""
    winner = ACCEPT
    for verdict in verdicts:
        if verdict.counts and verdict.action > winner.action:
            winner = verdict
    return winner
