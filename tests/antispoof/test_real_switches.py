"""Anti-spoofing with real switches: OsmoMSC and OsmoHLR around the center, handsets over SGs.

The acceptance rows of notes/antispoof.md 5.5 that need a switch. Policies act here. A subscriber who moved keeps a
context at the switch that was left, because OsmoHLR tells nobody to forget: so the old switch still sends for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from typing import Any

import pytest
from gsup_switch import GsupSwitch
from osmo_network import CENTER, Network, osmo_network, read, submit
from sgs_handset import RP_ACK_DOWN, RP_ERROR_DOWN, Handset, Rp
from smpplib_esme import esme
from waiting import eventually

from restante.message import Address
from restante.signaling import gsup
from restante.signaling.causes import RpCause
from restante.signaling.gsup import SmAddress
from restante.signaling.tpdu import CT_DELETE, Command

pytestmark = pytest.mark.xdist_group("osmocom")

ANNA, BERT, CARA = (
    ("001010000000001", "447700900001"),
    ("001010000000002", "447700900002"),
    ("001010000000003", "447700900003"),
)
GUEST = ("262010000000004", "4915112345678")  #: of another operator, served here
DINA, EMIL, FRED = (
    ("001010000000005", "447700900005"),
    ("001010000000006", "447700900006"),
    ("001010000000007", "447700900007"),
)
SETTINGS = {
    "antispoof.deadline_ms": 4000,
    "affiliations.timeout_s": 3,
    "affiliations.failure_ttl_s": 0,
}
SOURCES = ["+4477*", "+49151*"]
PASSWORD = "wisteria"


class Guarded:
    """The network, with what operators said about spoofing."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.center = network.center
        for name in network.switches:
            body = {"name": name, "addresses": [{"type": "ipa_name", "value": name}]}
            self.center.call("POST", "/spoof/switches", body)
        policy = {"name": "handsets", "ingress": "switch", "mode": "enforce", "sample": 1}
        policy |= {"grace_s": 0, "fall_back_share": 0}
        self._policy = self.center.call("POST", "/spoof/policies", policy)
        self._texts = 0

    @property
    def policy(self) -> Any:
        """The policy as it is now."""
        return self._policy

    def rule(self, **changes: object) -> None:
        """Change the policy."""
        path, match = f"/spoof/policies/{self._policy['id']}", f'"{self._policy["version"]}"'
        self._policy = self.center.call("PATCH", path, changes, If_Match=match)

    @contextlib.contextmanager
    def made(self, plural: str, body: dict[str, Any]) -> Generator[None]:
        """An object, as long as the block lasts."""
        object = self.center.call("POST", f"/spoof/{plural}", body)
        try:
            yield
        finally:
            match = f'"{object["version"]}"'
            self.center.call("DELETE", f"/spoof/{plural}/{object['id']}", If_Match=match)

    @contextlib.contextmanager
    def in_network(self, name: str) -> Generator[None]:
        """Both switches belong to a network, as long as the block lasts."""
        self._put_into(name)
        try:
            yield
        finally:
            self._put_into("")

    def _put_into(self, network: str) -> None:
        for switch in self.center.call("GET", "/spoof/switches")["items"]:
            match = f'"{switch["version"]}"'
            self.center.call("PATCH", f"/spoof/switches/{switch['id']}", {"network": network}, If_Match=match)

    def handset(self, switch: str, who: tuple[str, str]) -> Handset:
        """A handset that has just updated its location behind a switch."""
        made = self.network.handset(switch, who[0])
        assert made.attach() == 0
        return made

    def say(self, handset: Handset, text: bytes = b"hello", to: str = "12345") -> Rp:
        """Send a message, of which each is another."""
        self._texts += 1
        return handset.submit(submit(to, text + b" %d" % self._texts, self._texts & 0xFF))

    def evidence(self, who: tuple[str, str], since: int = 0) -> Any:
        """The newest piece of evidence about a sender, after one of this number; it is written behind the answer."""

        def newest() -> Any:
            found = self.center.call("GET", f"/spoof/verdicts?limit=1&sender=%2B{who[1]}")["items"]
            return found[0] if found and int(found[0]["id"].rpartition("_")[2]) > since else None

        return eventually(newest, "evidence")

    def newest(self, who: tuple[str, str]) -> int:
        """The number of the newest piece of evidence; 0 if there is none."""
        found = self.center.call("GET", f"/spoof/verdicts?limit=1&sender=%2B{who[1]}")["items"]
        return int(found[0]["id"].rpartition("_")[2]) if found else 0

    def judged(self, handset: Handset, who: tuple[str, str]) -> tuple[int, str, str]:
        """Send a message: what the handset is told, and what was concluded."""
        before = self.newest(who)
        answer = self.say(handset)
        facts = self.evidence(who, before)
        return (answer.cause if answer.type == RP_ERROR_DOWN else 0), facts["verdict"], facts["reason"]

    def move_unseen(self, imsi: str, switch: str, *, purged: bool = False) -> None:
        """Another switch takes over, and tells the register without the center in between; perhaps it forgets again."""
        register = self.network.register

        async def main() -> None:
            client = await GsupSwitch.connect(switch, register.address, register.gsup_port)
            await client.attach(imsi)
            if purged:
                await client.purge(imsi)
            client.writer.close()

        asyncio.run(main())


