"""What the buses between processes share: packets, a bounded way out, and telling those who listen here.

In charge of: the packets, gathering what goes to the same node within a few milliseconds, dropping what does not fit,
and judging what came in. Not in charge of: connections (`bus_postgresql.py`, `bus_nats.py`).

A packet is a JSON array: `["hand", epoch, note, [ids]]` or `["tell", topic, payload]`. Whatever is nothing of the kind
is counted and left alone: the bus is believed no further than the rows that it points to.

How it fails: the server is away, or the way out is full -> packets are dropped and counted, and listeners of `BACK` are
told when it carries again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

from .. import metrics
from .bus import BACK, MOST_OCTETS, Listener, LocalBus, Taker

__all__ = ["Packet", "WireBus"]

log = logging.getLogger(__name__)

SENT = metrics.counter("bus", "sent", "Packets given to the bus server.", ("kind",))
RECEIVED = metrics.counter("bus", "received", "Packets that came from the bus server.", ("kind",))
DROPPED = metrics.counter("bus", "dropped", "What was not sent: a sweep repairs it.", ("why",))

#: Ids in one packet: 20 octets each, and PostgreSQL takes 7999.
_MOST_IDS = 350
#: Packets that wait for the server; more are dropped.
_MOST_WAITING = 10_000
#: Ids that wait for the end of the present few milliseconds, over all nodes.
_MOST_IDS_WAITING = 200_000
#: Seconds between two sends: what comes meanwhile goes together. The first after a rest goes at once.
_PAUSE_S = 0.005
#: Seconds that the end waits for what is still on its way out.
_CLOSE_S = 1.0
#: Seconds between attempts to connect: the first and the longest.
_BACKOFF_S = (0.05, 2.0)

#: (epoch that it is for, or 0 for everybody; text)
Packet = tuple[int, str]


class WireBus(ABC):
    """A bus over a server. Lives on the event loop."""

    def __init__(self, name: str) -> None:
        """`name`: begins the names of our channels, so that several centers may share a server."""
        self._name = name
        self._here = LocalBus()
        self._epochs: set[int] = set()  # whose work is taken here
        self._handing: dict[tuple[int, str], list[int]] = {}
        self._ids_waiting = 0
        self._telling: list[Packet] = []
        self._waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._carries = False

    # ------------------------------------------------------------------------------ what a server must add

    @abstractmethod
    async def _connect(self) -> None:
        """Connect and listen to our channels. Raises what may be tried again."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Let go of everything, also after `_connect` failed."""

    @abstractmethod
    async def _send(self, packets: Sequence[Packet]) -> None:
        """Give packets to the server. Raises when the connection is gone."""

    @abstractmethod
    async def _listen_to(self, epoch: int) -> None:
        """Listen to one more channel, if connected."""

    @abstractmethod
    async def _check(self) -> None:
        """Make sure that the connection stands; called when nothing was sent for a while. Raises when it is gone."""

    #: Seconds without a packet after which the connection is looked at.
    check_s = 5.0

    # ------------------------------------------------------------------------------------------ the interface

    async def open(self) -> None:
        """See `Bus.open`."""
        self._task = asyncio.create_task(self._run(), name="bus")

    async def close(self) -> None:
        """See `Bus.close`."""
        task, self._task = self._task, None
        if task is None:
            return
        deadline = asyncio.get_running_loop().time() + _CLOSE_S
        while self._carries and self._waiting.is_set() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_PAUSE_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @property
    def carries(self) -> bool:
        """True while the server is connected."""
        return self._carries

    def hand(self, epoch: int, ids: Sequence[int], note: str = "") -> None:
        """See `Bus.hand`."""
        if epoch in self._epochs:
            self._here.hand(epoch, ids, note)
        elif not self._carries or self._ids_waiting + len(ids) > _MOST_IDS_WAITING:
            DROPPED.labels("full" if self._carries else "away").inc(len(ids))
        else:
            self._handing.setdefault((epoch, note), []).extend(ids)
            self._ids_waiting += len(ids)
            self._waiting.set()

    def take(self, epoch: int, taker: Taker) -> Callable[[], None]:
        """See `Bus.take`."""
        self._epochs.add(epoch)
        if self._carries:
            listening = asyncio.get_running_loop().create_task(self._listen_to(epoch), name="bus channel")
            listening.add_done_callback(_log_failure)
        stop_here = self._here.take(epoch, taker)

        def stop() -> None:
            self._epochs.discard(epoch)
            stop_here()

        return stop

    def publish(self, topic: str, payload: bytes) -> None:
        """See `Bus.publish`."""
        self._here.publish(topic, payload)
        if len(payload) > MOST_OCTETS:
            log.error("what is told about %s is too long for the bus: %d octets", topic, len(payload))
            DROPPED.labels("long").inc()
        elif not self._carries or len(self._telling) >= _MOST_WAITING:
            DROPPED.labels("full" if self._carries else "away").inc()
        else:
            self._telling.append((0, json.dumps(["tell", topic, payload.decode()], separators=(",", ":"))))
            self._waiting.set()

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """See `Bus.subscribe`."""
        return self._here.subscribe(topic, listener)

    # ------------------------------------------------------------------------------------------------ within

    def received(self, text: str) -> None:
        """A packet came in; not one of our own."""
        try:
            found: Any = json.loads(text)
            kind, *rest = cast("list[Any]", found)
            if kind == "hand":
                epoch, note, ids = rest
                if type(epoch) is not int or type(note) is not str or not _are_ids(ids):
                    raise ValueError("not a hand-over")
                RECEIVED.labels("hand").inc()
                if epoch in self._epochs:
                    self._here.hand(epoch, ids, note)
            elif kind == "tell":
                topic, payload = rest
                RECEIVED.labels("tell").inc()
                self._here.publish(str(topic), str(payload).encode())
            else:
                raise ValueError("neither hand nor tell")
        except (ValueError, TypeError, RecursionError) as error:
            RECEIVED.labels("unknown").inc()
            log.warning("a packet on the bus is not understood: %s", error)

    def _packets(self) -> list[Packet]:
        """What waits, as packets."""
        self._waiting.clear()
        packets, self._telling = self._telling, []
        handing, self._handing, self._ids_waiting = self._handing, {}, 0
        for (epoch, note), ids in handing.items():
            for at in range(0, len(ids), _MOST_IDS):
                part = ids[at : at + _MOST_IDS]
                packets.append((epoch, json.dumps(["hand", epoch, note, part], separators=(",", ":"))))
        return packets

    async def _run(self) -> None:
        pause = _BACKOFF_S[0]
        first = True
        try:
            while True:
                try:
                    await self._connect()
                    self._carries, pause = True, _BACKOFF_S[0]
                    if not first:
                        log.warning("the bus carries again")
                    first = False
                    self._here.publish(BACK, b"")
                    await self._carry()
                except (
                    Exception
                ) as error:  # whatever a driver raises: the bus may be away for as long as it likes
                    log.warning("the bus is away: %s: %s", type(error).__name__, error)
                self._carries = False
                DROPPED.labels("away").inc(len(self._packets()))
                await self._disconnect()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _BACKOFF_S[1])
        finally:
            self._carries = False
            await self._disconnect()

    async def _carry(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._waiting.wait(), self.check_s)
            except TimeoutError:
                await self._check()
                continue
            packets = self._packets()
            await self._send(packets)
            for epoch, _ in packets:
                SENT.labels("hand" if epoch else "tell").inc()
            await asyncio.sleep(_PAUSE_S)


def _are_ids(found: object) -> bool:
    return isinstance(found, list) and all(type(one) is int for one in cast("list[object]", found))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.warning("a channel of the bus is not listened to yet: %s", task.exception())
