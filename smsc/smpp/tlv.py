"""Optional parameters of SMPP: tag, length, value.

In charge of: the tags of SMPP 3.4 and 5.0 with the shape of their values; reading and editing the raw octets after a
PDU's mandatory fields, without losing order, duplicates, unknown tags or empty values.
Not in charge of: what a value means, nor which TLVs a PDU may carry: a peer's unknown or odd TLV is kept, not refused.
Source: SMPP 3.4 section 5.3.2; SMPP 5.0 section 4.8.

The TLVs of a PDU are one bytes slice, `pdu.tlvs`. The decoder has walked it once, so that every function below may
rely on lengths that add up; on octets from anywhere else, call `fault_in` first.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

#: Longest value that the two octets of the length field can say.
MAX_VALUE_OCTETS = 0xFFFF


class Tag(IntEnum):
    """Tags by the specification's names. Where 3.4 and 5.0 differ only in spelling, both stand here."""

    dest_addr_subunit = 0x0005
    dest_network_type = 0x0006
    dest_bearer_type = 0x0007
    dest_telematics_id = 0x0008
    source_addr_subunit = 0x000D
    source_network_type = 0x000E
    source_bearer_type = 0x000F
    source_telematics_id = 0x0010
    qos_time_to_live = 0x0017  #: seconds
    payload_type = 0x0019
    additional_status_info_text = 0x001D
    receipted_message_id = 0x001E
    ms_msg_wait_facilities = 0x0030
    privacy_indicator = 0x0201
    source_subaddress = 0x0202
    dest_subaddress = 0x0203
    user_message_reference = 0x0204
    user_response_code = 0x0205
    source_port = 0x020A
    destination_port = 0x020B
    dest_port = 0x020B
    sar_msg_ref_num = 0x020C
    language_indicator = 0x020D
    sar_total_segments = 0x020E
    sar_segment_seqnum = 0x020F
    sc_interface_version = 0x0210
    callback_num_pres_ind = 0x0302
    callback_num_atag = 0x0303
    number_of_messages = 0x0304
    callback_num = 0x0381
    dpf_result = 0x0420
    set_dpf = 0x0421
    ms_availability_status = 0x0422
    network_error_code = 0x0423  #: one octet of network type, two of error
    message_payload = 0x0424
    delivery_failure_reason = 0x0425
    more_messages_to_send = 0x0426
    message_state = 0x0427
    congestion_state = 0x0428  #: 5.0; 0 to 99 per cent, and 100 for overloaded
    ussd_service_op = 0x0501
    broadcast_channel_indicator = 0x0600
    broadcast_content_type = 0x0601
    broadcast_content_type_info = 0x0602
    broadcast_message_class = 0x0603
    broadcast_rep_num = 0x0604
    broadcast_frequency_interval = 0x0605
    broadcast_area_identifier = 0x0606
    failed_broadcast_area_identifier = 0x0606
    broadcast_error_status = 0x0607
    broadcast_area_success = 0x0608  #: per cent, 255 for unknown
    broadcast_end_time = 0x0609
    broadcast_service_group = 0x060A
    billing_identification = 0x060B
    source_network_id = 0x060D
    dest_network_id = 0x060E
    source_node_id = 0x060F
    dest_node_id = 0x0610
    dest_addr_np_resolution = 0x0611
    dest_addr_np_information = 0x0612
    dest_addr_np_country = 0x0613
    display_time = 0x1201
    sms_signal = 0x1203
    ms_validity = 0x1204
    alert_on_message_delivery = 0x130C
    alert_on_msg_delivery = 0x130C
    its_reply_type = 0x1380
    its_session_info = 0x1383


@dataclass(frozen=True, slots=True)
class Shape:
    """How the specification lays out the value of a tag."""

    kind: Literal["integer", "c_octet_string", "octet_string"]
    least: int  #: fewest octets of value; a C-octet string counts its terminator
    most: int  #: most octets of value


def _shapes() -> dict[int, Shape]:
    shapes: dict[int, Shape] = {}
    one = "dest_addr_subunit dest_network_type dest_bearer_type source_addr_subunit source_network_type \
        source_bearer_type source_telematics_id payload_type ms_msg_wait_facilities privacy_indicator \
        user_response_code language_indicator sar_total_segments sar_segment_seqnum sc_interface_version \
        callback_num_pres_ind number_of_messages dpf_result set_dpf ms_availability_status \
        delivery_failure_reason more_messages_to_send message_state congestion_state broadcast_message_class \
        broadcast_area_success dest_addr_np_resolution display_time its_reply_type"
    two = "dest_telematics_id user_message_reference source_port destination_port sar_msg_ref_num \
        broadcast_rep_num sms_signal"
    four = "qos_time_to_live broadcast_error_status"
    for octets, names in ((1, one), (2, two), (4, four)):
        for name in names.split():
            shapes[Tag[name]] = Shape("integer", octets, octets)
    # 3.4 has ms_validity of one octet and 5.0 of one or four; alert_on_message_delivery may be empty.
    shapes[Tag.ms_validity] = Shape("integer", 1, 4)
    shapes[Tag.alert_on_message_delivery] = Shape("integer", 0, 1)
    for tag, most in (
        (Tag.additional_status_info_text, 256),
        (Tag.receipted_message_id, 65),
        (Tag.source_network_id, 66),
        (Tag.dest_network_id, 66),
    ):
        shapes[tag] = Shape("c_octet_string", 1, most)
    for tag, least, most in (
        (Tag.source_subaddress, 2, 23),
        (Tag.dest_subaddress, 2, 23),
        (Tag.callback_num_atag, 0, 65),
        (Tag.callback_num, 4, 19),
        (Tag.network_error_code, 3, 3),
        (Tag.message_payload, 0, MAX_VALUE_OCTETS),
        (Tag.ussd_service_op, 1, 1),
        (Tag.broadcast_channel_indicator, 1, 1),
        (Tag.broadcast_content_type, 3, 3),
        (Tag.broadcast_content_type_info, 1, 255),
        (Tag.broadcast_frequency_interval, 3, 3),
        (Tag.broadcast_area_identifier, 1, 101),
        (Tag.broadcast_end_time, 16, 17),
        (Tag.broadcast_service_group, 1, 255),
        (Tag.billing_identification, 1, 1024),
        (Tag.source_node_id, 6, 6),
        (Tag.dest_node_id, 6, 6),
        (Tag.dest_addr_np_information, 10, 10),
        (Tag.dest_addr_np_country, 1, 5),
        (Tag.its_session_info, 2, 2),
    ):
        shapes[tag] = Shape("octet_string", least, most)
    return shapes


