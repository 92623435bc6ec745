"""The connection to the real register that is kept for one switch.

In charge of: its frames both ways, giving up a register that is asked and says nothing, and stopping to read or write
when the other side does not. Not in charge of: what is relayed, or when to connect again (`gsup_link.py`).

Source: the GSUP chapter of the OsmoHLR manual.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import structlog

from .gsup import MessageType
from .ipa import BadIpa, Ccm, Extension, Frame, Framer

__all__ = ["ASKED", "RegisterEnd"]

log = structlog.get_logger(__name__)

#: What of a switch tells where subscribers are, and what any register answers at once.
ASKED = frozenset({MessageType.UPDATE_LOCATION, MessageType.PURGE_MS})


class SwitchEnd(Protocol):
    """The connection to the switch, as seen from here; `gsup_link.Link` is it."""

    name: str

    def register_made(self, register: RegisterEnd) -> None:
        """Connected."""
        ...

    def from_register(self, frame: Frame) -> None:
        """It said something."""
        ...

    def register_slow(self, slow: bool) -> None:
        """It does not read, or reads again."""
        ...


class RegisterEnd(asyncio.Protocol):
    """One connection. Lives on the event loop."""

    def __init__(self, link: SwitchEnd, *, connect_s: float, answer_s: float) -> None:
        """`connect_s`: for the register to ask for the name; `answer_s`: to say anything at all when it is asked."""
        self._link = link
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._stall: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it
        self.expect(self._connect_s)
        self._link.register_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stall is not None:
            self._stall.cancel()
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.satisfied()
        try:
            for frame in self._framer.feed(data):
                self._link.from_register(frame)
        except BadIpa as problem:
            log.warning("register-unreadable", switch=self._link.name, problem=str(problem))
            self.close()

    def pause_writing(self) -> None:
        self._link.register_slow(True)

    def resume_writing(self) -> None:
        self._link.register_slow(False)

    def pause(self, pause: bool) -> None:
        """Stop reading while the switch does not."""
        if self._transport is None or self._transport.is_closing():
            return
        if pause and self._transport.is_reading():
            self._transport.pause_reading()
        elif not pause and not self._transport.is_reading():
            self._transport.resume_reading()

    def write(self, frame: Frame) -> None:
        """Pass a frame on. A register that is asked and stays silent is given up."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame.octets)
            if self._stall is None and _wants_an_answer(frame):
                self.expect(self._answer_s)

    def expect(self, seconds: float) -> None:
        """Give the register up unless something happens in time."""
        self.satisfied()
        self._stall = self._loop.call_later(seconds, self._stalled)

    def satisfied(self) -> None:
        """It did."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stalled(self) -> None:
        self._stall = None
        if self._transport is not None and self._transport.is_reading():
            log.warning("register-silent", switch=self._link.name)
            self.close()

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()


def _wants_an_answer(frame: Frame) -> bool:
    """Whether any register answers this at once."""
    first = frame.payload[0] if frame.payload else -1
    return first == Ccm.PING if frame.is_ccm else frame.extension == Extension.GSUP and first in ASKED
