"""/messages: sending over HTTP, for accounts with an API key.

In charge of: turning a request into drafts, carrying it out once (Idempotency-Key), showing what became of one's own
messages, cancelling and replacing those that wait. Not in charge of: taking messages in (`smsc/submission.py`), what
can still be changed (`smsc/recall.py`), or the key's memory (`idempotency.py`).

A request with several recipients is several messages, submitted together so that they share a commit. Each is
accepted or refused by itself; a request none of whose messages was accepted is a problem. If the outcome of a commit
is not known, nothing is claimed: 503, and a repetition with the same key finds out what was sent and sends only the
rest.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import phonenumbers
from fastapi import APIRouter, BackgroundTasks, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..access.accounts import Account
from ..access.numbers import EgressRules
from ..message import Address, Ingress, Message
from ..smsc.normaliser import address_for
from ..smsc.submission import Accepted, Refused, estimate
from ..smsc.unanswered import Unanswered
from ..store.history import MessageView, joint_state
from .entrance import EsmeAccount, Identity
from .groups import group_of
from .idempotency import Claim, key_of
from .numbers import MessageId, id_of, normal_of, shown
from .problems import Problem
from .recalls import (
    SUCCESS_OR_FAILURE,
    TEXT_MAX,
    Recalled,
    ReplaceRequest,
    encoded_for,
    octets_of,
    refused_recall,
    replacement_of,
)
from .rooms import doors_of, rooms_of
from .times import GivenTime, Instant, instant, instant_or_none, ms_of

__all__ = ["router"]

router = APIRouter(prefix="/messages", tags=["messages"])

RECIPIENTS_MAX = 1000


def _recipient(text: str) -> str:
    """+E.164 or a short code, in normal form."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 8:
        return text
    try:
        parsed = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException as error:
        raise ValueError(
            "neither a number in international form, as in +447700900123, nor a short code"
        ) from error
    if not phonenumbers.is_possible_number(parsed):
        raise ValueError("not a possible number")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


