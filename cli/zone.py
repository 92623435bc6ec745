"""`restante zone`: home zones, what they decide, and files of them.

In charge of: the zone commands. Not in charge of: geometry and decisions (the center), locations (`location.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import typer

from .client import connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Exit, Failure, Json, Output, Reason, spelled

__all__ = ["app"]

KIND = Kind("zone", "zones", "zon", "name", ("name", "tags", "enabled", "description"))
app = common_commands(
    KIND, help="Home zones: where people may be reached, and why a message went where it went."
)

FORMATS = {
    ".geojson": "geojson",
    ".json": "geojson",
    ".kml": "kml",
    ".wkt": "wkt",
    ".txt": "wkt",
    ".zip": "shp",
}
Format = typer.Option("", "--format", help="geojson, kml, wkt or shp; else by the file's name.")


def format_of(file: Path, given: str) -> str:
    """The format that was named, or the one of the file's name. Raises Failure."""
    found = given or FORMATS.get(file.suffix.lower(), "")
    if found not in FORMATS.values():
        raise Failure(
            f"cannot tell the format of {file}", fix="--format geojson|kml|wkt|shp", code=Exit.USAGE
        )
    return found


@app.command("circle")
def circle(
    name: str = typer.Argument(help="Name of the new zone."),
    latitude: float = typer.Argument(min=-90, max=90),
    longitude: float = typer.Argument(min=-180, max=180),
    radius_m: float = typer.Argument(min=1, help="Metres."),
    fields: list[str] = typer.Option([], "--set", metavar="NAME=VALUE", help="Any other field."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a zone of a circle. Put -- before negative numbers."""
    shape = {"kind": "circle", "latitude": latitude, "longitude": longitude, "radius_m": radius_m}
    with Output(as_json) as out, connect(config_file) as client:
        body = {"name": name, "shape": shape} | settings_of(fields)
        made = client.post("/admin/zones", body, reason=reason, dry_run=dry_run or None)
        edited(out, made, f"{made.get('id')} {name} is a zone")


@app.command("import")
def import_file(
    file: Path = typer.Argument(metavar="FILE", help="GeoJSON, KML, WKT or a zipped Shapefile."),
    format: str = Format,
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make zones of a file: all of them or, if anything is wrong, none. Zones of the same name are replaced."""
    with Output(as_json) as out, connect(config_file) as client:
        try:
            document = file.read_bytes()
        except OSError as error:
            raise Failure(f"cannot read {file}: {error}") from error
        mode = "dry-run" if dry_run else "apply"
        given = {"format": format_of(file, format), "mode": mode}
        answer = client.upload(
            "/admin/zones:import", document, "application/octet-stream", reason=reason, **given
        )
        if as_json:
            out.document(answer)
            return
        rows = [
            (one["name"], one["id"] or "", one["action"], len(one["warnings"])) for one in answer["items"]
        ]
        out.table(["name", "id", "action", "warnings"], rows)
        for one in answer["skipped"]:
            out.note(f"left out {one['pointer']}: {one['detail']}")
        if dry_run:
            out.line("nothing was changed (--dry-run)")


@app.command("export")
def export_file(
    file: Path = typer.Argument(metavar="FILE", help="It is written anew."),
    format: str = Format,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Write every zone into a file."""
    with Output(as_json) as out, connect(config_file) as client:
        document = client.download("/admin/zones:export", format=format_of(file, format))
        try:
            file.write_bytes(document)
        except OSError as error:
            raise Failure(f"cannot write {file}: {error}") from error
        if as_json:
            out.document({"file": str(file), "octets": len(document)})
            return
        out.line(f"{file}: {len(document)} octets")


@app.command("contains")
def contains(
    latitude: float = typer.Argument(min=-90, max=90),
    longitude: float = typer.Argument(min=-180, max=180),
    accuracy_m: float = typer.Option(0.0, "--accuracy", min=0, help="Metres."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show which zones hold a place."""
    with Output(as_json) as out, connect(config_file) as client:
        answer = client.get("/admin/zones:containing", lat=latitude, lon=longitude, accuracy_m=accuracy_m)
        if as_json:
            out.document(answer)
            return
        names = ("id", "name", "state", "share")
        out.table(names, [[spelled(one[name]) for name in names] for one in answer["items"]])


@app.command("place")
def place(
    text: str = typer.Argument(help='As in "51 30 0N 0 7 12W".'),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Turn coordinates as people write them into degrees."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get("/admin/zones:place", text=text)
        if as_json:
            out.document(found)
            return
        out.line(f"{found['latitude']:.7f} {found['longitude']:.7f}")


@app.command("explain")
def explain(
    sender: str = typer.Argument(metavar="FROM", help="+447700900123, a short code, or @Name."),
    recipient: str = typer.Argument(metavar="TO"),
    application: bool = typer.Option(False, "--application", help="An ESME sends it."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Say what would be decided about a message, and why. Nothing is sent."""
    with Output(as_json) as out, connect(config_file) as client:
        body = {"from": sender, "to": recipient, "from_application": application}
        answer = client.post("/admin/decisions:explain", body)
        if as_json:
            out.document(answer)
            return
        if not answer["steps"]:
            out.line("no policy concerns this message")
        for step in cast("list[dict[str, Any]]", answer["steps"]):
            out.line(
                f"{step['stage']}: {step['policy']} -> {step['act']} ({step['state']}, {step['reason']})"
            )
            rows = [(one["role"], one["zone"], one["state"], one["share"]) for one in step["zones"]]
            if rows:
                out.table(["who", "zone", "state", "share"], rows)


@app.command("heatmap")
def heatmap(
    since: str = typer.Argument(help="As in 2026-07-01T00:00:00Z."),
    until: str = typer.Argument(),
    bin: str = typer.Option("0.1", "--bin", help="Degrees: 0.01, 0.02, 0.05, 0.1, 0.2, 0.5 or 1."),
    acts: list[str] = typer.Option([], "--act", metavar="ACT", help="Only these: block, hold, pass …"),
    bbox: str = typer.Option("", "--bbox", help="west,south,east,north"),
    limit: int = typer.Option(50, "--limit", min=1, max=100_000, help="Squares with most people."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Count people and decisions in squares of the map; squares with few people are not shown."""
    with Output(as_json) as out, connect(config_file) as client:
        asked: dict[str, object] = {"since": since, "until": until, "bin": bin}
        asked |= {"act": acts} if acts else {}
        asked |= {"bbox": bbox} if bbox else {}
        answer = client.get("/admin/decisions:heatmap", **asked)
        if as_json:
            out.document(answer)
            return
        bins = sorted(cast("list[dict[str, Any]]", answer["bins"]), key=lambda one: -int(one["people"]))
        names = ("south", "west", "north", "east", "people", "decisions")
        out.table(names, [[spelled(one[name]) for name in names] for one in bins[:limit]])
        if len(bins) > limit:
            out.note(f"{len(bins) - limit} squares more (--limit)")
        out.line(f"{answer['hidden']} squares with fewer than {answer['k']} people are not shown")
        if not answer["finished"]:
            out.note("only the newest records were read")


@app.command("simulate")
def simulate(
    since: str = typer.Argument(help="As in 2026-07-01T00:00:00Z."),
    until: str = typer.Argument(),
    policies: list[Path] = typer.Option([], "--policy", metavar="FILE.json", help="A policy as it would be."),
    zones: list[Path] = typer.Option([], "--zone", metavar="FILE.json", help="A zone as it would be."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Try drafts on recorded decisions: how many messages would have fared differently, and which."""
    import json

    def drafts(files: list[Path]) -> list[Any]:
        try:
            return [json.loads(file.read_text(encoding="utf-8")) for file in files]
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read a draft: {error}") from error

    with Output(as_json) as out, connect(config_file) as client:
        body = {"since": since, "until": until, "policies": drafts(policies), "zones": drafts(zones)}
        answer = client.post("/admin/decisions:simulate", body)
        if as_json:
            out.document(answer)
            return
        acts = sorted({*answer["before"], *answer["after"]})
        out.table(
            ["act", "recorded", "draft"],
            [(act, answer["before"].get(act, 0), answer["after"].get(act, 0)) for act in acts],
        )
        different = len(answer["changed"]) + answer["more_changed"]
        out.line(
            f"{answer['decisions']} decisions about {answer['messages']} messages; {different} would differ"
        )
        for one in answer["changed"][:20]:
            out.line(f"{one['message_id']}: {one['before']} -> {one['after']}")
