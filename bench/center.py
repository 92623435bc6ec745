"""The whole center over TCP: durable accepts and full cycles, on SQLite and PostgreSQL, in one run.

In charge of: starting a real `restante serve` on each database, driving it with the client side of `restante bench`,
and printing messages per second, CPU of the serving process per message (all its threads, not the PostgreSQL server's)
and response times, with the raw append + fdatasync of the same disk beside them. Not in charge of: the store alone
(`bench/store.py`) or the codec alone (`bench/codec.py`).

accept   submit_sm with every field, all checks on, stored and answered; scheduled for tomorrow, so nothing is delivered
cycle    submit_sm, deliver_sm to another account, its response, and a delivery receipt back, durable throughout

Lists of binds and windows make a matrix, one table a cell. "of must" is messages per second of one core against the
targets of design.md (20 000 accepts, 8 000 cycles); they bind SQLite, and windows large enough for batches: with one
message under way there is one fsync a message. "of raw" is messages per second against one fdatasync per batch of
`window` x `binds` messages of the same size. The client shares the cores with the server: CPU per message is the figure
to compare.

    python bench/center.py [--count N] [--binds 1,10,100] [--windows 1,10,100] [--rounds R]
        [--databases sqlite,postgresql]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop
from figures import Figure, leave

from restante.cli.bench import Figures, Load, drive
from restante.simulator.link import Answer, Connection, Credentials
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus
from restante.smsc.smpp.times import format_absolute
from restante.smsc.smpp.tlv import Tag

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))

from postgres_plugin import RUN_FOLDER, RUN_PID, OwnServer
from running_center import RunningCenter, running_center

TEXT = b"A message of exactly one hundred octets is what the notes measured, so this one has one hundred too."
SINK = "12345"
MUST = {"accept": 20_000, "cycle": 8_000}  #: messages a second of one core (design.md, Targets)
TARGET_PLACES = (
    400  #: messages under way from which on the targets are meant: smaller windows pay for each fsync
)
LEAST = 500  #: messages of a cell
OF_EACH_PLACE = 50  #: messages of a cell for each place in a window, up to --count: slow cells need no more


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    figures: Figures
    cpu_us: float  #: CPU of the serving process per message

    @property
    def rate(self) -> float:
        """Messages per second, with their receipts where they were asked for."""
        return self.figures.receipt_rate if self.figures.receipts else self.figures.rate


def submits(cycle: bool) -> list[pdu.SubmitSm]:
    """What is sent."""
    tomorrow = b"" if cycle else format_absolute(int(time.time() * 1000) + 86_400_000)
    made = pdu.SubmitSm(
        service_type=b"",
        source_addr_ton=5,
        source_addr=b"Shop",
        dest_addr_ton=0,
        dest_addr_npi=1,
        destination_addr=SINK.encode(),
        protocol_id=0,
        priority_flag=1,
        schedule_delivery_time=tomorrow,
        validity_period=b"000003000000000R",
        registered_delivery=1 if cycle else 0,
        data_coding=0,
        short_message=TEXT,
    ).add_tlv(Tag.user_message_reference, 7)
    return [made]


def cpu_s(pid: int) -> float:
    """CPU of every thread of a process, in seconds."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


async def measure(center: RunningCenter, load: Load, binds: int, cycle: bool) -> Row:
    """One run against a center."""
    sink: Connection | None = None
    if cycle:

        def take(message: pdu.DeliverSm, answer: Answer) -> None:
            answer(CommandStatus.ESME_ROK, b"")

        credentials = Credentials("sink", "secret2")
        sink = await Connection.connect(
            "127.0.0.1", center.smpp_port, credentials, window=1000, on_message=take
        )
    assert center.process is not None
    before = cpu_s(center.process.pid)
    figures = await drive("127.0.0.1", center.smpp_port, Credentials("load", "secret1"), binds, load)
    used = cpu_s(center.process.pid) - before
    if sink is not None:
        await sink.unbind()
    assert figures.accepted == load.count, figures
    assert not cycle or figures.receipts == load.count, figures
    return Row(figures, used / load.count * 1e6)


