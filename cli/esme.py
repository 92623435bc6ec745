"""`restante esme`: accounts of applications, switches and other networks.

In charge of: the account commands, passwords, keys, binds. Not in charge of: what an account may do (the center).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Any

import typer

from .client import connect
from .objects import Kind, Objects, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Failure, Json, Output, Reason

__all__ = ["app", "owned_rule"]

KIND = Kind(
    "esme", "accounts", "acc", "system_id", ("system_id", "role", "numbers", "suspended", "description")
)
app = common_commands(KIND, help="Accounts: applications, switches, other networks.")

SMPP_PASSWORD = 8  #: characters that a bind has room for, SMPP 3.4 §5.2.2

SystemId = typer.Argument(metavar="SYSTEM_ID", help="system_id, or an id as in acc_3")


def owned_rule(text: str) -> str:
    """What `--owns` means: an international number is the start of what is owned; a short code or name is itself."""
    return f"{text}*" if text.startswith("+") and not text.endswith("*") else text


def password_given(text: str | None) -> str | None:
    """The password of an option; `-` reads it from standard input. Raises typer.BadParameter."""
    if text == "-":
        text = sys.stdin.readline().rstrip("\n")
    if text is not None and not 0 < len(text) <= SMPP_PASSWORD:
        raise typer.BadParameter(
            f"SMPP passwords have 1 to {SMPP_PASSWORD} characters", param_hint="--password"
        )
    return text


Password = typer.Option(
    None, "--password", "-p", help="Up to 8 characters; - reads it; without it one is made."
)


@app.command("add")
def add(
    system_id: str = typer.Argument(metavar="SYSTEM_ID", help="Its name at bind, up to 15 characters."),
    password: str | None = Password,
    owns: list[str] = typer.Option(
        [], "--owns", metavar="PREFIX", help="Numbers that reach it: +4477, 12345, @Name."
    ),
    role: str = typer.Option("esme", "--role", help="esme, switch or interconnect."),
    fields: list[str] = typer.Option(
        [], "--set", metavar="NAME=VALUE", help="Any other field; lists as JSON."
    ),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make an account that can bind. Its password is printed once."""
    with Output(as_json) as out, connect(config_file) as client:
        wanted = password_given(password)
        body = {"system_id": system_id, "role": role, "numbers": [owned_rule(one) for one in owns]}
        body |= settings_of(fields)
        made = client.post("/admin/accounts", body, reason=reason, dry_run=dry_run or None)
        if dry_run:
            edited(out, made, "")
            return
        path = f"/admin/accounts/{made['id']}/credentials:rotate"
        try:
            shown = client.post(path, {"password": wanted} if wanted else {}, reason=reason)["password"]
        except Failure as failure:
            failure.fix = f"the account is there, its password is not: restante esme password {system_id}"
            raise
        if as_json:
            out.document(made | {"password": shown})
            return
        edited(out, made, f"{made['id']} {system_id} may bind with the password {shown}")


