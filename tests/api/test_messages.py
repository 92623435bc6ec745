"""Sending over HTTP: once, whatever happens on the way; and nobody asks after another's."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest
from live_store import Database
from rest_center import NUMBER, RestCenter, rest_center

from restante.api.idempotency import KEPT_MS, Idempotency
from restante.message import Address, Ingress, Message
from restante.smsc.submission import Refused
from restante.store.store import Answer

BODY = {"to": [NUMBER], "from": "Shop", "text": "Hello"}
OTHER = "+447700900002"


def key(value: str = "k1") -> dict[str, str]:
    return {"Idempotency-Key": value}


async def stored(c: RestCenter) -> list[int]:
    """Ids of all messages that were taken in."""
    from restante.store.history import Filters

    return [view.message.id for view in await c.rooms.history.search(Filters(), limit=100)]


def test_a_repeated_request_sends_once(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            await c.subscriber()
            first = await http.post("/messages", json=BODY, headers=key())
            assert first.status_code == 202, first.text
            again = await http.post("/messages", json=BODY, headers=key())
            assert again.json() == first.json()
            assert again.headers["idempotency-replayed"] == "true"
            assert "idempotency-replayed" not in first.headers
            assert len(await stored(c)) == 1
            other = await http.post("/messages", json=BODY | {"text": "Bye"}, headers=key())
            assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
            second = await http.post("/messages", json=BODY, headers=key("k2"))
            assert second.json()["items"][0]["id"] != first.json()["items"][0]["id"]
            for missing in ({}, key(""), key("x" * 256)):
                answer = await http.post("/messages", json=BODY, headers=missing)
                assert (answer.status_code, answer.json()["code"]) == (400, "idempotency-key-missing")
            c.clock.step(KEPT_MS / 1000 + 1)
            later = await http.post("/messages", json=BODY | {"text": "Bye"}, headers=key())
            assert later.status_code == 202
            assert len(await stored(c)) == 3

    asyncio.run(run())


def test_two_at_once_are_one(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            await c.subscriber()
            answers = await asyncio.gather(
                *(http.post("/messages", json=BODY, headers=key()) for _ in range(8))
            )
            codes = {answer.status_code for answer in answers}
            assert codes <= {202, 409}
            assert 202 in codes
            assert len(await stored(c)) == 1
            assert all(a.json()["code"] == "in-flight" for a in answers if a.status_code == 409)

    asyncio.run(run())


def test_keys_of_two_accounts_are_two(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            await c.subscriber()
            _, second = await c.make_account("second", sources=["*"])
            async with c.client(c.account_key) as one, c.client(second) as two:
                first = await one.post("/messages", json=BODY, headers=key())
                other = await two.post("/messages", json=BODY, headers=key())
                ids = [answer.json()["items"][0]["id"] for answer in (first, other)]
                assert len(set(ids)) == 2
                assert (await one.get(f"/messages/{ids[0]}")).json()["to"] == NUMBER
                stolen, unknown = await one.get(f"/messages/{ids[1]}"), await one.get("/messages/123")
                assert stolen.status_code == unknown.status_code == 404
                assert stolen.json()["code"] == unknown.json()["code"]

    asyncio.run(run())


def test_a_try_that_died_before_its_answer_is_completed_not_repeated(
    live_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after one of two messages was stored; the client asks again with the same key."""

    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            await c.subscriber()
            await c.subscriber(OTHER)
            body = BODY | {"to": [NUMBER, OTHER]}
            real = c.rooms.submission.send

            async def dying(draft: Any, *more: Any, **named: Any) -> Any:
                if draft.destination.digits == OTHER[1:]:
                    raise RuntimeError("killed")
                return await real(draft, *more, **named)

            monkeypatch.setattr(c.rooms.submission, "send", dying)
            assert (await http.post("/messages", json=body, headers=key())).status_code == 500
            async with asyncio.timeout(20):
                while len(await stored(c)) != 1:
                    await asyncio.sleep(0.01)
            before = (await stored(c))[0]
            monkeypatch.setattr(c.rooms.submission, "send", real)
            answer = await http.post("/messages", json=body, headers=key())
            assert answer.status_code == 202
            items = {item["to"]: item["id"] for item in answer.json()["items"]}
            assert items[NUMBER] == str(before)
            assert len(await stored(c)) == 2
            assert (await http.post("/messages", json=body, headers=key())).json() == answer.json()

    asyncio.run(run())


