"""`restante serve`: run a center until it is told to stop.

In charge of: the process: signals, log, loop, the note that it runs, and words for what keeps it from starting. Not in
charge of: the rooms (`../serve.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO, cast

import typer

from .output import ConfigFile, Failure, Json, Output
from .site import Running, Site, site

if TYPE_CHECKING:
    from ..api.rooms import ConfigValue
    from ..config import Config, Loaded

__all__ = ["LogForm", "configure_log", "effective_values", "run_center", "serve"]


class Fenced(Exception):
    """This node may not write any more; its process should be started anew."""


class LogForm(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


def serve(
    config_file: ConfigFile = None,
    log: LogForm = typer.Option(LogForm.TEXT, "--log", help="Form of log lines on standard error."),
    log_level: str = typer.Option("info", "--log-level", help="debug, info, warning or error."),
    as_json: Json = False,
) -> None:
    """Run the center that a configuration describes, until SIGTERM or Ctrl-C."""
    with Output(as_json) as out:
        place = site(config_file)
        configure_log(log, log_level)

        def ready(running: Running) -> None:
            if as_json:
                out.document(
                    {
                        "pid": running.pid,
                        "url": running.url,
                        "smpp": running.smpp,
                        "smpps": running.smpps,
                        "ops": running.ops,
                    }
                )
            tls = f" (TLS {running.smpps})" if running.smpps else ""
            out.line(f"ready: SMPP {running.smpp}{tls}, HTTP {running.url}, operations {running.ops}")

        try:
            refuse_published(place)
            run(run_center(place, stopped_by_signals(), ready, reloaded_by_signal))
        except Failure:
            raise
        except Exception as error:
            known = explained_start(error, place)
            if known is None:
                raise
            raise known from error


def run(work: Coroutine[None, None, None]) -> None:
    """Run a coroutine on uvloop."""
    import uvloop

    uvloop.run(work)


def stopped_by_signals() -> Callable[[asyncio.Event], None]:
    """Make SIGTERM and SIGINT set an event of the running loop."""

    def arm(stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    return arm


def reloaded_by_signal(reload: Callable[[], object]) -> None:
    """Make SIGHUP read the certificates again; call it in the running loop."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


async def run_center(
    place: Site,
    arm: Callable[[asyncio.Event], None],
    ready: Callable[[Running], None],
    reload_by: Callable[[Callable[[], object]], None] = lambda reload: None,
) -> None:
    """Serve until the event that `arm` is given is set. `ready` is called when all doors are open; `reload_by` is given
    what reads the certificates again."""
    from ..serve import Center

    stop = asyncio.Event()
    arm(stop)
    center = Center(
        place.config,
        key_file=place.key_file,
        environ=os.environ,
        effective=lambda: effective_values(place.loaded),
    )
    running = Running.of(place.config, await center.start())
    _collect_seldom()
    reload_by(center.certificates.reload)
    try:
        running.write(place.folder)
        ready(running)
        await _either(stop, center.over)
    finally:
        try:
            await center.stop()
        finally:
            with contextlib.suppress(OSError):
                running.remove(place.folder)
    if center.ending == "fenced":
        raise Fenced("another life of this node has begun, or other nodes took it for dead")


def _collect_seldom() -> None:
    """What exists when the doors open lives as long as the process: no collection needs to look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # messages make no cycles; looking for some took a tenth of the time


async def _either(*events: asyncio.Event) -> None:
    """Wait for one of several events."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def effective_values(loaded: Loaded[Config]) -> list[ConfigValue]:
    """The configuration as the admin API shows it."""
    from ..api.rooms import ConfigValue
    from .config import plain

    return [
        ConfigValue(one.key.name, plain(one.shown), one.source, one.key.description) for one in loaded.values
    ]


def refuse_published(place: Site) -> None:
    """Refuse a database with passwords that everybody can read in our source. Raises Failure."""
    from .database import published_accounts

    known = published_accounts(place)
    if known:
        names = ", ".join(known)
        raise Failure(
            f"the accounts {names} have the demo's passwords, which are published",
            fix=f"with the demo stopped, start over with `restante init`; or run it as what it is: "
            f"restante demo --keep {place.folder}",
        )


def explained_start(error: Exception, place: Site) -> Failure | None:
    """Why a center does not start, with the fix; None for what nobody foresaw."""
    from ..access.key_ring import KeyFileRefused
    from ..antispoof.sources import BadSource
    from ..smsc.diameter_network import BadDiameter
    from ..store.store import StoreRefused

    if isinstance(error, StoreRefused):
        fix = (
            f"restante db upgrade --config {place.folder / 'restante.toml'}"
            if "db upgrade" in str(error)
            else ""
        )
        return Failure(str(error), fix=fix)
    if isinstance(error, BadSource):
        return Failure(str(error), fix="correct [affiliations] in restante.toml, or the file it names")
    if isinstance(error, BadDiameter):
        return Failure(str(error), fix="write it into restante.toml, or take diameter.identity out")
    if isinstance(error, Fenced):
        return Failure(f"this node has stopped: {error}", fix="start it again; it begins a new life")
    if isinstance(error, KeyFileRefused):
        return Failure(str(error), fix="restante doctor names the file and its mode")
    if isinstance(error, OSError):
        return Failure(f"a door does not open: {error}", fix="restante doctor names who holds a port")
    return None


class _StandardError:
    """Standard error as it is at the moment of writing: loggers are kept for good, what it was once may be closed.

    A reader of the log that went away must not stop messages: what cannot be written is lost.
    """

    def write(self, text: str) -> int:
        """Write a line."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Let it out."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_log(form: LogForm, level: str) -> None:
    """Send log lines to standard error."""
    import structlog

    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise typer.BadParameter(f"{level!r} is not debug, info, warning or error", param_hint="--log-level")
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.WARNING), format="%(name)s: %(message)s")
    renderer = (
        structlog.processors.JSONRenderer()
        if form is LogForm.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
