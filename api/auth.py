"""/auth: signing in and out.

In charge of: one-time codes for subscribers, passwords for operators, cookies for browsers and tokens for programs,
and the list of one's own sessions. Not in charge of: the limits and proofs themselves (`access/one_time_codes.py`,
`access/credentials.py`) or what somebody may do afterwards (`entrance.py`).

The answer to "send me a code" is the same for every number (behaviour.md 11).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import phonenumbers
import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from ..access.audit import Entry
from ..access.credentials import CredentialKind
from ..access.one_time_codes import Refusal, TooMany
from ..access.sessions import Client, Session, Tokens
from ..store.store import Answer
from .entrance import (
    OPERATOR_COOKIE,
    SUBSCRIBER_COOKIE,
    Anonymous,
    SignedIn,
    is_own_page,
    trace_of,
)
from .problems import Problem
from .rooms import Rooms, rooms_of
from .times import Instant, instant

__all__ = ["Msisdn", "router"]

router = APIRouter(prefix="/auth", tags=["auth"])
_log = structlog.get_logger(__name__)


def _msisdn(text: str) -> str:
    """An E.164 number in normal form."""
    try:
        parsed = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException as error:
        raise ValueError("not a number in international form, as in +447700900123") from error
    if not phonenumbers.is_possible_number(parsed):
        raise ValueError("not a possible number")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


Msisdn = Annotated[
    str, Field(min_length=3, max_length=32, examples=["+447700900123"]), AfterValidator(_msisdn)
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CodeRequest(_Request):
    """Send me a code."""

    msisdn: Msisdn


class ChallengeView(BaseModel):
    """What to answer with the code."""

    challenge_id: str
    expires_in: int = Field(description="seconds")
    resend_after: int = Field(description="seconds")


class CodeProof(_Request):
    """The code that came."""

    code: str = Field(pattern=r"^[0-9]{6}$", examples=["042137"])
    client: Client = Field(default=Client.API, description="web: a cookie is set; api: tokens are returned")


class PasswordProof(_Request):
    """An operator's name and password."""

    name: str = Field(min_length=1, max_length=64)
    password: SecretStr = Field(max_length=256)
    client: Client = Field(default=Client.API, description="web: a cookie is set; api: tokens are returned")


class RefreshRequest(_Request):
    """A refresh token, good once."""

    refresh_token: SecretStr = Field(max_length=256)


class TokenView(BaseModel):
    """What a client is given. Web clients get the cookie only."""

    session_id: str
    owner: str
    expires_in: int = Field(description="seconds")
    access_token: str | None = None
    refresh_token: str | None = None
    token_type: Literal["Bearer"] | None = None


class SessionView(BaseModel):
    """A device that is signed in."""

    id: str
    client: Client
    authenticated: str = Field(description="how: one-time-code, password")
    created_at: Instant
    used_at: Instant = Field(description="within a minute")
    ends_at: Instant
    peer: str
    agent: str
    current: bool = Field(description="the session that asks")


class SessionList(BaseModel):
    """All of one's sessions."""

    items: list[SessionView]


ChallengeId = Annotated[str, Path(max_length=64)]
SessionId = Annotated[str, Path(max_length=64)]
Door = Annotated[Literal["mailbox", "admin"], Query(description="whose session, when a browser has both")]


def session_view(found: Session, current: str = "") -> SessionView:
    """A session as it is shown."""
    return SessionView(
        id=found.id,
        client=found.client,
        authenticated=found.authenticated,
        created_at=instant(found.created_at),
        used_at=instant(found.used_at),
        ends_at=instant(found.ends_at),
        peer=found.peer,
        agent=found.agent,
        current=found.id == current,
    )


# --------------------------------------------------------------------------------------------------------- entering


@router.post("/otp", status_code=202, response_model=ChallengeView)
async def ask_for_code(request: Request, peer: Anonymous, body: CodeRequest) -> ChallengeView:
    """Send a one-time code by SMS, if the number is a subscriber's. The answer does not tell."""
    asked = await rooms_of(request).codes.ask(body.msisdn, peer=peer)
    if isinstance(asked, TooMany):
        raise Problem("otp-too-many", headers={"Retry-After": str(asked.retry_after)})
    return ChallengeView(challenge_id=asked.id, expires_in=asked.expires_in, resend_after=asked.resend_after)


