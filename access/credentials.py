"""Passwords and API keys: proof of who somebody is.

In charge of: verifying, rotation, issuing API keys. Not in charge of: how often one may try (`attempts.py`), argon2id
(`hashing.py`), what the owner may do (`accounts.py`, `permissions.py`), sessions (`sessions.py`).

After a success the center keeps, in memory only, an HMAC of the password under a key of this process, bound to that
one row of the table: the next bind costs a look at the table and an HMAC. A changed, expired or deleted password is
another row or none, on every node at once, so nothing needs to be told. Tries of the same secret from the same place
share one calculation.

An unknown name and a wrong password cost the same: the same query and one calculation, on a hash that nothing matches.
(While a rotated password lives on beside its successor, a wrong one costs two.)

API keys are `sk_<10 characters>_<43 characters>`: 256 random bits, so SHA-256 is enough and no delay is needed.

Source: behaviour.md 11.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..outlet import Write
from ..store.store import Answer, Change, Store, StoreClosed
from . import tables
from .accounts import Account
from .attempts import Attempts, AttemptSettings, network_of
from .hashing import Hashing, HashSettings

__all__ = [
    "ApiKey",
    "Credential",
    "CredentialKind",
    "CredentialSettings",
    "Credentials",
    "CredentialsNotWritten",
    "IssuedKey",
    "UnfitSecret",
]

KID_LENGTH = 10  #: characters of an API key's public part
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
_TOUCH_MS = 60_000  # how exact last_used_at is
_MAX_SECRET = 128  # octets of a password
SMPP_PASSWORD = 8  #: octets; SMPP 3.4 §5.2.2 has 9 with the NUL


class CredentialKind(StrEnum):
    """What a credential is for."""

    SMPP_PASSWORD = "smpp-password"  # noqa: S105 - the name of a kind
    OPERATOR_PASSWORD = "operator-password"  # noqa: S105
    API_KEY = "api-key"


class CredentialSettings(BaseModel):
    """How credentials are verified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    remember: int = Field(default=20_000, ge=0, description="successes kept in memory as HMACs")
    key_cache_ms: int = Field(
        default=1000, ge=0, le=60_000, description="milliseconds for which a revoked API key may go on"
    )
    hashing: HashSettings = Field(default=HashSettings(), description="what a password costs")
    attempts: AttemptSettings = Field(default=AttemptSettings(), description="how hard guessing is")


class UnfitSecret(ValueError):
    """A password that cannot be set; the text says why and never repeats it."""


