"""`restante doctor`: what is wrong, and the fix.

In charge of: the order of the checks, showing them, the exit code. Not in charge of: the checks themselves
(`findings.py`: the machine; `center_findings.py`: configuration, database, running center).
"""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.text import Text

from . import center_findings, findings
from .findings import Finding, Level
from .output import ConfigFile, Exit, Failure, Json, Output
from .site import Running, Site, config_path, site

__all__ = ["doctor", "examine"]

STYLES = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.SKIP: "dim"}


def doctor(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Check everything a center needs. Exit code 1 if something fails, 3 if there are warnings only."""
    with Output(as_json) as out:
        found: list[Finding] = []
        with out.notes.status("looking"):
            for finding in examine(config_file):
                found.append(finding)
                show(out, finding)
        levels = {finding.level for finding in found}
        if as_json:
            out.document(
                {
                    "ok": Level.FAIL not in levels,
                    "checks": [
                        {"name": one.name, "level": one.level.value, "text": one.text, "fix": one.fix}
                        for one in found
                    ],
                }
            )
        failed = sum(1 for one in found if one.level is Level.FAIL)
        warned = sum(1 for one in found if one.level is Level.WARN)
        out.line()
        out.line(f"{failed} failed, {warned} warnings, {len(found)} checks")
        if failed:
            raise typer.Exit(Exit.FAILED)
        if warned:
            raise typer.Exit(Exit.DEGRADED)


def show(out: Output, finding: Finding) -> None:
    """One finding; its fix on the next line unless it passed."""
    level = Text(f"{finding.level.value:<5}", style=STYLES[finding.level])
    out.line(Text.assemble(level, f"{finding.name:<16} ", finding.text))
    if finding.fix and finding.level is not Level.PASS:
        out.line(Text.assemble(" " * 22, ("fix: ", "bold"), finding.fix))


def examine(config_file: str | None) -> Iterator[Finding]:
    """Every check, the machine first. What cannot be looked at is skipped and says why."""
    yield from findings.check_python()
    yield from findings.check_package()
    yield from findings.check_open_files()
    try:
        place = site(config_file)
    except Failure as failure:
        yield from center_findings.unusable_config(failure)
        path = config_path(config_file).resolve().parent
        if path.is_dir():
            yield from findings.check_disk(path)
        yield Finding("database", Level.SKIP, "no configuration says where it is")
        return
    yield from center_findings.check_config(place)
    yield from findings.check_file_modes(place.secret_files)
    yield from findings.check_disk(place.data_folder)
    yield from findings.check_fsync(place.data_folder)
    yield from center_findings.check_database(place)
    running = Running.read(place.folder)
    yield from findings.check_ports(doors(place), ours=lambda pid: running is not None and running.pid == pid)
    yield from center_findings.check_running(place, running)


def doors(place: Site) -> list[tuple[str, str, int]]:
    """Name, host and port of each door."""
    config = place.config
    smpp = config.smpp
    tls = [("smpps", host, smpp.tls.port) for host in smpp.hosts] if smpp.tls.files else []
    return [
        *(("smpp", host, smpp.port) for host in smpp.hosts),
        *tls,
        ("http", config.http.host, config.http.port),
        ("ops", config.ops.host, config.ops.port),
    ]
