"""/admin/nodes: who serves, and asking a node to drain."""

from __future__ import annotations

import asyncio

from live_store import Database
from rest_center import rest_center
from sqlalchemy import bindparam, insert, select, update

from restante.access.permissions import OperatorRole
from restante.outlet import Write
from restante.store import tables
from restante.store.statement import Sql
from restante.store.store import Answer

_ROW: dict[str, object] = {
    "number": 2, "epoch": 900, "name": "b", "address": "b:2775", "heartbeat_at": 4_000_000_000_000, "started_at": 1,
    "high_water": 1, "released": 0, "mark": 0, "version": "1.2", "wanted": "",
}  # fmt: skip
NEIGHBOUR = Sql(
    "test: another node", insert(tables.node).values({name: bindparam(f"its_{name}") for name in _ROW})
)
END = Sql("test: it ends", update(tables.node).where(tables.node.c.epoch == 900).values(released=1))


def test_who_serves_and_draining_one(live_database: Database) -> None:
    async def run() -> None:
        async with rest_center(live_database.url) as c, c.client(c.admin_key) as http:
            store = c.rooms.store
            (own,) = (await http.get("/admin/nodes")).json()["items"]
            assert (own["id"], own["here"], own["state"]) == (f"nod_{store.node}", True, "live")
            assert (own["epoch"], own["messages"]) == (store.epoch, 0)
            alone = await http.post(f"/admin/nodes/{own['id']}:drain")
            assert (alone.status_code, alone.json()["code"]) == (409, "conflict")
            row = {f"its_{name}": value for name, value in _ROW.items()}
            assert await store.apply(writes=[Write(NEIGHBOUR, row, expect=1)]) is Answer.STORED
            viewer = await c.operator(OperatorRole.VIEWER)
            async with c.client(viewer) as other:
                assert (await other.post("/admin/nodes/nod_2:drain")).status_code == 403
            asked = await http.post("/admin/nodes/nod_2:drain", headers={"X-Reason": "new disk"})
            assert asked.status_code == 202
            shown = {one["name"]: one for one in (await http.get("/admin/nodes")).json()["items"]}
            assert (shown["b"]["state"], shown["b"]["address"]) == ("draining", "b:2775")
            wanted = await store.fetch(select(tables.node.c.wanted).where(tables.node.c.number == 2))
            assert wanted[0]["wanted"] == "drain"
            # The other one drains: nobody would take what this one hands over.
            assert (await http.post(f"/admin/nodes/{own['id']}:drain")).status_code == 409
            assert await store.apply(writes=[Write(END, {}, expect=1)]) is Answer.STORED
            assert (await http.post("/admin/nodes/nod_2:drain")).status_code == 409
            assert (await http.post("/admin/nodes/nod_9:drain")).status_code == 404
            assert (await http.post(f"/admin/nodes/{own['id']}:drain?last=true")).status_code == 202
            trail = (await http.get("/admin/audit?limit=10")).json()["items"]
            assert [(one["action"], one["target"], one["reason"]) for one in trail[:2]] == [
                ("node.drain", own["id"], ""),
                ("node.drain", "nod_2", "new disk"),
            ]

    asyncio.run(run())
