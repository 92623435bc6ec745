"""The judge of the captures can tell a fault: a sound PDU and a torn one, really sent over loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from wire_capture import WireCapture

from restante.smsc.smpp import pdu


def test_a_malformed_pdu_is_found(component: Callable[[str, str], str], tmp_path: Path) -> None:
    sound = pdu.DeliverSm(
        destination_addr=b"447700900001", short_message=b"hello", sequence_number=1
    ).encode()
    torn = bytearray(sound)
    torn[torn.index(b"\x05hello")] = 200  # sm_length says more than there is
    capture = WireCapture(component("tshark", "dumpcap"), component("tshark", "tshark"), tmp_path)
    ports: list[int] = []
    for octets in (sound, bytes(torn)):
        with socket.create_server(("127.0.0.1", 0)) as center:
            ports.append(center.getsockname()[1])
            with socket.create_connection(center.getsockname()) as peer:
                serving, _ = center.accept()
                with serving:
                    serving.sendall(octets)
                    assert peer.recv(1 << 16) == octets
    capture.stop()
    assert capture.judge(ports[:1]).frames == 1
    assert not capture.judge(ports[:1]).malformed
    assert len(capture.judge(ports[1:]).malformed) == 1
