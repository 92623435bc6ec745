"""Secrets that must be read again, sealed with a key outside the database.

In charge of: the key file and its rotation, sealing and unsealing, and the table of sealed secrets (links, webhooks,
second factors). Not in charge of: secrets that only need to be compared (`credentials.py`).

The key file has mode 0600 (or is a systemd credential) and one key a line, the present one first:

    <8 hexadecimal digits that name the key> <32 octets, base64>

Older keys stay as long as something is sealed with them: rotate, start the center, `reseal`, then remove them.
A sealed secret is "s1.<key name>.<nonce and AES-256-GCM ciphertext, base64url>"; owner and kind are authenticated
with it, so that a row copied to another owner does not open.

Sources: behaviour.md 11; NIST SP 800-38D (96-bit random nonces; far below 2^32 secrets under one key).
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..outlet import Write
from ..store.store import Store
from . import tables
from .keys import KEY_OCTETS, derived_key, mac

__all__ = ["KeyFileRefused", "KeyRing", "SealBroken", "Sealer", "Secrets"]

_NONCE = 12  #: octets
_FORMAT = "s1"


class KeyFileRefused(Exception):
    """The key file cannot be used; the text says why and what to do."""


class SealBroken(Exception):
    """A sealed secret does not open: another key, another owner, or changed octets."""


class KeyRing:
    """The center's master keys. Its repr shows their names only."""

    __slots__ = ("_masters", "current")

    def __init__(self, masters: Mapping[str, bytes]) -> None:
        """Name -> 32 octets, the present one first."""
        if not masters:
            raise KeyFileRefused("there is no key in the key file; `restante init` writes one")
        self._masters = dict(masters)
        self.current = next(iter(self._masters))  #: name of the present key

    @property
    def master(self) -> bytes:
        """The present key: what `keys.derived_key` takes."""
        return self._masters[self.current]

    def get(self, name: str) -> bytes | None:
        """A key by name, or None if it is not in the file."""
        return self._masters.get(name)

    def names(self) -> list[str]:
        """Names of all keys, the present one first."""
        return list(self._masters)

    def __repr__(self) -> str:
        """Names, never keys."""
        return f"KeyRing({', '.join(self._masters)})"

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key file; raises KeyFileRefused if others may read it or it is not one."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise KeyFileRefused(f"cannot read the key file {path}: {reason}") from None
        if mode & 0o077:
            raise KeyFileRefused(f"the key file {path} can be read by others: chmod 600 {path}")
        masters: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            name, _, encoded = line.strip().partition(" ")
            if not name or name.startswith("#"):
                continue
            try:
                master = base64.b64decode(encoded, validate=True)
            except ValueError:
                master = b""
            if len(master) != KEY_OCTETS or name != _name(master):
                raise KeyFileRefused(f"{path}, line {number}: not a key as `restante init` writes it")
            masters[name] = master
        return cls(masters)

    @classmethod
    def create(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
        """Write a new key file with one key; raises FileExistsError rather than replace one."""
        master = random(KEY_OCTETS)
        _write(path, {_name(master): master}, os.O_EXCL)
        return cls.load(path)

    @classmethod
    def rotate(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
        """Put a new key before the others. The file is replaced at once, never half written."""
        old = cls.load(path)
        master = random(KEY_OCTETS)
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        _write(fresh, {_name(master): master, **old._masters}, os.O_EXCL)
        fresh.replace(path)
        return cls.load(path)


def _name(master: bytes) -> str:
    """What a key is called: tells keys apart, tells nothing about them."""
    return hashlib.sha256(b"restante key name " + master).hexdigest()[:8]


def _write(path: Path, masters: Mapping[str, bytes], flags: int) -> None:
    lines = [f"{name} {base64.b64encode(master).decode()}\n" for name, master in masters.items()]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    with os.fdopen(handle, "w") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


class Sealer:
    """Seals and unseals."""

    __slots__ = ("_random", "_ring")

    def __init__(self, ring: KeyRing, random: Callable[[int], bytes] = os.urandom) -> None:
        """`random` makes nonces."""
        self._ring = ring
        self._random = random

    def seal(self, secret: str, owner: str, kind: str) -> str:
        """Seal a secret for one owner and kind with the present key."""
        nonce = self._random(_NONCE)
        box = AESGCM(derived_key(self._ring.master, "sealing"))
        octets = nonce + box.encrypt(nonce, secret.encode(), _bound_to(owner, kind))
        return f"{_FORMAT}.{self._ring.current}.{base64.urlsafe_b64encode(octets).decode()}"

    def unseal(self, sealed: str, owner: str, kind: str) -> str:
        """Open what `seal` made; raises SealBroken."""
        form, _, rest = sealed.partition(".")
        name, _, encoded = rest.partition(".")
        master = self._ring.get(name)
        if form != _FORMAT or master is None:
            raise SealBroken(f"the secret {kind} of {owner} is sealed with a key that is not in the key file")
        try:
            octets = base64.urlsafe_b64decode(encoded)
            box = AESGCM(derived_key(master, "sealing"))
            return box.decrypt(octets[:_NONCE], octets[_NONCE:], _bound_to(owner, kind)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(f"the secret {kind} of {owner} does not open") from None

    def is_current(self, sealed: str) -> bool:
        """True if it is sealed with the present key."""
        return sealed.startswith(f"{_FORMAT}.{self._ring.current}.")


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
        """Seal everything with the present key; how many that were not. Raises SealBroken before it writes anything."""
        writes: list[Write] = []
        for row in await self._store.fetch(tables.GET_SECRETS):
            owner, kind, sealed = row["owner"], row["kind"], row["sealed"]
            if not self._sealer.is_current(sealed):
                fresh = self._sealer.seal(self._sealer.unseal(sealed, owner, kind), owner, kind)
                params = {"owner": owner, "kind": kind, "old_sealed": sealed, "new_sealed": fresh}
                writes.append(Write(tables.RESEAL_SECRET, params))
        if writes:
            await self._store.bulk(writes)
        return len(writes)
