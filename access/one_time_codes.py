"""One-time codes: how a subscriber proves to hold a number.

In charge of: making challenges, their limits, and checking codes. Not in charge of: sending the message (`send` is
passed in), sessions (`sessions.py`), or who is a subscriber (`find` is passed in).

Rules (behaviour.md 11). Whoever asks gets the same answer after the same work: a row is written, and only after the
answer is it looked up whose number it is; a code goes only to a subscriber, and only a row that says whose code was
sent can be proved. The database holds an HMAC under a key outside it, never the code. A try is used up before the
code is compared, so that a hundred guesses at once get five comparisons. Limits count rows, so they hold across
restarts and nodes: per number, per prefix (pumping of a number block), per network (/24, /48), and for everybody
together, which also raises an alarm.

The text ends with the line of WebOTP (`@host #code`), so that a phone may fill it in.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import bindparam, case, delete, func, insert, select, update

from ..metrics import counter
from ..outlet import Write
from ..store.statement import Query, Sql
from ..store.store import Answer, Store
from .door_tables import one_time_code
from .key_ring import KeyRing
from .sessions import SessionRefused, random_name
from .subscriber import Subscriber

__all__ = ["Challenge", "CodeSettings", "OneTimeCodes", "Proof", "Refusal", "TooMany", "network_of"]

DIGITS = 6
TRIES = 5  #: wrong codes a challenge survives
PREFIX_LENGTH = 7  #: "+447700": the block of numbers that a pumping fraud walks through


_refused = counter(
    "one_time_codes", "refused", "Requests for a code that a limit refused: watch it", ("limit",)
)


class CodeSettings(BaseModel):
    """Limits of one-time codes. A window is a sliding one."""

    model_config = ConfigDict(extra="forbid")

    life_s: int = Field(default=300, ge=60, le=900, description="A code is good for this long, seconds.")
    resend_s: int = Field(default=30, ge=5, le=300, description="Between two codes to one number, seconds.")
    per_number: int = Field(default=3, ge=1, description="Codes to one number within ten minutes.")
    per_prefix: int = Field(
        default=60, ge=1, description="Codes to numbers that begin alike (6 digits) within an hour."
    )
    per_network: int = Field(
        default=10, ge=1, description="Codes asked for from one network (/24, /48) within an hour."
    )
    per_hour: int = Field(
        default=2000, ge=1, description="Codes altogether within an hour; beyond it an alarm is raised."
    )
    host: str = Field(default="localhost", description="Host name of the subscribers' page, for WebOTP.")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What whoever asks is told; the same for everybody."""

    id: str
    expires_in: int  #: seconds
    resend_after: int  #: seconds


@dataclass(frozen=True, slots=True)
class TooMany:
    """A limit was met."""

    limit: str  #: "resend", "number", "prefix", "network", "all"
    retry_after: int  #: seconds


class Refusal(Enum):
    """Why a code was not taken."""

    INVALID = "otp-invalid"
    EXPIRED = "otp-expired"  #: too late, used, replaced by a newer one, or never there
    EXHAUSTED = "otp-exhausted"  #: five wrong ones


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of a code."""

    subscriber: int = 0  #: whose number it is; 0: refused
    number: str = ""
    refusal: Refusal | None = None
    tries_left: int = 0


def _param(column: str, name: str = "") -> Any:
    return bindparam(name or column, type_=one_time_code.c[column].type)


def _count(column: str) -> Any:
    """How many rows share a column's value since a moment."""
    return func.coalesce(
        func.sum(
            case(
                (
                    (one_time_code.c[column] == _param(column))
                    & (one_time_code.c.created_at > _param("created_at", f"since_{column}")),
                    1,
                ),
                else_=0,
            )
        ),
        0,
    ).label(column)


_TALLY = Query(
    "access: one-time codes asked for in the last hour",
    select(
        _count("number"),
        _count("prefix"),
        _count("network"),
        func.count().label("all"),
        func.coalesce(
            func.max(case((one_time_code.c.number == _param("number"), one_time_code.c.created_at), else_=0)),
            0,
        ).label("newest"),
    ).where(one_time_code.c.created_at > _param("created_at", "since")),
)
_INSERT = Sql("access: a one-time code was asked for", insert(one_time_code))
_REPLACE = Sql(
    "access: a newer one-time code replaces the older ones of a number",
    update(one_time_code)
    .where(one_time_code.c.number == _param("number", "of"), one_time_code.c.used_at == 0)
    .values(used_at=_param("used_at")),
)
_BY_ID = Query("access: a one-time code", select(one_time_code).where(one_time_code.c.id == _param("id")))
_TRY = Sql(
    "access: use up one try of a one-time code",
    update(one_time_code)
    .where(
        one_time_code.c.id == _param("id", "key"),
        one_time_code.c.tries < TRIES,
        one_time_code.c.used_at == 0,
        one_time_code.c.expires_at > _param("expires_at", "now"),
    )
    .values(tries=one_time_code.c.tries + 1),
)
_USE = Sql(
    "access: a one-time code was right",
    update(one_time_code)
    .where(one_time_code.c.id == _param("id", "key"), one_time_code.c.used_at == 0)
    .values(used_at=_param("used_at")),
)
_MEANT = Sql(
    "access: whose one-time code was sent",
    update(one_time_code)
    .where(one_time_code.c.id == _param("id", "key"))
    .values(subscriber=_param("subscriber", "whose")),
)
_PURGE = Sql(
    "access: forget old one-time codes",
    delete(one_time_code).where(one_time_code.c.created_at < _param("created_at", "before")),
)

