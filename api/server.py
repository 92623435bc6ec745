"""The HTTP server process part: sockets, TLS, and bounds on connections.

In charge of: running an ASGI app on uvicorn inside the center's loop, with limits that uvicorn lacks (time and size
of headers, connections per address), TLS that is read again on demand, and a stop that is quick. Not in charge of:
the app (`app.py`, `health.py`), or signals (`serve.py` calls `stop`).

The client's address is the socket's, unless the socket belongs to a trusted proxy: then it is the last address of
X-Forwarded-For that no trusted proxy has (uvicorn's ProxyHeadersMiddleware does that).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .settings import HttpSettings, OpsSettings

__all__ = ["HttpServer"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@runtime_checkable
class HasStreams(Protocol):
    """An app with event streams that end when it is asked."""

    def end_streams(self) -> None:
        """Close them now."""
        ...


class _Limits:
    """What the connections of one server share."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self.by_address: Counter[str] = Counter()
        self.trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(text) for text in settings.trusted_proxies
        )

    def exempt(self, address: str) -> bool:
        """True for proxies: many people come through one."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.trusted)


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a deadline and a size for headers, and a cap per address."""

    limits: _Limits  # set in the class that is made for each server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._deadline: asyncio.TimerHandle | None = None
        self._header_octets = 0
        self._in_headers = True
        counted = self.limits.by_address
        counted[self._address] += 1
        most = self.limits.settings.connections_per_address
        if counted[self._address] > most and not self.limits.exempt(self._address):
            self._refuse(503, b"Too many connections from this address.")
            return
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        counted = self.limits.by_address
        counted[self._address] -= 1
        if not counted[self._address]:
            del counted[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            if self._deadline is None:
                self._start_deadline()
            self._header_octets += len(data)
        super().data_received(data)
        # Headers that this read completed are served, whatever body came along with them.
        if self._in_headers and self._header_octets > self.limits.settings.header_max_octets:
            self._refuse(431, b"Headers too large.")

    def on_message_begin(self) -> None:
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_octets = 0
        self._stop_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers = True

    def _start_deadline(self) -> None:
        seconds = self.limits.settings.header_timeout_s
        self._deadline = self.loop.call_later(seconds, self._refuse, 408, b"Headers took too long.")

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, text: bytes) -> None:
        self._stop_deadline()
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d Refused\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
                % (status, len(text), text)
            )
            self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server; signals are serve.py's."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """One app on one port."""

    def __init__(self, app: ASGIApp, settings: HttpSettings | OpsSettings) -> None:
        """With OpsSettings: plain HTTP and the limits that HttpSettings has by default."""
        bounds = settings if isinstance(settings, HttpSettings) else HttpSettings()
        protocol = type("BoundedProtocol", (_BoundedProtocol,), {"limits": _Limits(bounds)})
        self._config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="none",
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(bounds.trusted_proxies),
            forwarded_allow_ips=list(bounds.trusted_proxies),
            limit_concurrency=bounds.connections_max,
            timeout_keep_alive=bounds.idle_timeout_s,
            timeout_graceful_shutdown=bounds.stop_s,
            ssl_certfile=bounds.tls_certificate,
            ssl_keyfile=bounds.tls_key,
        )
        self._app = app
        self._bounds = bounds
        self._server = _Server(self._config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken, ssl.SSLError if certificate and key do not fit."""
        self._config.load()
        host, port = self._config.host, self._config.port
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        if (
            port
        ):  # with port 0 the kernel could give a port that a reusing socket has bound, and listen() fails
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError:
            listening.close()
            raise
        listening.setblocking(False)
        self._port = int(listening.getsockname()[1])
        self._task = loop.create_task(
            self._server.serve(sockets=[listening]), name=f"http {host}:{self._port}"
        )
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError("the HTTP server ended while it was starting")
            await asyncio.sleep(0.005)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    def reload_tls(self) -> None:
        """Read certificate and key again; connections that are open keep the old ones. Raises OSError, ssl.SSLError."""
        context: Any = self._config.ssl
        if isinstance(context, ssl.SSLContext) and self._bounds.tls_certificate:
            context.load_cert_chain(self._bounds.tls_certificate, self._bounds.tls_key)

    async def stop(self) -> None:
        """Stop accepting, end streams, let requests end, close."""
        if self._task is not None:
            if isinstance(self._app, HasStreams):
                self._app.end_streams()  # or the server would wait for them
            self._server.should_exit = True
            await self._task
            self._task = None
