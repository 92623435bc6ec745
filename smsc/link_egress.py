"""How a message is spelled for another center.

In charge of: submit_sm from a message by the rules of a link: numbers, mode, validity, what is asked for in return, and
rewriting text that the link would not understand. Not in charge of: sending it (`link_outlet.py`).

Text. Octets go on as they came, unless the link means something else by their data_coding than the sender does, or
does not take it at all. Then the text is written anew in the link's default alphabet, in UCS-2 if that cannot spell it;
what is no text, has a header, or is one part of several goes as it is or not at all. A text that is too long for one
short message goes whole or in pieces, as the link says; each piece asks for a receipt of its own where one is awaited.

Sources: SMPP 3.4 §4.4.1, §5.2.12 (esm_class), §5.2.16 (validity_period), §5.2.17 (registered_delivery), §5.2.19.
"""

from __future__ import annotations

from ..message import Kind, Message
from ..outlet import Delivery
from .links import Link
from .normaliser import address_for
from .receipts import wants_intermediate
from .retry import has_one_attempt
from .smpp import times, tlv
from .smpp.pdu import SubmitSm
from .spelling import Piece, cut
from .text import codings, segments

__all__ = ["NotExpressible", "pieces", "response_is_final", "submit_sm"]

_MAX_SHORT_MESSAGE = 254  #: octets (SMPP 3.4 §5.2.22)
_FEATURES = 0xC0  #: esm_class: UDHI and reply path
_UDHI = 0x40
_DELIVERY_ACKNOWLEDGEMENT = 0x08  #: esm_class of an ESME's receipt for a message it was handed
_RECEIPT_WANTED = 0x01
_INTERMEDIATE_WANTED = 0x10
_SME_ACK_BITS = 0x0C
_MODE_DATAGRAM = 0x01
_MODE_MASK = 0x03
_VERSION_WITH_TLVS = 0x34
_MINUTE_MS = 60_000

#: TLVs that spoke to us.
_FOR_US = (
    tlv.Tag.set_dpf,
    tlv.Tag.qos_time_to_live,
    tlv.Tag.more_messages_to_send,
    tlv.Tag.alert_on_message_delivery,
)
_ALPHABETS = {name: codings.DefaultAlphabet(name) for name in ("gsm7", "latin1", "ascii")}


class NotExpressible(ValueError):
    """The link has no way to carry this message."""


def response_is_final(message: Message, link: Link) -> bool:
    """True if no receipt will come that could tell more than the response did."""
    datagram = message.esm_class & _MODE_MASK == _MODE_DATAGRAM
    return link.model.outcome_in_response or message.is_system or datagram


def pieces(message: Message, link: Link, alphabet: str, version: int, reference: int) -> list[Piece]:
    """What one submit_sm each carries of a message, one or more. Raises NotExpressible, TooManyParts.

    `alphabet`: what data_coding 0 means to its sender; `version` of the other side.
    """
    data_coding, body = _text(message, link, alphabet)
    has_header = bool(message.esm_class & _UDHI)
    whole = [Piece(body, data_coding, has_header)]
    style = link.model.long_messages
    if style == "whole" or has_header or message.part_total or message.kind == Kind.RECEIPT:
        return whole
    coding = codings.interpret(data_coding).coding
    if coding is codings.Coding.DEFAULT:
        coding = _ALPHABETS[link.model.default_alphabet].coding
    if coding is codings.Coding.UNKNOWN or len(body) <= segments.HANDSET.capacity(coding, 0):
        return whole
    if style == "sar" and version < _VERSION_WITH_TLVS:
        style = "udh8"
    return cut((), body, coding, data_coding, reference, style)


