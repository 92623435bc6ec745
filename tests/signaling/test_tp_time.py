"""Time stamps and validity periods, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.signaling.tp_time import (
    Validity,
    ValidityFormat,
    absolute_validity,
    enhanced_validity,
    read_time_stamp,
    read_validity,
    relative_validity,
    time_stamp,
)

FIRST, LAST = 631_238_400_000, 3_786_825_600_000  # 1990-01-02, 2089-12-31
NOW = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC
times = st.integers(FIRST // 1000, LAST // 1000).map(lambda s: s * 1000)
offsets = st.integers(-48, 56).map(lambda quarters: quarters * 15)


@given(times, offsets)
def test_there_and_back(ms: int, offset: int) -> None:
    assert read_time_stamp(time_stamp(ms, offset)) == ms


@pytest.mark.parametrize(
    ("offset", "octets"),
    [(0, "32114122310200"), (120, "32115100310280"), (-90, "32114102340268")],
)
def test_known_time_stamps(offset: int, octets: str) -> None:
    assert time_stamp(NOW, offset) == bytes.fromhex(octets)


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "321141223102",
        "32114122310200ff",
        "32314122310200",  # month 13
        "32114142310200",  # hour 24
        "3211a122310200",
        "ff114122310200",
        "321141223102f0",
    ],
)
def test_what_is_no_time(octets: str) -> None:
    assert read_time_stamp(bytes.fromhex(octets)) is None


@given(st.binary(max_size=9))
def test_reading_never_raises(octets: bytes) -> None:
    read_time_stamp(octets)
    for form in ValidityFormat:
        read_validity(form, octets, NOW)


@pytest.mark.parametrize(
    "arguments", [(FIRST - 10**12, 0), (LAST + 10**12, 0), (NOW, 20 * 60), (NOW, -20 * 60)]
)
def test_times_without_a_stamp(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        time_stamp(*arguments)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 300),
        (143, 12 * 3600),
        (144, 12 * 3600 + 1800),
        (167, 86400),
        (168, 2 * 86400),
        (196, 30 * 86400),
        (197, 5 * 7 * 86400),
        (255, 63 * 7 * 86400),
    ],
)
def test_relative(value: int, seconds: int) -> None:
    assert read_validity(ValidityFormat.RELATIVE, bytes((value,)), NOW) == Validity(NOW + seconds * 1000)
    assert relative_validity(seconds) == bytes((value,))
    assert relative_validity(seconds - 1) == bytes((value,))


@given(st.integers(1, 63 * 7 * 86400))
def test_a_relative_period_is_never_shorter(seconds: int) -> None:
    expires = read_validity(ValidityFormat.RELATIVE, relative_validity(seconds), NOW).expires_ms
    assert expires is not None
    assert expires >= NOW + seconds * 1000


def test_relative_ends_at_63_weeks() -> None:
    assert relative_validity(10**9) == b"\xff"


@given(times, offsets)
def test_absolute(ms: int, offset: int) -> None:
    assert read_validity(ValidityFormat.ABSOLUTE, absolute_validity(ms, offset), NOW) == Validity(ms)


@given(st.integers(1, 100 * 3600 - 1), st.booleans())
def test_enhanced_to_the_second(seconds: int, single_shot: bool) -> None:
    vp = enhanced_validity(seconds, single_shot)
    assert len(vp) == 7
    assert read_validity(ValidityFormat.ENHANCED, vp, NOW) == Validity(NOW + seconds * 1000, single_shot)


@pytest.mark.parametrize(
    ("vp", "seconds", "single_shot"),
    [
        ("00000000000000", None, False),
        ("40000000000000", None, True),
        ("01a70000000000", 86400, False),
        ("02ff0000000000", 255, False),
        ("02000000000000", None, False),  # reserved
        ("03214365000000", 12 * 3600 + 34 * 60 + 56, False),
        ("03ff4365000000", None, False),
        ("07ff0000000000", None, False),  # reserved
        ("8201ff00000000", 255, False),  # one more octet of indicators
        ("ffffffffffffff", None, True),
    ],
)
def test_enhanced_by_hand(vp: str, seconds: int | None, single_shot: bool) -> None:
    expires = None if seconds is None else NOW + seconds * 1000
    assert read_validity(ValidityFormat.ENHANCED, bytes.fromhex(vp), NOW) == Validity(expires, single_shot)


def test_enhanced_beyond_a_hundred_hours_is_relative() -> None:
    assert enhanced_validity(500 * 3600) == b"\x01" + relative_validity(500 * 3600) + bytes(5)


def test_no_validity() -> None:
    assert read_validity(ValidityFormat.NONE, b"", NOW) == Validity(None)
