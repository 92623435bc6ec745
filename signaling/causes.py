"""What a network's refusal means, and what ours are called: the codes of RP, TPDUs, GSUP and Diameter.

In charge of: one table per protocol from its codes to an `ErrorClass`, and the status that a handset is told about its
message (TP-ST). Not in charge of: what follows from a class (`smsc/retry.py`), or SMPP's codes (`smsc/causes.py`).

A code in no table is SYSTEM in a protocol's temporary range and PERMANENT elsewhere: the specifications ask to treat
an unknown cause as the unspecified one of its group.

Sources: 3GPP TS 24.011 §8.2.5.4 (RP-Cause); TS 23.040 §9.2.3.22 (TP-FCS), §9.2.3.15 (TP-ST), §3.3 (absence,
memory); TS 24.008 §10.5.5.14 (cause of GSUP); RFC 6733 §7.1 and TS 29.338 (Diameter). The classes are
behaviour.md 5's.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from ..message import MessageState
from ..outlet import ErrorClass

__all__ = [
    "DeliveryFailure",
    "ExperimentalResult",
    "FailureCause",
    "GmmCause",
    "ResultCode",
    "RpCause",
    "Status",
    "class_of_fcs",
    "class_of_mt_cause",
    "class_of_result",
    "class_of_rp_cause",
    "status_of",
]


# ------------------------------------------------------------------------------------------------------------ RP


class RpCause(IntEnum):
    """RP-Cause: why a short message was not passed on (TS 24.011 table 8.4). MO and MT share the numbers."""

    UNASSIGNED_NUMBER = 1
    OPERATOR_DETERMINED_BARRING = 8
    CALL_BARRED = 10
    RESERVED = 11
    TRANSFER_REJECTED = 21
    MEMORY_CAPACITY_EXCEEDED = 22
    DESTINATION_OUT_OF_ORDER = 27
    UNIDENTIFIED_SUBSCRIBER = 28
    FACILITY_REJECTED = 29
    UNKNOWN_SUBSCRIBER = 30
    NETWORK_OUT_OF_ORDER = 38
    TEMPORARY_FAILURE = 41
    CONGESTION = 42
    RESOURCES_UNAVAILABLE = 47
    FACILITY_NOT_SUBSCRIBED = 50
    FACILITY_NOT_IMPLEMENTED = 69
    INVALID_REFERENCE = 81
    SEMANTICALLY_INCORRECT = 95
    INVALID_MANDATORY_INFORMATION = 96
    MESSAGE_TYPE_UNKNOWN = 97
    NOT_COMPATIBLE_WITH_STATE = 98
    INFORMATION_ELEMENT_UNKNOWN = 99
    PROTOCOL_ERROR = 111
    INTERWORKING = 127


_BY_RP_CAUSE: Mapping[int, ErrorClass] = {
    RpCause.UNASSIGNED_NUMBER: ErrorClass.PERMANENT,
    RpCause.OPERATOR_DETERMINED_BARRING: ErrorClass.POLICY,
    RpCause.CALL_BARRED: ErrorClass.POLICY,
    RpCause.RESERVED: ErrorClass.PERMANENT,
    RpCause.TRANSFER_REJECTED: ErrorClass.PERMANENT,
    RpCause.MEMORY_CAPACITY_EXCEEDED: ErrorClass.MEMORY_FULL,
    RpCause.DESTINATION_OUT_OF_ORDER: ErrorClass.ABSENT,
    RpCause.UNIDENTIFIED_SUBSCRIBER: ErrorClass.ABSENT,
    RpCause.FACILITY_REJECTED: ErrorClass.PERMANENT,
    RpCause.UNKNOWN_SUBSCRIBER: ErrorClass.PERMANENT,
    RpCause.NETWORK_OUT_OF_ORDER: ErrorClass.SYSTEM,
    RpCause.TEMPORARY_FAILURE: ErrorClass.SYSTEM,
    RpCause.CONGESTION: ErrorClass.CONGESTED,
    RpCause.RESOURCES_UNAVAILABLE: ErrorClass.CONGESTED,
    RpCause.FACILITY_NOT_SUBSCRIBED: ErrorClass.PERMANENT,
    RpCause.FACILITY_NOT_IMPLEMENTED: ErrorClass.PERMANENT,
    RpCause.INVALID_REFERENCE: ErrorClass.SYSTEM,  # the transaction was lost, not the message refused
    RpCause.SEMANTICALLY_INCORRECT: ErrorClass.PERMANENT,
    RpCause.INVALID_MANDATORY_INFORMATION: ErrorClass.PERMANENT,
    RpCause.MESSAGE_TYPE_UNKNOWN: ErrorClass.PERMANENT,
    RpCause.NOT_COMPATIBLE_WITH_STATE: ErrorClass.SYSTEM,
    RpCause.INFORMATION_ELEMENT_UNKNOWN: ErrorClass.PERMANENT,
    RpCause.PROTOCOL_ERROR: ErrorClass.SYSTEM,
    RpCause.INTERWORKING: ErrorClass.SYSTEM,
}


def class_of_rp_cause(cause: int, fcs: int | None = None) -> ErrorClass:
    """Class of an RP-ERROR to a message for a handset. A TP-FCS in it is the handset's own word and wins."""
    if fcs is not None:
        return class_of_fcs(fcs)
    unspecified = ErrorClass.SYSTEM if 38 <= cause <= 47 else ErrorClass.PERMANENT
    return _BY_RP_CAUSE.get(cause, unspecified)


