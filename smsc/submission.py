"""The one intake, whatever the door.

In charge of: turning a draft into a message (id, normal forms, times, parts), the order of tests before a positive
answer, and answering only after the message is on disk. Not in charge of: reading PDUs or HTTP (`listener.py`,
`api/`), what checks decide (`screening.py`), or delivery.

The order: account, rate, form of the fields, numbers, checks, a route, room in the store. The first that refuses names
its field's status. Nothing is stored before all of them agreed; nothing is answered positively before it is on disk;
nothing is delivered before its answer left (behaviour.md 3, 4, 6).

Transaction mode (esm_class 2) is answered with the outcome of its one attempt; if that takes longer than
`transaction_wait_s`, with the id alone, because the message is on disk and a receipt may still tell (behaviour.md 5).

Long because the order of all tests stands in one place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from pydantic import BaseModel, ConfigDict, Field

from ..access.accounts import Account
from ..access.numbers import EgressRules, NumberRules
from ..check import Action, Stage
from ..message import Event, EventKind, Ingress, Kind, Message, MessageState, Role
from ..metrics import tally
from ..outlet import Outcome, Write
from ..store.store import Answer, Change, QueueReason, Store, StoreClosed
from .answers import (
    BAD_DESTINATION,
    BAD_PRIORITY,
    BAD_SOURCE,
    CLOSING,
    ESM_MODE_MASK,
    FAILED,
    FULL,
    MAX_BODY,
    MODE_TRANSACTION,
    NO_ROUTE,
    REFUSAL_BY_ANSWER,
    SUSPENDED,
    TOO_LONG,
    Accepted,
    Refused,
    undelivered,
)
from .delivery import Delivery
from .duplicates import Duplicate, Duplicates
from .limits import Throttles
from .many import Many
from .normaliser import Normalisers, address_for
from .parts import find_place
from .pending_flags import sets_flag
from .permits import default_source
from .receipts import SYSTEM_INGRESS
from .replacing import Replacing
from .routing import Router
from .screening import Finding, Screening, evidence_events, heard, held_event, marks_of
from .smpp.command_status import CommandStatus as Status
from .text import codings, segments
from .unanswered import Unanswered
from .validity import set_times

__all__ = [
    "Accepted",
    "Refused",
    "Submission",
    "SubmissionSettings",
    "default_source",
    "estimate",
]

_log = structlog.get_logger(__name__)

_submitted = tally("submission", "messages", "Messages answered, by door and answer", ("door", "answer"))

#: A row that this node does not own at once is left alone so long, because its answer must leave first.
_YOUNG_MS = 1000

#: Milliseconds for which a one-time code is worth delivering.
_CODE_MS = 300_000

#: One-time codes overtake everything, notices overtake ordinary traffic.
_SYSTEM_PRIORITY = {Kind.CODE: 3, Kind.NOTICE: 1, Kind.ANSWER: 2}


class SubmissionSettings(BaseModel):
    """[submission] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sender: str = Field(
        default="@Restante",
        pattern=r"^(@.{1,11}|\+?[0-9]{1,15})$",
        description='sender of the center\'s own messages in normal form: "@Name", "12345" or "+447700900000"',
    )
    refuse_unroutable: bool = Field(
        default=True,
        description="refuse at submit what is neither routable nor a subscriber's (ESME_RINVDSTADR)",
    )
    transaction_wait_s: float = Field(
        default=10.0,
        gt=0,
        le=60,
        description="how long an answer in transaction mode waits for the outcome (seconds)",
    )
    number_rules: NumberRules = Field(
        default=NumberRules(), description="how accounts without rules of their own write numbers"
    )


#: Rows that this node owns from birth.
_TRIED_AT_ONCE = (QueueReason.NEW, QueueReason.DIVERTED, QueueReason.WITHHELD)

