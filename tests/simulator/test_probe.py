"""The probe of the simulated network against an HTTP server: what it tells, and that failures do not end it."""

from __future__ import annotations

import asyncio
import json

from http_peer import http_peer
from waiting import soon_true

from restante.simulator.phone import Phone, Place
from restante.simulator.probe import Probe

HOME = Place("home", 51.25, -0.5)


def phones() -> list[Phone]:
    found = [Phone("finn", "+447700900106", lambda: 0.0), Phone("ann", "+447700900101", lambda: 0.0)]
    found[0].place = HOME
    return found


def test_places_are_told_at_once_and_when_they_change() -> None:
    async def story() -> None:
        async with http_peer() as peer:
            peer.always(204, b"")
            stop, probe, (finn, ann) = asyncio.Event(), Probe(peer.url, "sk_key"), phones()
            running = asyncio.create_task(probe.run(stop, [finn, ann]))
            await soon_true(lambda: len(peer.requests) == 1, "the first round")
            finn.place = Place("away", 52.5, -1.5)
            assert await probe.report(finn)
            first, second = peer.requests
            assert (first.method, first.path) == ("PUT", "/api/v1/admin/locations/+447700900106")
            assert first.headers["authorization"] == "Bearer sk_key"
            assert json.loads(first.body) == {"latitude": 51.25, "longitude": -0.5, "accuracy_m": 50.0}
            assert json.loads(second.body)["latitude"] == 52.5
            assert await probe.report(ann)  # she is nowhere, so nobody is told
            assert len(peer.requests) == 2
            stop.set()
            await running

    asyncio.run(story())


def test_a_center_that_does_not_listen_is_told_again(monkeypatch) -> None:
    monkeypatch.setattr("restante.simulator.probe.REPORT_S", 0.02)

    async def story() -> None:
        async with http_peer() as peer:
            peer.always(503, b"")
            stop, probe, (finn, _) = asyncio.Event(), Probe(peer.url, "sk_key"), phones()
            running = asyncio.create_task(probe.run(stop, [finn]))
            await soon_true(lambda: len(peer.requests) >= 3, "further rounds")
            assert not await probe.report(finn)
            stop.set()
            await running
        nobody = Probe("http://127.0.0.1:1", "")
        assert not await nobody.report(finn)

    asyncio.run(story())
