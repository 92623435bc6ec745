"""The GSM 7 bit alphabets: septets to text and back, and their packing into octets.

In charge of: the default alphabet with its extension table, the national language tables for Turkish, Spanish
and Portuguese (for reception), and 7-bit packing. Not in charge of: which alphabet a message uses
(`codings.py`), where the national language of a message is told (`udh.py`), or how long a part may be
(`segments.py`).

Unpacked septets (one an octet, bit 7 clear) are the form of this module and of SMPP; packed ones are the form
of the air interface and of the few SMPP peers whose account says so.

Source: 3GPP TS 23.038 §6.1.2 (packing), §6.2.1 (tables), §6.2.1.2 and annex A (national languages).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import lru_cache
from typing import cast

__all__ = [
    "DEFAULT",
    "ESCAPE",
    "PORTUGUESE",
    "REPLACEMENT",
    "SPANISH",
    "TURKISH",
    "Alphabet",
    "alphabet",
    "decode",
    "encode",
    "fill_bits",
    "is_encodable",
    "pack",
    "septet_count",
    "unpack",
]

ESCAPE = 0x1B  #: the septet that takes the next one from the extension table
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  #: stands for an octet that is no septet

#: National language identifiers, 3GPP TS 23.038 §6.2.1.2.4.
TURKISH, SPANISH, PORTUGUESE = 1, 2, 3

_CR = 0x0D

# ----------------------------------------------------------------------------------------------------- tables

#: §6.2.1, sixteen positions a line. The escape stands for itself: it never reaches a text.
_DEFAULT = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)

#: §6.2.1.1; the page break is a form feed. Position 1B is kept for a further table, and shows a space until
#: then.
_EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x1B: " ",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}


def _table(entries: str) -> dict[int, str]:
    """Positions (two hexadecimal digits) with their characters."""
    return {int(entry[:2], 16): entry[2:] for entry in entries.split()}


#: Locking shift tables (annex A.3) as what they change in the default alphabet. Spanish has none.
_LOCKING = {
    0: _table(""),
    TURKISH: _table("04€ 07ı 0BĞ 0Cğ 1CŞ 1Dş 40İ 60ç"),
    PORTUGUESE: _table(
        "04ê 06ú 07í 08ó 09ç 0BÔ 0Cô 0EÁ 0Fá 12ª 13Ç 14À 15∞ 16^ 17\\ 18€ 19Ó 1A| 1CÂ 1Dâ 1EÊ 24º "
        "40Í 5BÃ 5CÕ 5DÚ 60~ 7Bã 7Cõ 7D`"
    ),
}

#: Single shift tables (annex A.2) as what they add to the default extension table.
_SINGLE = {
    0: _table(""),
    TURKISH: _table("47Ğ 49İ 53Ş 63ç 67ğ 69ı 73ş"),
    SPANISH: _table("09ç 41Á 49Í 4FÓ 55Ú 61á 69í 6Fó 75ú"),
    PORTUGUESE: _table(
        "05ê 09ç 0BÔ 0Cô 0EÁ 0Fá 12Φ 13Γ 15Ω 16Π 17Ψ 18Σ 19Θ 1FÊ 41À 49Í 4FÓ 55Ú 5BÃ 5CÕ 61Â 69í 6Fó 75ú "
        "7Bã 7Cõ 7Fâ"
    ),
}

# --------------------------------------------------------------------------------------------------- decoding

#: The stubs know dictionaries only; a string of 256 characters is what the C decoder is fast with.
_charmap_decode = cast("Callable[[bytes, str, str], tuple[str, int]]", codecs.charmap_decode)


class Alphabet:
    """One locking table with one single shift table, laid out for the C decoder. Made by `alphabet()`."""

    __slots__ = ("_extension", "_main")

    def __init__(self, main: dict[int, str], extension: dict[int, str]) -> None:
        septets = "".join(main.get(code, char) for code, char in enumerate(_DEFAULT))
        self._main = septets + REPLACEMENT * 128
        # A code without a symbol after the escape shows the main table's character (§6.2.1.1, note on
        # reception).
        shifted = _EXTENSION | extension
        self._extension = [shifted.get(code, char) for code, char in enumerate(self._main)]

    def decode(self, septets: bytes) -> str:
        """Text of unpacked septets; never raises: a high octet becomes U+FFFD, a last lone escape a space."""
        if ESCAPE not in septets:
            return _charmap_decode(septets, "strict", self._main)[0]
        first, *rest = septets.split(b"\x1b")
        out = [_charmap_decode(first, "strict", self._main)[0]]
        after_pair = False  # the escape before this piece was the second of two, so it shifts nothing
        for piece in rest:
            if after_pair:
                after_pair = False
            elif piece:
                out.append(self._extension[piece[0]])
                piece = piece[1:]
            else:
                out.append(self._extension[ESCAPE])
                after_pair = True
            out.append(_charmap_decode(piece, "strict", self._main)[0])
        return "".join(out)


_ALPHABETS = {
    (locking, single): Alphabet(main, extension)
    for locking, main in _LOCKING.items()
    for single, extension in _SINGLE.items()
}

DEFAULT = _ALPHABETS[0, 0]


def alphabet(locking: int = 0, single: int = 0) -> Alphabet:
    """The alphabet for two national language identifiers; one not known here means the default's table."""
    return _ALPHABETS[locking if locking in _LOCKING else 0, single if single in _SINGLE else 0]


def decode(septets: bytes, national: Alphabet = DEFAULT) -> str:
    """Text of unpacked septets; never raises."""
    return national.decode(septets)


