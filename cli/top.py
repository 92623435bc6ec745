"""`restante top`: how the center is, live on one screen.

In charge of: drawing the overview again and again. Not in charge of: the figures (the center's /admin/overview).
"""

from __future__ import annotations

import time
from typing import Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .client import Client, connect
from .output import ConfigFile, Exit, Failure, Json, Output

__all__ = ["screen", "top"]

BINDS_SHOWN = 20

Overview = dict[str, Any]


def top(
    once: bool = typer.Option(False, "--once", help="Show it once instead of until Ctrl-C."),
    every_s: float = typer.Option(1.0, "--every", min=0.2, help="Seconds between two looks."),
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show how the center is, live. With --once or --json: one look, exit code 3 if something is wrong."""
    with Output(as_json) as out, connect(config_file) as client:
        found = client.get("/admin/overview")
        if as_json or once or not out.console.is_terminal:
            if as_json:
                out.document(found)
            else:
                out.console.print(screen(found, client.url))
            if not found["well"]:
                raise typer.Exit(Exit.DEGRADED)
            return
        try:
            _live(out, client, found, every_s)
        except KeyboardInterrupt:
            return


def _live(out: Output, client: Client, found: Overview, every_s: float) -> None:
    with Live(screen(found, client.url), console=out.console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            try:
                picture = screen(client.get("/admin/overview"), client.url)
            except Failure as failure:  # the center restarts; go on looking
                picture = Group(Text(failure.text, style="bold red"), Text("Ctrl-C ends this."))
            live.update(picture, refresh=True)


def screen(found: Overview, url: str) -> Group:
    """The overview as a screen."""
    head = Text(f"restante {found['version']}  node {found['node']}  {url}  {found['at']}\n", style="bold")
    if found["well"]:
        head.append("all is well", style="green")
    else:
        head.append("\n".join(found["troubles"]), style="bold red")
    figures = Table.grid(padding=(0, 3))
    figures.add_row(
        *(
            Text.assemble((f"{value}", "bold"), f" {name}")
            for name, value in (
                ("in/s", found["accepted_per_s"]),
                ("out/s", found["delivered_per_s"]),
                ("queued", found["queued"]),
                ("in memory", found["in_memory"]),
                ("accounts bound", f"{found['accounts_bound']}/{found['accounts']}"),
                ("ms a commit", found["store"]["commit_ms"]),
            )
        )
    )
    queues = _table("queue", "messages", "next due", "oldest")
    for one in found["queues"]:
        queues.add_row(one["name"], str(one["messages"]), one["next_due_at"] or "-", one["oldest_at"] or "-")
    binds = _table("system_id", "role", "bind", "version", "peer", "since", "window")
    for one in found["binds"][:BINDS_SHOWN]:
        window = "open" if one["can_send"] else "full"
        binds.add_row(
            *(
                one[name]
                for name in ("system_id", "role", "bind_type", "interface_version", "peer", "bound_at")
            ),
            window,
        )
    more = len(found["binds"]) - BINDS_SHOWN
    return Group(
        head, Text(), figures, Text(), queues, Text(), binds, Text(f"and {more} more" if more > 0 else "")
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "messages" else "left")
    return table