# -------------------------------------------------------------------------------------------------------- TP-FCS


class FailureCause(IntEnum):
    """TP-FCS: why a handset, or the center, refused a TPDU (TS 23.040 §9.2.3.22)."""

    TELEMATIC_INTERWORKING_NOT_SUPPORTED = 0x80
    TYPE_0_NOT_SUPPORTED = 0x81
    CANNOT_REPLACE = 0x82
    UNSPECIFIED_PID_ERROR = 0x8F
    ALPHABET_NOT_SUPPORTED = 0x90
    MESSAGE_CLASS_NOT_SUPPORTED = 0x91
    UNSPECIFIED_DCS_ERROR = 0x9F
    COMMAND_CANNOT_BE_ACTIONED = 0xA0
    COMMAND_UNSUPPORTED = 0xA1
    UNSPECIFIED_COMMAND_ERROR = 0xAF
    TPDU_NOT_SUPPORTED = 0xB0
    SC_BUSY = 0xC0
    NO_SC_SUBSCRIPTION = 0xC1
    SC_SYSTEM_FAILURE = 0xC2
    INVALID_SME_ADDRESS = 0xC3
    DESTINATION_BARRED = 0xC4
    DUPLICATE_REJECTED = 0xC5
    VPF_NOT_SUPPORTED = 0xC6
    VP_NOT_SUPPORTED = 0xC7
    SIM_STORAGE_FULL = 0xD0
    NO_SIM_STORAGE = 0xD1
    ERROR_IN_MS = 0xD2
    MEMORY_CAPACITY_EXCEEDED = 0xD3
    SIM_TOOLKIT_BUSY = 0xD4
    SIM_DATA_DOWNLOAD_ERROR = 0xD5
    UNSPECIFIED = 0xFF


_BY_FAILURE_CAUSE: Mapping[int, ErrorClass] = {
    FailureCause.SC_BUSY: ErrorClass.CONGESTED,
    FailureCause.NO_SC_SUBSCRIPTION: ErrorClass.POLICY,
    FailureCause.SC_SYSTEM_FAILURE: ErrorClass.SYSTEM,
    FailureCause.DESTINATION_BARRED: ErrorClass.POLICY,
    FailureCause.SIM_STORAGE_FULL: ErrorClass.MEMORY_FULL,
    FailureCause.ERROR_IN_MS: ErrorClass.SYSTEM,
    FailureCause.MEMORY_CAPACITY_EXCEEDED: ErrorClass.MEMORY_FULL,
    FailureCause.SIM_TOOLKIT_BUSY: ErrorClass.BUSY,
    FailureCause.UNSPECIFIED: ErrorClass.SYSTEM,
}


