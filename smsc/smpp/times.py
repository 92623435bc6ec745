"""Times as SMPP writes them: schedule_delivery_time, validity_period, final_date.

In charge of: reading both forms to UTC, writing the absolute one.
Not in charge of: what an empty field means, or whether a time is too early, too late or too far (submission).
Source: SMPP 3.4 section 7.1.1; SMPP 5.0 section 4.7.23.

Absolute: `YYMMDDhhmmsstnnp`, where t is tenths of a second, nn quarters of an hour by which the local time differs from
UTC, and p says whether it is ahead (+) or behind (-). Relative: `YYMMDDhhmmss000R`, counted from now. The specification
leaves two things open. The century: the year is the one with these last digits that is nearest to now. A relative
year or month: the same day and time that many months later, or the last day of a month too short for it; days and
what is smaller are then added as durations, and may be larger than a clock shows (48 hours is a frequent habit).
"""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

_FORM = re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d)(\d\d)([-+R])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_QUARTER_MS = 900_000
#: Most quarters of an hour that a local time may differ from UTC.
_MAX_QUARTERS = 48


def parse(text: bytes, now_ms: int) -> int:
    """UTC epoch milliseconds of either form. Raises ValueError."""
    relative, year, month, day, rest_ms = _parts(text)
    if not relative:
        return _day_ms(year, month, day, _year_of(now_ms // _DAY_MS)) + rest_ms
    if not (year or month):
        return now_ms + day * _DAY_MS + rest_ms
    now = _EPOCH + timedelta(milliseconds=now_ms)
    return _months_later(now, now_ms, 12 * year + month) + day * _DAY_MS + rest_ms


@lru_cache(maxsize=16)
def _year_of(day: int) -> int:
    """The year of a day since the epoch."""
    return date.fromordinal(_EPOCH_ORDINAL + day).year


@lru_cache(maxsize=1024)  # a few days, over and over
def _day_ms(year: int, month: int, day: int, year_now: int) -> int:
    """UTC epoch milliseconds at which a day begins whose year has these last two digits. Raises ValueError."""
    ahead = (year - year_now) % 100
    full_year = year_now + (ahead if ahead <= 50 else ahead - 100)
    return (date(full_year, month, day).toordinal() - _EPOCH_ORDINAL) * _DAY_MS


@lru_cache(
    maxsize=1024
)  # ESMEs repeat themselves: one relative validity_period, or one absolute time per second
def _parts(text: bytes) -> tuple[bool, int, int, int, int]:
    """Whether relative, then year, month, day as written and the rest in milliseconds, taken to UTC."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form YYMMDDhhmmsstnnp")
    year, month, day, hour, minute, second, tenths, quarters = map(int, match.groups()[:-1])
    rest_ms = ((hour * 60 + minute) * 60 + second) * 1000 + tenths * 100
    sign = match[9]
    if sign == b"R":
        if tenths or quarters:
            raise ValueError(f"{text!r} is relative and does not end in 000R")
        return True, year, month, day, rest_ms
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"{text!r} has no such time of day")
    if quarters > _MAX_QUARTERS:
        raise ValueError(f"{text!r} is more than 12 hours off UTC")
    offset = quarters * _QUARTER_MS
    return False, year, month, day, rest_ms - (offset if sign == b"+" else -offset)


def _months_later(now: datetime, now_ms: int, months: int) -> int:
    year, month = divmod(now.year * 12 + now.month - 1 + months, 12)
    day = min(now.day, monthrange(year, month + 1)[1])
    return now_ms + (date(year, month + 1, day).toordinal() - now.date().toordinal()) * _DAY_MS


def format_absolute(at_ms: int, quarters: int = 0) -> bytes:
    """The absolute form; `quarters` of an hour ahead of UTC (or, negative, behind) is the local time it is told in."""
    if abs(quarters) > _MAX_QUARTERS:
        raise ValueError(f"{quarters} quarters of an hour are more than 12 hours off UTC")
    local = _EPOCH + timedelta(milliseconds=at_ms + quarters * _QUARTER_MS)
    sign = "-" if quarters < 0 else "+"
    return f"{local:%y%m%d%H%M%S}{local.microsecond // 100_000}{abs(quarters):02d}{sign}".encode()
