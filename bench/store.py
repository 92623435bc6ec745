"""Durable accepts on SQLite and PostgreSQL against a raw append with fdatasync, in one run.

In charge of: throughput at the same batch size as a ratio, latency, and CPU of this process per message (the PostgreSQL
server's CPU is not in it). Not in charge of: protocol or delivery (`bench/center.py` and `restante bench`).

Every engine is driven alike: 2 B messages are under way, each answer puts the next, batches hold at most B. "raw"
writes the same rows, marshalled, to a file from a thread and calls fdatasync: what any store must at least do.
"life" is an accept and, after it, the ending with its event: two changes a message.
Rounds alternate between the engines, so that what else the machine does hits all; the median round counts.

    python bench/store.py [--rounds N] [--seconds S] [--batches 10,100,1000] [--engines raw,sqlite,postgresql]
"""

import argparse
import asyncio
import marshal
import os
import queue
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from figures import Figure, leave

from restante.message import Address, Event, EventKind, IdGenerator, Message, MessageState
from restante.store import migrate
from restante.store.connect import connect
from restante.store.plan import Planner
from restante.store.settings import StoreSettings
from restante.store.store import Answer, Change, Release
from restante.store.writer import Writer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

INGRESS = '{"door":"smpp","account":12,"role":"esme","name":"shop","peer":"127.0.0.1:40404","authenticated":"password"}'
BODY = b"A message of exactly one hundred octets is what the notes measured, so this one has one hundred too."
RECIPIENTS = 100_000
MUST = 0.4  #: of the raw append with the same batch (design.md, Targets)
MUST_BATCH = (
    1000  #: the target is about batches: one row after one fsync says more about the disk than about us
)


