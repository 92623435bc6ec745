"""Keywords over real doors: an offer and its answer, a box by SMS, and everybody who is not obeyed.

In charge of: a switch on SMPP, another one on GSUP, links, an application that pretends, a switch that pretends, and a
restart between question and answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from gsup_switch import GsupSwitch
from other_center import other_center
from running_center import RunningCenter, free_ports
from simulated_phone import Phone, phone_network
from smpplib_esme import Esme, esme
from waiting import eventually

from restante.message import Address
from restante.signaling import gsup
from restante.signaling.gsup import MessageType, SmAddress
from restante.signaling.tpdu import Submit
from restante.signaling.user_data import UserData
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status

PASSWORD = "wisteria"
ANNA, BELLA, CLARA, DORA = (f"44770090010{n}" for n in range(1, 5))
FOREIGN = "491700000001"  #: own numbers that come from other networks are not believed
CENTER = "12345"
HOME = {"latitude": 51.5, "longitude": -0.12, "accuracy_m": 30}
AWAY = {"latitude": 52.5, "longitude": -1.9, "accuracy_m": 30}
CIRCLE = {"kind": "circle", "latitude": 51.5, "longitude": -0.12, "radius_m": 2000}
OFFER = "Come? YES or NO"
SWITCH = "MSC-G"


@contextlib.contextmanager
def keyword_center(folder: Path, gsup_port: int, more: dict[str, Any]) -> Generator[RunningCenter]:
    """The number 12345 is its own; anti-spoofing watches."""
    settings: dict[str, Any] = {
        "submission.sender": CENTER,
        "keywords.words": {"JA": "YES"},
        "affiliations.table.file": "served.csv",
        "gsup.host": "127.0.0.1",
        "gsup.port": gsup_port,
        "gsup.switches": [{"name": SWITCH, "networks": ["127.0.0.0/8"]}],
        "handsets.account": "fronts",
        "handsets.center": "447700900000",
        **more,
    }
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(_prepared(folder, settings))
        made.add_account("app", PASSWORD, sources=["*"], window=200)
        for switch in ("msc", "rogue"):
            made.add_account(switch, PASSWORD, role="switch", allowed_networks=["127.0.0.0/8"])
        made.add_account("fronts", PASSWORD, role="switch")
        made.add_account("carrier", PASSWORD, role="interconnect", destinations=["*"])
        made.add_account("friend", PASSWORD, role="interconnect", destinations=["*"], trusted_keywords=True)
        made.add_range("+4477")
        for prefix in ("+4477", "+49"):
            made.add_route(f"to{prefix[1:]}", prefix=prefix, target="account", account="msc")
        watch = {"name": "switch", "ingress": "switch", "mode": "monitor", "sample": 1, "fall_back_share": 0}
        made.call("POST", "/spoof/policies", watch)
        made.call("POST", "/zones", {"name": "home", "shape": CIRCLE})
        plan = {"name": "plan", "on_unknown": "open", "on_outside": "hold_and_offer", "offer_text": OFFER}
        made.call("POST", "/zone-policies", plan | {"hold_poll_s": 3600, "max_age_s": 86_400})
        for number in (ANNA, BELLA, DORA):
            zones = [{"zone": "home", "policy": "plan"}]
            made.call("PUT", f"/numbers/+{number}/zones", {"zones": zones})
        yield made


@contextlib.contextmanager
def _prepared(folder: Path, settings: dict[str, Any]) -> Generator[RunningCenter]:
    made = RunningCenter(folder, settings)
    rows = "\n".join(f"{number},,,smpp_account:msc" for number in (ANNA, BELLA, CLARA))
    (folder / "served.csv").write_text(f"msisdn,imsi,status,addresses\n{rows}\n{DORA},,,ipa_name:{SWITCH}\n")
    made.start()
    try:
        yield made
    finally:
        with contextlib.suppress(Exception):
            made.stop()
        if not made.process_ended():
            made.kill()


def submit(app: Esme, to: str, text: str, sender: str = "Shop", **fields: object) -> Any:
    given: dict[str, object] = {
        "source_addr_ton": 1 if sender.isdecimal() else 5,
        "source_addr_npi": 1 if sender.isdecimal() else 0,
        "source_addr": sender,
        "dest_addr_ton": 0 if to == CENTER else 1,
        "dest_addr_npi": 1,
        "destination_addr": to,
        "short_message": text.encode(),
    }
    return app.ask("submit_sm", **(given | fields))


def say(phone: Phone, number: str, text: str) -> str:
    """A handset behind the switch writes to the center; the id."""
    request = pdu.SubmitSm(
        source_addr_ton=1, source_addr_npi=1, source_addr=number.encode(), dest_addr_npi=1,
        destination_addr=CENTER.encode(), short_message=text.encode(),
    )  # fmt: skip
    answer = phone.submit(request)
    assert isinstance(answer, pdu.SubmitSmResp)
    assert answer.command_status == 0
    return answer.message_id.decode()


def kinds(center: RunningCenter, id: str) -> list[str]:
    return [event["kind"] for event in center.call("GET", f"/messages/{id}/trace")["events"]]


def ended(center: RunningCenter, id: str) -> tuple[str, str]:
    """State and reason of a message that has its end."""

    def final() -> tuple[str, str] | None:
        events = center.call("GET", f"/messages/{id}/trace")["events"]
        found = [event for event in events if event["kind"] == "final"]
        return (found[0]["state"], found[0]["reason"]) if found else None

    found = eventually(final, "its end")
    assert found is not None
    return found


def an_offer_and_its_answer(center: RunningCenter) -> None:
    """Long because it is one story: asked once, pretenders refused, NO, a restart, YES, everything in order."""
    for number in (ANNA, BELLA):
        center.call("PUT", f"/locations/+{number}", AWAY)
    with phone_network(center.smpp_port, "msc", PASSWORD) as phone:
        with esme(center.smpp_port, "transceiver", "app", PASSWORD) as app:
            for n in range(5):
                assert submit(app, ANNA, f"held {n}").status == 0
            eventually(lambda: phone.texts(ANNA) == [OFFER], "one offer for all of them")
            assert phone.seen(ANNA)[0].source_addr == CENTER.encode()
            # An application says so in her name: refused as any forged sender is.
            assert submit(app, CENTER, "YES", ANNA).status == Status.ESME_RINVSRCADR
        with esme(center.smpp_port, "transmitter", "rogue", PASSWORD) as rogue:
            pretended = submit(rogue, CENTER, "YES", ANNA)
            assert pretended.status == 0  # anti-spoofing only watches
        assert ended(center, pretended.message_id.decode()) == ("undeliverable", "keyword-spoofed")
        say(phone, BELLA, "yes")  # hers, not Anna's
        eventually(lambda: phone.texts(BELLA) == ["Nothing waits for your answer."], "Bella's answer")
        say(phone, ANNA, "No")
        say(phone, ANNA, "perhaps")
        answers = [OFFER, "Your messages wait until you are back."]
        eventually(lambda: phone.texts(ANNA)[:2] == answers and len(phone.texts(ANNA)) == 3, "NO, and help")
        assert "LIST" in phone.texts(ANNA)[2]
        center.kill()
        center.start()
        binds = phone.binds
        eventually(
            lambda: phone.binds > binds or center.metric("restante_smpp_binds") > 0, "the switch is back"
        )
        said = say(phone, ANNA, "Ja!")
        assert ended(center, said) == ("delivered", "")
        eventually(lambda: "held 4" in phone.texts(ANNA), "everything", seconds=60)
        eventually(lambda: phone.texts(ANNA).count("Your messages follow.") == 1, "the answer")
        expected = [f"held {n}" for n in range(5)]
        assert [text for text in phone.texts(ANNA) if text.startswith("held")] == expected
        assert phone.texts(ANNA).count(OFFER) == 1
        with esme(center.smpp_port, "transceiver", "app", PASSWORD) as app:
            assert (
                submit(app, ANNA, "held on").status == 0
            )  # after her answer: held again, and she was asked already
            last = submit(app, CLARA, "elsewhere")
            assert ended(center, last.message_id.decode())[0] == "delivered"
        assert [text for text in phone.texts(ANNA) if text.startswith("held")] == expected
        assert phone.texts(ANNA).count(OFFER) == 1


def a_box_by_sms(center: RunningCenter) -> None:
    with phone_network(center.smpp_port, "msc", PASSWORD) as phone:
        phone.off(CLARA)
        with esme(center.smpp_port, "transceiver", "app", PASSWORD) as app:
            for text in ("one for the bin", "the secret of the day"):
                id = submit(app, CLARA, text, registered_delivery=1).message_id.decode()
                eventually(lambda id=id: "stored" in kinds(center, id), "deposited")
            phone.on(CLARA)
            assert submit(app, CENTER, "GET 1", CLARA).status == Status.ESME_RINVSRCADR
            say(phone, CLARA, "list")
            shown = ["2 new of 2:\n1 Shop: the secret..\n2 Shop: one for..", "Shop: the secret of the day"]
            eventually(lambda: any(text.startswith("2 new") for text in phone.texts(CLARA)), "the list")
            say(phone, CLARA, "get 1")
            receipt = app.next_delivered()
            assert id in receipt.short_message.decode()
            assert b"stat:DELIVRD" in receipt.short_message
            say(phone, CLARA, "del 2")
            say(phone, CLARA, "LIST")
            eventually(lambda: any(t.startswith("0 new of 1") for t in phone.texts(CLARA)), "the second list")
            told = phone.texts(CLARA)
            assert shown[1] in told
            assert "The message is in the bin." in told
            assert "\n2" not in next(text for text in told if text.startswith("0 new of 1"))
            assert shown[0].splitlines()[0] in "\n".join(told)


def a_switch_on_gsup_is_trusted(center: RunningCenter, gsup_port: int) -> None:
    center.call("PUT", f"/locations/+{DORA}", AWAY)

    async def yes() -> None:
        switch = await GsupSwitch.connect(SWITCH, "127.0.0.1", gsup_port)
        da = SmAddress(number=Address(1, 1, "447700900000"), center=True)
        tpdu = Submit(Address(0, 1, CENTER), mr=1, ud=UserData(payload=b"YES")).encode()
        request = gsup.mo_forward_sm("001010000000004", 1, da, SmAddress(number=Address(1, 1, DORA)), tpdu)
        answer = await switch.exchange(request)
        assert answer.type == MessageType.MO_FORWARD_SM_RESULT
        switch.writer.close()

    with phone_network(center.smpp_port, "msc", PASSWORD) as phone:
        with esme(center.smpp_port, "transceiver", "app", PASSWORD) as app:
            assert submit(app, DORA, "held").status == 0
        eventually(lambda: phone.texts(DORA) == [OFFER], "the offer")
        asyncio.run(yes())
        eventually(
            lambda: sorted(phone.texts(DORA)) == sorted([OFFER, "Your messages follow.", "held"]), "it"
        )


def only_a_link_that_is_marked_is_trusted(center: RunningCenter) -> None:
    for account, status in (("carrier", Status.ESME_RINVSRCADR), ("friend", 0)):
        with other_center() as other, phone_network(center.smpp_port, "msc", PASSWORD) as phone:
            body = {
                "name": account, "addresses": [other.address], "system_id": "us", "state": "suspended",
                "account": account, "reconnect_min_s": 0.05,
            }  # fmt: skip
            link = center.call("POST", "/links", body)
            center.call("PUT", f"/links/{link['id']}/password", {"password": "geheim"})
            center.call("POST", f"/links/{link['id']}:resume", If_Match=f'"{link["version"]}"')
            eventually(lambda other=other: other.bound, "the link", seconds=30)
            word = pdu.DeliverSm(
                sequence_number=1, source_addr_ton=1, source_addr_npi=1, source_addr=FOREIGN.encode(),
                destination_addr=CENTER.encode(), short_message=b"YES",
            )  # fmt: skip
            other.bound[0].send(word)
            assert other.response().command_status == status
            if not status:
                eventually(lambda phone=phone: phone.texts(FOREIGN) == ["Nothing waits for your answer."])


def test_keywords(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with keyword_center(tmp_path / "center", port, {}) as center:
        a_box_by_sms(center)
        a_switch_on_gsup_is_trusted(center, port)
        only_a_link_that_is_marked_is_trusted(center)
        an_offer_and_its_answer(center)


def test_keywords_on_postgresql(tmp_path: Path, postgresql_url: str) -> None:
    [port] = free_ports(1)
    settings = {"store.url": postgresql_url, "store.durability": "process-crash-only"}
    with keyword_center(tmp_path / "center", port, settings) as center:
        a_box_by_sms(center)
        an_offer_and_its_answer(center)
