"""The outlet of one link.

In charge of: choosing a bind with room, the link's rate, its pause when the other center asks for less, and what a
response says about an attempt. Not in charge of: spelling (`link_egress.py`), connections (`link_connection.py`), which
link a message takes (`routing.py`).

Theory of the pause. ESME_RTHROTTLED and ESME_RMSGQFUL stop the link for `throttle_min_s`, and each time one comes that
answers something sent after the last pause, for twice as long, up to `throttle_max_s`. After a pause one message goes
alone; when it is taken, everything goes on. A window of refusals that were on their way counts as one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from ..message import Message, Role
from ..metrics import counter
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result, Write
from .causes import class_of_status
from .limits import Throttle
from .link_connection import LinkConnection
from .link_egress import NotExpressible, pieces, response_is_final, submit_sm
from .link_tables import REMEMBER
from .links import Link, LinkState
from .long_messages import LongMessages
from .pins import Pins
from .remote_ids import key_of
from .smpp import tlv
from .smpp.codec import Pdu
from .smpp.command_status import CommandStatus as Status
from .smpp.command_status import status_name
from .spelling import Piece, TooManyParts

__all__ = ["LinkOutlet", "Pause"]

_log = structlog.get_logger(__name__)

_answers = counter(
    "links", "submits", "Messages that links answered, by link and error class", ("link", "error")
)
_pauses = counter("links", "pauses", "Pauses because the other center asked for less", ("link",))

_LINK_LOST = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="link-lost")
_NO_ANSWER = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="no-response")
_UNSENDABLE = Outcome(Result.FAILED, ErrorClass.PERMANENT, reason="not-expressible")
_TOO_MANY_PARTS = Outcome(Result.FAILED, ErrorClass.PERMANENT, reason="too-many-parts")
_ASKS_FOR_LESS = (Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL)

_FRESH_S = (
    5.0  #: longest way of an id to the disk that a receipt waits for in memory; beyond it waits on disk
)
_MOST_FRESH = 20_000

_KEPT_BEYOND_MS = (
    24 * 3_600_000
)  #: a mapping outlives the wait for its receipt, for receipts that come later still


class Pause:
    """When nothing may be sent because the other side asked for less. Times are monotonic seconds."""

    __slots__ = ("_begun", "_random", "level", "probing", "until")

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` in [0, 1) keeps links of several nodes from going on at the same moment."""
        self._random = random
        self._begun = -1.0
        self.until = 0.0
        self.level = 0  #: pauses in a row
        self.probing = False  #: the pause is over, and nothing has been taken since

    def refused(self, sent_at: float, now: float, least: float, most: float) -> bool:
        """Something sent at `sent_at` was refused; True if a new pause begins."""
        if sent_at < self._begun or now < self.until:
            return False
        length = min(least * 2**self.level, most) * (0.9 + 0.2 * self._random())
        self.level = min(self.level + 1, 30)
        self._begun = self.until = now + length
        self.probing = True
        return True

    def taken(self) -> None:
        """Something was taken."""
        self.probing = False
        self.level = max(self.level - 1, 0)


@dataclass(slots=True, eq=False)
class Flight:
    """A message that waits for its response."""

    outlet: LinkOutlet
    delivery: Delivery
    done: Callable[[Outcome], None]
    sent_at: float  #: monotonic seconds

    def answered(self, pdu: Pdu) -> None:
        """See `link_connection.Flight`."""
        self.outlet.answered(self, pdu)

    def unanswered(self, *, link_lost: bool) -> None:
        """See `link_connection.Flight`."""
        self.outlet.ended(self, _LINK_LOST if link_lost else _NO_ANSWER)

    def not_sendable(self) -> None:
        """See `link_connection.Flight`."""
        self.outlet.ended(self, _UNSENDABLE)


