"""smpplib as an ESME: a client that nobody here wrote, one call after the other.

In charge of: matching answers with requests, acknowledging what is delivered, and keeping it. Not in charge of: the
center (`running_center.py`), or what a test makes of it.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Generator
from typing import Any

from smpplib import client as smpplib_client
from smpplib import consts, exceptions, smpp

make_pdu: Any = smpp.make_pdu
PATIENCE_S = 60  #: per read


class Esme:
    """One connection."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.client: Any = smpplib_client.Client(
            "127.0.0.1", port, timeout=PATIENCE_S, allow_unknown_opt_params=True, ssl_context=tls
        )
        self.client.connect()
        self.delivered: list[Any] = []  #: deliver_sm, in order
        self.asked = 0  #: enquire_links of the center that were answered
        self._answers: dict[int, Any] = {}

    def bind(self, kind: str, system_id: str, password: str, **more: object) -> Any:
        """bind_`kind`; the response, whatever it says."""
        return self.ask(f"bind_{kind}", system_id=system_id, password=password, **more)

    def send(self, command: str, **fields: object) -> int:
        """Send a request; its sequence_number. smpplib's own table of states is not asked: the center is to say no."""
        pdu = make_pdu(command, client=self.client, **fields)
        self.client.state = consts.SMPP_CLIENT_STATE_BOUND_TRX
        if command.startswith("bind_"):
            self.client.state = consts.SMPP_CLIENT_STATE_OPEN
        self.client.send_pdu(pdu)
        return int(pdu.sequence)

    def ask(self, command: str, **fields: object) -> Any:
        """Send a request and wait for its response."""
        return self.answer(self.send(command, **fields))

    def answer(self, sequence: int) -> Any:
        """The response with this number."""
        while sequence not in self._answers:
            self.read()
        return self._answers.pop(sequence)

    def read(self) -> None:
        """Take one PDU and do what it wants. Raises smpplib's ConnectionError at the end of the connection."""
        pdu = self.client.read_pdu()
        self.client.state = consts.SMPP_CLIENT_STATE_BOUND_TRX
        if pdu.command == "deliver_sm":
            self.delivered.append(pdu)
            self.client.set_message_received_handler(lambda pdu: consts.SMPP_ESME_ROK)
            self.client._message_received(pdu)
        elif pdu.command == "enquire_link":
            self.client._enquire_link_received(pdu)
            self.asked += 1
        elif pdu.command == "unbind":
            answer = make_pdu("unbind_resp", client=self.client)
            answer.sequence = pdu.sequence
            self.client.send_pdu(answer)
            raise exceptions.ConnectionError("the center asked us to leave")
        else:
            self._answers[pdu.sequence] = pdu

    def next_delivered(self) -> Any:
        """The next deliver_sm."""
        while not self.delivered:
            self.read()
        return self.delivered.pop(0)

    def close(self) -> None:
        """Drop the connection."""
        self.client.state = consts.SMPP_CLIENT_STATE_OPEN
        self.client.disconnect()


@contextlib.contextmanager
def esme(
    port: int,
    kind: str = "transceiver",
    system_id: str = "",
    password: str = "",
    tls: ssl.SSLContext | None = None,
) -> Generator[Esme]:
    """One connection, bound if a name is given; unbound and closed at the end."""
    made = Esme(port, tls)
    try:
        if system_id:
            assert made.bind(kind, system_id, password).status == consts.SMPP_ESME_ROK
        yield made
        if system_id:
            assert made.ask("unbind").status == consts.SMPP_ESME_ROK
    finally:
        made.close()
