"""A small HTTP server on loopback that answers as a test says.

In charge of: requests as they came, and answers of any status, size and slowness. Not in charge of: finer points.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Request:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """The server. `says` makes (status, body, headers) of a request; None: never answered."""

    port: int = 0
    requests: list[Request] = field(default_factory=list[Request])
    says: Callable[[Request], tuple[int, bytes, dict[str, str]] | None] = lambda request: (200, b"{}", {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def always(self, status: int, body: bytes | str, **headers: str) -> None:
        """One answer for everybody."""
        octets = body.encode() if isinstance(body, str) else body
        self.says = lambda request: (status, octets, headers)


@asynccontextmanager
async def http_peer() -> AsyncGenerator[Peer]:
    """Listen for the length of a block."""
    peer = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers: dict[str, str] = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body)
                peer.requests.append(request)
                said = peer.says(request)
                if said is None:
                    await asyncio.Event().wait()
                    return
                status, octets, more = said
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(octets)}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in more.items())
                writer.write(head.encode() + b"\r\n" + octets)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
