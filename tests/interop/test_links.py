"""Links of a real center to other centers: a scripted bad one, and a second Restante.

In charge of: what goes over the wire and what becomes of messages. Kills are in `tests/crash/test_links.py`.
Long because every test uses the same center, and starting one costs more than all of them.
"""

from __future__ import annotations

import contextlib
import itertools
import ssl
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from authority import Authority, Files
from other_center import OtherCenter, other_center
from raw_peer import Peer, peer
from running_center import RunningCenter, running_center
from waiting import eventually

from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.smpp.tlv import Tag, get_c_octet_string, one

NAMES = itertools.count(1)
QUICK = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "throttle_min_s": 0.2, "throttle_max_s": 1}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    with running_center(tmp_path_factory.mktemp("ours")) as center:
        center.add_account("carrier", "carrpw", role="interconnect", destinations=["*"])
        center.add_account("shop", "shoppw", window=200)
        yield center


@pytest.fixture
def shop(ours: RunningCenter) -> Iterator[Peer]:
    with peer(ours.smpp_port, "shop", "shoppw") as found:
        yield found


class Way:
    """A link of its own with a route of its own."""

    def __init__(self, ours: RunningCenter, center: OtherCenter, number: int, link: dict[str, Any]) -> None:
        self.ours, self.center, self.name = ours, center, link["name"]
        self.link = link
        self.prefix = f"+49{number:04d}"

    def to(self, n: int = 1) -> bytes:
        """A number behind the link, without its plus."""
        return f"{self.prefix[1:]}{n:06d}".encode()

    def status(self) -> Any:
        """As operators see it."""
        return next(
            one for one in self.ours.call("GET", "/links:status")["items"] if one["name"] == self.name
        )

    def is_in(self, condition: str) -> None:
        """Wait for it."""
        eventually(lambda: self.status()["condition"] == condition, f"{self.name} {condition}", seconds=30)

    def change(self, **fields: Any) -> None:
        """Edit the link."""
        version = self.ours.call("GET", f"/links/{self.link['id']}")["version"]
        self.ours.call("PATCH", f"/links/{self.link['id']}", fields, If_Match=f'"{version}"')

    def turn(self, verb: str) -> None:
        """Change its state."""
        version = self.ours.call("GET", f"/links/{self.link['id']}")["version"]
        self.ours.call("POST", f"/links/{self.link['id']}:{verb}", If_Match=f'"{version}"')


def make_link(ours: RunningCenter, address: str, **settings: Any) -> dict[str, Any]:
    """A link that is suspended until it has its password."""
    body = {"name": f"link{next(NAMES)}", "addresses": [address], "system_id": "us", "state": "suspended"}
    made = ours.call("POST", "/links", body | QUICK | settings)
    ours.call("PUT", f"/links/{made['id']}/password", {"password": "geheim"})
    return ours.call("POST", f"/links/{made['id']}:resume", If_Match=f'"{made["version"]}"')


@contextlib.contextmanager
def way(
    ours: RunningCenter, *, tls: Any = None, secure: bool = False, up: bool = True, **settings: Any
) -> Generator[Way]:
    """A bad center, a link to it and a route, taken away at the end. `tls` there, `secure` here."""
    settings |= {"tls": True} if secure else {}
    with other_center(tls) as center:
        number = next(NAMES)
        made = Way(ours, center, number, make_link(ours, center.address, **settings))
        route = ours.add_route(f"way{number}", prefix=made.prefix, target="link", link=made.name)
        if up:
            made.is_in("up")
        try:
            yield made
        finally:
            for path in (f"/routes/{route}", f"/links/{made.link['id']}"):
                version = ours.call("GET", path)["version"]
                ours.call("DELETE", path, If_Match=f'"{version}"')


def submit(shop: Peer, to: bytes, text: bytes = b"hello", **fields: Any) -> str:
    """Submit, and answer what comes in between; the id."""
    number = next(NAMES)
    fields = {"source_addr_ton": 5, "source_addr": b"Shop", "registered_delivery": 1} | fields
    if len(text) > 254:
        text, fields["tlvs"] = b"", one(Tag.message_payload, text)
    shop.send(
        pdu.SubmitSm(
            sequence_number=number,
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=to,
            short_message=text,
            **fields,
        )
    )
    while True:
        found = shop.read()
        if isinstance(found, pdu.SubmitSmResp):
            assert (found.command_status, found.sequence_number) == (0, number)
            return found.message_id.decode()
        assert isinstance(found, pdu.DeliverSm), found
        shop.send(pdu.DeliverSmResp(sequence_number=found.sequence_number))


