"""SIGKILL at every named point and at random moments, under load, on both databases: nothing acknowledged is lost.

One test a database is a chain of lives: each one takes up what the one before left, works under load, and is killed.
After the last one nobody submits any more, the center drains, and wire and database are compared (`crash_book.py`).
That the comparison can fail is shown by a center that answers too early.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hasty_center
import pytest
from crash_book import Judgement, Page, judge, page, wait_drained, wait_until_left
from crash_load import Traffic, furnish, traffic
from running_center import RunningCenter
from waiting import eventually

#: Every step of a message's way; passed some times a second under load.
POINTS = (
    "before-commit", "after-commit", "before-response", "after-response", "before-send", "after-send",
    "before-finish", "after-finish",
)  # fmt: skip
#: Passed at the beginning of a life, if the one before left something.
TAKE_OVERS = ("before-take-over", "after-take-over", "after-claim")
Cap = Callable[[int, int], int]


@pytest.fixture(params=["sqlite", "postgresql"])
def center(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningCenter]:
    """A furnished center that keeps its promise on power loss, not started."""
    settings: dict[str, object] = {"store.heartbeat_s": 0.5}
    if request.param == "postgresql":
        settings["store.url"] = request.getfixturevalue("pg_durable_database")
    made = RunningCenter(tmp_path / "center", settings)
    made.start()
    furnish(made)
    made.stop()
    yield made
    if not made.process_ended():
        made.kill()


def url_of(center: RunningCenter) -> str:
    return center.site.config.store.url


def live_and_die(center: RunningCenter, load: Traffic, point: str, chance: random.Random) -> Page:
    """One life under load, ended at a named point or, without one, at a random moment; what it left."""
    passes = 1 if point in TAKE_OVERS else chance.randint(5, 40)
    environ = {"RESTANTE_FAILPOINT": f"{point}:{passes}"} if point else {}
    acked = len(load.acked)
    center.launch(**environ)
    load.go()
    if point:
        eventually(center.process_ended, f"death at {point}", seconds=150)
    else:
        target = acked + chance.randint(30, 150)
        eventually(lambda: len(load.acked) > target or center.process_ended(), "load", seconds=150)
        moment = time.monotonic() + chance.random() * 0.02  # anywhere in the life of a batch
        eventually(lambda: time.monotonic() >= moment, "the moment")
        center.kill()
    assert center.process is not None
    assert center.process.returncode == -9, (point, list(center.lines))
    load.wait_cut()
    wait_until_left(url_of(center))
    left = page(url_of(center))
    what = f"{point or 'any moment'}, pass {passes}" if point else "any moment"
    sys.stdout.write(f"{what}: {len(load.acked) - acked} acknowledged, {len(left.queue)} left in the queue\n")
    return left


def test_nothing_acknowledged_is_lost(center: RunningCenter, cap: Cap) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    deaths = [*POINTS, *([""] * cap(3, 30))]
    chance.shuffle(deaths)
    # Each behind a life under load, which leaves something.
    places = sorted(chance.sample(range(1, len(deaths) + 1), len(TAKE_OVERS)), reverse=True)
    for place, point in zip(places, TAKE_OVERS, strict=True):
        deaths.insert(place, point)
    url = url_of(center)
    with traffic(center.smpp_port, seed) as load:
        crashes = [live_and_die(center, load, point, chance) for point in deaths]
        load.rest()
        center.start()
        load.wait_bound()
        wait_drained(url, load, 150)
        assert center.stop() == 0, list(center.lines)
    said = judge(load, crashes, page(url))
    sys.stdout.write(f"{len(deaths)} deaths; {dict(said.counts)}; refused: {dict(load.refused)}\n")
    assert not said.faults, "\n".join(said.faults[:20])
    assert said.counts["lost"] == 0
    assert said.counts["acknowledged"] > 30 * len(POINTS)
    for kind in ("delivered", "mailbox", "queued", "expired", "receipts"):
        assert said.counts[kind], f"the load had nothing {kind}"


@pytest.mark.parametrize("center", ["sqlite"], indirect=True)
def test_a_center_that_answers_before_the_commit_is_caught(center: RunningCenter) -> None:
    center.under = hasty_center.COMMAND
    chance, lives, said = random.Random(1), list[Page](), Judgement()
    with traffic(center.smpp_port, 1) as load:
        while not said.counts["lost"] and len(lives) < 8:  # a death may find the last answers unwritten
            lives.append(live_and_die(center, load, "before-commit", chance))
            said = judge(load, lives, lives[-1])
    sys.stdout.write(f"{len(lives)} lives of a hasty center: {dict(said.counts)}\n")
    assert said.counts["lost"]
    assert any("LOST" in fault for fault in said.faults)
