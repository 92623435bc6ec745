"""Every PDU of SMPP 3.4: its fields in the order of the wire.

In charge of: the field table of each PDU, from which its slots class, decoder and encoder are generated (codec.py);
the entries of submit_multi's lists; which response answers which request; one PDU from octets and back.
Not in charge of: framing and states (session.py), values of TLVs (tlv.py), what any value means.
Source: SMPP 3.4 section 4; SMPP 5.0 section 4 (a response may have TLVs there, a request the newer tags).

Strings are bytes without their terminator, integers are raw, nothing is interpreted. sm_length, number_of_dests and
no_unsuccess are not attributes: they are len() of what they count. An error response usually comes without its
mandatory fields; then `has_body` is False, the fields have their defaults, and encoding gives the bare header again.
The generated code of a class stands in its `source`.
"""

from collections.abc import Callable
from struct import error as struct_error
from typing import Annotated, ClassVar, NamedTuple

from .codec import HEADER, BadHeader, EncodeError, MalformedPdu, Pdu
from .command_id import RESPONSE_BIT, CommandId, command_name
from .command_status import CommandStatus
from .fields import HEADER_OCTETS, BadField, COctetString, Octet, OctetString, Repeated

__all__ = ["BadHeader", "EncodeError", "MalformedPdu", "Pdu"]


class SmeAddress(NamedTuple):
    """One destination of submit_multi that is an address (dest_flag 1)."""

    dest_addr_ton: int
    dest_addr_npi: int
    destination_addr: bytes


class DistributionList(NamedTuple):
    """One destination of submit_multi that is a list kept by the message center (dest_flag 2)."""

    dl_name: bytes


class UnsuccessSme(NamedTuple):
    """One destination that submit_multi could not be accepted for, and why."""

    dest_addr_ton: int
    dest_addr_npi: int
    destination_addr: bytes
    error_status_code: int  #: a command_status


_DESTINATION_ADDR = COctetString(21, CommandStatus.ESME_RINVDSTADR)
_DL_NAME = COctetString(21, CommandStatus.ESME_RINVDLNAME)


def _octets_of(kind: COctetString, name: str, value: bytes) -> bytes:
    reason = kind.complaint(value)
    if reason is not None:
        raise ValueError(f"{name} {reason}")
    return value


def _read_address(data: bytes, here: int, end: int) -> tuple[int, int, bytes, int]:
    if end - here < 2:
        raise BadField(CommandStatus.ESME_RINVCMDLEN, "the PDU ends within an address")
    address, after = _DESTINATION_ADDR.read(data, here + 2, end)
    return data[here], data[here + 1], address, after


def _read_destination(data: bytes, here: int, end: int) -> tuple[SmeAddress | DistributionList, int]:
    dest_flag = data[here]
    if dest_flag == 1:
        ton, npi, address, after = _read_address(data, here + 1, end)
        return SmeAddress(ton, npi, address), after
    if dest_flag == 2:
        dl_name, after = _DL_NAME.read(data, here + 1, end)
        return DistributionList(dl_name), after
    raise BadField(CommandStatus.ESME_RINVDESTFLAG, f"dest_flag {dest_flag}")


def _write_destination(entry: SmeAddress | DistributionList) -> bytes:
    if isinstance(entry, DistributionList):
        return b"\2%b\0" % _octets_of(_DL_NAME, "dl_name", entry.dl_name)
    ton, npi, address = entry
    return b"\1%c%c%b\0" % (ton, npi, _octets_of(_DESTINATION_ADDR, "destination_addr", address))


def _read_unsuccess(data: bytes, here: int, end: int) -> tuple[UnsuccessSme, int]:
    ton, npi, address, after = _read_address(data, here, end)
    if end - after < 4:
        raise BadField(CommandStatus.ESME_RINVCMDLEN, "the PDU ends within error_status_code")
    return UnsuccessSme(ton, npi, address, int.from_bytes(data[after : after + 4], "big")), after + 4


def _write_unsuccess(entry: UnsuccessSme) -> bytes:
    ton, npi, address, error_status_code = entry
    checked = _octets_of(_DESTINATION_ADDR, "destination_addr", address)
    return b"%c%c%b\0%b" % (ton, npi, checked, error_status_code.to_bytes(4, "big"))


