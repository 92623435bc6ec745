"""A message as the TPDUs that a handset is given.

In charge of: spelling a message as one or several SMS-DELIVER, and a receipt as SMS-STATUS-REPORT. Not in charge of:
handing them over (`switch.py`), or the octets (`signaling/`).

Theory. What a handset cannot read is spelled anew: an alphabet of SMPP that 3GPP has no code for becomes GSM 7 bit or
UCS-2. What is too long is cut into parts, which `long_messages.py` hands over one by one. Parts that an ESME numbered
by sar_* parameters get the header that says the same.

Sources: 3GPP TS 23.040 §9.2.2.1 (deliver), §9.2.2.3 (status report), §9.2.3.24.1 (concatenation); SMPP 3.4 §5.3.2.22.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ..access.numbers import EgressRules
from ..message import Address, Message
from ..outlet import ErrorClass
from ..signaling.causes import status_of
from ..signaling.digits import ALPHANUMERIC
from ..signaling.tp_time import time_stamp
from ..signaling.tpdu import BadTpdu, Deliver, StatusReport
from ..signaling.user_data import UserData, dcs_of
from .causes import ReceiptError
from .normaliser import address_for
from .receipts import ESM_INTERMEDIATE_NOTIFICATION, told_state
from .smpp import tlv
from .text import codings, segments, udh
from .text.codings import Coding, DefaultAlphabet

__all__ = ["NotExpressible", "deliver_tpdus", "offset_minutes", "status_report_tpdu"]

_ESM_UDHI, _ESM_REPLY_PATH = 0x40, 0x80  # SMPP 3.4 §5.2.12
_WANTS_RECEIPT = 0x03
_EGRESS = EgressRules()


class NotExpressible(ValueError):
    """A message that no handset can be given; the reason is a slug."""


def offset_minutes(zone: ZoneInfo, at_ms: int) -> int:
    """How far local time is ahead of UTC at a time."""
    offset = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds()) // 60 if offset is not None else 0


def deliver_tpdus(
    message: Message, alphabet: DefaultAlphabet, zone: ZoneInfo, *, more: bool, reference: int = 0
) -> list[bytes]:
    """The SMS-DELIVER TPDUs of a message. NotExpressible.

    `alphabet`: what data_coding 0 means to its submitter. `more`: further messages for the handset follow.
    `reference`: of the parts, if there are several.
    """
    dcs, parts = _parts(message, alphabet, reference)
    scts = time_stamp(message.submitted_at, offset_minutes(zone, message.submitted_at))
    wants_receipt = bool(message.registered_delivery & _WANTS_RECEIPT) and not message.is_system
    try:
        return [
            Deliver(
                _originator(message),
                scts,
                message.protocol_id,
                dcs,
                ud,
                mms=more or number < len(parts) - 1,
                sri=wants_receipt,
                rp=bool(message.esm_class & _ESM_REPLY_PATH),
            ).encode()
            for number, ud in enumerate(parts)
        ]
    except BadTpdu as problem:
        raise NotExpressible("not-expressible") from problem


def _originator(message: Message) -> Address:
    ton, npi, digits = address_for(message.sender, _EGRESS)
    if ton != ALPHANUMERIC and not digits.lstrip("+").isdigit():
        raise NotExpressible("sender-not-expressible")
    return Address(ton, npi, digits)


def _parts(message: Message, alphabet: DefaultAlphabet, reference: int) -> tuple[int, list[UserData]]:
    """TP-DCS and the user data of each part."""
    has_header = bool(message.esm_class & _ESM_UDHI)
    dcs = dcs_of(message.data_coding)
    body, header = message.body, b""
    if has_header:
        found, payload = udh.strip(body)
        header, body = body[: found.length], payload
    if dcs is None or (dcs == 0 and alphabet is not DefaultAlphabet.GSM7):
        dcs, body = _spelled_anew(message, alphabet, body)
    coding = _coding(dcs)
    read = udh.parse(header) if header else udh.NO_HEADER
    elements, place = list(read.elements), read.concat
    sar = None if header else _sar(message)
    if sar is not None:
        header, place = udh.build([udh.concatenation_element(sar)]), sar
    if len(body) <= segments.HANDSET.capacity(coding, len(header)):
        return dcs, [UserData(header, body, has_header or bool(header))]
    if place is not None:
        raise NotExpressible("part-too-long")
    if segments.count(body, coding, elements=elements) > segments.MAX_PARTS:
        raise NotExpressible("too-long")
    cut = segments.split(body, coding, reference, elements=elements)
    return dcs, [UserData(piece.header, piece.payload, True) for piece in cut]


def _coding(dcs: int) -> Coding:
    """In what units user data under a TP-DCS is counted."""
    meaning = codings.interpret(dcs)
    if dcs == 0 or (meaning.coding is Coding.UNKNOWN and not meaning.compressed):
        return Coding.GSM7
    return Coding.BINARY if meaning.coding is Coding.UNKNOWN else meaning.coding


def _spelled_anew(message: Message, alphabet: DefaultAlphabet, body: bytes) -> tuple[int, bytes]:
    """GSM 7 bit if it can say it, else UCS-2, of a text in an alphabet that handsets have no code for."""
    text = codings.decode(message.data_coding, body, default_alphabet=alphabet).text
    if text is None:
        raise NotExpressible("alphabet-unknown")
    encoded = codings.encode(text)
    return dcs_of(encoded.data_coding) or 0, encoded.octets


def _sar(message: Message) -> segments.ConcatRef | None:
    """The place that an ESME told by sar_* parameters."""
    if message.part_total < 2 or not message.tlvs:
        return None
    found = segments.sar_concat(
        tlv.get(message.tlvs, tlv.Tag.sar_msg_ref_num),
        tlv.get(message.tlvs, tlv.Tag.sar_total_segments),
        tlv.get(message.tlvs, tlv.Tag.sar_segment_seqnum),
    )
    return found if found is not None and found.possible and found.total <= segments.MAX_PARTS else None


# ------------------------------------------------------------------------------------------------- status reports

_CLASS_BY_ERROR = {
    ReceiptError.ABSENT: ErrorClass.ABSENT,
    ReceiptError.BUSY: ErrorClass.BUSY,
    ReceiptError.MEMORY_FULL: ErrorClass.MEMORY_FULL,
    ReceiptError.CONGESTED: ErrorClass.CONGESTED,
    ReceiptError.SYSTEM: ErrorClass.SYSTEM,
    ReceiptError.TIMEOUT: ErrorClass.TIMEOUT,
    ReceiptError.PERMANENT: ErrorClass.PERMANENT,
    ReceiptError.POLICY: ErrorClass.POLICY,
    ReceiptError.NO_ROUTE: ErrorClass.PERMANENT,
    ReceiptError.MAILBOX_FULL: ErrorClass.MEMORY_FULL,
    ReceiptError.CLOSED_NUMBER: ErrorClass.PERMANENT,
}


def status_report_tpdu(receipt: Message, original: Message | None, zone: ZoneInfo, *, more: bool) -> bytes:
    """The SMS-STATUS-REPORT that a receipt is to a handset. NotExpressible.

    `original`: the message reported on; without it the time of its submission is that of its id.
    """
    submitted = original.submitted_at if original is not None else receipt.submitted_at
    state = told_state(receipt)
    about_command = receipt.esm_class == ESM_INTERMEDIATE_NOTIFICATION
    reference = tlv.get_int(receipt.tlvs, tlv.Tag.user_message_reference) or 0
    try:
        return StatusReport(
            receipt.source,
            time_stamp(submitted, offset_minutes(zone, submitted)),
            time_stamp(receipt.submitted_at, offset_minutes(zone, receipt.submitted_at)),
            int(status_of(state, _CLASS_BY_ERROR.get(_error_of(receipt)))),
            reference & 0xFF,
            mms=more,
            srq=about_command,
        ).encode()
    except BadTpdu as problem:
        raise NotExpressible("not-expressible") from problem


def _error_of(receipt: Message) -> ReceiptError:
    """err: of the receipt's text."""
    digits = receipt.body.partition(b" err:")[2][:3]
    try:
        return ReceiptError(int(digits))
    except ValueError:
        return ReceiptError.NONE
