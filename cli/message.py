"""`restante message`: what may still be done to a message that waits.

In charge of: the commands that cancel and replace. Not in charge of: who may and when (the center), tracing
(`trace.py`).
"""

from __future__ import annotations

import typer

from .client import connect
from .objects import edited
from .output import ConfigFile, Json, Output, Reason

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Messages that wait: cancel and replace.")

Id = typer.Argument(metavar="ID", help="The message's id, as it was answered.")


@app.command("cancel")
def cancel(
    message: str = Id,
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """End a message before it is delivered; its sender gets the receipt that was asked for."""
    with Output(as_json) as out, connect(config_file) as client:
        done = client.post(f"/admin/messages/{message}:cancel", reason=reason)
        edited(out, done, f"{message} is cancelled")


@app.command("replace")
def replace(
    message: str = Id,
    text: str = typer.Argument(metavar="TEXT", help="What it says from now on."),
    reason: str = typer.Option(..., "--reason", help="Why; kept in the audit."),
    validity_s: int | None = typer.Option(
        None, "--validity", min=1, help="Seconds, from now or its schedule on."
    ),
    schedule_at: str | None = typer.Option(
        None, "--at", metavar="TIME", help="When, as in 2026-11-22T18:00:00Z."
    ),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Give a message that waits another text; it keeps its id."""
    with Output(as_json) as out, connect(config_file) as client:
        body: dict[str, object] = {"text": text}
        if validity_s is not None:
            body["validity_s"] = validity_s
        if schedule_at is not None:
            body["schedule_at"] = schedule_at
        done = client.post(f"/admin/messages/{message}:replace", body, reason=reason)
        edited(out, done, f"{message} is replaced")
