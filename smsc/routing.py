"""Where a message may go.

In charge of: the routes operators draw, and the ordered list of outlets for one message. Not in charge of: trying them
(`attempts.py`), or whether the message may be sent at all (`screening.py`).

The order (issue of the main job, section 6):
1. a receipt goes to its account and nowhere else (to its binds or over its links), or to the handset that asked for it;
   a message to the center's own number, to its keywords; a test number of an account in the sandbox, to the sandbox;
2. a number that an account owns goes to that account's binds;
3. routes: longest prefix first, then lower `priority`, then by weight among equals; what is left is the failover order;
4. a subscriber of an own number range that no route reaches goes to the mailbox.
Whatever the rules say, nothing goes back to the network it came from, no place is tried twice in one attempt, and the
center's own messages never go to a mailbox (behaviour.md 3, 4). A link whose center asks for less goes behind others;
parts of one message are drawn alike and follow the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import NamedTuple, Protocol, cast
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..message import Kind, Message, Role
from ..outlet import Outlet
from .pins import Pins, part_key
from .sandbox import SandboxOutlet

__all__ = [
    "Lead",
    "Links",
    "Note",
    "OwnNumbers",
    "Route",
    "RouteModel",
    "Router",
    "TargetKind",
    "compile_routes",
]


class TargetKind(StrEnum):
    """What a route points to."""

    ACCOUNT = "account"  #: the receiver binds of an account: an ESME or a switch
    SWITCH = "switch"  #: the handset, over the switch that serves it now
    LINK = "link"  #: another center, to which we bind
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
    link: str = Field(default="", max_length=64, description="name of a link; required for target link")
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
        if (self.target is TargetKind.LINK) != bool(self.link):
            raise ValueError("link must be given for target link, and only then")
        return self


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


class LinkOutlet(Outlet, Protocol):
    """What routing needs of a link's outlet."""

    @property
    def account(self) -> str:
        """system_id as which messages from the link are taken in; "" if none are."""
        ...

    def pausing(self) -> bool:
        """True while the other center asks for less."""
        ...


class CenterOutlet(Outlet, Protocol):
    """What routing needs of the outlet of the center itself."""

    def takes(self, message: Message) -> bool:
        """True if a message is to the center itself: then it goes nowhere else."""
        ...


class Links(Protocol):
    """What routing needs of the links."""

    def outlet(self, name: str) -> LinkOutlet | None:
        """A link's outlet by the link's name."""
        ...

    def outlets_of_account(self, system_id: str) -> Sequence[LinkOutlet]:
        """Links that lead to an account."""
        ...


class Lead(NamedTuple):
    """One place to try, and the rule that said so."""

    rule: str
    outlet: Outlet


