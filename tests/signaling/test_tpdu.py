"""The six TPDUs: there and back, octets known from elsewhere, hostile octets, Wireshark as a reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dissector import dissect
from hypothesis import example, given
from hypothesis import strategies as st

from restante.message import Address
from restante.signaling import tpdu
from restante.signaling.tp_time import ValidityFormat, time_stamp
from restante.signaling.tpdu import (
    Command,
    Deliver,
    DeliverReport,
    Parameters,
    StatusReport,
    Submit,
    SubmitReport,
    decode_from_handset,
    decode_to_handset,
)
from restante.signaling.user_data import (
    BadTpdu,
    UserData,
    data_coding_of,
    dcs_of,
    replace_type,
    text_of,
    user_data,
)
from restante.smsc.text import gsm7, segments, udh
from restante.smsc.text.codings import Coding, interpret

NOW = 1_700_000_000_000
OCTET = st.integers(0, 255)

# ------------------------------------------------------------------------------------------------------ strategies

digits = st.text("0123456789*#abc", max_size=20)
addresses = st.builds(
    Address, st.integers(0, 7).filter(lambda ton: ton != 5), st.integers(0, 15), digits
) | st.builds(Address, st.just(5), st.integers(0, 15), st.text("Restante @é1", max_size=11))
elements = st.builds(udh.InformationElement, OCTET, st.binary(max_size=12))
headers = st.lists(elements, max_size=3).map(udh.build)


@st.composite
def coded(draw: st.DrawFn, room: int = 140) -> tuple[int, UserData]:
    """A TP-DCS and user data that fits into so many octets under it."""
    dcs = draw(OCTET)
    header = draw(headers)
    left = room - len(header)
    if _in_septets(dcs):
        count = draw(st.integers(0, (8 * left - gsm7.fill_bits(len(header))) // 7))
        payload = bytes(draw(st.lists(st.integers(0, 127), min_size=count, max_size=count)))
    else:
        payload = draw(st.binary(max_size=left))
    return dcs, UserData(header, payload, bool(header))


def _in_septets(dcs: int) -> bool:
    """By the specification's words, not by the table under test."""
    if dcs < 0x80:
        return not dcs & 0x20 and dcs & 0x0C in (0, 0x0C)
    if dcs < 0xC0:
        return True
    if dcs < 0xF0:
        return dcs < 0xE0
    return not dcs & 0x04


@st.composite
def parameters(draw: st.DrawFn, room: int) -> Parameters:
    dcs, ud = draw(coded(room))
    pid = draw(st.none() | OCTET)
    has_dcs = draw(st.booleans())
    if not draw(st.booleans()):
        return Parameters(pid, dcs if has_dcs else None, None)
    if not has_dcs:
        ud = UserData(payload=b"septets")
    return Parameters(pid, dcs if has_dcs else None, ud)


@st.composite
def submits(draw: st.DrawFn) -> Submit:
    dcs, ud = draw(coded())
    vpf = draw(st.sampled_from(ValidityFormat))
    length = {ValidityFormat.NONE: 0, ValidityFormat.RELATIVE: 1}.get(vpf, 7)
    vp = draw(st.binary(min_size=length, max_size=length))
    flags = {name: draw(st.booleans()) for name in ("rd", "srr", "rp")}
    return Submit(draw(addresses), draw(OCTET), draw(OCTET), dcs, ud, vpf, vp, **flags)


@st.composite
def delivers(draw: st.DrawFn) -> Deliver:
    dcs, ud = draw(coded())
    flags = {name: draw(st.booleans()) for name in ("mms", "lp", "sri", "rp")}
    return Deliver(draw(addresses), draw(stamps), draw(OCTET), dcs, ud, **flags)


