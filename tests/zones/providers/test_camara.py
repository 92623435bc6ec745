"""CAMARA location-retrieval against an HTTP server: request, areas, errors."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from http_peer import http_peer
from pydantic import SecretStr

from restante.access.outgoing import Outgoing
from restante.zones.fix import Fix, Reason
from restante.zones.locations import LocateFailed
from restante.zones.providers.camara import CamaraProvider
from restante.zones.settings import CamaraSettings

NOW = 1_790_000_000_000
NUMBER = "+123456789"
CIRCLE = {"areaType": "CIRCLE", "center": {"latitude": 45.754114, "longitude": 4.860374}, "radius": 800}
TIME = "2023-10-17T13:18:23.682Z"


def asked(status: int, body: Any, **settings: Any) -> tuple[Fix | LocateFailed, Any]:
    """What the provider makes of an answer, and what it had asked."""

    async def scenario() -> tuple[Fix | LocateFailed, Any]:
        async with http_peer() as peer:
            peer.always(status, body if isinstance(body, bytes) else json.dumps(body))
            outgoing = Outgoing(("127.0.0.0/8",))
            given = CamaraSettings(
                url=peer.url + "/location-retrieval/v0.5/", token=SecretStr("t0k"), **settings
            )
            try:
                found: Fix | LocateFailed = await CamaraProvider(given, outgoing, lambda: NOW).locate(
                    NUMBER, 120
                )
            except LocateFailed as failed:
                found = failed
            await outgoing.close()
            return found, peer.requests[0]

    return asyncio.run(scenario())


def test_a_circle() -> None:
    found, request = asked(200, {"lastLocationTime": TIME, "area": CIRCLE}, max_surface_m2=1_000_000)
    assert isinstance(found, Fix)
    assert (found.latitude, found.longitude, found.accuracy_m) == (45.754114, 4.860374, 800)
    assert found.measured_at == 1_697_548_703_682
    assert (request.method, request.path) == ("POST", "/location-retrieval/v0.5/retrieve")
    assert json.loads(request.body) == {
        "device": {"phoneNumber": NUMBER}, "maxAge": 120, "maxSurface": 1_000_000,
    }  # fmt: skip
    assert request.headers["authorization"] == "Bearer t0k"
    assert request.headers["x-correlator"]


def test_a_polygon_is_held_by_its_circle() -> None:
    boundary = [{"latitude": a, "longitude": b} for a, b in ((45, 4), (45, 4.02), (45.02, 4.02), (45.02, 4))]
    found, _ = asked(200, {"lastLocationTime": TIME, "area": {"areaType": "POLYGON", "boundary": boundary}})
    assert isinstance(found, Fix)
    assert (found.latitude, found.longitude) == (
        pytest.approx(45.01, abs=1e-3),
        pytest.approx(4.01, abs=1e-3),
    )
    assert 1_300 < found.accuracy_m < 1_450


@pytest.mark.parametrize(
    ("status", "code", "reason", "fault"),
    [
        (422, "LOCATION_RETRIEVAL.UNABLE_TO_LOCATE", Reason.UNABLE, False),
        (422, "LOCATION_RETRIEVAL.UNABLE_TO_FULFILL_MAX_AGE", Reason.NOT_FRESH, False),
        (422, "LOCATION_RETRIEVAL.UNABLE_TO_FULFILL_MAX_SURFACE", Reason.NOT_ACCURATE, False),
        (404, "IDENTIFIER_NOT_FOUND", Reason.UNKNOWN_SUBSCRIBER, False),
        (403, "PERMISSION_DENIED", Reason.NO_CONSENT, False),
        (401, "UNAUTHENTICATED", Reason.SOURCE_DOWN, True),
        (429, "TOO_MANY_REQUESTS", Reason.SOURCE_DOWN, True),
        (503, "UNAVAILABLE", Reason.SOURCE_DOWN, True),
        (422, "SOMETHING_NEW", Reason.UNABLE, False),
        (302, "", Reason.SOURCE_DOWN, True),
    ],
)
def test_errors(status: int, code: str, reason: str, fault: bool) -> None:
    found, _ = asked(status, {"status": status, "code": code, "message": "x"})
    assert isinstance(found, LocateFailed)
    assert (found.reason, found.fault) == (reason, fault)


@pytest.mark.parametrize(
    "body",
    [
        b"not json", b"[]", {}, {"area": None}, {"area": {"areaType": "CIRCLE"}},
        {"area": {**CIRCLE, "radius": -1}}, {"area": {**CIRCLE, "radius": "800"}},
        {"area": {**CIRCLE, "center": {"latitude": 95, "longitude": 0}}},
        {"area": {"areaType": "POLYGON", "boundary": []}}, {"area": {"areaType": "HEXAGON"}},
    ],
)  # fmt: skip
def test_what_is_not_understood(body: Any) -> None:
    found, _ = asked(200, body)
    assert isinstance(found, LocateFailed)
    assert (found.reason, found.fault) == (Reason.NOT_UNDERSTOOD, True)


def test_a_missing_time_is_now_and_none_is_from_the_future() -> None:
    for body in ({"area": CIRCLE}, {"area": CIRCLE, "lastLocationTime": "2099-01-01T00:00:00Z"}):
        found, _ = asked(200, body)
        assert isinstance(found, Fix)
        assert found.measured_at == NOW


def test_a_server_at_a_private_address_is_not_asked_unless_it_is_listed() -> None:
    async def scenario() -> None:
        async with http_peer() as peer:
            peer.always(200, json.dumps({"area": CIRCLE}))
            outgoing = Outgoing(())
            given = CamaraSettings(url=peer.url)
            with pytest.raises(LocateFailed) as error:
                await CamaraProvider(given, outgoing, lambda: NOW).locate(NUMBER, 120)
            assert (error.value.reason, error.value.fault) == (Reason.SOURCE_DOWN, True)
            assert peer.requests == []
            await outgoing.close()

    asyncio.run(scenario())
