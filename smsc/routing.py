"""Where a message may go.

In charge of: the routes operators draw, and the ordered list of outlets for one message. Not in charge of: trying them
(`attempts.py`), or whether the message may be sent at all (`screening.py`).

The order (issue of the main job, section 6):
1. a receipt goes to its account and nowhere else, or to the handset that asked for it; a test number of an account in
   the sandbox, to the sandbox;
2. a number that an account owns goes to that account's binds;
3. routes: longest prefix first, then lower `priority`, then by weight among equals; what is left is the failover order;
4. a subscriber of an own number range that no route reaches goes to the mailbox.
Whatever the rules say, nothing goes back to the network it came from, no place is tried twice in one attempt, and the
center's own messages never go to a mailbox (behaviour.md 3, 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..message import Kind, Message, Role
from ..outlet import Outlet
from .sandbox import SandboxOutlet

__all__ = ["Lead", "OwnNumbers", "Route", "RouteModel", "Router", "TargetKind"]


class TargetKind(StrEnum):
    """What a route points to."""

    ACCOUNT = "account"  #: the receiver binds of an account: an ESME or a switch
    SWITCH = "switch"  #: the handset, over the switch that serves it now
    MAILBOX = "mailbox"  #: no attempt: straight to the box
    REJECT = "reject"  #: refused at submit with ESME_RINVDSTADR


class RouteModel(BaseModel):
    """A route as operators edit it: registry kind "route", prefix "rte"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="unique name")
    prefix: str = Field(
        default="",
        max_length=32,
        description='start of the recipient in normal form, e.g. "+4477" or "123"; empty: every E.164 number',
    )
    target: TargetKind = TargetKind.ACCOUNT
    account: str = Field(default="", max_length=15, description="system_id; required for target account")
    submitter: str = Field(
        default="", max_length=15, description="only messages of this system_id; empty: of all"
    )
    priority: int = Field(default=100, ge=0, le=1000, description="lower first, among equal prefixes")
    weight: int = Field(default=1, ge=1, le=1000, description="share among equal prefix and priority")
    enabled: bool = True

    @model_validator(mode="after")
    def _target_has_its_account(self) -> RouteModel:
        if (self.target is TargetKind.ACCOUNT) != bool(self.account):
            raise ValueError("account must be given for target account, and only then")
        return self


_HANDSETS = -1  #: among the numbers of accounts that were tried


@dataclass(frozen=True, slots=True)
class Route:
    """A live route, as the router uses it."""

    number: int
    model: RouteModel

    @property
    def id(self) -> str:
        """For events and people."""
        return f"rte_{self.number}"


class AccountLike(Protocol):
    """What routing needs of an account."""

    @property
    def number(self) -> int:
        """Account number."""
        ...

    @property
    def system_id(self) -> str:
        """SMPP system_id."""
        ...

    @property
    def role(self) -> Role:
        """What stands behind it."""
        ...


class OwnNumbers(Protocol):
    """What routing needs of the number ranges."""

    def is_own(self, number: str) -> bool:
        """True if an E.164 number in normal form lies in a range of this network."""
        ...


@dataclass(frozen=True, slots=True)
class Lead:
    """One place to try, and the rule that said so."""

    rule: str
    outlet: Outlet


@dataclass(slots=True)
class _Book:
    """The routes, compiled: prefix -> routes in failover order."""

    by_prefix: dict[str, tuple[Route, ...]] = field(default_factory=dict[str, tuple[Route, ...]])
    lengths: tuple[int, ...] = ()  #: prefix lengths in use, longest first


def compile_routes(routes: Iterable[Route]) -> _Book:
    """Sort enabled routes into a table for longest-prefix look-up."""
    grouped: dict[str, list[Route]] = {}
    for route in routes:
        if route.model.enabled:
            grouped.setdefault(route.model.prefix or "+", []).append(route)
    return _Book(
        {
            prefix: tuple(sorted(them, key=lambda r: (r.model.priority, r.number)))
            for prefix, them in grouped.items()
        },
        tuple(sorted({len(prefix) for prefix in grouped}, reverse=True)),
    )


