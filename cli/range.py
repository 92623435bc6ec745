"""`restante range`: which numbers belong to this network.

In charge of: the range commands. Not in charge of: who has a number (`subscriber.py`).
"""

from __future__ import annotations

import typer

from .client import connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Json, Output, Reason

__all__ = ["app"]

KIND = Kind("range", "ranges", "rng", "prefix", ("prefix", "own", "min_digits", "max_digits", "description"))
app = common_commands(KIND, help="Number ranges of this network.")


@app.command("add")
def add(
    prefix: str = typer.Argument(help="Start of every number in it: +447700."),
    fields: list[str] = typer.Option([], "--set", metavar="NAME=VALUE", help="Any other field."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a range."""
    with Output(as_json) as out, connect(config_file) as client:
        made = client.post(
            "/admin/ranges", {"prefix": prefix} | settings_of(fields), reason=reason, dry_run=dry_run or None
        )
        edited(out, made, f"{made.get('id')} {prefix} belongs to this network")
