"""What a failed attempt means: every network's codes mapped to one of our error classes.

In charge of: the one table per protocol from a peer's code to an `ErrorClass`, and the err: field of receipts. Not in
charge of: what follows from a class (`retry.py`).

Sources: SMPP 3.4 §5.1.3 (command_status), §5.3.2.31 (network_error_code), §5.3.2.33 (delivery_failure_reason);
3GPP TS 29.002 §17.6.6 and TS 24.011 §8.2.5.4 for GSM causes. The classes are behaviour.md 5's.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from ..outlet import ErrorClass
from .smpp.command_status import CommandStatus as Status

__all__ = ["GsmCause", "ReceiptError", "class_of_network_error", "class_of_status", "receipt_error"]


class GsmCause(IntEnum):
    """MAP user errors as they appear in network_error_code with network type 3 (GSM)."""

    UNKNOWN_SUBSCRIBER = 1
    UNIDENTIFIED_SUBSCRIBER = 5
    ABSENT_SUBSCRIBER_SM = 6
    ILLEGAL_SUBSCRIBER = 9
    TELESERVICE_NOT_PROVISIONED = 11
    ILLEGAL_EQUIPMENT = 12
    CALL_BARRED = 13
    FACILITY_NOT_SUPPORTED = 21
    ABSENT_SUBSCRIBER = 27
    SUBSCRIBER_BUSY_FOR_MT_SMS = 31
    SM_DELIVERY_FAILURE = 32  # the cause behind it is usually "memory capacity exceeded"
    SYSTEM_FAILURE = 34


_BY_STATUS: Mapping[int, ErrorClass] = {
    Status.ESME_RX_T_APPN: ErrorClass.SYSTEM,
    Status.ESME_RX_P_APPN: ErrorClass.PERMANENT,
    Status.ESME_RX_R_APPN: ErrorClass.PERMANENT,
    Status.ESME_RMSGQFUL: ErrorClass.CONGESTED,
    Status.ESME_RTHROTTLED: ErrorClass.CONGESTED,
    Status.ESME_RSYSERR: ErrorClass.SYSTEM,
    Status.ESME_RINVBNDSTS: ErrorClass.SYSTEM,
    Status.ESME_RUNKNOWNERR: ErrorClass.SYSTEM,
    Status.ESME_RINVCMDID: ErrorClass.PERMANENT,
    Status.ESME_RDELIVERYFAILURE: ErrorClass.SYSTEM,
}

_BY_GSM_CAUSE: Mapping[int, ErrorClass] = {
    GsmCause.UNKNOWN_SUBSCRIBER: ErrorClass.PERMANENT,
    GsmCause.UNIDENTIFIED_SUBSCRIBER: ErrorClass.ABSENT,
    GsmCause.ABSENT_SUBSCRIBER_SM: ErrorClass.ABSENT,
    GsmCause.ILLEGAL_SUBSCRIBER: ErrorClass.PERMANENT,
    GsmCause.TELESERVICE_NOT_PROVISIONED: ErrorClass.PERMANENT,
    GsmCause.ILLEGAL_EQUIPMENT: ErrorClass.PERMANENT,
    GsmCause.CALL_BARRED: ErrorClass.POLICY,
    GsmCause.FACILITY_NOT_SUPPORTED: ErrorClass.PERMANENT,
    GsmCause.ABSENT_SUBSCRIBER: ErrorClass.ABSENT,
    GsmCause.SUBSCRIBER_BUSY_FOR_MT_SMS: ErrorClass.BUSY,
    GsmCause.SM_DELIVERY_FAILURE: ErrorClass.MEMORY_FULL,
    GsmCause.SYSTEM_FAILURE: ErrorClass.SYSTEM,
}

_NETWORK_TYPE_GSM = 3  # SMPP 3.4 §5.3.2.31, first octet

#: delivery_failure_reason (SMPP 3.4 §5.3.2.33).
_BY_FAILURE_REASON: Mapping[int, ErrorClass] = {
    0: ErrorClass.ABSENT,  # destination unavailable
    1: ErrorClass.PERMANENT,  # destination address invalid
    2: ErrorClass.PERMANENT,  # permanent network error
    3: ErrorClass.SYSTEM,  # temporary network error
}


def class_of_network_error(value: bytes) -> ErrorClass | None:
    """Class of a network_error_code TLV value (3 octets); None if it says nothing we know."""
    if len(value) == 3 and value[0] == _NETWORK_TYPE_GSM:
        return _BY_GSM_CAUSE.get(int.from_bytes(value[1:], "big"))
    return None


def class_of_status(
    status: int,
    *,
    network_error: bytes = b"",
    failure_reason: int | None = None,
    vendor: Mapping[int, ErrorClass] | None = None,
) -> ErrorClass:
    """Class of a negative deliver_sm_resp or submit_sm_resp.

    The most specific fact wins: network_error_code, then delivery_failure_reason, then the link's own table for the
    vendor range 0x400..0x4FF, then command_status. A status in no table is permanent: it is about this message.
    """
    by_network = class_of_network_error(network_error) if network_error else None
    if by_network is not None:
        return by_network
    if failure_reason is not None and failure_reason in _BY_FAILURE_REASON:
        return _BY_FAILURE_REASON[failure_reason]
    if vendor and status in vendor:
        return vendor[status]
    return _BY_STATUS.get(status, ErrorClass.PERMANENT)


class ReceiptError(IntEnum):
    """err: of our receipts, three decimal digits; the same list stands in docs/receipts.md."""

    NONE = 0
    EXPIRED = 1
    ABSENT = 2
    BUSY = 3
    MEMORY_FULL = 4
    CONGESTED = 5
    SYSTEM = 6
    TIMEOUT = 7
    PERMANENT = 8
    POLICY = 9
    NO_ROUTE = 10
    MAILBOX_FULL = 11
    CANCELLED = 12
    CLOSED_NUMBER = 13


_RECEIPT_ERROR_BY_CLASS: Mapping[ErrorClass, ReceiptError] = {
    ErrorClass.ABSENT: ReceiptError.ABSENT,
    ErrorClass.BUSY: ReceiptError.BUSY,
    ErrorClass.MEMORY_FULL: ReceiptError.MEMORY_FULL,
    ErrorClass.CONGESTED: ReceiptError.CONGESTED,
    ErrorClass.SYSTEM: ReceiptError.SYSTEM,
    ErrorClass.TIMEOUT: ReceiptError.TIMEOUT,
    ErrorClass.PERMANENT: ReceiptError.PERMANENT,
    ErrorClass.POLICY: ReceiptError.POLICY,
}

_RECEIPT_ERROR_BY_REASON: Mapping[str, ReceiptError] = {
    "no-route": ReceiptError.NO_ROUTE,
    "mailbox-full": ReceiptError.MAILBOX_FULL,
    "expired": ReceiptError.EXPIRED,
    "cancelled": ReceiptError.CANCELLED,
    "number-closed": ReceiptError.CLOSED_NUMBER,
}


def receipt_error(error: ErrorClass | None, reason: str = "") -> ReceiptError:
    """Choose err: the reason if it has a code of its own, else the error class."""
    by_reason = _RECEIPT_ERROR_BY_REASON.get(reason)
    if by_reason is not None:
        return by_reason
    return _RECEIPT_ERROR_BY_CLASS[error] if error is not None else ReceiptError.NONE
