"""What went over loopback while tests ran, for Wireshark's dissectors of SMPP, GSUP and Diameter to judge.

In charge of: running dumpcap beside the tests of one worker, and asking tshark which of the PDUs that centers (for GSUP
and Diameter, also switches and registers) sent are malformed. Not in charge of: what hostile peers sent; that is
malformed on purpose. Like every test that needs a Debian package, it follows behaviour.md 12.
"""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from waiting import eventually

MOST_KIB = 400_000  #: the capture ends here, whatever happens
BUFFER_MIB = 64
OFA = "8388645/0"  #: answer to MO-Forward-Short-Message (TS 29.338)
_FIELDS = (
    "tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.analysis.lost_segment", "_ws.malformed", "frame.number",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judgement:
    """What tshark made of a capture."""

    frames: int  #: frames with the protocol, that centers sent
    malformed: list[str]  #: those of them that the dissector did not understand
    torn: int  #: connections of which the capture missed segments; they are not judged


class WireCapture:
    """One capture."""

    def __init__(self, dumpcap: str, tshark: str, folder: Path, ports: Sequence[int] = ()) -> None:
        """`ports`: only these; none: everything that the tests speak over TCP."""
        self._tshark = tshark
        self._path = folder / "interop.pcapng"
        self._said = folder / "dumpcap.log"
        self._marks = socket.create_server(("127.0.0.1", 0))
        only = [f"tcp port {port}" for port in (*ports, self._marks.getsockname()[1])] if ports else ["tcp"]
        # -p: loopback needs no promiscuous mode
        command = [dumpcap, "-q", "-p", "-i", "lo", "-f", " or ".join(only), "-B", str(BUFFER_MIB)]
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
            with socket.create_connection(self._marks.getsockname()) as sender:
                sender.sendall(marks[-1])
                self._marks.accept()[0].close()
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
        self._marks.close()

    def judge(self, ports: list[int]) -> Judgement:
        """What centers at these ports sent by SMPP."""
        frames, torn = self._dissected("smpp", "smpp", ports, ())
        return _judgement([frame for frame in frames if int(frame[1]) in ports], torn)

    def judge_gsup(self, ports: list[int]) -> tuple[Judgement, Counter[str]]:
        """What was said by GSUP from and to these ports; and how often each type of message, in decimal."""
        frames, torn = self._dissected("gsup", "gsm_ipa", ports, ("gsup.msg_type",))
        types = Counter(kind for frame in frames for kind in frame[-1].split(",") if kind)
        return _judgement(frames, torn), types

    def judge_diameter(self, ports: list[int]) -> tuple[Judgement, Counter[str]]:
        """What was said by Diameter from and to these ports; and how often each command, "code/1" for a request.

        The report in an OFA is a TPDU to the handset; Wireshark reads it as one from it. So where there is an OFA, only
        the Diameter around it is judged.
        """
        more = ("diameter.cmd.code", "diameter.flags.request")
        outer, torn = self._dissected("diameter", "diameter", ports, more, ("--disable-protocol", "gsm_sms"))
        whole, _ = self._dissected("diameter", "diameter", ports, more)
        said = Counter[str]()
        inner: list[list[str]] = []
        for frame in whole:
            commands = [
                f"{code}/{int(asked in ('1', 'True'))}"
                for code, asked in zip(frame[-2].split(","), frame[-1].split(","), strict=True)
                if code
            ]
            said.update(commands)
            if OFA not in commands:
                inner.append(frame)
        faults = dict.fromkeys(_judgement(outer, torn).malformed + _judgement(inner, torn).malformed)
        return Judgement(len(outer), list(faults), torn), said

    def _dissected(
        self,
        protocol: str,
        decode_as: str,
        ports: list[int],
        more: Sequence[str],
        options: Sequence[str] = (),
    ) -> tuple[list[list[str]], int]:
        """Frames with a protocol, as fields; and how many connections were left out because segments are missing."""
        # What a dissector gave up on need not be of its protocol any more.
        wanted = f"{protocol} || _ws.malformed || tcp.analysis.lost_segment"
        command = [self._tshark, "-n", "-r", str(self._path), "-Y", wanted, "-T", "fields", *options]
        for port in ports:
            command += ["-d", f"tcp.port=={port},{decode_as}"]
        for field in (*_FIELDS, *more):
            command += ["-e", field]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        frames = [line.split("\t") for line in done.stdout.split("\n")[:-1]]
        of_ports = [frame for frame in frames if {int(frame[1]), int(frame[2])} & set(ports)]
        torn = {frame[0] for frame in of_ports if frame[3]}
        return [frame for frame in of_ports if frame[0] not in torn], len(torn)


def _judgement(frames: Sequence[Sequence[str]], torn: int) -> Judgement:
    return Judgement(len(frames), [f"frame {frame[5]}" for frame in frames if frame[4]], torn)
