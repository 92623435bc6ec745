"""A whole small network: a center in front of a real OsmoHLR, with real OsmoMSCs that take it for their HLR.

In charge of: putting the daemons and the center together, making subscribers in the register, and, on request, letting
Wireshark's dissectors judge all that was said between them. Not in charge of: any of them (`osmo_hlr.py`,
`osmo_msc.py`, `running_center.py`), or handsets (`sgs_handset.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osmo_hlr import OsmoHlr
from osmo_msc import OsmoMsc
from running_center import RunningCenter, free_ports, running_center
from sgs_handset import Handset, Mme, Rp
from waiting import eventually
from wire_capture import WireCapture

from restante.message import Address
from restante.signaling.ctrl import Ctrl
from restante.signaling.gsup import MessageType
from restante.signaling.tpdu import Submit, decode_to_handset
from restante.signaling.user_data import UserData

CENTER = "447700900999"
ACCOUNT = "handsets"


def submit(number: str, text: bytes, mr: int, **more: Any) -> bytes:
    """An SMS-SUBMIT."""
    return Submit(Address(1, 1, number), mr, ud=UserData(payload=text), **more).encode()


def read(data: Rp) -> Any:
    """What a handset reads."""
    return decode_to_handset(data.tpdu)


async def _set(address: str, port: int, settings: Sequence[tuple[str, str]]) -> None:
    ctrl = Ctrl(address, port)
    ctrl.open()
    try:
        async with asyncio.timeout(30):
            while not ctrl.connected:
                await asyncio.sleep(0.01)
        for variable, value in settings:
            await ctrl.set(variable, value, 10)
    finally:
        await ctrl.close()


def subscribe(register: OsmoHlr, imsi: str, msisdn: str) -> None:
    """Make a subscriber in a register."""
    settings = [("subscriber.create", imsi), (f"subscriber.by-imsi-{imsi}.msisdn", msisdn)]
    asyncio.run(_set(register.address, register.ctrl_port, settings))


@dataclass
class Network:
    """Everything that runs."""

    center: RunningCenter
    register: OsmoHlr
    gsup: tuple[str, int]  #: where switches find the center
    switches: dict[str, OsmoMsc]
    _mmes: dict[str, Mme]

    def subscribe(self, imsi: str, msisdn: str) -> None:
        """Make a subscriber in the register."""
        subscribe(self.register, imsi, msisdn)

    def mme(self, switch: str) -> Mme:
        """The MME of a switch."""
        if switch not in self._mmes:
            msc = self.switches[switch]
            self._mmes[switch] = Mme(msc.address, msc.sgs_port, len(self._mmes) + 1)
        return self._mmes[switch]

    def handset(self, switch: str, imsi: str) -> Handset:
        """A handset behind a switch, not attached."""
        return Handset(self.mme(switch), imsi, CENTER)

    def messages(self, number: str) -> list[Any]:
        """What the center has of a sender, newest first."""
        return self.center.call("GET", f"/messages?from=%2B{number}")["items"]

    def events(self, id: str) -> list[Any]:
        """The trace of a message."""
        return self.center.call("GET", f"/messages/{id}/trace")["events"]

    def ended(self, id: str) -> Any:
        """The last event of a message that is over, or nothing."""
        return next((event for event in self.events(id) if event["kind"] == "final"), None)

    def connected(self, name: str) -> bool:
        """Whether the center sees a switch with its register behind it."""
        return any(link["name"] == name and link["register"] == "up" for link in self.links())

    def links(self) -> list[Any]:
        """Switches as operators see them."""
        return self.center.call("GET", "/switch-links")["items"]


@contextlib.contextmanager
def osmo_network(
    folder: Path,
    component: Callable[[str, str], str],
    names: Sequence[str] = ("MSC-A",),
    settings: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    judged: bool = False,
    over_gsup: bool = True,
    **account: object,
) -> Generator[Network]:
    """The network from start to end.

    `names` of switches; `settings` and `environ` of the center; `account`: what is special about that of the handsets.
    `over_gsup`: as in `OsmoMsc`. `judged`: what it says by GSUP and SMPP is captured; nothing of it may be malformed.
    """
    hlr, msc = component("osmo-hlr", "osmo-hlr"), component("osmo-msc", "osmo-msc")
    gcc = component("gcc", "gcc")
    with contextlib.ExitStack() as stack:
        register = OsmoHlr(hlr, folder / "hlr")
        register.start()
        stack.callback(register.stop)
        (port,) = free_ports(1)
        given: dict[str, object] = {
            "handsets.account": ACCOUNT,
            "handsets.center": CENTER,
            "gsup.host": "127.0.0.1",
            "gsup.port": port,
            "gsup.register_host": register.address,
            "gsup.register_port": register.gsup_port,
            "gsup.switches": [{"name": name, "networks": ["127.0.0.0/8"]} for name in (*names, "MSC-Z")],
            "affiliations.osmo_hlr.host": register.address,
            "affiliations.osmo_hlr.port": register.ctrl_port,
        }
        running = running_center(folder / "center", given | dict(settings or {}), **(environ or {}))
        center = stack.enter_context(running)
        role = {"role": "switch", "mailbox": False}  # what waits, waits in the queue
        center.add_account(ACCOUNT, "wisteria", **(role | account))
        wire = _capture(component, folder, center, (port, register.gsup_port)) if judged else None
        center.add_range("+4477")
        center.add_route("handsets", prefix="+4477", target="switch")
        network = Network(center, register, ("127.0.0.1", port), {}, {})
        for name in names:
            switch = OsmoMsc(msc, gcc, folder / name, name, network.gsup, over_gsup=over_gsup)
            network.switches[name] = switch.start()
            stack.callback(switch.stop)
        for name in names:
            eventually(lambda name=name: network.connected(name), f"{name} at the center")
        yield network
        for mme in network._mmes.values():
            mme.close()
        if wire is not None:
            wire.stop()
            _nothing_malformed(wire, center, [port, register.gsup_port])


def _capture(
    component: Callable[[str, str], str], folder: Path, center: RunningCenter, gsup: Sequence[int]
) -> WireCapture:
    dumpcap, tshark = component("tshark", "dumpcap"), component("tshark", "tshark")
    return WireCapture(dumpcap, tshark, folder, (*gsup, center.smpp_port))


def _nothing_malformed(wire: WireCapture, center: RunningCenter, gsup: list[int]) -> None:
    """Both hops of GSUP, both directions, and what the center said by SMPP meanwhile."""
    said, types = wire.judge_gsup(gsup)
    smpp = wire.judge([center.smpp_port])
    sys.stdout.write(f"tshark read {said.frames} frames with GSUP {dict(types)}, {smpp.frames} with SMPP\n")
    assert not said.malformed
    assert not smpp.malformed
    assert smpp.frames
    assert said.torn == 0
    asked = (
        MessageType.UPDATE_LOCATION,
        MessageType.INSERT_DATA,
        MessageType.MO_FORWARD_SM,
        MessageType.MT_FORWARD_SM,
    )
    assert {int(kind) for kind in types} >= {kind + result for kind in asked for result in (0, 2)}
