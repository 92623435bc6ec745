"""What follows from a failed attempt (behaviour.md 5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_path import DAY, HOUR, MINUTE, SECOND

from restante.message import Address, Message
from restante.outlet import ErrorClass as C
from restante.smsc.retry import DEFAULT_SCHEDULES, Next, Schedule, decide, has_one_attempt

NOW = 1_000_000


def message(validity: int = 30 * DAY, **fields: Any) -> Message:
    return Message(
        Address(0, 0, ""), Address(0, 0, ""), submitted_at=NOW, expires_at=NOW + validity, **fields
    )


def after(error: C, attempts: int, *, mailbox: bool = False, random: float = 0.5, **more: object):
    arguments: dict = {"now": NOW, "more_routes": False, **more}
    about = arguments.pop("message", None) or message()
    return decide(about, error, attempts=attempts, random=random, mailbox=mailbox, **arguments)


#: Delays of attempts 1, 2, … without chance, as docs/delivery.md promises them.
PROMISED = {
    C.BUSY: [15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 5 * MINUTE],
    C.ABSENT: [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 6 * HOUR],
    C.MEMORY_FULL: [5 * MINUTE, 30 * MINUTE, HOUR, 6 * HOUR, 6 * HOUR],
    C.CONGESTED: [SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, MINUTE],
    C.SYSTEM: [5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR, HOUR],
    C.TIMEOUT: [30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR, HOUR],
}
DEPOSIT = {C.BUSY: 4, C.ABSENT: 1, C.MEMORY_FULL: 1, C.CONGESTED: 12, C.SYSTEM: 4, C.TIMEOUT: 3}


@pytest.mark.parametrize("error", list(PROMISED))
def test_each_class_has_its_schedule(error):
    decisions = [after(error, attempts) for attempts in range(1, len(PROMISED[error]) + 1)]
    assert all(d.next is Next.LATER for d in decisions)
    assert [d.due_at - NOW for d in decisions] == PROMISED[error]


@pytest.mark.parametrize("error", list(C))
@pytest.mark.parametrize("attempts", range(1, 15))
def test_the_mailbox_follows_after_so_many_attempts(error, attempts):
    due = error in DEPOSIT and attempts >= DEPOSIT[error]
    assert (after(error, attempts, mailbox=True).next is Next.DEPOSIT) == due
    assert after(error, attempts, mailbox=False).next is not Next.DEPOSIT


@pytest.mark.parametrize("error", [C.PERMANENT, C.POLICY])
def test_what_cannot_pass_ends(error):
    assert after(error, 1, mailbox=True, more_routes=True).next is Next.END


@pytest.mark.parametrize("error", list(C))
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_another_route_is_part_of_the_same_attempt(error, mode):
    decision = after(error, 1, mailbox=True, more_routes=True, message=message(esm_class=mode))
    assert (decision.next is Next.ROUTE) == (error in (C.CONGESTED, C.SYSTEM))


@pytest.mark.parametrize("error", list(C))
@pytest.mark.parametrize("mode", [1, 2])
def test_one_attempt_is_one_attempt(error, mode):
    assert after(error, 1, mailbox=True, message=message(esm_class=mode | 0x40)).next is Next.END


def test_modes_are_read_from_their_two_bits():
    assert [has_one_attempt(message(esm_class=bits)) for bits in (0, 1, 2, 3, 0x43, 0x42, 0x3C)] == [
        False, True, True, False, False, True, False,
    ]  # fmt: skip


@given(
    st.sampled_from(list(C)), st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.integers(0, 40 * DAY)
)
def test_a_due_time_is_never_beyond_the_end(error, attempts, random, validity):
    about = message(validity)
    decision = after(error, attempts, random=random, message=about)
    if decision.next is Next.LATER:
        assert NOW <= decision.due_at <= about.expires_at
    delays = DEFAULT_SCHEDULES[error].delays_s
    if decision.next is Next.LATER and decision.due_at < about.expires_at:
        planned = delays[min(attempts, len(delays)) - 1] * 1000
        assert 0.9 * planned - 1 <= decision.due_at - NOW <= 1.1 * planned + 1


def test_what_is_over_is_not_deposited_but_expires():
    late = after(C.ABSENT, 1, mailbox=True, now=NOW + HOUR, message=message(HOUR))
    assert (late.next, late.due_at) == (Next.LATER, NOW + HOUR)


def test_a_schedule_may_bound_its_attempts():
    schedule = Schedule(delays_s=(1, 2), attempts=3, jitter=0)
    assert [schedule.delay_ms(n, 0.5) for n in (1, 2, 3, 4)] == [1000, 2000, None, None]
    ends = after(C.BUSY, 3, schedules={C.BUSY: schedule})
    assert ends.next is Next.END


def test_chance_spreads_a_delay_both_ways():
    schedule = Schedule(delays_s=(100,), jitter=0.1)
    assert [schedule.delay_ms(1, chance) for chance in (0.0, 0.5, 0.999999)] == [90_000, 100_000, 110_000]
