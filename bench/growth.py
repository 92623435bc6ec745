"""Durable accepts on SQLite with few and with many messages stored, in one run.

In charge of the ratio ("must": 0.85 of the first): what an accept costs when history is long against what it costs when
it is short. The stored messages are spread over the last thirty days and two million recipients. Not in charge of
comparing engines (`bench/store.py`).

Both databases are measured in turn, round after round; the median round counts. Ten million messages take 6 GB of
disk and some minutes to make.

    python bench/growth.py [--stored 100000,1000000] [--rounds N] [--folder DIR]
    python bench/growth.py --stored 100000,10000000
"""

import argparse
import asyncio
import importlib.util
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import uvloop
from figures import Figure, leave

from restante.message import Event, EventKind, MessageState, id_at
from restante.store import migrate, plan
from restante.store.plan import Planner
from restante.store.statement import SQLITE
from restante.store.store import Change, QueueReason

DAYS = 30
RECIPIENTS = 2_000_000
CHUNK = 20_000
BATCH = 1000
MUST = 0.85  #: of the rate with the fewest stored (design.md, Targets)


def sibling(name: str) -> ModuleType:
    """Another benchmark, for what it measures with."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Past:
    """Stands for a store while old messages are made: ids over the days that are over."""

    epoch = 0

    def __init__(self, number: int) -> None:
        now = time.time_ns() // 1_000_000
        self._step = max(id_at(DAYS * 86_400_000) // number, 1)
        self._id = id_at(now - DAYS * 86_400_000)

    def next_id(self) -> int:
        self._id += self._step
        return self._id


def fill(path: Path, number: int, bench: Any) -> None:
    """Make a database with so many delivered messages."""
    migrate.upgrade(f"sqlite:///{path}")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -262144")
    past, planner = Past(number), Planner(1 << 40)
    planner.begin(1)
    load = bench.Load(past, life=False)
    texts = [sql.compiled(SQLITE).text for sql in (plan.INSERT_MESSAGE, plan.INSERT_BODY, plan.INSERT_EVENT)]
    for start in range(0, number, CHUNK):
        some = [load.message() for _ in range(min(CHUNK, number - start))]
        changes = [
            Change(
                done=print,
                messages=(one,),
                reasons=(QueueReason.NONE,),
                events=(Event(one.id, one.submitted_at, EventKind.FINAL, MessageState.DELIVERED),),
            )
            for one in some
        ]
        made = planner.plan(changes)
        connection.execute("BEGIN")
        for text, rows in zip(texts, (made.messages, made.bodies, made.events), strict=True):
            connection.executemany(text, rows)
        connection.execute("COMMIT")
    connection.close()


async def main(arguments: argparse.Namespace) -> None:
    """Fill each database, then measure them in turn."""
    bench: Any = sibling("store")
    bench.RECIPIENTS = RECIPIENTS
    sizes = [int(text) for text in arguments.stored.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="restante-growth-", dir=arguments.folder))
    found: dict[int, list[dict[str, list[float]]]] = {size: [] for size in sizes}
    try:
        for size in sizes:
            await asyncio.to_thread(fill, folder / f"{size}.sqlite", size, bench)
        for _round in range(arguments.rounds):
            for size in sizes:
                url = f"sqlite:///{folder}/{size}.sqlite"
                found[size].append(
                    await bench.measure("sqlite", url, folder, BATCH, arguments.seconds, life=False)
                )
    finally:
        shutil.rmtree(folder)
    rates = {size: statistics.median(one["rate"][0] for one in found[size]) for size in sizes}
    costs = {size: statistics.median(one["cpu"][0] for one in found[size]) for size in sizes}
    print(f"{'stored':>12} {'msg/s':>9} {'of first':>9} {'CPU us':>7} {'of first':>9} {'must':>6}")
    for size in sizes:
        rate, cost = rates[size] / rates[sizes[0]], costs[sizes[0]] / costs[size]
        if size != sizes[0]:
            work = f"accept with {size:,} stored of that with {sizes[0]:,}, per CPU"
            leave(Figure(work, cost, MUST))
        print(f"{size:12,} {rates[size]:9,.0f} {rate:9.2f} {costs[size]:7.1f} {cost:9.2f} {MUST:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stored", default="100000,1000000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument(
        "--folder", default=None, help="where the databases are made; it should be a real disk"
    )
    uvloop.run(main(parser.parse_args()))
