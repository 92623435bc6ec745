"""Bus, failpoints and the naming of metrics."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from store_tools import message, opened

from restante import metrics
from restante.store.bus import LocalBus
from restante.store.failpoints import from_environment, nothing


def test_the_local_bus_calls_whoever_listens() -> None:
    bus, heard = LocalBus(), list[object]()

    def failing(_payload: bytes) -> None:
        raise RuntimeError

    bus.subscribe("t", failing)
    stop = bus.subscribe("t", heard.append)
    bus.subscribe("other", heard.append)
    bus.publish("t", b"1")
    bus.publish("nobody", b"2")
    stop()
    stop()
    bus.publish("t", b"3")
    assert heard == [b"1"]
    stop_taking = bus.take(7, lambda ids, note: heard.append((list(ids), note)))
    bus.hand(7, [1, 2], "why")
    bus.hand(8, [3])
    stop_taking()
    bus.hand(7, [4])
    assert heard == [b"1", ([1, 2], "why")]


def test_a_failpoint_kills_at_its_pass() -> None:
    assert from_environment({}) is nothing
    code = (
        "from restante.store.failpoints import from_environment\n"
        "point = from_environment({'RESTANTE_FAILPOINT': 'here:3'})\n"
        "for n in range(9): point('elsewhere'); print(n, flush=True); point('here')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (-9, ["0", "1", "2"])
    with pytest.raises(ValueError):
        from_environment({"RESTANTE_FAILPOINT": "here:soon"})


def test_metrics_follow_their_rules(sqlite_url: str) -> None:
    def stored() -> float:
        return metrics.REGISTRY.get_sample_value("restante_store_answers_total", {"answer": "stored"}) or 0.0

    async def run() -> None:
        async with opened(sqlite_url) as store:
            before = stored()
            await store.apply(messages=[message(store)])
            assert stored() == before + 1

    asyncio.run(run())
    for family in metrics.REGISTRY.collect():
        assert family.name.startswith("restante_")
        assert family.type != "histogram" or family.name.endswith(("_seconds", "_bytes", "_changes"))
