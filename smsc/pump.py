"""Reads work back from the database.

In charge of: which rows this node takes up and when: what fell due, what waits for a recipient who was seen again,
what waits behind an outlet that came back, and rows of its own that nobody works on. Not in charge of: what happens to
them then (`delivery.py`), or who may take which row (`store/`).

How it fails: the database is out of reach -> the turn raises, and whatever it had not finished is still wanted at the
next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import bindparam, exists, select

from ..outlet import Outlet
from ..store import tables
from ..store.statement import Query
from ..store.store import QueueReason, Store
from .holding import resumes_behind
from .lanes import NEVER, Task
from .receipts import Receipts
from .recipients import LONGEST, WOKEN_AT_ONCE, Recipients
from .tables import recipient as silent

__all__ = ["RECONCILE_EVERY_MS", "Pump", "Worker"]

#: How often rows that nobody works on are looked for, and how old they must be.
RECONCILE_EVERY_MS = 30_000
#: The same where other nodes hand rows over on a bus that may lose them.
SWEEP_EVERY_MS = 3_000
#: Rows looked at in one step of a sweep, and milliseconds between two steps.
_SWEEP_ROWS = 5_000
_SWEEP_STEP_MS = 200

#: Rows of this epoch: those that memory does not know were left by a commit whose outcome was in doubt.
_OWNED_AND_OLD = Query(
    "pump: rows of this node, by id",
    select(tables.queue.c.id, tables.queue.c.attempts, tables.queue.c.reason)
    .where(
        tables.queue.c.owner == bindparam("owner"),
        tables.queue.c.due_at < bindparam("before"),
        tables.queue.c.id > bindparam("after"),
    )
    .order_by(tables.queue.c.id)
    .limit(bindparam("limit")),
)

#: Who waits for a next try although no silence is remembered: a success ended it, and that life ended before it took
#: the others up. Asked once a life.
_UNEXPLAINED = Query(
    "pump: recipients who wait without a silence",
    select(tables.queue.c.recipient)
    .distinct()
    .where(
        tables.queue.c.reason == QueueReason.RETRY,
        ~exists().where(silent.c.number == tables.queue.c.recipient),
    )
    .limit(bindparam("limit")),
)
_MOST_UNEXPLAINED = 10_000


class Worker(Protocol):
    """What the pump needs of delivery."""

    def room(self) -> int:
        """How many more messages may be taken up."""
        ...

    def knows(self, id: int) -> bool:
        """True if a message is worked on."""
        ...

    def take(self, tasks: Sequence[Task]) -> None:
        """Work on messages whose rows were claimed."""
        ...

    def rouse(self, recipient: str) -> None:
        """Try at once what waits for a recipient here."""
        ...


@dataclass(slots=True)
class _Return:
    """An outlet that came back, and how far those behind it have been woken."""

    outlet: Outlet
    at: int  #: who fell silent later learned it there
    woken: tuple[int, str] = LONGEST


class Pump:
    """The pump of one node; `turn` is called by one task at a time."""

    def __init__(
        self,
        store: Store,
        recipients: Recipients,
        receipts: Receipts,
        worker: Worker,
        *,
        claim_size: int,
        lossy: bool = False,
    ) -> None:
        """`claim_size`: rows read at a time; `lossy`: rows are handed over by a bus that may lose their ids."""
        self._store = store
        self._recipients = recipients
        self._receipts = receipts
        self._worker = worker
        self._claim_size = claim_size
        self._page = max(claim_size, _SWEEP_ROWS) if lossy else claim_size
        self._old_ms = SWEEP_EVERY_MS if lossy else RECONCILE_EVERY_MS
        self._counted_at = 0
        self._wanted: dict[str, None] = {}  # recipients seen again, in that order
        self._back: dict[str, _Return] = {}  # outlets that came back
        self._arrived: Callable[[str], None] = lambda recipient: None
        self._more: set[str] = set()  # recipients of whom one claim did not take all
        self._reconciled_at = 0
        self._reconciled_to = 0
        self._explained = False

    def arrived_with(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with a recipient whose own outlet, an ESME's binds, came back."""
        self._arrived = hook

    def want(self, recipient: str) -> None:
        """A recipient was seen: claim what waits for it."""
        self._wanted[recipient] = None

    def reached(self, recipient: str) -> bool:
        """Nothing waits here any more for a recipient who takes messages: True if the last claim left some.

        Only success leads to the next claim. Otherwise a recipient with many messages, who is not there after all,
        would be tried again with each claim.
        """
        if recipient not in self._more:
            return False
        self._more.discard(recipient)
        self._wanted[recipient] = None
        return True

    def came_back(self, outlet: Outlet) -> None:
        """An outlet is reachable again: wake who waits behind it, as many at a time as can be taken up. If it does not
        lead on to others, they are there."""
        self._back[outlet.name] = _Return(outlet, self._store.clock.now_ms())

    async def turn(self) -> bool:
        """Read back what should be worked on now; True if there is more."""
        if not self._explained:
            for row in await self._store.fetch(_UNEXPLAINED, limit=_MOST_UNEXPLAINED):
                self._wanted[str(row["recipient"])] = None
            self._explained = True
        if self._back and not self._wanted and self._worker.room():
            await self._wake_behind(next(iter(self._back.values())))
        while self._wanted and self._worker.room():
            await self._claim_for(next(iter(self._wanted)))
        more = bool(self._worker.room()) and (await self._claim() or bool(self._back))
        now = self._store.clock.now_ms()
        # A sweep that has not come to its end goes on soon where ids get lost every day.
        half_way = self._reconciled_to and self._old_ms == SWEEP_EVERY_MS
        if now - self._reconciled_at >= (_SWEEP_STEP_MS if half_way else self._old_ms):
            await self._reconcile(now)
            self._reconciled_at = now
        if now - self._counted_at >= RECONCILE_EVERY_MS:
            await self._receipts.count(self._store)
            self._counted_at = now
        return more

    async def _wake_behind(self, back: _Return) -> None:
        """Wake the next ones behind an outlet; outlets take turns. One that is gone again wakes nobody else."""
        name, page = back.outlet.name, list[tuple[int, str]]()
        if back.outlet.reachable():
            page = await self._recipients.behind(name, until=back.at, after=back.woken)
        for _, number in page:
            self._wanted[number] = None
            self._worker.rouse(number)
            if not back.outlet.transit:
                self._arrived(number)
        if self._back.get(name) is not back:
            return  # it came back once more meanwhile: from the beginning
        del self._back[name]
        if len(page) == WOKEN_AT_ONCE:
            back.woken = page[-1]
            self._back[name] = back

    async def _claim_for(self, recipient: str) -> None:
        """Claim what waits for one recipient. Forgotten before the question is put: whoever wants it again meanwhile
        speaks of rows that the answer may not hold yet."""
        del self._wanted[recipient]
        try:
            await self._claim(recipient)
        except BaseException:
            self._wanted[recipient] = None
            raise

    async def _claim(self, recipient: str | None = None) -> bool:
        """Claim rows; True if there may be more of them."""
        limit = min(self._claim_size, self._worker.room())
        due_before = self._store.clock.now_ms() if recipient is None else NEVER
        works = await self._store.claim(due_before=due_before, limit=limit, recipient=recipient)
        tasks: list[Task] = []
        for work in works:
            task = Task(work.message, attempts=work.attempts, reason=work.reason, claimed=True)
            if work.reason == QueueReason.RELEASED:
                task.resume = await resumes_behind(self._store, work.message.id)
            tasks.append(task)
        full = len(works) == limit
        if recipient is not None:
            (self._more.add if full else self._more.discard)(recipient)
        self._worker.take(tasks)
        return full

    async def _reconcile(self, now: int) -> None:
        """Find rows of this epoch that nobody works on and take them up.

        A row that is finished while the answer travels looks lost as well, and must not be sent again: a row counts as
        lost only if it is still there in an answer to a second question, asked after memory did not know it.
        """
        asked = {"owner": self._store.epoch, "before": now - self._old_ms}
        seen = await self._store.fetch(_OWNED_AND_OLD, after=self._reconciled_to, limit=self._page, **asked)
        lost = {int(row["id"]) for row in seen if not self._worker.knows(int(row["id"]))}
        if lost:
            again = await self._store.fetch(_OWNED_AND_OLD, after=min(lost) - 1, limit=self._page, **asked)
            found = [row for row in again if int(row["id"]) in lost]
            rows = {int(row["id"]): row for row in found[: min(self._claim_size, self._worker.room())]}
            tasks: list[Task] = []
            for message in await self._store.load(list(rows)):
                row = rows[message.id]
                task = Task(message, attempts=int(row["attempts"]), reason=str(row["reason"]), claimed=True)
                if task.reason == QueueReason.RELEASED:
                    task.resume = await resumes_behind(self._store, message.id)
                tasks.append(task)
            self._worker.take([task for task in tasks if not self._worker.knows(task.message.id)])
        self._reconciled_to = int(seen[-1]["id"]) if len(seen) == self._page else 0
