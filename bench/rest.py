"""A mailbox list of 50 over REST with the database: requests a second of one core, and p50/p99.

In charge of: the figure of design.md ("mailbox list of 50 over REST with the database: 1 000 must, 2 500 aim"). The
server runs in a process of its own, on a real port and a real SQLite file; CPU is that process's alone, so that the
client beside it costs the server nothing. Run `python bench/rest.py [seconds]`; `--profile` prints where the time
goes.

How to read it: `req/s of one core` is 1 s of CPU divided by the CPU of one request. It is what one core would serve
if it did nothing else; the wall-clock rate is what this machine did, client included.
"""

from __future__ import annotations

import asyncio
import cProfile
import multiprocessing
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from figures import Figure, leave

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

MESSAGES = 200
CONNECTIONS = 8
MUST = 1000  #: lists of 50 a second of one core (design.md, Targets)
PATHS = {
    "GET /mailbox/messages?limit=50": "/mailbox/messages?limit=50",
    "GET …?folder=inbox&limit=50": "/mailbox/messages?folder=inbox&limit=50",
    "GET /mailbox": "/mailbox",
    "GET /nothing (framework only)": "/nothing",
}


def serve(channel: Connection, folder: str, profile: bool) -> None:
    """The server's process."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        profiler = cProfile.Profile() if profile else None
        runner.run(_serve(channel, folder, profiler))
        if profiler is not None:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


async def _serve(channel: Connection, folder: str, profiler: cProfile.Profile | None) -> None:
    from rest_center import rest_center  # pyright: ignore[reportMissingImports]  # beside the tests

    from restante.api.server import HttpServer
    from restante.api.settings import HttpSettings
    from restante.store import migrate
    from restante.store.clock import DatabaseClock

    url = f"sqlite:///{folder}/bench.sqlite"
    await asyncio.to_thread(migrate.upgrade, url)
    settings = HttpSettings(port=0, subscriber_per_minute=10**9, anonymous_per_minute=10**9)
    async with rest_center(url, settings=settings, clock=DatabaseClock()) as center:
        for n in range(MESSAGES):
            text = f"Message {n}: the train that you wait for leaves at ten past five from platform {n % 9}."
            await center.deposit(text, sender=f"+4477009{n % 17:05d}")
        token = await center.subscriber_token()
        server = HttpServer(center.app, settings)
        await server.start()
        channel.send((server.port, token))
        loop = asyncio.get_running_loop()
        while True:
            order = await loop.run_in_executor(None, channel.recv)
            if order == "stop":
                break
            if profiler is not None and order == "profile":
                profiler.enable()
            channel.send(time.process_time())
        if profiler is not None:
            profiler.disable()
        await server.stop()


class Client:
    """A keep-alive connection that asks the same again and again; it parses no more than it must."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self.times: list[float] = []
        self.octets = 0

    async def run(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while time.perf_counter() < until:
            begin = time.perf_counter()
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.octets = len(await reader.readexactly(length))
            self.times.append(time.perf_counter() - begin)
        writer.close()


async def measure(
    port: int, token: str, path: str, seconds: float, cpu: Callable[[], float]
) -> dict[str, Any]:
    """Ask one path for some seconds."""
    request = (
        f"GET /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    await asyncio.gather(*(Client(port, request).run(time.perf_counter() + 0.5) for _ in range(CONNECTIONS)))
    clients = [Client(port, request) for _ in range(CONNECTIONS)]
    before, begin = cpu(), time.perf_counter()
    await asyncio.gather(*(client.run(begin + seconds) for client in clients))
    spent, took = cpu() - before, time.perf_counter() - begin
    times = sorted(one for client in clients for one in client.times)
    return {
        "requests": len(times),
        "octets": clients[0].octets,
        "cpu_us": spent / len(times) * 1e6,
        "per_core": len(times) / spent,
        "wall": len(times) / took,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
    }


def main() -> None:
    """Measure and print."""
    arguments = [one for one in sys.argv[1:] if not one.startswith("-")]
    seconds = float(arguments[0]) if arguments else 4.0
    profile = "--profile" in sys.argv
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as folder:
        process = context.Process(target=serve, args=(there, folder, profile))
        process.start()
        port, token = here.recv()

        def cpu() -> float:
            here.send("profile" if profile else "cpu")
            return float(here.recv())

        print(
            f"mailbox of {MESSAGES} messages, SQLite, {CONNECTIONS} connections, load {os.getloadavg()[0]:.1f}"
        )
        print(
            f"{'request':34} {'octets':>7} {'CPU us':>7} {'req/s of 1 core':>15} {'of must':>8}"
            f" {'req/s':>7} {'p50':>8} {'p99':>8}"
        )
        for name, path in PATHS.items():
            found = asyncio.run(measure(port, token, path, seconds, cpu))
            must = f"{found['per_core'] / MUST:8.2f}" if "limit=50" in path else f"{'-':>8}"
            if name.startswith("GET /mailbox/messages"):
                leave(Figure("list of 50 over REST, one core", found["per_core"], MUST, "/s"))
            print(
                f"{name:34} {found['octets']:7} {found['cpu_us']:7.0f} {found['per_core']:15.0f} {must} "
                f"{found['wall']:7.0f} {found['p50_ms']:5.1f} ms {found['p99_ms']:5.1f} ms"
            )
        here.send("stop")
        process.join()


if __name__ == "__main__":
    main()