@router.post("/otp/{challenge_id}", response_model=TokenView, response_model_exclude_none=True)
async def prove_code(
    request: Request, response: Response, peer: Anonymous, challenge_id: ChallengeId, body: CodeProof
) -> TokenView:
    """Sign in with the code that came."""
    rooms = rooms_of(request)
    _own_page_only(request, rooms, body.client)
    proof = await rooms.codes.prove(challenge_id, body.code)
    if proof.refusal is not None:
        more = {"attempts_left": proof.tries_left} if proof.refusal is Refusal.INVALID else None
        raise Problem(proof.refusal.value, more=more)
    tokens = await rooms.sessions.open(
        f"sub_{proof.subscriber}", body.client, "one-time-code", peer=peer, agent=_agent(request)
    )
    return _hand_over(response, tokens, SUBSCRIBER_COOKIE)


@router.post("/login", response_model=TokenView, response_model_exclude_none=True)
async def sign_in(request: Request, response: Response, peer: Anonymous, body: PasswordProof) -> TokenView:
    """Sign an operator in."""
    rooms = rooms_of(request)
    _own_page_only(request, rooms, body.client)
    operator = rooms.registry.snapshot(rooms.operator_kind).get(body.name)
    owner = operator.id if operator is not None and not operator.suspended else ""
    right = await rooms.credentials.verify(
        owner,
        CredentialKind.OPERATOR_PASSWORD,
        body.password.get_secret_value(),
        address=peer,
        name=body.name,
    )
    if not right or not owner:
        # To the log, not to the audit trail: whoever guesses must not fill the database.
        _log.warning("operator.sign-in-failed", peer=peer, trace_id=trace_of(request))
        raise Problem("sign-in-failed")
    tokens, write = rooms.sessions.opening(owner, body.client, "password", peer=peer, agent=_agent(request))
    entry = Entry(owner, "operator.sign-in", tokens.session.id, peer=peer, request=trace_of(request))
    async with rooms.audit.entry(entry) as seal:
        if await rooms.store.apply(writes=[write, *seal()]) is not Answer.STORED:
            raise Problem("store-unavailable", headers={"Retry-After": "5"})
    return _hand_over(response, tokens, OPERATOR_COOKIE)


@router.post("/refresh", response_model=TokenView, response_model_exclude_none=True)
async def refresh(request: Request, peer: Anonymous, body: RefreshRequest) -> TokenView:
    """New tokens for a refresh token, which is good once; using it twice ends the session."""
    tokens = await rooms_of(request).sessions.renew(body.refresh_token.get_secret_value())
    if tokens is None:
        raise Problem("unauthenticated")
    return _token_view(tokens)


def _own_page_only(request: Request, rooms: Rooms, client: Client) -> None:
    """A cookie is only set for a page of this center: no other site may sign somebody in as somebody else."""
    if client is Client.WEB and not is_own_page(request, rooms):
        raise Problem("cross-site")


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


def _token_view(tokens: Tokens) -> TokenView:
    api = tokens.session.client is Client.API
    return TokenView(
        session_id=tokens.session.id,
        owner=tokens.session.owner,
        expires_in=tokens.expires_in,
        access_token=tokens.token if api else None,
        refresh_token=tokens.refresh_token if api else None,
        token_type="Bearer" if api else None,
    )


def _hand_over(response: Response, tokens: Tokens, cookie: str) -> TokenView:
    if tokens.session.client is Client.WEB:
        response.set_cookie(
            cookie,
            tokens.token,
            max_age=tokens.expires_in,
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
    return _token_view(tokens)


# ---------------------------------------------------------------------------------------------------------- leaving


@router.post("/logout", status_code=204)
async def sign_out(request: Request, response: Response, who: SignedIn, door: Door = "mailbox") -> None:
    """End this session."""
    session = who.session
    assert session is not None
    await rooms_of(request).sessions.revoke(session.id, who.owner, "logout")
    _clear(response, who.owner)


def _clear(response: Response, owner: str) -> None:
    cookie = OPERATOR_COOKIE if owner.startswith("op_") else SUBSCRIBER_COOKIE
    response.delete_cookie(cookie, path="/", secure=True, httponly=True, samesite="strict")


@router.get("/sessions", response_model=SessionList)
async def list_sessions(request: Request, who: SignedIn, door: Door = "mailbox") -> Any:
    """The devices that are signed in as you."""
    assert who.session is not None
    found = await rooms_of(request).sessions.of(who.owner)
    return SessionList(items=[session_view(one, who.session.id) for one in found])


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(
    request: Request, response: Response, who: SignedIn, session_id: SessionId, door: Door = "mailbox"
) -> None:
    """End one session, or with `others` every one but this."""
    sessions = rooms_of(request).sessions
    assert who.session is not None
    if session_id == "others":
        await sessions.revoke_all(who.owner, "owner", but=who.session.id)
        return
    if not await sessions.revoke(session_id, who.owner, "owner"):
        raise Problem("not-found")
    if session_id == who.session.id:
        _clear(response, who.owner)
