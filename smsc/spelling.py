"""How a message is spelled for the account that gets it: alphabet, packing, parts.

In charge of: the octets, data_coding and parts that one account is handed. Not in charge of: the PDU around them
(`binds.py`), the order and memory of parts (`long_messages.py`), alphabets and headers themselves (`text/`).

Rules (behaviour.md 8):
- What the receiver would read as the submitter meant it passes untouched, and so does what nobody can read: reserved,
  compressed and binary codings, and text that already is a part of a longer one.
- data_coding 0 means the alphabet of an account. Where the two accounts differ the text is written anew: in the
  receiver's default alphabet if that can spell it, else in UCS2.
- Septets are unpacked on SMPP, packed for accounts whose default alphabet says so, in every GSM 7 bit message.
- A text longer than 140 octets is cut where the account wants parts; each part has the reference, and the elements of
  the whole one's header (ports, national language).

A receipt is none of this: its text is ASCII by convention, and peers parse it with ASCII tools.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..access.accounts import Account
from ..message import Message
from .smpp import tlv
from .text import codings, gsm7, segments, udh
from .text.codings import Coding, DefaultAlphabet

__all__ = ["HANDSET_OCTETS", "Piece", "TooManyParts", "cut", "passes", "spell"]

HANDSET_OCTETS = 140  #: of user data in one short message, in every coding (3GPP TS 23.040 §9.2.3.16)

_ESM_UDHI = 0x40
_VERSION_WITH_TLVS = 0x34
_MAX_SHORT_MESSAGE = 254
_SAR = (tlv.Tag.sar_msg_ref_num, tlv.Tag.sar_total_segments, tlv.Tag.sar_segment_seqnum)


class TooManyParts(ValueError):
    """A message would take more than 255 parts."""


class Piece(NamedTuple):
    """What one PDU carries of a message."""

    body: bytes  #: with its header
    data_coding: int
    has_header: bool  #: esm_class bit 6
    tlvs: bytes = b""  #: of its own: sar_*
    number: int = 1  #: 1..total
    total: int = 1


def passes(message: Message, account: Account, submitter: Account | None, version: int) -> bool:
    """True if a message goes out as it came: nearly all do, so this is asked before anything else."""
    if (submitter.default_alphabet if submitter is not None else "gsm7") != account.default_alphabet:
        return False
    length = len(message.body)
    if length <= HANDSET_OCTETS:
        return True
    if account.parts_as != "whole":
        return False
    return version >= _VERSION_WITH_TLVS or length <= _MAX_SHORT_MESSAGE


def spell(
    message: Message, account: Account, submitter: Account | None, version: int, reference: int
) -> list[Piece]:
    """A message in the pieces that an account is handed, one or more. Raises TooManyParts."""
    theirs = _alphabet(submitter.default_alphabet if submitter is not None else "gsm7")
    ours = _alphabet(account.default_alphabet)
    has_header = bool(message.esm_class & _ESM_UDHI)
    header, octets = udh.strip(message.body) if has_header else (udh.NO_HEADER, message.body)
    if has_header and not header.length:  # a header that cannot be: nothing behind it has a known place
        return [Piece(message.body, message.data_coding, has_header)]
    coding = _coding(message.data_coding, theirs)
    if coding is Coding.GSM7 and theirs is DefaultAlphabet.GSM7_PACKED:
        octets = gsm7.unpack(octets, fill_bits=gsm7.fill_bits(header.length))
    octets, data_coding, coding = _rewritten(message, octets, coding, theirs, ours)
    packed = coding is Coding.GSM7 and ours is DefaultAlphabet.GSM7_PACKED
    style = account.parts_as
    if style == "sar" and (header.elements or version < _VERSION_WITH_TLVS):
        style = "udh8"  # a header, or a version, that parameters do not go with
    if style == "whole" and version < _VERSION_WITH_TLVS and header.length + len(octets) > _MAX_SHORT_MESSAGE:
        style = "udh8"
    # A part cannot be cut again, and where characters end in an unknown coding nobody can say.
    if style == "whole" or message.part_total or coding is Coding.UNKNOWN:
        return [_piece(message.body[: header.length], octets, data_coding, packed=packed)]
    return cut(header.elements, octets, coding, data_coding, reference, style, packed=packed)


def _rewritten(
    message: Message, octets: bytes, coding: Coding, theirs: DefaultAlphabet, ours: DefaultAlphabet
) -> tuple[bytes, int, Coding]:
    """Text under data_coding 0 in an alphabet that means the same to the receiver."""
    meant = codings.interpret(message.data_coding)
    if meant.coding is not Coding.DEFAULT or theirs.coding is ours.coding:
        return octets, message.data_coding, coding
    text = codings.decode_octets(octets, theirs.coding)
    if text is None:
        return octets, message.data_coding, coding
    prefer = (Coding.DEFAULT,) if message.part_total else (Coding.DEFAULT, Coding.UCS2)
    encoded = codings.encode(text, prefer, ours)
    return encoded.octets, encoded.data_coding, encoded.coding


def cut(
    elements: tuple[udh.InformationElement, ...],
    octets: bytes,
    coding: Coding,
    data_coding: int,
    reference: int,
    style: str,
    *,
    packed: bool = False,
) -> list[Piece]:
    """A text in pieces, one or more, in the style of an account or link. Raises TooManyParts."""
    bits = 16 if style == "udh16" else 8
    try:
        parts = segments.split(octets, coding, reference, bits=bits, elements=elements)
    except ValueError as error:
        raise TooManyParts(str(error)) from error
    total = len(parts)
    if style != "sar" or total == 1:
        return [
            _piece(one.header, one.payload, data_coding, packed=packed, number=number, total=total)
            for number, one in enumerate(parts, 1)
        ]
    pieces: list[Piece] = []
    for number, one in enumerate(parts, 1):
        values = segments.sar_values(udh.ConcatRef(reference & 0xFFFF, total, number, 16))
        tlvs = b"".join(tlv.one(tag, value) for tag, value in zip(_SAR, values, strict=True))
        pieces.append(
            _piece(b"", one.payload, data_coding, packed=packed, number=number, total=total, tlvs=tlvs)
        )
    return pieces


def _piece(
    header: bytes,
    payload: bytes,
    data_coding: int,
    *,
    packed: bool,
    number: int = 1,
    total: int = 1,
    tlvs: bytes = b"",
) -> Piece:
    if packed:
        payload = gsm7.pack(payload, gsm7.fill_bits(len(header)), pad_cr=True)
    return Piece(header + payload, data_coding, bool(header), tlvs, number, total)


def _coding(data_coding: int, alphabet: DefaultAlphabet) -> Coding:
    coding = codings.interpret(data_coding).coding
    return alphabet.coding if coding is Coding.DEFAULT else coding


@lru_cache(maxsize=8)
def _alphabet(name: str) -> DefaultAlphabet:
    return DefaultAlphabet(name)
