"""A backup is taken while ESMEs submit, and a center is made of it: nothing is lost, nothing leaves before its release.

What the first center did after the backup is forgotten, here as in the backup: `crash_book.py` then judges one history
that has a gap where the database was brought back.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_center import Center
from crash_book import Page, judge, page, read
from crash_load import Traffic, furnish, traffic
from postgres_plugin import Server
from running_center import RunningCenter
from waiting import eventually

from restante.store.work import RESTORED


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two empty databases of one kind: to begin with, and to restore into."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/first.sqlite", f"sqlite:///{tmp_path}/second.sqlite"
        return
    server: Server = request.getfixturevalue("pg_server")
    both = server.create_database(), server.create_database()
    yield both
    for url in both:
        server.drop_database(url)


def move_to(center: RunningCenter, url: str) -> None:
    """Let restante.toml name another database."""
    file = center.folder / "restante.toml"
    before = center.site.config.store.url
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, url))


def forget_what_came_after(load: Traffic, kept: Page) -> None:
    """What the backup does not know has not happened."""
    load.acked = {id: token for id, token in load.acked.items() if id in kept.tokens}
    for id in [id for id in load.receipts if id not in kept.finals]:
        del load.receipts[id]
    for token in (kept.tokens.get(id) for id in kept.queue):
        load.seen.pop(token or "", None)


def test_what_a_backup_held_comes_back_once_and_only_when_released(
    tmp_path: Path, urls: tuple[str, str]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    first, second = urls
    center = RunningCenter(
        tmp_path / "center", {"store.url": first, "store.durability": "process-crash-only"}
    )
    operator, file = Center(center.folder), tmp_path / "copy.backup"
    try:
        center.start()
        furnish(center)
        with traffic(center.smpp_port, seed) as load:
            load.burst = 1
            load.wait_bound()
            load.go()
            load.more(150)
            before = set(load.acked)
            made = operator.answer("db", "backup", str(file))
            assert len(load.acked) > len(before), "nobody submitted during the backup"
            load.more(50)
            load.rest()
            assert center.stop() == 0, "\n".join(center.lines)
            load.wait_cut()
            kept = page(f"sqlite:///{file}")
            assert before <= kept.tokens.keys()
            forget_what_came_after(load, kept)

            move_to(center, second)
            done = operator.answer("db", "restore", str(file))
            assert (done["rows"], done["waiting"]) == (made["rows"], len(kept.queue))
            come_back(center, load, kept, second)
            assert operator.answer("db", "release") == {"released": len(kept.queue)}
            eventually(
                lambda: read(second, "SELECT count(*) FROM queue") == [[(0,)]], "the queue to be empty"
            )
            assert center.stop() == 0, "\n".join(center.lines)
            end = page(second)
            said = judge(load, [kept], end)
    finally:
        if not center.process_ended():
            center.kill()
    sys.stdout.write(f"seed {seed}; {len(kept.queue)} waited; {dict(said.counts)}\n")
    assert not said.faults, "\n".join(said.faults[:20])
    assert said.counts["lost"] == 0
    waited = {token for id in kept.queue if (token := kept.tokens.get(id)) and id not in end.boxes}
    assert waited
    for token in waited:
        assert load.seen[token] in ([1], []), token
    assert any(load.seen[token] for token in waited)


def come_back(center: RunningCenter, load: Traffic, kept: Page, url: str) -> None:
    """The restored center serves: what is new comes and goes, also to those for whom something waits; it stays so."""
    held = {kept.tokens[id] for id in kept.queue if id in kept.tokens}
    center.start()
    load.come("away")
    load.wait_bound()
    load.go()
    load.more(100)
    load.rest()
    waiting = f"SELECT count(*) FROM queue WHERE owner <> {RESTORED}"
    eventually(lambda: read(url, waiting) == [[(0,)]], "what is new to go")
    load.settle()
    assert center.metric("restante_store_restored_rows") == len(kept.queue)
    assert not any(load.seen.get(token) for token in held)
    assert read(url, f"SELECT count(*) FROM queue WHERE owner = {RESTORED}") == [[(len(kept.queue),)]]
