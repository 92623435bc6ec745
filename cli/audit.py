"""`restante audit`: who did what, and whether anybody changed the trail.

In charge of: the two commands. Not in charge of: writing the trail and verifying it (the center, `access/audit.py`).
"""

from __future__ import annotations

import typer

from .client import connect
from .output import ConfigFile, Exit, Json, Output

__all__ = ["app"]

app = typer.Typer(help="The trail of what operators did.", no_args_is_help=True)


@app.command("list")
def list_all(
    actor: str = typer.Option("", "--actor", help="Who: op_2."),
    action: str = typer.Option("", "--action", help="What: route.create."),
    target: str = typer.Option("", "--target", help="On what: rt_3."),
    since: str = typer.Option("", "--since", help="As in 2026-07-01T00:00:00Z."),
    until: str = typer.Option("", "--until"),
    limit: int = typer.Option(50, "--limit", min=1, max=10_000),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show what was done, newest first."""
    given = {"actor": actor, "action": action, "target": target, "since": since, "until": until}
    filters = {name: value for name, value in given.items() if value}
    with Output(as_json) as out, connect(config_file) as client:
        items = list(client.pages("/admin/audit", limit=limit, **filters))[:limit]
        if as_json:
            out.document(items)
        columns = ("at", "actor", "action", "target", "reason", "peer")
        out.table(list(columns), [[one[name] for name in columns] for one in items])


@app.command("verify")
def verify(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Read the whole trail and say whether anybody changed it. Exit code 1 if somebody did."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.post("/admin/audit:verify", {})
        if as_json:
            out.document(found)
        out.facts({name: found[name] for name in ("holds", "rows", "days", "broken")})
        if found["breaks"]:
            out.table(["row", "what"], [[one["row"], one["what"]] for one in found["breaks"]])
        out.facts({f"head of node {node}": head for node, head in found["heads"].items()})
        if not found["holds"]:
            raise typer.Exit(Exit.FAILED)
