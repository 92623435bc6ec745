"""How many binds an account has, on all nodes together.

In charge of: one row for each bind, so that `max_binds` holds exactly whoever binds where at the same moment. Not in
charge of: who may bind (`listener.py`), or the binds themselves (`binds.py`).

Theory. An account has as many numbered seats as its `max_binds`. A bind takes a free one; that two nodes cannot take
the same is the key of the table. The seats of a life that is over count as free. An account whose `max_binds` was
lowered keeps the binds it has. One process alone needs no rows: it counts its own binds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..access.accounts import Account
from ..outlet import Write
from ..store.store import Answer, Change, Store, StoreClosed
from . import node_tables as tables

__all__ = ["Seats", "SeatsUnknown"]

#: Times that another seat is looked for because somebody was faster.
_TRIES = 8


class SeatsUnknown(Exception):
    """The database does not say: nobody can be let in now."""


class Seats:
    """The seats that this node's binds hold."""

    def __init__(self, store: Store, *, shared: bool) -> None:
        """`shared`: other nodes may be on the same database."""
        self._store = store
        self._shared = shared

    async def take(self, account: Account) -> int:
        """A seat for one bind more; 0: there is none. Raises SeatsUnknown. -1 where seats are not counted."""
        if not self._shared:
            return -1
        for _ in range(_TRIES):
            try:
                rows = await self._store.fetch(tables.SEATS_TAKEN, account=account.number)
                taken = {int(row["number"]) for row in rows}
                if len(taken) >= account.max_binds:
                    return 0
                number = next(one for one in range(1, account.max_binds + 1) if one not in taken)
                row = {"account": account.number, "number": number, "epoch": self._store.epoch}
                answer = await self._claim(row)
            except (OSError, StoreClosed) as error:
                raise SeatsUnknown(str(error)) from error
            if answer is Answer.STORED:
                return number
            if answer is not Answer.CONFLICT:
                raise SeatsUnknown(answer.value)
        return 0

    async def _claim(self, row: Mapping[str, int]) -> Answer:
        """Write one; nobody sits in it if whoever asked goes away meanwhile."""
        try:
            return await self._store.apply(writes=[Write(tables.TAKE_SEAT, row, expect=1)])
        except asyncio.CancelledError:
            self.leave(
                row["account"], row["number"]
            )  # behind the claim, in the order in which changes are put
            raise

    def leave(self, account: int, number: int) -> None:
        """A bind is gone."""
        if number <= 0:
            return
        params = {"of_account": account, "of_number": number, "of_epoch": self._store.epoch}
        try:
            self._store.put(Change(done=lambda answer: None, writes=(Write(tables.STAND_UP, params),)))
        except StoreClosed:
            return  # the life is over, and so are its seats
