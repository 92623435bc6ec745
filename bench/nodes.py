"""CPU of a message with one, two and four nodes on one PostgreSQL: what does it cost to be several?

In charge of: starting that many real `restante serve` processes on one durable database, giving each of them the same
load (so that twice as many nodes have twice as much to do), and printing the CPU of all nodes together per message, as
a ratio to that of one node. Not in charge of: speed of one center (`bench/center.py`). The PostgreSQL server's CPU is
printed beside it; the client's is not counted.

here        the recipient is bound at every node: who takes a message hands it over
elsewhere   each recipient is bound at one node, and its messages come in at another: every message and every receipt is
            handed from node to node

A message is a full cycle: submit_sm, deliver_sm, its response, and a delivery receipt back, durable throughout. All of
it shares the machine's processors, and whoever has to wait for one does more with fewer commits: compare ratios only.
"Idle" is what a node uses with nothing to do, in thousandths of one processor.

    python bench/nodes.py [--count N] [--nodes 1,2,4] [--binds N] [--window N] [--rounds R]
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import uvloop
from figures import Figure, leave

from restante.cli.bench import Figures, Load, drive
from restante.simulator.link import Answer, Connection, Credentials
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

from node_cluster import cluster
from postgres_plugin import RUN_FOLDER, RUN_PID, OwnServer
from running_center import RunningCenter

TEXT = b"A message of exactly one hundred octets is what the notes measured, so this one has one hundred too."
MOST = 8  #: nodes
IDLE_S = 3.0
LIMIT = 1.1  #: CPU of a message with the most nodes, of that with one (docs/performance.md)
PLACES = ("here", "elsewhere")


def cpu_s(pids: list[int]) -> float:
    """CPU of every thread of some processes, in seconds."""
    total = 0.0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += int(task.read_text().split()[0]) / 1e9
    return total


def family(pid: int) -> list[int]:
    """A process and its children: a PostgreSQL server."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def pids_of(nodes: list[RunningCenter]) -> list[int]:
    """The processes of nodes."""
    return [node.process.pid for node in nodes if node.process is not None]


def submit(place: str, number: int, nodes: int) -> pdu.SubmitSm:
    """What a node is given."""
    recipient = b"12345" if place == "here" else b"7000%d" % ((number + 1) % nodes)
    return pdu.SubmitSm(
        source_addr_ton=5, source_addr=b"Shop", dest_addr_npi=1, destination_addr=recipient, registered_delivery=1,
        short_message=TEXT,
    )  # fmt: skip


def take(message: pdu.DeliverSm, answer: Answer) -> None:
    """What a recipient does."""
    answer(CommandStatus.ESME_ROK, b"")


async def run(nodes: list[RunningCenter], place: str, count: int, binds: int, window: int) -> list[Figures]:
    """The same load at every node."""
    sinks = [
        await Connection.connect(
            "127.0.0.1", node.smpp_port, Credentials("sink" if place == "here" else f"sink{number}", "secret"),
            window=1000, on_message=take,
        )
        for number, node in enumerate(nodes)
    ]  # fmt: skip
    loads = [
        Load([submit(place, number, len(nodes))], count, window, 0.0, 120.0, 60.0)
        for number in range(len(nodes))
    ]
    figures = await asyncio.gather(
        *(
            drive("127.0.0.1", node.smpp_port, Credentials(f"load{number}", "secret"), binds, loads[number])
            for number, node in enumerate(nodes)
        )
    )
    for sink in sinks:
        await sink.unbind()
    for one in figures:
        assert one.accepted == one.receipts == count, one
    return list(figures)


def provision(first: RunningCenter) -> None:
    """Accounts of the loads and of the recipients."""
    first.add_account("sink", "secret", numbers=["12345"], window=1000, max_binds=MOST)
    for number in range(MOST):
        first.add_account(f"sink{number}", "secret", numbers=[f"7000{number}"], window=1000)
        first.add_account(f"load{number}", "secret", window=1000, max_binds=100)


def measure(
    asked: argparse.Namespace, folder: Path, server: OwnServer, number: int
) -> dict[str, list[float]]:
    """CPU per message of so many nodes: microseconds of the nodes and of the server, by place, of each round."""
    settings: dict[str, object] = {"store.dead_after_s": 120}  # four nodes on two cores are slow, not dead
    rows: dict[str, list[float]] = {}
    names = "abcdefgh"[:number]
    with cluster(folder / str(number), server.create_database(), names, settings) as nodes:
        provision(nodes[0])
        time.sleep(2)  # edits arrive, and what a start costs is over
        own, postmaster = pids_of(nodes), server.server.pid
        before = cpu_s(own)
        time.sleep(IDLE_S)
        rows["idle"] = [(cpu_s(own) - before) / IDLE_S / number * 1000]
        for turn in range(asked.rounds + 1):
            for place in PLACES:
                before, server_before = cpu_s(own), cpu_s(family(postmaster))
                began = time.perf_counter()
                uvloop.run(run(nodes, place, asked.count, asked.binds, asked.window))
                taken, done = time.perf_counter() - began, asked.count * number
                used, server_used = cpu_s(own) - before, cpu_s(family(postmaster)) - server_before
                if turn:  # the first one fills caches
                    rows.setdefault(place, []).append(used / done * 1e6)
                    rows.setdefault(f"{place} server", []).append(server_used / done * 1e6)
                    rows.setdefault(f"{place} rate", []).append(done / taken)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU of a message with one and with several nodes.")
    parser.add_argument("--count", type=int, default=3000, help="messages of each node and round")
    parser.add_argument("--nodes", default="1,2,4")
    parser.add_argument("--binds", type=int, default=2, help="of each node")
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restante-bench-")))
        os.environ[RUN_PID] = str(os.getpid())  # whose end also ends the server
        os.environ[RUN_FOLDER] = str(folder / "server")
        server = OwnServer()
        stack.callback(server.remove)
        numbers = [int(word) for word in asked.nodes.split(",")]
        rows = {number: measure(asked, folder, server, number) for number in numbers}
    print(
        f"{asked.binds} binds of window {asked.window} and {asked.count} messages a node and round, "
        f"median of {asked.rounds} rounds; CPU of all nodes together"
    )
    print(f"{'':<12} {'nodes':>5} {'us/msg':>8} {'ratio':>6} {'server us':>10} {'msg/s':>8} {'idle':>6}")
    for place in PLACES:
        for number in numbers:
            row = {name: statistics.median(values) for name, values in rows[number].items()}
            one = statistics.median(rows[numbers[0]][place])
            if number == max(numbers) > 1:
                leave(
                    Figure(f"a message with {number} nodes, {place}", row[place] / one, LIMIT, at_most=True)
                )
            print(
                f"{place:<12} {number:>5} {row[place]:>8.0f} {row[place] / one:>6.2f} "
                f"{row[f'{place} server']:>10.0f} {row[f'{place} rate']:>8.0f} {row['idle']:>6.1f}"
            )


if __name__ == "__main__":
    main()
