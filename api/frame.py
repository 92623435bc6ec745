"""What every request gets, whatever its route.

In charge of: the request's id, bounds on its body in size and time, headers of every response, and the last resort
when code fails. Not in charge of: bounds on connections and headers (`server.py`), who is asking (`entrance.py`). It
is plain ASGI, because it runs for every request.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import traceback
from typing import Any, cast

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, problem_response
from .rates import Rate
from .settings import HttpSettings

__all__ = ["Frame"]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._\-]{1,64}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

#: Documents of the API are never shown as pages; the pages of docs and problems set their own policy.
_API_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    ),
)
_ALL_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Frame:
    """The outermost layer of the REST door."""

    def __init__(self, app: ASGIApp, settings: HttpSettings, imports: tuple[str, ...] = ()) -> None:
        """`imports`: paths whose bodies may be as large as an import."""
        self._app = app
        self._settings = settings
        self._imports = imports
        self._log = structlog.get_logger(__name__)
        self._life = secrets.token_hex(8)  # ids of requests: of this life of the process, then counted
        self._requests = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        trace_id = request_id(headers) or f"{self._life}{next(self._requests):010x}"
        state: dict[str, Any] = scope.setdefault("state", {})
        state["trace_id"] = trace_id
        response = _Response(send, scope, trace_id)
        try:
            bounded = self._bounded(scope, headers, receive)
            await self._app(scope, bounded, response.send)
        except Problem as problem:  # of the body, found while it was read
            await self._answer(problem, scope, receive, response)
        except Exception:
            # As text: a renderer that shows the values of variables would show what people sent.
            facts = {"method": scope["method"], "path": scope["path"], "trace_id": trace_id}
            self._log.error("http.failed", **facts, traceback=traceback.format_exc())
            await self._answer(Problem("internal"), scope, receive, response)

    async def _answer(self, problem: Problem, scope: Scope, receive: Receive, response: _Response) -> None:
        if not response.started:
            failed = problem_response(problem, instance=scope["path"], trace_id=scope["state"]["trace_id"])
            await failed(scope, receive, response.send)

    def _bounded(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Bound the body, if there is one."""
        announced = headers.get(b"content-length", b"")
        if not announced.isdigit() and b"transfer-encoding" not in headers:
            return receive
        importing = scope["path"].endswith(self._imports) if self._imports else False
        most = self._settings.import_max_octets if importing else self._settings.body_max_octets
        if announced.isdigit() and int(announced) > most:
            raise _too_large(most)
        if announced == b"0":
            return receive
        return _Body(receive, most, self._settings.body_timeout_s)


class _Body:
    """A request body that ends in time and within its size."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._ends_at = asyncio.get_running_loop().time() + seconds
        self._octets = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._ends_at):
                message = await self._receive()
        except TimeoutError:
            raise Problem("request-timeout", headers={"Connection": "close"}) from None
        self._octets += len(message.get("body", b""))
        if self._octets > self._most:
            raise _too_large(self._most)
        self._whole = not message.get("more_body", False)
        return message


class _Response:
    """Adds the headers that every response has."""

    def __init__(self, send: Send, scope: Scope, trace_id: str) -> None:
        self._send = send
        self._scope = scope
        self._trace_id = trace_id
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            headers.append((b"x-request-id", self._trace_id.encode()))
            headers.extend(_ALL_HEADERS)
            fixed = _API_HEADERS if self._scope["path"].startswith("/api/") else _PAGE_HEADERS
            headers.extend(pair for pair in fixed if pair[0] not in present or pair[0] == b"cache-control")
            if (
                fixed is _API_HEADERS and b"cache-control" in present
            ):  # a stream says no-cache: no-store is more
                headers = [p for p in headers if p[0].lower() != b"cache-control"] + [_API_HEADERS[0]]
            rate: Rate | None = self._scope["state"].get("rate")
            if rate is not None:
                headers.extend(rate.headers())
            message = {**message, "headers": headers}
        await self._send(message)


def request_id(headers: dict[bytes, bytes]) -> str:
    """The client's X-Request-ID, the trace of its traceparent, or nothing."""
    given = headers.get(b"x-request-id", b"")
    if _REQUEST_ID.fullmatch(given):
        return given.decode()
    parent = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    return parent[1].decode() if parent else ""


def _too_large(most: int) -> Problem:
    return Problem(
        "content-too-large", f"At most {most} octets are read here.", headers={"Connection": "close"}
    )