def at_ms(found: Any) -> int:
    """When a message was judged, by the center's clock."""
    return round(datetime.fromisoformat(found["at"]).timestamp() * 1000)


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, component: Callable[[str, str], str]
) -> Iterator[Guarded]:
    """Two registered switches, subscribers, an application with a number, and a policy that acts."""
    with osmo_network(
        tmp_path_factory.mktemp("guarded"),
        component,
        ("MSC-A", "MSC-B"),
        SETTINGS,
        judged=True,
        sources=SOURCES,
    ) as network:
        for imsi, number in (ANNA, BERT, CARA, GUEST, DINA, EMIL, FRED):
            network.subscribe(imsi, number)
        network.center.add_account("shop", PASSWORD, numbers=["12345"], sources=["12345"])
        yield Guarded(network)


def is_complete(found: Any, genuine: Any, policy: Any) -> None:
    """Evidence against the switch that Anna left, later than what was genuine: everything an operator wants to know."""
    facts = found["facts"]
    # Whom it claims to be, the switch it came through, the switch that serves her, both cards, and the link.
    assert (found["sender"], facts["sender_raw"]) == (f"+{ANNA[1]}", f"1/1/{ANNA[1]}")
    assert (found["trusted"], facts["trusted_switch"], facts["trusted_by"]) == (
        "ipa_name:MSC-A",
        "MSC-A",
        "link",
    )
    affiliated = [(one["address"], one["switch"], one["node"]) for one in facts["affiliated"]]
    assert affiliated == [("ipa_name:MSC-B", "MSC-B", "msc")]
    assert (facts["imsi"], facts["imsi_of_register"]) == (ANNA[0], ANNA[0])
    assert (facts["door"], facts["authenticated"], facts["peer"].rpartition(":")[0]) == (
        "gsup",
        "address",
        "127.0.0.1",
    )
    # How good all that is.
    assert (facts["register"], facts["register_status"], facts["authoritative"]) == (
        "osmo-hlr",
        "attached",
        True,
    )
    assert (facts["rechecked"], facts["fresh"], facts["cached"], facts["stale"]) == (True, True, False, False)
    assert 0 <= facts["register_age_ms"] < 60_000
    assert facts["previous"] == ["ipa_name:MSC-A"]
    assert at_ms(genuine) <= facts["changed_at"] <= at_ms(found)
    assert (facts["policy"], facts["policy_version"]) == (policy["id"], policy["version"])
    assert facts["latency_us"] > 0
    assert "not me" not in str(found)


def test_genuine_is_acknowledged_and_delivered_and_after_a_move_refused(guarded: Guarded) -> None:
    """Issue 5, "Done when"; row 1."""
    network = guarded.network
    anna, bert = guarded.handset("MSC-A", ANNA), guarded.handset("MSC-B", BERT)
    assert anna.submit(submit(BERT[1], b"it is me", 1)).type == RP_ACK_DOWN
    (stored,) = network.messages(ANNA[1])
    data = bert.take()
    assert (read(data).oa, read(data).ud.payload, bert.pagings) == (Address(1, 1, ANNA[1]), b"it is me", 1)
    bert.acknowledge(data)
    assert eventually(lambda: network.ended(stored["id"]), "delivered")["state"] == "delivered"
    genuine = guarded.evidence(ANNA)
    assert (genuine["verdict"], genuine["reason"], genuine["message_id"]) == (
        "genuine",
        "exact",
        stored["id"],
    )

    moved = guarded.handset("MSC-B", ANNA)
    refused = anna.submit(submit(BERT[1], b"it is not me", 2))  # the switch that was left still sends for her
    assert refused[:3] == (RP_ERROR_DOWN, anna.mr, RpCause.TRANSFER_REJECTED)
    found = guarded.evidence(ANNA, int(genuine["id"].rpartition("_")[2]))
    assert (found["verdict"], found["reason"], found["action"], found["enforced"]) == (
        "spoofed", "switch_mismatch", "reject", True,
    )  # fmt: skip
    is_complete(found, genuine, guarded.policy)
    assert [each["id"] for each in network.messages(ANNA[1]) if each["state"] != "rejected"] == [stored["id"]]
    assert bert.pagings == 1

    with esme(network.center.smpp_port, "transceiver", "shop", PASSWORD) as shop:  # MT: she is where she is
        given = {
            "dest_addr_ton": 1,
            "dest_addr_npi": 1,
            "destination_addr": ANNA[1],
            "short_message": b"parcel",
        }
        assert shop.ask("submit_sm", source_addr="12345", registered_delivery=1, **given).status == 0
        data = moved.take()
        assert (read(data).oa.digits, read(data).ud.payload, data.center) == ("12345", b"parcel", CENTER)
        assert moved.pagings == 1
        moved.acknowledge(data)
        assert b"stat:DELIVRD" in shop.next_delivered().short_message
    assert guarded.judged(moved, ANNA) == (0, "genuine", "exact")


