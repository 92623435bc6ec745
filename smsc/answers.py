"""What the intake answers, whatever the door.

In charge of: a message's acceptance and refusal as doors tell them, every refusal that is ours with its status, reason
and public text, and how a failure is told in transaction mode. Not in charge of: when they are given
(`submission.py`, `recall.py`), or how a door spells them. Sources: SMPP 3.4 §5.1.3, §5.3.2.31, §5.3.2.33.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..outlet import ErrorClass, Outcome
from ..store.store import Answer
from .smpp.command_status import CommandStatus as Status

MAX_BODY = 65_535 - 1024  #: octets of text; message_payload may say 65 535 together with all other TLVs
ESM_MODE_MASK = 0x03  # of esm_class (SMPP 3.4 §5.2.12)
MODE_TRANSACTION = 0x02


@dataclass(frozen=True, slots=True)
class Accepted:
    """On disk, under this id."""

    id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was stored, or it was stored in transaction mode and has failed."""

    status: int  #: command_status (SMPP 3.4 §5.1.3)
    reason: str  #: stable slug
    public: str  #: text for the peer
    retry_after_ms: int = 0  #: when trying again makes sense; 0: not soon
    unknown: bool = False  #: the commit's outcome is not known: the peer must be told nothing
    id: int = 0  #: transaction mode: stored under this id, but not delivered; 0: nothing was stored
    failure_reason: int | None = None  #: delivery_failure_reason for the peer (SMPP 3.4 §5.3.2.33)
    network_error: bytes = b""  #: network_error_code for the peer (SMPP 3.4 §5.3.2.31)
    flagged: bool = False  #: the delivery pending flag is set, dpf_result (SMPP 3.4 §5.3.2.28)


SUSPENDED = Refused(Status.ESME_RSUBMITFAIL, "account-suspended", "account is suspended")
TOO_LONG = Refused(Status.ESME_RINVMSGLEN, "message-too-long", "message is too long")
BAD_PRIORITY = Refused(Status.ESME_RINVPRTFLG, "priority-out-of-range", "priority_flag must be 0 to 3")
BAD_SOURCE = Refused(
    Status.ESME_RINVSRCADR, "source-unreadable", "source address is not a number we can read"
)
BAD_DESTINATION = Refused(
    Status.ESME_RINVDSTADR, "destination-unreadable", "destination address is not a number we can read"
)
EXPIRED = Refused(
    Status.ESME_RINVEXPIRY, "validity-in-the-past", "validity_period ends before delivery can begin"
)
NO_SCHEDULE = Refused(
    Status.ESME_RINVSCHED, "schedule-not-stored", "datagram and transaction mode have no schedule"
)
TOO_LATE = Refused(
    Status.ESME_RINVSCHED, "schedule-too-late", "schedule_delivery_time is beyond the validity period"
)
NO_ROUTE = Refused(Status.ESME_RINVDSTADR, "no-route", "destination is neither routable nor a subscriber's")
FULL = Refused(Status.ESME_RMSGQFUL, "store-full", "message queue is full", retry_after_ms=5000)
#: What a door asked to be written with the message met something that is there.
CONFLICT = Refused(Status.ESME_RSYSERR, "conflict", "message could not be stored", retry_after_ms=5000)
FAILED = Refused(Status.ESME_RSYSERR, "store-failed", "message could not be stored", retry_after_ms=5000)
CLOSING = Refused(Status.ESME_RSYSERR, "closing", "the center is stopping", retry_after_ms=5000)
UNKNOWN = Refused(Status.ESME_RSYSERR, "store-unknown", "outcome unknown", unknown=True)

REFUSAL_BY_ANSWER = {Answer.FULL: FULL, Answer.UNKNOWN: UNKNOWN, Answer.CONFLICT: CONFLICT}

#: delivery_failure_reason by error class (SMPP 3.4 §5.3.2.33)
_FAILURE_REASON = {
    ErrorClass.PERMANENT: 2,
    ErrorClass.POLICY: 2,
    ErrorClass.SYSTEM: 3,
    ErrorClass.CONGESTED: 3,
    ErrorClass.TIMEOUT: 3,
}


def undelivered(id: int, failure: Outcome | None, *, flagged: bool = False) -> Refused:
    """How transaction mode tells of an end that is no delivery."""
    error = failure.error if failure is not None else None
    return Refused(
        Status.ESME_RDELIVERYFAILURE,
        failure.reason if failure is not None else "not-delivered",
        "message could not be delivered",
        id=id,
        failure_reason=_FAILURE_REASON.get(error, 0) if error is not None else 2,
        network_error=failure.network_error if failure is not None else b"",
        flagged=flagged,
    )
