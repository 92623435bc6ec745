"""Several centers on one PostgreSQL, each a process of its own.

In charge of: folders that differ in ports and node name only, and an ESME that one can read like a log. Not in charge
of: single centers (`running_center.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from running_center import RunningCenter

from restante.simulator.link import Answer, Connection, Credentials
from restante.smsc.smpp import pdu
from restante.smsc.smpp.codec import Pdu

T = TypeVar("T")
FAST = {"store.heartbeat_s": 0.5, "store.dead_after_s": 6.0}  #: a lease that a test can wait for


@contextlib.contextmanager
def cluster(
    folder: Path, url: str, names: str = "ab", settings: Mapping[str, object] | None = None
) -> Generator[list[RunningCenter]]:
    """Nodes with these names, all running; killed if they do not stop."""
    common: dict[str, object] = {"store.url": url, **FAST, **(settings or {})}
    first = RunningCenter(folder / names[0], {**common, "store.node_name": names[0]})
    nodes = [first, *(first.twin(folder / name) for name in names[1:])]
    try:
        for node in nodes:  # one after the other: those who start at once share the processors badly
            node.start()
        yield nodes
    finally:
        for node in nodes:
            if not node.process_ended():
                node.kill()


class Esmes:
    """ESMEs on one event loop in a thread of its own; the test's thread asks and reads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open: list[Connection] = []

    def bind(
        self,
        node: RunningCenter,
        system_id: str,
        password: str,
        *,
        on_message: Callable[[pdu.DeliverSm, Answer], None] | None = None,
        window: int = 50,
    ) -> Connection:
        """Bind as transceiver; what comes is acknowledged, unless `on_message` does so. OSError if refused."""

        def take(message: pdu.DeliverSm, answer: Answer) -> None:
            answer(0, b"")

        connection = self._call(
            Connection.connect(
                "127.0.0.1",
                node.smpp_port,
                Credentials(system_id, password, interface_version=0x50),
                window=window,
                on_message=on_message or take,
            )
        )
        self._open.append(connection)
        return connection

    def ask(self, connection: Connection, request: Pdu) -> Pdu:
        """Send a request; its response."""

        async def once() -> Pdu | None:
            answered: asyncio.Future[Pdu | None] = asyncio.get_running_loop().create_future()
            connection.send(request, answered.set_result)
            return await answered

        response = self._call(once())
        assert response is not None, "the connection ended instead of an answer"
        return response

    def submit(self, connection: Connection, destination: str, text: str, **fields: Any) -> int:
        """Submit one message; its id. AssertionError shows another status."""
        given: dict[str, Any] = {
            "source_addr_ton": 5,
            "source_addr": b"Shop",
            "dest_addr_ton": 1 if destination.startswith("+") else 0,
            "dest_addr_npi": 1,
            "destination_addr": destination.lstrip("+").encode(),
            "registered_delivery": 1,
            "short_message": text.encode(),
        }
        response = self.ask(connection, pdu.SubmitSm(**{**given, **fields}))
        assert isinstance(response, pdu.SubmitSmResp), response
        assert response.command_status == 0, response
        return int(response.message_id)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the loop of the connections, to its end."""
        return self._call(work)

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin something there that goes on beside the test."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, act: Callable[[], object]) -> None:
        """Do something on the loop of the connections."""
        self._loop.call_soon_threadsafe(act)

    def drop(self, connection: Connection) -> None:
        """Cut a connection."""
        self._loop.call_soon_threadsafe(connection.abort)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        """Cut everything; returns when it is cut."""

        async def cut() -> None:
            for connection in self._open:
                connection.abort()
            for connection in self._open:
                await connection.ended

        self._call(cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@contextlib.contextmanager
def esmes() -> Generator[Esmes]:
    """Open for the length of a block."""
    made = Esmes()
    try:
        yield made
    finally:
        made.close()
