"""CAMARA location-verification, served to applications: is this phone in that circle?

In charge of: the route, its errors in CAMARA's form, who may ask about whom, and the audit row of each look. Not in
charge of: the comparison (`zones/verification.py`).

An account's API key is the bearer token; the account's `verify_locations` names the numbers it may ask about. Any
other number is refused before anybody looks, so that an answer tells nothing about it.

Source: CAMARA DeviceLocation, location-verification 3.0 (release r3.2); CAMARA Commonalities (errors, x-correlator).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException

from ..zones.geometry import CircleShape
from ..zones.verification import ANY_AGE_S, CannotVerify, verify
from .entrance import EsmeAccount
from .problems import Problem
from .rooms import rooms_of
from .times import Instant, instant

__all__ = ["router"]

_CORRELATOR = re.compile(r"[a-zA-Z0-9\-_:;./<>{}]{1,256}")

_STATUS_BY_CODE: Mapping[str, int] = {
    "IDENTIFIER_NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
}  # every other refusal of ours is 422

#: Problems of the entrance, as CAMARA names them.
_CODE_BY_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    408: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "TOO_MANY_REQUESTS",
    503: "UNAVAILABLE",
}


class Refusal(Exception):
    """An error as CAMARA wants it."""

    def __init__(self, code: str, message: str) -> None:
        """`code`: CAMARA's; `message`: for people."""
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return _STATUS_BY_CODE.get(self.code, 422)


class CamaraRoute(APIRoute):
    """A route whose errors have CAMARA's form, and which repeats the caller's x-correlator."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler inside that frame."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await handle(request)
            except Refusal as refusal:
                response = _error(refusal.status, refusal.code, str(refusal))
            except RequestValidationError as error:
                response = _error(400, "INVALID_ARGUMENT", _what_is_wrong(error))
            except HTTPException:  # of the framework: a body that is no JSON
                response = _error(400, "INVALID_ARGUMENT", "The body cannot be read.")
            except Problem as problem:
                status = problem.kind.status
                status = 400 if status in (408, 422) else status
                code = _CODE_BY_STATUS.get(status, "INTERNAL")
                response = _error(status, code, problem.detail or problem.kind.title, problem.headers)
            correlator = request.headers.get("x-correlator", "")
            if _CORRELATOR.fullmatch(correlator):
                response.headers["x-correlator"] = correlator
            return response

        return handler


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = {"status": status, "code": code, "message": message}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def _what_is_wrong(error: RequestValidationError) -> str:
    """The first thing; what was sent is not repeated."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return f"{place}: {first['msg']}" if place else str(first["msg"])


router = APIRouter(prefix="/location-verification/v3", tags=["camara"], route_class=CamaraRoute)


class _Body(BaseModel):
    """CAMARA writes names like this: maxAge. It wants unknown ones refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Ipv4Address(_Body):
    """An address as CAMARA has it; not used here."""

    public_address: str | None = Field(default=None, max_length=15)
    private_address: str | None = Field(default=None, max_length=15)
    public_port: int | None = Field(default=None, ge=0, le=65535)


class Device(_Body):
    """Whose place it is about. Only phone numbers are known here."""

    phone_number: str | None = Field(
        default=None, pattern=r"^\+[1-9][0-9]{4,14}$", examples=["+447700900123"]
    )
    network_access_identifier: str | None = Field(default=None, max_length=256)
    ipv4_address: Ipv4Address | None = None
    ipv6_address: str | None = Field(default=None, max_length=45)

    @model_validator(mode="after")
    def _says_something(self) -> Device:
        if not self.model_fields_set:
            raise ValueError("at least one identifier is needed")
        return self


class Point(_Body):
    """A place."""

    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)


class Circle(_Body):
    """The area: a circle is the only kind."""

    area_type: Literal["CIRCLE"]
    center: Point
    radius: float = Field(ge=1, le=200_000, allow_inf_nan=False, description="metres")


class VerifyRequest(_Body):
    """A question."""

    device: Device | None = None
    area: Circle
    max_age: Annotated[
        int | None, Field(ge=0, le=ANY_AGE_S, description="seconds; left out: any age; 0: of this moment")
    ] = None


class VerifyAnswer(_Body):
    """An answer."""

    model_config = ConfigDict(validate_by_name=True)

    verification_result: Literal["TRUE", "FALSE", "PARTIAL"]
    match_rate: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="per cent of the phone's uncertainty inside; with PARTIAL alone",
    )
    last_location_time: Instant
    device: Device | None = Field(default=None, description="the identifier that was used, of several")


class ErrorInfo(BaseModel):
    """An error."""

    status: int
    code: str
    message: str


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorInfo} for status in (400, 401, 403, 404, 422, 429, 503)
}


@router.post("/verify", response_model=VerifyAnswer, response_model_exclude_none=True, responses=_ERRORS)
async def verify_location(request: Request, who: EsmeAccount, body: VerifyRequest) -> VerifyAnswer:
    """Whether a phone is inside a circle, as far as this center knows. Each question is audited."""
    rooms, account = rooms_of(request), who.account
    assert account is not None
    number = _number(body.device)
    if not account.may_verify(number):
        raise Refusal("PERMISSION_DENIED", "This account may not ask about this number.")
    settings = rooms.zones.settings
    if body.area.radius < settings.verify_least_radius_m:
        text = f"The radius must be at least {settings.verify_least_radius_m} metres."
        raise Refusal("LOCATION_VERIFICATION.INVALID_AREA", text)
    async with rooms.audit.entry(who.entry("location.verify", number)) as seal:
        await rooms.store.apply(writes=seal())
    area = CircleShape(body.area.center.latitude, body.area.center.longitude, body.area.radius)
    try:
        found = await verify(
            rooms.zones.locations,
            number,
            area,
            max_age_s=ANY_AGE_S if body.max_age is None else body.max_age,
            budget_ms=settings.location.attempt_budget_ms,
            now_ms=rooms.store.clock.now_ms(),
        )
    except CannotVerify as cannot:
        raise Refusal(cannot.code, _WORDS.get(cannot.code, "The phone cannot be located.")) from None
    several = body.device is not None and len(body.device.model_fields_set) > 1
    return VerifyAnswer(
        verification_result=found.result,
        match_rate=found.match_rate,
        last_location_time=instant(found.seen_at),
        device=Device.model_validate({"phoneNumber": number}) if several else None,
    )


_WORDS: Mapping[str, str] = {
    "IDENTIFIER_NOT_FOUND": "Nobody has this number.",
    "PERMISSION_DENIED": "The phone's owner does not allow it.",
    "LOCATION_VERIFICATION.UNABLE_TO_FULFILL_MAX_AGE": "What is known is older than maxAge.",
}


def _number(device: Device | None) -> str:
    """The number that is asked about. Raises Refusal."""
    if device is None:
        raise Refusal("MISSING_IDENTIFIER", "An API key stands for no phone: name the device.")
    if device.phone_number is None:
        raise Refusal("UNSUPPORTED_IDENTIFIER", "Only phoneNumber is known here.")
    return device.phone_number
