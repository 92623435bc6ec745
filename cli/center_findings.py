"""What the doctor finds out about a center: its configuration, its database, and how it fares if it runs.

In charge of: one function a subject. Not in charge of: the machine (`findings.py`), showing anything (`doctor.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from .client import connect
from .database import exists, published_accounts
from .findings import Finding, Level
from .output import Failure
from .site import CONFIG_FILE, Running, Site

__all__ = [
    "check_clock",
    "check_config",
    "check_database",
    "check_overview",
    "check_restored",
    "check_running",
    "unusable_config",
]

SKEW_WARN_MS = 2_000  #: between our clock and the center's or the database's
QUEUE_AGE_WARN_S = 3600.0  #: of the oldest message that waits for its first or next attempt
WAITING = frozenset({"new", "retry"})  #: reasons for which age means trouble


def unusable_config(failure: Failure) -> Iterator[Finding]:
    """Each problem of a configuration that cannot be used; unknown keys under their own name."""
    problems: list[str] = failure.facts.get("problems", [])
    if not problems:
        yield Finding("config", Level.FAIL, failure.text, failure.fix)
    for problem in problems:
        name = "config-keys" if "unknown key" in problem or "no setting has this" in problem else "config"
        fix = "correct that place"
        if "did you mean" in problem:
            fix = f"write {problem.rpartition('did you mean ')[2].rstrip('?')}"
        yield Finding(name, Level.FAIL, problem, fix)


def check_config(place: Site) -> Iterator[Finding]:
    """What is allowed, but should be known."""
    changed = len(place.loaded.changed)
    yield Finding(
        "config", Level.PASS, f"{place.folder / CONFIG_FILE}: {changed} settings differ from the defaults"
    )
    yield Finding("config-keys", Level.PASS, "every key is known")
    if place.config.store.durability != "power-loss":
        fix = 'set store.durability = "power-loss"'
        yield Finding(
            "durability", Level.WARN, "the configuration allows losing messages at a power failure", fix
        )


# --------------------------------------------------------------------------------------------------- database


def check_database(place: Site) -> Iterator[Finding]:
    """Whether the database answers, has our schema, keeps its promise, and is not the demo's."""
    from ..store import migrate
    from ..store.store import StoreRefused

    upgrade = f"restante db upgrade --config {place.folder / CONFIG_FILE}"
    if not exists(place):
        yield Finding("database", Level.FAIL, f"{place.config.store.url}: there is no database", upgrade)
        return
    try:
        found, wanted = migrate.current(place.config.store.url), migrate.head()
    except (StoreRefused, OSError) as error:
        yield Finding("database", Level.FAIL, str(error), "see that the server runs and store.url is right")
        return
    yield Finding("database", Level.PASS, "it answers")
    if found != wanted:
        fix = upgrade if found is None or found in migrate.known() else "install the newer program"
        yield Finding(
            "schema", Level.FAIL, f"it has schema {found or 'none'}, this program needs {wanted}", fix
        )
        return
    yield Finding("schema", Level.PASS, f"schema {found}")
    yield from check_restored(place)
    yield from check_promise(place)
    yield from check_node_clock(place)
    known = published_accounts(place)
    if known:
        fix = f"restante esme password {known[0]}  (each of them), or restante esme remove"
        text = f"the accounts {', '.join(known)} have the demo's published passwords"
        yield Finding("demo-passwords", Level.FAIL, text, fix)
    else:
        yield Finding("demo-passwords", Level.PASS, "no published password")


def check_restored(place: Site) -> Iterator[Finding]:
    """Whether messages that came with a restore still wait for somebody's word."""
    from ..store.inspection import rows
    from ..store.work import RESTORED_ROWS

    waiting = rows(place.config.store.url, RESTORED_ROWS)[0]["rows"]
    if waiting:
        yield Finding(
            "restored", Level.WARN, f"{waiting} restored messages wait to be sent", "restante db release"
        )
    else:
        yield Finding("restored", Level.PASS, "no restored message waits to be released")


