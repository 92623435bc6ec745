"""The commands against a running center: what they do, print, and how they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from waiting import eventually

from restante.cli.client import connect
from restante.cli.main import app


def test_the_life_of_an_account(center: Any) -> None:
    dry = center.answer("esme", "add", "shop", "--password", "secret12", "--owns", "+4477", "--dry-run")
    assert dry["after"]["numbers"] == ["+4477*"]
    assert "shop" not in {one["system_id"] for one in center.answer("esme", "list")}
    added = center.answer(
        "esme", "add", "shop", "--password", "secret12", "--owns", "+4477", "--owns", "12345"
    )
    assert (added["numbers"], added["password"]) == (["+4477*", "12345"], "secret12")
    assert center.answer("esme", "show", added["id"]) == center.answer("esme", "show", "shop")
    planned = center.answer("esme", "set", "shop", "throughput=20", "--dry-run")
    assert planned["diff"] == [{"op": "replace", "pointer": "/throughput", "before": None, "after": 20.0}]
    changed = center.answer(
        "esme", "set", "shop", "throughput=20", 'numbers=["12345"]', "--reason", "too loud"
    )
    assert (changed["throughput"], changed["numbers"], changed["version"]) == (20.0, ["12345"], 2)
    history = center.answer("esme", "history", "shop")
    assert [(one["version"], one["reason"]) for one in history] == [(2, "too loud"), (1, "")]
    assert center.answer("esme", "rollback", "shop", "1")["numbers"] == ["+4477*", "12345"]
    assert center.answer("esme", "suspend", "shop")["suspended"] is True
    assert center.answer("esme", "resume", "shop")["suspended"] is False
    assert len(center.answer("esme", "password", "shop")["password"]) == 8
    key = center.answer("esme", "key", "shop", "--label", "till")
    assert key["token"].startswith("sk_")
    assert [one["label"] for one in center.answer("esme", "keys", "shop")] == ["till"]
    center.answer("esme", "revoke", key["id"])
    assert center.answer("esme", "keys", "shop") == []
    center.answer("esme", "remove", "shop")
    gone = center.call("esme", "show", "shop")
    assert gone.exit_code == 1
    assert "there is no esme shop" in gone.stderr
    assert "restante esme list" in gone.stderr


def test_an_account_by_words(center: Any) -> None:
    result = center.call("esme", "add", "words", "--password", "-", text="secret12\n")
    assert "words may bind with the password secret12" in result.stdout
    assert "may use any sender" in result.stderr
    assert center.call("esme", "add", "words").exit_code == 1  # taken
    assert center.call("esme", "add", "long", "--password", "123456789").exit_code == 2
    assert center.call("esme", "set", "words", "throughput").exit_code == 2
    refused = center.call("esme", "set", "words", "throughput=-1", "--json")
    assert refused.exit_code == 1
    assert "/throughput" in json.loads(refused.stdout)["error"]
    assert "nothing was changed" in center.call("esme", "set", "words", "window=5", "--dry-run").stdout
    assert "words" in center.call("esme", "list", "-q", "wor").stdout
    assert center.answer("esme", "binds") == []
    assert center.call("esme", "unbind", "bnd_99").exit_code == 1


def test_routes_and_ranges(center: Any) -> None:
    center.answer("range", "add", "+4477009001")
    assert center.call("range", "add", "+4477009001").exit_code == 1
    assert center.answer("range", "set", "+4477009001", "description=phones")["description"] == "phones"
    center.answer("esme", "add", "msc1", "--role", "switch")
    route = center.answer(
        "route", "add", "phones", "--prefix", "+447700", "--to", "msc1", "--set", "priority=5"
    )
    assert (route["account"], route["priority"]) == ("msc1", 5)
    assert [one["name"] for one in center.answer("route", "list")] == ["phones"]
    center.answer("route", "remove", "phones")
    assert center.answer("route", "list") == []


def test_schedules(center: Any) -> None:
    """A class has a schedule at any time: its own, or the default again."""

    def busy() -> Any:
        return next(one for one in center.answer("schedule", "preview") if one["error"] == "busy")

    default = busy()
    assert default["edited"] is False
    add = ("schedule", "add", "busy", "--delays", "10,20,60", "--deposit-after", "3")
    assert center.answer(*add, "--dry-run")["after"]["delays_s"] == [10, 20, 60]
    assert busy() == default
    center.answer(*add)
    assert (busy()["edited"], busy()["tries_s"][:5]) == (True, [0, 10, 30, 90, 150])
    center.answer("schedule", "set", "busy", "attempts=3")
    assert busy()["tries_s"] == [0, 10, 30]
    assert "30s" in center.call("schedule", "preview").stdout
    assert center.call(*add).exit_code == 1  # it has one
    assert center.call("schedule", "add", "busy", "--delays", "soon").exit_code == 2
    refused = center.call("schedule", "set", "busy", "delays_s=[0]", "--json")
    assert "/delays_s" in json.loads(refused.stdout)["error"]
    center.answer("schedule", "remove", "busy")
    assert busy() == default


def test_subscribers_one_by_one_and_by_file(center: Any, tmp_path: Path) -> None:
    center.call("range", "add", "+4477009002")
    made = center.answer("subscriber", "add", "+447700900201")
    assert center.answer("subscriber", "show", "+447700900201")["id"] == made["id"]
    assert center.answer("subscriber", "add-number", "+447700900201", "+447700900202")["numbers"] == [
        "+447700900201", "+447700900202"
    ]  # fmt: skip
    assert center.answer("subscriber", "suspend", made["id"])["state"] == "suspended"
    assert center.answer("subscriber", "resume", made["id"])["state"] == "active"
    assert center.answer("subscriber", "imsi", made["id"], "234150999999999")["imsi"] == "234150999999999"
    center.answer("subscriber", "reassign", "+447700900202")
    assert center.answer("subscriber", "show", "+447700900202")["id"] != made["id"]
    assert center.call("subscriber", "close", "+447700900201").exit_code == 0
    assert center.call("subscriber", "show", "+447700900201").exit_code == 1
    file = tmp_path / "numbers.csv"
    file.write_text("msisdn\n+447700900211\n\nnonsense\n+447700900212,234150000000001\n")
    result = center.call("subscriber", "import", str(file), "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["provisioned"], answer["failed"]) == (3, 2, 1)
    assert [(one["line"], one["msisdn"]) for one in answer["problems"]] == [(4, "nonsense")]
    assert len(center.answer("subscriber", "list", "--prefix", "+44770090021")) == 2
    file.write_text("")
    assert center.call("subscriber", "import", str(file)).exit_code == 0
    assert center.call("subscriber", "import", str(tmp_path / "none.csv")).exit_code == 1


def test_a_message_from_the_command_to_the_mailbox(center: Any) -> None:
    center.call("range", "add", "+4477009003")
    center.answer("subscriber", "add", "+447700900301")
    said = center.call("send", "+447700900301", "hello")
    assert said.exit_code == 0, said.output
    assert "next:  restante trace" in said.stdout
    (sent,) = center.answer("send", "+447700900301", "hello again", "--from", "Kiosk", "--key", "k1")["items"]
    (again,) = center.answer("send", "+447700900301", "hello again", "--from", "Kiosk", "--key", "k1")[
        "items"
    ]
    assert again["id"] == sent["id"]

    def kinds() -> list[str]:
        return [event["kind"] for event in center.answer("trace", sent["id"])["events"]]

    eventually(lambda: kinds() == ["accepted", "stored"], "a deposit")
    told = center.call("trace", sent["id"]).stdout
    assert "stored and answered, came in by http" in told
    assert "kept in the recipient's mailbox" in told
    assert "hello" not in told
    assert center.answer("mailbox", "show", "+447700900301")["unread"] == 2
    listed = center.answer("mailbox", "list", "+447700900301")
    assert {one["text"] for one in listed} == {None}
    assert "Kiosk" in center.call("mailbox", "list", "+447700900301").stdout
    assert center.call("mailbox", "reveal", "+447700900301", sent["id"]).exit_code == 1  # no reason
    denied = center.call("mailbox", "reveal", "+447700900301", sent["id"], "--reason", "a test")
    assert "content.read" in denied.stderr
    assert center.call("mailbox", "purge", "+447700900301", text="n\n").exit_code == 1
    assert center.answer("mailbox", "purge", "+447700900301", "--yes")["removed"] == 2
    assert "ended: deleted" in center.call("trace", sent["id"]).stdout


def test_a_message_that_waits_is_replaced_and_cancelled(center: Any) -> None:
    center.call("range", "add", "+4477009006")
    center.answer("subscriber", "add", "+447700900601")
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"to": ["+447700900601"], "text": "hello", "from": "Kiosk", "schedule_at": at}
    with connect(center.config, key="send_key", environ={}) as client:
        (sent,) = client.post("/messages", body, headers={"Idempotency-Key": "waits"})["items"]
    assert center.call("message", "replace", sent["id"], "Привет").exit_code == 2  # without a reason
    said = center.call("message", "replace", sent["id"], "Привет", "--reason", "a typo")
    assert f"{sent['id']} is replaced" in said.stdout, said.output
    assert center.answer("message", "cancel", sent["id"], "--reason", "too late")["done"] is True
    assert "cancelled" in center.call("trace", sent["id"]).stdout
    again = center.call("message", "cancel", sent["id"])
    assert again.exit_code == 1
    assert "over" in again.stderr


def test_a_text_takes_the_place_of_one_that_waits(center: Any) -> None:
    center.call("range", "add", "+4477009007")
    center.answer("subscriber", "add", "+447700900701")
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"to": ["+447700900701"], "text": "old", "from": "Kiosk", "schedule_at": at}
    with connect(center.config, key="send_key", environ={}) as client:
        (old,) = client.post("/messages", body, headers={"Idempotency-Key": "placed"})["items"]
    sent = center.answer("send", "+447700900701", "new", "--from", "Kiosk", "--replace")["items"]
    assert sent[0]["id"] != old["id"]
    assert "deleted" in center.call("trace", old["id"]).stdout


def test_sending_to_many_says_who_was_refused(center: Any) -> None:
    center.call("range", "add", "+4477009004")
    center.answer("subscriber", "add", "+447700900401")
    mixed = center.call("send", "+447700900401", "+12025550123", "hello", "--json")
    assert mixed.exit_code == 3
    assert [bool(item.get("id")) for item in json.loads(mixed.stdout)["items"]] == [True, False]
    nobody = center.call("send", "+12025550123", "hello")
    assert nobody.exit_code == 1
    assert "refused" in nobody.stderr
    assert center.call("trace", "1").exit_code == 1
    assert center.call("trace", "nonsense").exit_code == 1


def test_sending_by_smpp(center: Any) -> None:
    from restante.cli.site import Running

    running = Running.read(center.folder)
    assert running is not None
    center.call("range", "add", "+4477009005")
    center.answer("subscriber", "add", "+447700900501")
    center.answer("esme", "add", "binder", "--password", "secret12")
    account = ["--smpp", running.smpp, "--system-id", "binder", "--password"]
    (item,) = center.answer("send", "+447700900501", "by smpp", "--from", "1234", *account, "secret12")[
        "items"
    ]
    assert center.answer("trace", item["id"])["message"]["ingress"]["door"] == "smpp"
    refused = center.call("send", "+447700900501", "by smpp", *account, "wrong")
    assert refused.exit_code == 1
    assert "ESME_R" in refused.stderr
    assert center.call("send", "+447700900501", "x", "--smpp", running.smpp).exit_code == 2


def test_top_shows_the_center_once(center: Any) -> None:
    seen = center.call("top", "--once")
    assert seen.exit_code == 0, seen.output
    assert "all is well" in seen.stdout
    assert center.answer("top")["well"] is True


def test_the_only_node_is_not_drained_by_mistake(center: Any) -> None:
    (node,) = center.answer("node", "list")
    assert (node["state"], node["here"]) == ("live", True)
    for name in (node["name"], node["id"]):
        refused = center.call("node", "drain", name)
        assert refused.exit_code == 1
        assert "No other node serves" in refused.stderr
    assert center.call("node", "drain", "nobody").exit_code == 1


def test_what_is_in_force_is_shown_with_its_source(center: Any) -> None:
    shown = {one["key"]: one for one in center.answer("config", "show", "--changed")}
    assert shown["smpp.port"]["value"] == 0
    assert shown["smpp.port"]["source"].startswith("restante.toml:")
    assert center.answer("config", "check")["problems"] == []
    assert center.answer("db", "show")["current"] is True
    assert center.call("db", "upgrade").exit_code == 1  # in use by the running center


def test_init_replaces_nothing(center: Any) -> None:
    again = center.call("init", "--dir", str(center.folder))
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in center.folder.glob("*") if path.suffix != ".toml"
    }
    assert {modes[name] for name in ("restante.key", "operator.json", "restante.sqlite")} == {0o600}


def test_a_second_center_on_the_same_database_is_refused(center: Any) -> None:
    second = center.call("serve")
    assert second.exit_code == 1
    assert center.process is not None
    assert f"process {center.process.pid}" in second.stderr
    assert "Traceback" not in second.output


def test_completion_for_each_shell() -> None:
    for shell in ("bash", "zsh", "fish"):
        result = CliRunner().invoke(app, ["completion", shell])
        assert result.exit_code == 0
        assert "_RESTANTE_COMPLETE" in result.stdout
    assert CliRunner().invoke(app, ["completion", "tcsh"]).exit_code == 2


@pytest.mark.parametrize("command", [["--help"], ["esme", "--help"], ["demo", "--help"], ["bench", "--help"]])
def test_help(command: list[str]) -> None:
    assert CliRunner().invoke(app, command).exit_code == 0


def test_every_command_prints_json_when_asked() -> None:
    import typer

    def walk(command: object, path: str) -> list[str]:
        inner = getattr(command, "commands", None)
        if inner:
            return [found for name, one in inner.items() for found in walk(one, f"{path} {name}")]
        options = {option for one in getattr(command, "params", []) for option in one.opts}
        return [] if "--json" in options else [path]

    assert walk(typer.main.get_command(app), "restante") == []


def test_without_a_center_every_command_says_what_to_do(tmp_path: Path) -> None:
    config = str(tmp_path / "restante.toml")
    for command in (["esme", "list"], ["serve"], ["db", "show"], ["trace", "1"], ["send", "+44", "x"]):
        result = CliRunner(env={"RESTANTE_CONFIG": config}).invoke(app, command)
        assert result.exit_code == 1, command
        assert "restante init" in result.stderr, command


def test_a_heat_map(center: Any) -> None:
    span = ("2026-09-21T10:00:00Z", "2026-09-21T12:00:00Z")
    shown = center.answer(
        "zone", "heatmap", *span, "--bin", "0.5", "--act", "block", "--act", "hold", "--bbox=-10,40,10,60"
    )
    assert (shown["bins"], shown["hidden"], shown["k"], shown["finished"]) == ([], 0, 5, True)
    assert "0 squares with fewer than 5 people are not shown" in center.call("zone", "heatmap", *span).stdout
    refused = center.call("zone", "heatmap", *span, "--act", "fly")
    assert refused.exit_code == 1
