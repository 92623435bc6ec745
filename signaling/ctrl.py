"""Asking an Osmocom daemon through its control interface.

In charge of: one connection to a CTRL port, kept up; any number of questions in flight on it, each with a deadline.
Not in charge of: what the answers mean (`osmohlr.py`).

A question is a line with a number of its own, and the answer repeats the number; so answers are matched by it and not
by order. Questions of one turn of the event loop leave in one write. Nothing is asked twice: what happens after a lost
link is for the caller to decide.

How it fails: CtrlRefused is the daemon's own word; CtrlUnavailable is everything else: no link, no room, no answer in
time. A link that says nothing for `stall_s` while questions are open is given up and made anew.

Source: the control interface chapter of the OsmoHLR manual; frames are IPA's (`ipa.py`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from ..metrics import counter
from .ipa import BadIpa, Extension, Frame, Framer, Protocol, osmo_frame
from .reconnect import Backoff

__all__ = ["Ctrl", "CtrlError", "CtrlRefused", "CtrlUnavailable"]

CTRL_PORT_HLR = 4259
MAX_NUMBER = 0x7FFFFFFF  #: of a question; then they begin again

_FAILED = counter("signaling", "ctrl_failures", "Questions over CTRL without an answer", ["reason"])


class CtrlError(Exception):
    """A question without the answer that was hoped for."""


class CtrlRefused(CtrlError):
    """The daemon answered with an error; its text."""


class CtrlUnavailable(CtrlError):
    """There is no answer: "disconnected", "busy", "timeout"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Question:
    answer: asyncio.Future[str]
    timer: asyncio.TimerHandle


class Ctrl:
    """A client of one CTRL port. Lives on the event loop."""

    def __init__(
        self,
        host: str,
        port: int = CTRL_PORT_HLR,
        *,
        window: int = 1000,
        stall_s: float = 2.0,
        connect_s: float = 2.0,
        backoff: Backoff | None = None,
    ) -> None:
        """`window`: questions in flight at most; more are refused at once."""
        self.host = host
        self.port = port
        self._window = window
        self._stall_s = stall_s
        self._connect_s = connect_s
        self._backoff = backoff or Backoff()
        self._link: _Link | None = None
        self._questions: dict[int, _Question] = {}
        self._number = 0
        self._keeper: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to connect, and to connect again whenever the link is lost."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"ctrl {self.host}")

    async def close(self) -> None:
        """Give up the link; open questions fail."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    @property
    def connected(self) -> bool:
        """Whether a question asked now would be sent."""
        return self._link is not None

    @property
    def in_flight(self) -> int:
        """Questions without an answer so far."""
        return len(self._questions)

    async def get(self, variable: str, timeout_s: float) -> str:
        """The value of a variable."""
        return await self._ask("GET", variable, timeout_s)

    async def set(self, variable: str, value: str, timeout_s: float) -> str:
        """Set a variable; what the daemon says about it."""
        return await self._ask("SET", f"{variable} {value}", timeout_s)

    async def _ask(self, verb: str, rest: str, timeout_s: float) -> str:
        if any(ord(character) < 0x20 for character in rest):
            raise ValueError(f"a question is one line: {rest!r}")
        if self._link is None:
            raise self._unavailable("disconnected")
        if len(self._questions) >= self._window:
            raise self._unavailable("busy")
        self._number = self._number % MAX_NUMBER + 1
        number = self._number
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout_s, self._late, number, loop.time())
        question = _Question(loop.create_future(), timer)
        self._questions[number] = question
        self._link.send(osmo_frame(Extension.CTRL, f"{verb} {number} {rest}".encode("utf-8", "replace")))
        try:
            return await question.answer
        finally:
            timer.cancel()
            self._questions.pop(number, None)

    def _unavailable(self, reason: str) -> CtrlUnavailable:
        _FAILED.labels(reason).inc()
        return CtrlUnavailable(reason)

    def _late(self, number: int, asked_at: float) -> None:
        question = self._questions.pop(number, None)
        if question is not None and not question.answer.done():
            question.answer.set_exception(self._unavailable("timeout"))
        if self._link is not None:
            self._link.doubt(asked_at, self._stall_s)

    def heard(self, frame: Frame) -> None:
        """One frame of the link: an answer, or something nobody asked for."""
        if frame.protocol != Protocol.OSMO or frame.extension != Extension.CTRL:
            return
        verb, _, rest = frame.payload.decode("utf-8", "replace").partition(" ")
        number, _, rest = rest.partition(" ")
        question = self._questions.get(int(number)) if number.isascii() and number.isdecimal() else None
        if question is None or question.answer.done():
            return  # late, a TRAP, or garbage
        if verb == "ERROR":
            question.answer.set_exception(CtrlRefused(rest))
        elif verb in ("GET_REPLY", "SET_REPLY"):
            question.answer.set_result(rest.partition(" ")[2])

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._connect_s):
                    _, link = await loop.create_connection(lambda: _Link(self), self.host, self.port)
            except (OSError, TimeoutError):
                await asyncio.sleep(self._backoff.pause())
                continue
            self._link = link
            try:
                await link.lost
            finally:
                self._link = None
                link.give_up()
                for question in self._questions.values():
                    if not question.answer.done():
                        question.answer.set_exception(self._unavailable("disconnected"))
            if link.heard_at > link.made_at:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.pause())


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, ctrl: Ctrl) -> None:
        self._ctrl = ctrl
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._doubt: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.made_at = self.heard_at = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        try:
            for frame in self._framer.feed(data):
                self._ctrl.heard(frame)
        except BadIpa:
            self.give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, octets: bytes) -> None:
        """Send with whatever else this turn of the loop brings."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(octets)

    def _flush(self) -> None:
        octets = b"".join(self._waiting)
        self._waiting.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def doubt(self, asked_at: float, stall_s: float) -> None:
        """A question of that time got no answer: give the link up if it stays silent for so long after it."""
        if self._doubt is None and self.heard_at < asked_at:
            self._doubt = self._loop.call_at(asked_at + stall_s, self._resolve, asked_at)

    def _resolve(self, asked_at: float) -> None:
        self._doubt = None
        if self.heard_at < asked_at:
            self.give_up()

    def give_up(self) -> None:
        """Close without waiting."""
        if self._transport is not None:
            self._transport.abort()
