"""The command_id values of SMPP, the protocol versions, and how requests pair with responses.

In charge of: numbers and names of every command_id of SMPP 3.4 and 5.0, the response bit, interface_version values.
Not in charge of: the layout of the PDUs (pdu.py), when a command is allowed (session.py).
Source: SMPP 3.4 section 5.1.2, table 5-1; SMPP 5.0 section 4.7.5, table 4-44.
"""

from enum import IntEnum

#: Set in the command_id of every response and of generic_nack.
RESPONSE_BIT = 0x80000000

#: interface_version values. 0x33 stands for everything up to 3.3, which knows no TLVs.
VERSION_3_3 = 0x33
VERSION_3_4 = 0x34
VERSION_5_0 = 0x50


class CommandId(IntEnum):
    """Commands of 3.4, and the broadcast ones of 5.0 so that a log line can name what it refuses."""

    generic_nack = 0x80000000
    bind_receiver = 0x00000001
    bind_receiver_resp = 0x80000001
    bind_transmitter = 0x00000002
    bind_transmitter_resp = 0x80000002
    query_sm = 0x00000003
    query_sm_resp = 0x80000003
    submit_sm = 0x00000004
    submit_sm_resp = 0x80000004
    deliver_sm = 0x00000005
    deliver_sm_resp = 0x80000005
    unbind = 0x00000006
    unbind_resp = 0x80000006
    replace_sm = 0x00000007
    replace_sm_resp = 0x80000007
    cancel_sm = 0x00000008
    cancel_sm_resp = 0x80000008
    bind_transceiver = 0x00000009
    bind_transceiver_resp = 0x80000009
    outbind = 0x0000000B
    enquire_link = 0x00000015
    enquire_link_resp = 0x80000015
    submit_multi = 0x00000021
    submit_multi_resp = 0x80000021
    alert_notification = 0x00000102
    data_sm = 0x00000103
    data_sm_resp = 0x80000103
    broadcast_sm = 0x00000111
    broadcast_sm_resp = 0x80000111
    query_broadcast_sm = 0x00000112
    query_broadcast_sm_resp = 0x80000112
    cancel_broadcast_sm = 0x00000113
    cancel_broadcast_sm_resp = 0x80000113


_NAMES: dict[int, str] = {command.value: command.name for command in CommandId}


def is_response(command_id: int) -> bool:
    """True for every response and for generic_nack: what must never be answered."""
    return command_id & RESPONSE_BIT != 0


def command_name(command_id: int) -> str:
    """The specification's name, or the number in hexadecimal for a command that has none."""
    return _NAMES.get(command_id) or f"0x{command_id:08X}"
