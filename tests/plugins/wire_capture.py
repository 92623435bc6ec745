"""What went over loopback while the interop tests ran, for Wireshark's SMPP dissector to judge.

In charge of: running dumpcap beside the tests of one worker, and asking tshark which of the PDUs that centers sent are
malformed. Not in charge of: what hostile peers sent; that is malformed on purpose. Like every test that needs a Debian
package, it follows behaviour.md 12.
"""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from waiting import eventually

MOST_KIB = 400_000  #: the capture ends here, whatever happens
BUFFER_MIB = 64


@dataclass(frozen=True, slots=True)
class Judgement:
    """What tshark made of a capture."""

    frames: int  #: frames with SMPP that centers sent
    malformed: list[str]  #: those of them that the dissector did not understand
    torn: int  #: connections of which the capture missed segments; they are not judged


class WireCapture:
    """One capture."""

    def __init__(self, dumpcap: str, tshark: str, folder: Path) -> None:
        self._tshark = tshark
        self._path = folder / "interop.pcapng"
        self._said = folder / "dumpcap.log"
        # -p: loopback needs no promiscuous mode; -f: SMPP and everything else that the tests speak over TCP
        command = [dumpcap, "-q", "-p", "-i", "lo", "-f", "tcp", "-B", str(BUFFER_MIB)]
        command += ["-a", f"filesize:{MOST_KIB}", "-w", str(self._path)]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(command, stdout=said, stderr=said)
        self._pass_a_mark()

    def _pass_a_mark(self) -> None:
        """Send marks over loopback until one is in the file: then what was sent before is, too."""

        marks: list[bytes] = []

        def has_passed() -> bool:
            assert self._process.poll() is None, self._said.read_text()
            marks.append(secrets.token_bytes(16))
            with (
                socket.create_server(("127.0.0.1", 0)) as server,
                socket.create_connection(server.getsockname()) as sender,
            ):
                sender.sendall(marks[-1])
            seen = self._tail()
            return any(mark in seen for mark in marks)

        eventually(has_passed, "dumpcap to write what it saw")

    def _tail(self) -> bytes:
        if not self._path.exists():
            return b""
        with self._path.open("rb") as file:
            file.seek(max(0, self._path.stat().st_size - (1 << 20)))
            return file.read()

    def stop(self) -> None:
        """End the capture."""
        self._pass_a_mark()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def judge(self, ports: list[int]) -> Judgement:
        """What centers at these ports sent."""
        command = [self._tshark, "-n", "-r", str(self._path), "-Y", "smpp || tcp.analysis.lost_segment"]
        for port in ports:
            command += ["-d", f"tcp.port=={port},smpp"]
        command += ["-T", "fields"]
        for field in (
            "tcp.stream",
            "tcp.srcport",
            "tcp.analysis.lost_segment",
            "_ws.malformed",
            "frame.number",
        ):
            command += ["-e", field]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        frames = [line.split("\t") for line in done.stdout.split("\n")[:-1]]
        torn = {stream for stream, _, lost, _, _ in frames if lost}
        sent = [frame for frame in frames if int(frame[1]) in ports and frame[0] not in torn]
        malformed = [f"frame {number}" for _, _, _, fault, number in sent if fault]
        return Judgement(len(sent), malformed, len(torn))
