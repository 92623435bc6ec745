"""Handsets behind MMEs: what they say comes in over SGd, what is for them goes out, and alerts wake who waits.

In charge of: OFR and ALR as this center understands them, TFR as a way of the switch outlet, and what Diameter's
results mean here. Not in charge of: connections and relays (`signaling/diameter/`), what a message is
(`handset_intake.py`, `handset_text.py`), the outlet (`switch.py`), or what the HSS is told (`hss_reports.py`).

The trusted switch of a message is the Origin-Host of its request, if it can be believed: of the peer itself, or passed
on by registered relays whose Route-Records say so. What cannot be believed goes along as what it is, an assertion: the
check of senders decides what follows.

A request that comes again gets the same answer; a handset that repeats itself is `repeats.py`'s. If nobody knows
whether a message is on disk, the request stays unanswered and the MME asks again.

Sources: 3GPP TS 29.338 §5.3.2.7 (ALR), §6.3 (SGd); RFC 6733 §6.1.9 (Route-Record), §6.7.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from zoneinfo import ZoneInfo

import structlog

from ..message import Address
from ..metrics import counter
from ..outlet import ErrorClass
from ..signaling.affiliations import Affiliations
from ..signaling.breaker import Budget
from ..signaling.causes import ExperimentalResult, ResultCode, class_of_result
from ..signaling.diameter.codec import Avp, Message
from ..signaling.diameter.connection import Connection, Unavailable
from ..signaling.diameter.dictionary import Application, Command
from ..signaling.diameter.duplicates import Duplicates, Mark
from ..signaling.diameter.short_messages import (
    Delivered,
    Incomplete,
    MoForward,
    alert_answer,
    mo_forward_answer,
    mt_forward,
    read_alert,
    read_delivered,
    read_mo_forward,
    trusted_origin,
)
from ..signaling.registers import AddressType, SwitchAddress, Who
from ..signaling.tpdu import BadTpdu, DeliverReport
from .diameter_network import DiameterNetwork
from .handset_intake import HandsetIntake, Reply, Spoken
from .handset_settings import HandsetSettings
from .handset_text import offset_minutes
from .identity import ASSERTED_SWITCH, spelled
from .switch import ANY_DIAMETER, Forwarded

__all__ = ["SgdDoor"]

_log = structlog.get_logger(__name__)

_alerts = counter("diameter", "alerts", "Alerts of HSSs and MMEs, by what was made of it", ("outcome",))
_untrusted = counter("diameter", "untrusted_origins", "Requests whose Origin-Host could not be believed")

MOST_ALERTS = 1000  #: alerts whose number is being looked up; more are heard and forgotten
LEAST_TIMER_S, MOST_TIMER_S = 30, 600  #: range of SM-Delivery-Timer (TS 29.002 §17.7.6)

_LOST = {
    "timeout": Forwarded(ErrorClass.TIMEOUT, "no-response"),
    "disconnected": Forwarded(ErrorClass.TIMEOUT, "link-lost"),
    "busy": Forwarded(ErrorClass.CONGESTED, "link-full"),
    "no-route": Forwarded(ErrorClass.SYSTEM, "switch-not-connected"),
}


class SgdDoor:
    """All MMEs of this node, as a door and as a way out. Lives on the event loop."""

    name = "sgd"

    def __init__(
        self,
        network: DiameterNetwork,
        handsets: HandsetSettings,
        *,
        affiliations: Affiliations,
        now_ms: Callable[[], int],
        intake: HandsetIntake,
        number_of: Callable[[str], Awaitable[str]],
        wake: Callable[[str], None],
        room: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake(number)`: it can be tried again; `room`: a way is open."""
        self._network = network
        self._node = network.node
        self._handsets = handsets
        self._zone = ZoneInfo(handsets.time_zone)
        self._affiliations = affiliations
        self._now_ms = now_ms
        self._intake = intake
        self._number_of = number_of
        self._wake = wake
        self._room = room
        self._monotonic = monotonic
        self._duplicates = Duplicates(monotonic=monotonic)
        self._budgets: dict[str, Budget] = {}  # as many as there are peers
        self._work: set[asyncio.Task[None]] = set()
        self.from_handsets: Counter[str] = Counter()  #: messages by peer
        self.to_handsets: Counter[str] = Counter()
        self._node.handle(Command.ALERT_SERVICE_CENTRE, self._alerted)
        if network.has_messages:
            self._node.handle(Command.MO_FORWARD_SHORT_MESSAGE, self._mo_forward)
        network.on_change.append(self._changed)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _changed(self, host: str, up: bool) -> None:
        if up:
            self._room()

    # ------------------------------------------------------------------------------------------------ from handsets

    def _mo_forward(self, connection: Connection, request: Message) -> None:
        try:
            said = read_mo_forward(request)
        except Incomplete as problem:
            connection.refuse(request, problem.result, str(problem))
            return
        trusted = trusted_origin(request, connection.peer_host, self._node.relays)
        mark = Mark(trusted or "?" + connection.peer_host, said.session, request.end_to_end)

        def reply(answer: Sequence[Avp] | None) -> None:
            if answer is None:
                connection.leave(request)
            else:
                connection.answer(request, answer)

        if not self._duplicates.is_new(mark, reply):
            return
        if trusted:
            self._network.realms.learn(trusted, said.origin_realm)
        else:
            _untrusted.inc()
            _log.warning("diameter-origin-untrusted", origin=said.origin_host, peer=connection.peer_host)
        self.from_handsets[connection.peer_host] += 1

        def answered(of_intake: Reply | None) -> None:
            avps = self._answer(of_intake) if of_intake is not None else None
            self._duplicates.ended(mark, avps)
            reply(avps)

        self._intake.take(self._spoken(connection, said, trusted), answered)

    def _spoken(self, connection: Connection, said: MoForward, trusted: str) -> Spoken:
        is_relay = connection.peer_host in self._node.relays
        # Nobody vouches for what an unknown relay passed on; a peer that lies is still that peer.
        switch = trusted or ("" if is_relay else connection.peer_host)
        asserted = {"center": said.center}
        if switch != connection.peer_host:
            asserted["peer"] = connection.peer_host
        if not trusted:
            asserted[ASSERTED_SWITCH] = spelled(AddressType.DIAMETER_HOST, said.origin_host)
        return Spoken(
            door=self.name,
            switch=switch,
            peer=f"{connection.peer_address}:{connection.peer_port}",
            authenticated="relay" if is_relay else "address",
            tpdu=said.tpdu,
            imsi=said.imsi,
            number=Address(1, 1, said.msisdn) if said.msisdn else None,
            asserted=asserted,
        )

    def _answer(self, reply: Reply) -> Sequence[Avp]:
        now = self._now_ms()
        report = reply.report(now, offset_minutes(self._zone, now))
        return mo_forward_answer(self._network.identity, failure=reply.failure, report=report)

    def _alerted(self, connection: Connection, request: Message) -> None:
        try:
            alert = read_alert(request)
        except Incomplete as problem:
            connection.refuse(request, problem.result, str(problem))
            return
        if not trusted_origin(request, connection.peer_host, self._node.relays):
            _alerts.labels("untrusted").inc()
            _untrusted.inc()
            connection.refuse(request, ResultCode.UNABLE_TO_COMPLY, "the origin cannot be believed")
            return
        connection.answer(request, alert_answer(self._network.identity))
        for who in (Who(alert.msisdn), Who(imsi=alert.imsi)):
            if who.msisdn or who.imsi:
                self._affiliations.doubt(who)
        budget = self._budgets.get(connection.peer_host)
        if budget is None:
            rate = self._network.settings.alerts
            budget = self._budgets[connection.peer_host] = Budget(rate, int(rate) + 1)
        if not budget.take(self._monotonic()) or len(self._work) >= MOST_ALERTS:
            _alerts.labels("too-many").inc()
        elif alert.msisdn:
            _alerts.labels("woken").inc()
            self._wake("+" + alert.msisdn)
        else:
            self._begin(self._look_up(alert.imsi))

    async def _look_up(self, imsi: str) -> None:
        """The alert named a card only."""
        try:
            digits = await self._number_of(imsi)
        except (OSError, TimeoutError) as problem:
            _log.warning("alert-not-understood", problem=str(problem))
            digits = ""
        _alerts.labels("woken" if digits else "unknown").inc()
        if digits:
            self._affiliations.doubt(Who(digits))
            self._wake("+" + digits)

    # -------------------------------------------------------------------------------------------------- to handsets

    def is_up(self) -> bool:
        """See `Way`."""
        return self._network.has_messages and self._node.route() is not None

    def switches(self) -> Iterable[str]:
        """See `Way`."""
        if not self._network.has_messages:
            return
        for peer, connection in self._network.peers():
            if connection is not None and connection.is_open:
                yield ANY_DIAMETER if peer.relay else peer.host

    def leads_to(self, address: SwitchAddress) -> bool:
        """See `Way`."""
        is_host = address.type is AddressType.DIAMETER_HOST
        return is_host and self._network.has_messages and self._node.route(address.value) is not None

    def forward(
        self, address: SwitchAddress, imsi: str, tpdu: bytes, more: bool, done: Callable[[Forwarded], None]
    ) -> None:
        """See `Way`."""
        self._begin(self._forward(address.value, imsi, tpdu, more, done))

    async def _forward(
        self, host: str, imsi: str, tpdu: bytes, more: bool, done: Callable[[Forwarded], None]
    ) -> None:
        seconds = self._handsets.answer_s
        connection = self._node.route(host)
        avps = mt_forward(
            self._network.identity,
            self._node.session(),
            imsi=imsi,
            center=self._handsets.center,
            tpdu=tpdu,
            host=host,
            realm=self._network.realms.of(host),
            more=more,
            timer_s=min(int(seconds), MOST_TIMER_S) if seconds >= LEAST_TIMER_S else 0,
        )
        try:
            answer = await self._node.request(
                Application.SGD, Command.MT_FORWARD_SHORT_MESSAGE, avps, seconds, to_host=host
            )
        except Unavailable as unavailable:
            done(_LOST[unavailable.reason])
            return
        except asyncio.CancelledError:
            done(_LOST["disconnected"])
            raise
        if connection is not None:
            self.to_handsets[connection.peer_host] += 1
        done(_forwarded(read_delivered(answer)))

    def _begin(self, work: Awaitable[None]) -> None:
        """The outlet bounds what is forwarded, and the connection what it carries."""
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def _forwarded(told: Delivered) -> Forwarded:
    if told.succeeded:
        return Forwarded()
    fcs = _fcs(told.report)
    error = class_of_result(told.result, experimental=told.experimental, failure=told.failure, fcs=fcs)
    facts = {
        "result": told.result,
        "failure": told.failure,
        "tp_fcs": fcs,
        "absent_diagnostic": told.absent_diagnostic,
    }
    detail: dict[str, object] = {name: value for name, value in facts.items() if value is not None}
    if told.experimental and told.result == ExperimentalResult.USER_UNKNOWN:
        # Says a node that does not serve it, not a register: that is no reason to give the message up.
        return Forwarded(ErrorClass.ABSENT, "not-served", True, detail)
    return Forwarded(error, error.value, detail=detail)


def _fcs(tpdu: bytes) -> int | None:
    """TP-FCS of the handset's report, if it came along."""
    try:
        return DeliverReport.decode(tpdu, refused=True).fcs if tpdu else None
    except BadTpdu:
        return None
