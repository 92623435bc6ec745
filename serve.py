"""Puts the rooms together, starts them and stops them.

In charge of: the order in which rooms are made, opened and closed, and which of them know each other. Not in charge of:
anything a room does. Every check, outlet, kind of object and door is registered here, by hand, and nowhere else.

Order of life: the store first, then what is read from it, then delivery, and only then the doors. The end is the other
way round: doors stop taking, what is pending is answered, attempts under way end, and the store closes last.

Long because every room is named here, once, in that order; nothing is decided here.

Long because every room is named here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from . import __version__
from .access.accounts import Account, AccountModel, account_warnings, owner_table
from .access.audit import Audit
from .access.certificates import Certificates
from .access.credentials import CredentialKind, Credentials
from .access.key_ring import KeyRing
from .access.numbers import NumberRules
from .access.one_time_codes import OneTimeCodes
from .access.operators import Operator, OperatorModel, operator_key
from .access.ranges import NumberRange, NumberRanges, RangeModel
from .access.sealing import Sealer, Secrets
from .access.sessions import Sessions
from .access.subscriber import Subscriber
from .access.subscribers import Subscribers
from .antispoof.check import SpoofCheck
from .antispoof.kinds import SpoofKinds
from .antispoof.room import Live as SpoofLive
from .antispoof.room import SpoofRoom
from .antispoof.sources import Sources
from .api.app import create_app, create_ops_app
from .api.rooms import ConfigValue, Rooms
from .api.server import HttpServer
from .config import Config
from .mailbox.box import Box
from .mailbox.changes import Feed, Live
from .mailbox.endings import Endings
from .mailbox.notices import Notices
from .mailbox.outlet import MailboxOutlet
from .mailbox.redelivery import Redelivery
from .mailbox.retention import Retention
from .mailbox.upkeep import Upkeep
from .message import Kind, Role
from .registry.documents import Problem
from .registry.edits import Registry
from .registry.snapshot import Changed
from .registry.versioned import ObjectKind, Stored, View
from .smsc.binds import Binds
from .smsc.core_network import CoreNetwork
from .smsc.delivery import Delivery
from .smsc.handover import Handover
from .smsc.holding import Holding
from .smsc.identity import Identity
from .smsc.kinds import PathKinds
from .smsc.limits import Throttles
from .smsc.links import PASSWORD
from .smsc.listener import Listener
from .smsc.long_messages import LongMessages
from .smsc.neighbours import Neighbours
from .smsc.operations import Operations
from .smsc.permits import AddressPermission
from .smsc.recall import Recall
from .smsc.receipts import Receipts
from .smsc.recipients import Recipients
from .smsc.reports import Reports
from .smsc.routing import Router
from .smsc.sandbox import SandboxOutlet
from .smsc.schedules import Schedules, schedule_kind
from .smsc.screening import Screening
from .smsc.seats import Seats
from .smsc.shares import Shares
from .smsc.submission import Submission
from .smsc.switch import SwitchOutlet
from .smsc.upkeep import Upkeep as PathUpkeep
from .smsc.upstream import Upstream
from .smsc.waiting import Waiting
from .store import nodes
from .store.connect import connect, connect_bus
from .store.failpoints import from_environment
from .store.history import History
from .store.nodes import LifeState
from .store.store import StoreClosed
from .store.sweep import Sweep
from .zones.check import ZoneCheck
from .zones.kinds import ZoneKinds
from .zones.room import ZonesRoom

__all__ = ["Addresses", "Center", "Fenced", "serve"]

_log = structlog.get_logger(__name__)

_STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the center really listens."""

    smpp: tuple[str, int]
    http: tuple[str, int]
    ops: tuple[str, int]
    smpps: tuple[str, int] | None = None  #: SMPP over TLS


class Fenced(Exception):
    """This node may not write any more; its process should be started anew."""


