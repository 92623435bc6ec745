"""What a session tells its owner.

In charge of: one small class for each thing that can come out of `Session.feed` and `Session.check_timers`.
Not in charge of: when they are made (session.py), what is done about them (listener, upstream).
"""

from dataclasses import dataclass
from typing import Literal

from .codec import MalformedPdu, Pdu


@dataclass(slots=True)
class Sent:
    """A request of ours that waits, or waited, for its response."""

    sequence_number: int
    command_id: int
    context: object  #: what the owner gave to send_request, returned untouched
    sent_at: float  #: monotonic seconds
    deadline: float  #: monotonic seconds; the response timer ends here


@dataclass(slots=True)
class Request:
    """A request for the owner, who must answer it with respond, accept_message or refuse."""

    pdu: Pdu


@dataclass(slots=True)
class BindRequest:
    """A peer asks to bind. No second one comes before this one is answered."""

    pdu: Pdu  #: a pdu.Bind


@dataclass(slots=True)
class UnbindRequest:
    """A peer wants to leave: answer what is pending, then respond to this."""

    pdu: Pdu


@dataclass(slots=True)
class Notification:
    """alert_notification or outbind: nothing is to be answered."""

    pdu: Pdu


@dataclass(slots=True)
class Response:
    """The answer to a request of ours."""

    pdu: Pdu
    sent: Sent
    malformed: MalformedPdu | None = None  #: set if only the fields before the bad one of pdu can be trusted


@dataclass(slots=True)
class Nack:
    """generic_nack: a request of ours failed, or, with sent None, the peer complains of something unknown."""

    pdu: Pdu
    sent: Sent | None


@dataclass(slots=True)
class Unanswered:
    """No response will be taken for this request any more. The peer may have acted on it all the same."""

    sent: Sent
    reason: Literal["response timer", "connection ended"]


@dataclass(slots=True)
class Refused:
    """The session itself answered a PDU with an error; nothing to do but to count and to log."""

    command_id: int
    sequence_number: int
    command_status: int
    reason: str
    pdu: Pdu | None = None  #: what could be decoded of it


@dataclass(slots=True)
class Inactive:
    """Bound, and nothing but enquire_link for the inactivity time: the owner should unbind. Told once a lull."""


#: Stable names for why a session cannot go on.
FatalReason = Literal[
    "command_length",
    "peer speaks HTTP",
    "peer speaks TLS",
    "peer speaks SSH",
    "no bind",
    "PDU incomplete",
    "enquire_link unanswered",
    "not closed after unbind",
]


@dataclass(slots=True)
class Fatal:
    """The session is CLOSED: write what take_output still gives, then end the connection."""

    reason: FatalReason
    detail: str


Event = (
    Request
    | BindRequest
    | UnbindRequest
    | Notification
    | Response
    | Nack
    | Unanswered
    | Refused
    | Inactive
    | Fatal
)
