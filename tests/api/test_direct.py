"""Routes that are called directly answer as the framework would, whatever is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import pytest
from fastapi.routing import APIRoute
from live_store import Database
from rest_center import API, RestCenter, rest_center

from restante.access.operators import OperatorRole
from restante.api.direct import Direct, fits
from restante.api.frame import Frame
from restante.api.paging import PageQuery

#: What differs between two answers to the same question: the request's own id, and how many are left.
OF_THE_REQUEST = {"x-request-id", "ratelimit"}

#: What holds counters and times of this very moment.
OF_THE_MOMENT = {f"{API}/admin/overview"}

QUERIES = (
    "",
    "limit=1",
    "limit=0&x=y",
    "limit=many",
    "cursor=never",
    "q=from:%2B447700900999",
    "limit=1&limit=2",
)


def routes(c: RestCenter) -> list[APIRoute]:
    return [route for route in c.app.app.routes if isinstance(route, APIRoute) and fits(route)]


def both_ways(c: RestCenter, token: str) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
    """Clients of the app: with the table of direct routes, and with the framework alone."""
    headers = {"Authorization": f"Bearer {token}"}
    apps = Frame(Direct(c.app.app), c.rooms.settings), Frame(c.app.app, c.rooms.settings)
    direct, framework = (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://center", headers=headers)
        for app in apps
    )
    return direct, framework


def told(answer: httpx.Response) -> tuple[int, Mapping[str, str], str]:
    headers = {name: value for name, value in answer.headers.items() if name not in OF_THE_REQUEST}
    return answer.status_code, headers, answer.text.replace(answer.headers["x-request-id"], "")


def test_both_ways_give_the_same_answer(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            for n in range(3):
                await c.deposit(f"message {n}")
            admin = await c.operator(OperatorRole.ADMIN, "walker")
            subscriber = await c.subscriber_token()
            paths = sorted(route.path for route in routes(c))
            assert f"{API}/mailbox/messages" in paths
            assert f"{API}/admin/messages" in paths
            assert len(paths) > 25
            for token in (admin, subscriber, "nobody"):
                direct, framework = both_ways(c, token)
                async with direct, framework:
                    for path in paths:
                        if path not in OF_THE_MOMENT:
                            assert told(await direct.get(path)) == told(await framework.get(path)), path
                    for query in QUERIES:
                        for room in (
                            "mailbox/messages",
                            "admin/messages",
                            "admin/subscribers",
                            "admin/accounts",
                        ):
                            url = f"{API}/{room}?{query}"
                            assert told(await direct.get(url)) == told(await framework.get(url)), url

    asyncio.run(run())


def test_other_methods_and_faults_are_the_frameworks_and_the_frames(
    sqlite_copy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            direct, framework = both_ways(c, await c.subscriber_token())
            async with direct, framework:
                for method in ("HEAD", "POST", "DELETE", "OPTIONS"):
                    answers = [
                        await http.request(method, f"{API}/mailbox/messages") for http in (direct, framework)
                    ]
                    assert told(answers[0]) == told(answers[1])
                    assert answers[0].status_code == 405

                async def broken(*_: object, **__: object) -> None:
                    raise ArithmeticError("a fault")

                monkeypatch.setattr(c.rooms.box, "page", broken)
                answer = await direct.get(f"{API}/mailbox/messages")
                assert (answer.status_code, answer.json()["code"]) == (500, "internal")
                assert "a fault" not in answer.text

    asyncio.run(run())


def test_a_query_of_several_values_is_left_to_the_framework(sqlite_copy: Database) -> None:
    """The table reads single values only: a model with a list would lose all but the last."""

    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            for route in routes(c):
                for asked in route.dependant.query_params:
                    model = asked.field_info.annotation
                    assert isinstance(model, type)
                    assert issubclass(model, PageQuery)
                    for name, field in model.model_fields.items():
                        assert "list" not in str(field.annotation), f"{route.path}: {name}"

    asyncio.run(run())
