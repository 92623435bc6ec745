"""What happens inside the network namespace of test_diameter_relay.py; run as a program, prints its findings as JSON.

freeDiameterd connects to the center, two MMEs and an HSS, and passes requests on by Destination-Host and realm.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from diameter.message import constants
from diameter_home import CENTER, CENTER_HOST, HomeNode, Register, stopped
from free_diameter import ADDRESS, RELAY, start
from running_center import RunningCenter, free_ports, running_center
from waiting import eventually
from wire_capture import WireCapture

from restante.message import Address
from restante.signaling.diameter.dictionary import Command
from restante.signaling.tpdu import Submit, decode_to_handset
from restante.signaling.user_data import UserData

ANNA, BERT = ("001010000000001", "447700900001"), ("001010000000002", "447700900002")
MME_A, MME_B, HSS = "mme-a.home.net", "mme-b.home.net", "hss.home.net"


def prepare(center: RunningCenter) -> None:
    """What operators add."""
    center.add_account("handsets", "wisteria", role="switch", mailbox=False)
    center.add_range("+4477")
    center.add_route("handsets", prefix="+4477", target="switch")
    for name, address in (("a", MME_A), ("b", MME_B)):
        switch = {"name": name, "kind": "mme", "addresses": [{"type": "diameter_host", "value": address}]}
        center.call("POST", "/spoof/switches", switch)
    rule = {"verdict": "spoofed", "reason": "asserted_switch_untrusted", "action": "reject"}
    policy = {"name": "handsets", "ingress": "switch", "mode": "enforce", "rules": [rule]}
    center.call("POST", "/spoof/policies", policy)


def tpdu(number: str, text: bytes, mr: int) -> bytes:
    """An SMS-SUBMIT."""
    return Submit(Address(1, 1, number), mr, ud=UserData(payload=text)).encode()


class Scenario:
    """One run."""

    def __init__(self, center: RunningCenter, register: Register, nodes: tuple[HomeNode, ...]) -> None:
        self.center, self.register = center, register
        self.hss, self.a, self.b = nodes
        self.results: dict[str, tuple[int, bool]] = {}
        self.reasons: dict[str, str] = {}

    def submit(self, what: str, node: HomeNode, octets: bytes, who: tuple[str, str], **more: str) -> None:
        """A message of a handset, and what was concluded about it."""
        self.results[what] = node.submit(octets, *who, **more).result
        found = self.center.call("GET", f"/spoof/verdicts?sender=%2B{who[1]}&limit=1")["items"]
        if found:  # of the genuine ones a few are kept
            self.reasons[what] = found[0]["reason"]

    def forget(self, number: str) -> None:
        """Let the center ask the HSS again."""
        self.center.request("DELETE", f"/admin/spoof/affiliations/+{number}")

    def messages(self) -> list[Any]:
        """Everything that handsets sent."""
        return self.center.call("GET", "/messages?limit=50")["items"]

    def arrived(self, id: str) -> list[str]:
        """The state a message ended in, and the text that Bert has read last."""
        ended = eventually(lambda: self.center.message(id)["finished_at"] and self.center.message(id), id, 60)
        deliver: Any = decode_to_handset(self.b.texts[-1])
        return [ended["state"], deliver.ud.payload.decode()]

    def run(self) -> dict[str, Any]:
        """Send what the test asks about."""
        hello = tpdu(BERT[1], b"hello bert", 1)
        self.submit("genuine", self.a, hello, ANNA)
        first = self.messages()[0]["id"]
        delivered = self.arrived(first)
        self.results["repeated"] = self.a.submit(hello, *ANNA).result
        self.submit("forged", self.b, tpdu(BERT[1], b"forged", 2), ANNA, origin=MME_A)
        self.submit("unknown", self.a, tpdu("447700900003", b"who", 3), ("001010000000009", "447700900009"))
        self.register.serving[ANNA[1]] = MME_B
        self.forget(ANNA[1])
        self.submit("moved", self.a, tpdu(BERT[1], b"moved", 4), ANNA)
        stored = len(self.messages())

        self.register.serving |= {ANNA[1]: MME_A, BERT[1]: ""}
        for number in (ANNA[1], BERT[1]):
            self.forget(number)
        assert self.a.submit(tpdu(BERT[1], b"later", 5), *ANNA).result == (2001, False)
        late = self.messages()[0]["id"]
        eventually(lambda: self._reports() == [1], "the report")
        self.register.serving[BERT[1]] = MME_B
        assert self.hss.alert(BERT[1]).result == (2001, False)
        arrived = self.arrived(late)
        eventually(lambda: len(self._reports()) == 2, "the report of success")
        ingress = self.center.call("GET", f"/messages/{first}/trace")["events"][0]["detail"]
        (peer,) = self.center.call("GET", "/switch-links")["items"]
        asked = self.hss.of(Command.SEND_ROUTING_INFO_FOR_SM)
        return {
            "results": self.results,
            "reasons": self.reasons,
            "stored": stored,
            "ingress": ingress,
            "delivered": delivered,
            "late": arrived,
            "reports": self._reports(),
            "flags": [each.value(constants.AVP_TGPP_SRR_FLAGS) for each in asked],
            "peer": [peer["state"], peer["domains"]],
        }

    def _reports(self) -> list[Any]:
        codes = (
            constants.AVP_TGPP_SM_DELIVERY_OUTCOME,
            constants.AVP_TGPP_MME_SM_DELIVERY_OUTCOME,
            constants.AVP_TGPP_SM_DELIVERY_CAUSE,
        )
        return [each.value(*codes) for each in self.hss.of(Command.REPORT_SM_DELIVERY_STATUS)]


def main(daemon: str, folder: Path, dumpcap: str, tshark: str) -> dict[str, Any]:
    """Start everything, send, and let Wireshark judge what was said."""
    port, *ports = free_ports(4)
    register = Register({ANNA[1]: MME_A, BERT[1]: MME_B}, {ANNA[1]: ANNA[0], BERT[1]: BERT[0]})
    settings = {
        "handsets.account": "handsets",
        "handsets.center": CENTER,
        "diameter.identity": CENTER_HOST,
        "diameter.host": ADDRESS,
        "diameter.port": port,
        "diameter.peers": [{"host": RELAY, "relay": True, "networks": ["10.9.9.0/24", "127.0.0.0/8"]}],
        "diameter.hss.host": HSS,
        "affiliations.timeout_s": 5,  # a loaded machine is slow and not wrong
        "antispoof.deadline_ms": 4000,
    }
    nodes = (HomeNode(HSS, register), HomeNode(MME_A), HomeNode(MME_B))
    everybody = [port, *ports]
    capture = WireCapture(dumpcap, tshark, folder, everybody)
    with running_center(folder / "center", settings) as center, stopped(*nodes):
        prepare(center)
        for node, own in zip(nodes, ports, strict=True):
            node.start(RELAY, (ADDRESS, own), own)
        names = (CENTER_HOST, *(node.host for node in nodes))
        relay = start(daemon, folder, dict(zip(names, everybody, strict=True)))
        try:
            for node in nodes:
                node.wait()
            eventually(lambda: center.metric("restante_diameter_peer_up", peer=RELAY) == 1, "the relay", 60)
            found = Scenario(center, register, nodes).run()
        finally:
            relay.kill()
            relay.wait()
    capture.stop()
    said, commands = capture.judge_diameter(everybody)
    return found | {"malformed": said.malformed, "torn": said.torn, "commands": commands}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])))
