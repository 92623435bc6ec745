"""What a TPDU carries and how to read it: TP-UD, TP-DCS, TP-PID.

In charge of: user data in septets and octets, its header, and the meaning of a data coding scheme and a protocol
identifier, also in terms of SMPP's data_coding. Not in charge of: alphabets and headers themselves (`smsc/text/`),
or the messages around them (`tpdu.py`).

How it fails: BadTpdu where octets are missing. A user data header that passes its end is no header: the octets stay in
the payload and TP-UDHI stays set, so that nothing is lost on the way through.

Source: 3GPP TS 23.040 §9.2.3.9, .10, .16, .23, .24; TS 23.038 §4.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..smsc.text import gsm7, udh
from ..smsc.text.codings import Coding, DecodedText, decode, interpret

__all__ = [
    "MAX_TPDU",
    "MAX_USER_DATA",
    "PID_ME_DATA_DOWNLOAD",
    "PID_RETURN_CALL",
    "PID_SIM_DATA_DOWNLOAD",
    "PID_TYPE_0",
    "BadTpdu",
    "UserData",
    "data_coding_of",
    "dcs_of",
    "read_user_data",
    "replace_type",
    "text_of",
    "user_data",
    "user_data_octets",
]

MAX_TPDU = 164  #: octets; every maximum of §9.2.2 adds up to it
MAX_USER_DATA = 140  #: octets in a submit or deliver

#: TP-PID values that change what becomes of a message (§9.2.3.9).
PID_TYPE_0 = 0x40  #: acknowledged by the handset, shown to nobody
PID_RETURN_CALL = 0x5F
PID_ME_DATA_DOWNLOAD = 0x7D
PID_SIM_DATA_DOWNLOAD = 0x7F


class BadTpdu(ValueError):
    """Octets that are no TPDU, or fields that cannot be written as one; `field` is TP-…"""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.field = name
        self.reason = reason


# ---------------------------------------------------------------------------------------------- TP-PID and TP-DCS


def replace_type(pid: int) -> int:
    """1..7 if the message replaces an earlier one of the same type and sender on the handset, else 0."""
    return pid - 0x40 if 0x41 <= pid <= 0x47 else 0


def _alphabet(dcs: int) -> Coding:
    """GSM7, BINARY or UCS2. What is reserved counts as GSM7 (TS 23.038 §4); compressed text is octets."""
    if dcs < 0x10:  # here SMPP's data_coding has another table, and 3GPP two bits
        return (Coding.GSM7, Coding.BINARY, Coding.UCS2, Coding.GSM7)[dcs >> 2]
    meaning = interpret(dcs)
    if meaning.compressed:
        return Coding.BINARY
    return Coding.GSM7 if meaning.coding is Coding.UNKNOWN else meaning.coding


_ALPHABETS = tuple(_alphabet(dcs) for dcs in range(256))
_DATA_CODINGS = {Coding.GSM7: 0x00, Coding.BINARY: 0x04, Coding.UCS2: 0x08}


def data_coding_of(dcs: int) -> int:
    """SMPP's data_coding with the meaning of a TP-DCS."""
    return dcs if dcs >= 0x10 else _DATA_CODINGS[_ALPHABETS[dcs]]


def dcs_of(data_coding: int) -> int | None:
    """The TP-DCS with the meaning of a data_coding; None for alphabets that no handset knows.

    0 means GSM 7 bit here: the text of an account whose default alphabet is another one is spelled anew first.
    """
    if data_coding >= 0x10:
        return data_coding if data_coding <= 0xFF else None
    return {0x00: 0x00, 0x02: 0x04, 0x04: 0x04, 0x08: 0x08}.get(data_coding)


# ------------------------------------------------------------------------------------------------------ user data


@dataclass(frozen=True, slots=True)
class UserData:
    """TP-UD, taken apart: `header + payload` is the body of a `Message`."""

    header: bytes = b""  #: with its length octet
    payload: bytes = b""  #: unpacked septets where TP-DCS says GSM 7 bit, else octets
    udhi: bool = False  #: TP-UDHI as it came; a header sets it in any case


def user_data(body: bytes, has_header: bool) -> UserData:
    """A message's body (septets unpacked) as user data."""
    if not has_header:
        return UserData(payload=body)
    header, payload = udh.strip(body)
    return UserData(body[: header.length], payload, True)


def text_of(dcs: int, ud: UserData) -> DecodedText:
    """What user data says. Never raises."""
    return decode(data_coding_of(dcs), ud.header + ud.payload, has_udh=ud.udhi or bool(ud.header))


def read_user_data(data: bytes, at: int, dcs: int, udhi: bool, most: int = MAX_TPDU) -> UserData:
    """TP-UDL and TP-UD at `at`, the last fields of a TPDU. BadTpdu if they are cut off or over `most` octets."""
    if at >= len(data):
        raise BadTpdu("TP-UDL", "the TPDU ends before it")
    length = data[at]
    septets = _ALPHABETS[dcs] is Coding.GSM7
    needed = (7 * length + 7) // 8 if septets else length
    if needed > most:
        raise BadTpdu("TP-UD", f"{needed} octets; {most} are allowed")
    octets = data[at + 1 : at + 1 + needed]
    if len(octets) < needed:
        raise BadTpdu("TP-UD", f"{len(octets)} octets are there, TP-UDL is {length}")
    header = udh.strip(octets)[0].length if udhi else 0
    if not septets:
        return UserData(octets[:header], octets[header:], udhi)
    count = length - (8 * header + 6) // 7
    if count < 0:
        header, count = 0, length
    return UserData(octets[:header], gsm7.unpack(octets[header:], count, gsm7.fill_bits(header)), udhi)


def user_data_octets(ud: UserData, dcs: int) -> bytes:
    """TP-UDL and TP-UD. BadTpdu if there is more than any TPDU holds."""
    if _ALPHABETS[dcs] is not Coding.GSM7:
        octets = ud.header + ud.payload
        length = len(octets)
    else:
        octets = ud.header + gsm7.pack(ud.payload, gsm7.fill_bits(len(ud.header)))
        length = (8 * len(ud.header) + 6) // 7 + len(ud.payload)
    if len(octets) > MAX_TPDU:
        raise BadTpdu("TP-UD", f"{len(octets)} octets do not fit")
    return bytes((length,)) + octets
