"""All benchmarks one after the other, and at the end one table: what was found, what it must be, met or not.

In charge of: which benchmarks make a set, with which arguments; how long each took; the table. Not in charge of:
measuring. A benchmark that fails does not keep the others from running; then the exit code is 1. A limit that is not
met is a line of the table and no failure: figures are this machine's, at this hour.

    python bench/run.py quick                   what `make bench` runs: three minutes on a quiet machine
    python bench/run.py full [--grown N]        what `make bench-full` runs
    python bench/run.py full --only rest,store  some of them
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import FILE, Figure, collected

HERE = Path(__file__).parent

QUICK = {
    "codec": "--rounds 5",
    "zones": "",
    "store": "--rounds 1 --seconds 1 --batches 1000",
    "center": "--rounds 2 --count 5000",
    "rest": "2",
    "growth": "--stored 20000,200000 --rounds 3 --seconds 1",
    "purge": "--stored 100000",
}

FULL = {
    "codec": "",
    "zones": "",
    "imports": "",
    "store": "",
    "center": "--binds 1,10,100 --windows 1,10,100",
    "rest": "",
    "growth": "--stored 100000,{grown}",
    "purge": "",
    "memory": "--queued 1000000",
    "binds": "",
    "nodes": "",
}


def run(name: str, arguments: str) -> tuple[bool, float]:
    """Run one; whether it went through, and its seconds."""
    print(f"\n=== bench/{name}.py {arguments}", flush=True)
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, HERE / f"{name}.py", *arguments.split()], check=False)
    return ended.returncode == 0, time.perf_counter() - began


def table(found: list[Figure]) -> None:
    """What was found and what it must be."""
    width = max((len(one.work) for one in found), default=0)
    print(f"\n{'work':{width}} {'found':>10} {'must':>12} {'of must':>8}")
    for one in found:
        must = f"{'<=' if one.at_most else '>='} {one.must:,.4g} {one.unit}"
        verdict = ("met" if one.met else "NOT MET") if one.binding else "beside it"
        print(f"{one.work:{width}} {one.found:10,.4g} {must:>12} {one.reached:8.2f}  {verdict}")


def main() -> int:
    """Run a set and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("set", choices=("quick", "full"))
    parser.add_argument("--grown", type=int, default=1_000_000, help="messages stored in the larger database")
    parser.add_argument("--only", default="", help="names, with commas between them")
    asked = parser.parse_args()
    chosen = QUICK if asked.set == "quick" else FULL
    names = [name for name in chosen if not asked.only or name in asked.only.split(",")]
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as folder:
        lines = Path(folder) / "figures"
        lines.touch()
        os.environ[FILE] = str(lines)
        load = os.getloadavg()[0]
        ended = {name: run(name, chosen[name].format(grown=asked.grown)) for name in names}
        table(list(collected(lines)))
    took = ", ".join(f"{name} {seconds:.0f}" for name, (_, seconds) in ended.items())
    print(f"\n{sum(seconds for _, seconds in ended.values()):.0f} s ({took}); load {load:.1f} at the start")
    failed = [name for name, (good, _) in ended.items() if not good]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
