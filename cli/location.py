"""`restante location`: where subscribers are, and where cells are.

In charge of: the location commands. Not in charge of: what a location decides (`zone.py`, the center).
"""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

import typer
from rich.progress import Progress

from .client import connect
from .output import ConfigFile, DryRun, Exit, Failure, Json, Output, Reason

__all__ = ["app"]

app = typer.Typer(help="Where subscribers and cells are.", no_args_is_help=True)

IMPORT_LINES = 20_000  #: lines of one request; the bar moves after each


@app.command("set")
def set_location(
    number: str = typer.Argument(help="As in +447700900123."),
    latitude: float = typer.Argument(min=-90, max=90),
    longitude: float = typer.Argument(min=-180, max=180),
    accuracy_m: float = typer.Option(50.0, "--accuracy", min=0, help="Metres."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Tell where somebody is. Put -- before negative numbers."""
    with Output(as_json) as out, connect(config_file) as client:
        body = {"latitude": latitude, "longitude": longitude, "accuracy_m": accuracy_m}
        client.put(f"/admin/locations/{number}", body)
        if as_json:
            out.document({"msisdn": number, **body})
            return
        out.line(f"{number} is at {latitude}, {longitude}")


@app.command("show")
def show(
    number: str = typer.Argument(help="As in +447700900123."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show where somebody was seen last. Each look is audited."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get(f"/admin/locations/{number}")
        if as_json:
            out.document(found)
            return
        out.facts(found)


@app.command("import-cells")
def import_cells(
    file: Path = typer.Argument(
        metavar="FILE.csv", help="OpenCellID's columns, or a header that names them."
    ),
    source: str = typer.Option("import", "--source", help="Kept with each cell."),
    dry_run: DryRun = False,
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Take a list of cells in. Bad lines are listed and leave the others alone."""
    with Output(as_json) as out, connect(config_file) as client:
        total = {"lines": 0, "taken": 0, "refused": 0}
        refusals: list[dict[str, object]] = []
        try:
            with (
                file.open(encoding="utf-8-sig") as lines,
                Progress(console=out.notes, transient=True, disable=as_json) as progress,
            ):
                bar = progress.add_task("importing", total=file.stat().st_size)
                first = next(lines, "")
                head = [first] if "mcc" in first.lower() else []  # each request needs it
                rest, before = chain([] if head else [first], lines), 0
                while piece := list(islice(rest, IMPORT_LINES)):
                    text = "".join([*head, *piece]).encode()
                    answer = client.upload(
                        "/admin/cells:import", text, "text/csv", reason=reason, source=source, dry_run=dry_run
                    )
                    for name in total:
                        total[name] += answer[name]
                    refusals += [one | {"line": one["line"] + before} for one in answer["refusals"]]
                    before += len(piece)
                    progress.advance(bar, len(text))
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {file}: {error}") from error
        if as_json:
            out.document({**total, "refusals": refusals})
        else:
            out.line(f"{total['taken']} cells taken, {total['refused']} lines refused")
            if refusals:
                out.table(["line", "why"], [(one["line"], one["why"]) for one in refusals[:100]])
        if total["refused"]:
            raise typer.Exit(Exit.DEGRADED if total["taken"] else Exit.FAILED)
