"""When a message may be delivered and when it ends.

In charge of: the account's default and ceiling for schedule and validity period, and which times make no sense. Not in
charge of: reading times off a wire (`smpp/times.py`). Sources: SMPP 3.4 §5.2.15, §5.2.16, §5.2.12.
"""

from __future__ import annotations

from ..access.accounts import Account
from ..message import Message
from .answers import EXPIRED, NO_SCHEDULE, TOO_LATE, Refused
from .retry import has_one_attempt

__all__ = ["set_times"]

#: How far in the past a validity period may end and still mean "now": doors and intake read the clock one by one.
_NOW_MS = 1000


def set_times(draft: Message, account: Account, now: int) -> Refused | None:
    """Complete `schedule_at` and `expires_at` (UTC epoch milliseconds; 0: not given), or say what is wrong with them.

    The ceiling counts from now, or from the time it is scheduled for.
    """
    if draft.schedule_at <= now:
        draft.schedule_at = 0
    elif has_one_attempt(draft):
        return NO_SCHEDULE
    begin = draft.schedule_at or now
    latest = begin + account.validity_ceiling_ms
    if not draft.expires_at:
        draft.expires_at = begin + account.validity_default_ms
    elif draft.expires_at < now - _NOW_MS:
        return EXPIRED
    elif draft.schedule_at and draft.expires_at <= draft.schedule_at:
        return TOO_LATE
    draft.expires_at = min(max(draft.expires_at, now), latest)
    return None
