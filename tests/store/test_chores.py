"""Chores come again whatever happened, until their room or the store closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from restante.metrics import REGISTRY
from restante.store.chores import Chores, every
from restante.store.store import StoreClosed

PATIENCE_S = 30


def failed(name: str) -> float:
    return REGISTRY.get_sample_value("restante_chores_failures_total", {"chore": name}) or 0.0


class Rounds:
    """A chore that goes as the test says."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.done = 0
        self.enough = asyncio.Event()

    async def work(self) -> None:
        self.done += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if not self.outcomes:
            self.enough.set()
        if outcome is not None:
            raise outcome


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    async def in_time() -> None:
        await asyncio.wait_for(test(), PATIENCE_S)

    asyncio.run(in_time())


@pytest.mark.parametrize("trouble", [OSError("away"), ValueError("a bug")])
def test_a_round_that_fails_is_counted_and_the_next_one_comes(trouble: Exception) -> None:
    async def test() -> None:
        before, rounds, chores = failed("tidy"), Rounds(trouble, None, trouble, None), Chores()
        chores.every(0, rounds.work, "tidy")
        await rounds.enough.wait()
        await chores.close()
        assert rounds.done >= 4
        assert failed("tidy") == before + 2

    run(test)


def test_a_store_that_is_closed_ends_a_chore() -> None:
    async def test() -> None:
        rounds = Rounds(None, StoreClosed())
        await every(0, rounds.work, "tidy")
        assert rounds.done == 2

    run(test)


def test_closing_ends_chores_in_their_rest_and_in_their_work() -> None:
    async def test() -> None:
        chores, begun, ended = Chores(), asyncio.Event(), asyncio.Event()

        async def for_ever() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        rests = Rounds(None)
        chores.every(3600, rests.work, "rests")
        chores.begin(for_ever(), "works")
        await rests.enough.wait()
        await begun.wait()
        await chores.close()
        assert ended.is_set()
        assert rests.done == 1
        assert {"rests", "works"}.isdisjoint(task.get_name() for task in asyncio.all_tasks())

    run(test)


def test_one_that_rests_first_does_nothing_at_once() -> None:
    async def test() -> None:
        rounds = Rounds(None)
        task = asyncio.create_task(every(3600, rounds.work, "later", at_once=False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rounds.done == 0

    run(test)
