"""The database goes away or is full while messages come in: nothing is answered that is not stored, and it mends."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import httpx
from crash_book import judge, page, read, wait_drained
from crash_load import KINDS, OFF, SUBMITTERS, furnish, traffic
from postgres_plugin import OwnServer
from raw_peer import Peer, peer
from running_center import RunningCenter, running_center
from waiting import eventually

from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.smpp.tlv import Tag


def readiness(center: RunningCenter) -> tuple[bool, str]:
    """What /readyz says: ready, and why not."""
    answer = httpx.get(f"http://127.0.0.1:{center.ops_port}/readyz", timeout=30)
    said: dict[str, Any] = answer.json()
    assert said["ready"] == (answer.status_code == 200)
    return said["ready"], str(said["checks"]["store"].get("why", ""))


def test_a_database_that_is_stopped_and_comes_back(tmp_path: Path, pg_own_server: OwnServer) -> None:
    """PostgreSQL, stopped in mid-load: no answer is better than a wrong one, and all goes on by itself."""
    url = pg_own_server.create_database()
    seed = random.SystemRandom().randrange(1 << 32)
    with running_center(tmp_path / "center", {"store.url": url, "store.unknown_after_s": 3}) as center:
        furnish(center)
        # No handsets that are off: what the box cannot take now is offered again in a minute.
        with traffic(center.smpp_port, seed, [kind for kind in KINDS if kind.number != OFF]) as load:
            load.wait_bound()
            load.go()
            eventually(lambda: len(load.acked) > 200, "load", seconds=120)
            pg_own_server.crash()
            eventually(lambda: not readiness(center)[0], "/readyz to say so", seconds=60)
            assert "database" in readiness(center)[1], readiness(center)
            eventually(lambda: load.refused, "refusals", seconds=60)
            stored = len(load.acked)
            refused = load.refused.total()
            eventually(lambda: load.refused.total() > refused + 50, "more refusals", seconds=60)
            assert len(load.acked) == stored, "something was acknowledged without a database"
            pg_own_server.start()
            eventually(lambda: readiness(center)[0], "/readyz to be content again", seconds=120)
            eventually(lambda: len(load.acked) > stored + 200, "the load to go on", seconds=120)
            load.rest()
            load.wait_bound()
            wait_drained(url, load, 150)
        assert center.stop() == 0
        said = judge(load, [], page(url))
    sys.stdout.write(f"seed {seed}; {dict(said.counts)}; refused: {dict(load.refused)}\n")
    assert set(load.refused) <= {Status.ESME_RMSGQFUL, Status.ESME_RSYSERR}
    assert not said.faults, "\n".join(said.faults[:20])


def long_message(sequence_number: int, number: int) -> pdu.SubmitSm:
    """Two kilobytes for one of the boxes."""
    text = f"{sequence_number} ".encode() * 400
    return pdu.SubmitSm(
        source_addr=b"777",
        dest_addr_ton=1,
        destination_addr=b"44770090%04d" % number,
        sequence_number=sequence_number,
    ).add_tlv(Tag.message_payload, text[:2000])


def fill(app: Peer) -> tuple[list[int], int]:
    """Submit until the store is full; the ids that were given, and the status of the refusal."""
    ids: list[int] = []
    for number in range(1, 5000):
        answer = app.ask(long_message(number, number % 10))
        assert isinstance(answer, pdu.SubmitSmResp)
        if answer.command_status:
            return ids, answer.command_status
        ids.append(int(answer.message_id))
    raise AssertionError("it never got full")


def test_a_full_database_says_so_and_recovers(tmp_path: Path) -> None:
    """SQLite at its size limit: ESME_RMSGQFUL, the reason on /readyz, and all well once an operator made room."""
    settings: dict[str, object] = {"store.max_bytes": 8 << 20, "store.heartbeat_s": 0.2}
    with running_center(tmp_path / "center", settings) as center:
        center.add_account(SUBMITTERS[0], "crash", sources=["*"])
        center.add_range("+4477")
        center.add_route("boxes", prefix="+4477", target="mailbox")
        with peer(center.smpp_port, SUBMITTERS[0], "crash") as app:
            ids, status = fill(app)
            assert status == Status.ESME_RMSGQFUL
            eventually(lambda: not readiness(center)[0], "/readyz to say so")
            assert "limit" in readiness(center)[1]
            assert isinstance(app.ask(pdu.EnquireLink(sequence_number=1)), pdu.EnquireLinkResp)
            url = center.site.config.store.url
            eventually(lambda: read(url, "SELECT count(*) FROM queue") == [[(0,)]], "the deposits")
            boxed = {row[0] for row in read(url, "SELECT id FROM mailbox_item")[0]}
            assert set(ids) <= boxed
            for number in range(10):
                center.call("POST", f"/mailboxes/+4477009000{number:02d}:purge")
            eventually(lambda: readiness(center)[0], "/readyz to be content again", seconds=60)
            again, _ = fill(app)
            assert again
    sys.stdout.write(f"{len(ids)} messages until it was full, {len(again)} more after the purge\n")
