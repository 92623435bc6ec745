"""The commands against spoofing, on a center in another process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_the_commands_against_spoofing(center: Any, tmp_path: Path) -> None:
    """Long because it is one story of one center, which takes a while to start."""
    answer, call = center.answer, center.call
    answer("spoof", "network", "add", "home", "own=true", 'number_ranges=["+4477"]')
    one = answer("switch", "add", "MSC-A", "ipa_name:MSC-A", "e164_gt:4477009*", "--set", "network=home")
    assert one["addresses"][1] == {"type": "e164_gt", "value": "4477009", "prefix": True}
    refused = call("switch", "add", "MSC-X", "ipa_name:MSC-A")
    assert refused.exit_code != 0
    assert "MSC-A" in refused.stderr
    assert call("switch", "add", "MSC-X", "nothing").exit_code == 2
    assert "would" not in call("switch", "add", "MSC-B", "ipa_name:MSC-B", "--dry-run").stdout
    assert [each["name"] for each in answer("switch", "list")] == ["MSC-A"]
    answer("switch", "set", "MSC-A", "trust=authenticated", "--reason", "lab")
    assert answer("switch", "history", "MSC-A")[0]["reason"] == "lab"
    answer("switch", "rollback", "MSC-A", "1")
    assert answer("switch", "show", "MSC-A")["trust"] == "asserted"
    answer("spoof", "group", "add", "pool", 'members=["MSC-A"]')
    assert call("switch", "remove", "MSC-A").exit_code != 0  # the pool names it
    answer("spoof", "protected", "add", "MyBank", "owners=[]")
    answer("spoof", "rule", "add", "no-shop", "account=*", "pattern=@Shop", "allow=false")
    answer("spoof", "ported", "add", "+447700900888")
    assert call("spoof", "exemption", "add", "x", "kind=number", "value=+4477").exit_code != 0
    policy = answer("spoof", "policy", "add", "handsets", "ingress=switch", "mode=enforce")
    assert policy["warnings"][0]["code"] == "acts-now"
    answer("esme", "add", "msc", "--role", "switch")
    told = answer("spoof", "evaluate", "+447700900123", "msc", "--switch", "ipa_name:MSC-A")
    assert (told["verdict"], told["reason"], told["action"]) == ("unverifiable", "off_net", "flag")
    shown = call("spoof", "evaluate", "@MуBank", "msc").stdout
    assert "spoofed (protected_name) -> reject" in shown
    assert call("spoof", "evaluate", "+447700900123", "nobody").exit_code != 0
    assert answer("spoof", "verdicts") == []
    assert answer("spoof", "verdicts", "--verify")["holds"] is True
    file = tmp_path / "verdicts.csv"
    answer("spoof", "verdicts", "--verdict", "spoofed", "--csv", str(file))
    assert file.read_text().startswith("id,at,")
    assert answer("spoof", "quarantine") == []
    assert call("spoof", "quarantine", "1", "--release").exit_code != 0
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps({"name": "handsets", "ingress": "switch"}))
    span = ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z")
    assert answer("spoof", "replay", *span, "--policy", str(draft))["verdicts"] == 0
    assert answer("switch", "unknown") == []
    assert answer("switch", "serves", "+447700900123", "--refresh")["failure"] == "no-register"
    assert answer("switch", "serves", "+447700900123")["known"] is False
    assert answer("spoof", "policy", "show", "handsets")["mode"] == "enforce"
