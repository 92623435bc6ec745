"""Home zones at the admin door: objects, drawings, files, numbers, locations, decisions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from live_store import Database
from rest_center import RestCenter, rest_center

from restante.access.permissions import OperatorRole
from restante.api.server import HttpServer
from restante.api.settings import HttpSettings

CIRCLE = {"kind": "circle", "latitude": 51.5, "longitude": -0.12, "radius_m": 2000}
OPEN_RING = [[0, 0], [0, 1], [1, 1], [1, 0]]
POLICY = {"name": "plan", "on_unknown": "open"}
PHONE = "+447700900001"

Test = Callable[[RestCenter, httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def at_the_door(live_database: Database) -> Callable[[Test], None]:
    """`at_the_door(test)` runs `await test(center, client)`."""

    def run(test: Test) -> None:
        async def main() -> None:
            async with rest_center(live_database.url) as center, center.client(center.admin_key) as http:
                await test(center, http)

        asyncio.run(main())

    return run


def polygon(*rings: Any) -> dict[str, Any]:
    return {"kind": "polygon", "geometry": {"type": "Polygon", "coordinates": list(rings)}}


def test_the_life_of_a_zone(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        made = await http.post("/admin/zones", json={"name": "home", "shape": CIRCLE, "tags": ["uk"]})
        assert (made.status_code, made.headers["etag"]) == (201, '"1"')
        path = f"/admin/zones/{made.json()['id']}"
        assert (await http.patch(path, json={"tags": []})).status_code == 428
        patched = await http.patch(path, json={"shape": {"radius_m": 500}}, headers={"If-Match": '"1"'})
        assert patched.json()["shape"]["radius_m"] == 500
        assert (await http.patch(path, json={}, headers={"If-Match": '"1"'})).status_code == 412
        back = await http.post(f"{path}:rollback?to_version=1", headers={"If-Match": '"2"'})
        assert (back.json()["shape"]["radius_m"], back.json()["version"]) == (2000, 3)
        assert center.rooms.zones.index.containing is not None
        found = (await http.get("/admin/zones:containing?lat=51.51&lon=-0.12")).json()
        assert [(one["name"], one["state"]) for one in found["items"]] == [("home", "in")]
        edge = (await http.get("/admin/zones:containing?lat=51.5179&lon=-0.12&accuracy_m=300")).json()[
            "items"
        ]
        assert edge[0]["state"] == "partial"
        assert 0.3 < edge[0]["share"] < 0.7
        assert (await http.get("/admin/zones:containing?lat=95&lon=0")).status_code == 422

    at_the_door(run)


def test_a_wrong_drawing_names_its_coordinate(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        bow_tie = polygon([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]])
        refused = await http.post("/admin/zones", json={"name": "bow", "shape": bow_tie})
        assert refused.status_code == 422
        [error] = refused.json()["errors"]
        assert error["pointer"] == "#/shape/geometry/coordinates"
        assert (error["code"], "[0.5, 0.5]" in error["detail"]) == ("self-intersection", True)
        north = polygon([[0, 0], [1, 0], [1, 91], [0, 0]])
        refused = await http.post("/admin/zones", json={"name": "n", "shape": north})
        assert refused.json()["errors"][0]["pointer"] == "#/shape/geometry/coordinates/0/2"
        mended = await http.post("/admin/zones", json={"name": "open", "shape": polygon(OPEN_RING)})
        assert mended.status_code == 201
        assert {one["code"] for one in mended.json()["warnings"]} == {"ring-closed", "ring-turned"}
        assert mended.json()["shape"]["geometry"]["coordinates"][0][1] == [1, 0]
        checked = (await http.post("/admin/zones:validate", json={"name": "x", "shape": bow_tie})).json()
        assert (checked["valid"], checked["problems"][0]["code"]) == (False, "self-intersection")
        good = (
            await http.post("/admin/zones:validate", json={"name": "x", "shape": polygon(OPEN_RING)})
        ).json()
        assert (good["valid"], good["vertices"], len(good["mended"])) == (True, 5, 2)
        assert good["area_m2"] == pytest.approx(1.236e10, rel=0.01)

    at_the_door(run)


def test_lists_by_place_and_tag(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        for index in range(9):
            shape = {**CIRCLE, "longitude": index * 10.0}
            body = {"name": f"z{index}", "shape": shape, "tags": ["odd"] if index % 2 else []}
            assert (await http.post("/admin/zones", json=body)).status_code == 201
        fiji = {**CIRCLE, "latitude": -17, "longitude": 179.99}
        await http.post("/admin/zones", json={"name": "fiji", "shape": fiji})

        async def names(query: str) -> list[str]:
            found: list[str] = []
            cursor = ""
            while True:
                page = (await http.get(f"/admin/zones?limit=2{query}{cursor}")).json()
                found += [one["name"] for one in page["items"]]
                if page["next_cursor"] is None:
                    return found
                cursor = f"&cursor={page['next_cursor']}"

        assert await names("&bbox=-1,50,35,53") == ["z0", "z1", "z2", "z3"]
        assert await names("&tag=odd") == ["z1", "z3", "z5", "z7"]
        assert await names("&tag=odd&bbox=25,50,75,53") == ["z3", "z5", "z7"]
        assert await names("&bbox=179.995,-18,-179.9,-16") == ["fiji"]
        assert await names("&bbox=100,0,101,1") == []
        assert (await http.get("/admin/zones?bbox=1,2,3")).status_code == 422

    at_the_door(run)


def test_what_refers_to_each_other_stays_together(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        zone = (await http.post("/admin/zones", json={"name": "home", "shape": CIRCLE})).json()
        assert (await http.post("/admin/zone-policies", json={"name": "p"})).status_code == 422
        policy = await http.post("/admin/zone-policies", json={**POLICY, "visibility": "specific"})
        assert [one["code"] for one in policy.json()["warnings"]] == ["tells-where"]
        lost = {"name": "m", "subject": "*", "zones": ["nowhere"], "policy": "nothing"}
        errors = (await http.post("/admin/memberships", json=lost)).json()["errors"]
        assert {one["code"] for one in errors} == {"no-such-zone", "no-such-policy"}
        bound = {"name": "m", "subject": "+4477*", "zones": ["home"], "policy": "plan"}
        assert (await http.post("/admin/memberships", json=bound)).status_code == 201
        refused = await http.delete(f"/admin/zones/{zone['id']}", headers={"If-Match": '"1"'})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "zone-in-use")
        gone = await http.delete(f"/admin/zone-policies/{policy.json()['id']}", headers={"If-Match": '"1"'})
        assert gone.json()["errors"][0]["code"] == "policy-in-use"
        union = {"name": "both", "shape": {"kind": "union", "zones": ["home", "both"]}}
        assert (await http.post("/admin/zones", json=union)).status_code == 422

    at_the_door(run)


@pytest.mark.parametrize("format", ["geojson", "kml", "wkt", "shp"])
def test_files_go_out_and_come_back(at_the_door, format: str) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        ring = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
        hole = [[0.4, 0.4], [0.4, 0.6], [0.6, 0.6], [0.4, 0.4]]
        await http.post(
            "/admin/zones",
            json={
                "name": "São <B> & 1",
                "shape": polygon(ring, hole),
                "tags": ["t"],
            },
        )
        await http.post("/admin/zones", json={"name": "round", "shape": CIRCLE})
        await http.post(
            "/admin/zones", json={"name": "cells", "shape": {"kind": "cells", "cells": ["262-02-1-*"]}}
        )
        exported = await http.get(f"/admin/zones:export?format={format}")
        assert exported.status_code == 200
        url = f"/admin/zones:import?format={format}"
        again = (await http.post(url, content=exported.content)).json()
        assert not again["applied"]
        actions = {one["name"]: one["action"] for one in again["items"]}
        assert actions["São <B> & 1"] in ("unchanged", "replace")
        if format == "geojson":
            assert set(actions.values()) == {"unchanged"}
            assert len(actions) == 3
        for one in (await http.get("/admin/zones")).json()["items"]:
            gone = await http.delete(f"/admin/zones/{one['id']}", headers={"If-Match": f'"{one["version"]}"'})
            assert gone.status_code == 204
        applied = (await http.post(f"{url}&mode=apply", content=exported.content)).json()
        assert applied["applied"]
        assert {one["action"] for one in applied["items"]} == {"create"}
        listed = (await http.get("/admin/zones", params={"q": "São"})).json()["items"]
        assert sorted(listed[0]["shape"]["geometry"]["coordinates"][0]) == sorted(ring)
        assert len(listed[0]["shape"]["geometry"]["coordinates"]) == 2
        broken = await http.post(f"{url}&mode=apply", content=b"{<not a file")
        assert broken.status_code == 422
        assert (await http.get("/admin/audit?limit=5")).json()["items"][0]["action"] == "zone.import"

    at_the_door(run)


def test_an_import_is_all_or_nothing(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        def feature(name: str, ring: Any) -> dict[str, Any]:
            geometry = {"type": "Polygon", "coordinates": [ring]}
            return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}

        line = {"type": "Feature", "properties": {}, "geometry": {"type": "LineString", "coordinates": []}}
        good = feature("good", [[0, 0], [1, 0], [1, 1], [0, 0]])
        bad = feature("bad", [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]])
        document = {"type": "FeatureCollection", "features": [good, line, bad]}
        refused = await http.post("/admin/zones:import?mode=apply", json=document)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["code"] == "self-intersection"
        assert (await http.get("/admin/zones")).json()["items"] == []
        document["features"] = [good, line]
        taken = (await http.post("/admin/zones:import?mode=apply", json=document)).json()
        assert ([one["name"] for one in taken["items"]], len(taken["skipped"])) == (["good"], 1)
        evil = b'<?xml version="1.0"?><!DOCTYPE kml [<!ENTITY a "b">]><kml>&a;</kml>'
        assert (await http.post("/admin/zones:import?format=kml", content=evil)).status_code == 422

    at_the_door(run)


def test_zones_are_features_to_whom_accepts_geojson(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        geojson = {"Accept": "application/geo+json"}
        ring = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"name": "field", "tags": ["t"]},
        }
        sent = {"Content-Type": "application/geo+json"}
        made = await http.post("/admin/zones", content=json.dumps(feature), headers=sent)
        assert made.status_code == 201, made.text
        await http.post("/admin/zones", json={"name": "round", "shape": CIRCLE})
        listed = await http.get("/admin/zones?limit=1", headers=geojson)
        assert listed.headers["content-type"] == "application/geo+json"
        page = listed.json()
        assert (page["type"], [one["id"] for one in page["features"]]) == (
            "FeatureCollection",
            [made.json()["id"]],
        )
        assert page["features"][0]["geometry"] == feature["geometry"]
        assert page["next_cursor"] in listed.headers["link"]
        path = f"/admin/zones?circles=polygon&limit=1&cursor={page['next_cursor']}"
        again = await http.get(path, headers=geojson)
        assert again.status_code == 400  # a cursor goes on with the same question only
        outlined = (await http.get("/admin/zones?circles=polygon&q=round", headers=geojson)).json()[
            "features"
        ]
        assert (outlined[0]["geometry"]["type"], outlined[0]["properties"]["radius_m"]) == ("Polygon", 2000)
        one = await http.get(f"/admin/zones/{made.json()['id']}", headers=geojson)
        assert (one.json()["properties"]["tags"], one.headers["etag"]) == (["t"], '"1"')
        feature["properties"] = {"name": "field"}
        known = {**sent, "If-Match": '"1"'}
        put = await http.put(f"/admin/zones/{made.json()['id']}", content=json.dumps(feature), headers=known)
        assert (put.json()["tags"], put.json()["version"]) == ([], 2)
        point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
        refused = await http.post("/admin/zones", content=json.dumps(point), headers=sent)
        assert {error["pointer"] for error in refused.json()["errors"]} == {"#/name", "#/shape"}

    at_the_door(run)


def test_a_check_of_a_drawing_proposes_and_tells_whom_it_concerns(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await http.post("/admin/zones", json={"name": "home", "shape": CIRCLE})
        await http.post("/admin/zone-policies", json=POLICY)
        bound = {"name": "everyone", "subject": "*", "zones": ["home"], "policy": "plan"}
        await http.post("/admin/memberships", json=bound)
        zones = {"zones": [{"zone": "home", "policy": "plan"}]}
        await http.put(f"/admin/numbers/{PHONE}/zones", json=zones)
        bow_tie = polygon([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]])
        checked = (await http.post("/admin/zones:validate", json={"name": "home", "shape": bow_tie})).json()
        assert (checked["valid"], checked["numbers"], checked["memberships"]) == (False, 1, ["everyone"])
        assert checked["proposal"]["type"] == "MultiPolygon"
        shape = {"kind": "polygon", "geometry": checked["proposal"]}
        good = (await http.post("/admin/zones:validate", json={"name": "new", "shape": shape})).json()
        assert (good["valid"], good["proposal"], good["numbers"], good["memberships"]) == (True, None, 0, [])
        for text in ("51 30 0N 0 7 12W", "51°30′N, 0°7.2′W", "51.5 -0.12", "51.5, -0.12"):
            place = (await http.get("/admin/zones:place", params={"text": text})).json()
            assert place == {"latitude": pytest.approx(51.5), "longitude": pytest.approx(-0.12)}
        for text in ("", "somewhere", "95 10"):
            assert (await http.get("/admin/zones:place", params={"text": text})).status_code == 422

    at_the_door(run)


def test_a_list_of_cells_tells_how_far_it_is(sqlite_copy: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it still arrives; then the answer, or what ended it."""
    monkeypatch.setattr("restante.api.admin.locations.PROGRESS_S", 0.02)
    head, row = b"mcc,mnc,area,cell,lat,lon\n", b"262,2,852,%d,50.17,10.94\n"

    async def upload(center: RestCenter, port: int, pieces: list[bytes]) -> list[dict[str, Any]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /api/v1/admin/cells:import HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n"
            b"Accept: application/x-ndjson\r\nAuthorization: Bearer %s\r\n\r\n" % center.admin_key.encode()
        )
        lines: list[dict[str, Any]] = []
        for piece in [*pieces, b""]:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            while True:
                line = await asyncio.wait_for(reader.readline(), 30)
                if not line.startswith(b"{"):
                    continue
                lines.append(json.loads(line))
                if lines[-1].get("lines", 999) >= 200 and (piece or "applied" in lines[-1]):
                    break
            if "lines" not in lines[-1]:
                break  # it ended before everything was sent
        writer.close()
        return lines

    async def main() -> None:
        async with rest_center(sqlite_copy.url) as center:
            server = HttpServer(center.app, HttpSettings(port=0))
            await server.start()
            first = head + b"".join(row % number for number in range(250))
            told = await upload(center, server.port, [first, row % 900])
            assert any(200 <= one["lines"] <= 250 for one in told[:-1])  # before the rest was sent
            assert (told[-1]["taken"], told[-1]["applied"]) == (251, True)
            broken = await upload(center, server.port, [b"mcc,lat\n1,2\n"])
            assert broken[-1]["code"] == "invalid-request"
            await server.stop()

    asyncio.run(main())


