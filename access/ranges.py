"""Own number ranges: which numbers belong to this network.

In charge of: what a range is to an operator (`RangeModel`) and the live table that answers, for a number in normal
form, which range it lies in. Not in charge of: its versions and history (`registry/`), who has a number
(`subscribers.py`), where its messages go (`smsc/routing.py`).

Sources: issue "main job" section 7; behaviour.md 3 and 9; ITU-T E.164 §6 for lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .numbers import MAX_DIGITS, PrefixTable

__all__ = ["NumberRange", "NumberRanges", "RangeModel"]


class RangeModel(BaseModel):
    """A number range as operators edit it: registry kind "range", prefix "rng", key its prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field(
        pattern=r"^\+[1-9][0-9]{0,14}$",
        description='start of every number in it, in normal form: "+447700"; unique',
    )
    description: str = Field(default="", max_length=200, description="for people")
    min_digits: int = Field(
        default=0,
        ge=0,
        le=MAX_DIGITS,
        description="fewest digits of a number, without +; 0: those of the prefix",
    )
    max_digits: int = Field(default=MAX_DIGITS, ge=1, le=MAX_DIGITS, description="most digits, without +")
    own: bool = Field(
        default=True,
        description="false cuts a hole: numbers that left a larger range of ours for another network",
    )
    first_use: bool | None = Field(
        default=None,
        description="whether a number becomes a subscriber with its first message; null: as the setting says",
    )

    @model_validator(mode="after")
    def _lengths_fit(self) -> RangeModel:
        if self.max_digits < max(self.min_digits, len(self.prefix) - 1):
            raise ValueError("max_digits must not be below min_digits or the length of the prefix")
        return self


@dataclass(frozen=True, slots=True)
class NumberRange:
    """A live range."""

    number: int  #: of the registry object; "rng_<number>" outside
    model: RangeModel

    @property
    def id(self) -> str:
        """For events and people."""
        return f"rng_{self.number}"

    def fits(self, number: str) -> bool:
        """Whether a number that starts with the prefix has a possible length."""
        digits = len(number) - 1
        return self.model.min_digits <= digits <= self.model.max_digits


class NumberRanges:
    """Finds the range of a number: the longest prefix decides, and its lengths. Edits replace the whole table."""

    __slots__ = ("_hooks", "_table")

    def __init__(self, ranges: Iterable[NumberRange] = ()) -> None:
        self._hooks: list[Callable[[], None]] = []
        self.use(ranges)

    def use(self, ranges: Iterable[NumberRange]) -> None:
        """Replace all ranges at once; of two with one prefix the older counts."""
        ordered = sorted(ranges, key=lambda found: found.number)
        self._table = PrefixTable((found.model.prefix + "*", found) for found in ordered)
        for hook in self._hooks:
            hook()

    def on_change(self, hook: Callable[[], None]) -> None:
        """Call `hook` after each replacement."""
        self._hooks.append(hook)

    def find(self, number: str) -> NumberRange | None:
        """The range that decides about an E.164 number in normal form; None if no prefix covers it."""
        if not number.startswith("+"):
            return None
        found = self._table.find(number)
        return found if found is not None and found.fits(number) else None

    def is_own(self, number: str) -> bool:
        """True if the number lies in a range of this network."""
        found = self.find(number)
        return found is not None and found.model.own