def submit_sm(delivery: Delivery, link: Link, piece: Piece, version: int, now: int) -> SubmitSm:
    """Spell a piece of a message. Raises NotExpressible.

    `version` of the other side; `now`: UTC epoch milliseconds.
    """
    message, model = delivery.message, link.model
    country = model.number_rules.country_code if model.number_rules is not None else ""
    is_receipt = message.kind == Kind.RECEIPT
    if is_receipt:  # goes back between the addresses as the other side wrote them
        source, destination = message.source, message.destination
    else:
        source = address_for(message.sender, model.egress, country)
        destination = address_for(message.recipient, model.egress, country)
    body, tlvs = piece.body, b""
    if version >= _VERSION_WITH_TLVS:
        if message.tlvs and (model.tlvs or is_receipt):
            tlvs = tlv.strip(message.tlvs, *_FOR_US)
        tlvs += piece.tlvs
        if len(body) > _MAX_SHORT_MESSAGE:
            tlvs += tlv.one(tlv.Tag.message_payload, body)
            body = b""
        if delivery.more_messages_to_send:
            tlvs += tlv.one(tlv.Tag.more_messages_to_send, 1)
    elif len(body) > _MAX_SHORT_MESSAGE:
        raise NotExpressible("longer than 254 octets, and the peer takes no TLVs")
    service_type = message.service_type if model.service_type is None else model.service_type
    return SubmitSm(
        service_type=service_type.encode("latin-1"),
        source_addr_ton=source.ton,
        source_addr_npi=source.npi,
        source_addr=source.digits.encode("latin-1"),
        dest_addr_ton=destination.ton,
        dest_addr_npi=destination.npi,
        destination_addr=destination.digits.encode("latin-1"),
        esm_class=_esm_class(message, link) | (_UDHI if piece.has_header else 0),
        protocol_id=message.protocol_id,
        priority_flag=min(message.priority_flag, 3),
        validity_period=_validity(message, link, now),
        registered_delivery=_registered_delivery(message, link),
        data_coding=piece.data_coding,
        sm_default_msg_id=message.sm_default_msg_id,
        short_message=body,
        tlvs=tlvs,
    )


def _esm_class(message: Message, link: Link) -> int:
    features = message.esm_class & _FEATURES
    if message.kind == Kind.RECEIPT:
        return _DELIVERY_ACKNOWLEDGEMENT
    mode = link.mode_bits
    if not mode and has_one_attempt(message):
        mode = message.esm_class & _MODE_MASK
    return features | mode


def _registered_delivery(message: Message, link: Link) -> int:
    if message.kind == Kind.RECEIPT:
        return 0
    asked = message.registered_delivery & _SME_ACK_BITS
    if not response_is_final(message, link):
        asked |= _RECEIPT_WANTED
        if wants_intermediate(message):
            asked |= _INTERMEDIATE_WANTED
    return asked


def _validity(message: Message, link: Link, now: int) -> bytes:
    """What is left of the validity period. Never under a minute: a center that gets it later would refuse it."""
    how = link.model.validity
    if how == "none" or not message.expires_at:
        return b""
    left = max(message.expires_at - now, _MINUTE_MS)
    if how == "absolute":
        return times.format_absolute(now + left)
    seconds = left // 1000
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    months, day = divmod(days, 30)
    return b"00%02d%02d%02d%02d%02d000R" % (min(months, 99), day, hour, minute, second)


def _text(message: Message, link: Link, alphabet: str) -> tuple[int, bytes]:
    """data_coding and octets as the link understands them."""
    model, data_coding = link.model, message.data_coding
    means_other = data_coding == 0 and alphabet != model.default_alphabet
    taken = model.data_codings is None or data_coding in model.data_codings
    if taken and not means_other:
        return data_coding, message.body
    theirs = _ALPHABETS[model.default_alphabet]
    if message.esm_class & _UDHI or message.part_total:
        if taken:
            return data_coding, message.body  # a part keeps its octets, or the parts would not fit each other
        raise NotExpressible(f"the link does not take data_coding {data_coding}")
    mine = _ALPHABETS.get(alphabet, codings.DefaultAlphabet.GSM7)
    decoded = codings.decode(data_coding, message.body, default_alphabet=mine)
    if decoded.text is None:
        if taken:
            return data_coding, message.body
        raise NotExpressible(f"the link does not take data_coding {data_coding}, and it is no text")
    known = codings.interpret(data_coding)
    message_class = known.message_class if known.message_class in (0, None) else None
    encoded = codings.encode(decoded.text, default_alphabet=theirs, message_class=message_class)
    if model.data_codings is not None and encoded.data_coding not in model.data_codings:
        encoded = codings.encode(decoded.text, (codings.Coding.DEFAULT,), default_alphabet=theirs)
    return encoded.data_coding, encoded.octets
