"""A peer that puts any octets on a socket: for tests of manners.

In charge of: one TCP connection from an address of loopback, whole PDUs read back, and its end told apart from silence.
Not in charge of: SMPP's rules; nothing is answered by itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Generator

from restante.smsc.smpp import pdu
from restante.smsc.smpp.codec import HEADER_OCTETS, Pdu

PATIENCE_S = 60.0


class Peer:
    """One connection. `read` answers None at the end of the connection and raises TimeoutError on silence."""

    def __init__(
        self,
        port: int,
        address: str = "127.0.0.1",
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
        to: str = "127.0.0.1",
    ) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE_S)
        if ":" not in to:
            self.socket.bind((address, 0))
        try:
            self.socket.connect((to, port))
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=to)
        except OSError:
            self.socket.close()
            raise

    def send(self, *things: Pdu | bytes) -> None:
        """Everything in one write. Raises OSError if the other side is gone."""
        self.socket.sendall(b"".join(one if isinstance(one, bytes) else one.encode() for one in things))

    def _exactly(self, octets: int) -> bytes:
        got = b""
        while len(got) < octets:
            try:
                more = self.socket.recv(octets - len(got))
            except ConnectionError:
                return b""
            if not more:
                return b""
            got += more
        return got

    def read(self) -> Pdu | None:
        """The next PDU; None at the end."""
        start = self._exactly(HEADER_OCTETS)
        if not start:
            return None
        length = int.from_bytes(start[:4], "big")
        return pdu.decode(start + self._exactly(length - HEADER_OCTETS))

    def ask(self, request: Pdu | bytes) -> Pdu | None:
        """Send and read one PDU."""
        self.send(request)
        return self.read()

    def bind(self, system_id: str, password: str, sequence_number: int = 1) -> int:
        """bind_transceiver; its command_status."""
        request = pdu.BindTransceiver(
            system_id=system_id.encode(),
            password=password.encode(),
            interface_version=0x34,
            sequence_number=sequence_number,
        )
        answer = self.ask(request)
        assert answer is not None, "closed instead of an answer"
        return answer.command_status

    def rest(self) -> list[Pdu]:
        """Everything up to the end of the connection."""
        found: list[Pdu] = []
        while (one := self.read()) is not None:
            found.append(one)
        return found

    def close(self) -> None:
        """Without a word."""
        self.socket.close()


@contextlib.contextmanager
def peer(
    port: int,
    system_id: str = "",
    password: str = "",
    *,
    address: str = "127.0.0.1",
    receive_buffer: int = 0,
    tls: ssl.SSLContext | None = None,
    to: str = "127.0.0.1",
) -> Generator[Peer]:
    """A connection, bound if a name is given; closed at the end."""
    made = Peer(port, address, receive_buffer, tls, to)
    try:
        if system_id:
            assert made.bind(system_id, password) == 0
        yield made
    finally:
        made.close()
