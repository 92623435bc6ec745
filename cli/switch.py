"""`restante switch`: the switches of networks, and addresses that nobody registered.

In charge of: the switch commands. Not in charge of: what a switch is believed (`spoof.py`, the center).
"""

from __future__ import annotations

import typer

from .client import connect
from .objects import Kind, common_commands, edited, settings_of
from .output import ConfigFile, DryRun, Exit, Failure, Json, Output, Reason

__all__ = ["app"]

KIND = Kind(
    "switch", "spoof/switches", "swi", "name", ("name", "kind", "network", "trust", "addresses", "enabled")
)
app = common_commands(KIND, help="Switches: who messages of handsets come through.")


def address_of(text: str) -> dict[str, object]:
    """TYPE:VALUE, or e164_gt:PREFIX* for every number that begins so. Raises Failure."""
    type, colon, value = text.partition(":")
    if not colon or not value:
        raise Failure(
            f"{text!r} is not TYPE:VALUE", fix="ipa_name:MSC-A, e164_gt:447700900001", code=Exit.USAGE
        )
    return {"type": type, "value": value.removesuffix("*"), "prefix": value.endswith("*")}


@app.command("add")
def add(
    name: str = typer.Argument(help="Name of the switch."),
    addresses: list[str] = typer.Argument(
        metavar="TYPE:VALUE...",
        help="e164_gt, ipa_name, diameter_host, sip_host, ip, node_id or smpp_account; e164_gt:4477* is a prefix.",
    ),
    fields: list[str] = typer.Option([], "--set", metavar="NAME=VALUE", help="Any other field."),
    reason: Reason = "",
    dry_run: DryRun = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Register a switch."""
    with Output(as_json) as out, connect(config_file) as client:
        body = {"name": name, "addresses": [address_of(one) for one in addresses]} | settings_of(fields)
        made = client.post("/admin/spoof/switches", body, reason=reason, dry_run=dry_run or None)
        edited(out, made, f"{made.get('id')} {name} is a switch")


@app.command("unknown")
def unknown(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """List addresses that appeared in traffic and belong to no switch."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get("/admin/spoof/unknown-switches")
        if as_json:
            out.document(found)
            return
        rows = [
            (f"{one['type']}:{one['value']}", one["side"], one["link"], one["seen"], one["last_at"])
            for one in found
        ]
        out.table(["address", "side", "link", "seen", "last"], rows)


@app.command("forget")
def forget(
    address: str = typer.Argument(metavar="TYPE:VALUE"), config_file: ConfigFile = None, as_json: Json = False
) -> None:
    """Take an address out of the list of unknown ones."""
    with Output(as_json) as out, connect(config_file) as client:
        given = address_of(address)
        client.delete("/admin/spoof/unknown-switches", type=given["type"], value=given["value"])
        edited(out, None, f"{address} is forgotten")


@app.command("serves")
def serves(
    number: str = typer.Argument(help="As in +447700900123."),
    refresh: bool = typer.Option(False, "--refresh", help="Ask the register now."),
    flush: bool = typer.Option(False, "--flush", help="Forget what is remembered."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show which switch serves a subscriber. Each look is audited."""
    with Output(as_json) as out, connect(config_file) as client:
        path = f"/admin/spoof/affiliations/{number}"
        if flush:
            client.delete(path)
            edited(out, None, f"{number} is forgotten")
            return
        found = client.post(f"{path}:refresh", {}) if refresh else client.get(path)
        if as_json:
            out.document(found)
            return
        for name in ("served_by", "previous"):
            found[name] = [f"{one['address']} ({one['switch'] or 'not registered'})" for one in found[name]]
        out.facts(found)
