"""Wireshark's dissectors as an independent reader of octets that tests made.

In charge of: putting frames into a capture file, with or without TCP around them, and asking tshark for fields. Nothing
is captured from a network.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

DLT_USER0 = 147
DLT_RAW = 101  # starts with the IP header


def _capture(path: Path, link_type: int, packets: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", 1_700_000_000 + number, 0, len(packet), len(packet)) + packet)


def _segments(source: int, destination: int, frames: Sequence[bytes]) -> Iterable[bytes]:
    """One TCP segment each, of one connection without its beginning. Checksums are left zero: tshark does not ask."""
    sequence = 1000
    for frame in frames:
        tcp = struct.pack("!HHIIBBHHH", source, destination, sequence, 1, 0x50, 0x18, 8192, 0, 0)
        length = 20 + len(tcp) + len(frame)
        loopback = bytes((127, 0, 0, 1))
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 1, 0, 64, 6, 0, loopback, loopback)
        yield ip + tcp + frame
        sequence += len(frame)


def _tshark(program: str, path: Path, arguments: Sequence[str]) -> str:
    command = [program, "-n", "-r", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dissect(
    program: str, folder: Path, frames: Sequence[bytes], dissector: str, fields: Sequence[str]
) -> list[dict[str, str]]:
    """Read each frame with one dissector; answers the first occurrence of each field as text, "" where it is absent.

    Fails if tshark finds a frame malformed.
    """
    path = folder / "frames.pcap"
    _capture(path, DLT_USER0, frames)
    table = f'uat:user_dlts:"User 0 (DLT=147)","{dissector}","0","","0",""'
    return _fields(program, path, ["-o", table], fields, len(frames))


def dissect_tcp(
    program: str,
    folder: Path,
    frames: Sequence[bytes],
    ports: tuple[int, int],
    fields: Sequence[str],
    options: Sequence[str] = (),
    every: bool = False,
) -> list[dict[str, str]]:
    """The same for frames inside TCP from one port to another; `every` joins all occurrences of a field by commas."""
    path = folder / "stream.pcap"
    _capture(path, DLT_RAW, _segments(*ports, frames))
    return _fields(program, path, options, fields, len(frames), every)


def _fields(
    program: str, path: Path, options: Sequence[str], fields: Sequence[str], count: int, every: bool = False
) -> list[dict[str, str]]:
    malformed = _tshark(program, path, [*options, "-Y", "_ws.malformed", "-V"])
    assert not malformed, malformed
    wanted = [part for field in fields for part in ("-e", field)]
    shape = ["-T", "fields", "-E", "separator=|", "-E", f"occurrence={'a' if every else 'f'}"]
    lines = _tshark(program, path, [*options, *shape, *wanted]).splitlines()
    assert len(lines) == count, lines
    return [dict(zip(fields, line.split("|"), strict=True)) for line in lines]
