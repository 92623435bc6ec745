"""Every code of every protocol has a class, and the ones that decide what follows have the right one."""

from __future__ import annotations

import pytest

from restante.message import FINAL_STATES, MessageState
from restante.outlet import ErrorClass
from restante.signaling.causes import (
    DeliveryFailure,
    ExperimentalResult,
    FailureCause,
    GmmCause,
    ResultCode,
    RpCause,
    Status,
    class_of_fcs,
    class_of_mt_cause,
    class_of_result,
    class_of_rp_cause,
    status_of,
)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (RpCause.UNASSIGNED_NUMBER, ErrorClass.PERMANENT),
        (RpCause.CALL_BARRED, ErrorClass.POLICY),
        (RpCause.MEMORY_CAPACITY_EXCEEDED, ErrorClass.MEMORY_FULL),
        (RpCause.DESTINATION_OUT_OF_ORDER, ErrorClass.ABSENT),
        (RpCause.UNKNOWN_SUBSCRIBER, ErrorClass.PERMANENT),
        (RpCause.TEMPORARY_FAILURE, ErrorClass.SYSTEM),
        (RpCause.CONGESTION, ErrorClass.CONGESTED),
        (45, ErrorClass.SYSTEM),  # unknown, in the group of what passes
        (200, ErrorClass.PERMANENT),
    ],
)
def test_rp(cause: int, expected: ErrorClass) -> None:
    assert class_of_rp_cause(cause) is expected


def test_the_handset_knows_better_than_rp() -> None:
    assert class_of_rp_cause(RpCause.PROTOCOL_ERROR, FailureCause.SIM_STORAGE_FULL) is ErrorClass.MEMORY_FULL
    assert class_of_rp_cause(RpCause.PROTOCOL_ERROR) is ErrorClass.SYSTEM


@pytest.mark.parametrize(
    ("fcs", "expected"),
    [
        (FailureCause.SIM_STORAGE_FULL, ErrorClass.MEMORY_FULL),
        (FailureCause.MEMORY_CAPACITY_EXCEEDED, ErrorClass.MEMORY_FULL),
        (FailureCause.NO_SIM_STORAGE, ErrorClass.PERMANENT),
        (FailureCause.SIM_TOOLKIT_BUSY, ErrorClass.BUSY),
        (FailureCause.ERROR_IN_MS, ErrorClass.SYSTEM),
        (FailureCause.MESSAGE_CLASS_NOT_SUPPORTED, ErrorClass.PERMANENT),
        (0xE5, ErrorClass.PERMANENT),
    ],
)
def test_fcs(fcs: int, expected: ErrorClass) -> None:
    assert class_of_fcs(fcs) is expected


def test_a_switch_that_does_not_know_the_subscriber_is_no_register() -> None:
    assert class_of_mt_cause(GmmCause.IMSI_UNKNOWN) is ErrorClass.ABSENT
    assert class_of_mt_cause(GmmCause.CONGESTION) is ErrorClass.CONGESTED
    assert class_of_mt_cause(GmmCause.ILLEGAL_MS) is ErrorClass.PERMANENT


@pytest.mark.parametrize(
    ("code", "arguments", "expected"),
    [
        (ResultCode.UNABLE_TO_DELIVER, {}, ErrorClass.SYSTEM),
        (ResultCode.TOO_BUSY, {}, ErrorClass.CONGESTED),
        (ResultCode.UNABLE_TO_COMPLY, {}, ErrorClass.SYSTEM),
        (ResultCode.AVP_UNSUPPORTED, {}, ErrorClass.PERMANENT),
        (4999, {}, ErrorClass.SYSTEM),
        (ExperimentalResult.USER_UNKNOWN, {"experimental": True}, ErrorClass.PERMANENT),
        (ExperimentalResult.ABSENT_USER, {"experimental": True}, ErrorClass.ABSENT),
        (ExperimentalResult.USER_BUSY_FOR_MT_SMS, {"experimental": True}, ErrorClass.BUSY),
        (ExperimentalResult.SM_DELIVERY_FAILURE, {"experimental": True}, ErrorClass.SYSTEM),
        (
            ExperimentalResult.SM_DELIVERY_FAILURE,
            {"experimental": True, "failure": DeliveryFailure.MEMORY_CAPACITY_EXCEEDED},
            ErrorClass.MEMORY_FULL,
        ),
        (
            ExperimentalResult.SM_DELIVERY_FAILURE,
            {"experimental": True, "failure": 1, "fcs": FailureCause.SIM_TOOLKIT_BUSY},
            ErrorClass.BUSY,
        ),
    ],
)
def test_diameter(code: int, arguments: dict[str, int], expected: ErrorClass) -> None:
    assert class_of_result(code, **arguments) is expected  # pyright: ignore[reportArgumentType]


def test_every_state_and_class_has_a_status() -> None:
    for state in MessageState:
        for error in (None, *ErrorClass):
            status = status_of(state, error)
            trying = 0x20 <= status < 0x40
            assert trying is (state in (MessageState.ENROUTE, MessageState.SCHEDULED))
            if state in FINAL_STATES:
                assert (status < 0x20) is (state is MessageState.DELIVERED)


def test_statuses_that_handsets_show() -> None:
    assert status_of(MessageState.DELIVERED) is Status.RECEIVED
    assert status_of(MessageState.EXPIRED) is Status.VALIDITY_PERIOD_EXPIRED
    assert status_of(MessageState.UNDELIVERABLE, ErrorClass.BUSY) is Status.GIVEN_UP_BUSY
    assert status_of(MessageState.ENROUTE, ErrorClass.BUSY) is Status.TRYING_BUSY
