"""`restante config`: check a configuration, show what is in force, print the reference.

In charge of: the three commands. Not in charge of: reading (`../config.py`) or the wording of the reference
(`config_text.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import typer

from .output import ConfigFile, Json, Output
from .site import read_config

__all__ = ["app", "plain"]

app = typer.Typer(help="What the center is configured to do.", no_args_is_help=True)


@app.command("check")
def check(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Say whether the center would start with this configuration, and every place where not."""
    with Output(as_json) as out:
        found = read_config(config_file)
        if as_json:
            out.document({"file": str(found.path or ""), "problems": []})
        differing = f"{len(found.changed)} of {len(found.values)} settings differ from the defaults"
        out.line(f"{found.path or 'the default configuration'} is fine: {differing}")


@app.command("show")
def show(
    config_file: ConfigFile = None,
    changed: bool = typer.Option(False, "--changed", help="Only what differs from the defaults."),
    as_json: Json = False,
) -> None:
    """Show every setting in force and where it comes from. Secrets are masked."""
    from .config_text import toml_value

    with Output(as_json) as out:
        found = read_config(config_file)
        values = found.changed if changed else found.values
        if as_json:
            out.document(
                [{"key": one.key.name, "value": plain(one.shown), "source": one.source} for one in values]
            )
        out.table(
            ["key", "value", "source"],
            [
                (one.key.name, "" if one.shown is None else toml_value(one.shown), one.source)
                for one in values
            ],
        )


@app.command("reference")
def print_reference(
    as_json: Json = False,
) -> None:
    """Print the configuration reference (docs/configuration.md)."""
    from ..config import Config, keys
    from .config_text import allowed, reference

    with Output(as_json) as out:
        if as_json:
            out.document(
                [
                    {
                        "key": key.name,
                        "variable": key.variable,
                        "values": allowed(key),
                        "default": None if key.secret else plain(key.default),
                        "meaning": key.description,
                    }
                    for key in keys(Config)
                ]
            )
        else:
            typer.echo(reference(Config), nl=False)


def plain(value: object) -> object:
    """A value as JSON has it; what JSON does not know as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast("Iterable[object]", value)]
    return str(value)
