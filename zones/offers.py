"""Asking a recipient outside the home zone whether a message should come all the same.

In charge of: one offer for everything that is held under a policy, not more often than its interval, and the answer
YES. Not in charge of: holding and releasing (`holds.py`), who may be believed: keywords are obeyed from trusted doors
only (`smsc/keywords.py`, behaviour.md 9).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from ..message import Kind
from ..outlet import Write
from ..smsc.keywords import KeywordOutlet
from ..store.store import Answer, Store
from . import tables
from .policy import Policy
from .settings import OfferTexts

__all__ = ["Offers", "SendSystem"]

log = structlog.get_logger(__name__)

#: An answer that comes later than this answers nothing.
ANSWERED_WITHIN_MS = 7 * 86_400_000


class SendSystem(Protocol):
    """`smsc.submission.Submission.send_system`."""

    def __call__(self, kind: Kind, recipient: str, text: str) -> Awaitable[int]:
        """Send a message of the center's own."""
        ...


class Offers:
    """The offers of one node."""

    def __init__(
        self,
        store: Store,
        texts: OfferTexts,
        send: SendSystem,
        accepted: Callable[[str], Awaitable[object]],
    ) -> None:
        """`accepted` is called with a recipient who said YES: held messages can go."""
        self._texts = texts
        self._store = store
        self._send = send
        self._tell_accepted = accepted

    async def accepted(self, number: str, policy: int, submitted_at: int) -> bool:
        """True if the recipient said YES after a message came in."""
        rows = await self._store.fetch(tables.GET_OFFER, number=number, policy=policy)
        return bool(rows) and rows[0]["accepted_at"] >= submitted_at

    async def offer(self, number: str, policy: Policy) -> None:
        """Ask, unless that was done within the policy's interval, here or on another node."""
        now = self._store.clock.now_ms()
        row: dict[str, object] = {
            "number": number,
            "policy": policy.number,
            "offered_at": now,
            "accepted_at": 0,
            "unless_after": now - policy.model.offer_interval_s * 1000,
        }
        answer = await self._store.apply(writes=[Write(tables.PUT_OFFER, row, expect=1)])
        if answer is Answer.CONFLICT:
            return
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")
        await self._send(Kind.NOTICE, number, policy.model.offer_text)
        log.info("zones.offered", policy=policy.id)

    async def accept(self, number: str) -> bool:
        """The recipient said YES: what is held under the policies that asked may come. False: nobody asked."""
        if not await self._asked(number):
            return False
        now = self._store.clock.now_ms()
        row: dict[str, object] = {
            "of_number": number,
            "offered_after": now - ANSWERED_WITHIN_MS,
            "accepted_at": now,
        }
        answer = await self._store.apply(writes=[Write(tables.ACCEPT_OFFER, row)])
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")
        await self._tell_accepted(number)
        return True

    async def _asked(self, number: str) -> bool:
        """Whether an offer was made that can still be answered."""
        after = self._store.clock.now_ms() - ANSWERED_WITHIN_MS
        return any(
            row["offered_at"] > after for row in await self._store.fetch(tables.OFFERS_OF, number=number)
        )

    # ------------------------------------------------------------------------------------------------ keywords

    def register(self, keywords: KeywordOutlet) -> None:
        """Have the answers to offers obeyed."""
        keywords.obey("YES", self.yes)
        keywords.obey("NO", self.no)

    async def yes(self, number: str, argument: str) -> str:
        """The keyword YES: let everything come, and say so."""
        return self._texts.accepted if await self.accept(number) else self._texts.nothing

    async def no(self, number: str, argument: str) -> str:
        """The keyword NO: everything waits on."""
        return self._texts.declined if await self._asked(number) else self._texts.nothing