#: Hears of a rule that fits a message and is not followed, and why.
Note = Callable[[Route, str], None]


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
        links: Links | None = None,
        pins: Pins | None = None,
        center: CenterOutlet | None = None,
    ) -> None:
        """Look-ups are functions, so that every edit is live; `random` is in [0, 1) and spreads by weight.

        `switch`: the outlet of all handsets; `pins` knows where parts of messages went; `center` takes what is for
        nobody else.
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
        self._links = links
        self._pins = pins or Pins()
        self._center = center
        self._book = _Book()

    def use(self, routes: Iterable[Route]) -> None:
        """Replace all routes at once."""
        self._book = compile_routes(routes)

    def with_routes(self, routes: Iterable[Route]) -> Router:
        """A router that differs in its routes only: what would be if they were in force."""
        other = copy(self)
        other.use(routes)
        return other

    def leads(self, message: Message, note: Note | None = None) -> list[Lead]:
        """Every place to try for a message, best first; empty: nowhere. `note` hears of rules that fit and are not
        followed, and why."""
        if message.kind == Kind.RECEIPT and message.recipient[:1] == "=":
            return self._receipt_leads(message.account)
        chance = self._random if message.part_total < 2 else _alike_for_parts(message)
        leads = list(self._leads(message, partial(self._spread, chance), note))
        pinned = self._pins.of(message)
        for lead in leads if pinned else ():
            if lead.outlet.name == pinned and lead.outlet.reachable():
                return [lead]  # the other parts took this way: it waits for room there
        return leads

    def reaches(self, message: Message) -> bool:
        """True if the recipient is routable or a subscriber's: asked at submit (behaviour.md 3)."""
        return message.kind == Kind.RECEIPT or next(iter(self._leads(message, tuple, None)), None) is not None

    def _receipt_leads(self, number: int) -> list[Lead]:
        """A receipt goes to its account: to its binds, or over a link that leads to it."""
        account = self._account_by_number(number)
        if account is None:  # deleted meanwhile
            return []
        leads = [Lead("receipt", self._outlet_of(number))]
        if self._links is not None:
            leads += [Lead("receipt", link) for link in self._links.outlets_of_account(account.system_id)]
        return leads

    def _leads(
        self, message: Message, ordered: Callable[[Iterable[Route]], Iterable[Route]], note: Note | None
    ) -> Iterable[Lead]:
        """Places to try; `ordered` puts the routes of one prefix into their order. Links whose center asks for less
        come after all others, but before a mailbox that stands behind them."""
        if self._center is not None and self._center.takes(message):
            yield Lead("center", self._center)
            return
        if self._sandbox is not None and (takes := self._sandbox.takes(message)) is not False:
            if takes:
                yield Lead("sandbox", self._sandbox)
            return
        mailbox = None if message.is_system else self._mailbox
        seen: set[str] = set()
        late: list[Lead] = []
        owner = self._owner_of(message.recipient)
        if owner is not None and not self._came_from(message, owner):
            outlet = self._outlet_of(owner.number)
            seen.add(outlet.name)
            yield Lead("owner", outlet)
        for route in self._matching(message, ordered):
            target = route.model.target
            if target is TargetKind.REJECT or target is TargetKind.MAILBOX:
                yield from late
                if target is TargetKind.MAILBOX and mailbox is not None:
                    yield Lead(route.id, mailbox)
                elif note is not None:
                    note(route, "rejects" if target is TargetKind.REJECT else "not-for-mailbox")
                return
            found = self._target(route, message)
            if isinstance(found, str) or found.name in seen:
                if note is not None:
                    note(route, found if isinstance(found, str) else "tried-before")
                continue
            seen.add(found.name)
            lead = Lead(route.id, found)
            if target is TargetKind.LINK and cast("LinkOutlet", found).pausing():
                late.append(lead)
            else:
                yield lead
        yield from late
        if not seen and mailbox is not None and self._own.is_own(message.recipient):
            yield Lead("own-range", mailbox)

    def _target(self, route: Route, message: Message) -> Outlet | str:
        """The outlet of a route to an account, a link or handsets, or why it has none for this message."""
        if route.model.target is TargetKind.SWITCH:
            return self._switch or "no-switches"
        if route.model.target is TargetKind.LINK:
            link = self._links.outlet(route.model.link) if self._links is not None else None
            if link is None:
                return "no-such-link"
            behind = self._account(link.account) if link.account else None
            if behind is not None and self._came_from(message, behind):
                return "came-from-there"
            return link
        account = self._account(route.model.account)
        if account is None:
            return "no-such-account"
        if self._came_from(message, account):
            return "came-from-there"
        return self._outlet_of(account.number)

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
                fitting = [r for r in routes if self.fits(r, message)] if _any_restricted(routes) else routes
                yield from ordered(fitting)

    def fits(self, route: Route, message: Message) -> bool:
        """True if a route is for messages of this submitter."""
        if not route.model.submitter:
            return True
        submitter = self._account_by_number(message.account)
        return submitter is not None and submitter.system_id == route.model.submitter

    def _spread(self, chance: Callable[[], float], routes: Iterable[Route]) -> Iterable[Route]:
        """Within equal priority, draw the order by weight; priorities stay in order."""
        left = list(routes)
        while left:
            best = left[0].model.priority
            equals = [r for r in left if r.model.priority == best]
            left = left[len(equals) :]
            while equals:
                drawn = equals[0] if len(equals) == 1 else _draw(chance, equals)
                equals.remove(drawn)
                yield drawn


def _draw(chance: Callable[[], float], routes: list[Route]) -> Route:
    mark = chance() * sum(route.model.weight for route in routes)
    for route in routes:
        mark -= route.model.weight
        if mark < 0:
            return route
    return routes[-1]


def _alike_for_parts(message: Message) -> Callable[[], float]:
    """The same chance for all parts of a message, on every node and after every restart."""
    drawn = crc32(repr(part_key(message)).encode()) / (1 << 32)
    return lambda: drawn


def _any_restricted(routes: Iterable[Route]) -> bool:
    return any(r.model.submitter for r in routes)
