"""Message ids of other centers: one spelling for what they write in many.

In charge of: the key under which an id from a response is kept, the keys that an id from a receipt may mean, and
learning which of them a center means. Not in charge of: where they are kept (`link_tables.py`).

Theory. A center gives an id in its response and names it in its receipt, often spelled otherwise: other case, zeros or
blanks in front, without hyphens, or in the other base (hexadecimal in one, decimal in the other). The first kinds are
folded away on both sides. For the base, a receipt has up to three readings; an operator may say which one is meant.
Else all are looked up, and what tells them apart is the recipient, which the receipt names too; a reading that has
been right often and alone goes first from then on.

Sources: notes/smpp.md, pitfalls (smscsim#4, mokai#8, jasmin#210, #643).
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["IdStyle", "Learned", "key_of", "readings"]

_MAX = 65  #: octets of a message_id (SMPP 3.4 §5.2.23)
_SURE = 5  #: times that a reading must have been right alone before it goes first


class IdStyle(StrEnum):
    """How a center spells ids."""

    AUTO = "auto"  #: not said: every reading is looked up
    TEXT = "text"  #: the same in response and receipt
    RESPONSE_HEX = "response-hex"  #: hexadecimal in responses, decimal in receipts
    RECEIPT_HEX = "receipt-hex"  #: decimal in responses, hexadecimal in receipts


def key_of(remote_id: str) -> str:
    """The key of an id, whatever its case, padding and hyphens; "" if there is none."""
    folded = remote_id.strip(" \0\t\r\n").casefold().replace("-", "")[:_MAX]
    return folded.lstrip("0") or folded[:1]


def _decimal_as_hex(key: str) -> str:
    return format(int(key), "x") if key.isascii() and key.isdecimal() else ""


def _hex_as_decimal(key: str) -> str:
    bare = key.removeprefix("x")  # "0x1F" has lost its zero
    if not bare.isascii() or not all(letter in "0123456789abcdef" for letter in bare) or not bare:
        return ""
    return str(int(bare, 16))


def readings(remote_id: str, style: IdStyle, first: IdStyle = IdStyle.TEXT) -> list[str]:
    """The keys under which a receipt's id may be kept, the likeliest first; `first`: what has been learned."""
    key = key_of(remote_id)
    by_style = {
        IdStyle.TEXT: key,
        IdStyle.RESPONSE_HEX: _decimal_as_hex(key),
        IdStyle.RECEIPT_HEX: _hex_as_decimal(key),
    }
    if style is not IdStyle.AUTO:
        return [by_style[style] or key]
    order = [first, *(one for one in by_style if one is not first)]
    found = [by_style[one] for one in order if by_style[one] or one is IdStyle.TEXT]
    return list(dict.fromkeys(found))


class Learned:
    """Which reading of one link's ids has been right."""

    __slots__ = ("_right", "first")

    def __init__(self) -> None:
        """Nothing yet."""
        self._right: dict[IdStyle, int] = {}
        self.first = IdStyle.TEXT  #: the reading that goes first

    def right(self, remote_id: str, key: str) -> None:
        """An id turned out to be kept under `key`; a spelling that reads alike in every way teaches nothing."""
        text = key_of(remote_id)
        meant = [
            style
            for style, reading in (
                (IdStyle.TEXT, text),
                (IdStyle.RESPONSE_HEX, _decimal_as_hex(text)),
                (IdStyle.RECEIPT_HEX, _hex_as_decimal(text)),
            )
            if reading == key
        ]
        if len(meant) != 1:
            return
        (style,) = meant
        for other in self._right:
            if other is not style:
                self._right[other] = 0
        self._right[style] = min(self._right.get(style, 0) + 1, _SURE)
        if self._right[style] >= _SURE:
            self.first = style
