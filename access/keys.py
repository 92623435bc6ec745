"""Keys that never stand in the database.

In charge of: making the keys of one purpose out of the center's master keys, and MACs under them. Not in charge of:
where master keys come from (`key_ring.py`).

Source: RFC 5869 (HKDF with SHA-256; a master key is uniform already, so the expand step is enough).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

__all__ = ["KEY_OCTETS", "Keys", "mac"]

KEY_OCTETS = 32


class Keys:
    """The keys of one purpose: the present one makes, each of them recognises what it made."""

    __slots__ = ("_by_name", "_present")

    def __init__(self, purpose: str, masters: Mapping[str, bytes]) -> None:
        """`masters`: name -> at least 32 octets, the present one first."""
        self._by_name = {name: _derived(master, purpose) for name, master in masters.items()}
        self._present = next(iter(self._by_name.values()))

    @property
    def present(self) -> bytes:
        """The key that makes everything new."""
        return self._present

    def get(self, name: str) -> bytes | None:
        """A key by its master's name; None if that is not in the file."""
        return self._by_name.get(name)

    def mac(self, *parts: str) -> str:
        """A MAC under the present key."""
        return mac(self._present, *parts)

    def made(self, given: str, *parts: str) -> bool:
        """True if one of the keys made this MAC over these parts. Tells by its time only how many keys there are."""
        octets = given.encode()
        right = False
        for key in self._by_name.values():
            right |= hmac.compare_digest(octets, mac(key, *parts).encode())
        return right


def _derived(master: bytes, purpose: str) -> bytes:
    if len(master) < KEY_OCTETS:
        raise ValueError(f"a master key has {len(master)} octets; it needs {KEY_OCTETS}")
    return hmac.digest(master, b"restante " + purpose.encode() + b"\x01", hashlib.sha256)


def mac(key: bytes, *parts: str) -> str:
    """HMAC-SHA256 over parts that cannot run into each other, as 43 URL-safe characters."""
    text = b"".join(len(octets := part.encode()).to_bytes(4, "big") + octets for part in parts)
    return base64.urlsafe_b64encode(hmac.digest(key, text, hashlib.sha256)).rstrip(b"=").decode()
