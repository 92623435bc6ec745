"""Who is asking, and may they?

In charge of: reading credentials from a request (cookie, access token, API key), telling whose they are, the
protection of cookies against other sites, permissions, and the rate of requests. Not in charge of: making credentials
(`access/`), signing in (`auth.py`).

Every route names one of these as a dependency: `Subscriber` (a mailbox), `EsmeAccount` (sending),
`Require(permission)` (administration), `SignedIn` (one's own sessions), `Anonymous` (signing in). A test walks the
route table and finds the ones that name none.

Cookies. A browser sends a cookie with whatever page makes the request, so a request with a cookie that changes
something must show that it comes from this center's own pages: `Sec-Fetch-Site: same-origin`, or an `Origin` that is
this host's. The cookie's name begins with `__Host-`, it is Secure, HttpOnly, SameSite=Strict. Operators and
subscribers have one each, so that both may be signed in with one browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from ..access.accounts import Account
from ..access.audit import Entry
from ..access.operators import Operator
from ..access.permissions import Permission, scopes_allow
from ..access.sessions import Client, Session
from ..access.subscriber import Subscriber as SubscriberRecord
from .problems import Problem
from .rooms import Rooms, doors_of, rooms_of

__all__ = [
    "OPERATOR_COOKIE",
    "SUBSCRIBER_COOKIE",
    "Anonymous",
    "EsmeAccount",
    "Identity",
    "Require",
    "SignedIn",
    "Subscriber",
    "is_own_page",
    "peer_of",
]

SUBSCRIBER_COOKIE = "__Host-restante"
OPERATOR_COOKIE = "__Host-restante-operator"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has shown good credentials."""

    owner: str  #: "op_2", "sub_7", "acc_12"
    name: str  #: for people
    peer: str  #: address
    trace_id: str
    permissions: frozenset[Permission] = frozenset()
    session: Session | None = None
    key: str = ""  #: "key_4" if it came with an API key
    scopes: frozenset[str] = frozenset()
    operator: Operator | None = None
    subscriber: SubscriberRecord | None = None
    account: Account | None = None

    @property
    def number(self) -> int:
        """The number in `owner`."""
        return int(self.owner.rpartition("_")[2])

    def entry(self, action: str, target: str = "", reason: str = "", **detail: object) -> Entry:
        """An audit entry about something this person does."""
        if self.key:
            detail["key"] = self.key
        return Entry(self.owner, action, target, reason, self.peer, self.trace_id, detail)


def peer_of(request: Request) -> str:
    """The client's address; behind a trusted proxy the one that the proxy names."""
    return request.client.host if request.client else ""


def trace_of(request: Request) -> str:
    """The request's id."""
    return request.scope.get("state", {}).get("trace_id", "")