class Router:
    """Answers "where may this go?" from live tables."""

    def __init__(
        self,
        *,
        owner_of: Callable[[str], AccountLike | None],
        account: Callable[[str], AccountLike | None],
        account_by_number: Callable[[int], AccountLike | None],
        outlet_of: Callable[[int], Outlet],
        mailbox: Outlet | None,
        own: OwnNumbers,
        random: Callable[[], float],
        sandbox: SandboxOutlet | None = None,
        switch: Outlet | None = None,
    ) -> None:
        """Look-ups are functions, so that every edit is live; `random` is in [0, 1) and spreads by weight.

        `switch`: the outlet of all handsets.
        """
        self._owner_of = owner_of
        self._account = account
        self._account_by_number = account_by_number
        self._outlet_of = outlet_of
        self._mailbox = mailbox
        self._own = own
        self._random = random
        self._sandbox = sandbox
        self._switch = switch
        self._book = _Book()

    def use(self, routes: Iterable[Route]) -> None:
        """Replace all routes at once."""
        self._book = compile_routes(routes)

    def leads(self, message: Message) -> list[Lead]:
        """Every place to try for a message, best first; empty: nowhere."""
        if message.kind == Kind.RECEIPT and message.recipient[:1] == "=":
            if self._account_by_number(message.account) is None:  # deleted meanwhile
                return []
            return [Lead("receipt", self._outlet_of(message.account))]
        return list(self._leads(message, self._spread))

    def reaches(self, message: Message) -> bool:
        """True if the recipient is routable or a subscriber's: asked at submit (behaviour.md 3)."""
        return message.kind == Kind.RECEIPT or next(iter(self._leads(message, tuple)), None) is not None

    def _leads(
        self, message: Message, ordered: Callable[[Iterable[Route]], Iterable[Route]]
    ) -> Iterable[Lead]:
        """Places to try; `ordered` puts the routes of one prefix into their order."""
        if self._sandbox is not None and (takes := self._sandbox.takes(message)) is not False:
            if takes:
                yield Lead("sandbox", self._sandbox)
            return
        mailbox = None if message.is_system else self._mailbox
        seen: set[int] = set()
        owner = self._owner_of(message.recipient)
        if owner is not None and not self._came_from(message, owner):
            seen.add(owner.number)
            yield Lead("owner", self._outlet_of(owner.number))
        for route in self._matching(message, ordered):
            if route.model.target is TargetKind.REJECT:
                return
            if route.model.target is TargetKind.MAILBOX:
                if mailbox is not None:
                    yield Lead(route.id, mailbox)
                return
            if route.model.target is TargetKind.SWITCH:
                if self._switch is not None and _HANDSETS not in seen:
                    seen.add(_HANDSETS)
                    yield Lead(route.id, self._switch)
                continue
            account = self._account(route.model.account)
            if account is None or account.number in seen or self._came_from(message, account):
                continue
            seen.add(account.number)
            yield Lead(route.id, self._outlet_of(account.number))
        if not seen and mailbox is not None and self._own.is_own(message.recipient):
            yield Lead("own-range", mailbox)

    def _came_from(self, message: Message, account: AccountLike) -> bool:
        """Another network's message is not handed back to it; handsets of one switch may write to each other."""
        return account.number == message.account and account.role is Role.INTERCONNECT

    def _matching(
        self, message: Message, ordered: Callable[[Iterable[Route]], Iterable[Route]]
    ) -> Iterable[Route]:
        """Routes for the recipient: longest prefix first, each prefix in failover order."""
        book = self._book
        recipient = message.recipient
        for length in book.lengths:
            routes = book.by_prefix.get(recipient[:length]) if length <= len(recipient) else None
            if routes:
                fitting = [r for r in routes if self._fits(r, message)] if _any_restricted(routes) else routes
                yield from ordered(fitting)

    def _fits(self, route: Route, message: Message) -> bool:
        if not route.model.submitter:
            return True
        submitter = self._account_by_number(message.account)
        return submitter is not None and submitter.system_id == route.model.submitter

    def _spread(self, routes: Iterable[Route]) -> Iterable[Route]:
        """Within equal priority, draw the order by weight; priorities stay in order."""
        left = list(routes)
        while left:
            best = left[0].model.priority
            equals = [r for r in left if r.model.priority == best]
            left = left[len(equals) :]
            while equals:
                drawn = equals[0] if len(equals) == 1 else self._draw(equals)
                equals.remove(drawn)
                yield drawn

    def _draw(self, routes: list[Route]) -> Route:
        mark = self._random() * sum(route.model.weight for route in routes)
        for route in routes:
            mark -= route.model.weight
            if mark < 0:
                return route
        return routes[-1]


def _any_restricted(routes: Iterable[Route]) -> bool:
    return any(r.model.submitter for r in routes)
