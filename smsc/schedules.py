"""When a message is tried again: the schedules of error classes as operators edit them.

In charge of: the schedule of a class as an object (registry kind "schedule"), the ones in force, and when tries would
be. Not in charge of: what a schedule means (`retry.py`), which failure belongs to which class (`causes.py`).

A class without an object has the schedule that `retry.DEFAULT_SCHEDULES` gives it, and has it again when the object is
removed. An edit counts from the next failure on: what waits already keeps its time. Source: behaviour.md 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field, field_validator, model_validator

from ..outlet import ErrorClass
from ..registry.versioned import ObjectKind
from .retry import DEFAULT_SCHEDULES, Schedule

__all__ = ["ScheduleModel", "Schedules", "schedule_kind", "tries"]

LONGEST_S = 7 * 24 * 3600  #: the longest validity period; a later try would never come
_HOPELESS = (ErrorClass.PERMANENT, ErrorClass.POLICY)


class ScheduleModel(Schedule):
    """A schedule as operators edit it: registry kind "schedule", prefix "sch"; one for each class."""

    error: ErrorClass = Field(description="the error class that it is for")
    delays_s: tuple[int, ...] = Field(
        max_length=64,
        description="seconds before attempt 2, 3, …; the last one repeats; empty: no further attempt",
    )
    attempts: int = Field(
        default=0, ge=0, le=1000, description="at most so many in all; 0: until the validity period ends"
    )
    other_route: bool = Field(default=False, description="whether the next route is tried at once")
    deposit_after: int = Field(
        default=0, ge=0, le=1000, description="to the mailbox after so many attempts; 0: never"
    )
    jitter: float = Field(
        default=0.1, ge=0, le=0.5, description="each delay is changed by up to this share, by chance"
    )

    @field_validator("delays_s")
    @classmethod
    def _sane(cls, delays: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= delay <= LONGEST_S for delay in delays):
            raise ValueError(f"each delay is 1 to {LONGEST_S} seconds")
        return delays

    @model_validator(mode="after")
    def _hopeless_stays_so(self) -> ScheduleModel:
        if self.error in _HOPELESS and (self.delays_s or self.deposit_after or self.other_route):
            raise ValueError(f"no later attempt, route or mailbox can help where the class is {self.error}")
        return self


class Schedules(Mapping[ErrorClass, Schedule]):
    """The schedules in force. Lives on the event loop; every class has one at any time."""

    def __init__(self, defaults: Mapping[ErrorClass, Schedule] = DEFAULT_SCHEDULES) -> None:
        """Until `use`, the defaults."""
        self._defaults = defaults
        self._now: Mapping[ErrorClass, Schedule] = dict(defaults)

    def use(self, edited: Iterable[ScheduleModel]) -> None:
        """Replace all at once: what is edited, and the defaults for the rest."""
        self._now = {**self._defaults, **{one.error: one for one in edited}}

    def __getitem__(self, error: ErrorClass) -> Schedule:
        """The schedule of a class."""
        return self._now[error]

    def __iter__(self) -> Iterator[ErrorClass]:
        """Every class."""
        return iter(self._now)

    def __len__(self) -> int:
        """How many classes there are."""
        return len(self._now)


def schedule_kind() -> ObjectKind[ScheduleModel, ScheduleModel]:
    """The kind, for the registry."""
    return ObjectKind(
        "schedule", "sch", ScheduleModel, lambda model: model.error.value, lambda stored: stored.value
    )


def tries(schedule: Schedule, *, validity_s: int, most: int = 100) -> list[int]:
    """When attempts would be if each failed so, seconds after the first one, without chance."""
    found = [0]
    while len(found) < most:
        delay = schedule.delay_ms(len(found), 0.5)
        if delay is None or found[-1] + delay // 1000 >= validity_s:
            break
        found.append(found[-1] + delay // 1000)
    return found
