"""What a failed attempt means."""

from __future__ import annotations

import pytest

from restante.outlet import ErrorClass as C
from restante.smsc.causes import (
    GsmCause,
    ReceiptError,
    class_of_network_error,
    class_of_status,
    receipt_error,
)
from restante.smsc.smpp.command_status import CommandStatus as S


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (S.ESME_RX_T_APPN, C.SYSTEM),
        (S.ESME_RX_P_APPN, C.PERMANENT),
        (S.ESME_RX_R_APPN, C.PERMANENT),
        (S.ESME_RMSGQFUL, C.CONGESTED),
        (S.ESME_RTHROTTLED, C.CONGESTED),
        (S.ESME_RSYSERR, C.SYSTEM),
        (S.ESME_RINVDSTADR, C.PERMANENT),
        (0x499, C.PERMANENT),
        (0xFFFFFFFF, C.PERMANENT),
    ],
)
def test_a_status_alone(status, expected):
    assert class_of_status(status) is expected


def test_the_most_specific_fact_wins():
    gsm = b"\x03\x00\x1f"
    vendor = {0x400: C.BUSY, int(S.ESME_RX_T_APPN): C.MEMORY_FULL}
    assert class_of_status(0x400, vendor=vendor) is C.BUSY
    assert class_of_status(S.ESME_RX_T_APPN, vendor=vendor) is C.MEMORY_FULL
    assert class_of_status(0x400, failure_reason=0, vendor=vendor) is C.ABSENT
    assert class_of_status(0x400, network_error=gsm, failure_reason=0, vendor=vendor) is C.BUSY
    assert class_of_status(S.ESME_RX_P_APPN, network_error=b"\x03\x00\x1b") is C.ABSENT
    assert class_of_status(S.ESME_RX_P_APPN, network_error=b"\x09\x09", failure_reason=77) is C.PERMANENT


@pytest.mark.parametrize("cause", list(GsmCause))
def test_every_gsm_cause_has_a_class(cause):
    assert class_of_network_error(b"\x03" + cause.to_bytes(2, "big")) is not None


@pytest.mark.parametrize(
    "value", [b"", b"\x03", b"\x03\x00", b"\x01\x00\x1b", b"\x03\xff\xff", b"\x03\x00\x1b\x00"]
)
def test_what_is_no_gsm_cause_says_nothing(value):
    assert class_of_network_error(value) is None


@pytest.mark.parametrize("error", list(C))
def test_every_class_has_its_own_receipt_error(error):
    assert receipt_error(error).name == error.name


def test_a_reason_with_a_code_of_its_own_wins_over_the_class():
    assert receipt_error(C.PERMANENT, "mailbox-full") is ReceiptError.MAILBOX_FULL
    assert receipt_error(C.PERMANENT, "number-closed") is ReceiptError.CLOSED_NUMBER
    assert receipt_error(C.PERMANENT, "no-route") is ReceiptError.NO_ROUTE
    assert receipt_error(None, "expired") is ReceiptError.EXPIRED
    assert receipt_error(None, "") is ReceiptError.NONE
    assert receipt_error(C.BUSY, "something else") is ReceiptError.BUSY
    assert all(0 <= error <= 999 for error in ReceiptError)
