"""`restante db`: the database: its schema, and its backups.

In charge of: the words. Not in charge of: the migrations (`alembic/`), what a backup is (`store/backup.py`) and what a
restore makes of it (`store/restore.py`).
"""

from __future__ import annotations

import time
from pathlib import Path

import typer

from .output import ConfigFile, Exit, Failure, Json, Output
from .site import site

__all__ = ["app"]

app = typer.Typer(help="The database: its schema, and its backups.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Bring the database to this program's schema. A running center must be stopped first (SQLite)."""
    from ..store import migrate
    from ..store.store import StoreRefused

    with Output(as_json) as out:
        url = site(config_file).config.store.url
        try:
            with out.notes.status("upgrading the database"):
                before = migrate.current(url)
                migrate.upgrade(url)
                after = migrate.current(url)
        except StoreRefused as error:
            raise Failure(str(error), fix="stop the center, then run this again") from error
        if as_json:
            out.document({"before": before, "after": after, "changed": before != after})
        out.line(
            f"the database has schema {after}" + (f" (before: {before or 'none'})" if before != after else "")
        )


@app.command("show")
def show(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Tell the database's schema and this program's. Exit code 3 if they differ."""
    from ..store import migrate
    from ..store.store import StoreRefused

    with Output(as_json) as out:
        try:
            found, wanted = migrate.current(site(config_file).config.store.url), migrate.head()
        except StoreRefused as error:
            raise Failure(str(error)) from error
        if as_json:
            out.document({"database": found, "program": wanted, "current": found == wanted})
        out.facts({"database": found or "none", "program": wanted})
        if found != wanted:
            out.line("next:  restante db upgrade")
            raise typer.Exit(Exit.DEGRADED)


@app.command("backup")
def backup(
    file: Path = typer.Argument(help="A new file; what exists is never replaced."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Copy the database into one file, while the center serves. It holds no key: keep restante.key as well."""
    from ..store import backup as backups
    from ..store.store import StoreRefused

    with Output(as_json) as out:
        url = site(config_file).config.store.url
        try:
            with out.notes.status("copying the database"):
                made = backups.backup(url, file, now_ms=time.time_ns() // 1_000_000)
        except StoreRefused as error:
            raise Failure(str(error)) from error
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
    from ..store.store import StoreRefused

    with Output(as_json) as out:
        url = site(config_file).config.store.url
        try:
            with out.notes.status("restoring the database"):
                done = restores.restore(url, file, now_ms=time.time_ns() // 1_000_000)
        except StoreRefused as error:
            raise Failure(
                str(error), fix="a backup goes into an empty database; name one in store.url"
            ) from error
        if as_json:
            out.document({"rows": done.backup.rows, "waiting": done.waiting})
        out.line(f"{done.backup.rows} rows restored; {done.waiting} messages wait to be released")
        out.line("next:  restante serve, and when they may be sent (again):  restante db release")


@app.command("release")
def release(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Let go the messages that came with a restore. On SQLite a running center must be stopped first."""
    from ..store import restore as restores
    from ..store.store import StoreRefused

    with Output(as_json) as out:
        url = site(config_file).config.store.url
        try:
            released = restores.release(url)
        except StoreRefused as error:
            raise Failure(str(error), fix="stop the center, run this again, then start it") from error
        if as_json:
            out.document({"released": released})
        out.line(f"{released} messages are released")
