"""A look-up service over HTTP as a register.

In charge of: the question's URL and the answer's JSON. Not in charge of: connections and their safety: the request is
made by a function that is passed in (the shared outgoing client, in `serve.py`).

Question: GET of a URL in which {imsi} and {msisdn} stand for digits (empty where not known). Answer: 200 with

    {"status": "attached", "imsi": "...", "msisdn": "...",
     "addresses": [{"type": "e164_gt", "value": "447700900001", "node": "msc"}]}

(all but "status" or "addresses" may be missing), or 404 for a subscriber that does not exist. Everything else is no
answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .registers import (
    AddressType,
    Affiliation,
    RegisterUnavailable,
    ServedBy,
    Status,
    Who,
    address,
    unknown,
)

__all__ = ["Get", "HttpRegister"]

#: Asks a URL within so many seconds: status and body. RegisterUnavailable if there is no answer.
Get = Callable[[str, float], Awaitable[tuple[int, bytes]]]


class _Address(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)

    type: AddressType
    value: str = Field(max_length=255)
    node: ServedBy = ServedBy.ANY


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: Status | None = None
    imsi: str = Field(default="", pattern=r"^[0-9]{0,15}$")
    msisdn: str = Field(default="", pattern=r"^\+?[0-9]{0,15}$")
    addresses: tuple[_Address, ...] = Field(default=(), max_length=20)


class HttpRegister:
    """One service."""

    def __init__(self, url: str, get: Get, *, now_ms: Callable[[], int], name: str = "http") -> None:
        """`url` with {imsi} and/or {msisdn} in it. ValueError without either."""
        if "{imsi}" not in url and "{msisdn}" not in url:
            raise ValueError("the URL must say where the number goes: {msisdn} or {imsi}")
        self.name = name
        self._url = url
        self._get = get
        self._now_ms = now_ms

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        if any(digits and not (digits.isascii() and digits.isdecimal()) for digits in who):
            raise RegisterUnavailable("refused", "not digits")
        url = self._url.replace("{imsi}", who.imsi).replace("{msisdn}", who.msisdn)
        status, body = await self._get(url, timeout_s)
        if status == 404:
            return unknown(who, self.name, self._now_ms())
        if status != 200:
            raise RegisterUnavailable("busy" if status in (429, 503) else "refused", f"status {status}")
        try:
            return self._read(_Answer.model_validate_json(body), who)
        except (ValidationError, ValueError) as error:
            raise RegisterUnavailable("refused", f"an answer that cannot be read: {error}") from error

    def _read(self, answer: _Answer, who: Who) -> Affiliation:
        addresses = tuple(address(each.type, each.value, each.node) for each in answer.addresses)
        status = answer.status or (Status.ATTACHED if addresses else Status.ABSENT)
        if (status is Status.ATTACHED) is not bool(addresses):
            raise ValueError(f"{status.value} with {len(addresses)} addresses")
        imsi = answer.imsi or who.imsi
        msisdn = answer.msisdn.removeprefix("+") or ("" if who.imsi else who.msisdn)
        return Affiliation(status, addresses, self.name, self._now_ms(), imsi, msisdn)
