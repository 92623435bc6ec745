"""The seam through which messages leave: somewhere a message can be handed to.

In charge of: what an outlet is, how it says what became of a message, and what it may add to the transaction that
ends the attempt. Not in charge of: choosing an outlet (`smsc/routing.py`), or deciding what follows from an outcome
(`smsc/delivery.py`, `smsc/retry.py`). A new destination is one class with this interface and one line in `serve.py`.

Error classes: behaviour.md 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from .message import Message

__all__ = ["Delivery", "ErrorClass", "Outcome", "Outlet", "Result", "Statement", "Write"]


class ErrorClass(StrEnum):
    """Why an attempt failed. Each class has its own schedule (`smsc/retry.py`)."""

    BUSY = "busy"  #: the handset is engaged; soon over
    ABSENT = "absent"  #: switched off, out of coverage, not bound
    MEMORY_FULL = "memory-full"  #: the handset has no room
    CONGESTED = "congested"  #: the peer asks for less (RMSGQFUL, RTHROTTLED)
    SYSTEM = "system"  #: the peer has a fault of its own
    TIMEOUT = "timeout"  #: no answer: it may or may not have arrived
    PERMANENT = "permanent"  #: no later attempt can succeed
    POLICY = "policy"  #: refused by a rule, ours or the peer's


class Result(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"  #: acknowledged by the destination
    STORED = "stored"  #: in the mailbox; not an ending (behaviour.md 1)
    FORWARDED = "forwarded"  #: another center has it; its receipt will be the outcome
    FAILED = "failed"  #: see the error class


class Statement(Protocol):
    """A prepared SQL statement of `store/`, opaque here."""

    @property
    def name(self) -> str:
        """For logs and errors."""
        ...


@dataclass(frozen=True, slots=True)
class Write:
    """One more statement for the transaction that carries it."""

    statement: Statement
    params: Mapping[str, object]
    expect: int | None = None  #: rows it must touch; another number undoes the whole transaction (CONFLICT)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    result: Result
    error: ErrorClass | None = None  #: set exactly when FAILED
    reason: str = ""  #: stable slug, e.g. "not-bound", "over-quota"
    status: int = 0  #: command_status the peer gave
    network_error: bytes = b""  #: network_error_code TLV value, 3 octets (SMPP 3.4 §5.3.2.31)
    remote_id: str = ""  #: the peer's id for the message
    overdue_at: int = 0  #: FORWARDED: when the other center's receipt does not come any more; UTC epoch ms
    detail: Mapping[str, object] = field(default_factory=dict[str, object])  #: for the event row
    writes: tuple[Write, ...] = ()  #: ride in the transaction that records the outcome


@dataclass(slots=True)
class Delivery:
    """One attempt in progress."""

    message: Message
    attempt: int  #: from 1
    route: str  #: name of the rule that led here
    more_messages_to_send: bool = False  #: further messages for this recipient follow (TP-MMS)
    because: str = (
        ""  #: to the mailbox: what failed before, an error class or reason; "" if nothing was tried
    )


class Outlet(Protocol):
    """Somewhere a message can be handed to. Lives on the event loop; every method returns at once."""

    name: str  #: stable, appears in events: "esme:shop", "switch:msc1", "mailbox"
    handset: bool  #: True if recipients behind it are handsets: one attempt at a time (behaviour.md 2)
    transit: bool  #: True if it leads on to others: that it is down says nothing about recipients behind it

    def reachable(self) -> bool:
        """True if a message handed over now has a chance (bound, link up)."""
        ...

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """Start the attempt.

        True: taken, and `done` is called exactly once, on the loop, within the outlet's own time limit.
        False: no room in the window; nothing was taken, and the outlet calls what `wake_with` gave it when there is.
        """
        ...

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Remember whom to call when room or reachability comes back."""
        ...
