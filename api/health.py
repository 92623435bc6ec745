"""The operations door: is it alive, is it ready, what does it count.

In charge of: /healthz, /readyz, /metrics and /version on a port of their own, for machines that watch this one. Not
in charge of: what is counted (the rooms), or alarms. No credentials are asked for, so it listens on loopback unless
the configuration says otherwise; nothing personal is shown.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from .. import metrics
from ..store.store import Store, StoreClosed
from . import problems
from .rooms import Rooms

__all__ = ["Finding", "Probe", "create_ops_app", "disk_probe", "store_probe"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    why: str = ""  #: for people
    facts: dict[str, float | int | str] | None = None


Probe = Callable[[], Finding]  #: must not block


class Readiness(BaseModel):
    """Whether new work is welcome here."""

    ready: bool
    checks: dict[str, Check]


class Check(BaseModel):
    """One reason."""

    ok: bool
    why: str | None = None
    facts: dict[str, float | int | str] | None = None


class Version(BaseModel):
    """What runs here."""

    version: str
    python: str
    node: int


def store_probe(store: Store) -> Probe:
    """Can the store take something?"""

    def look() -> Finding:
        try:
            health = store.health()
        except StoreClosed as error:
            return Finding("store", False, str(error) or "closed or fenced")
        facts: dict[str, float | int | str] = {
            "pending": health.pending,
            "commit_ms": round(health.commit_ms, 3),
        }
        return Finding("store", health.accepting, health.why, facts)

    return look


def disk_probe(folder: Path, least_mb: int) -> Probe:
    """Is there room where the data is?"""

    def look() -> Finding:
        try:
            found = os.statvfs(folder)
        except OSError as error:
            return Finding("disk", False, f"{folder}: {error.strerror}")
        free = found.f_bavail * found.f_frsize // 1_000_000
        why = "" if free >= least_mb else f"{free} MB free where {least_mb} MB are wanted"
        return Finding("disk", free >= least_mb, why, {"free_mb": free})

    return look


def create_ops_app(rooms: Rooms, probes: Sequence[Probe] = ()) -> FastAPI:
    """The app of the operations port. `probes` beside the store's: disk, links, whatever serve.py knows."""
    store, version = rooms.store, rooms.version
    app = FastAPI(
        title="Restante operations", version=version, docs_url=None, redoc_url=None, openapi_url=None
    )
    problems.install(app)
    looked_at = (store_probe(store), *probes)

    @app.get("/healthz", response_class=Response)
    async def healthz() -> Response:
        """Alive: the loop answers."""
        return Response("ok\n", media_type="text/plain", headers=_NO_STORE)

    @app.get("/readyz", response_model=Readiness, response_model_exclude_none=True)
    async def readyz() -> Response:
        """Ready: 200, or 503 with the reasons."""
        found = [probe() for probe in looked_at]
        checks = {one.name: Check(ok=one.ok, why=one.why or None, facts=one.facts) for one in found}
        body = Readiness(ready=all(one.ok for one in found), checks=checks)
        return JSONResponse(
            body.model_dump(mode="json", exclude_none=True),
            status_code=200 if body.ready else 503,
            headers=_NO_STORE,
        )

    @app.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Everything that is counted, as Prometheus reads it."""
        return Response(
            generate_latest(metrics.REGISTRY), headers={**_NO_STORE, "Content-Type": CONTENT_TYPE_LATEST}
        )

    @app.get("/version", response_model=Version)
    async def read_version() -> Version:
        """What runs here."""
        return Version(version=version, python=platform.python_version(), node=store.node)

    return app


_NO_STORE = {"Cache-Control": "no-store"}

Readiness.model_rebuild()
