"""The mailbox as a destination.

In charge of: deciding whether a message is taken, and the writes by which it lies in its recipient's box when the
transaction that takes it out of the queue commits. Not in charge of: that transaction (`smsc/delivery.py`), what may
be kept (`content.py`), what must go for it (`quota.py`).

Theory. Deposits are collected while the last ones are being looked up; one question to the database answers for up to
fifty of them, so it is always asked and nothing is remembered. What changes between that answer and the commit (a
subscriber is closed, a box fills up) makes the writes touch fewer rows than they must: the store answers CONFLICT,
delivery hands the message over again, and the next look sees the change.

What it answers, beside STORED:
    POLICY     not for a mailbox, or nobody's number; delivery goes on as if there were none
    PERMANENT  "mailbox-full", "number-closed": the message's end
    SYSTEM     could not look; later
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from ..access.subscriber import SubscriberError, SubscriberState
from ..access.subscribers import Subscribers
from ..message import ID_SHIFT, Message, MessageState, id_at
from ..metrics import counter
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result, Write
from ..store.store import Store
from . import content
from . import deposit_statements as sql
from .edits import removal
from .folders import Folder
from .quota import droppable
from .settings import MailboxSettings
from .statements import CHUNK, in_chunk

__all__ = ["MAX_PENDING", "MailboxOutlet", "Submitter", "deposit_writes", "sent_writes"]

_log = structlog.get_logger(__name__)

_deposits = counter("mailbox", "deposits", "Messages offered to the mailbox, by answer", ("answer",))

MAX_PENDING = 5000  #: deposits waiting for their look-up; more are refused until some are decided


class Submitter(Protocol):
    """What a deposit needs of the submitter's account (`access.accounts.Account`)."""

    @property
    def mailbox(self) -> bool:
        """May its messages be kept?"""
        ...

    @property
    def receipt_at(self) -> str:
        """ "retrieval", or "deposit": then the deposit is the end, and delivery tells the sender."""
        ...

    @property
    def default_alphabet(self) -> str:
        """What data_coding 0 means."""
        ...


@dataclass(slots=True)
class _Target:
    """The box behind a number, as it will be when the deposits before this one are in."""

    subscriber: int
    state: str
    bytes: int
    total: int
    dropped: set[int] = field(default_factory=set[int])


@dataclass(frozen=True, slots=True)
class _Offer:
    delivery: Delivery
    done: Callable[[Outcome], None]
    submitter: Submitter | None

    @property
    def message(self) -> Message:
        return self.delivery.message


