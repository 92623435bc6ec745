"""What happens inside the network namespace of test_freediameter.py; run as a program, prints its findings as JSON.

freeDiameterd connects to each of the others, and passes requests on by Destination-Host and realm.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from free_diameter import ADDRESS, RELAY, start

from restante.signaling.causes import DeliveryFailure, ExperimentalResult
from restante.signaling.diameter import short_messages
from restante.signaling.diameter.codec import Message, avp, grouped
from restante.signaling.diameter.connection import Connection, Identity
from restante.signaling.diameter.dictionary import Application, Command
from restante.signaling.diameter.node import Handler, Node, PeerSettings

SMSC, HSS, MME, FORGER = (
    Identity(f"{name}.home.net", "home.net") for name in ("smsc", "hss", "mme", "forger")
)
IMSI, MSISDN, CENTER = "001010000000001", "447700900123", "447700900999"


class Switches:
    """Who serves the one subscriber, as the HSS knows it."""

    def __init__(self) -> None:
        self.serving = MME.host
        self.origins: list[tuple[str, str, list[str]]] = []
        self.flags: list[int | None] = []

    def routing(self, connection: Connection, request: Message) -> None:
        """SRR at the HSS."""
        self.flags.append(request.avps.number("SRR-Flags"))
        node = grouped("Serving-Node", avp("MME-Name", self.serving), avp("MME-Realm", "home.net"))
        known = request.avps.octets("MSISDN") == bytes.fromhex("447700091032")
        answer = short_messages.routing_answer(
            HSS,
            imsi=IMSI if known else "",
            nodes=(node,) if known else (),
            result=0 if known else ExperimentalResult.USER_UNKNOWN,
        )
        connection.answer(request, answer)

    def submitted(self, smsc: Callable[[], Node], tasks: set[asyncio.Task[None]]) -> Handler:
        """OFR at the center: believed origin against the serving node, as anti-spoofing will do it."""

        async def judge(connection: Connection, request: Message) -> None:
            message = short_messages.read_mo_forward(request)
            node = smsc()
            origin = short_messages.trusted_origin(request, connection.peer_host, node.relays)
            self.origins.append((message.origin_host, origin, list(request.avps.identities("Route-Record"))))
            lookup = short_messages.routing_request(
                SMSC, "s;1;1", msisdn=message.msisdn, center=CENTER, realm="home.net", host=HSS.host
            )
            answer = await node.request(
                Application.S6C, Command.SEND_ROUTING_INFO_FOR_SM, lookup, 20, to_host=HSS.host
            )
            serving = [each.name for each in short_messages.read_routing(answer).nodes]
            genuine = answer.succeeded and origin in serving
            refusal = None if genuine else DeliveryFailure.USER_NOT_SC_USER
            connection.answer(request, short_messages.mo_forward_answer(SMSC, failure=refusal))

        def handle(connection: Connection, request: Message) -> None:
            task = asyncio.get_running_loop().create_task(judge(connection, request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        return handle


async def until(condition: Callable[[], bool]) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not within 60 s"
        await asyncio.sleep(0.05)


async def submit(node: Node, identity: Identity, claimed: Identity, number: int, msisdn: str = MSISDN) -> int:
    """Send an OFR that claims an origin; the result."""
    avps = short_messages.mo_forward(
        claimed,
        f"{identity.host};1;{number}",
        imsi=IMSI,
        msisdn=msisdn,
        center=CENTER,
        tpdu=b"\x01\x00\x00\x91\x00\x00\x00",
        host=SMSC.host,
        realm=SMSC.realm,
    )
    answer = await node.request(
        Application.SGD, Command.MO_FORWARD_SHORT_MESSAGE, avps, 20, to_host=SMSC.host
    )
    return answer.result[0]


async def scenario(program: str, folder: Path) -> dict[str, Any]:
    """Start everything, send what the test asks about."""
    switches, tasks, nodes = Switches(), set[asyncio.Task[None]](), dict[str, Node]()
    handlers: dict[str, dict[Command, Handler]] = {
        SMSC.host: {Command.MO_FORWARD_SHORT_MESSAGE: switches.submitted(lambda: nodes[SMSC.host], tasks)},
        HSS.host: {Command.SEND_ROUTING_INFO_FOR_SM: switches.routing},
    }
    ports = dict[str, int]()
    for identity in (SMSC, HSS, MME, FORGER):
        relay = PeerSettings(RELAY, relay=True, networks=("10.0.0.0/8", "127.0.0.0/8"))
        node = nodes[identity.host] = Node(identity, [relay], handlers.get(identity.host, {}))
        ports[identity.host] = await node.listen(ADDRESS, 0)
    daemon = start(program, folder, ports)
    try:
        await until(lambda: all(node.connected(RELAY) for node in nodes.values()))
        results = {
            "genuine": await submit(nodes[MME.host], MME, MME, 1),
            "forged": await submit(nodes[FORGER.host], FORGER, MME, 2),
            "unknown": await submit(nodes[MME.host], MME, MME, 3, "447700900000"),
        }
        switches.serving = "mme2.home.net"
        results["moved"] = await submit(nodes[MME.host], MME, MME, 4)
        mt = short_messages.mt_forward(
            SMSC, "s;2;1", imsi=IMSI, center=CENTER, tpdu=b"\0", host="mme9.home.net", realm="nowhere.net"
        )
        answer = await nodes[SMSC.host].request(
            Application.SGD, Command.MT_FORWARD_SHORT_MESSAGE, mt, 20, to_host="mme9.home.net"
        )
        results["nowhere"] = answer.result[0]
    finally:
        daemon.kill()
        daemon.wait()
    await until(lambda: not any(node.connected(RELAY) for node in nodes.values()))
    for node in nodes.values():
        await node.close()
    return {"results": results, "origins": switches.origins, "flags": switches.flags}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(scenario(sys.argv[1], Path(sys.argv[2])))))