def test_an_unknown_outcome_is_not_answered_as_a_failure(
    sqlite_copy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            await c.subscriber()
            real = c.rooms.submission.send

            async def unknown(draft: Any, account: Any, ingress: Any, *_: Any, **__: Any) -> Any:
                await real(draft, account, ingress)
                return Refused(8, "store-unknown", "outcome unknown", unknown=True)

            monkeypatch.setattr(c.rooms.submission, "send", unknown)
            answer = await http.post("/messages", json=BODY, headers=key())
            assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
            monkeypatch.setattr(c.rooms.submission, "send", real)
            answer = await http.post("/messages", json=BODY, headers=key())
            assert answer.status_code == 202
            assert len(await stored(c)) == 1

    asyncio.run(run())


def test_a_row_of_a_dead_epoch_is_recovered_and_of_a_living_one_waited_for(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            one = Idempotency(c.rooms.store)
            claim = await one.claim(1, "k", b"body")
            assert not claim.recovering
            assert (await one.claim(1, "k", b"body")).recovering  # of this life, and nobody works on it
            await one.keep(claim, {"items": []})
            assert (await one.claim(1, "k", b"body")).answer == {"items": []}
            await one.purge()
            assert (await one.claim(1, "k", b"body")).answer is not None
            c.clock.step(KEPT_MS / 1000 + 1)
            await one.purge()
            assert (await one.claim(1, "k", b"other")).answer is None

    asyncio.run(run())


def test_refusals_are_told_one_by_one_or_as_a_problem(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            await c.subscriber()
            _, token = await c.make_account("narrow", sources=["@Shop"], destinations=["+4477*"])
            async with c.client(token) as http:
                mixed = await http.post(
                    "/messages", json=BODY | {"to": [NUMBER, "+14155550100"]}, headers=key()
                )
                assert mixed.status_code == 202
                items = mixed.json()["items"]
                assert "id" in items[0]
                assert items[1].keys() >= {"to", "problem"}
                none = await http.post("/messages", json=BODY | {"from": "Bank"}, headers=key("k2"))
                assert (none.status_code, none.json()["code"]) == (422, "message-refused")
                assert none.json()["reason"]
                again = await http.post("/messages", json=BODY, headers=key("k2"))
                assert again.status_code == 202  # nothing was sent, so the key is free

    asyncio.run(run())


def test_throughput_is_told_with_a_time(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            await c.subscriber()
            _, token = await c.make_account("slow", sources=["*"], throughput=0.001, burst=1)
            async with c.client(token) as http:
                assert (await http.post("/messages", json=BODY, headers=key())).status_code == 202
                refused = await http.post("/messages", json=BODY, headers=key("k2"))
                assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
                assert int(refused.headers["retry-after"]) > 1

    asyncio.run(run())


def test_what_is_sent_is_what_was_meant(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            await c.subscriber()

            async def sent(n: int, **more: Any) -> Any:
                answer = await http.post(
                    "/messages", json={"to": [NUMBER], "from": "Shop", **more}, headers=key(str(n))
                )
                assert answer.status_code == 202, answer.text
                found = await c.rooms.store.load([int(answer.json()["items"][0]["id"])])
                return found[0], answer.json()["items"][0]

            message, item = await sent(1, text="Grüße €")
            assert (message.data_coding, item["segments"]) == (0, 1)
            assert (message.sender, message.recipient, message.registered_delivery) == ("@Shop", NUMBER, 0)
            message, item = await sent(2, text="Привет " * 20, receipt=True, priority=2, validity_s=600)
            assert (message.data_coding, item["segments"]) == (8, 3)
            assert (message.registered_delivery, message.priority_flag) == (1, 2)
            assert message.expires_at == c.clock.now_ms() + 600_000
            data = base64.b64encode(bytes(range(20))).decode()
            message, _ = await sent(3, data=data, data_coding=4)
            assert (message.body, message.data_coding) == (bytes(range(20)), 4)
            later = "2026-09-22T00:00:00+02:00"
            message, _ = await sent(4, text="x", schedule_at=later)
            assert message.schedule_at == 1790028000000
            ingress = await http.get(f"/messages/{message.id}")
            assert (ingress.json()["state"], ingress.json()["group"]) == ("scheduled", "pending")

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": []},
        {"to": ["hello"]},
        {"to": ["+1"]},
        {"to": [NUMBER, "+44 7700 900001"]},
        {"from": "x" * 30},
        {"from": "tab\there"},
        {"text": None},
        {"text": ""},
        {"data": "AAAA"},
        {"text": None, "data": "***"},
        {"priority": 4},
        {"validity_s": 0},
        {"schedule_at": "2026-09-22T00:00:00"},
        {"schedule_at": "9999-12-31T23:59:59Z"},
        {"colour": "red"},
    ],
)
def test_wrong_requests_send_nothing(sqlite_copy: Database, wrong: dict[str, Any]) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            await c.subscriber()
            answer = await http.post("/messages", json=BODY | wrong, headers=key())
            assert answer.status_code == 422, answer.text
            assert await stored(c) == []

    asyncio.run(run())


def test_estimates(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            plain = (await http.post("/messages:estimate", json={"text": "a" * 161})).json()
            assert (plain["segments"], plain["encoding"], plain["per_segment"]) == (2, "gsm7", 153)
            wide = (await http.post("/messages:estimate", json={"text": "😀" * 35})).json()
            assert (wide["segments"], wide["encoding"], wide["units"]) == (1, "ucs2", 70)

    asyncio.run(run())


def test_a_full_store_is_no_promise(sqlite_copy: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(c.account_key) as http:
            await c.subscriber()

            async def full(**_: Any) -> Answer:
                return Answer.FULL

            monkeypatch.setattr(c.rooms.store, "apply", full)
            answer: httpx.Response = await http.post("/messages", json=BODY, headers=key())
            assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
            assert answer.headers["retry-after"] == "5"

    asyncio.run(run())


def test_delivery_begins_when_the_answer_has_left(sqlite_copy: Database) -> None:
    """So no receipt comes before the id that it is about (behaviour.md 6); a request that fails keeps nothing back."""

    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            await c.subscriber()
            await c.subscriber(OTHER)
            order: list[str] = []
            admit = c.rooms.delivery.admit

            def admitted(message: Any, reason: str) -> None:
                asyncio.get_running_loop()  # not from a thread
                order.append("delivery")
                admit(message, reason)

            c.rooms.delivery.admit = admitted  # type: ignore[method-assign]

            async def watched(scope: Any, receive: Any, send: Any) -> None:
                async def sent(message: Any) -> None:
                    await send(message)
                    order.append(message["type"])

                await c.app(scope, receive, sent)

            headers = {"Authorization": f"Bearer {c.account_key}"} | key()
            transport = httpx.ASGITransport(watched)
            async with httpx.AsyncClient(transport=transport, base_url="http://center.test/api/v1") as http:
                answer = await http.post("/messages", json=BODY | {"to": [NUMBER, OTHER]}, headers=headers)
                assert answer.status_code == 202
                assert order[-2:] == ["delivery", "delivery"]
                assert "http.response.body" in order[:-2]
                order.clear()
                keys = c.app.app.state.doors.idempotency
                keys.keep = None  # the answer cannot be remembered, and so is not given
                broken = await http.post("/messages", json=BODY, headers=headers | key("k2"))
                assert broken.status_code == 500
                assert order.count("delivery") == 1

    asyncio.run(run())


def test_a_message_takes_the_place_of_one_that_waits(live_database: Database) -> None:
    later = {"schedule_at": "2026-09-22T12:00:00Z", "receipt": True}  # the clock stands at the day before

    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            for number in (NUMBER, OTHER):
                await c.subscriber(number)

            async def send(name: str, **more: Any) -> list[str]:
                answer = await http.post("/messages", json=BODY | later | more, headers=key(name))
                assert answer.status_code == 202, answer.text
                return [item["id"] for item in answer.json()["items"]]

            async def states(*ids: str) -> list[tuple[str, str]]:
                views = [(await http.get(f"/messages/{id}")).json() for id in ids]
                return [(view["state"], view["reason"]) for view in views]

            (first,) = await send("one")
            (second,) = await send("two", text="as well")
            assert await states(first, second) == [("scheduled", "scheduled")] * 2
            (third,) = await send("three", text="instead", replace_if_present=True)
            assert await states(first, second, third) == [
                ("scheduled", "scheduled"), ("deleted", "replaced"), ("scheduled", "scheduled"),
            ]  # fmt: skip
            again = await send("three", text="instead", replace_if_present=True)
            assert again == [third], "a repetition replaces nothing"
            (elsewhere,) = await send("four", **{"from": "Else"}, replace_if_present=True)
            both = await send("five", to=[NUMBER, OTHER], text="both", replace_if_present=True)
            assert await states(first, third, elsewhere) == [
                ("scheduled", "scheduled"), ("deleted", "replaced"), ("scheduled", "scheduled"),
            ]  # fmt: skip
            assert await states(*both) == [("scheduled", "scheduled")] * 2
            async with c.client(c.admin_key) as admin:
                receipts = (await admin.get("/admin/messages?kind=receipt")).json()["items"]
                assert {one["parent"] for one in receipts} == {second, third}

    asyncio.run(run())


def test_the_id_of_a_submit_multi_tells_of_all_its_destinations(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.account_key) as http:
            for number in (NUMBER, OTHER):
                await c.subscriber(number)
            account = c.rooms.registry.snapshot(c.rooms.account_kind).get("shop")
            assert account is not None
            answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            soon = c.clock.now_ms() + 3_600_000
            drafts = [
                Message(
                    source=Address(5, 0, "Shop"),
                    destination=Address(1, 1, number[1:]),
                    body=b"Hello",
                    schedule_at=soon,
                )
                for number in (NUMBER, OTHER)
            ]
            ingress = Ingress(door="smpp", account=account.number, role=account.role, name="shop", peer="::1")
            c.rooms.submission.submit_many(
                drafts, account, ingress, lambda id, answers: answered.set_result(id)
            )
            id = await asyncio.wait_for(answered, 10)
            view = (await http.get(f"/messages/{id}")).json()
            assert (view["id"], view["to"], view["state"], view["permanent"]) == (
                str(id),
                None,
                "scheduled",
                False,
            )
            assert [(one["to"], one["group"]) for one in view["destinations"]] == [
                (NUMBER, "pending"), (OTHER, "pending"),
            ]  # fmt: skip
            found = await c.rooms.recall.find(account, id)
            assert await c.rooms.recall.cancel(account, found[0].message.id, ingress) is None
            view = (await http.get(f"/messages/{id}")).json()
            assert (view["state"], view["permanent"], view["segments"]) == ("enroute", False, 2)
            assert [one["state"] for one in view["destinations"]] == ["deleted", "scheduled"]
            refused = await http.post(f"/messages/{id}:replace", json={"text": "other"})
            assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
            assert (await http.post(f"/messages/{id}:cancel")).status_code == 200
            view = (await http.get(f"/messages/{id}")).json()
            assert (view["state"], view["permanent"], view["group"]) == ("deleted", True, "deleted")
            single = (await http.get(f"/messages/{found[0].message.id}")).json()
            assert (single["to"], single["destinations"]) == (NUMBER, None)
            _, other_key = await c.make_account("other")
            async with c.client(other_key) as other:
                assert (await other.get(f"/messages/{id}")).status_code == 404

    asyncio.run(run())
