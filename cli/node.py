"""`restante node`: the nodes of a center, and taking one out of service.

In charge of: listing them, asking one to drain, and waiting until it has ended. Not in charge of: how a node drains
(the center), or starting it again (whoever supervises its process).
"""

from __future__ import annotations

import time
from typing import Any

import typer

from .client import Client, connect
from .objects import edited
from .output import ConfigFile, Exit, Failure, Json, Output, Reason

__all__ = ["app"]

COLUMNS = ("id", "name", "state", "here", "messages", "version", "address", "started_at", "heartbeat_at")
LOOK_S = 0.2  #: between two looks at a node that drains

app = typer.Typer(no_args_is_help=True, help="Nodes: processes that serve this center together.")


@app.command("list")
def list_nodes(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show every node, how it is, and how many messages it works on."""
    with Output(as_json) as out, connect(config_file) as client:
        items = client.get("/admin/nodes")["items"]
        if as_json:
            out.document(items)
        out.table(COLUMNS, [[one[name] for name in COLUMNS] for one in items])


@app.command("drain")
def drain(
    name: str = typer.Argument(metavar="NODE", help="name, or an id as in nod_2"),
    wait: float = typer.Option(
        0, "--wait", metavar="SECONDS", min=0, help="Wait so long for its end; exit code 3 if it goes on."
    ),
    last: bool = typer.Option(False, "--last", help="Also if no other node serves: the center stops."),
    reason: Reason = "",
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Let a node take nothing new, unbind its peers, hand over what it has not done, and end.

    Ask through another node to see its end: with --config of that one, or RESTANTE_URL.
    """
    with Output(as_json) as out, connect(config_file) as client:
        found = _find(client, name)
        client.post(f"/admin/nodes/{found['id']}:drain", reason=reason, last=last or None)
        ended = _wait_for_end(client, found, wait) if wait else False
        found["state"] = "ended" if ended else "draining"
        edited(out, found, f"{found['name']} {'has ended' if ended else 'drains'}")
        if wait and not ended:
            raise typer.Exit(Exit.DEGRADED)


def _find(client: Client, name: str) -> dict[str, Any]:
    """A node by name or id. Raises Failure."""
    for one in client.get("/admin/nodes")["items"]:
        if name in (one["name"], one["id"]):
            return dict(one)
    raise Failure(f"there is no node {name}", fix="restante node list")


def _wait_for_end(client: Client, found: dict[str, Any], seconds: float) -> bool:
    """True once that life is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            items = client.get("/admin/nodes")["items"]
        except Failure:
            if found["here"]:  # its door has closed: the rest of its end is not seen from here
                return True
            raise
        now = next((one for one in items if one["id"] == found["id"]), None)
        if now is None or now["epoch"] != found["epoch"] or now["state"] == "ended":
            return True
        time.sleep(LOOK_S)
    return False
