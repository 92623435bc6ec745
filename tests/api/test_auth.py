"""Signing in and out, as people do it and as others try it."""

from __future__ import annotations

import asyncio

from live_store import Database
from rest_center import NUMBER, PASSWORD, rest_center

from restante.access.one_time_codes import CodeSettings
from restante.api.entrance import OPERATOR_COOKIE


def test_a_code_signs_in_once_and_only_its_owner(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client() as http:
            await c.subscriber()
            asked = (await http.post("/auth/otp", json={"msisdn": "+44 7700 900001"})).json()
            stranger = (await http.post("/auth/otp", json={"msisdn": "+447700900777"})).json()
            assert asked.keys() == stranger.keys() == {"challenge_id", "expires_in", "resend_after"}
            code = await c.code()
            assert [number for number, _ in c.sent] == [NUMBER]
            path = f"/auth/otp/{asked['challenge_id']}"
            wrong = await http.post(path, json={"code": "000000" if code != "000000" else "000001"})
            assert (wrong.status_code, wrong.json()["code"]) == (400, "otp-invalid")
            assert wrong.json()["attempts_left"] == 4
            other = await http.post(f"/auth/otp/{stranger['challenge_id']}", json={"code": code})
            assert other.json()["code"] == "otp-invalid"
            right = await http.post(path, json={"code": code})
            assert right.json()["owner"] == "sub_1"
            again = await http.post(path, json={"code": code})
            assert (again.status_code, again.json()["code"]) == (400, "otp-expired")

    asyncio.run(run())


def test_limits_say_when_to_come_back(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url, codes=CodeSettings(per_network=2)) as c, c.client() as http:
            for number in ("+447700900001", "+447700900002"):
                assert (await http.post("/auth/otp", json={"msisdn": number})).status_code == 202
            refused = await http.post("/auth/otp", json={"msisdn": "+447700900003"})
            assert (refused.status_code, refused.json()["code"]) == (429, "otp-too-many")
            assert int(refused.headers["retry-after"]) > 0
            for bad in ("07700900001", "+1", "hello", "", "+44" + "7" * 40):
                answer = await http.post("/auth/otp", json={"msisdn": bad})
                assert answer.status_code == 422

    asyncio.run(run())


def test_tokens_are_renewed_and_a_copy_ends_the_session(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client() as http:
            first = (await c.sign_in()).json()
            renewed = await http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
            assert renewed.status_code == 200
            async with c.client(renewed.json()["access_token"]) as mine:
                assert (await mine.get("/mailbox")).status_code == 200
                copied = await http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
                assert copied.status_code == 401
                assert (await mine.get("/mailbox")).status_code == 401
            gone = await http.post("/auth/refresh", json={"refresh_token": renewed.json()["refresh_token"]})
            assert gone.status_code == 401

    asyncio.run(run())


def test_devices_are_listed_and_ended_one_by_one_or_all_others(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            tokens = [await c.subscriber_token() for _ in range(4)]
            other = await c.subscriber_token("+447700900002")
            async with c.client(tokens[0]) as http, c.client(other) as stranger:
                listed = (await http.get("/auth/sessions")).json()["items"]
                assert len(listed) == 4
                current = next(one["id"] for one in listed if one["current"])
                victim = next(one["id"] for one in listed if not one["current"])
                assert (await stranger.delete(f"/auth/sessions/{victim}")).status_code == 404
                assert (await http.delete(f"/auth/sessions/{victim}")).status_code == 204
                assert (await http.delete(f"/auth/sessions/{victim}")).status_code == 404
                assert (await http.delete("/auth/sessions/others")).status_code == 204
                left = (await http.get("/auth/sessions")).json()["items"]
                assert [one["id"] for one in left] == [current]
                assert (await http.post("/auth/logout")).status_code == 204
                assert (await http.get("/mailbox")).status_code == 401
                assert (await stranger.get("/mailbox")).status_code == 200

    asyncio.run(run())


def test_an_operator_signs_in_with_a_password_and_is_audited(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client() as http:
            right = {"name": "root", "password": PASSWORD}
            answers = [
                await http.post("/auth/login", json=right | {"password": "wrong"}),
                await http.post("/auth/login", json=right | {"name": "nobody"}),
            ]
            bodies = [answer.json() for answer in answers]
            assert all(answer.status_code == 401 for answer in answers)
            assert [b.pop("trace_id") != "" for b in bodies] == [True, True]
            assert bodies[0] == bodies[1]
            api = (await http.post("/auth/login", json=right)).json()
            async with c.client(api["access_token"]) as signed_in:
                assert (await signed_in.get("/admin/operators/me")).json()["name"] == "root"
                rows = (await signed_in.get("/admin/audit?action=operator.sign-in")).json()["items"]
                assert [row["actor"] for row in rows] == [c.admin]
            page = {"Sec-Fetch-Site": "same-origin"}
            web = await http.post("/auth/login", json=right | {"client": "web"}, headers=page)
            assert web.headers["set-cookie"].startswith(f"{OPERATOR_COOKIE}=rsw_")
            cross = await http.post(
                "/auth/login", json=right | {"client": "web"}, headers={"Sec-Fetch-Site": "cross-site"}
            )
            assert cross.json()["code"] == "cross-site"

    asyncio.run(run())


def test_who_is_barred_is_signed_out(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as admin:
            subscriber = await c.subscriber()
            token = await c.subscriber_token()
            async with c.client(token) as http:
                assert (await http.get("/mailbox")).status_code == 200
                path = f"/admin/subscribers/{subscriber.id}"
                assert (await admin.post(f"{path}:suspend")).status_code == 428
                done = await admin.post(f"{path}:suspend", headers={"If-Match": '"1"'})
                assert done.json()["state"] == "suspended"
                assert (await http.get("/mailbox")).status_code == 401
                back = await admin.post(f"{path}:resume", headers={"If-Match": done.headers["etag"]})
                assert back.json()["state"] == "active"
                assert (await http.get("/mailbox")).status_code == 401  # the session is over for good

    asyncio.run(run())


def test_an_operator_changes_the_password_and_other_sessions_end(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client() as http:
            right = {"name": "root", "password": PASSWORD}
            tokens = [(await http.post("/auth/login", json=right)).json()["access_token"] for _ in range(2)]
            new = "a much better password"
            async with (
                c.client(tokens[0]) as mine,
                c.client(tokens[1]) as other,
                c.client(c.admin_key) as key,
            ):
                body = {"current": PASSWORD, "password": new}
                assert (await key.post("/admin/operators/me/password", json=body)).status_code == 403
                wrong = await mine.post("/admin/operators/me/password", json=body | {"current": "x"})
                assert wrong.json()["errors"][0]["pointer"] == "#/current"
                assert (await mine.post("/admin/operators/me/password", json=body)).status_code == 204
                assert (await mine.get("/admin/overview")).status_code == 200
                assert (await other.get("/admin/overview")).status_code == 401
            assert (await http.post("/auth/login", json=right)).status_code == 401
            assert (await http.post("/auth/login", json=right | {"password": new})).status_code == 200

    asyncio.run(run())


def test_deleting_an_operator_ends_everything(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as admin:
            made = (await admin.post("/admin/operators", json={"name": "maria", "role": "operator"})).json()
            reset = await admin.post(f"/admin/operators/{made['id']}/credentials:rotate")
            body = {"name": "maria", "password": reset.json()["password"]}
            async with c.client() as http:
                token = (await http.post("/auth/login", json=body)).json()["access_token"]
            async with c.client(token) as maria:
                assert (await maria.get("/admin/overview")).status_code == 200
                gone = await admin.delete(f"/admin/operators/{made['id']}", headers={"If-Match": '"1"'})
                assert gone.status_code == 204
                assert (await maria.get("/admin/overview")).status_code == 401
            assert await c.rooms.credentials.of(made["id"]) == []

    asyncio.run(run())
