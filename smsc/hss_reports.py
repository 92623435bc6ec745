"""What the HSS is told about attempts, so that it tells us when somebody is back.

In charge of: RDR after an attempt that failed because the handset was absent or full, and after the first that succeeds
again. Not in charge of: what the HSS then says (ALR, `sgd_door.py`), or when to try again (`retry.py`).

Theory. Our look-ups leave no trace at the HSS, because most are for other reasons than delivery. So it is the report of
a failure that puts us on the HSS's list of those who wait, and it alone. Who was reported, and why, is remembered for a
while: a failure is said once, not at each attempt, and a success only to an HSS that heard of a failure. A report that
did not arrive is not remembered, and the next attempt makes it again; after a restart the first failure is reported
anew, which does no harm.

Source: 3GPP TS 29.338 §5.3.2.5 (RDR); TS 23.040 §10 (message waiting).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

from ..metrics import counter
from ..outlet import ErrorClass
from ..signaling.affiliations import Affiliations
from ..signaling.causes import ExperimentalResult
from ..signaling.diameter.connection import Unavailable
from ..signaling.diameter.dictionary import Application, Command
from ..signaling.diameter.short_messages import DeliveryCause, report_delivery
from ..signaling.digits import BadDigits
from ..signaling.registers import ServedBy, SwitchAddress, Who
from .diameter_network import REGISTER, DiameterNetwork
from .switch import Forwarded

__all__ = ["HssReports"]

_log = structlog.get_logger(__name__)

_reports = counter(
    "diameter", "delivery_reports", "RDRs to the HSS, by cause and answer", ("cause", "answer")
)

MOST_UNDER_WAY = 500  #: reports without an answer; more are left out
MOST_REPORTED = 100_000  #: subscribers whose last report is remembered
AGAIN_S = 3600.0  #: after which the same failure is reported again
TIMEOUT_S = 5.0

_CAUSES = {
    ErrorClass.ABSENT: DeliveryCause.ABSENT_USER,
    ErrorClass.MEMORY_FULL: DeliveryCause.MEMORY_CAPACITY_EXCEEDED,
}
_OVER = {
    ServedBy.MSC: "MSC",
    ServedBy.SGSN: "SGSN",
    ServedBy.IP_SM_GW: "IP-SM-GW",
    ServedBy.SMSF: "SMSF-3GPP",
}


class HssReports:
    """The reports of one node. Lives on the event loop."""

    def __init__(
        self,
        network: DiameterNetwork,
        *,
        center: str,
        affiliations: Affiliations,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`center`: our E.164 digits."""
        self._network = network
        self._center = center
        self._affiliations = affiliations
        self._monotonic = monotonic
        self._reported: OrderedDict[str, tuple[DeliveryCause, float]] = OrderedDict()
        self._work: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def ended(self, who: Who, imsi: str, address: SwitchAddress | None, forwarded: Forwarded) -> None:
        """An attempt ended so."""
        if forwarded.error is None:
            if who.key not in self._reported:
                return
            cause = DeliveryCause.SUCCESSFUL_TRANSFER
        elif forwarded.error in _CAUSES:
            cause = _CAUSES[forwarded.error]
            if not self._is_news(who, cause) or not self._is_of_hss(who):
                return
        else:
            return
        if len(self._work) >= MOST_UNDER_WAY:
            _reports.labels(cause.name.lower(), "too-many").inc()
            return
        diagnostic = forwarded.detail.get("absent_diagnostic")
        task = asyncio.get_running_loop().create_task(
            self._report(who, address, cause, diagnostic if isinstance(diagnostic, int) else None),
            name="delivery report",
        )
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _is_news(self, who: Who, cause: DeliveryCause) -> bool:
        known = self._reported.get(who.key)
        return known is None or known[0] is not cause or self._monotonic() - known[1] >= AGAIN_S

    def _is_of_hss(self, who: Who) -> bool:
        """Whether it was the HSS that told where the subscriber is."""
        known = self._affiliations.current(who)
        return known is not None and known.source == REGISTER

    async def _report(
        self, who: Who, address: SwitchAddress | None, cause: DeliveryCause, diagnostic: int | None
    ) -> None:
        node, settings = self._network.node, self._network.settings
        before = self._reported.pop(who.key, None)
        if cause is not DeliveryCause.SUCCESSFUL_TRANSFER:
            self._remember(who.key, (cause, self._monotonic()))
        answer = "refused"
        try:
            avps = report_delivery(
                self._network.identity,
                node.session(),
                imsi=who.imsi if not who.msisdn else "",
                msisdn=who.msisdn,
                center=self._center,
                realm=self._network.hss_realm,
                host=settings.hss.host,
                cause=cause,
                diagnostic=diagnostic if cause is DeliveryCause.ABSENT_USER else None,
                over=_OVER.get(address.node, "MME") if address is not None else "MME",
            )
            said = await node.request(
                Application.S6C,
                Command.REPORT_SM_DELIVERY_STATUS,
                avps,
                TIMEOUT_S,
                to_host=settings.hss.host,
            )
            code, experimental = said.result
            answer = "list-full" if experimental and code == ExperimentalResult.MWD_LIST_FULL else str(code)
            if said.succeeded:
                answer = "taken"
            else:
                self._forget(who.key, before)
                _log.warning("delivery-report-refused", result=code, cause=cause.name.lower())
        except Unavailable as unavailable:
            answer = unavailable.reason
            self._forget(who.key, before)
        except BadDigits as problem:
            _log.warning("delivery-report-not-made", problem=str(problem))
        finally:
            _reports.labels(cause.name.lower(), answer).inc()

    def _forget(self, key: str, before: tuple[DeliveryCause, float] | None) -> None:
        """What was said did not arrive: things are as they were before."""
        self._reported.pop(key, None)
        if before is not None:
            self._remember(key, before)

    def _remember(self, key: str, report: tuple[DeliveryCause, float]) -> None:
        self._reported[key] = report
        if len(self._reported) > MOST_REPORTED:
            self._reported.popitem(last=False)
