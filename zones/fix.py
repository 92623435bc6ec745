"""Where a subscriber was seen.

In charge of: the fix, the vocabulary of what is known instead of one, and the names of reasons for not knowing. Not
in charge of: getting fixes (`locations.py`, `providers/`) or keeping them (`tables.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .presence import Cell

__all__ = ["Fix", "Reason", "Sighting"]


class Reason:
    """Why a state is not known; a stable slug."""

    NONE = "no-location"  #: nobody has told us, and no source knows
    STALE = "stale"  #: older than the policy's max_age_s
    COARSE = "too-coarse"  #: less accurate than the policy's max_accuracy_m
    TIMEOUT = "timeout"  #: no answer within the budget
    SOURCE_DOWN = "source-down"  #: the source failed, or is not asked for a while because it failed
    UNKNOWN_SUBSCRIBER = "unknown-subscriber"
    ABSENT_SUBSCRIBER = "absent-subscriber"
    POSITION_FAILED = "position-method-failure"
    NOT_ACCURATE = "accuracy-not-attainable"
    NOT_FRESH = "freshness-not-attainable"
    NO_CONSENT = "no-consent"
    UNABLE = "unable-to-locate"
    NOT_UNDERSTOOD = "answer-not-understood"
    CELL_UNKNOWN = (
        "cell-unknown"  #: a serving cell that is in no table, and a zone that is not a list of cells
    )
    NO_CELL = "no-cell"  #: coordinates only, and a zone that is a list of cells
    NO_COORDINATES = "no-coordinates"


@dataclass(frozen=True, slots=True)
class Fix:
    """One position of one number."""

    number: str  #: normal form, E.164
    latitude: float | None  #: degrees, WGS 84; None: only the cell is known
    longitude: float | None
    accuracy_m: float  #: the true place is within so many metres
    measured_at: int  #: UTC epoch milliseconds
    received_at: int  #: the same, by our clock
    source: str  #: name of the provider: "push", "cell", "mlp", "camara"
    cell: Cell | None = None  #: serving cell
    plmn: str = ""  #: serving network, MCC and MNC ("26202"), if known
    id: int = 0  #: of its row; 0: not kept


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known about where a number is: a fix, or why there is none."""

    fix: Fix | None
    reason: str = ""  #: a Reason, if there is no fix
    took_ms: int = 0  #: what asking cost; 0: it was known
