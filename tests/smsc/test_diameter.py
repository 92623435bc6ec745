"""Handsets behind MMEs, and their HSS: the real center by its Diameter door, python-diameter as the other side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from diameter.message import constants
from diameter_home import CENTER, CENTER_HOST, REALM, HomeNode, Register, delivery_failure, home_nodes
from running_center import RunningCenter, free_ports, running_center
from smpplib_esme import esme
from waiting import eventually

from restante.message import Address
from restante.signaling.causes import DeliveryFailure, FailureCause, ResultCode
from restante.signaling.diameter.dictionary import Application, Command
from restante.signaling.tpdu import Deliver, Submit, SubmitReport, decode_to_handset
from restante.signaling.user_data import UserData

pytestmark = pytest.mark.xdist_group("diameter")

ANNA, BERT = ("001010000000001", "447700900001"), ("001010000000002", "447700900002")
MME_A, MME_B, HSS = "mme-a.home.net", "mme-b.home.net", "hss.home.net"
REFUSED = (5555, True)


@dataclass
class Home:
    """Everything that runs."""

    center: RunningCenter
    port: int
    register: Register
    hss: HomeNode
    a: HomeNode
    b: HomeNode

    def settle(self) -> None:
        """Anna behind MME A, Bert behind MME B, nothing remembered."""
        self.register.serving.update({ANNA[1]: MME_A, BERT[1]: MME_B})
        self.register.router = ""
        for number in (ANNA[1], BERT[1]):
            self.forget(number)

    def forget(self, number: str) -> None:
        """Let the center ask the HSS again."""
        self.center.request("DELETE", f"/admin/spoof/affiliations/+{number}")

    def links(self) -> dict[str, Any]:
        """Peers as operators see them."""
        return {each["name"]: each for each in self.center.call("GET", "/switch-links")["items"]}

    def messages(self, number: str) -> list[Any]:
        """What the center has of a sender, newest first."""
        return self.center.call("GET", f"/messages?from=%2B{number}")["items"]

    def events(self, id: str, kind: str) -> list[Any]:
        """The events of a kind in the trace of a message."""
        told = self.center.call("GET", f"/messages/{id}/trace")["events"]
        return [event for event in told if event["kind"] == kind]

    def ended(self, id: str) -> Any:
        """The last event of a message, when it is over."""
        return eventually(lambda: self.events(id, "final"), f"the end of {id}")[0]


def settings(port: int, *peers: Mapping[str, object]) -> dict[str, object]:
    """Of a center that listens for its peers."""
    return {
        "handsets.account": "handsets",
        "handsets.center": CENTER,
        "diameter.identity": CENTER_HOST,
        "diameter.host": "127.0.0.1",
        "diameter.port": port,
        "diameter.peers": list(peers),
        "affiliations.timeout_s": 5,  # a loaded machine is slow and not wrong
        "antispoof.deadline_ms": 4000,
    }


def prepare(center: RunningCenter) -> None:
    """What operators add."""
    center.add_account("handsets", "wisteria", role="switch", mailbox=False)
    center.add_range("+4477")
    center.add_route("handsets", prefix="+4477", target="switch")
    center.add_account("shop", "wisteria", numbers=["12345"], sources=["12345", "@Shop"])
    for name, address in (("a", MME_A), ("b", MME_B)):
        switch = {"name": name, "kind": "mme", "addresses": [{"type": "diameter_host", "value": address}]}
        center.call("POST", "/spoof/switches", switch)
    rule = {"verdict": "spoofed", "reason": "asserted_switch_untrusted", "action": "reject"}
    policy = {"name": "handsets", "ingress": "switch", "mode": "enforce", "rules": [rule]}
    center.call("POST", "/spoof/policies", policy)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A center, two MMEs and an HSS that are connected to it."""
    (port,) = free_ports(1)
    register = Register(imsis={ANNA[1]: ANNA[0], BERT[1]: BERT[0]})
    peers = [{"host": host, "networks": ["127.0.0.0/8"]} for host in (MME_A, MME_B, HSS, "mme-c.home.net")]
    given = settings(port, *peers) | {"diameter.hss.host": HSS}
    with running_center(tmp_path_factory.mktemp("diameter"), given) as center:
        prepare(center)
        address = ("127.0.0.1", port)
        hss, a, b = HomeNode(HSS, register), HomeNode(MME_A), HomeNode(MME_B)
        with home_nodes(address, hss, a, b):
            made = Home(center, port, register, hss, a, b)
            eventually(
                lambda: [each["state"] for each in made.links().values()].count("up") == 3, "three peers"
            )
            yield made


def submit(number: str, text: bytes, mr: int, **more: Any) -> bytes:
    """An SMS-SUBMIT."""
    return Submit(Address(1, 1, number), mr, ud=UserData(payload=text), **more).encode()


def read(tpdu: bytes) -> Any:
    """What a handset reads."""
    return decode_to_handset(tpdu)


