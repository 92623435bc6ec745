"""Guessing gets slow; nobody is locked out from afar."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restante.access.attempts import Attempts, AttemptSettings, network_of


class Ticks:
    """Seconds that a test steps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempts(**settings: float) -> tuple[Attempts, Ticks]:
    ticks = Ticks()
    return Attempts(AttemptSettings.model_validate(settings), ticks), ticks


def test_a_few_failures_are_free_then_each_waits_longer() -> None:
    counted, ticks = attempts(free_failures=3, first_delay_s=1, longest_delay_s=8)
    waits: list[float | None] = []
    for _ in range(9):
        wait = counted.begin("192.0.2.1", "shop")
        waits.append(wait)
        ticks.now += wait or 0
    assert waits == [0, 0, 0, 1, 2, 4, 8, 8, 8]


def test_a_hundred_at_once_are_spread_out_or_refused() -> None:
    counted, _ = attempts(free_failures=2, first_delay_s=1, longest_delay_s=10)
    waits = [counted.begin("192.0.2.1", "shop") for _ in range(100)]
    assert waits[:5] == [0, 0, 1, 3, 7]
    assert set(waits[5:]) == {None}


def test_another_address_is_not_delayed() -> None:
    counted, _ = attempts()
    for _ in range(1000):
        counted.begin("192.0.2.1", "shop")
    assert counted.begin("192.0.2.1", "shop") is None
    assert counted.begin("192.0.2.2", "shop") == 0


def test_a_success_clears_the_pair() -> None:
    counted, _ = attempts(free_failures=2)
    for _ in range(50):
        assert counted.begin("192.0.2.1", "shop") == 0
        counted.succeeded("192.0.2.1", "shop")


def test_quiet_time_clears_the_pair() -> None:
    counted, ticks = attempts(free_failures=1, forget_after_s=100)
    for _ in range(3):
        counted.begin("a", "shop")
    assert counted.begin("a", "shop") != 0
    ticks.now += 300
    assert counted.begin("a", "shop") == 0


def test_one_address_may_not_try_every_name_and_known_ones_go_on() -> None:
    counted, ticks = attempts(address_failures=50, forget_after_s=100)

    def tries(place: str, name: str, times: int) -> int:
        """How many of them were made, all of them wrong."""
        made = 0
        for n in range(times):
            if counted.begin(place, f"{name}{n}") is not None:
                counted.failed(place)
                made += 1
        return made

    counted.begin("a", "known")
    counted.succeeded("a", "known")
    assert tries("a", "name", 60) == 50
    assert counted.is_barred("a", "name99")
    assert counted.begin("a", "known") == 0
    assert not counted.is_barred("a", "known")
    assert counted.begin("b", "name1") == 0
    ticks.now += 20  # a fifth has run out
    assert tries("a", "later", 12) == 10


def test_tries_that_are_under_way_are_no_failures_of_the_address() -> None:
    counted, _ = attempts(address_failures=50)
    assert [counted.begin("a", f"name{n}") for n in range(1000)] == [0] * 1000


def test_memory_is_bounded() -> None:
    counted, _ = attempts(pairs=100)
    for n in range(1000):
        counted.begin(f"address{n}", "shop")
    assert len(counted._pairs) <= 100
    assert len(counted._places) <= 100


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 40), st.booleans()), max_size=60))
def test_a_wait_is_never_longer_than_the_longest(steps: list[tuple[str, float, bool]]) -> None:
    counted, ticks = attempts()
    for name, step, right in steps:
        ticks.now += step
        wait = counted.begin("a", name)
        assert wait is None or 0 <= wait <= 30
        if wait is not None and right:
            counted.succeeded("a", name)
            assert counted.begin("a", name) == 0
            counted.succeeded("a", name)


def test_what_counts_as_one_place() -> None:
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1%eth0") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::4") != network_of("2001:db8:1:2::4")
    assert network_of("unix") == "unix"