stamps = st.binary(min_size=7, max_size=7)
fcs = st.none() | st.integers(0x80, 0xFF)
commands = st.builds(
    Command, addresses, OCTET, OCTET, OCTET, OCTET, st.binary(max_size=140), st.booleans(), st.booleans()
)
status_reports = st.builds(
    StatusReport,
    addresses,
    stamps,
    stamps,
    OCTET,
    OCTET,
    parameters(131),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
deliver_reports = st.builds(DeliverReport, fcs, parameters(158))
submit_reports = st.builds(SubmitReport, stamps, fcs, parameters(151))


# --------------------------------------------------------------------------------------------------- there and back


@given(submits() | commands | deliver_reports)
def test_from_a_handset_there_and_back(message: tpdu.FromHandset) -> None:
    octets = message.encode()
    assert len(octets) <= 164
    assert decode_from_handset(octets) == message
    assert decode_from_handset(octets).encode() == octets
    if isinstance(message, DeliverReport):
        assert decode_from_handset(octets, message.fcs is not None) == message


@given(delivers() | status_reports | submit_reports)
def test_to_a_handset_there_and_back(message: tpdu.ToHandset) -> None:
    octets = message.encode()
    assert len(octets) <= 164
    assert decode_to_handset(octets) == message
    if isinstance(message, SubmitReport):
        assert decode_to_handset(octets, message.fcs is not None) == message


@given(st.binary(max_size=180))
@example(b"\x01\x00\x14\x91" + bytes(10) + b"\x00\x00\xff")
@example(b"\x41\x00\x01\x91\x01\x00\x00\x01\xff")
@example(b"\x00\x84\x84")
@example(b"\x01\x00\x00\x91\x00\x04\x8d" + bytes(141))
def test_any_octets_are_a_tpdu_or_refused(octets: bytes) -> None:
    for decode in (decode_from_handset, decode_to_handset):
        for refused in (None, True, False):
            try:
                message = decode(octets, refused)
            except BadTpdu:
                continue
            assert decode(message.encode(), refused) == message


@given(submits().map(Submit.encode), st.integers(0, 1000), OCTET)
def test_a_changed_octet_is_a_tpdu_or_refused(octets: bytes, at: int, value: int) -> None:
    changed = bytearray(octets)
    changed[at % len(changed)] = value
    try:
        message = decode_from_handset(bytes(changed))
    except BadTpdu:
        return
    assert decode_from_handset(message.encode()) == message


@pytest.mark.parametrize(
    "message",
    [
        Submit(
            Address(1, 1, "447700900123"),
            ud=UserData(payload=b"text"),
            vpf=ValidityFormat.ABSOLUTE,
            vp=bytes(7),
        ),
        Command(Address(1, 1, "4477"), tpdu.CT_DELETE, 3, cd=b"data"),
        Deliver(Address(1, 1, "4477"), bytes(7), ud=UserData(payload=b"text")),
        SubmitReport(bytes(7), 0xC4, Parameters(1, 4, UserData(payload=b"text"))),
        DeliverReport(0xD3, Parameters(1, 4, UserData(payload=b"text"))),
    ],
)
def test_every_cut_is_noticed(message: Any) -> None:
    octets = message.encode()
    decode = decode_from_handset if isinstance(message, tpdu.FromHandset) else decode_to_handset
    for end in range(len(octets)):
        with pytest.raises(BadTpdu):
            decode(octets[:end])


def test_octets_behind_the_last_field_are_ignored() -> None:
    submit = Submit(Address(1, 1, "4477"), ud=UserData(payload=b"text"))
    assert decode_from_handset(submit.encode() + b"\xff\xff") == submit


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Submit(Address(1, 1, "x")), "TP-DA"),
        (Submit(Address(1, 1, "1"), mr=256), "TPDU"),
        (Submit(Address(1, 1, "1"), ud=UserData(payload=b"a" * 161)), "TP-UD"),
        (Submit(Address(1, 1, "1"), dcs=4, ud=UserData(payload=b"a" * 141)), "TP-UD"),
        (Submit(Address(1, 1, "1"), dcs=4, ud=UserData(payload=b"a" * 300)), "TP-UD"),
        (Submit(Address(1, 1, "1"), vpf=ValidityFormat.RELATIVE, vp=b""), "TP-VP"),
        (Deliver(Address(1, 1, "1"), b"short"), "TP-SCTS"),
        (Command(Address(1, 1, "1" * 20), 0, cd=bytes(160)), "TPDU"),
    ],
)
def test_what_cannot_be_written(message: Any, field: str) -> None:
    with pytest.raises(BadTpdu) as caught:
        message.encode()
    assert caught.value.field == field


def test_a_reserved_type_is_refused_from_a_handset_and_a_deliver_to_one() -> None:
    deliver = Deliver(Address(1, 1, "4477"), bytes(7))
    reserved = bytes((deliver.encode()[0] | 3,)) + deliver.encode()[1:]
    assert decode_to_handset(reserved) == deliver
    with pytest.raises(BadTpdu, match="reserved"):
        decode_from_handset(reserved)


# --------------------------------------------------------------------------------------------------- known octets


def test_a_submit_from_the_specification_of_many_modems() -> None:
    """The classic "hellohello" to +46708251358 with 4 days, as handset manuals print it."""
    submit = decode_from_handset(bytes.fromhex("11000B916407281553F80000AA0AE8329BFD4697D9EC37"))
    assert submit == Submit(
        Address(1, 1, "46708251358"),
        ud=UserData(payload=b"hellohello"),
        vpf=ValidityFormat.RELATIVE,
        vp=b"\xaa",
    )