class CredentialsNotWritten(Exception):
    """The store did not take a change of credentials: CONFLICT, FULL, FAILED or UNKNOWN."""

    def __init__(self, answer: Answer) -> None:
        """`answer`: the store's."""
        super().__init__(f"the store answered {answer.value}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as people may see it: no hash, no secret."""

    id: str  #: "pwd_…" or "key_…"
    owner: str  #: "acc_12"
    kind: str
    label: str
    created_at: int  #: UTC epoch milliseconds, like the next two
    expires_at: int  #: 0: never
    last_used_at: int  #: within a minute; 0: never


@dataclass(frozen=True, slots=True)
class ApiKey(Credential):
    """An API key as people may see it, and as a door uses it."""

    scopes: frozenset[str] = frozenset()  #: what it may do; their meaning is `permissions.py`'s
    networks: tuple[str, ...] = ()  #: CIDR it may come from; empty: any

    @property
    def kid(self) -> str:
        """The public part of the token."""
        return self.id.removeprefix("key_")


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key, with the token that is shown once and kept nowhere."""

    key: ApiKey
    token: str = field(repr=False)


#: Statements that ride along: as they are, or made from the new key.
KeyRiders = Sequence[Write] | Callable[[ApiKey], Sequence[Write]]


class Credentials:
    """All credentials. Lives on the event loop; hashing does not."""

    def __init__(
        self,
        store: Store,
        settings: CredentialSettings | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """`monotonic` in seconds; `sleep` waits for a turn; `random` makes ids, tokens and the process's key."""
        self._store = store
        self._settings = settings or CredentialSettings()
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random
        self._hashing = Hashing(self._settings.hashing, random)
        self._attempts = Attempts(self._settings.attempts, monotonic)
        self._process_key = random(32)
        self._known: OrderedDict[str, bytes] = OrderedDict()  # id of a row -> HMAC of its password
        self._flights: dict[tuple[bytes, str], asyncio.Task[bool]] = {}
        self._keys: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()

    def close(self) -> None:
        """Let the threads end."""
        self._hashing.close()

    # ---------------------------------------------------------------------------------------------- passwords

    async def verify(self, owner: str, kind: str, secret: str, *, address: str = "", name: str = "") -> bool:
        """True if `secret` is a password of `owner`.

        `owner` is "" for a name that nobody has; the answer takes as long. `address` and `name` (what the peer claims
        to be) slow guessing down; without an address nothing is delayed. A refused try answers False like any other.
        """
        rows = await self._store.fetch(
            tables.GET_LIVING, owner=owner, kind=kind, now=self._store.clock.now_ms()
        )
        place = network_of(address) if address else ""
        mark = self._mark(owner or name, kind, secret)
        flight = (mark, place)
        task = self._flights.get(flight)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._try(rows, mark, secret, place, name))
            self._flights[flight] = task
            task.add_done_callback(lambda _: self._flights.pop(flight, None))
        return await asyncio.shield(
            task
        )  # one caller that goes away leaves the others waiting for the answer

    async def opens_bind(self, account: Account | None, system_id: str, password: str, address: str) -> bool:
        """True if an ESME at `address` may bind as `account`; None takes as long, for a name that nobody has."""
        owner = account.id if account is not None else ""
        kind = CredentialKind.SMPP_PASSWORD
        return await self.verify(owner, kind, password, address=address, name=system_id)

    async def hash(self, password: str) -> str:
        """Hash a password, in a thread."""
        return await self._hashing.hash(password)

    def check_fitness(self, kind: str, password: str) -> None:
        """Raise UnfitSecret for a password that cannot be set."""
        if not password:
            raise UnfitSecret("a password must not be empty")
        if len(password.encode("utf-8", "replace")) > _MAX_SECRET:
            raise UnfitSecret(f"a password has at most {_MAX_SECRET} octets")
        if kind == CredentialKind.SMPP_PASSWORD and (
            len(password) > SMPP_PASSWORD or not password.isascii() or not password.isprintable()
        ):
            raise UnfitSecret(f"an SMPP password has at most {SMPP_PASSWORD} printable ASCII characters")

    def new_password(self, length: int = SMPP_PASSWORD) -> str:
        """Make a random password without look-alikes; 8 characters are all that SMPP allows."""
        return self._characters(length)

    async def set_password(
        self, owner: str, kind: str, password: str, *, keep_previous_s: int = 0, writes: Sequence[Write] = ()
    ) -> None:
        """Give an owner a password; the previous one lives on for a while if wanted. Raises UnfitSecret,
        CredentialsNotWritten."""
        self.check_fitness(kind, password)
        hashed = await self.hash(password)
        await self._apply([*self.password_writes(owner, kind, hashed, keep_previous_s), *writes])

    def password_writes(
        self, owner: str, kind: str, hashed: str, keep_previous_s: int = 0
    ) -> tuple[Write, ...]:
        """The statements of `set_password`, to ride in another change: that which creates the owner, say."""
        now = self._store.clock.now_ms()
        whose = {"owner": owner, "kind": kind}
        if keep_previous_s:
            before = (
                Write(tables.DELETE_EXPIRING, whose),
                Write(tables.EXPIRE_LIVING, {**whose, "until": now + keep_previous_s * 1000}),
            )
        else:
            before = (Write(tables.DELETE_KIND, whose),)
        row = _row("pwd_" + self._characters(KID_LENGTH), owner, kind, hashed, now)
        return (*before, Write(tables.INSERT_CREDENTIAL, row, expect=1))

    # ----------------------------------------------------------------------------------------------- API keys

    async def issue_api_key(
        self,
        owner: str,
        *,
        scopes: Iterable[str] = (),
        networks: Iterable[str] = (),
        label: str = "",
        expires_at: int = 0,
        writes: KeyRiders = (),
    ) -> IssuedKey:
        """Make an API key. `networks`: CIDR, ValueError if one is not; `expires_at`: UTC epoch ms, 0: never."""
        kid = self._characters(KID_LENGTH)
        secret = base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()
        row = _row("key_" + kid, owner, CredentialKind.API_KEY, _digest(secret), self._store.clock.now_ms())
        row["label"] = label
        row["scopes"] = json.dumps(sorted(set(scopes)))
        row["networks"] = json.dumps([str(ipaddress.ip_network(text, strict=False)) for text in networks])
        row["expires_at"] = expires_at
        key = _api_key(row)
        riders = writes(key) if callable(writes) else writes
        await self._apply([Write(tables.INSERT_CREDENTIAL, row, expect=1), *riders])
        return IssuedKey(key, f"sk_{kid}_{secret}")

    async def rotate_api_key(
        self, id: str, *, overlap_s: int = 86_400, writes: KeyRiders = ()
    ) -> IssuedKey | None:
        """Make a successor with the same rights; the old key lives on for `overlap_s`. None: no such key."""
        rows = await self._store.fetch(tables.GET_CREDENTIAL, of_id=id)
        if not rows or rows[0]["kind"] != CredentialKind.API_KEY:
            return None
        old = _api_key(rows[0])
        until = self._store.clock.now_ms() + overlap_s * 1000
        until = min(until, old.expires_at) if old.expires_at else until

        def riders(key: ApiKey) -> Sequence[Write]:
            expire = Write(tables.EXPIRE_CREDENTIAL, {"of_id": id, "until": until}, expect=1)
            return [expire, *(writes(key) if callable(writes) else writes)]

        issued = await self.issue_api_key(
            old.owner, scopes=old.scopes, networks=old.networks, label=old.label, writes=riders
        )
        self._keys.pop(old.kid, None)
        return issued

    async def verify_api_key(self, token: str, *, address: str = "") -> ApiKey | None:
        """The key behind a token, or None: unknown, wrong, expired, or from a network it may not come from."""
        kid, secret = _parse_token(token)
        row = await self._key_row(kid)
        right = hmac.compare_digest(row["hash"] if row else _digest(""), _digest(secret))
        if row is None or not right or row["kind"] != CredentialKind.API_KEY:
            return None
        now = self._store.clock.now_ms()
        key = _api_key(row)
        if (key.expires_at and key.expires_at <= now) or not _comes_from(key.networks, address):
            return None
        self._touch(row, now)
        return key

    # ----------------------------------------------------------------------------------------------- both

    async def of(self, owner: str) -> list[Credential]:
        """What an owner has, expired ones included, oldest first."""
        rows = await self._store.fetch(tables.GET_OWNED, owner=owner)
        return [_api_key(row) if row["kind"] == CredentialKind.API_KEY else _shown(row) for row in rows]

    async def get(self, id: str) -> Credential | None:
        """One credential, or None."""
        rows = await self._store.fetch(tables.GET_CREDENTIAL, of_id=id)
        if not rows:
            return None
        return _api_key(rows[0]) if rows[0]["kind"] == CredentialKind.API_KEY else _shown(rows[0])

    async def revoke(self, id: str, *, writes: Sequence[Write] = ()) -> bool:
        """End one credential now; False if there is none."""
        if await self.get(id) is None:
            return False
        await self._apply([Write(tables.DELETE_CREDENTIAL, {"of_id": id}), *writes])
        self._keys.pop(id.removeprefix("key_"), None)
        return True

    def forget_writes(self, owner: str) -> tuple[Write, ...]:
        """Statements that end every credential of an owner, to ride in the change that deletes it."""
        return (Write(tables.DELETE_OWNER, {"owner": owner}),)

    async def sweep(self) -> int:
        """Remove what has expired; how many."""
        params = {"now": self._store.clock.now_ms()}
        return sum(await self._store.bulk([Write(tables.DELETE_EXPIRED, params)]))

    # -------------------------------------------------------------------------------------------------- inside

    async def _try(
        self, rows: Sequence[Mapping[str, Any]], mark: bytes, secret: str, place: str, name: str
    ) -> bool:
        """One try: wait for its turn, then memory, then argon2id."""
        if place:
            wait = self._attempts.begin(place, name)
            if wait is None:
                return False
            if wait > 0:
                await self._sleep(wait)
        row = next((row for row in rows if hmac.compare_digest(self._known.get(row["id"], b""), mark)), None)
        if row is None:
            row = await self._work_out(rows, secret, place, name)
            if row is None:
                if place:
                    self._attempts.failed(place)
                return False
            self._remember(row["id"], mark)
        if place:
            self._attempts.succeeded(place, name)
        self._touch(row, self._store.clock.now_ms())
        return True

    async def _work_out(
        self, rows: Sequence[Mapping[str, Any]], secret: str, place: str, name: str
    ) -> Mapping[str, Any] | None:
        """The row whose password it is, by argon2id."""

        def barred() -> bool:
            return bool(place) and self._attempts.is_barred(place, name)

        found = await self._hashing.find([row["hash"] for row in rows], secret, place, barred)
        if found is None:
            return None
        row = rows[found]
        if self._hashing.is_outdated(row["hash"]):
            params = {"of_id": row["id"], "old_hash": row["hash"], "new_hash": await self.hash(secret)}
            await self._store.apply(writes=[Write(tables.REHASH_CREDENTIAL, params)])
        return row

    def _mark(self, owner: str, kind: str, secret: str) -> bytes:
        """The HMAC that is kept instead of a password."""
        text = json.dumps([owner, kind, secret]).encode()
        return hmac.digest(self._process_key, text, hashlib.sha256)

    def _remember(self, id: str, mark: bytes) -> None:
        self._known[id] = mark
        while len(self._known) > self._settings.remember:
            self._known.popitem(last=False)

    def _touch(self, row: Mapping[str, Any], now: int) -> None:
        """Note the use of a credential, at most once a minute, without waiting."""
        if now - row["last_used_at"] < _TOUCH_MS:
            return
        write = Write(tables.TOUCH_CREDENTIAL, {"of_id": row["id"], "used_at": now})
        try:
            self._store.put(Change(done=lambda answer: None, writes=(write,)))
        except StoreClosed:
            pass

    async def _key_row(self, kid: str) -> Mapping[str, Any] | None:
        """The row of an API key, at most `key_cache_ms` old."""
        now = self._monotonic()
        found = self._keys.get(kid)
        if found is not None and now - found[0] < self._settings.key_cache_ms / 1000:
            return found[1]
        rows = await self._store.fetch(tables.GET_CREDENTIAL, of_id="key_" + kid)
        if not rows:
            self._keys.pop(kid, None)
            return None
        self._keys[kid] = (now, rows[0])
        while len(self._keys) > self._settings.remember:
            self._keys.popitem(last=False)
        return rows[0]

    async def _apply(self, writes: Sequence[Write]) -> None:
        answer = await self._store.apply(writes=writes)
        if answer is not Answer.STORED:
            raise CredentialsNotWritten(answer)

    def _characters(self, length: int) -> str:
        """Random characters, each equally likely."""
        wanted: list[str] = []
        fair = 256 - 256 % len(_ALPHABET)
        while len(wanted) < length:
            wanted += [_ALPHABET[octet % len(_ALPHABET)] for octet in self._random(length) if octet < fair]
        return "".join(wanted[:length])


