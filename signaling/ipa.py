"""IPA: the framing under Osmocom's protocols, and the little protocol by which two ends introduce themselves.

In charge of: cutting a stream into frames and making them; CCM: identity request and response, ping and pong. Not in
charge of: sockets, or what the frames carry (`gsup.py`, `ctrl.py`).

A frame is a length of two octets, a protocol, and so many octets; Osmocom's own protocols have one more octet in
front that tells which. The identity is a list of tags; the name by which a GSUP peer is known is its serial number.

How it fails: BadIpa for a frame that must have something in it and has not. Any length can be framed: at most 65535
octets wait for their rest.

Source: libosmocore's documentation of IPA multiplex and CCM; the GSUP chapter of the OsmoHLR manual.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

__all__ = [
    "BadIpa",
    "Ccm",
    "Extension",
    "Frame",
    "Framer",
    "IdentityTag",
    "Protocol",
    "frame",
    "identity_of",
    "identity_request",
    "identity_response",
    "osmo_frame",
    "read_identity",
    "requested_tags",
]

_HEADER = Struct("!HB")


class BadIpa(ValueError):
    """Octets that are no IPA frame."""


class Protocol(IntEnum):
    """The octet behind the length."""

    OSMO = 0xEE  #: an extension octet follows
    CCM = 0xFE


class Extension(IntEnum):
    """Osmocom's protocols."""

    CTRL = 0x00
    GSUP = 0x05


class Ccm(IntEnum):
    """Types of CCM messages: the first octet of their payload."""

    PING = 0x00
    PONG = 0x01
    ID_GET = 0x04
    ID_RESP = 0x05
    ID_ACK = 0x06


class IdentityTag(IntEnum):
    """What an identity consists of."""

    SERIAL_NUMBER = 0x00  #: of a GSUP peer: its name
    UNIT_NAME = 0x01
    LOCATION = 0x02
    TYPE = 0x03
    VERSION = 0x04
    IP_ADDRESS = 0x05
    MAC_ADDRESS = 0x07
    UNIT_ID = 0x08


class Frame(NamedTuple):
    """One frame as it came."""

    protocol: int
    extension: int  #: -1 if the protocol has none
    payload: bytes  #: behind protocol and extension
    octets: bytes  #: all of it: what a relay passes on

    @property
    def is_ccm(self) -> bool:
        """Whether it belongs to the link and not to what the link carries."""
        return self.protocol == Protocol.CCM


class Framer:
    """Cuts what one connection received into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._buffer = b""

    @property
    def waiting(self) -> int:
        """Octets of a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Every frame that is complete now. BadIpa: the connection is of no more use."""
        buffer = self._buffer + data if self._buffer else data
        frames: list[Frame] = []
        at, size = 0, len(buffer)
        while size - at >= 3:
            length, protocol = _HEADER.unpack_from(buffer, at)
            end = at + 3 + length
            if end > size:
                break
            octets = buffer[at:end]
            if protocol == Protocol.OSMO:
                if not length:
                    raise BadIpa("an Osmocom frame without its extension octet")
                frames.append(Frame(protocol, octets[3], octets[4:], octets))
            else:
                if protocol == Protocol.CCM and not length:
                    raise BadIpa("a CCM frame without its type")
                frames.append(Frame(protocol, -1, octets[3:], octets))
            at = end
        self._buffer = buffer[at:]
        return frames


def frame(protocol: int, payload: bytes) -> bytes:
    """A frame of a protocol without extension. BadIpa if the payload is too long."""
    if len(payload) > 0xFFFF:
        raise BadIpa(f"{len(payload)} octets do not fit into a frame")
    return _HEADER.pack(len(payload), protocol) + payload


def osmo_frame(extension: int, payload: bytes) -> bytes:
    """A frame of one of Osmocom's protocols."""
    return frame(Protocol.OSMO, bytes((extension,)) + payload)


# ------------------------------------------------------------------------------------------------------------ CCM

PING = frame(Protocol.CCM, bytes((Ccm.PING,)))
PONG = frame(Protocol.CCM, bytes((Ccm.PONG,)))
ID_ACK = frame(Protocol.CCM, bytes((Ccm.ID_ACK,)))


def identity_request(tags: Iterable[int] = tuple(IdentityTag)) -> bytes:
    """Ask the peer who it is."""
    return frame(Protocol.CCM, bytes((Ccm.ID_GET,)) + b"".join(bytes((1, tag)) for tag in tags))


def requested_tags(payload: bytes) -> tuple[int, ...]:
    """The tags that a request (its payload, type included) asks for. BadIpa."""
    tags: list[int] = []
    at = 1
    while at < len(payload):
        after = at + 1 + payload[at]
        if not payload[at] or after > len(payload):
            raise BadIpa("an identity request is cut off")
        tags.append(payload[at + 1])
        at = after
    return tuple(tags)


def identity_of(name: str) -> dict[int, str]:
    """The identity of an end that has nothing but a name; OsmoHLR insists on a unit id."""
    return {
        IdentityTag.UNIT_ID: "0/0/0",
        IdentityTag.MAC_ADDRESS: "00:00:00:00:00:00",
        IdentityTag.LOCATION: name,
        IdentityTag.TYPE: name,
        IdentityTag.VERSION: "",
        IdentityTag.IP_ADDRESS: "",
        IdentityTag.UNIT_NAME: name,
        IdentityTag.SERIAL_NUMBER: name,
    }


def identity_response(identity: Mapping[int, str], tags: Sequence[int] | None = None) -> bytes:
    """Answer who we are; only what was asked for, if `tags` says so."""
    wanted = [tag for tag in (identity if tags is None else tags) if tag in identity]
    items = b""
    for tag in wanted:
        value = identity[tag].encode("ascii", "replace") + b"\0"
        items += Struct("!HB").pack(1 + len(value), tag) + value
    return frame(Protocol.CCM, bytes((Ccm.ID_RESP,)) + items)


def read_identity(payload: bytes) -> dict[int, str]:
    """What a response (its payload, type included) says, without the NULs. BadIpa."""
    identity: dict[int, str] = {}
    at = 1
    while at < len(payload):
        length = int.from_bytes(payload[at : at + 2], "big")
        after = at + 2 + length
        if not length or after > len(payload):
            raise BadIpa("an identity response is cut off")
        identity[payload[at + 2]] = payload[at + 3 : after].split(b"\0")[0].decode("latin-1")
        at = after
    return identity
