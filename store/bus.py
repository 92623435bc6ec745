"""Waking other rooms and other nodes: a bus that may lose everything it carries.

In charge of: the interface, and the binding within one process. Not in charge of: truth; whoever listens also looks
into the store from time to time, so that a lost message costs time, never work. The bindings between processes are
`bus_wire.py` (what they share), `bus_postgresql.py` and `bus_nats.py`.

Everybody who listens to a topic is told, the one who tells included. Payloads are UTF-8 text of at most `MOST_OCTETS`.

Source: notes/store.md 4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["BACK", "MOST_OCTETS", "Bus", "Listener", "LocalBus", "Taker"]

log = logging.getLogger(__name__)

#: Longest payload of a topic: PostgreSQL takes 7999 octets, with what says whose it is.
MOST_OCTETS = 7_000

#: A topic that each process is told of by itself: the bus was away, and whatever it carried meanwhile is lost.
BACK = "bus-is-back"

Listener = Callable[[bytes], None]
#: Ids of messages whose queue rows an epoch owns already, and what the node that had them says about them.
Taker = Callable[[Sequence[int], str], None]


class Bus(Protocol):
    """Hands work to the node that owns it, and tells topics to whoever listens. Called on the event loop."""

    async def open(self) -> None:
        """Begin to carry. Does not wait for a server, and does not fail for want of one."""
        ...

    async def close(self) -> None:
        """Carry what was taken, if that goes quickly, and end."""
        ...

    def hand(self, epoch: int, ids: Sequence[int], note: str = "") -> None:
        """Tell the node in that epoch that these messages, which it owns, are in the queue."""
        ...

    def take(self, epoch: int, taker: Taker) -> Callable[[], None]:
        """Be handed the work of an epoch, until what is returned is called."""
        ...

    def publish(self, topic: str, payload: bytes) -> None:
        """Tell everybody who listens to a topic."""
        ...

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Listen to a topic, until what is returned is called."""
        ...


class LocalBus:
    """The bus of a center that is one process: direct calls, one failing listener does not hurt another."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._takers: dict[int, Taker] = {}

    async def open(self) -> None:
        """See `Bus.open`."""

    async def close(self) -> None:
        """See `Bus.close`."""

    def hand(self, epoch: int, ids: Sequence[int], note: str = "") -> None:
        """See `Bus.hand`."""
        taker = self._takers.get(epoch)
        if taker is not None:
            try:
                taker(ids, note)
            except Exception:
                log.exception("handing work to epoch %d failed", epoch)

    def take(self, epoch: int, taker: Taker) -> Callable[[], None]:
        """See `Bus.take`."""
        self._takers[epoch] = taker

        def stop() -> None:
            if self._takers.get(epoch) is taker:
                del self._takers[epoch]

        return stop

    def publish(self, topic: str, payload: bytes) -> None:
        """See `Bus.publish`."""
        for listener in tuple(self._listeners.get(topic, ())):
            try:
                listener(payload)
            except Exception:
                log.exception("a listener to %s failed", topic)

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """See `Bus.subscribe`."""
        self._listeners.setdefault(topic, []).append(listener)

        def stop() -> None:
            remaining = self._listeners.get(topic, [])
            if listener in remaining:
                remaining.remove(listener)
            if not remaining:
                self._listeners.pop(topic, None)

        return stop
