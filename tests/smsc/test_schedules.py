"""Schedules as operators edit them."""

from __future__ import annotations

import pytest
from message_path import BUSY, DAY, MINUTE, SECOND, Path, a_draft
from pydantic import ValidationError

from restante.outlet import ErrorClass
from restante.smsc.retry import DEFAULT_SCHEDULES
from restante.smsc.schedules import ScheduleModel, Schedules, tries


def test_every_class_has_a_schedule_at_any_time() -> None:
    schedules = Schedules()
    assert dict(schedules) == dict(DEFAULT_SCHEDULES)
    edited = ScheduleModel(error=ErrorClass.BUSY, delays_s=(1, 2))
    schedules.use([edited])
    assert schedules[ErrorClass.BUSY] is edited
    assert len(schedules) == len(ErrorClass)
    schedules.use([])
    assert schedules[ErrorClass.BUSY] is DEFAULT_SCHEDULES[ErrorClass.BUSY]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"error": "busy", "delays_s": [0]}, "delays_s"),
        ({"error": "busy", "delays_s": [604_801]}, "delays_s"),
        ({"error": "busy", "delays_s": [1] * 65}, "delays_s"),
        ({"error": "engaged", "delays_s": [1]}, "error"),
        ({"error": "busy"}, "delays_s"),
        ({"error": "busy", "delays_s": [1], "jitter": 0.6}, "jitter"),
        ({"error": "permanent", "delays_s": [1]}, "permanent"),
        ({"error": "policy", "delays_s": [], "deposit_after": 1}, "policy"),
        ({"error": "busy", "delays_s": [1], "delay": 1}, "delay"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ScheduleModel.model_validate(fields)


def test_tries_are_told_in_advance() -> None:
    busy = DEFAULT_SCHEDULES[ErrorClass.BUSY]
    assert tries(busy, validity_s=700) == [0, 15, 45, 105, 225, 525]
    assert tries(DEFAULT_SCHEDULES[ErrorClass.PERMANENT], validity_s=700) == [0]
    assert len(tries(busy, validity_s=10**9, most=7)) == 7
    assert tries(ScheduleModel(error=ErrorClass.BUSY, delays_s=(5,), attempts=3), validity_s=700) == [
        0,
        5,
        10,
    ]


def test_an_edit_counts_from_the_next_failure_on(on_path) -> None:
    schedules = Schedules()

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: BUSY
        await path.submit(a_draft(expires_at=path.clock.now + DAY))
        assert len(path.switch.handed) == 1
        schedules.use([ScheduleModel(error=ErrorClass.BUSY, delays_s=(2 * 60,), jitter=0)])
        await path.step(17 * SECOND)  # the first delay was the default's
        assert len(path.switch.handed) == 2
        await path.step(MINUTE)
        assert len(path.switch.handed) == 2
        await path.step(MINUTE)
        assert len(path.switch.handed) == 3

    on_path(test, schedules=schedules)
