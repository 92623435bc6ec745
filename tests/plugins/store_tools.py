"""What tests of the store share: opening one, making messages, putting changes and collecting answers.

In charge of short tests; not in charge of databases (`store_plugin.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from restante.message import Address, Event, EventKind, Message, MessageState
from restante.store.connect import connect
from restante.store.engine import Engine
from restante.store.settings import StoreSettings
from restante.store.store import Answer, Change

PROMISED = "power-loss"
DAY_MS = 86_400_000


def settings(url: str, **other: Any) -> StoreSettings:
    """Settings for a test's database; the fast PostgreSQL server does not sync."""
    if url.startswith("postgresql"):
        other.setdefault("durability", "process-crash-only")
    other.setdefault("heartbeat_s", 0.2)
    return StoreSettings(url=url, **other)


@asynccontextmanager
async def opened(
    url: str, clock: Any = None, tick: Callable[[], int] | None = None, failpoint: Any = None, **other: Any
) -> AsyncGenerator[Any]:
    """A store, open for the length of a block. Tests look behind its interface, so its type is any."""
    more: dict[str, Any] = {}
    if tick is not None:
        more["tick"] = tick
    if failpoint is not None:
        more["failpoint"] = failpoint
    store = connect(settings(url, **other), clock=clock, **more)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def message(store: Engine, *, ours: bool = True, **other: Any) -> Message:
    """A complete message that this node owns, or nobody."""
    now = store.clock.now_ms()
    values: dict[str, Any] = {
        "source": Address(5, 0, "Shop"),
        "destination": Address(1, 1, "447700900001"),
        "body": b"Your parcel waits.",
        "id": store.next_id(),
        "account": 7,
        "ingress": '{"door":"smpp","role":"esme","name":"shop"}',
        "sender": "@Shop",
        "recipient": "+447700900001",
        "submitted_at": now,
        "expires_at": now + DAY_MS,
        "owner": store.epoch if ours else 0,
    }
    return Message(**{**values, **other})


def final(
    store: Engine, id: int, state: MessageState = MessageState.DELIVERED, at: int | None = None
) -> Event:
    """The event that ends a message."""
    return Event(id, store.clock.now_ms() if at is None else at, EventKind.FINAL, state, account=7, attempt=1)


async def put_all(store: Engine, *changes: dict[str, Any]) -> list[Answer]:
    """Put changes in one turn of the loop; their answers in the order in which the changes were put."""
    answers: dict[int, Answer] = {}
    told: list[int] = []
    over = asyncio.Event()

    def listener(index: int) -> Callable[[Answer], None]:
        def done(answer: Answer) -> None:
            assert index not in answers, "answered twice"
            answers[index] = answer
            told.append(index)
            if len(answers) == len(changes):
                over.set()

        return done

    for index, change in enumerate(changes):
        store.put(Change(done=listener(index), **change))
    await asyncio.wait_for(over.wait(), 60)
    assert told == sorted(told), "answered out of order"
    return [answers[index] for index in range(len(changes))]


async def eventually(condition: Callable[[], Awaitable[bool] | bool], seconds: float = 30.0) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + seconds
    while True:
        held = condition()
        if isinstance(held, Awaitable):
            held = await held
        if held:
            return
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


async def rows(store: Engine, table: Any, **where: object) -> list[dict[str, Any]]:
    """All rows of a table with these values."""
    from sqlalchemy import select

    found = await store.fetch(select(table).where(*(table.c[name] == value for name, value in where.items())))
    return [dict(row) for row in found]


async def epochs(store: Engine) -> dict[int, int]:
    """Owner of each queue row by id."""
    from restante.store.tables import queue

    return {row["id"]: row["owner"] for row in await rows(store, queue)}
