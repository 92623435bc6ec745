"""The command `restante`: every command, gathered.

In charge of: which commands there are and their order in the help. Not in charge of: what one does (its own file).
"""

from __future__ import annotations

import typer

from .. import __version__
from . import (
    audit,
    bench,
    certificate,
    completion,
    config,
    db,
    demo,
    doctor,
    esme,
    init,
    key,
    link,
    location,
    mailbox,
    message,
    node,
    range,
    route,
    schedule,
    send,
    serve,
    spoof,
    subscriber,
    switch,
    switch_link,
    top,
    trace,
    zone,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="restante",
    help="A message center that keeps what it cannot deliver until the recipient asks for it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"restante {__version__}")
        raise typer.Exit


@app.callback()
def restante(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """A message center that keeps what it cannot deliver until the recipient asks for it."""


app.add_typer(demo.app, name="demo")
app.command("serve")(serve.serve)
app.command("init")(init.init)
app.command("send")(send.send)
app.command("trace")(trace.trace)
app.command("top")(top.top)
app.add_typer(message.app, name="message")
app.add_typer(esme.app, name="esme")
app.add_typer(link.app, name="link")
app.add_typer(route.app, name="route")
app.add_typer(schedule.app, name="schedule")
app.add_typer(range.app, name="range")
app.add_typer(subscriber.app, name="subscriber")
app.add_typer(switch_link.app, name="switch-link")
app.add_typer(node.app, name="node")
app.add_typer(mailbox.app, name="mailbox")
app.add_typer(zone.app, name="zone")
app.add_typer(location.app, name="location")
app.add_typer(switch.app, name="switch")
app.add_typer(spoof.app, name="spoof")
app.add_typer(config.app, name="config")
app.add_typer(certificate.app, name="certificate")
app.add_typer(key.app, name="key")
app.add_typer(audit.app, name="audit")
app.add_typer(db.app, name="db")
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("completion")(completion.completion)


def main() -> None:
    """Run the command line; the entry point of `restante` and `python -m restante`."""
    app(prog_name="restante")
