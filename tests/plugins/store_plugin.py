"""Migrated databases for the tests, and a clock that is stepped.

In charge of: `store_url` (each test runs once on SQLite and once on PostgreSQL), `sqlite_url` and `postgresql_url`,
each an empty database at the newest revision, and `StepClock`. Migrating takes longer than copying, so a run migrates
one template of each kind and copies it. Not in charge of: servers (`postgres_plugin.py`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_plugin import RUN_FOLDER, Server


class StepClock:
    """A clock that goes on only when a test says so; see `restante.store.clock.Clock`."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def measured(self, database_ms: int) -> None:
        """The database's time is of no interest here."""

    def step(self, ms: int) -> None:
        self.ms += ms


def _template(name: str) -> Path:
    """A migrated SQLite file, made once a run."""
    run = Path(os.environ[RUN_FOLDER])
    made = run / f"{name}.sqlite"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            from restante.store import migrate

            new = made.with_suffix(".new")
            migrate.upgrade(f"sqlite:///{new}")
            new.rename(made)
    return made


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of an empty SQLite database at the newest revision."""
    path = tmp_path / "restante.sqlite"
    shutil.copyfile(_template("template"), path)
    return f"sqlite:///{path}"


def _postgresql_copy(server: Server, name: str) -> str:
    run = Path(os.environ[RUN_FOLDER])
    with (run / f"{name}-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = run / f"{name}-template.note"
        if not note.exists():
            from restante.store import migrate

            dsn = server.create_database()
            migrate.upgrade(dsn)
            note.write_text(dsn)
        return server.create_database(template=note.read_text())


@pytest.fixture
def postgresql_url(pg_server: Server) -> Iterator[str]:
    """DSN of an empty PostgreSQL database at the newest revision; its server does not sync."""
    dsn = _postgresql_copy(pg_server, "fast")
    yield dsn
    pg_server.drop_database(dsn)


@pytest.fixture
def durable_postgresql_url(pg_durable_server: Server) -> Iterator[str]:
    """The same on a server that keeps its promises."""
    dsn = _postgresql_copy(pg_durable_server, "durable")
    yield dsn
    pg_durable_server.drop_database(dsn)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))
