"""Words that subscribers send to the center itself: LIST, GET 1, YES.

In charge of: which numbers are the center's own, who is obeyed, one answer to each message and not too many of them.
Not in charge of: what a word does; the rooms hand that in (`mailbox/keywords.py`, `zones/offers.py`).

Who is obeyed (behaviour.md 9). A word reads somebody's mailbox or answers for somebody, so its sender must be proven:
by a switch, or a link or account marked `trusted_keywords`. Everybody else is refused at submit as a forged sender is.
The outlet asks again, because an account may have changed and a number may have become the center's since. A verdict
of spoofing on the message, in monitor mode too, and the word is not obeyed.

How it fails. A word is a message in the queue until its answer is stored. A room or the database in trouble -> the
attempt failed, and is made again on schedule. A crash between the deed and its end repeats both: what a word does must
bear that, and an answer may come twice.

Source: behaviour.md 4 (answers are system messages), 9 (keywords).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field

from ..access.accounts import Account
from ..check import ACCEPT, Action, Stage, Verdict
from ..message import Ingress, Message, NumberKind, Role, number_kind
from ..metrics import counter
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result
from .limits import TokenBucket
from .smpp.command_status import CommandStatus as Status
from .text import codings

__all__ = ["KeywordOutlet", "KeywordPermission", "KeywordSettings", "Obey", "is_trusted", "own_numbers"]

_log = structlog.get_logger(__name__)

_heard = counter(
    "keywords", "heard", "Messages to the center itself, by word and outcome", ("word", "outcome")
)

Word = Annotated[str, Field(pattern=r"^[^\W\d_]{1,16}$")]
Number = Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{3,14}|[0-9]{2,10})$")]


class KeywordSettings(BaseModel):
    """[keywords] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: tuple[Number, ...] = Field(
        default=(),
        max_length=100,
        description="numbers in normal form at which the center itself takes keywords, beside submission.sender",
    )
    words: dict[Word, Word] = Field(
        default={}, max_length=100, description='other spellings, in capitals: {JA = "YES", LISTE = "LIST"}'
    )
    per_minute: int = Field(
        default=10, ge=1, le=600, description="keywords of one number that are obeyed within a minute"
    )
    help: str = Field(
        default="LIST shows what is in your mailbox, GET 1 sends you the first of it, DEL 1 deletes it.",
        min_length=1,
        max_length=480,
        description="answer to what is no keyword",
    )


#: Does what a word says, for the number that sent it: (number in normal form, what stands behind the word) -> answer.
Obey = Callable[[str, str], Awaitable[str]]


#: Sends an answer: (to, text, from), both numbers in normal form.
Send = Callable[[str, str, str], Awaitable[int]]


def own_numbers(sender: str, settings: KeywordSettings) -> frozenset[str]:
    """Numbers at which the center can be written to; a name is none."""
    answerable = (sender,) if number_kind(sender) in (NumberKind.E164, NumberKind.SHORT) else ()
    return frozenset((*answerable, *settings.numbers))


def is_trusted(ingress: Ingress, account: Account | None) -> bool:
    """True if what came in by this way may command the center."""
    if account is None or account.suspended or ingress.account != account.number:
        return False
    return account.trusted_keywords or ingress.role is Role.SWITCH


class KeywordPermission:
    """Refuses messages to the center itself whose sender nobody vouches for. Implements `check.Check`."""

    name = "keywords"
    stages = frozenset({Stage.SUBMIT})

    def __init__(self, numbers: frozenset[str], accounts: Callable[[int], Account | None]) -> None:
        """`accounts` finds live accounts by number."""
        self._numbers = numbers
        self._accounts = accounts

    def examine(self, message: Message, ingress: Ingress, stage: Stage) -> Verdict:
        """See `check.Check`."""
        if message.recipient not in self._numbers:
            return ACCEPT
        if is_trusted(ingress, self._accounts(message.account)):
            return ACCEPT
        return Verdict(
            Action.REJECT,
            check=self.name,
            reason="keyword-from-untrusted",
            status=Status.ESME_RINVSRCADR,  # what a forged sender is told
            public="source address not allowed",
            evidence={"sender": message.sender, "recipient": message.recipient, "account": message.account},
        )


_SAID = re.compile(r"\W*([^\W\d_]{1,16})\W*(.*)", re.DOTALL)

#: Words under way at a time; what comes beyond waits in its lane.
MOST_UNDER_WAY = 200
#: Numbers whose rate is remembered.
MOST_RATES = 100_000
#: A word that takes longer is tried again later (seconds).
LONGEST_S = 10.0

_DONE = Outcome(Result.DELIVERED)


