"""Another message center, as bad as the test wants: it listens, lets us bind, and says what the test says.

In charge of: one listening socket, binds answered by themselves (or as `bind_status` says), enquire_link answered, and
everything else handed to the test. Not in charge of: SMPP's rules; nothing else is answered by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from typing import Any

from restante.smsc.smpp import pdu
from restante.smsc.smpp.codec import HEADER_OCTETS, Pdu
from restante.smsc.smpp.command_status import CommandStatus
from restante.smsc.smpp.tlv import Tag, one

PATIENCE_S = 60.0


class Client:
    """One of our binds, seen from there."""

    def __init__(self, center: OtherCenter, connection: socket.socket) -> None:
        self.center = center
        self.socket = connection
        self.bind: pdu.Bind | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.ended = threading.Event()
        self.unanswered: dict[
            int, tuple[pdu.SubmitSm, str]
        ] = {}  #: receipts without an answer, by sequence_number

    def send(self, *things: Pdu | bytes) -> None:
        """Everything in one write."""
        with self._lock:
            self.socket.sendall(b"".join(t if isinstance(t, bytes) else t.encode() for t in things))

    def number(self) -> int:
        """A sequence_number of ours."""
        return next(self._numbers)

    def serve(self) -> None:
        """Read until the end."""
        try:
            while (one := self._read()) is not None:
                self._take(one)
        except OSError:
            pass
        finally:
            self.ended.set()
            self.socket.close()

    def _take(self, one: Pdu) -> None:
        if isinstance(one, pdu.Bind):
            self.bind = one
            status = self.center.bind_status or self.center.refuses_more()
            answer: Any = pdu.response_to(one, status)
            if not status:
                answer.system_id = b"OTHER"
                answer.tlvs = one_version()
                self.center.bound.append(self)
            self.send(answer)
            self._tell_again()
        elif isinstance(one, pdu.EnquireLink):
            if not self.center.silent:
                self.send(pdu.EnquireLinkResp(sequence_number=one.sequence_number))
        elif isinstance(one, pdu.Unbind):
            self.send(pdu.UnbindResp(sequence_number=one.sequence_number))
        elif isinstance(one, pdu.SubmitSm):
            self.center.submitted.append(one)
            self.center.submits.put((self, one))
            self.center.on_submit(self, one)
        else:
            self.unanswered.pop(one.sequence_number, None)
            self.center.others.put(one)

    def _tell_again(self) -> None:
        """What earlier binds were told and did not answer."""
        for other in [other for other in self.center.clients if other.ended.is_set()]:
            lost, other.unanswered = other.unanswered, {}
            for submit, id in lost.values():
                self.tell(submit, id)

    def tell(self, submit: pdu.SubmitSm, id: str) -> None:
        """A receipt, said again at the next bind if this one ends first."""
        number = self.number()
        self.unanswered[number] = (submit, id)
        with contextlib.suppress(OSError):
            self.center.receipt(self, submit, id, sequence_number=number)

    def _read(self) -> Pdu | None:
        start = self._exactly(HEADER_OCTETS)
        if not start:
            return None
        return pdu.decode(start + self._exactly(int.from_bytes(start[:4], "big") - HEADER_OCTETS))

    def _exactly(self, octets: int) -> bytes:
        got = b""
        while len(got) < octets:
            more = self.socket.recv(octets - len(got))
            if not more:
                return b""
            got += more
        return got

    def close(self) -> None:
        """Without a word."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


def one_version() -> bytes:
    return one(Tag.sc_interface_version, 0x34)


class OtherCenter:
    """It listens on a port of its own from start to end."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.tls = tls
        self.bind_status = 0
        self.most_binds = 1000  #: at a time
        self.silent = False
        self.bound: list[Client] = []
        self.clients: list[Client] = []
        self.submitted: list[pdu.SubmitSm] = []
        self.submits: queue.Queue[tuple[Client, pdu.SubmitSm]] = queue.Queue()
        self.others: queue.Queue[Pdu] = queue.Queue()  #: responses to what we sent
        self.on_submit: Callable[[Client, pdu.SubmitSm], None] = lambda client, submit: None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        if self.tls is not None:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True)
            except (OSError, ssl.SSLError):
                connection.close()
                return
        client = Client(self, connection)
        self.clients.append(client)
        client.serve()

    def refuses_more(self) -> int:
        """ESME_RALYBND once as many are bound as may be."""
        standing = sum(not client.ended.is_set() for client in self.bound)
        return CommandStatus.ESME_RALYBND if standing >= self.most_binds else 0

    def submit(self) -> tuple[Client, pdu.SubmitSm]:
        """The next message that we handed over."""
        return self.submits.get(timeout=PATIENCE_S)

    def answer(self, client: Client, submit: pdu.SubmitSm, id: str = "", status: int = 0) -> None:
        """submit_sm_resp."""
        answer = pdu.SubmitSmResp(sequence_number=submit.sequence_number, message_id=id.encode())
        answer.command_status = status
        client.send(answer)

    def receipt(
        self, client: Client, submit: pdu.SubmitSm, id: str, stat: str = "DELIVRD", **more: Any
    ) -> None:
        """A delivery receipt in text, not yet answered."""
        err = more.pop("err", "000")
        text = f"id:{id} sub:001 dlvrd:001 submit date:2611220000 done date:2611220001 stat:{stat} err:{err} text:x"
        fields: dict[str, Any] = {
            "source_addr_ton": submit.dest_addr_ton,
            "source_addr_npi": submit.dest_addr_npi,
            "source_addr": submit.destination_addr,
            "destination_addr": submit.source_addr,
            "esm_class": 4,
            "short_message": text.encode(),
        }
        number = more.pop("sequence_number", 0) or client.number()
        client.send(pdu.DeliverSm(sequence_number=number, **(fields | more)))

    def response(self) -> Any:
        """The next answer to something that we were sent."""
        return self.others.get(timeout=PATIENCE_S)

    def accept_all(self, *, receipts: bool = True, hex_ids: bool = False) -> None:
        """Answer each message by itself: ids count up; a receipt follows at once."""
        ids = itertools.count(1000)

        def taken(client: Client, submit: pdu.SubmitSm) -> None:
            id = next(ids)
            self.answer(client, submit, format(id, "X").zfill(8) if hex_ids else str(id))
            if receipts:
                client.tell(submit, str(id))

        self.on_submit = taken  # a receipt that is not answered comes again

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.listening.close()
        for client in self.clients:
            client.close()


@contextlib.contextmanager
def other_center(tls: ssl.SSLContext | None = None) -> Generator[OtherCenter]:
    """One from start to end."""
    made = OtherCenter(tls)
    try:
        yield made
    finally:
        made.close()
