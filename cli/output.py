"""What every command prints, and how it ends.

In charge of: tables and lines for people, JSON for programs (`--json`), and the four exit codes. Not in charge of: what
is printed (the command files) or errors of the API (`client.py`).

With `--json` exactly one JSON document goes to standard output, also when the command fails; everything meant for
people, progress bars included, goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from types import TracebackType
from typing import Annotated, Any, NoReturn, Self, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["ConfigFile", "DryRun", "Exit", "Failure", "Json", "Output", "Reason", "spelled"]


PIPE_WIDTH = 10_000  #: characters


class Exit(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1  #: it was tried and did not work
    USAGE = 2  #: the command line itself is wrong; Typer uses the same number
    DEGRADED = 3  #: it worked in part, or something needs attention


#: `--json`, the same on every command.
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

#: `--config`, the same on every command that needs to know which center is meant.
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        envvar="RESTANTE_CONFIG",
        metavar="FILE",
        help="The center's restante.toml. Default: ./restante.toml",
    ),
]


#: `--reason`, on every command that changes something.
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in history and audit.", show_default=False)]

#: `--dry-run`, on every command that edits an object.
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change and change nothing.")]


class Failure(Exception):
    """A command that cannot do what was asked, in words for the person who asked.

    `fix` is a command or an action that may help; `facts` go into the JSON document.
    """

    def __init__(
        self, text: str, *, fix: str = "", code: Exit = Exit.FAILED, facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(text)
        self.text = text
        self.fix = fix
        self.code = code
        self.facts = dict(facts or {})


class Output:
    """Standard output of one command. Used in a `with`, it also says why a command failed, without a traceback.

    The variable RESTANTE_DEBUG lets a traceback through, for whoever looks for a bug.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        # Into a file or a pipe every row is one line, however long.
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        self.console = Console(file=sys.stdout, highlight=False, width=width)
        self.notes = Console(file=sys.stderr, highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, (typer.Exit, typer.Abort, typer.BadParameter, SystemExit)):
            return
        if isinstance(error, Failure):
            self.fail(error)
        if isinstance(error, KeyboardInterrupt):
            self.fail(Failure("stopped by Ctrl-C"))
        if isinstance(error, Exception) and not os.environ.get("RESTANTE_DEBUG"):
            self.fail(
                Failure(
                    f"{type(error).__name__}: {error}",
                    fix="set RESTANTE_DEBUG=1 to see where this comes from",
                )
            )

    def document(self, data: object) -> None:
        """The JSON document; call it once, and only with `--json`."""
        json.dump(data, sys.stdout, indent=2, ensure_ascii=False, default=str)
        sys.stdout.write("\n")
        sys.stdout.flush()

    def line(self, text: str | Text = "") -> None:
        """One line for people; nothing with `--json`. `text` is taken as it is, without markup."""
        if not self.as_json:
            self.console.print(Text(text) if isinstance(text, str) else text)

    def note(self, text: str) -> None:
        """A remark beside the result, on standard error."""
        self.notes.print(Text(text, style="dim"))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """A table for people; nothing with `--json`."""
        if self.as_json:
            return
        table = Table(
            title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False
        )
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(spelled(cell)) for cell in row))
        self.console.print(table)

    def facts(self, pairs: Mapping[str, object]) -> None:
        """Names and values, one a line, for people."""
        if self.as_json:
            return
        grid = Table.grid(padding=(0, 2))
        for name, value in pairs.items():
            grid.add_row(Text(name, style="bold"), Text(spelled(value)))
        self.console.print(grid)

    def fail(self, failure: Failure) -> NoReturn:
        """Say why the command failed, and end it."""
        if self.as_json:
            error: dict[str, Any] = {"error": failure.text, **failure.facts}
            if failure.fix:
                error["fix"] = failure.fix
            self.document(error)
        else:
            self.notes.print(Text("error: ", style="bold red") + Text(failure.text), soft_wrap=True)
            if failure.fix:
                self.notes.print(Text("fix:   ", style="bold") + Text(failure.fix), soft_wrap=True)
        raise typer.Exit(int(failure.code))


def spelled(value: object) -> str:
    """A value as a person reads it in a table cell."""
    if value is None or value == "":
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        items = cast("Iterable[object]", value)
        return ", ".join(spelled(item) for item in items) or "-"
    return str(value)
