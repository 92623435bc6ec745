"""A node among the others of its center, put together.

In charge of: making what a node shares with others where the database may have some, opening and closing it, and
whatever the others say about this node itself. Not in charge of: any of the parts.

One process on SQLite has no others: it gets the seats, which then count nothing, and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from ..outlet import Outlet
from ..store.bus import Bus
from ..store.engine import Engine
from ..store.roll import TOPIC
from ..store.store import StoreClosed
from .binds import Binds
from .delivery import Delivery
from .handover import Handover
from .limits import Throttles
from .neighbours import Neighbours
from .seats import Seats
from .shares import Shares
from .switch import SwitchOutlet
from .upstream import Upstream
from .waiting import Waiting

__all__ = ["Neighbourhood"]

_log = structlog.get_logger(__name__)

_LINK_PASSWORD = "link-password"  # noqa: S105  #: topic: a link has a new one


class Neighbourhood:
    """What one node knows of the others, and does with them."""

    def __init__(self, store: Engine, bus: Bus, *, binds: Binds, throttles: Throttles) -> None:
        """`store` and `bus` are open; `dead_after_s` and whether there may be others are the store's."""
        self._store = store
        self._bus = bus
        self._binds = binds
        self._links: Upstream | None = None
        self._switches: SwitchOutlet | None = None
        self._looking: set[asyncio.Task[None]] = set()
        self.seats = Seats(store, shared=store.shared)
        self.handover: Handover | None = None
        if not store.shared:
            return
        dead_after_ms = int(store.settings.dead_after_s * 1000)
        self.neighbours = Neighbours(store, bus, outlets=self._outlets, dead_after_ms=dead_after_ms)
        binds.on_change.append(self.neighbours.stir)
        self.neighbours.on_gone.append(store.adopt_soon)
        self.handover = Handover(store, bus, self.neighbours)
        self.shares = Shares(bus, throttles, epoch=lambda: store.epoch, nodes=lambda: self.neighbours.nodes)
        bus.subscribe(TOPIC, lambda _: self._look())

    def include(self, links: Upstream) -> None:
        """Let the others know which links are up here, and that a link has a new password."""
        self._links = links
        if self.handover is not None:
            links.on_renewed.append(lambda link: self._bus.publish(_LINK_PASSWORD, str(link).encode()))
            self._bus.subscribe(_LINK_PASSWORD, lambda said: links.renewed(int(said)))

    def include_switches(self, switches: SwitchOutlet) -> None:
        """Let the others know which switches are connected here."""
        self._switches = switches
        if self.handover is not None:
            self.neighbours.switches = switches
            switches.on_arrival.append(self.neighbours.stir)

    def _outlets(self) -> Iterable[Outlet]:
        """What this node may reach and others may not."""
        yield from self._binds.outlets()
        if self._links is not None:
            yield from self._links.outlets()
        if self._switches is not None:
            yield self._switches

    def waiting(self, delivery: Delivery) -> Waiting:
        """What waits for its delivery, at whichever node."""
        handover = self.handover
        if handover is None:
            return Waiting(self._store, delivery)
        waiting = Waiting(self._store, delivery, handover.ask_to_let_go)
        handover.let_go_with(waiting.let_go)
        return waiting

    def reaching(self, account: int) -> int:
        """The epoch of the node that reaches an account; ours, if nobody does or there is nobody else."""
        if self.handover is None or self.neighbours.alone:
            return self._store.epoch
        return self.neighbours.place(self._binds.outlet(account), f"={account}") or self._store.epoch

    async def open(self) -> None:
        """Begin to look at the others and to be seen."""
        if self.handover is not None:
            await self.neighbours.open()
            self.shares.start()

    async def close(self) -> None:
        """Take nothing more, give back what is not done, and go."""
        for task in self._looking:
            task.cancel()
        if self.handover is not None:
            await self.handover.close()
            await self._give_back()
            await self.shares.close()
            await self.neighbours.close()

    def _look(self) -> None:
        """An operator asked something of a node: perhaps of this one."""
        if not self._looking:
            task = asyncio.create_task(self._look_at_our_row(), name="node row")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _look_at_our_row(self) -> None:
        try:
            await self._store.beat()
        except (OSError, StoreClosed) as error:
            _log.warning("node-row-not-read", error=str(error))

    async def _give_back(self) -> None:
        """The last thing before a node ends: others may have what it has not done."""
        if self._store.alive():
            try:
                given = await self._store.give_back()
            except (OSError, StoreClosed) as error:
                _log.warning("rows-not-given-back", error=str(error))
                return
            if given:
                _log.info("rows-given-back", rows=given)
