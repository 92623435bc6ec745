"""How the nodes share what an account may submit.

In charge of: each node's part of the throughput of each account. Not in charge of: refusing what goes beyond it
(`limits.py`), or the number of binds (`seats.py`).

Theory. Each second every node tells the others how much each account with a limit asked it for, answered or refused.
Everybody then gives out its part of the limit: what was asked here against what was asked everywhere. So an account
that uses one node only has its whole limit there, and one that uses several has it in all of them together, wherever
it sends more. All of them reckon alike, so that what they give out is the limit and no more. A node that was not asked
yet begins with a fifth of what the others leave for one of them.

How exact: over a time of steady demand the nodes together give out what one alone would, within the change of the
demand from one second to the next. In the second in which an account begins to use one node more, that one gives out
up to a fifth of the limit, and a burst of that part, on top. When the bus is away, a node goes on with the shares that
it knows; `FORGET_S` after the last news of the others it takes the whole limit if it is alone, and its part of the
number of live nodes if it is not: never more than the limit in all.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import structlog

from ..store.bus import Bus
from .limits import Throttles

__all__ = ["EVERY_S", "FORGET_S", "Shares"]

_log = structlog.get_logger(__name__)

#: Seconds between two tellings.
EVERY_S = 1.0
#: Seconds after which what another node told does not count any more.
FORGET_S = 3.5
#: Accounts in one packet.
_MOST_ACCOUNTS = 300
#: Accounts that are kept for one other node.
_MOST_KEPT = 20_000
#: A node that was not asked yet counts as if it had been asked for this part of what the others were, each.
_NEWCOMER = 0.25
#: A node that was asked for less than this part of what they all were asked for on average counts as if for so much: a
#: share near nothing would take long to forget when more comes.
_LEAST = 0.1

_TOPIC = "demand"


class Shares:
    """This node's shares. Lives on the event loop."""

    def __init__(
        self,
        bus: Bus,
        throttles: Throttles,
        *,
        epoch: Callable[[], int],
        nodes: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`nodes`: how many live nodes there are, this one included."""
        self._bus = bus
        self._throttles = throttles
        self._epoch = epoch
        self._nodes = nodes
        self._monotonic = monotonic
        self._others: dict[
            int, tuple[float, dict[int, tuple[float, int]]]
        ] = {}  # epoch -> heard at, its demand
        self._stop: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell and to listen."""
        self._stop = self._bus.subscribe(_TOPIC, self._heard)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="shares")

    async def close(self) -> None:
        """End."""
        self._stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            self.turn()

    def turn(self) -> None:
        """Tell what was asked here, and share by what is known."""
        mine = self._throttles.demand()
        if self._nodes() > 1:
            asked = list(mine.items())
            for at in range(0, max(len(asked), 1), _MOST_ACCOUNTS):  # at least one: silence is no news
                part = json.dumps([self._epoch(), asked[at : at + _MOST_ACCOUNTS]], separators=(",", ":"))
                self._bus.publish(_TOPIC, part.encode())
        self._share(mine)

    def _share(self, mine: Mapping[int, int]) -> None:
        now, nodes = self._monotonic(), self._nodes()
        for epoch in [epoch for epoch, (at, _) in self._others.items() if now - at > FORGET_S]:
            del self._others[epoch]
        silent = max(nodes - 1 - len(self._others), 0)  # live, but nobody knows what they give out
        for account in list(self._throttles.known()):
            theirs = [
                asked
                for _, demand in self._others.values()
                for at, asked in [demand.get(account, (0.0, 0))]
                if asked and now - at <= FORGET_S
            ]
            share = _part(mine.get(account, 0), theirs)
            self._throttles.use_share(account, share * (nodes - silent) / nodes)

    def _heard(self, payload: bytes) -> None:
        try:
            epoch, asked = cast("tuple[int, list[tuple[int, int]]]", json.loads(payload))
            demand = {int(account): max(int(number), 0) for account, number in asked}
            if type(epoch) is not int:
                raise ValueError("no epoch")
        except (ValueError, TypeError):
            _log.warning("demand-not-understood", octets=len(payload))
            return
        if epoch == self._epoch():
            return
        now = self._monotonic()
        _, kept = self._others.get(epoch, (0.0, {}))
        kept = {account: entry for account, entry in kept.items() if now - entry[0] < EVERY_S / 2}
        kept |= {account: (now, number) for account, number in demand.items()}
        if len(kept) <= _MOST_KEPT:
            self._others[epoch] = (now, kept)


def _part(here: int, theirs: Sequence[int]) -> float:
    """This node's share, 0 to 1, of an account that asked it and the others for so much."""
    if not theirs:
        return 1.0
    if not here:
        asked = sum(theirs) / len(theirs) * _NEWCOMER
        return asked / (asked + sum(theirs))
    everywhere = (here, *theirs)
    least = sum(everywhere) / len(everywhere) * _LEAST
    return max(here, least) / sum(max(asked, least) for asked in everywhere)
