"""Which senders an account may use, and names that only their owners may.

In charge of: sender rules and protected names as operators edit them (registry kinds "sender-rule" and
"protected-sender"), and folding names that look alike into one. Not in charge of: the sources of an account itself
(`access/accounts.py`, which the first check enforces), or numbers of subscribers (`engine.py`).

Folding. A handset shows a name; whoever sees it cannot tell a Cyrillic а from an a, or a zero from an O. So a name is
compared by its skeleton: compatibility forms and accents removed, letters of other alphabets and digits that look like
a Latin letter replaced by it, upper and lower case made one, everything that is no letter or digit left out. The table
is small on purpose: what a GSM handset can show, and the Greek, Cyrillic and Armenian letters of UCS-2 senders.

Source: notes/antispoof.md 2.4; Unicode Technical Standard 39, section 4, for the idea of skeletons.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..access.numbers import NumberRule, PrefixTable
from ..registry.versioned import Stored
from .switches import Name

__all__ = [
    "Permit",
    "Protected",
    "ProtectedModel",
    "SenderRule",
    "SenderRuleModel",
    "SenderTable",
    "fold",
]

_LOOK_ALIKES = {
    # Cyrillic, lower case (case is folded before)
    **dict(zip("абвгдезиклмнорстухкцчшыьѕіјһԁԛԝү", "a6brgeзukлmhopctyxkцчшыbsijhdqwy", strict=True)),
    # Greek
    **dict(zip("αβγδεζηικλμνορτυχωϲ", "abydezniklmvoptuxwc", strict=True)),
    # Armenian letters that pass for Latin ones
    **dict(zip("աոսհզցօ", "wnuhqgo", strict=True)),
    # digits and signs that pass for letters
    **dict(zip("01|!$5@48", "olllssaab", strict=True)),
    # Latin letters beyond ASCII that have no decomposition
    **dict(zip("øłđħıŧßæœ", "oldhitbao", strict=True)),
}  # fmt: skip
_FOLDED = str.maketrans(_LOOK_ALIKES)
#: Latin letters that pass for each other in the fonts of handsets, and pairs that pass for one.
_LATIN = str.maketrans({"i": "l", "j": "l"})
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))


def fold(name: str) -> str:
    """The skeleton of an alphanumeric sender, without the "@" of the normal form."""
    text = unicodedata.normalize("NFKD", name.removeprefix("@")).casefold()
    text = unicodedata.normalize("NFKD", text.translate(_FOLDED))
    text = "".join(character for character in text if character.isalnum())
    text = text.translate(_FOLDED).translate(_LATIN)
    for pair, one in _PAIRS:
        text = text.replace(pair, one)
    return text


class SenderRuleModel(BaseModel):
    """Whether an account may use some senders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="unique name")
    account: str = Field(min_length=1, max_length=15, description='system_id; "*": every account')
    pattern: NumberRule = Field(description='"+447700900123", "+4477*", "12345", "@Shop", "@*"')
    allow: bool = Field(description="false: not even if the account's sources have it")
    description: str = Field(default="", max_length=200)


class ProtectedModel(BaseModel):
    """A name that only its owners may use, in whatever letters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=2, max_length=11, description='as people know it: "MyBank"')
    owners: tuple[str, ...] = Field(
        default=(), max_length=100, description="accounts that may use it; none: nobody"
    )
    within: bool = Field(default=False, description="names that contain it are protected too: MyBank-Info")
    description: str = Field(default="", max_length=200)

    @field_validator("name")
    @classmethod
    def _says_something(cls, name: str) -> str:
        if len(fold(name)) < 2:
            raise ValueError("needs at least two letters or digits")
        return name


@dataclass(frozen=True, slots=True)
class SenderRule:
    """A live sender rule."""

    number: int
    model: SenderRuleModel

    @classmethod
    def of(cls, stored: Stored[SenderRuleModel]) -> SenderRule:
        """Compile."""
        return cls(stored.number, stored.value)


@dataclass(frozen=True, slots=True)
class Protected:
    """A live protected name."""

    number: int
    model: ProtectedModel
    folded: str

    @classmethod
    def of(cls, stored: Stored[ProtectedModel]) -> Protected:
        """Compile."""
        return cls(stored.number, stored.value, fold(stored.value.name))


class Permit(Enum):
    """What the rules say about a sender."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    SILENT = "silent"  #: no rule is about it


class SenderTable:
    """Rules by account, and protected names. Never changed once made."""

    def __init__(self, rules: Iterable[SenderRule] = (), protected: Iterable[Protected] = ()) -> None:
        by_account: dict[str, list[SenderRule]] = {}
        for rule in sorted(rules, key=lambda one: one.number):
            by_account.setdefault(rule.model.account, []).append(rule)
        self._tables = {
            account: PrefixTable((rule.model.pattern, rule.model.allow) for rule in mine)
            for account, mine in by_account.items()
        }
        self._closed = {
            account
            for account, mine in by_account.items()
            if account != "*" and any(rule.model.allow for rule in mine)
        }
        names = sorted(protected, key=lambda one: one.number)
        self._protected: dict[str, Protected] = {}
        for one in names:
            self._protected.setdefault(one.folded, one)
        self._within = tuple(one for one in names if one.model.within)

    def permit(self, account: str, sender: str) -> Permit:
        """What the rules say; an account's own go before everybody's.

        An account that is allowed anything by rules is allowed nothing else.
        """
        for owner in (account, "*"):
            table = self._tables.get(owner)
            if table is not None:
                found = table.find(sender)
                if found is not None:
                    return Permit.ALLOWED if found else Permit.REFUSED
            if owner in self._closed:
                return Permit.REFUSED
        return Permit.SILENT

    def protected(self, sender: str) -> Protected | None:
        """The protected name that an alphanumeric sender passes for."""
        if not self._protected:
            return None
        folded = fold(sender)
        found = self._protected.get(folded)
        if found is not None:
            return found
        for one in self._within:
            if one.folded in folded:
                return one
        return None
