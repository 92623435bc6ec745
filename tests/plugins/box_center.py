"""A center of stores and boxes for tests, on either database.

In charge of: wiring the mailbox as `serve.py` does, with a clock that tests step, and a hand that does what delivery
does with a deposit. Not in charge of: delivery itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from store_plugin import StepClock

from restante.access.accounts import Account, AccountModel
from restante.access.ranges import NumberRange, NumberRanges, RangeModel
from restante.access.subscriber import Subscriber, SubscriberSettings
from restante.access.subscribers import Subscribers
from restante.mailbox.box import Box
from restante.mailbox.changes import Feed, Live
from restante.mailbox.endings import Endings
from restante.mailbox.notices import Notices
from restante.mailbox.outlet import MailboxOutlet
from restante.mailbox.redelivery import Redelivery
from restante.mailbox.retention import Retention
from restante.mailbox.settings import MailboxSettings
from restante.message import Address, Event, Ingress, Kind, Message, Role
from restante.outlet import Delivery, Outcome, Result
from restante.smsc.receipts import Receipts
from restante.store import tables
from restante.store.settings import StoreSettings
from restante.store.statement import Query
from restante.store.store import Answer, Release

DAY = 86_400_000
HOUR = 3_600_000

SHOP = Account(1, AccountModel(system_id="shop"))
EAGER = Account(2, AccountModel(system_id="eager", receipt_at="deposit"))
SECRET = Account(3, AccountModel(system_id="secret", mailbox=False))
ACCOUNTS = {account.number: account for account in (SHOP, EAGER, SECRET)}

_EVENTS = Query("test: all events", select(tables.event).order_by(tables.event.c.at, tables.event.c.kind))
_QUEUE = Query("test: the queue", select(tables.queue).order_by(tables.queue.c.id))


def open_store(url: str, clock: Any, node_name: str = "") -> Any:
    """The store of that database, not open yet."""
    settings = StoreSettings(url=url, durability="process-crash-only", node_name=node_name)
    if url.startswith("sqlite"):
        from restante.store.sqlite import SqliteStore

        return SqliteStore(settings, clock=clock)
    from restante.store.postgresql import PostgresqlStore

    return PostgresqlStore(settings, clock=clock)


@dataclass
class Center:
    """Everything a test needs."""

    store: Any
    clock: StepClock
    settings: MailboxSettings
    ranges: NumberRanges
    subscribers: Subscribers
    endings: Endings
    box: Box
    feed: Feed
    live: Live
    redelivery: Redelivery
    outlet: MailboxOutlet
    retention: Retention
    notices: Notices
    receipts: list[Message] = field(default_factory=list)
    admitted: list[tuple[Message, str]] = field(default_factory=list)
    sent: list[tuple[Kind, str, str]] = field(default_factory=list)

    def message(
        self, text: str = "Hello", *, to: str = "+447700900001", sender: str = "+447700900999", **other: Any
    ) -> Message:
        """A message as submission completes it, with a receipt asked for."""
        fields: dict[str, Any] = {
            "id": self.store.next_id(),
            "source": Address(1, 1, sender.lstrip("+@")),
            "destination": Address(1, 1, to.lstrip("+")),
            "body": text.encode("ascii", "replace"),
            "account": 1,
            "ingress": Ingress("smpp", 1, Role.ESME, "shop").encoded,
            "sender": sender,
            "recipient": to,
            "registered_delivery": 1,
            "submitted_at": self.clock.now_ms(),
            "expires_at": self.clock.now_ms() + 2 * DAY,
            "owner": self.store.epoch,
        }
        return Message(**(fields | other))

    async def offer(self, message: Message, because: str = "absent") -> Outcome:
        """Ask the outlet, and store nothing."""
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        assert self.outlet.hand(Delivery(message, 1, "deposit", because=because), answered.set_result)
        return await answered

    async def accept(self, message: Message) -> None:
        """Store a message and its queue row, as submission does."""
        assert await self.store.apply(messages=[message]) is Answer.STORED

    async def commit(self, message: Message, outcome: Outcome) -> Answer:
        """End the attempt as delivery does with a deposit."""
        assert outcome.result is Result.STORED, outcome
        return await self.store.apply(release=Release(message.id, self.store.epoch), writes=outcome.writes)

    async def deposit(self, text: str = "Hello", *, because: str = "absent", **other: Any) -> Message:
        """A message that could not be delivered and lies in its box."""
        message = self.message(text, **other)
        await self.accept(message)
        assert await self.commit(message, await self.offer(message, because)) is Answer.STORED
        self.clock.step(1)
        return message

    async def pass_time(self, ms: int) -> None:
        """Let time pass, and the store take notice: it reserves ids with its heartbeat."""
        self.clock.step(ms)
        await self.store.beat()

    async def subscriber(self, *numbers: str, **other: Any) -> Subscriber:
        """A new subscriber."""
        return await self.subscribers.provision(numbers or ("+447700900001",), **other)

    async def owner(self, number: str) -> Subscriber:
        """Who has a number."""
        found = await self.subscribers.find(number)
        assert found is not None
        return found

    async def known(self, number: int) -> Subscriber:
        """The subscriber with an id."""
        found = await self.subscribers.get(number)
        assert found is not None
        return found

    async def first_use(self, number: str) -> Subscriber:
        """Who has a number, from now on if need be."""
        found = await self.subscribers.resolve(number)
        assert found is not None
        return found

    async def events(self, message: int | None = None) -> list[Event]:
        """What was recorded, of one message or of all."""
        rows = await self.store.fetch(_EVENTS)
        names = Event.__slots__
        found = [Event(**{name: row[name] for name in names}) for row in rows]
        return [event for event in found if message is None or event.message == message]

    async def finals(self, message: int) -> list[tuple[int, str]]:
        """(state, reason) of each FINAL event of a message: there must be at most one."""
        return [(event.state, event.reason) for event in await self.events(message) if event.kind == "final"]

    async def queue(self) -> list[Any]:
        """Rows of the queue but those of receipts."""
        return [row for row in await self.store.fetch(_QUEUE) if not row["recipient"].startswith("=")]


@asynccontextmanager
async def center(
    url: str,
    settings: MailboxSettings | None = None,
    *,
    subscriber_settings: SubscriberSettings | None = None,
    clock: StepClock | None = None,
    node_name: str = "",
) -> AsyncGenerator[Center]:
    """An open center with the own range +447700900."""
    clock = clock or StepClock()
    settings = settings or MailboxSettings()
    store = open_store(url, clock, node_name)
    await store.open()
    try:
        ranges = NumberRanges([NumberRange(1, RangeModel(prefix="+447700900"))])
        subscribers = Subscribers(store, ranges, subscriber_settings or SubscriberSettings(first_use=False))
        receipts = Receipts(
            accounts=ACCOUNTS.get, next_id=store.next_id, epoch=lambda: store.epoch, node=store.node
        )
        made: list[Message] = []
        admitted: list[tuple[Message, str]] = []
        sent: list[tuple[Kind, str, str]] = []
        numbers = itertools.count(1)

        async def send(kind: Kind, recipient: str, text: str) -> int:
            sent.append((kind, recipient, text))
            return next(numbers)

        endings = Endings(store, receipts.ending, made.append)
        box = Box(store, subscribers, settings, endings)
        live = Live(store, settings)
        box.on_change(live.touched)
        redelivery = Redelivery(
            store, box, settings, lambda message, reason: admitted.append((message, reason))
        )
        yield Center(
            store=store,
            clock=clock,
            settings=settings,
            ranges=ranges,
            subscribers=subscribers,
            endings=endings,
            box=box,
            feed=Feed(store, settings),
            live=live,
            redelivery=redelivery,
            outlet=MailboxOutlet(store, subscribers, settings, ACCOUNTS.get),
            retention=Retention(store, settings, endings),
            notices=Notices(store, subscribers, redelivery, settings, send),
            receipts=made,
            admitted=admitted,
            sent=sent,
        )
        await live.close()
    finally:
        await store.close()
