"""Three values, shares, hysteresis under noise, the knobs of a policy, and time windows."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from restante.registry.versioned import Stored
from restante.zones.fix import Fix
from restante.zones.geometry import CircleShape
from restante.zones.policy import Last, Truth, ZonePolicyModel, both, either, settle
from restante.zones.presence import Presence, State, unknown
from restante.zones.zone import Zone, ZoneModel, parse_cell, spell_cell

FixAt = Callable[..., Fix]
IN, OUT, DUNNO, NONE = Truth.IN, Truth.OUT, Truth.UNKNOWN, Truth.NOT_APPLICABLE

TABLE = [
    # one, other, either, both
    (IN, IN, IN, IN),
    (IN, OUT, IN, OUT),
    (IN, DUNNO, IN, DUNNO),
    (OUT, OUT, OUT, OUT),
    (OUT, DUNNO, DUNNO, OUT),
    (DUNNO, DUNNO, DUNNO, DUNNO),
    (IN, NONE, IN, IN),
    (OUT, NONE, OUT, OUT),
    (DUNNO, NONE, DUNNO, DUNNO),
    (NONE, NONE, NONE, NONE),
]


@pytest.mark.parametrize(("one", "other", "any_of", "all_of"), TABLE)
def test_the_truth_table(one: Truth, other: Truth, any_of: Truth, all_of: Truth) -> None:
    assert either(one, other) is either(other, one) is any_of
    assert both(one, other) is both(other, one) is all_of


def policy(**fields: Any) -> ZonePolicyModel:
    return ZonePolicyModel.model_validate({"name": "p", "on_unknown": "open", **fields})


def test_what_an_outage_does_must_be_chosen() -> None:
    with pytest.raises(ValidationError, match="on_unknown"):
        ZonePolicyModel.model_validate({"name": "p"})
    defaults = policy()
    assert (defaults.subject, defaults.on_outside, defaults.visibility) == ("recipient", "block", "generic")


def test_an_offer_needs_a_recipient() -> None:
    for subject in ("sender", "both", "either"):
        with pytest.raises(ValidationError, match="recipient"):
            policy(subject=subject, on_outside="hold_and_offer")


@pytest.mark.parametrize(
    ("share", "last", "age_s", "expected"),
    [
        (0.50, None, 0, IN),
        (0.49, None, 0, OUT),
        (0.31, IN, 1, IN),
        (0.29, IN, 1, OUT),
        (0.31, IN, 601, OUT),
        (0.69, OUT, 1, OUT),
        (0.71, OUT, 1, IN),
        (0.69, OUT, 601, IN),
        (0.31, DUNNO, 1, OUT),
    ],
)
def test_a_share_must_pass_the_threshold_by_the_hysteresis(
    share: float, last: Truth | None, age_s: int, expected: Truth
) -> None:
    before = Last(last, 1_000_000 - age_s * 1000) if last is not None else None
    assert settle(Presence(State.PARTIAL, share), policy(), before, 1_000_000) is expected


def test_certain_states_need_no_share() -> None:
    last = Last(OUT, 999_999)
    assert settle(Presence(State.IN, 1.0), policy(), last, 1_000_000) is IN
    assert settle(Presence(State.OUT, 0.0), policy(), Last(IN, 999_999), 1_000_000) is OUT
    assert settle(unknown("stale"), policy(), last, 1_000_000) is DUNNO


@pytest.mark.parametrize("metres_inside", [20, -20])
def test_a_thousand_noisy_fixes_near_the_border_change_the_state_at_most_once(
    metres_inside: int, fix_at: FixAt
) -> None:
    """Somebody stands still 20 m from the border; fixes are 10 m off (standard deviation), accuracy 75 m."""
    rnd, zone, last, changes = random.Random(6), CircleShape(50.0, 8.0, 1000), None, 0
    for step in range(1000):
        metres = 1000 - metres_inside + rnd.gauss(0, 10)
        fix = fix_at(50.0 + metres / 111_229.0, 8.0)
        truth = settle(zone.presence(fix, 75.0), policy(), last, step * 30_000)
        changes += last is not None and truth is not last.truth
        last = Last(truth, step * 30_000)
    assert changes <= 1
    assert last is not None
    assert last.truth is (IN if metres_inside > 0 else OUT)


def test_a_true_exit_is_seen_a_third_of_the_accuracy_beyond_the_border(fix_at: FixAt) -> None:
    zone, last, seen_at = CircleShape(50.0, 8.0, 1000), Last(IN, 0), None
    for metres in range(900, 1200):
        fix = fix_at(50.0 + metres / 111_229.0, 8.0)
        last = Last(settle(zone.presence(fix, 100.0), policy(), last, metres * 1000), metres * 1000)
        if last.truth is OUT:
            seen_at = metres - 1000
            break
    assert seen_at is not None
    assert 20 < seen_at < 40


def zone(**fields: Any) -> Zone:
    shape = {"kind": "circle", "latitude": 0, "longitude": 0, "radius_m": 10}
    model = ZoneModel.model_validate({"name": "z", "shape": shape, **fields})
    return Zone.of(Stored(1, "zon_1", "z", 1, model, 0, "op_1"))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_windows_are_in_the_zones_own_time() -> None:
    days = ["mon", "tue", "wed", "thu", "fri"]
    office = zone(time_zone="Europe/Berlin", windows=[{"days": days, "start": "08:00", "end": "18:00"}])
    assert office.active_at(at("2026-07-06T06:00"))  # Monday, 08:00 in summer
    assert not office.active_at(at("2026-07-06T05:59"))
    assert office.active_at(at("2026-01-05T07:00"))  # Monday, 08:00 in winter
    assert not office.active_at(at("2026-01-05T06:59"))
    assert not office.active_at(at("2026-01-05T17:00"))  # 18:00 is not included
    assert not office.active_at(at("2026-07-05T10:00"))  # Sunday


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_starts() -> None:
    night = zone(windows=[{"days": ["fri"], "start": "22:00", "end": "06:00"}])
    assert night.active_at(at("2026-07-03T22:00"))  # Friday
    assert night.active_at(at("2026-07-04T05:59"))
    assert not night.active_at(at("2026-07-04T06:00"))
    assert not night.active_at(at("2026-07-03T05:00"))
    assert not night.active_at(at("2026-07-04T23:00"))


def test_validity_and_switch() -> None:
    some = zone(valid_from="2026-07-01T00:00:00Z", valid_to="2026-08-01T00:00:00Z")
    assert [some.active_at(at(t)) for t in ("2026-06-30T23:59", "2026-07-01T00:00", "2026-08-01T00:00")] == [
        False, True, False,
    ]  # fmt: skip
    assert not zone(enabled=False).active_at(at("2026-07-01T00:00"))
    with pytest.raises(ValidationError, match="after valid_from"):
        zone(valid_from="2026-08-01T00:00:00Z", valid_to="2026-07-01T00:00:00Z")
    with pytest.raises(ValidationError, match="IANA"):
        zone(time_zone="Berlin")


@pytest.mark.parametrize(
    ("text", "cell"),
    [("262-02-852-2521", (262, 2, 852, 2521)), ("262-2-*-*", (262, 2, -1, -1)), ("1-1-1-*", (1, 1, 1, -1))],
)
def test_cells_are_spelled_one_way(text: str, cell: tuple[int, int, int, int]) -> None:
    assert parse_cell(text) == cell
    assert parse_cell(spell_cell(cell)) == cell


@pytest.mark.parametrize(
    "text", ["", "262", "262-2-*-5", "*-1-1-1", "262-2-1-1-1", "262-x-1-1", "262-2-99999999-1"]
)
def test_what_is_no_cell(text: str) -> None:
    with pytest.raises(ValueError):
        parse_cell(text)
