"""Delivery receipts: when, what, and how many (behaviour.md 6)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import START_MS, MemoryStore

from restante.access.accounts import Account, AccountModel
from restante.message import (
    FINAL_STATES,
    Address,
    EventKind,
    IllegalTransition,
    Ingress,
    Kind,
    Message,
    MessageState,
    Role,
)
from restante.smsc.receipts import (
    RECEIPT_VALIDITY_MS,
    SYSTEM_INGRESS,
    Receipts,
    reported_state,
    wants_final,
    wants_intermediate,
)
from restante.smsc.smpp import tlv

S = MessageState
OLD, NEW = (Ingress("smpp", 1, Role.ESME, "shop", version=version).encoded for version in (0x34, 0x50))
PHONE = Address(1, 1, "447700900001")


def message(**fields: Any) -> Message:
    given_: dict[str, Any] = {
        "source": Address(5, 0, "Shop"),
        "destination": PHONE,
        "body": b"Hello",
        "id": 42,
        "account": 1,
        "ingress": OLD,
        "sender": "@Shop",
        "recipient": "+447700900001",
        "registered_delivery": 1,
        "submitted_at": START_MS,
    }
    return Message(**(given_ | fields))


def receipts(**model: Any) -> Receipts:
    account = Account(1, AccountModel(system_id="shop", **model))
    ids = iter(range(1000, 10**9))
    return Receipts(accounts={1: account}.get, next_id=ids.__next__, epoch=lambda: 7, node=3)


def receipt(about: Message | None = None, state: S = S.DELIVERED, model: Any = None, **more: Any) -> Message:
    _, (made,) = receipts(**(model or {})).ending(about or message(), state, at=START_MS + 65_000, **more)
    return made


# --- when --------------------------------------------------------------------------------------------------------

GOOD, BAD = (S.DELIVERED,), tuple(FINAL_STATES - {S.DELIVERED})


@pytest.mark.parametrize("high_bits", [0x00, 0x10, 0x0C, 0xE0])
@pytest.mark.parametrize(
    ("bits", "version", "about_good", "about_bad"),
    [
        (0, 0x34, False, False),
        (1, 0x34, True, True),
        (2, 0x34, False, True),
        (3, 0x34, True, True),
        (0, 0x50, False, False),
        (1, 0x50, True, True),
        (2, 0x50, False, True),
        (3, 0x50, True, False),
        (3, 0x33, True, True),
        (3, 0, True, True),
    ],
)
def test_the_two_bits(bits, version, about_good, about_bad, high_bits):
    ingress = Ingress("smpp", 1, Role.ESME, "shop", version=version).encoded
    about = message(registered_delivery=bits | high_bits, ingress=ingress)
    assert all(wants_final(about, state) == about_good for state in GOOD)
    assert all(wants_final(about, state) == about_bad for state in BAD)


def test_some_messages_never_have_one():
    for fields in (
        {"kind": Kind.RECEIPT},
        {"kind": Kind.CODE},
        {"account": 0},
        {"esm_class": 1},
        {"esm_class": 0x41},
    ):
        assert not wants_final(message(**fields), S.DELIVERED), fields
    assert wants_final(message(esm_class=2), S.DELIVERED)
    assert wants_final(message(esm_class=3), S.DELIVERED)


@pytest.mark.parametrize("bits", range(256))
def test_bit_4_asks_for_what_happens_before_the_end(bits):
    assert wants_intermediate(message(registered_delivery=bits)) == bool(bits & 0x10)
    assert not wants_intermediate(message(registered_delivery=bits, kind=Kind.NOTICE))


@pytest.mark.parametrize("state", list(S))
def test_one_ending_one_event_one_receipt(state):
    made = receipts()
    if state not in FINAL_STATES:
        with pytest.raises(IllegalTransition):
            made.ending(message(), state, at=START_MS)
        return
    events, messages = made.ending(
        message(segments=2), state, at=START_MS, reason="why", attempt=3, route="esme:a", detail='{"a":1}'
    )
    (event,) = events
    assert (event.message, event.at, event.kind, event.state, event.reason) == (
        42, START_MS, EventKind.FINAL, state, "why",
    )  # fmt: skip
    assert (event.attempt, event.account, event.segments, event.route, event.node) == (3, 1, 2, "esme:a", 3)
    assert event.detail == '{"a":1}'
    assert len(messages) == 1
    assert reported_state(messages[0]) is (S.DELETED if state is S.SKIPPED else state)


# --- what --------------------------------------------------------------------------------------------------------


def test_the_whole_of_it():
    made = receipt(message(service_type="CMT", reference=0x1234), network_error=b"\x03\x00\x1b")
    assert (made.source, made.destination) == (PHONE, Address(5, 0, "Shop"))
    assert (made.sender, made.recipient, made.account, made.parent) == ("+447700900001", "=1", 1, 42)
    assert (made.kind, made.id, made.owner, made.ingress) == (Kind.RECEIPT, 1000, 7, SYSTEM_INGRESS.encoded)
    assert (made.esm_class, made.registered_delivery, made.data_coding, made.service_type) == (4, 0, 0, "CMT")
    assert made.expires_at - made.submitted_at == RECEIPT_VALIDITY_MS == 7 * 86_400_000
    assert made.body == (
        b"id:42 sub:001 dlvrd:001 submit date:2609211413 done date:2609211414 stat:DELIVRD err:000 text:Hello"
    )
    assert tlv.parse(made.tlvs) == [
        (tlv.Tag.receipted_message_id, b"42\0"),
        (tlv.Tag.message_state, b"\x02"),
        (tlv.Tag.network_error_code, b"\x03\x00\x1b"),
        (tlv.Tag.user_message_reference, b"\x12\x34"),
    ]


FIELDS = re.compile(
    rb"id:(\d+) sub:001 dlvrd:(00[01]) submit date:(\d{10}) done date:(\d{10}) "
    rb"stat:([A-Z]{7}) err:(\d{3}) text:([ -~]{0,20})"
)


@given(
    st.binary(max_size=300),
    st.integers(0, 255),
    st.integers(0, 255),
    st.sampled_from(sorted(FINAL_STATES)),
    st.integers(0, 13),
    st.integers(1, (1 << 63) - 1),
)
def test_all_eight_fields_whatever_the_text(body, data_coding, esm_class, state, error, id):
    about = message(body=body, data_coding=data_coding, esm_class=esm_class & ~3, id=id)
    found = FIELDS.fullmatch(receipt(about, state, error=error).body)
    assert found
    assert int(found[1]) == id
    assert found[2] == (b"001" if state is S.DELIVERED else b"000")
    assert int(found[6]) == error


@pytest.mark.parametrize(
    ("state", "stat"),
    [
        (S.DELIVERED, b"DELIVRD"),
        (S.EXPIRED, b"EXPIRED"),
        (S.DELETED, b"DELETED"),
        (S.UNDELIVERABLE, b"UNDELIV"),
        (S.REJECTED, b"REJECTD"),
        (S.SKIPPED, b"DELETED"),
    ],
)
def test_the_words_of_appendix_b(state, stat):
    assert b" stat:" + stat + b" " in receipt(state=state).body


def test_skipped_is_shown_to_5_0_peers_only():
    made = receipt(message(ingress=NEW), S.SKIPPED)
    assert b"stat:SKIPPED" in made.body
    assert reported_state(made) is S.SKIPPED


@pytest.mark.parametrize(
    ("zone", "submit", "done"),
    [
        ("UTC", b"2609211413", b"2609211414"),
        ("Asia/Kolkata", b"2609211943", b"2609211944"),
        ("America/New_York", b"2609211013", b"2609211014"),
        ("Pacific/Auckland", b"2609220213", b"2609220214"),
    ],
)
def test_dates_are_in_the_accounts_time_zone(zone, submit, done):
    body = receipt(model={"time_zone": zone}).body
    assert b"submit date:" + submit + b" done date:" + done in body


def test_dates_follow_summer_time():
    winter = message(submitted_at=START_MS + 70 * 86_400_000)
    assert b"submit date:2611301413 " in receipt(winter, model={"time_zone": "Europe/London"}).body
    assert b"submit date:2609211513 " in receipt(model={"time_zone": "Europe/London"}).body


@pytest.mark.parametrize(("form", "text", "tlvs"), [("text+tlvs", 1, 1), ("text", 1, 0), ("tlvs", 0, 1)])
def test_where_it_says_so_is_the_accounts_choice(form, text, tlvs):
    for state in FINAL_STATES - {S.SKIPPED}:
        made = receipt(state=state, model={"receipt_format": form})
        assert bool(made.body) == bool(text)
        assert (tlv.get(made.tlvs, tlv.Tag.receipted_message_id) is not None) == bool(tlvs)
        assert reported_state(made) is state


def test_a_destination_of_many_is_reported_under_the_public_id():
    made = receipt(message(parent=40))
    assert made.body.startswith(b"id:40 ")
    assert made.parent == 42


def test_an_intermediate_notification():
    made = receipts()
    (told,) = made.notification(message(registered_delivery=0x10), at=START_MS, error=2)
    assert told.esm_class == 0x20
    assert b"dlvrd:000" in told.body
    assert b"stat:ENROUTE err:002" in told.body
    assert tlv.get(told.tlvs, tlv.Tag.message_state) == b"\x01"
    assert reported_state(told) is S.UNKNOWN
    assert made.notification(message(registered_delivery=1), at=START_MS) == ()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"body": b"A" * 30}, b"A" * 20),
        ({"body": b"one\r\ntwo"}, b"one  two"),
        ({"body": "Grüße".encode("utf-16-be"), "data_coding": 8}, b"Gr??e"),
        ({"body": b"\x05\x00\x03\x07\x02\x01Hi", "esm_class": 0x40}, b"Hi"),
        ({"body": b"\xde\xad\xbe\xef", "data_coding": 4}, b""),
        ({"body": b""}, b""),
    ],
)
def test_the_excerpt_can_be_read_by_any_peer(fields, text):
    assert receipt(message(**fields)).body.endswith(b" text:" + text)


def test_a_deleted_account_is_no_reason_to_fail():
    made = Receipts(accounts=lambda number: None, next_id=lambda: 5, epoch=lambda: 1)
    _, (told,) = made.ending(message(), S.DELIVERED, at=START_MS)
    assert b"submit date:2609211413" in told.body


# --- how many ----------------------------------------------------------------------------------------------------


def test_beyond_the_cap_none_is_made_and_the_ending_says_so():
    made = receipts(receipt_cap=2)
    kept = [made.ending(message(id=n), S.DELIVERED, at=START_MS)[1] for n in range(2)]
    assert all(kept)
    (event,), none = made.ending(message(id=9), S.DELIVERED, at=START_MS, detail='{"rule":"x"}')
    assert none == ()
    assert json.loads(event.detail) == {"rule": "x", "receipt": "capped"}
    assert made.notification(message(registered_delivery=0x10), at=START_MS) == ()
    made.concluded(kept[0][0])
    assert made.ending(message(id=10), S.DELIVERED, at=START_MS)[1]
    assert made.waiting(1) == 2


def test_who_does_not_ask_is_not_counted():
    made = receipts(receipt_cap=0)
    (event,), none = made.ending(message(registered_delivery=0), S.DELIVERED, at=START_MS)
    assert (event.detail, none) == ("", ())


def test_the_count_is_read_from_the_queue():
    async def main() -> None:
        store = MemoryStore()
        await store.open()
        rows = [(1, "=1"), (2, "=1"), (3, "=12"), (4, "+44"), (5, "@A"), (6, "123")]
        store.disk.executemany(
            "INSERT INTO queue (id, recipient, due_at, expires_at, attempts, owner, priority, reason) "
            "VALUES (?, ?, 0, 0, 0, 0, 0, 'new')",
            rows,
        )
        made = receipts()
        await made.count(store)
        assert [made.waiting(number) for number in (1, 2, 12)] == [2, 0, 1]
        await store.close()

    asyncio.run(main())