def class_of_fcs(fcs: int) -> ErrorClass:
    """Class of a TP-FCS. What is not listed above is about this message and will not change."""
    return _BY_FAILURE_CAUSE.get(fcs, ErrorClass.PERMANENT)


# ---------------------------------------------------------------------------------------------------------- GSUP


class GmmCause(IntEnum):
    """The cause of GSUP's error messages (TS 24.008 table 10.5.147)."""

    IMSI_UNKNOWN = 2
    ILLEGAL_MS = 3
    ILLEGAL_ME = 6
    GPRS_NOT_ALLOWED = 7
    IDENTITY_NOT_DERIVABLE = 9
    IMPLICITLY_DETACHED = 10
    PLMN_NOT_ALLOWED = 11
    LOCATION_AREA_NOT_ALLOWED = 12
    ROAMING_NOT_ALLOWED = 13
    MSC_TEMPORARILY_NOT_REACHABLE = 16
    NETWORK_FAILURE = 17
    CONGESTION = 22
    SEMANTICALLY_INCORRECT = 95
    INVALID_MANDATORY_INFORMATION = 96
    MESSAGE_TYPE_UNKNOWN = 97
    PROTOCOL_ERROR = 111


_BY_MT_CAUSE: Mapping[int, ErrorClass] = {
    GmmCause.IMSI_UNKNOWN: ErrorClass.ABSENT,  # says a switch that no longer serves it, not a register
    GmmCause.IDENTITY_NOT_DERIVABLE: ErrorClass.ABSENT,
    GmmCause.IMPLICITLY_DETACHED: ErrorClass.ABSENT,
    GmmCause.MSC_TEMPORARILY_NOT_REACHABLE: ErrorClass.ABSENT,
    GmmCause.NETWORK_FAILURE: ErrorClass.SYSTEM,
    GmmCause.CONGESTION: ErrorClass.CONGESTED,
    GmmCause.PROTOCOL_ERROR: ErrorClass.SYSTEM,
}


def class_of_mt_cause(cause: int) -> ErrorClass:
    """Class of a GSUP cause with which a *switch* refused a message for a handset."""
    return _BY_MT_CAUSE.get(cause, ErrorClass.PERMANENT)


# ------------------------------------------------------------------------------------------------------ Diameter


class ResultCode(IntEnum):
    """Result-Code (RFC 6733 §7.1)."""

    SUCCESS = 2001
    LIMITED_SUCCESS = 2002
    COMMAND_UNSUPPORTED = 3001
    UNABLE_TO_DELIVER = 3002
    REALM_NOT_SERVED = 3003
    TOO_BUSY = 3004
    LOOP_DETECTED = 3005
    APPLICATION_UNSUPPORTED = 3007
    INVALID_HDR_BITS = 3008
    INVALID_AVP_BITS = 3009
    UNKNOWN_PEER = 3010
    OUT_OF_SPACE = 4002
    ELECTION_LOST = 4003
    AVP_UNSUPPORTED = 5001
    INVALID_AVP_VALUE = 5004
    MISSING_AVP = 5005
    NO_COMMON_APPLICATION = 5010
    UNSUPPORTED_VERSION = 5011
    UNABLE_TO_COMPLY = 5012
    INVALID_AVP_LENGTH = 5014
    INVALID_MESSAGE_LENGTH = 5015