# ----------------------------------------------------------------------------------------------------- credentials


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_own_page(request: Request, rooms: Rooms) -> bool:
    """True if a browser says that a page of this center makes the request."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return origin is not None and origin in rooms.settings.origins
    if request.method in SAFE_METHODS:
        return True
    if origin is not None:
        return urlsplit(origin).netloc == request.headers.get("host") or origin in rooms.settings.origins
    return site == "same-origin"


async def _session(request: Request, rooms: Rooms, cookie: str) -> Session | None:
    """The session that the request shows, by header first."""
    bearer = _bearer(request)
    if bearer:
        return await rooms.sessions.check(bearer, Client.API)
    token = request.cookies.get(cookie)
    if not token:
        return None
    found = await rooms.sessions.check(token, Client.WEB)
    if found is not None and not is_own_page(request, rooms):
        raise Problem("cross-site")
    return found


def _refuse(request: Request, rooms: Rooms) -> Problem:
    """Nobody known: counts against the address."""
    _count(request, f"from {peer_of(request)}", rooms.settings.anonymous_per_minute)
    return Problem("unauthenticated", headers={"WWW-Authenticate": 'Bearer realm="restante"'})


def _count(request: Request, who: str, quota: int) -> None:
    """Count a request of somebody; too many are refused."""
    rate = doors_of(request).rates.take(who, quota)
    request.scope["state"]["rate"] = rate
    if rate.exceeded:
        raise Problem("too-many-requests", headers={"Retry-After": str(rate.reset_s)})


# ----------------------------------------------------------------------------------------------------- who it may be


async def anonymous(request: Request) -> str:
    """Anybody; the address is counted. Returns it."""
    peer = peer_of(request)
    _count(request, f"from {peer}", rooms_of(request).settings.anonymous_per_minute)
    return peer


async def subscriber_at(request: Request) -> Identity:
    """A subscriber who is signed in and may read."""
    rooms = rooms_of(request)
    session = await _session(request, rooms, SUBSCRIBER_COOKIE)
    if session is None or not session.owner.startswith("sub_"):
        raise _refuse(request, rooms)
    found = await rooms.subscribers.get(int(session.owner[4:]))
    if found is None or not found.active:
        raise _refuse(request, rooms)
    _count(request, session.owner, rooms.settings.subscriber_per_minute)
    return Identity(
        owner=session.owner,
        name=found.numbers[0] if found.numbers else session.owner,
        peer=peer_of(request),
        trace_id=trace_of(request),
        session=session,
        subscriber=found,
    )


async def account_at(request: Request) -> Identity:
    """An account with an API key."""
    rooms = rooms_of(request)
    bearer = _bearer(request)
    key = (
        await rooms.credentials.verify_api_key(bearer, address=peer_of(request))
        if bearer.startswith("sk_")
        else None
    )
    if key is None or not key.owner.startswith("acc_"):
        raise _refuse(request, rooms)
    account = rooms.registry.snapshot(rooms.account_kind).by_number(int(key.owner[4:]))
    if account is None or account.suspended:
        raise _refuse(request, rooms)
    _count(request, key.owner, rooms.settings.account_per_minute)
    if not account.may_come_from(peer_of(request)):
        raise Problem("address-not-allowed")
    return Identity(
        owner=key.owner,
        name=account.system_id,
        peer=peer_of(request),
        trace_id=trace_of(request),
        key=key.id,
        scopes=frozenset(key.scopes),
        account=account,
    )


async def operator_at(request: Request) -> Identity:
    """An operator who is signed in, or a key of one."""
    rooms = rooms_of(request)
    bearer = _bearer(request)
    operators = rooms.registry.snapshot(rooms.operator_kind)
    key = None
    session = None
    if bearer.startswith("sk_"):
        key = await rooms.credentials.verify_api_key(bearer, address=peer_of(request))
        owner = key.owner if key else ""
    else:
        session = await _session(request, rooms, OPERATOR_COOKIE)
        owner = session.owner if session else ""
    operator = operators.by_number(int(owner[3:])) if owner.startswith("op_") else None
    if operator is None or operator.suspended:
        raise _refuse(request, rooms)
    _count(request, owner, rooms.settings.operator_per_minute)
    held = operator.permissions
    return Identity(
        owner=owner,
        name=operator.name,
        peer=peer_of(request),
        trace_id=trace_of(request),
        permissions=scopes_allow(key.scopes, held) if key and key.scopes else held,
        session=session,
        key=key.id if key else "",
        scopes=frozenset(key.scopes) if key else frozenset(),
        operator=operator,
    )


async def signed_in_at(request: Request) -> Identity:
    """A subscriber or an operator with a session. With both cookies, `?door=admin` means the operator."""
    rooms = rooms_of(request)
    order = (OPERATOR_COOKIE, SUBSCRIBER_COOKIE)
    if request.query_params.get("door") != "admin":
        order = (SUBSCRIBER_COOKIE, OPERATOR_COOKIE)
    for cookie in order:
        session = await _session(request, rooms, cookie)
        if session is not None:
            _count(request, session.owner, rooms.settings.subscriber_per_minute)
            return Identity(
                owner=session.owner,
                name=session.owner,
                peer=peer_of(request),
                trace_id=trace_of(request),
                session=session,
            )
    raise _refuse(request, rooms)


class Require:
    """Dependency: an operator who holds a permission."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Identity:
        """Let in, or refuse."""
        who = await operator_at(request)
        if self.permission not in who.permissions:
            raise Problem(
                "forbidden",
                f"This needs the permission {self.permission.value}.",
                more={"permission": self.permission.value},
            )
        return who


Anonymous = Annotated[str, Depends(anonymous)]
Subscriber = Annotated[Identity, Depends(subscriber_at)]
EsmeAccount = Annotated[Identity, Depends(account_at)]
SignedIn = Annotated[Identity, Depends(signed_in_at)]