class LinkOutlet:
    """One link's outlet, for the life of the link. Lives on the event loop."""

    gone = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="link-lost")

    def __init__(
        self,
        link: Link,
        *,
        now: Callable[[], float],
        now_ms: Callable[[], int],
        random: Callable[[], float],
        alphabet_of: Callable[[int], str],
        pins: Pins,
        long_messages: LongMessages,
    ) -> None:
        """`now`: monotonic seconds; `now_ms`: the store's time; `alphabet_of` an account by number."""
        self._now = now
        self._now_ms = now_ms
        self._alphabet_of = alphabet_of
        self._pins = pins
        self._long = long_messages
        self.name = ""
        self._connections: list[LinkConnection] = []
        self._next = 0
        self._in_flight = 0
        self._waited_for = False  # somebody was turned away for want of room
        self._fresh: OrderedDict[str, float] = OrderedDict()  # ids that are on their way to disk
        self._wake: Callable[[Outlet], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.pause = Pause(random)
        self._throttle = Throttle(link.model.throughput, link.model.burst)
        self.use(link)

    def use(self, link: Link) -> None:
        """Follow an edit."""
        self.link = link
        before, self.name = self.name, f"link:{link.name}"
        self._long.renamed(before, self.name)
        self.handset = link.model.role is Role.SWITCH
        self.transit = True
        self.account = link.model.account
        self._throttle.change(link.model.throughput, link.model.burst)
        if not self.reachable():
            self._long.room(self)  # whose parts go no further

    # --- the outlet

    def reachable(self) -> bool:
        """True while it runs and any bind takes messages."""
        return self.link.model.state is LinkState.RUNNING and any(one.is_bound for one in self._connections)

    def pausing(self) -> bool:
        """True while the other side asked for less: others are asked first meanwhile."""
        return self._now() < self.pause.until

    @property
    def in_flight(self) -> int:
        """Messages without a response."""
        return self._in_flight

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Remember delivery's entrance."""
        self._wake = wake

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """Send over the next bind with room, at the link's rate."""
        message = delivery.message
        cut = partial(pieces, message, self.link, self._alphabet_of(message.account), self._version())
        try:
            found = cut(0)
        except NotExpressible as error:
            return self._unsendable(error, done)
        except TooManyParts:
            done(_TOO_MANY_PARTS)
            return True
        if len(found) == 1:
            return self.carry(delivery, found[0], done)
        if self._long.under_way(self.name) >= self.link.model.window * max(len(self._connections), 1):
            self._waited_for = True
            return False
        self._long.begin(self, delivery, cut, done)
        return True

    def carry(self, delivery: Delivery, piece: Piece, done: Callable[[Outcome], None]) -> bool:
        """Send one piece; see `long_messages.Carrier`."""
        sent = self._send(delivery, piece, done)
        if not sent:
            self._waited_for = True
        return sent

    def course_over(self) -> None:
        """A long message ended: another one may begin."""
        if self._waited_for:
            self._waited_for = False
            self.room()

    def _version(self) -> int:
        """Of the other side; binds differ in it hardly ever."""
        return self._connections[0].version if self._connections else self.link.interface_version

    def _unsendable(self, error: NotExpressible, done: Callable[[Outcome], None]) -> bool:
        _log.info("not-expressible", link=self.link.name, error=str(error))
        done(_UNSENDABLE)
        return True

    def _send(self, delivery: Delivery, piece: Piece, done: Callable[[Outcome], None]) -> bool:
        now = self._now()
        if now < self.pause.until:
            self._wake_in(self.pause.until - now)
            return False
        if self.pause.probing and self._in_flight:
            return False  # the one under way wakes us
        connection = self._free()
        if connection is None:
            return False
        message = delivery.message
        wait_ns = self._throttle.take(int(now * 1e9), continuing=message.part_number > 1 or piece.number > 1)
        if wait_ns:
            self._wake_in(wait_ns / 1e9)
            return False
        try:
            pdu = submit_sm(delivery, self.link, piece, connection.version, self._now_ms())
        except NotExpressible as error:
            return self._unsendable(error, done)
        self._pins.pin(message, self.name)
        self._in_flight += 1
        connection.send(pdu, Flight(self, delivery, done, now))
        return True

    def _free(self) -> LinkConnection | None:
        connections = self._connections
        for _ in range(len(connections)):
            self._next = (self._next + 1) % len(connections)
            if connections[self._next].can_send():
                return connections[self._next]
        return None

    def _wake_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.001), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.room()

    # --- what connections report

    def joined(self, connection: LinkConnection) -> None:
        """A bind that takes messages."""
        self._connections.append(connection)
        self.room()

    def left(self, connection: LinkConnection) -> None:
        """A bind is gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._next = 0
            if not self._connections:
                self._long.room(self)  # whose parts wait for a window that will not come

    def room(self) -> None:
        """There may be room again: parts of what is under way go first."""
        self._long.room(self)
        if self._wake is not None:
            self._wake(self)

    def answered(self, flight: Flight, pdu: Pdu) -> None:
        """submit_sm_resp or generic_nack came."""
        status = pdu.command_status
        if status == Status.ESME_ROK:
            self.pause.taken()
            remote_id = (getattr(pdu, "message_id", b"") or b"").decode("latin-1")
            self.ended(flight, self._taken(flight, remote_id))
            return
        network_error = pdu.get_tlv(tlv.Tag.network_error_code) or b""
        error = class_of_status(
            status,
            network_error=network_error,
            failure_reason=pdu.get_tlv_int(tlv.Tag.delivery_failure_reason),
            vendor=self.link.status_errors,
        )
        if status in _ASKS_FOR_LESS:
            model = self.link.model
            if self.pause.refused(flight.sent_at, self._now(), model.throttle_min_s, model.throttle_max_s):
                _pauses.labels(self.link.name).inc()
                _log.info("link-pauses", link=self.link.name, level=self.pause.level)
        detail: dict[str, object] = {"status": status_name(status)}
        if network_error:
            detail["network_error"] = network_error.hex()
        outcome = Outcome(
            Result.FAILED, error, error.value, status=status, network_error=network_error, detail=detail
        )
        self.ended(flight, outcome)

    def _taken(self, flight: Flight, remote_id: str) -> Outcome:
        message, link = flight.delivery.message, self.link
        if response_is_final(message, link):
            return Outcome(Result.DELIVERED, remote_id=remote_id)
        now = self._now_ms()
        overdue_at = max(message.expires_at, now) + link.model.receipt_grace_s * 1000
        known = Write(REMEMBER, self._row(flight, message, remote_id, now, overdue_at))
        self._freshen(key_of(remote_id))
        return Outcome(Result.FORWARDED, remote_id=remote_id, overdue_at=overdue_at, writes=(known,))

    def _freshen(self, key: str) -> None:
        fresh, now = self._fresh, self._now()
        fresh[key] = now
        while len(fresh) > _MOST_FRESH or next(iter(fresh.values())) < now - _FRESH_S:
            fresh.popitem(last=False)

    def is_fresh(self, key: str) -> bool:
        """True if an id was given so lately that it may be on its way to disk."""
        return self._fresh.get(key, -_FRESH_S) > self._now() - _FRESH_S

    def _row(
        self, flight: Flight, message: Message, remote_id: str, now: int, overdue_at: int
    ) -> dict[str, object]:
        return {
            "link": self.link.number,
            "key": key_of(remote_id),
            "message": message.id,
            "recipient": message.recipient,
            "remote_id": remote_id,
            "rule": flight.delivery.route,
            "attempt": flight.delivery.attempt,
            "sent_at": now,
            "settled_at": 0,
            "expires_at": overdue_at + _KEPT_BEYOND_MS,
        }

    def ended(self, flight: Flight, outcome: Outcome) -> None:
        """An attempt is over."""
        self._in_flight -= 1
        _answers.labels(self.link.name, outcome.error or "").inc()
        flight.done(outcome)
        if self._waited_for:
            self._waited_for = False
            self.room()
