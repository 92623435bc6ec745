"""Cancelling and replacing messages that wait, for both doors that offer it.

In charge of: what a replacement says over HTTP, and the answers. Not in charge of: whose messages (`messages.py`,
`admin/messages.py`), what is done (`smsc/recall.py`).
"""

from __future__ import annotations

import base64
import binascii

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..access.accounts import Account
from ..message import Message
from ..smsc.answers import Refused
from ..smsc.recall import Replacement
from ..smsc.text import codings, gsm7
from .problems import Problem
from .times import GivenTime, ms_of

__all__ = [
    "TEXT_MAX",
    "Recalled",
    "ReplaceRequest",
    "encoded_for",
    "octets_of",
    "refused_recall",
    "replacement_of",
]

TEXT_MAX = 16_000  #: characters
SUCCESS_OR_FAILURE = 1  #: registered_delivery: a final receipt (SMPP 3.4 §5.2.17)

_UDHI = 0x40  # of esm_class


class ReplaceRequest(BaseModel):
    """What a message says from now on: a text, or octets with their coding. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(default=None, min_length=1, max_length=TEXT_MAX)
    data: str | None = Field(default=None, max_length=88_000, description="octets in base64, instead of text")
    data_coding: int | None = Field(default=None, ge=0, le=255, description="of data (SMPP 3.4 §5.2.19)")
    validity_s: int | None = Field(
        default=None, ge=1, le=2_592_000, description="seconds, from its schedule or now on"
    )
    schedule_at: GivenTime | None = None
    receipt: bool | None = Field(default=None, description="a delivery receipt to the account's binds")

    @model_validator(mode="after")
    def _one_content(self) -> ReplaceRequest:
        if (self.text is None) == (self.data is None):
            raise ValueError("either text or data must be given")
        if self.text is not None and self.data_coding is not None:
            raise ValueError("data_coding goes with data")
        return self


class Recalled(BaseModel):
    """It was done."""

    id: str
    done: bool = True


def octets_of(data: str) -> bytes:
    """Octets in base64. Raises Problem."""
    try:
        return base64.b64decode(data.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Problem("invalid-request", "data is not base64") from error


def encoded_for(account: Account, text: str) -> tuple[bytes, int]:
    """A text as the account itself would have sent it: octets and data_coding."""
    alphabet = codings.DefaultAlphabet(account.default_alphabet)
    encoded = codings.encode(text, default_alphabet=alphabet)
    octets = encoded.octets
    if encoded.coding is codings.Coding.GSM7 and alphabet is codings.DefaultAlphabet.GSM7_PACKED:
        octets = gsm7.pack(octets, pad_cr=True)
    return octets, encoded.data_coding


def replacement_of(body: ReplaceRequest, message: Message, account: Account, now: int) -> Replacement:
    """What a request means for a message. Raises Problem."""
    data_coding = body.data_coding
    if body.text is None:
        octets = octets_of(body.data or "")
    elif message.esm_class & _UDHI:
        raise Problem(
            "invalid-request", "The message has a user data header: give data, which begins with one."
        )
    else:
        octets, data_coding = encoded_for(account, body.text)
    schedule_at = ms_of(body.schedule_at) if body.schedule_at else 0
    begin = max(schedule_at or message.schedule_at, now)
    registered = message.registered_delivery
    if body.receipt is not None:
        registered = registered & ~0x03 | (SUCCESS_OR_FAILURE if body.receipt else 0)
    return Replacement(
        body=octets,
        registered_delivery=registered,
        sm_default_msg_id=message.sm_default_msg_id,
        schedule_at=schedule_at,
        expires_at=begin + body.validity_s * 1000 if body.validity_s else 0,
        data_coding=data_coding,
    )


def refused_recall(refused: Refused) -> Problem:
    """Why nothing was done, as a problem."""
    more = {"reason": refused.reason, "smpp_status": int(refused.status)}
    if refused.unknown:
        return Problem(
            "store-unavailable", "Whether it was done is not known; ask for the message.", more=more
        )
    if refused.retry_after_ms:
        later = {"Retry-After": str(-(-refused.retry_after_ms // 1000))}
        return Problem("store-unavailable", refused.public, headers=later, more=more)
    if refused.reason in ("not-waiting", "other-part"):
        return Problem("conflict", refused.public.capitalize() + ".", more=more)
    return Problem("message-refused", refused.public, more=more)
