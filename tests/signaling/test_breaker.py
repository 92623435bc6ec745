"""The breaker's table and the budget, on a stepped clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.signaling.breaker import TRANSITIONS, Breaker, BreakerState, Budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, least=4, window_s=10, rest_s=5)
    for ok in (True, True, False, False):
        assert breaker.allows()
        breaker.report(ok)
    return breaker


def test_half_of_enough_opens_it() -> None:
    clock = Clock()
    breaker = Breaker(clock, least=4)
    for ok in (False, False, False):
        breaker.report(ok)
    assert breaker.state is BreakerState.CLOSED
    assert opened(clock).state is BreakerState.OPEN


def test_failures_of_an_old_window_do_not_count() -> None:
    clock = Clock()
    breaker = Breaker(clock, least=4, window_s=10)
    for _ in range(3):
        breaker.report(False)
    clock.now += 10
    for _ in range(3):
        breaker.report(False)
    assert breaker.state is BreakerState.CLOSED


def test_what_says_nothing_counts_nothing() -> None:
    breaker = Breaker(Clock(), least=1)
    breaker.report(None)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(("ok", "after"), [(True, BreakerState.CLOSED), (False, BreakerState.OPEN)])
def test_one_question_decides(ok: bool, after: BreakerState) -> None:
    clock = Clock()
    breaker = opened(clock)
    assert not breaker.allows()
    breaker.report(True)  # one that was asked before it opened
    assert breaker.state is BreakerState.OPEN
    clock.now += 5
    assert breaker.allows()
    assert not breaker.allows()
    breaker.report(None)  # the probe said nothing: another may try
    assert breaker.allows()
    breaker.report(ok)
    assert breaker.state is after


def test_every_state_is_reached() -> None:
    assert {to for ways in TRANSITIONS.values() for to in ways} == set(BreakerState)


@given(st.lists(st.floats(0, 3), max_size=80), st.floats(0.5, 50), st.integers(1, 20))
def test_a_budget_never_gives_more_than_its_rate_and_burst(
    steps: list[float], rate: float, burst: int
) -> None:
    budget, now, given_out = Budget(rate, burst), 50.0, 0
    began = now
    for step in steps:
        now += step
        given_out += budget.take(now)
        assert given_out <= burst + (now - began) * rate + 1e-6


def test_a_budget_is_whole_again() -> None:
    budget = Budget(10, 3)
    assert [budget.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take(0.1)
    assert not budget.take(0.1)
    assert [budget.take(100.0) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0)])
def test_budgets_that_are_none(arguments: tuple[float, int]) -> None:
    with pytest.raises(ValueError):
        Budget(*arguments)