def test_a_message_goes_from_one_mme_to_a_handset_behind_the_other(home: Home) -> None:
    home.settle()
    answer = home.a.submit(submit(BERT[1], b"hello", 1), *ANNA)
    assert answer.result == (ResultCode.SUCCESS, False)
    report = SubmitReport.decode(answer.value(constants.AVP_TGPP_SM_RP_UI))
    assert report.fcs is None
    stored = home.messages(ANNA[1])[0]
    assert stored["recipient"] == f"+{BERT[1]}"
    assert home.ended(stored["id"])["state"] == "delivered"
    (tfr,) = home.b.of(Command.MT_FORWARD_SHORT_MESSAGE)
    deliver = read(home.b.texts[-1])
    assert isinstance(deliver, Deliver)
    assert (deliver.oa, deliver.ud.payload) == (Address(1, 1, ANNA[1]), b"hello")
    assert tfr.value(constants.AVP_USER_NAME) == BERT[0]
    assert tfr.number(constants.AVP_TGPP_SC_ADDRESS) == CENTER
    assert tfr.value(constants.AVP_DESTINATION_HOST).decode() == MME_B
    assert tfr.value(constants.AVP_DESTINATION_REALM).decode() == REALM
    ingress = home.center.call("GET", f"/messages/{stored['id']}/trace")["events"][0]["detail"]
    assert ingress["trusted"] == f"diameter_host:{MME_A}"
    assert ingress["asserted"] == {"imsi": ANNA[0], "center": CENTER}
    # No look-up left a message-waiting entry behind: Single-Attempt-Delivery, TS 29.338 table 5.3.3.6/1.
    assert {each.value(3310) for each in home.hss.of(Command.SEND_ROUTING_INFO_FOR_SM)} == {5}


def test_a_long_text_arrives_in_parts_and_its_receipt_comes(home: Home) -> None:
    home.settle()
    before = len(home.b.texts)
    text = "".join(chr(ord("a") + number % 26) for number in range(300))
    with esme(home.center.smpp_port, "transceiver", "shop", "wisteria") as shop:
        answer = shop.ask(
            "submit_sm", source_addr="12345", dest_addr_ton=1, dest_addr_npi=1, destination_addr=BERT[1],
            message_payload=text.encode(), registered_delivery=1,
        )  # fmt: skip
        assert answer.status == 0
        assert b"stat:DELIVRD" in shop.next_delivered().short_message
    parts = [read(tpdu) for tpdu in home.b.texts[before:]]
    assert "".join(part.ud.payload.decode() for part in parts) == text
    assert [part.mms for part in parts] == [True, False]
    assert [each.value(3302) for each in home.b.of(Command.MT_FORWARD_SHORT_MESSAGE)[before:]] == [1, None]


def test_a_sender_elsewhere_is_refused_and_an_unknown_one_is_not_accused(home: Home) -> None:
    home.settle()
    before = len(home.messages(ANNA[1]))
    answer = home.b.submit(submit("12345", b"not anna", 2), *ANNA)
    assert answer.result == REFUSED
    failure = constants.AVP_TGPP_SM_DELIVERY_FAILURE_CAUSE
    cause = answer.value(failure, constants.AVP_TGPP_SM_ENUMERATED_DELIVERY_FAILURE_CAUSE)
    assert cause == DeliveryFailure.USER_NOT_SC_USER
    report = answer.value(failure, constants.AVP_TGPP_SM_DIAGNOSTIC_INFO)
    assert SubmitReport.decode(report, refused=True).fcs == FailureCause.UNSPECIFIED
    (evidence,) = home.center.call("GET", f"/spoof/verdicts?verdict=spoofed&sender=%2B{ANNA[1]}&limit=1")[
        "items"
    ]
    assert (evidence["reason"], evidence["trusted"]) == ("switch_mismatch", f"diameter_host:{MME_B}")
    assert evidence["facts"]["affiliated"][0]["address"] == f"diameter_host:{MME_A}"
    refused = home.messages(ANNA[1])
    assert len(refused) == before + 1
    assert refused[0]["state"] == "rejected"
    stranger = home.a.submit(submit("12345", b"who am I", 3), "001010000000009", "447700900009")
    assert stranger.result == (ResultCode.SUCCESS, False)
    (evidence,) = home.center.call("GET", "/spoof/verdicts?sender=%2B447700900009&limit=1")["items"]
    assert evidence["reason"] == "unknown_subscriber"


def test_a_peer_that_claims_another_name_is_refused(home: Home) -> None:
    home.settle()
    answer = home.b.submit(submit("12345", b"forged", 4), *ANNA, origin=MME_A)
    assert answer.result == REFUSED
    (evidence,) = home.center.call("GET", f"/spoof/verdicts?verdict=spoofed&sender=%2B{ANNA[1]}&limit=1")[
        "items"
    ]
    assert (evidence["reason"], evidence["trusted"]) == (
        "asserted_switch_untrusted",
        f"diameter_host:{MME_A}",
    )
    assert evidence["facts"]["link_address"] == f"diameter_host:{MME_B}"