class ExperimentalResult(IntEnum):
    """Experimental-Result-Code where 3GPP is the vendor (TS 29.338; TS 29.230)."""

    USER_UNKNOWN = 5001
    ABSENT_USER = 5550
    USER_BUSY_FOR_MT_SMS = 5551
    FACILITY_NOT_SUPPORTED = 5552
    ILLEGAL_USER = 5553
    ILLEGAL_EQUIPMENT = 5554
    SM_DELIVERY_FAILURE = 5555
    SERVICE_NOT_SUBSCRIBED = 5556
    SERVICE_BARRED = 5557
    MWD_LIST_FULL = 5558


class DeliveryFailure(IntEnum):
    """SM-Enumerated-Delivery-Failure-Cause (TS 29.338)."""

    MEMORY_CAPACITY_EXCEEDED = 0
    EQUIPMENT_PROTOCOL_ERROR = 1
    EQUIPMENT_NOT_SM_EQUIPPED = 2
    UNKNOWN_SERVICE_CENTRE = 3
    SC_CONGESTION = 4
    INVALID_SME_ADDRESS = 5
    USER_NOT_SC_USER = 6


_BY_EXPERIMENTAL_RESULT: Mapping[int, ErrorClass] = {
    ExperimentalResult.USER_UNKNOWN: ErrorClass.PERMANENT,
    ExperimentalResult.ABSENT_USER: ErrorClass.ABSENT,
    ExperimentalResult.USER_BUSY_FOR_MT_SMS: ErrorClass.BUSY,
    ExperimentalResult.FACILITY_NOT_SUPPORTED: ErrorClass.PERMANENT,
    ExperimentalResult.ILLEGAL_USER: ErrorClass.PERMANENT,
    ExperimentalResult.ILLEGAL_EQUIPMENT: ErrorClass.PERMANENT,
    ExperimentalResult.SM_DELIVERY_FAILURE: ErrorClass.SYSTEM,
    ExperimentalResult.SERVICE_NOT_SUBSCRIBED: ErrorClass.PERMANENT,
    ExperimentalResult.SERVICE_BARRED: ErrorClass.POLICY,
}

_BY_DELIVERY_FAILURE: Mapping[int, ErrorClass] = {
    DeliveryFailure.MEMORY_CAPACITY_EXCEEDED: ErrorClass.MEMORY_FULL,
    DeliveryFailure.EQUIPMENT_PROTOCOL_ERROR: ErrorClass.SYSTEM,
    DeliveryFailure.EQUIPMENT_NOT_SM_EQUIPPED: ErrorClass.PERMANENT,
    DeliveryFailure.UNKNOWN_SERVICE_CENTRE: ErrorClass.PERMANENT,
    DeliveryFailure.SC_CONGESTION: ErrorClass.CONGESTED,
    DeliveryFailure.INVALID_SME_ADDRESS: ErrorClass.PERMANENT,
    DeliveryFailure.USER_NOT_SC_USER: ErrorClass.PERMANENT,
}

_BY_RESULT_CODE: Mapping[int, ErrorClass] = {
    ResultCode.TOO_BUSY: ErrorClass.CONGESTED,
    ResultCode.OUT_OF_SPACE: ErrorClass.CONGESTED,
    ResultCode.UNABLE_TO_COMPLY: ErrorClass.SYSTEM,
}


def class_of_result(
    code: int, *, experimental: bool = False, failure: int | None = None, fcs: int | None = None
) -> ErrorClass:
    """Class of a Diameter answer that is no success.

    `failure` is SM-Enumerated-Delivery-Failure-Cause, `fcs` the TP-FCS of a report in SM-Diagnostic-Info: the more
    specific fact wins.
    """
    if not experimental:
        passing = 3000 <= code < 5000  # protocol errors and transient failures: another way or time may do
        return _BY_RESULT_CODE.get(code, ErrorClass.SYSTEM if passing else ErrorClass.PERMANENT)
    if code == ExperimentalResult.SM_DELIVERY_FAILURE:
        if fcs is not None:
            return class_of_fcs(fcs)
        if failure is not None:
            return _BY_DELIVERY_FAILURE.get(failure, ErrorClass.PERMANENT)
    return _BY_EXPERIMENTAL_RESULT.get(code, ErrorClass.PERMANENT)


