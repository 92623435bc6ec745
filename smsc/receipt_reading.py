"""What another center's delivery receipt says.

In charge of: reading id, state and error from its TLVs and its text, however it is written. Not in charge of: whose
receipt it is (`link_receipts.py`), what follows (`reports.py`).

A receipt is known by esm_class, never by its text. TLVs win over text, because the text is for people in its own way
at each center; its fields are found by name, in any order and case, and what stands behind "text:" is not looked at.
Sources: SMPP 3.4 §5.2.12, §5.3.2.12, §5.3.2.35, Appendix B; notes/peers.md 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..message import MessageState
from .smpp import tlv
from .smpp.codec import Pdu

__all__ = ["SaidReceipt", "is_receipt", "read_receipt"]

_TYPE_BITS = 0x3C  #: esm_class bits 2 to 5
_RECEIPT = 0x04
_INTERMEDIATE = 0x20

_FIELD = re.compile(rb"\b(id|stat|err)[ \t]*:[ \t]*([^\s:]{1,65})", re.IGNORECASE)
_MAX_TEXT = 1024  #: octets looked at

_STATES = {
    b"SCHEDUL": MessageState.SCHEDULED,
    b"ENROUTE": MessageState.ENROUTE,
    b"DELIVRD": MessageState.DELIVERED,
    b"DELIVER": MessageState.DELIVERED,
    b"EXPIRED": MessageState.EXPIRED,
    b"DELETED": MessageState.DELETED,
    b"UNDELIV": MessageState.UNDELIVERABLE,
    b"FAILED": MessageState.UNDELIVERABLE,
    b"ACCEPTD": MessageState.ACCEPTED,
    b"ACCEPTE": MessageState.ACCEPTED,
    b"BUFFERE": MessageState.ENROUTE,
    b"UNKNOWN": MessageState.UNKNOWN,
    b"REJECTD": MessageState.REJECTED,
    b"REJECTE": MessageState.REJECTED,
    b"SKIPPED": MessageState.SKIPPED,
}
_KNOWN = frozenset(int(state) for state in MessageState)


@dataclass(frozen=True, slots=True)
class SaidReceipt:
    """What a receipt says; nothing of it is believed yet."""

    remote_ids: tuple[str, ...]  #: as TLV and text name it, the TLV first; may be empty
    state: MessageState
    error: str = ""  #: err: of the text
    network_error: bytes = b""  #: network_error_code, 3 octets


def is_receipt(pdu: Pdu) -> bool:
    """True for a delivery receipt or intermediate notification."""
    return getattr(pdu, "esm_class", 0) & _TYPE_BITS in (_RECEIPT, _INTERMEDIATE)


def read_receipt(pdu: Pdu) -> SaidReceipt | None:
    """Read deliver_sm or data_sm; None if it says neither an id nor a state that there is."""
    text = getattr(pdu, "short_message", b"") or pdu.get_tlv(tlv.Tag.message_payload) or b""
    if getattr(pdu, "data_coding", 0) & 0x0C == 0x08 and b"\0" in text:  # UCS-2
        text = text.decode("utf-16-be", "replace").encode("ascii", "replace")
    head = text[:_MAX_TEXT]
    cut = head.lower().find(b"text:")
    fields = {
        name.lower(): value for name, value in reversed(_FIELD.findall(head[:cut] if cut >= 0 else head))
    }
    ids: list[str] = []
    named = tlv.get_c_octet_string(pdu.tlvs, tlv.Tag.receipted_message_id) if pdu.tlvs else None
    for id in (named, fields.get(b"id")):
        if id:
            ids.append(id.decode("latin-1"))
    told = pdu.get_tlv_int(tlv.Tag.message_state) if pdu.tlvs else None
    if told is not None and told in _KNOWN:
        state = MessageState(told)
    else:
        word = fields.get(b"stat", b"").upper()[:7]
        if word not in _STATES:
            return None
        state = _STATES[word]
    network_error = (pdu.get_tlv(tlv.Tag.network_error_code) or b"") if pdu.tlvs else b""
    return SaidReceipt(
        tuple(dict.fromkeys(ids)),
        state,
        fields.get(b"err", b"").decode("latin-1"),
        network_error if len(network_error) == 3 else b"",
    )