def raw_rate(folder: Path, batch: int, seconds: float = 1.5) -> float:
    """Messages per second when each batch of them is appended to a file and synced."""
    octets = (TEXT + bytes(200)) * batch
    file = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        os.write(file, octets)
        os.fdatasync(file)
        done += batch
    os.close(file)
    return done / (time.perf_counter() - began)


def provision(center: RunningCenter) -> None:
    """Accounts of the load and of the recipient."""
    center.add_account("load", "secret1", window=1000, max_binds=1000)
    center.add_account("sink", "secret2", window=1000, numbers=[SINK])


def show(name: str, rows: list[Row], raw: float, binds: int, window: int) -> None:
    """The median round."""
    must = MUST[name.split()[1]]
    rate = statistics.median(row.rate for row in rows)
    cpu = statistics.median(row.cpu_us for row in rows)
    p50 = statistics.median(row.figures.p50_ms for row in rows)
    p99 = statistics.median(row.figures.p99_ms for row in rows)
    print(
        f"{name:<20} {rate:>9,.0f} {rate / raw:>8.3f} {cpu:>10.1f} {1e6 / cpu:>10,.0f} {1e6 / cpu / must:>8.2f}"
        f" {p50:>8.1f} {p99:>8.1f}",
        flush=True,
    )
    if binds * window >= TARGET_PLACES:
        work = f"{name}, {binds} binds of {window}, one core"
        leave(Figure(work, 1e6 / cpu, must, "/s", binding=name.startswith("sqlite")))


def cell(
    centers: dict[str, RunningCenter], folder: Path, binds: int, window: int, most: int, rounds: int
) -> None:
    """Measure both kinds of work on every center with so many binds and so large windows, and print the table."""
    count = max(LEAST, min(most, OF_EACH_PLACE * binds * window))
    rows: dict[str, list[Row]] = {}
    raws: list[float] = []
    for _ in range(rounds):
        raws.append(raw_rate(folder, binds * window, 0.5))
        for name, center in centers.items():
            for kind in MUST:
                wait = 120.0 if kind == "cycle" else 0.0
                load = Load(submits(kind == "cycle"), count, window, 0.0, 120.0, wait)
                row = uvloop.run(measure(center, load, binds, kind == "cycle"))
                rows.setdefault(f"{name} {kind}", []).append(row)
    raw = statistics.median(raws)
    print(f"\n{binds} binds, window {window}, {count} messages, median of {rounds} rounds;", end=" ")
    print(f"raw append + fdatasync, batches of {binds * window}: {raw:,.0f} messages/s")
    print(
        f"{'':<20} {'msg/s':>9} {'of raw':>8} {'CPU us/msg':>10} {'per core/s':>10} {'of must':>8}"
        f" {'p50 ms':>8} {'p99 ms':>8}"
    )
    for name, measured in sorted(rows.items()):
        show(name, measured, raw, binds, window)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The whole center over TCP, durable, on both databases.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--binds", default="4")
    parser.add_argument("--windows", default="100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--databases", default="sqlite,postgresql")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restante-bench-")))
        centers: dict[str, RunningCenter] = {}
        for name in asked.databases.split(","):
            settings: dict[str, object] = {}
            if name == "postgresql":
                os.environ[RUN_PID] = str(os.getpid())  # whose end also ends the server
                os.environ[RUN_FOLDER] = str(folder / "server")
                server = OwnServer()
                stack.callback(server.remove)
                settings["store.url"] = server.create_database()
            centers[name] = stack.enter_context(running_center(folder / name, settings))
            provision(centers[name])
        for binds in map(int, asked.binds.split(",")):
            for window in map(int, asked.windows.split(",")):
                cell(centers, folder, binds, window, asked.count, asked.rounds)


if __name__ == "__main__":
    main()
