"""Pairs that connect from both sides, requests whose connection is lost, and sessions."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from diameter_nodes import CENTER, LOOPBACK, MME, OFR, echo, node, origin, run
from waiting import soon_true

from restante.signaling.diameter.codec import Message, avp
from restante.signaling.diameter.connection import Connection, Identity, State
from restante.signaling.diameter.dictionary import Application
from restante.signaling.diameter.node import Node, PeerSettings


def test_a_request_under_way_goes_over_another_way_when_its_own_is_lost() -> None:
    seen: list[tuple[str, Message]] = []

    async def scenario() -> None:
        def keep(connection: Connection, request: Message) -> None:
            seen.append((connection.identity.host, request))
            if request.is_retransmitted:
                echo(connection, request)

        relays = [node(Identity(host, "home.net"), [PeerSettings(MME.host, networks=LOOPBACK)], {OFR: keep})
                  for host in ("dra1.home.net", "dra2.home.net")]  # fmt: skip
        ports = [await relay.listen("127.0.0.1", 0) for relay in relays]
        here = node(
            MME,
            [
                PeerSettings(relay.identity.host, "127.0.0.1", port, relay=True)
                for relay, port in zip(relays, ports, strict=True)
            ],
        )
        here.open()
        await soon_true(lambda: all(here.connected(relay.identity.host) for relay in relays))
        avps = (*origin(MME), avp("Destination-Realm", "home.net"))
        asked = asyncio.ensure_future(here.request(Application.SGD, OFR, avps, 30, to_host="smsc.far.net"))
        await soon_true(lambda: seen)
        lost = here.route("smsc.far.net")
        assert lost is not None
        lost.give_up()
        assert (await asked).succeeded
        (first, before), (second, after) = seen
        assert (first, second) == ("dra1.home.net", "dra2.home.net")
        assert (before.is_retransmitted, after.is_retransmitted) == (False, True)
        assert before.end_to_end == after.end_to_end
        for each in (here, *relays):
            await each.close()

    run(scenario)


def test_a_pair_that_connects_from_both_sides_has_one_connection() -> None:
    alarms: list[tuple[str, str]] = []

    def claimed(host: str, address: str) -> None:
        alarms.append((host, address))

    async def scenario() -> None:
        ports: list[int] = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports.append(free.getsockname()[1])
        both: list[Node] = []
        for identity, other, port in ((CENTER, MME, ports[1]), (MME, CENTER, ports[0])):
            peer = PeerSettings(other.host, "127.0.0.1", port, networks=LOOPBACK)
            both.append(node(identity, [peer], {OFR: echo}, alarm=claimed))
        for each, port in zip(both, ports, strict=True):
            await each.listen("127.0.0.1", port)
        for round in range(5):
            if round == 0:
                for each in both:
                    each.open()
            else:
                ((_, lost),) = both[round % 2].peers()
                assert lost is not None
                lost.give_up()
                await soon_true(lambda lost=lost: lost.state is State.CLOSED)
            await soon_true(lambda: both[0].connected(MME.host) and both[1].connected(CENTER.host))
            answer = await both[0].request(Application.SGD, OFR, origin(CENTER), 30, to_host=MME.host)
            assert answer.succeeded
        assert alarms == []
        for each in both:
            await each.close()

    run(scenario)


def test_sessions_are_never_the_same() -> None:
    async def scenario() -> None:
        here = node(replace(MME, state_id=5), [])
        assert len({here.session() for _ in range(100)}) == 100
        assert here.session().startswith("mme.home.net;5;")

    run(scenario)
