"""Hands over messages that one PDU does not hold.

In charge of: parts one after the other, the reference they share, what is remembered of parts that were acknowledged,
and one outcome for the whole. Not in charge of: where a text is cut (`spelling.py`,
`handset_text.py`), the PDU or TPDU (`binds.py`, `switch.py`, `link_outlet.py`), receipts of parts (`link_receipts.py`),
what follows from the outcome (`delivery.py`).

Theory. A part goes out when the one before it was acknowledged and that is on disk: then a crash, a failed attempt or
another node goes on with the first part that nobody acknowledged, under the same reference, and the recipient gets no
part twice but the one that was under way. The note is written only while the queue row is ours, so that a node
that lost the message stops behind the part it is at. It leaves with the transaction that delivers the message; what
other endings leave behind, `Upkeep` sweeps.

    ASKING ──> SENDING ──> (acknowledged) NOTING ──> SENDING … ──> DELIVERED
       │          │ no room: WAITING until a window has some
       └──────────┴──> FAILED: the part's outcome is the message's; the note stays for the next attempt

How it fails: the database does not take a note -> parts go on, for handing over counts more than remembering; only a
crash at that moment would repeat one. Source: behaviour.md 8 ("one reference per source and destination").
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from ..message import Message
from ..metrics import counter, gauge
from ..outlet import Delivery, ErrorClass, Outcome, Result, Write
from ..store.store import Answer, Change, Store, StoreClosed
from .spelling import Piece, TooManyParts
from .tables import FORGET_PARTS, NOTE_PARTS, PARTS_OF

__all__ = ["Carrier", "LongMessages"]

_log = structlog.get_logger(__name__)

_under_way = gauge("parts", "messages", "Long messages whose parts are on their way")
_sent = counter("parts", "sent", "Parts handed over, by how they ended", ("result",))

#: Pairs of source and destination whose last reference is remembered; a reference must not return too soon.
_PAIRS = 50_000

_LOST = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="not-ours")
_TOO_MANY = Outcome(Result.FAILED, ErrorClass.PERMANENT, reason="too-many-parts")
_NOT_KNOWN = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason="store-unavailable")

_NO_NOTE_S = 10.0  #: how long the database may take to say what was acknowledged before


class Carrier(Protocol):
    """An outlet that sends parts: what this file needs of it."""

    name: str
    gone: Outcome  #: of a message whose parts cannot go on, because the carrier is not reachable any more

    def carry(self, delivery: Delivery, piece: Piece, done: Callable[[Outcome], None]) -> bool:
        """Send one piece if there is room; False if there is none, and then `LongMessages.room` comes later."""
        ...

    def reachable(self) -> bool:
        """True while anything can be sent."""
        ...

    def course_over(self) -> None:
        """One long message less is under way."""
        ...


@dataclass(slots=True, eq=False)
class _Course:
    """One long message on its way."""

    carrier: Carrier
    delivery: Delivery
    done: Callable[[Outcome], None]
    cut: Callable[[int], list[Piece]]
    reference: int = 0
    pieces: tuple[Piece, ...] = ()
    acknowledged: int = 0  #: parts, from the first one on
    noted: bool = False  #: there is, or may be, a row about it


class LongMessages:
    """The long messages of one node. Lives on the event loop."""

    def __init__(self, store: Store) -> None:
        """`store` remembers what was acknowledged."""
        self._store = store
        self._courses: dict[str, set[_Course]] = {}  # by carrier
        self._waiting: dict[str, OrderedDict[_Course, None]] = {}  # for room, by carrier
        self._references: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._asking: set[asyncio.Task[None]] = set()

    def under_way(self, carrier: str) -> int:
        """Long messages that a carrier is busy with: they count against its windows even between two parts."""
        return len(self._courses.get(carrier, ()))

    def begin(
        self,
        carrier: Carrier,
        delivery: Delivery,
        cut: Callable[[int], list[Piece]],
        done: Callable[[Outcome], None],
    ) -> None:
        """Hand a message over in parts. `cut` spells it for a reference; `done` is called once."""
        course = _Course(carrier, delivery, done, cut)
        self._courses.setdefault(carrier.name, set()).add(course)
        _under_way.inc()
        task = asyncio.get_running_loop().create_task(self._ask(course), name="parts")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def room(self, carrier: Carrier) -> None:
        """A carrier has room again, or lost its last bind: who waits goes on, in the order in which they came."""
        waiting = self._waiting.get(carrier.name)
        while waiting:
            course = next(iter(waiting))
            del waiting[course]
            if not carrier.reachable():
                self._end(course, course.carrier.gone)
            elif not self._send(course):
                waiting.move_to_end(course, last=False)
                return

    def renamed(self, before: str, after: str) -> None:
        """A carrier has another name from now on."""
        if before != after and before in self._courses:
            self._courses[after] = self._courses.pop(before)
            self._waiting[after] = self._waiting.pop(before, OrderedDict())

    # ------------------------------------------------------------------------------------------------ a course

    async def _ask(self, course: _Course) -> None:
        """Find out what was acknowledged in an earlier attempt, then start."""
        message = course.delivery.message
        try:
            async with asyncio.timeout(_NO_NOTE_S):
                rows = await self._store.fetch(PARTS_OF, id=message.id)
        except (OSError, TimeoutError, StoreClosed):
            self._end(course, _NOT_KNOWN)
            return
        row = rows[0] if rows else None
        course.noted = row is not None
        before = row is not None and row["outlet"] == course.carrier.name
        course.reference = int(row["reference"]) if row is not None and before else self._reference(message)
        try:
            course.pieces = tuple(course.cut(course.reference))
        except TooManyParts:
            self._end(course, _TOO_MANY)
            return
        if row is not None and before and row["total"] == len(course.pieces):
            course.acknowledged = min(int(row["acknowledged"]), len(course.pieces) - 1)
        self._go_on(course)

    def _reference(self, message: Message) -> int:
        """The next one of this source and destination. The first follows from the id, so that a life that begins anew
        gives a message without a note the one it had."""
        pair = message.sender, message.recipient
        before = self._references.pop(pair, None)
        found = (message.id >> 20 if before is None else before + 1) & 0xFFFF
        self._references[pair] = found
        if len(self._references) > _PAIRS:
            self._references.popitem(last=False)
        return found

    def _go_on(self, course: _Course) -> None:
        """Send the next part, or wait for room."""
        if (
            not self._store.alive()
        ):  # asked before each part, so that a node that slept notices (behaviour.md 10)
            self._end(course, _LOST)
        elif not course.carrier.reachable():
            self._end(course, course.carrier.gone)
        elif not self._send(course):
            self._waiting.setdefault(course.carrier.name, OrderedDict())[course] = None

    def _send(self, course: _Course) -> bool:
        piece = course.pieces[course.acknowledged]
        last = piece.number == len(course.pieces)
        delivery = replace(
            course.delivery, more_messages_to_send=course.delivery.more_messages_to_send or not last
        )

        def ended(outcome: Outcome) -> None:
            _sent.labels(outcome.result.value).inc()
            if outcome.result not in (Result.DELIVERED, Result.FORWARDED):
                self._failed(course, outcome)
            elif last:
                self._delivered(course, outcome)
            else:
                course.acknowledged += 1
                self._note(course, outcome.writes)

        return course.carrier.carry(delivery, piece, ended)

    def _note(self, course: _Course, writes: tuple[Write, ...]) -> None:
        """Remember what was acknowledged, with what the carrier remembers of it; then the next part."""
        row = {
            "id": course.delivery.message.id,
            "epoch": self._store.epoch,
            "outlet": course.carrier.name,
            "reference": course.reference,
            "total": len(course.pieces),
            "acknowledged": course.acknowledged,
        }

        def noted(answer: Answer) -> None:
            if answer in (Answer.CONFLICT, Answer.FENCED):
                self._end(course, _LOST)  # the row is another's by now: it goes on from what was noted before
                return
            if answer is not Answer.STORED:
                _log.warning("part-not-noted", answer=answer.value, id=str(course.delivery.message.id))
            course.noted = True
            self._go_on(course)

        try:
            self._store.put(Change(done=noted, writes=(Write(NOTE_PARTS, row, expect=1), *writes)))
        except StoreClosed:
            self._end(course, _LOST)

    def _delivered(self, course: _Course, outcome: Outcome) -> None:
        writes = outcome.writes
        if course.noted:
            writes += (Write(FORGET_PARTS, {"id": course.delivery.message.id}),)
        self._end(
            course, replace(outcome, writes=writes, detail={**outcome.detail, "parts": len(course.pieces)})
        )

    def _failed(self, course: _Course, outcome: Outcome) -> None:
        facts = {"part": course.acknowledged + 1, "parts": len(course.pieces)}
        self._end(course, replace(outcome, detail={**outcome.detail, **facts}))

    def _end(self, course: _Course, outcome: Outcome) -> None:
        courses = self._courses[course.carrier.name]
        courses.discard(course)
        if not courses:
            del self._courses[course.carrier.name]
        _under_way.dec()
        course.done(outcome)
        course.carrier.course_over()
