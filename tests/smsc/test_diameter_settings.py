"""What [diameter] refuses, and what it makes of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from restante.smsc.diameter_network import BadDiameter, DiameterNetwork
from restante.smsc.diameter_settings import DiameterSettings

MME = {"host": "MME1.Home.net", "networks": ["10.0.1.0/28"]}
GOOD: dict[str, Any] = {"identity": "SMSC.home.net", "peers": [MME]}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"peers": [MME, {"host": "mme1.home.net", "address": "10.0.0.1"}]}, "two peers have the same host"),
        ({"peers": [{"host": "smsc.home.net", "address": "10.0.0.1"}]}, "our own identity"),
        ({"peers": [{"host": "mme1.home.net"}]}, "neither an address nor networks"),
        ({"peers": [{"host": "mme 1", "address": "10.0.0.1"}]}, "pattern"),
        ({"peers": [MME | {"networks": ["10.0.0.0/99"]}]}, "does not appear to be"),
        ({"identity": "smsc"}, "needs a realm"),
        ({"identity": "smsc..net"}, "pattern"),
        ({"watchdog_s": 5}, "greater than or equal to 6"),
        ({"applications": ["gx"]}, "'sgd' or 's6c'"),
        ({"applications": []}, "at least 1"),
        ({"hss": {"name": "hss"}}, "not permitted"),
    ],
)
def test_what_is_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        DiameterSettings.model_validate(GOOD | more)


def test_names_compare_without_case_and_realms_have_defaults() -> None:
    settings = DiameterSettings.model_validate(GOOD)
    assert (settings.identity, settings.own_realm) == ("smsc.home.net", "home.net")
    assert settings.peers[0].host == "mme1.home.net"
    assert DiameterSettings.model_validate(GOOD | {"realm": "epc.net"}).own_realm == "epc.net"


def test_no_identity_no_node_and_no_number_no_start() -> None:
    assert DiameterNetwork.of(DiameterSettings(), center="", now_ms=lambda: 0) is None
    settings = DiameterSettings.model_validate(GOOD)
    with pytest.raises(BadDiameter, match=r"handsets\.center"):
        DiameterNetwork.of(settings, center="", now_ms=lambda: 0)
    network = DiameterNetwork.of(settings, center="447700900999", now_ms=lambda: 5000)
    assert network is not None
    assert [register.name for register in network.registers] == ["s6c"]
    assert (network.identity.state_id, network.has_messages) == (5, True)
    only = DiameterSettings.model_validate(GOOD | {"applications": ["sgd"]})
    other = DiameterNetwork.of(only, center="447700900999", now_ms=lambda: 0)
    assert other is not None
    assert other.registers == []
