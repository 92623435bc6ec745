"""`restante link`: other message centers at which we bind.

In charge of: the link commands, their states and passwords. Not in charge of: binding (the center).
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from .client import connect
from .objects import Kind, Objects, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Failure, Json, Output, Reason

__all__ = ["app"]

KIND = Kind("link", "links", "lnk", "name", ("name", "state", "role", "addresses", "system_id", "account"))
app = common_commands(KIND, help="Links: other message centers at which we bind.")

Name = typer.Argument(metavar="NAME", help="name, or an id as in lnk_3")
Password = typer.Option(None, "--password", "-p", help="That the other center gave us; - reads it.")

MOST = 8  #: characters of a password, SMPP 3.4 §5.2.2


def _given(text: str | None) -> str | None:
    """The password of an option; `-` reads it from standard input. Raises typer.BadParameter."""
    if text == "-":
        text = sys.stdin.readline().rstrip("\n")
    if text is not None and len(text) > MOST:
        raise typer.BadParameter(f"SMPP passwords have at most {MOST} characters", param_hint="--password")
    return text


@app.command("add")
def add(
    name: str = typer.Argument(help="A unique name."),
    addresses: list[str] = typer.Argument(
        metavar="HOST:PORT...", help="Where it listens; with several, in turn."
    ),
    system_id: str = typer.Option(..., "--as", metavar="SYSTEM_ID", help="Our name there."),
    password: str | None = Password,
    account: str = typer.Option("", "--account", help="As which account its messages are taken in."),
    tls: bool = typer.Option(False, "--tls", help="Over TLS; its certificate is checked."),
    fields: list[str] = typer.Option(
        [], "--set", metavar="NAME=VALUE", help="Any other field; lists as JSON."
    ),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a link and bind. Without a password it binds with an empty one."""
    wanted = _given(password)
    with Output(as_json) as out, connect(config_file) as client:
        body: dict[str, Any] = {
            "name": name, "addresses": addresses, "system_id": system_id, "account": account, "tls": tls,
        }  # fmt: skip
        body |= settings_of(fields)
        state = body.get("state", "running")
        if wanted is not None and state == "running" and not dry_run:
            body["state"] = "suspended"  # it is not to bind before it has its password
        made = client.post("/admin/links", body, reason=reason, dry_run=dry_run or None)
        if wanted is not None and not dry_run:
            try:
                client.put(f"/admin/links/{made['id']}/password", {"password": wanted}, reason=reason)
                if state == "running":
                    etag = f'"{made["version"]}"'
                    made = client.post(f"/admin/links/{made['id']}:resume", etag=etag, reason=reason)
            except Failure as failure:
                failure.fix = (
                    f"the link is there, suspended: restante link password {name}, then resume {name}"
                )
                raise
        edited(out, made, f"{made.get('id')} {name} is {made.get('state')}")


@app.command("password")
def password(
    name: str = Name,
    password: str = typer.Option("-", "--password", "-p", help="- reads it."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Keep a new password that the other center gave us. Binds that stand stay."""
    wanted = _given(password)
    with Output(as_json) as out, connect(config_file) as client:
        found = Objects(client, KIND).find(name)[0]
        client.put(f"/admin/links/{found['id']}/password", {"password": wanted}, reason=reason)
        edited(out, None, f"{found['name']} binds with the new password from now on")


@app.command("status")
def status(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show how every link is now."""
    with Output(as_json) as out, connect(config_file) as client:
        items = client.get("/admin/links:status")["items"]
        if as_json:
            out.document(items)
            return
        rows: list[list[object]] = []
        for one in items:
            standing = sum(bind["bound"] for bind in one["binds"])
            troubles = sorted(
                {bind["trouble"] for bind in one["binds"] if bind["trouble"] and not bind["bound"]}
            )
            rows.append(
                [
                    one["name"], one["condition"], f"{standing} of {len(one['binds'])}", one["in_flight"],
                    one["awaited_receipts"], one["kept_receipts"], "; ".join(troubles),
                ]
            )  # fmt: skip
        out.table(["name", "condition", "bound", "in flight", "awaited", "kept", "trouble"], rows)


def _turn(verb: str, name: str, done: str, reason: str, config_file: str | None, as_json: bool) -> None:
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = Objects(client, KIND).find(name)
        answer = client.post(f"/admin/links/{found['id']}:{verb}", etag=etag, reason=reason)
        edited(out, answer, f"{found['name']} {done}")


@app.command("suspend")
def suspend(
    name: str = Name, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Leave the other center; what waits for it waits."""
    _turn("suspend", name, "leaves", reason, config_file, as_json)


@app.command("resume")
def resume(
    name: str = Name, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Bind and exchange messages again."""
    _turn("resume", name, "is running", reason, config_file, as_json)


@app.command("drain")
def drain(
    name: str = Name, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Hand nothing new over; leave when everything handed over has its outcome."""
    _turn("drain", name, "finishes what it has, then leaves", reason, config_file, as_json)


@app.command("isolate")
def isolate(
    name: str = Name, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Stay bound, and exchange nothing but receipts."""
    _turn("isolate", name, "stays bound in silence", reason, config_file, as_json)
