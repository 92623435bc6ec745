"""Every error is a problem with a page, and says nothing of what was sent."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from live_store import Database
from rest_center import API, RestCenter, rest_center

from restante.api.problem_kinds import KINDS
from restante.api.settings import HttpSettings
from restante.store.store import StoreUnavailable


def check(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["trace_id"] == answer.headers["x-request-id"]
    return body


def test_what_the_framework_refuses(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            check(await http.get("/nothing"), 404, "not-found")
            check(await http.get("http://center.test/nothing"), 404, "not-found")
            answer = await http.delete("/admin/overview")
            check(answer, 405, "method-not-allowed")
            assert answer.headers["allow"] == "GET"
            check(await http.post("/admin/routes", content=b"{", headers=JSON), 400, "malformed-body")
            body = check(
                await http.post("/admin/routes", json={"name": "a", "colour": "red"}), 422, "invalid-request"
            )
            errors = body["errors"]
            assert isinstance(errors, list)
            assert {"#/colour"} <= {error["pointer"] for error in errors}
            body = check(await http.get("/admin/accounts?limit=0&nonsense=1"), 422, "invalid-request")
            assert {error["parameter"] for error in body["errors"]} == {"limit", "nonsense"}  # type: ignore[union-attr]

    asyncio.run(run())


JSON = {"Content-Type": "application/json"}


def test_errors_never_repeat_what_was_sent(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            secret = "hunter2hunter2"
            requests = [
                http.post("/auth/login", json={"name": "root", "password": secret, "other": secret}),
                http.post("/auth/login", json={"name": "root", "password": [secret]}),
                http.post("/auth/refresh", json={"refresh_token": secret}),
                http.post("/admin/accounts/acc_2/credentials:rotate", json={"password": secret}),
                http.post("/admin/accounts", json={"system_id": "x", "throughput": secret, secret[:5]: 1}),
            ]
            for answer in await asyncio.gather(*requests):
                assert answer.status_code >= 400
                assert secret not in answer.text

    asyncio.run(run())


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("boom"), 500), (StoreUnavailable("away"), 503)])
def test_what_breaks_is_a_problem_too(sqlite_copy: Database, error: Exception, status: int) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            await http.get("/admin/queues")

            async def broken() -> None:
                raise error

            c.rooms.history.waiting = broken  # type: ignore[method-assign]
            code = {500: "internal", 503: "store-unavailable"}[status]
            body = check(await http.get("/admin/queues"), status, code)
            assert "boom" not in str(body)

    asyncio.run(run())


def test_bodies_are_bounded(sqlite_copy: Database) -> None:
    async def run() -> None:
        settings = HttpSettings(body_max_octets=2048, import_max_octets=4096)
        async with rest_center(sqlite_copy.url, settings=settings) as c, c.client(c.admin_key) as http:
            large = b'{"msisdn":"' + b"1" * 3000 + b'"}'
            check(await http.post("/auth/otp", content=large, headers=JSON), 413, "content-too-large")

            async def chunks():
                for _ in range(30):
                    yield b" " * 100

            check(await http.post("/auth/otp", content=chunks(), headers=JSON), 413, "content-too-large")
            csv = {"Content-Type": "text/csv"}
            answer = await http.post("/admin/subscribers:import", content=b"\n" * 3000, headers=csv)
            assert answer.status_code == 200
            answer = await http.post("/admin/subscribers:import", content=b"\n" * 5000, headers=csv)
            check(answer, 413, "content-too-large")

    asyncio.run(run())


def test_a_body_that_never_ends_is_given_up(sqlite_copy: Database) -> None:
    async def run() -> None:
        settings = HttpSettings(body_timeout_s=0.1)
        async with rest_center(sqlite_copy.url, settings=settings) as c, c.client() as http:

            async def slow():
                yield b"{"
                await asyncio.Event().wait()

            check(await http.post("/auth/otp", content=slow(), headers=JSON), 408, "request-timeout")

    asyncio.run(run())


def test_every_problem_has_a_page_and_every_page_is_listed(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client() as http:
            index = (await http.get("http://center.test/problems")).text
            for slug, kind in KINDS.items():
                page = await http.get(f"http://center.test/problems/{slug}")
                assert page.status_code == 200
                assert kind.fix.split("'")[0].split('"')[0].split("&")[0].split("<")[0] in page.text
                assert f"/problems/{slug}'" in index
            check(await http.get("http://center.test/problems/none"), 404, "not-found")

    asyncio.run(run())


def test_ids_of_requests(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            assert await _id(c, {"X-Request-ID": "mine-1.2_3"}) == "mine-1.2_3"
            parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            assert await _id(c, {"traceparent": parent}) == "4bf92f3577b34da6a3ce929d0e0e4736"
            for bad in ("a b", "x" * 65, "a\tb", "é"):
                assert await _id(c, {"X-Request-ID": bad.encode()}) != bad

    asyncio.run(run())


async def _id(c: RestCenter, headers: dict[str, str | bytes]) -> str:
    async with c.client() as http:
        return (await http.get("/nothing", headers=headers)).headers["x-request-id"]  # type: ignore[arg-type]


def test_personal_data_is_never_stored_on_the_way(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            for path in ("/mailbox", "/mailbox/messages", "/mailbox/export", "/nothing"):
                answer = await http.get(path)
                assert answer.headers.get_list("cache-control") == ["no-store"], path
                assert answer.headers["x-content-type-options"] == "nosniff"

    asyncio.run(run())


def test_too_many_requests_are_told_when_to_come_back(sqlite_copy: Database) -> None:
    async def run() -> None:
        settings = HttpSettings(anonymous_per_minute=3, subscriber_per_minute=5)
        async with rest_center(sqlite_copy.url, settings=settings) as c:
            async with c.client() as http:
                answers = [await http.get("/mailbox") for _ in range(4)]
                assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
                assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
                assert answers[0].headers["ratelimit"].startswith('"default";r=2;t=')
                check(answers[3], 429, "too-many-requests")
                assert 0 < int(answers[3].headers["retry-after"]) <= 61
            async with c.client(address="192.0.2.1") as http:  # somebody else is not concerned
                assert (await http.get("/mailbox")).status_code == 401
            async with c.client(await c.subscriber_token()) as http:  # nor is who is signed in
                codes = [(await http.get("/mailbox")).status_code for _ in range(6)]
                assert codes == [200] * 5 + [429]

    asyncio.run(run())


def test_docs_work_without_the_internet(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client() as http:
            page = await http.get("http://center.test/docs")
            assert page.status_code == 200
            assert "http://" not in page.text
            assert "https://" not in page.text
            assert "unsafe-inline" not in page.headers["content-security-policy"].split("style-src")[0]
            assert "<script>" not in page.text
            for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png", "start.js"):
                asset = await http.get(f"http://center.test/docs/assets/{name}")
                assert asset.status_code == 200
                assert len(asset.content) > 100
            check(await http.get("http://center.test/docs/assets/../app.py"), 404, "not-found")
            document = (await http.get("http://center.test/openapi.json")).json()
            assert f"{API}/mailbox/messages" in document["paths"]

    asyncio.run(run())