Done = Callable[[Accepted | Refused], None]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a door wants of a message besides storing it."""

    writes: tuple[Write, ...] = ()  #: ride in its transaction
    mark: Duplicate | None = None  #: by which it is known when it comes again
    replace: bool = False  #: it takes the place of one that waits
    many: Many | None = None  #: of which it is one destination
    unanswered: Unanswered | None = None  #: the door itself says when its answer has left


_PLAIN = _Wish()


class Submission:
    """The intake of one node. Lives on the event loop."""

    def __init__(
        self,
        *,
        store: Store,
        screening: Screening,
        router: Router,
        delivery: Delivery,
        throttles: Throttles,
        replacing: Replacing,
        settings: SubmissionSettings | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`monotonic_ns`: for rates."""
        settings = settings or SubmissionSettings()
        self._store = store
        self._clock = store.clock
        self._screening = screening
        self._router = router
        self._delivery = delivery
        self._throttles = throttles
        self._replacing = replacing
        self._duplicates = Duplicates(store)
        self._normalisers = Normalisers()
        self._refuse_unroutable = settings.refuse_unroutable
        self._transaction_wait_s = settings.transaction_wait_s
        self._monotonic_ns = monotonic_ns
        self._center = settings.sender
        self._fresh: list[
            tuple[Message, str]
        ] = []  # stored in this batch; delivered after the batch's answers left
        store.after_commit(self._hand_over)

    # ------------------------------------------------------------------------------------------------ the doors

    def submit(
        self,
        draft: Message,
        account: Account,
        ingress: Ingress,
        done: Done,
        writes: tuple[Write, ...] = (),
        *,
        replace: bool = False,
        unanswered: Unanswered | None = None,
    ) -> None:
        """Take a draft in. `done` is called once, on the loop; a refusal may come before this returns.

        The door has filled in what the peer said: addresses, body, fields, `schedule_at` and `expires_at` (0: not
        given) already as UTC epoch milliseconds. `writes` ride in the transaction that stores the message. `replace`:
        it takes the place of the newest one that waits and looks alike. `unanswered`: keeps it back from delivery.
        """
        refusal = self._complete(draft, account, ingress)
        if refusal is not None:
            self._answer(done, ingress, refusal)
            return
        wish = _PLAIN
        mark = self._duplicates.mark(draft, account)
        if mark is not None:
            first = self._duplicates.known(mark)
            if first:
                self._answer(done, ingress, Accepted(first))
                return
            done = partial(self._duplicates.answered, mark, done)
        if writes or mark is not None or replace or unanswered is not None:
            wish = _Wish(writes, mark, replace, unanswered=unanswered)
        self._screening.examine(
            draft, ingress, Stage.SUBMIT, partial(self._screened, draft, ingress, done, wish)
        )

    def submit_many(
        self,
        drafts: Sequence[Message],
        account: Account,
        ingress: Ingress,
        done: Callable[[int, list[Accepted | Refused]], None],
        *,
        replace: bool = False,
    ) -> None:
        """Take one text for many destinations in: what is accepted is stored together (behaviour.md 7).

        `done` is called once with the public id, and an answer for each draft in order.
        """
        try:
            public_id = self._store.next_id()
        except StoreClosed:
            done(0, [FAILED] * len(drafts))
            return

        def ended(answers: list[Accepted | Refused]) -> None:
            mark = self._duplicates.mark_of_many(drafts, account)
            if mark is None:
                done(public_id, answers)
            else:
                self._duplicates.answered_many(mark, done, public_id, answers)

        def writes() -> tuple[Write, ...]:
            mark = self._duplicates.mark_of_many(drafts, account)
            return () if mark is None else (self._duplicates.write(mark, public_id),)

        many = Many(public_id, len(drafts), self._put_many, ended, writes)
        wish = _Wish(replace=replace, many=many)
        for index, draft in enumerate(drafts):
            answered = partial(many.answered, index)
            refusal = self._complete(draft, account, ingress, continuing=index > 0)
            if refusal is not None:
                self._answer(answered, ingress, refusal)
                continue
            draft.parent = public_id
            screened = partial(self._screened, draft, ingress, answered, wish)
            self._screening.examine(draft, ingress, Stage.SUBMIT, screened)

    def _put_many(self, change: Change) -> None:
        try:
            self._store.put(change)
        except StoreClosed:
            change.done(Answer.FAILED)

    def unanswered(self) -> Unanswered:
        """For a request whose answer does not leave with the commit."""
        return Unanswered(self._delivery.admit)

    async def send(
        self,
        draft: Message,
        account: Account,
        ingress: Ingress,
        unanswered: Unanswered | None = None,
        *,
        replace: bool = False,
    ) -> Accepted | Refused:
        """`submit` for doors that wait."""
        future: asyncio.Future[Accepted | Refused] = asyncio.get_running_loop().create_future()

        def answered(answer: Accepted | Refused) -> None:
            if not future.done():  # the caller may have gone away meanwhile
                future.set_result(answer)

        self.submit(draft, account, ingress, answered, replace=replace, unanswered=unanswered)
        return await future

    async def send_code(self, number: str, text: str) -> int:
        """Send a one-time code; like `send_system`."""
        return await self.send_system(Kind.CODE, number, text, validity_ms=_CODE_MS)

    async def send_answer(self, number: str, text: str, sender: str) -> int:
        """Send the answer to a keyword; like `send_system`."""
        return await self.send_system(Kind.ANSWER, number, text, sender=sender)

    async def send_system(
        self, kind: Kind, recipient: str, text: str, *, sender: str = "", validity_ms: int = 24 * 3600 * 1000
    ) -> int:
        """Send a message of the center's own to a number in normal form: a notice, a one-time code, an answer.

        No checks, no mailbox, no receipts (behaviour.md 4). Returns its id once it is stored; raises OSError if the
        store does not take it.
        """
        now = self._clock.now_ms()
        sender = sender or self._center
        encoded = codings.encode(text)
        if len(encoded.octets) > MAX_BODY:
            raise ValueError("text is too long")
        message = Message(
            source=address_for(sender, EgressRules()),
            destination=address_for(recipient, EgressRules()),
            body=encoded.octets,
            id=self._store.next_id(),
            kind=kind,
            ingress=SYSTEM_INGRESS.encoded,
            sender=sender,
            recipient=recipient,
            priority_flag=_SYSTEM_PRIORITY.get(kind, 0),
            data_coding=encoded.data_coding,
            submitted_at=now,
            expires_at=now + validity_ms,
            segments=segments.count(encoded.octets, encoded.coding),
            owner=self._store.epoch,
        )
        answer = await self._store.apply(messages=(message,))
        if answer is not Answer.STORED:
            raise OSError(f"the store answered {answer.value}")
        self._delivery.admit(message)
        return message.id

    # ------------------------------------------------------------------------------------------------ the order

    def _complete(
        self, draft: Message, account: Account, ingress: Ingress, *, continuing: bool = False
    ) -> Refused | None:
        """Make a message of a draft, or say what is wrong with it. `continuing`: the rate let the first of many in."""
        if account.suspended:
            return SUSPENDED
        draft.id, draft.parent, draft.kind = 0, 0, Kind.MESSAGE
        find_place(draft, codings.ALPHABETS[account.default_alphabet])
        wait_ns = self._throttles.of(account).take(
            self._monotonic_ns(), continuing=continuing or draft.part_number > 1
        )
        if wait_ns:
            return Refused(
                Status.ESME_RTHROTTLED,
                "throttled",
                "throughput exceeded",
                retry_after_ms=wait_ns // 1_000_000 + 1,
            )
        if len(draft.body) > MAX_BODY:
            return TOO_LONG
        if draft.priority_flag > 3:
            return BAD_PRIORITY
        draft.priority_flag = min(draft.priority_flag, account.priority_ceiling)
        normal = self._normalisers.of(account.number_rules).normal
        draft.recipient = normal(draft.destination)
        if not draft.recipient or "\0" in draft.destination.digits:
            return BAD_DESTINATION
        if not draft.source.digits:
            draft.source = default_source(account) or draft.source
        draft.sender = normal(draft.source)
        if not draft.sender or "\0" in draft.source.digits:
            return BAD_SOURCE
        draft.account = account.number
        draft.ingress = ingress.encoded
        draft.submitted_at = self._clock.now_ms()
        return set_times(draft, account, draft.submitted_at)

    def _screened(
        self, message: Message, ingress: Ingress, done: Done, wish: _Wish, finding: Finding
    ) -> None:
        """The checks have spoken."""
        verdict = finding.verdict
        if finding.evidence:
            message.tlvs += marks_of(finding)
            done = heard(message, finding, done, lambda one: 0 if isinstance(one, Accepted) else one.status)
        if verdict.action is Action.THROTTLE:
            refusal = Refused(verdict.status or Status.ESME_RTHROTTLED, verdict.reason, verdict.public, 1000)
            self._answer(done, ingress, refusal)
            return
        if verdict.action is Action.REJECT and not verdict.veiled:
            self._record(message, finding, MessageState.REJECTED, ingress, done)
            return
        if verdict.action is Action.DROP:
            self._record(message, finding, MessageState.DELETED, ingress, done, wish)
            return
        if self._refuse_unroutable and not self._router.reaches(message):
            self._answer(done, ingress, NO_ROUTE)
            return
        health = self._store.health()
        if not health.accepting:
            self._answer(done, ingress, FULL)
            return
        if not self._take_id(message, ingress, done):
            return
        reason, due_at = self._place(message, finding)
        ours = reason in _TRIED_AT_ONCE and not message.schedule_at
        ours = ours and self._delivery.has_room()
        message.owner = self._delivery.owner_for(message) if ours else 0
        if not ours:
            due_at = max(due_at, min(self._clock.now_ms() + _YOUNG_MS, message.expires_at))
        at, node = message.submitted_at, self._store.node
        events = evidence_events(message, finding, Stage.SUBMIT, at=at, node=node)
        if reason in (QueueReason.HELD, QueueReason.QUARANTINED):
            events += (
                held_event(message, verdict, Stage.SUBMIT, queue=reason, due_at=due_at, at=at, node=node),
            )
        change = Change(
            done=partial(self._stored, message, reason, ingress, done, wish.unanswered),
            messages=(message,),
            reasons=(reason,),
            due_at=(due_at,),
            events=events,
            writes=self._writes(message, wish),
        )
        self._put_as_wished(change, ingress, done, wish)

    def _put_as_wished(self, change: Change, ingress: Ingress, done: Done, wish: _Wish) -> None:
        """Store a message by itself, with the others of its submit_multi, or in the place of an older one."""
        replace = wish.replace and not change.messages[0].part_total
        if replace and wish.many is not None:
            self._replacing.join(change, ingress, wish.many.keep)
        elif replace:
            self._replacing.put(change, ingress)
        elif wish.many is not None:
            wish.many.keep(change)
        else:
            self._put(change, ingress, done)

    def _writes(self, message: Message, wish: _Wish) -> tuple[Write, ...]:
        """What rides in the transaction that stores a message, which has its id now."""
        if wish.mark is None:
            return wish.writes
        return (*wish.writes, self._duplicates.write(wish.mark, message.id))

    def _place(self, message: Message, finding: Finding) -> tuple[str, int]:
        """Queue reason and due time of a new message."""
        verdict = finding.verdict
        if verdict.action is Action.QUARANTINE:
            return QueueReason.QUARANTINED, min(verdict.until or message.expires_at, message.expires_at)
        if verdict.action is Action.REJECT:
            return QueueReason.WITHHELD, message.schedule_at or message.submitted_at
        if verdict.action is Action.HOLD and verdict.pending:
            return QueueReason.PENDING_CHECK, verdict.until or message.submitted_at
        if verdict.action is Action.HOLD:
            return QueueReason.HELD, min(verdict.until or message.expires_at, message.expires_at)
        if verdict.action is Action.DIVERT:
            return QueueReason.DIVERTED, message.schedule_at or message.submitted_at
        if message.schedule_at:
            return QueueReason.SCHEDULED, message.schedule_at
        return QueueReason.NEW, message.submitted_at

    def _record(
        self,
        message: Message,
        finding: Finding,
        state: MessageState,
        ingress: Ingress,
        done: Done,
        wish: _Wish = _PLAIN,
    ) -> None:
        """Keep a refused or dropped message with its evidence, finished from birth: never deliverable."""
        verdict, refused = finding.verdict, state is MessageState.REJECTED
        if refused:
            message.parent = 0  # no part of what was accepted
        refusal = Refused(verdict.status or Status.ESME_RSUBMITFAIL, verdict.reason, verdict.public)
        if not self._store.health().accepting:
            self._answer(done, ingress, refusal if refused else FULL)
            return
        if not self._take_id(message, ingress, done):
            return
        node = self._store.node
        final = Event(
            message.id, message.submitted_at, EventKind.FINAL, state, verdict.reason, account=message.account,
            segments=message.segments, route=verdict.check, node=node,
        )  # fmt: skip
        evidence = evidence_events(message, finding, Stage.SUBMIT, at=message.submitted_at, node=node)

        def recorded(answer: Answer) -> None:
            stored = (
                Accepted(message.id) if answer is Answer.STORED else REFUSAL_BY_ANSWER.get(answer, FAILED)
            )
            self._answer(done, ingress, refusal if refused else stored)

        change = Change(
            recorded,
            messages=(message,),
            reasons=(QueueReason.NONE,),
            due_at=(message.submitted_at,),
            events=(*evidence, final),
            writes=self._writes(message, wish),  # a dropped one that comes again is answered as any other
        )
        self._put(change, ingress, done)

    def _take_id(self, message: Message, ingress: Ingress, done: Done) -> bool:
        """Give a message its id; without one left (the database is away for long) the center is not accepting."""
        try:
            message.id = self._store.next_id()
        except StoreClosed:
            self._answer(done, ingress, FAILED)
            return False
        return True

    def _put(self, change: Change, ingress: Ingress, done: Done) -> None:
        try:
            self._store.put(change)
        except StoreClosed:
            self._answer(done, ingress, CLOSING)

    # ------------------------------------------------------------------------------------------------ the answer

    def _stored(
        self,
        message: Message,
        reason: str,
        ingress: Ingress,
        done: Done,
        unanswered: Unanswered | None,
        answer: Answer,
    ) -> None:
        """The store has spoken."""
        if answer is not Answer.STORED:
            _log.warning("message-not-stored", answer=answer.value, door=ingress.door, account=ingress.name)
            self._answer(done, ingress, REFUSAL_BY_ANSWER.get(answer, FAILED))
            return
        if message.owner and unanswered is not None:
            unanswered.keep(message, reason)
        elif message.owner:
            self._fresh.append((message, reason))
        if ingress.role is Role.SWITCH:
            self._delivery.spoke(message.sender)
        if message.esm_class & ESM_MODE_MASK == MODE_TRANSACTION:
            self._await_outcome(message, ingress, done)
        else:
            self._answer(done, ingress, Accepted(message.id))

    def _await_outcome(self, message: Message, ingress: Ingress, done: Done) -> None:
        """Transaction mode: answer with the outcome, or with the id when it takes too long."""
        answered = False

        def answer(said: Accepted | Refused) -> None:
            nonlocal answered
            if not answered:
                answered = True
                timer.cancel()
                self._answer(done, ingress, said)

        def ended(state: MessageState, failure: Outcome | None) -> None:
            if state is MessageState.DELIVERED:
                answer(Accepted(message.id))
            else:
                flagged = failure is not None and sets_flag(message, failure.error)
                answer(undelivered(message.id, failure, flagged=flagged))

        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._transaction_wait_s, answer, Accepted(message.id))
        self._delivery.watch(message.id, ended)

    def _answer(self, done: Done, ingress: Ingress, answer: Accepted | Refused) -> None:
        word = "accepted" if isinstance(answer, Accepted) else answer.reason
        _submitted.count(ingress.door, word)
        done(answer)

    def _hand_over(self) -> None:
        """After a batch: its answers are on their way, now delivery may begin (behaviour.md 6)."""
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, []
        admit = self._delivery.admit
        for message, reason in fresh:
            admit(message, reason)


def estimate(text: str, account: Account | None = None) -> segments.Estimate:
    """How a text would be encoded and how many radio segments it would cost; nothing is sent."""
    alphabet = codings.DefaultAlphabet(account.default_alphabet) if account else codings.DefaultAlphabet.GSM7
    return segments.estimate(text, default_alphabet=alphabet)