# --------------------------------------------------------------------------------------------------------- TP-ST


class Status(IntEnum):
    """TP-ST: what a status report says (TS 23.040 §9.2.3.15). 20 to 3F: still trying; 60 to 7F: given up."""

    RECEIVED = 0x00
    FORWARDED = 0x01
    REPLACED = 0x02
    TRYING_CONGESTION = 0x20
    TRYING_BUSY = 0x21
    TRYING_NO_RESPONSE = 0x22
    TRYING_REJECTED = 0x23
    TRYING_ERROR = 0x25
    REMOTE_PROCEDURE_ERROR = 0x40
    INCOMPATIBLE_DESTINATION = 0x41
    CONNECTION_REJECTED = 0x42
    NOT_OBTAINABLE = 0x43
    VALIDITY_PERIOD_EXPIRED = 0x46
    DELETED_BY_SENDER = 0x47
    DELETED_BY_CENTER = 0x48
    DOES_NOT_EXIST = 0x49
    GIVEN_UP_CONGESTION = 0x60
    GIVEN_UP_BUSY = 0x61
    GIVEN_UP_NO_RESPONSE = 0x62
    GIVEN_UP_REJECTED = 0x63
    GIVEN_UP_ERROR = 0x65


_GIVEN_UP: Mapping[ErrorClass, Status] = {
    ErrorClass.BUSY: Status.GIVEN_UP_BUSY,
    ErrorClass.ABSENT: Status.GIVEN_UP_NO_RESPONSE,
    ErrorClass.MEMORY_FULL: Status.GIVEN_UP_REJECTED,
    ErrorClass.CONGESTED: Status.GIVEN_UP_CONGESTION,
    ErrorClass.SYSTEM: Status.GIVEN_UP_ERROR,
    ErrorClass.TIMEOUT: Status.GIVEN_UP_NO_RESPONSE,
    ErrorClass.PERMANENT: Status.NOT_OBTAINABLE,
    ErrorClass.POLICY: Status.CONNECTION_REJECTED,
}
_TRYING: Mapping[ErrorClass, Status] = {
    ErrorClass.BUSY: Status.TRYING_BUSY,
    ErrorClass.ABSENT: Status.TRYING_NO_RESPONSE,
    ErrorClass.MEMORY_FULL: Status.TRYING_REJECTED,
    ErrorClass.CONGESTED: Status.TRYING_CONGESTION,
    ErrorClass.SYSTEM: Status.TRYING_ERROR,
    ErrorClass.TIMEOUT: Status.TRYING_NO_RESPONSE,
    ErrorClass.PERMANENT: Status.TRYING_ERROR,
    ErrorClass.POLICY: Status.TRYING_REJECTED,
}
_BY_STATE: Mapping[MessageState, Status] = {
    MessageState.DELIVERED: Status.RECEIVED,
    MessageState.EXPIRED: Status.VALIDITY_PERIOD_EXPIRED,
    MessageState.DELETED: Status.DELETED_BY_SENDER,
    MessageState.REJECTED: Status.CONNECTION_REJECTED,
    MessageState.ACCEPTED: Status.FORWARDED,
    MessageState.SKIPPED: Status.DELETED_BY_CENTER,
}


def status_of(state: MessageState, error: ErrorClass | None = None) -> Status:
    """What a handset is told about its message in this state, whose last attempt failed so."""
    if state in (MessageState.ENROUTE, MessageState.SCHEDULED):
        return _TRYING[error or ErrorClass.ABSENT]
    if state in (MessageState.UNDELIVERABLE, MessageState.UNKNOWN):
        return _GIVEN_UP[error or ErrorClass.SYSTEM]
    return _BY_STATE[state]
