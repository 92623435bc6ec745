"""Where messages for handsets leave: the outlet over the switches that serve them now.

In charge of: finding out who serves the recipient, handing its TPDU over by whatever way leads there, and saying what
became of it. Not in charge of: the ways themselves (`gsup_door.py`, `sgd_door.py`), spelling (`handset_text.py`), the
order and memory of parts (`long_messages.py`), registers (`signaling/`), or when to try again (`retry.py`).

Theory. One attempt is: ask who serves the subscriber (memory answers nearly always), choose an address to which a way
is open, and hand over the TPDU. If the switch says that it does not serve the subscriber, memory is wrong: the register
is asked afresh, once, and if it names another switch that one gets it. A long message is an attempt for each part.

What a register does not know is not held against the message: only "no such subscriber" is permanent.

Sources: 3GPP TS 23.040 §3.2 (transfer to the handset), §9.2.3.2 (TP-MMS); behaviour.md 2, 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from ..access.accounts import Account
from ..message import Kind, Message
from ..metrics import counter, gauge
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result
from ..signaling.affiliations import Affiliations, Found
from ..signaling.registers import AddressType, RegisterUnavailable, Status, SwitchAddress, Who
from .causes import GsmCause
from .crossing import OUT_OF_REACH
from .handset_settings import HandsetSettings
from .handset_text import NotExpressible, deliver_tpdus, status_report_tpdu
from .long_messages import LongMessages
from .spelling import Piece
from .text.codings import DefaultAlphabet

__all__ = ["ANY_DIAMETER", "Forwarded", "SwitchOutlet", "Way"]

_log = structlog.get_logger(__name__)

_forwarded = counter("switch", "forwarded", "TPDUs handed to switches, by outcome", ("way", "outcome"))
_open = gauge("switch", "attempts", "Messages under way to handsets")

#: Instead of the name of a switch: whatever Diameter host there is, by way of a relay.
ANY_DIAMETER = "*diameter"

_NETWORK_TYPE_GSM = 3  # SMPP 3.4 §5.3.2.31
_GSM_CAUSES: Mapping[ErrorClass, GsmCause] = {
    ErrorClass.ABSENT: GsmCause.ABSENT_SUBSCRIBER_SM,
    ErrorClass.BUSY: GsmCause.SUBSCRIBER_BUSY_FOR_MT_SMS,
    ErrorClass.MEMORY_FULL: GsmCause.SM_DELIVERY_FAILURE,
    ErrorClass.POLICY: GsmCause.CALL_BARRED,
    ErrorClass.SYSTEM: GsmCause.SYSTEM_FAILURE,
}


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What became of one TPDU given to a switch."""

    error: ErrorClass | None = None  #: None: the handset has it
    reason: str = ""  #: slug
    elsewhere: bool = False  #: the switch says that it does not serve the subscriber
    detail: Mapping[str, object] = field(default_factory=dict[str, object])  #: for the trace


class Way(Protocol):
    """A protocol that leads to switches. Lives on the event loop; every method returns at once."""

    name: str  #: for figures and traces

    def is_up(self) -> bool:
        """Whether it leads to any switch now."""
        ...

    def leads_to(self, address: SwitchAddress) -> bool:
        """Whether it leads to this one now."""
        ...

    def switches(self) -> Iterable[str]:
        """Those that it leads to now, as registers name them; `ANY_DIAMETER` if it finds others by itself."""
        ...

    def forward(
        self, address: SwitchAddress, imsi: str, tpdu: bytes, more: bool, done: Callable[[Forwarded], None]
    ) -> None:
        """Hand a TPDU over. `done` is called once, within the way's own time limit, perhaps before this returns."""
        ...


@dataclass(slots=True, eq=False)
class _Attempt:
    """One TPDU on its way: a message, a status report, or a part of a long message."""

    delivery: Delivery
    done: Callable[[Outcome], None]
    who: Who
    tpdu: bytes
    last: bool = True  #: nothing of the message comes behind it
    imsi: str = ""
    address: SwitchAddress | None = None
    asked_afresh: bool = False


