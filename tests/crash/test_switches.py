"""The store is away while a real switch goes on: phones register, and no message is acknowledged that is not stored.

Everything passes through the center: location updates on their way from a real OsmoMSC to a real OsmoHLR, and the
messages that its handsets send.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from failing_disk import FailingDisk, Fault
from osmo_network import Network, osmo_network, submit
from postgres_plugin import OwnServer
from running_center import RunningCenter
from sgs_handset import RP_ACK_DOWN, RP_ERROR_DOWN, Handset
from waiting import eventually

from restante.signaling.causes import RpCause

Component = Callable[[str, str], str]

ANNA = ("001010000000001", "447700900001")
LATER = [(f"00101000000010{n}", f"44770090010{n}") for n in range(5)]  #: who come while the store is away


def ready(center: RunningCenter) -> bool:
    """What /readyz says."""
    return httpx.get(f"http://127.0.0.1:{center.ops_port}/readyz", timeout=30).status_code == 200


def furnish(network: Network) -> Handset:
    """Subscribers, an application with a number, and the first handset, which can send."""
    for imsi, number in (ANNA, *LATER):
        network.subscribe(imsi, number)
    network.center.add_account("shop", "wisteria", numbers=["12345"], sources=["12345"])
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0
    assert anna.submit(submit("12345", b"before", 1)).type == RP_ACK_DOWN
    return anna


def acknowledged(network: Network) -> float:
    """How many messages the center told handsets that it has."""
    return network.center.metric("restante_handsets_said_total", kind="submit", answer="accepted")


def phones_register(network: Network) -> None:
    """Each of them updates its location: the switch asks the register through the center."""
    for imsi, _ in LATER:
        assert network.handset("MSC-A", imsi).attach() == 0


def test_phones_register_while_the_disk_hangs(tmp_path: Path, component: Component) -> None:
    """SQLite: the one writer waits for its sync. What was sent meanwhile is acknowledged when it is on disk."""
    disk = FailingDisk(tmp_path / "disk", tmp_path / "center")
    with osmo_network(tmp_path, component, environ=disk.environ) as network:
        anna = furnish(network)
        before = acknowledged(network)
        disk.be(Fault.SYNC_HANGS)
        try:
            anna.start(submit("12345", b"waits", 2))
            phones_register(network)
            assert acknowledged(network) == before
        finally:
            disk.be(Fault.NONE)
        assert anna.answer().type == RP_ACK_DOWN
        assert acknowledged(network) == before + 1 > 1
        stored = eventually(lambda: network.messages(ANNA[1])[1:] and network.messages(ANNA[1]))
        assert len(stored) == 2


def test_phones_register_while_the_database_is_stopped(
    tmp_path: Path, component: Component, pg_own_server: OwnServer
) -> None:
    """PostgreSQL: gone without a word. Handsets are told to come again, and are heard when it is back."""
    settings = {"store.url": pg_own_server.create_database(), "store.unknown_after_s": 3}
    with osmo_network(tmp_path, component, settings=settings) as network:
        anna = furnish(network)
        before = acknowledged(network)
        pg_own_server.crash()
        eventually(lambda: not ready(network.center), "/readyz to say so", seconds=60)
        phones_register(network)
        refused = anna.submit(submit("12345", b"lost", 2))
        assert refused.type == RP_ERROR_DOWN
        assert refused.cause in (RpCause.TEMPORARY_FAILURE, RpCause.CONGESTION)
        assert acknowledged(network) == before > 0
        pg_own_server.start()
        eventually(lambda: ready(network.center), "/readyz to be content again", seconds=120)
        phones_register(network)
        assert anna.submit(submit("12345", b"after", 3)).type == RP_ACK_DOWN
        assert len(network.messages(ANNA[1])) == 2
