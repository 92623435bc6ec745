"""What the database of a center says, and whether that and what was seen on the wire keep the promise.

In charge of: reading a dead (or living) center's database without touching it, and the judgement of behaviour.md 1:
nothing acknowledged is lost, nothing is handed over twice unless its delivery was under way, one final receipt each.
Not in charge of: the load (`crash_load.py`), or killing anybody.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
from crash_load import AWAY, Traffic
from waiting import eventually

from restante.message import Kind, MessageState
from restante.store.sqlite import database_path

_STAT = {
    MessageState.DELIVERED: "DELIVRD",
    MessageState.EXPIRED: "EXPIRED",
    MessageState.UNDELIVERABLE: "UNDELIV",
    MessageState.DELETED: "DELETED",
    MessageState.REJECTED: "REJECTD",
}


Rows = list[tuple[Any, ...]]


def read(url: str, *queries: str) -> list[Rows]:
    """Rows of each query while the center runs."""
    if url.startswith("post"):
        return asyncio.run(_read_postgresql(url, queries))
    return _read_sqlite(database_path(url), queries)


def read_dead(url: str, *queries: str) -> list[Rows]:
    """Rows of each query after its end; a copy of a SQLite database is read, so that nothing mends the original."""
    if url.startswith("post"):
        return asyncio.run(_read_postgresql(url, queries))
    path = database_path(url)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for suffix in ("", "-wal"):
            if Path(f"{path}{suffix}").exists():
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        return _read_sqlite(copy, queries)


def _read_sqlite(path: Path, queries: tuple[str, ...]) -> list[Rows]:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN")
        return [connection.execute(query).fetchall() for query in queries]
    finally:
        connection.close()


async def _read_postgresql(url: str, queries: tuple[str, ...]) -> list[Rows]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return [[tuple(row) for row in await connection.fetch(query)] for query in queries]
    finally:
        await connection.close()


def wait_until_left(url: str) -> None:
    """Until PostgreSQL has ended what a killed center left behind: its last commit may still be on its way."""
    if url.startswith("post"):
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        eventually(lambda: read(url, others) == [[(0,)]], "the dead center's sessions to end")


def wait_drained(url: str, load: Traffic, seconds: float) -> None:
    """Until only what nobody can take waits, and each ending was told; AssertionError says what is left."""
    try:
        eventually(lambda: not left_over(url, load), "the center to drain", seconds=seconds)
    except AssertionError as late:
        raise AssertionError(f"{late}; left: {left_over(url, load)[:20]}") from None


def left_over(url: str, load: Traffic) -> list[str]:
    """What still has to be done: rows that somebody can take or that end soon, and endings that were not told."""
    soon = round(time.time() * 1000) + 60_000
    waiting, ended = read(
        url,
        "SELECT id, recipient, owner, attempts, reason, due_at, expires_at FROM queue "
        f"WHERE recipient NOT LIKE '+{AWAY}%' OR expires_at < {soon}",
        "SELECT DISTINCT e.message FROM event e JOIN message m ON m.id = e.message "
        "WHERE e.kind = 'final' AND m.kind = 0",
    )
    names = ("row", "recipient", "owner", "attempts", "reason", "due_at", "expires_at")
    rows = [", ".join(f"{name} {said}" for name, said in zip(names, row, strict=True)) for row in waiting]
    untold = {row[0] for row in ended} - load.receipts.keys()
    return rows + [f"message {id} has ended, and no receipt came" for id in sorted(untold)]


@dataclass
class Page:
    """The database at one moment."""

    tokens: dict[int, str] = field(default_factory=dict)  #: message id -> its text
    receipts: dict[int, list[int]] = field(default_factory=dict)  #: message id -> ids of receipts about it
    queue: dict[int, str] = field(default_factory=dict)  #: id -> recipient
    boxes: set[int] = field(default_factory=set)
    finals: dict[int, list[int]] = field(default_factory=dict)  #: message id -> states


def page(url: str) -> Page:
    """Read it all; the center has ended."""
    messages, queue, boxes, finals = read_dead(
        url,
        "SELECT m.id, m.kind, m.parent, b.payload FROM message m JOIN body b ON b.message = m.id",
        "SELECT id, recipient FROM queue",
        "SELECT id FROM mailbox_item",
        "SELECT message, state FROM event WHERE kind = 'final'",
    )
    found = Page(queue=dict(queue), boxes={row[0] for row in boxes})  # type: ignore[arg-type]  # pairs
    for id, kind, parent, payload in messages:
        if kind == Kind.MESSAGE:
            found.tokens[id] = bytes(payload).decode()
        elif kind == Kind.RECEIPT:
            found.receipts.setdefault(parent, []).append(id)
    for id, state in finals:
        found.finals.setdefault(id, []).append(state)
    return found


@dataclass
class Judgement:
    """Counts for people; `faults` must be empty."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def judge(traffic: Traffic, crashes: list[Page], end: Page) -> Judgement:
    """Compare what was said on the wire with what the database says now and said after each crash.

    `crashes[n]` is the database after the end of round n and before the beginning of round n + 1.
    """
    said = Judgement(faults=list(traffic.faults))
    said.counts["acknowledged"] = len(traffic.acked)
    for id, token in traffic.acked.items():
        if end.tokens.get(id) != token:
            said.faults.append(f"{token} was acknowledged as {id} and is not in the database: LOST")
            said.counts["lost"] += 1
    said.counts["stored, not acknowledged"] = len(end.tokens.keys() - traffic.acked.keys())
    for id, token in end.tokens.items():
        _judge_one(said, traffic, crashes, end, id, token)
    strangers = traffic.receipts.keys() - end.tokens.keys()
    said.faults += [f"a receipt came for {id}, which is no message" for id in strangers]
    return said


