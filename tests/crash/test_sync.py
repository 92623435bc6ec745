"""A sync precedes the response: seen from outside the process, and refused at start where it cannot be promised."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from raw_peer import peer
from running_center import RunningCenter
from waiting import eventually

from restante.cli.output import Failure
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_id import CommandId

Component = Callable[[str, str], str]
PASSWORD = "daylight"
SUBMITS = 12
CALLS = "fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"
LINE = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<resumed> resumed>)?(?P<rest>.*)$")
OCTETS = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Step:
    """One thing the traced process did, where it stands in the trace."""

    at: int  #: line: for reads and syncs of their end, for writes of their beginning
    began: int  #: line of the beginning
    what: str  #: "read", "write", "sync"
    octets: bytes = b""
    path: str = ""


def unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def steps(trace: Path) -> Iterator[Step]:
    """What strace saw, calls that were interrupted in its output put together again."""
    open_calls: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.read_text().splitlines()):
        found = LINE.match(line)
        if found is None:
            continue
        thread, call, rest = found["thread"], found["call"], found["rest"]
        began = number
        if found["resumed"]:
            began, before = open_calls.pop(thread)
            rest = before + rest
        unfinished = rest.endswith("<unfinished ...>")
        if unfinished:
            open_calls[thread] = (number, rest.removesuffix("<unfinished ...>"))
        octets = b"".join(unescaped(text) for text in OCTETS.findall(rest))
        if call in ("fsync", "fdatasync"):
            if not unfinished and rest.endswith("= 0"):
                path = rest.partition("<")[2].partition(">")[0]
                yield Step(number, began, "sync", path=unescaped(path).decode() if "\\x" in path else path)
        elif call in ("read", "recvfrom", "recvmsg"):
            if not unfinished:
                yield Step(number, began, "read", octets)
        elif not found["resumed"]:
            yield Step(number, began, "write", octets)


def pdu_of(step: Step) -> tuple[int, int]:
    """(command_id, sequence_number) of a PDU at the beginning of what was read or written; zeros for anything else."""
    if len(step.octets) < 16:
        return 0, 0
    return int.from_bytes(step.octets[4:8], "big"), int.from_bytes(step.octets[12:16], "big")


def test_a_sync_lies_between_each_request_and_its_response(tmp_path: Path, component: Component) -> None:
    """The messages are scheduled for later, so that nothing else is written meanwhile."""
    trace = tmp_path / "trace"
    center = RunningCenter(tmp_path / "center")
    center.under = (
        component("strace", "strace"), "-D", "-f", "-qq", "--seccomp-bpf", "-y", "-xx", "-s", "16",
        "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace),
    )  # fmt: skip
    center.start()
    try:
        center.add_account("app", PASSWORD, sources=["*"])
        center.add_account("shop", PASSWORD, numbers=["12345"])
        with peer(center.smpp_port, "app", PASSWORD) as app:
            for number in range(100, 100 + SUBMITS):
                answer = app.ask(
                    pdu.SubmitSm(
                        source_addr=b"777",
                        destination_addr=b"12345",
                        schedule_delivery_time=b"000000010000000R",
                        short_message=b"later",
                        sequence_number=number,
                    )
                )
                assert isinstance(answer, pdu.SubmitSmResp)
                assert answer.command_status == 0
        assert center.stop(60) == 0
    finally:
        if not center.process_ended():
            center.kill()
    seen = list(steps(trace))
    wal = f"{center.folder / 'restante.sqlite'}-wal"
    for number in range(100, 100 + SUBMITS):
        (asked,) = [s for s in seen if s.what == "read" and pdu_of(s) == (CommandId.submit_sm, number)]
        (said,) = [s for s in seen if s.what == "write" and pdu_of(s) == (CommandId.submit_sm_resp, number)]
        between = [
            s for s in seen if s.what == "sync" and asked.at < s.began and s.at < said.began and s.path == wal
        ]
        assert between, (
            f"submit_sm {number}: read at line {asked.at}, answered at {said.began}, no sync of {wal}"
        )


def alter(dsn: str, *statements: str) -> None:
    async def run() -> None:
        connection: Any = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def test_a_server_that_does_not_sync_is_refused(tmp_path: Path, pg_durable_database: str) -> None:
    """PostgreSQL: whoever serves looks at the settings first; only words in the configuration allow less."""
    name = pg_durable_database.partition("?")[0].rpartition("/")[2]
    alter(pg_durable_database, f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(Failure, match="synchronous_commit = off"):
        RunningCenter(tmp_path / "refused", {"store.url": pg_durable_database})
    center = RunningCenter(
        tmp_path / "center", {"store.url": pg_durable_database, "store.durability": "process-crash-only"}
    )
    center.launch(RESTANTE_STORE_DURABILITY="power-loss")
    eventually(center.process_ended, "the refusal", seconds=120)
    assert center.stop() != 0
    eventually(
        lambda: any("synchronous_commit = off" in line for line in list(center.lines)), "the reason in words"
    )
    center.start()
    assert center.stop() == 0
