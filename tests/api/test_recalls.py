"""Cancelling and replacing over HTTP: by the account that sent, and by operators with a trail."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
from live_store import Database
from rest_center import NUMBER, RestCenter, rest_center

from restante.access.permissions import OperatorRole
from restante.store.store import Answer

LATER = "2026-09-22T12:00:00Z"  # the clock of the center stands at the day before
REASON = {"X-Reason": "the sender asked"}


async def scheduled(c: RestCenter, http: httpx.AsyncClient, key: str, text: str = "Hello") -> str:
    """A message that waits for its time."""
    await c.subscriber()
    body = {"to": [NUMBER], "from": "Shop", "text": text, "schedule_at": LATER, "receipt": True}
    sent = await http.post("/messages", json=body, headers={"Idempotency-Key": key})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["items"][0]["id"])


async def text_of(c: RestCenter, id: str) -> bytes:
    return (await c.rooms.store.load([int(id)]))[0].body


def test_an_account_cancels_what_it_sent(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            _, other_key = await c.make_account("other")
            id = await scheduled(c, http, "k1")
            async with c.client(other_key) as other:
                refused = [await other.post(f"/messages/{one}:cancel") for one in (id, "123")]
                assert [answer.status_code for answer in refused] == [404, 404]
                assert refused[0].json()["code"] == refused[1].json()["code"]
            done = await http.post(f"/messages/{id}:cancel")
            assert (done.status_code, done.json()) == (200, {"id": id, "done": True})
            view = (await http.get(f"/messages/{id}")).json()
            assert (view["state"], view["reason"], view["permanent"]) == ("deleted", "cancelled", True)
            again = await http.post(f"/messages/{id}:cancel")
            assert (again.status_code, again.json()["code"]) == (409, "conflict")
            assert again.json()["reason"] == "not-waiting"
            async with c.client(c.admin_key) as admin:
                trace = (await admin.get(f"/admin/messages/{id}/trace")).json()["events"]
                assert trace[-1]["detail"]["door"] == "http"
                found = (await admin.get("/admin/messages?kind=receipt")).json()["items"]
                assert [one["parent"] for one in found] == [id]

    asyncio.run(run())


def test_an_account_replaces_what_it_sent(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            id = await scheduled(c, http, "k1")
            path = f"/messages/{id}:replace"
            assert (await http.post(path, json={"text": "Здравствуйте"})).status_code == 200
            message = (await c.rooms.store.load([int(id)]))[0]
            assert (message.body.decode("utf-16-be"), message.data_coding) == ("Здравствуйте", 8)
            assert message.registered_delivery == 1
            before = (await http.get(f"/messages/{id}")).json()
            data = base64.b64encode(b"\x01\x02").decode()
            given = {"data": data, "data_coding": 4, "receipt": False, "validity_s": 3600}
            assert (await http.post(path, json=given)).status_code == 200
            message = (await c.rooms.store.load([int(id)]))[0]
            assert (message.body, message.data_coding, message.registered_delivery) == (b"\x01\x02", 4, 0)
            assert (await http.get(f"/messages/{id}")).json()["expires_at"] < before["expires_at"]
            for wrong in (
                {}, {"text": "a", "data": data}, {"text": "a", "data_coding": 4}, {"data": "%"}, {"text": ""},
                {"text": "a", "validity_s": 0}, {"text": "a", "to": NUMBER},
            ):  # fmt: skip
                answer = await http.post(path, json=wrong)
                assert answer.status_code in (400, 422), (wrong, answer.text)
            late = await http.post(path, json={"text": "a", "schedule_at": "2026-10-30T12:00:00Z"})
            assert (late.status_code, late.json()["code"]) == (422, "message-refused")
            assert (await text_of(c, id)) == b"\x01\x02"
            assert (await http.post("/messages/123:replace", json={"text": "a"})).status_code == 404
            await http.post(f"/messages/{id}:cancel")
            assert (await http.post(path, json={"text": "a"})).json()["code"] == "conflict"

    asyncio.run(run())


def test_a_header_is_not_lost_unseen(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            await c.subscriber()
            ported = base64.b64encode(b"\x06\x05\x04\x15\x81\x00\x00hi").decode()
            body: dict[str, Any] = {"to": [NUMBER], "from": "Shop", "data": ported, "udh": True}
            sent = await http.post(
                "/messages", json=body | {"schedule_at": LATER}, headers={"Idempotency-Key": "k"}
            )
            id = sent.json()["items"][0]["id"]
            assert (await http.post(f"/messages/{id}:replace", json={"text": "a"})).status_code == 422
            assert (await http.post(f"/messages/{id}:replace", json={"data": ported})).status_code == 200

    asyncio.run(run())


def test_an_operator_leaves_a_trail_in_the_same_transaction(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            id = await scheduled(c, http, "k1")
            path = f"/admin/messages/{id}"
            viewer = await c.operator(OperatorRole.VIEWER)
            async with c.client(viewer) as admin:
                assert (await admin.post(f"{path}:cancel")).status_code == 403
                assert (await admin.post(f"{path}:replace", json={"text": "a"})).status_code == 403
            async with c.client(await c.operator(OperatorRole.OPERATOR)) as admin:
                silent = await admin.post(f"{path}:replace", json={"text": "Bye"})
                assert silent.json()["code"] == "reason-missing"
                replaced = await admin.post(f"{path}:replace", json={"text": "Bye"}, headers=REASON)
                assert replaced.status_code == 200, replaced.text
                assert await text_of(c, id) == b"Bye"
                assert (await admin.post(f"{path}:cancel", headers=REASON)).status_code == 200
                assert (await admin.post(f"{path}:cancel")).json()["code"] == "conflict"
                assert (await admin.post("/admin/messages/123:cancel")).status_code == 404
                receipts = (await admin.get("/admin/messages?kind=receipt")).json()["items"]
                of_center = await admin.post(f"/admin/messages/{receipts[0]['id']}:cancel")
                assert of_center.json()["code"] == "conflict"
            async with c.client(c.admin_key) as admin:
                rows = (await admin.get("/admin/audit?limit=200")).json()["items"]
                told = [(row["action"], row["target"], row["reason"]) for row in rows if row["target"] == id]
                assert told == [
                    ("message.cancel", id, REASON["X-Reason"]), ("message.replace", id, REASON["X-Reason"]),
                ]  # fmt: skip
                assert (await admin.post("/admin/audit:verify")).json()["holds"]

    asyncio.run(run())


def test_what_the_store_refuses_did_not_happen(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            id = await scheduled(c, http, "k1")
            real = c.rooms.store.apply
            for said in (Answer.FAILED, Answer.UNKNOWN, Answer.CONFLICT):

                async def refuse(said: Answer = said, **change: Any) -> Answer:
                    return said

                c.rooms.store.apply = refuse  # type: ignore[method-assign]
                answers = [
                    await http.post(f"/messages/{id}:cancel"),
                    await http.post(f"/messages/{id}:replace", json={"text": "a"}),
                ]
                c.rooms.store.apply = real  # type: ignore[method-assign]
                code = "conflict" if said is Answer.CONFLICT else "store-unavailable"
                assert [answer.json()["code"] for answer in answers] == [code, code]
            assert await text_of(c, id) == b"Hello"
            assert (await http.get(f"/messages/{id}")).json()["state"] == "scheduled"

    asyncio.run(run())
