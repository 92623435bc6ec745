"""Home zones over real SMPP: inside, outside, unknown, bypass, hold and release in order with a restart in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from running_center import RunningCenter, running_center
from simulated_phone import phone_network
from smpplib_esme import Esme, esme
from waiting import eventually

PASSWORD = "wisteria"
HOME = {"latitude": 51.5, "longitude": -0.12, "accuracy_m": 30}
AWAY = {"latitude": 52.5, "longitude": -1.9, "accuracy_m": 30}
ANSWER = {"role": "recipient", "reason": ""}
CIRCLE = {"kind": "circle", "latitude": 51.5, "longitude": -0.12, "radius_m": 2000}


def submit(app: Esme, number: str, text: str, **fields: object) -> Any:
    given: dict[str, object] = {
        "source_addr_ton": 5,
        "source_addr": "Shop",
        "dest_addr_ton": 1,
        "dest_addr_npi": 1,
        "destination_addr": number,
        "short_message": text.encode(),
        "registered_delivery": 1,
    }
    return app.ask("submit_sm", **(given | fields))


def draw(center: RunningCenter, number: str, **policy: object) -> None:
    """A zone, a policy of the number's own, and the membership."""
    name = f"plan {number}"
    center.call("POST", "/zone-policies", {"name": name, "on_unknown": "open", **policy})
    zones = [{"zone": "home", "policy": name}]
    center.call("PUT", f"/numbers/+{number}/zones", {"zones": zones})


def at(center: RunningCenter, number: str, place: Mapping[str, object]) -> None:
    center.call("PUT", f"/locations/+{number}", place)


def final(center: RunningCenter, id: str) -> str:
    found = eventually(lambda: re.search(r"^(delivered|rejected|expired)", center.message(id)["state"]))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_day_of_a_home_zone(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """Long because it is one story. The numbers: 1 specific, 2 generic, 3 hold, 4 unknown."""
    settings: dict[str, object] = {}
    if database == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        settings = {"store.url": url, "store.durability": "process-crash-only"}
    one, two, three, four = (f"44770090000{n}" for n in range(1, 5))
    with running_center(tmp_path / "center", settings) as center:
        center.add_account("app", PASSWORD, sources=["*"])
        center.add_account("msc", PASSWORD, role="switch")
        center.add_range("+4477")
        center.add_route("handsets", prefix="+4477", target="account", account="msc")
        center.call("POST", "/zones", {"name": "home", "shape": CIRCLE})
        draw(center, one, visibility="specific", bypass_service_types=["CARE"])
        draw(center, two)
        draw(center, three, on_outside="hold")
        draw(center, four, on_unknown="closed", visibility="specific")
        with phone_network(center.smpp_port, "msc", PASSWORD) as phone:
            with esme(center.smpp_port, "transceiver", "app", PASSWORD) as app:
                for number in (one, two, three):
                    at(center, number, HOME)
                    assert submit(app, number, "inside").status == 0
                    eventually(lambda number=number: phone.texts(number) == ["inside"], "inside")
                    assert b"stat:DELIVRD" in app.next_delivered().short_message
                    at(center, number, AWAY)
                rejected = submit(app, one, "outside").message_id.decode()
                assert final(center, rejected) == "rejected"
                assert b"stat:REJECTD" in app.next_delivered().short_message
                assert submit(app, one, "care", service_type="CARE").status == 0
                eventually(lambda: phone.texts(one) == ["inside", "care"], "bypass")
                app.next_delivered()
                withheld = submit(app, two, "outside").message_id.decode()
                unknown = submit(app, four, "nowhere").message_id.decode()
                assert final(center, unknown) == "rejected"
                held = [submit(app, three, f"held {n}").message_id.decode() for n in range(5)]
                events = [
                    event["kind"] for event in center.call("GET", f"/messages/{held[0]}/trace")["events"]
                ]
                assert "held" in events
            center.kill()
            center.start()
            assert phone.texts(three) == ["inside"]
            eventually(lambda: center.metric("restante_smpp_binds") or True)
            at(center, three, HOME)
            at(center, two, HOME)
            expected = ["inside", *(f"held {n}" for n in range(5))]
            eventually(lambda: phone.texts(three) == expected, "released in order", seconds=60)
            assert phone.texts(two) == ["inside"]
            assert center.message(withheld)["state"] == "enroute"
            log = center.call("GET", f"/decisions?msisdn={three}&state=in&limit=10")["items"]
            assert len(log) >= 5
            facts = center.call("POST", "/decisions:explain", {"from": "@Shop", "to": f"+{three}"})
            assert facts["steps"][0]["act"] == "pass"
            span = {"since": "2020-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"}
            again = center.call("POST", "/decisions:simulate", span)
            assert (again["same"], again["changed"]) == (again["decisions"], [])
            assert again["before"]["block"] >= 3


def test_two_nodes_see_an_edit_within_a_second(tmp_path: Path, postgresql_url: str) -> None:
    """Two processes on one database: edits, memberships and places of one decide at the other; two editors, one 412."""
    settings = {"store.url": postgresql_url, "store.durability": "process-crash-only"}
    number = "447700900001"
    with running_center(tmp_path / "one", settings) as one:
        two = one.twin(tmp_path / "two").start()
        try:

            def judged() -> Any:
                """What the other node would decide."""
                question = {"from": "@Shop", "to": f"+{number}"}
                steps = two.call("POST", "/decisions:explain", question)["steps"]
                return [(step["act"], step["reason"], step["zones"]) for step in steps]

            def seen(look: Callable[[], bool]) -> None:
                began = monotonic()
                eventually(look, "the other node's knowledge", seconds=30)
                assert monotonic() - began < 5.0  # a second on a machine that is not shared

            zone = one.call("POST", "/zones", {"name": "home", "shape": CIRCLE})
            draw(one, number)
            seen(lambda: judged()[0][:2] == ("pass", "no-location") if judged() else False)
            at(one, number, HOME)
            seen(
                lambda: judged()[0][2] == [ANSWER | {"zone": f"{zone['id']}@1", "state": "in", "share": 1.0}]
            )
            at(one, number, AWAY)
            seen(lambda: judged()[0][:2] == ("block", "outside"))
            moved = {"shape": CIRCLE | {"latitude": AWAY["latitude"], "longitude": AWAY["longitude"]}}
            path = f"/admin/zones/{zone['id']}"
            assert one.request("PATCH", path, moved, If_Match='"1"').status_code == 200
            seen(
                lambda: judged()[0][2] == [ANSWER | {"zone": f"{zone['id']}@2", "state": "in", "share": 1.0}]
            )
            with ThreadPoolExecutor(2) as both:
                edits = [
                    both.submit(node.request, "PATCH", path, {"tags": [tag]}, If_Match='"2"')
                    for node, tag in ((one, "a"), (two, "b"))
                ]
                assert sorted(edit.result().status_code for edit in edits) == [200, 412]
            assert one.call("GET", f"/zones/{zone['id']}")["version"] == 3
        finally:
            two.stop()
