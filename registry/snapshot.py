"""Live copies: the objects of a kind as this node works with them.

In charge of: look-ups that cost one dict access, replaced all at once, and telling who asked to be told. Not in charge
of: when they are replaced (`edits.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import structlog

__all__ = ["Changed", "Snapshot"]

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Changed(NamedTuple, Generic[T]):
    """One object that is not what it was."""

    number: int
    before: T | None  #: None: it is new
    after: T | None  #: None: it is gone


class Snapshot(Generic[T]):
    """The living objects of one kind, built. One for the life of a node; its contents change between two steps of
    the event loop, never within one."""

    __slots__ = ("revision", "_by_key", "_by_number", "_callbacks")

    def __init__(self) -> None:
        """Empty until the registry is opened."""
        self.revision = 0  #: registry revision it shows
        self._callbacks: list[Callable[[Sequence[Changed[T]]], None]] = []
        self._by_key: Mapping[str, T] = {}
        self._by_number: Mapping[int, T] = {}

    def get(self, key: str) -> T | None:
        """The object with that key, or None."""
        return self._by_key.get(key)

    def by_number(self, number: int) -> T | None:
        """The object with that number, or None."""
        return self._by_number.get(number)

    def values(self) -> Collection[T]:
        """Every object, by number."""
        return self._by_number.values()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_number)

    def on_change(self, callback: Callable[[Sequence[Changed[T]]], None]) -> None:
        """Call `callback` on the loop after each replacement, with what is different."""
        self._callbacks.append(callback)

    def replace(
        self,
        by_key: Mapping[str, T],
        by_number: Mapping[int, T],
        revision: int,
        changes: Sequence[Changed[T]],
    ) -> None:
        """Show other objects from now on. For the registry."""
        self._by_key = by_key
        self._by_number = by_number
        self.revision = revision
        for callback in self._callbacks if changes else ():
            try:
                callback(changes)
            except Exception:  # one listener's fault must not keep the others from hearing
                log.exception("registry.listener-failed", listener=getattr(callback, "__qualname__", "?"))
