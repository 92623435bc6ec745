"""Operations on messages over real TCP, PDU by PDU, with the center on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from raw_peer import Peer, peer
from running_center import RunningCenter, running_center
from simulated_phone import phone_network
from waiting import eventually

from restante.smsc.smpp import pdu, tlv
from restante.smsc.smpp.codec import Pdu
from restante.smsc.smpp.command_status import CommandStatus as Status

pytestmark = pytest.mark.xdist_group("operations")

PASSWORD = "rosemary"
LATER = b"000000010000000R"  # in an hour
SHOP: dict[str, Any] = {"source_addr_ton": 5, "source_addr": b"Shop"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def center(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCenter]:
    """Applications that send, and one that owns numbers."""
    settings: dict[str, object] = {}
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_server").create_database()
        settings = {"store.url": url, "store.durability": "process-crash-only"}
    with running_center(tmp_path_factory.mktemp("operations") / "center", settings) as made:
        made.add_account("app", PASSWORD, sources=["*"])
        made.add_account("other", PASSWORD, sources=["*"])
        made.add_account("twice", PASSWORD, sources=["*"], duplicate_window_s=600)
        made.add_account("sink", PASSWORD, numbers=["12345", "4477*", "55*"], sources=["*"])
        made.add_account("plain", PASSWORD, sources=["*"], mailbox=False)
        made.add_account("msc", PASSWORD, role="switch")
        made.add_range("+4478")
        made.add_route("handsets", prefix="+4478", target="account", account="msc")
        circle = {"kind": "circle", "latitude": 51.5, "longitude": -0.12, "radius_m": 2000}
        made.call("POST", "/zones", {"name": "home", "shape": circle})
        made.call(
            "POST", "/zone-policies", {"name": "generic", "on_unknown": "closed", "visibility": "generic"}
        )
        yield made


@pytest.fixture
def app(center: RunningCenter) -> Iterator[Peer]:
    with peer(center.smpp_port, "app", PASSWORD) as made:
        yield made


def ask(one: Peer, request: Pdu) -> Any:
    """Send a request and read its response; what comes in between is answered and kept in `one.got`."""
    one.send(request)
    while True:
        came = one.read()
        assert came is not None, "the connection ended"
        if isinstance(came, pdu.DeliverSm):
            take(one, came)
        elif came.sequence_number == request.sequence_number:
            return came


def take(one: Peer, came: pdu.DeliverSm) -> None:
    one.__dict__.setdefault("got", []).append(came)
    one.send(pdu.DeliverSmResp(sequence_number=came.sequence_number))


def delivered(one: Peer) -> pdu.DeliverSm:
    """The next message or receipt."""
    got: list[pdu.DeliverSm] = one.__dict__.setdefault("got", [])
    while not got:
        came = one.read()
        assert isinstance(came, pdu.DeliverSm), came
        take(one, came)
    return got.pop(0)


def submit(one: Peer, text: bytes = b"hello", **fields: Any) -> bytes:
    """An accepted message; its id."""
    given: dict[str, Any] = SHOP | {"destination_addr": b"12345", "registered_delivery": 1} | fields
    answer = ask(one, pdu.SubmitSm(short_message=text, sequence_number=7, **given))
    assert answer.command_status == 0, answer
    return answer.message_id


def state(one: Peer, id: bytes) -> int:
    answer = ask(one, pdu.QuerySm(message_id=id, sequence_number=8, **SHOP))
    assert answer.command_status == 0, answer
    return int(answer.message_state)


def cancel(one: Peer, id: bytes = b"", **fields: Any) -> int:
    return int(ask(one, pdu.CancelSm(message_id=id, sequence_number=9, **(SHOP | fields))).command_status)


def replace(one: Peer, id: bytes, text: bytes, **fields: Any) -> int:
    given: dict[str, Any] = SHOP | {"registered_delivery": 1} | fields
    request = pdu.ReplaceSm(message_id=id, short_message=text, sequence_number=10, **given)
    return int(ask(one, request).command_status)


def test_cancel(center: RunningCenter, app: Peer) -> None:
    """A scheduled one and one that waits for a bind; with a DELETED receipt; nobody else may, and only once."""
    for fields in ({"schedule_delivery_time": LATER}, {}):
        id = submit(app, **fields)
        with peer(center.smpp_port, "other", PASSWORD) as other:
            never_was = ask(other, pdu.CancelSm(message_id=b"1", sequence_number=9, **SHOP))
            not_theirs = ask(other, pdu.CancelSm(message_id=id, sequence_number=9, **SHOP))
            assert never_was.encode() == not_theirs.encode()
            assert not_theirs.command_status == Status.ESME_RCANCELFAIL
        assert cancel(app, id, source_addr=b"Shops") == Status.ESME_RCANCELFAIL
        assert state(app, id) == 1
        assert cancel(app, id) == 0
        assert state(app, id) == 4
        receipt = delivered(app)
        assert re.search(rb"^id:%b .* stat:DELETED err:012 " % id, receipt.short_message)
        assert cancel(app, id) == Status.ESME_RCANCELFAIL
        trace = center.call("GET", f"/messages/{id.decode()}/trace")["events"]
        assert (trace[-2]["kind"], trace[-2]["reason"]) == ("final", "cancelled")
        assert trace[-2]["detail"] == {"by": "app", "door": "smpp"}


def test_cancel_by_addresses(app: Peer) -> None:
    fields: dict[str, Any] = {"schedule_delivery_time": LATER, "registered_delivery": 0}
    ids = [submit(app, service_type=kind, **fields) for kind in (b"CMT", b"VMN", b"", b"CMT")]
    elsewhere = submit(app, destination_addr=b"5551", **fields)
    there = {"destination_addr": b"12345"}
    assert cancel(app, service_type=b"CMT", **there) == 0
    assert [state(app, id) for id in ids] == [4, 1, 1, 4]
    assert cancel(app, service_type=b"CMT", **there) == Status.ESME_RCANCELFAIL
    assert cancel(app, source_addr=b"Stop", **there) == Status.ESME_RCANCELFAIL
    assert cancel(app) == Status.ESME_RINVDSTADR
    assert cancel(app, **there) == 0
    assert [state(app, id) for id in ids] == [4] * 4
    assert state(app, elsewhere) == 1
    assert cancel(app, elsewhere, destination_addr=b"12345") == Status.ESME_RCANCELFAIL
    assert cancel(app, elsewhere, destination_addr=b"5551") == 0


def test_replace(center: RunningCenter, app: Peer) -> None:
    """Text and schedule; what goes out is the newest version, under the first id."""
    id = submit(app, b"old", schedule_delivery_time=LATER)
    assert replace(app, id, b"newer", source_addr=b"Shops") == Status.ESME_RREPLACEFAIL
    assert replace(app, id, b"x", schedule_delivery_time=b"soon") == Status.ESME_RINVSCHED
    assert replace(app, id, b"newer") == 0
    assert replace(app, id, b"newest", schedule_delivery_time=b"000000000001000R") == 0
    with peer(center.smpp_port, "sink", PASSWORD) as sink:
        assert delivered(sink).short_message == b"newest"
    receipt = delivered(app)
    assert re.search(rb"^id:%b .* stat:DELIVRD err:000 text:newest" % id, receipt.short_message)
    assert replace(app, id, b"late") == Status.ESME_RREPLACEFAIL
    assert cancel(app, id) == Status.ESME_RCANCELFAIL


def test_under_delivery(center: RunningCenter, app: Peer) -> None:
    """While the destination has it and has not answered, it is neither cancelled nor replaced."""
    with peer(center.smpp_port, "sink", PASSWORD) as sink:
        id = submit(app)
        on_its_way = sink.read()
        assert isinstance(on_its_way, pdu.DeliverSm)
        assert cancel(app, id) == Status.ESME_RCANCELFAIL
        assert replace(app, id, b"other") == Status.ESME_RREPLACEFAIL
        sink.send(pdu.DeliverSmResp(sequence_number=on_its_way.sequence_number))
        assert b"stat:DELIVRD" in delivered(app).short_message
    eventually(lambda: center.message(id.decode())["state"] == "delivered", "the end")


def multi(one: Peer, destinations: list[bytes], text: bytes = b"to all", **fields: Any) -> Any:
    """The response to a submit_multi."""
    given: dict[str, Any] = SHOP | {"registered_delivery": 1} | fields
    addresses = tuple(pdu.SmeAddress(0, 1, address) for address in destinations)
    return ask(one, pdu.SubmitMulti(dest_address=addresses, short_message=text, sequence_number=11, **given))


def test_submit_multi(center: RunningCenter, app: Peer) -> None:
    """One id for all; the refused are named; open while one is open; a receipt for each destination."""
    answer = multi(app, [b"5551", b"99999999", b"5552"], schedule_delivery_time=LATER)
    assert answer.command_status == 0
    assert answer.unsuccess_sme == (pdu.UnsuccessSme(0, 1, b"99999999", Status.ESME_RINVDSTADR),)
    id = answer.message_id
    assert state(app, id) == 1
    assert cancel(app, id, dest_addr_npi=1, destination_addr=b"99999999") == Status.ESME_RCANCELFAIL
    assert replace(app, id, b"x") == Status.ESME_RREPLACEFAIL
    assert cancel(app, id, dest_addr_npi=1, destination_addr=b"5552") == 0
    first = delivered(app)
    assert (first.source_addr, first.short_message.split(b" ")[0]) == (b"5552", b"id:" + id)
    assert state(app, id) == 1
    with peer(center.smpp_port, "other", PASSWORD) as other:
        assert cancel(other, id) == Status.ESME_RCANCELFAIL
    assert cancel(app, id) == 0
    second = delivered(app)
    assert (second.source_addr, second.short_message.split(b" ")[0]) == (b"5551", b"id:" + id)
    assert state(app, id) == 4


def test_submit_multi_delivers_to_all(center: RunningCenter, app: Peer) -> None:
    to = [b"55%03d" % number for number in range(255)]
    with peer(center.smpp_port, "sink", PASSWORD) as sink:
        answer = multi(app, to, registered_delivery=0)
        assert (answer.command_status, answer.unsuccess_sme) == (0, ())
        assert sorted(delivered(sink).destination_addr for _ in to) == to
        eventually(lambda: state(app, answer.message_id) == 2, "all ends")


def test_submit_multi_that_reaches_nobody(app: Peer) -> None:
    assert multi(app, [b"99999999", b"88888888"]).command_status == Status.ESME_RINVDSTADR
    assert multi(app, [b"99999999", b"x"], source_addr=b"").command_status == Status.ESME_RSUBMITFAIL
    lists = pdu.SubmitMulti(
        dest_address=(pdu.DistributionList(b"friends"),), short_message=b"x", sequence_number=12, **SHOP
    )
    assert ask(app, lists).command_status == Status.ESME_RINVDLNAME
    assert isinstance(ask(app, pdu.EnquireLink(sequence_number=13)), pdu.EnquireLinkResp)


def test_replace_if_present(center: RunningCenter, app: Peer) -> None:
    """Sent without waiting for answers: the last one remains, the others end DELETED under ids of their own."""
    old = submit(app, b"old", service_type=b"VMN", replace_if_present_flag=1)
    other = submit(app, b"other", service_type=b"CMT")
    given: dict[str, Any] = SHOP | {"destination_addr": b"12345", "service_type": b"VMN"}
    for number in range(5):
        text = b"new %d" % number
        app.send(
            pdu.SubmitSm(short_message=text, replace_if_present_flag=1, sequence_number=20 + number, **given)
        )
    ids = [old]
    while len(ids) < 6:
        came = app.read()
        if isinstance(came, pdu.DeliverSm):
            take(app, came)
        else:
            assert isinstance(came, pdu.SubmitSmResp)
            assert came.command_status == 0
            ids.append(came.message_id)
    assert re.search(rb"^id:%b .* stat:DELETED err:012 " % old, delivered(app).short_message)
    assert [state(app, id) for id in [*ids, other]] == [4] * 5 + [1, 1]
    trace = center.call("GET", f"/messages/{old.decode()}/trace")["events"]
    final = next(one for one in trace if one["kind"] == "final")
    assert (final["reason"], final["detail"]["replaced_by"]) == ("replaced", ids[1].decode())
    with peer(center.smpp_port, "sink", PASSWORD) as sink:
        assert {delivered(sink).short_message for _ in range(2)} == {b"other", b"new 4"}
    multiple = multi(app, [b"5551"], replace_if_present_flag=2)
    assert multiple.command_status == Status.ESME_RINVREPFLAG


def test_a_handset_that_comes_back(center: RunningCenter, app: Peer) -> None:
    """set_dpf: the flag survives a crash, and whoever asked hears of the return, at once or when it binds again."""
    asked = pdu.DataSm(destination_addr=b"5557", esm_class=2, sequence_number=2, **SHOP)
    asked.add_tlv(tlv.Tag.set_dpf, 1).add_tlv(tlv.Tag.message_payload, b"now or never")
    bind = pdu.BindTransceiver(
        system_id=b"app", password=PASSWORD.encode(), interface_version=0x50, sequence_number=1
    )
    with peer(center.smpp_port) as one:
        assert ask(one, bind).command_status == 0
        refused = ask(one, asked)
        assert refused.command_status == Status.ESME_RDELIVERYFAILURE
        assert refused.get_tlv_int(tlv.Tag.dpf_result) == 1
    app.close()
    center.kill()
    center.start()
    with peer(center.smpp_port, "sink", PASSWORD):
        for expected in (1, 0):
            with peer(center.smpp_port, "app", PASSWORD) as one:
                if expected:
                    while isinstance(alert := one.read(), pdu.DeliverSm):  # a receipt of what was before
                        take(one, alert)
                    assert isinstance(alert, pdu.AlertNotification), alert
                    assert (alert.source_addr, alert.esme_addr, alert.esme_addr_ton) == (b"5557", b"Shop", 5)
                    assert alert.get_tlv_int(tlv.Tag.ms_availability_status) == 0
                assert isinstance(ask(one, pdu.EnquireLink(sequence_number=3)), pdu.EnquireLinkResp)


def test_what_is_sent_again_after_a_crash(center: RunningCenter) -> None:
    """The center dies between commit and answer; whoever sends again gets the id of what was stored then."""
    fields: dict[str, Any] = SHOP | {"destination_addr": b"5559", "sequence_number": 2}
    requests = [pdu.SubmitSm(short_message=b"once", **fields), pdu.DataSm(**fields)]
    requests[1].add_tlv(tlv.Tag.message_payload, b"as data").add_tlv(tlv.Tag.user_message_reference, 77)
    for request in requests:
        center.stop()
        center.start(RESTANTE_FAILPOINT="before-response:1")
        with peer(center.smpp_port, "twice", PASSWORD) as one:
            one.send(request)
            assert one.read() is None
        eventually(center.process_ended, "the center died")
        center.start()
        with peer(center.smpp_port, "twice", PASSWORD) as one:
            ids = {ask(one, request).message_id for _ in range(3)}
            assert len(ids) == 1
            assert state(one, ids.pop()) == 1
    with peer(center.smpp_port, "sink", PASSWORD) as sink:
        assert sorted(delivered(sink).short_message for _ in requests) == [b"as data", b"once"]
    assert center.metric("restante_submission_repeated_total") >= 2


@pytest.mark.parametrize("request_of", [pdu.SubmitSm, pdu.DataSm])
@pytest.mark.parametrize("version", [0x34, 0x50])
def test_transaction_mode_tells_why(center: RunningCenter, request_of: Any, version: int) -> None:
    """The outcome is in the response; the reason too, for peers whose error responses have a body."""
    bind = pdu.BindTransceiver(
        system_id=b"app", password=PASSWORD.encode(), interface_version=version, sequence_number=1
    )
    with peer(center.smpp_port, "sink", PASSWORD) as sink, peer(center.smpp_port) as app:
        assert ask(app, bind).command_status == 0
        request = request_of(destination_addr=b"12345", esm_class=2, sequence_number=2, **SHOP)
        app.send(request.add_tlv(0x0424, b"now or never"))
        on_its_way = sink.read()
        assert isinstance(on_its_way, pdu.DeliverSm)
        no = pdu.DeliverSmResp(
            command_status=Status.ESME_RX_P_APPN, sequence_number=on_its_way.sequence_number
        )
        sink.send(no)
        answer: Any = app.read()
        while isinstance(answer, pdu.DeliverSm):  # a receipt that an earlier test did not wait for
            answer = app.read()
        assert (answer.sequence_number, answer.command_status) == (2, Status.ESME_RDELIVERYFAILURE)
        assert answer.get_tlv_int(0x0425) == (2 if version >= 0x50 else None)
        assert answer.has_body == (version >= 0x50)


# --- a message withheld by a home zone, and one for somebody who is away --------------------------------------------


def away(center: RunningCenter, number: str) -> None:
    """Outside the zone, under a policy that hides it."""
    center.call("PUT", f"/numbers/+{number}/zones", {"zones": [{"zone": "home", "policy": "generic"}]})
    center.call("PUT", f"/locations/+{number}", {"latitude": 52.5, "longitude": -1.9, "accuracy_m": 30})


def seen_of(center: RunningCenter, one: Peer, number: str) -> list[object]:
    """Everything that a submitter is told about two messages to a number, ids and times left out."""
    to: dict[str, Any] = {"dest_addr_ton": 1, "dest_addr_npi": 1, "destination_addr": number.encode()}
    seen: list[object] = []

    def asked(request: Pdu, id: bytes) -> None:
        answer = ask(one, request)
        octets = re.sub(rb"[0-9]{15}[+-]", b"TIME", answer.encode().replace(id, b"ID"))
        seen.append((answer.name, octets))

    def told() -> None:
        text = delivered(one)
        seen.append((re.sub(rb"[0-9]{10,}", b"N", text.short_message), text.esm_class, text.source_addr_ton))

    ids: list[bytes] = []
    for text in (b"first", b"second"):
        id = submit(one, text, **to)
        ids.append(id)
        waits = {"attempt", "stored"} if not ids[1:] else set[str]()
        trace = f"/messages/{id.decode()}/trace"
        eventually(
            lambda trace=trace, waits=waits: (
                not waits or waits & {event["kind"] for event in center.call("GET", trace)["events"]}
            ),
            "the first attempt",
        )
        asked(pdu.QuerySm(sequence_number=20, message_id=id, **SHOP), id)
        changed = pdu.ReplaceSm(
            sequence_number=21, message_id=id, short_message=b"other", registered_delivery=1, **SHOP
        )
        asked(changed, id)
        asked(pdu.QuerySm(sequence_number=22, message_id=id, **SHOP), id)
    asked(pdu.CancelSm(sequence_number=23, message_id=ids[0], **SHOP, **to), ids[0])
    if seen[-1] == ("cancel_sm_resp", pdu.CancelSmResp(sequence_number=23).encode()):
        told()
    asked(pdu.CancelSm(sequence_number=24, **SHOP, **to), b"none")  # whatever is left, by its addresses
    if seen[-1] == ("cancel_sm_resp", pdu.CancelSmResp(sequence_number=24).encode()):
        told()
    for id in ids:
        asked(pdu.CancelSm(sequence_number=25, message_id=id, **SHOP, **to), id)
        asked(pdu.QuerySm(sequence_number=26, message_id=id, **SHOP), id)
    return seen


@pytest.mark.parametrize(("account", "absent", "blocked"), [
    ("plain", "447800900001", "447800900002"),
    ("app", "447800900003", "447800900004"),
], ids=["in the queue", "in the box"])  # fmt: skip
def test_a_withheld_message_answers_as_one_for_somebody_away(
    center: RunningCenter, account: str, absent: str, blocked: str
) -> None:
    """Byte for byte: query, replace, cancel by id and by addresses, receipts, and what comes after the end."""
    away(center, blocked)
    with (
        phone_network(center.smpp_port, "msc", PASSWORD) as phone,
        peer(center.smpp_port, account, PASSWORD) as one,
    ):
        phone.off(absent)
        first, second = seen_of(center, one, absent), seen_of(center, one, blocked)
        assert first == second
        assert phone.seen(blocked) == []
        assert sum(isinstance(what, tuple) and len(what) == 3 for what in first) == (
            2 if account == "plain" else 0
        )
