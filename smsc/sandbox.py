"""Numbers that behave as they say: for developers of ESMEs.

In charge of: which numbers these are, and what becomes of a message to each. Not in charge of: whose messages get here
(`Account.sandbox`, asked by `routing.py`), what follows from a failure (`retry.py`, as for every other outlet).

The numbers begin with +999, a country code that nobody has; the last two digits say what happens. What is between is
free, so that each test has a number of its own. Everything but the handset is real: intake, store, schedules, receipts.
No state is kept: "twice, then delivered" counts the attempts of the message.

Behind a number is no handset in the sense of behaviour.md 2: messages do not wait behind each other, because the
accounts that test here do not know of each other. The table stands in docs/sandbox.md too; a test compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..message import Message
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result
from .smpp.command_status import CommandStatus as Status

__all__ = ["BEHAVIOURS", "PREFIX", "Behaviour", "SandboxOutlet", "Submitter", "is_sandbox_number"]

PREFIX = "+999"  #: start of every sandbox number, in normal form

_MOST = 10_000  #: slow messages under way at a time


class Cause(NamedTuple):
    """Why an attempt fails, as a network would say it."""

    error: ErrorClass
    status: int = 0  #: command_status
    network_error: bytes = b""  #: network_error_code: network type 3 and two octets (SMPP 3.4 §5.3.2.31)


def _gsm(error: ErrorClass, cause: int, status: int = Status.ESME_RX_T_APPN) -> Cause:
    return Cause(error, status, b"\x03" + cause.to_bytes(2, "big"))


_ABSENT = _gsm(ErrorClass.ABSENT, 27)
_BUSY = _gsm(ErrorClass.BUSY, 31)
_FULL = _gsm(ErrorClass.MEMORY_FULL, 32)
_FAULT = _gsm(ErrorClass.SYSTEM, 34, Status.ESME_RSYSERR)
_UNKNOWN = _gsm(ErrorClass.PERMANENT, 1, Status.ESME_RX_P_APPN)
_BARRED = _gsm(ErrorClass.POLICY, 13, Status.ESME_RX_P_APPN)
_REFUSED = Cause(ErrorClass.PERMANENT, Status.ESME_RX_R_APPN)
_CONGESTED = Cause(ErrorClass.CONGESTED, Status.ESME_RTHROTTLED)
_NO_ANSWER = Cause(ErrorClass.TIMEOUT)

_FOR_EVER = 1 << 30


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a number does."""

    ending: str  #: last two digits
    name: str
    says: str  #: for people
    failures: int = 0  #: attempts that fail before one succeeds
    cause: Cause | None = None  #: of those
    delay_s: float = 0.0  #: before the outcome


_ROWS = (
    Behaviour("00", "delivered", "delivered at once"),
    Behaviour("01", "slow", "delivered after 5 seconds", delay_s=5.0),
    Behaviour("02", "very slow", "delivered after 25 seconds", delay_s=25.0),
    Behaviour("10", "absent", "absent at the first two attempts, then delivered", 2, _ABSENT),
    Behaviour("11", "always absent", "absent until the message expires", _FOR_EVER, _ABSENT),
    Behaviour("20", "busy", "busy at the first attempt, then delivered", 1, _BUSY),
    Behaviour("21", "always busy", "busy until the message expires", _FOR_EVER, _BUSY),
    Behaviour("30", "full", "no memory at the first attempt, then delivered", 1, _FULL),
    Behaviour("40", "rejected", "refused for good", _FOR_EVER, _REFUSED),
    Behaviour("41", "unknown", "no such subscriber", _FOR_EVER, _UNKNOWN),
    Behaviour("42", "barred", "barred by its network", _FOR_EVER, _BARRED),
    Behaviour("50", "congested", "a full network at the first three attempts, then delivered", 3, _CONGESTED),
    Behaviour("60", "faulty", "a fault of the network at the first attempt, then delivered", 1, _FAULT),
    Behaviour("70", "no answer", "no answer at the first attempt, then delivered", 1, _NO_ANSWER),
)

#: What the last two digits mean; a number that ends otherwise is delivered at once.
BEHAVIOURS = {row.ending: row for row in _ROWS}

_DELIVERED = Outcome(Result.DELIVERED)


def is_sandbox_number(number: str) -> bool:
    """True for a number in normal form that only the sandbox may have."""
    return number.startswith(PREFIX)


class Submitter(Protocol):
    """What is asked about who submitted a message."""

    @property
    def sandbox(self) -> str:
        """ "off", "on" or "only"."""
        ...


class SandboxOutlet:
    """Implements `outlet.Outlet`; lives on the event loop."""

    name = "sandbox"
    handset = False
    transit = False

    def __init__(self, account: Callable[[int], Submitter | None]) -> None:
        """`account` finds live accounts by number."""
        self._account = account
        self._slow = 0
        self._wake: Callable[[Outlet], None] | None = None

    def takes(self, message: Message) -> bool | None:
        """Whether a message is the sandbox's: True: nobody else's; False: not; None: it goes nowhere, because its
        account may send to the sandbox only."""
        submitter = self._account(message.account)
        if submitter is None or submitter.sandbox == "off":
            return False
        if is_sandbox_number(message.recipient):
            return True
        return None if submitter.sandbox == "only" else False

    def reachable(self) -> bool:
        """It is no network that could be down."""
        return True

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Remember delivery's entrance."""
        self._wake = wake

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """Do what the number says. An account that was switched off meanwhile reaches nothing here any more."""
        if self.takes(delivery.message) is not True:
            done(Outcome(Result.FAILED, ErrorClass.POLICY, reason="sandbox-off"))
            return True
        found = BEHAVIOURS.get(delivery.message.recipient[-2:], BEHAVIOURS["00"])
        if not found.delay_s:
            done(_outcome(found, delivery.attempt))
            return True
        if self._slow >= _MOST:
            return False
        self._slow += 1

        def late() -> None:
            self._slow -= 1
            done(_outcome(found, delivery.attempt))
            if self._slow == _MOST - 1 and self._wake is not None:
                self._wake(self)

        asyncio.get_running_loop().call_later(found.delay_s, late)
        return True


def _outcome(behaviour: Behaviour, attempt: int) -> Outcome:
    cause = behaviour.cause
    if cause is None or attempt > behaviour.failures:
        return _DELIVERED
    return Outcome(
        Result.FAILED,
        cause.error,
        reason=str(cause.error),
        status=cause.status,
        network_error=cause.network_error,
    )