class MailboxOutlet:
    """Implements `outlet.Outlet`; lives on the event loop."""

    name = "mailbox"
    handset = False
    transit = False

    def __init__(
        self,
        store: Store,
        subscribers: Subscribers,
        settings: MailboxSettings,
        account: Callable[[int], Submitter | None],
    ) -> None:
        """`account` finds live accounts by number."""
        self._store = store
        self._subscribers = subscribers
        self._settings = settings
        self._account = account
        self._offers: deque[_Offer] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._refused = False
        self._wake: Callable[[Outlet], None] | None = None

    def reachable(self) -> bool:
        """A box is always there."""
        return True

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Remember whom to call when there is room again."""
        self._wake = wake

    def refuses(self, message: Message) -> str:
        """Why a message is not for any mailbox, as a slug; "" if it may be. Looks nothing up."""
        submitter = self._account(message.account)
        if submitter is not None and not submitter.mailbox:
            return "mailbox-denied"
        return content.not_material(message, self._settings)

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """Take a message; `done` follows when it is known whether its box takes it."""
        if len(self._offers) >= MAX_PENDING:
            self._refused = True
            return False
        refusal = self.refuses(delivery.message)
        if refusal:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._answer, done, _failed(ErrorClass.POLICY, refusal))
            return True
        self._offers.append(_Offer(delivery, done, self._account(delivery.message.account)))
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="mailbox deposits")
        return True

    def _answer(self, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        _deposits.labels(outcome.reason if outcome.result is Result.FAILED else "stored").inc()
        done(outcome)

    async def _work(self) -> None:
        """Decide about everything that was handed over, some at a time, until nothing is left."""
        try:
            while self._offers:
                batch = [self._offers.popleft() for _ in range(min(CHUNK, len(self._offers)))]
                for offer, outcome in zip(batch, await self._decide_all(batch), strict=True):
                    self._answer(offer.done, outcome)
                if self._refused and len(self._offers) < MAX_PENDING // 2:
                    self._refused = False
                    if self._wake is not None:
                        self._wake(self)
        finally:
            self._worker = None

    async def _decide_all(self, batch: Sequence[_Offer]) -> list[Outcome]:
        try:
            known = await self._store.fetch(sql.KNOWN, **in_chunk([offer.message.id for offer in batch]))
            kept = {row["id"] for row in known}
            targets = await self._targets([offer.message.recipient for offer in batch])
            return [await self._decide(offer, targets, kept) for offer in batch]
        except Exception as error:  # whatever the database or its driver says: nobody may wait for ever
            _log.warning("mailbox cannot look up deposits", error=repr(error), messages=len(batch))
            return [_failed(ErrorClass.SYSTEM, "mailbox-unavailable") for _ in batch]

    async def _targets(self, numbers: Sequence[str]) -> dict[str, _Target]:
        """The boxes behind numbers. Numbers of ours that nobody has yet become subscribers."""
        boxes: dict[int, _Target] = {}
        targets: dict[str, _Target] = {}

        async def look(wanted: Sequence[str]) -> None:
            if not wanted:
                return
            rows: list[Any] = await self._store.fetch(sql.TARGETS, **sql.numbers_in_chunk(wanted))
            for row in rows:
                fresh = _Target(row["subscriber"], row["state"], row["bytes"], row["total"])
                targets[row["msisdn"]] = boxes.setdefault(fresh.subscriber, fresh)

        wanted = list(dict.fromkeys(numbers))
        await look(wanted)
        made: list[str] = []
        for number in wanted:
            if number not in targets and self._subscribers.on_first_use(number):
                try:
                    await self._subscribers.resolve(number)
                    made.append(number)
                except SubscriberError as error:
                    _log.warning("no subscriber on first use", number=number, reason=error.reason)
        await look(made)
        return targets

    async def _decide(self, offer: _Offer, targets: dict[str, _Target], kept: set[int]) -> Outcome:
        """One deposit, with the boxes as those before it leave them."""
        message = offer.message
        now = self._store.clock.now_ms()
        if message.id in kept:
            return _failed(ErrorClass.SYSTEM, "in-mailbox")  # a copy for the handset must not come back here
        if message.expires_at <= now:
            return _failed(ErrorClass.SYSTEM, "expired")  # delivery ends it as such
        target = targets.get(message.recipient)
        if target is None:
            return _failed(ErrorClass.POLICY, "unknown-subscriber")
        if target.state == SubscriberState.CLOSED:
            return _failed(ErrorClass.PERMANENT, "number-closed")
        size = len(message.body) + content.ROW_COST
        writes: list[Write] = []
        over = target.bytes + size - self._settings.quota_bytes
        many = target.total + 1 - self._settings.quota_messages
        if over > 0 or many > 0:
            dropped = await droppable(
                self._store, target.subscriber, octets=over, messages=many, chosen=target.dropped
            )
            if dropped is None:
                return _failed(ErrorClass.PERMANENT, "mailbox-full")
            writes += removal(target.subscriber, dropped, now)
            target.dropped.update(group.leader.id for group in dropped)
            target.bytes -= sum(group.size for group in dropped)
            target.total -= sum(group.leader.folder != Folder.TRASH for group in dropped)
        writes += deposit_writes(
            message,
            target.subscriber,
            settings=self._settings,
            at=now,
            because=offer.delivery.because or _direct(offer.delivery.route),
            alphabet=offer.submitter.default_alphabet if offer.submitter else "gsm7",
            ended=offer.submitter is not None and offer.submitter.receipt_at == "deposit",
        )
        target.bytes += size
        target.total += 1
        detail = {"subscriber": target.subscriber}
        return Outcome(Result.STORED, reason="stored", detail=detail, writes=tuple(writes))


def _failed(error: ErrorClass, reason: str) -> Outcome:
    return Outcome(Result.FAILED, error, reason=reason)


def _direct(rule: str) -> str:
    """Why a message came here although nothing failed: a policy's action, or a route straight to the box."""
    return "divert" if rule == "divert" else "mailbox"


