"""Long texts to handsets: parts in order over a real bind, resumed after a refusal, a broken bind and a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_book import read as read_rows
from raw_peer import Peer, peer
from running_center import RunningCenter, running_center
from waiting import eventually

from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.smpp.tlv import Tag
from restante.smsc.text import codings, gsm7, segments, udh

pytestmark = pytest.mark.xdist_group("long-messages")

PASSWORD = "lavender"
TEXT = (
    "A text that no single short message holds, because it goes on and on. " * 6
)  # 420 characters: three parts


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    with running_center(tmp_path_factory.mktemp("long") / "center") as made:
        made.add_account("app", PASSWORD, sources=["*"])
        made.add_account("packer", PASSWORD, sources=["*"], default_alphabet="gsm7_packed")
        made.add_account("msc", PASSWORD, role="switch")
        made.add_account("sar", PASSWORD, numbers=["700"], long_messages="sar")
        made.add_account(
            "packed", PASSWORD, numbers=["701"], default_alphabet="gsm7_packed", long_messages="udh16"
        )
        made.add_account("whole", PASSWORD, numbers=["702"])
        made.add_range("+447700")
        made.add_route("phones", prefix="+447700", account="msc")
        yield made


def submit(app: Peer, to: str, text: str = TEXT, **fields: object) -> str:
    """A long message with a receipt; its id."""
    encoded = codings.encode(text)
    request = pdu.SubmitSm(
        source_addr=b"777", dest_addr_ton=1 if len(to) > 6 else 0, dest_addr_npi=1, destination_addr=to.encode(),
        registered_delivery=1, data_coding=encoded.data_coding, sequence_number=1,
    )  # fmt: skip
    for name, value in fields.items():
        setattr(request, name, value)
    request.add_tlv(Tag.message_payload, encoded.octets)
    answer = app.ask(request)
    assert isinstance(answer, pdu.SubmitSmResp)
    assert answer.command_status == 0
    return answer.message_id.decode()


def take(side: Peer, status: int = 0) -> pdu.DeliverSm:
    """The next delivery, answered."""
    while True:
        got = side.read()
        if isinstance(got, pdu.EnquireLink):
            side.send(pdu.EnquireLinkResp(sequence_number=got.sequence_number))
            continue
        assert isinstance(got, pdu.DeliverSm), got
        side.send(pdu.DeliverSmResp(sequence_number=got.sequence_number, command_status=status))
        return got


def place(part: pdu.DeliverSm) -> udh.ConcatRef:
    found = udh.parse(part.short_message).concat if part.esm_class & 0x40 else None
    found = found or segments.sar_concat(
        *(part.get_tlv(t) for t in (Tag.sar_msg_ref_num, Tag.sar_total_segments, Tag.sar_segment_seqnum))
    )
    assert found is not None
    return found


def joined(parts: list[pdu.DeliverSm], alphabet: str = "gsm7") -> str | None:
    """The text on the handset."""
    default = codings.DefaultAlphabet(alphabet)
    return segments.join(
        segments.Part(
            place(one),
            codings.decode(one.data_coding, one.short_message, default, bool(one.esm_class & 0x40)),
        )
        for one in parts
    ).text


def receipt(app: Peer) -> str:
    return take(app).short_message.decode()


def test_parts_come_one_after_the_other_with_one_receipt(center: RunningCenter) -> None:
    with peer(center.smpp_port, "msc", PASSWORD) as msc, peer(center.smpp_port, "app", PASSWORD) as app:
        id = submit(app, "447700900001")
        parts: list[pdu.DeliverSm] = []
        for _ in range(3):
            parts.append(take(msc))
        assert joined(parts) == TEXT
        assert [(one.total, one.number) for one in map(place, parts)] == [(3, 1), (3, 2), (3, 3)]
        assert len({place(one).reference for one in parts}) == 1
        assert [one.get_tlv_int(Tag.more_messages_to_send) for one in parts] == [1, 1, None]
        assert f"id:{id} sub:001 dlvrd:001" in receipt(app)
        other = submit(app, "447700900001")
        again = [take(msc) for _ in range(3)]
        assert (
            place(again[0]).reference == (place(parts[0]).reference + 1) % 256
        )  # of the same pair, the next one
        assert f"id:{other} " in receipt(app)
        # Nothing more comes: one receipt for the whole.
        assert isinstance(app.ask(pdu.EnquireLink(sequence_number=99)), pdu.EnquireLinkResp)
    events = center.call("GET", f"/messages/{id}")
    assert events["segments"] == 3
    assert not read_rows(center.site.config.store.url, "SELECT message FROM sent_part")[0]


def test_a_refused_part_is_tried_again_and_no_other(center: RunningCenter) -> None:
    with peer(center.smpp_port, "msc", PASSWORD) as msc, peer(center.smpp_port, "app", PASSWORD) as app:
        submit(app, "447700900002")
        first = take(msc)
        refused = take(msc, Status.ESME_RTHROTTLED)
        rest = [take(msc), take(msc)]
        assert place(refused) == place(rest[0])
        assert joined([first, *rest]) == TEXT
        assert "stat:DELIVRD" in receipt(app)


def test_a_permanent_refusal_of_one_part_ends_the_whole(center: RunningCenter) -> None:
    with peer(center.smpp_port, "msc", PASSWORD) as msc, peer(center.smpp_port, "app", PASSWORD) as app:
        id = submit(app, "447700900003")
        take(msc)
        take(msc, Status.ESME_RX_P_APPN)
        text = receipt(app)
        assert "stat:UNDELIV" in text
        assert f"id:{id} " in text
        assert isinstance(
            msc.ask(pdu.EnquireLink(sequence_number=5)), pdu.EnquireLinkResp
        )  # part three never comes


@pytest.mark.parametrize("style", ["sar", "packed", "whole"])
def test_each_account_gets_what_it_wants(center: RunningCenter, style: str) -> None:
    number = {"sar": "700", "packed": "701", "whole": "702"}[style]
    with peer(center.smpp_port, style, PASSWORD) as side, peer(center.smpp_port, "app", PASSWORD) as app:
        submit(app, number)
        if style == "whole":
            assert take(side).get_tlv(Tag.message_payload) == gsm7.encode(TEXT)
        else:
            parts = [take(side) for _ in range(3)]
            assert joined(parts, "gsm7_packed" if style == "packed" else "gsm7") == TEXT
            assert all(bool(one.esm_class & 0x40) == (style == "packed") for one in parts)
            assert all(
                one.get_tlv(Tag.more_messages_to_send) is None for one in parts
            )  # no handset behind it
        assert "stat:DELIVRD" in receipt(app)


def test_packed_septets_come_in_and_are_read(center: RunningCenter) -> None:
    packed = gsm7.pack(gsm7.encode("Fish & chips {€}"), pad_cr=True)
    with peer(center.smpp_port, "msc", PASSWORD) as msc, peer(center.smpp_port, "packer", PASSWORD) as app:
        request = pdu.SubmitSm(
            source_addr=b"777", dest_addr_ton=1, dest_addr_npi=1, destination_addr=b"447700900004",
            short_message=packed, sequence_number=1,
        )  # fmt: skip
        answer = app.ask(request)
        assert isinstance(answer, pdu.SubmitSmResp)
        got = take(msc)
        assert gsm7.decode(got.short_message) == "Fish & chips {€}"


@pytest.mark.parametrize("how", ["crash", "bind lost"])
def test_what_was_acknowledged_is_not_sent_again(tmp_path: Path, how: str) -> None:
    """The bind or the whole center goes after the second of three acknowledgements."""
    with running_center(tmp_path / "center") as center:
        center.add_account("app", PASSWORD, sources=["*"])
        center.add_account("msc", PASSWORD, role="switch")
        center.add_route("phones", prefix="+447700", account="msc")
        center.call("POST", "/schedules", {"error": "timeout", "delays_s": [1]})
        assert center.call("GET", "/schedules:preview?validity_s=5")["items"][5]["tries_s"] == [0, 1, 2, 3, 4]
        with peer(center.smpp_port, "msc", PASSWORD) as msc, peer(center.smpp_port, "app", PASSWORD) as app:
            id = submit(app, "447700900005", "long " * 160)  # 800 characters: six parts
            parts = [take(msc), take(msc)]
            third = msc.read()  # it came, so both acknowledgements are on disk
            assert isinstance(third, pdu.DeliverSm)
            ((acknowledged,),) = read_rows(
                center.site.config.store.url, f"SELECT acknowledged FROM sent_part WHERE message = {id}"
            )[0]
            assert acknowledged == 2
            if how == "crash":
                center.kill()
        if how == "crash":
            center.start()
        with peer(center.smpp_port, "msc", PASSWORD) as msc, peer(center.smpp_port, "app", PASSWORD) as app:
            parts += [take(msc) for _ in range(4)]
            assert [place(one).number for one in parts] == [1, 2, 3, 4, 5, 6]
            assert place(third) == place(parts[2])  # the one under way comes again, as the same part
            assert joined(parts) == "long " * 160
            assert f"id:{id} " in receipt(app)
        eventually(lambda: not read_rows(center.site.config.store.url, "SELECT message FROM sent_part")[0])
