"""What can be set about mailboxes.

In charge of: the settings of this room and their ranges. Not in charge of: what each subscriber chose (`box.py`).
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KeywordTexts", "MailboxSettings", "NoticeText", "OnReachable"]

DAY_MS = 86_400_000


class OnReachable(StrEnum):
    """What happens with the content of a box when its owner's handset is seen again (behaviour.md 1)."""

    NOTICE = "notice"  #: a short message says how many wait
    REDELIVER = "redeliver"  #: what was never handed over is tried again
    NOTHING = "nothing"


class NoticeText(BaseModel):
    """A notice in one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    one: str = Field(min_length=1, max_length=480, description="for one message")
    many: str = Field(min_length=1, max_length=480, description="for more; {count} is their number")


_ENGLISH = NoticeText(
    one="You have 1 new message in your mailbox.", many="You have {count} new messages in your mailbox."
)


class KeywordTexts(BaseModel):
    """What keywords are answered in one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list: str = Field(
        default="{unread} new of {total}:", min_length=1, max_length=160, description="above what LIST shows"
    )
    empty: str = Field(default="Your mailbox is empty.", min_length=1, max_length=160, description="to LIST")
    unknown: str = Field(
        default="There is no such message. LIST shows what there is.",
        min_length=1,
        max_length=160,
        description="to GET and DEL of a number that no message has",
    )
    deleted: str = Field(
        default="The message is in the bin.", min_length=1, max_length=160, description="to DEL"
    )
    no_box: str = Field(
        default="You have no mailbox.", min_length=1, max_length=160, description="to who has none"
    )
    multimedia: str = Field(
        default="(multimedia message)", min_length=1, max_length=160, description="in place of a text"
    )


class MailboxSettings(BaseModel):
    """Settings of the mailbox."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # --- room
    quota_bytes: int = Field(
        default=4_194_304, ge=10_000, description="octets a box may hold, its bin included"
    )
    quota_messages: int = Field(
        default=2000, ge=10, le=100_000, description="messages a box may hold outside its bin"
    )

    # --- keeping
    retention_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="days; what is older is removed, except saved and starred items",
    )
    saved_retention_days: int = Field(
        default=365, ge=1, le=3650, description="days; the same for saved and starred items"
    )
    bin_days: int = Field(default=30, ge=1, le=365, description="days an item stays in the bin")
    feed_days: int = Field(
        default=30, ge=1, le=365, description="days a client may be away and still ask for changes only"
    )

    expire_every_s: float = Field(
        default=1.0, gt=0, le=3600, description="seconds between two looks for validity periods that are over"
    )
    retention_every_s: float = Field(
        default=600.0, gt=0, le=86_400, description="seconds between two passes of retention over all boxes"
    )

    # --- entering
    denied_service_types: frozenset[str] = Field(
        default=frozenset({"VMN"}),
        description="service_type values never kept; VMN is a voice mail notification (SMPP 3.4 §5.2.11)",
    )
    join_window_s: int = Field(
        default=3600,
        ge=1,
        le=86_400,
        description="seconds between parts with one reference; later is another message",
    )

    # --- showing
    preview_chars: int = Field(
        default=40,
        ge=0,
        le=160,
        description="characters that lists show of what was not opened; never all of it",
    )
    search_items: int = Field(
        default=1000,
        ge=50,
        le=20_000,
        description="items one request of a text search looks at; a cursor goes on",
    )

    # --- telling
    on_reachable: OnReachable = Field(
        default=OnReachable.NOTICE,
        description="when the owner's handset is seen again: notice, redeliver, nothing",
    )
    notice_interval_s: int = Field(
        default=3600, ge=0, le=604_800, description="seconds between two notices to one subscriber"
    )
    redeliver_at_most: int = Field(
        default=100, ge=1, le=1000, description="items tried again when a handset is seen"
    )
    language: str = Field(default="en", description="language of notices, a key of notices")
    notices: dict[str, NoticeText] = Field(
        default={"en": _ENGLISH}, min_length=1, description="texts of notices by language"
    )
    keyword_texts: dict[str, KeywordTexts] = Field(
        default={"en": KeywordTexts()}, min_length=1, description="answers to keywords by language"
    )
    live_poll_ms: int = Field(
        default=500, ge=10, le=60_000, description="milliseconds between looks at boxes that somebody watches"
    )
    watchers_per_box: int = Field(default=8, ge=1, le=1000, description="event streams of one subscriber")
    watchers: int = Field(default=5000, ge=1, le=1_000_000, description="event streams of one process")
