"""Numbers and names of statuses and commands."""

import pytest

from restante.smsc.smpp.command_id import CommandId, command_name, is_response
from restante.smsc.smpp.command_status import CommandStatus, is_vendor_status, status_name


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (0, "ESME_ROK"),
        (0x14, "ESME_RMSGQFUL"),
        (0x58, "ESME_RTHROTTLED"),
        (0xFF, "ESME_RUNKNOWNERR"),
        (0x112, "ESME_RINVBCASTCHANIND"),
        (0x410, "0x00000410 (vendor)"),
        (0x09, "0x00000009 (unknown)"),
        (0xFFFFFFFF, "0xFFFFFFFF (unknown)"),
    ],
)
def test_status_names(status: int, name: str) -> None:
    assert status_name(status) == name


def test_vendor_range() -> None:
    assert [is_vendor_status(status) for status in (0x3FF, 0x400, 0x4FF, 0x500)] == [False, True, True, False]
    assert not any(is_vendor_status(status) for status in CommandStatus)


def test_5_0_names_are_aliases() -> None:
    assert CommandStatus.ESME_RINVTLVSTREAM is CommandStatus.ESME_RINVOPTPARSTREAM
    assert CommandStatus.ESME_RINVTLVVAL == 0xC4


def test_command_names() -> None:
    assert command_name(0x80000103) == "data_sm_resp"
    assert command_name(0x111) == "broadcast_sm"
    assert command_name(0xABC) == "0x00000ABC"
    assert [c.name for c in CommandId if is_response(c)] == [
        c.name for c in CommandId if c.name.endswith("_resp") or c is CommandId.generic_nack
    ]
