"""Asks a server of CAMARA location-retrieval.

In charge of: the request, the two kinds of area, and the meaning of its errors. Not in charge of: connections
(`access/outgoing.py`), when to ask (`locations.py`), serving CAMARA ourselves (`verification.py`).

Source: CAMARA DeviceLocation, location-retrieval 0.5 (release r3.2): POST /retrieve with device.phoneNumber and
maxAge; 422 LOCATION_RETRIEVAL.* for what cannot be answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

from ...access.outgoing import Outgoing, OutgoingFailed, OutgoingRefused
from ..fix import Fix, Reason
from ..geometry import enclosing_circle, in_degrees
from ..locations import LocateFailed
from ..settings import CamaraSettings

__all__ = ["CamaraProvider", "read_answer"]

TIMEOUT_S = 5.0

_REASON_BY_CODE: Mapping[str, str] = {
    "UNABLE_TO_LOCATE": Reason.UNABLE,
    "UNABLE_TO_FULFILL_MAX_AGE": Reason.NOT_FRESH,
    "UNABLE_TO_FULFILL_MAX_SURFACE": Reason.NOT_ACCURATE,
    "IDENTIFIER_NOT_FOUND": Reason.UNKNOWN_SUBSCRIBER,
    "SERVICE_NOT_APPLICABLE": Reason.UNKNOWN_SUBSCRIBER,
    "PERMISSION_DENIED": Reason.NO_CONSENT,
    "UNAUTHENTICATED": Reason.SOURCE_DOWN,
    "TOO_MANY_REQUESTS": Reason.SOURCE_DOWN,
    "QUOTA_EXCEEDED": Reason.SOURCE_DOWN,
}


class CamaraProvider:
    """One server."""

    name = "camara"

    def __init__(self, settings: CamaraSettings, outgoing: Outgoing, now_ms: Callable[[], int]) -> None:
        """`settings.url` must be given."""
        self._settings = settings
        self._outgoing = outgoing
        self._now_ms = now_ms

    async def locate(self, number: str, max_age_s: int) -> Fix:
        """See `locations.Provider`."""
        settings = self._settings
        body: dict[str, object] = {"device": {"phoneNumber": number}, "maxAge": max_age_s}
        if settings.max_surface_m2:
            body["maxSurface"] = settings.max_surface_m2
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "x-correlator": str(uuid4()),
        }
        token = settings.token.get_secret_value()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            reply = await self._outgoing.request(
                "POST",
                settings.url.rstrip("/") + "/retrieve",
                headers=headers,
                content=json.dumps(body).encode(),
                timeout_s=TIMEOUT_S,
            )
        except OutgoingFailed as failed:
            reason = Reason.TIMEOUT if failed.slow else Reason.SOURCE_DOWN
            raise LocateFailed(reason, str(failed), fault=True) from failed
        except OutgoingRefused as refused:
            raise LocateFailed(Reason.SOURCE_DOWN, str(refused), fault=True) from refused
        return read_answer(reply.status, reply.body, number, self._now_ms())


def read_answer(status: int, document: bytes, number: str, now_ms: int) -> Fix:
    """The fix in an answer; raises LocateFailed with what the server said instead."""
    try:
        parsed: object = json.loads(document)
    except ValueError:
        parsed = None
    body: Mapping[str, Any] = cast("Mapping[str, Any]", parsed) if isinstance(parsed, dict) else {}
    if status != 200:
        code = str(body.get("code", "")).rpartition(".")[2]
        reason = _REASON_BY_CODE.get(code, Reason.UNABLE if status in (404, 422) else Reason.SOURCE_DOWN)
        raise LocateFailed(reason, f"HTTP status {status} {code}", fault=reason == Reason.SOURCE_DOWN)
    circle = _circle(body.get("area"))
    if circle is None:
        raise LocateFailed(Reason.NOT_UNDERSTOOD, "there is no area that we know", fault=True)
    latitude, longitude, radius = circle
    measured = _time(body.get("lastLocationTime"))
    return Fix(
        number=number,
        latitude=latitude,
        longitude=longitude,
        accuracy_m=radius,
        measured_at=min(measured, now_ms) if measured is not None else now_ms,
        received_at=now_ms,
        source=CamaraProvider.name,
    )


def _circle(area: Any) -> tuple[float, float, float] | None:
    """A circle that holds the area."""
    if not isinstance(area, dict):
        return None
    facts = cast("Mapping[str, Any]", area)
    kind = str(facts.get("areaType", "")).upper()
    if kind == "CIRCLE":
        place, radius = _place(facts.get("center")), facts.get("radius")
        if place is None or isinstance(radius, bool) or not isinstance(radius, int | float) or radius < 0:
            return None
        return (*place, float(radius))
    if kind == "POLYGON" and isinstance(facts.get("boundary"), list):
        places = [_place(one) for one in cast("list[Any]", facts["boundary"])]
        if places and all(place is not None for place in places):
            return enclosing_circle([place for place in places if place is not None])
    return None


def _place(point: Any) -> tuple[float, float] | None:
    if not isinstance(point, dict):
        return None
    facts = cast("Mapping[str, Any]", point)
    latitude, longitude = facts.get("latitude"), facts.get("longitude")
    if isinstance(latitude, bool) or isinstance(longitude, bool) or not in_degrees(latitude, longitude):
        return None
    return float(cast("float", latitude)), float(cast("float", longitude))


def _time(text: Any) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int(at.timestamp() * 1000) if at.tzinfo is not None else None
