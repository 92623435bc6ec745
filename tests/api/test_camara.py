"""CAMARA location-verification as applications meet it: results, every refusal, who may ask, and the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from live_store import Database
from rest_center import RestCenter, rest_center

from restante.zones.fix import Fix, Reason
from restante.zones.geometry import CircleShape, lens_share
from restante.zones.locations import LocateFailed, Locations
from restante.zones.verification import CannotVerify, compared

PHONE = "+447700900001"
CENTER = {"latitude": 51.5, "longitude": -0.12}
CIRCLE = {"areaType": "CIRCLE", "center": CENTER, "radius": 5000}
PATH = "/api/camara/location-verification/v3/verify"
NO_MATCH = {"latitude": 52.5, "longitude": -1.9}

Test = Callable[[RestCenter, httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def as_application(live_database: Database) -> Callable[[Test], None]:
    """`as_application(test)` runs `await test(center, client)` with the key of an account that may ask."""

    def run(test: Test) -> None:
        async def main() -> None:
            async with rest_center(live_database.url) as center:
                _, key = await center.make_account("locator", verify_locations=["+4477*"])
                async with application(center, key) as http:
                    await test(center, http)

        asyncio.run(main())

    return run


def application(center: RestCenter, key: str = "") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(center.app, client=("127.0.0.1", 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://center.test", headers=headers)


async def tell(center: RestCenter, place: dict[str, float], accuracy_m: float = 30, age_s: float = 0) -> None:
    now = center.clock.now_ms()
    at = now - int(age_s * 1000)
    fix = Fix(PHONE, place["latitude"], place["longitude"], accuracy_m, at, now, "push")
    await center.rooms.zones.locations.push([fix])


def question(**fields: Any) -> dict[str, Any]:
    return {"device": {"phoneNumber": PHONE}, "area": CIRCLE, **fields}


def without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    """A body with one member less."""
    if len(path) == 1:
        return {name: value for name, value in body.items() if name != path[0]}
    return {**body, path[0]: without(body[path[0]], *path[1:])}


def test_inside_outside_and_between(as_application) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await tell(center, CENTER)
        answer = await http.post(PATH, json=question(), headers={"x-correlator": "a-b.c/1"})
        assert (answer.status_code, answer.headers["x-correlator"]) == (200, "a-b.c/1")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"verificationResult": "TRUE", "lastLocationTime": "2026-09-21T14:13:20.000Z"}
        await tell(center, NO_MATCH)
        assert (await http.post(PATH, json=question())).json()["verificationResult"] == "FALSE"
        await tell(center, CENTER, accuracy_m=10_000)
        partial = (await http.post(PATH, json=question())).json()
        assert (partial["verificationResult"], partial["matchRate"]) == ("PARTIAL", 25)
        both = {"phoneNumber": PHONE, "networkAccessIdentifier": "a@b"}
        assert (await http.post(PATH, json=question(device=both))).json()["device"] == {"phoneNumber": PHONE}

    as_application(run)


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "INVALID_ARGUMENT"),
    (question(device={}), 400, "INVALID_ARGUMENT"),
    (question(device={"phoneNumber": "447700900001"}), 400, "INVALID_ARGUMENT"),
    (question(device={"phoneNumber": PHONE, "imei": "1"}), 400, "INVALID_ARGUMENT"),
    (question(max_age=60), 400, "INVALID_ARGUMENT"),
    (question(maxAge=-1), 400, "INVALID_ARGUMENT"),
    (question(area={**CIRCLE, "areaType": "POLYGON"}), 400, "INVALID_ARGUMENT"),
    (question(area={**CIRCLE, "radius": 0}), 400, "INVALID_ARGUMENT"),
    (question(area={**CIRCLE, "radius": 200_001}), 400, "INVALID_ARGUMENT"),
    (question(area={**CIRCLE, "center": {"latitude": 91, "longitude": 0}}), 400, "INVALID_ARGUMENT"),
    (question(area={**CIRCLE, "center": {"latitude": 0, "longitude": 181}}), 400, "INVALID_ARGUMENT"),
    (without(question(), "area"), 400, "INVALID_ARGUMENT"),
    (without(question(), "area", "areaType"), 400, "INVALID_ARGUMENT"),
    (without(question(), "area", "center"), 400, "INVALID_ARGUMENT"),
    (without(question(), "area", "center", "longitude"), 400, "INVALID_ARGUMENT"),
    (without(question(), "area", "radius"), 400, "INVALID_ARGUMENT"),
    (without(question(), "device"), 422, "MISSING_IDENTIFIER"),
    (question(device={"ipv6Address": "2001:db8::1"}), 422, "UNSUPPORTED_IDENTIFIER"),
    (question(device={"ipv4Address": {"publicAddress": "192.0.2.1"}}), 422, "UNSUPPORTED_IDENTIFIER"),
    (question(area={**CIRCLE, "radius": 1999}), 422, "LOCATION_VERIFICATION.INVALID_AREA"),
    (question(device={"phoneNumber": "+4915112345678"}), 403, "PERMISSION_DENIED"),
    (question(), 422, "LOCATION_VERIFICATION.UNABLE_TO_LOCATE"),
]


def test_refusals(as_application) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        for body, status, code in REFUSED:
            answer = await http.post(PATH, json=body)
            said = answer.json()
            assert (answer.status_code, said["status"], said["code"]) == (status, status, code), body
            assert said["message"]
            assert PHONE not in said["message"]

    as_application(run)


def test_a_broken_body_is_refused_in_the_same_form(as_application) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        for content in (b"", b"{", b"[]", b"\xff"):
            answer = await http.post(PATH, content=content, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")

    as_application(run)


def test_a_fix_must_be_young_enough(as_application) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await tell(center, CENTER, age_s=300)
        for age, expected in ((None, "TRUE"), (300, "TRUE"), (299, "TOO_OLD"), (0, "TOO_OLD")):
            asked = question() if age is None else question(maxAge=age)
            said = (await http.post(PATH, json=asked)).json()
            found = said.get("verificationResult") or said["code"]
            assert found == expected.replace("TOO_OLD", "LOCATION_VERIFICATION.UNABLE_TO_FULFILL_MAX_AGE")

    as_application(run)


def test_who_may_ask(sqlite_copy: Database) -> None:
    async def main() -> None:
        async with rest_center(sqlite_copy.url) as center:
            await tell(center, CENTER)
            _, plain = await center.make_account("plain")
            keys = {"": 401, "sk_aaaaaaaaaa_bbbb": 401, center.admin_key: 401, plain: 403}
            keys[await center.subscriber_token()] = 401
            for key, status in keys.items():
                async with application(center, key) as http:
                    answer = await http.post(PATH, json=question())
                    said = answer.json()
                    assert (answer.status_code, said["status"]) == (status, status)
                    expected = "UNAUTHENTICATED" if status == 401 else "PERMISSION_DENIED"
                    assert (said["code"], set(said)) == (expected, {"status", "code", "message"})
            async with center.client(center.admin_key) as http:
                rows = (await http.get("/admin/audit?limit=50")).json()["items"]
                assert not [row for row in rows if row["action"] == "location.verify"]

    asyncio.run(main())


def test_each_question_is_audited(as_application) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await tell(center, CENTER)
        await http.post(PATH, json=question())
        async with center.client(center.admin_key) as admin:
            row = (await admin.get("/admin/audit?limit=1")).json()["items"][0]
        assert (row["action"], row["target"]) == ("location.verify", PHONE)
        assert row["actor"].startswith("acc_")

    as_application(run)


SILENT = [
    (Reason.UNKNOWN_SUBSCRIBER, 404, "IDENTIFIER_NOT_FOUND"),
    (Reason.NO_CONSENT, 403, "PERMISSION_DENIED"),
    (Reason.NOT_FRESH, 422, "LOCATION_VERIFICATION.UNABLE_TO_FULFILL_MAX_AGE"),
    (Reason.SOURCE_DOWN, 422, "LOCATION_VERIFICATION.UNABLE_TO_LOCATE"),
]


def test_what_a_location_server_cannot_say(as_application) -> None:
    class Server:
        name = "mlp"
        reason = ""

        async def locate(self, number: str, max_age_s: int) -> Fix:
            raise LocateFailed(self.reason)

    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        zones, server = center.rooms.zones, Server()
        zones.locations = Locations(center.rooms.store, zones.settings.location, [server])
        for reason, status, code in SILENT:
            server.reason = reason
            answer = await http.post(PATH, json=question())
            assert (answer.status_code, answer.json()["code"]) == (status, code)
            center.clock.step(60)

    as_application(run)


def test_the_match_rate_is_the_share_between_1_and_99_and_grows_with_the_circle() -> None:
    fix = Fix(PHONE, 51.53, -0.12, 3000.0, 7, 7, "push")
    rates: list[int] = []
    for radius in range(400, 6600, 50):
        found = compared(fix, CircleShape(51.5, -0.12, radius), 3000.0)
        assert (found.match_rate is None) is (found.result != "PARTIAL")
        if found.match_rate is not None:
            distance = 3337.5  # metres between the two places
            assert found.match_rate == pytest.approx(100 * lens_share(distance, radius, 3000.0), abs=1)
        rates.append({"FALSE": 0, "TRUE": 100}.get(found.result, found.match_rate or 0))
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (1, 100)
    with pytest.raises(CannotVerify):
        compared(Fix(PHONE, None, None, 0.0, 7, 7, "cell", (262, 2, 1, 1)), CircleShape(0, 0, 5000), 0.0)