class Center:
    """One running message center."""

    def __init__(
        self,
        config: Config,
        *,
        key_file: Path,
        environ: Mapping[str, str],
        effective: Callable[[], Sequence[ConfigValue]] = tuple[ConfigValue, ...],
    ) -> None:
        """`key_file`: the master keys; `effective`: the configuration as the admin API shows it."""
        self.config = config
        self._ring = KeyRing.load(key_file)
        self._effective = effective
        self.failpoint = from_environment(environ)
        self._end = AsyncExitStack()  # what was opened is closed from here, last opened first
        self._work: set[asyncio.Task[None]] = set()
        self.over = asyncio.Event()  #: this node's life ends, for the reason in `ending`
        self.ending = ""

    async def start(self) -> Addresses:
        """Open everything and begin to serve. What was opened is closed again if a later room refuses."""
        try:
            await self._open_store()
            await self._open_objects()
            await self._make_registers()
            self._make_path()
            self._connect_links()
            await self._open_doors()
        except BaseException:
            await self.stop()
            raise
        return Addresses(
            (self.config.smpp.host, self.listener.port),
            (self.config.http.host, self.http.port),
            (self.config.ops.host, self.ops.port),
            (self.config.smpp.host, self.listener.tls_port) if self.listener.tls_port else None,
        )

    # ------------------------------------------------------------------------------------------------ opening

    async def _open_store(self) -> None:
        store = self.store = connect(self.config.store, failpoint=self.failpoint)
        await store.open()
        self._end.push_async_callback(store.close)
        self.bus = connect_bus(self.config.bus, self.config.store)
        await self.bus.open()
        self._end.push_async_callback(self.bus.close)
        store.on_wanted.append(self._wanted)
        self.history = History(store)
        self.credentials = Credentials(store, self.config.credentials)
        self._end.callback(self.credentials.close)
        self.secrets = Secrets(store, Sealer(self._ring))
        await self.secrets.reseal()
        self.audit = Audit(store, self._ring)
        self.sessions = Sessions(store, self._ring, self.config.sessions)

    async def _open_objects(self) -> None:
        """The objects that operators edit, live."""
        registry = self.registry = Registry(self.store)
        self.throttles = Throttles()
        self.ranges = NumberRanges()
        rules = self.config.submission.number_rules
        self.account_kind = account_kind(rules, self.ranges)
        self.path_kinds = PathKinds(self.account_kind)
        self.range_kind = ObjectKind(
            "range", "rng", RangeModel, lambda r: r.prefix, lambda s: NumberRange(s.number, s.value)
        )
        self.operator_kind = ObjectKind("operator", "op", OperatorModel, operator_key, Operator.of)
        self.schedule_kind = schedule_kind()
        self.accounts = registry.register(self.account_kind)
        self.live_links = registry.register(self.path_kinds.link)
        self.routes = registry.register(self.path_kinds.route)
        self.live_ranges = registry.register(self.range_kind)
        registry.register(self.operator_kind)
        edited_schedules = registry.register(self.schedule_kind)
        self.zone_kinds = ZoneKinds(self.config.zones.max_vertices)
        self.live_zones = registry.register(self.zone_kinds.zone)
        self.zone_policies = registry.register(self.zone_kinds.policy)
        self.zone_memberships = registry.register(self.zone_kinds.membership)
        self.spoof_kinds = SpoofKinds()
        self.spoof_live = SpoofLive.of(registry, self.spoof_kinds)
        await registry.open()
        self.schedules = Schedules()
        self.schedules.use(edited_schedules.values())
        edited_schedules.on_change(lambda _: self.schedules.use(edited_schedules.values()))
        self.owners = owner_table(self.accounts.values())
        self.identity = Identity([self.config.antispoof.verdict_tag])
        self.identity.use(self.accounts.values())
        self.ranges.use(self.live_ranges.values())
        self.accounts.on_change(self._accounts_changed)
        self.live_ranges.on_change(lambda _: self.ranges.use(self.live_ranges.values()))
        self.subscribers = Subscribers(self.store, self.ranges, self.config.subscribers)

    def _accounts_changed(self, changes: Sequence[Changed[Account]]) -> None:
        self.owners = owner_table(self.accounts.values())
        self.identity.use(self.accounts.values())
        self.spoof.check.forget()
        for change in changes:
            if change.after is None:
                self.throttles.forget(change.number)
        for bind in self.binds:
            account = self.accounts.by_number(bind.account.number)
            if account is None or account.suspended:
                bind.unbind("account suspended or deleted")

    async def _make_registers(self) -> None:
        """Who says which switch serves a subscriber. A register behind another room's connection goes into `others`."""
        self.sources = Sources(self.config.affiliations, now_ms=self.store.clock.now_ms, others=())
        self.affiliations = self.sources.affiliations
        await self.sources.open()
        self._end.push_async_callback(self.sources.close)

    def _make_path(self) -> None:
        """The way of a message, from its door to its outcome."""
        store, config = self.store, self.config
        by_number = self.accounts.by_number
        self.binds = Binds(by_number, long_messages=LongMessages(store), failpoint=self.failpoint)
        self._make_neighbours()
        store.after_commit(self.binds.flush)  # responses leave before delivery goes on
        self.mailbox = MailboxOutlet(store, self.subscribers, config.mailbox, by_number)
        self.sandbox = SandboxOutlet(by_number)
        self.switch = self._switch_outlet()
        self._make_links()
        self._make_router()
        self._make_spoof()
        self._make_zones()
        # The order of behaviour.md 4; one line a policy.
        self.screening = Screening(
            [AddressPermission(by_number), *self._spoof_checks(), *self._zone_checks()]
        )
        self.receipts = self._make_receipts()
        self.recipients = Recipients(store)
        self.delivery = Delivery(
            store=store,
            router=self.router,
            screening=self.screening,
            receipts=self.receipts,
            recipients=self.recipients,
            accounts=by_number,
            random=random.random,
            mailbox=self.mailbox,
            settings=config.delivery,
            schedules=self.schedules,
            failpoint=self.failpoint,
            handover=self.handover,
        )
        self.holding = Holding(store, self.receipts)
        self.waiting = Waiting(store, self.delivery)
        self.recall = Recall(
            store=store,
            history=self.history,
            delivery=self.delivery,
            receipts=self.receipts,
            waiting=self.waiting,
        )
        for outlets in (self.binds, self.mailbox, self.sandbox, self.switch):
            outlets.wake_with(self.delivery.outlet_ready)
        self.submission = Submission(
            store=store,
            screening=self.screening,
            router=self.router,
            delivery=self.delivery,
            throttles=self.throttles,
            settings=config.submission,
        )
        self._make_core_network()
        self._make_boxes()

    def _make_router(self) -> None:
        """Every way out, and the routes that choose among them."""
        self.router = Router(
            owner_of=lambda number: self.owners.find(number),
            account=self.accounts.get,
            account_by_number=self.accounts.by_number,
            outlet_of=self.binds.outlet,
            mailbox=self.mailbox,
            own=self.ranges,
            random=random.random,
            sandbox=self.sandbox,
            switch=self.switch,
            links=self.upstream,
            pins=self.upstream.pins,
        )
        self.router.use(self.routes.values())
        self.routes.on_change(lambda _: self.router.use(self.routes.values()))

    def _connect_links(self) -> None:
        self.upstream.connect(
            self.submission,
            Reports(self.store, self.receipts, self.recipients, self.delivery),
            wake=self.delivery.outlet_ready,
            alert=self.delivery.wake,
        )

    def _make_spoof(self) -> None:
        """Anti-spoofing: what is asked about every message that comes in."""
        self.spoof = SpoofRoom(
            store=self.store,
            settings=self.config.antispoof,
            live=self.spoof_live,
            ranges=self.ranges,
            accounts=self.accounts.by_number,
            affiliations=self.affiliations,
            revision=lambda: self.registry.revision,
            ring=self._ring,
        )

    def _spoof_checks(self) -> Iterable[SpoofCheck]:
        return [self.spoof.check] if self.config.antispoof.enabled else []

    def _make_core_network(self) -> None:
        """Handsets: what they say, and the ways to them."""
        config = self.config
        self.core = CoreNetwork(
            handsets=config.handsets,
            gsup=config.gsup,
            store=self.store,
            history=self.history,
            affiliations=self.affiliations,
            subscribers=self.subscribers,
            account=self.accounts.get,
            submission=self.submission,
            delivery=self.delivery,
            receipts=self.receipts,
            outlet=self.switch,
        )

    def _switch_outlet(self) -> SwitchOutlet:
        return SwitchOutlet(
            self.config.handsets,
            affiliations=self.affiliations,
            accounts=self.accounts.by_number,
            imsi_of=self._imsi_of,
            load=self.store.load,
        )

    async def _imsi_of(self, number: str) -> str:
        subscriber = await self.subscribers.find(number)
        return subscriber.imsi if subscriber is not None and not subscriber.closed else ""

    def _make_neighbours(self) -> None:
        """Other nodes, where the database may have some."""
        store = self.store
        self.seats = Seats(store, shared=store.shared)
        self.handover: Handover | None = None
        if not store.shared:
            return
        dead_after_ms = int(self.config.store.dead_after_s * 1000)
        self.neighbours = Neighbours(store, self.bus, outlets=self.binds.outlets, dead_after_ms=dead_after_ms)
        self.binds.on_change.append(self.neighbours.stir)
        self.neighbours.on_gone.append(store.adopt_soon)
        self.handover = Handover(store, self.bus, self.neighbours)
        self.shares = Shares(
            self.bus, self.throttles, epoch=lambda: store.epoch, nodes=lambda: self.neighbours.nodes
        )

    def _make_receipts(self) -> Receipts:
        return Receipts(
            accounts=self.accounts.by_number,
            next_id=self.store.next_id,
            epoch=lambda: self.store.epoch,
            node=self.store.node,
            owner_of=self._receipt_owner if self.store.shared else None,
        )

    def _receipt_owner(self, account: int) -> int:
        """The node that reaches an account, if any does."""
        if self.neighbours.alone or self.accounts.by_number(account) is None:
            return self.store.epoch
        return self.neighbours.place(self.binds.outlet(account), f"={account}") or self.store.epoch

    def _make_links(self) -> None:
        """Other centers, at which we bind."""
        self.upstream = Upstream(
            self.store,
            links=self.live_links,
            account=self.accounts.get,
            account_by_number=self.accounts.by_number,
            password=lambda link: self.secrets.get(link.id, PASSWORD),
            number_rules=self.config.submission.number_rules,
            settings=self.config.links,
            random=random.random,
        )
        self.live_links.on_change(self.upstream.changed)

    def _make_zones(self) -> None:
        """Home zones: what is asked about every message, and who waits to come home."""
        self.zones = ZonesRoom(
            store=self.store,
            settings=self.config.zones,
            zones=self.live_zones,
            policies=self.zone_policies,
            memberships=self.zone_memberships,
            revision=lambda: self.registry.revision,
            send_system=lambda kind, recipient, text: self.submission.send_system(kind, recipient, text),
            is_esme=self._is_esme,
            shared=self.store.shared,
        )

    def _zone_checks(self) -> Iterable[ZoneCheck]:
        return [self.zones.check] if self.config.zones.enabled else []

    def _is_esme(self, number: str) -> bool:
        owner = self.owners.find(number)
        return owner is not None and owner.role is Role.ESME

    def _make_boxes(self) -> None:
        """The mailbox room, and what it tells people."""
        store, settings = self.store, self.config.mailbox
        self.endings = Endings(store, self.receipts.ending, self.delivery.admit)
        self.box = Box(store, self.subscribers, settings, self.endings)
        self.redelivery = Redelivery(store, self.box, settings, self.delivery.admit)
        self.delivery.redeliver_with(self.redelivery)
        self.notices = Notices(
            store, self.subscribers, self.redelivery, settings, self.submission.send_system
        )
        self.delivery.on_seen(self.notices.seen)
        retention = Retention(store, settings, self.endings)
        self.upkeep = Upkeep(store, self.subscribers, settings, self.endings, retention)
        self.feed = Feed(store, settings)
        self.box_live = Live(store, settings)
        self.box.on_change(self.box_live.touched)
        self._tell_others()
        self.subscribers.on_barred(self._barred)
        self.codes = OneTimeCodes(
            store,
            self._ring,
            send=lambda number, text: self.submission.send_system(
                Kind.CODE, number, text, validity_ms=300_000
            ),
            find=self.subscribers.resolve,
            settings=self.config.one_time_codes,
        )

    def _tell_others(self) -> None:
        """What is told to other nodes so that they look at once, and not when their time comes."""
        bus = self.bus
        if not self.store.shared:
            return
        self.box.on_change(lambda subscriber: bus.publish("box", str(subscriber).encode()))
        bus.subscribe("box", lambda said: self.box_live.touched(int(said)))
        self.registry.on_edit.append(lambda: bus.publish("registry", b""))
        bus.subscribe("registry", lambda _: self.registry.stir())
        bus.subscribe("node", lambda _: self._begin(self._look_at_our_row(), "node row"))

    async def _look_at_our_row(self) -> None:
        """An operator asked something of a node: perhaps of this one."""
        try:
            await self.store.beat()
        except (OSError, StoreClosed) as error:
            _log.warning("node-row-not-read", error=str(error))

    def _wanted(self, wanted: str) -> None:
        if wanted == nodes.DRAIN:
            self.end("drained")

    def end(self, why: str) -> None:
        """Close the doors, hand over what is not done, and end the process."""
        if not self.over.is_set():
            _log.warning("node-ends", why=why)
            self.ending = why
            self.over.set()

    def _barred(self, subscriber: Subscriber) -> None:
        """A subscriber may no longer read: its sessions end at once. Upkeep seals a closed one's box."""
        self._begin(self.sessions.revoke_all(f"sub_{subscriber.number}", "barred"), "revoke")

    async def _open_doors(self) -> None:
        self.certificates = Certificates()
        rooms = self._rooms()
        self.ops = HttpServer(create_ops_app(rooms), self.config.ops)
        await self.ops.start()
        self._end.push_async_callback(self.ops.stop)
        self._end.push_async_callback(self._end_work)
        self._begin(self.registry.watch(), "registry")
        self._begin(Sweep(self.store, self.config.store.retention).run(), "retention")
        self._begin(PathUpkeep(self.store).run(), "upkeep of the path")
        self.upkeep.start()
        self._end.push_async_callback(self.upkeep.close)
        self._end.push_async_callback(self.notices.close)
        self._end.push_async_callback(self.box_live.close)
        self._end.push_async_callback(self.screening.close)
        await self.recipients.open()
        await self.spoof.open()
        self._end.push_async_callback(self.spoof.close)
        await self.zones.open()
        self._end.push_async_callback(self.zones.close)
        self.store.on_life(self._life)
        if self.handover is not None:
            await self.neighbours.open()
            self._end.push_async_callback(self.neighbours.close)
            self.shares.start()
            self._end.push_async_callback(self.shares.close)
            self._end.push_async_callback(self._give_back)
            self._end.push_async_callback(self.handover.close)
        self.delivery.start()
        self.upstream.open()
        self._end.push_async_callback(self.upstream.close)  # after the attempts under way have ended
        self._end.push_async_callback(self.delivery.stop, _STOP_S)
        self._end.callback(self.upstream.close_intake)
        await self._open_smpp()
        await self.core.open()
        self._end.push_async_callback(self.core.close)
        app = create_app(rooms)
        self.http = HttpServer(app, self.config.http)
        await self.http.start()
        self._end.push_async_callback(self.http.stop)
        self._show_certificates()
        self._end.callback(app.end_streams)  # before the server waits for them

    async def _give_back(self) -> None:
        """The last thing before a node ends: others may have what it has not done."""
        if self.store.alive():
            try:
                given = await self.store.give_back()
            except (OSError, StoreClosed) as error:
                _log.warning("rows-not-given-back", error=str(error))
                return
            if given:
                _log.info("rows-given-back", rows=given)

    async def _open_smpp(self) -> None:
        self.listener = Listener(
            self.config.smpp,
            accounts=self.accounts,
            password_is_right=self._password_is_right,
            submission=self.submission,
            operations=Operations(self.recall, self.store.clock),
            binds=self.binds,
            seats=self.seats,
            clock=self.store.clock,
            throttles=self.throttles,
            store_pending=lambda: self.store.health().pending,
            store_limit=self.config.store.pending_changes,
            identity=self.identity,
        )
        self.store.after_commit(self.listener.resume_paused)
        await self.listener.start()
        self._end.push_async_callback(self.listener.stop, _STOP_S)

    def _show_certificates(self) -> None:
        """Doors that speak TLS have their files read again when they change."""
        http, tls = self.config.http, self.config.smpp.tls
        if tls.files:
            self.certificates.add("smpp", tls.files, self.listener.reload_tls)
        if http.tls_certificate is not None and http.tls_key is not None:
            self.certificates.add("http", (http.tls_certificate, http.tls_key), self.http.reload_tls)
        self._begin(self.certificates.watch(tls.look_again_s), "certificates")

    def _rooms(self) -> Rooms:
        return Rooms(
            settings=self.config.http,
            ring=self._ring,
            version=__version__,
            store=self.store,
            history=self.history,
            registry=self.registry,
            account_kind=self.account_kind,
            route_kind=self.path_kinds.route,
            link_kind=self.path_kinds.link,
            range_kind=self.range_kind,
            operator_kind=self.operator_kind,
            schedule_kind=self.schedule_kind,
            schedules=self.schedules,
            credentials=self.credentials,
            sessions=self.sessions,
            codes=self.codes,
            audit=self.audit,
            submission=self.submission,
            delivery=self.delivery,
            binds=self.binds,
            router=self.router,
            upstream=self.upstream,
            secrets=self.secrets,
            holding=self.holding,
            box=self.box,
            feed=self.feed,
            box_live=self.box_live,
            redelivery=self.redelivery,
            subscribers=self.subscribers,
            zones=self.zones,
            zone_kinds=self.zone_kinds,
            spoof=self.spoof,
            spoof_kinds=self.spoof_kinds,
            quarantine=self.spoof.quarantine(self.holding),
            certificates=self.certificates,
            core=self.core,
            config=self._effective,
        )

    async def _password_is_right(
        self, account: Account | None, system_id: str, password: str, address: str
    ) -> bool:
        owner = account.id if account is not None else ""
        return await self.credentials.verify(
            owner, CredentialKind.SMPP_PASSWORD, password, address=address, name=system_id
        )

    # ------------------------------------------------------------------------------------------------ running

    def _life(self, state: LifeState) -> None:
        """The lease decides whether this node may send."""
        if state is LifeState.FENCED:
            self.delivery.halt()
            self.end("fenced")
        elif state is LifeState.STALE:
            self.delivery.pause()
        else:
            self.delivery.resume()

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run something until the end, or until it is done."""
        task = asyncio.create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _end_work(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def stop(self) -> None:
        """Close everything that was opened, doors first."""
        await self._end.aclose()


def account_kind(rules: NumberRules, ranges: NumberRanges) -> ObjectKind[AccountModel, Account]:
    """The kind of accounts: compiled with the center's number rules and number ranges."""

    def build(stored: Stored[AccountModel]) -> Account:
        return Account(
            stored.number, stored.value, version=stored.version, number_rules=rules, own_network=ranges.is_own
        )

    def warn(
        before: Stored[AccountModel] | None, after: Stored[AccountModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is None:
            return []
        others = [other.value for other in view.values(kind) if other.number != after.number]
        return [Problem(*warning) for warning in account_warnings(after.value, others)]

    kind = ObjectKind("account", "acc", AccountModel, lambda a: a.system_id, build, warn=warn)
    return kind


async def serve(
    config: Config,
    *,
    key_file: Path,
    environ: Mapping[str, str],
    stop: asyncio.Event,
    ready: Callable[[Addresses], None] = lambda addresses: None,
    effective: Callable[[], Sequence[ConfigValue]] = tuple[ConfigValue, ...],
    reload_by: Callable[[Callable[[], object]], None] = lambda reload: None,
) -> None:
    """Run a center until `stop` is set. `reload_by` is given what reads the certificates again."""
    center = Center(config, key_file=key_file, environ=environ, effective=effective)
    addresses = await center.start()
    gc.collect()
    gc.freeze()  # what exists now lives as long as the process: no collection needs to look at it again
    gc.set_threshold(50_000, 20, 50)  # messages make no cycles; looking for some took a tenth of the time
    reload_by(center.certificates.reload)
    ready(addresses)
    try:
        await _either(stop, center.over)
    finally:
        _log.info("stopping")
        await center.stop()
        _log.info("stopped")
    if center.ending == "fenced":
        raise Fenced("another life of this node has begun, or other nodes took it for dead")


async def _either(*events: asyncio.Event) -> None:
    """Wait for one of several events."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