class SwitchOutlet:
    """All handsets of the network. Lives on the event loop."""

    name = "switch"
    handset = True
    transit = True
    gone = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason=OUT_OF_REACH)

    def __init__(
        self,
        settings: HandsetSettings,
        *,
        long_messages: LongMessages,
        affiliations: Affiliations,
        accounts: Callable[[int], Account | None],
        imsi_of: Callable[[str], Awaitable[str]],
        load: Callable[[Sequence[int]], Awaitable[list[Message]]],
    ) -> None:
        """`imsi_of`: the card of a number in normal form, for registers that do not tell. `load`: stored messages."""
        self._settings = settings
        self._zone = ZoneInfo(settings.time_zone)
        self._affiliations = affiliations
        self._accounts = accounts
        self._imsi_of = imsi_of
        self._load = load
        self._long = long_messages
        self._held_back = False  # a long message was refused for want of room
        self._ways: list[Way] = []
        self._wake: Callable[[Outlet], None] | None = None
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: frozenset[str] = frozenset()
        #: Called when switches came that were not there; others hear within a second (`neighbours.py`).
        self.on_arrival: list[Callable[[], None]] = []
        #: Told of each end of an attempt: who, the address tried, what became of it; registers want to know.
        self.on_end: list[Callable[[Who, str, SwitchAddress | None, Forwarded], None]] = []

    def add(self, way: Way) -> None:
        """One more protocol; the first that leads to an address is taken."""
        self._ways.append(way)

    async def close(self) -> None:
        """Give up what is being looked up."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -------------------------------------------------------------------------------------------------- the seam

    def reachable(self) -> bool:
        """See `Outlet`."""
        return any(way.is_up() for way in self._ways)

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """See `Outlet`."""
        self._wake = wake

    def room(self) -> None:
        """There is room, or a way is open, again: parts of what is under way go first."""
        self._long.room(self)
        if self._wake is not None:
            self._wake(self)
        before, self._places = self._places, frozenset(self.places())
        if self._places - before:
            for told in self.on_arrival:
                told()

    def places(self) -> Iterable[str]:
        """What other nodes must know of this one: the switches that are reached from here."""
        return [f"{self.name} {switch}" for way in self._ways for switch in way.switches()]

    def places_of(self, recipient: str) -> Iterable[str]:
        """The same of a recipient: who serves it, as far as memory knows; any of them leads to it."""
        known = self._affiliations.current(Who(msisdn=recipient.removeprefix("+")))
        if known is None or known.status is not Status.ATTACHED:
            return []
        names = [address.value for address in known.addresses]
        if any(address.type is AddressType.DIAMETER_HOST for address in known.addresses):
            names.append(ANY_DIAMETER)
        return [f"{self.name} {name}" for name in names]

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """See `Outlet`."""
        if self._under_way >= self._settings.window:
            return False
        message = delivery.message
        if message.recipient[:1] != "+":
            done(_failed(ErrorClass.PERMANENT, "no-handset"))
            return True
        if message.kind == Kind.RECEIPT:
            self._take_place()
            self._begin(self._report(delivery, done), done)
            return True
        cut = partial(self._cut, delivery)
        try:
            pieces = cut(0)
        except NotExpressible as reason:
            done(_failed(ErrorClass.PERMANENT, str(reason)))
            return True
        if len(pieces) == 1:
            return self.carry(delivery, pieces[0], done)
        if self._long.under_way(self.name) >= self._settings.window:
            self._held_back = True
            return False
        self._long.begin(self, delivery, cut, done)
        return True

    def carry(self, delivery: Delivery, piece: Piece, done: Callable[[Outcome], None]) -> bool:
        """Hand one TPDU over; see `long_messages.Carrier`."""
        if self._under_way >= self._settings.window:
            return False
        self._take_place()
        who = Who(msisdn=delivery.message.recipient[1:])
        self._start(_Attempt(delivery, done, who, piece.body, last=piece.number == piece.total))
        return True

    def course_over(self) -> None:
        """A long message ended: another one may begin."""
        if self._held_back:
            self._held_back = False
            self.room()

    def _cut(self, delivery: Delivery, reference: int) -> list[Piece]:
        """The TPDUs of a message. NotExpressible."""
        message, more = delivery.message, delivery.more_messages_to_send
        account = self._accounts(message.account)
        alphabet = DefaultAlphabet(account.default_alphabet) if account else DefaultAlphabet.GSM7
        tpdus = deliver_tpdus(message, alphabet, self._zone, more=more, reference=reference)
        return [
            Piece(tpdu, message.data_coding, True, number=number, total=len(tpdus))
            for number, tpdu in enumerate(tpdus, 1)
        ]

    # ----------------------------------------------------------------------------------------------- one attempt

    def _take_place(self) -> None:
        self._under_way += 1
        _open.set(self._under_way)

    def _begin(self, work: Awaitable[None], done: Callable[[Outcome], None]) -> None:
        """Do what must wait; whatever happens, a place is given back."""

        def failed(reason: str) -> None:
            self._give_place_back()
            done(_failed(ErrorClass.SYSTEM, reason))

        async def guarded() -> None:
            try:
                await work
            except (OSError, TimeoutError) as problem:
                _log.warning("attempt-not-made", problem=str(problem))
                failed("database-away")
            except asyncio.CancelledError:
                failed("closing")
                raise

        task = asyncio.get_running_loop().create_task(guarded(), name="switch attempt")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, delivery: Delivery, done: Callable[[Outcome], None]) -> None:
        """A receipt is a status report, which tells of the message that it is about."""
        message = delivery.message
        originals = await self._load([message.parent]) if message.parent else []
        original = originals[0] if originals else None
        more = delivery.more_messages_to_send
        who = Who(msisdn=message.recipient[1:])
        try:
            tpdu = status_report_tpdu(message, original, self._zone, more=more)
        except NotExpressible as reason:
            self._end(_Attempt(delivery, done, who, b""), Forwarded(ErrorClass.PERMANENT, str(reason)))
            return
        self._start(_Attempt(delivery, done, who, tpdu))

    def _start(self, attempt: _Attempt) -> None:
        """Memory answers nearly always."""
        known = self._affiliations.peek(attempt.who)
        if known is not None and known.affiliation.imsi:
            self._found(attempt, known)
        else:
            self._begin(self._ask(attempt, fresh=False), attempt.done)

    async def _ask(self, attempt: _Attempt, *, fresh: bool) -> None:
        try:
            found = await self._affiliations.find(attempt.who, fresh=fresh)
        except RegisterUnavailable as unavailable:
            self._end(attempt, Forwarded(ErrorClass.SYSTEM, f"register-{unavailable.reason}"))
            return
        if found.affiliation.status is Status.ATTACHED and not found.affiliation.imsi:
            attempt.imsi = await self._imsi_of(attempt.delivery.message.recipient)
        self._found(attempt, found)

    def _found(self, attempt: _Attempt, found: Found) -> None:
        """The register has spoken."""
        affiliation = found.affiliation
        imsi = affiliation.imsi or attempt.imsi
        if found.stale and affiliation.status is not Status.ATTACHED:
            failure = Forwarded(ErrorClass.SYSTEM, f"register-{found.failure}")
        elif affiliation.status is Status.UNKNOWN:
            failure = Forwarded(ErrorClass.PERMANENT, "unknown-subscriber")
        elif affiliation.status is not Status.ATTACHED:
            failure = Forwarded(ErrorClass.ABSENT, affiliation.status.value)
        elif not imsi:
            failure = Forwarded(ErrorClass.SYSTEM, "imsi-not-known")
        else:
            self._choose(attempt, imsi, affiliation.addresses)
            return
        self._end(attempt, failure)

    def _choose(self, attempt: _Attempt, imsi: str, addresses: Sequence[SwitchAddress]) -> None:
        for address in addresses:
            if address == attempt.address:  # it has just said that it is elsewhere
                continue
            for way in self._ways:
                if way.leads_to(address):
                    attempt.imsi, attempt.address = imsi, address
                    self._forward(attempt, way, address)
                    return
        if attempt.address is not None:
            self._end(attempt, Forwarded(ErrorClass.ABSENT, "not-served"))
            return
        names = [address.value for address in addresses]
        self._end(attempt, Forwarded(ErrorClass.SYSTEM, OUT_OF_REACH, detail={"switches": names}))

    def _forward(self, attempt: _Attempt, way: Way, address: SwitchAddress) -> None:
        more = not attempt.last or attempt.delivery.more_messages_to_send

        def done(forwarded: Forwarded) -> None:
            _forwarded.labels(way.name, forwarded.error or "delivered").inc()
            if forwarded.elsewhere and forwarded.error is not None and not attempt.asked_afresh:
                attempt.asked_afresh = True
                self._begin(self._ask(attempt, fresh=True), attempt.done)
            else:
                self._end(attempt, forwarded)

        way.forward(address, attempt.imsi, attempt.tpdu, more, done)

    def _end(self, attempt: _Attempt, forwarded: Forwarded) -> None:
        self._give_place_back()
        if attempt.last or forwarded.error is not None:
            for told in self.on_end:
                told(attempt.who, attempt.imsi, attempt.address, forwarded)
        detail = dict(forwarded.detail)
        if attempt.address is not None:
            detail["switch"] = attempt.address.value
        if forwarded.error is None:
            attempt.done(Outcome(Result.DELIVERED, detail=detail))
        else:
            attempt.done(_failed(forwarded.error, forwarded.reason, detail))
        if self._under_way == self._settings.window - 1:
            self.room()

    def _give_place_back(self) -> None:
        self._under_way -= 1
        _open.set(self._under_way)


def _failed(error: ErrorClass, reason: str, detail: Mapping[str, object] | None = None) -> Outcome:
    cause = GsmCause.UNKNOWN_SUBSCRIBER if reason == "unknown-subscriber" else _GSM_CAUSES.get(error)
    network_error = bytes((_NETWORK_TYPE_GSM, 0, cause)) if cause is not None else b""
    return Outcome(Result.FAILED, error, reason, network_error=network_error, detail=detail or {})
