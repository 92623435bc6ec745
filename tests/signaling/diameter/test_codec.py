"""Diameter octets: there and back, hostile ones, readers that nobody here wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diameter.message import Message as TheirMessage
from diameter.message import constants
from diameter.message.avp import Avp as TheirAvp
from dissector import dissect_tcp
from hypothesis import given
from hypothesis import strategies as st

from restante.message import Address
from restante.signaling.causes import DeliveryFailure, ResultCode
from restante.signaling.diameter import codec, short_messages
from restante.signaling.diameter.codec import Avp, Avps, BadMessage, Framer, Message, avp, decode, grouped
from restante.signaling.diameter.connection import Identity
from restante.signaling.diameter.dictionary import BY_NAME, Application, Command, Format
from restante.signaling.tpdu import Submit
from restante.signaling.user_data import UserData

US = Identity("smsc.example.org", "example.org")
IMSI, MSISDN, CENTER = "001010000000001", "447700900123", "447700900999"
TPDU = Submit(Address(1, 1, "447700900456"), ud=UserData(payload=b"hi")).encode()

OCTET, WORD = st.integers(0, 255), st.integers(0, 0xFFFFFFFF)


@st.composite
def raw_avps(draw: st.DrawFn) -> Avp:
    flags = draw(OCTET)
    vendor = draw(WORD) if flags & 0x80 else 0
    return Avp(draw(WORD), vendor, flags, draw(st.binary(max_size=30)))


messages = st.builds(
    Message,
    OCTET.filter(lambda flags: flags & 0xA0 != 0xA0),
    st.integers(0, 0xFFFFFF),
    WORD,
    WORD,
    WORD,
    st.lists(raw_avps(), max_size=6).map(Avps),
)


@given(messages)
def test_there_and_back(message: Message) -> None:
    octets = message.encode()
    assert len(octets) % 4 == 0
    assert decode(octets) == message
    assert decode(octets).encode() == octets


@given(st.binary(max_size=120))
def test_any_octets_are_a_message_or_refused(octets: bytes) -> None:
    for data in (octets, b"\x01" + len(octets).to_bytes(3, "big") + octets[4:]):
        try:
            message = decode(data)
        except BadMessage:
            continue
        for name, definition in BY_NAME.items():
            if definition.format is Format.GROUPED:
                message.avps.groups(name)
            else:
                message.avps.text(name)
                message.avps.time_ms(name)
                message.avps.number(name)
        _ = message.result


@given(messages, st.integers(0, 5000), OCTET)
def test_a_changed_octet_is_a_message_or_refused(message: Message, at: int, value: int) -> None:
    octets = bytearray(message.encode())
    octets[at % len(octets)] = value
    try:
        decode(bytes(octets))
    except BadMessage:
        pass


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 900), max_size=6))
def test_messages_come_out_however_they_are_cut(sent: list[Message], cuts: list[int]) -> None:
    stream = b"".join(message.encode() for message in sent)
    framer, read, start = Framer(), [], 0
    for end in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        read += framer.feed(stream[start:end])
        start = end
    assert [decode(octets) for octets in read] == sent


@pytest.mark.parametrize(
    ("octets", "result"),
    [
        (b"GET / HTTP/1.1\r\n", ResultCode.UNSUPPORTED_VERSION),
        (b"\x02\x00\x00\x14" + bytes(16), ResultCode.UNSUPPORTED_VERSION),
        (b"\x01\x00\x00\x10" + bytes(16), ResultCode.INVALID_MESSAGE_LENGTH),
        (b"\x01\x00\x00\x15" + bytes(20), ResultCode.INVALID_MESSAGE_LENGTH),
        (b"\x01\xff\xff\xfc" + bytes(20), ResultCode.INVALID_MESSAGE_LENGTH),
    ],
)
def test_streams_that_cannot_be_followed(octets: bytes, result: int) -> None:
    with pytest.raises(BadMessage) as caught:
        Framer().feed(octets)
    assert caught.value.result == result


def test_a_broken_avp_leaves_a_header_to_answer_with() -> None:
    octets = Message(0x80, 280, 0, 1, 2, Avps((avp("Origin-Host", "a"),))).encode()
    broken = octets[:27] + b"\xff" + octets[28:]
    with pytest.raises(BadMessage) as caught:
        decode(broken)
    assert caught.value.result == ResultCode.INVALID_AVP_LENGTH
    header = caught.value.header
    assert header is not None
    assert (header.code, header.hop_by_hop, header.end_to_end) == (280, 1, 2)


def test_values_by_name() -> None:
    avps = codec.read_avps(
        b"".join(
            each.encode()
            for each in (
                avp("Origin-Host", "MME.example.org"),
                avp("Route-Record", "A"),
                avp("Route-Record", "b"),
                avp("SM-Delivery-Cause", -1),
                avp("Result-Code", 0xFFFFFFFF),
                avp("Maximum-UE-Availability-Time", 1_700_000_000_000),
                avp("Host-IP-Address", "127.0.0.1"),
                avp("Host-IP-Address", "::1"),
                grouped("User-Identifier", avp("User-Name", IMSI), None),
                Avp(3102, 10415, 0xC0, b"broken"),
                Avp(278, 0, 0, b"odd"),
            )
        )
    )
    assert avps.text("Origin-Host") == "MME.example.org"
    assert avps.identity("Origin-Host") == "mme.example.org"
    assert avps.identities("Route-Record") == ("a", "b")
    assert (avps.number("SM-Delivery-Cause"), avps.number("Result-Code")) == (-1, 0xFFFFFFFF)
    assert avps.time_ms("Maximum-UE-Availability-Time") == 1_700_000_000_000
    assert [each.data for each in avps.every("Host-IP-Address")] == [
        b"\0\1\x7f\0\0\1",
        b"\0\2" + bytes(15) + b"\1",
    ]
    assert len(avps.groups("User-Identifier")) == 1
    assert (avps.number("Origin-State-Id"), avps.group("Failed-AVP"), avps.octets("LMSI")) == (
        None,
        None,
        None,
    )
    assert avps[0].name == "Origin-Host"
    assert Avp(1, 9, 0, b"").name == "9:1"
    with pytest.raises(KeyError):
        avps.text("No-Such-Thing")


def test_times_of_the_next_era() -> None:
    beyond_2036 = 2_300_000_000_000
    assert (
        Avps((avp("SM-Delivery-Start-Time", beyond_2036),)).time_ms("SM-Delivery-Start-Time") == beyond_2036
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Result-Code", -1),
        ("Result-Code", 1 << 32),
        ("Result-Code", "2001"),
        ("Origin-Host", b"octets"),
        ("SM-RP-UI", "text"),
        ("Host-IP-Address", "example.org"),
        ("User-Identifier", b""),
    ],
)
def test_values_of_the_wrong_kind(name: str, value: bytes | str | int) -> None:
    with pytest.raises(ValueError):
        avp(name, value)


def test_a_group_is_made_of_a_group() -> None:
    with pytest.raises(ValueError, match="no group"):
        grouped("User-Name")


def test_an_answer_keeps_session_and_proxies() -> None:
    proxy = Avp(284, 0, 0x40, b"")
    request = Message(0xC0, 1, 2, 3, 4, Avps((avp("Session-Id", "s"), proxy, avp("Origin-Host", "a"))))
    answer = request.answer((avp("Result-Code", 3002),), error=True)
    assert (answer.is_request, answer.is_error, answer.hop_by_hop, answer.end_to_end) == (False, True, 3, 4)
    assert [each.name for each in answer.avps] == ["Session-Id", "Result-Code", "Proxy-Info"]
    assert answer.result == (3002, False)
    assert not answer.succeeded
    assert request.answer((short_messages.experimental(5550),)).result == (5550, True)
    assert request.answer((short_messages.success(),)).succeeded
    assert request.answer(()).result == (0, False)


def test_what_is_too_long_is_not_written() -> None:
    with pytest.raises(ValueError, match="octets"):
        Message(0, 1, 1, 1, 1, Avps((avp("SM-RP-UI", bytes(70_000)),))).encode()


# ------------------------------------------------------------------------------------------- readers of others


def ofr() -> Message:
    avps = short_messages.mo_forward(
        Identity("mme.visited.net", "visited.net"),
        "mme;1;2",
        imsi=IMSI,
        msisdn=MSISDN,
        center=CENTER,
        tpdu=TPDU,
        host=US.host,
        realm=US.realm,
    )
    return Message(0xC0, Command.MO_FORWARD_SHORT_MESSAGE, Application.SGD, 7, 8, Avps(avps))


def test_python_diameter_reads_and_writes_the_same() -> None:
    octets = ofr().encode()
    theirs = TheirMessage.from_bytes(octets)
    assert theirs.header.command_code == 8388645
    assert theirs.header.application_id == 16777313
    found = {each.code: each for each in theirs.avps}
    assert found[264].value == b"mme.visited.net"
    assert found[3300].value == bytes.fromhex("447700099099")
    assert {member.code: member.value for member in found[3102].value}[1] == IMSI
    assert theirs.as_bytes() == octets


def test_python_diameter_writes_what_we_read() -> None:
    made = TheirMessage()
    made.header.command_code = 8388648
    made.header.application_id = 16777312
    made.header.is_request = True
    inner = [
        TheirAvp.new(constants.AVP_USER_NAME, value=IMSI),
        TheirAvp.new(constants.AVP_TGPP_MSISDN, constants.VENDOR_TGPP, value=bytes.fromhex("447700091032")),
    ]
    made.append_avp(TheirAvp.new(constants.AVP_TGPP_USER_IDENTIFIER, constants.VENDOR_TGPP, value=inner))
    read = decode(made.as_bytes())
    assert short_messages.read_alert(read) == short_messages.Alert(IMSI, "447700900123", "", None)
    assert read.encode() == made.as_bytes()


def test_wireshark_reads_what_we_write(component: Callable[[str, str], str], tmp_path: Path) -> None:
    tshark = component("tshark", "tshark")
    request = ofr()
    refusal = request.answer(
        short_messages.mo_forward_answer(
            US, failure=DeliveryFailure.USER_NOT_SC_USER, report=b"\x01\xc4\x00" + bytes(7)
        )
    )
    routing = Message(
        0xC0,
        Command.SEND_ROUTING_INFO_FOR_SM,
        Application.S6C,
        9,
        10,
        Avps(short_messages.routing_request(US, "s;1;1", msisdn=MSISDN, center=CENTER, realm="home.net")),
    )
    fields = [
        "diameter.cmd.code",
        "diameter.applicationId",
        "diameter.hopbyhopid",
        "diameter.Origin-Host",
        "diameter.User-Name",
        "diameter.Experimental-Result-Code",
        "diameter.SM-Enumerated-Delivery-Failure-Cause",
        "diameter.SRR-Flags",
        "gsm_sms.sms_text",
        "e164.msisdn",
    ]
    found = dissect_tcp(
        tshark, tmp_path, [m.encode() for m in (request, refusal, routing)], (50000, 3868), fields
    )
    plain = [{k: str(int(v, 16)) if v.startswith("0x") else v for k, v in row.items()} for row in found]
    assert (
        plain[0]
        | {
            "diameter.cmd.code": "8388645",
            "diameter.applicationId": "16777313",
            "diameter.hopbyhopid": "7",
            "diameter.Origin-Host": "mme.visited.net",
            "diameter.User-Name": IMSI,
            "gsm_sms.sms_text": "hi",
        }
        == plain[0]
    )
    assert plain[1]["diameter.Experimental-Result-Code"] == "5555"
    assert plain[1]["diameter.SM-Enumerated-Delivery-Failure-Cause"] == "6"
    assert (plain[2]["diameter.cmd.code"], plain[2]["diameter.SRR-Flags"]) == ("8388647", "5")
    assert plain[2]["e164.msisdn"] == MSISDN
