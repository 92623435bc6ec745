"""Which nodes there are, what each of them reaches, and which of them works on what.

In charge of: saying what this node reaches, knowing what the others do, and the place of a message: the one node that
tries it. Not in charge of: getting it there (`handover.py`), or whether a node lives (`store/nodes.py`).

Theory. Each life writes the outlets it reaches into the `presence` table, then says so on the bus. Everybody reads what
is new from the table each second, so a lost packet costs a second. From the same rows every node works out the same
place for a message:

    an ESME's or a link's    here, if it is reached from here; else at one of the nodes that reach it, by its recipient
    a handset's              at one node of those that reach its switch, by its recipient: one lane, one attempt at a
                             time, one retry clock for the whole center (behaviour.md 2)

Handsets of the core network have one outlet at every node, and many switches behind it. So a node also says which
switches those are, and where memory knows who serves a recipient, only the nodes that reach one of its switches count.
Where memory does not know, any of the nodes asks the register, and passes the message on (`crossing.py`).

A node that begins to reach a switch becomes a home of handsets only `RIPE_MS` later: by then everybody has read its
row, and they all change their minds at the same moment of the center's clock. For `SETTLE_S` after such a change the
new home also asks the database, before it tries a handset, whether an older row of it is still worked on elsewhere
(`handover.py`): an attempt that was under way at the old home ends there first.

How it fails: the database is out of reach -> the last picture goes on; a node whose heartbeat is late is left out of
it, as it has stopped sending by itself. Source: notes/store.md 4.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast
from zlib import crc32

import structlog

from ..metrics import gauge
from ..outlet import Outlet, Write
from ..store.bus import BACK, MOST_OCTETS, Bus
from ..store.store import Answer, Store, StoreClosed, StoreUnavailable
from . import node_tables as tables

__all__ = ["RIPE_MS", "Neighbours", "Switches"]

_log = structlog.get_logger(__name__)

_nodes = gauge("nodes", "live", "Live nodes of the center, as seen from here")

#: Milliseconds after which a node that reaches a switch may be the home of handsets: three looks at the table.
RIPE_MS = 3_000
#: Seconds after a change of homes during which their new ones look before they try: longer than any attempt takes.
SETTLE_S = 60.0
#: Seconds between two looks at the table.
LOOK_S = 1.0
#: Seconds between two removals of what ended lives left.
_TIDY_S = 60.0
#: Outlets that a node says it reaches; more are not told, and are reached from that node only.
_MOST_OUTLETS = 50_000

_TOPIC = "presence"
#: An outlet of ours that we have not told the others of: it counts only where no other does.
_JUST_NOW = (1 << 62, True)


class Switches(Protocol):
    """What stands behind the outlet of all handsets."""

    name: str  #: the outlet's

    def places(self) -> Iterable[str]:
        """What is reached from this node; the names are one for the whole center."""
        ...

    def places_of(self, recipient: str) -> Iterable[str]:
        """What leads to a recipient, as far as memory knows; nothing if it does not."""
        ...


class Neighbours:
    """The picture of one node. Lives on the event loop."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        *,
        outlets: Callable[[], Iterable[Outlet]],
        switches: Switches | None = None,
        dead_after_ms: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`outlets`: those of this node that others may not reach; `switches`: what stands behind one of them;
        `dead_after_ms`: as in `StoreSettings`."""
        self._store = store
        self._bus = bus
        self._outlets = outlets
        self.switches = switches
        self._late_ms = dead_after_ms // 2
        self._monotonic = monotonic
        self.alone = True  #: no other life that is not over: nothing below needs to be asked
        self._mine: dict[str, tuple[int, bool]] = {}  # outlet -> since, handset
        self._revision = 0
        self._said: dict[int, dict[str, int]] = {}  # epoch -> outlet -> since
        self._read: dict[int, int] = {}  # epoch -> revision up to which its rows were read
        self._there: dict[str, dict[int, int]] = {}  # outlet -> other live epoch -> since
        self._lives: frozenset[int] = frozenset()  # other lives that are not over
        self._late: frozenset[int] = (
            frozenset()
        )  # of them, those that are silent for so long that they do not send
        self._handsets: set[str] = set()  # outlets that were said to lead to handsets
        self._settled_at = monotonic() + SETTLE_S
        self._stirred = asyncio.Event()
        self._tidied_at = monotonic()
        self._task: asyncio.Task[None] | None = None
        self._listening: list[Callable[[], None]] = []
        #: Called when something may have another place than before.
        self.on_change: list[Callable[[], None]] = []
        #: Called when a life ended: what it worked on waits for somebody.
        self.on_gone: list[Callable[[], None]] = []

    # ------------------------------------------------------------------------------------------------ life

    async def open(self) -> None:
        """Look around once, then go on doing so."""
        self._listening = [
            self._bus.subscribe(_TOPIC, self._heard),
            self._bus.subscribe(BACK, lambda _: self.stir()),
        ]
        await self.turn()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="neighbours")

    async def close(self) -> None:
        """Look no more."""
        for stop in self._listening:
            stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def stir(self) -> None:
        """Something changed here: an outlet came or went."""
        self._stirred.set()

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._stirred.wait(), LOOK_S)
            except TimeoutError:
                pass
            self._stirred.clear()
            try:
                await self.turn()
            except StoreClosed:
                return
            except (StoreUnavailable, OSError) as error:
                _log.warning("neighbours-not-read", error=str(error))
            except Exception:
                _log.exception("neighbours-failed")
            await asyncio.sleep(0.02)  # binds come in storms: their news goes together

    async def turn(self) -> None:
        """Say what is new here, and read what is new elsewhere."""
        await self._say()
        lives = await self._store.fetch(tables.OTHERS)
        others = {int(row["epoch"]): int(row["silent_ms"]) for row in lives}
        others.pop(self._store.epoch, None)
        for row in await self._store.fetch(tables.BEHIND) if others else ():
            epoch, revision = int(row["epoch"]), int(row["revision"])
            if epoch in others and revision > self._read.get(epoch, 0):
                await self._read_up(epoch)
        self._take_in(others)
        if self._monotonic() - self._tidied_at > _TIDY_S:
            self._tidied_at = self._monotonic()
            await self._store.bulk([Write(tables.FORGET_PRESENCE, {}), Write(tables.FORGET_SEATS, {})])

    async def _say(self) -> None:
        """Write and tell what changed here."""
        now = self._store.clock.now_ms()
        found = {outlet.name: outlet.handset for outlet in self._outlets() if outlet.reachable()}
        if self.switches is not None:
            found |= dict.fromkeys(self.switches.places(), True)
        news: dict[str, tuple[int, bool]] = {}
        for name, handset in found.items():
            if name not in self._mine and len(self._mine) + len(news) < _MOST_OUTLETS:
                news[name] = (now, handset)
        for name in [name for name in self._mine if name not in found]:
            news[name] = (0, self._mine[name][1])
        if not news:
            return
        epoch, revision = self._store.epoch, self._revision + 1
        rows = [
            {"epoch": epoch, "outlet": name, "since": since, "handset": int(handset), "revision": revision}
            for name, (since, handset) in news.items()
        ]
        answer = await self._store.apply(writes=[Write(tables.SHOW, row) for row in rows])
        if answer is not Answer.STORED:
            raise StoreUnavailable(f"what this node reaches could not be said: {answer.value}")
        self._revision = revision
        for name, (since, handset) in news.items():
            if since:
                self._mine[name] = (since, handset)
            else:
                self._mine.pop(name, None)
            if handset:
                self._unsettle()
        text = json.dumps([epoch, revision, [[n, s, int(h)] for n, (s, h) in news.items()]])
        if len(text) > MOST_OCTETS:  # a storm: the others read the table
            text = json.dumps([epoch, revision, []])
        self._bus.publish(_TOPIC, text.encode())
        self._changed()

    # --------------------------------------------------------------------------------------------- the others

    def _heard(self, payload: bytes) -> None:
        """Another node says what it reaches now. What follows on what was read counts at once; else it is read."""
        try:
            epoch, revision, news = cast("tuple[int, int, list[list[Any]]]", json.loads(payload))
            rows = {str(name): (int(since), bool(handset)) for name, since, handset in news}
            if not (type(epoch) is int and type(revision) is int):
                raise ValueError("no epoch")
        except (ValueError, TypeError):
            _log.warning("presence-not-understood", octets=len(payload))
            return
        if epoch == self._store.epoch:
            return
        if epoch in self._lives and rows and self._read.get(epoch, 0) == revision - 1:
            self._note(epoch, rows)
            self._read[epoch] = revision
            self._rebuild()
        else:
            self.stir()

    async def _read_up(self, epoch: int) -> None:
        rows = await self._store.fetch(tables.CHANGED, epoch=epoch, after=self._read.get(epoch, 0))
        self._note(epoch, {str(r["outlet"]): (int(r["since"]), bool(r["handset"])) for r in rows})
        self._read[epoch] = max([self._read.get(epoch, 0), *(int(row["revision"]) for row in rows)])

    def _note(self, epoch: int, rows: Mapping[str, tuple[int, bool]]) -> None:
        said = self._said.setdefault(epoch, {})
        for name, (since, handset) in rows.items():
            if since:
                said[name] = since
            else:
                said.pop(name, None)
            if handset:
                self._handsets.add(name)

    def _take_in(self, others: Mapping[int, int]) -> None:
        """The lives that are not over, with how long each has been silent."""
        lives = frozenset(others)
        if lives - self._lives:
            _log.info("nodes-came", epochs=sorted(lives - self._lives))
        if self._lives - lives:
            _log.info("nodes-went", epochs=sorted(self._lives - lives))
            self._unsettle()
            for hook in self.on_gone:
                hook()
        self._lives = lives
        for known in (self._said, self._read):
            for epoch in [epoch for epoch in known if epoch not in lives]:
                del known[epoch]
        self._late = frozenset(epoch for epoch, silent in others.items() if silent > self._late_ms)
        _nodes.set(self.nodes)
        self._rebuild()
        self.alone = not lives

    def _rebuild(self) -> None:
        there: dict[str, dict[int, int]] = {}
        for epoch, said in self._said.items():
            if epoch not in self._late:
                for name, since in said.items():
                    there.setdefault(name, {})[epoch] = since
        if there == self._there:
            return
        differ = {name for name in {*there, *self._there} if there.get(name) != self._there.get(name)}
        self._there = there
        if differ & self._handsets:
            self._unsettle()
        self._changed()

    def _unsettle(self) -> None:
        self._settled_at = self._monotonic() + SETTLE_S

    def _changed(self) -> None:
        for hook in self.on_change:
            hook()

    # ------------------------------------------------------------------------------------------------ places

    @property
    def nodes(self) -> int:
        """Live nodes, this one included."""
        return 1 + len(self._lives - self._late)

    @property
    def unsettled(self) -> bool:
        """True while a handset may still be tried where its home was before."""
        return self._monotonic() < self._settled_at

    def place(self, outlet: Outlet, recipient: str) -> int:
        """The epoch of the node that hands a message over at an outlet; 0: it is reached from nowhere."""
        here = outlet.reachable()
        if self.alone or (here and not outlet.handset):
            return self._store.epoch if here else 0
        since = {**self._there.get(outlet.name, {})}
        if here and outlet.handset:
            since[self._store.epoch] = self._mine.get(outlet.name, _JUST_NOW)[0]
        if self.switches is not None and outlet.name == self.switches.name:
            since = self._leading_to(self.switches, recipient) or since
        homes = list(since)
        if outlet.handset:
            ripe = self._store.clock.now_ms() - RIPE_MS
            homes = [epoch for epoch in homes if since[epoch] <= ripe] or homes
        return homes[0] if len(homes) == 1 else _drawn(homes, recipient) if homes else 0

    def _leading_to(self, switches: Switches, recipient: str) -> dict[int, int]:
        """Nodes that reach a switch of a recipient, this one included, and since when."""
        found: dict[int, int] = {}
        here = frozenset(switches.places())
        for name in switches.places_of(recipient):
            known = {**self._there.get(name, {})}
            if name in here and name in self._mine:  # the others may not know yet that one left
                known[self._store.epoch] = self._mine[name][0]
            for epoch, since in known.items():
                found[epoch] = min(since, found.get(epoch, since))
        return found


def _drawn(homes: list[int], key: str) -> int:
    """One of several, the same wherever it is drawn, and the same again if others come or go (rendezvous hashing)."""
    mark = crc32(key.encode())
    return max(homes, key=lambda epoch: ((mark ^ epoch * 0x9E3779B1) * 0x85EBCA6B & 0xFFFFFFFF, epoch))