def test_the_switch_that_was_just_left_counts_for_a_while_and_a_pool_always(guarded: Guarded) -> None:
    """Row 2."""
    old = guarded.handset("MSC-A", CARA)
    guarded.handset("MSC-B", CARA)
    moved_at = time.monotonic()
    assert guarded.judged(old, CARA) == (RpCause.TRANSFER_REJECTED, "spoofed", "switch_mismatch")
    with guarded.made("groups", {"name": "pool", "members": ["MSC-A", "MSC-B"]}):
        assert guarded.judged(old, CARA) == (0, "genuine", "group")
    try:
        guarded.rule(grace_s=600)
        assert guarded.judged(old, CARA) == (0, "genuine", "grace")
        guarded.rule(grace_s=1)
        eventually(lambda: time.monotonic() > moved_at + 1.5, "the end of the grace")
        assert guarded.judged(old, CARA) == (RpCause.TRANSFER_REJECTED, "spoofed", "switch_mismatch")
    finally:
        guarded.rule(grace_s=0)


def test_a_register_that_is_down_accuses_nobody(guarded: Guarded) -> None:
    """Row 3."""
    network, center = guarded.network, guarded.center
    old = guarded.handset("MSC-A", DINA)
    guarded.handset("MSC-B", DINA)
    known = guarded.handset("MSC-A", EMIL)
    accused = center.metric("restante_antispoof_verdicts_total", verdict="spoofed")
    network.register.stop()
    try:
        for _ in range(12):
            assert guarded.judged(old, DINA) == (0, "unverifiable", "register_down")
        assert (
            center.metric("restante_signaling_register_up", source="osmo-hlr") == 0
        )  # left alone for a while
        assert guarded.judged(known, EMIL) == (0, "genuine", "exact")  # memory may acquit
        center.call("DELETE", f"/spoof/affiliations/{EMIL[1]}")
        assert guarded.judged(known, EMIL) == (0, "unverifiable", "register_down")
        assert center.metric("restante_antispoof_verdicts_total", verdict="spoofed") == accused
    finally:
        network.register.start()
    for name in network.switches:
        eventually(lambda name=name: network.connected(name), f"{name} and the register")
    eventually(lambda: guarded.judged(old, DINA)[1] == "spoofed", "the register is asked again")
    assert guarded.judged(known, EMIL) == (0, "genuine", "exact")


def test_who_is_served_by_nobody_is_absent_and_not_spoofed(guarded: Guarded) -> None:
    """Row 4: purged at the register, and never there at all."""
    network = guarded.network
    old = guarded.handset("MSC-A", FRED)
    guarded.handset("MSC-B", FRED)

    guarded.move_unseen(FRED[0], "MSC-Y", purged=True)
    assert guarded.judged(old, FRED) == (0, "unverifiable", "absent")

    async def forged() -> gsup.Gsup:
        """A switch brings a number of ours of which no register knows."""
        client = await GsupSwitch.connect("MSC-Z", *network.gsup)
        answer = await client.exchange(mo_forward("001010000000099", "447700900099", b"nobody"))
        client.writer.close()
        return answer

    assert asyncio.run(forged()).sm_rp_cause is None
    facts = guarded.evidence(("", "447700900099"))
    assert (facts["verdict"], facts["reason"]) == ("unverifiable", "unknown_subscriber")


def mo_forward(imsi: str, number: str, text: bytes) -> gsup.Gsup:
    """What a switch says when a handset sent a message."""
    center = SmAddress(number=Address(1, 1, CENTER), center=True)
    return gsup.mo_forward_sm(
        imsi, 7, center, SmAddress(number=Address(1, 1, number)), submit("12345", text, 7)
    )


