"""What delivery is told of other nodes' lives."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from restante.smsc.handover import Handover
from restante.store.bus import LocalBus


def test_delivery_hears_of_places_that_change_and_of_lives_that_end_until_it_closes() -> None:
    neighbours: Any = SimpleNamespace(on_change=[], on_gone=[], alone=False)
    store: Any = SimpleNamespace(epoch=1)
    told: list[str] = []

    async def run() -> None:
        handover = Handover(store, LocalBus(), neighbours)
        handover.start(
            SimpleNamespace(rouse=told.append),  # type: ignore[arg-type]  # nothing else is asked of it here
            spoke=told.append,
            changed=lambda: told.append("changed"),
            gone=lambda: told.append("gone"),
        )
        for hook in (*neighbours.on_change, *neighbours.on_gone):
            hook()
        await handover.close()

    asyncio.run(run())
    assert told == ["changed", "gone"]
    assert (neighbours.on_change, neighbours.on_gone) == ([], [])
