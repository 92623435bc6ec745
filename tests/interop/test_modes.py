"""Modes, order, receipts and wake-ups on the wire, PDU by PDU: what behaviour.md 2, 5 and 6 promise.

In charge of: datagram, transaction, and store and forward; who goes first behind a switch and at an application;
intermediate notifications; the cap of receipts; who is woken by what. Not in charge of: the long clocks of these rules,
which tests step (`tests/smsc/test_delivery*.py`), operations on messages (`test_operations.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from raw_peer import Peer, peer
from running_center import RunningCenter, running_center
from waiting import eventually

from restante.smsc.smpp import pdu, tlv
from restante.smsc.smpp.command_status import CommandStatus as Status

pytestmark = pytest.mark.xdist_group("modes")

PASSWORD = "rosemary"
LATER = b"000000010000000R"  # in an hour
#: network_error_code: GSM, and its cause
UNKNOWN, ABSENT, BUSY, NO_MEMORY = b"\x03\x00\x01", b"\x03\x00\x1b", b"\x03\x00\x1f", b"\x03\x00\x20"
PHONE, SILENT, BOXED = b"447700902001", b"447700902002", b"447800902003"


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    """Applications, a switch with handsets, own numbers with boxes, and short waits."""
    settings: dict[str, object] = {"submission.transaction_wait_s": 1}
    with running_center(tmp_path_factory.mktemp("modes") / "center", settings) as made:
        made.add_account("app", PASSWORD, sources=["*"])
        made.add_account("narrow", PASSWORD, sources=["*"], window=2, receipt_cap=2)
        made.add_account("sink", PASSWORD, numbers=["12345"], sources=["*"], window=3)
        made.add_account("msc", PASSWORD, role="switch", sources=["*"])
        made.add_range("+4478")
        made.add_route("handsets", prefix="+447", account="msc")
        for error in ("absent", "memory-full", "system"):
            made.call("POST", "/schedules", {"error": error, "delays_s": [600], "deposit_after": 1})
        made.call("POST", "/schedules", {"error": "busy", "delays_s": [1], "jitter": 0})
        yield made


@pytest.fixture
def app(center: RunningCenter) -> Iterator[Peer]:
    with peer(center.smpp_port, "app", PASSWORD) as made:
        yield made


@pytest.fixture
def msc(center: RunningCenter) -> Iterator[Peer]:
    with peer(center.smpp_port, "msc", PASSWORD) as made:
        yield made


def begin(one: Peer, text: bytes = b"hello", number: int = 7, **fields: Any) -> None:
    """Submit without waiting for the answer."""
    given: dict[str, Any] = {"source_addr_ton": 5, "source_addr": b"Shop", "destination_addr": PHONE,
        "dest_addr_ton": 1, "dest_addr_npi": 1, "registered_delivery": 1} | fields  # fmt: skip
    one.send(pdu.SubmitSm(short_message=text, sequence_number=number, **given))


def answered(one: Peer, number: int = 7) -> Any:
    """The response with a number; it must be the next PDU."""
    came = one.read()
    assert came is not None
    assert (came.name, came.sequence_number) == ("submit_sm_resp", number), came
    return came


def submit(one: Peer, text: bytes = b"hello", **fields: Any) -> bytes:
    """An accepted message; its id."""
    begin(one, text, **fields)
    response = answered(one)
    assert response.command_status == 0, response
    return response.message_id


def took(one: Peer, text: bytes | None = None, failure: bytes = b"") -> pdu.DeliverSm:
    """The next message, answered."""
    came = one.read()
    assert isinstance(came, pdu.DeliverSm), came
    if text is not None:
        assert came.short_message == text, came
    answer(one, came, failure)
    return came


def answer(one: Peer, came: pdu.DeliverSm, failure: bytes = b"") -> None:
    """Answer a message; an error has a body all the same, as some switches send it."""
    status = Status.ESME_RX_T_APPN if failure else 0
    octets = pdu.DeliverSmResp(command_status=status, sequence_number=came.sequence_number).encode()
    if failure:
        body = b"\0" + tlv.one(tlv.Tag.network_error_code, failure)
        octets = (16 + len(body)).to_bytes(4, "big") + octets[4:16] + body
    one.send(octets)


def quiet(one: Peer) -> None:
    """Nothing else came: the next PDU answers our question."""
    came = one.ask(pdu.EnquireLink(sequence_number=99))
    assert isinstance(came, pdu.EnquireLinkResp), came


def state(one: Peer, id: bytes) -> int:
    came: Any = one.ask(pdu.QuerySm(message_id=id, source_addr_ton=5, source_addr=b"Shop", sequence_number=8))
    assert isinstance(came, pdu.QuerySmResp), came
    assert came.command_status == 0
    return int(came.message_state)


def receipt(one: Peer, id: bytes, stat: bytes, err: bytes = b"000") -> pdu.DeliverSm:
    """The next PDU is the receipt of a message."""
    came = took(one)
    assert came.esm_class == 0x04
    assert re.match(
        rb"id:%b sub:001 dlvrd:... .* stat:%b err:%b text:" % (id, stat, err), came.short_message
    ), came
    assert came.get_tlv(tlv.Tag.receipted_message_id) == id + b"\0"
    return came


# ------------------------------------------------------------------------------------------------------------- modes


def test_datagram_mode(app: Peer, msc: Peer) -> None:
    """One attempt, neither receipt nor box, whatever was asked; no schedule."""
    id = submit(app, destination_addr=BOXED, esm_class=1, registered_delivery=0x11)
    took(msc, b"hello", ABSENT)
    eventually(lambda: state(app, id) == 5, "the end")
    id = submit(app, esm_class=1)
    took(msc)
    eventually(lambda: state(app, id) == 2, "the end")
    begin(app, esm_class=1, schedule_delivery_time=LATER)
    assert answered(app).command_status == Status.ESME_RINVSCHED
    quiet(app)
    quiet(msc)


def test_transaction_mode(center: RunningCenter, app: Peer, msc: Peer) -> None:
    """The answer carries the outcome, the receipt follows it; after a while the id alone, and the receipt tells."""
    begin(app, esm_class=2)
    took(msc)
    id = answered(app).message_id
    receipt(app, id, b"DELIVRD")
    begin(app, esm_class=2, destination_addr=BOXED)
    took(msc, failure=ABSENT)
    assert answered(app).command_status == Status.ESME_RDELIVERYFAILURE
    assert b" stat:UNDELIV err:002 " in took(app).short_message
    begin(app, esm_class=2)
    came = msc.read()
    assert isinstance(came, pdu.DeliverSm)
    late = answered(app)  # a second later
    assert (late.command_status, state(app, late.message_id)) == (0, 1)
    answer(msc, came, ABSENT)
    assert b"id:%b " % late.message_id in took(app).short_message
    assert state(app, late.message_id) == 5
    begin(app, esm_class=2, schedule_delivery_time=LATER)
    assert answered(app).command_status == Status.ESME_RINVSCHED
    quiet(app)


def test_what_waits_for_an_outcome_counts_against_the_window(center: RunningCenter, msc: Peer) -> None:
    with peer(center.smpp_port, "narrow", PASSWORD) as narrow:
        fields: dict[str, Any] = {"esm_class": 2, "registered_delivery": 0}
        for number, to in ((1, PHONE), (2, SILENT), (3, PHONE)):
            begin(narrow, number=number, destination_addr=to, **fields)
        assert answered(narrow, 3).command_status == Status.ESME_RTHROTTLED
        for _ in range(2):
            took(msc)
        assert {answered(narrow, number).command_status for number in (1, 2)} == {0}


@pytest.mark.parametrize("mode", [0, 3])
def test_store_and_forward(center: RunningCenter, app: Peer, msc: Peer, mode: int) -> None:
    """Answered at once; tried again by the schedule; a receipt at the end."""
    id = submit(app, esm_class=mode)
    took(msc, b"hello", BUSY)
    assert state(app, id) == 1
    took(msc, b"hello")  # a second later
    receipt(app, id, b"DELIVRD")
    trace = center.call("GET", f"/messages/{id.decode()}/trace")["events"]
    assert [(one["kind"], one["reason"]) for one in trace if one["kind"] == "attempt"] == [
        ("attempt", "busy")
    ]


# ------------------------------------------------------------------------------------------------------------- order


def test_a_handset_is_served_one_by_one(app: Peer, msc: Peer) -> None:
    """While its head is tried again the others wait, and then come back to back: priority first, then as they came."""
    quick: dict[str, Any] = {"registered_delivery": 0}
    submit(app, b"first", **quick)
    first = msc.read()
    assert isinstance(first, pdu.DeliverSm)
    for text, priority in ((b"second", 0), (b"third", 0), (b"urgent", 3)):
        submit(app, text, priority_flag=priority, **quick)
    submit(app, b"elsewhere", destination_addr=SILENT, **quick)
    took(msc, b"elsewhere")  # another handset does not wait
    quiet(msc)
    answer(msc, first, BUSY)
    quiet(msc)
    came = [took(msc) for _ in range(4)]
    assert [one.short_message for one in came] == [b"urgent", b"first", b"second", b"third"]
    assert [one.get_tlv_int(tlv.Tag.more_messages_to_send) for one in came] == [1, 1, 1, None]


def test_a_permanent_failure_frees_those_behind(app: Peer, msc: Peer) -> None:
    for text in (b"bad", b"good"):
        submit(app, text, registered_delivery=0)
    took(msc, b"bad", UNKNOWN)
    took(msc, b"good")


def test_an_application_is_windowed_and_a_refused_message_blocks_nothing(
    center: RunningCenter, app: Peer
) -> None:
    """Started in order, as many at a time as its window has room for."""
    with peer(center.smpp_port, "sink", PASSWORD) as sink:
        for number in range(6):
            submit(app, b"%d" % number, destination_addr=b"12345", dest_addr_ton=0, registered_delivery=0)
        three = [sink.read() for _ in range(3)]
        quiet(sink)
        assert [one.short_message for one in three if isinstance(one, pdu.DeliverSm)] == [b"0", b"1", b"2"]
        assert isinstance(three[1], pdu.DeliverSm)
        answer(sink, three[1], BUSY)
        took(sink, b"3")
        took(sink, b"4")
        took(sink, b"5")
        for one in (three[0], three[2]):
            assert isinstance(one, pdu.DeliverSm)
            answer(sink, one)
        took(sink, b"1")  # by its own clock


# ---------------------------------------------------------------------------------------------------------- receipts


def test_a_deposit_is_no_end(app: Peer, msc: Peer) -> None:
    """An intermediate notification if it was asked for, ENROUTE; the final receipt is owed until the text is read."""
    id = submit(app, destination_addr=BOXED, registered_delivery=0x11)
    took(msc, b"hello", ABSENT)
    told = took(app)
    assert (told.esm_class, told.get_tlv_int(tlv.Tag.message_state)) == (0x20, 1)
    assert re.match(rb"id:%b sub:001 dlvrd:000 .* stat:ENROUTE err:002 " % id, told.short_message)
    assert (told.source_addr, told.destination_addr) == (BOXED, b"Shop")
    assert state(app, id) == 1
    quiet(app)


def test_receipts_beyond_the_cap_are_not_made(center: RunningCenter, msc: Peer) -> None:
    """Who does not come for them finds as many as may wait, oldest first, and the trace says why there are no more."""
    transmitter = pdu.BindTransmitter(
        system_id=b"narrow", password=PASSWORD.encode(), interface_version=0x34, sequence_number=1
    )
    ids: list[bytes] = []
    with peer(center.smpp_port) as narrow:
        assert isinstance(narrow.ask(transmitter), pdu.BindTransmitterResp)
        for _ in range(4):
            ids.append(submit(narrow))
            took(msc)
            eventually(lambda: state(narrow, ids[-1]) == 2, "the end")
    with peer(center.smpp_port, "narrow", PASSWORD) as narrow:
        for id in ids[:2]:
            receipt(narrow, id, b"DELIVRD")
        quiet(narrow)
        trace = center.call("GET", f"/messages/{ids[2].decode()}/trace")["events"]
        assert trace[-1]["detail"]["receipt"] == "capped"
        eventually(lambda: receipts_that_wait(center, "narrow") == 0, "both are acknowledged")
        ids.append(submit(narrow))
        took(msc)
        receipt(narrow, ids[-1], b"DELIVRD")  # there is room again


def receipts_that_wait(center: RunningCenter, system_id: str) -> int:
    found = center.call("GET", f"/messages?kind=receipt&account={system_id}&state=enroute")
    return len(found["items"])


# ---------------------------------------------------------------------------------------------------------- wake-ups


def waits_for(center: RunningCenter, id: bytes) -> str:
    return str(center.message(id.decode())["waits_for"])


def speaks(one: Peer, number: bytes) -> None:
    """A handset sends something through its switch."""
    request = pdu.SubmitSm(
        source_addr_ton=1, source_addr_npi=1, source_addr=number, destination_addr=b"12345",
        short_message=b"hi", sequence_number=50,
    )  # fmt: skip
    one.send(request)
    came = one.read()
    assert isinstance(came, pdu.SubmitSmResp), came
    assert came.command_status == 0


def test_a_sign_of_life_wakes_with_one_message_first(center: RunningCenter, app: Peer, msc: Peer) -> None:
    """An absent handset has ten minutes to go; it speaks, one message is tried, and the rest follow its success."""
    ids = [submit(app, text, destination_addr=SILENT, registered_delivery=0) for text in (b"1", b"2", b"3")]
    took(msc, b"1", ABSENT)
    eventually(lambda: waits_for(center, ids[0]) == "retry", "the record of the failure")
    quiet(msc)
    speaks(msc, SILENT)
    again = msc.read()
    assert isinstance(again, pdu.DeliverSm)
    assert again.short_message == b"1"
    quiet(msc)
    answer(msc, again)
    took(msc, b"2")
    took(msc, b"3")


def test_that_it_is_there_says_nothing_about_its_memory(center: RunningCenter, app: Peer, msc: Peer) -> None:
    """A full handset that speaks is as full as before."""
    id = submit(app, b"no room", destination_addr=b"447700902009")
    took(msc, b"no room", NO_MEMORY)
    eventually(lambda: waits_for(center, id) == "retry", "the record of the failure")
    speaks(msc, b"447700902009")
    quiet(msc)
    assert state(app, id) == 1
