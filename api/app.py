"""The REST door, put together.

In charge of: one FastAPI app with every route, under /api/v1, and its start and stop. Not in charge of: the port it
listens on (`server.py`), or making the rooms behind it (`serve.py`).

Every route stands in a router that is named here; nothing registers itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from ..store.store import StoreClosed, StoreUnavailable
from . import auth, camara, docs, mailbox, mailbox_live, messages, problems, refusals
from .admin import (
    accounts,
    audit,
    binds,
    certificates,
    config,
    decisions,
    definitions,
    keys,
    links,
    locations,
    mailboxes,
    nodes,
    operators,
    overview,
    queues,
    ranges,
    restored,
    routes,
    sandbox,
    schedules,
    sessions,
    spoof,
    subscribers,
    switch_links,
    verdicts,
    zones,
)
from .admin import messages as admin_messages
from .direct import Direct
from .doors import Doors
from .frame import Frame
from .health import create_ops_app
from .idempotency import Idempotency
from .live import Live
from .paging import Cursors
from .rates import Rates
from .rooms import Rooms

__all__ = ["API", "FramedApp", "api_routers", "create_app", "create_ops_app"]

API = "/api/v1"
CAMARA = "/api/camara"  #: what CAMARA calls apiRoot

#: Paths whose bodies may be as large as an import.
IMPORTS = ("/admin/subscribers:import", "/admin/definitions", "/admin/zones:import", "/admin/cells:import")

PURGE_S = 3600.0  #: how often what has run out is removed


class FramedApp:
    """What a server runs: the app inside its frame. An ASGI application."""

    def __init__(self, app: FastAPI, frame: Frame, live: Live) -> None:
        self.app = app
        self._frame = frame
        self._live = live

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request, or the server's start and stop."""
        await self._frame(scope, receive, send)

    def end_streams(self) -> None:
        """Close every event stream now. Call it before the server is told to stop, which waits for them."""
        self._live.stop.set()


#: Everything below /admin, one router a resource.
ADMIN = (
    overview,
    admin_messages,
    queues,
    mailboxes,
    accounts,
    links,
    routes,
    ranges,
    subscribers,
    binds,
    switch_links,
    nodes,
    restored,
    operators,
    keys,
    sessions,
    audit,
    definitions,
    config,
    certificates,
    sandbox,
    schedules,
    zones,
    locations,
    decisions,
    spoof,
    verdicts,
)

#: Routers of the same files that stand under a path of their own.
BESIDE = (
    zones.policies,
    zones.memberships,
    locations.cells,
    locations.numbers,
    locations.groups,
    *spoof.objects,
)


def api_routers() -> list[tuple[str, APIRouter]]:
    """Every router with what stands before it, those first that are asked most: routes are tried in order."""
    people = [(API, room.router) for room in (mailbox, messages, mailbox_live, auth)]
    admin = [(f"{API}/admin", router) for router in (*(room.router for room in ADMIN), *BESIDE)]
    return [*people, *admin, (CAMARA, camara.router)]


#: What a route says about itself, beside its path and function.
_DECLARED = (
    "response_model", "status_code", "tags", "dependencies", "summary", "description", "response_description",
    "responses", "methods", "operation_id", "response_model_exclude_none", "include_in_schema", "response_class",
    "name", "openapi_extra",
)  # fmt: skip


def add_flat(app: FastAPI, prefix: str, router: APIRouter) -> None:
    """Add a router's routes to the app itself. Included routers are matched level by level, which costs a request
    more than all else that the framework does; in one flat list the first ones cost next to nothing."""
    for route in router.routes:
        assert isinstance(route, APIRoute)
        declared = {name: getattr(route, name) for name in _DECLARED}
        app.router.add_api_route(
            prefix + route.path, route.endpoint, route_class_override=type(route), **declared
        )


def create_app(rooms: Rooms) -> FramedApp:
    """The app over its rooms. Nothing runs before the server's start."""
    doors = Doors(
        cursors=Cursors(rooms.ring),
        idempotency=Idempotency(rooms.store),
        live=Live(at_most=rooms.settings.streams_max, per_owner=rooms.settings.streams_per_owner),
        rates=Rates(),
    )

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        stop = doors.live.stop
        tasks = [
            asyncio.create_task(rooms.sessions.run(stop), name="sessions"),
            asyncio.create_task(_purge(rooms, doors, stop), name="http housekeeping"),
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            await rooms.codes.drain()

    app = FastAPI(
        title="Restante",
        version=rooms.version,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.rooms = rooms
    app.state.doors = doors
    problems.install(app)
    refusals.install(app)
    for prefix, router in api_routers():
        add_flat(app, prefix, router)
    problems.add_pages(app)
    docs.install(app)
    return FramedApp(app, Frame(Direct(app), rooms.settings, IMPORTS), doors.live)


async def _purge(rooms: Rooms, doors: Doors, stop: asyncio.Event) -> None:
    """Remove what has run out, until `stop`."""
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), PURGE_S)
        except TimeoutError:
            try:
                await rooms.sessions.purge()
                await rooms.codes.purge()
                await doors.idempotency.purge()
            except StoreClosed:
                return
            except (StoreUnavailable, OSError):
                continue  # the database is away; the next round removes it
