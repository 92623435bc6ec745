"""Both forms of time, the century, leap days, and whatever else a peer may write there."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.smsc.smpp.times import format_absolute, parse


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # pyright: ignore[reportArgumentType]


NOW = ms(2026, 11, 22, 9, 30, 15)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"261122093015000+", NOW),
        (b"261122093015300+", NOW + 300),
        (b"261122103015004+", NOW),
        (b"261122043015020-", NOW),
        (b"261122000000048-", ms(2026, 11, 22, 12)),
        (b"270101003000004+", ms(2026, 12, 31, 23, 30)),
        (b"280229000000000+", ms(2028, 2, 29)),
        (b"760101000000000+", ms(2076, 1, 1)),
        (b"770101000000000+", ms(1977, 1, 1)),
        (b"991231235959900-", ms(1999, 12, 31, 23, 59, 59) + 900),
    ],
)
def test_absolute(text: bytes, at: int) -> None:
    assert parse(text, NOW) == at


@pytest.mark.parametrize(
    ("text", "now", "at"),
    [
        (b"000000000000000R", NOW, NOW),
        (b"000000000130000R", NOW, NOW + 90_000),
        (b"000002000000000R", NOW, NOW + 2 * 86_400_000),
        (b"000000480000000R", NOW, NOW + 48 * 3_600_000),
        (b"000099000000000R", NOW, NOW + 99 * 86_400_000),
        (b"010000000000000R", NOW, ms(2027, 11, 22, 9, 30, 15)),
        (b"000300000000000R", NOW, ms(2027, 2, 22, 9, 30, 15)),
        (b"000100000000000R", ms(2027, 1, 31, 5), ms(2027, 2, 28, 5)),
        (b"000100000000000R", ms(2028, 1, 31, 5), ms(2028, 2, 29, 5)),
        (b"010000000000000R", ms(2028, 2, 29), ms(2029, 2, 28)),
        (b"011301000000000R", ms(2026, 1, 1), ms(2028, 2, 2)),
        (b"000100000000000R", ms(2026, 12, 31) + 7, ms(2027, 1, 31) + 7),
    ],
)
def test_relative(text: bytes, now: int, at: int) -> None:
    assert parse(text, now) == at


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"2611220930150",
        b"261122093015000",
        b"261122093015000+0",
        b"261122093015000*",
        b"261122093015000r",
        b"26112209301500\xb2+",
        b"261122093015049+",
        b"261122240000000+",
        b"261122096000000+",
        b"261122093060000+",
        b"261322093015000+",
        b"260022093015000+",
        b"260229000000000+",
        b"261100093015000+",
        b"000000010000100R",
        b"000000010000004R",
        b"00000001000000 R",
        b"+61122093015000+",
        b"261122093015000+\n",
    ],
)
def test_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse(text, NOW)


#: Fifty years to either side are told apart.
TIMES = st.integers(ms(1977, 6, 1), ms(2076, 1, 1))


@given(TIMES, st.integers(-48, 48))
def test_what_is_written_is_read(at: int, quarters: int) -> None:
    text = format_absolute(at, quarters)
    assert len(text) == 16
    assert parse(text, NOW) == at - at % 100


@given(TIMES, TIMES)
def test_century_is_the_nearest(at: int, now: int) -> None:
    found = parse(format_absolute(at), now)
    year = datetime.fromtimestamp(found / 1000, UTC).year
    assert abs(year - datetime.fromtimestamp(now / 1000, UTC).year) <= 50


@given(TIMES, *[st.integers(0, 99)] * 6)
def test_relative_is_never_before_now_and_grows(
    now: int, y: int, mo: int, d: int, h: int, mi: int, s: int
) -> None:
    text = b"%02d%02d%02d%02d%02d%02d000R" % (y, mo, d, h, mi, s)
    at = parse(text, now)
    rest = timedelta(days=d, hours=h, minutes=mi, seconds=s) // timedelta(milliseconds=1)
    assert at >= now + rest
    assert at - now - rest <= (12 * y + mo) * 31 * 86_400_000


@given(st.binary(max_size=20) | st.from_regex(rb"[0-9]{15}[-+R]", fullmatch=True))
def test_nothing_but_value_error(text: bytes) -> None:
    try:
        assert isinstance(parse(text, NOW), int)
    except ValueError:
        pass


def test_offset_is_bounded() -> None:
    with pytest.raises(ValueError):
        format_absolute(NOW, 49)
