"""Kannel's bearerbox against the real center: receipts, codings, long texts, TLVs, mailbox, reconnecting."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kannel import Kannel, kannel
from running_center import RunningCenter, running_center
from simulated_phone import Phone, phone_network
from waiting import eventually

from restante.smsc.smpp import pdu

Component = Callable[[str, str], str]

#: One worker runs this file: one center, one Kannel.
pytestmark = pytest.mark.xdist_group("kannel")


@pytest.fixture(scope="module")
def network(
    tmp_path_factory: pytest.TempPathFactory, component: Component
) -> Iterator[tuple[RunningCenter, Kannel, Phone]]:
    """A center, Kannel bound to it, and a handset behind a switch that takes everything."""
    programs = (component("kannel", "bearerbox"), component("kannel", "smsbox"))
    folder = tmp_path_factory.mktemp("kannel")
    with running_center(folder / "center") as center:
        center.add_account("kannel", "kpass", sources=["*"], numbers=["12345"])
        center.add_account("msc1", "mscpass", role="switch")
        center.add_range("+4477")
        center.add_route("handsets", prefix="+4477", target="account", account="msc1")
        with (
            phone_network(center.smpp_port, "msc1", "mscpass") as phone,
            kannel(folder / "kannel", programs, center.smpp_port, "kannel", "kpass") as esme,
        ):
            yield center, esme, phone


def found(center: RunningCenter, **wanted: str) -> list[Any]:
    """Messages of the operator's search, newest first."""
    query = "&".join(f"{key}={value}" for key, value in wanted.items())
    return list(center.call("GET", f"/messages?{query}")["items"])


def test_a_message_is_accepted_delivered_and_reported(network: tuple[RunningCenter, Kannel, Phone]) -> None:
    _, esme, phone = network
    esme.send("+447700900001", "hello", name="plain", **{"from": "12345"})
    eventually(lambda: "1" in esme.reported("plain"), "the receipt")
    assert esme.reported("plain")[0] == "8"  # bearerbox saw submit_sm_resp first
    assert "stat:DELIVRD" in esme.answers("plain")[-1]
    assert phone.texts("447700900001") == ["hello"]


def test_its_habits_are_accepted(network: tuple[RunningCenter, Kannel, Phone]) -> None:
    """esm_class 3, registered_delivery 0x11 and data_coding 0x19 (UCS2 with class 1) of notes/peers.md."""
    _, esme, phone = network
    text = "Grüße 😀 здравствуй"
    esme.send(
        "+447700900002",
        text.encode("utf-16-be"),
        name="ucs2",
        coding="2",
        mclass="1",
        priority="2",
        validity="60",
        charset="UTF-16BE",
        **{"from": "12345"},
    )
    eventually(lambda: "1" in esme.reported("ucs2"), "the receipt")
    assert phone.texts("447700900002") == [text]
    assert phone.seen("447700900002")[0].data_coding == 0x19


def test_a_long_text_arrives_whole(network: tuple[RunningCenter, Kannel, Phone]) -> None:
    _, esme, phone = network
    text = "".join(f"{n:03d} " for n in range(80))
    esme.send("+447700900003", text, name="long", **{"from": "12345"})
    eventually(lambda: len(phone.seen("447700900003")) == 3, "all parts")
    assert phone.texts("447700900003") == [text]
    eventually(lambda: "1" in esme.reported("long"), "a receipt")


def test_vendor_tlvs_pass_through(network: tuple[RunningCenter, Kannel, Phone]) -> None:
    _, esme, phone = network
    esme.send(
        "+447700900004", "tagged", name="tlv", **{"from": "12345", "meta-data": "?smpp?mytlv=1107160000&"}
    )
    eventually(lambda: phone.seen("447700900004"), "the message")
    assert phone.seen("447700900004")[0].get_tlv(0x1401) == b"1107160000"


def test_what_cannot_be_delivered_waits_in_the_mailbox(network: tuple[RunningCenter, Kannel, Phone]) -> None:
    center, esme, phone = network
    phone.off("447700900005")
    esme.send("+447700900005", "for later", name="away", **{"from": "12345"})
    eventually(
        lambda: [m for m in found(center, to="%2B447700900005") if m["group"] == "stored"], "the deposit"
    )
    eventually(lambda: "4" in esme.reported("away"), "the intermediate notification")  # Kannel: buffered
    assert "1" not in esme.reported("away")


