"""Numbers and ids as the REST door writes them.

In charge of: E.164 with +, alphanumeric senders as they are, short codes as digits, and message ids as decimal
strings; both ways. Not in charge of: the normal form itself (`message.py`) or accounts' own ways to write
(`smsc/normaliser.py`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import Path

from ..message import NumberKind, number_kind
from .problems import Problem

__all__ = ["MessageId", "id_of", "normal_of", "shown"]

HIGHEST_ID = 2**63 - 1

MessageId = Annotated[
    str, Path(pattern=r"^[0-9]{1,19}$", description="decimal string", examples=["1861234567890123456"])
]


def id_of(text: str) -> int:
    """A message id; not-found for one that cannot be."""
    number = int(text)
    if not 0 < number <= HIGHEST_ID:
        raise Problem("not-found")
    return number


@lru_cache(maxsize=65_536)
def shown(normal: str) -> str:
    """A number in normal form as people write it."""
    kind = number_kind(normal)
    if kind is NumberKind.ALPHANUMERIC:
        return normal[1:]
    if kind is NumberKind.ACCOUNT:
        return f"acc_{normal[1:]}"
    return normal


def normal_of(text: str) -> str:
    """The normal form of what people write: "+44…", "12345", "Shop"."""
    text = text.strip()
    if text.startswith(("+", "#")) or text.isdecimal():
        return text
    return f"@{text}"