def deposit_writes(
    message: Message,
    subscriber: int,
    *,
    settings: MailboxSettings,
    at: int,
    because: str,
    alphabet: str,
    ended: bool,
) -> list[Write]:
    """Put a received message into a box. `ended`: its sender is told at the same time that it is delivered."""
    row = _item(message, subscriber, at=at, alphabet=alphabet)
    row |= {
        "because": because,
        "state": int(MessageState.DELIVERED if ended else MessageState.ENROUTE),
        "delivered_at": at if ended else 0,
    }
    is_part = bool(row["part_total"])
    counted: dict[str, object] = {
        "subscriber": subscriber,
        "d_unread": 0 if is_part else 1,
        "d_total": 0 if is_part else 1,
        "d_bytes": row["size"],
        "quota_bytes": settings.quota_bytes,
        "quota_messages": settings.quota_messages,
        "at": at,
    }
    writes = [
        Write(sql.OPEN_BOX, {"subscriber": subscriber}),
        Write(sql.COUNT_DEPOSIT, counted, expect=1),
    ]
    if not is_part:
        return [*writes, Write(sql.DEPOSIT, row, expect=1)]
    window = settings.join_window_s * 1000
    received = message.id >> ID_SHIFT
    row |= {"join_low": id_at(max(received - window, 0)), "join_high": id_at(received + window)}
    item: dict[str, object] = {"subscriber": subscriber, "id": message.id}
    return [
        *writes,
        Write(sql.DEPOSIT_PART, row, expect=1),
        Write(sql.JOIN_COUNT, item, expect=1),
        Write(sql.JOIN_PLACE, item, expect=1),
        Write(sql.JOIN_NEWS, item),
    ]


def sent_writes(
    message: Message, subscriber: int, id: int, *, settings: MailboxSettings, at: int
) -> list[Write]:
    """Keep a copy of what a subscriber sent; `id` is a fresh one. Conflicts if the box is full."""
    row = _item(message, subscriber, at=at, alphabet="gsm7")
    row |= {
        "id": id,
        "folder": int(Folder.SENT),
        "home": int(Folder.SENT),
        "is_read": 1,
        "state": int(MessageState.DELIVERED),
        "peer": message.recipient,
        "because": "sent",
        "part_total": 0,
    }
    counted: dict[str, object] = {
        "subscriber": subscriber,
        "d_unread": 0,
        "d_total": 1,
        "d_bytes": row["size"],
        "quota_bytes": settings.quota_bytes,
        "quota_messages": settings.quota_messages,
        "at": 0,
    }
    return [
        Write(sql.OPEN_BOX, {"subscriber": subscriber}),
        Write(sql.COUNT_SENT, counted, expect=1),
        Write(sql.DEPOSIT, row, expect=1),
    ]


def _item(message: Message, subscriber: int, *, at: int, alphabet: str) -> dict[str, object]:
    """The columns of a received message, unread in the inbox."""
    found = content.read(message, alphabet)
    is_part = message.part_total > 1 and 1 <= message.part_number <= message.part_total
    return {
        "id": message.id,
        "subscriber": subscriber,
        "folder": int(Folder.INBOX),
        "home": int(Folder.INBOX),
        "is_read": 0,
        "starred": 0,
        "kind": found.kind.value,
        "account": message.account,
        "sender": message.sender,
        "recipient": message.recipient,
        "peer": message.sender,
        "text": found.text,
        "alphabet": alphabet,
        "coding": found.coding,
        "size": len(message.body) + content.ROW_COST,
        "segments": message.segments,
        "part_reference": message.part_reference if is_part else 0,
        "part_total": message.part_total if is_part else 0,
        "part_number": message.part_number if is_part else 0,
        "received_at": message.submitted_at,
        "stored_at": at,
        "expires_at": message.expires_at,
        "retrieved_at": 0,
        "delivered_at": 0,
        "binned_at": 0,
        "envelope": content.envelope(message),
        "body": message.body,
    }
