"""The TLS side of the SMPP door.

In charge of: listening for TLS (3550), its handshakes within bounds, a context that can be read again, and the client
certificate that came with a connection. Not in charge of: SMPP (`connection.py`), who may bind (`listener.py`), when
the files are read again (`access/certificates.py`).

Theory. Connections are accepted here rather than by the loop's server for two reasons. A handshake costs us a signature
and a peer nothing, so it counts against the limits of its address from the moment of the connection, not from its end.
And each handshake takes the context of that moment: reading certificate, key and authorities again is one assignment,
what is open stays open, and an authority that was taken away is gone, with the sessions that could have been resumed.

Source: SMPP 3.4 §2.2.4 leaves security to the transport; 3550 is IANA's port for SMPP over TLS ("ssmpp").
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..access.certificates import PeerCertificate
from ..metrics import counter

__all__ = ["TlsDoor", "TlsSettings", "peer_certificate", "server_context"]

_log = structlog.get_logger(__name__)

_handshakes = counter("smpp", "tls_handshakes", "TLS handshakes, by how they ended", ("result",))

_BACKLOG = 1024
_NO_ROOM_S = 0.2  #: before accepting again when the process has no file descriptors left


class TlsSettings(BaseModel):
    """[smpp.tls] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(default=3550, ge=0, le=65_535, description="TCP port for TLS; 0 takes a free one")
    certificate: Path | None = Field(
        default=None, description="PEM file with the certificate chain, with key; opens the TLS port"
    )
    key: Path | None = Field(default=None, description="PEM file with the private key of certificate")
    client_ca: Path | None = Field(
        default=None,
        description="PEM file with authorities whose client certificates are believed; null: none is asked for",
    )
    client_certificates: Literal["optional", "required"] = Field(
        default="optional", description="with client_ca: whether a client without a certificate may connect"
    )
    oldest_version: Literal["1.2", "1.3"] = Field(default="1.2", description="oldest TLS version spoken")
    look_again_s: float = Field(
        default=10.0, ge=0.1, le=3600, description="seconds between looks whether the files have changed"
    )

    @model_validator(mode="after")
    def _belong_together(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and key")
        if self.client_certificates == "required" and self.client_ca is None:
            raise ValueError("client_certificates = required needs client_ca")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read, the certificate first; empty if the port stays closed."""
        named = (self.certificate, self.key, self.client_ca)
        return tuple(path for path in named if path is not None)


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """The context of the files as they are now. Raises OSError; ssl.SSLError is one."""
    assert settings.certificate is not None
    assert settings.key is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if settings.oldest_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Without an answer OpenSSL would ask for the passphrase on the terminal, and wait.
    context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
    if settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        required = settings.client_certificates == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def peer_certificate(transport: asyncio.BaseTransport) -> PeerCertificate | None:
    """The certificate that the peer showed, if it did. Its chain was verified, or the handshake had failed."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None or tls.context.verify_mode == ssl.CERT_NONE:
        return None
    der = tls.getpeercert(True)
    try:
        return PeerCertificate.of(der) if der else None
    except (
        ValueError
    ) as error:  # OpenSSL is less strict than our reader: nothing can be demanded of such a one
        _log.warning("peer-certificate-unreadable", error=str(error))
        return None


class TlsDoor:
    """Listens for TLS on some addresses."""

    def __init__(
        self,
        settings: TlsSettings,
        *,
        hosts: Sequence[str],
        make: Callable[[], asyncio.Protocol],
        has_room: Callable[[str], bool],
        handshake_s: float,
    ) -> None:
        """`make` gives the protocol of a connection; `has_room` says whether an address may open one more, handshakes
        of the address counted by `shaking`; a handshake may take `handshake_s` seconds."""
        self._settings = settings
        self._hosts = hosts
        self._make = make
        self._has_room = has_room
        self._handshake_s = handshake_s
        self._context: ssl.SSLContext | None = None
        self._listening: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._shaking: dict[str, int] = {}

    async def start(self) -> None:
        """Listen. Raises OSError if a port is taken or a file cannot be used."""
        self.reload()
        try:
            for host in self._hosts:
                self._listening += await _listen(host, self._settings.port)
        except OSError:
            self._close_sockets()
            raise
        for listening in self._listening:
            self._begin(self._accept(listening))

    @property
    def port(self) -> int:
        """The port really listened on, of the first address."""
        return int(self._listening[0].getsockname()[1])

    def shaking(self, address: str = "") -> int:
        """Handshakes under way, of one address or of all."""
        return self._shaking.get(address, 0) if address else sum(self._shaking.values())

    def reload(self) -> None:
        """Use the files as they are now for the next handshake. Raises OSError, and then nothing changes."""
        self._context = server_context(self._settings)

    def close(self) -> None:
        """Accept nothing more and break handshakes off."""
        for task in self._tasks:
            task.cancel()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening in self._listening:
            listening.close()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="smpp-tls")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        """Take connections for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, name = await loop.sock_accept(listening)
            except OSError as error:  # the peer went away again, or there are no file descriptors
                _log.warning("tls-not-accepted", error=error.strerror or str(error))
                await asyncio.sleep(_NO_ROOM_S)
                continue
            address = str(name[0])
            if not self._has_room(address):
                accepted.close()
                continue
            self._shaking[address] = self._shaking.get(address, 0) + 1
            self._begin(self._shake(accepted, address))

    async def _shake(self, accepted: socket.socket, address: str) -> None:
        """One handshake; then the connection is its protocol's."""
        try:
            accepted.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, accepted, ssl=self._context, ssl_handshake_timeout=self._handshake_s
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError and ConnectionError are OSErrors
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            _handshakes.labels("failed").inc()
            _log.info("tls-handshake-failed", peer=address, reason=reason)
            accepted.close()
        else:
            _handshakes.labels("done").inc()
        finally:
            self._shaking[address] -= 1
            if not self._shaking[address]:
                del self._shaking[address]


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address that a name has."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            made.append(listening)
            if port:  # with port 0 the kernel could give one that a reusing socket has bound
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # beside a socket for IPv4 on the same port
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
    except OSError:
        for listening in made:
            listening.close()
        raise
    return made
