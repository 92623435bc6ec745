"""The user data header: information elements in front of a short message's text.

In charge of: parsing a header from the wire, the elements that this center acts on (concatenation,
application ports, special message indication, national language), and building headers. Not in charge of:
whether a message has one (esm_class bit 6, SMPP 3.4 §5.2.12, or TP-UDHI), nor what concatenation leads to
(`segments.py`).

How it fails: parsing never raises. Elements are read as long as they are whole; `sound` tells whether all
were. A header whose own length passes the end of the user data is no header at all: nothing is cut off the
text then.

Source: 3GPP TS 23.040 §9.2.3.24.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "NO_HEADER",
    "ApplicationPorts",
    "ConcatRef",
    "InformationElement",
    "MessageWaiting",
    "UserDataHeader",
    "WaitingKind",
    "build",
    "concatenation_element",
    "concatenation_header",
    "parse",
    "port_element",
    "strip",
]

#: Information element identifiers, §9.2.3.24.
CONCATENATION_8 = 0x00
SPECIAL_MESSAGE_INDICATION = 0x01
PORTS_8 = 0x04
PORTS_16 = 0x05
CONCATENATION_16 = 0x08
SINGLE_SHIFT = 0x24
LOCKING_SHIFT = 0x25

MAX_HEADER = 255  #: octets of information elements that one UDHL octet can count


class InformationElement(NamedTuple):
    """One element as it came; unknown identifiers and odd lengths are kept."""

    identifier: int  #: 0..255
    data: bytes  #: 0..253 octets


class ConcatRef(NamedTuple):
    """The place of a part in its message: from a header (§9.2.3.24.1, .8) or from SMPP's sar_* parameters."""

    reference: int  #: 0..255 or 0..65535
    total: int  #: parts of the message, 1..255; 0 occurs on the wire and is impossible
    number: int  #: this part, 1..total; anything else is impossible
    bits: int = 8  #: width of the reference: 8, or 16 (also for sar_msg_ref_num)

    @property
    def possible(self) -> bool:
        """Whether the indices can be true; a part for which they cannot counts as a message of its own."""
        return 1 <= self.number <= self.total


class ApplicationPorts(NamedTuple):
    """Where on the handset a message goes (§9.2.3.24.3, .4); 2948 is WAP push: MMS notifications."""

    destination: int
    source: int
    bits: int  #: width of the ports: 8 or 16


class WaitingKind(StrEnum):
    """What is waiting (§9.2.3.24.2; 3GPP TS 23.038 §4)."""

    VOICE = "voice"
    FAX = "fax"
    EMAIL = "email"
    OTHER = "other"
    VIDEO = "video"


class MessageWaiting(NamedTuple):
    """A message-waiting indication, from a header or from data_coding."""

    kind: WaitingKind
    active: bool  #: false clears the indication on the handset
    store: bool  #: whether the short message itself is to be kept, or discarded after the indication was set
    waiting: int | None = None  #: how many wait, 0..255 (255 or more); None where the form cannot tell
    profile: int = 0  #: multiple subscriber profile, 0..3


_WAITING_KINDS = {
    0: WaitingKind.VOICE,
    1: WaitingKind.FAX,
    2: WaitingKind.EMAIL,
    3: WaitingKind.OTHER,
    7: WaitingKind.VIDEO,
}


