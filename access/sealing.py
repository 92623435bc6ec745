"""Secrets that must be read again, sealed with a key outside the database.

In charge of: sealing and unsealing, and the table of sealed secrets (links, webhooks, second factors). Not in charge
of: the keys (`key_ring.py`), secrets that only need to be compared (`credentials.py`).

A sealed secret is "s1.<key name>.<nonce and AES-256-GCM ciphertext, base64url>"; owner and kind are authenticated
with it, so that a row copied to another owner does not open. What is sealed with an older key is sealed again when the
center starts.

Sources: behaviour.md 11; NIST SP 800-38D (96-bit random nonces; far below 2^32 secrets under one key).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..outlet import Write
from ..store.store import Store
from . import tables
from .key_ring import KeyRing
from .keys import mac

__all__ = ["SealBroken", "Sealer", "Secrets"]

log = structlog.get_logger(__name__)

_NONCE = 12  #: octets
_FORMAT = "s1"


class SealBroken(Exception):
    """A sealed secret does not open: another key, another owner, or changed octets."""


class Sealer:
    """Seals and unseals."""

    __slots__ = ("_current", "_keys", "_random")

    def __init__(self, ring: KeyRing, random: Callable[[int], bytes] = os.urandom) -> None:
        """`random` makes nonces."""
        self._keys = ring.keys("sealing")
        self._current = ring.current
        self._random = random

    def seal(self, secret: str, owner: str, kind: str) -> str:
        """Seal a secret for one owner and kind with the present key."""
        nonce = self._random(_NONCE)
        box = AESGCM(self._keys.present)
        octets = nonce + box.encrypt(nonce, secret.encode(), _bound_to(owner, kind))
        return f"{_FORMAT}.{self._current}.{base64.urlsafe_b64encode(octets).decode()}"

    def unseal(self, sealed: str, owner: str, kind: str) -> str:
        """Open what `seal` made; raises SealBroken."""
        form, _, rest = sealed.partition(".")
        name, _, encoded = rest.partition(".")
        key = self._keys.get(name)
        if form != _FORMAT or key is None:
            raise SealBroken(f"the secret {kind} of {owner} is sealed with a key that is not in the key file")
        try:
            octets = base64.urlsafe_b64decode(encoded)
            box = AESGCM(key)
            return box.decrypt(octets[:_NONCE], octets[_NONCE:], _bound_to(owner, kind)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(f"the secret {kind} of {owner} does not open") from None

    def is_current(self, sealed: str) -> bool:
        """True if it is sealed with the present key."""
        return sealed.startswith(f"{_FORMAT}.{self._current}.")


def _bound_to(owner: str, kind: str) -> bytes:
    return mac(b"", owner, kind).encode()


class Secrets:
    """The sealed secrets in the store."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        """Keep both."""
        self._store = store
        self._sealer = sealer

    def writes(self, owner: str, kind: str, secret: str) -> tuple[Write, ...]:
        """Statements that keep a secret in place of an earlier one; they ride in any change."""
        row = {
            "owner": owner,
            "kind": kind,
            "sealed": self._sealer.seal(secret, owner, kind),
            "updated_at": self._store.clock.now_ms(),
        }
        return (
            Write(tables.DELETE_SECRET, {"owner": owner, "kind": kind}),
            Write(tables.INSERT_SECRET, row, expect=1),
        )

    def forget_writes(self, owner: str) -> tuple[Write, ...]:
        """Statements that remove all of an owner."""
        return (Write(tables.DELETE_SECRETS, {"owner": owner}),)

    async def get(self, owner: str, kind: str) -> str | None:
        """A secret, or None if there is none; raises SealBroken."""
        rows = await self._store.fetch(tables.GET_SECRET, owner=owner, kind=kind)
        return self._sealer.unseal(rows[0]["sealed"], owner, kind) if rows else None

    async def reseal(self) -> int:
        """Seal what older keys sealed with the present one; how many. What does not open stays, and is named."""
        writes: list[Write] = []
        for row in await self._store.fetch(tables.GET_SECRETS):
            owner, kind, sealed = row["owner"], row["kind"], row["sealed"]
            if self._sealer.is_current(sealed):
                continue
            try:
                fresh = self._sealer.seal(self._sealer.unseal(sealed, owner, kind), owner, kind)
            except SealBroken as error:
                log.error("secret-broken", owner=owner, kind=kind, why=str(error))
            else:
                params = {"owner": owner, "kind": kind, "old_sealed": sealed, "new_sealed": fresh}
                writes.append(Write(tables.RESEAL_SECRET, params))
        if writes:
            await self._store.bulk(writes)
            log.info("secrets-resealed", number=len(writes))
        return len(writes)
