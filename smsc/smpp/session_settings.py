"""Limits and timers of an SMPP session.

In charge of: the settings that a session takes, with their units and defaults.
Not in charge of: what happens at a limit (session.py), where the values come from (the room that makes sessions).
Source: SMPP 3.4 section 2.9 names the timers; SMPP 5.0 section 2.7.
"""

from dataclasses import dataclass

from .command_id import VERSION_3_4, VERSION_5_0


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Limits and timers of one session. None switches a timer off."""

    #: The newest interface_version we speak; sc_interface_version tells the peer.
    interface_version: int = VERSION_5_0
    #: As ESME: the version of a message center whose bind response does not say (many 3.4 ones do not).
    silent_peer_version: int = VERSION_3_4
    #: Requests of ours without a response at which can_send says no.
    window: int = 10
    #: Requests of the peer without an answer at which the session throttles by itself.
    pending_limit: int = 2000
    #: Octets; a message_payload of 64 KiB with everything else that a PDU may carry.
    max_command_length: int = 65536 + 4096
    #: Octets, before the first bind succeeded: no PDU of that time is larger.
    max_command_length_before_bind: int = 1024
    #: Seconds from a request of ours to its response.
    response_timer: float = 30.0
    #: Seconds without any PDU from the peer after which enquire_link asks.
    enquire_link_timer: float | None = 30.0
    #: Seconds from the connection to a bind request, and from unbind to the end of the connection.
    session_init_timer: float | None = 10.0
    #: Seconds without any PDU but enquire_link.
    inactivity_timer: float | None = None
    #: Seconds from the first octet of a PDU to its last.
    pdu_read_timer: float | None = 30.0
