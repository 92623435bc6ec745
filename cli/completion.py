"""`restante completion`: the script that makes a shell complete our commands.

In charge of: printing it. Not in charge of: installing it, which a shell's owner does with one line.
"""

from __future__ import annotations

from enum import StrEnum

import typer

# Typer documents the commands made from it, not the function.
from typer.completion import get_completion_script  # pyright: ignore[reportPrivateImportUsage]

from .output import Json, Output

__all__ = ["Shell", "completion"]

#: How each shell takes the script up.
_INSTALL = {
    "bash": 'eval "$(restante completion bash)"    # in ~/.bashrc',
    "zsh": "restante completion zsh > ~/.zfunc/_restante",
    "fish": "restante completion fish > ~/.config/fish/completions/restante.fish",
}


class Shell(StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Shell = typer.Argument(help="bash, zsh or fish"),
    as_json: Json = False,
) -> None:
    """Print the completion script of a shell. For bash: eval "$(restante completion bash)"."""
    with Output(as_json) as out:
        script = get_completion_script(
            prog_name="restante", complete_var="_RESTANTE_COMPLETE", shell=shell.value
        )
        if as_json:
            out.document({"shell": shell.value, "install": _INSTALL[shell.value], "script": script})
        else:
            typer.echo(script)
