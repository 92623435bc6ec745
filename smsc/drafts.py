"""From a PDU with a message to a draft.

In charge of: reading the fields of submit_sm, deliver_sm and data_sm into a `Message` draft, and naming the status of a
field that says nothing sensible. Not in charge of: numbers, limits and policy (`submission.py`), octets (`smpp/`).
Sources: SMPP 3.4 §4.4.1, §4.7.1, §5.2, §7.1.
"""

from __future__ import annotations

from dataclasses import replace

from ..message import Address, Message
from .smpp import times, tlv
from .smpp.command_status import CommandStatus as Status
from .smpp.pdu import DataSm, DeliverSm, SmeAddress, SubmitMulti, SubmitSm

__all__ = ["BadField", "draft_of", "drafts_of", "time_of"]

_MAX_REPLACE_FLAG = 1


class BadField(ValueError):
    """A field that was well-formed but cannot be meant."""

    def __init__(self, field: str, status: int) -> None:
        """`status` answers the PDU."""
        super().__init__(field)
        self.field = field
        self.status = status


def draft_of(pdu: SubmitSm | DeliverSm | DataSm, now: int) -> Message:
    """Read a PDU; `now` is UTC epoch milliseconds. Raises BadField."""
    return _of_data(pdu, now) if isinstance(pdu, DataSm) else _of_submit(pdu, now)


def drafts_of(pdu: SubmitMulti, now: int) -> list[Message]:
    """Read a submit_multi: one draft for each destination, in order. This center keeps no distribution lists."""
    destinations = [one for one in pdu.dest_address if isinstance(one, SmeAddress)]
    if len(destinations) < len(pdu.dest_address):
        raise BadField("dl_name", Status.ESME_RINVDLNAME)
    whole = _of_submit(pdu, now)
    return [
        replace(whole, destination=Address(ton, npi, digits.decode("latin-1")))
        for ton, npi, digits in destinations
    ]


def _of_submit(pdu: SubmitSm | DeliverSm | SubmitMulti, now: int) -> Message:
    if pdu.replace_if_present_flag > _MAX_REPLACE_FLAG:
        raise BadField("replace_if_present_flag", Status.ESME_RINVREPFLAG)
    body = pdu.short_message
    tlvs = pdu.tlvs
    if tlvs:
        payload = tlv.get(tlvs, tlv.Tag.message_payload)
        if payload is not None:
            if body:  # two texts: dropping either silently would be worse (notes/smpp.md, pitfalls)
                raise BadField("message_payload", Status.ESME_RINVOPTPARAMVAL)
            body = payload
            tlvs = tlv.strip(tlvs, tlv.Tag.message_payload)
    return Message(
        source=Address(pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr.decode("latin-1")),
        destination=_destination_of(pdu),
        body=body,
        service_type=pdu.service_type.decode("latin-1"),
        esm_class=pdu.esm_class,
        protocol_id=pdu.protocol_id,
        priority_flag=pdu.priority_flag,
        registered_delivery=pdu.registered_delivery,
        data_coding=pdu.data_coding,
        sm_default_msg_id=pdu.sm_default_msg_id,
        tlvs=tlvs,
        schedule_at=time_of(pdu.schedule_delivery_time, now, "schedule_delivery_time", Status.ESME_RINVSCHED),
        expires_at=time_of(pdu.validity_period, now, "validity_period", Status.ESME_RINVEXPIRY),
    )


def _destination_of(pdu: SubmitSm | DeliverSm | SubmitMulti) -> Address:
    if isinstance(pdu, SubmitMulti):
        return Address(0, 0, "")  # each draft gets its own
    return Address(pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr.decode("latin-1"))


def _of_data(pdu: DataSm, now: int) -> Message:
    """data_sm carries its text and its validity in TLVs (SMPP 3.4 §4.7.1)."""
    tlvs = pdu.tlvs
    body = (tlv.get(tlvs, tlv.Tag.message_payload) or b"") if tlvs else b""
    lifetime_s = tlv.get_int(tlvs, tlv.Tag.qos_time_to_live) if tlvs else None
    return Message(
        source=Address(pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr.decode("latin-1")),
        destination=Address(pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr.decode("latin-1")),
        body=body,
        service_type=pdu.service_type.decode("latin-1"),
        esm_class=pdu.esm_class,
        registered_delivery=pdu.registered_delivery,
        data_coding=pdu.data_coding,
        tlvs=tlv.strip(tlvs, tlv.Tag.message_payload) if tlvs else b"",
        expires_at=now + lifetime_s * 1000 if lifetime_s else 0,
    )


def time_of(text: bytes, now: int, field: str, status: int) -> int:
    """An SMPP time as UTC epoch milliseconds; 0 if it is not given."""
    if not text:
        return 0
    try:
        return times.parse(text, now)
    except ValueError as error:
        raise BadField(field, status) from error
