"""Takes each stored message to an outcome.

In charge of: the engine as others see it: what enters, whom to wake, its turns, its start and its end. Not in charge
of: what is in memory and may start (`desk.py`), an attempt (`attempts.py`), what its outcome means (`outcomes.py`), the
change that says so (`recording.py`), at which node (`crossing.py`), where to (`routing.py`), when again (`retry.py`),
in which order (`lanes.py`), reading work back (`pump.py`), getting changes to disk (`settlement.py`), how a message is
handed over (outlets), what the submitter is told (`receipts.py`).

Theory: a message enters with `admit` after its insert is on disk and after its response left, or through the pump,
which claims rows that fell due. It leaves memory when the change that records its outcome is on disk; until then it is
ours and may be recorded again, never sent again. Everything here runs on the event loop without suspending; only the
pump awaits the database. A node that lost its lease forgets everything at once and sends nothing more; one whose
heartbeat is late starts nothing until it is in time again.

    admit, pump ──> desk ──> attempts ──> outcomes ──> recording ──> settlement ──> desk: leaves, or waits again

How it fails: the database refuses a change -> it is put again each second, and the message stays where it is. The
process dies -> rows of this epoch are claimed by the next one; a message that had been handed over but not recorded
may be handed over twice. Sources: behaviour.md 1, 2, 4, 5, 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog
from sqlalchemy import bindparam, select

from ..access.accounts import Account
from ..message import Message, MessageState
from ..metrics import gauge
from ..outlet import ErrorClass, Outcome, Outlet, Write
from ..store import tables
from ..store.failpoints import Failpoint, nothing
from ..store.statement import Query
from ..store.store import Answer, QueueReason, Store, StoreClosed
from .attempts import Attempts
from .crossing import Crossing
from .delivery_settings import DeliverySettings
from .desk import Desk, Ended
from .handover import Handover
from .holding import Holding
from .lanes import Loan
from .outcomes import Outcomes, Redelivery
from .pump import Pump
from .receipts import Receipts
from .recipients import Recipients
from .recording import Recording, count_ending
from .retry import DEFAULT_SCHEDULES, Schedule
from .routing import Lead, Router
from .screening import Screening
from .settlement import Settlements

__all__ = ["Delivery", "DeliverySettings", "Ended", "Redelivery"]

_log = structlog.get_logger(__name__)

_in_memory = gauge("delivery", "tasks", "Messages this node works on")


#: A fenced outcome is one lost row, or the first sign that another life of this node has begun.
_OUR_LIFE = Query(
    "delivery: does our life still count?",
    select(tables.node.c.number).where(
        tables.node.c.number == bindparam("row_number"), tables.node.c.epoch == bindparam("row_epoch")
    ),
)

_TICK_S = 1.0


class Delivery:
    """The delivery engine of one node."""

    def __init__(
        self,
        *,
        store: Store,
        router: Router,
        screening: Screening,
        receipts: Receipts,
        recipients: Recipients,
        accounts: Callable[[int], Account | None],
        random: Callable[[], float],
        mailbox: Outlet | None = None,
        settings: DeliverySettings | None = None,
        schedules: Mapping[ErrorClass, Schedule] = DEFAULT_SCHEDULES,
        failpoint: Failpoint = nothing,
        handover: Handover | None = None,
    ) -> None:
        """`mailbox` is where what cannot be delivered is deposited; `random` in [0, 1) spreads retries; `handover`
        leads to other nodes, where there may be some."""
        settings = settings or DeliverySettings()
        self._store = store
        self._clock = store.clock
        self._recipients = recipients
        self._seen_hooks: list[Callable[[str], None]] = []
        self._runner: asyncio.Task[None] | None = None
        self._holding = Holding(store, receipts)
        self._settlements = Settlements(store, closed=self.halt, failpoint=failpoint)
        self._desk = Desk(store, recipients, max_tasks=settings.max_tasks, max_octets=settings.max_octets)
        self._pump = Pump(
            store, recipients, receipts, self._desk,
            claim_size=settings.claim_size, lossy=handover is not None,
        )  # fmt: skip
        self._recording = Recording(
            self._desk, store, self._settlements, receipts=receipts, recipients=recipients, pump=self._pump,
            horizon_s=settings.horizon_s,
        )  # fmt: skip
        self._router = router
        self._handover = handover
        self._crossing = Crossing(self._desk, self._recording, store, recipients, handover)
        self._attempts = Attempts(
            self._desk, self._recording, store, router=router, screening=screening, recipients=recipients,
            crossing=self._crossing, mailbox=mailbox, failpoint=failpoint,
        )  # fmt: skip
        self._outcomes = Outcomes(
            self._desk, self._attempts, self._recording, self._crossing, store,
            receipts=receipts, recipients=recipients, pump=self._pump, accounts=accounts, random=random,
            seen=self._seen, mailbox=mailbox,
            schedules=schedules, unbound_retry_s=settings.unbound_retry_s, failpoint=failpoint,
        )  # fmt: skip
        self._desk.begin_with(self._attempts.begin)
        self._attempts.end_with(self._outcomes.ended)

    # ------------------------------------------------------------------------------------------------ entrance

    def start(self) -> None:
        """Begin to work: claims what earlier lives left and everything that falls due."""
        self._runner = asyncio.get_running_loop().create_task(self._run(), name="delivery")
        if self._handover is not None:
            self._handover.start(
                self._desk,
                spoke=self.spoke_elsewhere,
                changed=self._crossing.look_around,
                gone=self.life_ended,
            )

    def has_room(self) -> bool:
        """False when memory is spoken for: then new rows are stored unowned and the pump reads them back."""
        return self._desk.room() > 0

    def knows(self, id: int) -> bool:
        """True if this node works on a message."""
        return self._desk.knows(id)

    @property
    def in_memory(self) -> int:
        """Messages this node works on."""
        return len(self._desk.tasks)

    def admit(self, message: Message, reason: str = QueueReason.NEW) -> None:
        """Work on a message whose queue row this node owns, or tell the node that does. Call after its response has
        left."""
        self._desk.admit(message, reason)

    def owner_for(self, message: Message) -> int:
        """The epoch that should own a new message's row: that of the node which will hand it over."""
        crossing = self._crossing
        return self._store.epoch if crossing.alone else crossing.owner(message, self._router.leads(message))

    def watch(self, id: int, ended: Ended) -> None:
        """Tell of the end of a message that is about to be admitted; not called if this node loses it."""
        self._desk.watch(id, ended)

    def redeliver_with(self, redelivery: Redelivery) -> None:
        """Copies in this mailbox may be wanted on the handset."""
        self._outcomes.redelivery = redelivery

    def on_seen(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with a recipient who was seen again: by `wake`, or by a success after failures."""
        self._seen_hooks.append(hook)

    def on_arrived(self, hook: Callable[[str], None]) -> None:
        """Call `hook` with a recipient who was silent and whose own outlet, an ESME's binds, came back."""
        self._pump.arrived_with(hook)

    def _seen(self, recipient: str) -> None:
        for hook in self._seen_hooks:
            hook(recipient)

    def pause(self) -> None:
        """The lease is in doubt: start nothing until `resume`. What is under way goes on."""
        self._desk.paused = True

    def resume(self) -> None:
        """The lease is certain again."""
        self._desk.paused = False
        self._desk.advance_all()

    def wake(self, recipient: str) -> None:
        """The recipient was seen again: try what waits for it, here and in the database."""
        self._pump.want(recipient)
        self._desk.rouse(recipient)
        self._desk.nudge()
        self._seen(recipient)
        self._crossing.woken(recipient)

    def present(self, number: str) -> None:
        """A handset is there, and that is all that is known: one whose memory was full waits for its room."""
        if not self._is_full(number):
            self.wake(number)

    def _is_full(self, number: str) -> bool:
        silence = self._recipients.silence(number)
        return silence is not None and silence.cause == ErrorClass.MEMORY_FULL

    def spoke(self, number: str) -> None:
        """A handset sent something through a switch: if it was silent, it is seen again."""
        if self._recipients.is_silent(number):
            self.present(number)
        else:
            self._crossing.spoke(number)

    def spoke_elsewhere(self, number: str) -> None:
        """The same, at another node."""
        if self._recipients.is_silent(number):
            self.present(number)

    def outlet_ready(self, outlet: Outlet) -> None:
        """An outlet has room, or is reachable, again (`Outlet.wake_with`)."""
        if self._attempts.ready(outlet):
            self._pump.came_back(outlet)
            self._desk.nudge()

    def life_ended(self) -> None:
        """Another node is dead. Perhaps it put something off for want of a bind just after we had got that bind and
        found nobody to wake, and died before it heard of us: we look once more."""
        for outlet in self._attempts.up():
            if outlet.reachable() and not outlet.transit:  # who is behind a switch was tried at the switch
                self._pump.came_back(outlet)
        self._desk.nudge()

    def concluded(
        self, id: int, state: MessageState, failure: Outcome | None = None, receipts: Sequence[Message] = ()
    ) -> None:
        """A message ended without an attempt of ours, by another center's report or somebody's wish; that is on disk
        with its `receipts`."""
        count_ending(state)
        ended = self._desk.watcher_beyond(id)
        if ended is not None:
            ended(state, failure)
        for receipt in receipts:
            self.admit(receipt)

    def reported(
        self, message: Message, failure: Outcome, lead: Lead, *, attempts: int, tried: Collection[str]
    ) -> None:
        """Another center could not deliver a message, and its queue row is ours again: go on as if the attempt through
        `lead` had failed just now. `tried`: outlets that are not asked once more before its next try."""
        self._attempts.reported(message, failure, lead, attempts=attempts, tried=tried)

    async def release(self, id: int, by: str, note: str = "", writes: Sequence[Write] = ()) -> Answer:
        """An operator lets a held or quarantined message go; CONFLICT if it is not parked (any more)."""
        answer, message = await self._holding.release(id, by, note, writes)
        if answer is Answer.STORED and message is not None:
            self._desk.nudge()
        return answer

    async def discard(self, id: int, by: str, note: str = "", writes: Sequence[Write] = ()) -> Answer:
        """An operator ends a held or quarantined message as REJECTED; CONFLICT if it is not parked (any more)."""
        answer, receipts = await self._holding.discard(id, by, note, writes)
        if answer is Answer.STORED:
            self.concluded(id, MessageState.REJECTED, receipts=receipts)
        return answer

    def lend(self, id: int) -> Loan | None:
        """See `Desk.lend`."""
        return self._desk.lend(id)

    def take_back(self, loan: Loan, message: Message | None = None) -> None:
        """See `Desk.take_back`."""
        self._desk.take_back(loan, message)

    def give_up(self, loan: Loan) -> None:
        """See `Desk.give_up`."""
        self._desk.give_up(loan)

    # ------------------------------------------------------------------------------------------------ the clock

    def tick(self) -> None:
        """Do what the clock says: timers of lanes, and changes to put again."""
        now = self._clock.now_ms()
        for lane in self._desk.ripe(now):
            for task in lane.take_expired(now):
                if self._desk.holds(task):
                    self._recording.end(lane, task, MessageState.EXPIRED, reason="expired")
            self._desk.advance(lane)
        self._attempts.let_go_of_the_unreachable()
        self._settlements.tick(now)
        _in_memory.set(self.in_memory)

    async def turn(self) -> bool:
        """One round of work: read back what should be worked on, then do what the clock says; True if there is more."""
        if self._desk.suspicious:
            await self._ask_for_our_life()
        more = not self._desk.draining and await self._pump.turn()
        self.tick()
        return more

    async def _ask_for_our_life(self) -> None:
        """A row was lost: go on if only the row was, halt if this life is over."""
        life = await self._store.fetch(_OUR_LIFE, row_number=self._store.node, row_epoch=self._store.epoch)
        if not life:
            self.halt()
            return
        self._desk.suspicious = False
        self._desk.advance_all()

    async def _run(self) -> None:
        while not self._desk.stopping:
            self._desk.heard()
            busy = False
            try:
                busy = await self.turn()
            except StoreClosed:
                self.halt()
                return
            except Exception:  # the database is away: the queue is not, and the next round may succeed
                _log.exception("delivery-turn-failed")
            if not busy:
                await self._desk.rest(_TICK_S)

    # ------------------------------------------------------------------------------------------------ the end

    @property
    def halted(self) -> bool:
        """True once nothing counts any more here."""
        return self._desk.stopping

    def halt(self) -> None:
        """This node may not write any more: forget everything, send nothing."""
        if not self._desk.stopping:
            _log.error("delivery-halted", tasks=self.in_memory)
        self._settlements.forget()
        self._attempts.forget()
        self._desk.forget()

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Start nothing more, let attempts under way end for at most `timeout_s`; the rest stays in the queue."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        self._desk.drain()
        while self._desk.under_way or self._settlements.pending:
            if self._desk.stopping or asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.02)
        self._desk.stopping = True
        self._desk.nudge()
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)
