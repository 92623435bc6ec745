"""The way of a message without doors: intake, delivery and scripted destinations over a store of the test's choice.

In charge of: outlets that do as the test says, wiring as `serve.py` does it, and letting everything come to rest. Not
in charge of: sockets and the real mailbox.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memory_store import BOXED, CONCLUDE, EVENTS, MESSAGES, PUT_IN_BOX, QUEUE, MemoryStore, SteppedClock

from restante.access.accounts import Account, AccountModel, owner_table
from restante.check import ACCEPT, Action, Check, Stage, Verdict
from restante.message import Address, Event, EventKind, Ingress, Message, MessageState, Role
from restante.outlet import Delivery as Attempt
from restante.outlet import ErrorClass, Outcome, Outlet, Result, Write
from restante.smsc.delivery import Delivery, DeliverySettings
from restante.smsc.limits import Throttles
from restante.smsc.recall import Recall
from restante.smsc.receipts import Receipts
from restante.smsc.recipients import Recipients
from restante.smsc.replacing import Replacing
from restante.smsc.retry import DEFAULT_SCHEDULES, Schedule
from restante.smsc.routing import Route, RouteModel, Router
from restante.smsc.screening import Screening
from restante.smsc.submission import Accepted, Refused, Submission, SubmissionSettings
from restante.smsc.waiting import Waiting
from restante.store.history import History

T = TypeVar("T")

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000

SHOP = AccountModel(system_id="shop", throughput=None)
SWITCH = AccountModel(system_id="msc1", role=Role.SWITCH)
BANK = AccountModel(system_id="bank", numbers=("12345", "+4420*"))
EAGER = AccountModel(system_id="eager", receipt_at="deposit")

PHONE = "+447700900001"

DELIVERED = Outcome(Result.DELIVERED)


def failed(error: ErrorClass, reason: str = "", **more: Any) -> Outcome:
    """An attempt that failed."""
    return Outcome(Result.FAILED, error, reason or error.value, **more)


ABSENT = failed(ErrorClass.ABSENT)
BUSY = failed(ErrorClass.BUSY)
CONGESTED = failed(ErrorClass.CONGESTED)
SYSTEM = failed(ErrorClass.SYSTEM)
PERMANENT = failed(ErrorClass.PERMANENT)


class ScriptedOutlet:
    """A destination. `says` decides each attempt: an outcome at once, or None: the test answers later."""

    def __init__(
        self, name: str, *, handset: bool = False, transit: bool = False, window: int = 1000
    ) -> None:
        self.name = name
        self.handset = handset
        self.transit = handset or transit
        self.window = window
        self.up = True
        self.says: Callable[[Attempt], Outcome | None] = lambda attempt: DELIVERED
        self.handed: list[Attempt] = []  # every attempt that was taken
        self.open: list[tuple[Attempt, Callable[[Outcome], None]]] = []  # not answered yet
        self._wake: Callable[[Outlet], None] | None = None

    def reachable(self) -> bool:
        return self.up

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        self._wake = wake

    def hand(self, delivery: Attempt, done: Callable[[Outcome], None]) -> bool:
        if len(self.open) >= self.window:
            return False
        self.handed.append(delivery)
        said = self.says(delivery)
        if said is None:
            self.open.append((delivery, done))
        else:
            done(said)
        return True

    def answer(self, outcome: Outcome = DELIVERED, *, at: int = 0, wake: bool = True) -> Attempt:
        """End the attempt number `at` of those under way."""
        attempt, done = self.open.pop(at)
        done(outcome)
        if wake:
            self.wake()
        return attempt

    def wake(self) -> None:
        """Say that there is room."""
        if self._wake is not None:
            self._wake(self)

    def bodies(self) -> list[bytes]:
        """Texts in the order in which they were handed over."""
        return [attempt.message.body for attempt in self.handed]


class ScriptedBox(ScriptedOutlet):
    """A mailbox that keeps rows, refuses as the real one does when it is told to, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("mailbox")
        self.says = self.deposit

    def deposit(self, attempt: Attempt) -> Outcome:
        """Take it."""
        write = Write(PUT_IN_BOX, {"id": attempt.message.id}, expect=1)
        return Outcome(Result.STORED, reason="stored", writes=(write,))

    def redelivered_writes(self, message: Message, at: int) -> tuple[Write, ...]:
        return (Write(CONCLUDE, {"item": message.id}, expect=1),)


