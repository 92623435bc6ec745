"""How much memory a center takes with a long queue for absent recipients and many binds.

In charge of the figure that behaviour.md 10 asks for: the resident set after the start, with a thousand binds, after
accepts beside them, and when the switch comes back behind which everybody waits. Everything runs through a real
center's real doors; only the queue is written straight into its database, as an earlier life would have left it.
Not in charge of speed.

    python bench/memory.py [--queued 200000] [--binds 1000] [--accepts 20000]
"""

import argparse
import asyncio
import resource
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, leave

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

from running_center import RunningCenter, running_center  # pyright: ignore[reportMissingImports]

from restante.message import Address, Message, id_at
from restante.simulator.link import Answer, Connection, Credentials
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus
from restante.store import plan
from restante.store.plan import Planner
from restante.store.statement import SQLITE
from restante.store.store import Change, QueueReason

LIMIT_MB = 512  #: of the resident set, a million messages queued and a thousand binds (docs/performance.md)
CHUNK = 20_000
BODY = b"Your parcel is at the door; the code for the box is 4711."


def queue_up(path: Path, number: int, account: int) -> None:
    """So many messages that were tried once, each for a recipient of its own who was absent."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    now = time.time_ns() // 1_000_000
    first, planner = id_at(now - 3_600_000), Planner(1 << 40)
    planner.begin(1)
    texts = [sql.compiled(SQLITE).text for sql in (plan.INSERT_MESSAGE, plan.INSERT_BODY, plan.INSERT_QUEUE)]
    for start in range(0, number, CHUNK):
        changes: list[Change] = []
        silent: list[tuple[str, int, int]] = []
        for n in range(start, min(start + CHUNK, number)):
            due = now + 600_000 + n * 7919 % 10_800_000
            digits = f"4477{n:08d}"
            one = Message(
                source=Address(5, 0, "Shop"),
                destination=Address(1, 1, digits),
                body=BODY,
                id=first + n,
                account=account,
                sender="@Shop",
                recipient=f"+{digits}",
                registered_delivery=1,
                submitted_at=now - 3_600_000,
                expires_at=now + 86_400_000,
            )
            changes.append(Change(print, (one,), reasons=(QueueReason.RETRY,), due_at=(due,)))
            silent.append((one.recipient, now - 3_600_000, due))
        made = planner.plan(changes)
        connection.execute("BEGIN")
        for text, rows in zip(texts, (made.messages, made.bodies, made.queue), strict=True):
            connection.executemany(text, rows)
        connection.executemany(
            "INSERT INTO recipient (number, cause, since, next_try, failures, outlet, alert_wanted)"
            " VALUES (?, 'absent', ?, ?, 1, 'switch:msc1', 1)",
            silent,
        )
        connection.execute("COMMIT")
    connection.close()


def resident_mb(center: RunningCenter, what: str = "VmRSS") -> float:
    """Of the center's process, as the kernel counts."""
    assert center.process is not None
    status = Path(f"/proc/{center.process.pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


async def bind_many(center: RunningCenter, number: int) -> list[Connection]:
    """So many binds of one account."""

    def take(_message: pdu.DeliverSm, answer: Answer) -> None:
        answer(CommandStatus.ESME_ROK, b"")

    credentials = Credentials("shop", "shoppw")
    binds: list[Connection] = []
    for start in range(0, number, 50):
        binds += await asyncio.gather(
            *(
                Connection.connect("127.0.0.1", center.smpp_port, credentials, window=10, on_message=take)
                for _ in range(min(50, number - start))
            )
        )
    return binds


async def submit(bind: Connection, number: int) -> None:
    """So many messages for recipients who are absent, ten at a time."""
    answered = asyncio.Event()
    state = {"open": 0, "sent": 0, "taken": 0}

    def heard(response: object) -> None:
        assert isinstance(response, pdu.SubmitSmResp), response
        state["taken"] += response.command_status == CommandStatus.ESME_ROK
        state["open"] -= 1
        answered.set()

    while state["sent"] < number or state["open"]:
        while state["sent"] < number and state["open"] < 10:
            state["sent"] += 1
            state["open"] += 1
            request = pdu.SubmitSm(
                source_addr_ton=5,
                source_addr=b"Shop",
                dest_addr_ton=1,
                dest_addr_npi=1,
                destination_addr=f"4477{90_000_000 + state['sent']}".encode(),
                registered_delivery=1,
                short_message=BODY,
            )
            bind.send(request, heard)
        answered.clear()
        await asyncio.wait_for(answered.wait(), 60)
    assert state["taken"] == number, state


async def measure(center: RunningCenter, arguments: argparse.Namespace) -> None:
    """Print a line a stage."""

    def line(stage: str) -> None:
        print(f"{stage:46} {resident_mb(center):8,.0f} {resident_mb(center, 'VmHWM'):8,.0f}", flush=True)

    print(f"{'stage':46} {'RSS MB':>8} {'peak MB':>8}")
    line(f"started, {arguments.queued:,} queued")
    binds = await bind_many(center, arguments.binds)
    line(f"{len(binds):,} binds")
    await asyncio.wait_for(submit(binds[0], arguments.accepts), 300)
    line(f"{arguments.accepts:,} more taken, recipients absent")
    seen = 0

    def arrived(_message: pdu.DeliverSm, answer: Answer) -> None:
        nonlocal seen
        seen += 1
        answer(CommandStatus.ESME_ROK, b"")

    switch = await Connection.connect(
        "127.0.0.1", center.smpp_port, Credentials("msc1", "mscpw"), window=100, on_message=arrived
    )
    await asyncio.sleep(arguments.seconds)
    line(f"{arguments.seconds:.0f} s after the switch is back, {seen:,} delivered")
    for bind in (*binds, switch):
        bind.abort()
    peak = resident_mb(center, "VmHWM")
    leave(Figure(f"peak of memory with {arguments.queued:,} queued", peak, LIMIT_MB, "MB", at_most=True))
    print(f"peak {peak:,.0f} MB, {peak / LIMIT_MB:.2f} of the limit of {LIMIT_MB} MB")


def main(arguments: argparse.Namespace) -> None:
    """Make a center, fill its queue, start it again and measure."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with tempfile.TemporaryDirectory(prefix="restante-memory-") as folder:
        settings = {
            "smpp.max_connections": arguments.binds + 10,
            "smpp.max_connections_per_address": arguments.binds + 10,
        }
        with running_center(Path(folder) / "center", settings) as center:
            shop = center.add_account(
                "shop", "shoppw", sources=["*"], max_binds=arguments.binds, throughput=None, window=100
            )
            center.add_account("msc1", "mscpw", role="switch", window=100)
            center.add_range("+4477")
            center.add_route("handsets", prefix="+4477", target="account", account="msc1")
            assert center.stop() == 0
            queue_up(
                Path(folder) / "center" / "restante.sqlite", arguments.queued, int(shop.partition("_")[2])
            )
            center.start()
            asyncio.run(measure(center, arguments))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queued", type=int, default=200_000)
    parser.add_argument("--binds", type=int, default=1000)
    parser.add_argument("--accepts", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="to deliver when the switch is back")
    main(parser.parse_args())