class UserDataHeader(NamedTuple):
    """A parsed header. Of elements that may stand once only or exclude each other, the last counts."""

    elements: tuple[InformationElement, ...] = ()
    length: int = 0  #: octets that the header takes, UDHL counted; 0 if there is none
    sound: bool = True  #: false if some element, or the header itself, was cut or miscounted

    @property
    def concat(self) -> ConcatRef | None:
        """The last concatenation element with possible indices; others are to be ignored (§9.2.3.24.1)."""
        found: ConcatRef | None = None
        for identifier, data in self.elements:
            if identifier == CONCATENATION_8 and len(data) == 3:
                ref = ConcatRef(data[0], data[1], data[2], 8)
            elif identifier == CONCATENATION_16 and len(data) == 4:
                ref = ConcatRef(data[0] << 8 | data[1], data[2], data[3], 16)
            else:
                continue
            if ref.possible:
                found = ref
        return found

    @property
    def ports(self) -> ApplicationPorts | None:
        """The last application port element."""
        for identifier, data in reversed(self.elements):
            if identifier == PORTS_8 and len(data) == 2:
                return ApplicationPorts(data[0], data[1], 8)
            if identifier == PORTS_16 and len(data) == 4:
                return ApplicationPorts(data[0] << 8 | data[1], data[2] << 8 | data[3], 16)
        return None

    @property
    def waiting(self) -> tuple[MessageWaiting, ...]:
        """Each special message indication; this element may repeat, once a kind and profile."""
        return tuple(
            MessageWaiting(
                kind=_WAITING_KINDS.get(data[0] & 0x1F, WaitingKind.OTHER),
                active=data[1] > 0,
                store=bool(data[0] & 0x80),
                waiting=data[1],
                profile=data[0] >> 5 & 0x03,
            )
            for identifier, data in self.elements
            if identifier == SPECIAL_MESSAGE_INDICATION and len(data) == 2
        )

    @property
    def single_shift(self) -> int:
        """National language identifier of the single shift table; 0 is the default's."""
        return self._language(SINGLE_SHIFT)

    @property
    def locking_shift(self) -> int:
        """National language identifier of the locking shift table; 0 is the default's."""
        return self._language(LOCKING_SHIFT)

    def _language(self, shift: int) -> int:
        for identifier, data in reversed(self.elements):
            if identifier == shift and len(data) == 1:
                return data[0]
        return 0


NO_HEADER = UserDataHeader()
_IMPOSSIBLE = UserDataHeader(sound=False)


def parse(user_data: bytes) -> UserDataHeader:
    """The header at the start of user data that is said to have one."""
    if not user_data or user_data[0] >= len(user_data):
        return _IMPOSSIBLE
    end = 1 + user_data[0]
    elements: list[InformationElement] = []
    at = 1
    while at + 2 <= end:
        after = at + 2 + user_data[at + 1]
        if after > end:
            break
        elements.append(InformationElement(user_data[at], user_data[at + 2 : after]))
        at = after
    return UserDataHeader(tuple(elements), end, at == end)


def strip(user_data: bytes) -> tuple[UserDataHeader, bytes]:
    """The header, and the octets behind it (all of them if there is no possible header)."""
    header = parse(user_data)
    return header, user_data[header.length :]


def build(elements: Iterable[InformationElement]) -> bytes:
    """A header of these elements with its UDHL; nothing for no elements. ValueError if it is too long."""
    body = b"".join(bytes((identifier, len(data))) + data for identifier, data in elements)
    if len(body) > MAX_HEADER:
        raise ValueError(f"a user data header holds {MAX_HEADER} octets of elements, not {len(body)}")
    return bytes((len(body),)) + body if body else b""


def concatenation_element(ref: ConcatRef) -> InformationElement:
    """The element that marks a part. ValueError if an index does not fit."""
    if not ref.possible or ref.total > 255 or not 0 <= ref.reference < 1 << ref.bits:
        raise ValueError(f"impossible part: {ref}")
    if ref.bits == 8:
        return InformationElement(CONCATENATION_8, bytes((ref.reference, ref.total, ref.number)))
    return InformationElement(
        CONCATENATION_16, bytes((ref.reference >> 8, ref.reference & 0xFF, ref.total, ref.number))
    )


def concatenation_header(ref: ConcatRef) -> bytes:
    """A header with only the place of a part: 6 octets with an 8-bit reference, 7 with a 16-bit one."""
    return build((concatenation_element(ref),))


def port_element(ports: ApplicationPorts) -> InformationElement:
    """The element that addresses an application on the handset. OverflowError if a port is too wide."""
    width = ports.bits // 8
    data = ports.destination.to_bytes(width, "big") + ports.source.to_bytes(width, "big")
    return InformationElement(PORTS_8 if ports.bits == 8 else PORTS_16, data)
