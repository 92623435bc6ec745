"""Two nodes are drained and started again, one after the other, under load: nothing is lost, and nothing comes twice.

ESMEs are asked to leave and come back by themselves: ours, and smpplib, which nobody here wrote.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from crash_book import Page, judge, page, wait_drained
from crash_load import PASSWORD, Traffic, furnish, traffic
from nats_server import nats_server
from node_cluster import cluster
from running_center import RunningCenter
from smpplib import exceptions
from smpplib_esme import Esme
from waiting import eventually

pytestmark = pytest.mark.xdist_group("nodes")


class Restless(threading.Thread):
    """smpplib: submits one message after the other, and goes to the next node when it is asked to leave."""

    def __init__(self, ports: list[int], load: Traffic) -> None:
        """What it sees is written down with everybody else's."""
        super().__init__(daemon=True)
        self._ports = ports
        self._load = load
        self._made = 0
        self.binds = 0
        self.submits = True
        self.going = True

    def run(self) -> None:
        """Until told to stop."""
        turn = 0
        while self.going:
            turn += 1
            with contextlib.suppress(OSError, exceptions.ConnectionError):
                self._live(Esme(self._ports[turn % len(self._ports)]))

    def _live(self, esme: Esme) -> None:
        try:
            if esme.bind("transceiver", "lib", PASSWORD).status:
                return
            self.binds += 1
            while self.going:
                if self.submits:
                    self._submit(esme)
                else:
                    esme.ask("enquire_link")
                self._collect(esme)
        finally:
            self._collect(esme)
            esme.close()

    def _submit(self, esme: Esme) -> None:
        self._made += 1
        token = f"l{self._made}"
        response = esme.ask(
            "submit_sm", source_addr="777", dest_addr_ton=1, dest_addr_npi=1, destination_addr="447700900000",
            short_message=token.encode(), registered_delivery=1,
        )  # fmt: skip
        if response.status == 0:
            self._load.acked[int(response.message_id)] = token

    def _collect(self, esme: Esme) -> None:
        while esme.delivered:
            said = dict(word.split(":", 1) for word in _words(esme.delivered.pop(0)))
            self._load.receipts[int(said["id"])].append((self._load.round, said["stat"]))


def _words(receipt: Any) -> list[str]:
    return [word for word in receipt.short_message.decode().split() if ":" in word]


@contextlib.contextmanager
def restless(ports: list[int], load: Traffic) -> Generator[Restless]:
    """Running for the length of a block."""
    made = Restless(ports, load)
    made.start()
    try:
        yield made
    finally:
        made.going = False
        made.join(60)


def command(node: RunningCenter, *words: str) -> Any:
    """What `restante …` at a node says."""
    program = [
        sys.executable,
        "-m",
        "restante",
        *words,
        "--config",
        str(node.folder / "restante.toml"),
        "--json",
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_rolling_restart_loses_nothing(tmp_path: Path, pg_database: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    url = pg_database
    with contextlib.ExitStack() as stack:
        bus = stack.enter_context(nats_server())
        settings = {"store.durability": "process-crash-only", "bus.url": bus.url}
        nodes = stack.enter_context(cluster(tmp_path, url, "ab", settings))
        furnish(nodes[0])
        nodes[0].add_account("lib", PASSWORD, sources=["*"])
        ports = [node.smpp_port for node in nodes]
        load = stack.enter_context(traffic(ports[0], seed, others=ports[1:]))
        load.burst = 1
        load.wait_bound()
        lib = stack.enter_context(restless(ports, load))
        load.go()
        load.more(100)
        for node, other in (nodes, nodes[::-1]):
            ended = command(other, "node", "drain", node.folder.name, "--wait", "60")
            assert ended["state"] == "ended"
            eventually(node.process_ended, "its process to end")
            assert node.stop() == 0, "\n".join(node.lines)
            load.wait_gone_from(node.smpp_port)
            load.round += 1
            states = {one["name"]: one["state"] for one in command(other, "node", "list")}
            assert states == {node.folder.name: "ended", other.folder.name: "live"}
            load.more(100)
            node.start()
            eventually(lambda node=node: node.smpp_port in list(load.bound.values()), "binds there")
            load.send_home()
            load.wait_bound()
            load.more(100)
        load.rest()
        lib.submits = False
        wait_drained(url, load, 120)
        lib.going = False
        lib.join(60)
        for node in nodes:
            assert node.stop() == 0, "\n".join(node.lines)
        said = judge(load, [Page(), Page()], page(url))
    sys.stdout.write(
        f"seed {seed}; {dict(said.counts)}; refused: {dict(load.refused)}; smpplib bound {lib.binds} times\n"
    )
    assert not said.faults, "\n".join(said.faults[:20])
    assert said.counts["lost"] == 0
    assert lib.binds >= 2
