"""A real OsmoMSC as the other side of a link: we bind at its SMPP port, its handsets come in over SGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from osmo_msc import ESME, PASSWORD
from osmo_network import Network, osmo_network, read
from smpplib_esme import Esme, esme
from waiting import eventually

from restante.signaling.causes import RpCause

pytestmark = pytest.mark.xdist_group("osmocom")

ANNA, BERT = ("001010000000001", "447700900001"), ("001010000000002", "447700900002")


@pytest.fixture(scope="module")
def network(
    tmp_path_factory: pytest.TempPathFactory, component: Callable[[str, str], str]
) -> Iterator[Network]:
    """One switch whose messages go over SMPP, and the link to it."""
    with osmo_network(tmp_path_factory.mktemp("osmolink"), component, over_gsup=False) as made:
        for imsi, number in (ANNA, BERT):
            made.subscribe(imsi, number)
        center, switch = made.center, made.switches["MSC-A"]
        center.add_account("shop", "wisteria", numbers=["12345"], sources=["12345"])
        for error in ("memory-full", "system", "congested", "busy", "timeout"):
            center.call("POST", "/schedules", {"error": error, "delays_s": [1]})
        link = {
            "name": "msc", "addresses": [f"{switch.address}:{switch.smpp_port}"], "system_id": ESME,
            "state": "suspended", "role": "switch", "outcome_in_response": True,
            "message_mode": "forward", "reconnect_min_s": 0.1, "reconnect_max_s": 0.5,
        }  # fmt: skip
        added = center.call("POST", "/links", link)
        center.call("PUT", f"/links/{added['id']}/password", {"password": PASSWORD})
        center.call("POST", f"/links/{added['id']}:resume", If_Match=f'"{added["version"]}"')
        center.add_route("behind", prefix="+44770090000", target="link", link="msc")
        eventually(lambda: center.call("GET", "/links:status")["items"][0]["condition"] == "up", "the link")
        yield made


def send(shop: Esme, to: str, text: str) -> str:
    """A message with a receipt; its id."""
    answer = shop.ask(
        "submit_sm", source_addr="12345", dest_addr_ton=1, dest_addr_npi=1, destination_addr=to,
        short_message=text.encode(), registered_delivery=1,
    )  # fmt: skip
    assert answer.status == 0
    return str(answer.message_id.decode())


def attempts(network: Network, id: str) -> list[Any]:
    return [one for one in network.events(id) if one["kind"] == "attempt"]


def test_its_response_is_the_outcome_although_its_id_is_always_the_same(network: Network) -> None:
    anna, bert = network.handset("MSC-A", ANNA[0]), network.handset("MSC-A", BERT[0])
    assert (anna.attach(), bert.attach()) == (0, 0)
    with esme(network.center.smpp_port, "transceiver", "shop", "wisteria") as shop:
        ids = [send(shop, who[1], text) for who, text in ((ANNA, "to anna"), (BERT, "to bert"))]
        for handset, text in ((bert, b"to bert"), (anna, b"to anna")):
            data = handset.take()
            assert (read(data).oa.digits, read(data).ud.payload, handset.pagings) == ("12345", text, 1)
            handset.acknowledge(data)
        receipts = [shop.next_delivered().short_message for _ in ids]
    assert all(b"stat:DELIVRD" in one for one in receipts)
    assert {one.split()[0].decode() for one in receipts} == {f"id:{id}" for id in ids}
    for id in ids:
        final = network.ended(id)
        assert (final["state"], final["route"]) == ("delivered", "link:msc")
    (status,) = network.center.call("GET", "/links:status")["items"]
    assert (status["awaited_receipts"], status["kept_receipts"]) == (0, 0)


def test_a_full_handset_is_tried_again(network: Network) -> None:
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0
    with esme(network.center.smpp_port, "transceiver", "shop", "wisteria") as shop:
        id = send(shop, ANNA[1], "twice")
        anna.refuse(anna.take(), RpCause.MEMORY_CAPACITY_EXCEEDED)
        failed = eventually(lambda: attempts(network, id), "the attempt")[0]
        assert failed["detail"]["status"].startswith("ESME_"), failed
        data = anna.take()
        assert read(data).ud.payload == b"twice"
        anna.acknowledge(data)
        assert b"stat:DELIVRD" in shop.next_delivered().short_message