class Raw:
    """Rows appended to a file and synced, behind the same writer."""

    epoch = 1

    def __init__(self, folder: Path, batch: int) -> None:
        self._file = (folder / "raw").open("wb", buffering=0)
        self._planner = Planner(1 << 30)
        self._jobs: queue.SimpleQueue[list[Change] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._jobs.put, batch)
        self._ids = IdGenerator(1, 0, lambda: time.time_ns() // 1_000_000)
        self.put, self.next_id = self._writer.put, self._ids.next
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while (batch := self._jobs.get()) is not None:
            plan = self._planner.plan(batch)
            self._file.write(
                marshal.dumps((plan.messages, plan.bodies, plan.queue, plan.releases, plan.events))
            )
            os.fdatasync(self._file.fileno())
            self._loop.call_soon_threadsafe(self._writer.finished, batch, None, 0.0)

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._file.close()


@asynccontextmanager
async def engine(name: str, url: str, folder: Path, batch: int) -> AsyncGenerator[Any]:
    """An open store, or the raw file."""
    if name == "raw":
        store: Any = Raw(folder, batch)
    else:
        store = connect(StoreSettings(url=url, batch_changes=batch))
        await store.open()
    try:
        yield store
    finally:
        await store.close()


class Load:
    """Keeps a number of messages under way for some time."""

    def __init__(self, store: Any, life: bool) -> None:
        self._store, self._life = store, life
        self._now = time.time_ns() // 1_000_000
        self._made = 0
        self.waits: list[float] = []
        self.stop = False
        self.left = 0
        self.over = asyncio.Event()

    def message(self) -> Message:
        """As the intake makes them: many recipients, few senders."""
        self._made += 1
        number = f"4477009{self._made * 7919 % RECIPIENTS:05d}"
        return Message(
            source=Address(5, 0, "Shop"),
            destination=Address(1, 1, number),
            body=BODY,
            id=self._store.next_id(),
            account=12,
            ingress=INGRESS,
            sender="@Shop",
            recipient="+" + number,
            registered_delivery=1,
            submitted_at=self._now,
            expires_at=self._now + 86_400_000,
            owner=self._store.epoch,
        )

    def put(self) -> None:
        """One message, and the next when it is over."""
        message, began = self.message(), time.perf_counter()

        def accepted(answer: Answer) -> None:
            assert answer is Answer.STORED, answer
            self.waits.append(time.perf_counter() - began)
            if self._life:
                event = Event(
                    message.id, self._now, EventKind.FINAL, MessageState.DELIVERED, attempt=1, account=12
                )
                release = Release(message.id, self._store.epoch)
                self._store.put(Change(done=ended, release=release, events=(event,)))
            else:
                self._next()

        def ended(answer: Answer) -> None:
            assert answer is Answer.STORED, answer
            self._next()

        self._store.put(Change(accepted, (message,)))

    def _next(self) -> None:
        if self.stop:
            self.left -= 1
            if not self.left:
                self.over.set()
        else:
            self.put()

    async def run(self, under_way: int, seconds: float) -> tuple[float, float]:
        """Messages per second and CPU microseconds per message."""
        self.left = under_way
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(under_way):
            self.put()
        await asyncio.sleep(seconds)
        self.stop = True
        await self.over.wait()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        return len(self.waits) / took, cpu / len(self.waits) * 1e6


Figures = dict[str, list[float]]


async def measure(name: str, url: str, folder: Path, batch: int, seconds: float, life: bool) -> Figures:
    """One round of one engine."""
    async with engine(name, url, folder, batch) as store:
        await Load(store, life).run(2 * batch, seconds / 5)
        load = Load(store, life)
        rate, cpu = await load.run(2 * batch, seconds)
    waits = sorted(load.waits)
    return {
        "rate": [rate],
        "cpu": [cpu],
        "p50": [waits[len(waits) // 2] * 1000],
        "p99": [waits[len(waits) * 99 // 100] * 1000],
    }


def table(batch: int, life: bool, names: list[str], figures: dict[str, Figures]) -> None:
    """Print what one batch size gave."""
    raw = statistics.median(figures["raw"]["rate"]) if "raw" in figures else 0.0
    must = f"; must {MUST} of raw on SQLite" if batch >= MUST_BATCH and not life else ""
    print(f"\n{'life' if life else 'accept'}, batches of {batch}{must}")
    print(f"{'engine':12} {'msg/s':>9} {'of raw':>7} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>7}")
    for name in names:
        rate, p50, p99, cpu = (statistics.median(figures[name][key]) for key in ("rate", "p50", "p99", "cpu"))
        ratio = f"{rate / raw:7.2f}" if raw else "      -"
        print(f"{name:12} {rate:9,.0f} {ratio} {p50:8.2f} {p99:8.2f} {cpu:7.1f}")
        if must and raw and name != "raw":
            work = f"durable accept of append + fdatasync, {name}"
            leave(Figure(work, rate / raw, MUST, binding=name == "sqlite"))


@asynccontextmanager
async def databases(names: list[str]) -> AsyncGenerator[Callable[[str, Path], str]]:
    """Where each engine finds an empty database; a PostgreSQL server of our own if none is given."""
    own: Any = None
    if "postgresql" in names:
        import postgres_plugin  # type: ignore[import-not-found]  # it stands with the tests

        os.environ.setdefault(postgres_plugin.RUN_PID, str(os.getpid()))
        os.environ.setdefault(
            postgres_plugin.RUN_FOLDER, tempfile.mkdtemp(prefix="restante-bench-", dir="/tmp")
        )
        own = await asyncio.to_thread(postgres_plugin.OwnServer)

    def url(name: str, folder: Path) -> str:
        if name == "sqlite":
            made = f"sqlite:///{folder}/bench.sqlite"
        elif name == "postgresql":
            made = own.create_database()
        else:
            return ""
        migrate.upgrade(made)
        return made

    try:
        yield url
    finally:
        if own is not None:
            await asyncio.to_thread(own.remove)


async def main(arguments: argparse.Namespace) -> None:
    """Every batch size, every engine, every round."""
    names: list[str] = arguments.engines.split(",")
    async with databases(names) as url:
        for life in (False, True):
            for batch in map(int, arguments.batches.split(",")):
                figures: dict[str, Figures] = {name: {} for name in names}
                for _round in range(arguments.rounds):
                    for name in names:
                        folder = Path(tempfile.mkdtemp(prefix="restante-bench-", dir=arguments.folder))
                        try:
                            address = await asyncio.to_thread(url, name, folder)
                            found = await measure(name, address, folder, batch, arguments.seconds, life)
                        finally:
                            shutil.rmtree(folder)
                        for key, values in found.items():
                            figures[name].setdefault(key, []).extend(values)
                table(batch, life, names, figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--batches", default="10,100,1000")
    parser.add_argument("--engines", default="raw,sqlite,postgresql")
    parser.add_argument(
        "--folder", default=None, help="where the files are written; it should be a real disk"
    )
    uvloop.run(main(parser.parse_args()))
