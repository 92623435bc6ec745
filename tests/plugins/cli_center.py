"""A center in another process, and the command line pointed at it.

In charge of: making its folder, serving it, running commands as its operator. Not in charge of: SMPP.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result
from waiting import eventually

from restante.cli.main import app
from restante.cli.site import Running

PROGRAM = [sys.executable, "-m", "restante"]


def clean_environ() -> dict[str, str]:
    """Our environment without what would configure a center."""
    return {name: text for name, text in os.environ.items() if not name.startswith("RESTANTE_")}


@dataclass
class Center:
    """A center's folder, and its process while it runs."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    @property
    def config(self) -> str:
        return str(self.folder / "restante.toml")

    def call(self, *arguments: str, text: str | None = None) -> Result:
        """Run a command in this process, as the center's operator."""
        environ: dict[str, str | None] = {name: None for name in os.environ if name.startswith("RESTANTE_")}
        return CliRunner(env=environ | {"RESTANTE_CONFIG": self.config}).invoke(
            app, list(arguments), input=text
        )

    def answer(self, *arguments: str) -> Any:
        """The JSON document of a command that succeeds."""
        result = self.call(*arguments, "--json")
        assert result.exit_code == 0, (result.output, result.stderr)
        return json.loads(result.stdout)


@contextmanager
def served(folder: Path) -> Generator[Center]:
    """Serve a folder until the block ends; SIGTERM must then end the process in time and without an error."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--config", str(folder / "restante.toml")],
            env=clean_environ(), stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        started = eventually(lambda: process.poll() is not None or Running.read(folder), "the center", 60)
        assert isinstance(started, Running), (folder / "log").read_text()
        yield Center(folder, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (folder / "log").read_text()
        assert not (folder / "running.json").exists()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def made(folder: Path) -> Center:
    """Make a center with ports that are free."""
    center = Center(folder)
    ports = ["--smpp-port", "0", "--http-port", "0", "--ops-port", "0"]
    result = center.call("init", "--dir", str(folder), *ports)
    assert result.exit_code == 0, result.output
    return center
