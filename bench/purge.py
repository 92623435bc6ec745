"""Accepts beside a purge: what retention costs those who send meanwhile.

In charge of: the latency of durable accepts on SQLite while a million old messages are deleted, against the same load
without a purge, in one run; and how fast the purge is. Not in charge of: what is deleted (`store/sweep.py`).

The purge is the center's own: chunks of at most 20 ms behind the accepts that wait (behaviour.md 10). So an accept may
find one chunk before it and no more: the limit is the quiet time plus two chunks at the 99th percentile.

    python bench/purge.py [--stored 1000000] [--under-way 200] [--folder DIR]
"""

import argparse
import asyncio
import importlib.util
import shutil
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import uvloop
from figures import Figure, leave

from restante.store.engine import CHUNK_SECONDS
from restante.store.settings import RetentionSettings
from restante.store.sweep import Sweep

QUIET_SECONDS = 4.0
LIMIT_MS = 2 * CHUNK_SECONDS * 1000  #: over the quiet 99th percentile


def sibling(name: str) -> ModuleType:
    """Another benchmark, for what it measures with."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(name: str, waits: list[float], seconds: float, quiet_p99: float | None = None) -> float:
    """Print one row; the 99th percentile in ms."""
    waits = sorted(waits)
    p50, p99, worst = (waits[int((len(waits) - 1) * part)] * 1000 for part in (0.5, 0.99, 1))
    more = "" if quiet_p99 is None else f" {p99 - quiet_p99:9.1f} {LIMIT_MS:9.1f}"
    print(f"{name:16} {len(waits) / seconds:9,.0f} {p50:8.2f} {p99:8.2f} {worst:8.1f}{more}", flush=True)
    return p99


async def main(arguments: argparse.Namespace) -> None:
    """Fill, measure without the purge, then with it until everything old is gone."""
    bench: Any = sibling("store")
    growth: Any = sibling("growth")
    folder = Path(tempfile.mkdtemp(prefix="restante-purge-", dir=arguments.folder))
    try:
        await asyncio.to_thread(growth.fill, folder / "old.sqlite", arguments.stored, bench)
        async with bench.engine("sqlite", f"sqlite:///{folder}/old.sqlite", folder, 1000) as store:
            # Everything is between 0 and 30 days old: a history of one day leaves a thirtieth.
            sweep = Sweep(store, RetentionSettings(text_days=1, history_days=1))
            print(f"{arguments.under_way} accepts under way, {arguments.stored:,} messages stored")
            print(
                f"{'':16} {'msg/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'most':>8} {'p99 more':>9} {'limit':>9}"
            )
            await bench.Load(store, life=False).run(arguments.under_way, 0.5)
            quiet = bench.Load(store, life=False)
            await quiet.run(arguments.under_way, QUIET_SECONDS)
            quiet_p99 = line("without a purge", quiet.waits, QUIET_SECONDS)
            load, began = bench.Load(store, life=False), time.perf_counter()
            purge = asyncio.create_task(sweep.once())
            while not purge.done():
                await load.run(arguments.under_way, min(1.0, QUIET_SECONDS))
                load.stop = False
                load.over.clear()
            await purge
            took = time.perf_counter() - began
            p99 = line("beside a purge", load.waits, took, quiet_p99)
            leave(
                Figure("p99 of accepts beside a purge, more", p99 - quiet_p99, LIMIT_MS, "ms", at_most=True)
            )
            print(f"the purge took {took:.1f} s: {arguments.stored * 29 / 30 / took:,.0f} messages/s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--under-way", type=int, default=200)
    parser.add_argument("--folder", default=None, help="where the database is made; it should be a real disk")
    uvloop.run(main(parser.parse_args()))