# Kinds of field, with the status that answers a malformed one ---------------------------------------------------

_Octet = Annotated[int, Octet()]
_SystemId = Annotated[bytes, COctetString(16, CommandStatus.ESME_RINVSYSID)]
_Password = Annotated[bytes, COctetString(9, CommandStatus.ESME_RINVPASWD)]
_ServiceType = Annotated[bytes, COctetString(6, CommandStatus.ESME_RINVSERTYP)]
_SourceAddr = Annotated[bytes, COctetString(21, CommandStatus.ESME_RINVSRCADR)]
_DestinationAddr = Annotated[bytes, _DESTINATION_ADDR]
_LongSourceAddr = Annotated[bytes, COctetString(65, CommandStatus.ESME_RINVSRCADR)]
_LongDestinationAddr = Annotated[bytes, COctetString(65, CommandStatus.ESME_RINVDSTADR)]
_MessageId = Annotated[bytes, COctetString(65, CommandStatus.ESME_RINVMSGID)]
_ScheduleDeliveryTime = Annotated[bytes, COctetString(17, CommandStatus.ESME_RINVSCHED)]
_ValidityPeriod = Annotated[bytes, COctetString(17, CommandStatus.ESME_RINVEXPIRY)]
_ShortMessage = Annotated[bytes, OctetString("sm_length", CommandStatus.ESME_RINVMSGLEN)]


class ResponseWithFields(Pdu):
    """A response that has mandatory fields, which an error response may leave out."""

    has_body: bool = True  #: False: the PDU is the bare header, and the fields are at their defaults


# Session management: SMPP 3.4 sections 4.1 to 4.3, 4.11 ---------------------------------------------------------


class Bind(Pdu):
    """What the three bind requests have in common."""

    system_id: _SystemId = b""
    password: _Password = b""
    system_type: Annotated[bytes, COctetString(13, CommandStatus.ESME_RINVSYSTYP)] = b""
    interface_version: _Octet = 0x34
    addr_ton: _Octet = 0
    addr_npi: _Octet = 0
    address_range: Annotated[bytes, COctetString(41, CommandStatus.ESME_RBINDFAIL)] = b""


class BindTransmitter(Bind, command_id=CommandId.bind_transmitter):
    """Asks for a session on which the ESME submits."""


class BindReceiver(Bind, command_id=CommandId.bind_receiver):
    """Asks for a session on which the ESME is delivered to."""


class BindTransceiver(Bind, command_id=CommandId.bind_transceiver):
    """Asks for a session for both."""


class BindResp(ResponseWithFields):
    """What the three bind responses have in common. TLV: sc_interface_version."""

    system_id: _SystemId = b""


class BindTransmitterResp(BindResp, command_id=CommandId.bind_transmitter_resp):
    """Answers bind_transmitter."""


class BindReceiverResp(BindResp, command_id=CommandId.bind_receiver_resp):
    """Answers bind_receiver."""


class BindTransceiverResp(BindResp, command_id=CommandId.bind_transceiver_resp):
    """Answers bind_transceiver."""


class Outbind(Pdu, command_id=CommandId.outbind):
    """The message center asks an ESME to bind as a receiver. It has no response."""

    system_id: _SystemId = b""
    password: _Password = b""


class Unbind(Pdu, command_id=CommandId.unbind):
    """Ends a session."""


class UnbindResp(Pdu, command_id=CommandId.unbind_resp):
    """Answers unbind."""


class GenericNack(Pdu, command_id=CommandId.generic_nack):
    """Answers what cannot have a response of its own."""


class EnquireLink(Pdu, command_id=CommandId.enquire_link):
    """Asks whether the peer is alive."""


class EnquireLinkResp(Pdu, command_id=CommandId.enquire_link_resp):
    """Answers enquire_link."""


# Messages: SMPP 3.4 sections 4.4 to 4.7 -------------------------------------------------------------------------


class ShortMessagePdu(Pdu):
    """What submit_sm and deliver_sm have in common."""

    service_type: _ServiceType = b""
    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _SourceAddr = b""
    dest_addr_ton: _Octet = 0
    dest_addr_npi: _Octet = 0
    destination_addr: _DestinationAddr = b""
    esm_class: _Octet = 0
    protocol_id: _Octet = 0
    priority_flag: _Octet = 0
    schedule_delivery_time: _ScheduleDeliveryTime = b""
    validity_period: _ValidityPeriod = b""
    registered_delivery: _Octet = 0
    replace_if_present_flag: _Octet = 0
    data_coding: _Octet = 0
    sm_default_msg_id: _Octet = 0
    short_message: _ShortMessage = b""


