"""Nodes that die, and nodes that sleep too long, under load: nothing acknowledged is lost.

One of two nodes is killed; one of three, and then another one is stopped for longer than its lease and goes on. What
was under way at the moment of death may come twice, and nothing else (`crash_book.py` knows which rows the dead node
worked on); what a sleeper had in its hands is the others', whatever it does when it wakes.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from crash_book import Page, judge, page, read, wait_drained
from crash_load import Traffic, furnish, traffic
from nats_server import nats_server
from node_cluster import cluster
from node_lives import epoch_of, freeze, left_by, name_of, thaw, wait_taken_over
from running_center import RunningCenter
from waiting import eventually

pytestmark = pytest.mark.xdist_group("nodes")


def die(url: str, node: RunningCenter, load: Traffic) -> Page:
    """kill -9, and the others take over; what it worked on."""
    epoch = epoch_of(url, node)
    node.kill()
    load.wait_gone_from(node.smpp_port)
    left = left_by(url, node, epoch)
    load.next_round(node.smpp_port)
    took = wait_taken_over(url, node, epoch)
    sys.stdout.write(f"{name_of(node)} killed with {len(left.queue)} rows, taken over within {took:.1f} s\n")
    load.more(200)
    return left


def sleep_too_long(url: str, node: RunningCenter, load: Traffic) -> Page:
    """SIGSTOP, the others take over, SIGCONT: it must do nothing any more but end; what it worked on."""
    epoch = epoch_of(url, node)
    freeze(node)
    load.settle()
    left = left_by(url, node, epoch)
    load.next_round(node.smpp_port)
    took = wait_taken_over(url, node, epoch)
    ((now, number),) = read(
        url,
        "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT), number FROM node "
        f"WHERE name = '{name_of(node)}'",
    )[0]
    thaw(node)
    load.wait_gone_from(node.smpp_port)
    eventually(node.process_ended, "the sleeper to end")
    assert node.stop() != 0
    said = "\n".join(node.lines)
    assert "another life of this node has begun, or other nodes took it for dead" in said, said
    late = f"SELECT message, kind FROM event WHERE node = {number} AND at > {now}"
    assert read(url, late) == [[]], "the sleeper wrote after it had been taken for dead"
    sys.stdout.write(f"{name_of(node)} slept with {len(left.queue)} rows, taken over within {took:.1f} s\n")
    load.more(200)
    return left


def run(folder: Path, url: str, names: str, bus: str = "") -> None:
    """The first of these nodes is killed; with three, the last one sleeps afterwards."""
    seed = random.SystemRandom().randrange(1 << 32)
    settings: dict[str, object] = {"store.durability": "process-crash-only", "bus.url": bus}
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(cluster(folder, url, names, settings))
        furnish(nodes[0])
        ports = [node.smpp_port for node in nodes]
        load = stack.enter_context(traffic(ports[0], seed, others=ports[1:]))
        load.burst = 1
        load.wait_bound()
        load.go()
        load.more(300)
        crashes = [die(url, nodes[0], load)]
        if len(nodes) > 2:
            crashes.append(sleep_too_long(url, nodes[-1], load))
        load.rest()
        wait_drained(url, load, 120)
        assert nodes[1].stop() == 0, "\n".join(nodes[1].lines)
        end = page(url)
        said = judge(load, crashes, end)
    places = Counter(f"{names[ports.index(port)]} in {life}" for life, port, _ in load.handed)
    sys.stdout.write(
        f"seed {seed}; {dict(said.counts)}; refused: {dict(load.refused)}; handed over by {dict(places)}\n"
    )
    assert not said.faults, "\n".join(said.faults[:20])
    assert said.counts["lost"] == 0
    repeated = said.counts["message repeated"] + said.counts["receipt repeated"]
    assert repeated <= sum(len(crash.queue) for crash in crashes)
    served = [("a in 0", True), ("b in 1", True), ("a in 1", False)]
    served += [("c in 1", True)] if len(nodes) > 2 else []
    for node_and_life, serves in served:
        assert bool(places[node_and_life]) is serves, (node_and_life, places)
    if (
        len(nodes) > 2
    ):  # octets that stood before the write when it fell asleep may still come, and nothing else
        late = {token for life, port, token in load.handed if life == 2 and port == ports[-1]}
        assert late <= {end.tokens.get(id) for id in crashes[1].queue}, "the sleeper began to hand over again"


@pytest.mark.long
def test_one_of_two_dies(tmp_path: Path, pg_database: str) -> None:
    with nats_server() as server:
        run(tmp_path, pg_database, "ab", server.url)


def test_one_of_three_dies_and_another_one_sleeps(tmp_path: Path, pg_database: str) -> None:
    run(tmp_path, pg_database, "abc")
