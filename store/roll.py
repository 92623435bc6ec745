"""The nodes of a center, for people: who there is, what each works on, and what an operator asks of one.

In charge of: reading the `node` table as a roll, saying how each node is, and asking a node to drain. Not in charge of:
who lives (`nodes.py`, `life.py`), or what a node does when it is asked (`serve.py`).

A node reads what is asked of it with its next heartbeat; the bus only tells it to look at once. What is asked is gone
with its life: who starts again under the same name serves again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..outlet import Write
from . import nodes
from .bus import Bus
from .store import Answer, Store

__all__ = ["TOPIC", "Member", "MemberState", "Roll"]

#: Something was asked of a node.
TOPIC = "node"

#: How a node is, in a word: `late` ones do not send, and are taken for dead soon.
MemberState = Literal["live", "late", "draining", "ended"]


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the center, in its present or last life."""

    number: int
    name: str
    address: str
    version: str  #: of the program
    epoch: int
    state: MemberState
    started_at: int  #: UTC epoch milliseconds
    heartbeat_at: int  #: UTC epoch milliseconds
    owned: int  #: queue rows it works on
    here: bool  #: this process

    @property
    def serves(self) -> bool:
        """True if messages may be handed to it."""
        return self.state in ("live", "late")


class Roll:
    """The nodes as one of them sees them."""

    def __init__(self, store: Store, bus: Bus, *, late_after_ms: int) -> None:
        """`late_after_ms`: silence after which a node does not send any more; 0: heartbeats are not written."""
        self._store = store
        self._bus = bus
        self._late_after_ms = late_after_ms

    async def members(self) -> list[Member]:
        """Everybody, by number. Raises StoreUnavailable."""
        return [
            Member(
                number=int(row["number"]),
                name=str(row["name"]),
                address=str(row["address"]),
                version=str(row["version"]),
                epoch=int(row["epoch"]),
                state=self._state(
                    int(row["released"]), str(row["wanted"]), row["now_ms"] - row["heartbeat_at"]
                ),
                started_at=int(row["started_at"]),
                heartbeat_at=int(row["heartbeat_at"]),
                owned=int(row["owned"]),
                here=row["epoch"] == self._store.epoch,
            )
            for row in await self._store.fetch(nodes.ROLL)
        ]

    def _state(self, released: int, wanted: str, silent_ms: int) -> MemberState:
        if released:
            return "ended"
        if self._late_after_ms and silent_ms > self._late_after_ms:
            return "late"
        return "draining" if wanted == nodes.DRAIN else "live"

    async def drain(self, member: Member, writes: Sequence[Write] = ()) -> Answer:
        """Ask a node to take nothing new, hand over what is not done, and end. CONFLICT: that life is over."""
        row: dict[str, object] = {
            "row_number": member.number, "row_epoch": member.epoch, "wanted": nodes.DRAIN,
        }  # fmt: skip
        answer = await self._store.apply(writes=[Write(nodes.WANT, row, expect=1), *writes])
        if answer is Answer.STORED:
            self._bus.publish(TOPIC, b"")
        return answer
