"""Real switches: OsmoMSC and OsmoHLR, with the center between them; handsets come in over SGs.

Nothing here is simulated but the handset and its MME: what it says goes through the switch's own stack, and what it is
told comes back that way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest
from gsup_switch import GsupSwitch
from osmo_network import CENTER, Network, osmo_network, read, submit
from sgs_handset import RP_ACK_DOWN, RP_ERROR_DOWN, Handset, Rp
from smpplib_esme import esme
from waiting import eventually

from restante.message import Address
from restante.signaling.causes import RpCause, Status
from restante.signaling.tpdu import (
    CT_CANCEL_STATUS_REPORT,
    CT_DELETE,
    CT_ENABLE_STATUS_REPORT,
    CT_ENQUIRY,
    Command,
    Deliver,
    StatusReport,
    Submit,
)
from restante.signaling.user_data import UserData

pytestmark = pytest.mark.xdist_group("osmocom")

ANNA, BERT = ("001010000000001", "447700900001"), ("001010000000002", "447700900002")


@pytest.fixture(scope="module")
def network(
    tmp_path_factory: pytest.TempPathFactory, component: Callable[[str, str], str]
) -> Iterator[Network]:
    """Two switches, two subscribers, an application with a number."""
    folder = tmp_path_factory.mktemp("osmocom")
    with osmo_network(folder, component, ("MSC-A", "MSC-B"), judged=True) as made:
        for imsi, number in (ANNA, BERT):
            made.subscribe(imsi, number)
        made.center.add_account("shop", "wisteria", numbers=["12345"], sources=["12345", "@Shop"])
        yield made


def test_a_message_goes_from_one_switch_to_a_handset_behind_the_other(network: Network) -> None:
    anna, bert = network.handset("MSC-A", ANNA[0]), network.handset("MSC-B", BERT[0])
    assert (anna.attach(), bert.attach()) == (0, 0)
    assert anna.submit(submit(BERT[1], b"hello", 1)).type == RP_ACK_DOWN
    stored = network.messages(ANNA[1])
    assert [each["recipient"] for each in stored] == [f"+{BERT[1]}"]

    data = bert.take()
    deliver = read(data)
    assert isinstance(deliver, Deliver)
    assert (deliver.oa, deliver.ud.payload, data.center) == (Address(1, 1, ANNA[1]), b"hello", CENTER)
    assert bert.pagings == 1
    bert.acknowledge(data)
    trace = eventually(lambda: network.ended(stored[0]["id"]), "delivered")
    assert (trace["state"], trace["route"]) == ("delivered", "switch")
    ingress = network.center.call("GET", f"/messages/{stored[0]['id']}/trace")["events"][0]["detail"]
    assert ingress["trusted"] == "ipa_name:MSC-A"
    assert ingress["asserted"] == {"imsi": ANNA[0], "center": CENTER}


def test_an_application_reaches_a_handset_in_parts_and_gets_its_receipt(network: Network) -> None:
    bert = network.handset("MSC-B", BERT[0])
    assert bert.attach() == 0
    text = "".join(chr(ord("a") + number % 26) for number in range(300))
    with esme(network.center.smpp_port, "transceiver", "shop", "wisteria") as shop:
        answer = shop.ask(
            "submit_sm",
            source_addr="12345",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=BERT[1],
            message_payload=text.encode(),
            registered_delivery=1,
        )
        assert answer.status == 0
        got, more = "", []
        for _ in range(2):
            data = bert.take()
            deliver = read(data)
            got += deliver.ud.payload.decode()
            more.append(deliver.mms)
            assert deliver.oa.digits == "12345"
            assert deliver.sri
            bert.acknowledge(data)
        assert (got, more) == (text, [True, False])
        assert b"stat:DELIVRD" in shop.next_delivered().short_message


def test_a_handset_that_asked_is_told_what_became_of_its_message(network: Network) -> None:
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0
    with esme(network.center.smpp_port, "transceiver", "shop", "wisteria") as shop:
        assert anna.submit(submit("12345", b"order", 77, srr=True)).type == RP_ACK_DOWN
        assert shop.next_delivered().short_message == b"order"
    data = anna.take()
    report = read(data)
    assert isinstance(report, StatusReport)
    assert (report.mr, report.st, report.ra.digits, report.srq) == (77, Status.RECEIVED, "12345", False)
    anna.acknowledge(data)

    enquiry = Command(Address(1, 1, "12345"), CT_ENQUIRY, mn=77, mr=78)
    assert anna.submit(enquiry.encode()).type == RP_ACK_DOWN
    data = anna.take()
    report = read(data)
    assert (report.mr, report.st, report.srq) == (78, Status.RECEIVED, True)
    anna.acknowledge(data)
    unknown = Command(Address(1, 1, "12345"), CT_ENQUIRY, mn=79, mr=80)
    assert anna.submit(unknown.encode())[:3] == (RP_ERROR_DOWN, anna.mr, RpCause.FACILITY_REJECTED)


def test_a_handset_deletes_what_waits_and_changes_its_mind_about_reports(network: Network) -> None:
    anna, bert = network.handset("MSC-A", ANNA[0]), network.handset("MSC-B", BERT[0])
    assert (anna.attach(), bert.attach()) == (0, 0)

    def waiting(mr: int, **more: bool) -> str:
        assert anna.submit(submit(BERT[1], b"wait %d" % mr, mr, **more)).type == RP_ACK_DOWN
        return str(network.messages(ANNA[1])[0]["id"])

    def command(who: Handset, ct: int, mn: int, srr: bool = False) -> Rp:
        said = Command(Address(1, 1, BERT[1]), ct, mn=mn, mr=mn + 1, srr=srr)
        return who.submit(said.encode())

    told = waiting(101, srr=True)
    bert.refuse(bert.take(), RpCause.MEMORY_CAPACITY_EXCEEDED)  # from now on everything for her waits
    eventually(lambda: [e for e in network.events(told) if e["kind"] == "attempt"], "the attempt")
    assert command(bert, CT_DELETE, 101).cause == RpCause.FACILITY_REJECTED  # it is not hers to delete
    assert command(anna, CT_DELETE, 101).type == RP_ACK_DOWN
    report = anna.take()
    assert (read(report).mr, read(report).st, read(report).srq) == (101, Status.DELETED_BY_SENDER, False)
    anna.acknowledge(report)
    assert network.ended(told)["state"] == "deleted"
    assert command(anna, CT_DELETE, 101)[:3] == (RP_ERROR_DOWN, anna.mr, RpCause.FACILITY_REJECTED)

    silent = waiting(111, srr=True)
    assert command(anna, CT_CANCEL_STATUS_REPORT, 111).type == RP_ACK_DOWN
    assert (
        command(anna, CT_DELETE, 111, srr=True).type == RP_ACK_DOWN
    )  # of the command itself she wants to hear
    report = anna.take()
    assert (read(report).mr, read(report).st, read(report).srq) == (112, Status.DELETED_BY_SENDER, True)
    anna.acknowledge(report)
    assert network.ended(silent)["state"] == "deleted"

    late = waiting(121)
    assert command(anna, CT_ENABLE_STATUS_REPORT, 121).type == RP_ACK_DOWN
    assert bert.memory_available().type == RP_ACK_DOWN
    data = bert.take()
    assert read(data).ud.payload == b"wait 121"
    bert.acknowledge(data)
    report = anna.take()  # nothing came in between about the second one
    assert (read(report).mr, read(report).st, read(report).srq) == (121, Status.RECEIVED, False)
    anna.acknowledge(report)
    assert network.ended(late)["state"] == "delivered"
    assert command(anna, 0xE0, 121).cause == RpCause.FACILITY_REJECTED


def test_a_full_handset_is_tried_again_when_it_says_that_it_has_room(network: Network) -> None:
    anna, bert = network.handset("MSC-A", ANNA[0]), network.handset("MSC-B", BERT[0])
    assert (anna.attach(), bert.attach()) == (0, 0)
    assert anna.submit(submit(BERT[1], b"no room", 11)).type == RP_ACK_DOWN
    id = network.messages(ANNA[1])[0]["id"]
    bert.refuse(bert.take(), RpCause.MEMORY_CAPACITY_EXCEEDED)
    failed = eventually(lambda: [e for e in network.events(id) if e["kind"] == "attempt"], "the attempt")
    assert (failed[0]["reason"], failed[0]["detail"]["rp_cause"]) == ("memory-full", 22)
    assert bert.memory_available().type == RP_ACK_DOWN
    data = bert.take()
    assert read(data).ud.payload == b"no room"
    bert.acknowledge(data)
    assert eventually(lambda: network.ended(id), "delivered")["state"] == "delivered"


def test_a_subscriber_who_moved_is_found_where_the_register_says(network: Network) -> None:
    anna, bert = network.handset("MSC-A", ANNA[0]), network.handset("MSC-B", BERT[0])
    assert (anna.attach(), bert.attach()) == (0, 0)
    bert.detach()
    moved = network.handset("MSC-A", BERT[0])
    assert moved.attach() == 0
    assert anna.submit(submit(BERT[1], b"where are you", 21)).type == RP_ACK_DOWN
    data = moved.take()
    assert read(data).ud.payload == b"where are you"
    moved.acknowledge(data)


def test_a_repeated_message_is_acknowledged_again_and_stored_once(network: Network) -> None:
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0
    tpdu = submit("12345", b"only once", 31)
    before = len(network.messages(ANNA[1]))
    assert anna.submit(tpdu).type == RP_ACK_DOWN
    assert anna.submit(tpdu).type == RP_ACK_DOWN
    repeated = bytes((tpdu[0] | 0x04,)) + tpdu[1:]  # as handsets repeat by themselves: TP-RD
    assert anna.submit(repeated).type == RP_ACK_DOWN
    other = Submit(Address(1, 1, "12345"), 31, rd=True, ud=UserData(payload=b"another")).encode()
    assert anna.submit(other)[:3] == (RP_ERROR_DOWN, anna.mr, RpCause.TRANSFER_REJECTED)
    assert len(network.messages(ANNA[1])) == before + 1


def test_what_may_not_be_sent_is_refused_in_the_words_of_rp(network: Network) -> None:
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0
    nowhere = anna.submit(submit("99", b"nowhere", 41))
    assert nowhere[:3] == (RP_ERROR_DOWN, anna.mr, RpCause.UNASSIGNED_NUMBER)


def test_messages_pass_while_the_register_is_away_and_phones_come_back_with_it(network: Network) -> None:
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0
    network.register.stop()
    try:
        assert anna.submit(submit("12345", b"no register", 51)).type == RP_ACK_DOWN
        assert network.handset("MSC-B", BERT[0]).attach() != 0  # refused at once, not left to time out
    finally:
        network.register.start()
    for name in network.switches:
        eventually(lambda name=name: network.connected(name), f"{name} and the register")
    assert network.handset("MSC-B", BERT[0]).attach() == 0


def test_a_name_that_is_connected_is_not_given_away(network: Network) -> None:
    before = network.center.metric("restante_gsup_name_collisions_total")

    async def claim() -> bytes:
        claimant = await GsupSwitch.connect("MSC-A", *network.gsup)
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(claimant.reader.read(), 30)
        return b""

    assert asyncio.run(claim()) == b""
    assert network.center.metric("restante_gsup_name_collisions_total") == before + 1
    assert network.connected("MSC-A")
    anna = network.handset("MSC-A", ANNA[0])
    assert anna.attach() == 0


def test_an_operator_ends_a_connection_and_the_switch_comes_back(network: Network) -> None:
    (link,) = [each for each in network.links() if each["name"] == "MSC-B"]
    network.center.call("DELETE", f"/switch-links/{link['id']}")
    eventually(
        lambda: any(e["name"] == "MSC-B" and e["id"] != link["id"] for e in network.links()), "MSC-B again"
    )
    eventually(lambda: network.connected("MSC-B"), "the register behind it")


def test_what_was_stored_or_acknowledged_before_a_restart_is_known_again(network: Network) -> None:
    """A message that is repeated, and a long one of which a part arrived."""
    anna, bert = network.handset("MSC-A", ANNA[0]), network.handset("MSC-B", BERT[0])
    assert (anna.attach(), bert.attach()) == (0, 0)
    tpdu = submit("12345", b"crash", 61)
    assert anna.submit(tpdu).type == RP_ACK_DOWN
    before = len(network.messages(ANNA[1]))
    text = "".join(chr(ord("a") + number % 26) for number in range(400))
    with esme(network.center.smpp_port, "transmitter", "shop", "wisteria") as shop:
        to = {"dest_addr_ton": 1, "dest_addr_npi": 1, "destination_addr": BERT[1]}
        assert shop.ask("submit_sm", source_addr="12345", message_payload=text.encode(), **to).status == 0
        first = bert.take()
        bert.acknowledge(first)
        second = bert.take()  # it came, so the first acknowledgement is on disk
    network.center.kill()
    bert.acknowledge(second)  # nobody hears it any more
    network.center.start()
    for name in network.switches:
        eventually(lambda name=name: network.connected(name), f"{name} at the center again", 60)
    assert anna.submit(tpdu).type == RP_ACK_DOWN
    assert len(network.messages(ANNA[1])) == before
    again = bert.take()
    bert.acknowledge(again)
    third = bert.take()
    bert.acknowledge(third)
    assert read(again).ud == read(second).ud
    assert "".join(read(one).ud.payload.decode() for one in (first, again, third)) == text
    assert len({read(one).ud.header[:-1] for one in (first, again, third)}) == 1  # one reference
