"""One number, one spelling.

In charge of: turning an address as a peer wrote it (TON, NPI, digits) into the normal form that routing, limits, checks
and mailbox use, and back into an address for a peer or a person. Not in charge of: the settings (`access/numbers.py`),
or whether a number exists.

Sources: behaviour.md 3; SMPP 3.4 §5.2.5, §5.2.6; ITU-T E.164 §6 (7 to 15 digits here, country code first, never 0);
3GPP TS 23.040 §9.1.2.5.

How an address is read. TON decides; NPI does not, because peers fill it in as they like. "" is the answer to
everything that cannot be a number: no guess is better than a wrong recipient.

    TON 0 unknown        + or an international prefix: E.164. At most short_code_length digits: short code.
                         The trunk prefix: national. What is left: as `unknown_ton` says; a leading 0 is never E.164.
    TON 1 international  E.164, a + or 00 before it tolerated; fewer than 7 digits are a short code all the same
    TON 2 national       the country code goes before it; a leading trunk prefix of zeros is dropped. At most
                         short_code_length digits: short code, which Kannel by default and others send so
    TON 3 network        "#" and digits
    TON 4 subscriber     as TON 0: peers mean short codes by it
    TON 5 alphanumeric   "@" and the text; but text that is nothing but a number *is* a number, because that is what
                         a handset shows: nobody sends as a number by calling it a name
    TON 6 abbreviated    short code
    TON 7                reserved: ""
"""

from __future__ import annotations

from ..access.numbers import MAX_ALPHANUMERIC, MAX_DIGITS, EgressRules, NumberRules
from ..message import Address

__all__ = ["Normaliser", "Normalisers", "address_for", "display"]

MIN_E164 = 7  #: digits; the shortest full numbers are those of small islands
MAX_ADDRESS = 20  #: octets of an address value (SMPP 3.4 §5.2.8, without its NUL)


class Normaliser:
    """Reads addresses by one set of rules.

    Answers are remembered, because the same numbers come again and a look-up costs a fifth of reading: at most
    `remember` of them; when it is full, the memory starts empty.
    """

    __slots__ = (
        "_country",
        "_trunk",
        "_trunk_zeros",
        "_prefixes",
        "_unknown_national",
        "_short",
        "_known",
        "_remember",
    )

    def __init__(self, rules: NumberRules, *, remember: int = 10_000) -> None:
        """Compile `rules`. `remember` is in addresses, about 300 octets each."""
        self._country = rules.country_code
        self._trunk = rules.trunk_prefix if rules.country_code else ""
        self._trunk_zeros = self._trunk if self._trunk.startswith("0") else ""
        self._prefixes = tuple(sorted(filter(None, rules.international_prefixes), key=len, reverse=True))
        self._unknown_national = rules.unknown_ton == "national" and bool(rules.country_code)
        self._short = rules.short_code_length
        self._known: dict[Address, str] = {}
        self._remember = remember

    def normal(self, address: Address) -> str:
        """The normal form of an address, or "" if it cannot be a number. Never raises."""
        found = self._known.get(address)
        if found is None:
            found = self.read(address)
            if len(self._known) >= self._remember:
                self._known.clear()
            self._known[address] = found
        return found

    def read(self, address: Address) -> str:
        """What `normal` answers, without looking into or adding to its memory."""
        ton, _, digits = address
        if not digits or len(digits) > MAX_ADDRESS:
            return ""
        if ton == 5:
            return self._named(digits)
        plus = digits[0] == "+"
        if plus:
            digits = digits[1:]
        if not (digits.isascii() and digits.isdecimal()):
            return ""
        if ton == 1:
            return self._international(digits, plus)
        if ton == 0 or ton == 4:
            return _e164(digits) if plus else self._unknown(digits)
        if ton == 2:
            return _e164(digits) if plus else self._national(digits)
        if plus or len(digits) > MAX_DIGITS:
            return ""
        if ton == 3:
            return "#" + digits
        return digits if ton == 6 else ""

    def _unknown(self, digits: str) -> str:
        for prefix in self._prefixes:
            if digits.startswith(prefix) and (
                len(digits) > self._short or len(digits) >= MIN_E164 + len(prefix)
            ):
                return _e164(digits[len(prefix) :])
        if len(digits) <= self._short:
            return digits
        trunk = self._trunk
        if trunk and digits.startswith(trunk):
            return (
                self._national(digits) if self._trunk_zeros else _e164(self._country + digits[len(trunk) :])
            )
        if self._unknown_national or (digits[0] == "0" and self._country):
            return _e164(self._country + digits)
        return _e164(digits)

    def _international(self, digits: str, plus: bool) -> str:
        if digits[0] == "0" and not plus:
            for prefix in self._prefixes:
                if digits.startswith(prefix):
                    return _e164(digits[len(prefix) :])
        if len(digits) < MIN_E164 and not plus:
            return digits
        return _e164(digits)

    def _national(self, digits: str) -> str:
        if len(digits) <= self._short:
            return digits
        if not self._country:
            return ""
        zeros = self._trunk_zeros
        if zeros and digits[0] == "0":
            if not digits.startswith(zeros) or digits[len(zeros) : len(zeros) + 1] == "0":
                return ""
            digits = digits[len(zeros) :]
        return _e164(self._country + digits)

    def _named(self, text: str) -> str:
        bare = text.strip(" \0")
        digits = bare[1:] if bare[:1] == "+" else bare
        if digits.isascii() and digits.isdecimal():
            return _e164(digits) if bare[0] == "+" else self._unknown(digits)
        if not bare or len(bare) > MAX_ALPHANUMERIC or not bare.isprintable():
            return ""
        return "@" + bare


class Normalisers:
    """The normalisers of all accounts: one for each different set of rules. Lives on the event loop."""

    __slots__ = ("_by_rules",)

    def __init__(self) -> None:
        """None is made yet."""
        self._by_rules: dict[NumberRules, Normaliser] = {}

    def of(self, rules: NumberRules) -> Normaliser:
        """The normaliser for these rules, shared by every account that has the same ones."""
        found = self._by_rules.get(rules)
        if found is None:
            found = self._by_rules[rules] = Normaliser(rules)
        return found


def _e164(digits: str) -> str:
    """ "+" and the digits, if E.164 allows them."""
    return "+" + digits if MIN_E164 <= len(digits) <= MAX_DIGITS and digits[0] != "0" else ""


def address_for(number: str, rules: EgressRules, country_code: str = "") -> Address:
    """Write a number in normal form for a peer. `country_code`: of the peer, for numbers that go as national."""
    first = number[:1]
    if first == "+":
        if rules.e164_ton == 2 and country_code and number.startswith(country_code, 1):
            return Address(2, rules.e164_npi, number[1 + len(country_code) :])
        ton = 1 if rules.e164_ton == 2 else rules.e164_ton
        return Address(ton, rules.e164_npi, number if rules.e164_form == "plus" else number[1:])
    if first == "@":
        return Address(5, rules.alphanumeric_npi, number[1:])
    if first == "#":
        return Address(3, rules.network_npi, number[1:])
    if first == "=":
        return Address(0, 0, "")
    return Address(rules.short_ton, rules.short_npi, number)


def display(number: str) -> str:
    """A number in normal form as people write it: names without "@", everything else as it is."""
    return number[1:] if number[:1] in ("@", "#") else number