Send = Callable[[str, str], Awaitable[object]]  #: (number, text)
Find = Callable[[str], Awaitable[Subscriber | None]]  #: whose is a number in normal form?


class OneTimeCodes:
    """Challenges of the subscribers' door."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        *,
        send: Send,
        find: Find,
        settings: CodeSettings | None = None,
        alarm: Callable[[str], None] = lambda limit: _refused.labels(limit).inc(),
        digits: Callable[[], str] = lambda: f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}",
    ) -> None:
        """`alarm(limit)` is told whenever a limit refuses somebody: a counter that is watched."""
        self.settings = settings or CodeSettings()
        self._store = store
        self._keys = ring.keys("one-time-code")
        self._send = send
        self._find = find
        self._alarm = alarm
        self._digits = digits
        self._turn = asyncio.Lock()  # counting and inserting are one step
        self._sending: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    async def ask(self, number: str, *, peer: str) -> Challenge | TooMany:
        """Make a challenge for a number in normal form; the message leaves after this has returned."""
        async with self._turn:
            now = self._store.clock.now_ms()
            network = network_of(peer)
            refused = await self._limit(number, network, now)
            if refused is not None:
                self._alarm(refused.limit)
                return refused
            challenge = random_name("otc")
            code = self._digits()
            row = {
                "id": challenge,
                "number": number,
                "prefix": number[:PREFIX_LENGTH],
                "network": network,
                "subscriber": 0,
                "mac": self._keys.mac(challenge, code),
                "tries": 0,
                "created_at": now,
                "expires_at": now + self.settings.life_s * 1000,
                "used_at": 0,
            }
            writes = (Write(_REPLACE, {"of": number, "used_at": now}), Write(_INSERT, row, expect=1))
            answer = await self._store.apply(writes=writes)
            if answer is not Answer.STORED:
                raise SessionRefused(answer)
        task = asyncio.get_running_loop().create_task(self._deliver(challenge, number, code))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return Challenge(challenge, self.settings.life_s, self.settings.resend_s)

    async def _deliver(self, challenge: str, number: str, code: str) -> None:
        """Send the code, if the number is a subscriber's. The answer has left by then or leaves meanwhile."""
        try:
            subscriber = await self._find(number)
            if subscriber is None or not subscriber.active:
                return
            meant = {"key": challenge, "whose": subscriber.number}
            if await self._store.apply(writes=[Write(_MEANT, meant, expect=1)]) is Answer.STORED:
                await self._send(
                    number,
                    f"{code} is your code. Nobody will ever ask you for it.\n\n@{self.settings.host} #{code}",
                )
        except Exception as error:
            # Only the kind of error: a traceback with its values would show the code.
            self._log.error("one_time_code.not_sent", challenge=challenge, error=type(error).__name__)

    async def drain(self) -> None:
        """Wait until what is being sent has been handed over."""
        while self._sending:
            await asyncio.wait(set(self._sending))

    async def _limit(self, number: str, network: str, now: int) -> TooMany | None:
        hour, ten = now - 3_600_000, now - 600_000
        params = {"number": number, "prefix": number[:PREFIX_LENGTH], "network": network}
        sinces = {"since_number": ten, "since_prefix": hour, "since_network": hour, "since": hour}
        tally = (await self._store.fetch(_TALLY, **params, **sinces))[0]
        settings = self.settings
        if tally["all"] >= settings.per_hour:
            self._log.error("one_time_code.flood", within_an_hour=int(tally["all"]))
            return TooMany("all", 300)
        if tally["network"] >= settings.per_network:
            return TooMany("network", 600)
        if tally["prefix"] >= settings.per_prefix:
            return TooMany("prefix", 600)
        if tally["number"] >= settings.per_number:
            return TooMany("number", 600)
        wait = int(tally["newest"]) + settings.resend_s * 1000 - now
        return TooMany("resend", -(-wait // 1000)) if wait > 0 else None

    async def prove(self, challenge: str, code: str) -> Proof:
        """Check a code. A proof with a subscriber is given once."""
        now = self._store.clock.now_ms()
        answer = await self._store.apply(writes=[Write(_TRY, {"key": challenge, "now": now}, expect=1)])
        if answer not in (Answer.STORED, Answer.CONFLICT):
            raise SessionRefused(answer)
        rows = await self._store.fetch(_BY_ID, id=challenge)
        row = rows[0] if rows else None
        right = self._keys.made(row["mac"] if row else "", challenge, code)
        if row is None or row["used_at"] or row["expires_at"] <= now:
            return Proof(refusal=Refusal.EXPIRED)
        if answer is Answer.CONFLICT:
            return Proof(refusal=Refusal.EXHAUSTED)
        found = await self._find(row["number"])
        known = found is not None and found.active and found.number == row["subscriber"]
        if not right or not known:
            left = max(0, TRIES - row["tries"])
            return Proof(refusal=Refusal.INVALID if left else Refusal.EXHAUSTED, tries_left=left)
        answer = await self._store.apply(writes=[Write(_USE, {"key": challenge, "used_at": now}, expect=1)])
        if answer is Answer.CONFLICT:
            return Proof(refusal=Refusal.EXPIRED)
        if answer is not Answer.STORED:
            raise SessionRefused(answer)
        return Proof(subscriber=row["subscriber"], number=row["number"])

    async def purge(self, *, older_than_ms: int = 86_400_000) -> None:
        """Forget challenges that no limit counts any more."""
        before = self._store.clock.now_ms() - older_than_ms
        await self._store.bulk([Write(_PURGE, {"before": before})])


def network_of(peer: str) -> str:
    """The network an address is counted under: /24 of IPv4, /48 of IPv6; the text itself if it is no address."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
