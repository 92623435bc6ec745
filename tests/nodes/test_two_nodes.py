"""Two nodes on one PostgreSQL, as processes, entered by their real doors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from crash_book import read
from gsup_switch import GsupSwitch
from node_cluster import Esmes, cluster, esmes
from osmo_hlr import OsmoHlr
from osmo_network import subscribe
from other_center import OtherCenter, other_center
from running_center import RunningCenter, free_ports
from waiting import eventually

from restante.message import MessageState
from restante.simulator.link import Answer, BindRefused, Connection
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status

pytestmark = pytest.mark.xdist_group("nodes")

SHOP: dict[str, Any] = {"source_addr_ton": 5, "source_addr": b"Shop"}


@pytest.fixture(scope="module")
def register(
    tmp_path_factory: pytest.TempPathFactory, component: Callable[[str, str], str]
) -> Iterator[OsmoHlr]:
    """The home register of handsets."""
    made = OsmoHlr(component("osmo-hlr", "osmo-hlr"), tmp_path_factory.mktemp("register"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def nodes(
    pg_server: object, tmp_path_factory: pytest.TempPathFactory, register: OsmoHlr
) -> Iterator[list[RunningCenter]]:
    url = pg_server.create_database()  # type: ignore[attr-defined]
    settings = {
        "store.durability": "process-crash-only",
        "handsets.account": "handsets",
        "handsets.center": "447700900999",
        "gsup.host": "127.0.0.1",
        "gsup.port": free_ports(1)[0],
        "gsup.register_host": register.address,
        "gsup.register_port": register.gsup_port,
        "gsup.switches": [{"name": name, "networks": ["127.0.0.0/8"]} for name in ("MSC-A", "MSC-B")],
        "affiliations.osmo_hlr.host": register.address,
        "affiliations.osmo_hlr.port": register.ctrl_port,
    }
    with cluster(tmp_path_factory.mktemp("nodes"), url, settings=settings) as made:
        first = made[0]
        first.add_account("shop", "secret", sources=["*"])
        first.add_account("bank", "secret", numbers=["12345"])
        yield made
    pg_server.drop_database(url)  # type: ignore[attr-defined]


@pytest.fixture
def peers() -> Iterator[Esmes]:
    with esmes() as made:
        yield made


@pytest.fixture
def other() -> Iterator[OtherCenter]:
    with other_center() as made:
        yield made


class Log:
    """What an ESME received, in order. It may keep its answers back."""

    def __init__(self, *, answers: bool = True) -> None:
        self.texts: list[str] = []
        self.receipts: list[str] = []
        self.answers = answers
        self.kept: list[Callable[[], None]] = []

    def __call__(self, message: pdu.DeliverSm, answer: Answer) -> None:
        text = message.short_message.decode("latin-1")
        (self.receipts if message.esm_class & 0x04 else self.texts).append(text)
        if self.answers:
            answer(0, b"")
        else:
            self.kept.append(partial(answer, 0, b""))

    def go_on(self) -> None:
        """Answer what was kept back, and everything from now on."""
        self.answers = True
        for answer in self.kept:
            answer()

    def stat(self, id: int) -> str:
        """What the receipts say about a message."""
        found = [text.split("stat:")[1][:7] for text in self.receipts if text.startswith(f"id:{id} ")]
        assert len(found) <= 1, f"{len(found)} receipts about {id}"
        return found[0] if found else ""


def status(peers: Esmes, sender: Connection, request: pdu.CancelSm | pdu.ReplaceSm) -> int:
    return peers.ask(sender, request).command_status


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


def test_a_message_in_another_nodes_hands_is_asked_for_cancelled_and_replaced(
    nodes: list[RunningCenter], peers: Esmes
) -> None:
    """The recipient takes one at a time and holds its answer back: the first is under way, the others wait there."""
    a, b = nodes
    a.add_account("slow", "secret", numbers=["54321"], window=1)
    slow, shop = Log(answers=False), Log()
    eventually(lambda: "slow" in [one["system_id"] for one in b.call("GET", "/accounts?limit=200")["items"]])
    peers.bind(b, "slow", "secret", on_message=slow)
    sender = peers.bind(a, "shop", "secret", on_message=shop)
    ids = [peers.submit(sender, "54321", text) for text in ("one", "two", "three", "four")]
    eventually(lambda: slow.texts, "the first")
    named = [str(id).encode() for id in ids]
    asked = peers.ask(sender, pdu.QuerySm(message_id=named[1], **SHOP))
    assert isinstance(asked, pdu.QuerySmResp)
    assert asked.message_state == MessageState.ENROUTE
    # The other node may only just be hearing of it.
    eventually(lambda: status(peers, sender, pdu.CancelSm(message_id=named[1], **SHOP)) == 0, "the cancel")
    new = pdu.ReplaceSm(message_id=named[2], short_message=b"three anew", registered_delivery=1, **SHOP)
    eventually(lambda: status(peers, sender, new) == 0, "the replacement")
    first = pdu.CancelSm(message_id=named[0], **SHOP)
    assert status(peers, sender, first) == Status.ESME_RCANCELFAIL, "it is under delivery there"
    assert shop.stat(ids[1]) or eventually(lambda: shop.stat(ids[1]), "its receipt")
    assert shop.stat(ids[1]) == "DELETED"
    peers.soon(slow.go_on)
    eventually(lambda: len(slow.texts) == 3, "all that is left")
    assert sorted(slow.texts) == ["four", "one", "three anew"]
    for id in (ids[0], ids[2], ids[3]):
        assert eventually(partial(shop.stat, id), "its receipt") == "DELIVRD"


def test_messages_follow_an_esme_that_moves(nodes: list[RunningCenter], peers: Esmes) -> None:
    """The bind at one node is cut with one message under way; everything comes to the other node."""
    a, b = nodes
    there, here, shop = Log(answers=False), Log(), Log()
    first = peers.bind(b, "bank", "secret", on_message=there)
    sender = peers.bind(a, "shop", "secret", on_message=shop)
    ids = [peers.submit(sender, "12345", f"text {n}") for n in range(5)]
    eventually(lambda: there.texts, "something at the first")
    peers.drop(first)
    peers.bind(a, "bank", "secret", on_message=here)
    ids += [peers.submit(sender, "12345", f"text {n}") for n in range(5, 10)]
    eventually(lambda: len(set(here.texts)) == 10, "all of them at the second")
    for id in ids:
        assert eventually(partial(shop.stat, id), "its receipt") == "DELIVRD"
    assert sorted(here.texts) == [f"text {n}" for n in range(10)], "something came twice"


def test_a_link_that_one_node_only_reaches(
    nodes: list[RunningCenter], peers: Esmes, other: OtherCenter
) -> None:
    """The other center takes one bind: both nodes' messages go over it, receipts find their message wherever it came
    in, and what an operator wants of the link counts at both."""
    a, b = nodes
    other.most_binds = 1
    other.accept_all()
    link = {
        "name": "narrow", "addresses": [other.address], "system_id": "us", "reconnect_min_s": 0.2,
        "reconnect_max_s": 0.5,
    }  # fmt: skip
    made = a.call("POST", "/links", link)
    a.add_route("out", prefix="+49", target="link", link="narrow")
    eventually(lambda: other.bound, "a bind of either")
    eventually(lambda: all(_routes(node, "out") for node in nodes), "the route at both")
    ids: dict[int, Log] = {}
    for node in nodes:
        shop = Log()
        sender = peers.bind(node, "shop", "secret", on_message=shop)
        for n in range(5):
            ids[peers.submit(sender, f"+4917000000{n}", f"from {node.folder.name} {n}")] = shop
    logs = list({id(log): log for log in ids.values()}.values())
    for one in ids:
        assert eventually(lambda one=one: "".join(log.stat(one) for log in logs), "its receipt") == "DELIVRD"
    assert len(other.submitted) == 10
    for verb, condition in (("isolate", {"isolated", "down"}), ("suspend", {"suspended"})):
        found = a.call("GET", f"/links/{made['id']}")
        a.call("POST", f"/links/{made['id']}:{verb}", If_Match=f'"{found["version"]}"')
        eventually(lambda wanted=condition: _condition(b, "narrow") in wanted, f"{verb} at the other node")
    eventually(lambda: all(client.ended.is_set() for client in other.bound), "both to leave")


def test_a_receipt_comes_over_another_nodes_bind(
    nodes: list[RunningCenter], peers: Esmes, other: OtherCenter
) -> None:
    """Handed over and answered at one node; the receipt comes to the other one."""
    a = nodes[0]
    link = {"name": "wide", "addresses": [other.address], "system_id": "us", "reconnect_min_s": 0.2}
    made = a.call("POST", "/links", link)
    a.add_route("far", prefix="+33", target="link", link="wide")
    eventually(lambda: len(other.bound) == 2, "binds of both")
    shop = Log()
    sender = peers.bind(a, "shop", "secret", on_message=shop)
    id = peers.submit(sender, "+33123456789", "hello")
    client, sent = other.submit()
    other.answer(client, sent, "R1")
    elsewhere = next(one for one in other.bound if one is not client)
    other.receipt(elsewhere, sent, "R1")
    assert other.response().command_status == 0
    assert eventually(lambda: shop.stat(id), "its receipt") == "DELIVRD"
    a.call("POST", f"/links/{made['id']}:suspend", If_Match=f'"{made["version"]}"')


def test_seats_are_counted_over_both_nodes(nodes: list[RunningCenter], peers: Esmes) -> None:
    a, b = nodes
    number = a.add_account("few", "secret", max_binds=2)
    eventually(lambda: b.call("GET", f"/accounts/{number}")["system_id"] == "few")
    first, _ = peers.bind(a, "few", "secret"), eventually(lambda: bound(peers, b, "few"), "the account there")
    for node in nodes:
        with pytest.raises(BindRefused):
            peers.bind(node, "few", "secret")
    peers.drop(first)
    eventually(lambda: bound(peers, b, "few"), "the seat that was left, at the other node")
    with pytest.raises(BindRefused):
        peers.bind(a, "few", "secret")


def bound(peers: Esmes, node: RunningCenter, name: str) -> bool:
    """Bind, if that is possible now."""
    try:
        peers.bind(node, name, "secret")
    except BindRefused:
        return False
    return True


def test_edits_count_at_both_nodes(nodes: list[RunningCenter], peers: Esmes) -> None:
    a, b = nodes
    id = a.add_account("fresh", "secret")
    eventually(lambda: bound(peers, b, "fresh"), "the account at the other node")
    a.call("POST", f"/accounts/{id}/credentials:rotate", {"password": "newer"})
    eventually(lambda: not bound(peers, b, "fresh"), "the old password to be refused there")
    there = peers.bind(b, "fresh", "newer")
    found = a.call("GET", f"/accounts/{id}")
    settings = {"suspended": True}
    headers = {"If_Match": f'"{found["version"]}"', "Content_Type": "application/merge-patch+json"}
    a.call("PATCH", f"/accounts/{id}", settings, **headers)
    eventually(there.ended.done, "the bind at the other node to be ended")
    with pytest.raises(BindRefused):
        peers.bind(b, "fresh", "newer")


def test_what_is_submitted_at_both_nodes_at_once_is_stored_once(
    nodes: list[RunningCenter], peers: Esmes
) -> None:
    a, b = nodes
    a.add_account("twice", "secret", sources=["*"], duplicate_window_s=600)
    eventually(lambda: bound(peers, b, "twice"), "the account at the other node")
    senders = [peers.bind(node, "twice", "secret") for node in nodes]

    async def both(text: str) -> list[int]:
        """Its id at each node."""
        answers = [asyncio.get_running_loop().create_future() for _ in senders]
        for sender, answer in zip(senders, answers, strict=True):
            request = pdu.SubmitSm(destination_addr=b"12345", short_message=text.encode(), **SHOP)
            sender.send(request, answer.set_result)
        said = await asyncio.gather(*answers)
        assert [one.command_status for one in said] == [0, 0], said
        return [int(one.message_id) for one in said]

    pairs = [peers.run(both(f"text {n}")) for n in range(20)]
    assert all(first == second for first, second in pairs), pairs
    assert len({first for first, _ in pairs}) == 20
    url = a.site.config.store.url
    stored = read(
        url, "SELECT id FROM message WHERE kind = 0 AND source_addr = 'Shop' ORDER BY id DESC LIMIT 20"
    )
    assert {row[0] for row in stored[0]} == {first for first, _ in pairs}


class Switch:
    """A switch at one node, whose handsets take everything. It connects again until it leaves: the register may still
    hold the name for its last connection."""

    def __init__(self, peers: Esmes, node: RunningCenter, name: str) -> None:
        self.texts: list[str] = []
        self._left = False
        self._peers, self._node, self._name = peers, node, name
        self._link: GsupSwitch = peers.run(GsupSwitch.connect(name, "127.0.0.1", node.gsup_port))
        eventually(self._shown, f"{name} at its node")

    def serve(self, *imsis: str) -> None:
        """Attach handsets, and take what comes for them."""
        for imsi in imsis:
            self._peers.run(self._link.attach(imsi))
        self._peers.begin(self._stay())

    async def _stay(self) -> None:
        while True:
            await self._link.take_all(self.texts)
            if self._left:
                return
            with contextlib.suppress(AssertionError, OSError, TimeoutError):
                self._link = await GsupSwitch.connect(self._name, "127.0.0.1", self._node.gsup_port)

    def leave(self) -> None:
        """The link ends."""
        self._left = True
        self._peers.soon(self._link.writer.close)
        eventually(lambda: not self._shown(), f"{self._name} to be gone")

    def _shown(self) -> bool:
        """Whether the node's operators see it."""
        found = self._node.call("GET", "/switch-links")["items"]
        return self._name in [link["name"] for link in found]


