"""`restante db` without a running center: what each command says, and what it says when it is refused."""

from __future__ import annotations

import sqlite3
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_center import Center, made

from restante.cli import center_findings, db
from restante.cli.findings import Level
from restante.cli.output import Failure
from restante.cli.site import site
from restante.store.life_lock import LifeLock


@pytest.fixture
def center(tmp_path: Path) -> Center:
    """A center's folder."""
    return made(tmp_path / "center")


def database_of(center: Center) -> Path:
    (path,) = site(center.config).database_files
    return path


def waiting(center: Center, rows: int) -> None:
    """Let so many messages of a restore wait."""
    with sqlite3.connect(database_of(center)) as connection:
        connection.executemany(
            "INSERT INTO queue VALUES (?, '+447700900001', 0, 4000000000000, 0, -1, 0, 'new')",
            [(number,) for number in range(1, rows + 1)],
        )
    connection.close()


def test_a_restored_center_says_what_waits_until_it_is_released(center: Center, tmp_path: Path) -> None:
    waiting(center, 3)
    file = tmp_path / "copy.backup"
    made = center.answer("db", "backup", str(file))
    database_of(center).unlink()
    done = center.call("db", "restore", str(file))
    assert done.exit_code == 0, done.output
    assert f"{made['rows']} rows restored, schema {made['schema']}\n" in done.stdout
    assert "3 messages wait to be released" in done.stdout
    assert database_of(center).stat().st_mode & 0o777 == 0o600

    def finding() -> tuple[Level, str]:
        (found,) = center_findings.check_restored(site(center.config))
        return found.level, found.fix

    assert finding() == (Level.WARN, "restante db release")
    assert center.answer("db", "release") == {"released": 3}
    assert finding()[0] is Level.PASS
    assert center.answer("db", "release") == {"released": 0}


def test_a_center_that_does_not_come_to_an_end_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"waiting": 3, "releasing": True}
    client = SimpleNamespace(get=lambda path: state, post=lambda path, reason: state)
    monkeypatch.setattr(db, "connect", lambda config_file: nullcontext(client))
    monkeypatch.setattr(db, "PATIENCE_S", 0.0)
    with pytest.raises(Failure, match="the center goes on"):
        db._released_by_center(None, "")


def test_what_is_refused_is_said_in_words(center: Center, tmp_path: Path) -> None:
    file = tmp_path / "copy.backup"
    assert center.call("db", "backup", str(file)).exit_code == 0
    lock = LifeLock(database_of(center))
    lock.take()
    try:
        for command in (["upgrade"], ["release"], ["restore", str(file)]):
            refused = center.call("db", *command)
            assert refused.exit_code == 1, command
            assert "is in use by process" in refused.stderr
    finally:
        lock.drop()
    refused = center.call("db", "backup", str(file))
    assert (refused.exit_code, "exists already" in refused.stderr) == (1, True)
    refused = center.call("db", "restore", str(file))
    assert (refused.exit_code, "let store.url name an empty one" in refused.stderr) == (1, True)
    assert "fix:" not in refused.stderr
