"""What may lie in a mailbox, and what of it can be read.

In charge of: which messages a mailbox takes (behaviour.md 1, "Not mailbox material"), their text, and the envelope in
which the box keeps everything else that a message was. Not in charge of: room in the box (`quota.py`).

Sources: SMPP 3.4 §5.2.12 (esm_class), §5.2.13, §5.2.19, §5.3.2 (TLVs); 3GPP TS 23.040 §9.2.3.9 (TP-PID), §9.2.3.24
(headers); 3GPP TS 23.038 §4 (classes, message waiting); OMA WAP-230 §8.2.4 and OMA MMS-ENC (notifications).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ..message import Address, Kind, Message
from ..smsc.smpp import tlv
from ..smsc.text import codings, segments, udh
from .settings import MailboxSettings

__all__ = [
    "Content",
    "ItemKind",
    "ROW_COST",
    "envelope",
    "joined_text",
    "message_from",
    "not_material",
    "read",
]

ROW_COST = 400  #: octets that an item costs beside its body: columns, envelope, indexes

_MODE = 0x03  # esm_class bits 1-0: 1 datagram, 2 transaction (forward)
_TYPE = 0x3C  # esm_class bits 5-2: message type
_UDHI = 0x40
_DATAGRAM, _TRANSACTION = 1, 2
_ACKNOWLEDGEMENTS = frozenset(
    {0x00, 0x08, 0x10}
)  # ordinary, delivery and manual acknowledgement: people's text

_PID_TYPE_0 = 0x40
_PID_DATA_DOWNLOAD = range(
    0x7C, 0x80
)  # ANSI-136 R-DATA, ME data download, de-personalisation, SIM data download
_CLASS_SIM = 2
_SUBUNIT_SIM = 3  # dest_addr_subunit: smart card 1 (SMPP 3.4 §5.3.2.1)
_SECURITY_HEADERS = range(0x70, 0x80)  # (U)SIM toolkit security headers

_WAP_PUSH_PORT = 2948
_WSP_PUSH = 0x06  # PDU type
_MMS_TYPE = b"\xbe"  # application/vnd.wap.mms-message as a short integer
_MMS_NAME = b"application/vnd.wap.mms-message"
_NOTIFICATION_IND = b"\x8c\x82"  # X-Mms-Message-Type: m-notification-ind


class ItemKind(StrEnum):
    """What an item is to its reader."""

    SMS = "sms"
    MMS = "mms"  #: a notification that a multimedia message waits elsewhere


@dataclass(frozen=True, slots=True)
class Content:
    """What was read of a message."""

    kind: ItemKind
    text: str  #: of an MMS notification: empty
    coding: str  #: codings.Coding


def not_material(message: Message, settings: MailboxSettings) -> str:
    """Why a message can never be kept in a mailbox, as a stable slug; "" if it can."""
    if message.is_system:
        return "system-message"
    if message.esm_class & _MODE in (_DATAGRAM, _TRANSACTION):
        return "not-store-and-forward"
    if message.esm_class & _TYPE not in _ACKNOWLEDGEMENTS:
        return "not-a-text-message"
    if message.expires_at <= message.submitted_at:
        return "no-validity"
    if message.service_type in settings.denied_service_types:
        return "mailbox-denied"
    return _for_the_handset(message) or _not_readable(message)


def _for_the_handset(message: Message) -> str:
    """Messages that act on a handset or its card instead of saying something."""
    if message.protocol_id == _PID_TYPE_0:
        return "type-0"
    if message.protocol_id in _PID_DATA_DOWNLOAD:
        return "data-download"
    says = codings.interpret(message.data_coding)
    if says.waiting is not None or tlv.get(message.tlvs, tlv.Tag.ms_msg_wait_facilities) is not None:
        return "message-waiting"
    if says.message_class == _CLASS_SIM:
        return "sim-message"
    if tlv.get_int(message.tlvs, tlv.Tag.dest_addr_subunit) == _SUBUNIT_SIM:
        return "sim-message"
    header = _header(message)
    if header.waiting:
        return "message-waiting"
    if any(element.identifier in _SECURITY_HEADERS for element in header.elements):
        return "data-download"
    return ""


def _not_readable(message: Message) -> str:
    """Content for an application, or no text at all. An MMS notification is understood."""
    header = _header(message)
    addressed = header.ports is not None or any(
        tlv.get(message.tlvs, tag) is not None for tag in (tlv.Tag.source_port, tlv.Tag.destination_port)
    )
    if addressed:
        return "" if is_mms_notification(message) else "port-addressed"
    if codings.interpret(message.data_coding).coding in (codings.Coding.BINARY, codings.Coding.UNKNOWN):
        return "binary-content"
    return ""


def is_mms_notification(message: Message) -> bool:
    """Is it WAP push that says where a multimedia message waits (or, of a long one, a part that may be of it)?

    Only the first part can be recognised; a later part on the same port is given the benefit of the doubt, and shows
    as nothing when its first part is not there.
    """
    header = _header(message)
    port = header.ports.destination if header.ports else tlv.get_int(message.tlvs, tlv.Tag.destination_port)
    if port != _WAP_PUSH_PORT:
        return False
    if message.part_total and message.part_number > 1:
        return True
    pushed = message.body[header.length :]
    if len(pushed) < 4 or pushed[1] != _WSP_PUSH:
        return False
    headers = pushed[3:]
    named = headers[:1] == _MMS_TYPE or _MMS_NAME in headers[:64] or _MMS_TYPE in headers[:4]
    return named and _NOTIFICATION_IND in headers[:200]


def _header(message: Message) -> udh.UserDataHeader:
    return udh.parse(message.body) if message.esm_class & _UDHI else udh.NO_HEADER


# ------------------------------------------------------------------------------------------------------ reading


def decode(message: Message, alphabet: str) -> codings.DecodedText:
    """The user data, with what data_coding 0 means to its submitter."""
    return codings.decode(
        message.data_coding,
        message.body,
        codings.DefaultAlphabet(alphabet),
        has_udh=bool(message.esm_class & _UDHI),
    )


def read(message: Message, alphabet: str) -> Content:
    """Kind and text of a message that may be kept. NUL, which databases refuse in text, is left out."""
    if is_mms_notification(message):
        return Content(ItemKind.MMS, "", codings.Coding.BINARY)
    content = decode(message, alphabet)
    return Content(ItemKind.SMS, _clean(content.text or ""), content.coding)


def _clean(text: str) -> str:
    """Text that can be stored and sent as JSON: no NUL, no half of a pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def joined_text(parts: Iterable[tuple[Message, str]]) -> tuple[str, tuple[int, ...]]:
    """The text of the parts (message, alphabet) that are there, "…" for gaps; and the numbers that are missing."""
    joined = segments.join(
        segments.Part(
            udh.ConcatRef(message.part_reference, message.part_total, message.part_number, 16),
            decode(message, alphabet),
        )
        for message, alphabet in parts
    )
    return _clean(joined.text or ""), joined.missing


