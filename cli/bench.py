"""`restante bench`: drive any SMPP message center and measure it.

In charge of: the load (binds, windows, rate, sizes, all bounded), and the figures. Not in charge of: the ESME's side of
SMPP (`simulator/link.py`). Measured from outside: nothing here knows which center it talks to.

A response's time runs from the write of its submit_sm to the read of its submit_sm_resp, both in this process: at
full window it holds the time spent waiting behind the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import typer
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..simulator.link import Answer, Connection, Credentials
from ..simulator.network import written_submits
from ..smsc.smpp import pdu
from ..smsc.smpp.codec import Pdu
from ..smsc.smpp.command_status import CommandStatus, status_name
from .output import Exit, Failure, Json, Output

__all__ = ["Figures", "Load", "bench", "percentile"]

RECEIPT_BITS = 0x3C  #: esm_class of deliver_sm, SMPP 3.4 §5.2.12
PACE_S = 0.01  #: how often a limited rate gives out its share
LOOK_S = 0.1  #: how often the run is looked at


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent."""

    submits: Sequence[pdu.SubmitSm]  #: sent in turn, over and over
    count: int  #: messages in all
    window: int  #: of each bind
    rate: float  #: messages per second over all binds; 0: as fast as the windows allow
    seconds: float  #: no message is sent after so long
    wait_s: float  #: how long receipts are waited for at the end


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    sent: int
    accepted: int
    refused: dict[str, int]  #: by name of the status
    unanswered: int
    seconds: float  #: from the first submit_sm to the last response
    p50_ms: float
    p99_ms: float
    max_ms: float
    receipts: int
    receipt_seconds: float  #: from the first submit_sm to the last receipt; 0 without receipts

    @property
    def rate(self) -> float:
        """Accepted messages per second."""
        return self.accepted / self.seconds if self.seconds else 0.0

    @property
    def receipt_rate(self) -> float:
        """Receipts per second."""
        return self.receipts / self.receipt_seconds if self.receipt_seconds else 0.0


