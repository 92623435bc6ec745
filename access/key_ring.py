"""The center's master keys: a file outside the database.

In charge of: the key file, adding, promoting and retiring its keys, and the keys of each purpose. Not in charge of:
what is done with them (`sealing.py`, `audit.py`, `sessions.py` …).

The file has mode 0600 (or is a systemd credential) and one key a line, the present one first:

    <8 hexadecimal digits that name the key> <32 octets, base64>

The present key makes everything new; every key of the file recognises what it made. Audit and evidence rows stay
chained under the key of their time: a key that is retired takes with it that they can be verified.
Where several nodes share a database, each must know a key before any of them uses it: add it and start all of them
again, use it and start them again, and retire the old one when nothing is sealed with it any more.

Source: behaviour.md 11.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from .keys import KEY_OCTETS, Keys

__all__ = ["KeyFileRefused", "KeyRing", "add_key", "create_keys", "retire_key", "use_key"]

_MOST_KEYS = 16  #: each is tried when a MAC of the past is read


class KeyFileRefused(Exception):
    """The key file cannot be used; the text says why and what to do."""


class KeyRing:
    """The keys of one file. Its repr shows their names only."""

    __slots__ = ("_masters", "current")

    def __init__(self, masters: Mapping[str, bytes]) -> None:
        """Name -> 32 octets, the present one first."""
        if not masters:
            raise KeyFileRefused("there is no key in the key file; `restante init` writes one")
        self._masters = dict(masters)
        self.current = next(iter(self._masters))  #: name of the present key

    def keys(self, purpose: str) -> Keys:
        """The keys of one purpose; nobody who holds them learns another's."""
        return Keys(purpose, self._masters)

    def names(self) -> list[str]:
        """Names of all keys, the present one first."""
        return list(self._masters)

    def __repr__(self) -> str:
        """Names, never keys."""
        return f"KeyRing({', '.join(self._masters)})"

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key file; raises KeyFileRefused if others may read it or it is not one."""
        return cls(_read(path))


def create_keys(path: Path, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """Write a new key file with one key; raises FileExistsError rather than replace one."""
    _write(path, _made(random))
    return KeyRing.load(path)


def add_key(path: Path, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """Put a new key behind the others: recognised from the next start on, not used yet."""
    masters = _read(path)
    if len(masters) >= _MOST_KEYS:
        raise KeyFileRefused(f"{path} holds {len(masters)} keys, which is the most: retire one first")
    return _replace(path, {**masters, **_made(random)})


def use_key(path: Path, name: str) -> KeyRing:
    """Make a key of the file the present one, from the next start on."""
    masters = _read(path)
    return _replace(path, {name: _known(path, masters, name), **masters})


def retire_key(path: Path, name: str) -> KeyRing:
    """Take a key out of the file; the present one cannot be retired."""
    masters = _read(path)
    _known(path, masters, name)
    if name == next(iter(masters)):
        raise KeyFileRefused(f"{name} is the present key of {path}: use another one first")
    del masters[name]
    return _replace(path, masters)


def _known(path: Path, masters: Mapping[str, bytes], name: str) -> bytes:
    if name not in masters:
        raise KeyFileRefused(f"{path} has no key {name}; it has {', '.join(masters)}")
    return masters[name]


def _made(random: Callable[[int], bytes]) -> dict[str, bytes]:
    master = random(KEY_OCTETS)
    return {_name(master): master}


def _name(master: bytes) -> str:
    """What a key is called: tells keys apart, tells nothing about them."""
    return hashlib.sha256(b"restante key name " + master).hexdigest()[:8]


def _read(path: Path) -> dict[str, bytes]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyFileRefused(f"cannot read the key file {path}: {reason}") from None
    if mode & 0o077:
        raise KeyFileRefused(f"the key file {path} can be read by others: chmod 600 {path}")
    masters: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, _, encoded = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        try:
            master = base64.b64decode(encoded, validate=True)
        except ValueError:
            master = b""
        if len(master) != KEY_OCTETS or name != _name(master):
            raise KeyFileRefused(f"{path}, line {number}: not a key as `restante init` writes it")
        masters[name] = master
    return masters


def _replace(path: Path, masters: Mapping[str, bytes]) -> KeyRing:
    """The file is replaced at once, never half written."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        _write(fresh, masters)
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyFileRefused(f"cannot write the key file {path}: {error.strerror}") from None
    return KeyRing.load(path)


def _write(path: Path, masters: Mapping[str, bytes]) -> None:
    lines = [f"{name} {base64.b64encode(master).decode()}\n" for name, master in masters.items()]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
