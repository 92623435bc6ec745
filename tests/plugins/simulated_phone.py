"""A switch with any number of handsets behind it, for tests that run outside an event loop.

In charge of: a transceiver bind that comes back by itself, answering deliveries for handsets by their state, and
remembering what they showed. Not in charge of: the center. It uses our client side of the wire, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Generator

from waiting import eventually

from restante.simulator.link import Answer, Connection, Credentials
from restante.smsc.smpp import pdu, tlv
from restante.smsc.smpp.codec import Pdu
from restante.smsc.smpp.command_status import CommandStatus
from restante.smsc.text import codings, segments

ABSENT_SUBSCRIBER = 27  #: MAP error code, 3GPP TS 29.002 §17.6.6


class Phone:
    """All handsets behind one switch. Thread-safe as far as tests need it: lists only grow."""

    def __init__(self, port: int, system_id: str, password: str) -> None:
        """`port`: SMPP on loopback."""
        self.port = port
        self.credentials = Credentials(system_id, password, interface_version=0x50)  # TLVs in error responses
        self.binds = 0
        self._seen: dict[str, list[pdu.DeliverSm]] = defaultdict(list)
        self._off: set[str] = set()
        self._connection: Connection | None = None
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Bind; returns when bound."""
        self._thread.start()
        eventually(lambda: self.binds, "the switch to bind")

    def stop(self) -> None:
        """Leave."""
        self._stop.set()
        self._thread.join(10)

    def off(self, number: str) -> None:
        """A handset is switched off."""
        self._off.add(number)

    def on(self, number: str) -> None:
        """And on again."""
        self._off.discard(number)

    def seen(self, number: str) -> list[pdu.DeliverSm]:
        """What a handset took, in order."""
        return list(self._seen[number])

    def texts(self, number: str) -> list[str]:
        """What it showed: long messages joined, in order of their first part."""
        shown: list[str] = []
        parts: dict[tuple[int, int], list[segments.Part]] = {}
        for message in self.seen(number):
            content = codings.decode(
                message.data_coding, message.short_message, has_udh=bool(message.esm_class & 0x40)
            )
            ref = content.header.concat
            if ref is None:
                shown.append(content.text or "")
                continue
            group = parts.setdefault((ref.reference, ref.total), [])
            group.append(segments.Part(ref, content))
            joined = segments.join(group)
            if joined.complete:
                shown.append(joined.text or "")
        return shown

    def submit(self, request: Pdu, seconds: float = 20.0) -> Pdu:
        """A handset (or any ESME bound so) submits; the response."""
        answers: list[Pdu | None] = []
        assert self._loop is not None

        def send() -> None:
            assert self._connection is not None
            self._connection.send(request, answers.append)

        self._loop.call_soon_threadsafe(send)
        eventually(lambda: answers, "a response", seconds=seconds)
        assert answers[0] is not None, "the connection ended before the response"
        return answers[0]

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            try:
                self._connection = await Connection.connect(
                    "127.0.0.1", self.port, self.credentials, window=100, on_message=self._arrived
                )
            except OSError:
                await asyncio.sleep(0.1)
                continue
            self.binds += 1
            while not (self._stop.is_set() or self._connection.ended.done()):
                await asyncio.wait([self._connection.ended], timeout=0.1)
        if self._connection is not None:
            self._connection.abort()

    def _arrived(self, message: pdu.DeliverSm, answer: Answer) -> None:
        number = message.destination_addr.decode()
        if number in self._off:
            cause = tlv.one(tlv.Tag.network_error_code, b"\x03" + ABSENT_SUBSCRIBER.to_bytes(2, "big"))
            answer(CommandStatus.ESME_RX_T_APPN, cause)
            return
        self._seen[number].append(message)
        answer(CommandStatus.ESME_ROK, b"")


@contextlib.contextmanager
def phone_network(port: int, system_id: str, password: str) -> Generator[Phone]:
    """A switch from start to end."""
    phone = Phone(port, system_id, password)
    phone.start()
    try:
        yield phone
    finally:
        phone.stop()