def _digest(secret: str) -> str:
    """What is stored of an API key's secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _parse_token(token: str) -> tuple[str, str]:
    """(kid, secret) of a token; of anything else a kid that nobody has."""
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != "sk" or len(parts[1]) != KID_LENGTH or len(token) > 128:
        return "", ""
    return parts[1], parts[2]


def _comes_from(networks: Sequence[str], address: str) -> bool:
    """True if the address lies in one of the networks, or if there is none to lie in."""
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(network) for network in networks)


def _row(id: str, owner: str, kind: str, hashed: str, now: int) -> dict[str, Any]:
    """A new row."""
    return {
        "id": id,
        "owner": owner,
        "kind": kind,
        "hash": hashed,
        "label": "",
        "scopes": "[]",
        "networks": "[]",
        "created_at": now,
        "expires_at": 0,
        "last_used_at": 0,
    }


def _shown(row: Mapping[str, Any]) -> Credential:
    return Credential(
        row["id"],
        row["owner"],
        row["kind"],
        row["label"],
        row["created_at"],
        row["expires_at"],
        row["last_used_at"],
    )


def _api_key(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        row["id"],
        row["owner"],
        row["kind"],
        row["label"],
        row["created_at"],
        row["expires_at"],
        row["last_used_at"],
        frozenset(json.loads(row["scopes"])),
        tuple(json.loads(row["networks"])),
    )
