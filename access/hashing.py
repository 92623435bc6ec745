"""argon2id without slowing anybody down.

In charge of: hashing and comparing passwords in a few threads of stated memory, a bound on what one address may have
under way, and a hash that nothing matches. Not in charge of: whose hashes they are (`credentials.py`).

Memory: workers x memory_kib, whatever comes. argon2 releases the interpreter lock, so the event loop goes on; and its
threads give way to it on Linux, so that a thousand binds at once hardly slow who is bound already.

Sources: RFC 9106; OWASP's password storage minimum of 19 MiB and two passes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["HashSettings", "Hashing"]


_NICE = 4  # of -20 to 19: less than half of what a thread of messages gets on a busy core


class HashSettings(BaseModel):
    """What a calculation costs and how many go on at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=2, ge=1, le=64, description="threads that hash; each uses memory_kib")
    memory_kib: int = Field(default=19_456, ge=7_168, le=1_048_576, description="KiB of one argon2id hash")
    time_cost: int = Field(default=2, ge=1, le=20, description="passes of one argon2id hash")
    per_address: int = Field(default=8, ge=1, le=1000, description="calculations under way for one address")


class Hashing:
    """Hashes in threads. Lives on the event loop."""

    def __init__(self, settings: HashSettings, random: Callable[[int], bytes]) -> None:
        """`random` makes the decoy; salts are argon2's own."""
        self._per_address = settings.per_address
        self._hasher = PasswordHasher(settings.time_cost, settings.memory_kib, 1)
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="argon2", initializer=_step_back)
        self._decoy = _decoy(self._hasher, random)
        self._places: dict[str, _Place] = {}

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Hash a password."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, password)

    async def find(
        self, hashes: Sequence[str], password: str, place: str, barred: Callable[[], bool] = lambda: False
    ) -> int | None:
        """Index of the first hash of `password`, or None; without hashes the decoy is calculated all the same.
        `place` is where it comes from; `barred` is asked when its turn has come: True ends it without calculation."""
        loop = asyncio.get_running_loop()
        async with self._turn(place):
            if barred():
                return None
            for index, hashed in enumerate(hashes or [self._decoy]):
                if await loop.run_in_executor(self._pool, self._matches, hashed, password) and hashes:
                    return index
        return None

    def is_outdated(self, hashed: str) -> bool:
        """True if a hash was made at another cost than the present one."""
        return self._hasher.check_needs_rehash(hashed)

    def _matches(self, hashed: str, secret: str) -> bool:
        """Runs in a thread."""
        try:
            return self._hasher.verify(hashed, secret.encode("utf-8", "replace"))
        except (VerificationError, InvalidHashError):
            return False

    def _turn(self, place: str) -> _Place:
        """What bounds the calculations of one address."""
        found = self._places.get(place)
        if found is None:
            found = self._places[place] = _Place(self._per_address, lambda: self._places.pop(place, None))
        return found


class _Place:
    """How many calculations one address may have under way; goes away with its last user."""

    __slots__ = ("_gone", "_limit", "_users")

    def __init__(self, limit: int, gone: Callable[[], object]) -> None:
        self._limit = asyncio.Semaphore(limit)
        self._gone = gone
        self._users = 0

    async def __aenter__(self) -> None:
        self._users += 1
        try:
            await self._limit.acquire()
        except asyncio.CancelledError:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._limit.release()
        self._leave()

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._gone()


def _step_back() -> None:
    """Let other threads go first. On Linux a priority is a thread's own; elsewhere it is left as it is."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _decoy(hasher: PasswordHasher, random: Callable[[int], bytes]) -> str:
    """A well-formed hash of the present cost that no password is known for."""

    def encoded(octets: bytes) -> str:
        return base64.b64encode(octets).rstrip(b"=").decode()

    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${encoded(random(hasher.salt_len))}${encoded(random(hasher.hash_len))}"
