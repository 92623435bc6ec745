"""Handsets that reach a real switch over SGs: what an MME does for them, as far as short messages need it.

In charge of: SGsAP between MME and MSC (3GPP TS 29.118), and in its containers CP and RP between handset and switch
(TS 24.011). Not in charge of: TPDUs (`restante.signaling.tpdu`), radio, SCTP (`nosctp.c` frames it on TCP).

Everything waits with a deadline; what comes out of order is kept until it is asked for.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from restante.signaling.digits import digits_of, tbcd

DEADLINE_S = 30.0

# Message types of SGsAP.
PAGING_REQUEST, PAGING_REJECT = 1, 2
SERVICE_REQUEST, DOWNLINK, UPLINK = 6, 7, 8
LOCATION_UPDATE, LOCATION_ACCEPT, LOCATION_REJECT = 9, 10, 11
IMSI_DETACH, IMSI_DETACH_ACK = 19, 20
RESET, RESET_ACK = 21, 22
RELEASE, UNREACHABLE = 27, 31

# Information elements.
IMSI, VLR_NAME, LAI, CAUSE, MME_NAME, UPDATE_TYPE, REJECT_CAUSE = 1, 2, 4, 8, 9, 10, 15
DETACH_TYPE, NAS, SERVICE = 17, 22, 32

CP_DATA, CP_ACK, CP_ERROR = 1, 4, 16
RP_DATA_UP, RP_DATA_DOWN, RP_ACK_UP, RP_ACK_DOWN, RP_ERROR_UP, RP_ERROR_DOWN, RP_SMMA = range(7)


class Rp(NamedTuple):
    """One message of RP, as the handset reads it."""

    type: int
    mr: int
    cause: int = 0  #: of an error
    tpdu: bytes = b""
    center: str = ""  #: of data: digits of RP-OA


def _imsi(digits: str) -> bytes:
    odd = len(digits) % 2
    head = int(digits[0]) << 4 | odd << 3 | 1
    return bytes((head,)) + tbcd(digits[1:])


def _read_imsi(value: bytes) -> str:
    return str(value[0] >> 4) + digits_of(value[1:])


def _domain_name(name: str) -> bytes:
    return b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))


def _read_rp(octets: bytes) -> Rp:
    kind, mr, rest = octets[0], octets[1], octets[2:]
    if kind == RP_DATA_DOWN:
        length = rest[0]
        center = digits_of(rest[2 : 1 + length]) if length > 1 else ""
        rest = rest[1 + length :]
        rest = rest[1 + rest[0] :]  # RP-DA, empty
        return Rp(kind, mr, tpdu=rest[1 : 1 + rest[0]], center=center)
    if kind == RP_ERROR_DOWN:
        return Rp(kind, mr, cause=rest[1])
    return Rp(kind, mr)


class Mme:
    """One MME, connected to one switch."""

    def __init__(self, address: str, port: int, number: int = 1) -> None:
        """`number` makes its name."""
        self.name = f"mmec{number:02x}.mmegi0001.mme.epc.mnc001.mcc001.3gppnetwork.org"
        self._socket = socket.create_connection((address, port), 10)
        self._socket.settimeout(DEADLINE_S)
        self._kept: list[tuple[int, dict[int, bytes]]] = []
        self.send(RESET, (MME_NAME, _domain_name(self.name)))
        self.receive(RESET_ACK)

    def send(self, kind: int, *elements: tuple[int, bytes]) -> None:
        """Say something to the switch."""
        body = bytes((kind,)) + b"".join(bytes((tag, len(value))) + value for tag, value in elements)
        self._socket.sendall(struct.pack("!I", len(body)) + body)

    def _exactly(self, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            more = self._socket.recv(size - len(octets))
            assert more, "the switch closed the link"
            octets += more
        return octets

    def receive(self, *kinds: int, imsi: str = "") -> tuple[int, dict[int, bytes]]:
        """The next message of one of these types (about one subscriber); others wait for whoever wants them."""
        for place, (kind, elements) in enumerate(self._kept):
            if kind in kinds and imsi in ("", _imsi_of(elements)):
                return self._kept.pop(place)
        while True:
            body = self._exactly(int.from_bytes(self._exactly(4), "big"))
            elements: dict[int, bytes] = {}
            at = 1
            while at < len(body):
                elements[body[at]] = body[at + 2 : at + 2 + body[at + 1]]
                at += 2 + body[at + 1]
            if body[0] in kinds and imsi in ("", _imsi_of(elements)):
                return body[0], elements
            if body[0] != RELEASE:
                self._kept.append((body[0], elements))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _imsi_of(elements: dict[int, bytes]) -> str:
    return _read_imsi(elements[IMSI]) if IMSI in elements else ""


@dataclass
class Handset:
    """One subscriber behind an MME."""

    mme: Mme
    imsi: str
    center: str = "447700900999"  #: digits of the message center's address on its card
    mr: int = 0  #: of RP, of what was sent last
    pagings: int = 0  #: that it answered
    _ti: int = 0  #: transaction identifier of the network's last transaction
    _kept: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])

    def attach(self) -> int:
        """Update the location; 0, or the cause of a rejection."""
        lai = bytes((0x00, 0xF1, 0x10, 0x00, 0x01))
        self.mme.send(
            LOCATION_UPDATE,
            (IMSI, _imsi(self.imsi)),
            (MME_NAME, _domain_name(self.mme.name)),
            (UPDATE_TYPE, b"\x01"),
            (LAI, lai),
        )
        kind, elements = self.mme.receive(LOCATION_ACCEPT, LOCATION_REJECT, imsi=self.imsi)
        return 0 if kind == LOCATION_ACCEPT else elements[REJECT_CAUSE][0]

    def detach(self) -> None:
        """Switch off."""
        self.mme.send(
            IMSI_DETACH,
            (IMSI, _imsi(self.imsi)),
            (MME_NAME, _domain_name(self.mme.name)),
            (DETACH_TYPE, b"\x02"),
        )
        self.mme.receive(IMSI_DETACH_ACK, imsi=self.imsi)

    def _up(self, ti: int, cp: int, rp: bytes = b"") -> None:
        nas = bytes((ti << 4 | 9, cp)) + (bytes((len(rp),)) + rp if cp == CP_DATA else rp)
        self.mme.send(UPLINK, (IMSI, _imsi(self.imsi)), (NAS, nas))

    def _down(self, *, ours: bool) -> tuple[int, int, bytes]:
        """Transaction, CP type and RP of the next container, of our own transactions or of the network's.

        A paging is answered on the way.
        """
        for place, (ti, cp, rp) in enumerate(self._kept):
            if bool(ti & 8) is ours:
                del self._kept[place]
                return ti, cp, rp
        while True:
            kind, elements = self.mme.receive(DOWNLINK, PAGING_REQUEST, imsi=self.imsi)
            if kind == PAGING_REQUEST:
                self.pagings += 1
                self.mme.send(SERVICE_REQUEST, (IMSI, _imsi(self.imsi)), (SERVICE, b"\x02"))
                continue
            nas = elements[NAS]
            assert nas[0] & 0xF == 9, nas.hex()
            found = nas[0] >> 4, nas[1], nas[3:] if nas[1] == CP_DATA else b""
            if bool(found[0] & 8) is ours:  # the flag says who did not begin it
                return found
            self._kept.append(found)

    def start(self, tpdu: bytes) -> None:
        """Send a TPDU to the center; `answer` waits for what comes back."""
        self.mr = (self.mr + 1) & 0xFF
        da = bytes((0x91,)) + tbcd(self.center)
        rp = bytes((RP_DATA_UP, self.mr, 0, len(da))) + da + bytes((len(tpdu),)) + tpdu
        self._up(0, CP_DATA, rp)

    def answer(self) -> Rp:
        """RP-ACK or RP-ERROR to what was started; the transaction is over then."""
        while True:
            ti, cp, rp = self._down(ours=True)
            assert cp != CP_ERROR, "CP-ERROR"
            if cp == CP_DATA:
                self._up(ti & 7, CP_ACK)
                return _read_rp(rp)

    def submit(self, tpdu: bytes) -> Rp:
        """Send a TPDU and wait for the answer."""
        self.start(tpdu)
        return self.answer()

    def memory_available(self) -> Rp:
        """RP-SMMA: there is room for messages again."""
        self.mr = (self.mr + 1) & 0xFF
        self._up(0, CP_DATA, bytes((RP_SMMA, self.mr)))
        return self.answer()

    def unreachable(self) -> None:
        """Wait for a paging and let the MME say that the handset does not answer."""
        self.mme.receive(PAGING_REQUEST, imsi=self.imsi)
        self.mme.send(UNREACHABLE, (IMSI, _imsi(self.imsi)), (CAUSE, b"\x0d"))

    def take(self) -> Rp:
        """The next message for the handset, not acknowledged yet; answers the paging before it, if there is one."""
        while True:
            ti, cp, rp = self._down(ours=False)
            if cp == CP_DATA:
                self._ti = ti | 8
                self._up(self._ti, CP_ACK)
                return _read_rp(rp)

    def acknowledge(self, data: Rp) -> None:
        """RP-ACK; the transaction is over then."""
        self._up(self._ti, CP_DATA, bytes((RP_ACK_UP, data.mr)))
        self._over()

    def refuse(self, data: Rp, cause: int) -> None:
        """RP-ERROR; the transaction is over then."""
        self._up(self._ti, CP_DATA, bytes((RP_ERROR_UP, data.mr, 1, cause)))
        self._over()

    def _over(self) -> None:
        while self._down(ours=False)[1] != CP_ACK:
            pass
