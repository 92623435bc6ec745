"""Who may enter where: every route names its door, and every door refuses everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from live_store import Database
from rest_center import API, RestCenter, rest_center

from restante.access.permissions import OperatorRole, Permission
from restante.api import entrance
from restante.api.app import api_routers
from restante.api.entrance import OPERATOR_COOKIE, SUBSCRIBER_COOKIE, Require

#: What each place below /api/v1 demands.
PLACES = {
    "/auth": {entrance.anonymous, entrance.signed_in_at},
    "/mailbox": {entrance.subscriber_at},
    "/messages": {entrance.account_at},
}


def demands(dependant: Dependant) -> Iterator[Any]:
    """Every dependency of a route, however deep."""
    for inner in dependant.dependencies:
        yield inner.call
        yield from demands(inner)


def admin_routes() -> list[Any]:
    """Every route of the admin door, as it is in effect: path, methods, dependant."""
    routers = [router for prefix, router in api_routers() if prefix.endswith("/admin")]
    return [route for router in routers for route in iter_route_contexts(router.routes)]


def test_no_admin_route_is_without_a_permission() -> None:
    routes = admin_routes()
    assert len(routes) > 60
    for route in routes:
        calls = list(demands(route.dependant))
        own = entrance.operator_at in calls and route.path.startswith(("/operators/me", "/api-keys"))
        assert own or any(isinstance(call, Require) for call in calls), route.path


def test_writes_need_more_than_reading() -> None:
    for route in admin_routes():
        permissions = [call.permission for call in demands(route.dependant) if isinstance(call, Require)]
        asking = (
            ":verify",
            ":reveal",
            ":validate",
            ":explain",
            ":simulate",
            ":evaluate",
            ":replay",
            ":refresh",
        )  # change nothing
        harmless = route.methods == {"GET"} or route.path.endswith(asking)
        if not harmless:
            assert all(permission.value.endswith((".write", ".review")) for permission in permissions), (
                route.path
            )


def operations(c: RestCenter) -> list[tuple[str, str]]:
    document = c.app.app.openapi()
    return [(m.upper(), p) for p, verbs in document["paths"].items() for m in verbs if p.startswith(API)]


def filled(path: str) -> str:
    """A path with something in its holes."""
    samples = {
        "{id}": "1", "{verb}": "close", "{whose}": "sub_1", "{name}": "retry",
        "{challenge_id}": "x", "{session_id}": "x",
    }  # fmt: skip
    for hole, value in samples.items():
        path = path.replace(hole, value)
    return path.removeprefix(API)


def test_every_route_refuses_who_is_not_known_and_who_belongs_elsewhere(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            c.rooms.settings.anonymous_per_minute = 10_000
            tokens = {
                "nobody": "",
                "garbage": "sk_aaaaaaaaaa_bbbb",
                "subscriber": await c.subscriber_token(),
                "account": c.account_key,
                "operator": c.admin_key,
            }
            welcome = {"/admin": {"operator"}, "/mailbox": {"subscriber"}, "/messages": {"account"}}
            seen = 0
            for method, path in operations(c):
                place = "/" + path.removeprefix(API).split("/")[1].split(":")[0]
                if place == "/auth":
                    continue
                seen += 1
                for who, token in tokens.items():
                    if who in welcome[place]:
                        continue
                    async with c.client(token) as http:
                        answer = await http.request(method, filled(path))
                        assert answer.status_code == 401, (method, path, who, answer.text)
            assert seen > 75

    asyncio.run(run())


def test_each_permission_is_asked_for_by_its_name(sqlite_copy: Database) -> None:
    """A viewer's key may look and is told which permission each refusal lacks."""

    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.operator(OperatorRole.VIEWER)) as http:
            assert (await http.get("/admin/overview")).status_code == 200
            for method, path, permission in [
                ("POST", "/admin/routes", Permission.ROUTES_WRITE),
                ("DELETE", "/admin/routes/rte_1", Permission.ROUTES_WRITE),
                ("POST", "/admin/accounts/acc_2/credentials:rotate", Permission.CREDENTIALS_WRITE),
                ("GET", "/admin/audit", Permission.AUDIT_READ),
                ("POST", "/admin/messages/1:reveal", Permission.CONTENT_READ),
                ("PUT", "/admin/definitions", Permission.DEFINITIONS_WRITE),
            ]:
                answer = await http.request(method, path, json={})
                assert answer.status_code == 403, path
                assert answer.json()["permission"] == permission.value

    asyncio.run(run())


