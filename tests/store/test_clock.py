"""The clock never goes back and never stands still for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restante.store.clock import DatabaseClock

MS = 1_000_000


class Ticks:
    """A monotonic clock that is stepped."""

    def __init__(self) -> None:
        self.ns = 5

    def __call__(self) -> int:
        return self.ns


def test_it_follows_the_database_forward_at_once() -> None:
    ticks = Ticks()
    clock = DatabaseClock(1000, ticks)
    ticks.ns += 10 * MS
    assert clock.now_ms() == 1010
    clock.measured(50_000)
    assert clock.now_ms() == 50_000
    ticks.ns += 3 * MS
    assert clock.now_ms() == 50_003


def test_it_approaches_a_database_that_is_behind_at_half_speed() -> None:
    ticks = Ticks()
    clock = DatabaseClock(10_000, ticks)
    clock.measured(9_000)
    assert clock.now_ms() == 10_000
    ticks.ns += 1000 * MS
    assert clock.now_ms() == 10_500
    ticks.ns += 1000 * MS
    assert clock.now_ms() == 11_000  # the database is there now too: 9000 + 2000
    ticks.ns += 1000 * MS
    assert clock.now_ms() == 12_000


@given(st.lists(st.one_of(st.integers(0, 5000), st.integers(-(10**7), 10**7).map(lambda jump: (jump,)))))
def test_it_never_goes_back(steps: list[int | tuple[int]]) -> None:
    ticks = Ticks()
    clock = DatabaseClock(10**9, ticks)
    database = last = 10**9
    for step in steps:
        if isinstance(step, tuple):
            database += step[0]
            clock.measured(database)
        else:
            ticks.ns += step * MS
            database += step
        now = clock.now_ms()
        assert now >= last
        last = now
    ticks.ns += 10**9 * MS
    assert clock.now_ms() > last
