"""`restante schedule`: when a message is tried again after each kind of failure.

In charge of: the schedule commands. Not in charge of: carrying a schedule out (the center).
"""

from __future__ import annotations

import typer

from .client import connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Json, Output, Reason

__all__ = ["app", "span"]

KIND = Kind(
    "schedule", "schedules", "sch", "error", ("error", "delays_s", "attempts", "other_route", "deposit_after")
)
app = common_commands(KIND, help="Schedules: when a message is tried again, by error class.")

SHOWN = 12  #: tries in a line


@app.command("add")
def add(
    error: str = typer.Argument(
        metavar="CLASS", help="busy, absent, memory-full, congested, system, timeout, permanent or policy."
    ),
    delays: str = typer.Option(
        ..., "--delays", metavar="S,S,...", help="Seconds before attempt 2, 3, …; the last one repeats."
    ),
    deposit_after: int = typer.Option(0, "--deposit-after", help="Attempts before the mailbox; 0: never."),
    fields: list[str] = typer.Option([], "--set", metavar="NAME=VALUE", help="Any other field."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Give a class a schedule of its own; `remove` gives it the default again."""
    with Output(as_json) as out, connect(config_file) as client:
        try:
            seconds = [int(word) for word in delays.split(",") if word.strip()]
        except ValueError as wrong:
            raise typer.BadParameter("seconds with commas between them", param_hint="--delays") from wrong
        body = {"error": error, "delays_s": seconds, "deposit_after": deposit_after} | settings_of(fields)
        made = client.post("/admin/schedules", body, reason=reason, dry_run=dry_run or None)
        edited(out, made, f"{made.get('id')} is in force for {error}")


@app.command("preview")
def preview(
    validity_s: int = typer.Option(
        172_800, "--validity", min=1, help="Validity period of the message, seconds."
    ),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show for each class what is in force and when a message would be tried."""
    with Output(as_json) as out, connect(config_file) as client:
        items = client.get("/admin/schedules:preview", validity_s=validity_s)["items"]
        if as_json:
            out.document(items)
        rows: list[list[object]] = []
        for one in items:
            later = one["tries_s"][1:]
            shown = ", ".join(span(seconds) for seconds in later[:SHOWN])
            more = f" … {len(later)} in all" if len(later) > SHOWN else ""
            mailbox = f"after {one['deposit_after']}" if one["deposit_after"] else "never"
            source = "edited" if one["edited"] else "default"
            rows.append([one["error"], source, shown + more or "no further try", mailbox, one["other_route"]])
        out.table(["class", "from", "tried again after", "mailbox", "other route"], rows)


def span(seconds: int) -> str:
    """Seconds as people say them: 90s, 15m, 1h30m, 2d."""
    if seconds < 120:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60 or rest:
        return f"{minutes}m" + (f"{rest}s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    if hours < 48 or minutes:
        return f"{hours}h" + (f"{minutes}m" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days}d" + (f"{hours}h" if hours else "")
