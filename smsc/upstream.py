"""Links to other centers: the room that keeps them and takes in what they bring.

In charge of: one outlet and one set of binds for each link, for its life; messages that links deliver, alerts, and what
operators see of them. Not in charge of: binds (`link_binds.py`), receipts (`link_receipts.py`), which link a message
takes (`routing.py`).

What comes in. A deliver_sm with a message goes through the one intake as a message of the link's account, and is
answered when it is on disk; receipts about it go back over the link as an ESME's acknowledgements. A receipt goes to
`link_receipts.py`. An alert_notification wakes what waits for its subscriber: at most once in `_ALERT_AGAIN_S` for
each, and so many a second for a link, because each costs a look into the queue.

Sources: SMPP 3.4 §4.6 (deliver_sm), §4.7 (data_sm), §4.12 (alert_notification), §5.2.12; behaviour.md 3, 5.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Literal, Protocol

import structlog

from ..access.accounts import Account
from ..access.numbers import NumberRules
from ..message import Address, Ingress
from ..metrics import counter
from ..outlet import Outlet, Write
from ..registry.snapshot import Changed
from ..store.store import Store
from . import link_tables as tables
from .drafts import BadField, draft_of
from .limits import TokenBucket
from .link_binds import BindStatus, Incoming, LinkBinds, Password
from .link_connection import LinkConnection
from .link_outlet import LinkOutlet
from .link_receipts import RETRY_LATER, LinkReceipts, LinkReceiptSettings
from .links import Link, LinkState
from .long_messages import LongMessages
from .normaliser import Normalisers
from .pins import Pins
from .receipt_reading import is_receipt
from .reports import Reports
from .smpp import tlv
from .smpp.codec import Pdu
from .smpp.command_status import CommandStatus as Status
from .smpp.pdu import AlertNotification, DataSm, DeliverSm
from .submission import Accepted, Refused, Submission

__all__ = ["Condition", "Links", "Upstream"]

_log = structlog.get_logger(__name__)

_incoming = counter(
    "links", "deliveries", "Messages that links brought, by link and answer", ("link", "answer")
)
_alerts = counter("links", "alerts", "Alerts that links sent, by what was done", ("link", "result"))

_TICK_S = 0.25
_PURGE_S = 60.0
_ALERT_AGAIN_S = 10.0
_ALERTS_A_SECOND = 50.0
_MOST_ALERTED = 50_000  #: subscribers remembered to have been alerted lately
_MODE_BITS = 0x03  #: of esm_class (SMPP 3.4 §5.2.12)
_MS_AVAILABLE = 0  #: ms_availability_status (SMPP 3.4 §5.3.2.30)


#: How a link is, in a word.
Condition = Literal["up", "pausing", "down", "isolated", "draining", "drained", "suspended"]


class Links(Protocol):
    """What the room needs of the links' live copy."""

    def get(self, key: str) -> Link | None:
        """By name."""
        ...

    def by_number(self, number: int) -> Link | None:
        """By number."""
        ...

    def values(self) -> Collection[Link]:
        """All of them."""
        ...