def check_promise(place: Site) -> Iterator[Finding]:
    """PostgreSQL's settings; SQLite's are the program's own and verified at each start."""
    from ..store.inspection import durability_settings

    found = durability_settings(place.config.store.url)
    if not found:
        yield Finding(
            "durability", Level.PASS, "SQLite commits with synchronous=FULL, verified at each start"
        )
        return
    wrong = [name for name, value in found.items() if value == "off"]
    if wrong:
        text = f"PostgreSQL has {', '.join(f'{name}=off' for name in wrong)}: a power failure loses messages"
        fix = "; ".join(f"ALTER SYSTEM SET {name} = on" for name in wrong) + "; SELECT pg_reload_conf()"
        yield Finding("durability", Level.FAIL, text, fix)
    else:
        yield Finding("durability", Level.PASS, "PostgreSQL keeps what it commits")


def check_node_clock(place: Site, now_ms: int | None = None) -> Iterator[Finding]:
    """Whether our clock is behind what the database has seen: then it went back."""
    from ..store.inspection import newest_sign_of_life

    newest = newest_sign_of_life(place.config.store.url)
    yield from check_clock("clock-database", newest, now_ms, only_ahead=True)


def check_clock(
    name: str, theirs_ms: int, now_ms: int | None = None, *, only_ahead: bool = False
) -> Iterator[Finding]:
    """Compare a clock with ours. `only_ahead`: an older time is no fault, it was written then."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    ahead = theirs_ms - now
    if ahead > SKEW_WARN_MS or (not only_ahead and -ahead > SKEW_WARN_MS):
        text = f"this machine's clock is {abs(ahead) / 1000:.1f} s {'behind' if ahead > 0 else 'ahead'}"
        yield Finding(name, Level.WARN, text, "timedatectl set-ntp true")
    else:
        yield Finding(name, Level.PASS, "the clocks agree" if not only_ahead else "the clock never went back")


# --------------------------------------------------------------------------------------------- running center


def check_running(place: Site, running: Running | None) -> Iterator[Finding]:
    """Ask the running center how it is; without one there is nothing to ask."""
    if running is None:
        yield Finding("center", Level.SKIP, "it does not run")
        return
    try:
        with connect(str(place.folder / CONFIG_FILE)) as client:
            found = client.get("/admin/overview")
    except Failure as failure:
        yield Finding("center", Level.FAIL, failure.text, failure.fix)
        return
    yield Finding("center", Level.PASS, f"it runs (pid {running.pid}) and answers")
    yield from check_overview(found)


def check_overview(found: dict[str, Any], now_ms: int | None = None) -> Iterator[Finding]:
    """What the overview of a running center says about its health."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    if found["store"]["accepting"]:
        yield Finding(
            "store", Level.PASS, f"the store takes messages; a commit takes {found['store']['commit_ms']} ms"
        )
    else:
        yield Finding(
            "store", Level.FAIL, f"the store takes nothing: {found['store']['why']}", "df -h; see the log"
        )
    yield from check_clock("clock-center", _ms(found["at"]), now)
    ages = {
        one["name"]: (now - _ms(one["oldest_at"])) / 1000
        for one in found["queues"]
        if one["name"] in WAITING and one["oldest_at"]
    }
    old = {name: age for name, age in ages.items() if age > QUEUE_AGE_WARN_S}
    for name, age in old.items():
        text = f"the oldest message in {name} waits for {age / 3600:.1f} hours"
        yield Finding(
            "queue-age", Level.WARN, text, "restante top; restante esme binds: is its outlet bound?"
        )
    if not old:
        yield Finding(
            "queue-age", Level.PASS, f"nothing waits for more than {QUEUE_AGE_WARN_S / 3600:.0f} hour"
        )


def _ms(instant: str) -> int:
    """UTC epoch milliseconds of an RFC 3339 time."""
    return int(datetime.fromisoformat(instant.replace("Z", "+00:00")).astimezone(UTC).timestamp() * 1000)
