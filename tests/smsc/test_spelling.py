"""How a message is spelled for the account that gets it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.access.accounts import Account, AccountModel
from restante.message import Address, Message, Role
from restante.smsc.smpp import tlv
from restante.smsc.smpp.tlv import Tag
from restante.smsc.spelling import Piece, TooManyParts, passes, spell
from restante.smsc.text import codings, gsm7, segments, udh
from restante.smsc.text.codings import DefaultAlphabet

NOBODY = Address(0, 0, "1")
LATIN1 = Account(1, AccountModel(system_id="latin", default_alphabet="latin1"))
PLAIN = Account(2, AccountModel(system_id="plain"))


def account(style: str | None = None, alphabet: str = "gsm7", role: Role = Role.ESME) -> Account:
    model = AccountModel.model_validate(
        {"system_id": "to", "long_messages": style, "default_alphabet": alphabet, "role": role}
    )
    return Account(3, model)


def message(
    body: bytes, data_coding: int = 0, *, header: bytes = b"", tlvs: bytes = b"", total: int = 0
) -> Message:
    return Message(
        NOBODY, NOBODY, header + body, data_coding=data_coding, esm_class=0x40 if header else 0, tlvs=tlvs,
        part_total=total, part_number=1 if total else 0,
    )  # fmt: skip


def read(pieces: list[Piece], alphabet: str = "gsm7") -> str | None:
    """What a handset makes of the pieces, in whatever order they come."""
    parts: list[segments.Part] = []
    for piece in reversed(pieces):
        content = codings.decode(piece.data_coding, piece.body, DefaultAlphabet(alphabet), piece.has_header)
        ref = content.header.concat or segments.sar_concat(
            *(
                tlv.get(piece.tlvs, tag)
                for tag in (Tag.sar_msg_ref_num, Tag.sar_total_segments, Tag.sar_segment_seqnum)
            )
        )
        if ref is None:
            assert len(pieces) == 1
            return content.text
        assert ref.total == len(pieces)
        assert ref.number == piece.number
        parts.append(segments.Part(ref, content))
    joined = segments.join(parts)
    assert joined.complete
    return joined.text


def air_octets(piece: Piece) -> int:
    """Octets of user data that a handset gets."""
    header = udh.parse(piece.body).length if piece.has_header else 0
    if piece.tlvs:
        header = 6  # whoever makes a header of the parameters needs room for it
    payload = len(piece.body) - (0 if piece.tlvs else header)
    coding = codings.interpret(piece.data_coding).coding
    if coding in (codings.Coding.DEFAULT, codings.Coding.GSM7):
        payload = -(-(payload * 7 + gsm7.fill_bits(header)) // 8)
    return header + payload


@pytest.mark.parametrize("style", ["udh8", "udh16", "sar"])
@given(
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), min_size=1, max_size=700)
    | st.text("abc €[]{}", min_size=150, max_size=700)
    | st.text("aé€😀", min_size=60, max_size=400)
)
def test_parts_fit_a_handset_and_give_the_text(style: str, text: str) -> None:
    encoded = codings.encode(text)
    pieces = spell(message(encoded.octets, encoded.data_coding), account(style), PLAIN, 0x34, 0x1234)
    assert read(pieces) == text
    assert all(air_octets(piece) <= 140 for piece in pieces)
    assert len(pieces) == segments.count(encoded.octets, encoded.coding, bits=16 if style == "udh16" else 8)
    assert [piece.number for piece in pieces] == list(range(1, len(pieces) + 1))
    if len(pieces) > 1 and style != "sar":
        refs = {udh.parse(piece.body).concat for piece in pieces}
        assert {ref.reference for ref in refs if ref} == {0x1234 if style == "udh16" else 0x34}


@pytest.mark.parametrize("style", ["whole", "udh8"])
@given(st.text("abc@ñ €[", min_size=1, max_size=400))
def test_septets_are_packed_where_an_account_says_so(style: str, text: str) -> None:
    """Out of packed into packed, and both ways. A last '@' of 8n septets is the one that packing loses."""
    text += "."
    septets = gsm7.encode(text)
    packed_submitter = Account(9, AccountModel(system_id="p", default_alphabet="gsm7_packed"))
    from_packed = message(gsm7.pack(septets, pad_cr=True))
    packed = account(style, "gsm7_packed")
    assert read(spell(message(septets), packed, PLAIN, 0x34, 1), "gsm7_packed") == text
    assert read(spell(from_packed, packed, packed_submitter, 0x34, 1), "gsm7_packed") == text
    assert read(spell(from_packed, account(style), packed_submitter, 0x34, 1)) == text
    for piece in spell(message(septets), account("udh8", "gsm7_packed"), PLAIN, 0x34, 1):
        assert len(piece.body) <= 140


def test_data_coding_0_is_written_anew_for_who_reads_it_otherwise() -> None:
    latin = message("Größe".encode("latin-1"))
    (piece,) = spell(latin, account(), LATIN1, 0x34, 1)
    assert (piece.data_coding, piece.body) == (0, gsm7.encode("Größe"))
    (piece,) = spell(message("¾ Größe".encode("latin-1")), account(), LATIN1, 0x34, 1)
    assert (piece.data_coding, piece.body) == (8, "¾ Größe".encode("utf-16-be"))
    (piece,) = spell(message(gsm7.encode("Größe €")), account(alphabet="latin1"), PLAIN, 0x34, 1)
    assert (piece.data_coding, piece.body) == (8, "Größe €".encode("utf-16-be"))
    (piece,) = spell(message("Größe".encode("latin-1"), 3), account(), LATIN1, 0x34, 1)
    assert (piece.data_coding, piece.body) == (3, "Größe".encode("latin-1"))  # it says itself what it is


@pytest.mark.parametrize("data_coding", [0x09, 0x0B, 0x23, 0x80, 0xB0])
def test_unknown_codings_pass_untouched(data_coding: int) -> None:
    octets = bytes(range(256)) * 2
    for sender in (PLAIN, LATIN1):
        (piece,) = spell(message(octets, data_coding), account("udh8"), sender, 0x34, 1)
        assert (piece.body, piece.data_coding, piece.tlvs) == (octets, data_coding, b"")


def test_a_part_is_not_cut_again() -> None:
    header = udh.concatenation_header(udh.ConcatRef(7, 2, 1))
    whole = message(b"x" * 200, header=header, total=2)
    (piece,) = spell(whole, account("udh8"), PLAIN, 0x34, 1)
    assert piece == Piece(whole.body, 0, True)


@pytest.mark.parametrize("style", ["udh8", "udh16", "sar"])
def test_ports_and_languages_stand_in_every_part(style: str) -> None:
    header = udh.build(
        (udh.port_element(udh.ApplicationPorts(2948, 9200, 16)), udh.InformationElement(0x25, b"\x01"))
    )
    text = gsm7.encode("iki") * 100
    pieces = spell(message(text, header=header), account(style), PLAIN, 0x34, 9)
    assert len(pieces) > 1
    for piece in pieces:
        found = udh.parse(piece.body)
        assert found.ports == udh.ApplicationPorts(2948, 9200, 16)
        assert found.locking_shift == gsm7.TURKISH
        assert found.concat is not None
        assert not piece.tlvs  # a header and parameters would say it twice
        assert air_octets(piece) <= 140


def test_message_classes_stay() -> None:
    for data_coding, octets in (
        (0xF0, b"a" * 161),
        (0x18, "ж".encode("utf-16-be") * 71),
        (0x14, b"\x00" * 141),
    ):
        pieces = spell(message(octets, data_coding), account("udh8"), PLAIN, 0x34, 1)
        assert len(pieces) == 2
        assert {codings.interpret(piece.data_coding).message_class for piece in pieces} == {0}


def test_old_peers_get_parts_of_what_short_message_does_not_hold() -> None:
    long = message(b"x" * 255)
    assert passes(message(b"x" * 254), PLAIN, PLAIN, 0x33)
    assert not passes(long, PLAIN, PLAIN, 0x33)
    assert passes(long, PLAIN, PLAIN, 0x34)
    assert len(spell(long, PLAIN, PLAIN, 0x33, 1)) == 2
    assert [piece.tlvs for piece in spell(long, account("sar"), PLAIN, 0x33, 1)] == [b"", b""]


def test_switches_want_parts_and_others_the_whole() -> None:
    long = message(b"x" * 141)
    assert passes(long, account(), PLAIN, 0x34)
    assert not passes(long, account(role=Role.SWITCH), PLAIN, 0x34)
    assert passes(message(b"x" * 140), account(role=Role.SWITCH), PLAIN, 0x34)
    assert not passes(message(b"x"), account(), LATIN1, 0x34)
    (piece,) = spell(message(b"x" * 160), account(role=Role.SWITCH), PLAIN, 0x34, 1)
    assert (piece.body, piece.has_header) == (b"x" * 160, False)


def test_more_than_255_parts_cannot_be_told() -> None:
    assert len(spell(message(bytes(134 * 255), 4), account("udh8"), PLAIN, 0x34, 1)) == 255
    with pytest.raises(TooManyParts):
        spell(message(bytes(134 * 255 + 1), 4), account("udh8"), PLAIN, 0x34, 1)
