"""A request that sends is carried out once, however often it is repeated.

In charge of: remembering what was answered to an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07, in
this one module because it is a draft), for 24 hours and per account. Not in charge of: sending (`messages.py`).

    no key 400 · same key and body: the kept answer, with `Idempotency-Replayed: true`
    same key, other body 422 · same key while the first is under way 409

The row is written before anything is sent, so that two requests at once are one. If the process dies between sending
and writing the answer, the row has none: the request is then not simply carried out again. `claim` says `recovering`,
and the route looks for messages that carry the key in their ingress and sends only what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..message import id_at
from ..outlet import Write
from ..store.store import Answer, Store
from . import tables
from .problems import Problem

__all__ = ["Claim", "Idempotency", "key_of"]

KEPT_MS = 24 * 3_600_000
TRY_MS = 300_000
KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request, or the answer it got before."""

    account: int
    key: str
    since: int  #: UTC epoch milliseconds of the first try
    answer: dict[str, Any] | None = None  #: replay this
    recovering: bool = False  #: a try before this one ended without an answer: look for what it sent


class Idempotency:
    """The keys of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: set[tuple[int, str]] = set()

    @contextmanager
    def under_way(self, account: int, key: str) -> Generator[None]:
        """Refuse a second request with the key while the first is being answered here."""
        place = (account, key)
        if place in self._running:
            raise Problem("in-flight", headers={"Retry-After": "1"})
        self._running.add(place)
        try:
            yield
        finally:
            self._running.discard(place)

    async def claim(self, account: int, key: str, body: bytes) -> Claim:
        """Take a key, or find what became of it. Inside `under_way`."""
        now = self._store.clock.now_ms()
        digest = hashlib.sha256(body).hexdigest()
        for _ in range(3):  # a key that ends while it is read is taken anew
            row = {
                "account": account,
                "key": key,
                "digest": digest,
                "answer": json.dumps({"epoch": self._store.epoch}),
                "expires_at": now + KEPT_MS,
            }
            answer = await self._store.apply(writes=[Write(tables.CLAIM, row, expect=1)])
            if answer is Answer.STORED:
                return Claim(account, key, now)
            if answer is not Answer.CONFLICT:
                raise Problem("store-unavailable", headers={"Retry-After": "5"})
            found = await self._store.fetch(tables.READ, of_account=account, of_key=key)
            if found and found[0]["expires_at"] > now:
                return await self._known(account, key, digest, found[0])
            if found:
                await self.free(Claim(account, key, now))
        raise Problem("in-flight", headers={"Retry-After": "1"})

    async def _known(self, account: int, key: str, digest: str, row: Any) -> Claim:
        if row["digest"] != digest:
            raise Problem("idempotency-key-reused")
        since = row["expires_at"] - KEPT_MS
        kept = json.loads(row["answer"])
        if "epoch" not in kept:
            return Claim(account, key, since, answer=kept)
        elsewhere = kept["epoch"] != self._store.epoch
        if elsewhere and await self._store.fetch(tables.ALIVE, epoch=kept["epoch"]):
            raise Problem("in-flight", headers={"Retry-After": "1"})
        return Claim(account, key, since, recovering=True)

    async def keep(self, claim: Claim, answer: dict[str, Any]) -> None:
        """Remember what is answered. If the store takes nothing now, a repetition recovers."""
        params = {"of_account": claim.account, "of_key": claim.key, "answer": json.dumps(answer)}
        await self._store.apply(writes=[Write(tables.ANSWER, params)])

    async def sent(self, claim: Claim, mark: str) -> dict[str, int]:
        """Recipients and ids of the messages that an earlier try sent. A try does not last longer than `TRY_MS`."""
        low, high = id_at(claim.since), id_at(claim.since + TRY_MS)
        pattern = f'%"request":"{mark}"%'
        rows = await self._store.fetch(
            tables.SENT, of_account=claim.account, low=low, high=high, pattern=pattern
        )
        return {row["recipient"]: row["id"] for row in rows}

    async def free(self, claim: Claim) -> None:
        """Forget a key whose request sent nothing, so that it may be tried again."""
        await self._store.apply(
            writes=[Write(tables.FREE, {"of_account": claim.account, "of_key": claim.key})]
        )

    async def purge(self) -> None:
        """Forget answers older than a day."""
        await self._store.bulk([Write(tables.PURGE, {"now": self._store.clock.now_ms()})])


def key_of(header: str | None) -> str:
    """The key of a request that must have one."""
    if header is None or not 1 <= len(header) <= KEY_LENGTH or not header.isprintable():
        raise Problem("idempotency-key-missing")
    return header
