"""Parts of one message stay on one way.

In charge of: remembering through which outlet the first part of a multipart message went. Not in charge of: choosing it
(`routing.py`).

Theory: a handset or center joins parts that came by one way. The first part that is handed over decides; the others
follow as long as that way is open, however loaded it is. What is forgotten (a restart, more messages at a time than
are remembered) is drawn again, and parts are drawn alike (`routing.py`), so that chance does not part them either.
Source: behaviour.md 8 (what parts have in common).
"""

from __future__ import annotations

from collections import OrderedDict

from ..message import Message

__all__ = ["Pins", "part_key"]

_REMEMBERED = 50_000  #: multipart messages, about 250 octets each

PartKey = tuple[int, str, str, int, int]


def part_key(message: Message) -> PartKey:
    """What the parts of one message have in common."""
    return (
        message.account,
        message.sender,
        message.recipient,
        message.part_reference,
        message.part_total,
    )


class Pins:
    """Where multipart messages go, for one node."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        """Nothing is under way."""
        self._by_key: OrderedDict[PartKey, tuple[str, int]] = OrderedDict()

    def pin(self, message: Message, outlet: str) -> None:
        """A message was handed over; only parts are remembered."""
        if message.part_total < 2:
            return
        key = part_key(message)
        pinned = self._by_key.pop(key, None)
        # Once as many parts were handed over as there are, the reference may be used for another message.
        handed = pinned[1] + 1 if pinned is not None and pinned[0] == outlet else 1
        if handed >= message.part_total:
            return
        self._by_key[key] = (outlet, handed)
        if len(self._by_key) > _REMEMBERED:
            self._by_key.popitem(last=False)

    def of(self, message: Message) -> str:
        """The outlet that the other parts took; "" if none is known."""
        if message.part_total < 2 or not self._by_key:
            return ""
        pinned = self._by_key.get(part_key(message))
        return pinned[0] if pinned is not None else ""
