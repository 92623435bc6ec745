"""Certificates: those our doors show, and those that peers show us.

In charge of: what an operator must know of a certificate file, reading the files of all doors again when they change
or when somebody asks, and whether a peer's certificate is one that an account demands. Not in charge of: TLS contexts
and sockets (the doors make them), trust in a peer's certificate (its handshake decided that before anybody asks here).

Renewal. A door keeps what it has until the new files are whole and fit together: certificate and key are two files, and
between the two writes they do not. What fails is said in the log and in the answer, and tried again at the next change.

Source: behaviour.md 11; RFC 4514 (names as text).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import AfterValidator

from ..metrics import gauge

__all__ = [
    "CertificateRule",
    "Certificates",
    "DoorState",
    "PeerCertificate",
    "check_certificate_rule",
    "satisfies",
]

_log = structlog.get_logger(__name__)

_ends_at = gauge(
    "certificates", "not_after_seconds", "When the certificate of a door ends, Unix time", ("door",)
)

_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


# ------------------------------------------------------------------------------------------------ of peers


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client's certificate that one of our authorities vouches for."""

    subject: str  #: RFC 4514: "CN=shop,O=Shop Ltd"
    fingerprint: str  #: "sha256:" and 64 hexadecimal digits, of the DER octets

    @classmethod
    def of(cls, der: bytes) -> PeerCertificate:
        """Read what a handshake gave. Raises ValueError if it is no certificate."""
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
        return cls(subject, "sha256:" + hashlib.sha256(der).hexdigest())


def check_certificate_rule(rule: str) -> str:
    """Return a rule in its one spelling; ValueError says what is wrong with it."""
    text = rule.strip()
    if text.lower().startswith("sha256:"):
        found = "sha256:" + text[7:].replace(":", "").replace(" ", "").lower()
        if not _FINGERPRINT.fullmatch(found):
            raise ValueError("after sha256: come the 64 hexadecimal digits of a fingerprint")
        return found
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise ValueError('neither "sha256:…" nor a subject such as "CN=shop,O=Shop Ltd"') from error
    if not text:
        raise ValueError("an empty subject would fit every certificate without one")
    return name.rfc4514_string()


CertificateRule = Annotated[str, AfterValidator(check_certificate_rule)]  #: as a field of a pydantic model


def satisfies(certificate: PeerCertificate | None, rules: tuple[str, ...]) -> bool:
    """True if a certificate is one of those that the rules name, or if they name none."""
    if not rules:
        return True
    return certificate is not None and (certificate.fingerprint in rules or certificate.subject in rules)


# ------------------------------------------------------------------------------------------------ of our doors


@dataclass(slots=True)
class _Door:
    """A door with files."""

    name: str
    files: tuple[Path, ...]  # the first one is the certificate
    reload: Callable[[], None]
    seen: tuple[tuple[int, int, int], ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DoorState:
    """What one door shows."""

    door: str  #: "smpp", "http"
    subject: str
    fingerprint: str
    not_before: int  #: UTC epoch milliseconds, like the next one
    not_after: int
    problem: str  #: why its files could not be read the last time; "" if they could


@dataclass(slots=True)
class Certificates:
    """The certificates of all doors of this process. Lives on the event loop."""

    _doors: list[_Door] = field(default_factory=list["_Door"])

    def add(self, name: str, files: tuple[Path, ...], reload: Callable[[], None]) -> None:
        """A door that shows a certificate. `files[0]` is the certificate; `reload` reads all of them again or raises
        OSError (ssl.SSLError is one)."""
        door = _Door(name, files, reload)
        door.seen = _marks(files)
        self._doors.append(door)
        self._state(door)

    def states(self) -> list[DoorState]:
        """What every door shows."""
        return [self._state(door) for door in self._doors]

    def reload(self) -> list[DoorState]:
        """Read every file again."""
        for door in self._doors:
            self._read(door, _marks(door.files))
        return self.states()

    async def watch(self, every_s: float) -> None:
        """Read again whatever changes, for ever; run it as a task."""
        while True:
            await asyncio.sleep(every_s)
            for door in self._doors:
                marks = await asyncio.to_thread(_marks, door.files)  # the files may lie on a slow network
                if marks != door.seen:
                    self._read(door, marks)

    def _read(self, door: _Door, marks: tuple[tuple[int, int, int], ...]) -> None:
        door.seen = marks
        try:
            door.reload()
        except (OSError, ValueError) as error:
            door.problem = _words(error)
            _log.error("certificate-not-read", door=door.name, problem=door.problem)
        else:
            door.problem = ""
            state = self._state(door)
            _log.info("certificate-read", door=door.name, subject=state.subject, not_after=state.not_after)

    def _state(self, door: _Door) -> DoorState:
        """Of the file, not of the connection: after a failed reload the two differ, and `problem` says so."""
        try:
            found = x509.load_pem_x509_certificate(door.files[0].read_bytes())
        except (OSError, ValueError) as error:
            return DoorState(door.name, "", "", 0, 0, door.problem or _words(error))
        _ends_at.labels(door.name).set(found.not_valid_after_utc.timestamp())
        digest = hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()
        return DoorState(
            door.name,
            found.subject.rfc4514_string(),
            "sha256:" + digest,
            _ms(found.not_valid_before_utc),
            _ms(found.not_valid_after_utc),
            door.problem,
        )


def _ms(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _marks(files: tuple[Path, ...]) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file is written or replaced."""
    found: list[tuple[int, int, int]] = []
    for file in files:
        try:
            stat = os.stat(file)
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _words(error: Exception) -> str:
    """A failure for people; never the contents of a file."""
    if isinstance(error, ssl.SSLError):
        return f"certificate and key cannot be used: {error.reason or error}"
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return f"not a certificate: {error}"
