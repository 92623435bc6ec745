"""The admin door: objects with versions, subscribers, messages, boxes; every write in the audit trail."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from live_store import Database
from rest_center import NUMBER, RestCenter, rest_center

from restante.access.permissions import OperatorRole
from restante.store.store import Answer

ROUTE = {"name": "uk", "prefix": "+44", "target": "mailbox"}


async def actions(http: httpx.AsyncClient) -> list[str]:
    return [row["action"] for row in (await http.get("/admin/audit?limit=200")).json()["items"]]


def test_the_life_of_an_object(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.admin_key) as http:
            made = await http.post("/admin/routes", json=ROUTE, headers={"X-Reason": "first"})
            assert made.status_code == 201
            path = "/admin/routes/" + made.json()["id"]
            assert made.headers["location"] == "/api/v1" + path
            assert made.headers["etag"] == '"1"'
            assert (await http.get(path, headers={"If-None-Match": '"1"'})).status_code == 304
            assert (await http.patch(path, json={"priority": 5})).json()["code"] == "version-missing"
            patched = await http.patch(path, json={"priority": 5}, headers={"If-Match": '"1"'})
            assert (patched.json()["priority"], patched.json()["version"]) == (5, 2)
            stale = await http.put(path, json=ROUTE, headers={"If-Match": '"1"'})
            assert (stale.status_code, stale.json()["current"], stale.json()["changed_by"]) == (
                412,
                2,
                c.admin,
            )
            assert stale.headers["etag"] == '"2"'
            for bad in ("1", '"x"', "*", '"99999999999"'):
                assert (await http.put(path, json=ROUTE, headers={"If-Match": bad})).status_code == 412
            twin = await http.post("/admin/routes", json=ROUTE)
            assert (twin.status_code, twin.json()["code"]) == (409, "key-taken")
            back = await http.post(f"{path}:rollback?to_version=1", headers={"If-Match": '"2"'})
            assert (back.json()["priority"], back.json()["version"]) == (100, 3)
            history = (await http.get(f"{path}/history?limit=2")).json()
            assert [one["version"] for one in history["items"]] == [3, 2]
            rest = await http.get(f"{path}/history?limit=2&cursor={history['next_cursor']}")
            assert [(one["version"], one["reason"]) for one in rest.json()["items"]] == [(1, "first")]
            assert (await http.delete(path, headers={"If-Match": '"3"'})).status_code == 204
            assert (await http.get(path)).status_code == 404
            wanted = ["route.delete", "route.rollback", "route.patch", "route.create"]
            assert await actions(http) == wanted
            assert (await http.post("/admin/audit:verify")).json()["holds"]

    asyncio.run(run())


def test_a_dry_run_changes_nothing_and_says_what_would(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            would = await http.post("/admin/routes?dry_run=true", json=ROUTE)
            assert (would.status_code, would.json()["dry_run"], would.json()["after"]["name"]) == (
                200,
                True,
                "uk",
            )
            assert (await http.get("/admin/routes")).json()["items"] == []
            body = {"system_id": "open"}
            assert [
                w["code"]
                for w in (await http.post("/admin/accounts?dry_run=true", json=body)).json()["warnings"]
            ]
            made = (await http.post("/admin/routes", json=ROUTE)).json()
            path, known = f"/admin/routes/{made['id']}", {"If-Match": '"1"'}
            would = await http.patch(f"{path}?dry_run=true", json={"priority": 7}, headers=known)
            assert would.json()["diff"] == [
                {"op": "replace", "pointer": "/priority", "before": 100, "after": 7}
            ]
            assert (await http.delete(f"{path}?dry_run=true", headers=known)).json()["after"] is None
            assert (await http.get(path)).json()["version"] == 1
            assert await actions(http) == ["route.create"]

    asyncio.run(run())


def test_an_edit_whose_audit_row_cannot_be_written_is_not_made(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            await http.post("/admin/routes", json=ROUTE)
            real = c.rooms.audit._sealed

            def broken(*given: Any, **more: Any) -> Any:
                writes = real(*given, **more)
                first = {**writes[0].params, "sequence": 1}  # there already
                return (type(writes[0])(writes[0].statement, first, expect=1),)

            c.rooms.audit._sealed = broken  # type: ignore[method-assign]
            answer = await http.post("/admin/routes", json=ROUTE | {"name": "other"})
            assert answer.status_code == 409
            names = [one["name"] for one in (await http.get("/admin/routes")).json()["items"]]
            assert names == ["uk"]

    asyncio.run(run())


def test_lists_go_on_and_find(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            for n in range(5):
                await http.post("/admin/routes", json=ROUTE | {"name": f"r{n}"})
            first = (await http.get("/admin/routes?limit=3")).json()
            second = (await http.get(f"/admin/routes?limit=3&cursor={first['next_cursor']}")).json()
            assert [one["name"] for one in first["items"] + second["items"]] == [f"r{n}" for n in range(5)]
            assert second["next_cursor"] is None
            crossed = await http.get(f"/admin/ranges?limit=3&cursor={first['next_cursor']}")
            assert crossed.json()["code"] == "cursor-mismatch"
            assert [one["name"] for one in (await http.get("/admin/routes?q=R3")).json()["items"]] == ["r3"]

    asyncio.run(run())


def test_an_account_and_its_credentials(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            made = (await http.post("/admin/accounts", json={"system_id": "bank", "numbers": ["777"]})).json()
            path = f"/admin/accounts/{made['id']}"
            given = (await http.post(f"{path}/credentials:rotate", json={})).json()["password"]
            verify = c.rooms.credentials.verify
            assert await verify(made["id"], "smpp-password", given)
            chosen = await http.post(f"{path}/credentials:rotate", json={"password": "secret77"})
            assert chosen.json() == {"password": "secret77"}
            assert not await verify(made["id"], "smpp-password", given)
            key = await http.post(f"{path}/api-keys", json={"label": "web", "networks": ["192.0.2.0/24"]})
            listed = (await http.get(f"{path}/api-keys")).json()["items"]
            assert [one["id"] for one in listed] == [key.json()["id"]]
            assert "token" not in listed[0]
            assert (await http.post(f"{path}/api-keys", json={"networks": ["x"]})).status_code == 422
            everything = (await http.get("/admin/definitions")).text + (await http.get("/admin/audit")).text
            assert "secret77" not in everything
            assert key.json()["token"] not in everything
            gone = await http.delete(path, headers={"If-Match": '"1"'})
            assert gone.status_code == 204
            assert await c.rooms.credentials.of(made["id"]) == []
            assert (await http.post(f"{path}/credentials:rotate", json={})).status_code == 404
            assert await actions(http) == [
                "account.delete", "api-key.create", "account.password", "account.password", "account.create",
            ]  # fmt: skip

    asyncio.run(run())


def test_definitions_go_out_and_come_back(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            await http.post("/admin/routes", json=ROUTE)
            document = (await http.get("/admin/definitions")).json()
            await http.delete(
                f"/admin/routes/{document['objects']['route'][0]['id']}", headers={"If-Match": '"1"'}
            )
            would = (await http.put("/admin/definitions?dry_run=true", json=document)).json()
            assert [edit["after"]["name"] for edit in would["edits"]] == ["uk"]
            assert (await http.get("/admin/routes")).json()["items"] == []
            done = (await http.put("/admin/definitions", json=document)).json()
            assert not done["dry_run"]
            assert len((await http.get("/admin/routes")).json()["items"]) == 1
            wrong = await http.put("/admin/definitions", json={"format": 1, "objects": {"shoe": []}})
            assert wrong.json()["errors"][0]["pointer"] == "#/objects/shoe"

    asyncio.run(run())


# ----------------------------------------------------------------------------------------------------------- people


def test_subscribers_one_by_one_and_by_the_thousand(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.admin_key) as http:
            made = await http.post(
                "/admin/subscribers", json={"numbers": [NUMBER], "imsi": "234150000000001"}
            )
            assert made.status_code == 201
            id = made.json()["id"]
            taken = await http.post("/admin/subscribers", json={"numbers": [NUMBER]})
            assert (taken.status_code, taken.json()["code"]) == (409, "key-taken")
            lines = "msisdn,imsi\n" + "".join(f"+44770090{n:04d},\n" for n in range(100, 140))
            lines += f"{NUMBER},\nnonsense,\n\n"
            done = await http.post(
                "/admin/subscribers:import", content=lines, headers={"Content-Type": "text/csv"}
            )
            assert (done.json()["provisioned"], done.json()["failed"]) == (40, 2)
            assert [row["msisdn"] for row in done.json()["problems"]] == [NUMBER, "nonsense"]
            page = (await http.get("/admin/subscribers?limit=30")).json()
            rest = (await http.get(f"/admin/subscribers?limit=30&cursor={page['next_cursor']}")).json()
            assert len(page["items"]) + len(rest["items"]) == 41
            found = (await http.get("/admin/subscribers", params={"prefix": "+4477009001"})).json()["items"]
            assert len(found) == 40
            moved = await http.post(
                f"/admin/subscribers/{id}/numbers:reassign",
                json={"msisdn": NUMBER},
                headers={"If-Match": '"1"'},
            )
            assert moved.json()["state"] == "closed"
            assert moved.json()["successor"] is not None
            assert (
                await http.post(f"/admin/subscribers/{id}:resume", headers={"If-Match": '"2"'})
            ).status_code == 409
            assert (await http.get("/admin/subscribers/acc_1")).status_code == 404
            wrong = await http.post(
                "/admin/subscribers:import", content="x", headers={"Content-Type": "text/plain"}
            )
            assert wrong.status_code == 415
            assert (await http.post("/admin/audit:verify")).json()["holds"]

    asyncio.run(run())


def test_a_closed_box_stays_closed_for_the_next_owner(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            await c.deposit("private")
            subscriber = await c.subscriber()
            await http.post(f"/admin/subscribers/{subscriber.id}:close", headers={"If-Match": '"1"'})
            await http.post("/admin/subscribers", json={"numbers": [NUMBER]})
            async with c.client(await c.subscriber_token()) as next_owner:
                assert (await next_owner.get("/mailbox/messages")).json()["items"] == []

    asyncio.run(run())


# --------------------------------------------------------------------------------------------------------- messages


async def reader(c: RestCenter) -> httpx.AsyncClient:
    return c.client(await c.operator(OperatorRole.OPERATOR, "reader", content_read=True))


def test_text_is_revealed_for_a_reason_only_and_recorded_first(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as admin, await reader(c) as http:
            id = await c.deposit("meet me at noon")
            for place in ("/admin/messages", f"/admin/messages/{id}", f"/admin/messages/{id}/trace"):
                assert "noon" not in (await http.get(place)).text
            box = await http.get(f"/admin/mailboxes/{NUMBER}/messages")
            assert box.json()["items"][0]["id"] == str(id)
            assert "meet" not in box.text
            assert (await http.get(f"/admin/mailboxes/{NUMBER}/messages?q=noon")).status_code == 422
            for path in (f"/admin/messages/{id}:reveal", f"/admin/mailboxes/{NUMBER}/messages/{id}:reveal"):
                assert (await admin.post(path, headers={"X-Reason": "curious"})).status_code == 403
                assert (await http.post(path)).json()["code"] == "reason-missing"
                assert (await http.post(path, headers={"X-Reason": "  "})).json()["code"] == "reason-missing"
                shown = await http.post(path, headers={"X-Reason": "ticket 12"})
                assert shown.json()["text"] == "meet me at noon"
            rows = (await admin.get("/admin/audit?action=content.reveal")).json()["items"]
            assert [(row["target"], row["reason"]) for row in rows] == [(str(id), "ticket 12")] * 2
            view = await c.rooms.history.message(id)
            assert view is not None
            assert view.final_at == 0  # looking is not retrieval

    asyncio.run(run())


def test_without_a_record_nothing_is_revealed(sqlite_copy: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, await reader(c) as http:
            id = await c.deposit("meet me at noon")

            async def full(**_: Any) -> Answer:
                return Answer.FULL

            monkeypatch.setattr(c.rooms.store, "apply", full)
            for path in (f"/admin/messages/{id}:reveal", f"/admin/mailboxes/{NUMBER}/messages/{id}:reveal"):
                answer = await http.post(path, headers={"X-Reason": "ticket 12"})
                assert answer.status_code == 503
                assert "noon" not in answer.text

    asyncio.run(run())


def test_no_permission_shows_a_one_time_code(sqlite_copy: Database) -> None:
    """The code of this very center, sent as a message of its own."""
    from restante.message import Kind

    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, await reader(c) as http:
            id = await c.rooms.submission.send_system(Kind.CODE, NUMBER, "918273 is your code.")
            answer = await http.post(f"/admin/messages/{id}:reveal", headers={"X-Reason": "ticket"})
            assert answer.status_code == 403
            places = (
                "/admin/messages",
                f"/admin/messages/{id}",
                f"/admin/messages/{id}/trace",
                "/admin/audit",
            )
            texts = [(await http.get(place)).text for place in places]
            assert all("918273" not in text for text in texts)

    asyncio.run(run())


def test_where_is_my_message(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.admin_key) as http:
            first = await c.deposit("one", sender="@Shop")
            second = await c.deposit("two", to="+447700900002")

            async def ids(**params: str) -> list[str]:
                answer = await http.get("/admin/messages", params=params)
                assert answer.status_code == 200, answer.text
                return [item["id"] for item in answer.json()["items"]]

            assert await ids() == [str(second), str(first)]
            assert await ids(to=NUMBER) == [str(first)]
            assert await ids(**{"from": "Shop"}) == [str(first)]
            assert await ids(q="+447700900002") == [str(second)]
            assert await ids(q=f"id:{first}") == [str(first)]
            assert await ids(account="shop") == [str(second), str(first)]
            assert await ids(account="acc_2", state="enroute") == [str(second), str(first)]
            assert await ids(account="unknown") == []
            page = (await http.get("/admin/messages?limit=1")).json()
            assert await ids(limit="1", cursor=page["next_cursor"]) == [str(first)]
            traced = (await http.get(f"/admin/messages/{first}/trace")).json()
            assert [event["kind"] for event in traced["events"]] == ["accepted", "stored"]
            assert traced["message"]["group"] == "stored"
            for bad in ("q=id:x", "q=state:lost", "state=lost"):
                assert (await http.get(f"/admin/messages?{bad}")).status_code == 422

    asyncio.run(run())


def test_boxes_are_emptied_with_a_record(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.admin_key) as http:
            await c.deposit("one")
            await c.deposit("two")
            box = (await http.get(f"/admin/mailboxes/{NUMBER}")).json()
            assert (box["total"], box["subscriber"]) == (2, "sub_1")
            assert (await http.post(f"/admin/mailboxes/{NUMBER}:purge")).json() == {"removed": 2}
            assert (await http.get("/admin/mailboxes/sub_1")).json()["total"] == 0
            assert await actions(http) == ["mailbox.purge"]
            assert (await http.get("/admin/mailboxes/+449999999")).status_code == 404

    asyncio.run(run())
