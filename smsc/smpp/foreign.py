"""Which other protocol a peer speaks on an SMPP port.

In charge of: recognising HTTP, TLS and SSH by the octets where a PDU should start, so that a log can say it.
Not in charge of: what is done about it (session.py).
Source: RFC 9112 and RFC 9113 section 3.4 (HTTP), RFC 8446 section 5.1 (TLS records), RFC 4253 section 4.2 (SSH).
"""

from .events import FatalReason

_METHODS = b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split()
_BEGINNINGS: tuple[tuple[bytes, FatalReason], ...] = (
    *((method + b" ", "peer speaks HTTP") for method in _METHODS),
    (b"HTTP/", "peer speaks HTTP"),
    (b"PRI * HTTP/2", "peer speaks HTTP"),
    # A handshake record: type 22, then a version of 3.0 to 3.4.
    *((b"\x16\x03" + bytes((minor,)), "peer speaks TLS") for minor in range(5)),
    (b"SSH-", "peer speaks SSH"),
)


def foreign_protocol(octets: bytes) -> FatalReason | None:
    """The protocol these first octets belong to, if it is a known one."""
    for beginning, reason in _BEGINNINGS:
        if octets.startswith(beginning):
            return reason
    return None
