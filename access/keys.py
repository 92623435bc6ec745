"""Keys that never stand in the database.

In charge of: making one key for each purpose out of the center's master key, and MACs under them. Not in charge of:
where the master key comes from (a file of mode 0600 or a systemd credential, read in serve.py).

Source: RFC 5869 (HKDF with SHA-256; the master key is uniform already, so the expand step is enough).
"""

from __future__ import annotations

import base64
import hashlib
import hmac

__all__ = ["KEY_OCTETS", "derived_key", "mac", "same"]

KEY_OCTETS = 32


def derived_key(master: bytes, purpose: str) -> bytes:
    """The key of one purpose: nobody who holds it learns another."""
    if len(master) < KEY_OCTETS:
        raise ValueError(f"the master key has {len(master)} octets; it needs {KEY_OCTETS}")
    return hmac.digest(master, b"restante " + purpose.encode() + b"\x01", hashlib.sha256)


def mac(key: bytes, *parts: str) -> str:
    """HMAC-SHA256 over parts that cannot run into each other, as 43 URL-safe characters."""
    text = b"".join(len(octets := part.encode()).to_bytes(4, "big") + octets for part in parts)
    return base64.urlsafe_b64encode(hmac.digest(key, text, hashlib.sha256)).rstrip(b"=").decode()


def same(one: str, other: str) -> bool:
    """Compare without telling by the time taken where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
