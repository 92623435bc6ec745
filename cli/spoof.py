"""`restante spoof`: who is believed, why, and what became of those who were not.

In charge of: evaluating a message, verdicts, quarantine, drafts of policies on past verdicts, and the objects beside
switches. Not in charge of: switches (`switch.py`), judging (the center).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from .client import Client, connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Exit, Failure, Json, Output, Reason, spelled

__all__ = ["app"]

app = typer.Typer(help="Anti-spoofing: who is believed, and why.", no_args_is_help=True)

#: command -> kind; the objects that need no command of their own but `add`.
OBJECTS = {
    "policy": Kind(
        "spoof policy", "spoof/policies", "spo", "name", ("name", "ingress", "mode", "accounts", "rules")
    ),
    "network": Kind(
        "spoof network", "spoof/networks", "net", "name", ("name", "own", "number_ranges", "gt_prefixes")
    ),
    "group": Kind("spoof group", "spoof/groups", "swg", "name", ("name", "kind", "members")),
    "ported": Kind(
        "spoof ported", "spoof/ported-numbers", "por", "number", ("number", "network", "valid_from")
    ),
    "rule": Kind("spoof rule", "spoof/sender-rules", "srl", "name", ("name", "account", "pattern", "allow")),
    "protected": Kind(
        "spoof protected", "spoof/protected-senders", "pse", "name", ("name", "owners", "within")
    ),
    "exemption": Kind(
        "spoof exemption",
        "spoof/exemptions",
        "spx",
        "name",
        ("name", "kind", "value", "expires_at", "reason"),
    ),
}


def _objects(kind: Kind, help: str) -> typer.Typer:
    commands = common_commands(kind, help=help)

    @commands.command("add")
    def add(
        name: str = typer.Argument(metavar=kind.key.upper()),
        fields: list[str] = typer.Argument(None, metavar="NAME=VALUE...", help="Fields; lists as JSON."),
        reason: Reason = "",
        dry_run: DryRun = False,
        config_file: ConfigFile = None,
        as_json: Json = False,
    ) -> None:
        """Make one."""
        with Output(as_json) as out, connect(config_file) as client:
            body = {kind.key: name} | settings_of(fields or [])
            made = client.post(f"/admin/{kind.plural}", body, reason=reason, dry_run=dry_run or None)
            edited(out, made, f"{made.get('id')} {name} is made")

    return commands


app.add_typer(_objects(OBJECTS["policy"], "What follows from verdicts."), name="policy")
app.add_typer(_objects(OBJECTS["network"], "Networks: numbers and global titles."), name="network")
app.add_typer(_objects(OBJECTS["group"], "Switches that count as one."), name="group")
app.add_typer(_objects(OBJECTS["ported"], "Numbers that another network has now."), name="ported")
app.add_typer(_objects(OBJECTS["rule"], "Senders that accounts may use."), name="rule")
app.add_typer(_objects(OBJECTS["protected"], "Names that only their owners may use."), name="protected")
app.add_typer(_objects(OBJECTS["exemption"], "Who is not judged, until when and why."), name="exemption")


@app.command("evaluate")
def evaluate(
    sender: str = typer.Argument(metavar="FROM", help="+447700900123, a short code, or @Name."),
    account: str = typer.Argument(help="The link: system_id or id."),
    switch: str = typer.Option(
        "", "--switch", help="The switch it came through: ipa_name:MSC-A; else the link."
    ),
    named: bool = typer.Option(False, "--named", help="The link merely names that switch."),
    imsi: str = typer.Option("", "--imsi", help="Of the sender, as the switch says."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Judge a message that nobody sent, step by step. Registers are asked; nothing is recorded."""
    with Output(as_json) as out, connect(config_file) as client:
        body = {"from": sender, "account": account, "switch": switch, "named": named, "imsi": imsi}
        found = client.post("/admin/spoof:evaluate", body)
        if as_json:
            out.document(found)
            return
        out.table(["step", "says"], [(one["step"], one["says"]) for one in found["steps"]])
        mode = "" if found["enforced"] or found["action"] == "accept" else ", monitor only"
        out.line(f"{found['verdict']} ({found['reason']}) -> {found['action']}{mode}")