class OneCheck:
    """A check that says what the test says, by stage."""

    def __init__(self, name: str = "one", *, stages: Iterable[Stage] = (Stage.SUBMIT,)) -> None:
        self.name = name
        self.stages = frozenset(stages)
        self.says: Callable[[Message, Stage], Any] = lambda message, stage: ACCEPT
        self.asked: list[tuple[int, Stage]] = []

    def examine(self, message: Message, ingress: Ingress, stage: Stage) -> Any:
        self.asked.append((message.id, stage))
        return self.says(message, stage)

    def verdict(self, action: Action, **more: Any) -> Verdict:
        """A verdict of this check."""
        facts: dict[str, Any] = {"reason": f"{self.name}-says", **more}
        return Verdict(action, check=self.name, **facts)


@dataclass
class Ranges:
    """Own number ranges."""

    prefixes: tuple[str, ...] = ("+4477",)

    def is_own(self, number: str) -> bool:
        return number.startswith(self.prefixes)


INGRESS = Ingress("smpp", 1, Role.ESME, "shop", version=0x34)


@dataclass
class Path:
    """Everything a test needs."""

    store: Any
    clock: SteppedClock
    accounts: dict[int, Account]
    outlets: dict[str, ScriptedOutlet]
    box: ScriptedBox | None
    router: Router
    receipts: Receipts
    recipients: Recipients
    screening: Screening
    delivery: Delivery
    submission: Submission
    waiting: Waiting
    recall: Recall
    ingress: Ingress = INGRESS
    answers: list[Accepted | Refused] = field(default_factory=list)

    @property
    def switch(self) -> ScriptedOutlet:
        """The outlet of the switch: phones are behind it."""
        return self.outlets["msc1"]

    @property
    def shop(self) -> ScriptedOutlet:
        """The outlet of the submitting account: receipts go there."""
        return self.outlets["shop"]

    def account(self, system_id: str) -> Account:
        """A live account."""
        return next(account for account in self.accounts.values() if account.system_id == system_id)

    async def settle(self) -> None:
        """Let everything come to rest at the present time."""
        for _ in range(300):
            before = self._activity()
            await self._turn_of_the_loop()
            more = await self.delivery.turn()
            await self._turn_of_the_loop()
            if not more and not self._busy() and self._activity() == before:
                return
        raise AssertionError("does not come to rest")

    async def _turn_of_the_loop(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        while self._busy():
            await asyncio.sleep(0)

    def _busy(self) -> bool:
        if isinstance(self.store, MemoryStore):
            return self.store.busy
        return not self.store._writer._idle.is_set()

    def _activity(self) -> tuple[int, ...]:
        return (
            sum(len(outlet.handed) for outlet in self.all_outlets()),
            sum(len(outlet.open) for outlet in self.all_outlets()),
            self.store._planner._sequence,
            self.delivery.in_memory,
            self.screening.waiting,
        )

    def all_outlets(self) -> list[ScriptedOutlet]:
        """Every destination, the box too."""
        return [*self.outlets.values(), *([self.box] if self.box else [])]

    async def step(self, ms: int) -> None:
        """Let time pass, then come to rest."""
        self.clock.now += ms
        if not self.delivery.halted:
            await self.store.beat()
        await self.settle()

    async def submit(self, draft: Message | None = None, /, by: str = "shop", **fields: Any) -> int:
        """Submit a message and return its id; it must be accepted."""
        answer = await self.answer_to(draft or a_draft(**fields), by)
        assert isinstance(answer, Accepted), answer
        return answer.id

    async def answer_to(self, draft: Message, by: str = "shop") -> Accepted | Refused:
        """Submit a message, let everything come to rest, and return the answer."""
        answers: list[Accepted | Refused] = []
        account = self.account(by)
        ingress = Ingress("smpp", account.number, account.role, by, version=self.ingress.version)
        self.submission.submit(draft, account, ingress, answers.append)
        await self.settle()
        assert len(answers) == 1
        return answers[0]

    async def carried_out(self, request: Awaitable[T]) -> T:
        """Await something that reads and writes the store, then let everything come to rest."""
        result = await request
        await self.settle()
        return result

    async def next_life(self, **more: Any) -> Path:
        """The same database and outlets, a new process; the old one is not told."""
        store = MemoryStore(self.store.disk, self.clock)
        await store.open()
        again = await make_path(store, self.clock, outlets=self.outlets, box=self.box, **more)
        await again.settle()
        return again

    # --- what became of it

    async def events(self, id: int | None = None) -> list[Event]:
        """Events in order."""
        rows = await self.store.fetch(EVENTS)
        columns = (*Event.__dataclass_fields__,)
        found = [Event(**{name: row[name] for name in columns}) for row in rows]
        return [event for event in found if id is None or event.message == id]

    async def kinds(self, id: int) -> list[str]:
        """Kinds of a message's events in order."""
        return [event.kind for event in await self.events(id)]

    async def finals(self, id: int) -> list[tuple[MessageState, str]]:
        """State and reason of each FINAL event: there may be one at most."""
        return [(MessageState(e.state), e.reason) for e in await self.events(id) if e.kind == EventKind.FINAL]

    async def queue(self) -> dict[int, dict[str, Any]]:
        """Queue rows by id."""
        return {row["id"]: dict(row) for row in await self.store.fetch(QUEUE)}

    async def messages(self) -> dict[int, dict[str, Any]]:
        """Message rows by id."""
        return {row["id"]: dict(row) for row in await self.store.fetch(MESSAGES)}

    async def boxed(self) -> list[int]:
        """Ids of what lies in boxes."""
        return [row["id"] for row in await self.store.fetch(BOXED)]

    def receipt_texts(self) -> list[str]:
        """Texts of the receipts that the submitter got."""
        return [body.decode() for body in self.shop.bodies()]


def a_draft(text: bytes = b"hello", to: str = PHONE, **fields: Any) -> Message:
    """A draft as a door makes it."""
    ton = 1 if to.startswith("+") else 0
    return Message(
        source=fields.pop("source", Address(5, 0, "Shop")),
        destination=fields.pop("destination", Address(ton, 1, to.lstrip("+"))),
        body=text,
        registered_delivery=fields.pop("receipt", 1),
        **fields,
    )


def no_jitter(schedules: dict[ErrorClass, Schedule] | None = None) -> dict[ErrorClass, Schedule]:
    """The default schedules without chance."""
    found = dict(schedules or DEFAULT_SCHEDULES)
    return {error: schedule.model_copy(update={"jitter": 0.0}) for error, schedule in found.items()}


async def make_path(
    store: Any,
    clock: SteppedClock,
    *,
    models: Iterable[AccountModel] = (SHOP, SWITCH, BANK, EAGER),
    routes: Iterable[RouteModel] = (RouteModel(name="phones", prefix="+4477", account="msc1"),),
    checks: Iterable[Check] = (),
    box: ScriptedBox | None = None,
    own: Ranges | None = None,
    settings: DeliverySettings | None = None,
    schedules: dict[ErrorClass, Schedule] | None = None,
    outlets: dict[str, ScriptedOutlet] | None = None,
    refuse_unroutable: bool = True,
    transaction_wait_s: float = 10.0,
    seed: int = 1,
) -> Path:
    """Wire a path over an open store; `outlets` of an earlier life go on. Long because a center has many parts."""
    accounts = {number: Account(number, model) for number, model in enumerate(models, 1)}
    by_name = {account.system_id: account for account in accounts.values()}
    owners = owner_table(accounts.values())
    outlets = outlets or {
        account.system_id: ScriptedOutlet(
            f"{account.role.value}:{account.system_id}", handset=account.role is Role.SWITCH
        )
        for account in accounts.values()
    }
    chance = random.Random(seed)
    router = Router(
        owner_of=owners.find,
        account=by_name.get,
        account_by_number=accounts.get,
        outlet_of=lambda number: outlets[accounts[number].system_id],
        mailbox=box,
        own=own or Ranges(),
        random=chance.random,
    )
    router.use(Route(number, model) for number, model in enumerate(routes, 1))
    screening = Screening(tuple(checks), timeout_s=2.0)
    receipts = Receipts(
        accounts=accounts.get, next_id=store.next_id, epoch=lambda: store.epoch, node=store.node
    )
    recipients = Recipients(store)
    await recipients.open()
    delivery = Delivery(
        store=store,
        router=router,
        screening=screening,
        receipts=receipts,
        recipients=recipients,
        accounts=accounts.get,
        random=chance.random,
        mailbox=box,
        settings=settings,
        schedules=schedules or no_jitter(),
    )
    if box is not None:
        delivery.redeliver_with(box)
    for outlet in [*outlets.values(), *([box] if box else [])]:
        outlet.wake_with(delivery.outlet_ready)
    waiting = Waiting(store, delivery)
    submission = Submission(
        store=store,
        screening=screening,
        router=router,
        delivery=delivery,
        throttles=Throttles(),
        replacing=Replacing(store=store, delivery=delivery, receipts=receipts, waiting=waiting),
        settings=SubmissionSettings(
            refuse_unroutable=refuse_unroutable, transaction_wait_s=transaction_wait_s
        ),
        monotonic_ns=lambda: clock.now * 1_000_000,
    )
    recall = Recall(
        store=store, history=History(store), delivery=delivery, receipts=receipts, waiting=waiting
    )
    return Path(
        store, clock, accounts, outlets, box, router, receipts, recipients, screening, delivery, submission,
        waiting, recall,
    )  # fmt: skip
