"""Puts the rooms together, starts them and stops them.

In charge of: the order in which rooms are made, opened and closed, and which of them know each other. Not in charge of:
anything a room does. Every check, outlet, kind of object and door is registered here, by hand, and nowhere else.

Order of life: the store first, then what is read from it, then delivery, and only then the doors. The end is the other
way round: doors stop taking, what is pending is answered, attempts under way end, and the store closes last.

Long because every room is named here, once, in that order; nothing is decided here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from . import __version__
from .access.accounts import Account
from .access.audit import Audit
from .access.certificates import Certificates
from .access.credentials import Credentials
from .access.key_ring import KeyRing
from .access.one_time_codes import OneTimeCodes
from .access.ranges import NumberRanges
from .access.sealing import Sealer, Secrets
from .access.sessions import Sessions
from .access.subscriber import Subscriber
from .access.subscribers import Subscribers
from .antispoof.kinds import SpoofKinds
from .antispoof.room import Live as SpoofLive
from .antispoof.room import SpoofRoom
from .antispoof.sources import Sources
from .api.app import create_app, create_ops_app
from .api.rooms import ConfigValue, Rooms
from .api.server import HttpServer
from .config import Config
from .mailbox.outlet import MailboxOutlet
from .mailbox.room import MailboxRoom
from .registry.edits import Registry
from .registry.snapshot import Changed
from .smsc.binds import Binds
from .smsc.core_network import CoreNetwork
from .smsc.diameter_network import DiameterNetwork
from .smsc.directory import Directory
from .smsc.identity import Identity
from .smsc.keywords import KeywordOutlet
from .smsc.kinds import AccessKinds, PathKinds
from .smsc.limits import Throttles
from .smsc.links import PASSWORD
from .smsc.listener import Listener
from .smsc.long_messages import LongMessages
from .smsc.neighbourhood import Neighbourhood
from .smsc.operations import Operations
from .smsc.path import MessagePath
from .smsc.permits import AddressPermission
from .smsc.reports import Reports
from .smsc.routing import Router
from .smsc.sandbox import SandboxOutlet
from .smsc.schedules import Schedules, schedule_kind
from .smsc.screening import Screening
from .smsc.switch import SwitchOutlet
from .smsc.upkeep import Upkeep as PathUpkeep
from .smsc.upstream import Upstream
from .store import nodes
from .store.connect import connect, connect_bus
from .store.failpoints import from_environment
from .store.history import History
from .store.nodes import LifeState
from .store.restored import Restored
from .store.roll import Roll
from .store.sweep import Sweep
from .zones.kinds import ZoneKinds
from .zones.room import ZonesRoom

__all__ = ["Addresses", "Center"]

_log = structlog.get_logger(__name__)

_STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the center really listens."""

    smpp: tuple[str, int]
    http: tuple[str, int]
    ops: tuple[str, int]
    smpps: tuple[str, int] | None = None  #: SMPP over TLS


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
        self.roll = Roll(store, self.bus, late_after_ms=store.settings.late_after_ms if store.shared else 0)
        self.restored = Restored(store)
        await self.restored.open()
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
        self.access_kinds = AccessKinds(self.config.submission.number_rules, self.ranges)
        self.path_kinds = PathKinds(self.access_kinds.account)
        self.schedule_kind = schedule_kind()
        self.accounts = registry.register(self.access_kinds.account)
        self.live_links = registry.register(self.path_kinds.link)
        self.routes = registry.register(self.path_kinds.route)
        live_ranges = registry.register(self.access_kinds.range)
        registry.register(self.access_kinds.operator)
        edited_schedules = registry.register(self.schedule_kind)
        self.zone_kinds = ZoneKinds(self.config.zones.max_vertices)
        self.live_zones = registry.register(self.zone_kinds.zone)
        self.zone_policies = registry.register(self.zone_kinds.policy)
        self.zone_memberships = registry.register(self.zone_kinds.membership)
        self.spoof_kinds = SpoofKinds()
        self.spoof_live = SpoofLive.of(registry, self.spoof_kinds)
        await registry.open()
        if self.store.shared:  # so that other nodes look at once, and not when their time comes
            registry.on_edit.append(lambda: self.bus.publish("registry", b""))
            self.bus.subscribe("registry", lambda _: registry.stir())
        self.schedules = Schedules()
        self.schedules.use(edited_schedules.values())
        edited_schedules.on_change(lambda _: self.schedules.use(edited_schedules.values()))
        self.identity = Identity([self.config.antispoof.verdict_tag])
        self.directory = Directory(self.accounts, live_ranges, own=self.ranges, identity=self.identity)
        self.accounts.on_change(self._accounts_changed)
        self.subscribers = Subscribers(self.store, self.ranges, self.config.subscribers)

    def _accounts_changed(self, changes: Sequence[Changed[Account]]) -> None:
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
        config, now_ms = self.config, self.store.clock.now_ms
        self.diameter = DiameterNetwork.of(config.diameter, center=config.handsets.center, now_ms=now_ms)
        others = self.diameter.registers if self.diameter is not None else ()
        self.sources = Sources(config.affiliations, now_ms=now_ms, others=others)
        self.affiliations = self.sources.affiliations
        await self.sources.open()
        self._end.push_async_callback(self.sources.close)

    def _make_path(self) -> None:
        """The way of a message, from its door to its outcome."""
        store, config = self.store, self.config
        by_number = self.accounts.by_number
        self.long_messages = LongMessages(store)
        self.binds = Binds(by_number, long_messages=self.long_messages, failpoint=self.failpoint)
        self.neighbourhood = Neighbourhood(store, self.bus, binds=self.binds, throttles=self.throttles)
        store.after_commit(self.binds.flush)  # responses leave before delivery goes on
        self.mailbox = MailboxOutlet(store, self.subscribers, config.mailbox, by_number)
        self.sandbox = SandboxOutlet(by_number)
        self.switch = self._switch_outlet()
        self.keywords = KeywordOutlet(
            config.keywords,
            config.submission.sender,
            accounts=by_number,
            send=lambda to, text, sender: self.path.submission.send_answer(to, text, sender),
            is_spoofed=lambda message: self.spoof.is_spoofed(message),
        )
        self._make_links()
        self._make_router()
        self._make_spoof()
        self._make_zones()
        # The order of behaviour.md 4; one line a policy.
        permissions = (AddressPermission(by_number), self.keywords.permission)
        self.screening = Screening([*permissions, *self.spoof.checks, *self.zones.checks])
        path = self.path = MessagePath(
            store=store,
            history=self.history,
            accounts=by_number,
            throttles=self.throttles,
            router=self.router,
            screening=self.screening,
            mailbox=self.mailbox,
            binds=self.binds,
            neighbourhood=self.neighbourhood,
            schedules=self.schedules,
            attempts=config.delivery,
            intake=config.submission,
            random=random.random,
            failpoint=self.failpoint,
        )
        for outlets in (self.binds, self.mailbox, self.sandbox, self.switch, self.keywords):
            outlets.wake_with(path.delivery.outlet_ready)
        self._make_core_network()
        self._make_boxes()

    def _make_router(self) -> None:
        """Every way out, and the routes that choose among them."""
        self.router = Router(
            owner_of=self.directory.owner_of,
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
            center=self.keywords,
        )
        self.router.use(self.routes.values())
        self.routes.on_change(lambda _: self.router.use(self.routes.values()))

    def _connect_links(self) -> None:
        self.upstream.connect(
            self.path.submission,
            Reports(self.store, self.path.receipts, self.path.recipients, self.path.delivery),
            wake=self.path.delivery.outlet_ready,
            alert=self.path.delivery.wake,
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

    def _make_core_network(self) -> None:
        """Handsets: what they say, and the ways to them."""
        config = self.config
        self.core = CoreNetwork(
            handsets=config.handsets,
            gsup=config.gsup,
            diameter=self.diameter,
            store=self.store,
            affiliations=self.affiliations,
            subscribers=self.subscribers,
            account=self.accounts.get,
            submission=self.path.submission,
            delivery=self.path.delivery,
            commands=self.path.commands,
            outlet=self.switch,
        )
        self.neighbourhood.include_switches(self.switch)

    def _switch_outlet(self) -> SwitchOutlet:
        return SwitchOutlet(
            self.config.handsets,
            long_messages=self.long_messages,
            affiliations=self.affiliations,
            accounts=self.accounts.by_number,
            imsi_of=self.subscribers.imsi_of,
            load=self.store.load,
        )

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
            long_messages=self.long_messages,
            random=random.random,
        )
        self.live_links.on_change(self.upstream.changed)
        self.neighbourhood.include(self.upstream)

    def _make_zones(self) -> None:
        """Home zones: what is asked about every message, and who waits to come home."""
        self.zones = ZonesRoom(
            store=self.store,
            settings=self.config.zones,
            zones=self.live_zones,
            policies=self.zone_policies,
            memberships=self.zone_memberships,
            revision=lambda: self.registry.revision,
            send_system=lambda kind, recipient, text: self.path.submission.send_system(kind, recipient, text),
            is_esme=self.directory.is_esme,
            shared=self.store.shared,
            center=self.keywords.numbers,
        )
        self.zones.offers.register(self.keywords)

    def _make_boxes(self) -> None:
        """The mailbox room, and what it tells people."""
        self.boxes = MailboxRoom(
            store=self.store,
            settings=self.config.mailbox,
            subscribers=self.subscribers,
            receipts=self.path.receipts,
            delivery=self.path.delivery,
            submission=self.path.submission,
            keywords=self.keywords,
            bus=self.bus if self.store.shared else None,
        )
        self.subscribers.on_barred(self._barred)
        self.codes = OneTimeCodes(
            self.store,
            self._ring,
            send=self.path.submission.send_code,
            find=self.subscribers.resolve,
            settings=self.config.one_time_codes,
        )

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
        self._begin(self.restored.run(), "restored messages")
        self._begin(PathUpkeep(self.store).run(), "upkeep of the path")
        self._begin(self.path.flags.run(), "pending flags")
        self.boxes.open()
        self._end.push_async_callback(self.boxes.close)
        self._end.push_async_callback(self.screening.close)
        self._end.push_async_callback(self.keywords.close)
        await self.path.recipients.open()
        await self.spoof.open()
        self._end.push_async_callback(self.spoof.close)
        await self.zones.open()
        self._end.push_async_callback(self.zones.close)
        self.store.on_life(self._life)
        await self.neighbourhood.open()
        self._end.push_async_callback(self.neighbourhood.close)
        self.path.delivery.start()
        self.upstream.open()
        self._end.push_async_callback(self.upstream.close)  # after the attempts under way have ended
        self._end.push_async_callback(self.path.delivery.stop, _STOP_S)
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

    async def _open_smpp(self) -> None:
        self.listener = Listener(
            self.config.smpp,
            accounts=self.accounts,
            password_is_right=self.credentials.opens_bind,
            submission=self.path.submission,
            operations=Operations(self.path.recall, self.store.clock),
            binds=self.binds,
            seats=self.neighbourhood.seats,
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
            account_kind=self.access_kinds.account,
            route_kind=self.path_kinds.route,
            link_kind=self.path_kinds.link,
            range_kind=self.access_kinds.range,
            operator_kind=self.access_kinds.operator,
            schedule_kind=self.schedule_kind,
            schedules=self.schedules,
            credentials=self.credentials,
            sessions=self.sessions,
            codes=self.codes,
            audit=self.audit,
            submission=self.path.submission,
            delivery=self.path.delivery,
            roll=self.roll,
            restored=self.restored,
            binds=self.binds,
            router=self.router,
            upstream=self.upstream,
            secrets=self.secrets,
            holding=self.path.holding,
            recall=self.path.recall,
            box=self.boxes.box,
            feed=self.boxes.feed,
            box_live=self.boxes.live,
            redelivery=self.boxes.redelivery,
            subscribers=self.subscribers,
            zones=self.zones,
            zone_kinds=self.zone_kinds,
            spoof=self.spoof,
            spoof_kinds=self.spoof_kinds,
            quarantine=self.spoof.quarantine(self.path.holding),
            certificates=self.certificates,
            core=self.core,
            config=self._effective,
        )

    # ------------------------------------------------------------------------------------------------ running

    def _life(self, state: LifeState) -> None:
        """The lease decides whether this node may send."""
        if state is LifeState.FENCED:
            self.path.delivery.halt()
            self.end("fenced")
        elif state is LifeState.STALE:
            self.path.delivery.pause()
        else:
            self.path.delivery.resume()

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
        _log.info("stopping")
        await self._end.aclose()
        _log.info("stopped")
