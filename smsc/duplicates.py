"""What is submitted a second time, because its first answer was lost on the way.

In charge of: recognising a repeated message of an account that has a `duplicate_window`, within that time, also after a
crash and at another node; what it is answered with. Not in charge of: the table of marks (`mark_tables.py`), handsets,
which number their messages (`repeats.py`).

Theory. The mark of a message names it by sender, recipient, and its user_message_reference; its body if it has none.
It is written in the transaction that stores the message, so that there is never one without the other, and of two at
once one is stored: the mark of the other undoes its transaction. Whatever then, or earlier, spoke against the second
one: if the mark is there, the first one is stored, and its id is the answer (behaviour.md 3). Memory only saves the
database the question while the repetition comes to the same node.

Transaction mode has no marks: its answer is the outcome of an attempt, and who repeats it wants another attempt.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from ..access.accounts import Account
from ..message import Message
from ..metrics import counter
from ..outlet import Write
from ..store.store import Store
from .answers import CONFLICT, ESM_MODE_MASK, FAILED, FULL, MODE_TRANSACTION, Accepted, Refused
from .mark_tables import MARK_SUBMIT, READ_MARK

__all__ = ["Duplicate", "Duplicates"]

_repeated = counter("submission", "repeated", "Messages answered with the id of the first")

#: No Idempotency-Key of REST, which shares the table, may hold this octet.
_PREFIX = "dup\x1f"
_UDHI = 0x40  # of esm_class: the body begins with a header

_STORE_REFUSALS = (CONFLICT, FULL, FAILED)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """By what a message of an account is known again."""

    account: int
    key: str
    until: int  #: UTC epoch milliseconds


class Duplicates:
    """The marks of one center, as seen from one node. Lives on the event loop."""

    def __init__(self, store: Store, entries: int = 20_000) -> None:
        """`entries`: marks kept in memory."""
        self._store = store
        self._entries = entries
        self._stored: OrderedDict[tuple[int, str], tuple[int, int]] = OrderedDict()  # id, until
        self._under_way: set[asyncio.Task[None]] = set()

    def mark(self, message: Message, account: Account) -> Duplicate | None:
        """The mark of a message whose numbers are in normal form; None if it may come as often as it likes."""
        if not account.duplicate_window_ms or message.esm_class & ESM_MODE_MASK == MODE_TRANSACTION:
            return None
        return self._mark(account, [message.sender, message.recipient, *_what(message)])

    def mark_of_many(self, messages: Sequence[Message], account: Account) -> Duplicate | None:
        """The mark of a submit_multi: the same destinations in the same order, as they were written."""
        first = messages[0]
        if not account.duplicate_window_ms or first.esm_class & ESM_MODE_MASK == MODE_TRANSACTION:
            return None
        return self._mark(account, [first.source, [one.destination for one in messages], *_what(first)])

    def _mark(self, account: Account, facts: list[object]) -> Duplicate:
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return Duplicate(
            account.number, _PREFIX + digest, self._store.clock.now_ms() + account.duplicate_window_ms
        )

    def known(self, mark: Duplicate) -> int:
        """The id of the first one, if memory knows that it is stored; else 0."""
        id, until = self._stored.get((mark.account, mark.key), (0, 0))
        if until <= self._store.clock.now_ms():
            return 0
        _repeated.inc()
        return id

    def write(self, mark: Duplicate, id: int) -> Write:
        """For the transaction that stores the message with this id: a conflict if it is stored already."""
        row = {
            "account": mark.account,
            "key": mark.key,
            "digest": "",
            "answer": json.dumps({"id": str(id)}),
            "expires_at": mark.until,
            "now": self._store.clock.now_ms(),
            "replaces": 0,
        }
        return Write(MARK_SUBMIT, row, expect=1)

    # ------------------------------------------------------------------------------------------------ the answer

    def answered(
        self, mark: Duplicate, done: Callable[[Accepted | Refused], None], answer: Accepted | Refused
    ) -> None:
        """The intake has spoken about a message: nobody is told an error for what is stored."""
        if isinstance(answer, Accepted):
            self._remember(mark, answer.id, mark.until)
            done(answer)
        elif answer.unknown:
            done(answer)
        else:
            self._begin(self._look(mark, done, answer))

    def answered_many(
        self,
        mark: Duplicate,
        done: Callable[[int, list[Accepted | Refused]], None],
        id: int,
        answers: list[Accepted | Refused],
    ) -> None:
        """The intake has spoken about every destination of a submit_multi."""
        if any(answer in _STORE_REFUSALS for answer in answers):
            self._begin(self._look_for_many(mark, done, id, answers))
        else:
            done(id, answers)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="duplicate")
        self._under_way.add(task)  # as many as refusals under way: windows bound them
        task.add_done_callback(self._under_way.discard)

    async def _look(
        self, mark: Duplicate, done: Callable[[Accepted | Refused], None], refusal: Refused
    ) -> None:
        first = await self._first(mark)
        done(Accepted(first) if first else refusal)

    async def _look_for_many(
        self,
        mark: Duplicate,
        done: Callable[[int, list[Accepted | Refused]], None],
        id: int,
        answers: list[Accepted | Refused],
    ) -> None:
        first = await self._first(mark)
        if first:
            accepted = Accepted(first)
            done(first, [accepted if answer in _STORE_REFUSALS else answer for answer in answers])
        else:
            done(id, answers)

    async def _first(self, mark: Duplicate) -> int:
        """The id under which the same is stored; 0 if it is not, or nobody can say."""
        try:
            rows = await self._store.fetch(READ_MARK, of_account=mark.account, of_key=mark.key)
        except OSError:
            return 0
        if not rows or rows[0]["expires_at"] <= self._store.clock.now_ms():
            return 0
        id = int(json.loads(rows[0]["answer"])["id"])
        self._remember(mark, id, rows[0]["expires_at"])
        _repeated.inc()
        return id

    def _remember(self, mark: Duplicate, id: int, until: int) -> None:
        self._stored[mark.account, mark.key] = (id, until)
        self._stored.move_to_end((mark.account, mark.key))
        if len(self._stored) > self._entries:
            self._stored.popitem(last=False)


def _what(message: Message) -> list[object]:
    """What is said, apart from who says it to whom. Parts of one message may share its reference."""
    part = [message.part_reference, message.part_total, message.part_number]
    if message.reference:
        return ["reference", message.reference, *part]
    header = bool(message.esm_class & _UDHI)
    return ["body", message.body.hex(), message.data_coding, header, *part]
