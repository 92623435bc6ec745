"""A center with its REST door, for tests and without other doors.

In charge of: wiring the real rooms as `serve.py` does, on either database, with a clock that tests step; an operator,
an account with a key, a subscriber. Not in charge of: SMPP; what would leave by SMS lies in `sent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from restante.access.accounts import Account, AccountModel, account_warnings, owner_table
from restante.access.audit import Audit
from restante.access.credentials import CredentialKind, Credentials, CredentialSettings
from restante.access.hashing import HashSettings
from restante.access.key_ring import KeyRing
from restante.access.numbers import NumberRules
from restante.access.one_time_codes import CodeSettings, OneTimeCodes
from restante.access.operators import Operator, OperatorModel
from restante.access.permissions import OperatorRole
from restante.access.ranges import NumberRange, NumberRanges, RangeModel
from restante.access.sealing import Sealer, Secrets
from restante.access.sessions import Client, Sessions, SessionSettings
from restante.access.subscriber import Subscriber, SubscriberSettings
from restante.access.subscribers import Subscribers
from restante.antispoof.kinds import SpoofKinds
from restante.antispoof.room import Live as SpoofLive
from restante.antispoof.room import SpoofRoom
from restante.antispoof.settings import SourcesSettings, SpoofSettings
from restante.antispoof.sources import Sources
from restante.api.app import FramedApp, create_app
from restante.api.rooms import ConfigValue, Rooms
from restante.api.settings import HttpSettings
from restante.mailbox.box import Box
from restante.mailbox.changes import Feed, Live
from restante.mailbox.endings import Endings
from restante.mailbox.outlet import MailboxOutlet
from restante.mailbox.redelivery import Redelivery
from restante.mailbox.settings import MailboxSettings
from restante.message import Address, Event, EventKind, Ingress, Message, Role
from restante.outlet import Delivery as Attempt
from restante.outlet import Outcome
from restante.registry.edits import Registry
from restante.registry.versioned import ObjectKind, Stored
from restante.smsc.binds import Binds
from restante.smsc.delivery import Delivery
from restante.smsc.holding import Holding
from restante.smsc.kinds import PathKinds
from restante.smsc.limits import Throttles
from restante.smsc.link_receipts import LinkReceiptSettings
from restante.smsc.links import PASSWORD as LINK_PASSWORD
from restante.smsc.long_messages import LongMessages
from restante.smsc.permits import AddressPermission
from restante.smsc.recall import Recall
from restante.smsc.receipts import Receipts
from restante.smsc.recipients import Recipients
from restante.smsc.replacing import Replacing
from restante.smsc.routing import Router
from restante.smsc.schedules import Schedules, schedule_kind
from restante.smsc.screening import Screening
from restante.smsc.submission import Submission
from restante.smsc.upstream import Upstream
from restante.smsc.waiting import Waiting
from restante.store.bus import LocalBus
from restante.store.connect import connect
from restante.store.history import History
from restante.store.restored import Restored
from restante.store.roll import Roll
from restante.store.settings import StoreSettings
from restante.store.store import Answer, Release
from restante.zones.kinds import ZoneKinds
from restante.zones.room import ZonesRoom
from restante.zones.settings import ZonesSettings

RING = KeyRing({"00000000": bytes(range(32))})
START_MS = 1_790_000_000_000
NUMBER = "+447700900001"
PASSWORD = "correct horse battery"
CHEAP = CredentialSettings(hashing=HashSettings(memory_kib=7168, time_cost=1))
API = "/api/v1"


class StepClock:
    """Time moves when a test says so."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def measured(self, database_ms: int) -> None:
        pass

    def step(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


@dataclass
class RestCenter:
    """The rooms, the app, and what tests need to come in."""

    rooms: Rooms
    app: FramedApp
    clock: Any
    outlet: MailboxOutlet
    sent: list[tuple[str, str]] = field(default_factory=list)
    admin_key: str = ""
    admin: str = ""
    account: Account | None = None
    account_key: str = ""

    def client(self, token: str = "", *, address: str = "127.0.0.1", **more: Any) -> httpx.AsyncClient:
        """A client in this process."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, client=(address, 50000))
        return httpx.AsyncClient(
            transport=transport, base_url="http://center.test" + API, headers=headers, **more
        )

    async def operator(self, role: OperatorRole, name: str = "", *, content_read: bool = False) -> str:
        """Make an operator and return a key."""
        model = {"name": name or role.value, "role": role.value, "content_read": content_read}
        made = await self.rooms.registry.create(self.rooms.operator_kind, model, actor="test")
        assert made.after is not None
        issued = await self.rooms.credentials.issue_api_key(made.after.id)
        return issued.token

    async def make_account(self, system_id: str = "shop", **settings: Any) -> tuple[Account, str]:
        """Make an account and a key of it."""
        made = await self.rooms.registry.create(
            self.rooms.account_kind, {"system_id": system_id, **settings}, actor="test"
        )
        assert made.after is not None
        issued = await self.rooms.credentials.issue_api_key(made.after.id)
        account = self.rooms.registry.snapshot(self.rooms.account_kind).by_number(made.after.number)
        assert account is not None
        return account, issued.token

    async def subscriber(self, number: str = NUMBER) -> Subscriber:
        """The subscriber of a number, made if need be."""
        return await self.rooms.subscribers.find(number) or await self.rooms.subscribers.provision([number])

    async def code(self) -> str:
        """The newest one-time code that was sent."""
        await self.rooms.codes.drain()
        return self.sent[-1][1][:6]

    async def sign_in(self, number: str = NUMBER, client: str = "api", **more: Any) -> httpx.Response:
        """Sign a subscriber in by a code, as a phone would."""
        await self.subscriber(number)
        async with self.client(**more) as http:
            asked = await http.post("/auth/otp", json={"msisdn": number})
            assert asked.status_code == 202, asked.text
            answer = await http.post(
                f"/auth/otp/{asked.json()['challenge_id']}",
                json={"code": await self.code(), "client": client},
                headers={"Sec-Fetch-Site": "same-origin"},
            )
            assert answer.status_code == 200, answer.text
            return answer

    async def subscriber_token(self, number: str = NUMBER) -> str:
        """An access token, without the detour."""
        who = await self.subscriber(number)
        tokens = await self.rooms.sessions.open(
            who.id, Client.API, "one-time-code", peer="127.0.0.1", agent="test"
        )
        return tokens.token

    async def deposit(self, text: str = "Hello", *, to: str = NUMBER, sender: str = "+447700900999") -> int:
        """A message that lies in its box."""
        await self.subscriber(to)
        now = self.rooms.store.clock.now_ms()
        account = self.account.number if self.account else 0
        message = Message(
            id=self.rooms.store.next_id(),
            source=Address(1, 1, sender.lstrip("+@")),
            destination=Address(1, 1, to.lstrip("+")),
            body=text.encode("ascii", "replace"),
            account=account,
            ingress=Ingress("smpp", account, Role.ESME, "shop").encoded,
            sender=sender,
            recipient=to,
            submitted_at=now,
            expires_at=now + 2 * 86_400_000,
            owner=self.rooms.store.epoch,
        )
        assert await self.rooms.store.apply(messages=[message]) is Answer.STORED
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        assert self.outlet.hand(Attempt(message, 1, "deposit", because="absent"), answered.set_result)
        outcome = await answered
        release = Release(message.id, self.rooms.store.epoch)
        stored = Event(message.id, now, EventKind.STORED, reason="absent", account=account, route="mailbox")
        answer = await self.rooms.store.apply(release=release, events=[stored], writes=outcome.writes)
        assert answer is Answer.STORED
        for hook in self.rooms.box._changed:
            hook((await self.subscriber(to)).number)
        return message.id


def kinds(ranges: NumberRanges) -> tuple[ObjectKind[Any, Any], ...]:
    """Account, route, range, operator, link, schedule, as serve.py declares them."""

    def account(stored: Stored[AccountModel]) -> Account:
        rules = NumberRules()
        return Account(
            stored.number, stored.value, version=stored.version, number_rules=rules, own_network=ranges.is_own
        )

    return (
        accounts := ObjectKind(
            "account", "acc", AccountModel, lambda a: a.system_id, account, warn=_warnings
        ),
        (path := PathKinds(accounts)).route,
        ObjectKind("range", "rng", RangeModel, lambda r: r.prefix, lambda s: NumberRange(s.number, s.value)),
        ObjectKind("operator", "op", OperatorModel, lambda o: o.name, Operator.of),
        path.link,
        schedule_kind(),
    )


def _warnings(before: Any, after: Any, view: Any) -> list[Any]:
    from restante.registry.documents import Problem

    return [Problem(*one) for one in account_warnings(after.value)] if after is not None else []


async def _path(
    store: Any, registry: Registry, found: tuple[ObjectKind[Any, Any], ...], ranges: NumberRanges
) -> Any:
    """Everything on the way of a message. Long because it makes each room once."""
    accounts, routes = registry.snapshot(found[0]), registry.snapshot(found[1])
    subscribers = Subscribers(store, ranges, SubscriberSettings(first_use=False))
    binds = Binds(accounts.by_number)
    outlet = MailboxOutlet(store, subscribers, MailboxSettings(), accounts.by_number)
    secrets = Secrets(store, Sealer(RING))
    upstream = Upstream(
        store,
        links=registry.snapshot(found[4]),
        account=accounts.get,
        account_by_number=accounts.by_number,
        password=lambda link: secrets.get(link.id, LINK_PASSWORD),
        number_rules=NumberRules(),
        settings=LinkReceiptSettings(),
        long_messages=LongMessages(store),
        random=random.random,
    )
    registry.snapshot(found[4]).on_change(upstream.changed)
    router = Router(
        owner_of=lambda number: owner_table(accounts.values()).find(number),
        account=accounts.get,
        account_by_number=accounts.by_number,
        outlet_of=binds.outlet,
        mailbox=outlet,
        own=ranges,
        random=random.random,
        links=upstream,
        pins=upstream.pins,
    )
    routes.on_change(lambda _: router.use(routes.values()))
    screening = Screening([AddressPermission(accounts.by_number)])
    receipts = Receipts(
        accounts=accounts.by_number, next_id=store.next_id, epoch=lambda: store.epoch, node=store.node
    )
    delivery = Delivery(
        store=store,
        router=router,
        screening=screening,
        receipts=receipts,
        recipients=Recipients(store),
        accounts=accounts.by_number,
        random=random.random,
        mailbox=outlet,
    )
    waiting = Waiting(store, delivery)
    replacing = Replacing(store=store, delivery=delivery, receipts=receipts, waiting=waiting)
    recall = Recall(
        store=store, history=History(store), delivery=delivery, receipts=receipts, waiting=waiting
    )
    submission = Submission(
        store=store,
        screening=screening,
        router=router,
        delivery=delivery,
        throttles=Throttles(),
        replacing=replacing,
    )
    endings = Endings(store, receipts.ending, delivery.admit)
    box = Box(store, subscribers, MailboxSettings(), endings)
    return (
        subscribers, binds, outlet, delivery, submission, box, Holding(store, receipts), router, upstream, secrets,
        recall,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def rest_center(
    url: str,
    *,
    settings: HttpSettings | None = None,
    codes: CodeSettings | None = None,
    sessions: SessionSettings | None = None,
    clock: Any = None,
) -> AsyncGenerator[RestCenter]:
    """An open center on a migrated database. Long because it names every room once."""
    clock = clock or StepClock()
    store = connect(StoreSettings(url=url, durability="process-crash-only"), clock=clock)
    await store.open()
    registry, ranges = Registry(store), NumberRanges([NumberRange(0, RangeModel(prefix="+4477009"))])
    found = kinds(ranges)
    for kind in found:
        registry.register(kind)
    zone_kinds = ZoneKinds()
    drawn: list[object] = [
        registry.register(zone_kinds.zone),
        registry.register(zone_kinds.policy),
        registry.register(zone_kinds.membership),
    ]
    spoof_kinds = SpoofKinds()
    spoof_live = SpoofLive.of(registry, spoof_kinds)
    await registry.open()
    path = await _path(store, registry, found, ranges)
    subscribers, binds, outlet, delivery, submission, box = path[:6]
    holding, router, upstream, secrets, recall = path[6:]
    sent: list[tuple[str, str]] = []

    async def send(number: str, text: str) -> None:
        sent.append((number, text))

    zones = ZonesRoom(
        store=store,
        settings=ZonesSettings(),
        zones=cast("Any", drawn[0]),
        policies=cast("Any", drawn[1]),
        memberships=cast("Any", drawn[2]),
        revision=lambda: registry.revision,
        send_system=submission.send_system,
    )
    await zones.open()
    sources = Sources(SourcesSettings(), now_ms=store.clock.now_ms)
    spoof = SpoofRoom(
        store=store,
        settings=SpoofSettings(),
        live=spoof_live,
        ranges=ranges,
        accounts=registry.snapshot(found[0]).by_number,
        affiliations=sources.affiliations,
        revision=lambda: registry.revision,
        ring=RING,
    )
    await spoof.open()
    box_live = Live(store, MailboxSettings(live_poll_ms=50))
    box.on_change(box_live.touched)
    credentials = Credentials(store, CHEAP)
    rooms = Rooms(
        settings=settings or HttpSettings(),
        ring=RING,
        version="0.0.test",
        store=store,
        history=History(store),
        registry=registry,
        account_kind=found[0],
        route_kind=found[1],
        link_kind=found[4],
        range_kind=found[2],
        operator_kind=found[3],
        schedule_kind=found[5],
        schedules=Schedules(),
        credentials=credentials,
        sessions=Sessions(store, RING, sessions),
        codes=OneTimeCodes(store, RING, send=send, find=subscribers.find, settings=codes),
        audit=Audit(store, RING),
        submission=submission,
        delivery=delivery,
        roll=Roll(store, LocalBus(), late_after_ms=0),
        restored=Restored(store),
        binds=binds,
        router=router,
        upstream=upstream,
        secrets=secrets,
        holding=holding,
        recall=recall,
        box=box,
        feed=Feed(store, MailboxSettings()),
        box_live=box_live,
        redelivery=Redelivery(store, box, MailboxSettings(), delivery.admit),
        subscribers=subscribers,
        zones=zones,
        zone_kinds=zone_kinds,
        spoof=spoof,
        spoof_kinds=spoof_kinds,
        quarantine=spoof.quarantine(holding),
        config=lambda: [ConfigValue("http.port", 8775, "default", "port to listen on")],
    )
    app = create_app(rooms)
    made = RestCenter(rooms, app, clock, outlet, sent)
    life = app.app.router.lifespan_context(app.app)
    await life.__aenter__()
    try:
        operator = await registry.create(found[3], {"name": "root", "role": "admin"}, actor="test")
        assert operator.after is not None
        made.admin = operator.after.id
        await credentials.set_password(made.admin, CredentialKind.OPERATOR_PASSWORD, PASSWORD)
        made.admin_key = (await credentials.issue_api_key(made.admin)).token
        made.account, made.account_key = await made.make_account(numbers=["12345"], sources=["*"])
        yield made
    finally:
        app.end_streams()
        await life.__aexit__(None, None, None)
        await box_live.close()
        await zones.close()
        await spoof.close()
        await delivery.stop(0.5)
        credentials.close()
        await store.close()