class Upstream:
    """The links of one node. Lives on the event loop."""

    def __init__(
        self,
        store: Store,
        *,
        links: Links,
        account: Callable[[str], Account | None],
        account_by_number: Callable[[int], Account | None],
        password: Password,
        number_rules: NumberRules,
        settings: LinkReceiptSettings,
        long_messages: LongMessages,
        random: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`account` by system_id; `password` of a link, asked for at each bind; `now`: monotonic seconds."""
        self._store = store
        self._links = links
        self._account = account
        self._account_by_number = account_by_number
        self._password = password
        self._rules = number_rules
        self._settings = settings
        self._long = long_messages
        self._random = random
        self._now = now
        self._normalisers = Normalisers()
        self._binds: dict[int, LinkBinds] = {}
        self._wake: Callable[[Outlet], None] | None = None
        self._alert: Callable[[str], None] = lambda number: None
        self._submission: Submission | None = None
        self._receipts: LinkReceipts | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._alerted: OrderedDict[str, float] = OrderedDict()
        self._alert_buckets: dict[int, TokenBucket] = {}
        self._ingresses: dict[tuple[int, int, str], Ingress] = {}
        self.pins = Pins()
        #: Called with a link's number when it has a new password: other nodes bind with it too.
        self.on_renewed: list[Callable[[int], None]] = []

    # ------------------------------------------------------------------------------------------------ wiring

    def connect(
        self,
        submission: Submission,
        reports: Reports,
        *,
        wake: Callable[[Outlet], None],
        alert: Callable[[str], None],
    ) -> None:
        """Meet the rooms that come after this one. `alert`: a recipient (normal form) is there again."""
        self._submission = submission
        self._wake = wake
        self._alert = alert
        self._receipts = LinkReceipts(
            self._store, reports, outlet_of=self.outlet_of, normal=self._normal, settings=self._settings,
            now=self._now,
        )  # fmt: skip
        for binds in self._binds.values():
            binds.outlet.wake_with(wake)

    def open(self) -> None:
        """Begin to bind."""
        assert self._receipts is not None
        for link in self._links.values():
            self._of(link).begin()
        self._tasks = [
            asyncio.create_task(self._receipts.run(), name="link receipts"),
            asyncio.create_task(self._run(), name="links"),
        ]

    def close_intake(self) -> None:
        """Take no message in any more; receipts still count."""
        self._closing = True

    async def close(self) -> None:
        """Leave every center, politely."""
        self._closing = True
        await asyncio.gather(*(binds.close() for binds in self._binds.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def changed(self, changes: Sequence[Changed[Link]]) -> None:
        """Links were edited."""
        for change in changes:
            binds = self._binds.get(change.number)
            if change.after is None:
                if binds is not None:
                    del self._binds[change.number]
                    binds.give_up()
            elif binds is None:
                fresh = self._of(change.after)
                if self._tasks and not self._closing:
                    fresh.begin()
            else:
                binds.use(change.after)

    def renew(self, number: int) -> None:
        """A link was given a new password here."""
        self.renewed(number)
        for hook in self.on_renewed:
            hook(number)

    def renewed(self, number: int) -> None:
        """A link has a new password."""
        binds = self._binds.get(number)
        if binds is not None:
            binds.renew()

    # ------------------------------------------------------------------------------------------------ outlets

    def outlet(self, name: str) -> LinkOutlet | None:
        """A link's outlet by the link's name."""
        link = self._links.get(name)
        return self._of(link).outlet if link is not None else None

    def outlet_of(self, number: int) -> LinkOutlet | None:
        """A link's outlet by the link's number."""
        link = self._links.by_number(number)
        return self._of(link).outlet if link is not None else None

    def outlets(self) -> list[LinkOutlet]:
        """Those of every link that is known here."""
        return [binds.outlet for binds in self._binds.values()]

    def outlets_of_account(self, system_id: str) -> list[LinkOutlet]:
        """Links whose messages are taken in as those of an account: the way back to it."""
        return [self._of(link).outlet for link in self._links.values() if link.model.account == system_id]

    def _of(self, link: Link) -> LinkBinds:
        binds = self._binds.get(link.number)
        if binds is None:
            outlet = LinkOutlet(
                link, now=self._now, now_ms=self._store.clock.now_ms, random=self._random,
                alphabet_of=self._alphabet_of, pins=self.pins, long_messages=self._long,
            )  # fmt: skip
            if self._wake is not None:
                outlet.wake_with(self._wake)
            incoming = Incoming(self._request, self._notified, self._is_drained)
            binds = self._binds[link.number] = LinkBinds(
                link, outlet, self._password, incoming, self._random, self._now
            )
        return binds

    def _alphabet_of(self, account: int) -> str:
        found = self._account_by_number(account)
        return found.default_alphabet if found is not None else "gsm7"

    def _normal(self, link: Link, address: Address) -> str:
        return self._normalisers.of(link.model.number_rules or self._rules).normal(address)

    # ------------------------------------------------------------------------------------------------ what comes in

    def _request(self, binds: LinkBinds, connection: LinkConnection, pdu: Pdu) -> None:
        if not isinstance(pdu, DeliverSm | DataSm):
            connection.refuse(pdu, Status.ESME_RINVCMDID)
            return
        answered = _Once(connection, pdu)
        if is_receipt(pdu):
            assert self._receipts is not None
            self._receipts.take(binds.outlet, pdu, answered)
        else:
            self._take_in(binds, connection, pdu, answered)

    def _take_in(
        self, binds: LinkBinds, connection: LinkConnection, pdu: DeliverSm | DataSm, answered: _Once
    ) -> None:
        link = binds.link
        account = self._account(link.model.account) if link.model.account else None
        if self._closing or link.model.state is LinkState.ISOLATED:
            self._count(link, "closed")
            answered(RETRY_LATER)
            return
        if account is None or self._submission is None:
            self._count(link, "no-account")
            answered(Status.ESME_RX_P_APPN)
            return
        try:
            draft = draft_of(pdu, self._store.clock.now_ms())
        except BadField as error:
            self._count(link, "bad-field")
            answered(error.status)
            return
        draft.esm_class &= ~_MODE_BITS  # modes are an ESME's to ask for
        ingress = self._ingress(link, account, connection)
        self._submission.submit(draft, account, ingress, partial(self._answered, link, answered))

    def _answered(self, link: Link, answered: _Once, answer: Accepted | Refused) -> None:
        if isinstance(answer, Accepted):
            self._count(link, "accepted")
            answered(0)
        else:
            self._count(link, answer.reason)
            answered(None if answer.unknown else answer.status)

    def _ingress(self, link: Link, account: Account, connection: LinkConnection) -> Ingress:
        key = (link.number, link.version, f"{account.number}.{account.version}.{connection.peer}")
        found = self._ingresses.get(key)
        if found is None:
            if len(self._ingresses) >= 1000:  # binds of the past
                self._ingresses.clear()
            found = self._ingresses[key] = Ingress(
                door="link",
                account=account.number,
                role=account.role,
                name=link.name,
                peer=connection.peer,
                authenticated="certificate" if link.model.tls else "",
                version=connection.version,
            )
        return found

    def _count(self, link: Link, answer: str) -> None:
        _incoming.labels(link.name, answer).inc()

    # ------------------------------------------------------------------------------------------------ alerts

    def _notified(self, binds: LinkBinds, pdu: Pdu) -> None:
        """alert_notification: believed because it comes over a link (behaviour.md 5)."""
        if not isinstance(pdu, AlertNotification):
            return
        link = binds.link
        available = pdu.get_tlv_int(tlv.Tag.ms_availability_status)
        address = Address(pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr.decode("latin-1"))
        number = self._normal(link, address)
        if available not in (None, _MS_AVAILABLE) or not number:
            _alerts.labels(link.name, "unavailable" if number else "unreadable").inc()
            return
        now = self._now()
        bucket = self._alert_buckets.get(link.number)
        if bucket is None:
            bucket = self._alert_buckets[link.number] = TokenBucket(_ALERTS_A_SECOND, int(_ALERTS_A_SECOND))
        again = now - self._alerted.get(number, -_ALERT_AGAIN_S) < _ALERT_AGAIN_S
        if again or bucket.take(int(now * 1e9)):
            _alerts.labels(link.name, "too-many").inc()
            return
        self._alerted[number] = now
        self._alerted.move_to_end(number)
        if len(self._alerted) > _MOST_ALERTED:
            self._alerted.popitem(last=False)
        _alerts.labels(link.name, "woken").inc()
        self._alert(number)

    # ------------------------------------------------------------------------------------------------ clock, people

    async def _is_drained(self, binds: LinkBinds) -> bool:
        return not await self._store.fetch(tables.OWES, of_link=binds.link.number)

    async def awaited(self) -> dict[int, int]:
        """Receipts that links owe, on all nodes, by link number."""
        rows = await self._store.fetch(tables.AWAITED)
        return {int(row["link"]): int(row["awaited"]) for row in rows}

    def statuses(self, number: int) -> list[BindStatus]:
        """Binds of a link on this node."""
        binds = self._binds.get(number)
        return binds.statuses() if binds is not None else []

    def condition(self, link: Link) -> Condition:
        """How a link is, in a word: what an operator wants, or what is in its way."""
        binds = self._binds.get(link.number)
        state = link.model.state
        if state is LinkState.SUSPENDED:
            return "suspended"
        if binds is not None and binds.drained:
            return "drained"
        if binds is None or not any(one.bound for one in binds.statuses()):
            return "down"
        if state is LinkState.RUNNING:
            return "pausing" if binds.outlet.pausing() else "up"
        return "isolated" if state is LinkState.ISOLATED else "draining"

    def waits_for_response(self, number: int) -> int:
        """Messages of this node without a response from a link."""
        binds = self._binds.get(number)
        return binds.outlet.in_flight if binds is not None else 0

    def kept_receipts(self, number: int) -> int:
        """Receipts of a link whose message is not known yet."""
        return self._receipts.awaited(number) if self._receipts is not None else 0

    async def _run(self) -> None:
        purged_at = self._now()
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._now()
            try:
                for binds in list(self._binds.values()):
                    await binds.tick(now)
                if now - purged_at >= _PURGE_S:
                    purged_at = now
                    await self._store.bulk(
                        [Write(one, {"now": self._store.clock.now_ms()}) for one in tables.PURGE]
                    )
            except Exception:  # the database is away; timers go on the next time
                _log.exception("links-tick-failed")


class _Once:
    """Answers a deliver_sm: the first answer counts."""

    __slots__ = ("_connection", "_pdu")

    def __init__(self, connection: LinkConnection, pdu: Pdu) -> None:
        self._connection = connection
        self._pdu: Pdu | None = pdu

    def __call__(self, status: int | None) -> None:
        """0, an error, or None: the connection ends unanswered, because nobody knows what is stored."""
        pdu, self._pdu = self._pdu, None
        if pdu is None:
            return
        if status is None:
            self._connection.abort("it is not known what was stored")
        elif status:
            self._connection.refuse(pdu, status)
        else:
            self._connection.accept(pdu)