# ----------------------------------------------------------------------------------------------------- envelope

#: Fields of a message that have no column of their own in a box; addresses are taken apart, octets are hexadecimal.
_KEPT = (
    "account",
    "kind",
    "ingress",
    "sender",
    "recipient",
    "service_type",
    "esm_class",
    "protocol_id",
    "priority_flag",
    "registered_delivery",
    "data_coding",
    "sm_default_msg_id",
    "submitted_at",
    "schedule_at",
    "expires_at",
    "parent",
    "reference",
    "part_reference",
    "part_total",
    "part_number",
    "segments",
)
_DEFAULTS = Message(source=Address(0, 0, ""), destination=Address(0, 0, ""))


def envelope(message: Message) -> str:
    """Everything a message is but its id and body, as JSON; what has its usual value is left out."""
    facts: dict[str, object] = {
        name: value for name in _KEPT if (value := getattr(message, name)) != getattr(_DEFAULTS, name)
    }
    facts["source"] = list(message.source)
    facts["destination"] = list(message.destination)
    if message.tlvs:
        facts["tlvs"] = message.tlvs.hex()
    return json.dumps(facts, separators=(",", ":"))


def message_from(id: int, text: str, body: bytes) -> Message:
    """The message that `envelope` was made of, with nobody as its owner."""
    facts = json.loads(text)
    facts["source"] = Address(*facts["source"])
    facts["destination"] = Address(*facts["destination"])
    facts["tlvs"] = bytes.fromhex(facts.get("tlvs", ""))
    facts["kind"] = facts.get("kind", Kind.MESSAGE)
    return Message(id=id, body=body, **facts)
