"""Rates: exact in the long run, kind to multipart messages, never stuck."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.access.accounts import Account, AccountModel
from restante.smsc.limits import MAX_PARTS, Throttle, Throttles, TokenBucket

S = 1_000_000_000


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    now = 50 * S
    assert [bucket.take(now) for _ in range(5)] == [0] * 5
    wait = bucket.take(now)
    assert wait == S // 10
    assert bucket.take(now + wait - 1) == 1
    assert bucket.take(now + wait) == 0
    assert bucket.take(now + wait) == S // 10


def test_it_fills_up_again_and_not_above_the_burst() -> None:
    bucket = TokenBucket(rate=1, burst=3)
    assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, S]
    assert [bucket.take(3600 * S) for _ in range(4)] == [0, 0, 0, S]


@pytest.mark.parametrize("parts", [2, 10, MAX_PARTS])
@pytest.mark.parametrize("burst", [1, 20])
def test_part_two_is_never_refused(parts: int, burst: int) -> None:
    bucket = TokenBucket(rate=1, burst=burst)
    for _ in range(burst - 1):
        assert bucket.take(0) == 0
    assert bucket.take(0) == 0  # part one takes the last token
    assert [bucket.take(0, continuing=True) for _ in range(parts - 1)] == [0] * (parts - 1)
    assert bucket.take(0) == parts * S  # the debt is paid before the next message


def test_calling_everything_a_part_gains_one_message_worth() -> None:
    bucket = TokenBucket(rate=100, burst=10)
    taken = sum(bucket.take(ms * 1_000_000, continuing=True) == 0 for ms in range(60_000) for _ in range(2))
    assert taken <= 60 * 100 + 10 + MAX_PARTS


@given(
    st.floats(0.1, 1e6),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 10 * S), st.booleans()), max_size=200),
)
def test_no_more_than_rate_and_burst_in_any_time(
    rate: float, burst: int, steps: list[tuple[int, bool]]
) -> None:
    bucket = TokenBucket(rate, burst)
    now = 0
    for taken, (step, continuing) in enumerate(steps, 1):
        now += step
        wait = bucket.take(now, continuing)
        assert wait >= 0
        if wait:
            assert bucket.take(now + wait, continuing) == 0  # it says the truth about when
            now += wait
        assert taken <= now * rate / S * 1.01 + burst + MAX_PARTS + 1


def test_an_edit_is_no_fresh_start_and_no_prison() -> None:
    throttle = Throttle(1, 10)
    assert [throttle.take(0) for _ in range(10)] == [0] * 10
    throttle.change(1, 20)
    assert [throttle.take(0) for _ in range(11)] == [0] * 10 + [S]
    throttle.change(1, 20)
    assert throttle.take(0) == S
    throttle.change(1000, 5)  # 20 s of debt at the old rate are no more than an empty bucket at the new one
    wait = throttle.take(0)
    assert 0 < wait <= S // 1000
    assert throttle.take(wait) == 0
    throttle.change(None, 5)
    assert [throttle.take(0) for _ in range(1000)] == [0] * 1000
    throttle.change(1, 1)
    assert [throttle.take(5), throttle.take(5)] == [0, S]


def test_no_limit_is_no_limit() -> None:
    assert {Throttle(None, 1).take(0) for _ in range(10_000)} == {0}


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_impossible_limits(rate: float, burst: int) -> None:
    with pytest.raises(ValueError):
        TokenBucket(rate, burst)


def test_all_binds_of_an_account_share_one_throttle_and_edits_reach_it() -> None:
    def account(number: int, **fields: object) -> Account:
        return Account(number, AccountModel.model_validate({"system_id": f"a{number}", **fields}))

    throttles = Throttles()
    one = throttles.of(account(1, throughput=1, burst=1))
    assert throttles.of(account(1, throughput=1, burst=1)) is one
    assert throttles.of(account(2, throughput=1, burst=1)) is not one
    assert [one.take(0), one.take(0)] == [0, S]
    assert throttles.of(account(1, throughput=1, burst=2)) is one
    assert one.take(0) == 0
    throttles.forget(1)
    assert throttles.of(account(1, throughput=1, burst=1)) is not one


def test_it_costs_next_to_nothing() -> None:
    throttle = Throttle(1e5, 1000)
    started = time.process_time()
    for now in range(0, 1_000_000_000, 10_000):
        throttle.take(now)
    assert (time.process_time() - started) / 100_000 < 5e-6  # about 0.2 µs; the cap is for loaded machines


def test_how_much_is_used_up() -> None:
    bucket = TokenBucket(10, 4)
    now = 5 * S
    assert bucket.used(now) == 0
    seen = []
    while bucket.take(now) == 0:
        seen.append(round(bucket.used(now), 3))
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert bucket.used(now + S // 5) == pytest.approx(0.5)
    assert bucket.used(now + S) == 0
    assert Throttle(None, 1).used(now) == 0
    throttle = Throttle(1, 1)
    throttle.take(now)
    assert throttle.used(now) == 1.0
