"""Two nodes on one PostgreSQL, as processes, entered by their real doors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from node_cluster import Esmes, cluster, esmes
from running_center import RunningCenter
from waiting import eventually

from restante.simulator.link import Answer
from restante.smsc.smpp import pdu

pytestmark = pytest.mark.xdist_group("nodes")


@pytest.fixture(scope="module")
def nodes(pg_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningCenter]]:
    url = pg_server.create_database()  # type: ignore[attr-defined]
    settings = {"store.durability": "process-crash-only"}
    with cluster(tmp_path_factory.mktemp("nodes"), url, settings=settings) as made:
        first = made[0]
        first.add_account("shop", "secret", sources=["*"])
        first.add_account("bank", "secret", numbers=["12345"])
        first.add_account("msc", "secret", role="switch")
        first.add_range("+4477")
        first.add_route("phones", prefix="+4477", target="account", account="msc")
        yield made
    pg_server.drop_database(url)  # type: ignore[attr-defined]


@pytest.fixture
def peers() -> Iterator[Esmes]:
    with esmes() as made:
        yield made


class Log:
    """What an ESME received, in order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.receipts: list[str] = []

    def __call__(self, message: pdu.DeliverSm, answer: Answer) -> None:
        text = message.short_message.decode("latin-1")
        (self.receipts if message.esm_class & 0x04 else self.texts).append(text)
        answer(0, b"")


def test_what_arrives_at_one_node_reaches_an_esme_at_the_other(
    nodes: list[RunningCenter], peers: Esmes
) -> None:
    a, b = nodes
    bank, shop = Log(), Log()
    peers.bind(b, "bank", "secret", on_message=bank)
    sender = peers.bind(a, "shop", "secret", on_message=shop)
    ids = [peers.submit(sender, "12345", f"text {n}") for n in range(20)]
    eventually(lambda: len(bank.texts) == 20, "all texts at the other node")
    assert bank.texts == [f"text {n}" for n in range(20)]
    eventually(lambda: len(shop.receipts) == 20, "all receipts back at the first")
    assert all("stat:DELIVRD" in receipt for receipt in shop.receipts)
    assert {int(receipt.split()[0].removeprefix("id:")) for receipt in shop.receipts} == set(ids)