Recipient = Annotated[
    str, Field(min_length=1, max_length=32, examples=["+447700900123"]), AfterValidator(_recipient)
]
Sender = Annotated[
    str,
    Field(
        max_length=20,
        pattern=r"^(\+[1-9][0-9]{1,14}|[0-9]{1,20}|[ -~]{1,11})?$",
        description="number, short code or up to 11 characters; empty: the account's only number",
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class SendRequest(_Request):
    """Messages to send: one text, or octets with their coding, to one or more recipients."""

    to: list[Recipient] = Field(min_length=1, max_length=RECIPIENTS_MAX)
    sender: Sender = Field(default="", alias="from")
    text: str | None = Field(default=None, min_length=1, max_length=TEXT_MAX)
    data: str | None = Field(default=None, max_length=88_000, description="octets in base64, instead of text")
    data_coding: int | None = Field(default=None, ge=0, le=255, description="of data (SMPP 3.4 §5.2.19)")
    udh: bool = Field(default=False, description="data begins with a user data header")
    service_type: str = Field(default="", max_length=5, pattern=r"^[A-Za-z0-9]*$")
    priority: int = Field(default=0, ge=0, le=3)
    validity_s: int | None = Field(
        default=None, ge=1, le=2_592_000, description="seconds; without it the account's"
    )
    schedule_at: GivenTime | None = None
    receipt: bool = Field(default=False, description="a delivery receipt to the account's binds")
    replace_if_present: bool = Field(
        default=False,
        description="takes the place of the newest message that waits from the same sender to the same recipient "
        "with the same service_type; parts of a long message neither replace nor are replaced",
    )

    @model_validator(mode="after")
    def _one_content(self) -> SendRequest:
        if (self.text is None) == (self.data is None):
            raise ValueError("either text or data must be given")
        if self.text is not None and (self.data_coding is not None or self.udh):
            raise ValueError("data_coding and udh go with data")
        if len(set(self.to)) != len(self.to):
            raise ValueError("to names a recipient twice")
        return self


class SentItem(BaseModel):
    """What became of one recipient."""

    to: str
    id: str | None = None
    segments: int | None = None
    problem: str | None = Field(default=None, description="why it was refused: a stable word")
    detail: str | None = None


class SendAnswer(BaseModel):
    """What was accepted: stored, and not lost any more."""

    batch_id: str
    items: list[SentItem]


class EstimateRequest(_Request):
    """A text."""

    text: str = Field(min_length=1, max_length=TEXT_MAX)


class EstimateView(BaseModel):
    """What sending a text would take."""

    encoding: str
    data_coding: int
    units: int = Field(description="characters as the coding counts them")
    segments: int
    per_segment: int
    remaining: int = Field(description="units still free in the last segment")
    lossy: bool = Field(description="true: some characters would be replaced")


# ------------------------------------------------------------------------------------------------------------ sending


def _content(body: SendRequest, account: Account) -> tuple[bytes, int, int]:
    """Octets, data_coding, esm_class."""
    if body.text is not None:
        return *encoded_for(account, body.text), 0
    return (
        octets_of(body.data or ""),
        body.data_coding if body.data_coding is not None else 4,
        0x40 if body.udh else 0,
    )


def _draft(body: SendRequest, to: str, content: tuple[bytes, int, int], now: int) -> Message:
    octets, data_coding, esm_class = content
    schedule_at = ms_of(body.schedule_at) if body.schedule_at else 0
    sender = body.sender.strip()
    return Message(
        source=address_for(normal_of(sender), EgressRules()) if sender else Address(0, 0, ""),
        destination=address_for(to, EgressRules()),
        body=octets,
        service_type=body.service_type,
        esm_class=esm_class,
        priority_flag=body.priority,
        registered_delivery=SUCCESS_OR_FAILURE if body.receipt else 0,
        data_coding=data_coding,
        schedule_at=schedule_at,
        expires_at=(max(schedule_at, now) + body.validity_s * 1000) if body.validity_s else 0,
    )


def mark_of(account: int, key: str) -> str:
    """What a request leaves in the ingress of its messages, to be found by after a crash."""
    return hashlib.sha256(f"{account} {key}".encode()).hexdigest()[:32]


@router.post(
    "", status_code=202, response_model=SendAnswer, response_model_exclude_none=True, responses={202: {"headers": {
        "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "true: answered before"}}}}
)  # fmt: skip
async def send_messages(
    request: Request,
    who: EsmeAccount,
    body: SendRequest,
    background: BackgroundTasks,
    idempotency_key: Annotated[
        str | None, Header(description="required; repeat it when you repeat a request")
    ] = None,
) -> Any:
    """Send one text to one or more recipients. Accepted means stored: it is not lost any more."""
    key = key_of(idempotency_key)
    keys = doors_of(request).idempotency
    account = who.account
    assert account is not None
    content = _content(body, account)
    with keys.under_way(account.number, key):
        claim = await keys.claim(account.number, key, body.model_dump_json().encode())
        if claim.answer is not None:
            return JSONResponse(claim.answer, status_code=202, headers={"Idempotency-Replayed": "true"})
        mark = mark_of(account.number, key)
        sent: Mapping[str, int] = await keys.sent(claim, mark) if claim.recovering else {}
        unanswered = rooms_of(request).submission.unanswered()
        try:
            answers = await _submit(request, who, body, content, mark, sent, unanswered)
            answer = await _answer(request, claim, body, answers, mark)
        except BaseException:
            unanswered.answered()
            raise
        background.add_task(_answered, unanswered)
        return answer


async def _answered(unanswered: Unanswered) -> None:
    """The answer has left: delivery begins. On the loop: anything but a coroutine would run in a thread."""
    unanswered.answered()


async def _submit(
    request: Request,
    who: Identity,
    body: SendRequest,
    content: tuple[bytes, int, int],
    mark: str,
    sent: Mapping[str, int],
    unanswered: Unanswered,
) -> list[tuple[Accepted | Refused, int]]:
    """Submit to everybody who has not been sent to; what came of it, with the segments."""
    rooms, account = rooms_of(request), who.account
    assert account is not None
    ingress = Ingress(
        door="http",
        account=account.number,
        role=account.role,
        name=who.key,
        peer=who.peer,
        authenticated="api-key",
        asserted={"request": mark},
    )
    now = rooms.store.clock.now_ms()

    async def one(to: str) -> tuple[Accepted | Refused, int]:
        draft = _draft(body, to, content, now)
        known = sent.get(to)
        answer = (
            Accepted(known)
            if known
            else await rooms.submission.send(
                draft, account, ingress, unanswered, replace=body.replace_if_present
            )
        )
        return answer, draft.segments

    return await asyncio.gather(*(one(to) for to in body.to))


async def _answer(
    request: Request,
    claim: Claim,
    body: SendRequest,
    answers: Sequence[tuple[Accepted | Refused, int]],
    mark: str,
) -> SendAnswer:
    """Keep what is answered, or say why nothing was sent."""
    keys = doors_of(request).idempotency
    if any(isinstance(answer, Refused) and answer.unknown for answer, _ in answers):
        raise Problem(
            "store-unavailable",
            "Repeat with the same key to learn what was sent.",
            headers={"Retry-After": "2"},
        )
    if not any(isinstance(answer, Accepted) for answer, _ in answers):
        await keys.free(claim)
        first = answers[0][0]
        assert isinstance(first, Refused)
        raise refusal(first)
    items = [_item(to, answer, segments) for to, (answer, segments) in zip(body.to, answers, strict=True)]
    given = SendAnswer(batch_id=f"bat_{mark[:26]}", items=items)
    await keys.keep(claim, given.model_dump(mode="json", exclude_none=True))
    return given


def _item(to: str, answer: Accepted | Refused, segments: int) -> SentItem:
    if isinstance(answer, Accepted):
        return SentItem(to=to, id=str(answer.id), segments=segments)
    return SentItem(to=to, problem=answer.reason, detail=answer.public or None)


def refusal(refused: Refused) -> Problem:
    """A refused message as a problem."""
    more = {"reason": refused.reason, "smpp_status": int(refused.status)}
    if refused.retry_after_ms:
        later = {"Retry-After": str(-(-refused.retry_after_ms // 1000))}
        slug = "throttled" if refused.reason == "throttled" else "store-unavailable"
        return Problem(slug, refused.public, headers=later, more=more)
    return Problem("message-refused", refused.public, more=more)


@router.post(":estimate", response_model=EstimateView)
async def estimate_message(
    request: Request, response: Response, who: EsmeAccount, body: EstimateRequest
) -> EstimateView:
    """How a text would be encoded and how many segments it would cost. Nothing is sent."""
    found = estimate(body.text, who.account)
    return EstimateView(
        encoding=found.encoded.coding.value,
        data_coding=found.encoded.data_coding,
        units=found.units,
        segments=found.parts,
        per_segment=found.per_part,
        remaining=found.remaining,
        lossy=found.encoded.lossy,
    )


# --------------------------------------------------------------------------------------------------- what became of it


class DestinationView(BaseModel):
    """One destination of a submit_multi."""

    to: str
    state: str
    group: str
    reason: str
    attempts: int
    finished_at: Instant | None


class OwnMessageView(BaseModel):
    """One of one's own messages."""

    id: str
    to: str | None = Field(description="null for a submit_multi, which has `destinations`")
    sender: str = Field(serialization_alias="from")
    state: str
    group: str = Field(description="pending, stored, delivered, failed, rejected, expired, deleted")
    reason: str
    permanent: bool = Field(description="nothing will change any more")
    attempts: int
    segments: int
    submitted_at: Instant
    expires_at: Instant
    finished_at: Instant | None
    destinations: list[DestinationView] | None = Field(
        description="of a submit_multi; it is pending while any of them is"
    )


async def _own(request: Request, who: Identity, id: str) -> list[MessageView]:
    """What the account knows by an id: a message, or those of a submit_multi. Raises Problem."""
    assert who.account is not None
    views = await rooms_of(request).recall.find(who.account, id_of(id))
    if not views:
        raise Problem("not-found")
    return views


def _destination_view(view: MessageView) -> DestinationView:
    return DestinationView(
        to=shown(view.message.recipient),
        state=view.state.name.lower(),
        group=group_of(view),
        reason=view.reason,
        attempts=view.attempts,
        finished_at=instant_or_none(view.final_at),
    )


def _is_multi(views: Sequence[MessageView], id: str) -> bool:
    return views[0].message.id != id_of(id)


@router.get("/{id}", response_model=OwnMessageView)
async def read_own_message(request: Request, who: EsmeAccount, id: MessageId) -> OwnMessageView:
    """What became of a message that this account sent, or of a submit_multi with each of its destinations.

    Another's is as unknown as one that never was.
    """
    views = await _own(request, who, id)
    multi = _is_multi(views, id)
    state, final_at = joint_state(views)
    telling = next((view for view in views if view.state is state), views[0])
    message = telling.message
    return OwnMessageView(
        id=id,
        to=None if multi else shown(message.recipient),
        sender=shown(message.sender),
        state=state.name.lower(),
        group=group_of(telling),
        reason=telling.reason,
        permanent=bool(final_at),
        attempts=max(view.attempts for view in views),
        segments=sum(view.message.segments for view in views),
        submitted_at=instant(message.submitted_at),
        expires_at=instant(max(view.message.expires_at for view in views)),
        finished_at=instant_or_none(final_at),
        destinations=[_destination_view(view) for view in views] if multi else None,
    )


# ------------------------------------------------------------------------------------------------- while it waits


@router.post("/{id}:cancel", response_model=Recalled)
async def cancel_own_message(request: Request, who: EsmeAccount, id: MessageId) -> Recalled:
    """Cancel a message that waits, or all that wait under the id of a submit_multi.

    It ends as deleted, with the receipt that was asked for.
    """
    recall, account, number = rooms_of(request).recall, who.account, id_of(id)
    assert account is not None
    if not await recall.find(account, number):
        raise Problem("not-found")
    refused = await recall.cancel(account, number, _by(who))
    if refused is not None:
        raise refused_recall(refused)
    return Recalled(id=id)


@router.post("/{id}:replace", response_model=Recalled)
async def replace_own_message(
    request: Request, who: EsmeAccount, id: MessageId, body: ReplaceRequest
) -> Recalled:
    """Give a message that waits another text, and perhaps other times. It keeps its id."""
    views = await _own(request, who, id)
    if _is_multi(views, id):
        raise Problem("conflict", "It went to several; only single messages are replaced.")
    (view,) = views
    rooms, account = rooms_of(request), who.account
    assert account is not None
    new = replacement_of(body, view.message, account, rooms.store.clock.now_ms())
    refused = await rooms.recall.replace(account, view.message.id, new, _by(who))
    if refused is not None:
        raise refused_recall(refused)
    return Recalled(id=id)


def _by(who: Identity) -> Ingress:
    account = who.account
    assert account is not None
    return Ingress(
        door="http", account=account.number, role=account.role, name=who.key, peer=who.peer,
        authenticated="api-key",
    )  # fmt: skip
