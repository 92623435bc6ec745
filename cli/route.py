"""`restante route`: where messages go.

In charge of: the route commands. Not in charge of: choosing a route (the center).
"""

from __future__ import annotations

import json
from pathlib import Path

import typer

from .client import connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Failure, Json, Output, Reason, spelled

__all__ = ["app"]

KIND = Kind(
    "route",
    "routes",
    "rte",
    "name",
    ("name", "prefix", "target", "account", "link", "priority", "weight", "enabled"),
)
app = common_commands(KIND, help="Routes: where messages go.")


@app.command("add")
def add(
    name: str = typer.Argument(help="A unique name."),
    prefix: str = typer.Option(
        "", "--prefix", help="Start of the recipients: +4477 or 123; empty: every number."
    ),
    account: str = typer.Option("", "--to", metavar="SYSTEM_ID", help="The account it leads to."),
    link: str = typer.Option("", "--to-link", metavar="LINK", help="The link it leads to."),
    target: str = typer.Option(
        "", "--target", help="account, link, switch, mailbox or reject; else by what it leads to."
    ),
    fields: list[str] = typer.Option([], "--set", metavar="NAME=VALUE", help="Any other field."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a route."""
    with Output(as_json) as out, connect(config_file) as client:
        target = target or ("link" if link else "account")
        body = {"name": name, "prefix": prefix, "target": target, "account": account, "link": link}
        body |= settings_of(fields)
        made = client.post("/admin/routes", body, reason=reason, dry_run=dry_run or None)
        edited(out, made, f"{made.get('id')} {name} is in force")


@app.command("simulate")
def simulate(
    recipient: str = typer.Argument(metavar="TO", help="+447700900123 or a short code."),
    sender: str = typer.Option("", "--from", help="As people write it."),
    account: str = typer.Option("", "--account", metavar="SYSTEM_ID", help="Who submits it."),
    drafts: list[Path] = typer.Option([], "--route", metavar="FILE.json", help="A route as it would be."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Say which way a message would go, by which rule, and why other rules do not count. Nothing is sent."""
    with Output(as_json) as out, connect(config_file) as client:
        try:
            routes = [json.loads(file.read_text(encoding="utf-8")) for file in drafts]
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read a draft: {error}") from error
        body = {"to": recipient, "from": sender, "account": account, "drafts": routes}
        answer = client.post("/admin/routes:simulate", body)
        if as_json:
            out.document(answer)
            return
        if not answer["accepted"]:
            out.line("there is no way: it is refused")
        for place, way in enumerate(answer["ways"], 1):
            state = "" if way["reachable"] else " (not reachable now)"
            out.line(f"{place}. {way['outlet']} by {way['rule']}{state}")
        rows = [
            [one["id"], one["name"], one["why"], spelled(one["place"]), one["share"]]
            for one in answer["routes"]
        ]
        if rows:
            out.table(["id", "name", "why", "place", "share"], rows)
