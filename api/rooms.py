"""What the REST door is given by `serve.py`, and how a route gets at it.

In charge of: naming the rooms behind the routes. Not in charge of: making them (`serve.py`, and the tests' own
wiring).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from fastapi import Request

from ..access.certificates import Certificates

if TYPE_CHECKING:
    from ..access.accounts import Account, AccountModel
    from ..access.audit import Audit
    from ..access.credentials import Credentials
    from ..access.key_ring import KeyRing
    from ..access.one_time_codes import OneTimeCodes
    from ..access.operators import Operator, OperatorModel
    from ..access.ranges import NumberRange, RangeModel
    from ..access.sealing import Secrets
    from ..access.sessions import Sessions
    from ..access.subscribers import Subscribers
    from ..antispoof.kinds import SpoofKinds
    from ..antispoof.quarantine import Quarantine
    from ..antispoof.room import SpoofRoom
    from ..mailbox.box import Box
    from ..mailbox.changes import Feed, Live
    from ..mailbox.redelivery import Redelivery
    from ..registry.edits import Registry
    from ..registry.versioned import ObjectKind
    from ..smsc.binds import Binds
    from ..smsc.core_network import CoreNetwork
    from ..smsc.delivery import Delivery
    from ..smsc.holding import Holding
    from ..smsc.links import Link, LinkModel
    from ..smsc.recall import Recall
    from ..smsc.routing import Route, RouteModel, Router
    from ..smsc.schedules import ScheduleModel, Schedules
    from ..smsc.submission import Submission
    from ..smsc.upstream import Upstream
    from ..store.history import History
    from ..store.restored import Restored
    from ..store.roll import Roll
    from ..store.store import Store
    from ..zones.kinds import ZoneKinds
    from ..zones.room import ZonesRoom
    from .doors import Doors
    from .settings import HttpSettings

__all__ = ["ConfigValue", "Rooms", "doors_of", "rooms_of"]


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One effective setting; secrets are masked by whoever makes it."""

    key: str
    value: Any
    source: str
    description: str = ""


@dataclass(slots=True, kw_only=True)
class Rooms:
    """Everything behind the routes."""

    settings: HttpSettings
    ring: KeyRing  #: master keys, from a 0600 file; never in the database
    version: str
    store: Store
    history: History
    registry: Registry  #: with the kinds below registered, and open
    account_kind: ObjectKind[AccountModel, Account]
    route_kind: ObjectKind[RouteModel, Route]
    link_kind: ObjectKind[LinkModel, Link]
    range_kind: ObjectKind[RangeModel, NumberRange]
    operator_kind: ObjectKind[OperatorModel, Operator]
    schedule_kind: ObjectKind[ScheduleModel, ScheduleModel]
    schedules: Schedules  #: in force
    credentials: Credentials
    sessions: Sessions
    codes: OneTimeCodes
    audit: Audit
    submission: Submission
    delivery: Delivery
    roll: Roll  #: of the nodes
    restored: Restored  #: messages that wait for a release
    binds: Binds
    router: Router
    upstream: Upstream  #: links to other centers
    secrets: Secrets  #: sealed
    holding: Holding  #: parked messages
    recall: Recall  #: messages that wait
    box: Box
    feed: Feed  #: of the mailbox
    box_live: Live  #: tells watchers that a box moved
    redelivery: Redelivery
    subscribers: Subscribers
    zones: ZonesRoom
    zone_kinds: ZoneKinds
    spoof: SpoofRoom
    spoof_kinds: SpoofKinds
    quarantine: Quarantine
    certificates: Certificates = field(default_factory=Certificates)  #: of the doors of this node
    core: CoreNetwork | None = None  #: switches; None: the center has none
    config: Callable[[], Sequence[ConfigValue]] = field(default=tuple[ConfigValue, ...])


def rooms_of(request: Request) -> Rooms:
    """The rooms behind a request."""
    return cast("Rooms", request.app.state.rooms)


def doors_of(request: Request) -> Doors:
    """What the routes share among themselves."""
    return cast("Doors", request.app.state.doors)
