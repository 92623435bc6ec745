"""Nodes of our own Diameter stack, as tests connect them with each other.

In charge of: identities, patient timers, and a handler that answers. Not in charge of: stacks of others
(`diameter_home.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from restante.signaling.diameter.codec import Avp, Message, avp
from restante.signaling.diameter.connection import Connection, Identity, Timers
from restante.signaling.diameter.dictionary import Command
from restante.signaling.diameter.node import Handler, Node, PeerSettings
from restante.signaling.diameter.short_messages import success
from restante.signaling.reconnect import Backoff

CENTER = Identity("smsc.home.net", "home.net")
MME = Identity("mme.home.net", "home.net")
LOOPBACK = ("127.0.0.0/8",)
SLOW = Timers(capabilities_s=30, watchdog_s=60, disconnect_s=5)
OFR = Command.MO_FORWARD_SHORT_MESSAGE


def quick() -> Backoff:
    """Pauses that tests can wait for."""
    return Backoff(0.02, 0.05)


def origin(identity: Identity) -> tuple[Avp, ...]:
    """Who a message is from."""
    return avp("Origin-Host", identity.host), avp("Origin-Realm", identity.realm)


def node(
    identity: Identity,
    peers: Sequence[PeerSettings],
    handlers: Mapping[Command, Handler] | None = None,
    **settings: Any,
) -> Node:
    """A node with patience in waiting and none in connecting."""
    merged: dict[str, Any] = {"timers": SLOW, "backoff": quick} | settings
    return Node(identity, peers, handlers or {}, **merged)


def echo(connection: Connection, request: Message) -> None:
    """Answer with what came."""
    connection.answer(request, (success(), *origin(connection.identity), *request.avps.every("SM-RP-UI")))


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it, but not for ever."""
    asyncio.run(asyncio.wait_for(scenario(), 120))
