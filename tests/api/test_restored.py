"""/admin/restored: how many messages of a restore wait, and letting them go."""

from __future__ import annotations

import asyncio
from typing import Any

from live_store import Database
from rest_center import rest_center
from store_tools import eventually, message

from restante.access.permissions import OperatorRole
from restante.store.store import Answer
from restante.store.work import RESTORED


def test_they_are_shown_everywhere_until_an_operator_releases_them(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.admin_key) as http:
            store: Any = c.rooms.store
            restored = c.rooms.restored
            waits = [message(store, owner=RESTORED) for _ in range(3)]
            assert await store.apply(messages=[*waits, message(store)]) is Answer.STORED
            await restored.open()
            work = asyncio.create_task(restored.run())
            assert (await http.get("/admin/restored")).json() == {"waiting": 3, "releasing": False}
            overview = (await http.get("/admin/overview")).json()
            assert (overview["restored"], overview["well"]) == (3, False)
            assert "3 restored messages wait for: restante db release" in overview["troubles"]
            listed = (await http.get("/admin/queues/new/items")).json()["items"]
            marks = {one["id"]: (one["owned"], one["restored"]) for one in listed}
            assert all(marks[str(one.id)] == (False, True) for one in waits)
            assert sorted(marks.values()) == [(False, True)] * 3 + [(True, False)]

            async with c.client(await c.operator(OperatorRole.VIEWER)) as other:
                assert (await other.get("/admin/restored")).status_code == 200
                assert (await other.post("/admin/restored:release")).status_code == 403
            assert restored.waiting == 3
            asked = await http.post("/admin/restored:release", headers={"X-Reason": "old center is off"})
            assert (asked.status_code, asked.json()) == (202, {"waiting": 3, "releasing": True})
            await eventually(work.done)
            again = await http.post("/admin/restored:release")
            assert (again.status_code, again.json()) == (202, {"waiting": 0, "releasing": False})
            trail = (await http.get("/admin/audit?limit=10")).json()["items"]
            told = [one for one in trail if one["action"] == "restored.release"]
            assert [(one["reason"], one["detail"]["waiting"]) for one in told] == [("old center is off", 3)]
            claimed = await store.claim(due_before=store.clock.now_ms(), limit=10)
            assert {one.message.id for one in claimed} == {one.id for one in waits}

    asyncio.run(run())
