"""Kinds of objects that only tests have, and a registry of them on a real store.

In charge of a center of one or two processes whose objects mean nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from live_store import Database, StepClock
from pydantic import BaseModel, ConfigDict, Field

from restante.registry.documents import Problem
from restante.registry.edits import Registry
from restante.registry.versioned import (
    ObjectKind,
    Stored,
    View,
)
from restante.store.store import Store


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: int = 1


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern="^[a-z0-9-]+$")
    color: str = "red"
    size: int = Field(default=1, ge=1)
    tags: tuple[str, ...] = ()
    big: bool = False
    note: str | None = None
    nested: Nested = Nested()


@dataclass(frozen=True)
class Live:
    number: int
    name: str
    color: str


def build(stored: Stored[Thing]) -> Live:
    if stored.value.color == "octarine":
        raise ValueError("cannot be built in that color")
    return Live(stored.number, stored.value.name, stored.value.color)


def warn(before: Stored[Thing] | None, after: Stored[Thing] | None, view: View) -> Iterable[Problem]:
    if after is not None and after.value.note and view.by_key(THING, after.value.note) is None:
        yield Problem("/note", "nobody", "names a thing that does not exist")
    if after is None and before is not None:
        for other in view.values(THING):
            if other.value.note == before.key:
                yield Problem("", "in-use", f"{other.id} names it")


def refuse(before: Stored[Thing] | None, after: Stored[Thing] | None, view: View) -> Iterable[Problem]:
    if after is not None and sum(other.value.big for other in view.values(THING)) > 1:
        yield Problem("/big", "one-only", "there is a big one already")


THING: ObjectKind[Thing, Live] = ObjectKind("thing", "thg", Thing, lambda t: t.name, build, warn, refuse)
OTHER: ObjectKind[Nested, int] = ObjectKind(
    "other", "oth", Nested, lambda n: str(n.depth), lambda s: s.value.depth
)

Test = Callable[["Center"], Coroutine[Any, Any, None]]


@dataclass
class Center:
    """A store and a registry on it; `another` is one of another process."""

    database: Database
    clock: StepClock
    store: Store
    registry: Registry
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def another(self) -> Registry:
        """On PostgreSQL another node's; SQLite is one process, so there a second memory on the same store."""
        store = self.store
        if not self.database.url.startswith("sqlite"):
            store = await self.stack.enter_async_context(self.database.store(self.clock, "other"))
        return await fresh(store)


async def fresh(store: Store) -> Registry:
    registry = Registry(store)
    registry.register(THING)
    registry.register(OTHER)
    await registry.open()
    return registry


@asynccontextmanager
async def opened(database: Database) -> AsyncGenerator[Center]:
    clock = StepClock()
    async with database.store(clock) as store, AsyncExitStack() as stack:
        yield Center(database, clock, store, await fresh(store), stack)


def run(database: Database, test: Test) -> None:
    async def main() -> None:
        async with opened(database) as center:
            await test(center)

    asyncio.run(main())
