"""The demo as a newcomer meets it: a test types what it prints, word for word."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from waiting import eventually

from restante.cli import demo_control
from restante.cli.init import prepare
from restante.cli.output import Failure

#: One worker runs this file: demos that run at the same time take each other's usual ports.
pytestmark = pytest.mark.xdist_group("demo")

RESTANTE = [str(Path(sys.executable).with_name("restante"))]


@dataclass
class RunningDemo:
    """A demo in another process, and what it printed so far."""

    process: subprocess.Popen[str]
    environ: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def printed(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RESTANTE, *arguments], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )


@contextmanager
def running_demo(folder: Path, *arguments: str) -> Generator[RunningDemo]:
    folder.mkdir(exist_ok=True)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("RESTANTE_")}
    environ |= {"TMPDIR": str(folder), "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}"}
    process = subprocess.Popen(
        [*RESTANTE, "demo", *arguments],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    found = RunningDemo(process, environ)
    assert process.stdout is not None
    reader = Thread(
        target=lambda lines: found.lines.extend(line.rstrip("\n") for line in lines), args=[process.stdout]
    )
    reader.start()
    try:
        eventually(lambda: process.poll() is not None or found.printed("Stop: Ctrl-C"), "the guide", 90)
        assert process.poll() is None, "\n".join(found.lines)
        yield found
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        reader.join()


def test_what_the_demo_prints_works_as_it_stands(tmp_path: Path) -> None:
    with running_demo(tmp_path / "tmp", "--rate", "2") as demo:
        commands = [line.removeprefix("  $ ") for line in demo.lines if line.startswith("  $ ")]
        assert len(commands) >= 10
        script = "set -euo pipefail\n" + "\n".join(
            f"echo '--- {n}'\n{text}" for n, text in enumerate(commands)
        )
        done = subprocess.run(
            ["bash", "-c", script], env=demo.environ, capture_output=True, text=True, timeout=120, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        answers = dict(re.findall(r"--- (\d+)\n(.*?)(?=--- \d|\Z)", done.stdout, re.DOTALL))
        by_command = {command: answers[str(number)] for number, command in enumerate(commands)}

        def of(part: str) -> str:
            return next(answer for command, answer in by_command.items() if part in command)

        assert "accepted as" in of('"Hello Ann"')
        eventually(lambda: "Hello Ann" in demo.ask("demo", "phone", "ann").stdout, "Ann's screen")
        assert "all is well" in of("top --once")
        assert re.search(r"unread +[1-9]", of("mailbox show"))
        assert "is on" in of("phone cleo on")
        box = json.loads(of("mailbox/messages -H"))
        sent = next(item for item in box["items"] if item["sender"] == "Restante")
        assert sent["preview"].startswith("Where")
        assert json.loads(of("mailbox/messages/$ID"))["text"] == "Where are you?"
        before, after = (
            answers[str(n)] for n, command in enumerate(commands) if command.endswith("trace $ID")
        )
        assert "kept in the recipient's mailbox" in before
        assert "ended" not in before
        assert "read by its recipient" in after
        assert "ended: delivered" in after
        assert "finn +447700900106 is away" in of("move finn away")
        assert re.search(r"attempt: zpo_[0-9]+@1 -> hold \(out, outside\)", of("zone explain"))
        assert "parked by a check" in of("trace $WAITING")
        assert "ended" not in of("trace $WAITING")
        assert "finn +447700900106 is home" in of("move finn home")
        eventually(lambda: "Supper?" in demo.ask("demo", "phone", "finn").stdout, "Finn's screen")
        told = of("trace $SPOOFED")
        assert "anti-spoof" in told
        assert "switch_mismatch" in told
        assert "smpp_account:msc1" in told
        assert "ended: rejected" in told
        assert "spoofed (switch_mismatch) -> reject" in of("spoof evaluate")
        lost = demo.ask("demo", "move", "ann", "away")
        assert (lost.returncode, "one of: finn home, finn away" in lost.stderr) == (1, True)
    assert demo.process.returncode == 0
    assert demo.lines[-1] == "the demo is over; nothing was kept"
    assert not any((tmp_path / "tmp").iterdir()), "the temporary folder is gone, the pointer too"


def test_a_port_that_somebody_took_meanwhile_stops_no_demo(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        prepare(tmp_path / "kept", {"smpp.port": port, "http.port": 0, "ops.port": 0})
        with running_demo(tmp_path / "tmp", "--keep", str(tmp_path / "kept"), "--rate", "0") as demo:
            assert demo.printed("127.0.0.1:")
            assert not demo.printed(f":{port}")


def test_a_kept_demo_goes_on_where_it_was_and_serve_refuses_it(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with running_demo(tmp_path / "tmp", "--keep", str(folder), "--rate", "0") as demo:
        config = str(folder / "restante.toml")
        sent = demo.ask("send", "+447700900103", "keep me", "--config", config, "--json")
        assert sent.returncode == 0, sent.stderr

        def kept() -> bool:
            shown = demo.ask("mailbox", "show", "+447700900103", "--config", config, "--json")
            return shown.returncode == 0 and json.loads(shown.stdout)["unread"] == 1

        eventually(kept, "the message is in the box")
        for state in ("busy", "slow", "off", "on"):
            found = json.loads(demo.ask("demo", "phone", "ben", state, "--json").stdout)
            assert (found["name"], found["state"]) == ("ben", state)
        unknown = demo.ask("demo", "phone", "zoe")
        assert unknown.returncode == 1
        assert "one of ann, ben" in unknown.stderr
        assert demo.ask("demo", "phone", "ben", "lost").returncode == 2
    with running_demo(tmp_path / "tmp", "--keep", str(folder), "--rate", "0", "--for", "5") as demo:
        assert kept()
        eventually(lambda: demo.process.poll() is not None, "the end of --for")
    refused = demo.ask("serve", "--config", config)
    assert refused.returncode == 1
    assert "alerts, msc1, msc2, news, prizes, quiz, shop have the demo's passwords" in refused.stderr
    examined = demo.ask("doctor", "--config", config, "--json")
    failed = {one["name"] for one in json.loads(examined.stdout)["checks"] if one["level"] == "FAIL"}
    assert (examined.returncode, failed) == (1, {"demo-passwords"})


def test_no_demo_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Failure, match="no demo of yours"):
        demo_control.ask(str(tmp_path / "restante.toml"), {"phone": "ann"})
    demo_control.pointer().write_text('{"folder": "/", "pid": 1}')
    demo_control.pointer().chmod(0o644)
    with pytest.raises(Failure, match="no demo of yours"):
        demo_control.ask(str(tmp_path / "restante.toml"), {"phone": "ann"})
    demo_control.write_private(tmp_path / demo_control.DEMO_FILE, {"port": 1, "token": "x"})
    with pytest.raises(Failure, match="does not answer"):
        demo_control.ask(str(tmp_path / "restante.toml"), {"phone": "ann"})
