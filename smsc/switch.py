"""Where messages for handsets leave: the outlet over the switches that serve them now.

In charge of: finding out who serves the recipient, handing its TPDUs over by whatever way leads there, one after
another, and saying what became of the message. Not in charge of: the ways themselves (`gsup_door.py`, `sgd_door.py`),
spelling (`handset_text.py`), registers (`signaling/`), or when to try again (`retry.py`).

Theory. One attempt is: ask who serves the subscriber (memory answers nearly always), choose an address to which a way
is open, and hand over the parts that are still missing. If the switch says that it does not serve the subscriber,
memory is wrong: the register is asked afresh, once, and if it names another switch that one gets the parts. Parts that
arrived are remembered, so that a later attempt does not repeat them; after a restart all are sent again.

What a register does not know is not held against the message: only "no such subscriber" is permanent.

Sources: 3GPP TS 23.040 §3.2 (transfer to the handset), §9.2.3.2 (TP-MMS); behaviour.md 2, 5.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from ..access.accounts import Account
from ..message import Kind, Message
from ..metrics import counter, gauge
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result
from ..signaling.affiliations import Affiliations, Found
from ..signaling.registers import RegisterUnavailable, Status, SwitchAddress, Who
from .causes import GsmCause
from .handset_settings import HandsetSettings
from .handset_text import NotExpressible, deliver_tpdus, status_report_tpdu
from .text.codings import DefaultAlphabet

__all__ = ["Forwarded", "SwitchOutlet", "Way"]

_log = structlog.get_logger(__name__)

_forwarded = counter("switch", "forwarded", "TPDUs handed to switches, by outcome", ("way", "outcome"))
_open = gauge("switch", "attempts", "Messages under way to handsets")

MOST_PROGRESS = 20_000  #: messages of several parts of which some have arrived
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

    def forward(
        self, address: SwitchAddress, imsi: str, tpdu: bytes, more: bool, done: Callable[[Forwarded], None]
    ) -> None:
        """Hand a TPDU over. `done` is called once, within the way's own time limit, perhaps before this returns."""
        ...


@dataclass(slots=True, eq=False)
class _Attempt:
    """One message on its way."""

    delivery: Delivery
    done: Callable[[Outcome], None]
    who: Who
    parts: Sequence[bytes] = ()
    first: int = 0  #: number of the part that `parts` begins with
    at: int = 0  #: index in `parts` of the one under way
    imsi: str = ""
    address: SwitchAddress | None = None
    asked_afresh: bool = False