# --------------------------------------------------------------------------------------------------- encoding
#
# codecs.charmap_build makes the fast C table only if position 0 holds U+0000, and then has room for 256
# characters. So the table below is a detour: '@' (septet 0) sits at 0x80, a character of the extension table
# at its code + 0x80, and what comes out is set right afterwards. U+FFFE marks the positions that encode
# nothing.

_AT = 0x80


def _encoding_table() -> str:
    table = [*("\ufffe" if char in "@\x1b" else char for char in _DEFAULT), *"\ufffe" * 128]
    table[0], table[_AT] = "\0", "@"
    for code, char in _EXTENSION.items():
        if code != ESCAPE:
            table[code | 0x80] = char
    return "".join(table)


_ENCODING = codecs.charmap_build(_encoding_table())
_ESCAPED = {bytes((code | 0x80,)): bytes((ESCAPE, code)) for code in _EXTENSION}
_TO_ESCAPE = re.compile(rb"[\x81-\xff]")


def encode(text: str, errors: str = "strict") -> bytes:
    """Unpacked septets of a text in the default alphabet.

    `errors` is "strict" (UnicodeEncodeError at the first character that has no septets) or "replace" ('?').
    """
    if "\0" in text:  # the one character that the detour above would let through
        if errors == "strict":
            at = text.index("\0")
            raise UnicodeEncodeError("gsm7", text, at, at + 1, "character is not in the GSM 7 bit alphabet")
        text = text.replace("\0", "?")
    septets = codecs.charmap_encode(text, errors, _ENCODING)[0].replace(b"\x80", b"\0")
    if septets.isascii():
        return septets
    return _TO_ESCAPE.sub(lambda match: _ESCAPED[match.group()], septets)


def is_encodable(text: str) -> bool:
    """Whether every character is in the default alphabet or its extension."""
    try:
        codecs.charmap_encode(text, "strict", _ENCODING)
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def septet_count(text: str) -> int:
    """How many septets `encode(text, "replace")` makes."""
    return len(encode(text, "replace"))


# ---------------------------------------------------------------------------------------------------- packing
#
# Eight septets make seven octets, the first septet in the low bits (§6.1.2.1). Both ways treat the whole
# string as one integer of 64-bit lanes and move 7-bit fields to 14, 28 and 56 bits (or back) in three steps;
# the empty eighth octet of each lane is then cut out with a slice.


@lru_cache(maxsize=64)
def _masks(lanes: int) -> tuple[int, int, int, int, int, int]:
    """For each step, the low and the high field of each pair, over so many 64-bit lanes."""

    def mask(field: int) -> int:
        return int.from_bytes(field.to_bytes(8, "little") * lanes, "little")

    return (
        mask(0x007F007F007F007F),
        mask(0x7F007F007F007F00),
        mask(0x00003FFF00003FFF),
        mask(0x3FFF00003FFF0000),
        mask(0x000000000FFFFFFF),
        mask(0x0FFFFFFF00000000),
    )


def fill_bits(header_octets: int) -> int:
    """Fill bits between a user data header of so many octets (UDHL counted) and the first septet; 0..6."""
    return -8 * header_octets % 7


def pack(septets: bytes, fill_bits: int = 0, *, pad_cr: bool = False) -> bytes:
    """Septets packed into octets behind so many zero bits; bit 7 of what comes in is ignored.

    `pad_cr` is for a receiver that learns only the number of octets (§6.1.2.3.1): seven spare bits are filled
    with a carriage return, so that they are not read as '@', and a last one that ends on an octet boundary is
    doubled.
    """
    if pad_cr:
        spare = -(fill_bits + 7 * len(septets)) % 8
        if spare == 7 or (spare == 0 and septets.endswith(b"\r")):
            septets += b"\r"
    lanes = -(-len(septets) // 8)
    low1, high1, low2, high2, low3, high3 = _masks(lanes)
    bits = int.from_bytes(septets, "little")
    bits = (bits & low1) | (bits & high1) >> 1
    bits = (bits & low2) | (bits & high2) >> 2
    bits = (bits & low3) | (bits & high3) >> 4
    packed = bytearray(bits.to_bytes(8 * lanes, "little"))
    del packed[7::8]
    octets = -(-(fill_bits + 7 * len(septets)) // 8)
    if fill_bits:
        return (int.from_bytes(packed, "little") << fill_bits).to_bytes(octets, "little")
    return bytes(packed[:octets])


def unpack(octets: bytes, count: int | None = None, fill_bits: int = 0) -> bytes:
    """Septets out of packed octets, behind so many fill bits; at most `count`, never more than are there.

    Without a count, as on SMPP, a last septet that ends on the octet boundary and is zero or a carriage
    return is taken for padding and dropped: a text of 8n characters whose last is '@' loses it, which costs
    less than an '@' behind every text of 8n - 1.
    """
    available = max(8 * len(octets) - fill_bits, 0) // 7
    padded = count is None and available > 0 and 8 * len(octets) - fill_bits == 7 * available
    count = available if count is None else max(min(count, available), 0)
    if fill_bits:
        octets = (int.from_bytes(octets, "little") >> fill_bits).to_bytes(len(octets), "little")
    lanes = -(-len(octets) // 7)
    source = octets.ljust(7 * lanes, b"\0")
    spread = bytearray(8 * lanes)
    for place in range(7):
        spread[place::8] = source[place::7]
    bits = int.from_bytes(spread, "little")
    low1, high1, low2, high2, low3, high3 = _masks(lanes)
    bits = (bits & low3) | bits << 4 & high3
    bits = (bits & low2) | bits << 2 & high2
    bits = (bits & low1) | bits << 1 & high1
    septets = bits.to_bytes(8 * lanes, "little")
    if padded and septets[count - 1] in (0, _CR):
        count -= 1
    return septets[:count]
