"""The OpenAPI document against the running app: no 5xx, and every error is a problem.

schemathesis makes requests out of the document. Examples are bounded and seeded here; `make test-long` makes more.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from live_store import Database
from rest_center import API, NUMBER, RestCenter, rest_center
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from restante.api.server import HttpServer
from restante.api.settings import HttpSettings

EXAMPLES = 60 if os.environ.get("RESTANTE_LONG") else 4
BOUNDS = HttpSettings(
    port=0,
    anonymous_per_minute=1_000_000,
    subscriber_per_minute=1_000_000,
    operator_per_minute=1_000_000,
    account_per_minute=1_000_000,
    streams_max=1,  # a stream would never end: with one open, every other is refused
    connections_per_address=1000,
)


class Served:
    """A center on a port, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.database = url
        self.url = ""
        self.tokens: dict[str, str] = {}
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        async with rest_center(self.database, settings=BOUNDS) as c:
            self.tokens = {
                "/mailbox": await self._subscriber(c),
                "/messages": c.account_key,
                "/admin": c.admin_key,
                "/auth": await c.subscriber_token(),
            }
            server = HttpServer(c.app, BOUNDS)
            await server.start()
            self.url = f"http://127.0.0.1:{server.port}"
            with c.app.app.state.doors.live.open("somebody"):
                self._ready.set()
                await self._stop.wait()
            await server.stop()

    @staticmethod
    async def _subscriber(c: RestCenter) -> str:
        for n in range(3):
            await c.deposit(f"message {n}", to=NUMBER)
        return await c.subscriber_token()

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("openapi") / "center.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    with ExitStack() as stack:
        yield stack.enter_context(Served(Database(f"sqlite:///{path}").url))


@pytest.mark.parametrize("place", ["/auth", "/mailbox", "/messages", "/admin"])
@pytest.mark.timeout(3600 if os.environ.get("RESTANTE_LONG") else 300)
def test_the_document_is_kept(served: Served, place: str) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    # Sign-outs would end the session that the other requests need.
    signed_out = {f"{API}/auth/logout", f"{API}/auth/sessions/{{session_id}}"}
    answered = 0
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok), operation
        found = operation.ok()
        if not found.path.startswith(API + place) or found.path in signed_out:
            continue

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=(
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ),
        )
        def check(case: schemathesis.Case) -> None:
            nonlocal answered
            headers = {"Authorization": f"Bearer {served.tokens[place]}"}
            answer = case.call(headers=headers, timeout=60)
            answered += 1
            where = f"{case.method} {case.path}: {answer.status_code} {answer.content[:300]!r}"
            assert answer.status_code < 500, where
            if answer.status_code >= 400:
                assert answer.headers["content-type"][0] == "application/problem+json", where
                body = answer.json()
                assert body["status"] == answer.status_code, where
                assert body["type"] == f"/problems/{body['code']}", where
            assert answer.status_code != 401 or place == "/auth", where
            names = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
            checks: list[Any] = [CHECKS.get_one(name) for name in names]
            case.validate_response(answer, checks=checks)

        given(case=found.as_strategy())(check)()
    assert answered >= EXAMPLES
