"""SIGKILL of a writing process, at named points and at random: what was acknowledged is there. Both databases.

In charge of the store alone; the whole center is killed in tests/crash/.

A child process accepts and finishes messages under load and prints what it was told is stored. It is killed, and the
parent opens the database and compares: every acknowledged message is stored with its text, every acknowledged ending is
one event and no queue row, and everything else is either still in the queue or has one ending.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from store_tools import opened, rows

from restante.store import tables
from restante.store.failpoints import VARIABLE

LOAD = """
import asyncio, os, sys
from restante.store.failpoints import from_environment
from restante.store.store import Answer, Change, Release
from store_tools import final, message, opened

async def run():
    async with opened(
        sys.argv[1], failpoint=from_environment(os.environ), heartbeat_s=0.05, durability="power-loss"
    ) as store:
        told = []
        store.after_commit(lambda: (os.write(1, "".join(told).encode()), told.clear()))

        def accept():
            one = message(store)

            def accepted(answer):
                told.append(f"A {one.id} {answer.value}\\n")
                change = Change(done=finished, release=Release(one.id, store.epoch), events=(final(store, one.id),))
                if one.id % 5:
                    store.put(change)
                accept()

            def finished(answer):
                told.append(f"F {one.id} {answer.value}\\n")

            store.put(Change(done=accepted, messages=(one,)))

        for _ in range(40):
            accept()
        await asyncio.Event().wait()

asyncio.run(run())
"""


def run_until_killed(url: str, lines: int, failpoint: str = "") -> tuple[set[int], set[int]]:
    """Let a child write until it kills itself, or until it printed some lines; what it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "plugins")}
    if failpoint:
        environment[VARIABLE] = failpoint
    child = subprocess.Popen(
        [sys.executable, "-c", LOAD, url], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stderr is not None
    accepted: set[int] = set()
    finished: set[int] = set()
    for read, line in enumerate(child.stdout, 1):
        if not line.endswith(b"\n"):
            break  # cut off by the kill
        kind, id, answer = line.split()
        assert answer == b"stored"
        (accepted if kind == b"A" else finished).add(int(id))
        if not failpoint and read == lines:
            child.send_signal(signal.SIGKILL)
    errors = child.stderr.read().decode()
    assert child.wait(60) == -signal.SIGKILL, errors
    return accepted, finished


async def check(url: str, accepted: set[int], finished: set[int]) -> Counter[str]:
    """Compare what was acknowledged with what is there."""
    async with opened(url, durability="power-loss") as store:
        stored = {row["id"] for row in await rows(store, tables.message)}
        texts = {row["message"] for row in await rows(store, tables.body)}
        queued = {row["id"] for row in await rows(store, tables.queue)}
        endings = Counter(row["message"] for row in await rows(store, tables.event, kind="final"))
        assert accepted <= stored
        assert texts == stored
        assert finished <= set(endings)
        assert set(endings.values()) <= {1}
        assert not queued & set(endings)
        assert queued | set(endings) == stored
        works = await store.claim(due_before=1 << 60, limit=100_000)
        assert {work.message.id for work in works} == queued
        return Counter(
            accepted=len(accepted),
            finished=len(finished),
            unacknowledged=len(stored - accepted),
            queued=len(queued),
        )


def address(request: pytest.FixtureRequest, database: str) -> str:
    """A database on a server that syncs."""
    name = "sqlite_url" if database == "sqlite" else "durable_postgresql_url"
    return str(request.getfixturevalue(name))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("failpoint", ["before-commit:7", "after-commit:7"])
def test_killed_at_a_named_point(request: pytest.FixtureRequest, database: str, failpoint: str) -> None:
    url = address(request, database)
    accepted, finished = run_until_killed(url, 0, failpoint)
    counts = asyncio.run(check(url, accepted, finished))
    assert counts["accepted"] > 0
    if failpoint.startswith("after-commit"):
        assert counts["unacknowledged"] > 0, "the last batch was stored and nobody was told"


def rounds() -> int:
    return 30 if os.environ.get("RESTANTE_LONG") else 3


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_killed_at_random_again_and_again(request: pytest.FixtureRequest, database: str) -> None:
    """The same database is written by one child after the other, so recovery is killed into as well."""
    url = address(request, database)
    accepted: set[int] = set()
    finished: set[int] = set()
    for _ in range(rounds()):
        more = run_until_killed(url, random.randrange(1, 6000))
        assert not accepted & more[0], "an id was made twice"
        accepted |= more[0]
        finished |= more[1]
    counts = asyncio.run(check(url, accepted, finished))
    assert counts["accepted"] > 100
