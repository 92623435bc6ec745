"""The box over REST: listing is not reading, reading delivers, and nobody sees another's."""

from __future__ import annotations

import asyncio
import csv
import io

from live_store import Database
from rest_center import NUMBER, rest_center

OTHER = "+447700900002"


def test_a_list_gives_nothing_away_and_reading_delivers(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(await c.subscriber_token()) as http:
            id = await c.deposit("The quick brown fox jumps over the lazy dog")
            state = (await http.get("/mailbox")).json()["state"]
            listed = (await http.get("/mailbox/messages")).json()
            assert listed["state"] == state
            item = listed["items"][0]
            assert (item["id"], item["text"], item["state"]) == (str(id), None, "stored")
            assert item["preview"].startswith("The quick")
            peeked = (await http.get(f"/mailbox/messages/{id}?peek=true")).json()
            assert peeked["text"] is None
            read = await http.get(f"/mailbox/messages/{id}")
            assert read.json()["text"] == "The quick brown fox jumps over the lazy dog"
            assert (read.json()["state"], read.json()["read"]) == ("delivered", True)
            view = await c.rooms.history.message(id)
            assert view is not None
            assert view.state.name == "DELIVERED"
            changes = (await http.get(f"/mailbox/changes?since={state}")).json()
            assert [one["id"] for one in changes["updated"]] == [str(id)]

    asyncio.run(run())


def test_pages_are_whole_while_messages_come(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            ids = [await c.deposit(f"number {n}") for n in range(7)]
            seen: list[str] = []
            cursor, pages = "", 0
            while True:
                answer = await http.get(f"/mailbox/messages?limit=3{cursor}")
                body = answer.json()
                seen += [item["id"] for item in body["items"]]
                pages += 1
                await c.deposit(f"late {pages}")
                if not body["next_cursor"]:
                    assert "link" not in answer.headers
                    break
                assert body["next_cursor"] in answer.headers["link"]
                cursor = f"&cursor={body['next_cursor']}"
            assert seen == [str(id) for id in reversed(ids)]
            wrong = await http.get(f"/mailbox/messages?limit=3&unread=true{cursor}")
            assert (wrong.status_code, wrong.json()["code"]) == (400, "cursor-mismatch")
            async with c.client(await c.subscriber_token(OTHER)) as stranger:
                stolen = await stranger.get(f"/mailbox/messages?limit=3{cursor}")
                assert stolen.json()["code"] == "cursor-mismatch"
            for bad in ("", "x", "é", "A" * 60, cursor.partition("=")[2][:-2] + "zz"):
                assert (
                    await http.get("/mailbox/messages", params={"limit": 3, "cursor": bad})
                ).status_code == 400

    asyncio.run(run())


def test_a_list_names_the_filter_that_is_wrong(sqlite_copy: Database) -> None:
    wrong = {
        "limit=0": "limit",
        "limit=x": "limit",
        "folder=attic": "folder",
        "since=today": "since",
        "who=me": "who",
    }

    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            for asked, named in wrong.items():
                answer = await http.get(f"/mailbox/messages?{asked}")
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
                assert [error["parameter"] for error in answer.json()["errors"]] == [named]
            async with c.client() as stranger:
                assert (await stranger.get("/mailbox/messages?limit=0")).status_code == 401

    asyncio.run(run())


def test_filters_and_words(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            first = await c.deposit("lunch at noon?", sender="+447700900555")
            second = await c.deposit("your parcel waits", sender="@Parcels")
            third = await c.deposit("dinner?", sender="+447700900555")

            async def ids(**params: str) -> list[str]:
                answer = await http.get("/mailbox/messages", params=params)
                assert answer.status_code == 200, answer.text
                return [item["id"] for item in answer.json()["items"]]

            assert await ids(**{"from": "Parcels"}) == [str(second)]
            assert await ids(**{"from": "+447700900555"}) == [str(third), str(first)]
            assert await ids(q="from:Parcels") == [str(second)]
            assert await ids(q="LUNCH") == [str(first)]
            assert await ids(q="from:+447700900555 dinner") == [str(third)]
            await http.patch(f"/mailbox/messages/{second}", json={"starred": True, "read": True})
            assert await ids(starred="true") == [str(second)]
            assert await ids(unread="true") == [str(third), str(first)]
            assert await ids(q="is:unread lunch") == [str(first)]
            assert await ids(folder="trash") == []
            assert await ids(until="2020-01-01T00:00:00Z") == []
            assert len(await ids(since="2020-01-01T00:00:00Z")) == 3
            talk = (await http.get("/mailbox/conversations")).json()["items"]
            assert [(one["peer"], one["total"], one["unread"]) for one in talk] == [
                ("+447700900555", 2, 2),
                ("Parcels", 1, 0),
            ]

    asyncio.run(run())


def test_nobody_reaches_anothers_message_by_any_route(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c:
            id = await c.deposit("private")
            await c.deposit("mine", to=OTHER)
            async with c.client(await c.subscriber_token(OTHER)) as http:
                path = f"/mailbox/messages/{id}"
                answers = [
                    await http.get(path),
                    await http.get(f"{path}?peek=true"),
                    await http.patch(path, json={"read": True}),
                    await http.delete(path),
                    await http.delete(f"{path}?permanent=true"),
                    await http.post(f"{path}/redeliver"),
                ]
                unknown = await http.get("/mailbox/messages/1234567890")
                for answer in answers:
                    assert answer.status_code == unknown.status_code == 404
                    assert answer.json()["code"] == unknown.json()["code"]
                for action in ("read", "star", "delete", "redeliver"):
                    batch = await http.post(
                        "/mailbox/messages:batch", json={"ids": [str(id)], "action": action}
                    )
                    assert batch.json()["results"] == [
                        {"id": str(id), "ok": False, "problem": "item-not-found"}
                    ]
                everything = [
                    (await http.get(place)).text
                    for place in (
                        "/mailbox/messages", "/mailbox/changes?since=s0", "/mailbox/export",
                        "/mailbox/conversations", "/mailbox/messages?q=private",
                    )
                ]  # fmt: skip
                assert all(str(id) not in text and "private" not in text for text in everything)
            async with c.client(await c.subscriber_token()) as http:
                assert (await http.get(f"/mailbox/messages/{id}")).json()["text"] == "private"

    asyncio.run(run())


def test_flags_bin_and_batches(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            ids = [str(await c.deposit(f"m{n}")) for n in range(4)]
            path = f"/mailbox/messages/{ids[0]}"
            answer = await http.patch(path, json={"starred": True})
            assert answer.json()["starred"]
            stale = await http.patch(path, json={"starred": False}, headers={"If-Match": '"1"'})
            assert (stale.status_code, stale.json()["code"]) == (412, "version-stale")
            fresh = await http.patch(
                path, json={"starred": False}, headers={"If-Match": answer.headers["etag"]}
            )
            assert fresh.status_code == 200
            assert (await http.patch(path, json={"folder": "sent"})).status_code == 409
            assert (await http.patch(path, json={"colour": 1})).status_code == 422
            assert (await http.delete(path)).status_code == 204
            assert (await http.get("/mailbox/messages?folder=trash")).json()["items"][0]["id"] == ids[0]
            assert (await http.delete(path)).status_code == 204  # from the bin for good
            assert (await http.get(path)).status_code == 404
            batch = {"ids": [*ids[1:], ids[0]], "action": "read"}
            results = (await http.post("/mailbox/messages:batch", json=batch)).json()["results"]
            assert [one["ok"] for one in results] == [True, True, True, False]
            moved = {"ids": ids[1:], "action": "move", "folder": "saved"}
            assert (await http.post("/mailbox/messages:batch", json=moved)).status_code == 200
            assert len((await http.get("/mailbox/messages?folder=saved")).json()["items"]) == 3
            for wrong in (
                {"ids": [], "action": "read"},
                {"ids": ids, "action": "move"},
                {"ids": ["x"], "action": "read"},
            ):
                assert (await http.post("/mailbox/messages:batch", json=wrong)).status_code == 422
            huge = {"ids": ["9" * 19], "action": "read"}
            assert (await http.post("/mailbox/messages:batch", json=huge)).status_code == 404

    asyncio.run(run())


def test_changes_bring_a_client_up_to_date_in_two_calls(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            old = str(await c.deposit("old"))
            state = (await http.get("/mailbox")).json()["state"]
            new = [str(await c.deposit(f"new {n}")) for n in range(3)]
            await http.patch(f"/mailbox/messages/{old}", json={"read": True})
            await http.delete(f"/mailbox/messages/{new[0]}?permanent=true")
            changes = (await http.get(f"/mailbox/changes?since={state}")).json()
            assert {one["id"] for one in changes["created"]} == set(new[1:])
            assert [one["id"] for one in changes["updated"]] == [old]
            assert changes["destroyed"] == [new[0]]
            assert not changes["has_more"]
            after = (await http.get(f"/mailbox/changes?since={changes['state']}")).json()
            assert (after["created"], after["updated"], after["destroyed"]) == ([], [], [])
            future = await http.get("/mailbox/changes?since=s999999")
            assert (future.status_code, future.json()["code"]) == (410, "state-too-old")

    asyncio.run(run())


def test_prefer_wait_answers_when_something_happens(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with (
            rest_center(sqlite_copy.url) as c,
            c.client(await c.subscriber_token(), timeout=30) as http,
        ):
            await c.deposit("old")
            state = (await http.get("/mailbox")).json()["state"]
            call = asyncio.create_task(
                http.get(f"/mailbox/changes?since={state}", headers={"Prefer": "respond-async, wait=30"})
            )
            while not c.app.app.state.doors.live.streams:
                await asyncio.sleep(0.01)
            assert not call.done()
            id = await c.deposit("new")
            answer = await call
            assert answer.headers["preference-applied"] == "wait=30"
            assert [one["id"] for one in answer.json()["created"]] == [str(id)]
            state = answer.json()["state"]
            at_once = await http.get(f"/mailbox/changes?since={state}", headers={"Prefer": "wait=0"})
            assert at_once.json()["created"] == []
            assert c.app.app.state.doors.live.streams == 0

    asyncio.run(run())


def test_settings_want_the_version_that_is_there(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            first = await http.get("/mailbox/settings")
            body = first.json() | {"notify": False, "retention_days": 7}
            assert (await http.put("/mailbox/settings", json=body)).status_code == 428
            done = await http.put("/mailbox/settings", json=body, headers={"If-Match": first.headers["etag"]})
            assert done.json() == body
            stale = await http.put(
                "/mailbox/settings", json=body, headers={"If-Match": first.headers["etag"]}
            )
            assert stale.status_code == 412
            too_long = await http.put(
                "/mailbox/settings",
                json=body | {"retention_days": 3000},
                headers={"If-Match": done.headers["etag"]},
            )
            assert too_long.status_code == 422

    asyncio.run(run())


def test_export_gives_everything_and_runs_no_formula(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            await c.deposit("=SUM(A1)", sender="@-Evil")
            await c.deposit("two\nlines")
            answer = await http.get("/mailbox/export?format=csv")
            assert answer.headers["content-disposition"] == 'attachment; filename="mailbox.csv"'
            rows = list(csv.DictReader(io.StringIO(answer.text)))
            assert [row["text"] for row in rows] == ["two\nlines", "'=SUM(A1)"]
            assert rows[1]["sender"] == "'-Evil"
            assert rows[0]["recipient"] == NUMBER
            items = (await http.get("/mailbox/export")).json()["items"]
            assert [item["state"] for item in items] == ["delivered", "delivered"]

    asyncio.run(run())


def test_emptying_wants_a_fresh_session(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c, c.client(await c.subscriber_token()) as http:
            await c.deposit("one")
            c.clock.step(301)
            refused = await http.delete("/mailbox")
            assert (refused.status_code, refused.json()["code"]) == (403, "fresh-code-needed")
            async with c.client(await c.subscriber_token()) as fresh:
                assert (await fresh.delete("/mailbox")).status_code == 204
                assert (await fresh.get("/mailbox")).json()["total"] == 0

    asyncio.run(run())
