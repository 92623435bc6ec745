"""A phone of the simulated network: its state, its number, and what its screen shows.

In charge of: understanding what arrives for one handset, joining the parts of long messages, where it is, and what the
network would answer in each state. Not in charge of: the wire (`link.py`), when anything happens (`network.py`), or
telling the center where it is (`probe.py`).

Sources: SMPP 3.4 §5.3.2.31 (network_error_code), §5.3.2.33 (delivery_failure_reason); 3GPP TS 29.002 §17.6.6 (error
codes: absentSubscriber 27, subscriberBusyForMT-SMS 31); 3GPP TS 23.040 §9.2.3.24.1 (concatenation).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ..smsc.smpp import pdu
from ..smsc.smpp.command_status import CommandStatus
from ..smsc.smpp.tlv import Tag
from ..smsc.text import codings, segments

__all__ = [
    "REFUSALS",
    "Phone",
    "PhoneState",
    "Place",
    "Refusal",
    "ScreenLine",
    "shown_address",
    "written_number",
    "written_text",
]

ALPHANUMERIC = 5  #: type of number, SMPP 3.4 §5.2.5
INTERNATIONAL = 1
GSM = 3  #: network type in network_error_code

SCREEN_LINES = 50  #: what a phone remembers
OPEN_MESSAGES = 20  #: long messages with parts still missing, a phone; the oldest gives way


class PhoneState(StrEnum):
    """What the network finds when it tries to reach the phone."""

    ON = "on"
    OFF = "off"  #: switched off or out of coverage
    BUSY = "busy"  #: has another short message under way
    SLOW = "slow"  #: bad coverage: answers, but only after seconds


@dataclass(frozen=True, slots=True)
class Place:
    """Where a phone can be."""

    name: str  #: "home"
    latitude: float  #: degrees, WGS 84
    longitude: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a switch answers for a handset that it cannot reach."""

    status: int  #: command_status
    cause: int  #: MAP error code, in network_error_code
    reason: int | None  #: delivery_failure_reason; None where no value fits


#: A reachable phone is in no row. delivery_failure_reason 0 is "destination unavailable".
REFUSALS = {
    PhoneState.OFF: Refusal(CommandStatus.ESME_RX_T_APPN, cause=27, reason=0),
    PhoneState.BUSY: Refusal(CommandStatus.ESME_RX_T_APPN, cause=31, reason=None),
}


@dataclass(frozen=True, slots=True)
class ScreenLine:
    """One message as its reader sees it."""

    at: float  #: seconds, by the clock that the phone was given
    sender: str
    text: str
    parts: int  #: short messages it came in


class Phone:
    """One handset."""

    def __init__(
        self, name: str, number: str, now: Callable[[], float], state: PhoneState = PhoneState.ON
    ) -> None:
        """`number`: E.164 with its plus sign; `now`: seconds."""
        self.name = name
        self.number = number
        self.state = state
        self.place: Place | None = None  #: where it is, if anybody asks
        self.screen: deque[ScreenLine] = deque(maxlen=SCREEN_LINES)
        self.received = 0  #: short messages acknowledged
        self.refused = 0  #: attempts that found it off or busy
        self._now = now
        self._open: dict[tuple[str, int, int], list[segments.Part]] = {}

    @property
    def refusal(self) -> Refusal | None:
        """What the switch answers instead of delivering, in the present state."""
        return REFUSALS.get(self.state)

    def receive(self, message: pdu.DeliverSm) -> ScreenLine | None:
        """Take a message from the network; the line it put on the screen, or None while parts are missing."""
        self.received += 1
        payload = message.get_tlv(Tag.message_payload)
        content = codings.decode(
            message.data_coding,
            message.short_message if payload is None else payload,
            has_udh=bool(message.esm_class & 0x40),
        )
        sender = shown_address(message.source_addr_ton, message.source_addr)
        ref = content.header.concat or segments.sar_concat(
            message.get_tlv(Tag.sar_msg_ref_num),
            message.get_tlv(Tag.sar_total_segments),
            message.get_tlv(Tag.sar_segment_seqnum),
        )
        if ref is None or ref.total == 1 or not ref.possible:
            return self._show(sender, content.text, content.octets, 1)
        return self._join(sender, segments.Part(ref, content))

    def _join(self, sender: str, part: segments.Part) -> ScreenLine | None:
        key = (sender, part.ref.reference, part.ref.total)
        parts = self._open.setdefault(key, [])
        parts.append(part)
        joined = segments.join(parts)
        if joined.complete:
            del self._open[key]
            return self._show(sender, joined.text, joined.octets, joined.total)
        if len(self._open) > OPEN_MESSAGES:
            del self._open[next(iter(self._open))]
        return None

    def _show(self, sender: str, text: str | None, octets: bytes, parts: int) -> ScreenLine:
        line = ScreenLine(self._now(), sender, f"({len(octets)} octets)" if text is None else text, parts)
        self.screen.append(line)
        return line


def shown_address(ton: int, digits: bytes) -> str:
    """An address as a screen shows it."""
    text = digits.decode("latin-1")
    return f"+{text}" if ton == INTERNATIONAL and not text.startswith("+") else text


def written_number(number: str) -> tuple[int, int, bytes]:
    """TON, NPI and digits of a number as people write it: +E.164, a short code, or a name."""
    if number.startswith("+"):
        return INTERNATIONAL, 1, number[1:].encode("ascii")
    if number.isdigit():
        return 0, 1, number.encode("ascii")  # a short code
    return ALPHANUMERIC, 0, number.encode("ascii")


def written_text(text: str, reference: int) -> list[tuple[int, int, bytes]]:
    """A text as short messages: esm_class, data_coding and octets of each; long ones with a header."""
    encoded = codings.encode(text)
    pieces = segments.split(encoded.octets, encoded.coding, reference)
    return [(0x40 if piece.header else 0, encoded.data_coding, piece.user_data) for piece in pieces]
