"""GSUP: bit for bit through, hostile octets, a real OsmoHLR and Wireshark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from dissector import dissect_tcp
from gsup_switch import GsupSwitch
from hypothesis import given
from hypothesis import strategies as st
from osmo_hlr import OsmoHlr
from waiting import soon

from restante.message import Address
from restante.signaling import gsup, ipa
from restante.signaling.causes import GmmCause, RpCause
from restante.signaling.ctrl import Ctrl
from restante.signaling.gsup import AlertReason, BadGsup, Domain, Element, Gsup, Ie, MessageType, SmAddress
from restante.signaling.ipa import Extension
from restante.signaling.tpdu import Submit
from restante.signaling.user_data import UserData

IMSI = "001010000000001"
SCTS = bytes.fromhex("32114122310200")
CENTER = SmAddress(number=Address(1, 1, "447700900999"), center=True)
SENDER = SmAddress(number=Address(1, 1, "447700900123"))
TPDU = Submit(Address(1, 1, "447700900456"), ud=UserData(payload=b"hi")).encode()

elements = st.lists(st.builds(Element, st.integers(0, 255), st.binary(max_size=20)), max_size=6).map(tuple)


@given(st.integers(0, 255), elements)
def test_there_and_back(kind: int, parts: tuple[Element, ...]) -> None:
    message = Gsup(kind, parts)
    assert Gsup.decode(message.encode()) == message


@given(st.binary(max_size=60))
def test_any_octets_are_the_same_again_or_refused(octets: bytes) -> None:
    try:
        message = Gsup.decode(octets)
    except BadGsup:
        return
    assert message.encode() == octets
    for name in ("imsi", "cause", "domain", "msisdn", "sm_rp_mr", "sm_rp_cause", "sm_rp_da", "sm_rp_oa"):
        getattr(message, name)
    for name in ("tpdu", "alert_reason", "source_name", "destination_name"):
        getattr(message, name)


@pytest.mark.parametrize("octets", ["", "0401", "040102ff", "04010800"])
def test_what_is_cut_off(octets: str) -> None:
    with pytest.raises(BadGsup):
        Gsup.decode(bytes.fromhex(octets))


def test_elements_of_odd_shapes_are_absent() -> None:
    message = Gsup.decode(bytes.fromhex("24 0102f121 4002aaaa 440 0 420109 4102 01ff 0800".replace(" ", "")))
    assert (message.imsi, message.sm_rp_mr, message.sm_rp_cause, message.msisdn) == ("", None, None, "")
    assert (message.sm_rp_oa, message.sm_rp_da, message.cause) == (None, None, None)


def test_a_message_from_a_handset() -> None:
    message = Gsup.decode(gsup.mo_forward_sm(IMSI, 250, CENTER, SENDER, TPDU).encode())
    assert (message.imsi, message.sm_rp_mr, message.tpdu) == (IMSI, 250, TPDU)
    assert (message.sm_rp_da, message.sm_rp_oa) == (CENTER, SENDER)
    assert message.octet(Ie.MESSAGE_CLASS) == 2
    assert message.is_request
    assert not message.is_error


def test_answers_repeat_what_they_answer() -> None:
    request = gsup.mo_forward_sm(IMSI, 250, CENTER, SENDER, TPDU)
    named = Gsup(request.type, (*request.elements, Element(Ie.SOURCE_NAME, b"MSC-A\0")))
    result = gsup.answer(named)
    assert (result.type, result.imsi, result.sm_rp_mr) == (MessageType.MO_FORWARD_SM_RESULT, IMSI, 250)
    assert (result.destination_name, result.source_name, result.is_result) == ("MSC-A", "", True)
    assert result.elements[0].tag == Ie.IMSI
    refusal = gsup.error(named, sm_rp_cause=RpCause.TRANSFER_REJECTED, tpdu=b"report")
    assert (refusal.type, refusal.sm_rp_cause, refusal.tpdu) == (
        MessageType.MO_FORWARD_SM_ERROR,
        21,
        b"report",
    )
    assert refusal.is_error
    assert gsup.error(gsup.update_location(IMSI), cause=GmmCause.IMSI_UNKNOWN).cause == 2


def test_only_requests_are_answered() -> None:
    with pytest.raises(BadGsup, match="no request"):
        gsup.answer(Gsup(MessageType.AUTH_FAIL_REPORT, ()))


def test_a_message_for_a_handset() -> None:
    message = gsup.mt_forward_sm(IMSI, 9, CENTER, b"tpdu", more=True, to="MSC-A")
    assert message.sm_rp_da == SmAddress(imsi=IMSI)
    assert (message.octet(Ie.SM_RP_MMS), message.destination_name) == (1, "MSC-A")
    alert = gsup.ready_for_sm(IMSI, 3, AlertReason.MEMORY_AVAILABLE)
    assert (alert.alert_reason, alert.sm_rp_mr) == (AlertReason.MEMORY_AVAILABLE, 3)


@pytest.mark.parametrize("imsi", ["", "12345678901234567", "00101abc", "٠٠١٠١"])
def test_what_is_no_imsi(imsi: str) -> None:
    with pytest.raises(BadGsup, match="IMSI"):
        gsup.update_location(imsi)


def test_what_does_not_fit() -> None:
    with pytest.raises(BadGsup):
        Gsup(MessageType.MO_FORWARD_SM, (Element(Ie.SM_RP_UI, bytes(256)),)).encode()
    with pytest.raises(BadGsup):
        gsup.mo_forward_sm(IMSI, 1, SmAddress(number=Address(1, 1, "x")), SENDER, TPDU)


def test_domains() -> None:
    assert gsup.update_location(IMSI).domain is Domain.CS
    assert gsup.update_location(IMSI, Domain.PS).domain is Domain.PS
    assert Gsup(MessageType.UPDATE_LOCATION, ()).domain is Domain.PS


# ------------------------------------------------------------------------------------------------- a real register


def test_a_subscriber_attaches_at_a_real_register(osmo_hlr: OsmoHlr) -> None:
    async def scenario() -> None:
        ctrl = Ctrl(osmo_hlr.address)
        ctrl.open()

        async def up() -> bool:
            return ctrl.connected

        await soon(up)
        await ctrl.set("subscriber.create", IMSI, 5)
        await ctrl.set(f"subscriber.by-imsi-{IMSI}.msisdn", "447700900123", 5)
        switch = await GsupSwitch.connect("MSC-A", osmo_hlr.address, osmo_hlr.gsup_port)
        data = await switch.attach(IMSI)
        assert (data.imsi, data.msisdn) == (IMSI, "447700900123")
        assert "vlr_number\tMSC-A" in await ctrl.get(f"subscriber.by-imsi-{IMSI}.info", 5)

        refusal = await switch.exchange(gsup.update_location("001010000000077"))
        assert (refusal.type, refusal.cause) == (MessageType.UPDATE_LOCATION_ERROR, GmmCause.IMSI_UNKNOWN)

        await switch.purge(IMSI)
        assert "ms_purged_cs\t1" in await ctrl.get(f"subscriber.by-imsi-{IMSI}.info", 5)
        switch.writer.close()
        await ctrl.close()

    asyncio.run(scenario())


# --------------------------------------------------------------------------------------------- Wireshark reads it


def test_wireshark_reads_what_we_write(component: Callable[[str, str], str], tmp_path: Path) -> None:
    tshark = component("tshark", "tshark")
    mo = gsup.mo_forward_sm(IMSI, 250, CENTER, SENDER, TPDU)
    cases: list[tuple[Gsup, dict[str, str]]] = [
        (
            mo,
            {
                "gsup.msg_type": "36",
                "e212.imsi": IMSI,
                "gsup.msg_class": "2",
                "gsup.sm_rp_mr": "250",
                "gsup.sm_rp_da.addr_type": "3",
                "gsup.sm_rp_oa.addr_type": "2",
                "gsm_sms.tp-da": "447700900456",
                "gsm_sms.sms_text": "hi",
            },
        ),
        (gsup.answer(mo), {"gsup.msg_type": "38", "gsup.sm_rp_mr": "250", "e212.imsi": IMSI}),
        (gsup.error(mo, sm_rp_cause=21), {"gsup.msg_type": "37", "gsup.sm_rp.cause": "21"}),
        (
            gsup.mt_forward_sm(
                IMSI, 9, CENTER, TPDU[:0] or bytes.fromhex("0400910000" + "32114122310200" + "00"), more=True
            ),
            {"gsup.msg_type": "40", "gsup.sm_rp_da.addr_type": "1", "gsup.sm_rp.mms": "1"},
        ),
        (gsup.ready_for_sm(IMSI, 3, AlertReason.PRESENT), {"gsup.msg_type": "44", "gsup.sm_alert_rsn": "1"}),
        (gsup.update_location(IMSI), {"gsup.msg_type": "4", "gsup.cn_domain": "2", "e212.imsi": IMSI}),
    ]
    wanted = sorted({field for _, fields in cases for field in fields})
    frames = [ipa.osmo_frame(Extension.GSUP, message.encode()) for message, _ in cases]
    found = dissect_tcp(tshark, tmp_path, frames, (50000, 4222), wanted)
    for (message, fields), read in zip(cases, found, strict=True):
        seen = {field: read[field] for field in fields}
        assert {k: str(int(v, 16)) if v.startswith("0x") else v for k, v in seen.items()} == fields, message