def receipt(shop: Peer) -> tuple[str, str]:
    """id and stat of the next receipt, which is answered."""
    found = shop.read()
    assert isinstance(found, pdu.DeliverSm), found
    shop.send(pdu.DeliverSmResp(sequence_number=found.sequence_number))
    id = get_c_octet_string(found.tlvs, Tag.receipted_message_id)
    assert id is not None
    return id.decode(), found.short_message.split(b"stat:")[1][:7].decode()


def state(ours: RunningCenter, id: str) -> str:
    return str(ours.message(id)["state"])


# --- the plain way ------------------------------------------------------------------------------------------------


def test_a_message_goes_over_the_link_and_its_receipt_comes_back(ours, shop):
    with way(ours) as found:
        id = submit(shop, found.to(), b"over there", priority_flag=2)
        client, sent = found.center.submit()
        assert client.bind is not None
        assert (client.bind.system_id, client.bind.password, client.bind.interface_version) == (
            b"us",
            b"geheim",
            0x34,
        )
        assert (sent.destination_addr, sent.dest_addr_ton, sent.dest_addr_npi) == (found.to(), 1, 1)
        assert (sent.source_addr, sent.source_addr_ton, sent.short_message) == (b"Shop", 5, b"over there")
        assert (sent.registered_delivery, sent.priority_flag) == (1, 2)
        assert sent.validity_period.endswith(b"000R")
        found.center.answer(client, sent, "77")
        eventually(lambda: ours.message(id)["waits_for"] == "forwarded")
        assert state(ours, id) == "enroute"
        found.center.receipt(client, sent, "77")
        answer = found.center.response()
        assert (answer.command_status, answer.message_id) == (0, b"")
        assert receipt(shop) == (id, "DELIVRD")
        events = ours.call("GET", f"/messages/{id}/trace")["events"]
        assert [one["kind"] for one in events][:3] == ["accepted", "forwarded", "final"]
        assert events[1]["route"] == f"link:{found.name}"
        assert events[1]["detail"]["remote_id"] == events[2]["detail"]["remote_id"] == "77"


