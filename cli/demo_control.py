"""How a second terminal reaches a running demo.

In charge of: the note `demo.json` in the demo's folder, a pointer to the newest demo among the temporary files, and one
question and answer over loopback. Not in charge of: what the answers are (`demo.py`).

The note has mode 0600 and holds a token: who cannot read it cannot switch anybody's phone off.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from .output import Failure
from .site import config_path

__all__ = ["DEMO_FILE", "ask", "listen", "pointer"]

DEMO_FILE = "demo.json"
ANSWER_S = 30.0
LINE_OCTETS = 65536

Facts = dict[str, Any]
Answering = Callable[[Facts], Awaitable[Facts]]


def pointer() -> Path:
    """Where the folder of the newest demo of this user is written down."""
    return Path(tempfile.gettempdir()) / f"restante-demo-{os.getuid()}.json"


def write_private(path: Path, facts: Facts) -> None:
    """Write a file that only its owner may read, at once and never through a link."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(facts, stream)
    Path(name).replace(path)


def read_private(path: Path) -> Facts | None:
    """Read such a file; None if it is not there or not ours."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        return cast("Facts", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


async def listen(folder: Path, token: str, answering: Answering) -> asyncio.Server:
    """Answer questions until the server is closed; leave the notes that lead here."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = cast("Facts", json.loads(await reader.readline()))
            if hmac.compare_digest(str(question.get("token", "")), token):
                answer = await answering(question)
            else:
                answer = {"error": "this is another demo"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ValueError, OSError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LINE_OCTETS)
    port = server.sockets[0].getsockname()[1]
    write_private(folder / DEMO_FILE, {"port": port, "token": token, "pid": os.getpid()})
    write_private(pointer(), {"folder": str(folder), "pid": os.getpid()})
    return server


def forget(folder: Path) -> None:
    """Take the notes away."""
    (folder / DEMO_FILE).unlink(missing_ok=True)
    found = read_private(pointer())
    if found is not None and found.get("folder") == str(folder):
        pointer().unlink(missing_ok=True)


def ask(config_file: str | None, question: Facts) -> Facts:
    """Ask the demo whose configuration is named, or else the newest. Raises Failure."""
    note = read_private(config_path(config_file).resolve().parent / DEMO_FILE)
    if note is None and (newest := read_private(pointer())) is not None:
        note = read_private(Path(newest["folder"]) / DEMO_FILE)
    if note is None:
        raise Failure("no demo of yours is running", fix="restante demo")
    try:
        with socket.create_connection(("127.0.0.1", note["port"]), timeout=ANSWER_S) as connection:
            connection.sendall(json.dumps(question | {"token": note["token"]}).encode() + b"\n")
            with connection.makefile("r", encoding="utf-8") as stream:
                answer = cast("Facts", json.loads(stream.readline(LINE_OCTETS) or "{}"))
    except (OSError, ValueError) as error:
        raise Failure(f"the demo does not answer: {error}", fix="restante demo") from error
    if "error" in answer:
        raise Failure(str(answer["error"]), fix=str(answer.get("fix", "")))
    return answer
