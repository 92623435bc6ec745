"""Diameter messages: header, AVPs, groups, and the values inside.

In charge of: octets to messages and back. AVPs keep their order, flags and octets, also those that the dictionary does
not know, so that a message read and written again is the same. Not in charge of: connections (`connection.py`), or
what a message means (`short_messages.py`).

Values are read when they are asked for: `text`, `identity`, `number`, `octets`, `group` by name, each for the formats
it suits. A value of a wrong size reads as absent, like a missing one: what has to be there is checked by who needs it.

How it fails: BadMessage has the Result-Code that answers it and, when the header was sound, the header to answer with.

Source: RFC 6733 §3 (header), §4 (AVPs), §7.1.5 (errors).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import NamedTuple

from ..causes import ResultCode
from .dictionary import AVPS, BY_NAME, Command, Definition, Format

__all__ = [
    "MAX_MESSAGE",
    "Avp",
    "Avps",
    "BadMessage",
    "Framer",
    "Message",
    "avp",
    "command_name",
    "decode",
    "grouped",
    "read_avps",
]

MAX_MESSAGE = 65536  #: octets; a short message with every AVP has less than 2000
HEADER_OCTETS = 20

#: Flags of a header.
REQUEST, PROXIABLE, ERROR, RETRANSMITTED = 0x80, 0x40, 0x20, 0x10
#: Flags of an AVP.
VENDOR, MANDATORY = 0x80, 0x40

_HEADER = Struct("!IIIII")  # version and length, flags and code, application, hop-by-hop, end-to-end
_AVP = Struct("!II")  # code, flags and length
_U32, _I32, _U64 = Struct("!I"), Struct("!i"), Struct("!Q")
_EPOCH_1900 = 2_208_988_800  # seconds from 1900 to 1970


class BadMessage(ValueError):
    """Octets that are no Diameter message."""

    def __init__(self, result: int, reason: str, header: Message | None = None) -> None:
        super().__init__(reason)
        self.result = result  #: `causes.ResultCode`
        self.header = header  #: without AVPs; None if even that was not readable


class Avp(NamedTuple):
    """One AVP as it came."""

    code: int
    vendor: int  #: 0: none
    flags: int  #: with the V bit exactly when a vendor is written
    data: bytes

    @property
    def name(self) -> str:
        """What the dictionary calls it, else "vendor:code"."""
        found = AVPS.get((self.vendor, self.code))
        return found.name if found else f"{self.vendor}:{self.code}"

    def encode(self) -> bytes:
        """With its padding."""
        has_vendor = self.flags & VENDOR
        length = (12 if has_vendor else 8) + len(self.data)
        if length > 0xFFFFFF:
            raise ValueError(f"{self.name}: {length} octets do not fit into an AVP")
        vendor = _U32.pack(self.vendor) if has_vendor else b""
        return _AVP.pack(self.code, self.flags << 24 | length) + vendor + self.data + bytes(-length % 4)


class Avps(tuple[Avp, ...]):
    """A list of AVPs: a message's, or a group's."""

    __slots__ = ()

    def find(self, name: str) -> Avp | None:
        """The first of this name. KeyError if the dictionary does not have the name."""
        wanted = BY_NAME[name]
        for each in self:
            if each.code == wanted.code and each.vendor == wanted.vendor:
                return each
        return None

    def every(self, name: str) -> Iterator[Avp]:
        """All of this name."""
        wanted = BY_NAME[name]
        return (each for each in self if each.code == wanted.code and each.vendor == wanted.vendor)

    def octets(self, name: str) -> bytes | None:
        """The data of the first of this name."""
        found = self.find(name)
        return None if found is None else found.data

    def text(self, name: str) -> str:
        """Text or identity of the first of this name; "" if there is none."""
        found = self.find(name)
        return "" if found is None else found.data.decode("utf-8", "replace")

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of all of this name, in order."""
        return tuple(each.data.decode("utf-8", "replace") for each in self.every(name))

    def identity(self, name: str) -> str:
        """Like `text`, in lower case: names of hosts and realms compare so (RFC 6733 §4.3.1)."""
        return self.text(name).lower()

    def identities(self, name: str) -> tuple[str, ...]:
        """Like `texts`, in lower case."""
        return tuple(text.lower() for text in self.texts(name))

    def number(self, name: str) -> int | None:
        """Unsigned, signed or enumerated value of the first of this name."""
        found = self.find(name)
        return None if found is None else _number(found, BY_NAME[name].format)

    def numbers(self, name: str) -> tuple[int, ...]:
        """The numbers of all of this name that are of the right size."""
        form = BY_NAME[name].format
        read = (_number(each, form) for each in self.every(name))
        return tuple(value for value in read if value is not None)

    def time_ms(self, name: str) -> int | None:
        """UTC epoch milliseconds; times from 2036 on follow the rule of RFC 5905's next era."""
        found = self.find(name)
        if found is None or len(found.data) != 4:
            return None
        seconds: int = _U32.unpack(found.data)[0]
        return (seconds - _EPOCH_1900 + (0 if seconds & 0x80000000 else 1 << 32)) * 1000

    def group(self, name: str) -> Avps | None:
        """The members of the first of this name; None if it is absent or broken."""
        found = self.find(name)
        return None if found is None else _members(found)

    def groups(self, name: str) -> tuple[Avps, ...]:
        """The members of every group of this name that is not broken."""
        read = (_members(each) for each in self.every(name))
        return tuple(members for members in read if members is not None)