def _judge_one(
    said: Judgement, traffic: Traffic, crashes: list[Page], end: Page, id: int, token: str
) -> None:
    finals = end.finals.get(id, [])
    places = [name for name, there in (("queued", id in end.queue), ("mailbox", id in end.boxes)) if there]
    who = f"{token} ({id})"
    if len(finals) > 1:
        said.faults.append(f"{who} ended {len(finals)} times: {finals}")
    if finals:
        said.counts[MessageState(finals[0]).name.lower()] += 1
        if "queued" in places:
            said.faults.append(f"{who} has ended and is queued")
    elif len(places) == 1:
        said.counts[places[0]] += 1
    else:
        said.faults.append(f"{who} has not ended and is in {places or 'no place: LOST'}")
        said.counts["lost"] += not places
    seen = traffic.seen.get(token, [])
    if finals == [MessageState.DELIVERED] and not seen:
        said.faults.append(f"{who} is said to be delivered, and nobody saw it")
    _judge_repeats(said, "message", who, seen, [id in crash.queue for crash in crashes])
    _judge_receipts(said, traffic, crashes, end, id, who)


def _judge_receipts(
    said: Judgement, traffic: Traffic, crashes: list[Page], end: Page, id: int, who: str
) -> None:
    came = traffic.receipts.get(id, [])
    finals, made = end.finals.get(id, []), end.receipts.get(id, [])
    if len(made) != len(finals):
        said.faults.append(f"{who} has {len(finals)} endings and {len(made)} receipts")
    if finals and not came:
        said.faults.append(f"{who} has ended as {finals} and no receipt came")
    if not finals and came:
        said.faults.append(f"{who} has not ended, and a receipt came: {came}")
    wrong = {stat for _, stat in came} - {_STAT[MessageState(state)] for state in finals}
    if wrong:
        said.faults.append(f"{who} ended as {finals}, and a receipt said {wrong}")
    said.counts["receipts"] += bool(came)
    under_way = [any(receipt in crash.queue for receipt in made) for crash in crashes]
    _judge_repeats(said, "receipt", who, [round for round, _ in came], under_way)


def _judge_repeats(said: Judgement, what: str, who: str, rounds: list[int], under_way: list[bool]) -> None:
    """Something may come again only in a later life, if it stood in the queue when the last one ended. What a sleeper
    had put on its way may come after what the others sent."""
    for before, after in pairwise(sorted(rounds)):
        said.counts[f"{what} repeated"] += 1
        if before == after:
            said.faults.append(f"the {what} of {who} came twice in life {after}")
        elif not under_way[after - 1]:
            said.faults.append(f"the {what} of {who} came again in life {after} although it had ended")