def test_a_deliver_of_many_manuals() -> None:
    deliver = decode_to_handset(bytes.fromhex("040BC87238880900F10000993092516195800AE8329BFD4697D9EC37"))
    assert isinstance(deliver, Deliver)
    assert deliver.oa == Address(4, 8, "27838890001")
    assert (deliver.mms, deliver.ud.payload) == (False, b"hellohello")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("coding", [Coding.GSM7, Coding.UCS2, Coding.BINARY])
def test_parts_fill_a_submit_to_its_last_bit(bits: int, coding: Coding) -> None:
    """What the rooms' own splitter makes for a handset always fits, and comes back as it was."""
    octets = {Coding.GSM7: b"abcdefg" * 60, Coding.UCS2: "жук".encode("utf-16-be") * 60}.get(
        coding, b"\xff" * 400
    )
    dcs = {Coding.GSM7: 0, Coding.UCS2: 8}.get(coding, 4)
    parts = segments.split(octets, coding, 7, bits=bits)
    joined = b""
    for part in parts:
        deliver = Deliver(Address(1, 1, "4477"), bytes(7), 0, dcs, user_data(part.user_data, True))
        read = decode_to_handset(deliver.encode())
        assert isinstance(read, Deliver)
        assert read.ud == UserData(part.header, part.payload, True)
        joined += text_of(read.dcs, read.ud).octets
    assert joined == octets


def test_a_header_that_passes_its_end_is_no_header() -> None:
    octets = Submit(Address(1, 1, "4477"), dcs=4, ud=UserData(payload=b"\x09bad", udhi=True)).encode()
    submit = decode_from_handset(octets)
    assert isinstance(submit, Submit)
    assert submit.ud == UserData(b"", b"\x09bad", True)
    assert submit.encode() == octets


def test_further_presence_indicators_are_passed_over() -> None:
    report = DeliverReport.decode(bytes.fromhex("00 81 00 05"), refused=False)
    assert report == DeliverReport(None, Parameters(pid=5))
    assert SubmitReport.decode(
        bytes.fromhex("01 81 80 00") + bytes(7) + b"\x05", refused=False
    ) == SubmitReport(bytes(7), None, Parameters(pid=5))


# ------------------------------------------------------------------------------------------------ TP-PID and TP-DCS


def test_replace_types() -> None:
    assert [pid for pid in range(256) if replace_type(pid)] == list(range(0x41, 0x48))
    assert replace_type(0x47) == 7


def test_every_dcs_keeps_its_meaning_as_data_coding() -> None:
    for dcs in range(256):
        data_coding = data_coding_of(dcs)
        back = dcs_of(data_coding)
        assert back is not None
        meaning = interpret(data_coding)
        if meaning.coding in (Coding.GSM7, Coding.DEFAULT):
            assert _in_septets(dcs)
            assert _in_septets(back)
        elif meaning.coding is not Coding.UNKNOWN:
            assert not _in_septets(dcs)
            assert not _in_septets(back)
        if dcs >= 0x10:
            assert back == dcs


@pytest.mark.parametrize(
    ("data_coding", "dcs"), [(0, 0), (1, None), (2, 4), (3, None), (4, 4), (8, 8), (0x19, 0x19)]
)
def test_dcs_of_smpp_codings(data_coding: int, dcs: int | None) -> None:
    assert dcs_of(data_coding) == dcs


def test_what_is_no_octet_has_no_dcs() -> None:
    assert dcs_of(0x100) is None


@pytest.mark.parametrize(
    ("dcs", "payload", "text"),
    [(0, b"\x00 a", "@ a"), (0x0C, b"a", "a"), (8, b"\x04\x36", "ж"), (4, b"a", None), (0xF1, b"a", "a")],
)
def test_texts(dcs: int, payload: bytes, text: str | None) -> None:
    assert text_of(dcs, UserData(payload=payload)).text == text


# ---------------------------------------------------------------------------------------------- Wireshark reads it


def rp(message: tpdu.FromHandset | tpdu.ToHandset) -> bytes:
    """The TPDU inside the RP message that would carry it, which tells Wireshark the direction."""
    octets = message.encode()
    center = bytes.fromhex("0791447758100650")
    from_handset = isinstance(message, tpdu.FromHandset)
    if isinstance(message, DeliverReport | SubmitReport):
        cause = b"" if message.fcs is None else b"\x01\x6f"
        kind = (2 if message.fcs is None else 4) + (not from_handset)
        return bytes((kind, 9)) + cause + bytes((0x41, len(octets))) + octets
    addresses = b"\x00" + center if from_handset else center + b"\x00"
    return bytes((not from_handset, 9)) + addresses + bytes((len(octets),)) + octets


