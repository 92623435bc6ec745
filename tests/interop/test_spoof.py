"""Anti-spoofing over real SMPP and REST, in a real center: the rows of notes/antispoof.md 5.5 that need no real switch.

Who serves whom stands in a table that the configuration names. The switches are links of this center.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from raw_peer import peer
from running_center import RunningCenter
from simulated_phone import phone_network
from smpplib_esme import Esme, esme
from waiting import eventually

from restante.smsc.smpp import tlv
from restante.smsc.smpp.pdu import DeliverSm, DeliverSmResp, SubmitSm

pytestmark = pytest.mark.xdist_group("spoof")  # one center for all of them

PASSWORD = "wisteria"
ANNA, BELLA, CLARA = "447700900101", "447700900102", "447700900103"
TABLE = f"""msisdn,imsi,status,addresses
{ANNA},001010000000001,,smpp_account:msca
{BELLA},,absent,
{CLARA},001010000000003,,ipa_name:MSC-C
"""


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    """A center with two switches, a gateway, an application, a bank and another operator; policies act."""
    folder = tmp_path_factory.mktemp("spoof") / "center"
    settings = {
        "affiliations.table.file": "served.csv",
        "affiliations.timeout_s": 5,
        "antispoof.deadline_ms": 4000,
    }
    made = RunningCenter(folder, settings)
    (folder / "served.csv").write_text(TABLE)
    made.start()
    try:
        for switch in ("msca", "mscb"):
            made.add_account(switch, PASSWORD, role="switch", allowed_networks=["127.0.0.0/8"])
        made.add_account("tied", PASSWORD, role="switch")
        made.add_account(
            "gw", PASSWORD, role="switch", switch_tlvs={"node": 0x1403, "imsi": 0x1404, "type": "ipa_name"},
            allowed_networks=["127.0.0.1/32"],
        )  # fmt: skip
        made.add_account("app", PASSWORD, sources=["*"])
        made.add_account("bank", PASSWORD, sources=["*"])
        made.add_account("peer", PASSWORD, role="interconnect", allowed_networks=["127.0.0.1/32"])
        made.add_range("+4477")
        made.add_route("handsets", prefix="+4477", target="account", account="msca")
        made.call("POST", "/spoof/protected-senders", {"name": "MyBank", "owners": ["bank"]})
        for role in ("switch", "esme", "interconnect"):
            body = {"name": role, "ingress": role, "mode": "enforce", "sample": 1, "fall_back_share": 0}
            made.call("POST", "/spoof/policies", body)
        yield made
    finally:
        made.stop()
        if not made.process_ended():
            made.kill()


def submit(app: Esme, sender: str, text: str = "hello", to: str = ANNA, **fields: object) -> Any:
    name = not sender.isdecimal()
    given: dict[str, object] = {
        "source_addr_ton": 5 if name else 1,
        "source_addr_npi": 0 if name else 1,
        "source_addr": sender,
        "dest_addr_ton": 1,
        "dest_addr_npi": 1,
        "destination_addr": to,
        "short_message": text.encode(),
    }
    return app.ask("submit_sm", **(given | fields))


def newest(center: RunningCenter, **filters: str) -> Any:
    """The newest piece of evidence; it is written behind the answer."""
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    found = eventually(lambda: center.call("GET", f"/spoof/verdicts?limit=1&{query}")["items"])
    return found[0]


def test_genuine_through_one_switch_and_spoofed_through_another(center: RunningCenter) -> None:
    with phone_network(center.smpp_port, "msca", PASSWORD) as phone:
        with esme(center.smpp_port, "transmitter", "msca", PASSWORD) as msca:
            assert submit(msca, ANNA, "genuine").status == 0
        eventually(lambda: "genuine" in phone.texts(ANNA), "delivered")
        with esme(center.smpp_port, "transmitter", "mscb", PASSWORD) as mscb:
            assert submit(mscb, ANNA, "spoofed").status == 0x0A
            # The same number in other spellings is the same number.
            for spelled, ton in ((f"+{ANNA}", 1), (f"00{ANNA}", 0)):
                assert (
                    submit(mscb, "x", source_addr=spelled, source_addr_ton=ton, source_addr_npi=1).status
                    == 0x0A
                )
        facts = newest(center, sender=ANNA, verdict="spoofed", link="mscb")
        assert (facts["reason"], facts["action"], facts["trusted"]) == (
            "switch_mismatch",
            "reject",
            "smpp_account:mscb",
        )
        assert facts["facts"]["affiliated"][0]["address"] == "smpp_account:msca"
        assert facts["facts"]["imsi_of_register"] == "001010000000001"
        assert "hello" not in str(facts)
        message = center.message(facts["message_id"])
        assert message["state"] == "rejected"
        events = center.call("GET", f"/messages/{facts['message_id']}/trace")["events"]
        told = next(one for one in events if one["kind"] == "evidence")
        assert told["detail"]["evidence"]["affiliated"][0]["address"] == "smpp_account:msca"
        assert phone.texts(ANNA) == ["genuine"]
        genuine = newest(center, sender=ANNA, verdict="genuine")
        assert genuine["reason"] == "exact"


def test_nobody_is_spoofed_for_being_away(center: RunningCenter) -> None:
    with esme(center.smpp_port, "transmitter", "mscb", PASSWORD) as mscb:
        assert submit(mscb, BELLA).status == 0
        assert newest(center, sender=BELLA)["reason"] == "absent"
        assert submit(mscb, "447700900777").status == 0
        assert newest(center, sender="447700900777")["reason"] == "unknown_subscriber"


def test_a_gateway_names_switches_and_an_application_does_not(center: RunningCenter) -> None:
    named = tlv.one(0x1403, b"MSC-C\0")
    other = tlv.one(0x1403, b"MSC-D\0")
    card = tlv.one(0x1404, b"001010000000009\0")

    numbers = itertools.count(10)

    def sent(client: Any, tlvs: bytes, sender: str = CLARA) -> int:
        pdu = SubmitSm(
            source_addr_ton=1, source_addr_npi=1, source_addr=sender.encode(), dest_addr_ton=1, dest_addr_npi=1,
            destination_addr=ANNA.encode(), short_message=b"hi", tlvs=tlvs, sequence_number=next(numbers),
        )  # fmt: skip
        answer = client.ask(pdu)
        assert answer is not None
        return answer.command_status

    with peer(center.smpp_port) as gw:
        assert gw.bind("gw", PASSWORD) == 0
        assert sent(gw, named) == 0
        assert newest(center, sender=CLARA)["trusted"] == "ipa_name:MSC-C"
        assert sent(gw, other) == 0x0A
        assert sent(gw, named + card) == 0x0A
        assert newest(center, sender=CLARA, verdict="spoofed")["reason"] == "imsi_mismatch"
    before = center.metric("restante_identity_stripped_tlvs_total", why="not-allowed")
    with peer(center.smpp_port) as app:
        assert app.bind("app", PASSWORD) == 0
        assert sent(app, named + tlv.one(0x060F, b"000001"), CLARA) == 0
    eventually(
        lambda: center.metric("restante_identity_stripped_tlvs_total", why="not-allowed") == before + 2
    )
    seen = {one["value"] for one in eventually(lambda: center.call("GET", "/spoof/unknown-switches"))}
    assert {"MSC-C", "MSC-D"} <= seen


def test_a_second_peer_with_a_connected_switchs_name_is_refused(center: RunningCenter) -> None:
    with peer(center.smpp_port) as first:
        assert first.bind("tied", PASSWORD) == 0
        with peer(center.smpp_port) as same:
            assert same.bind("tied", PASSWORD) == 0
        with peer(center.smpp_port, address="127.0.0.2") as other:
            assert other.bind("tied", PASSWORD) == 0x0D
        assert center.metric("restante_smpp_name_collisions_total") == 1
        assert any("switch-name-collision" in line for line in list(center.lines))


def test_own_numbers_from_outside_are_quarantined_until_somebody_decides(center: RunningCenter) -> None:
    with phone_network(center.smpp_port, "msca", PASSWORD) as phone:
        with esme(center.smpp_port, "transmitter", "peer", PASSWORD) as other:
            ids = [submit(other, ANNA, text).message_id.decode() for text in ("let go", "ended")]
            center.call("POST", "/spoof/ported-numbers", {"number": "+447700900888"})
            assert submit(other, "447700900888", "ported").status == 0
        eventually(lambda: "ported" in phone.texts(ANNA))
        listed = eventually(
            lambda: (
                [one for one in center.call("GET", "/spoof/quarantine") if one["verdict"]][1:]
                and center.call("GET", "/spoof/quarantine")
            )
        )
        assert [one["id"] for one in listed] == ids[::-1]
        assert listed[0]["verdict"]["reason"] == "own_number_from_outside"
        assert center.message(ids[0])["waits_for"] == "quarantined"
        center.call("POST", f"/spoof/quarantine/{ids[0]}:release", x_reason="known roamer")
        eventually(lambda: "let go" in phone.texts(ANNA), "released")
        center.call("POST", f"/spoof/quarantine/{ids[1]}:discard")
        assert center.message(ids[1])["state"] == "rejected"
        again = center.request("POST", f"/admin/spoof/quarantine/{ids[1]}:release")
        assert again.status_code == 409
        assert center.call("GET", "/spoof/quarantine") == []
        evidence = center.call("GET", f"/spoof/verdicts?message={ids[0]}")["items"]
        assert [one["verdict"] for one in evidence] == ["spoofed"]  # what was released keeps its verdict
        assert "ended" not in phone.texts(ANNA)


def test_names_that_look_like_a_banks(center: RunningCenter) -> None:
    with esme(center.smpp_port, "transmitter", "app", PASSWORD) as app:
        assert submit(app, "MyBank").status == 0x0A
        assert submit(app, "MyB4nk").status == 0x0A
        assert submit(app, "rnyBank").status == 0x0A
        assert submit(app, "MyBakery").status == 0
    with esme(center.smpp_port, "transmitter", "bank", PASSWORD) as bank:
        assert submit(bank, "MyBank").status == 0
    assert newest(center, reason="protected_name")["facts"]["detail"] == "MyBank"


def test_a_flag_is_seen_by_the_recipient_and_cannot_be_forged(center: RunningCenter) -> None:
    forged = tlv.one(0x1552, b"genuine/exact\0")
    with peer(center.smpp_port, "msca", PASSWORD) as phone, peer(center.smpp_port, "mscb", PASSWORD) as mscb:
        pdu = SubmitSm(
            source_addr_ton=1, source_addr_npi=1, source_addr=BELLA.encode(), dest_addr_ton=1, dest_addr_npi=1,
            destination_addr=CLARA.encode(), short_message=b"flagged", tlvs=forged, sequence_number=5,
        )  # fmt: skip
        answer = mscb.ask(pdu)
        assert answer is not None
        assert answer.command_status == 0
        while True:  # what earlier tests left for other handsets comes first
            delivered = phone.read()
            assert isinstance(delivered, DeliverSm)
            phone.send(DeliverSmResp(sequence_number=delivered.sequence_number))
            if delivered.short_message == b"flagged":
                break
        marks = [value for tag, value in tlv.parse(delivered.tlvs) if tag == 0x1552]
        assert marks == [b"unverifiable/absent\0"]
    found = newest(center, sender=BELLA, action="flag")
    assert found["enforced"] is True


def test_explaining_reviewing_exporting_and_trying(center: RunningCenter) -> None:
    told = center.call("POST", "/spoof:evaluate", {"from": f"+{ANNA}", "account": "mscb"})
    assert (told["verdict"], told["reason"], told["action"]) == ("spoofed", "switch_mismatch", "reject")
    steps = {one["step"]: one["says"] for one in told["steps"]}
    assert "smpp_account:msca" in steps["register"]
    assert told["facts"]["fresh"] is True
    with esme(center.smpp_port, "transmitter", "mscb", PASSWORD) as mscb:
        assert submit(mscb, ANNA).status == 0x0A
    spoofed = newest(center, verdict="spoofed", sender=ANNA, link="mscb")
    answer = center.call(
        "POST", f"/spoof/verdicts/{spoofed['id']}:review", {"result": "false-positive", "note": "lab"}
    )
    assert answer["suggestion"]["value"] == f"+{ANNA}"
    assert center.call("GET", f"/spoof/verdicts/{spoofed['id']}")["reviews"][0]["note"] == "lab"
    assert center.call("POST", "/spoof/verdicts:verify")["holds"] is True
    lines = center.request("GET", "/admin/spoof/verdicts:export?verdict=spoofed").text.splitlines()
    assert lines[0].startswith("id,at,message_id,link")
    assert len(lines) > 1
    draft = {"name": "switch", "ingress": "switch", "mode": "enforce",
             "rules": [{"verdict": "spoofed", "action": "flag"}]}  # fmt: skip
    span = {"since": "2020-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"}
    replayed = center.call("POST", "/spoof:replay", {**span, "policies": [draft]})
    assert any(one["before"] == "reject" and one["after"] == "flag" for one in replayed["changed"])
    same = center.call("POST", "/spoof:replay", span)
    assert same["changed"] == []
    shown = center.call("POST", f"/spoof/affiliations/+{ANNA}:refresh")
    assert (shown["status"], shown["served_by"][0]["address"]) == ("attached", "smpp_account:msca")
    assert center.call("GET", f"/spoof/affiliations/{ANNA}")["known"] is True
    center.call("DELETE", f"/spoof/affiliations/{ANNA}")
    assert center.call("GET", f"/spoof/affiliations/{ANNA}")["known"] is False


def test_a_policy_edit_counts_at_once_and_monitor_changes_nothing(center: RunningCenter) -> None:
    policy = next(one for one in center.call("GET", "/spoof/policies")["items"] if one["name"] == "switch")
    path = f"/spoof/policies/{policy['id']}"
    stale = center.request("PATCH", f"/admin{path}", {"mode": "monitor"}, if_match='"99"')
    assert stale.status_code == 412
    dry = center.call("PATCH", f"{path}?dry_run=true", {"mode": "monitor"}, if_match=f'"{policy["version"]}"')
    assert dry["diff"][0]["after"] == "monitor"
    with esme(center.smpp_port, "transmitter", "mscb", PASSWORD) as mscb:
        assert submit(mscb, ANNA).status == 0x0A
        edited = center.call("PATCH", path, {"mode": "monitor"}, if_match=f'"{policy["version"]}"')
        try:
            assert submit(mscb, ANNA).status == 0
            found = newest(center, sender=ANNA, link="mscb")
            assert (found["verdict"], found["action"], found["enforced"]) == ("spoofed", "reject", False)
        finally:
            center.call("PATCH", path, {"mode": "enforce"}, if_match=f'"{edited["version"]}"')
        exempt = {"name": "anna", "kind": "number", "value": f"+{ANNA}", "reason": "test phone",
                  "expires_at": "2099-01-01T00:00:00Z"}  # fmt: skip
        made = center.call("POST", "/spoof/exemptions", exempt)
        assert submit(mscb, ANNA).status == 0
        center.call("DELETE", f"/spoof/exemptions/{made['id']}", if_match='"1"')
        assert submit(mscb, ANNA).status == 0x0A
    for missing in ("reason", "expires_at"):
        body = {name: value for name, value in exempt.items() if name != missing}
        refused = center.request("POST", "/admin/spoof/exemptions", body)
        assert refused.status_code == 422
        assert re.search(missing, refused.text)


def test_evidence_outlives_a_kill(center: RunningCenter) -> None:
    with esme(center.smpp_port, "transmitter", "mscb", PASSWORD) as mscb:
        assert submit(mscb, ANNA, "before the crash").status == 0x0A
    center.kill()
    center.start()
    found = newest(center, verdict="spoofed", sender=ANNA, link="mscb")
    assert found["message_id"] is not None
    assert center.message(found["message_id"])["state"] == "rejected"
    with esme(center.smpp_port, "transmitter", "mscb", PASSWORD) as mscb:
        assert submit(mscb, ANNA).status == 0x0A
    eventually(lambda: center.call("POST", "/spoof/verdicts:verify")["holds"])