@app.command("password")
def password(
    system_id: str = SystemId,
    password: str | None = Password,
    keep_previous_s: int = typer.Option(
        0, "--keep-previous", min=0, help="Seconds for which the old one works too."
    ),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Give an account a new password, printed once. Open binds stay."""
    with Output(as_json) as out, connect(config_file) as client:
        wanted = password_given(password)
        found = Objects(client, KIND).find(system_id)[0]
        body: dict[str, Any] = {"keep_previous_s": keep_previous_s} | ({"password": wanted} if wanted else {})
        shown = client.post(f"/admin/accounts/{found['id']}/credentials:rotate", body, reason=reason)[
            "password"
        ]
        if as_json:
            out.document({"id": found["id"], "system_id": found["system_id"], "password": shown})
        out.line(f"{found['system_id']} has the password {shown}")


@app.command("key")
def key(
    system_id: str = SystemId,
    label: str = typer.Option("", "--label", help="What it is for."),
    networks: list[str] = typer.Option(
        [], "--network", metavar="CIDR", help="Where it may come from; default: anywhere."
    ),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make an API key for sending over HTTP. It is printed once."""
    with Output(as_json) as out, connect(config_file) as client:
        found = Objects(client, KIND).find(system_id)[0]
        body = {"label": label, "networks": networks}
        made = client.post(f"/admin/accounts/{found['id']}/api-keys", body, reason=reason)
        if as_json:
            out.document(made)
        out.line(f"{made['id']} of {found['system_id']}: {made['token']}")


@app.command("keys")
def keys(system_id: str = SystemId, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """List an account's API keys, without their secrets."""
    with Output(as_json) as out, connect(config_file) as client:
        found = Objects(client, KIND).find(system_id)[0]
        items = client.get(f"/admin/accounts/{found['id']}/api-keys")["items"]
        if as_json:
            out.document(items)
        out.table(
            ["id", "label", "made", "last used", "networks"],
            [(k["id"], k["label"], k["created_at"], k["last_used_at"], k["networks"]) for k in items],
        )


@app.command("revoke")
def revoke(
    key_id: str = typer.Argument(metavar="KEY", help="As in key_abc."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """End an API key."""
    with Output(as_json) as out, connect(config_file) as client:
        client.delete(f"/admin/api-keys/{key_id}", reason=reason)
        edited(out, None, f"{key_id} is not good any more")


@app.command("suspend")
def suspend(
    system_id: str = SystemId, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Keep an account out; its messages stay."""
    _turn(system_id, "suspend", "may not bind any more", reason, config_file, as_json)


@app.command("resume")
def resume(
    system_id: str = SystemId, reason: Reason = "", config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Let an account in again."""
    _turn(system_id, "resume", "may bind again", reason, config_file, as_json)


def _turn(system_id: str, verb: str, done: str, reason: str, config_file: str | None, as_json: bool) -> None:
    with Output(as_json) as out, connect(config_file) as client:
        found, etag = Objects(client, KIND).find(system_id)
        answer = client.post(f"/admin/accounts/{found['id']}:{verb}", etag=etag, reason=reason)
        edited(out, answer, f"{found['system_id']} {done}")


@app.command("binds")
def binds(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show who is bound now."""
    with Output(as_json) as out, connect(config_file) as client:
        items = client.get("/admin/binds")["items"]
        if as_json:
            out.document(items)
        columns = ("id", "system_id", "bind_type", "interface_version", "peer", "bound_at")
        out.table(columns, [[one[name] for name in columns] for one in items])


@app.command("unbind")
def unbind(
    bind: str = typer.Argument(metavar="BIND", help="As in bnd_4; `restante esme binds` lists them."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Ask an ESME to leave."""
    with Output(as_json) as out, connect(config_file) as client:
        client.delete(f"/admin/binds/{bind}", reason=reason)
        edited(out, None, f"{bind} is asked to leave")


class SandboxMode(StrEnum):
    """What an account may do with the test numbers."""

    OFF = "off"
    ON = "on"
    ONLY = "only"


@app.command("sandbox")
def sandbox(
    system_id: str = typer.Argument("", metavar="[SYSTEM_ID]", help="Without it the numbers are listed."),
    mode: SandboxMode = typer.Argument(SandboxMode.ON, help="on, off, or only: it may send nowhere else."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List the numbers that behave as they say, or open and close them for an account."""
    with Output(as_json) as out, connect(config_file) as client:
        if not system_id:
            found = client.get("/admin/sandbox")
            if as_json:
                out.document(found)
            columns = ["example", "name", "says"]
            out.table(columns, [[one[name] for name in columns] for one in found["numbers"]])
            out.line(f"accounts: {', '.join(found['accounts']) or 'none'}")
            return
        body = {"sandbox": mode.value}
        answer = Objects(client, KIND).patch(system_id, body, reason=reason, dry_run=dry_run)
        edited(out, answer, f"{system_id} has the sandbox {mode.value}")
