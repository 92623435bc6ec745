"""Numbers as the core network writes them: semi-octets, TBCD strings, address strings.

In charge of: packing digits two an octet, and the three forms of address that carry them: a TPDU's (length in
semi-octets, alphanumeric allowed), the address string of MAP, RP and GSUP (no length of its own), and the bare TBCD
string of IMSIs and of Diameter. Not in charge of: what a number means (`smsc/normaliser.py`).

How it fails: BadDigits, which says what was wrong; nothing else is raised on what a peer sends.

Sources: 3GPP TS 23.040 §9.1.2.3 (semi-octets), §9.1.2.5 (addresses); TS 24.008 §10.5.4.7 (digit codes);
TS 29.002 §17.7.8 (TBCD-STRING, AddressString); TS 29.329 §6.3.2 (MSISDN without type of address).
"""

from __future__ import annotations

from ..message import Address
from ..smsc.text import gsm7

__all__ = [
    "ALPHANUMERIC",
    "MAX_SEMI_OCTETS",
    "BadDigits",
    "address_octets",
    "address_string",
    "digits_of",
    "read_address",
    "read_address_string",
    "tbcd",
]

ALPHANUMERIC = 5  #: type of number: the value is a name in packed GSM 7 bit
MAX_SEMI_OCTETS = 20  #: of an address value in a TPDU: twelve octets with length and type (§9.1.2.5)

_CODES = "0123456789*#abc"  #: by value; 0xF is the filler
_VALUES = {digit: value for value, digit in enumerate(_CODES)} | {"A": 12, "B": 13, "C": 14}
_FILLER = 0xF
#: The two digits of each octet, low one first; "f" where a nibble is the filler.
_PAIRS = tuple((_CODES + "f")[octet & 0xF] + (_CODES + "f")[octet >> 4] for octet in range(256))


class BadDigits(ValueError):
    """Octets that are no number, or a number that cannot be written."""


def tbcd(digits: str) -> bytes:
    """Digits two an octet, low half first, with a filler behind an odd last one. BadDigits for other characters."""
    try:
        values = [_VALUES[digit] for digit in digits]
    except KeyError as error:
        raise BadDigits(f"{error.args[0]!r} is not a digit of 0-9*#abc") from None
    if len(values) % 2:
        values.append(_FILLER)
    return bytes(low | high << 4 for low, high in zip(values[::2], values[1::2], strict=True))


def digits_of(octets: bytes) -> str:
    """Digits of a TBCD string; one filler at the end is allowed, anywhere else it is BadDigits."""
    digits = "".join([_PAIRS[octet] for octet in octets])
    if digits.endswith("f"):
        digits = digits[:-1]
    if "f" in digits:
        raise BadDigits(f"filler inside the digits {octets.hex()}")
    return digits


# ------------------------------------------------------------------------------------------------- TPDU addresses


def read_address(data: bytes, at: int) -> tuple[Address, int]:
    """The address of a TPDU at `at`, and where the next field starts.

    A name comes out as text. Characters of the GSM alphabet that Latin-1 lacks become "?", so that every address
    can be kept in a `Message` (its digits are Latin-1).
    """
    if at + 2 > len(data):
        raise BadDigits("the address is cut off")
    semi_octets, kind = data[at], data[at + 1]
    end = at + 2 + (semi_octets + 1) // 2
    if semi_octets > MAX_SEMI_OCTETS:
        raise BadDigits(f"an address of {semi_octets} semi-octets; {MAX_SEMI_OCTETS} are allowed")
    if end > len(data):
        raise BadDigits("the address is cut off")
    value = data[at + 2 : end]
    ton, npi = kind >> 4 & 0x7, kind & 0xF
    if ton == ALPHANUMERIC:
        return Address(ton, npi, _name(value, semi_octets * 4 // 7)), end
    digits = "".join([_PAIRS[octet] for octet in value])[:semi_octets]
    if "f" in digits:
        raise BadDigits(f"filler inside the digits {value.hex()}")
    return Address(ton, npi, digits), end


def address_octets(address: Address) -> bytes:
    """An address as a TPDU has it. BadDigits if its digits are none or too many; names lose what GSM cannot spell."""
    ton, npi, digits = address
    _check_kind(ton, npi)
    if ton == ALPHANUMERIC:
        septets = gsm7.encode(digits, "replace")
        semi_octets, value = -(-len(septets) * 7 // 4), gsm7.pack(septets)
    else:
        digits = digits.removeprefix("+")
        semi_octets, value = len(digits), tbcd(digits)
    if semi_octets > MAX_SEMI_OCTETS:
        raise BadDigits(f"{digits!r} is too long for an address of a short message")
    return bytes((semi_octets, 0x80 | ton << 4 | npi)) + value


# ------------------------------------------------------------------------------------------------ address strings


def read_address_string(octets: bytes) -> Address:
    """An address that fills its container: type, then digits (or, for a name, septets) to the end."""
    if not octets:
        raise BadDigits("an empty address")
    ton, npi = octets[0] >> 4 & 0x7, octets[0] & 0xF
    value = octets[1:]
    if ton == ALPHANUMERIC:
        septets = gsm7.unpack(value)
        return Address(ton, npi, _name(value, len(septets)))
    return Address(ton, npi, digits_of(value))


def address_string(address: Address) -> bytes:
    """The reverse of `read_address_string`."""
    ton, npi, digits = address
    _check_kind(ton, npi)
    if ton == ALPHANUMERIC:
        value = gsm7.pack(gsm7.encode(digits, "replace"), pad_cr=True)
    else:
        value = tbcd(digits.removeprefix("+"))
    return bytes((0x80 | ton << 4 | npi,)) + value


def _check_kind(ton: int, npi: int) -> None:
    if not (0 <= ton <= 7 and 0 <= npi <= 15):
        raise BadDigits(f"type of number {ton} or numbering plan {npi} does not fit its bits")


def _name(value: bytes, septets: int) -> str:
    text = gsm7.decode(gsm7.unpack(value, septets))
    return text if text.isascii() else text.encode("latin-1", "replace").decode("latin-1")
