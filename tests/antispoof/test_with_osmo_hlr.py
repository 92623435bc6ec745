"""The check in front of a real OsmoHLR: moves, grace, purges, and a register that is down and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from gsup_switch import GsupSwitch
from osmo_hlr import OsmoHlr
from spoof_center import ANNA, A, B, Bench, C, a_policy
from waiting import soon_true

from restante.antispoof.policy import Policies
from restante.antispoof.settings import SourcesSettings
from restante.antispoof.sources import Sources
from restante.signaling.ctrl import Ctrl

IMSI = "001010000000001"
LONG = 30.0


def test_a_subscriber_of_a_real_register(component: Callable[[str, str], str], tmp_path: Path) -> None:
    """Long because it is one subscriber's story."""

    async def main() -> None:
        ctrl = Ctrl(hlr.address)
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        await ctrl.set("subscriber.create", IMSI, LONG)
        await ctrl.set(f"subscriber.by-imsi-{IMSI}.msisdn", ANNA[1:], LONG)
        bench = Bench(
            policies=Policies([a_policy(sample=1, fall_back_share=0)]), settings={"deadline_ms": 4000}
        )
        settings = {
            "osmo_hlr": {"host": hlr.address},
            "timeout_s": 3,
            "negative_ttl_s": 0.001,
            "failure_ttl_s": 0,
        }
        sources = Sources(
            SourcesSettings.model_validate(settings),
            now_ms=bench.clock.now_ms,
            monotonic=bench.clock.monotonic,
        )
        bench.check._affiliations = sources.affiliations
        bench.check._current = sources.affiliations.current
        bench.check._monotonic_ns = time.monotonic_ns
        await sources.open()
        await soon_true(lambda: sources._ctrl is not None and sources._ctrl.connected)
        assert await bench.conclusion(A) == ("unverifiable", "absent")
        bench.clock.seconds += 1
        first = await GsupSwitch.connect("MSC-A", hlr.address, hlr.gsup_port)
        await first.attach(IMSI)
        assert await bench.conclusion(A, imsi=IMSI) == ("genuine", "exact")
        assert await bench.conclusion(B) == ("spoofed", "switch_mismatch")
        assert await bench.conclusion(A, imsi="001010000000002") == ("spoofed", "imsi_mismatch")
        second = await GsupSwitch.connect("MSC-B", hlr.address, hlr.gsup_port)
        await second.attach(IMSI)
        assert await bench.conclusion(B) == ("genuine", "exact")  # memory said A; asked again
        assert bench.records[-1]["rechecked"] is True
        assert await bench.conclusion(A) == ("genuine", "grace")
        assert await bench.conclusion(C) == ("spoofed", "switch_mismatch")
        bench.clock.seconds += 91
        assert await bench.conclusion(A) == ("spoofed", "switch_mismatch")
        assert bench.records[-1]["imsi_of_register"] == IMSI
        before = len(bench.records)
        hlr.stop()
        await soon_true(lambda: sources._ctrl is not None and not sources._ctrl.connected)
        bench.clock.seconds += 400
        for _ in range(15):
            assert (await bench.conclusion(C))[0] == "unverifiable"
        assert await bench.conclusion(B) == ("genuine", "exact")  # an old answer acquits
        assert not any(one["verdict"] == "spoofed" for one in bench.records[before:])
        hlr.start()
        await soon_true(lambda: sources._ctrl is not None and sources._ctrl.connected)
        bench.clock.seconds += 6  # the breaker lets one question try
        assert await bench.conclusion(C) == ("spoofed", "switch_mismatch")
        purged = await GsupSwitch.connect("MSC-B", hlr.address, hlr.gsup_port)
        await purged.purge(IMSI)
        bench.clock.seconds += 400
        assert await bench.conclusion(C) == ("unverifiable", "absent")
        await sources.close()
        await ctrl.close()

    hlr = OsmoHlr(component("osmo-hlr", "osmo-hlr"), tmp_path / "hlr")
    hlr.start()
    try:
        asyncio.run(main())
    finally:
        hlr.stop()
