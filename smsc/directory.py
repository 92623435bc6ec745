"""Whose a number is: accounts, what they own, and the center's own ranges.

In charge of: keeping the tables of numbers in step with what operators edit. Not in charge of: the objects
(`access/accounts.py`, `access/ranges.py`), or what follows for a message (`routing.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..access.accounts import Account, owner_table
from ..access.ranges import NumberRange, NumberRanges
from ..message import Role
from ..registry.snapshot import Changed, Snapshot
from .identity import Identity

__all__ = ["Directory"]


class Directory:
    """Numbers and their owners, on one node."""

    def __init__(
        self,
        accounts: Snapshot[Account],
        ranges: Snapshot[NumberRange],
        *,
        own: NumberRanges,
        identity: Identity,
    ) -> None:
        """The snapshots are of a registry that is open. `own` and `identity` are told what changes."""
        self._accounts = accounts
        self._ranges = ranges
        self._own = own
        self._identity = identity
        self._accounts_changed(())
        self._ranges_changed(())
        accounts.on_change(self._accounts_changed)
        ranges.on_change(self._ranges_changed)

    def owner_of(self, number: str) -> Account | None:
        """The account that owns a number in normal form."""
        return self._owners.find(number)

    def is_esme(self, number: str) -> bool:
        """Whether a number is an application's."""
        owner = self._owners.find(number)
        return owner is not None and owner.role is Role.ESME

    def _accounts_changed(self, _: Sequence[Changed[Account]]) -> None:
        self._owners = owner_table(self._accounts.values())
        self._identity.use(self._accounts.values())

    def _ranges_changed(self, _: Sequence[Changed[NumberRange]]) -> None:
        self._own.use(self._ranges.values())