class SubmitSm(ShortMessagePdu, command_id=CommandId.submit_sm):
    """An ESME hands in a message for one destination."""


class DeliverSm(ShortMessagePdu, command_id=CommandId.deliver_sm):
    """The message center hands over a message or a receipt."""


class MessageIdResp(ResponseWithFields):
    """What the responses with a message_id have in common."""

    message_id: _MessageId = b""


class SubmitSmResp(MessageIdResp, command_id=CommandId.submit_sm_resp):
    """Answers submit_sm with the id of the message."""

    octets: ClassVar[Callable[[int, bytes], bytes]]  #: from sequence_number and message_id, no object between


class DeliverSmResp(MessageIdResp, command_id=CommandId.deliver_sm_resp):
    """Answers deliver_sm; message_id is empty."""

    octets: ClassVar[Callable[[int, bytes], bytes]]  #: from sequence_number and message_id, no object between


class SubmitMulti(Pdu, command_id=CommandId.submit_multi):
    """An ESME hands in a message for many destinations."""

    service_type: _ServiceType = b""
    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _SourceAddr = b""
    dest_address: Annotated[
        tuple[SmeAddress | DistributionList, ...],
        Repeated(
            "number_of_dests",
            _read_destination,
            _write_destination,
            CommandStatus.ESME_RINVNUMDESTS,
            at_least=1,
        ),
    ] = ()
    esm_class: _Octet = 0
    protocol_id: _Octet = 0
    priority_flag: _Octet = 0
    schedule_delivery_time: _ScheduleDeliveryTime = b""
    validity_period: _ValidityPeriod = b""
    registered_delivery: _Octet = 0
    replace_if_present_flag: _Octet = 0
    data_coding: _Octet = 0
    sm_default_msg_id: _Octet = 0
    short_message: _ShortMessage = b""


class SubmitMultiResp(MessageIdResp, command_id=CommandId.submit_multi_resp):
    """Answers submit_multi with one id, and the destinations that were refused."""

    unsuccess_sme: Annotated[
        tuple[UnsuccessSme, ...],
        Repeated("no_unsuccess", _read_unsuccess, _write_unsuccess, CommandStatus.ESME_RINVNUMDESTS),
    ] = ()


class DataSm(Pdu, command_id=CommandId.data_sm):
    """A message in either direction whose text is in the TLV message_payload."""

    service_type: _ServiceType = b""
    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _LongSourceAddr = b""
    dest_addr_ton: _Octet = 0
    dest_addr_npi: _Octet = 0
    destination_addr: _LongDestinationAddr = b""
    esm_class: _Octet = 0
    registered_delivery: _Octet = 0
    data_coding: _Octet = 0


class DataSmResp(MessageIdResp, command_id=CommandId.data_sm_resp):
    """Answers data_sm."""

    octets: ClassVar[Callable[[int, bytes], bytes]]  #: from sequence_number and message_id, no object between


# Operations on messages: SMPP 3.4 sections 4.8 to 4.10, 4.12 ----------------------------------------------------


class QuerySm(Pdu, command_id=CommandId.query_sm):
    """Asks for the state of a message."""

    message_id: _MessageId = b""
    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _SourceAddr = b""


class QuerySmResp(MessageIdResp, command_id=CommandId.query_sm_resp):
    """Answers query_sm."""

    final_date: Annotated[bytes, COctetString(17, CommandStatus.ESME_RINVCMDLEN)] = b""
    message_state: _Octet = 0
    error_code: _Octet = 0


class CancelSm(Pdu, command_id=CommandId.cancel_sm):
    """Cancels one message by its id, or all of a service_type between two addresses."""

    service_type: _ServiceType = b""
    message_id: _MessageId = b""
    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _SourceAddr = b""
    dest_addr_ton: _Octet = 0
    dest_addr_npi: _Octet = 0
    destination_addr: _DestinationAddr = b""


class CancelSmResp(Pdu, command_id=CommandId.cancel_sm_resp):
    """Answers cancel_sm."""


