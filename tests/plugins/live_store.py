"""A real store for a test of one room: SQLite or PostgreSQL, with the schema in place and a clock that is stepped.

In charge of opening and closing it. The schema of SQLite is made once a run and copied. A folder of tests takes the
fixtures by importing them in its conftest.py.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from restante.store import migrate
from restante.store.settings import StoreSettings
from restante.store.store import Store

START_MS = 1_790_000_000_000


class StepClock:
    """A clock that stands still until it is stepped."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def measured(self, database_ms: int) -> None:
        pass

    def step(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


@dataclass(frozen=True)
class Database:
    """An empty database with the present schema."""

    url: str

    @property
    def path(self) -> Path:
        """The file of an SQLite database."""
        return Path(self.url.removeprefix("sqlite:///"))

    @contextlib.asynccontextmanager
    async def store(self, clock: StepClock | None = None, name: str = "") -> AsyncGenerator[Store]:
        """Open it. PostgreSQL may be opened more than once at a time, under different names."""
        sqlite = self.url.startswith("sqlite")
        module = import_module("restante.store.sqlite" if sqlite else "restante.store.postgresql")
        engine = module.SqliteStore if sqlite else module.PostgresqlStore
        named = {"url": self.url, "durability": "process-crash-only", "node_name": name}
        settings = StoreSettings.model_validate(named)
        store: Store = engine(settings, clock=clock or StepClock())
        await store.open()
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database that holds the schema and nothing else."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_copy(sqlite_template: Path, tmp_path: Path) -> Database:
    """An empty SQLite database."""
    path = tmp_path / "restante.sqlite"
    shutil.copy(sqlite_template, path)
    return Database(f"sqlite:///{path}")


@pytest.fixture(params=["sqlite", "postgresql"])
def live_database(request: pytest.FixtureRequest) -> Database:
    """An empty database of each kind, one after the other."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_copy")
    url: str = request.getfixturevalue("pg_database")
    migrate.upgrade(url)
    return Database(url)