@app.command("verdicts")
def verdicts(
    id: str = typer.Argument("", help="One of them: spv_0_20780_5."),
    sender: str = typer.Option("", "--sender"),
    link: str = typer.Option("", "--link", help="system_id"),
    verdict: str = typer.Option(
        "", "--verdict", help="spoofed, unverifiable, genuine, exempt, not-applicable"
    ),
    reason: str = typer.Option("", "--reason"),
    message: str = typer.Option("", "--message", help="Message id."),
    since: str = typer.Option("", "--since", help="As in 2026-07-01T00:00:00Z."),
    limit: int = typer.Option(50, "--limit", min=1, max=10_000),
    export: Path | None = typer.Option(None, "--csv", metavar="FILE", help="Write all of them into a file."),
    verify: bool = typer.Option(False, "--verify", help="Say whether anybody changed the evidence."),
    mark: str = typer.Option("", "--mark", help="false-positive or confirmed, with an id."),
    note: str = typer.Option("", "--note", help="With --mark."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Search, export, verify or review evidence."""
    given = {
        "sender": sender,
        "link": link,
        "verdict": verdict,
        "reason": reason,
        "message": message,
        "since": since,
    }
    filters = {name: value for name, value in given.items() if value}
    with Output(as_json) as out, connect(config_file) as client:
        if verify:
            found = client.post("/admin/spoof/verdicts:verify", {})
            _show(out, found, ("holds", "rows", "broken", "breaks", "heads"))
            if not found["holds"]:
                raise typer.Exit(Exit.FAILED)
        elif mark:
            _mark(out, client, id, mark, note)
        elif id:
            _show(out, client.get(f"/admin/spoof/verdicts/{id}"), ())
        elif export is not None:
            _export(out, client, filters, export)
        else:
            items = list(client.pages("/admin/spoof/verdicts", limit=limit, **filters))[:limit]
            if as_json:
                out.document(items)
                return
            columns = ("id", "at", "link", "sender", "trusted", "verdict", "reason", "action")
            out.table(list(columns), [[one[name] for name in columns] for one in items])


def _mark(out: Output, client: Client, id: str, result: str, note: str) -> None:
    if not id:
        raise Failure("--mark needs the id of a verdict", code=Exit.USAGE)
    answer = client.post(f"/admin/spoof/verdicts/{id}:review", {"result": result, "note": note})
    if out.as_json:
        out.document(answer)
        return
    out.line(f"{id} is marked {result}")
    if answer["suggestion"]:
        out.note(f"an exemption that would let it pass: {json.dumps(answer['suggestion'])}")


def _export(out: Output, client: Client, filters: Mapping[str, str], file: Path) -> None:
    document = client.download("/admin/spoof/verdicts:export", **filters)
    try:
        file.write_bytes(document)
    except OSError as error:
        raise Failure(f"cannot write {file}: {error}") from error
    if out.as_json:
        out.document({"file": str(file), "octets": len(document)})
        return
    out.line(f"{file}: {len(document)} octets")


def _show(out: Output, found: dict[str, Any], names: tuple[str, ...]) -> None:
    if out.as_json:
        out.document(found)
        return
    facts = {name: spelled(found[name]) for name in names or tuple(found) if name != "facts"}
    facts |= {name: spelled(value) for name, value in found.get("facts", {}).items()}
    out.facts(facts)


@app.command("quarantine")
def quarantine(
    id: str = typer.Argument("", help="A message to decide about; else they are listed."),
    release: bool = typer.Option(False, "--release", help="Let it go."),
    discard: bool = typer.Option(False, "--discard", help="End it as rejected."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List quarantined messages, let one go, or end it."""
    with Output(as_json) as out, connect(config_file) as client:
        if id:
            if release is discard:
                raise Failure("say --release or --discard", code=Exit.USAGE)
            verb = "release" if release else "discard"
            answer = client.post(f"/admin/spoof/quarantine/{id}:{verb}", {}, reason=reason)
            edited(out, answer, f"{id} is {verb}d" if release else f"{id} is {verb}ed")
            return
        found = client.get("/admin/spoof/quarantine")
        if as_json:
            out.document(found)
            return
        rows: list[tuple[str, ...]] = []
        for one in found:
            reason_given = one["verdict"]["reason"] if one["verdict"] else ""
            rows.append((one["id"], one["sender"], one["recipient"], reason_given, one["expires_at"]))
        out.table(["id", "sender", "recipient", "reason", "expires"], rows)


@app.command("replay")
def replay(
    since: str = typer.Argument(help="As in 2026-07-01T00:00:00Z."),
    until: str = typer.Argument(),
    policies: list[Path] = typer.Option([], "--policy", metavar="FILE.json", help="A policy as it would be."),
    link: str = typer.Option("", "--link", help="Only of this account."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Try drafts of policies on past verdicts: what would have happened to whom."""
    try:
        drafts = [json.loads(file.read_text(encoding="utf-8")) for file in policies]
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read a draft: {error}") from error
    with Output(as_json) as out, connect(config_file) as client:
        body = {"since": since, "until": until, "policies": drafts, "link": link}
        answer = client.post("/admin/spoof:replay", body)
        if as_json:
            out.document(answer)
            return
        acts = sorted({*answer["before"], *answer["after"]})
        rows = [(act, answer["before"].get(act, 0), answer["after"].get(act, 0)) for act in acts]
        out.table(["action", "recorded", "draft"], rows)
        different = len(answer["changed"]) + answer["more_changed"]
        out.line(f"{answer['verdicts']} verdicts; {different} would differ")
        for one in answer["changed"][:20]:
            out.line(f"{one['id']} {one['sender']} {one['verdict']}: {one['before']} -> {one['after']}")
