"""The one way out: requests to addresses that somebody configured.

In charge of: resolving a name, refusing addresses that must not be reached from here, connecting to the very address
that was checked, and bounding time and octets. Not in charge of: what is asked (location servers, webhooks, look-ups)
or secrets (`sealing.py`).

A name in a configuration may be made to point at this machine, its neighbours or a cloud's metadata service; so
loopback, private, link-local, multicast, reserved and IPv4-in-IPv6 addresses are refused unless they are listed. The
check and the connection use one answer of the resolver, so that a second answer cannot differ. Redirects are answers
like any other; proxies of the environment are ignored. Source: behaviour.md 11.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpcore

__all__ = ["Outgoing", "OutgoingFailed", "OutgoingRefused", "Reply", "allowed_networks"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

MOST_OCTETS = 1 << 20  #: of an answer
CONNECTIONS = 100
CONNECTIONS_KEPT = 10

#: Networks that `ipaddress` does not call private, and that are: carrier NAT, and IPv6 that carries IPv4.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
    )
)


class OutgoingRefused(Exception):
    """The address must not be asked; nothing was sent."""


class OutgoingFailed(Exception):
    """The other side could not be reached, took too long, or said too much. `slow`: a deadline passed."""

    def __init__(self, text: str, *, slow: bool = False) -> None:
        """`text` is for the log."""
        super().__init__(text)
        self.slow = slow


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes


def allowed_networks(listed: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks as a configuration lists them; raises ValueError on one that is neither."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in listed)


def is_public(address: Address) -> bool:
    """True for an address that anybody may ask."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return False  # whoever means IPv4 can write it
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address.version == network.version and address in network for network in _NOT_PUBLIC)


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the system's resolver has it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, allowed: Sequence[Network], look_up: Resolve) -> None:
        self._allowed = allowed
        self._resolve = look_up
        # Its type is hidden behind an optional import; anyio comes with httpx.
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                texts = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} could not be resolved in time") from None
        except OSError as error:
            raise httpcore.ConnectError(f"{host} could not be resolved: {error}") from error
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        # One bad address spoils the name: a resolver that mixes them is being played with.
        for address in addresses:
            if not self.permits(address):
                raise OutgoingRefused(f"{host} is {address}, which must not be asked unless it is listed")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def permits(self, address: Address) -> bool:
        if any(address.version == network.version and address in network for network in self._allowed):
            return True
        return is_public(address)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise OutgoingRefused("sockets of this machine are never asked")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class Outgoing:
    """An HTTP client that goes where it may. One for the life of a node; lives on the event loop."""

    def __init__(
        self,
        allowed: Iterable[str] = (),
        *,
        ssl_context: ssl.SSLContext | None = None,
        look_up: Resolve = resolve,
    ) -> None:
        """`allowed`: addresses and networks that may be asked although they are not public."""
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or ssl.create_default_context(),
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS_KEPT,
            keepalive_expiry=30.0,
            network_backend=_CheckedBackend(allowed_networks(allowed), look_up),
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        timeout_s: float = 5.0,
        most_octets: int = MOST_OCTETS,
    ) -> Reply:
        """Ask once; the whole exchange ends within `timeout_s`. Raises OutgoingRefused and OutgoingFailed."""
        _check_url(url)
        sent = {"Host": _host_header(url), "Accept-Encoding": "identity", **(headers or {})}
        if content or method not in ("GET", "HEAD", "DELETE"):
            sent["Content-Length"] = str(len(content))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, url, sent, content, timeout_s, most_octets)
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise OutgoingFailed("no answer in time", slow=True) from error
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as error:
            raise OutgoingFailed(f"{type(error).__name__}: {error}") from error

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        timeout_s: float,
        most_octets: int,
    ) -> Reply:
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)}
        async with self._pool.stream(
            method, url, headers=list(headers.items()), content=content, extensions=limits
        ) as answer:
            body = bytearray()
            async for part in answer.aiter_stream():
                body += part
                if len(body) > most_octets:
                    raise OutgoingFailed(f"the answer is longer than {most_octets} octets")
            names = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers
            }
            return Reply(answer.status, names, bytes(body))

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def _check_url(url: str) -> None:
    """Only http and https, with a host and no user in it; raises OutgoingRefused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OutgoingRefused(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise OutgoingRefused("only http and https URLs with a host are asked")
    if parts.username is not None or parts.password is not None:
        raise OutgoingRefused("a URL holds no credentials")


def _host_header(url: str) -> str:
    """The URL's host and port, as they are written."""
    return urlsplit(url).netloc
