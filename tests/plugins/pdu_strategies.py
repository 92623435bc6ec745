"""Random PDUs for property tests.

In charge of: a hypothesis strategy for any PDU, read from the field tables. Not in charge of: what tests make of them.
"""

from typing import Any

from hypothesis import strategies as st

from restante.smsc.smpp import tlv
from restante.smsc.smpp.fields import COctetString, FieldKind, Octet, OctetString
from restante.smsc.smpp.pdu import PDU_CLASSES, DistributionList, Pdu, SmeAddress, UnsuccessSme

_OCTET = st.integers(0, 255)
_UINT32 = st.integers(0, 0xFFFFFFFF)


def _c_octets(max_octets: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=max_octets - 1).map(lambda value: value.replace(b"\0", b"1"))


_ADDRESS = _c_octets(21)
_ENTRIES = {
    "dest_address": st.lists(
        st.builds(SmeAddress, _OCTET, _OCTET, _ADDRESS) | st.builds(DistributionList, _ADDRESS),
        min_size=1,
        max_size=5,
    ).map(tuple),
    "unsuccess_sme": st.lists(st.builds(UnsuccessSme, _OCTET, _OCTET, _ADDRESS, _UINT32), max_size=5).map(
        tuple
    ),
}

#: TLVs with known, unknown and repeated tags, empty values too.
TLVS = st.lists(
    st.tuples(
        st.sampled_from([int(tag) for tag in tlv.Tag]) | st.integers(0, 0xFFFF), st.binary(max_size=40)
    ),
    max_size=4,
).map(tlv.build)


def _field(name: str, kind: FieldKind) -> st.SearchStrategy[object]:
    match kind:
        case Octet():
            return _OCTET
        case COctetString():
            return _c_octets(kind.max_octets)
        case OctetString():
            return st.binary(max_size=255)
        case _:
            return _ENTRIES[name]


@st.composite
def pdus(draw: st.DrawFn, classes: list[type[Pdu]] | None = None) -> Pdu:
    """Any PDU of these classes (of all, if none are given)."""
    cls = draw(st.sampled_from(classes or list(PDU_CLASSES.values())))
    header: dict[str, Any] = {"command_status": draw(_UINT32), "sequence_number": draw(_UINT32)}
    if "has_body" in cls.defaults and draw(st.integers(0, 3)) == 0:
        return cls(has_body=False, **header)  # pyright: ignore[reportCallIssue]
    fields: dict[str, Any] = {name: draw(_field(name, kind)) for name, kind in cls.table.items()}
    return cls(**header, **fields, tlvs=draw(TLVS))
