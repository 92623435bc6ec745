"""Requests that come a second time, because the answer to the first was lost with a connection.

In charge of: recognising a request that was answered, or is being answered, and giving the same answer again. Not in
charge of: messages of handsets that the handset itself repeats (`smsc/repeats.py`).

Theory. Whoever loses a connection sends what was not answered over another, with the T bit and the same End-to-End
Identifier; the first may have arrived or not, and the second may overtake it, so the T bit alone decides nothing. A
request is known by who made it (as far as that can be believed), its session and its End-to-End Identifier. Who asks
while the first is still being worked on gets its answer when there is one. Memory is bounded by age and number: what
falls out is judged anew, and what must not happen twice has a second guard in the store.

Source: RFC 6733 §3 (End-to-End Identifier: unique for four minutes), §5.5.4, Appendix C.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...metrics import counter
from .codec import Avp

__all__ = ["Duplicates", "Mark"]

_MET = counter("signaling", "diameter_duplicates", "Diameter requests that came again", ("state",))

MOST_WAITING = 8  #: repetitions of one request that wait for its answer; more are left without one


class Mark(NamedTuple):
    """By what a request is known again."""

    origin: str  #: who made it, as far as it can be believed; else the peer that brought it
    session: str
    end_to_end: int


Reply = Callable[[Sequence[Avp] | None], None]  #: None: there is no answer


@dataclass(slots=True)
class _Known:
    until: float  #: monotonic
    answer: Sequence[Avp] | None = None
    waiting: list[Reply] = field(default_factory=list[Reply])


class Duplicates:
    """The requests of the last minutes. Lives on the event loop."""

    def __init__(
        self,
        *,
        keep_s: float = 240.0,
        entries: int = 20_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_s`: for how long an answer is known; `entries`: how many at most."""
        self._keep_s = keep_s
        self._entries = entries
        self._monotonic = monotonic
        self._known: OrderedDict[Mark, _Known] = OrderedDict()

    def __len__(self) -> int:
        """Requests in memory."""
        return len(self._known)

    def is_new(self, mark: Mark, reply: Reply) -> bool:
        """Whether a request has to be worked on. If not, `reply` is called: at once, or when the first is answered."""
        now = self._monotonic()
        known = self._known.get(mark)
        if known is not None and known.until > now:
            self._again(known, reply)
            return False
        self._known.pop(mark, None)
        self._known[mark] = _Known(now + self._keep_s)
        while len(self._known) > self._entries or next(iter(self._known.values())).until <= now:
            self._leave(self._known.popitem(last=False)[1], None)
        return True

    def _again(self, known: _Known, reply: Reply) -> None:
        if known.answer is not None:
            _MET.labels("answered").inc()
            reply(known.answer)
        elif len(known.waiting) < MOST_WAITING:
            _MET.labels("waiting").inc()
            known.waiting.append(reply)
        else:
            _MET.labels("left").inc()
            reply(None)

    def ended(self, mark: Mark, answer: Sequence[Avp] | None) -> None:
        """A request was answered so; None: it was not, and the next like it is worked on anew."""
        known = self._known.get(mark)
        if known is None:
            return
        if answer is None:
            del self._known[mark]
        else:
            known.answer = answer
        self._leave(known, answer)

    def _leave(self, known: _Known, answer: Sequence[Avp] | None) -> None:
        waiting, known.waiting = known.waiting, []
        for reply in waiting:
            reply(answer)