class SwitchOutlet:
    """All handsets of the network. Lives on the event loop."""

    name = "switch"
    handset = True
    transit = True

    def __init__(
        self,
        settings: HandsetSettings,
        *,
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
        self._ways: list[Way] = []
        self._wake: Callable[[Outlet], None] | None = None
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress: OrderedDict[int, int] = OrderedDict()
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
        """There is room, or a way is open, again."""
        if self._wake is not None:
            self._wake(self)

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """See `Outlet`."""
        if self._under_way >= self._settings.window:
            return False
        recipient = delivery.message.recipient
        if recipient[:1] != "+":
            done(_failed(ErrorClass.PERMANENT, "no-handset"))
            return True
        self._under_way += 1
        _open.set(self._under_way)
        attempt = _Attempt(delivery, done, Who(msisdn=recipient[1:]))
        message = delivery.message
        known = self._affiliations.peek(attempt.who)
        if known is not None and message.kind != Kind.RECEIPT and known.affiliation.imsi:
            self._spell(attempt, None)
            self._found(attempt, known)
        else:
            self._begin(self._prepare(attempt), attempt)
        return True

    # ----------------------------------------------------------------------------------------------- one attempt

    def _begin(self, work: Awaitable[None], attempt: _Attempt) -> None:
        async def guarded() -> None:
            try:
                await work
            except (OSError, TimeoutError) as problem:
                _log.warning("attempt-not-made", problem=str(problem))
                self._end(attempt, Forwarded(ErrorClass.SYSTEM, "database-away"))
            except asyncio.CancelledError:
                self._end(attempt, Forwarded(ErrorClass.SYSTEM, "closing"))
                raise

        task = asyncio.get_running_loop().create_task(guarded(), name="switch attempt")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, attempt: _Attempt) -> None:
        """What memory alone cannot tell."""
        message = attempt.delivery.message
        original: Message | None = None
        if message.kind == Kind.RECEIPT and message.parent:
            originals = await self._load([message.parent])
            original = originals[0] if originals else None
        self._spell(attempt, original)
        if attempt.parts:
            await self._ask(attempt, fresh=False)

    async def _ask(self, attempt: _Attempt, *, fresh: bool) -> None:
        try:
            found = await self._affiliations.find(attempt.who, fresh=fresh)
        except RegisterUnavailable as unavailable:
            self._end(attempt, Forwarded(ErrorClass.SYSTEM, f"register-{unavailable.reason}"))
            return
        if found.affiliation.status is Status.ATTACHED and not found.affiliation.imsi:
            attempt.imsi = await self._imsi_of(attempt.delivery.message.recipient)
        self._found(attempt, found)

    def _spell(self, attempt: _Attempt, original: Message | None) -> None:
        """Make the TPDUs; none if the attempt is over because they cannot be made."""
        delivery = attempt.delivery
        message, more = delivery.message, delivery.more_messages_to_send
        try:
            if message.kind == Kind.RECEIPT:
                attempt.parts = [status_report_tpdu(message, original, self._zone, more=more)]
                return
            account = self._accounts(message.account)
            alphabet = DefaultAlphabet(account.default_alphabet) if account else DefaultAlphabet.GSM7
            attempt.first = self._progress.get(message.id, 0)
            attempt.parts = deliver_tpdus(message, alphabet, self._zone, more=more, first=attempt.first)
        except NotExpressible as reason:
            self._end(attempt, Forwarded(ErrorClass.PERMANENT, str(reason)))

    def _found(self, attempt: _Attempt, found: Found) -> None:
        """The register has spoken."""
        if not attempt.parts:
            return
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
        self._end(attempt, Forwarded(ErrorClass.SYSTEM, "switch-not-connected", detail={"switches": names}))

    def _forward(self, attempt: _Attempt, way: Way, address: SwitchAddress) -> None:
        last = attempt.at == len(attempt.parts) - 1
        more = not last or attempt.delivery.more_messages_to_send

        def done(forwarded: Forwarded) -> None:
            _forwarded.labels(way.name, forwarded.error or "delivered").inc()
            if forwarded.error is None:
                self._arrived(attempt, way, address)
            elif forwarded.elsewhere and not attempt.asked_afresh:
                attempt.asked_afresh = True
                self._begin(self._ask(attempt, fresh=True), attempt)
            else:
                self._end(attempt, forwarded)

        way.forward(address, attempt.imsi, attempt.parts[attempt.at], more, done)

    def _arrived(self, attempt: _Attempt, way: Way, address: SwitchAddress) -> None:
        attempt.at += 1
        if attempt.at == len(attempt.parts):
            self._end(attempt, Forwarded())
            return
        id = attempt.delivery.message.id
        self._progress[id] = attempt.first + attempt.at
        self._progress.move_to_end(id)
        if len(self._progress) > MOST_PROGRESS:
            self._progress.popitem(last=False)
        self._forward(attempt, way, address)

    def _end(self, attempt: _Attempt, forwarded: Forwarded) -> None:
        attempt.parts = ()
        self._under_way -= 1
        _open.set(self._under_way)
        for told in self.on_end:
            told(attempt.who, attempt.imsi, attempt.address, forwarded)
        detail = dict(forwarded.detail)
        if attempt.address is not None:
            detail["switch"] = attempt.address.value
        if forwarded.error is None:
            self._progress.pop(attempt.delivery.message.id, None)
            attempt.done(Outcome(Result.DELIVERED, detail=detail))
        else:
            attempt.done(_failed(forwarded.error, forwarded.reason, detail))
        if self._under_way == self._settings.window - 1:
            self.room()


def _failed(error: ErrorClass, reason: str, detail: Mapping[str, object] | None = None) -> Outcome:
    cause = GsmCause.UNKNOWN_SUBSCRIBER if reason == "unknown-subscriber" else _GSM_CAUSES.get(error)
    network_error = bytes((_NETWORK_TYPE_GSM, 0, cause)) if cause is not None else b""
    return Outcome(Result.FAILED, error, reason, network_error=network_error, detail=detail or {})