def test_a_move_that_nobody_told_is_found_by_one_question(guarded: Guarded) -> None:
    """Row 9: memory says the old switch, the message comes through the new one."""
    network, center = guarded.network, guarded.center
    guarded.handset("MSC-A", EMIL)
    guarded.move_unseen(EMIL[0], "MSC-Z")
    asked = center.metric("restante_signaling_register_lookups_total")
    cleared = center.metric("restante_antispoof_recheck_cleared_total")
    before = guarded.newest(EMIL)

    async def send() -> list[gsup.Gsup]:
        client = await GsupSwitch.connect("MSC-Z", *network.gsup)
        answers = [await client.exchange(mo_forward(*EMIL, b"moved %d" % n)) for n in range(3)]
        client.writer.close()
        return answers

    assert [answer.is_result for answer in asyncio.run(send())] == [True] * 3
    facts = guarded.evidence(EMIL, before)
    assert (facts["verdict"], facts["reason"]) == ("genuine", "exact")
    assert center.metric("restante_signaling_register_lookups_total") == asked + 1
    assert center.metric("restante_antispoof_recheck_cleared_total") == cleared + 1


def test_a_roamer_is_no_spoofer(guarded: Guarded) -> None:
    """A guest, for whom no register of ours speaks; and one of ours abroad, where switches are not known one by one."""
    guest = guarded.handset("MSC-A", GUEST)
    assert guarded.judged(guest, GUEST) == (0, "unverifiable", "off_net")
    guarded.handset("MSC-B", GUEST)
    assert guarded.judged(guest, GUEST) == (0, "unverifiable", "off_net")
    body = {"name": "guests", "plmns": ["26201"], "number_ranges": ["+49151"], "authoritative": True}
    with guarded.made("networks", body | {"match": "switch"}):
        assert guarded.judged(guest, GUEST) == (RpCause.TRANSFER_REJECTED, "spoofed", "switch_mismatch")

    old = guarded.handset("MSC-A", CARA)
    guarded.handset("MSC-B", CARA)
    assert guarded.judged(old, CARA) == (RpCause.TRANSFER_REJECTED, "spoofed", "switch_mismatch")
    with guarded.made("networks", {"name": "abroad", "plmns": ["00102"]}), guarded.in_network("abroad"):
        assert guarded.judged(old, CARA) == (0, "genuine", "network")
    assert guarded.judged(old, CARA) == (RpCause.TRANSFER_REJECTED, "spoofed", "switch_mismatch")


def test_monitor_mode_changes_no_outcome_and_says_what_it_would_have_done(guarded: Guarded) -> None:
    """Row 14."""
    old = guarded.handset("MSC-A", CARA)
    guarded.handset("MSC-B", CARA)
    assert guarded.judged(old, CARA) == (RpCause.TRANSFER_REJECTED, "spoofed", "switch_mismatch")
    try:
        guarded.rule(mode="monitor")
        assert guarded.judged(old, CARA) == (0, "spoofed", "switch_mismatch")
        assert guarded.evidence(CARA)["enforced"] is False
    finally:
        guarded.rule(mode="enforce")
    assert guarded.judged(old, CARA)[0] == RpCause.TRANSFER_REJECTED


def test_a_spoofed_message_that_is_repeated_is_refused_again(guarded: Guarded) -> None:
    old = guarded.handset("MSC-A", CARA)
    guarded.handset("MSC-B", CARA)
    tpdu = submit("12345", b"again and again", 99)
    for _ in range(2):
        assert old.submit(tpdu)[:3] == (RP_ERROR_DOWN, old.mr, RpCause.TRANSFER_REJECTED)
    back = guarded.handset("MSC-A", CARA)
    assert back.submit(tpdu).type == RP_ACK_DOWN  # it is hers now, and was never stored before


def test_nobody_deletes_in_the_name_of_another(guarded: Guarded) -> None:
    """A command is judged like a message."""
    network = guarded.network
    old, bert = guarded.handset("MSC-A", CARA), guarded.handset("MSC-B", BERT)
    assert old.submit(submit(BERT[1], b"keep me", 71)).type == RP_ACK_DOWN
    id = network.messages(CARA[1])[0]["id"]
    bert.refuse(bert.take(), RpCause.MEMORY_CAPACITY_EXCEEDED)
    eventually(lambda: [e for e in network.events(id) if e["kind"] == "attempt"], "the attempt")
    new = guarded.handset("MSC-B", CARA)
    before = guarded.newest(CARA)
    delete = Command(Address(1, 1, BERT[1]), CT_DELETE, mn=71, mr=72).encode()
    assert old.submit(delete)[:3] == (RP_ERROR_DOWN, old.mr, RpCause.TRANSFER_REJECTED)
    found = guarded.evidence(CARA, before)
    assert (found["verdict"], found["message_id"]) == ("spoofed", None)
    assert network.ended(id) is None
    assert new.submit(delete).type == RP_ACK_DOWN
    assert network.ended(id)["state"] == "deleted"
    assert bert.memory_available().type == RP_ACK_DOWN
