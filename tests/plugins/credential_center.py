"""Credentials on a real store, with time that is stepped and hashing that is cheap and counted.

In charge of opening and closing them for tests. A test module takes the fixture `argon2` by importing it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from live_store import Database, StepClock

from restante.access.credentials import (
    CredentialKind,
    Credentials,
    CredentialSettings,
)
from restante.access.hashing import Hashing, HashSettings
from restante.store.store import Store

SMPP = CredentialKind.SMPP_PASSWORD
CHEAP = HashSettings(memory_kib=7168, time_cost=1)
FAST = CredentialSettings(hashing=CHEAP)


@dataclass
class Ticks:
    """Seconds that a test steps; sleeping steps them, unless everybody is to sleep at the same time."""

    now: float = 1000.0
    slept: float = 0.0
    frozen: bool = False

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += 0 if self.frozen else seconds
        self.slept += seconds


class CountingHashing:
    """How often argon2 ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        matches = Hashing._matches

        def counted(hashing: Hashing, hashed: str, secret: str) -> bool:
            self.count += 1
            return matches(hashing, hashed, secret)

        monkeypatch.setattr(Hashing, "_matches", counted)


@pytest.fixture
def argon2(monkeypatch: pytest.MonkeyPatch) -> CountingHashing:
    return CountingHashing(monkeypatch)


@dataclass
class Center:
    store: Store
    clock: StepClock
    ticks: Ticks
    credentials: Credentials


@asynccontextmanager
async def opened(database: Database, settings: CredentialSettings = FAST) -> AsyncGenerator[Center]:
    clock, ticks = StepClock(), Ticks()
    async with database.store(clock) as store:
        credentials = Credentials(store, settings, monotonic=ticks, sleep=ticks.sleep)
        try:
            yield Center(store, clock, ticks, credentials)
        finally:
            credentials.close()


def run(
    database: Database,
    test: Callable[[Center], Coroutine[Any, Any, None]],
    settings: CredentialSettings = FAST,
) -> None:
    async def main() -> None:
        async with opened(database, settings) as center:
            await test(center)

    asyncio.run(main())