CASES: list[tuple[tpdu.FromHandset | tpdu.ToHandset, dict[str, str]]] = [
    (
        Submit(
            Address(1, 1, "447700900123"),
            7,
            0x41,
            0,
            UserData(payload=gsm7.encode("hello Ω€")),
            ValidityFormat.RELATIVE,
            b"\xa7",
            srr=True,
        ),
        {
            "gsm_sms.tp-mti": "1",
            "gsm_sms.tp-vpf": "2",
            "gsm_sms.tp-srr": "1",
            "gsm_sms.tp-rd": "0",
            "gsm_sms.tp-mr": "7",
            "gsm_sms.tp-da": "447700900123",
            "gsm_sms.tp-pid": "65",
            "gsm_sms.sms_text": "hello Ω€",
        },
    ),
    (
        Submit(
            Address(2, 1, "01234567*#1"),
            255,
            0,
            8,
            UserData(payload="жук".encode("utf-16-be")),
            ValidityFormat.ABSOLUTE,
            time_stamp(NOW, -90),
            rd=True,
            rp=True,
        ),
        {
            "gsm_sms.tp-vpf": "3",
            "gsm_sms.tp-rd": "1",
            "gsm_sms.tp-rp": "1",
            "gsm_sms.tp-dcs": "8",
            "gsm_sms.sms_text": "жук",
            # The time stamp dissector reads the absolute form too.
            "gsm_sms.scts.year": "23",
            "gsm_sms.scts.hour": "20",
            "gsm_sms.scts.minutes": "43",
        },
    ),
    (
        Deliver(
            Address(5, 0, "Restante"),
            time_stamp(NOW, 120),
            0,
            0,
            UserData(bytes.fromhex("0500031f0201"), gsm7.encode("part one"), True),
            mms=True,
            sri=True,
        ),
        {
            "gsm_sms.tp-mti": "0",
            "gsm_sms.tp-mms": "0",
            "gsm_sms.tp-sri": "1",
            "gsm_sms.tp-udhi": "1",
            "gsm_sms.tp-oa": "Restante",
            "gsm_sms.scts.year": "23",
            "gsm_sms.scts.day": "15",
            "gsm_sms.scts.hour": "0",
            "gsm_sms.udh.mm.msg_id": "31",
            "gsm_sms.udh.mm.msg_parts": "2",
            "gsm_sms.udh.mm.msg_part": "1",
            "gsm_sms.sms_text": "part one",
        },
    ),
    (
        StatusReport(
            Address(1, 1, "447700900123"),
            time_stamp(NOW),
            time_stamp(NOW + 60_000),
            0x46,
            200,
            Parameters(pid=0x12, dcs=0, ud=UserData(payload=gsm7.encode("late"))),
            srq=True,
        ),
        {
            "gsm_sms.tp-mti": "2",
            "gsm_sms.tp-mr": "200",
            "gsm_sms.tp-srq": "1",
            "gsm_sms.tp-mms": "1",
            "gsm_sms.tp-ra": "447700900123",
            "gsm_sms.dis_field.st_error": "2",
            "gsm_sms.scts.minutes": "13",
            "gsm_sms.tp-pid": "18",
            "gsm_sms.sms_text": "late",
        },
    ),
    (
        Command(Address(1, 1, "447700900123"), tpdu.CT_DELETE, 77, 5, 0, b"\x01\x02", srr=True),
        {
            "gsm_sms.tp-mti": "2",
            "gsm_sms.tp-srr": "1",
            "gsm_sms.tp-mr": "5",
            "gsm_sms.tp.message_number": "77",
            "gsm_sms.tp.command_type": "2",
            "gsm_sms.tp.command_data_length": "2",
        },
    ),
    (
        DeliverReport(0xD3, Parameters(pid=1)),
        {"gsm_sms.tp-mti": "0", "gsm_sms.tp-fcs": "211", "gsm_sms.tp-pid": "1"},
    ),
    (
        DeliverReport(None, Parameters(dcs=4, ud=UserData(payload=b"\xde\xad"))),
        {"gsm_sms.tp-mti": "0", "gsm_sms.tp-fcs": "", "gsm_sms.tp-dcs": "4"},
    ),
    (
        SubmitReport(time_stamp(NOW), 0xC4),
        {"gsm_sms.tp-mti": "1", "gsm_sms.tp-fcs": "196", "gsm_sms.scts.seconds": "20"},
    ),
]


def test_wireshark_reads_what_we_write(component: Callable[[str, str], str], tmp_path: Path) -> None:
    tshark = component("tshark", "tshark")
    wanted = sorted({field for _, fields in CASES for field in fields})
    read = dissect(tshark, tmp_path, [rp(message) for message, _ in CASES], "gsm_a_rp", wanted)
    for (message, fields), found in zip(CASES, read, strict=True):
        assert {field: _plain(found[field]) for field in fields} == fields, message


def _plain(text: str) -> str:
    """Wireshark prints some numbers in hexadecimal."""
    return str(int(text, 16)) if text.startswith("0x") else text