def test_an_ip_sm_gw_hides_who_serves_the_sender(home: Home) -> None:
    home.settle()
    home.register.router = "447700900555"
    answer = home.b.submit(submit("12345", b"over ims", 5), *ANNA)
    assert answer.result == (ResultCode.SUCCESS, False)
    (evidence,) = home.center.call("GET", f"/spoof/verdicts?sender=%2B{ANNA[1]}&limit=1")["items"]
    assert evidence["reason"] == "home_routed"


def test_who_is_away_is_reported_and_the_alert_wakes_what_waits(home: Home) -> None:
    home.settle()
    home.register.serving[BERT[1]] = ""
    home.forget(BERT[1])
    before = len(home.hss.of(Command.REPORT_SM_DELIVERY_STATUS))
    assert home.a.submit(submit(BERT[1], b"come back", 6), *ANNA).result == (ResultCode.SUCCESS, False)
    id = home.messages(ANNA[1])[0]["id"]
    failed = eventually(lambda: home.events(id, "attempt"), "the attempt")
    assert failed[0]["reason"] == "absent"

    def reports() -> list[Any]:
        return home.hss.of(Command.REPORT_SM_DELIVERY_STATUS)[before:]

    report = eventually(reports, "the report")[0]
    assert report.number(constants.AVP_TGPP_USER_IDENTIFIER, constants.AVP_TGPP_MSISDN) == BERT[1]
    assert report.value(3316, 3317, 3321) == 1  # MME-SM-Delivery-Outcome: absent user
    home.register.serving[BERT[1]] = MME_B
    assert home.hss.alert(BERT[1]).result == (ResultCode.SUCCESS, False)
    assert home.ended(id)["state"] == "delivered"
    assert read(home.b.texts[-1]).ud.payload == b"come back"
    eventually(lambda: len(reports()) == 2, "the report of success")
    assert reports()[1].value(3316, 3317, 3321) == 2


def test_a_full_handset_is_tried_again_when_its_mme_says_that_it_has_room(home: Home) -> None:
    home.settle()
    before = len(home.hss.of(Command.REPORT_SM_DELIVERY_STATUS))
    home.b.results.append((5555, True, [delivery_failure(DeliveryFailure.MEMORY_CAPACITY_EXCEEDED)]))
    assert home.a.submit(submit(BERT[1], b"no room", 7), *ANNA).result == (ResultCode.SUCCESS, False)
    id = home.messages(ANNA[1])[0]["id"]
    failed = eventually(lambda: home.events(id, "attempt"), "the attempt")
    assert failed[0]["reason"] == "memory-full"
    assert failed[0]["detail"]["result"] == 5555
    eventually(lambda: len(home.hss.of(Command.REPORT_SM_DELIVERY_STATUS)) > before, "the report")
    alert = home.b.alert(imsi=BERT[0], application=Application.SGD)
    assert alert.result == (ResultCode.SUCCESS, False)
    assert home.ended(id)["state"] == "delivered"


def test_a_subscriber_who_moved_is_found_where_the_hss_says(home: Home) -> None:
    home.settle()
    assert home.a.submit(submit(BERT[1], b"one", 8), *ANNA).result == (ResultCode.SUCCESS, False)
    home.ended(home.messages(ANNA[1])[0]["id"])
    home.register.serving[BERT[1]] = MME_A
    home.b.results.append((5001, True, []))  # it does not serve Bert any more
    assert home.a.submit(submit(BERT[1], b"two", 9), *ANNA).result == (ResultCode.SUCCESS, False)
    assert home.ended(home.messages(ANNA[1])[0]["id"])["state"] == "delivered"
    assert read(home.a.texts[-1]).ud.payload == b"two"


def test_a_repeated_message_is_acknowledged_again_and_stored_once(home: Home) -> None:
    home.settle()
    before = len(home.messages(ANNA[1]))
    tpdu = submit("12345", b"only once", 10)
    for _ in range(2):
        assert home.a.submit(tpdu, *ANNA).result == (ResultCode.SUCCESS, False)
    assert len(home.messages(ANNA[1])) == before + 1
    home.center.kill()
    home.center.start()
    eventually(lambda: home.links()[MME_A]["state"] == "up", "the MME again", 60)
    home.a.wait()
    assert home.a.submit(tpdu, *ANNA).result == (ResultCode.SUCCESS, False)
    assert len(home.messages(ANNA[1])) == before + 1


def test_operators_see_peers_and_end_connections(home: Home) -> None:
    eventually(lambda: [each["state"] for each in home.links().values()].count("up") == 3, "three peers", 60)
    links = home.links()
    assert links["mme-c.home.net"]["state"] == "down"
    assert links[MME_A]["domains"] == ["s6c", "sgd"]
    assert home.center.metric("restante_diameter_peer_up", peer=MME_A) == 1
    assert home.center.request("DELETE", "/admin/switch-links/dia_mme-c.home.net").status_code == 404
    home.center.call("DELETE", f"/switch-links/dia_{MME_A}")
    eventually(lambda: home.links()[MME_A]["state"] == "down", "its end")
    assert home.center.metric("restante_diameter_peer_up", peer=MME_A) == 0