#: The specification's shape of each known tag. Nothing is refused for not having it: some peers differ.
SHAPES: dict[int, Shape] = _shapes()
_NAMES: dict[int, str] = {tag.value: tag.name for tag in Tag}


def tag_name(tag: int) -> str:
    """The specification's name, or the number in hexadecimal for a tag that has none."""
    return _NAMES.get(tag) or f"0x{tag:04X}"


def fault_in(raw: bytes) -> Literal["stream", "length"] | None:
    """What keeps octets from being TLVs: a tag or length cut short ("stream"), or a value ("length")."""
    here, end = 0, len(raw)
    while here < end:
        if end - here < 4:
            return "stream"
        here += 4 + (raw[here + 2] << 8 | raw[here + 3])
    return None if here == end else "length"


def parse(raw: bytes) -> list[tuple[int, bytes]]:
    """All (tag, value) in their order, duplicates included."""
    found: list[tuple[int, bytes]] = []
    here, end = 0, len(raw) - 3
    while here < end:
        start = here + 4
        after = start + (raw[here + 2] << 8 | raw[here + 3])
        found.append((raw[here] << 8 | raw[here + 1], raw[start:after]))
        here = after
    return found


def build(pairs: list[tuple[int, bytes]]) -> bytes:
    """The octets of these (tag, value) in this order: what `parse` undoes."""
    return b"".join([one(tag, value) for tag, value in pairs])


def one(tag: int, value: bytes | int) -> bytes:
    """The octets of a single TLV. An int takes as many octets as the specification gives that tag."""
    if isinstance(value, int):
        value = _octets_of(tag, value)
    if len(value) > MAX_VALUE_OCTETS:
        raise ValueError(f"TLV {tag_name(tag)}: {len(value)} octets do not fit a length of two octets")
    if not 0 <= tag <= 0xFFFF:
        raise ValueError(f"TLV tag {tag} does not fit two octets")
    return b"%c%c%c%c%b" % (tag >> 8, tag & 0xFF, len(value) >> 8, len(value) & 0xFF, value)


def _octets_of(tag: int, value: int) -> bytes:
    shape = SHAPES.get(tag)
    if shape is None or shape.kind != "integer":
        raise ValueError(f"TLV {tag_name(tag)} is not an integer of a known size: give its octets")
    octets = max(shape.least, 1)
    if value >= 1 << 8 * octets:
        octets = shape.most
    try:
        return value.to_bytes(octets, "big")
    except OverflowError:
        raise ValueError(f"TLV {tag_name(tag)}: {value} does not fit {octets} octets") from None


def get(raw: bytes, tag: int) -> bytes | None:
    """The value of the first TLV with this tag, or None. An empty value is b"", not None."""
    here, end = 0, len(raw) - 3
    high, low = tag >> 8, tag & 0xFF
    while here < end:
        start = here + 4
        after = start + (raw[here + 2] << 8 | raw[here + 3])
        if raw[here + 1] == low and raw[here] == high:
            return raw[start:after]
        here = after
    return None


def get_int(raw: bytes, tag: int) -> int | None:
    """The value of the first such TLV read as an unsigned int; None if absent, empty or over eight octets.

    The length is the peer's: user_message_reference in one octet is a frequent habit and reads as meant.
    """
    value = get(raw, tag)
    if not value or len(value) > 8:
        return None
    return int.from_bytes(value, "big")


def get_c_octet_string(raw: bytes, tag: int) -> bytes | None:
    """The first such value up to its terminator; the terminator, which some peers leave out, may be missing."""
    value = get(raw, tag)
    return None if value is None else value.partition(b"\0")[0]


def add(raw: bytes, tag: int, value: bytes | int) -> bytes:
    """The TLVs with one more at the end."""
    return raw + one(tag, value)


def strip(raw: bytes, *tags: int) -> bytes:
    """The TLVs without any that bears one of these tags; the rest stays as it was, octet by octet."""
    kept: list[bytes] = []
    here, end = 0, len(raw) - 3
    while here < end:
        after = here + 4 + (raw[here + 2] << 8 | raw[here + 3])
        if (raw[here] << 8 | raw[here + 1]) not in tags:
            kept.append(raw[here:after])
        here = after
    return b"".join(kept)


def fits_shape(tag: int, value: bytes) -> bool:
    """Whether the value has the length that the specification gives a known tag; True for unknown tags."""
    shape = SHAPES.get(tag)
    return shape is None or shape.least <= len(value) <= shape.most
