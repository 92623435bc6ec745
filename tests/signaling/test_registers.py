"""The vocabulary, the chain, the table, and the registers behind HTTP and Diameter."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from restante.signaling.causes import ExperimentalResult, ResultCode
from restante.signaling.diameter import short_messages
from restante.signaling.diameter.codec import Avps, Message, avp, grouped
from restante.signaling.diameter.connection import Identity, Unavailable
from restante.signaling.osmohlr import read_record
from restante.signaling.register_http import HttpRegister
from restante.signaling.registers import (
    AddressType,
    Affiliation,
    BadTable,
    Chain,
    Range,
    RegisterUnavailable,
    ServedBy,
    StaticTable,
    Status,
    SwitchAddress,
    Who,
    address,
)
from restante.signaling.s6c import S6cRegister

NOW = 1_700_000_000_000
MSC_A = address(AddressType.IPA_NAME, "MSC-A", ServedBy.MSC)
WHO = Who("447700900123", "001010000000001")
NUMBER = Who("447700900123")


def now_ms() -> int:
    return NOW


# --------------------------------------------------------------------------------------------------- vocabulary


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (AddressType.E164_GT, "+447700900001", "447700900001"),
        (AddressType.E164_GT, " 447700900001 ", "447700900001"),
        (AddressType.DIAMETER_HOST, "MME.Example.ORG.", "mme.example.org"),
        (AddressType.IPA_NAME, "MSC-A", "MSC-A"),
    ],
)
def test_one_spelling(kind: AddressType, text: str, value: str) -> None:
    assert address(kind, text).value == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (AddressType.E164_GT, "44x"),
        (AddressType.E164_GT, "1" * 16),
        (AddressType.E164_GT, "+"),
        (AddressType.IPA_NAME, " "),
        (AddressType.IPA_NAME, "a" * 256),
    ],
)
def test_what_is_no_address(kind: AddressType, text: str) -> None:
    with pytest.raises(ValueError):
        address(kind, text)


def test_an_imsi_is_the_better_key() -> None:
    assert WHO.key == Who(imsi=WHO.imsi).key
    assert NUMBER.key != Who(imsi=NUMBER.msisdn).key


# -------------------------------------------------------------------------------------------------------- chain


class Register:
    """Answers what it is told to: an affiliation, or an exception."""

    def __init__(self, name: str, answer: Status | RegisterUnavailable) -> None:
        self.name = name
        self.answer = answer
        self.asked = 0

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        self.asked += 1
        if isinstance(self.answer, RegisterUnavailable):
            raise self.answer
        addresses = (MSC_A,) if self.answer is Status.ATTACHED else ()
        return Affiliation(self.answer, addresses, self.name, NOW, who.imsi)


DOWN = RegisterUnavailable("down")


@pytest.mark.parametrize(
    ("answers", "status", "source"),
    [
        ((Status.ATTACHED, Status.UNKNOWN), Status.ATTACHED, "0"),
        ((Status.UNKNOWN, Status.ATTACHED), Status.ATTACHED, "1"),
        ((DOWN, Status.ATTACHED), Status.ATTACHED, "1"),
        ((Status.UNKNOWN, Status.ABSENT, Status.UNKNOWN), Status.ABSENT, "1"),
        ((Status.PURGED, Status.ABSENT), Status.PURGED, "0"),
        ((Status.UNKNOWN, Status.UNKNOWN), Status.UNKNOWN, "0"),
    ],
)
def test_the_first_that_knows_most(answers: tuple[Any, ...], status: Status, source: str) -> None:
    registers = tuple(Register(str(number), answer) for number, answer in enumerate(answers))
    chain = Chain([Range(registers)], monotonic=lambda: 0.0)
    found = asyncio.run(chain.lookup(WHO, fresh=False, timeout_s=1))
    assert (found.status, found.source, found.authoritative) == (status, source, True)


@pytest.mark.parametrize("answers", [(DOWN,), (DOWN, Status.UNKNOWN), (Status.ABSENT, DOWN), (DOWN, DOWN)])
def test_nobody_knows_is_not_known_while_one_is_down(answers: tuple[Any, ...]) -> None:
    registers = tuple(Register(str(number), answer) for number, answer in enumerate(answers))
    chain = Chain([Range(registers)], monotonic=lambda: 0.0)
    with pytest.raises(RegisterUnavailable, match="down"):
        asyncio.run(chain.lookup(WHO, fresh=False, timeout_s=1))


def test_the_longest_range_and_imsi_first() -> None:
    home, roamers, rest = (Register(name, Status.ATTACHED) for name in ("home", "roamers", "rest"))
    chain = Chain(
        [
            Range((home,), imsi="00101"),
            Range((roamers,), msisdn="4477", authoritative=False),
            Range((rest,)),
            Range((), msisdn="999"),
        ],
        monotonic=lambda: 0.0,
    )

    async def ask(who: Who) -> Affiliation:
        return await chain.lookup(who, fresh=False, timeout_s=1)

    assert asyncio.run(ask(WHO)).source == "home"
    assert asyncio.run(ask(Who("447700900123", "99999"))).source == "roamers"
    assert asyncio.run(ask(NUMBER)).authoritative is False
    assert asyncio.run(ask(Who("331"))).source == "rest"
    with pytest.raises(RegisterUnavailable, match="no registers"):
        asyncio.run(ask(Who("9991")))


def test_a_chain_without_a_range_or_time() -> None:
    chain = Chain([Range((Register("home", Status.ATTACHED),), imsi="00101")], monotonic=lambda: 0.0)
    with pytest.raises(RegisterUnavailable, match="no range"):
        asyncio.run(chain.lookup(Who("331"), fresh=False, timeout_s=1))
    times = iter((0.0, 0.5, 2.0, 3.0))
    slow = Chain(
        [Range((Register("a", DOWN), Register("b", Status.ATTACHED)))], monotonic=lambda: next(times)
    )
    with pytest.raises(RegisterUnavailable, match="down"):
        asyncio.run(slow.lookup(WHO, fresh=False, timeout_s=1))
    with pytest.raises(ValueError, match="same prefix"):
        Chain([Range((), msisdn="1"), Range((), msisdn="1")], monotonic=lambda: 0.0)


# -------------------------------------------------------------------------------------------------------- table

TABLE = """msisdn,imsi,status,addresses
+447700900123,001010000000001,,e164_gt/msc:+447700900001 ipa_name/msc:MSC-A
,001010000000002,purged,
447700900125,,,
"""


def test_a_table() -> None:
    table = StaticTable.read(TABLE, now_ms=now_ms)

    def ask(who: Who) -> Affiliation:
        return asyncio.run(table.lookup(who, fresh=True, timeout_s=1))

    found = ask(NUMBER)
    assert found.addresses == (address(AddressType.E164_GT, "447700900001", ServedBy.MSC), MSC_A)
    assert (found.status, found.imsi, found.observed_at) == (Status.ATTACHED, WHO.imsi, NOW)
    assert ask(WHO) == found
    assert ask(Who(imsi="001010000000002")).status is Status.PURGED
    assert ask(Who("447700900125")).status is Status.ABSENT
    # The IMSI is what the question is about: the number beside it is a claim.
    stranger = ask(Who(WHO.msisdn, "001010000000099"))
    assert (stranger.status, stranger.imsi, stranger.msisdn) == (Status.UNKNOWN, "001010000000099", "")
    assert len(table) == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2", "columns"),
        ("1,2,,,5", "columns"),
        ("a,,,", "no number"),
        (",,,", "neither"),
        ("1,,flying,", "flying"),
        ("1,,attached,", "0 addresses"),
        ("1,,absent,ip:1.2.3.4", "1 addresses"),
        ("1,,,MSC-A", "type:value"),
        ("1,,,name:MSC-A", "name"),
        ("1,,,ipa_name/cow:MSC-A", "cow"),
        ("447700900123,,,", "twice"),
    ],
)
def test_bad_rows_name_their_line(row: str, reason: str) -> None:
    with pytest.raises(BadTable, match=f"line 5: .*{reason}"):
        StaticTable.read(TABLE + row + "\n", now_ms=now_ms)


def test_a_table_needs_its_heading() -> None:
    with pytest.raises(BadTable, match="line 1"):
        StaticTable.read("number,switch\n", now_ms=now_ms)


# --------------------------------------------------------------------------------------------------------- HTTP


def http(status: int, body: object, who: Who = NUMBER) -> Affiliation:
    urls: list[str] = []

    async def get(url: str, timeout_s: float) -> tuple[int, bytes]:
        urls.append(url)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()

    register = HttpRegister("http://look.up/{msisdn}?imsi={imsi}", get, now_ms=now_ms)
    found = asyncio.run(register.lookup(who, fresh=False, timeout_s=1))
    assert urls == [f"http://look.up/{who.msisdn}?imsi={who.imsi}"]
    return found


def test_http() -> None:
    addresses = [{"type": "ipa_name", "value": "MSC-A", "node": "msc"}]
    found = http(200, {"addresses": addresses, "imsi": WHO.imsi, "more": 1})
    assert found == Affiliation(Status.ATTACHED, (MSC_A,), "http", NOW, WHO.imsi, WHO.msisdn)
    assert http(200, {"status": "absent"}).status is Status.ABSENT
    assert http(404, b"").status is Status.UNKNOWN
    # A pair that was claimed and not confirmed is not in the answer.
    assert http(200, {"addresses": addresses}, WHO).msisdn == ""
    assert http(404, b"", WHO).msisdn == ""


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "refused"),
        (301, b"", "refused"),
        (503, b"", "busy"),
        (429, b"", "busy"),
        (200, b"<html>", "refused"),
        (200, {"status": "attached"}, "refused"),
        (200, {"status": "absent", "addresses": [{"type": "ip", "value": "1.2.3.4"}]}, "refused"),
        (200, {"addresses": [{"type": "e164_gt", "value": "no"}]}, "refused"),
        (200, {"addresses": [{"type": "ip", "value": "1.2.3.4"}] * 21}, "refused"),
        (200, {"imsi": "abc"}, "refused"),
        (200, {"status": None, "addresses": None}, "refused"),
        (200, b"[]", "refused"),
    ],
)
def test_http_answers_that_are_none(status: int, body: object, reason: str) -> None:
    with pytest.raises(RegisterUnavailable) as caught:
        http(status, body)
    assert caught.value.reason == reason


def test_only_digits_go_into_a_url() -> None:
    with pytest.raises(RegisterUnavailable, match="digits"):
        http(200, {}, Who("../admin"))
    with pytest.raises(ValueError, match="where the number goes"):
        HttpRegister("http://look.up/", None, now_ms=now_ms)  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------------------------------------------ records


def test_records_of_osmo_hlr() -> None:
    record = "\nid\t1\nimsi\t001010000000001\nmsisdn\t447700900123\nvlr_number\tMSC-A\nsgsn_number\tSGSN-1\n"
    both = read_record(record + "ms_purged_cs\t0\nms_purged_ps\t0", "hlr", NOW)
    sgsn = SwitchAddress(AddressType.IPA_NAME, "SGSN-1", ServedBy.SGSN)
    assert both == Affiliation(Status.ATTACHED, (MSC_A, sgsn), "hlr", NOW, WHO.imsi, WHO.msisdn)
    assert read_record(record + "ms_purged_cs\t1\nms_purged_ps\t0", "hlr", NOW).addresses == (sgsn,)
    assert read_record(record + "ms_purged_cs\t1\nms_purged_ps\t1", "hlr", NOW).status is Status.PURGED
    assert read_record("imsi\t001010000000001", "hlr", NOW).status is Status.ABSENT
    with pytest.raises(RegisterUnavailable):
        read_record("", "hlr", NOW)


# ---------------------------------------------------------------------------------------------------------- S6c


class FakeNode:
    """A Diameter node with one HSS behind it."""

    identity = Identity("smsc.home.net", "home.net")

    def __init__(self, answer: tuple[Any, ...] | Unavailable) -> None:
        self.answer = answer
        self.requests: list[Message] = []

    async def request(
        self, application: int, code: int, avps: Any, timeout_s: float, *, to_host: str
    ) -> Message:
        request = Message(0xC0, code, application, 1, 1, Avps(avps))
        self.requests.append(request)
        if isinstance(self.answer, Unavailable):
            raise self.answer
        return request.answer(self.answer)


def s6c(answer: tuple[Any, ...] | Unavailable, who: Who = NUMBER) -> tuple[Affiliation, Message]:
    node = FakeNode(answer)
    register = S6cRegister(
        node,  # pyright: ignore[reportArgumentType]
        center="447700900999",
        realm="home.net",
        session=lambda: "s;1;1",
        now_ms=now_ms,
    )
    return asyncio.run(register.lookup(who, fresh=False, timeout_s=1)), node.requests[0]


def test_an_hss() -> None:
    identity = FakeNode.identity
    nodes = (
        grouped(
            "Serving-Node",
            avp("MME-Name", "MME.home.net"),
            avp("MME-Realm", "home.net"),
            avp("MME-Number-for-MT-SMS", bytes.fromhex("447700090010")),
        ),
        grouped("Additional-Serving-Node", avp("MSC-Number", bytes.fromhex("447700090020"))),
        grouped("SMSF-3GPP-Address", avp("SMSF-3GPP-Name", "smsf.home.net")),
    )
    found, request = s6c(short_messages.routing_answer(identity, imsi=WHO.imsi, nodes=nodes))
    assert found.status is Status.ATTACHED
    assert found.addresses == (
        address(AddressType.DIAMETER_HOST, "mme.home.net", ServedBy.MME),
        address(AddressType.E164_GT, "447700900001", ServedBy.MME),
        address(AddressType.E164_GT, "447700900002", ServedBy.MSC),
        address(AddressType.DIAMETER_HOST, "smsf.home.net", ServedBy.SMSF),
    )
    assert (found.imsi, found.msisdn) == (WHO.imsi, WHO.msisdn)
    # Only looking must not make the HSS remember that somebody waits for the subscriber.
    assert (request.avps.number("SRR-Flags") or 0) & short_messages.SINGLE_ATTEMPT


def test_an_hss_is_asked_by_imsi_and_confirms_no_number() -> None:
    found, request = s6c(short_messages.routing_answer(FakeNode.identity), WHO)
    assert request.avps.find("MSISDN") is None
    assert request.avps.text("User-Name") == WHO.imsi
    assert (found.status, found.imsi, found.msisdn) == (Status.ABSENT, WHO.imsi, "")


@pytest.mark.parametrize(
    ("result", "status"),
    [(ExperimentalResult.USER_UNKNOWN, Status.UNKNOWN), (ExperimentalResult.ABSENT_USER, Status.ABSENT)],
)
def test_an_hss_that_says_nobody(result: int, status: Status) -> None:
    assert s6c(short_messages.routing_answer(FakeNode.identity, result=result))[0].status is status


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (short_messages.routing_answer(FakeNode.identity, result=ExperimentalResult.ILLEGAL_USER), "refused"),
        (short_messages.routing_answer(FakeNode.identity, result=5999), "refused"),
        ((avp("Result-Code", ResultCode.TOO_BUSY),), "busy"),
        ((avp("Result-Code", 5001),), "refused"),  # AVP unsupported: the same number as 3GPP's unknown user
        ((), "refused"),
        (Unavailable("timeout"), "timeout"),
        (Unavailable("no-route"), "down"),
        (Unavailable("disconnected"), "down"),
    ],
)
def test_an_hss_without_an_answer(answer: Any, reason: str) -> None:
    with pytest.raises(RegisterUnavailable) as caught:
        s6c(answer)
    assert caught.value.reason == reason


def test_what_cannot_be_asked() -> None:
    with pytest.raises(RegisterUnavailable, match="digit"):
        s6c((), Who("x"))
