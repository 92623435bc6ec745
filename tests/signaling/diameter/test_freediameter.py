"""Through a real freeDiameterd as relay: who really sent a message, and look-ups at an HSS behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from free_diameter import run_inside

from restante.signaling.causes import ExperimentalResult, ResultCode


def test_the_center_behind_a_real_relay(component: Callable[[str, str], str], tmp_path: Path) -> None:
    said = run_inside(component, Path(__file__).with_name("relay_scenario.py"), tmp_path)
    found = json.loads(said)

    assert found["results"] == {
        "genuine": ResultCode.SUCCESS,
        "forged": ExperimentalResult.SM_DELIVERY_FAILURE,
        "unknown": ExperimentalResult.SM_DELIVERY_FAILURE,
        "moved": ExperimentalResult.SM_DELIVERY_FAILURE,
        "nowhere": ResultCode.UNABLE_TO_DELIVER,
    }
    # Asserted origin, what may be believed of it, and what the relay wrote.
    assert found["origins"][0] == ["mme.home.net", "mme.home.net", ["mme.home.net"]]
    assert found["origins"][1] == ["mme.home.net", "", ["forger.home.net"]]
    assert found["flags"] == [5, 5, 5, 5]  # no look-up left a message-waiting entry behind