def test_handsets_behind_a_switch_that_one_node_only_reaches(
    nodes: list[RunningCenter], peers: Esmes, register: OsmoHlr
) -> None:
    """What comes in at the other node is delivered here; what waits there while the switch is away, when it is back.
    Then both nodes have a switch, and each handset is found behind its own."""
    a, b = nodes
    handsets = {f"0010100000000{n}": f"4477009000{n}" for n in range(10, 18)}
    for imsi, number in handsets.items():
        subscribe(register, imsi, number)
    imsis, numbers = list(handsets), [f"+{number}" for number in handsets.values()]
    a.add_account("handsets", "secret", role="switch")
    a.add_route("handsets", prefix="+4477", target="switch")
    eventually(lambda: _routes(b, "handsets"), "the route at the other node")
    shop = Log()
    sender = peers.bind(b, "shop", "secret", on_message=shop)
    first = Switch(peers, a, "MSC-A")
    first.serve(*imsis[:4])
    ids = [peers.submit(sender, numbers[0], text) for text in ("one", "two")]
    eventually(lambda: first.texts == ["one", "two"], "both behind the switch of the other node")
    first.leave()
    waiting = peers.submit(sender, numbers[0], "three")
    eventually(lambda: b.message(str(waiting))["attempts"], "an attempt that finds no switch")
    second = Switch(peers, a, "MSC-A")
    second.serve()
    eventually(
        lambda: second.texts == ["three"], f"what waited: {b.call('GET', f'/messages/{waiting}/trace')}"
    )
    other = Switch(peers, b, "MSC-B")
    other.serve(*imsis[4:])
    ids += [waiting, *(peers.submit(sender, number, number) for number in numbers)]
    eventually(lambda: len(second.texts) + len(other.texts) == 9, "one for each")
    assert sorted(second.texts) == sorted(["three", *numbers[:4]])
    assert sorted(other.texts) == numbers[4:]
    for id in ids:
        assert eventually(partial(shop.stat, id), "its receipt") == "DELIVRD"


def _routes(node: RunningCenter, name: str) -> bool:
    return any(one["name"] == name for one in node.call("GET", "/routes?limit=200")["items"])


def _condition(node: RunningCenter, name: str) -> str:
    items = node.call("GET", "/links:status")["items"]
    return next(str(one["condition"]) for one in items if one["name"] == name)