def test_a_second_restante_is_just_another_center(ours, shop, tmp_path):
    with running_center(tmp_path) as up:
        up.add_account("us", "geheim")
        up.add_account("phones", "phonepw", role="switch")
        up.add_range("+4991")
        up.add_route("phones", prefix="+4991", account="phones")
        link = make_link(ours, f"127.0.0.1:{up.smpp_port}", binds=2, bind="tx+rx", message_ids="text")
        route = ours.add_route("second", prefix="+4991", target="link", link=link["name"])
        with peer(up.smpp_port, "phones", "phonepw") as phone:
            ids = [submit(shop, b"4991%07d" % n, b"number %d" % n) for n in range(20)]
            texts = set()
            for _ in ids:
                got = phone.read()
                assert isinstance(got, pdu.DeliverSm)
                texts.add(got.short_message)
                phone.send(pdu.DeliverSmResp(sequence_number=got.sequence_number))
            assert texts == {b"number %d" % n for n in range(20)}
            eventually(lambda: all(state(ours, id) == "delivered" for id in ids), "all receipts", seconds=30)
        ours.call("DELETE", f"/routes/{route}", If_Match='"1"')


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def door(files: Files) -> ssl.SSLContext:
    """The other center's side."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    return context


def test_a_link_over_tls_knows_the_other_side(ours, shop, authority):
    files, other = authority.sign("smsc"), authority.sign("other")
    with way(ours, tls=door(files), secure=True, tls_ca=authority.file.read_text()) as found:
        id = submit(shop, found.to(), b"sealed")
        client, sent = found.center.submit()
        assert isinstance(client.socket, ssl.SSLSocket)
        found.center.answer(client, sent, "1")
        found.center.receipt(client, sent, "1")
        assert receipt(shop) == (id, "DELIVRD")
        pinned = [f"sha256:{one.fingerprint}" for one in (files, other)]
        for rules, condition in (([pinned[1]], "down"), (pinned, "up"), (["CN=other,O=Test Ltd"], "down")):
            found.change(tls_certificates=rules)
            found.is_in(condition)
        eventually(lambda: "CN=smsc,O=Test Ltd sha256:" in str(found.status()["binds"]), "which one it was")


@pytest.mark.parametrize("wrong", ["authority", "host"])
def test_a_link_over_tls_binds_at_nobody_else(ours, tmp_path, authority, wrong):
    """The password is not sent to whoever answers there."""
    signer = Authority(tmp_path / "stranger", "Stranger") if wrong == "authority" else authority
    settings = {"tls_ca": authority.file.read_text()}
    if wrong == "host":
        settings["tls_server_name"] = "smsc.example.net"
    with way(ours, tls=door(signer.sign("smsc")), secure=True, up=False, **settings) as found:
        eventually(lambda: found.status()["binds"] and found.status()["binds"][0]["tries"] >= 2, "two tries")
        assert found.status()["condition"] == "down"
        assert found.status()["binds"][0]["trouble"].startswith("TLS: ")
        assert found.center.bound == []
        assert all(client.bind is None for client in found.center.clients)


def test_what_is_said_about_tls_is_said_with_tls(ours):
    body = {"name": "odd", "addresses": ["127.0.0.1:1"], "system_id": "us", "state": "suspended"}
    for more in (
        {"tls_server_name": "x"},
        {"tls": True, "tls_ca": "x"},
        {"tls": True, "tls_certificates": ["x"]},
    ):
        refused = ours.request("POST", "/admin/links", body | more)
        assert refused.status_code == 422, refused.text


# --- ids and receipts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("77", "77"),
        ("0000000077", "77"),
        ("0E99AB", "e99ab"),
        ("1A2B", "6699"),  # hexadecimal in the response, decimal in the receipt
        ("6699", "1A2B"),  # the other way round
        ("6ba7b810-9dad-11d1", "6BA7B8109DAD11D1"),
    ],
)
def test_an_id_is_known_however_it_is_spelled(ours, shop, given, named):
    with way(ours) as found:
        id = submit(shop, found.to())
        client, sent = found.center.submit()
        found.center.answer(client, sent, given)
        found.center.receipt(client, sent, named)
        assert receipt(shop) == (id, "DELIVRD")


def test_a_receipt_may_come_before_the_response(ours, shop):
    with way(ours) as found:
        id = submit(shop, found.to())
        client, sent = found.center.submit()
        found.center.receipt(client, sent, "early")
        assert found.center.response().command_status == 0  # it is on disk
        eventually(lambda: found.status()["kept_receipts"] == 1)
        found.center.answer(client, sent, "EARLY")
        assert receipt(shop) == (id, "DELIVRD")
        eventually(lambda: found.status()["kept_receipts"] == 0)


def test_a_receipt_named_in_tlvs_only_counts(ours, shop):
    with way(ours) as found:
        id = submit(shop, found.to())
        client, sent = found.center.submit()
        found.center.answer(client, sent, "9")
        tlvs = one(Tag.receipted_message_id, b"9\0") + one(Tag.message_state, 2)
        found.center.receipt(client, sent, "", short_message=b"", tlvs=tlvs)
        assert receipt(shop) == (id, "DELIVRD")


def test_second_and_strange_receipts_change_nothing(ours, shop):
    with way(ours) as found:
        first, second = submit(shop, found.to(1)), submit(shop, found.to(2))
        by_number = {}
        for id in ("11", "22"):
            client, sent = found.center.submit()
            by_number[sent.destination_addr] = (id, sent)
            found.center.answer(client, sent, id)
        id, sent = by_number[found.to(1)]
        other = by_number[found.to(2)][1]
        found.center.receipt(client, other, id, "UNDELIV")  # this id, and the other one's recipient
        found.center.receipt(client, sent, "nobody's")
        found.center.receipt(client, sent, id, short_message=b"what?")
        found.center.receipt(client, sent, id)
        found.center.receipt(client, sent, id, "UNDELIV")
        assert receipt(shop) == (first, "DELIVRD")
        for _ in range(5):
            assert found.center.response().command_status == 0
        assert state(ours, first) == "delivered"
        assert state(ours, second) == "enroute"
        results = "restante_links_receipts_total"
        again = [ours.metric(results, link=found.name, result=result) for result in ("duplicate", "late")]
        assert sum(again) == 1
        assert ours.metric("restante_links_receipts_total", link=found.name, result="unreadable") == 1
        assert ours.metric("restante_links_receipts_total", link=found.name, result="kept") == 2


def test_a_reported_failure_ends_as_what_it_is(ours, shop):
    with way(ours) as found:
        for stat, told in (("UNDELIV", "UNDELIV"), ("REJECTD", "UNDELIV"), ("DELETED", "DELETED")):
            id = submit(shop, found.to())
            client, sent = found.center.submit()
            found.center.answer(client, sent, "5" + stat)
            found.center.receipt(client, sent, "5" + stat, stat)
            assert receipt(shop) == (id, told)


# --- a bad center -------------------------------------------------------------------------------------------------


def test_it_slows_down_when_asked_and_loses_nothing(ours, shop):
    with way(ours, window=5) as found:
        seen: dict[bytes, int] = {}

        def throttling(client: Any, sent: pdu.SubmitSm) -> None:
            seen[sent.destination_addr] = seen.get(sent.destination_addr, 0) + 1
            if len(found.center.submitted) <= 12:
                status = (Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL)[len(found.center.submitted) % 2]
                found.center.answer(client, sent, status=status)
            else:
                found.center.answer(client, sent, str(len(found.center.submitted)))
                found.center.receipt(client, sent, str(len(found.center.submitted)))

        found.center.on_submit = throttling
        ids = [submit(shop, found.to(n)) for n in range(20)]
        eventually(lambda: all(state(ours, id) == "delivered" for id in ids), "all of them", seconds=60)
        assert len(seen) == 20
        assert ours.metric("restante_links_pauses_total", link=found.name) >= 2
        assert len(found.center.submitted) == 32, "each refusal is one attempt, and no more"


def test_a_cut_connection_leaves_nothing_behind(ours, shop):
    with way(ours, window=10, response_timer_s=60) as found:
        ids = [submit(shop, found.to(n)) for n in range(10)]
        client, sent = found.center.submit()
        found.center.answer(client, sent, "1")
        found.center.receipt(client, sent, "1")
        assert receipt(shop)[1] == "DELIVRD"
        eventually(lambda: len(found.center.submitted) == 10)
        found.center.accept_all()
        client.close()  # nine of them have no answer: they may have arrived or not
        eventually(lambda: all(state(ours, id) == "delivered" for id in ids), "the link's return", seconds=60)
        assert len(found.center.submitted) == 19
        tries = [ours.call("GET", f"/messages/{id}/trace")["events"][1] for id in ids]
        assert sorted(one["reason"] for one in tries) == ["", *["link-lost"] * 9]


def test_a_center_that_hangs_is_left(ours, shop):
    with way(ours, enquire_link_s=1, response_timer_s=1) as found:
        found.center.silent = True
        first = found.center.bound[0]
        assert first.ended.wait(30)
        found.center.silent = False
        eventually(lambda: len(found.center.bound) >= 2, "a new bind", seconds=30)
        found.is_in("up")


def test_a_refused_bind_is_tried_again_and_shown(ours):
    with way(ours, up=False) as found:
        found.center.bind_status = Status.ESME_RINVPASWD
        for client in found.center.clients:
            client.close()
        eventually(lambda: "ESME_RINVPASWD" in str(found.status()["binds"]), seconds=30)
        assert found.status()["condition"] == "down"
        assert "geheim" not in str(found.status())
        found.center.bind_status = 0
        found.is_in("up")


def test_each_message_has_one_outcome_under_a_storm(ours, shop):
    """Many messages, two binds, hexadecimal ids, receipts at once: every one is delivered and told once."""
    with way(ours, binds=2, window=20) as found:
        found.center.accept_all(hex_ids=True)
        ids = [submit(shop, found.to(n)) for n in range(60)]
        eventually(lambda: state(ours, ids[-1]) == "delivered", seconds=60)
        eventually(lambda: all(state(ours, id) == "delivered" for id in ids), "all of them", seconds=60)
        assert len(found.center.submitted) == 60
        assert found.status()["awaited_receipts"] == 0


# --- long texts ---------------------------------------------------------------------------------------------------

LONG = b"A text that no single short message holds, because it goes on. " * 6  # 378 characters: three parts


def take_parts(found: Way, style: str) -> list[tuple[Any, pdu.SubmitSm]]:
    """Three parts, each answered with an id of its own; the next one comes when it is."""
    parts: list[tuple[Any, pdu.SubmitSm]] = []
    for number in (1, 2, 3):
        client, sent = found.center.submit()
        parts.append((client, sent))
        if style == "sar":
            place = [sent.get_tlv_int(t) for t in (Tag.sar_total_segments, Tag.sar_segment_seqnum)]
        else:
            assert sent.esm_class & 0x40
            place = list(sent.short_message[sent.short_message[0] - 1 : sent.short_message[0] + 1])
        assert place == [3, number]
        if number < 3:
            found.center.answer(client, sent, f"part{number}")
    return parts


@pytest.mark.parametrize("style", ["udh8", "udh16", "sar"])
def test_a_long_text_goes_in_parts_and_ends_with_the_last_receipt(ours, shop, style):
    with way(ours, long_messages=style) as found:
        id = submit(shop, found.to(), LONG)
        parts = take_parts(found, style)
        bodies = [sent.short_message for _, sent in parts]
        if style != "sar":
            bodies = [body[body[0] + 1 :] for body in bodies]
        assert b"".join(bodies) == LONG
        (client, last), (_, second), (_, first) = parts[2], parts[1], parts[0]
        found.center.receipt(client, second, "part2")  # although the third has no answer yet
        assert found.center.response().command_status == 0
        found.center.answer(client, last, "part3")
        eventually(lambda: ours.message(id)["waits_for"] == "forwarded")
        found.center.receipt(client, last, "part3")
        found.center.receipt(client, last, "part3")  # said twice is not two parts
        for _ in range(2):
            assert found.center.response().command_status == 0
        eventually(lambda: found.status()["awaited_receipts"] == 1, "the first part's receipt")
        assert state(ours, id) == "enroute"
        found.center.receipt(client, first, "part1")
        assert receipt(shop) == (id, "DELIVRD")
        assert (found.status()["awaited_receipts"], found.status()["kept_receipts"]) == (0, 0)
        kinds = [one["kind"] for one in ours.call("GET", f"/messages/{id}/trace")["events"]]
        assert kinds.count("final") == kinds.count("receipt") == 1


def test_all_receipts_of_a_long_text_at_once_end_it_once(ours, shop):
    with way(ours, long_messages="udh8") as found:
        ids = [submit(shop, found.to(n), LONG) for n in range(5)]
        found.center.accept_all()
        for _ in range(found.center.submits.qsize()):
            client, sent = found.center.submit()
            found.center.on_submit(client, sent)
        told = {receipt(shop) for _ in ids}
        assert told == {(id, "DELIVRD") for id in ids}
        eventually(lambda: found.status()["awaited_receipts"] == 0)
        assert len({sent.short_message for sent in found.center.submitted}) >= 3


def test_a_part_that_failed_ends_the_whole(ours, shop):
    with way(ours, long_messages="udh8") as found:
        id = submit(shop, found.to(), LONG)
        parts = take_parts(found, "udh8")
        client = parts[0][0]
        found.center.receipt(client, parts[0][1], "part1", "UNDELIV")  # while the third is under way
        assert found.center.response().command_status == 0
        found.center.answer(client, parts[2][1], "part3")
        assert receipt(shop) == (id, "UNDELIV")
        for number in (1, 2):
            found.center.receipt(client, parts[number][1], f"part{number + 1}")
            assert found.center.response().command_status == 0
        assert state(ours, id) == "undeliverable"
        assert found.status()["awaited_receipts"] == 0


# --- what comes in ------------------------------------------------------------------------------------------------


def test_a_message_from_a_link_is_taken_in_and_its_receipt_goes_back(ours, shop):
    ours_number = b"12345"
    owner = ours.call("GET", "/accounts?q=shop")["items"][0]
    ours.call(
        "PATCH",
        f"/accounts/{owner['id']}",
        {"numbers": ["12345"], "sources": ["*"]},
        If_Match=f'"{owner["version"]}"',
    )
    with way(ours, account="carrier") as found:
        client = found.center.bound[0]
        client.send(
            pdu.DeliverSm(
                sequence_number=900, source_addr_ton=1, source_addr_npi=1, source_addr=b"491700000001",
                destination_addr=ours_number, registered_delivery=1, short_message=b"from afar",
            )
        )  # fmt: skip
        answer = found.center.response()
        assert (answer.sequence_number, answer.command_status, answer.message_id) == (900, 0, b"")
        got = shop.read()
        assert isinstance(got, pdu.DeliverSm)
        assert (got.short_message, got.source_addr) == (b"from afar", b"491700000001")
        shop.send(pdu.DeliverSmResp(sequence_number=got.sequence_number))
        _, told = found.center.submit()
        assert (told.esm_class, told.registered_delivery) == (8, 0)
        assert (told.source_addr, told.destination_addr) == (ours_number, b"491700000001")
        assert b"stat:DELIVRD" in told.short_message


def test_an_alert_wakes_what_waits_for_its_subscriber(ours, shop):
    with way(ours, status_errors={"0x0400": "absent"}, role="switch") as found:
        found.center.on_submit = lambda client, sent: found.center.answer(client, sent, status=0x400)
        id = submit(shop, found.to())
        client, _ = found.center.submit()
        eventually(lambda: ours.message(id)["waits_for"] == "retry")
        found.center.accept_all()
        gone = one(Tag.ms_availability_status, 2)
        alert: dict[str, Any] = {"source_addr_ton": 1, "source_addr": found.to(), "esme_addr": b"us"}
        client.send(pdu.AlertNotification(**alert, tlvs=gone), pdu.AlertNotification(**alert))
        assert receipt(shop) == (id, "DELIVRD")
        client.send(pdu.AlertNotification(**alert))
        results = "restante_links_alerts_total"
        eventually(lambda: ours.metric(results, link=found.name, result="too-many") == 1)
        assert ours.metric(results, link=found.name, result="unavailable") == 1


def test_a_link_without_an_account_takes_nothing_in(ours):
    with way(ours) as found:
        found.center.bound[0].send(
            pdu.DeliverSm(sequence_number=1, source_addr=b"1", destination_addr=b"12345")
        )
        assert found.center.response().command_status == Status.ESME_RX_P_APPN


def test_nothing_goes_back_to_where_it_came_from(ours):
    with way(ours, account="carrier") as found:
        found.center.bound[0].send(
            pdu.DeliverSm(sequence_number=1, source_addr_ton=1, source_addr=b"491700000001", dest_addr_ton=1,
                          destination_addr=found.to(), short_message=b"round trip")
        )  # fmt: skip
        assert found.center.response().command_status == Status.ESME_RINVDSTADR
        assert found.center.submitted == []


# --- states and routes --------------------------------------------------------------------------------------------


def test_an_isolated_link_stays_bound_and_silent_but_for_receipts(ours, shop):
    with way(ours, account="carrier") as found:
        id = submit(shop, found.to())
        client, sent = found.center.submit()
        found.center.answer(client, sent, "1")
        found.turn("isolate")
        found.is_in("isolated")
        client.send(pdu.DeliverSm(sequence_number=9, source_addr=b"1", destination_addr=b"12345"))
        assert found.center.response().command_status == Status.ESME_RX_T_APPN
        waiting = submit(shop, found.to(2))
        found.center.receipt(client, sent, "1")
        assert receipt(shop) == (id, "DELIVRD")
        assert not client.ended.is_set()
        assert len(found.center.submitted) == 1
        found.turn("resume")
        _, later = found.center.submit()
        assert later.destination_addr == found.to(2)
        assert state(ours, waiting) == "enroute"


def test_a_draining_link_leaves_when_it_owes_nothing(ours, shop):
    with way(ours) as found:
        id = submit(shop, found.to())
        client, sent = found.center.submit()
        found.turn("drain")
        found.center.answer(client, sent, "1")
        eventually(lambda: ours.message(id)["waits_for"] == "forwarded")
        assert found.status()["condition"] == "draining"
        found.center.receipt(client, sent, "1")
        assert receipt(shop) == (id, "DELIVRD")
        found.is_in("drained")
        assert client.ended.wait(30)
        found.turn("resume")
        found.is_in("up")


def test_a_suspended_link_is_not_bound_and_its_messages_wait(ours, shop):
    with way(ours) as found:
        client = found.center.bound[0]
        found.turn("suspend")
        assert client.ended.wait(30)
        found.is_in("suspended")
        id = submit(shop, found.to())
        eventually(lambda: ours.message(id)["waits_for"] == "retry")
        found.center.accept_all()
        found.turn("resume")
        assert receipt(shop) == (id, "DELIVRD"), "the link's return wakes what waits for it"


def test_what_another_link_may_not_share_goes_there_and_what_is_permanent_does_not(ours, shop):
    with way(ours) as first, way(ours) as second:
        ours.add_route(f"b{first.name}", prefix=first.prefix, target="link", link=second.name, priority=200)
        answers = {b"1": Status.ESME_RSYSERR, b"2": Status.ESME_RINVDSTADR}
        first.center.on_submit = lambda client, sent: first.center.answer(
            client, sent, status=answers[sent.destination_addr[-1:]]
        )
        second.center.accept_all()
        assert submit(shop, first.to(1)) == receipt(shop)[0]
        assert [sent.destination_addr for sent in second.center.submitted] == [first.to(1)]
        assert (submit(shop, first.to(2)), "UNDELIV") == receipt(shop)
        assert len(second.center.submitted) == 1
        first.turn("suspend")
        first.is_in("suspended")
        assert submit(shop, first.to(3)) == receipt(shop)[0]
        route = ours.call("GET", f"/routes?q=b{first.name}")["items"][0]["id"]
        ours.call("DELETE", f"/routes/{route}", If_Match='"1"')


def test_parts_of_one_message_stay_on_one_link(ours, shop):
    with way(ours) as first, way(ours) as second:
        ours.add_route(f"c{first.name}", prefix=first.prefix, target="link", link=second.name)
        first.center.accept_all(receipts=False)
        second.center.accept_all(receipts=False)
        for reference in range(12):
            for part in (1, 2, 3):
                header = bytes((5, 0, 3, reference, 3, part))
                submit(shop, first.to(reference), header + b"part", esm_class=0x40, registered_delivery=0)
        both = (first.center, second.center)
        eventually(lambda: sum(len(one.submitted) for one in both) == 36, seconds=60)
        for center in both:
            parts = [(sent.destination_addr, sent.short_message[3]) for sent in center.submitted]
            assert all(parts.count(one) == 3 for one in parts)
            assert parts, "both are used"
        route = ours.call("GET", f"/routes?q=c{first.name}")["items"][0]["id"]
        ours.call("DELETE", f"/routes/{route}", If_Match='"1"')


def test_a_final_response_needs_no_receipt(ours, shop):
    with way(ours, outcome_in_response=True, message_mode="forward", role="switch") as found:
        id = submit(shop, found.to())
        client, sent = found.center.submit()
        assert (sent.registered_delivery, sent.esm_class) == (0, 2)
        found.center.answer(client, sent, "msg_id_not_implemented")
        assert receipt(shop) == (id, "DELIVRD")


def test_latin1_text_is_rewritten_for_a_gsm7_link(ours):
    ours.add_account("latin", "latinpw", default_alphabet="latin1")
    with way(ours) as found, peer(ours.smpp_port, "latin", "latinpw") as latin:
        submit(
            latin, found.to(), "Grüße für 5 €".encode("cp1252").replace(b"\x80", b"$"), registered_delivery=0
        )
        _, sent = found.center.submit()
        assert sent.data_coding == 0
        assert sent.short_message == b"Gr\x7e\x1ee f\x7er 5 \x02"
        submit(latin, found.to(), "à tout de suite, mon chéri ç".encode("latin-1"), registered_delivery=0)
        _, sent = found.center.submit()
        assert (sent.data_coding, sent.short_message.decode("utf-16-be")) == (
            8,
            "à tout de suite, mon chéri ç",
        )


def test_routes_can_be_tried_without_sending(ours):
    with way(ours) as found:
        answer = ours.call("POST", "/routes:simulate", {"to": found.prefix + "000001", "account": "shop"})
        assert answer["ways"] == [
            {"rule": answer["routes"][0]["id"], "outlet": f"link:{found.name}", "reachable": True}
        ]
        assert answer["routes"][0]["why"] == "used"
        assert {one["why"] for one in answer["routes"][1:]} <= {"other-prefix"}
        draft = {"name": "no", "prefix": found.prefix + "0", "target": "reject"}
        answer = ours.call("POST", "/routes:simulate", {"to": found.prefix + "000001", "drafts": [draft]})
        assert answer["accepted"] is False
        by_name = {one["name"]: one["why"] for one in answer["routes"]}
        assert by_name["no"] == "rejects"
        assert "behind-a-last-resort" in by_name.values()
        assert found.center.submitted == []