class KeywordOutlet:
    """Where messages to the center itself go. Implements `outlet.Outlet`; lives on the event loop."""

    name = "keywords"
    handset = False
    transit = False

    def __init__(
        self,
        settings: KeywordSettings,
        sender: str,
        *,
        accounts: Callable[[int], Account | None],
        send: Send,
        is_spoofed: Callable[[int], Awaitable[bool]],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`sender` of the center's own messages; `is_spoofed`: whether a message, by id, was found to be; `send` sends
        answers."""
        self._settings = settings
        self.numbers = own_numbers(sender, settings)
        self.permission = KeywordPermission(self.numbers, accounts)  #: the check that goes with it
        self._accounts = accounts
        self._send = send
        self._is_spoofed = is_spoofed
        self._monotonic_ns = monotonic_ns
        self._words: dict[str, Obey] = {}
        self._rates: OrderedDict[str, TokenBucket] = OrderedDict()
        self._work: set[asyncio.Task[None]] = set()
        self._newest: dict[str, asyncio.Task[None]] = {}  # sender -> its word that was taken last
        self._wake: Callable[[Outlet], None] | None = None

    def obey(self, word: str, how: Obey) -> None:
        """Have a word, in capitals, obeyed."""
        self._words[word] = how

    def takes(self, message: Message) -> bool:
        """Whether a message is to the center itself: then it goes nowhere else."""
        return message.recipient in self.numbers

    def reachable(self) -> bool:
        """It is here."""
        return True

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Remember delivery's entrance."""
        self._wake = wake

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """See `outlet.Outlet`."""
        if len(self._work) >= MOST_UNDER_WAY:
            return False
        sender = delivery.message.sender
        heard = self._hear(delivery.message, done, after=self._newest.get(sender))
        task = self._newest[sender] = asyncio.get_running_loop().create_task(heard, name="keyword")
        self._work.add(task)
        task.add_done_callback(partial(self._worked, sender))
        return True

    def _worked(self, sender: str, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if self._newest.get(sender) is task:
            del self._newest[sender]
        if self._wake is not None and len(self._work) == MOST_UNDER_WAY - 1:
            self._wake(self)

    async def close(self) -> None:
        """Give up what is under way: it stays in the queue."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def _hear(
        self, message: Message, done: Callable[[Outcome], None], after: asyncio.Task[None] | None
    ) -> None:
        """One message: refuse it, or do what it says and answer, when the sender's word before it is done."""
        word = ""
        if after is not None:
            await asyncio.wait([after])
        try:
            async with asyncio.timeout(LONGEST_S):
                refused = await self._refused(message)
                if refused:
                    outcome = Outcome(Result.FAILED, ErrorClass.POLICY, reason=refused)
                else:
                    word, argument = self._read(message)
                    await self._answer(message, word, argument)
                    outcome = _DONE
        except TimeoutError:
            outcome = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="keyword-not-done")
        except Exception as error:  # a room's trouble is not the next word's: it is tried again
            _log.warning("keyword-not-done", word=word, error=type(error).__name__)
            outcome = Outcome(Result.FAILED, ErrorClass.SYSTEM, reason="keyword-not-done")
        _heard.labels(word or "other", outcome.reason or "done").inc()
        done(outcome)

    async def _refused(self, message: Message) -> str:
        """Why a message is not obeyed, as a stable slug; "" if it is."""
        if message.is_system or message.sender in self.numbers:
            return "keyword-from-center"
        ingress = Ingress.decode(message.ingress)
        if not is_trusted(ingress, self._accounts(message.account)):
            return "keyword-from-untrusted"
        if number_kind(message.sender) is not NumberKind.E164:
            return "keyword-without-number"
        if await self._is_spoofed(message.id):
            return "keyword-spoofed"
        if self._rate(message.sender).take(self._monotonic_ns()):
            return "too-many-keywords"
        return ""

    def _rate(self, number: str) -> TokenBucket:
        bucket = self._rates.get(number)
        if bucket is None:
            most = self._settings.per_minute
            bucket = self._rates[number] = TokenBucket(most / 60, most)
            if len(self._rates) > MOST_RATES:
                self._rates.popitem(last=False)
        self._rates.move_to_end(number)
        return bucket

    def _read(self, message: Message) -> tuple[str, str]:
        """The word, if it is one, and what stands behind it. A part of a longer text is no word."""
        account = self._accounts(message.account)
        alphabet = codings.DefaultAlphabet(account.default_alphabet if account is not None else "gsm7")
        said = codings.decode(
            message.data_coding, message.body, alphabet, has_udh=bool(message.esm_class & 0x40)
        )
        found = _SAID.match(said.text or "") if not message.part_total else None
        if found is None:
            return "", ""
        word = found[1].upper()
        word = self._settings.words.get(word, word)
        return (word, found[2].strip()) if word in self._words else ("", "")

    async def _answer(self, message: Message, word: str, argument: str) -> None:
        """Do it, and tell the number, and nobody else, from the number that was written to."""
        text = await self._words[word](message.sender, argument) if word else ""
        await self._send(message.sender, text or self._settings.help, message.recipient)