class Run:
    """One run of a load over connections that are bound."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.sent = 0
        self.accepted = 0
        self.unanswered = 0
        self.receipts = 0
        self.refused: Counter[str] = Counter()
        self._times = array("d")  # seconds, one a response
        self._started = 0.0
        self._last_response = 0.0
        self._last_receipt = 0.0
        self._allowance = 0.0 if load.rate else float("inf")
        self._connections: list[Connection] = []

    @property
    def answered(self) -> int:
        """Messages about which we know."""
        return self.accepted + self.refused.total() + self.unanswered

    async def go(self, connections: list[Connection]) -> None:
        """Send it all, and wait for the responses."""
        self._connections = connections
        self._started = self._last_response = time.perf_counter()
        for connection in connections:
            self._fill(connection)
        paced = time.perf_counter()
        while self.answered < self.sent or self._more(time.perf_counter()):
            await asyncio.sleep(PACE_S if self.load.rate else LOOK_S)
            now = time.perf_counter()
            if self.load.rate:
                self._allowance += (now - paced) * self.load.rate
                paced = now
                for connection in connections:
                    self._fill(connection)
            if all(connection.ended.done() for connection in connections):
                break

    async def wait_for_receipts(self) -> None:
        """Wait until every accepted message has its receipt, or the time for that is over."""
        deadline = time.perf_counter() + self.load.wait_s
        while self.receipts < self.accepted and time.perf_counter() < deadline:
            await asyncio.sleep(LOOK_S)

    def _more(self, now: float) -> bool:
        return self.sent < self.load.count and now - self._started < self.load.seconds

    def _fill(self, connection: Connection) -> None:
        """Send as much as the window, the rate and the count allow."""
        now = time.perf_counter()
        if not self._more(now):
            return
        room = min(connection.room, self.load.count - self.sent, self._allowance)
        if room < 1:
            return
        submits, here = self.load.submits, self.sent
        self.sent += int(room)
        self._allowance -= int(room)
        done = partial(self._answered, connection, now)
        connection.send_now([(submits[number % len(submits)], done) for number in range(here, self.sent)])

    def _answered(self, connection: Connection, sent_at: float, response: Pdu | None) -> None:
        if response is None:
            self.unanswered += 1
            return
        now = time.perf_counter()
        self._times.append(now - sent_at)
        self._last_response = now
        if response.command_status:
            self.refused[status_name(response.command_status)] += 1
        else:
            self.accepted += 1
        self._fill(connection)

    def delivered(self, message: pdu.DeliverSm, answer: Answer) -> None:
        """Count a receipt; take anything."""
        if message.esm_class & RECEIPT_BITS:
            self.receipts += 1
            self._last_receipt = time.perf_counter()
        answer(CommandStatus.ESME_ROK, b"")

    def figures(self) -> Figures:
        """What came of it."""
        times = sorted(self._times)
        return Figures(
            sent=self.sent,
            accepted=self.accepted,
            refused=dict(self.refused.most_common()),
            unanswered=self.sent - self.accepted - self.refused.total(),
            seconds=self._last_response - self._started,
            p50_ms=percentile(times, 50) * 1000,
            p99_ms=percentile(times, 99) * 1000,
            max_ms=(times[-1] if times else 0.0) * 1000,
            receipts=self.receipts,
            receipt_seconds=self._last_receipt - self._started if self.receipts else 0.0,
        )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that is not below `percent` per cent of them (nearest rank); 0 of nothing."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


async def drive(
    host: str, port: int, credentials: Credentials, binds: int, load: Load, progress: Progress | None = None
) -> Figures:
    """Bind, run, unbind. Raises OSError if a bind fails."""
    run = Run(load)
    connections: list[Connection] = []
    try:
        for _ in range(binds):
            connections.append(
                await Connection.connect(
                    host, port, credentials, window=load.window, on_message=run.delivered
                )
            )
        watching = asyncio.create_task(_watch(run, progress)) if progress is not None else None
        try:
            await run.go(connections)
            await run.wait_for_receipts()
        finally:
            if watching is not None:
                watching.cancel()
        return run.figures()
    finally:
        await asyncio.gather(*(connection.unbind() for connection in connections))


async def _watch(run: Run, progress: Progress) -> None:
    submits = progress.add_task("answered", total=run.load.count)
    receipts = progress.add_task("receipts", total=run.load.count) if run.load.wait_s else None
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            progress.update(submits, completed=run.answered)
            if receipts is not None:
                progress.update(receipts, completed=run.receipts)
            await asyncio.sleep(LOOK_S)


def bench(
    target: str = typer.Option(
        ..., "--target", "-t", metavar="HOST:PORT", help="The message center to drive."
    ),
    system_id: str = typer.Option(..., "--system-id", "-u", help="Account to bind with."),
    password: str = typer.Option(
        "", "--password", "-p", envvar="RESTANTE_BENCH_PASSWORD", help="Its password."
    ),
    count: int = typer.Option(10_000, "--count", "-n", min=1, max=100_000_000, help="Messages in all."),
    binds: int = typer.Option(1, "--binds", "-b", min=1, max=1000, help="Connections."),
    window: int = typer.Option(
        10, "--window", "-w", min=1, max=10_000, help="Unanswered requests a connection."
    ),
    rate: float = typer.Option(
        0.0, "--rate", "-r", min=0, help="Messages a second over all; 0: as fast as it goes."
    ),
    size: int = typer.Option(100, "--size", min=0, max=160, help="Characters of each text."),
    source: str = typer.Option("bench", "--from", help="Sender: +number, short code or a name."),
    to: str = typer.Option(
        "+447700900199", "--to", help="Recipients, taken in turn, with commas between them."
    ),
    receipts: bool = typer.Option(False, "--receipts", help="Ask for delivery receipts and wait for them."),
    wait_s: float = typer.Option(
        30.0, "--wait", min=0, max=3600, help="Seconds to wait for receipts at the end."
    ),
    seconds: float = typer.Option(
        300.0, "--seconds", min=0.1, max=86_400, help="Send nothing after so long."
    ),
    as_json: Json = False,
) -> None:
    """Drive any SMPP message center: time of submit_sm_resp, messages a second, receipts a second."""
    with Output(as_json) as out:
        host, port = address(target)
        submits = [
            one
            for recipient in to.split(",")
            for one in written_submits(source, recipient.strip(), "x" * size, reference=0)
        ]
        for submit in submits:
            submit.registered_delivery = int(receipts)
        load = Load(submits, count, window, rate, seconds, wait_s if receipts else 0.0)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        try:
            with Progress(*columns, console=out.notes, transient=True, disable=as_json) as progress:
                credentials = Credentials(system_id, password)
                figures = uvloop.run(drive(host, port, credentials, binds, load, progress))
        except (OSError, ValueError) as error:
            raise Failure(f"{target}: {error}", fix="check address, system_id and password") from error
        report(out, figures)
        if figures.sent != figures.accepted:
            raise typer.Exit(Exit.DEGRADED if figures.accepted else Exit.FAILED)


def address(target: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises typer.BadParameter."""
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{target!r} is not HOST:PORT", param_hint="--target")
    return host.strip("[]"), int(port)


def report(out: Output, figures: Figures) -> None:
    """Print the figures."""
    if out.as_json:
        names = list(Figures.__dataclass_fields__)
        out.document(
            {name: getattr(figures, name) for name in names}
            | {"messages_per_second": figures.rate, "receipts_per_second": figures.receipt_rate}
        )
        return
    times = f"p50 {figures.p50_ms:.2f} ms, p99 {figures.p99_ms:.2f} ms, longest {figures.max_ms:.2f} ms"
    out.facts(
        {
            "accepted": f"{figures.accepted} of {figures.sent} in {figures.seconds:.2f} s",
            "messages/s": f"{figures.rate:,.0f}",
            "submit_sm_resp": times,
            "receipts": f"{figures.receipts} ({figures.receipt_rate:,.0f}/s)" if figures.receipts else "none",
        }
    )
    if figures.refused or figures.unanswered:
        out.table(
            ["not accepted", "messages"],
            [*figures.refused.items(), *([("no answer", figures.unanswered)] if figures.unanswered else [])],
        )