class ReplaceSm(Pdu, command_id=CommandId.replace_sm):
    """Replaces text and times of a message that still waits."""

    message_id: _MessageId = b""
    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _SourceAddr = b""
    schedule_delivery_time: _ScheduleDeliveryTime = b""
    validity_period: _ValidityPeriod = b""
    registered_delivery: _Octet = 0
    sm_default_msg_id: _Octet = 0
    short_message: _ShortMessage = b""


class ReplaceSmResp(Pdu, command_id=CommandId.replace_sm_resp):
    """Answers replace_sm."""


class AlertNotification(Pdu, command_id=CommandId.alert_notification):
    """The message center tells an ESME that a subscriber is available. It has no response."""

    source_addr_ton: _Octet = 0
    source_addr_npi: _Octet = 0
    source_addr: _LongSourceAddr = b""
    esme_addr_ton: _Octet = 0
    esme_addr_npi: _Octet = 0
    esme_addr: _LongDestinationAddr = b""


# All of them ----------------------------------------------------------------------------------------------------


class UnknownPdu(Pdu):
    """A PDU of a command that stands in no table; its body is kept as it came."""

    unknown_command_id: int = 0
    body: bytes = b""

    def __init__(
        self, *, unknown_command_id: int, body: bytes, command_status: int, sequence_number: int
    ) -> None:
        self.unknown_command_id = unknown_command_id
        self.body = body
        self.command_status = command_status
        self.sequence_number = sequence_number
        self.tlvs = b""

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] -- the one class with many names
        return command_name(self.unknown_command_id)

    def encode(self) -> bytes:
        length = HEADER_OCTETS + len(self.body)
        try:
            header = HEADER.pack(length, self.unknown_command_id, self.command_status, self.sequence_number)
        except struct_error:
            raise EncodeError(self, "command_id", "or another number is not of four octets") from None
        return header + self.body


#: Every class that has a command_id.
PDU_CLASSES: dict[int, type[Pdu]] = {
    cls.command_id: cls
    for cls in (
        *(BindTransmitter, BindTransmitterResp, BindReceiver, BindReceiverResp),
        *(BindTransceiver, BindTransceiverResp, Outbind, Unbind, UnbindResp, GenericNack),
        *(EnquireLink, EnquireLinkResp, SubmitSm, SubmitSmResp, SubmitMulti, SubmitMultiResp),
        *(DataSm, DataSmResp, DeliverSm, DeliverSmResp, QuerySm, QuerySmResp, CancelSm, CancelSmResp),
        *(ReplaceSm, ReplaceSmResp, AlertNotification),
    )
}
#: The response class of each request that has one, by the request's command_id.
RESPONSE_OF: dict[int, type[Pdu]] = {
    command_id: PDU_CLASSES[command_id | RESPONSE_BIT]
    for command_id in PDU_CLASSES
    if not command_id & RESPONSE_BIT and command_id | RESPONSE_BIT in PDU_CLASSES
}
#: decode_body of each command: (data, start, end, command_status, sequence_number).
DECODERS: dict[int, Callable[[bytes, int, int, int, int], Pdu]] = {
    command_id: cls.decode_body for command_id, cls in PDU_CLASSES.items()
}


def decode(frame: bytes) -> Pdu:
    """One whole PDU. Raises BadHeader or MalformedPdu; an unknown command comes back as UnknownPdu."""
    if len(frame) < HEADER_OCTETS:
        raise BadHeader(f"{len(frame)} octets are less than a header")
    length, command_id, command_status, sequence_number = HEADER.unpack_from(frame)
    if length != len(frame):
        raise BadHeader(f"command_length {length} of a PDU of {len(frame)} octets")
    decoder = DECODERS.get(command_id)
    if decoder is None:
        body = frame[HEADER_OCTETS:]
        return UnknownPdu(
            unknown_command_id=command_id,
            body=body,
            command_status=command_status,
            sequence_number=sequence_number,
        )
    return decoder(frame, 0, length, command_status, sequence_number)


def response_to(request: Pdu, command_status: int = 0) -> Pdu:
    """An empty response of the class that answers this request, or generic_nack where there is none."""
    cls = RESPONSE_OF.get(request.command_id, GenericNack)
    return cls(command_status=command_status, sequence_number=request.sequence_number)
