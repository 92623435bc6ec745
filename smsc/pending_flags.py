"""Delivery pending flags: who is told when a handset comes back (set_dpf, alert_notification).

In charge of: when a flag is set and that it is durable, which flags a returning recipient makes due, and the
alert_notification to the account that asked. Not in charge of: who is silent and when somebody is seen
(`recipients.py`, `delivery.py`), alerts that come from others (`upstream.py`, `gsup_door.py`).

Theory. A flag is set in the change that records why the recipient could not be reached, one for each account, recipient
and asking address; asking again renews it. It is *armed* until its recipient is seen, then *due* until an
alert_notification was written to a receiving bind of the account, at whichever node there is one, now or later. Whoever
sends it first puts the due time off by one conditional write, so that one node sends it, and deletes the flag behind
it: a crash in between repeats the alert, which is harmless, because alert_notification has no response by which anybody
could tell. What nobody came for in a week is forgotten.

    armed (due_at = 0) ──seen──> due ──claimed, written, deleted──> gone
       └────────────── a week ───┴───────────────────────────────> gone

A recipient is seen by the hooks of delivery; those that a crash or another node swallowed are found by a sweep: an
armed flag whose recipient is not silent any more is due. Sources: SMPP 3.4 §4.12, §5.3.2.28, §5.3.2.29; behaviour.md 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from ..message import Message
from ..metrics import counter
from ..outlet import ErrorClass, Write
from ..store.store import Answer, Store, StoreClosed
from .flag_tables import ARMED, CLAIM, DROP, DUE, PUT_DUE, SET
from .smpp import tlv
from .smpp.pdu import AlertNotification

__all__ = ["FLAG_VALIDITY_MS", "PendingFlags", "Receiver", "flag_write", "sets_flag"]

_log = structlog.get_logger(__name__)

_sent = counter("flags", "alerts", "alert_notifications sent, because a flag was set")

FLAG_VALIDITY_MS = 7 * 24 * 3600 * 1000  #: how long a flag waits, for its recipient or for a bind
_CLAIMED_MS = 30_000  #: after so long a node that claimed an alert and did not delete the flag has died
_EVERY_S = 5.0  #: between looks at what other nodes made due
_PAGE = 100  #: alerts sent in one step
_SWEPT = 1000  #: armed flags that one step of the sweep looks at
_MOST_SEEN = 10_000  #: recipients seen that wait to be looked at; the sweep finds those beyond
_VERSION_3_4 = 0x34
_AVAILABLE = 0  #: ms_availability_status

#: The handset is not there or takes nothing: what set_dpf is about.
_UNAVAILABLE = (ErrorClass.ABSENT, ErrorClass.MEMORY_FULL)


class Receiver(Protocol):
    """A bound session; `connection.Connection` is it."""

    bind_type: str
    version: int

    def notify(self, pdu: AlertNotification) -> bool:
        """Write a PDU that has no response; False if it cannot be said now."""
        ...


def sets_flag(message: Message, error: ErrorClass | None) -> bool:
    """True if a failure sets the flag: it was asked for, and the handset was not there."""
    if error not in _UNAVAILABLE or not message.tlvs or message.is_system or not message.account:
        return False
    return tlv.get_int(message.tlvs, tlv.Tag.set_dpf) == 1


def flag_write(message: Message, at: int) -> Write:
    """Set the flag; belongs into the change that records the failure. `at`: UTC epoch milliseconds."""
    row = {
        "account": message.account,
        "recipient": message.recipient,
        "esme_addr": message.source.digits,
        "esme_addr_ton": message.source.ton,
        "esme_addr_npi": message.source.npi,
        "source_addr": message.destination.digits,
        "source_addr_ton": message.destination.ton,
        "source_addr_npi": message.destination.npi,
        "due_at": 0,
        "expires_at": at + FLAG_VALIDITY_MS,
    }
    return Write(SET, row)


class PendingFlags:
    """The flags of one center, as seen from one node. Lives on the event loop."""

    def __init__(
        self,
        store: Store,
        *,
        accounts: Callable[[], Iterable[int]],
        binds: Callable[[int], Sequence[Receiver]],
    ) -> None:
        """`accounts`: numbers of those that are bound at this node; `binds`: of an account, here."""
        self._store = store
        self._accounts = accounts
        self._binds = binds
        self._seen: dict[str, None] = {}
        self._swept_to = ""
        self._news = asyncio.Event()

    def seen(self, recipient: str) -> None:
        """A recipient was seen again."""
        if len(self._seen) < _MOST_SEEN:
            self._seen[recipient] = None
            self._news.set()

    def bound(self) -> None:
        """A bind came or went."""
        self._news.set()

    async def run(self) -> None:
        """Send what is due until cancelled."""
        while True:
            try:
                self._news.clear()
                await self.turn()
            except StoreClosed:
                return
            except OSError as error:  # the flags stay; the next turn may succeed
                _log.warning("flags-wait", error=str(error))
            try:
                await asyncio.wait_for(self._news.wait(), _EVERY_S)
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """One round: who was seen, then the alerts of who is bound here."""
        now = self._store.clock.now_ms()
        while self._seen:
            page = list(self._seen)[:_PAGE]
            await self._due(page, now)
            for recipient in page:
                del self._seen[recipient]
        await self._sweep(now)
        here = [account for account in self._accounts() if self._receiver(account) is not None]
        while here:
            rows = await self._store.fetch(DUE, accounts=here, now=now, limit=_PAGE)
            for row in rows:
                await self._send(row, now)
            if len(rows) < _PAGE:
                return

    async def _sweep(self, now: int) -> None:
        """Look at the next armed flags: those whose recipient is not silent are due."""
        rows = await self._store.fetch(ARMED, after=self._swept_to, limit=_SWEPT)
        there = [str(row["recipient"]) for row in rows if not row["silent"]]
        if there:
            await self._due(there, now)
        self._swept_to = str(rows[-1]["recipient"]) if len(rows) == _SWEPT else ""

    async def _due(self, recipients: list[str], now: int) -> None:
        answer = await self._store.apply(writes=[Write(PUT_DUE, {"recipients": recipients, "now": now})])
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")

    def _receiver(self, account: int) -> Receiver | None:
        """A bind that may be sent alert_notification."""
        for bind in self._binds(account):
            if bind.bind_type != "tx" and bind.version >= _VERSION_3_4:
                return bind
        return None

    async def _send(self, row: Mapping[str, Any], now: int) -> None:
        """One alert: claimed, written, forgotten."""
        flag: dict[str, object] = {
            "of_account": row["account"], "of_recipient": row["recipient"], "of_esme_addr": row["esme_addr"],
            "of_ton": row["esme_addr_ton"], "of_npi": row["esme_addr_npi"],
        }  # fmt: skip
        until = now + _CLAIMED_MS
        claim = Write(CLAIM, {**flag, "was_due_at": row["due_at"], "until": until}, expect=1)
        if await self._store.apply(writes=[claim]) is not Answer.STORED:
            return  # another node sends it
        bind = self._receiver(int(row["account"]))
        if bind is None or not bind.notify(_alert(row)):
            return  # due again when the claim is over
        _sent.inc()
        await self._store.apply(writes=[Write(DROP, {**flag, "was_due_at": until})])


def _alert(row: Mapping[str, Any]) -> AlertNotification:
    """The addresses as they were submitted (SMPP 3.4 §4.12.1)."""
    alert = AlertNotification(
        source_addr_ton=row["source_addr_ton"],
        source_addr_npi=row["source_addr_npi"],
        source_addr=row["source_addr"].encode("latin-1"),
        esme_addr_ton=row["esme_addr_ton"],
        esme_addr_npi=row["esme_addr_npi"],
        esme_addr=row["esme_addr"].encode("latin-1"),
    )
    alert.add_tlv(tlv.Tag.ms_availability_status, _AVAILABLE)
    return alert