def test_locations_are_told_read_and_forgotten(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        path = f"/admin/locations/{PHONE}"
        assert (await http.get(path)).status_code == 404
        told = {"latitude": 51.5, "longitude": -0.12, "accuracy_m": 30, "plmn": "23410"}
        assert (await http.put(path, json=told)).status_code == 204
        found = (await http.get(path, headers={"X-Reason": "ticket 7"})).json()
        assert (found["latitude"], found["accuracy_m"], found["source"]) == (51.5, 30, "push")
        row = (await http.get("/admin/audit?limit=1")).json()["items"][0]
        assert (row["action"], row["target"], row["reason"]) == ("location.read", PHONE, "ticket 7")
        for wrong in (
            {"latitude": 1},
            {},
            {"latitude": 1, "longitude": 1},
            {"cell": "x"},
            {**told, "latitude": 91},
        ):
            assert (await http.put(path, json=wrong)).status_code == 422
        future = await http.put(path, json={**told, "measured_at": "2100-01-01T00:00:00Z"})
        assert future.json()["errors"][0]["code"] == "location-refused"
        many = [{**told, "msisdn": f"+44770090{n:04}"} for n in range(100)]
        assert (await http.post("/admin/locations", json=many)).json() == {"kept": 100}
        cells = "mcc,mnc,area,cell,lat,lon,range\n262,2,852,2521,50.17,10.94,900\n262,2,852,x,1,1,1\n"
        loaded = (await http.post("/admin/cells:import?source=op", content=cells)).json()
        assert (loaded["taken"], loaded["refused"], loaded["refusals"][0]["line"]) == (1, 1, 3)
        assert (await http.put(path, json={"cell": "262-02-852-2521"})).status_code == 204
        found = (await http.get(path)).json()
        assert (round(found["latitude"], 7), found["accuracy_m"], found["cell"]) == (
            50.17,
            900,
            "262-02-852-2521",
        )
        assert (await http.delete(path)).status_code == 204
        assert (await http.get(path)).status_code == 404

    at_the_door(run)


def test_who_may_see_where_somebody_is(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await http.put(f"/admin/locations/{PHONE}", json={"latitude": 1, "longitude": 1, "accuracy_m": 9})
        key = await center.operator(OperatorRole.OPERATOR)
        async with center.client(key) as operator:
            assert (await operator.get(f"/admin/locations/{PHONE}")).status_code == 403
            body = {"from": "@Shop", "to": PHONE}
            assert (await operator.post("/admin/decisions:explain", json=body)).status_code == 403
            assert (await operator.get("/admin/decisions")).status_code == 200
        viewer = await center.operator(OperatorRole.VIEWER)
        async with center.client(viewer) as looking:
            assert (await looking.get("/admin/zones")).status_code == 200
            assert (
                await looking.post("/admin/zones", json={"name": "a", "shape": CIRCLE})
            ).status_code == 403

    at_the_door(run)


def test_zones_of_one_number_and_groups(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await http.post("/admin/zones", json={"name": "home", "shape": CIRCLE})
        await http.post("/admin/zone-policies", json=POLICY)
        path = f"/admin/numbers/{PHONE}/zones"
        own = {"circle": {"latitude": 51.5, "longitude": -0.12, "radius_m": 700}, "policy": "plan"}
        given = {"zones": [{"zone": "home", "policy": "plan", "priority": 7}, own]}
        put = await http.put(path, json=given)
        assert put.status_code == 200
        zones = (await http.get(path)).json()["zones"]
        assert [(one["zone"], one["priority"]) for one in zones] == [("home", 7), (None, 100)]
        assert zones[1]["circle"] == own["circle"]
        for wrong in ({"policy": "plan"}, {"zone": "x", "policy": "plan"}, {"zone": "home", "policy": "x"}):
            assert (await http.put(path, json={"zones": [wrong]})).status_code == 422
        assert (await http.put(path, json={"zones": []})).json() == {"zones": []}
        group = "/admin/groups/kids"
        assert (await http.post(group, json={"add": [PHONE, "+447700900002"]})).status_code == 200
        await http.post(group, json={"remove": [PHONE]})
        assert (await http.get(group)).json()["items"] == ["+447700900002"]
        assert center.rooms.zones.members.groups_of("+447700900002") == ["kids"]

    at_the_door(run)


def test_decisions_are_explained(at_the_door) -> None:
    async def run(center: RestCenter, http: httpx.AsyncClient) -> None:
        await http.post("/admin/zones", json={"name": "home", "shape": CIRCLE})
        await http.post("/admin/zone-policies", json=POLICY)
        bound = {"name": "m", "subject": "*", "zones": ["home"], "policy": "plan"}
        await http.post("/admin/memberships", json=bound)
        body = {"from": "@Shop", "to": PHONE, "recipient_at": {"latitude": 51.5, "longitude": -0.12}}
        [step] = (await http.post("/admin/decisions:explain", json=body)).json()["steps"]
        assert (step["state"], step["act"], step["zones"][0]["state"]) == ("in", "pass", "in")
        [step] = (await http.post("/admin/decisions:explain", json={"from": "@Shop", "to": PHONE})).json()[
            "steps"
        ]
        assert (step["state"], step["reason"]) == ("unknown", "no-location")
        span = {
            "since": "2026-09-21T10:20:00Z",
            "until": "2026-09-21T11:00:01Z",
            "bin": "0.5",
            "act": "block",
        }
        heat = (await http.get("/admin/decisions:heatmap", params=span)).json()
        assert (heat["bins"], heat["hidden"], heat["k"], heat["finished"]) == ([], 0, 5, True)
        assert (heat["since"], heat["until"]) == ("2026-09-21T10:00:00.000Z", "2026-09-21T12:00:00.000Z")
        assert (await http.get("/admin/decisions:heatmap", params={**span, "bin": "0.3"})).status_code == 422
        empty = (await http.get(f"/admin/decisions?msisdn={PHONE}")).json()
        assert empty == {"items": [], "next_before": None}
        span = {"since": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z"}
        done = (await http.post("/admin/decisions:simulate", json=span)).json()
        assert (done["decisions"], done["finished"]) == (0, True)
        unknown = await http.post("/admin/decisions:simulate", json={**span, "policies": [{"name": "x"}]})
        assert unknown.status_code == 422

    at_the_door(run)
