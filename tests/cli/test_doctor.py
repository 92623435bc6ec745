"""The doctor: plant faults, look for each one's name and its fix."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from restante.cli import center_findings
from restante.cli.findings import Level
from restante.cli.main import app
from restante.cli.site import site


def make(folder: Path, *options: str) -> Path:
    result = CliRunner().invoke(app, ["init", "--dir", str(folder), *options])
    assert result.exit_code == 0, result.output
    return folder / "restante.toml"


def examined(config: Path, code: int) -> dict[str, list[dict[str, str]]]:
    """What the doctor finds, by name of the check."""
    result = CliRunner().invoke(app, ["doctor", "--config", str(config), "--json"])
    assert result.exit_code == code, result.output
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(result.stdout)["checks"]:
        found.setdefault(one["name"], []).append(one)
    return found


def one(found: dict[str, list[dict[str, str]]], name: str, level: str) -> dict[str, str]:
    (finding,) = [finding for finding in found[name] if finding["level"] == level]
    assert finding["fix"], finding
    return finding


def edited(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text, text
    config.write_text(text.replace(old, new, 1))


def free_ports() -> list[str]:
    return ["--smpp-port", "0", "--http-port", "0", "--ops-port", "0"]


def test_many_planted_faults_are_found_at_once(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = str(holder.getsockname()[1])
        config = make(tmp_path, "--smpp-port", taken, "--http-port", "0", "--ops-port", "0")
        (tmp_path / "restante.key").chmod(0o644)
        (tmp_path / "operator.json").chmod(0o640)
        (tmp_path / "restante.sqlite").unlink()
        edited(config, '#durability = "power-loss"', 'durability = "process-crash-only"')
        found = examined(config, 1)
        assert one(found, "port-smpp", "FAIL")["text"].startswith(f"127.0.0.1:{taken} is taken by")
        fixes = {finding["fix"] for finding in found["secret-files"]}
        assert fixes == {f"chmod 600 {tmp_path / name}" for name in ("restante.key", "operator.json")}
        assert one(found, "database", "FAIL")["fix"].startswith("restante db upgrade")
        assert "power-loss" in one(found, "durability", "WARN")["fix"]


def test_a_healthy_place_passes(tmp_path: Path) -> None:
    config = make(tmp_path, *free_ports())
    result = CliRunner().invoke(app, ["doctor", "--config", str(config)])
    assert "FAIL" not in result.stdout
    assert result.exit_code in (0, 3), result.output  # open-files may warn on a developer's machine
    assert "demo-passwords" in result.stdout


@pytest.mark.parametrize(
    ("line", "name", "fix"),
    [
        ("[smpp]\nprot = 1\n", "config-keys", "write smpp.port"),
        ("[smpp]\nport = 70000\n", "config", "correct that place"),
        ("[smpp]\nport = = 1\n", "config", "correct that place"),
    ],
)
def test_a_bad_configuration_names_the_line(tmp_path: Path, line: str, name: str, fix: str) -> None:
    config = tmp_path / "restante.toml"
    config.write_text(line)
    found = examined(config, 1)
    finding = one(found, name, "FAIL")
    assert finding["text"].startswith("restante.toml:2: ")
    assert finding["fix"] == fix
    assert found["database"][0]["level"] == "SKIP"


def test_no_configuration_at_all(tmp_path: Path) -> None:
    assert "restante init" in one(examined(tmp_path / "restante.toml", 1), "config", "FAIL")["fix"]


def test_another_schema_names_the_upgrade_and_the_upgrade_repairs_it(tmp_path: Path) -> None:
    config = make(tmp_path, *free_ports())
    (tmp_path / "restante.sqlite").write_bytes(b"")
    assert one(examined(config, 1), "database", "FAIL")["fix"] == f"restante db upgrade --config {config}"
    import sqlite3

    sqlite3.connect(tmp_path / "restante.sqlite").execute("CREATE TABLE something (x)").connection.close()
    assert one(examined(config, 1), "schema", "FAIL")["fix"] == f"restante db upgrade --config {config}"
    refused = CliRunner().invoke(app, ["serve", "--config", str(config)])
    assert refused.exit_code == 1
    assert "restante db upgrade" in refused.stderr
    shown = CliRunner().invoke(app, ["db", "show", "--config", str(config)])
    assert shown.exit_code == 3
    assert CliRunner().invoke(app, ["db", "upgrade", "--config", str(config)]).exit_code == 0
    assert {finding["level"] for finding in examined(config, 0)["schema"]} == {"PASS"}


def test_postgresql_that_keeps_nothing_is_named(
    tmp_path: Path, pg_durable_database: str, pg_database: str
) -> None:
    config = make(tmp_path / "durable", "--database", pg_durable_database, *free_ports())
    assert config.stat().st_mode & 0o077 == 0
    found = {finding.name: finding for finding in center_findings.check_database(site(str(config)))}
    assert found["durability"].level is Level.PASS
    assert found["schema"].level is Level.PASS
    edited(config, pg_durable_database, pg_database)
    (finding,) = center_findings.check_promise(site(str(config)))
    assert finding.level is Level.FAIL
    assert "ALTER SYSTEM SET fsync = on" in finding.fix
    edited(config, pg_database, "postgresql://nobody@127.0.0.1:1/none")
    (gone,) = center_findings.check_database(site(str(config)))
    assert (gone.name, gone.level) == ("database", Level.FAIL)


def test_a_clock_that_went_back_is_named(tmp_path: Path) -> None:
    place = site(str(make(tmp_path, *free_ports())))
    (past,) = center_findings.check_node_clock(place, now_ms=1_000_000_000_000)
    assert (past.level, past.fix) == (Level.WARN, "timedatectl set-ntp true")
    (now,) = center_findings.check_node_clock(place)
    assert now.level is Level.PASS


def overview(**changed: Any) -> dict[str, Any]:
    found = {
        "at": "2026-11-22T12:00:00.000Z",
        "queues": [],
        "store": {"accepting": True, "why": "", "commit_ms": 1},
    }
    return found | changed


NOON_MS = 1_795_348_800_000


def levels(found: dict[str, Any], now_ms: int = NOON_MS) -> dict[str, Level]:
    return {finding.name: finding.level for finding in center_findings.check_overview(found, now_ms)}


def test_a_running_center_is_asked_for_its_health() -> None:
    well = {"store": Level.PASS, "clock-center": Level.PASS, "queue-age": Level.PASS}
    assert levels(overview()) == well
    store = {"accepting": False, "why": "disk full", "commit_ms": 1}
    assert levels(overview(store=store))["store"] is Level.FAIL
    assert levels(overview(), NOON_MS + 60_000)["clock-center"] is Level.WARN
    waits = {"name": "retry", "oldest_at": "2026-11-22T09:00:00Z"}
    assert levels(overview(queues=[waits]))["queue-age"] is Level.WARN
    assert levels(overview(queues=[waits | {"name": "held"}]))["queue-age"] is Level.PASS


def test_the_doctor_asks_the_center_that_runs(center: Any) -> None:
    found = {one["name"]: one for one in json.loads(center.call("doctor", "--json").stdout)["checks"]}
    assert found["center"]["level"] == "PASS"
    assert found["store"]["level"] == "PASS"
