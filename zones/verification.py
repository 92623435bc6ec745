"""Is somebody where an application thinks? Answers CAMARA location-verification on the center's own fixes.

In charge of: comparing a fix with a circle, in CAMARA's words, and its reasons for having no answer. Not in charge of:
who may ask, and the form of the answer (`api/camara.py`); asking CAMARA servers ourselves (`providers/camara.py`).

An answer never holds a place. What an application could find out with ever smaller circles is bounded by the least
radius that the settings allow, and by what it may ask at all: the numbers that its account names.

Source: CAMARA DeviceLocation, location-verification 3.0 (release r3.2): TRUE if the whole uncertainty lies within,
FALSE if none of it, else PARTIAL with matchRate, the per cent of it that does. Not knowing is an error, never FALSE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from .fix import Fix, Reason
from .geometry import CircleShape
from .locations import Locations
from .presence import State

__all__ = ["ANY_AGE_S", "CannotVerify", "Verified", "compared", "verify"]

ANY_AGE_S = 10**9  #: seconds; when the application accepts any age

Result = Literal["TRUE", "FALSE", "PARTIAL"]

UNABLE_TO_LOCATE = "LOCATION_VERIFICATION.UNABLE_TO_LOCATE"
TOO_OLD = "LOCATION_VERIFICATION.UNABLE_TO_FULFILL_MAX_AGE"

#: What no answer is called: the rest is UNABLE_TO_LOCATE.
_CODE_BY_REASON: Mapping[str, str] = {
    Reason.UNKNOWN_SUBSCRIBER: "IDENTIFIER_NOT_FOUND",
    Reason.NO_CONSENT: "PERMISSION_DENIED",
    Reason.NOT_FRESH: TOO_OLD,
}


class CannotVerify(Exception):
    """There is no answer; `code` is CAMARA's name for the reason."""

    def __init__(self, code: str) -> None:
        """`code`: as it is sent."""
        super().__init__(code)
        self.code = code


class Verified(NamedTuple):
    """The answer."""

    result: Result
    match_rate: int | None  #: per cent, 1 to 99; of PARTIAL alone
    seen_at: int  #: UTC epoch milliseconds: lastLocationTime


async def verify(
    locations: Locations, number: str, area: CircleShape, *, max_age_s: int, budget_ms: int, now_ms: int
) -> Verified:
    """Find out where a number is and compare. Raises CannotVerify."""
    sighting = await locations.locate(number, max_age_s=max_age_s, budget_ms=budget_ms)
    fix = sighting.fix
    if fix is None:
        raise CannotVerify(_CODE_BY_REASON.get(sighting.reason, UNABLE_TO_LOCATE))
    if now_ms - fix.measured_at > max_age_s * 1000:
        raise CannotVerify(TOO_OLD)
    return compared(fix, area, max(fix.accuracy_m, locations.floors_m.get(fix.source, 0.0)))


def compared(fix: Fix, area: CircleShape, radius_m: float) -> Verified:
    """A fix, uncertain by so many metres, against a circle. Raises CannotVerify."""
    presence = area.presence(fix, radius_m)
    if presence.state is State.UNKNOWN:
        raise CannotVerify(UNABLE_TO_LOCATE)
    if presence.state is State.IN:
        return Verified("TRUE", None, fix.measured_at)
    if presence.state is State.OUT:
        return Verified("FALSE", None, fix.measured_at)
    return Verified("PARTIAL", min(99, max(1, round(presence.share * 100))), fix.measured_at)
