"""What the doctor looks at, without asking the database or the center: the machine and the files.

In charge of: one function a check, each answering with findings that name the fix. Not in charge of: the order of
the checks and how they are shown (`doctor.py`), the database (`database_findings.py`).

A finding is PASS, WARN (works, but somebody should know), FAIL (will not work, or is not safe) or SKIP (could not be
looked at, and why).
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

__all__ = [
    "Finding",
    "Level",
    "check_disk",
    "check_file_modes",
    "check_fsync",
    "check_open_files",
    "check_package",
    "check_ports",
    "check_python",
    "listener_of",
]

GIB = 1 << 30
DISK_FAIL_OCTETS = GIB // 4  #: below it a busy center has minutes
DISK_WARN_OCTETS = 2 * GIB
FSYNC_WARN_MS = 20.0  #: a commit waits for one; 50 commits a second are left
FSYNC_ROUNDS = 7
OPEN_FILES_WANTED = 4096  #: a thousand binds, as many HTTP clients, and the database


class Level(StrEnum):
    """How bad it is."""

    PASS = "PASS"  # noqa: S105 -- no password
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str  #: stable, "disk-free"
    level: Level
    text: str
    fix: str = ""  #: a command, or what to do


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Iterator[Finding]:
    """The interpreter's version."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        yield Finding("python", Level.FAIL, f"Python {text}; 3.11 is needed", "apt-get install python3.11")
    else:
        yield Finding("python", Level.PASS, f"Python {text}")


def check_package() -> Iterator[Finding]:
    """Whether the installed package is whole: a broken wheel lacks data files."""
    root = files("restante")
    versions = root.joinpath("alembic", "versions")
    revisions = [entry.name for entry in versions.iterdir()] if versions.is_dir() else []
    missing = [
        name for name in ("py.typed", "alembic/env.py") if not root.joinpath(*name.split("/")).is_file()
    ]
    if missing or not any(name.endswith(".py") for name in revisions):
        lost = ", ".join(missing) or "the migrations"
        yield Finding(
            "package", Level.FAIL, f"the installation lacks {lost}", "pip install --force-reinstall restante"
        )
    else:
        yield Finding("package", Level.PASS, "the package is whole")


def check_disk(folder: Path, *, free: Callable[[Path], int] | None = None) -> Iterator[Finding]:
    """Room where the database lives. `free`: octets left, asked of the system unless given."""
    try:
        octets = free(folder) if free else shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding("disk-free", Level.FAIL, f"{folder}: {error.strerror}", f"mkdir -p {folder}")
        return
    text = f"{octets / GIB:.1f} GiB free at {folder}"
    fix = f"free some space at {folder}, or move the database; df -h {folder} shows the device"
    if octets < DISK_FAIL_OCTETS:
        yield Finding("disk-free", Level.FAIL, text, fix)
    elif octets < DISK_WARN_OCTETS:
        yield Finding("disk-free", Level.WARN, text, fix)
    else:
        yield Finding("disk-free", Level.PASS, text)


def check_fsync(folder: Path, *, warn_ms: float = FSYNC_WARN_MS) -> Iterator[Finding]:
    """How long the disk takes to keep a small write: each commit waits so long."""
    path = folder / f".restante-fsync-{os.getpid()}"
    times: list[float] = []
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        yield Finding("fsync", Level.FAIL, f"cannot write in {folder}: {error.strerror}", f"ls -ld {folder}")
        return
    try:
        for _ in range(FSYNC_ROUNDS):
            os.write(descriptor, b"\0" * 4096)
            started = time.perf_counter()
            os.fsync(descriptor)
            times.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    middle = sorted(times)[len(times) // 2]
    if middle > warn_ms:
        fix = f"a disk with a write cache that survives power loss; {folder} stands on a slow one"
        yield Finding("fsync", Level.WARN, f"an fsync takes {middle:.1f} ms: every commit waits for one", fix)
    else:
        yield Finding("fsync", Level.PASS, f"an fsync takes {middle:.1f} ms")


def check_open_files(limit: int | None = None) -> Iterator[Finding]:
    """How many sockets and files the process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if 0 <= soft < OPEN_FILES_WANTED:
        text = f"{soft} open files allowed; a thousand binds need {OPEN_FILES_WANTED}"
        yield Finding(
            "open-files", Level.WARN, text, f"ulimit -n {OPEN_FILES_WANTED}; or LimitNOFILE= in the unit"
        )
    else:
        yield Finding(
            "open-files", Level.PASS, f"{soft if soft >= 0 else 'any number of'} open files allowed"
        )


def check_file_modes(secrets: Iterable[Path]) -> Iterator[Finding]:
    """Files that hold secrets are their owner's alone."""
    seen = 0
    for path in secrets:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            yield Finding(
                "secret-files", Level.FAIL, f"{path} does not exist", f"restante init --dir {path.parent}"
            )
            continue
        seen += 1
        if mode & 0o077:
            text = f"{path} may be read by others (mode {mode:o})"
            yield Finding("secret-files", Level.FAIL, text, f"chmod 600 {path}")
        else:
            yield Finding("secret-files", Level.PASS, f"{path} is its owner's alone")
    if not seen:
        yield Finding("secret-files", Level.SKIP, "no file with a secret is configured")


def check_ports(wanted: Iterable[tuple[str, str, int]], *, ours: Callable[[int], bool]) -> Iterator[Finding]:
    """Whether each door's port is free, or held by a center. `wanted`: (door, host, port); `ours(pid)`."""
    for door, host, port in wanted:
        name = f"port-{door}"
        if port == 0:
            yield Finding(name, Level.SKIP, "takes any free port")
            continue
        holder = listener_of(port)
        if holder is not None and ours(holder[0]):
            yield Finding(name, Level.PASS, f"{host}:{port} is held by the running center (pid {holder[0]})")
            continue
        try:
            _bind_once(host, port)
        except OSError as error:
            who = f"{holder[1]} (pid {holder[0]})" if holder else "another process"
            fix = f"kill {holder[0]}" if holder else f"ss -ltnp 'sport = :{port}' as root names it"
            reason = (
                f"is taken by {who}"
                if holder or "in use" in str(error)
                else f"cannot be used: {error.strerror}"
            )
            yield Finding(
                name, Level.FAIL, f"{host}:{port} {reason}", f"{fix}; or set another port for {door}"
            )
        else:
            yield Finding(name, Level.PASS, f"{host}:{port} is free")


def _bind_once(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def listener_of(port: int) -> tuple[int, str] | None:
    """Pid and name of the process that listens on a TCP port; None if there is none or we may not know."""
    inodes: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            cells = row.split()
            if cells[3] == "0A" and int(cells[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                inodes.add(f"socket:[{cells[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    return int(process.name), (process / "comm").read_text().strip()
        except OSError:  # gone in between, or another user's
            continue
    return None
