"""The bus on PostgreSQL's LISTEN and NOTIFY.

In charge of: one dedicated connection and its channels. Not in charge of: packets (`bus_wire.py`).

NOTIFY is sent outside of every transaction that matters, by one connection and for many packets at once: inside the
message transaction its lock would end group commit (notes/store.md 4). A listener that lost its server notices by a
query only, so one is made every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from .bus_wire import Packet, WireBus
from .server import CONNECT_S, Connection, connect

__all__ = ["PostgresqlBus"]

_SETTINGS = {
    "application_name": "restante bus",
    "synchronous_commit": "off",  # nothing here is worth an fsync
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_NOTIFY = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS packet(channel, payload)"


class PostgresqlBus(WireBus):
    """See `Bus`."""

    def __init__(self, url: str, name: str) -> None:
        """`url`: of the database."""
        super().__init__(name)
        self._url = url
        self._connection: Connection | None = None
        self._ours = 0  # process id of our own session on the server: its packets are known here already

    async def _connect(self) -> None:
        connection = self._connection = await connect(self._url, _SETTINGS)
        self._ours = int(await connection.fetchval("SELECT pg_backend_pid()"))
        await connection.add_listener(self._name, self._heard)
        for epoch in tuple(self._epochs):
            await connection.add_listener(self._channel(epoch), self._heard)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _listen_to(self, epoch: int) -> None:
        if self._connection is not None:
            await self._connection.add_listener(self._channel(epoch), self._heard)

    async def _send(self, packets: Sequence[Packet]) -> None:
        assert self._connection is not None
        channels = [self._channel(epoch) if epoch else self._name for epoch, _ in packets]
        await self._connection.execute(_NOTIFY, channels, [text for _, text in packets], timeout=CONNECT_S)

    async def _check(self) -> None:
        assert self._connection is not None
        await self._connection.execute("SELECT 1", timeout=CONNECT_S)

    def _channel(self, epoch: int) -> str:
        return f"{self._name}_{epoch}"

    def _heard(self, _connection: object, pid: int, _channel: str, payload: str) -> None:
        if pid != self._ours:
            self.received(payload)
