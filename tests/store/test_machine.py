"""Random operations against a model: both databases say what the model says, also after they were closed and opened.

In charge of sequences nobody thought of; single promises stand in the other files.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_plugin import StepClock
from store_tools import final, message, opened, put_all, rows

from restante.store import tables
from restante.store.sqlite_file import database_path
from restante.store.store import Answer, QueueReason, Release, Requeue

SLOTS = 6

slot = st.integers(0, SLOTS - 1)
operation = st.one_of(
    st.tuples(st.just("accept"), st.booleans(), st.integers(0, 50)),
    st.tuples(st.just("release"), slot, st.booleans()),
    st.tuples(st.just("requeue"), slot, st.booleans(), st.integers(0, 50), st.booleans()),
    st.tuples(st.just("again"), slot),
)
step = st.one_of(
    st.lists(operation, min_size=1, max_size=12),
    st.tuples(st.just("claim"), st.integers(0, 60), st.integers(1, 5)),
    st.just("reopen"),
)


class Model:
    """What the store should hold: queue rows by id, endings, messages."""

    def __init__(self) -> None:
        self.queue: dict[int, list[Any]] = {}  # id -> [due, owner, attempts, reason]
        self.endings: list[int] = []
        self.messages: list[int] = []

    def at(self, slot: int) -> int:
        """One of the messages, or one that never was."""
        return self.messages[-1 - slot] if slot < len(self.messages) else 1


async def change(store: Any, model: Model, base: int, op: tuple[Any, ...]) -> tuple[dict[str, Any], Answer]:
    """The change for one operation, and what the model says must come of it; the model moves on."""
    if op[0] == "accept":
        one = message(store, ours=op[1])
        model.messages.append(one.id)
        model.queue[one.id] = [base + op[2], one.owner, 0, "retry"]
        return {
            "messages": (one,),
            "reasons": (QueueReason.RETRY,),
            "due_at": (base + op[2],),
        }, Answer.STORED
    id = model.at(op[1])
    row = model.queue.get(id)
    if op[0] == "again":
        known = id in model.messages
        if not known:
            return {"events": ()}, Answer.STORED
        return {"messages": (message(store, id=id, body=b"other"),)}, Answer.CONFLICT
    owner = store.epoch if op[2] else store.epoch + 7
    holds = row is not None and row[1] == owner
    answer = Answer.STORED if holds else Answer.FENCED
    if op[0] == "release":
        if holds:
            del model.queue[id]
            model.endings.append(id)
        return {"release": Release(id, owner), "events": (final(store, id),)}, answer
    if holds:
        assert row is not None
        model.queue[id] = [base + op[3], owner if op[4] else 0, row[2] + 1, "retry"]
        attempts = row[2] + 1
    else:
        attempts = 1
    requeue = Requeue(id, owner, base + op[3], attempts, QueueReason.RETRY, keep=op[4])
    return {"requeue": requeue}, answer


async def claim(store: Any, model: Model, due: int, limit: int) -> None:
    store._floor_until = 0.0  # the floor puts rows off for a minute, which has passed here
    works = await store.claim(due_before=due, limit=limit)
    free = sorted((row[0], id) for id, row in model.queue.items() if row[1] == 0 and row[0] <= due)
    assert [(work.due_at, work.message.id) for work in works] == free[:limit]
    for work in works:
        assert work.attempts == model.queue[work.message.id][2]
        model.queue[work.message.id][1] = store.epoch


async def compare(store: Any, model: Model) -> None:
    found = {
        row["id"]: [row["due_at"], row["owner"], row["attempts"], row["reason"]]
        for row in await rows(store, tables.queue)
    }
    assert found == model.queue
    assert sorted(row["message"] for row in await rows(store, tables.event)) == sorted(model.endings)
    assert {row["id"] for row in await rows(store, tables.message)} == set(model.messages)
    assert {row["payload"] for row in await rows(store, tables.body)} <= {b"Your parcel waits."}


async def play(url: str, steps: list[Any]) -> None:
    model, clock = Model(), StepClock()
    base = clock.now_ms()
    pending = list(steps)
    while True:
        async with opened(url, clock, heartbeat_s=60) as store:
            for row in model.queue.values():
                if row[1]:  # every earlier life is over; what it owned it was about to try
                    row[0], row[1] = min(row[0], base), 0
            store._orphans_at = 0.0
            await store.claim(due_before=0, limit=1)  # gives back what earlier lives owned
            while pending:
                step = pending.pop(0)
                if step == "reopen":
                    break
                if isinstance(step, tuple):
                    await claim(store, model, base + step[1], step[2])
                    continue
                planned = [await change(store, model, base, op) for op in step]
                answers = await put_all(store, *(one for one, _ in planned))
                assert answers == [expected for _, expected in planned]
                await compare(store, model)
            else:
                await compare(store, model)
                return


relaxed: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@settings(max_examples=60, **relaxed)
@given(st.lists(step, max_size=12))
def test_sqlite_does_what_the_model_does(sqlite_url: str, steps: list[Any]) -> None:
    empty = database_path(sqlite_url)
    used = Path(f"{empty}.used")
    for rest in ("", "-wal", "-shm"):
        Path(f"{used}{rest}").unlink(missing_ok=True)
    shutil.copyfile(empty, used)
    asyncio.run(play(f"sqlite:///{used}", steps))


@settings(max_examples=25, **relaxed)
@given(st.lists(step, max_size=12))
def test_postgresql_does_what_the_model_does(postgresql_url: str, steps: list[Any]) -> None:
    async def run() -> None:
        import asyncpg

        connection = await asyncpg.connect(postgresql_url)
        await connection.execute("TRUNCATE message, body, queue, event, node")
        await connection.close()
        await play(postgresql_url, steps)

    asyncio.run(run())
