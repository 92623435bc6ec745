"""Binds of many accounts at once after a restart, each with a password that the process has not seen yet.

In charge of: how long it takes until all of them are bound, the CPU of it, and that 1000 re-binds of accounts already
seen take less than 10 s (behaviour.md 11). Each first bind costs one argon2id, in `[credentials.hashing] workers`
threads. Not in charge of: the same of one account (`tests/access/`).

    python bench/binds.py [--accounts 1000] [--workers 2]
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from figures import Figure, leave

from restante.simulator.link import Connection, Credentials, accept_everything

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

from running_center import RunningCenter, running_center  # pyright: ignore[reportMissingImports]

AT_ONCE = 200  #: binds that wait for their answer at the same time
AGAIN_S = 10.0  #: re-binds of a thousand accounts already seen (behaviour.md 11)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / 100


async def bind_all(center: RunningCenter, accounts: int) -> tuple[float, float]:
    """Bind them all; seconds, and CPU seconds of the center. All are unbound at the end."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Connection:
        async with room:
            return await Connection.connect(
                "127.0.0.1",
                center.smpp_port,
                Credentials(f"esme{number}", f"pw{number}"),
                on_message=accept_everything,
            )

    assert center.process is not None
    before, began = cpu_s(center.process.pid), time.perf_counter()
    bound = await asyncio.gather(*(one(number) for number in range(accounts)))
    took, used = time.perf_counter() - began, cpu_s(center.process.pid) - before
    await asyncio.gather(*(connection.unbind() for connection in bound))
    return took, used


def main() -> None:
    """Make a center with the accounts, start it anew, and bind twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    settings = {
        "smpp.max_connections": asked.accounts + 10,
        "smpp.max_connections_per_address": asked.accounts + 10,
        "http.operator_per_minute": 1_000_000,
        "credentials.hashing.workers": asked.workers,
    }
    with (
        tempfile.TemporaryDirectory(prefix="restante-bench-") as folder,
        running_center(Path(folder) / "center", settings) as center,
    ):
        for number in range(asked.accounts):
            center.add_account(f"esme{number}", f"pw{number}")
        assert center.stop() == 0
        center.start()
        print(f"{asked.accounts} accounts, {asked.workers} workers, {AT_ONCE} binds under way")
        print(f"{'':24} {'seconds':>8} {'CPU s':>8} {'CPU ms/bind':>12}")
        rows = {name: uvloop.run(bind_all(center, asked.accounts)) for name in ("never seen", "seen before")}
        for name, (took, used) in rows.items():
            print(f"{name:24} {took:8.1f} {used:8.1f} {used / asked.accounts * 1e3:12.2f}")
    again = rows["seen before"][0] * 1000 / asked.accounts
    leave(Figure("re-binds of 1000 accounts already seen", again, AGAIN_S, "s", at_most=True))


if __name__ == "__main__":
    main()
