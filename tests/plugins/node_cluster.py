"""Several centers on one PostgreSQL, each a process of its own.

In charge of: folders that differ in ports and node name only, and an ESME that one can read like a log. Not in charge
of: single centers (`running_center.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from running_center import RunningCenter, free_ports
from waiting import eventually

from restante.cli.config_text import template
from restante.cli.site import site
from restante.config import Config
from restante.simulator.link import Answer, Connection, Credentials
from restante.smsc.smpp import pdu
from restante.smsc.smpp.codec import Pdu

FAST = {"store.heartbeat_s": 0.5, "store.dead_after_s": 6.0}  #: a lease that a test can wait for


class Sibling(RunningCenter):
    """One more node of a center: the same database, key and operators."""

    def __init__(self, first: RunningCenter, name: str, settings: Mapping[str, object] | None = None) -> None:
        self.folder = first.folder.with_name(name)
        self.folder.mkdir()
        self.smpp_port, self.http_port, self.ops_port = free_ports(3)
        given = {
            "smpp.port": self.smpp_port,
            "http.port": self.http_port,
            "ops.port": self.ops_port,
            "store.node_name": name,
            **(settings or {}),
        }
        (self.folder / "restante.toml").write_text(template(given, Config))
        for path in first.folder.iterdir():
            if path.is_file() and path.name != "restante.toml" and ".sqlite" not in path.name:
                shutil.copy(path, self.folder / path.name)
        self.site = site(str(self.folder / "restante.toml"), environ={})
        self.api_key, self.send_key = first.api_key, first.send_key
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.process = None
        self.lines = type(first.lines)(maxlen=2000)
        self.log_level = "warning"
        self.under = ()


@contextlib.contextmanager
def cluster(
    folder: Path, url: str, names: str = "ab", settings: Mapping[str, object] | None = None
) -> Generator[list[RunningCenter]]:
    """Nodes with these names, all running; killed if they do not stop."""
    common: dict[str, object] = {"store.url": url, **FAST, **(settings or {})}
    first = RunningCenter(folder / names[0], {**common, "store.node_name": names[0]})
    nodes = [first, *(Sibling(first, name, common) for name in names[1:])]
    try:
        for node in nodes:  # one after the other: those who start at once share the processors badly
            node.launch()
            eventually(lambda node=node: node.ready() or node.process_ended(), seconds=60)
            assert node.ready(), "\n".join(node.lines)
            assert not node.process_ended(), "\n".join(node.lines)
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

    def submit(self, connection: Connection, destination: str, text: str, **fields: Any) -> int:
        """Submit one message; its id. AssertionError shows another status."""

        async def once() -> Pdu | None:
            answered: asyncio.Future[Pdu | None] = asyncio.get_running_loop().create_future()
            connection.send(request, answered.set_result)
            return await answered

        given: dict[str, Any] = {
            "source_addr_ton": 5,
            "source_addr": b"Shop",
            "dest_addr_ton": 1 if destination.startswith("+") else 0,
            "dest_addr_npi": 1,
            "destination_addr": destination.lstrip("+").encode(),
            "registered_delivery": 1,
            "short_message": text.encode(),
        }
        request = pdu.SubmitSm(**{**given, **fields})
        response = self._call(once())
        assert isinstance(response, pdu.SubmitSmResp), response
        assert response.command_status == 0, response
        return int(response.message_id)

    def drop(self, connection: Connection) -> None:
        """Cut a connection."""
        self._loop.call_soon_threadsafe(connection.abort)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        """Cut everything."""
        for connection in self._open:
            self._loop.call_soon_threadsafe(connection.abort)
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
