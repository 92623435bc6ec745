"""A center killed while another one has its messages: nothing is lost, and every receipt finds its message.

The other center lives on and remembers what it was handed; it answers and reports when the test says so, also to the
next life, also about messages that the life before never heard an answer for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from other_center import OtherCenter, other_center
from raw_peer import Peer, peer
from running_center import RunningCenter
from waiting import eventually

from restante.smsc.smpp import pdu
from restante.smsc.smpp.tlv import Tag, get_c_octet_string

MESSAGES = 12


@pytest.fixture
def other() -> Iterator[OtherCenter]:
    with other_center() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def center(request: pytest.FixtureRequest, tmp_path: Path, other: OtherCenter) -> Iterator[RunningCenter]:
    settings: dict[str, object] = {"store.heartbeat_s": 0.5}
    if request.param == "postgresql":
        settings["store.url"] = request.getfixturevalue("pg_durable_database")
    made = RunningCenter(tmp_path / "center", settings)
    made.start()
    made.add_account("shop", "shoppw", window=100)
    link = {
        "name": "other", "addresses": [other.address], "system_id": "us", "window": 100, "reconnect_max_s": 1,
    }  # fmt: skip
    made.call("POST", "/links", link)
    made.add_route("out", prefix="+49", target="link", link="other")
    yield made
    if not made.process_ended():
        made.kill()


def submit_all(shop: Peer) -> list[str]:
    """Ids of accepted messages."""
    for n in range(MESSAGES):
        shop.send(
            pdu.SubmitSm(
                sequence_number=n + 1, source_addr=b"1234567", dest_addr_ton=1, registered_delivery=1,
                destination_addr=b"49170%06d" % n, short_message=b"%d" % n,
            )
        )  # fmt: skip
    ids: list[str] = []
    while len(ids) < MESSAGES:
        answer = shop.read()
        assert isinstance(answer, pdu.SubmitSmResp), answer
        assert answer.command_status == 0
        ids.append(answer.message_id.decode())
    return ids


def collect(shop: Peer, wanted: int) -> dict[str, str]:
    """Receipts by id, until there are as many; a second one for the same message fails."""
    found: dict[str, str] = {}
    while len(found) < wanted:
        told = shop.read()
        assert isinstance(told, pdu.DeliverSm), told
        shop.send(pdu.DeliverSmResp(sequence_number=told.sequence_number))
        id = get_c_octet_string(told.tlvs, Tag.receipted_message_id)
        assert id is not None
        assert id.decode() not in found
        found[id.decode()] = told.short_message.split(b"stat:")[1][:7].decode()
    return found


def test_a_kill_between_sending_and_receipt_loses_nothing(center: RunningCenter, other: OtherCenter) -> None:
    with peer(center.smpp_port, "shop", "shoppw") as shop:
        ids = submit_all(shop)
        handed = [other.submit() for _ in ids]
        # A third is answered and recorded, a third gets its receipt before any answer, a third hears nothing at all.
        third = MESSAGES // 3
        answered, early, silent = handed[:third], handed[third : 2 * third], handed[2 * third :]
        for number, (client, sent) in enumerate(answered):
            other.answer(client, sent, f"A{number}")
        eventually(lambda: center.call("GET", "/links:status")["items"][0]["awaited_receipts"] == third)
        for number, (client, sent) in enumerate(early):
            other.receipt(client, sent, f"e{number}")
        for _ in early:
            assert other.response().command_status == 0  # the center keeps these receipts from now on
    center.kill()
    lives = len(other.bound)
    center.start()
    eventually(lambda: len(other.bound) > lives, "the next life binds")
    client = other.bound[-1]
    again = {sent.destination_addr: sent for sent in (other.submit()[1] for _ in range(2 * third))}
    in_doubt = {sent.destination_addr for _, sent in (*early, *silent)}
    assert set(again) == in_doubt, "what had no answer is handed over again, and nothing else"
    with peer(center.smpp_port, "shop", "shoppw") as shop:
        for number, (_, sent) in enumerate(early):  # the same id: its receipt is there already
            other.answer(client, again[sent.destination_addr], f"E{number}")
        for number, (_, sent) in enumerate(silent):
            other.answer(client, again[sent.destination_addr], f"S{number}")
            other.receipt(client, sent, f"s{number}")
        for number, (_, sent) in enumerate(answered):  # known from the life before
            other.receipt(client, sent, f"a{number}")
        told = collect(shop, MESSAGES)
    assert told == dict.fromkeys(ids, "DELIVRD")
    assert {center.message(id)["state"] for id in ids} == {"delivered"}
    assert len(other.submitted) == MESSAGES + 2 * third
    assert center.stop() == 0


@pytest.mark.parametrize("point", ["after-commit", "before-commit", "after-send"])
def test_a_kill_anywhere_is_made_good_by_the_next_life(
    tmp_path: Path, other: OtherCenter, point: str
) -> None:
    """A center that answers and reports by itself, and lives that end at named points."""
    made = RunningCenter(tmp_path / "center", {"store.heartbeat_s": 0.5})
    made.start()
    made.add_account("shop", "shoppw", window=100)
    made.call(
        "POST", "/links", {"name": "other", "addresses": [other.address], "system_id": "us", "binds": 2}
    )
    made.add_route("out", prefix="+49", target="link", link="other")
    made.stop()
    other.accept_all()
    made.start(RESTANTE_FAILPOINT=f"{point}:9")
    accepted: list[str] = []
    with peer(made.smpp_port, "shop", "shoppw") as shop:
        number = 0
        while True:
            number += 1
            try:
                shop.send(
                    pdu.SubmitSm(
                        sequence_number=number, source_addr=b"1234567", dest_addr_ton=1,
                        destination_addr=b"49170%06d" % number, short_message=b"x",
                    )
                )  # fmt: skip
                answer = shop.read()
            except OSError:
                break
            if answer is None:
                break
            assert isinstance(answer, pdu.SubmitSmResp)
            accepted.append(answer.message_id.decode())
            if number > 500:
                pytest.fail(f"{point} was not passed")
    eventually(made.process_ended, point)
    made.start()
    eventually(
        lambda: all(made.message(id)["state"] == "delivered" for id in accepted), "all of them", seconds=60
    )
    numbers = {sent.destination_addr for sent in other.submitted}
    assert {b"49170%06d" % n for n in range(1, len(accepted) + 1)} <= numbers
    assert made.stop() == 0
