"""A message center that fits on a page: it takes binds and messages and forgets them.

In charge of standing opposite our ESME side (the simulated network, `restante bench`) where the real center would
bring too much along. It keeps every PDU it got and lets a test send to whoever is bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable

from restante.smsc.smpp import events, pdu
from restante.smsc.smpp.command_status import CommandStatus
from restante.smsc.smpp.session import Session
from restante.smsc.smpp.session_settings import SessionSettings


class SmallCenter:
    """Everybody who is bound, and what came in."""

    def __init__(self, passwords: dict[str, str] | None = None) -> None:
        """`passwords`: who may bind; None lets everybody in."""
        self.passwords = passwords
        self.sides: dict[str, CenterSide] = {}
        self.submits: list[pdu.SubmitSm] = []
        self.status_of: Callable[[pdu.SubmitSm], int] = lambda submit: 0
        self.on_submit: Callable[[CenterSide, pdu.SubmitSm, str], None] = lambda side, submit, id: None
        self.binds = 0
        self.port = 0

    def bind_status(self, request: pdu.Bind) -> int:
        if (
            self.passwords is None
            or self.passwords.get(request.system_id.decode()) == request.password.decode()
        ):
            return 0
        return CommandStatus.ESME_RBINDFAIL


class CenterSide(asyncio.Protocol):
    """One connection."""

    def __init__(self, center: SmallCenter) -> None:
        self.center = center
        self.session = Session("SMSC", SessionSettings(window=1000), time.monotonic())
        self.responses: list[pdu.Pdu] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for event in self.session.feed(data, time.monotonic()):
            self.happened(event)
        self.flush()

    def happened(self, event: events.Event) -> None:
        match event:
            case events.BindRequest(pdu=request):
                assert isinstance(request, pdu.Bind)
                status = self.center.bind_status(request)
                answer = pdu.RESPONSE_OF[request.command_id](command_status=status)
                self.session.respond(request, answer)
                if not status:
                    self.center.binds += 1
                    self.center.sides[request.system_id.decode()] = self
            case events.Request(pdu=request):
                assert isinstance(request, pdu.SubmitSm)
                self.center.submits.append(request)
                status = self.center.status_of(request)
                if status:
                    self.session.refuse(request, status)
                else:
                    message_id = str(len(self.center.submits))
                    self.session.accept_message(request, message_id.encode())
                    self.center.on_submit(self, request, message_id)
            case events.UnbindRequest(pdu=request):
                self.session.respond(request, pdu.UnbindResp())
            case events.Response(pdu=response):
                self.responses.append(response)
            case _:
                pass

    def deliver(self, message: pdu.Pdu) -> None:
        self.session.send_request(message, time.monotonic())
        self.flush()

    def flush(self) -> None:
        octets = self.session.take_output()
        if octets and self.transport is not None:
            self.transport.write(octets)


@contextlib.asynccontextmanager
async def small_center(center: SmallCenter) -> AsyncGenerator[SmallCenter]:
    """Let it listen on a free port of loopback."""
    server = await asyncio.get_running_loop().create_server(lambda: CenterSide(center), "127.0.0.1", 0)
    center.port = server.sockets[0].getsockname()[1]
    try:
        yield center
    finally:
        server.close()
        for side in center.sides.values():
            if side.transport is not None:
                side.transport.abort()