def _members(group: Avp) -> Avps | None:
    try:
        return read_avps(group.data)
    except BadMessage:
        return None


def _number(found: Avp, form: Format) -> int | None:
    size = 8 if form is Format.UNSIGNED64 else 4
    if len(found.data) != size:
        return None
    signed = form in (Format.INTEGER32, Format.ENUMERATED)
    return int.from_bytes(found.data, "big", signed=signed)


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer."""

    flags: int
    code: int
    application: int
    hop_by_hop: int  #: of one hop; matches answers
    end_to_end: int  #: of the origin; detects duplicates
    avps: Avps = field(default_factory=Avps)

    @property
    def is_request(self) -> bool:
        """R bit."""
        return bool(self.flags & REQUEST)

    @property
    def is_error(self) -> bool:
        """E bit: the answer is a protocol error and may lack everything else."""
        return bool(self.flags & ERROR)

    @property
    def is_retransmitted(self) -> bool:
        """T bit: it may be a duplicate of one that was sent over a link that failed."""
        return bool(self.flags & RETRANSMITTED)

    @property
    def result(self) -> tuple[int, bool]:
        """Result-Code, or Experimental-Result-Code and True; 0 if an answer has neither."""
        code = self.avps.number("Result-Code")
        if code is not None:
            return code, False
        experimental = self.avps.group("Experimental-Result")
        code = None if experimental is None else experimental.number("Experimental-Result-Code")
        return (0, False) if code is None else (code, True)

    @property
    def succeeded(self) -> bool:
        """Whether it is an answer with a 2xxx result."""
        code, _ = self.result
        return not self.is_request and 2000 <= code < 3000

    def encode(self) -> bytes:
        """The octets. ValueError if it is too long."""
        body = b"".join([each.encode() for each in self.avps])
        length = HEADER_OCTETS + len(body)
        if length > MAX_MESSAGE:
            raise ValueError(f"a message of {length} octets")
        head = (1 << 24 | length, self.flags << 24 | self.code)
        return _HEADER.pack(*head, self.application, self.hop_by_hop, self.end_to_end) + body

    def answer(self, avps: Iterable[Avp], *, error: bool = False) -> Message:
        """An answer to this request; Session-Id in front and Proxy-Info behind, as RFC 6733 §6.2 wants them."""
        session = self.avps.find("Session-Id")
        parts = (*((session,) if session else ()), *avps, *self.avps.every("Proxy-Info"))
        flags = self.flags & PROXIABLE | (ERROR if error else 0)
        return replace(self, flags=flags, avps=Avps(parts))


# --------------------------------------------------------------------------------------------------------- reading


def read_avps(data: bytes, header: Message | None = None) -> Avps:
    """A list of AVPs that fills its octets. BadMessage."""
    found: list[Avp] = []
    at, size = 0, len(data)
    while at < size:
        if at + 8 > size:
            raise BadMessage(ResultCode.INVALID_AVP_LENGTH, "an AVP is cut off", header)
        code, rest = _AVP.unpack_from(data, at)
        flags, length = rest >> 24, rest & 0xFFFFFF
        head = 12 if flags & VENDOR else 8
        if length < head or at + length > size:
            raise BadMessage(ResultCode.INVALID_AVP_LENGTH, f"AVP {code} says it has {length} octets", header)
        vendor = _U32.unpack_from(data, at + 8)[0] if flags & VENDOR else 0
        found.append(Avp(code, vendor, flags, data[at + head : at + length]))
        at += length + -length % 4
    return Avps(found)


def decode(octets: bytes) -> Message:
    """One message, of exactly these octets. BadMessage."""
    if len(octets) < HEADER_OCTETS:
        raise BadMessage(ResultCode.INVALID_MESSAGE_LENGTH, "shorter than a header")
    first, second, application, hop_by_hop, end_to_end = _HEADER.unpack_from(octets)
    header = Message(second >> 24, second & 0xFFFFFF, application, hop_by_hop, end_to_end)
    if first >> 24 != 1:
        raise BadMessage(ResultCode.UNSUPPORTED_VERSION, f"version {first >> 24}", header)
    if first & 0xFFFFFF != len(octets):
        raise BadMessage(ResultCode.INVALID_MESSAGE_LENGTH, "its length is another one", header)
    if header.is_request and header.is_error:
        raise BadMessage(ResultCode.INVALID_HDR_BITS, "a request with the E bit", header)
    return replace(header, avps=read_avps(octets[HEADER_OCTETS:], header))


class Framer:
    """Cuts what one connection received into messages."""

    __slots__ = ("_buffer", "_most")

    def __init__(self, most: int = MAX_MESSAGE) -> None:
        """`most`: octets of a message."""
        self._buffer = b""
        self._most = most

    def feed(self, data: bytes) -> list[bytes]:
        """Every message that is complete now. BadMessage: the stream cannot be followed any more."""
        buffer = self._buffer + data if self._buffer else data
        found: list[bytes] = []
        at, size = 0, len(buffer)
        while size - at >= 4:
            first = _U32.unpack_from(buffer, at)[0]
            length = first & 0xFFFFFF
            if first >> 24 != 1:
                raise BadMessage(ResultCode.UNSUPPORTED_VERSION, f"no Diameter: {buffer[at : at + 4]!r}")
            if length < HEADER_OCTETS or length % 4 or length > self._most:
                raise BadMessage(ResultCode.INVALID_MESSAGE_LENGTH, f"a message of {length} octets")
            if size - at < length:
                break
            found.append(buffer[at : at + length])
            at += length
        self._buffer = buffer[at:]
        return found


# --------------------------------------------------------------------------------------------------------- writing


def avp(name: str, value: bytes | str | int) -> Avp:
    """An AVP by name. KeyError for a name, ValueError for a value that the dictionary does not allow.

    Times are UTC epoch milliseconds, addresses are text. Groups are made by `grouped`.
    """
    definition = BY_NAME[name]
    return Avp(definition.code, definition.vendor, _flags(definition), _data(name, definition.format, value))


def grouped(name: str, *members: Avp | None) -> Avp:
    """A group of these; None stands for one that is left out."""
    definition = BY_NAME[name]
    if definition.format is not Format.GROUPED:
        raise ValueError(f"{name} is no group")
    data = b"".join([each.encode() for each in members if each is not None])
    return Avp(definition.code, definition.vendor, _flags(definition), data)


def _flags(definition: Definition) -> int:
    return (MANDATORY if definition.mandatory else 0) | (VENDOR if definition.vendor else 0)


def _data(name: str, form: Format, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        sizes = {Format.UNSIGNED32: 4, Format.UNSIGNED64: 8, Format.INTEGER32: 4, Format.ENUMERATED: 4}
        if form is Format.TIME:
            return ((value // 1000 + _EPOCH_1900) % (1 << 32)).to_bytes(4, "big")
        if form in sizes:
            signed = form in (Format.INTEGER32, Format.ENUMERATED)
            try:
                return value.to_bytes(sizes[form], "big", signed=signed)
            except OverflowError as error:
                raise ValueError(f"{name}: {value} does not fit") from error
    elif isinstance(value, str):
        if form is Format.ADDRESS:
            address = ipaddress.ip_address(value)
            return (1 if address.version == 4 else 2).to_bytes(2, "big") + address.packed
        if form in (Format.TEXT, Format.IDENTITY):
            return value.encode()
    elif form is Format.OCTETS:
        return value
    raise ValueError(f"{name} is {form.value}, not {value!r}")


def command_name(code: int) -> str:
    """For logs."""
    try:
        return Command(code).name.lower()
    except ValueError:
        return str(code)
