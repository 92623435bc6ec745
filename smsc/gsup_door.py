"""Handsets behind switches that speak GSUP: what they say comes in, what is for them goes out.

In charge of: MO-forwardSM and readyForSM as this center understands them, MT-forwardSM as a way of the switch outlet,
and what GSUP's causes mean here. Not in charge of: connections and relaying (`signaling/gsup_front.py`), what a message
is (`handset_intake.py`, `handset_text.py`), or the outlet (`switch.py`).

The trusted switch of a message is the name of the connection that brought it, which the front has bound to addresses.
Alerts are believed from connected switches only and wake at most so many recipients a second; that a switch took over a
subscriber wakes it only if it was silent before.

Sources: the GSUP chapter of the OsmoHLR manual; 3GPP TS 29.002 §12.2, §12.4, §12.9; TS 24.011 §8.2.5.4.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from ..message import Address
from ..metrics import counter
from ..outlet import ErrorClass
from ..signaling import gsup
from ..signaling.affiliations import Affiliations
from ..signaling.breaker import Budget
from ..signaling.causes import GmmCause, RpCause, class_of_mt_cause, class_of_rp_cause
from ..signaling.gsup import Gsup
from ..signaling.gsup_front import Front, FrontHooks, MtResult, NamedSwitch
from ..signaling.gsup_link import Link
from ..signaling.registers import AddressType, Affiliation, SwitchAddress
from ..signaling.tpdu import BadTpdu, DeliverReport
from .handset_intake import HandsetIntake, Reply, Spoken
from .handset_settings import GsupSettings, HandsetSettings
from .switch import Forwarded

__all__ = ["GsupDoor"]

_log = structlog.get_logger(__name__)

_alerts = counter("gsup", "alerts", "readyForSM of switches, by what was made of it", ("outcome",))
_collisions = counter(
    "gsup", "name_collisions", "Connections that claimed a name that is connected or not theirs"
)

MOST_UNANSWERED = 1000  #: messages of one switch that wait for the store; more are told to come again

#: A switch that does not serve the subscriber says one of these.
_NOT_HERE = frozenset({GmmCause.IMSI_UNKNOWN, GmmCause.IDENTITY_NOT_DERIVABLE, GmmCause.IMPLICITLY_DETACHED})
_LOST = {
    "timeout": Forwarded(ErrorClass.TIMEOUT, "no-response"),
    "link-lost": Forwarded(ErrorClass.TIMEOUT, "link-lost"),
    "engaged": Forwarded(ErrorClass.BUSY, "engaged"),
}


class GsupDoor:
    """All GSUP switches of this node, as a door and as a way out. Lives on the event loop."""

    name = "gsup"

    def __init__(
        self,
        settings: GsupSettings,
        handsets: HandsetSettings,
        *,
        affiliations: Affiliations,
        now_ms: Callable[[], int],
        intake: HandsetIntake,
        number_of: Callable[[str], Awaitable[str]],
        spoke: Callable[[str], None],
        present: Callable[[str], None],
        wake: Callable[[str], None],
        room: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`spoke(number)`: it was heard of; `present(number)`: it is there again; `wake(number)`: it has memory again;
        `room`: a way is open."""
        self._settings = settings
        self._handsets = handsets
        self._intake = intake
        self._number_of = number_of
        self._spoke = spoke
        self._present = present
        self._wake = wake
        self._room = room
        self._monotonic = monotonic
        self._center = Address(1, 1, handsets.center)
        self._unanswered: dict[Link, int] = {}
        self._budgets: dict[str, Budget] = {}
        self._work: set[asyncio.Task[None]] = set()
        self.port = 0
        self.front = Front(
            [NamedSwitch(each.name, each.networks) for each in settings.switches],
            (settings.register_host, settings.register_port),
            FrontHooks(self._mo_forward, self._ready, self._seen, self._changed),
            affiliations,
            now_ms=now_ms,
            most_links=settings.max_links,
            late_s=settings.late_s,
            alarm=self._alarm,
        )

    async def open(self) -> None:
        """Let switches connect."""
        self.port = await self.front.listen(self._settings.host, self._settings.port)
        _log.info("gsup", host=self._settings.host, port=self.port, switches=len(self._settings.switches))

    async def close(self) -> None:
        """Let go of every switch."""
        await self.front.close()
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _changed(self, link: Link, up: bool) -> None:
        if up:
            self._room()
        else:
            self._unanswered.pop(link, None)

    def _alarm(self, name: str, address: str) -> None:
        _collisions.inc()
        _log.error("switch-name-claimed", switch=name, address=address)

    # ------------------------------------------------------------------------------------------------ from handsets

    def _mo_forward(self, link: Link, request: Gsup) -> None:
        if self._unanswered.get(link, 0) >= MOST_UNANSWERED or link.full:
            link.send(gsup.error(request, sm_rp_cause=RpCause.CONGESTION))
            return
        self._unanswered[link] = self._unanswered.get(link, 0) + 1
        originator, center = request.sm_rp_oa, request.sm_rp_da
        spoken = Spoken(
            door=self.name,
            switch=link.name,
            peer=link.peer,
            authenticated="address",
            tpdu=request.tpdu,
            imsi=request.imsi,
            number=originator.number if originator is not None else None,
            asserted={"center": center.number.digits}
            if center is not None and center.number is not None
            else {},
        )

        def answered(reply: Reply | None) -> None:
            if link in self._unanswered:
                self._unanswered[link] -= 1
            if reply is not None:
                link.send(_answer(request, reply))

        self._intake.take(spoken, answered)

    def _ready(self, link: Link, request: Gsup) -> None:
        link.send(gsup.answer(request))
        budget = self._budgets.get(link.name)
        if budget is None:  # as many as there are names of switches
            budget = self._budgets[link.name] = Budget(self._settings.alerts, int(self._settings.alerts) + 1)
        if not budget.take(self._monotonic()) or len(self._work) >= MOST_UNANSWERED:
            _alerts.labels("too-many").inc()
            return
        task = asyncio.get_running_loop().create_task(self._alert(request), name="gsup alert")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _alert(self, request: Gsup) -> None:
        imsi = request.imsi
        try:
            digits = await self._number_of(imsi) if imsi else ""
        except (OSError, TimeoutError) as problem:
            _log.warning("alert-not-understood", problem=str(problem))
            digits = ""
        _alerts.labels("woken" if digits else "unknown").inc()
        if digits and request.alert_reason == gsup.AlertReason.PRESENT:
            self._present("+" + digits)
        elif digits:
            self._wake("+" + digits)

    def _seen(self, affiliation: Affiliation) -> None:
        if affiliation.msisdn:
            self._spoke("+" + affiliation.msisdn)

    # -------------------------------------------------------------------------------------------------- to handsets

    def is_up(self) -> bool:
        """See `Way`."""
        return len(self.front) > 0

    def switches(self) -> Iterable[str]:
        """See `Way`."""
        return [link.name for link in self.front]

    def leads_to(self, address: SwitchAddress) -> bool:
        """See `Way`."""
        return address.type is AddressType.IPA_NAME and self.front.link(address.value) is not None

    def forward(
        self, address: SwitchAddress, imsi: str, tpdu: bytes, more: bool, done: Callable[[Forwarded], None]
    ) -> None:
        """See `Way`."""
        link = self.front.link(address.value)
        if link is None:
            done(_LOST["link-lost"])
            return
        if link.full:
            done(Forwarded(ErrorClass.CONGESTED, "link-full"))
            return

        def answered(result: MtResult) -> None:
            done(_forwarded(result))

        seconds = self._handsets.answer_s
        self.front.forward(link, imsi, self._center, tpdu, answered, more=more, timeout_s=seconds)


