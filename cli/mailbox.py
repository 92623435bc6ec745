"""`restante mailbox`: boxes as an operator sees them, without what people wrote.

In charge of: looking at a box, emptying it, and revealing one text with a reason. Not in charge of: reading one's own
box, which is the subscriber's page and REST.
"""

from __future__ import annotations

import typer

from .client import connect
from .output import ConfigFile, Failure, Json, Output, Reason

__all__ = ["app"]

app = typer.Typer(help="Mailboxes, without what people wrote.", no_args_is_help=True)

Whose = typer.Argument(metavar="SUBSCRIBER", help="A number as in +447700900123, or an id as in sub_3.")


@app.command("show")
def show(whose: str = Whose, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show how full a box is."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get(f"/admin/mailboxes/{whose}")
        if as_json:
            out.document(found)
        out.facts(found)


@app.command("list")
def list_items(
    whose: str = Whose,
    folder: str = typer.Option("", "--folder", help="inbox, sent, saved or trash; default: all but trash."),
    unread: bool = typer.Option(False, "--unread", help="Only what was not read."),
    limit: int = typer.Option(50, "--limit", "-n", min=1, help="At most so many."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List what is in a box, newest first, without text."""
    with Output(as_json) as out, connect(config_file) as client:
        path = f"/admin/mailboxes/{whose}/messages"
        found = list(client.pages(path, limit=limit, folder=folder or None, unread=unread or None))
        if as_json:
            out.document(found)
        columns = ("id", "received_at", "peer", "folder", "read", "stored_because", "state", "bytes")
        out.table(columns, [[one[name] for name in columns] for one in found])


@app.command("reveal")
def reveal(
    whose: str = Whose,
    message: str = typer.Argument(metavar="ID", help="Of a message in the box."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show what one message says. Needs --reason and the permission content.read; it is audited."""
    with Output(as_json) as out, connect(config_file) as client:
        if not reason:
            raise Failure("a reveal needs a reason", fix='add --reason "…"')
        found = client.post(f"/admin/mailboxes/{whose}/messages/{message}:reveal", reason=reason)
        if as_json:
            out.document(found)
        out.facts({"from": found["sender"], "to": found["recipient"], "text": found["text"]})


@app.command("purge")
def purge(
    whose: str = Whose,
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Empty a box for good; senders of what was not read are told that it was deleted."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get(f"/admin/mailboxes/{whose}")
        if not yes and not typer.confirm(f"Delete {found['total']} messages of {whose} for good?", err=True):
            raise Failure("nothing was deleted")
        answer = client.post(f"/admin/mailboxes/{found['subscriber']}:purge", reason=reason)
        if as_json:
            out.document(answer)
        out.line(f"{answer['removed']} messages removed")