def test_a_key_with_scopes_may_less_than_its_owner_and_makes_none_that_may_more(
    sqlite_copy: Database,
) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            made = await http.post("/admin/api-keys", json={"scopes": ["routes.read"], "label": "reader"})
            assert made.status_code == 201
            wrong = await http.post("/admin/api-keys", json={"scopes": ["root"]})
            assert wrong.json()["errors"][0]["pointer"] == "#/scopes/0"
            async with c.client(made.json()["token"]) as narrow:
                assert (await narrow.get("/admin/routes")).status_code == 200
                assert (await narrow.get("/admin/accounts")).status_code == 403
                for scopes in ([], ["admin"], ["routes.read", "routes.write"]):
                    answer = await narrow.post("/admin/api-keys", json={"scopes": scopes})
                    assert answer.status_code == 403
                assert (
                    await narrow.post("/admin/api-keys", json={"scopes": ["routes.read"]})
                ).status_code == 201
            revoked = await http.delete(f"/admin/api-keys/{made.json()['id']}")
            assert revoked.status_code == 204
            async with c.client(made.json()["token"]) as gone:
                assert (await gone.get("/admin/routes")).status_code == 401

    asyncio.run(run())


def test_an_account_is_kept_out_by_address_and_suspension(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            account, key = await c.make_account("fenced", allowed_networks=["192.0.2.0/24"])
            estimate = {"text": "hello"}
            async with c.client(key, address="192.0.2.8") as http:
                assert (await http.post("/messages:estimate", json=estimate)).status_code == 200
            async with c.client(key, address="198.51.100.1") as http:
                answer = await http.post("/messages:estimate", json=estimate)
                assert (answer.status_code, answer.json()["code"]) == (403, "address-not-allowed")
            async with c.client(c.admin_key) as http:
                done = await http.post(f"/admin/accounts/{account.id}:suspend", headers={"If-Match": '"1"'})
                assert done.status_code == 200
            async with c.client(key, address="192.0.2.8") as http:
                assert (await http.post("/messages:estimate", json=estimate)).status_code == 401

    asyncio.run(run())


# ----------------------------------------------------------------------------------------------------------- cookies


def test_a_cookie_is_only_for_pages_of_this_center(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            answer = await c.sign_in(client="web")
            set_cookie = answer.headers["set-cookie"]
            assert set_cookie.startswith(f"{SUBSCRIBER_COOKIE}=rsw_")
            lowered = set_cookie.lower()
            assert all(word in lowered for word in ("httponly", "secure", "samesite=strict", "path=/"))
            assert "domain" not in lowered
            assert "access_token" not in answer.json()
            cookie = {"Cookie": set_cookie.split(";")[0]}
            own = [
                {"Sec-Fetch-Site": "same-origin"},
                {"Origin": "http://center.test"},
                {"Sec-Fetch-Site": "same-origin", "Origin": "http://center.test"},
            ]
            foreign = [
                {},
                {"Sec-Fetch-Site": "cross-site"},
                {"Sec-Fetch-Site": "same-site"},
                {"Origin": "https://evil.test"},
                {"Origin": "null"},
                {"Sec-Fetch-Site": "cross-site", "Origin": "http://center.test.evil.test"},
            ]
            async with c.client() as http:
                change = {"ids": ["1"], "action": "read"}
                for headers in own:
                    done = await http.post("/mailbox/messages:batch", headers=cookie | headers, json=change)
                    assert done.status_code == 200, headers
                for headers in foreign:
                    done = await http.post("/mailbox/messages:batch", headers=cookie | headers, json=change)
                    assert (done.status_code, done.json()["code"]) == (403, "cross-site"), headers
                assert (await http.get("/mailbox", headers=cookie)).status_code == 200
                cross = cookie | {"Sec-Fetch-Site": "cross-site"}
                assert (await http.get("/mailbox", headers=cross)).status_code == 403

    asyncio.run(run())


def test_a_cookie_is_no_token_and_the_other_way_round(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            web = (await c.sign_in(client="web")).headers["set-cookie"].split(";")[0]
            token = await c.subscriber_token()
            async with c.client(web.partition("=")[2]) as http:
                assert (await http.get("/mailbox")).status_code == 401
            async with c.client() as http:
                for name in (SUBSCRIBER_COOKIE, OPERATOR_COOKIE):
                    answer = await http.get("/mailbox", headers={"Cookie": f"{name}={token}"})
                    assert answer.status_code == 401
                swapped = web.replace(SUBSCRIBER_COOKIE, OPERATOR_COOKIE, 1)
                answer = await http.get("/admin/overview", headers={"Cookie": swapped})
                assert answer.status_code == 401

    asyncio.run(run())