def _answer(request: Gsup, reply: Reply) -> Gsup:
    """Without a report: OsmoMSC passes on the cause alone."""
    if not reply.cause:
        return gsup.answer(request)
    return gsup.error(request, sm_rp_cause=reply.cause)


def _forwarded(result: MtResult) -> Forwarded:
    answer = result.answer
    if answer is None:
        return _LOST[result.lost]
    if answer.is_result:
        return Forwarded()
    cause, sm_cause = answer.cause, answer.sm_rp_cause
    if sm_cause is not None:
        fcs = _fcs(answer.tpdu)
        error = class_of_rp_cause(sm_cause, fcs)
        detail: dict[str, object] = {"rp_cause": sm_cause}
        if fcs is not None:
            detail["tp_fcs"] = fcs
        return Forwarded(error, error.value, detail=detail)
    if cause is not None:
        error = class_of_mt_cause(cause)
        return Forwarded(error, error.value, cause in _NOT_HERE, {"cause": cause})
    return Forwarded(ErrorClass.SYSTEM, "no-cause")


def _fcs(tpdu: bytes) -> int | None:
    """TP-FCS of the handset's report, if it came along."""
    try:
        return DeliverReport.decode(tpdu, refused=True).fcs if tpdu else None
    except BadTpdu:
        return None
