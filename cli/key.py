"""`restante key`: the master keys of this center's key file.

In charge of: the commands. Not in charge of: the file (`access/key_ring.py`), the center, which reads it at start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from .output import ConfigFile, Failure, Json, Output
from .site import site

if TYPE_CHECKING:
    from pathlib import Path

    from ..access.key_ring import KeyRing

__all__ = ["app"]

app = typer.Typer(
    help="Master keys: what seals secrets and signs sessions and audit rows.", no_args_is_help=True
)

_NAME = typer.Argument(help="The key's name, as `restante key list` shows it.")
_START = "restart the center: it reads the file when it starts"


def _with_file(config_file: str | None, act: Callable[[Path], KeyRing]) -> KeyRing:
    from ..access.key_ring import KeyFileRefused

    try:
        return act(site(config_file).key_file)
    except KeyFileRefused as error:
        raise Failure(str(error)) from error


def _show(out: Output, ring: KeyRing, *, as_json: bool, then: str = "") -> None:
    rows = [(name, "present" if name == ring.current else "recognised") for name in ring.names()]
    if as_json:
        out.document([{"name": name, "use": use} for name, use in rows])
    out.table(["name", "use"], [list(row) for row in rows])
    if then:
        out.line(f"next:  {then}")


@app.command("list")
def list_all(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show the names of the keys in the file, never the keys."""
    from ..access.key_ring import KeyRing

    with Output(as_json) as out:
        _show(out, _with_file(config_file, KeyRing.load), as_json=as_json)


@app.command("add")
def add(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Make a key that is recognised from the next start on, and not used yet. Several nodes: add, copy, restart all."""
    from ..access.key_ring import add_key

    with Output(as_json) as out:
        ring = _with_file(config_file, add_key)
        _show(out, ring, as_json=as_json, then=f"{_START}; then: restante key use {ring.names()[-1]}")


@app.command("use")
def use(name: str = _NAME, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Make a key the present one: from the next start on everything is sealed and signed with it."""
    from ..access.key_ring import use_key

    with Output(as_json) as out:
        _show(out, _with_file(config_file, lambda path: use_key(path, name)), as_json=as_json, then=_START)


@app.command("rotate")
def rotate(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Make a key and use it from the next start on: add and use in one, for a center of one node."""
    from ..access.key_ring import add_key, use_key

    with Output(as_json) as out:
        ring = _with_file(config_file, lambda path: use_key(path, add_key(path).names()[-1]))
        _show(out, ring, as_json=as_json, then=_START)


@app.command("retire")
def retire(name: str = _NAME, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Take a key out of the file. What was sealed with it was sealed again at the start after `use`; audit and evidence
    rows of its time cannot be verified any more, so keep a copy as long as those rows are kept."""
    from ..access.key_ring import retire_key

    with Output(as_json) as out:
        _show(out, _with_file(config_file, lambda path: retire_key(path, name)), as_json=as_json, then=_START)
