"""`restante certificate`: what the doors show, and reading it again.

In charge of: the two commands. Not in charge of: files and TLS (the center).
"""

from __future__ import annotations

from typing import Any

import typer

from .client import connect
from .output import ConfigFile, Exit, Json, Output, Reason

__all__ = ["app"]

app = typer.Typer(help="Certificates of the TLS doors.", no_args_is_help=True)


def _show(out: Output, found: dict[str, Any], *, as_json: bool) -> None:
    items: list[dict[str, Any]] = found["items"]
    if as_json:
        out.document(items)
    columns = ["door", "subject", "not_after", "fingerprint", "problem"]
    out.table(columns, [[one[name] or "" for name in columns] for one in items])
    if any(one["problem"] for one in items):
        raise typer.Exit(Exit.DEGRADED)


@app.command("list")
def list_all(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show the certificate of each door. Exit code 3 if one could not be read the last time."""
    with Output(as_json) as out, connect(config_file) as client:
        _show(out, client.get("/admin/certificates"), as_json=as_json)


@app.command("reload")
def reload(reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Read all certificate files again, as SIGHUP does. Open connections stay."""
    with Output(as_json) as out, connect(config_file) as client:
        _show(out, client.post("/admin/certificates:reload", reason=reason), as_json=as_json)
