"""`restante db`: the database's schema.

In charge of: bringing it up to date, and telling where it is. Not in charge of: the migrations (`alembic/`).
"""

from __future__ import annotations

import typer

from .output import ConfigFile, Exit, Failure, Json, Output
from .site import site

__all__ = ["app"]

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


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
