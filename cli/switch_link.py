"""`restante switch-link`: which switches are connected to the center.

In charge of: listing them and ending a connection. Not in charge of: which switches may connect (restante.toml).
"""

from __future__ import annotations

import typer

from .client import connect
from .objects import edited
from .output import ConfigFile, Json, Output, Reason

__all__ = ["app"]

COLUMNS = (
    "id",
    "name",
    "protocol",
    "state",
    "peer",
    "register",
    "connected_s",
    "from_handsets",
    "to_handsets",
)

app = typer.Typer(no_args_is_help=True, help="Switches that are connected now.")


@app.command("list")
def list_switch_links(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show which switches are connected, and which Diameter peers should be."""
    with Output(as_json) as out, connect(config_file) as client:
        items = client.get("/admin/switch-links")["items"]
        if as_json:
            out.document(items)
        out.table(COLUMNS, [[one[name] for name in COLUMNS] for one in items])


@app.command("disconnect")
def disconnect(
    link: str = typer.Argument(
        metavar="LINK", help="As in swl_4, dia_mme.example.net; see `switch-link list`."
    ),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """End a switch's connection; it may come back."""
    with Output(as_json) as out, connect(config_file) as client:
        client.delete(f"/admin/switch-links/{link}", reason=reason)
        edited(out, None, f"{link} is disconnected")
