"""Power loss in SQLite's write-ahead log: what was not synced yet may be there in part, torn, or not at all.

In charge of: taking the database and its log as they were after the sync of one batch, and the log as it was after the
next; making each state that a loss of power in between may leave; and reading it as a start after the loss would.
Everything acknowledged is there, and the batch under way is there whole or not at all.

Sources: sqlite.org/fileformat2.html §4 (frames carry salts and a running checksum), sqlite.org/src/info/ff5be73dee (why
the header is synced by itself), behaviour.md 10.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from store_tools import final, message, opened, put_all

from restante.store.sqlite_file import database_path
from restante.store.store import Answer, Release

SECTOR = 512  #: what a disk writes at once or not at all
PAGE = 4096 + 24  #: a frame of the log: a page and its header
HEADER = 32  #: of the log
BATCH = 3  #: messages in the batch under way

Facts = frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Moment:
    """Just before and just after a batch, on disk."""

    file: bytes  #: the database file, the same on both sides
    before: bytes  #: the log when the last acknowledged batch was synced
    after: bytes  #: the log when the next one was
    kept: Facts  #: what was acknowledged before
    under_way: Facts  #: what the next batch added
    ended: Facts  #: queue rows that it deleted


async def moment(url: str, restarted: bool) -> Moment:
    """Let a store work and copy its files around one batch; `restarted`: the log begins anew with that batch."""
    path = database_path(url)
    log = Path(f"{path}-wal")
    async with opened(url, durability="power-loss", heartbeat_s=60) as store:
        kept: set[tuple[str, int]] = set()
        old: list[int] = []
        for _ in range(4):
            sent = [message(store, body=b"x" * 700) for _ in range(BATCH)]
            assert await put_all(store, *({"messages": (one,)} for one in sent)) == [Answer.STORED] * BATCH
            old += [one.id for one in sent]
        kept |= {(table, id) for table in ("message", "body", "queue") for id in old}
        if (
            restarted
        ):  # every page is in the database file, and the next batch writes over the log from its start
            other = sqlite3.connect(path)
            assert other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0
            other.close()
        file, before = path.read_bytes(), log.read_bytes()
        sent = [message(store, body=b"y" * 700) for _ in range(BATCH)]
        endings = [{"release": Release(id, store.epoch), "events": (final(store, id),)} for id in old[:2]]
        assert await put_all(store, *({"messages": (one,)} for one in sent), *endings) == [Answer.STORED] * 5
        assert path.read_bytes() == file, "a checkpoint came in between: the moment is none"
        after = log.read_bytes()
    added = {(table, one.id) for table in ("message", "body", "queue") for one in sent}
    added |= {("event", id) for id in old[:2]}
    return Moment(
        file, before, after, frozenset(kept), frozenset(added), frozenset(("queue", id) for id in old[:2])
    )


def found(path: Path) -> Facts:
    """What a start finds: SQLite recovers the log, nothing is written."""
    Path(f"{path}-shm").unlink(missing_ok=True)
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        facts = {
            (table, row[0])
            for table, key in (("message", "id"), ("body", "message"), ("queue", "id"), ("event", "message"))
            for row in connection.execute(f"SELECT {key} FROM {table}")
        }
    finally:
        connection.close()
    return frozenset(facts)


def offsets(start: int, end: int, every: bool, chance: random.Random) -> list[int]:
    """All offsets, or the edges of every frame and sector and some in between."""
    if every:
        return list(range(start, end + 1))
    edges = {
        edge + by
        for size in (SECTOR, PAGE)
        for edge in range(start - start % size, end + 1, size * (4 if size == SECTOR else 1))
        for by in (-1, 0, 1, 24)
    }
    return sorted(
        {start, end, *(one for one in edges if start <= one <= end), *chance.sample(range(start, end), 100)}
    )


def states(seen: Moment, every: bool, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """What the disk may hold of the log when power is lost between the two syncs."""
    start = len(seen.before) if seen.after.startswith(seen.before) else 0
    for offset in offsets(start, len(seen.after), every, chance):
        yield f"cut at {offset}", seen.after[:offset] + seen.before[offset:]
    for number in range(2000 if every else 100):  # sectors reach the disk in any order
        length = len(seen.after)
        torn = bytearray((seen.before + bytes(length))[:length])
        if not start:  # but SQLite syncs the header of a log that begins anew before it writes a frame
            torn[:HEADER] = seen.after[:HEADER]
        for at in range(start - start % SECTOR, length, SECTOR):
            if chance.random() < 0.8:
                torn[at : at + SECTOR] = seen.after[at : at + SECTOR]
        yield f"torn {number}", bytes(torn) + seen.before[length:]


@pytest.mark.parametrize("restarted", [False, True], ids=["appended", "begun anew"])
def test_whatever_the_log_lost_nothing_acknowledged_is_missing(
    sqlite_url: str, tmp_path: Path, cap: Callable[[int, int], int], restarted: bool
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    seen = asyncio.run(moment(sqlite_url, restarted))
    path = tmp_path / "lost.sqlite"
    path.write_bytes(seen.file)
    whole = seen.kept - seen.ended | seen.under_way
    counts = {"before": 0, "after": 0}
    for what, log in states(seen, cap(0, 1) == 1, random.Random(seed)):
        Path(f"{path}-wal").write_bytes(log)
        facts = found(path)
        assert facts in (seen.kept, whole), f"seed {seed}, {what}: {sorted(facts ^ seen.kept)[:5]}"
        counts["before" if facts == seen.kept else "after"] += 1
    sys.stdout.write(f"seed {seed}; as before the batch, as after it: {counts}\n")
    assert min(counts.values()) > 0


def test_a_store_goes_on_from_a_torn_log(sqlite_url: str, tmp_path: Path) -> None:
    """The real store opens what is left, gives the messages back to work, and takes new ones."""
    seen = asyncio.run(moment(sqlite_url, False))
    path = tmp_path / "lost.sqlite"
    for cut in (len(seen.before), len(seen.before) + PAGE, len(seen.after) - 1, len(seen.after)):
        for rest in ("", "-shm"):
            Path(f"{path}{rest}").unlink(missing_ok=True)
        path.write_bytes(seen.file)
        Path(f"{path}-wal").write_bytes(seen.after[:cut])

        async def go_on() -> set[int]:
            async with opened(f"sqlite:///{path}", durability="power-loss") as store:
                works = await store.claim(due_before=1 << 60, limit=100)
                assert await put_all(store, {"messages": (message(store),)}) == [Answer.STORED]
                return {work.message.id for work in works}

        whole = seen.kept - seen.ended | seen.under_way if cut == len(seen.after) else seen.kept
        assert asyncio.run(go_on()) == {id for table, id in whole if table == "queue"}
    shutil.rmtree(tmp_path)
