"""The room as a whole: what `serve.py` makes, opens and closes.

In charge of: putting the parts together, keeping rules and index in step with what operators edit, and the room's own
chores. Not in charge of: anything the parts do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..access.outgoing import Outgoing
from ..registry.snapshot import Changed, Snapshot
from ..store.chores import Chores
from ..store.store import Store
from .check import ZoneCheck
from .holds import Holds
from .index import ZoneIndex
from .locations import Locations, Provider
from .members import Members
from .membership import Membership
from .offers import Offers, SendSystem
from .policy import Policy
from .providers.camara import CamaraProvider
from .providers.cells import CellTable
from .providers.mlp import MlpProvider
from .replay import Replay
from .rules import Book, Rules
from .settings import ZonesSettings
from .zone import UnionModel, Zone, resolve_unions

__all__ = ["ZonesRoom"]

SWEEP_S = 3600.0


class ZonesRoom:
    """Home zones on one node."""

    def __init__(
        self,
        *,
        store: Store,
        settings: ZonesSettings,
        zones: Snapshot[Zone],
        policies: Snapshot[Policy],
        memberships: Snapshot[Membership],
        revision: Callable[[], int],
        send_system: SendSystem,
        is_esme: Callable[[str], bool] = lambda number: False,
        shared: bool = False,
        providers: Sequence[Provider] | None = None,
        center: frozenset[str] = frozenset(),
    ) -> None:
        """The snapshots are of a registry that is open. `revision`: of the registry, named in evidence. `shared`: other
        nodes use the same database. `providers`: instead of those that the settings name.
        `center`: numbers of the center itself."""
        self.settings = settings
        self.zones, self.policies, self.memberships = zones, policies, memberships
        self._revision = revision
        self._center = center
        self.outgoing = Outgoing(settings.location.outgoing_hosts)
        self.members = Members(store)
        made = self._providers(store) if providers is None else providers
        self.locations = Locations(store, settings.location, made, shared=shared)
        self.cells = CellTable(store)
        self.index = ZoneIndex()
        self.offers = Offers(store, settings.offers, send_system, self._accepted)
        self.check = ZoneCheck(
            store=store,
            settings=settings,
            rules=lambda: self.rules,
            locations=self.locations,
            offers=self.offers,
            is_esme=is_esme,
        )
        self.holds = Holds(
            store=store,
            settings=settings,
            rules=lambda: self.rules,
            check=self.check,
            locations=self.locations,
            shared=shared,
        )
        self.replay = Replay(store, settings, self.locations, is_esme)
        self.locations.on_fix(self.holds.seen)
        self._unions: set[str] = set()
        self._zones_changed([Changed(zone.number, None, zone) for zone in zones.values()])
        zones.on_change(self._zones_changed)
        policies.on_change(lambda _: self._renew())
        memberships.on_change(lambda _: self._renew())
        self._chores = Chores()

    @property
    def checks(self) -> list[ZoneCheck]:
        """What is asked about a message; nothing where the room is switched off."""
        return [self.check] if self.settings.enabled else []

    def _providers(self, store: Store) -> list[Provider]:
        location = self.settings.location
        found: list[Provider] = []
        for name in location.order:
            if name == MlpProvider.name and location.mlp.url:
                found.append(MlpProvider(location.mlp, self.outgoing, store.clock.now_ms))
            elif name == CamaraProvider.name and location.camara.url:
                found.append(CamaraProvider(location.camara, self.outgoing, store.clock.now_ms))
        return found

    async def _accepted(self, number: str) -> int:
        return await self.holds.release(number)

    # ------------------------------------------------------------------------------------------------ in step

    def _zones_changed(self, changes: Sequence[Changed[Zone]]) -> None:
        """Keep unions and index in step; costs what changed, and the unions."""
        for change in changes:
            for zone in (change.before, change.after):
                if zone is not None and isinstance(zone.model.shape, UnionModel):
                    (self._unions.add if zone is change.after else self._unions.discard)(zone.model.name)
        unions = [zone for name in self._unions if (zone := self.zones.get(name)) is not None]
        resolve_unions(unions, self.zones.get)
        moved = {change.number: None if change.after is None else change.after.shape for change in changes}
        for union in unions:
            moved.setdefault(union.number, union.shape)
        self.index.change(moved.items())
        self._renew()

    def _renew(self) -> None:
        self.rules = self.drafted(self.zones, self.policies)

    def drafted(self, zones: Book[Zone], policies: Book[Policy]) -> Rules:
        """The present rules with other zones and policies."""
        return Rules(
            zones=zones,
            policies=policies,
            memberships=self.memberships.values(),
            members=self.members,
            emergency=self.settings.emergency_numbers,
            revision=self._revision(),
            center=self._center,
        )

    # ------------------------------------------------------------------------------------------------ life

    async def open(self) -> None:
        """Read what is kept, and begin the chores."""
        await self.members.open()
        self._renew()
        self._chores.begin(self.members.watch(), "zones members")
        self._chores.every(SWEEP_S, self._sweep, "zones retention")

    async def _sweep(self) -> None:
        await self.locations.sweep()
        await self.members.sweep()

    async def close(self) -> None:
        """Stop the chores and give up what is being asked; before the store closes."""
        await self._chores.close()
        await self.holds.close()
        await self.locations.close()
        await self.outgoing.close()