def test_a_handset_that_speaks_is_seen_again_and_told_of_its_mailbox(
    network: tuple[RunningCenter, Kannel, Phone],
) -> None:
    """behaviour.md 1: default notice. The handset's own message is delivered to Kannel, which owns 12345."""
    center, esme, phone = network
    number = "447700900007"
    phone.off(number)
    esme.send(f"+{number}", "while you were away", name="seen", **{"from": "12345"})
    eventually(lambda: [m for m in found(center, to=f"%2B{number}") if m["group"] == "stored"], "the deposit")
    phone.on(number)
    phone.submit(
        pdu.SubmitSm(
            source_addr_ton=1,
            source_addr_npi=1,
            source_addr=number.encode(),
            destination_addr=b"12345",
            short_message=b"here I am",
        )
    )
    eventually(lambda: "new message" in " ".join(phone.texts(number)), "the notice")
    eventually(lambda: [q for path, q in list(esme.heard) if path == "/mo"], "its message at Kannel")
    assert [q["text"] for path, q in esme.heard if path == "/mo"] == ["here I am"]


def test_it_comes_back_after_a_restart_and_nothing_is_lost(
    network: tuple[RunningCenter, Kannel, Phone],
) -> None:
    center, esme, phone = network
    center.kill()
    eventually(lambda: not esme.online(), "bearerbox to notice")
    for number in range(20):
        esme.send("+447700900006", f"number {number}", name=f"r{number}", **{"from": "12345"})
    center.start()
    eventually(esme.online, "bearerbox to come back", seconds=60)
    eventually(lambda: len(phone.texts("447700900006")) >= 20, "all of them", seconds=60)
    assert sorted(set(phone.texts("447700900006"))) == sorted(f"number {n}" for n in range(20))
    for number in range(20):
        eventually(lambda name=f"r{number}": "1" in esme.reported(name), f"the receipt of {number}")


def test_it_is_throttled_and_backs_off(
    network: tuple[RunningCenter, Kannel, Phone], tmp_path: Path, component: Component
) -> None:
    """ESME_RTHROTTLED beyond the account's rate: bearerbox waits and sends again, and nothing is missing."""
    center, _, phone = network
    programs = (component("kannel", "bearerbox"), component("kannel", "smsbox"))
    center.add_account("slow", "slowpw", sources=["*"], throughput=20, burst=20)
    with kannel(tmp_path / "slow", programs, center.smpp_port, "slow", "slowpw") as esme:
        for number in range(70):
            esme.send("+447700900008", f"slow {number}", name=f"s{number}", **{"from": "12345"})
        eventually(lambda: len(phone.texts("447700900008")) >= 70, "all of them", seconds=90)
        throttled = (esme.folder / "bearerbox.log").read_text(errors="replace").count("Throttling error")
    assert sorted(phone.texts("447700900008")) == sorted(f"slow {number}" for number in range(70))
    assert throttled > 0, "it was never throttled"


def test_many_messages_through_two_restarts(
    network: tuple[RunningCenter, Kannel, Phone], cap: Callable[[int, int], int]
) -> None:
    """A crash and a polite restart under load: every message arrives, and every receipt comes back."""
    center, esme, phone = network
    count = cap(900, 10_000)
    number = "447700900009"
    for sent in range(count):
        if sent == count // 3:
            center.kill()
            center.start()
        if sent == 2 * count // 3:
            assert center.stop() == 0
            center.start()
        esme.send(f"+{number}", f"many {sent}", name=f"m{sent}", **{"from": "12345"})

    def unreported() -> list[str]:
        told = {q["name"] for path, q in list(esme.heard) if path == "/dlr" and q["type"] == "1"}
        return [name for name in (f"m{sent}" for sent in range(count)) if name not in told]

    with contextlib.suppress(AssertionError):
        eventually(lambda: not unreported(), "every receipt", seconds=60 + count / 50)
    assert not unreported(), f"no receipt, while {len(set(phone.texts(number)))} of {count} arrived"
    arrived = Counter(phone.texts(number))
    sys.stdout.write(f"{count} messages, {arrived.total() - count} of them repeated, every receipt\n")
    assert set(arrived) == {f"many {sent}" for sent in range(count)}
    repeated = {name for name in (f"m{sent}" for sent in range(count)) if esme.reported(name).count("1") > 1}
    assert len(repeated) <= 2 * 10 + 100, "more receipts twice than were under way at the two ends"
