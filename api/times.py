"""Times as the REST door writes them.

In charge of: RFC 3339 in UTC with milliseconds, both ways. Inside the center times are epoch milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer, WithJsonSchema

__all__ = ["GivenTime", "Instant", "instant", "instant_or_none", "ms_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=65_536)
def _minute(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:")


_SECONDS = tuple(f"{second:02}." for second in range(60))
_REST = tuple(f"{ms:03}Z" for ms in range(1000))


def instant(ms: int) -> str:
    """Epoch milliseconds as text. Lists make hundreds of these."""
    return _minute(ms // 60_000) + _SECONDS[ms // 1000 % 60] + _REST[ms % 1000]


def instant_or_none(ms: int) -> str | None:
    """The same; 0 means that it has not happened."""
    return instant(ms) if ms else None


def ms_of(when: datetime) -> int:
    """Epoch milliseconds of a time with a zone."""
    return (when - _EPOCH) // timedelta(milliseconds=1)


def _bounded(when: datetime) -> datetime:
    if not _EPOCH <= when <= _LATEST:
        raise ValueError("between 1970 and 2200")
    return when


#: A time in a response; made by `instant`.
Instant = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Field(examples=["2026-11-22T10:00:00.000Z"]),
]

#: A time in a request: RFC 3339 with its offset.
GivenTime = Annotated[
    AwareDatetime,
    AfterValidator(_bounded),
    PlainSerializer(lambda when: instant(ms_of(when)), return_type=str),
]
