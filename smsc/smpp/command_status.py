"""The command_status values of SMPP and what they are called.

In charge of: the numbers and names of command_status of SMPP 3.4 and 5.0, the vendor range, turning any value into a
word for a log line.
Not in charge of: which error of ours becomes which status (one table in the delivery and submission rooms).
Source: SMPP 3.4 section 5.1.3, table 5-2; SMPP 5.0 section 4.7.6, table 4-45. A status is a plain 32 bit int on every
PDU: values that stand in no table pass through untouched.
"""

from enum import IntEnum

#: First and last command_status that the specification leaves to vendors.
VENDOR_FIRST = 0x00000400
VENDOR_LAST = 0x000004FF


class CommandStatus(IntEnum):
    """Every status both versions define; the later name of 5.0 is an alias where it renamed one."""

    ESME_ROK = 0x00000000
    ESME_RINVMSGLEN = 0x00000001  #: message length is invalid
    ESME_RINVCMDLEN = 0x00000002  #: command_length is invalid
    ESME_RINVCMDID = 0x00000003  #: command_id is invalid
    ESME_RINVBNDSTS = 0x00000004  #: not allowed in this bind state
    ESME_RALYBND = 0x00000005  #: already bound
    ESME_RINVPRTFLG = 0x00000006  #: priority_flag
    ESME_RINVREGDLVFLG = 0x00000007  #: registered_delivery
    ESME_RSYSERR = 0x00000008
    ESME_RINVSRCADR = 0x0000000A
    ESME_RINVDSTADR = 0x0000000B
    ESME_RINVMSGID = 0x0000000C
    ESME_RBINDFAIL = 0x0000000D
    ESME_RINVPASWD = 0x0000000E
    ESME_RINVSYSID = 0x0000000F
    ESME_RCANCELFAIL = 0x00000011
    ESME_RREPLACEFAIL = 0x00000013
    ESME_RMSGQFUL = 0x00000014
    ESME_RINVSERTYP = 0x00000015
    ESME_RINVNUMDESTS = 0x00000033
    ESME_RINVDLNAME = 0x00000034  #: distribution list name
    ESME_RINVDESTFLAG = 0x00000040  #: dest_flag of submit_multi
    ESME_RINVSUBREP = 0x00000042  #: submit with replace
    ESME_RINVESMCLASS = 0x00000043
    ESME_RCNTSUBDL = 0x00000044  #: cannot submit to the distribution list
    ESME_RSUBMITFAIL = 0x00000045
    ESME_RINVSRCTON = 0x00000048
    ESME_RINVSRCNPI = 0x00000049
    ESME_RINVDSTTON = 0x00000050
    ESME_RINVDSTNPI = 0x00000051
    ESME_RINVSYSTYP = 0x00000053
    ESME_RINVREPFLAG = 0x00000054  #: replace_if_present_flag
    ESME_RINVNUMMSGS = 0x00000055
    ESME_RTHROTTLED = 0x00000058
    ESME_RINVSCHED = 0x00000061  #: schedule_delivery_time
    ESME_RINVEXPIRY = 0x00000062  #: validity_period
    ESME_RINVDFTMSGID = 0x00000063  #: sm_default_msg_id
    ESME_RX_T_APPN = 0x00000064  #: receiver: temporary error
    ESME_RX_P_APPN = 0x00000065  #: receiver: permanent error
    ESME_RX_R_APPN = 0x00000066  #: receiver: message rejected
    ESME_RQUERYFAIL = 0x00000067
    ESME_RINVOPTPARSTREAM = 0x000000C0
    ESME_ROPTPARNOTALLWD = 0x000000C1
    ESME_RINVPARLEN = 0x000000C2
    ESME_RMISSINGOPTPARAM = 0x000000C3
    ESME_RINVOPTPARAMVAL = 0x000000C4
    ESME_RDELIVERYFAILURE = 0x000000FE
    ESME_RUNKNOWNERR = 0x000000FF

    # SMPP 5.0 renamed these five ...
    ESME_RINVTLVSTREAM = 0x000000C0
    ESME_RTLVNOTALLWD = 0x000000C1
    ESME_RINVTLVLEN = 0x000000C2
    ESME_RMISSINGTLV = 0x000000C3
    ESME_RINVTLVVAL = 0x000000C4

    # ... and added these.
    ESME_RSERTYPUNAUTH = 0x00000100  #: not authorised for this service_type
    ESME_RPROHIBITED = 0x00000101
    ESME_RSERTYPUNAVAIL = 0x00000102
    ESME_RSERTYPDENIED = 0x00000103
    ESME_RINVDCS = 0x00000104  #: data_coding
    ESME_RINVSRCADDRSUBUNIT = 0x00000105
    ESME_RINVDSTADDRSUBUNIT = 0x00000106
    ESME_RINVBCASTFREQINT = 0x00000107
    ESME_RINVBCASTALIAS_NAME = 0x00000108
    ESME_RINVBCASTAREAFMT = 0x00000109
    ESME_RINVNUMBCAST_AREAS = 0x0000010A
    ESME_RINVBCASTCNTTYPE = 0x0000010B
    ESME_RINVBCASTMSGCLASS = 0x0000010C
    ESME_RBCASTFAIL = 0x0000010D
    ESME_RBCASTQUERYFAIL = 0x0000010E
    ESME_RBCASTCANCELFAIL = 0x0000010F
    ESME_RINVBCAST_REP = 0x00000110
    ESME_RINVBCASTSRVGRP = 0x00000111
    ESME_RINVBCASTCHANIND = 0x00000112


_NAMES: dict[int, str] = {status.value: status.name for status in CommandStatus}


def is_vendor_status(command_status: int) -> bool:
    """True for a status from the range the specification leaves to vendors."""
    return VENDOR_FIRST <= command_status <= VENDOR_LAST


def status_name(command_status: int) -> str:
    """The specification's name, or the number in hexadecimal for a status that has none."""
    name = _NAMES.get(command_status)
    if name is not None:
        return name
    kind = "vendor" if is_vendor_status(command_status) else "unknown"
    return f"0x{command_status:08X} ({kind})"
