"""The bus on core NATS: for clusters whose hand-overs would be too many for NOTIFY.

In charge of: the client connection and its subjects. Not in charge of: packets (`bus_wire.py`), and nothing of
JetStream: the bus keeps nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, cast

import nats

from .bus_wire import Packet, WireBus
from .server import CONNECT_S

__all__ = ["NatsBus"]


class _Message(Protocol):
    data: bytes


class _Client(Protocol):
    """What we use of nats-py, which is annotated in parts."""

    is_connected: bool

    async def subscribe(self, subject: str, *, cb: Callable[[_Message], Awaitable[None]]) -> object: ...
    async def publish(self, subject: str, payload: bytes) -> None: ...
    async def flush(self, timeout: float) -> None: ...
    async def close(self) -> None: ...


class NatsBus(WireBus):
    """See `Bus`."""

    def __init__(self, url: str, name: str) -> None:
        """`url`: nats://[user:password@]host:port or tls://…, several with commas between them."""
        super().__init__(name)
        self._urls = [one.strip() for one in url.split(",") if one.strip()]
        self._client: _Client | None = None

    async def _connect(self) -> None:
        # Reconnecting is `WireBus`'s: after each loss those who listen must be told.
        made = await nats.connect(  # type: ignore[reportUnknownMemberType]  # its options are not annotated
            self._urls,
            name="restante",
            no_echo=True,
            allow_reconnect=False,
            connect_timeout=CONNECT_S,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=_unheard,
        )
        client = self._client = cast("_Client", made)
        await client.subscribe(f"{self._name}.tell", cb=self._heard)
        for epoch in tuple(self._epochs):
            await self._listen_to(epoch)
        await client.flush(CONNECT_S)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _listen_to(self, epoch: int) -> None:
        if self._client is not None:
            await self._client.subscribe(f"{self._name}.hand.{epoch}", cb=self._heard)

    async def _send(self, packets: Sequence[Packet]) -> None:
        client = self._client
        if client is None or not client.is_connected:
            raise ConnectionError("the connection to the NATS server was lost")
        for epoch, text in packets:
            subject = f"{self._name}.hand.{epoch}" if epoch else f"{self._name}.tell"
            await client.publish(subject, text.encode())

    async def _check(self) -> None:
        if self._client is None or not self._client.is_connected:
            raise ConnectionError("the connection to the NATS server was lost")

    #: The client says nothing to us when it loses its server: ask it often.
    check_s = 0.5

    async def _heard(self, message: _Message) -> None:
        self.received(message.data.decode("utf-8", "replace"))


async def _unheard(_error: Exception) -> None:
    """What goes wrong shows in the next send; the client would write a traceback to standard error."""
