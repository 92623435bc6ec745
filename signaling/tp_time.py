"""Times of a TPDU: time stamps and validity periods.

In charge of: the seven octets of TP-SCTS and TP-DT, and TP-VP in its relative, absolute and enhanced form, both ways.
Not in charge of: defaults and ceilings of a validity period (the account's), or the rest of the TPDU (`tpdu.py`).

How it fails: reading answers None for octets that are no time, because a wrong time is no reason to lose a message.

Source: 3GPP TS 23.040 §9.2.3.11 (TP-SCTS), §9.2.3.12 (TP-VP), §9.2.3.3 (TP-VPF).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "TIME_STAMP_OCTETS",
    "Validity",
    "ValidityFormat",
    "absolute_validity",
    "enhanced_validity",
    "read_time_stamp",
    "read_validity",
    "relative_validity",
    "time_stamp",
]

TIME_STAMP_OCTETS = 7

_FIRST_YEAR = 1990  #: of the hundred that two digits can name; short messages began in 1992
_MINUTE, _HOUR, _DAY, _WEEK = 60, 3600, 86400, 604800  # seconds


class ValidityFormat(IntEnum):
    """TP-VPF, bits 3 and 4 of a submit's first octet (§9.2.3.3)."""

    NONE = 0
    ENHANCED = 1
    RELATIVE = 2
    ABSOLUTE = 3


#: Octets that TP-VP takes in each format.
VALIDITY_OCTETS = {
    ValidityFormat.NONE: 0,
    ValidityFormat.ENHANCED: 7,
    ValidityFormat.RELATIVE: 1,
    ValidityFormat.ABSOLUTE: 7,
}


# ------------------------------------------------------------------------------------------------- time stamps


def _swapped(number: int) -> int:
    return number % 10 << 4 | number // 10


def _unswapped(octet: int) -> int:
    """0..99, or a number above for half octets that are no digits."""
    low, high = octet & 0xF, octet >> 4
    return low * 10 + high if low < 10 and high < 10 else 255


def time_stamp(ms: int, offset_minutes: int = 0) -> bytes:
    """A UTC epoch time as local time of a zone, in seven octets. ValueError outside 1990..2089 or +-79 quarters.

    `offset_minutes` is rounded down to quarters of an hour.
    """
    quarters = abs(offset_minutes) // 15
    if quarters > 79:
        raise ValueError(f"{offset_minutes} minutes is no offset from UTC")
    sign = -1 if offset_minutes < 0 else 1
    local = datetime.fromtimestamp(ms // 1000, UTC) + timedelta(minutes=15 * quarters * sign)
    if not _FIRST_YEAR <= local.year < _FIRST_YEAR + 100:
        raise ValueError(f"the year {local.year} has no time stamp")
    fields = (local.year % 100, local.month, local.day, local.hour, local.minute, local.second)
    zone = _swapped(quarters) | (0x08 if sign < 0 else 0)
    return bytes((*map(_swapped, fields), zone))


def read_time_stamp(octets: bytes) -> int | None:
    """UTC epoch milliseconds; None if the octets are no time."""
    if len(octets) != TIME_STAMP_OCTETS:
        return None
    year, month, day, hour, minute, second = map(_unswapped, octets[:6])
    quarters = _unswapped(octets[6] & 0xF7)
    if year > 99 or quarters > 79:
        return None
    century = 1900 if year >= _FIRST_YEAR % 100 else 2000
    try:
        local = datetime(century + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    offset = quarters * 15 * _MINUTE * (-1 if octets[6] & 0x08 else 1)
    return (int(local.timestamp()) - offset) * 1000


# -------------------------------------------------------------------------------------------- validity periods


class Validity(NamedTuple):
    """What a TP-VP asks for."""

    expires_ms: int | None  #: UTC epoch; None: not said, or not readable
    single_shot: bool = False  #: the center is to try once only (§9.2.3.12.3)


def _relative_seconds(value: int) -> int:
    """§9.2.3.12.1: four ranges, ever coarser."""
    if value <= 143:
        return (value + 1) * 5 * _MINUTE
    if value <= 167:
        return 12 * _HOUR + (value - 143) * 30 * _MINUTE
    if value <= 196:
        return (value - 166) * _DAY
    return (value - 192) * _WEEK


_RELATIVE = tuple(_relative_seconds(value) for value in range(256))


def relative_validity(seconds: int) -> bytes:
    """The shortest relative period that is not shorter than asked for; 63 weeks at most."""
    return bytes((next((value for value, period in enumerate(_RELATIVE) if period >= seconds), 255),))


def absolute_validity(ms: int, offset_minutes: int = 0) -> bytes:
    """The same form as a time stamp."""
    return time_stamp(ms, offset_minutes)


def enhanced_validity(seconds: int | None = None, single_shot: bool = False) -> bytes:
    """The finest enhanced form that holds so many seconds; None: the center's default."""
    flags = 0x40 if single_shot else 0
    if seconds is None:
        value = b""
    elif 1 <= seconds <= 255:
        flags |= 2
        value = bytes((seconds,))
    elif 0 < seconds < 100 * _HOUR:
        flags |= 3
        value = bytes(map(_swapped, (seconds // _HOUR, seconds // _MINUTE % 60, seconds % 60)))
    else:
        flags |= 1
        value = relative_validity(seconds)
    return (bytes((flags,)) + value).ljust(7, b"\0")


def read_validity(form: ValidityFormat, vp: bytes, now_ms: int) -> Validity:
    """When a message that was submitted now expires, by its TP-VP. Never raises."""
    if form is ValidityFormat.RELATIVE and len(vp) == 1:
        return Validity(now_ms + _RELATIVE[vp[0]] * 1000)
    if form is ValidityFormat.ABSOLUTE:
        return Validity(read_time_stamp(vp))
    if form is ValidityFormat.ENHANCED and len(vp) == VALIDITY_OCTETS[form]:
        return _read_enhanced(vp, now_ms)
    return Validity(None)


def _read_enhanced(vp: bytes, now_ms: int) -> Validity:
    single_shot = bool(vp[0] & 0x40)
    value = vp
    while value and value[0] & 0x80:  # a further octet of indicators follows, of which none is defined
        value = value[1:]
    value = value[1:]
    form = vp[0] & 0x07
    seconds = 0
    if form == 1 and value:
        seconds = _RELATIVE[value[0]]
    elif form == 2 and value:
        seconds = value[0]  # 0 is reserved
    elif form == 3 and len(value) >= 3:
        hours, minutes, rest = map(_unswapped, value[:3])
        seconds = 0 if max(hours, minutes, rest) > 99 else hours * _HOUR + minutes * _MINUTE + rest
    return Validity(now_ms + seconds * 1000 if seconds else None, single_shot)
