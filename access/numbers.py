"""Rules about numbers: how an account writes them, and sets of them.

In charge of: the settings by which `smsc/normaliser.py` reads addresses, the spelling of number rules ("+4477*"), and
the table that finds the longest rule for a number. Not in charge of: normalising (`smsc/normaliser.py`) or who owns a
number (`accounts.py`).

A number rule is a number in normal form (`message.number_kind`), exact or with a trailing `*`:
`+447700900123`, `+4477*`, `12345`, `123*`, `@Shop`, `@*` (every alphanumeric sender), `#9*`, `*` (everything).
An exact rule is stronger than any prefix; a longer prefix is stronger than a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["EgressRules", "NumberRule", "NumberRules", "PrefixTable", "check_number_rule"]

V = TypeVar("V")

MAX_ALPHANUMERIC = 11  #: characters a handset shows: 7-bit letters in 10 octets (3GPP TS 23.040 §9.1.2.5)
MAX_DIGITS = 15  #: ITU-T E.164 §6


def check_number_rule(rule: str) -> str:
    """Return a rule that is well formed; raise ValueError, with what is wrong, on one that is not."""
    prefix, star = (rule[:-1], True) if rule.endswith("*") else (rule, False)
    if not prefix:
        if star:
            return rule
        raise ValueError("a number rule must not be empty; * stands for every number")
    first, rest = prefix[0], prefix[1:]
    if first == "@":
        if (
            len(rest) > MAX_ALPHANUMERIC
            or not rest.isprintable()
            or rest != rest.strip()
            or not (rest or star)
        ):
            raise ValueError(f"after @ come 1 to {MAX_ALPHANUMERIC} printable characters")
        return rule
    digits = rest if first in "+#" else prefix
    if digits and not (digits.isascii() and digits.isdecimal()):
        raise ValueError("a number rule is +digits, digits, @name or #digits, with * at the end for a prefix")
    if not digits and not star:
        raise ValueError("a number rule needs digits; a prefix ends with *")
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has at most {MAX_DIGITS} digits")
    if first == "+" and digits.startswith("0"):
        raise ValueError("no country code starts with 0")
    return rule


NumberRule = Annotated[str, AfterValidator(check_number_rule)]  #: a rule, as a field of a pydantic model

Digits = Annotated[str, Field(pattern=r"^[0-9]*$", max_length=6)]


class NumberRules(BaseModel):
    """How a peer writes numbers (behaviour.md 3); `smsc/normaliser.py` compiles it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    country_code: str = Field(
        default="",
        pattern=r"^([1-9][0-9]{0,2})?$",
        description='country code of national numbers, e.g. "44"; empty: national numbers cannot be read',
    )
    trunk_prefix: str = Field(
        default="0",
        pattern=r"^[0-9]{0,3}$",
        description='dialled before a national number and dropped from it, e.g. "0"; empty: none (Italy)',
    )
    international_prefixes: tuple[Digits, ...] = Field(
        default=("00",),
        max_length=8,
        description='dialled before a country code, e.g. "00" or "011"; + is always understood',
    )
    unknown_ton: Literal["international", "national"] = Field(
        default="international",
        description="what digits with TON 0 are when neither a prefix nor their length tells",
    )
    short_code_length: int = Field(
        default=6, ge=0, le=10, description="digits; a number with TON 0 and at most so many is a short code"
    )


class EgressRules(BaseModel):
    """How numbers are written towards a peer: TON and NPI by kind of number (SMPP 3.4 §5.2.5, §5.2.6)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    e164_ton: Literal[0, 1, 2] = Field(
        default=1,
        description="1: digits; 0: as dialled, see e164_form; 2: national where the country is ours",
    )
    e164_npi: int = Field(default=1, ge=0, le=18, description="numbering plan of E.164 numbers")
    e164_form: Literal["digits", "plus"] = Field(
        default="digits",
        description='"447700900123" or "+447700900123"; used unless the number goes as national',
    )
    short_ton: int = Field(
        default=0, ge=0, le=6, description="type of number of short codes; 3 and 6 are usual too"
    )
    short_npi: int = Field(default=1, ge=0, le=18, description="numbering plan of short codes")
    alphanumeric_npi: int = Field(
        default=0, ge=0, le=18, description="numbering plan of names; their TON is 5"
    )
    network_npi: int = Field(
        default=0, ge=0, le=18, description="numbering plan of network numbers; their TON is 3"
    )


class PrefixTable(Generic[V]):
    """Finds the strongest rule for a number: an exact one, else the longest prefix. Never changed once made.

    One dict of exact rules and one dict of prefixes, asked once per prefix length that occurs: tables of a million
    rules cost what tables of ten do.
    """

    __slots__ = ("_exact", "_prefixes", "_lengths", "_everything")

    def __init__(self, rules: Iterable[tuple[str, V]] = ()) -> None:
        """Of two equal rules the first counts."""
        self._exact: dict[str, V] = {}
        self._prefixes: dict[str, V] = {}
        for rule, value in rules:
            if rule.endswith("*"):
                self._prefixes.setdefault(rule[:-1], value)
            else:
                self._exact.setdefault(rule, value)
        self._lengths = tuple(sorted({len(prefix) for prefix in self._prefixes}, reverse=True))
        self._everything = set(self._prefixes) == {""} and not self._exact

    def find(self, number: str) -> V | None:
        """The value of the strongest rule for a number in normal form, or None. "" matches nothing."""
        if not number:
            return None
        found = self._exact.get(number)
        if found is not None:
            return found
        prefixes = self._prefixes
        for length in self._lengths:
            found = prefixes.get(number[:length])  # of a shorter number it is the number: a match as well
            if found is not None:
                return found
        return None

    def matches(self, number: str) -> Iterator[V]:
        """Every value whose rule covers the number, strongest first: where more than one may be tried."""
        if not number:
            return
        if number in self._exact:
            yield self._exact[number]
        for length in self._lengths:
            if length <= len(number) and number[:length] in self._prefixes:
                yield self._prefixes[number[:length]]

    def __contains__(self, number: str) -> bool:
        """True if any rule covers the number."""
        return bool(number) and (self._everything or number in self._exact or self._any_prefix(number))

    def __len__(self) -> int:
        """How many different rules there are."""
        return len(self._exact) + len(self._prefixes)

    def _any_prefix(self, number: str) -> bool:
        prefixes = self._prefixes
        for length in self._lengths:  # noqa: SIM110 - a generator takes three times as long
            if number[:length] in prefixes:
                return True
        return False
