"""`restante subscriber`: who has which number.

In charge of: the subscriber commands, CSV import with a progress bar. Not in charge of: what a step of a subscriber's
life means (the center).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import typer
from rich.progress import Progress

from .client import Client, connect
from .output import ConfigFile, Exit, Failure, Json, Output, Reason

__all__ = ["app"]

app = typer.Typer(help="Subscribers and their numbers.", no_args_is_help=True)

IMPORT_LINES = 5000  #: lines of one request; the bar moves after each
COLUMNS = ("id", "numbers", "state", "imsi", "origin", "created_at")

Whose = typer.Argument(metavar="SUBSCRIBER", help="A number as in +447700900123, or an id as in sub_3.")
Subscriber = dict[str, Any]


def find(client: Client, whose: str) -> tuple[Subscriber, str]:
    """A subscriber by id or by one of the numbers, with the ETag. Raises Failure."""
    if whose.startswith("sub_"):
        return client.versioned(f"/admin/subscribers/{whose}")
    for found in client.pages("/admin/subscribers", prefix=whose):
        if whose in found["numbers"] and found["state"] != "closed":
            return client.versioned(f"/admin/subscribers/{found['id']}")
    raise Failure(f"nobody has the number {whose}", fix=f"restante subscriber add {whose}")


def shown(out: Output, found: Subscriber, done: str) -> None:
    """Show what became of a subscriber."""
    if out.as_json:
        out.document(found)
    out.line(f"{found['id']} {', '.join(found['numbers']) or '(no number)'} {done}")


@app.command("list")
def list_all(
    prefix: str = typer.Option("", "--prefix", help="Start of a number."),
    state: str = typer.Option("", "--state", help="active, suspended or closed."),
    limit: int = typer.Option(200, "--limit", "-n", min=1, help="At most so many."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List subscribers."""
    with Output(as_json) as out, connect(config_file) as client:
        found = list(
            client.pages("/admin/subscribers", limit=limit, prefix=prefix or None, state=state or None)
        )
        if as_json:
            out.document(found)
        out.table(COLUMNS, [[one[name] for name in COLUMNS] for one in found])


@app.command("show")
def show(whose: str = Whose, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show one subscriber."""
    with Output(as_json) as out, connect(config_file) as client:
        found = find(client, whose)[0]
        if as_json:
            out.document(found)
        out.facts(found)


@app.command("add")
def add(
    numbers: list[str] = typer.Argument(metavar="NUMBER...", help="International numbers of one subscriber."),
    imsi: str = typer.Option("", "--imsi", help="If it is known."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a subscriber of numbers that nobody has."""
    with Output(as_json) as out, connect(config_file) as client:
        made = client.post("/admin/subscribers", {"numbers": numbers, "imsi": imsi}, reason=reason)
        shown(out, made, "is a subscriber")


@app.command("import")
def import_csv(
    file: Path = typer.Argument(metavar="FILE.csv", help="A number and perhaps an IMSI on each line."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a subscriber of each line of a CSV file. Bad lines are listed and leave the others alone."""
    with Output(as_json) as out, connect(config_file) as client:
        try:
            lines = rows_of(file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {file}: {error}") from error
        total, problems = {"provisioned": 0, "failed": 0}, cast("list[Subscriber]", [])
        with Progress(console=out.notes, transient=True, disable=as_json) as progress:
            for start in progress.track(range(0, len(lines), IMPORT_LINES), description="importing"):
                part = lines[start : start + IMPORT_LINES]
                text = "\n".join(line for _, line in part)
                answer = client.upload("/admin/subscribers:import", text.encode(), "text/csv", reason=reason)
                for name in total:
                    total[name] += answer[name]
                problems += [one | {"line": part[one["line"] - 1][0]} for one in answer["problems"]]
        if as_json:
            out.document(total | {"problems": problems})
        out.line(f"{total['provisioned']} subscribers made, {total['failed']} lines failed")
        if problems:
            rows = [(one["line"], one["msisdn"], one["problem"], one["detail"]) for one in problems]
            out.table(["line", "number", "problem", "detail"], rows)
            raise typer.Exit(Exit.DEGRADED if total["provisioned"] else Exit.FAILED)


def rows_of(text: str) -> list[tuple[int, str]]:
    """The lines of a file that name a number, each with its place in the file. A head line is left out."""
    lines = [(place, line) for place, line in enumerate(text.splitlines(), 1) if line.strip(" ,\t")]
    head = lines[0][1].partition(",")[0].strip(' "').lower() if lines else ""
    return lines[1:] if head in ("msisdn", "number") else lines


def _step(whose: str, verb: str, done: str, reason: str, config_file: str | None, as_json: bool) -> None:
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = find(client, whose)
        shown(out, client.post(f"/admin/subscribers/{found['id']}:{verb}", etag=etag, reason=reason), done)


@app.command("suspend")
def suspend(
    whose: str = Whose, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Keep a subscriber out of the mailbox; messages still come in."""
    _step(whose, "suspend", "may not read any more", reason, config_file, as_json)


@app.command("resume")
def resume(
    whose: str = Whose, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Let a subscriber read again."""
    _step(whose, "resume", "may read again", reason, config_file, as_json)


@app.command("close")
def close(
    whose: str = Whose, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Close a subscriber for ever: the box is sealed, messages fail."""
    _step(whose, "close", "is closed", reason, config_file, as_json)


@app.command("add-number")
def add_number(
    whose: str = Whose,
    number: str = typer.Argument(help="A number that nobody has."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Give a subscriber one more number."""
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = find(client, whose)
        path = f"/admin/subscribers/{found['id']}/numbers"
        shown(out, client.post(path, {"msisdn": number}, etag=etag, reason=reason), "has the number too")


@app.command("port-out")
def port_out(
    number: str = typer.Argument(help="The number that leaves."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """A number went to another network: the box is sealed."""
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = find(client, number)
        path = f"/admin/subscribers/{found['id']}/numbers:port-out"
        shown(out, client.post(path, {"msisdn": number}, etag=etag, reason=reason), f"lost {number}")


@app.command("reassign")
def reassign(
    number: str = typer.Argument(help="The number that goes to somebody else."),
    imsi: str = typer.Option("", "--imsi", help="Of the new owner, if it is known."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Give a number to somebody else, who starts with an empty box."""
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = find(client, number)
        path = f"/admin/subscribers/{found['id']}/numbers:reassign"
        body = {"msisdn": number, "imsi": imsi}
        shown(out, client.post(path, body, etag=etag, reason=reason), f"lost {number} to a new subscriber")


@app.command("imsi")
def change_imsi(
    whose: str = Whose,
    imsi: str = typer.Argument(help="6 to 15 digits."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Another card: an IMSI that was not known is learned, a changed one closes the subscriber."""
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = find(client, whose)
        path = f"/admin/subscribers/{found['id']}/imsi"
        shown(out, client.put(path, {"imsi": imsi}, etag=etag, reason=reason), "has another card")
