"""`restante db`: the database: its schema, and its backups.

In charge of: the words. Not in charge of: the migrations (`alembic/`), what a backup is (`store/backup.py`), what a
restore makes of it (`store/restore.py`) and what a running center does to release it (`store/restored.py`).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import typer

from .client import connect
from .output import ConfigFile, Exit, Failure, Json, Output, Reason
from .site import Running, Site, site

__all__ = ["app"]

LOOK_S = 0.2  #: between two looks at a center that releases
PATIENCE_S = 600.0  #: for a center that releases

app = typer.Typer(help="The database: its schema, and its backups.", no_args_is_help=True)


@contextmanager
def _database(out: Output, doing: str, config_file: str | None) -> Generator[Site]:
    """Something is done to a center's database; what the store refuses, and why, ends the command."""
    from ..store.store import StoreRefused

    place = site(config_file)
    try:
        with out.notes.status(doing):
            yield place
    except StoreRefused as error:
        raise Failure(str(error)) from error


@app.command("upgrade")
def upgrade(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Bring the database to this program's schema. A running center must be stopped first (SQLite)."""
    from ..store import migrate

    with Output(as_json) as out:
        with _database(out, "upgrading the database", config_file) as place:
            url = place.config.store.url
            before = migrate.current(url)
            migrate.upgrade(url)
            after = migrate.current(url)
        if as_json:
            out.document({"before": before, "after": after, "changed": before != after})
        out.line(
            f"the database has schema {after}" + (f" (before: {before or 'none'})" if before != after else "")
        )


@app.command("show")
def show(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Tell the database's schema and this program's. Exit code 3 if they differ."""
    from ..store import migrate

    with Output(as_json) as out:
        with _database(out, "looking", config_file) as place:
            found, wanted = migrate.current(place.config.store.url), migrate.head()
            older = found is None or found in migrate.known()
        if as_json:
            out.document({"database": found, "program": wanted, "current": found == wanted})
        out.facts({"database": found or "none", "program": wanted})
        if found != wanted:
            out.line("next:  " + ("restante db upgrade" if older else "install the newer program"))
            raise typer.Exit(Exit.DEGRADED)


@app.command("backup")
def backup(
    file: Path = typer.Argument(help="A new file; what exists is never replaced."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Copy the database into one file, while the center serves. It holds no key: keep restante.key as well."""
    from ..store import backup as backups

    with Output(as_json) as out:
        with _database(out, "copying the database", config_file) as place:
            made = backups.backup(place.config.store.url, file, now_ms=_now_ms())
        if as_json:
            out.document(
                {"file": str(file), "rows": made.rows, "octets": made.octets, "schema": made.revision}
            )
        out.line(f"{file}: {made.rows} rows, {made.octets} octets, schema {made.revision}, verified")
        out.line(
            "keep beside it: restante.toml and restante.key; without the same keys sealed secrets stay shut"
        )


@app.command("restore")
def restore(
    file: Path = typer.Argument(help="What `restante db backup` made, from either kind of database."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Fill an empty database from a backup. Messages that were in the queue wait for `restante db release`."""
    from ..store import restore as restores

    with Output(as_json) as out:
        with _database(out, "restoring the database", config_file) as place:
            done = restores.restore(place.config.store.url, file, now_ms=_now_ms())
        if as_json:
            out.document({"rows": done.backup.rows, "waiting": done.waiting, "schema": done.revision})
        older = f" (the backup: {done.backup.revision})" if done.backup.revision != done.revision else ""
        out.line(f"{done.backup.rows} rows restored, schema {done.revision}{older}")
        out.line(f"{done.waiting} messages wait to be released")
        out.line("next:  restante serve, and when they may be sent (again):  restante db release")


@app.command("release")
def release(config_file: ConfigFile = None, as_json: Json = False, reason: Reason = "") -> None:
    """Let go the messages that came with a restore: by the running center if there is one, else in its database."""
    from ..store import restore as restores

    with Output(as_json) as out:
        with _database(out, "releasing", config_file) as place:
            if Running.read(place.folder) is not None:
                released = _released_by_center(config_file, reason)
            else:
                released = restores.release(place.config.store.url, now_ms=_now_ms())
        if as_json:
            out.document({"released": released})
        out.line(f"{released} messages are released")


def _released_by_center(config_file: str | None, reason: str) -> int:
    """How many it let go; returns when it has done so. Raises Failure if that takes longer than we wait."""
    deadline = time.monotonic() + PATIENCE_S
    with connect(config_file) as client:
        waiting = client.get("/admin/restored")["waiting"]
        state = client.post("/admin/restored:release", reason=reason)
        while state["releasing"]:
            if time.monotonic() > deadline:
                raise Failure(
                    f"not done within {PATIENCE_S:.0f} s; the center goes on, unless its database is away",
                    fix="restante doctor",
                )
            time.sleep(LOOK_S)
            state = client.get("/admin/restored")
    return int(waiting - state["waiting"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
