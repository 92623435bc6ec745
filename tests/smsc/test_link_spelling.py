"""How messages are spelled for links, and what their receipts are read as."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from restante.message import Address, Kind, Message, MessageState
from restante.outlet import Delivery
from restante.smsc.link_egress import NotExpressible, pieces, submit_sm
from restante.smsc.link_outlet import Pause
from restante.smsc.links import Link, LinkModel
from restante.smsc.pins import Pins
from restante.smsc.receipt_reading import is_receipt, read_receipt
from restante.smsc.smpp import pdu, times
from restante.smsc.smpp.tlv import Tag, get, one

NOW = 1_790_000_000_000
HOUR = 3_600_000


def link(**fields: Any) -> Link:
    return Link(
        7,
        LinkModel.model_validate({"name": "up", "addresses": ["127.0.0.1:2775"], "system_id": "us"} | fields),
    )


def message(body: bytes = b"hello", **fields: Any) -> Message:
    made: dict[str, Any] = {
        "sender": "@Shop", "recipient": "+447700900123", "submitted_at": NOW, "expires_at": NOW + 2 * HOUR,
    }  # fmt: skip
    return Message(Address(5, 0, "Shop"), Address(1, 1, "447700900123"), body, **(made | fields))


def spelled(what: Message, how: Link, *, alphabet: str = "gsm7", version: int = 0x34) -> pdu.SubmitSm:
    (piece,) = pieces(what, how, alphabet, version, 7)
    return submit_sm(Delivery(what, 1, "rte_1"), how, piece, version, NOW)


def test_numbers_follow_the_links_rules():
    plus = link(egress={"e164_ton": 0, "e164_form": "plus", "e164_npi": 0})
    sent = spelled(message(), plus)
    assert (sent.dest_addr_ton, sent.dest_addr_npi, sent.destination_addr) == (0, 0, b"+447700900123")
    national = link(egress={"e164_ton": 2}, number_rules={"country_code": "44"})
    sent = spelled(message(), national)
    assert (sent.dest_addr_ton, sent.destination_addr) == (2, b"7700900123")


@pytest.mark.parametrize(
    ("fields", "how", "esm_class", "asked"),
    [
        ({"registered_delivery": 0}, {}, 0, 1),
        ({"registered_delivery": 0x11}, {"account": ""}, 0, 1),
        ({"registered_delivery": 0x11, "account": 3}, {}, 0, 0x11),
        ({"esm_class": 0x40}, {"message_mode": "store-and-forward"}, 0x43, 1),
        ({"esm_class": 0x02}, {}, 2, 1),
        ({"esm_class": 0x01, "registered_delivery": 1}, {}, 1, 0),
        ({"registered_delivery": 1}, {"outcome_in_response": True, "message_mode": "forward"}, 2, 0),
        ({"kind": Kind.RECEIPT, "esm_class": 4}, {"message_mode": "forward"}, 8, 0),
        ({"kind": Kind.NOTICE}, {}, 0, 0),
    ],
)
def test_mode_and_what_is_asked_for(fields, how, esm_class, asked):
    sent = spelled(message(**fields), link(**how))
    assert (sent.esm_class, sent.registered_delivery) == (esm_class, asked)


def test_validity_is_what_is_left_of_it():
    relative = spelled(message(), link()).validity_period
    assert times.parse(relative, NOW) == NOW + 2 * HOUR
    absolute = spelled(message(), link(validity="absolute")).validity_period
    assert times.parse(absolute, NOW) == NOW + 2 * HOUR
    long = spelled(message(expires_at=NOW + 40 * 24 * HOUR), link()).validity_period
    assert times.parse(long, NOW) >= NOW + 39 * 24 * HOUR
    over = spelled(message(expires_at=NOW - HOUR), link()).validity_period
    assert times.parse(over, NOW) == NOW + 60_000
    assert spelled(message(), link(validity="none")).validity_period == b""


def test_long_texts_and_parameters_need_a_peer_that_knows_them():
    own = one(Tag.user_message_reference, 5) + one(Tag.set_dpf, 1) + one(0x1401, b"vendor")
    sent = spelled(message(b"x" * 300, tlvs=own), link())
    assert sent.short_message == b""
    assert get(sent.tlvs, Tag.message_payload) == b"x" * 300
    assert get(sent.tlvs, 0x1401) == b"vendor"
    assert get(sent.tlvs, Tag.set_dpf) is None
    assert get(spelled(message(tlvs=own), link(tlvs=False)).tlvs, 0x1401) is None
    assert spelled(message(tlvs=own), link(), version=0x33).tlvs == b""
    with pytest.raises(NotExpressible):
        spelled(message(b"x" * 300), link(), version=0x33)


def test_text_is_rewritten_where_the_link_means_something_else():
    sent = spelled(message("Grüße".encode("latin-1")), link(), alphabet="latin1")
    assert (sent.data_coding, sent.short_message) == (0, b"Gr\x7e\x1ee")
    sent = spelled(message(b"Gr\x7e\x1ee"), link(default_alphabet="latin1"))
    assert (sent.data_coding, sent.short_message) == (0, "Grüße".encode("latin-1"))
    untouched = spelled(message(b"\x80\x81", data_coding=4), link(), alphabet="latin1")
    assert (untouched.data_coding, untouched.short_message) == (4, b"\x80\x81")
    part = spelled(message(b"\xfc", part_total=2, part_number=1), link(), alphabet="latin1")
    assert part.short_message == b"\xfc", "a part keeps its octets"
    only = link(data_codings=[0, 8])
    sent = spelled(message("naïve ç".encode("latin-1"), data_coding=3), only)
    assert (sent.data_coding, sent.short_message.decode("utf-16-be")) == (8, "naïve ç")
    with pytest.raises(NotExpressible):
        spelled(message(b"\x01", data_coding=4), only)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"addresses": ["nowhere"]}, "addresses"),
        ({"addresses": ["h:0"]}, "addresses"),
        ({"addresses": []}, "addresses"),
        ({"system_id": "sixteen letters!"}, "system_id"),
        ({"tls_ca": "-----BEGIN"}, "tls_ca"),
        ({"status_errors": {"7": "absent"}}, "status_errors"),
        ({"reconnect_min_s": 10, "reconnect_max_s": 1}, "reconnect_min_s"),
        ({"password": "x"}, "password"),
    ],
)
def test_a_wrong_link_is_refused_by_name(fields, field):
    with pytest.raises(ValidationError) as refused:
        link(**fields)
    assert field in str(refused.value)


# --- receipts -----------------------------------------------------------------------------------------------------


def said(text: bytes = b"", tlvs: bytes = b"", **fields: Any):
    return read_receipt(pdu.DeliverSm(esm_class=4, short_message=text, tlvs=tlvs, **fields))


def test_a_receipt_is_read_however_it_is_written():
    full = b"id:77 sub:001 dlvrd:001 submit date:2611220000 done date:2611220001 stat:DELIVRD err:000 text:id:9 stat:X"
    found = said(full)
    assert found is not None
    assert (found.remote_ids, found.state, found.error) == (("77",), MessageState.DELIVERED, "000")
    odd = said(b"STAT: undeliv  Id: 0aB-9 ERR: 12")
    assert odd is not None
    assert (odd.remote_ids, odd.state, odd.error) == (("0aB-9",), MessageState.UNDELIVERABLE, "12")
    wide = said("id:5 stat:EXPIRED".encode("utf-16-be"), data_coding=8)
    assert wide is not None
    assert (wide.remote_ids, wide.state) == (("5",), MessageState.EXPIRED)


def test_tlvs_win_over_text():
    tlvs = one(Tag.receipted_message_id, b"1F\0") + one(Tag.message_state, 5)
    found = said(b"id:31 stat:DELIVRD", tlvs + one(Tag.network_error_code, b"\x03\x00\x06"))
    assert found is not None
    assert (found.remote_ids, found.state) == (("1F", "31"), MessageState.UNDELIVERABLE)
    assert found.network_error == b"\x03\x00\x06"


@pytest.mark.parametrize("text", [b"", b"hello", b"id:5", b"stat:MAYBE", b"text:stat:DELIVRD", b"\0" * 200])
def test_what_says_no_state_is_no_receipt(text):
    assert said(text) is None


def test_only_esm_class_makes_a_receipt():
    assert not is_receipt(pdu.DeliverSm(short_message=b"id:1 stat:DELIVRD"))
    assert is_receipt(pdu.DeliverSm(esm_class=4))
    assert is_receipt(pdu.DeliverSm(esm_class=0x20))
    assert is_receipt(pdu.DataSm(esm_class=0x44))
    assert not is_receipt(pdu.DeliverSm(esm_class=8))


# --- pauses and pins ----------------------------------------------------------------------------------------------


def test_pauses_double_and_a_window_of_refusals_is_one():
    pause = Pause(lambda: 0.5)
    assert pause.refused(0.0, 1.0, 1.0, 8.0)
    assert (pause.until, pause.level) == (2.0, 1)
    assert not pause.refused(0.9, 1.5, 1.0, 8.0), "it was on its way when the pause began"
    assert not pause.refused(0.9, 3.0, 1.0, 8.0)
    for length in (2.0, 4.0, 8.0, 8.0):
        at = pause.until
        assert pause.refused(at, at, 1.0, 8.0)
        assert pause.until == at + length
    assert pause.probing
    pause.taken()
    assert not pause.probing


def test_parts_are_pinned_until_the_last_one():
    pins = Pins()
    part = message(part_total=3, part_reference=9)
    assert pins.of(part) == ""
    pins.pin(part, "link:a")
    assert pins.of(message(part_total=3, part_reference=9, part_number=2)) == "link:a"
    assert pins.of(message(part_total=3, part_reference=8)) == ""
    pins.pin(part, "link:a")
    pins.pin(part, "link:a")
    assert pins.of(part) == "", "the reference may be used again"
    pins.pin(message(), "link:a")
    assert pins.of(message()) == ""
