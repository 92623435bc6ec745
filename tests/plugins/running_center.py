"""The real center as a process of its own, entered by its real doors only.

In charge of: making a folder with `restante init`'s own code, starting and killing `restante serve`, operator calls
over REST, and ESMEs bound with our client side. Not in charge of: what a test wants to see.

A center keeps its ports over restarts, so that peers that reconnect find it again.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import httpx
from waiting import eventually
from warm_center import WarmCenter

from restante.cli.init import prepare

START_S = 60.0  #: a loaded machine imports slowly

#: Settings that count only for an interpreter that begins.
_INTERPRETERS = {"LD_PRELOAD", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG"}

#: Below what the kernel gives to outgoing connections: one of those could sit on a center's port while it restarts.
_PORTS = range(15_000, 32_000)


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on now, and that their owner finds again after a restart."""
    chance, found = random.SystemRandom(), set[int]()
    for port in chance.sample(_PORTS, 1000):
        if len(found) == number:
            break
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.add(port)
    assert len(found) == number, "no free ports"
    return list(found)


class RunningCenter:
    """One center and its folder."""

    smpp_ports: ClassVar[set[int]] = set()  #: of every center of this process

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None) -> None:
        """`settings` by dotted name, as in restante.toml; `store.url` for PostgreSQL."""
        self.folder = folder
        self.smpp_port, self.http_port, self.ops_port = free_ports(3)
        self.smpp_ports.add(self.smpp_port)
        given = {
            "smpp.port": self.smpp_port,
            "http.port": self.http_port,
            "ops.port": self.ops_port,
            **(settings or {}),
        }
        self.site, first = prepare(folder, given)
        self.api_key = first.api_key
        self.send_key = first.send_key
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.gsup_port = self.site.config.gsup.port
        self.process: subprocess.Popen[str] | WarmCenter | None = None
        self.lines: deque[str] = deque(maxlen=2000)  #: of standard output and error, newest last
        self.log_level = "warning"
        self.environ: dict[str, str] = {}  #: settings of its own, above those of the file
        self.under: tuple[str, ...] = ()  #: a command that runs the center, such as strace

    def twin(self, folder: Path) -> RunningCenter:
        """Another node on the same database (PostgreSQL): with the same keys, and ports of its own."""
        shutil.copytree(self.folder, folder)
        other = copy.copy(self)
        other.folder, other.process, other.lines = folder, None, deque(maxlen=2000)
        other.smpp_port, other.http_port, other.ops_port = free_ports(3)
        other.smpp_ports.add(other.smpp_port)
        other.url = f"http://127.0.0.1:{other.http_port}"
        other.environ = {
            "RESTANTE_SMPP_PORT": str(other.smpp_port),
            "RESTANTE_HTTP_PORT": str(other.http_port),
            "RESTANTE_OPS_PORT": str(other.ops_port),
            "RESTANTE_STORE_NODE_NAME": folder.name,
        }
        if self.gsup_port:
            (other.gsup_port,) = free_ports(1)
            other.environ["RESTANTE_GSUP_PORT"] = str(other.gsup_port)
        return other

    def start(self, **environ: str) -> RunningCenter:
        """Serve; returns when all doors are open."""
        self.launch(**self.environ, **environ)
        eventually(lambda: self.ready() or self.process_ended(), seconds=START_S)
        assert self.ready(), "\n".join(self.lines)
        return self

    def launch(self, **environ: str) -> None:
        """Serve; returns at once."""
        told = [
            "serve",
            "--config",
            str(self.folder / "restante.toml"),
            "--log-level",
            self.log_level,
            "--json",
        ]
        whole = os.environ | environ
        if self.under or _INTERPRETERS & environ.keys():
            self.process = subprocess.Popen(
                [*self.under, sys.executable, "-m", "restante", *told],
                cwd=self.folder,
                env=whole,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        else:
            self.process = WarmCenter(told, self.folder, whole)
        self.lines.clear()
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str] | WarmCenter) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())

    def ready(self) -> bool:
        """True when it said that all doors are open."""
        return any('"smpp"' in line for line in list(self.lines))

    def process_ended(self) -> bool:
        """True when there is no process any more."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    # ---------------------------------------------------------------------------------------------- operators

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """One call of the admin API; its JSON. AssertionError shows a refusal."""
        answer = self.request(method, f"/admin{path}", body, **headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def request(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """One call of the API with the operator's key."""
        sent = {
            "Authorization": f"Bearer {self.api_key}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        return httpx.request(method, f"{self.url}/api/v1{path}", json=body, headers=sent, timeout=30)

    def add_account(self, system_id: str, password: str, **settings: object) -> str:
        """An account that may bind; its id."""
        made = self.call("POST", "/accounts", {"system_id": system_id, **settings})
        self.call("POST", f"/accounts/{made['id']}/credentials:rotate", {"password": password})
        return str(made["id"])

    def add_route(self, name: str, **settings: object) -> str:
        """A route; its id."""
        return str(self.call("POST", "/routes", {"name": name, **settings})["id"])

    def add_range(self, prefix: str) -> str:
        """An own number range; its id."""
        return str(self.call("POST", "/ranges", {"prefix": prefix})["id"])

    def message(self, id: str) -> Any:
        """A message as operators see it."""
        return self.call("GET", f"/messages/{id}")

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics, summed over the labels that are not given."""
        text = httpx.get(f"http://127.0.0.1:{self.ops_port}/metrics", timeout=30).text
        total = 0.0
        for line in text.splitlines():
            sample, _, value = line.rpartition(" ")
            same_name = sample == name or sample.startswith(name + "{")
            if same_name and all(f'{key}="{word}"' in sample for key, word in labels.items()):
                total += float(value)
        return total


@contextlib.contextmanager
def running_center(
    folder: Path, settings: Mapping[str, object] | None = None, **environ: str
) -> Generator[RunningCenter]:
    """A center from start to end; killed if it does not stop."""
    center = RunningCenter(folder, settings)
    center.start(**environ)
    try:
        yield center
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            center.stop()
        if not center.process_ended():
            center.kill()
