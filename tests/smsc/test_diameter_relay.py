"""The real center behind a real freeDiameterd, with MMEs and an HSS of python-diameter on its other side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from free_diameter import run_inside

from restante.signaling.diameter.dictionary import Command

pytestmark = pytest.mark.xdist_group("diameter")

SUCCESS, REFUSED = [2001, False], [5555, True]


def test_messages_through_a_relay(component: Callable[[str, str], str], tmp_path: Path) -> None:
    dumpcap, tshark = component("tshark", "dumpcap"), component("tshark", "tshark")
    script = Path(__file__).with_name("relayed_center.py")
    found = json.loads(run_inside(component, script, tmp_path, dumpcap, tshark))

    assert found["results"] == {
        "genuine": SUCCESS,
        "forged": REFUSED,  # by another MME, which names the one that serves the sender
        "moved": REFUSED,  # the sender is served by another MME by now
        "unknown": SUCCESS,  # nobody is accused whom no register knows
        "repeated": SUCCESS,
    }
    assert found["reasons"] == {
        "forged": "asserted_switch_untrusted",
        "moved": "switch_mismatch",
        "unknown": "unknown_subscriber",
    }
    assert found["stored"] == 4  # what was repeated is stored once
    assert found["ingress"]["trusted"] == "diameter_host:mme-a.home.net"
    assert found["ingress"]["authenticated"] == "relay"
    assert found["ingress"]["asserted"]["peer"] == "dra.home.net"
    assert found["delivered"] == ["delivered", "hello bert"]
    assert found["reports"] == [1, 2]  # absent, then reached
    assert found["late"] == ["delivered", "later"]
    assert set(found["flags"]) == {5}  # no look-up left a message-waiting entry behind
    assert found["peer"] == ["up", ["relay"]]
    assert found["malformed"] == []
    commands = {int(each.partition("/")[0]) for each in found["commands"]}
    assert commands >= {
        Command.CAPABILITIES_EXCHANGE,
        Command.MO_FORWARD_SHORT_MESSAGE,
        Command.MT_FORWARD_SHORT_MESSAGE,
        Command.SEND_ROUTING_INFO_FOR_SM,
        Command.REPORT_SM_DELIVERY_STATUS,
        Command.ALERT_SERVICE_CENTRE,
    }
