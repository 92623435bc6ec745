"""`restante route`: where messages go.

In charge of: the route commands. Not in charge of: choosing a route (the center).
"""

from __future__ import annotations

import typer

from .client import connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Json, Output, Reason

__all__ = ["app"]

KIND = Kind(
    "route", "routes", "rte", "name", ("name", "prefix", "target", "account", "priority", "weight", "enabled")
)
app = common_commands(KIND, help="Routes: where messages go.")


@app.command("add")
def add(
    name: str = typer.Argument(help="A unique name."),
    prefix: str = typer.Option(
        "", "--prefix", help="Start of the recipients: +4477 or 123; empty: every number."
    ),
    account: str = typer.Option("", "--to", metavar="SYSTEM_ID", help="The account it leads to."),
    target: str = typer.Option("account", "--target", help="account, switch, mailbox or reject."),
    fields: list[str] = typer.Option([], "--set", metavar="NAME=VALUE", help="Any other field."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a route."""
    with Output(as_json) as out, connect(config_file) as client:
        body = {"name": name, "prefix": prefix, "target": target, "account": account} | settings_of(fields)
        made = client.post("/admin/routes", body, reason=reason, dry_run=dry_run or None)
        edited(out, made, f"{made.get('id')} {name} is in force")
