"""A message's place among the parts of a longer one, and what it costs.

In charge of: reading from a draft where it stands in a multipart message (UDH or sar_* parameters), its reference, and
the radio segments it takes. Not in charge of: joining parts (`text/segments.py`), keeping them together (`lanes.py`).

What a peer says is bounded here to what the wire can carry, because it is stored in columns of that size.
Sources: behaviour.md 8; 3GPP TS 23.040 §9.2.3.24.1; SMPP 3.4 §5.3.2.17, §5.3.2.22 to §5.3.2.24.
"""

from __future__ import annotations

from ..message import Message
from .smpp import tlv
from .text import codings, gsm7, segments, udh

__all__ = ["find_place"]

_ESM_UDHI = 0x40
_SINGLE_SEGMENT = 140  # octets that fit one radio segment in every coding
_MAX_REFERENCE = 0xFFFF  # user_message_reference has two octets
_MAX_PARTS = 255  # sar_total_segments has one


def find_place(draft: Message, alphabet: codings.DefaultAlphabet = codings.DefaultAlphabet.GSM7) -> None:
    """Fill in a draft's place in a multipart message, its user_message_reference and the segments it costs.

    `alphabet`: what data_coding 0 means to its submitter.
    """
    place: udh.ConcatRef | None = None
    draft.part_reference = draft.part_total = draft.part_number = draft.reference = 0
    draft.segments = 1
    raw = draft.tlvs
    if raw:
        reference = tlv.get_int(raw, tlv.Tag.user_message_reference) or 0
        draft.reference = reference if reference <= _MAX_REFERENCE else 0
    if draft.esm_class & _ESM_UDHI:
        place = udh.parse(draft.body).concat
    elif raw and (sar_reference := tlv.get(raw, tlv.Tag.sar_msg_ref_num)) is not None:
        place = segments.sar_concat(
            sar_reference,
            tlv.get(raw, tlv.Tag.sar_total_segments),
            tlv.get(raw, tlv.Tag.sar_segment_seqnum),
        )
    if place is not None and place.possible and place.total <= _MAX_PARTS:
        draft.part_reference, draft.part_total, draft.part_number = place.reference, place.total, place.number
    elif len(draft.body) > _SINGLE_SEGMENT:
        coding = codings.interpret(draft.data_coding).coding
        if coding is codings.Coding.DEFAULT:
            coding = alphabet.coding
        octets = draft.body
        if coding is codings.Coding.GSM7 and alphabet is codings.DefaultAlphabet.GSM7_PACKED:
            octets = gsm7.unpack(octets)
        draft.segments = segments.count(octets, coding)
