"""From an annotated class to a PDU: slots, constructor, decoder and encoder.

In charge of: the `Pdu` class and its metaclass, which has the code of each PDU generated (fields.py); naming the field
and the command_status of what is malformed; refusing to encode what is not SMPP.
Not in charge of: which PDUs there are and their fields (pdu.py), framing and states (session.py), TLV values (tlv.py).
Source: SMPP 3.4 section 3.2; SMPP 5.0 section 3.2.
"""

import linecache
from collections.abc import Callable
from operator import attrgetter
from struct import Struct
from struct import error as struct_error
from typing import Any, ClassVar, Self, dataclass_transform, get_type_hints

from .command_id import command_name
from .command_status import CommandStatus, status_name
from .fields import (
    HEADER_OCTETS,
    BadField,
    FieldKind,
    constructor_source,
    decoder_source,
    encoder_source,
    octets_source,
)
from .tlv import add, fault_in, get, get_int, parse, strip, tag_name

#: command_length, command_id, command_status, sequence_number.
HEADER = Struct(">IIII")
_REFUSED = (TypeError, ValueError, OverflowError, AttributeError, LookupError, struct_error)
#: Fields whose octets never appear in a repr, and so in no log or trace.
_SECRET = frozenset({"password"})


class MalformedPdu(ValueError):
    """A PDU with a sound header and a bad field. Carries what is needed to answer it."""

    def __init__(self, pdu: "Pdu", field: str, command_status: CommandStatus, reason: str) -> None:
        super().__init__(f"{pdu.name}: {field} {reason}")
        self.pdu = pdu  #: fields before the bad one as received, the others at their defaults
        self.field = field  #: the specification's name, or "tlvs"
        self.command_status = command_status  #: what the response to it should say
        self.reason = reason


class BadHeader(ValueError):
    """Octets that are not one whole PDU: shorter than a header, or command_length says otherwise."""


class EncodeError(ValueError):
    """A PDU of our own that would not be SMPP. Names the field."""

    def __init__(self, pdu: "Pdu", field: str, reason: str) -> None:
        super().__init__(f"{pdu.name}: {field} {reason}")
        self.field = field


@dataclass_transform(kw_only_default=True, eq_default=True)
class _PduType(type):
    """Makes a class from its annotations: those that carry a FieldKind are the wire, in order."""

    def __new__(
        mcs,
        class_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        command_id: int | None = None,
    ) -> "_PduType":
        declared = [
            name
            for name in namespace.get("__annotations__", {})
            if not name.startswith("_") and name in namespace
        ]
        defaults: dict[str, object] = {}
        for base in bases:
            defaults.update(getattr(base, "defaults", {}))
        defaults.update({name: namespace.pop(name) for name in declared})
        namespace["__slots__"] = tuple(declared)
        cls = super().__new__(mcs, class_name, bases, namespace)
        cls.defaults = defaults
        if command_id is not None:
            _generate(cls, command_id)
        return cls

    defaults: dict[str, object]


class Pdu(metaclass=_PduType):
    """What all PDUs have. Use the classes below; this one has no command_id and cannot be sent."""

    command_id: ClassVar[int]
    name: ClassVar[str]  #: the specification's name, as submit_sm
    table: ClassVar[dict[str, FieldKind]]  #: mandatory fields in the order of the wire
    source: ClassVar[str]  #: the generated constructor, decoder and encoder
    #: (data, start, end, command_status, sequence_number): decodes data[start:end], a PDU with a sound header
    decode_body: ClassVar[Callable[[bytes, int, int, int, int], "Pdu"]]

    command_status: int = 0
    sequence_number: int = 0
    tlvs: bytes = b""  #: all TLVs as received, for tlv.py

    def encode(self) -> bytes:
        """The octets, command_length first. Raises EncodeError."""
        raise EncodeError(self, "command_id", "is not known")

    def get_tlv(self, tag: int) -> bytes | None:
        """The value of the first TLV with this tag, or None."""
        return get(self.tlvs, tag) if self.tlvs else None

    def get_tlv_int(self, tag: int) -> int | None:
        """The same as an unsigned int; None also for an empty value."""
        return get_int(self.tlvs, tag) if self.tlvs else None

    def add_tlv(self, tag: int, value: bytes | int) -> Self:
        """Appends a TLV; an int takes the octets that the specification gives this tag."""
        self.tlvs = add(self.tlvs, tag, value)
        return self

    def strip_tlv(self, *tags: int) -> Self:
        """Removes every TLV with one of these tags."""
        self.tlvs = strip(self.tlvs, *tags)
        return self

    def tlv_list(self) -> list[tuple[int, bytes]]:
        """All TLVs in their order, duplicates and unknown tags included."""
        return parse(self.tlvs)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        values = attrgetter(*type(self).defaults)
        return values(self) == values(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType] -- PDUs can be changed

    def __repr__(self) -> str:
        shown = [f"sequence_number={self.sequence_number}"]
        if self.command_status:
            shown.append(f"command_status={status_name(self.command_status)}")
        for field, default in type(self).defaults.items():
            value: object = getattr(self, field)
            if value != default and field not in ("sequence_number", "command_status", "tlvs"):
                shown.append(f"{field}={'***' if field in _SECRET else repr(value)}")
        if self.tlvs:
            shown.append(
                f"tlvs=[{', '.join(f'{tag_name(tag)}={value!r}' for tag, value in parse(self.tlvs))}]"
            )
        return f"{self.name}({', '.join(shown)})"


def _generate(cls: Any, command_id: int) -> None:
    """Gives a class its table and the code made from it."""
    hints = get_type_hints(cls, include_extras=True)
    table: dict[str, FieldKind] = {
        name: kind for name, hint in hints.items() for kind in getattr(hint, "__metadata__", ())
    }
    table = {name: table[name] for name in cls.defaults if name in table}
    names: dict[str, Any] = {
        "cls": cls,
        "new": object.__new__,
        "slowly": decode_slowly,
        "BadField": BadField,
        "command_id": int(command_id),
        "pack": HEADER.pack,
        "fault_in": fault_in,
        "unsendable": _unsendable,
        "refused": _REFUSED,
    }
    decoder, decoder_names = decoder_source(table, cls.defaults)
    encoder, encoder_names = encoder_source(table, cls.defaults)
    names |= decoder_names | encoder_names
    sources = [constructor_source(cls.defaults), decoder, encoder]
    octets = octets_source(table)
    if octets is not None:
        sources.append(octets[0])
        names |= octets[1]
    cls.command_id = int(command_id)
    cls.name = command_name(command_id)
    cls.table = table
    cls.source = "\n\n".join(sources)
    filename = f"<generated {cls.name}>"
    # The text is ours, made from the tables in this file alone; linecache lets tracebacks show its lines.
    exec(compile(cls.source, filename, "exec"), names)  # noqa: S102
    linecache.cache[filename] = (len(cls.source), None, cls.source.splitlines(keepends=True), filename)
    cls.__init__ = names["__init__"]
    cls.decode_body = staticmethod(names["decode_body"])
    cls.encode = names["encode"]
    if octets is not None:
        cls.octets = staticmethod(names["octets"])


def decode_slowly(
    cls: Any, data: bytes, start: int, end: int, command_status: int, sequence_number: int
) -> "Pdu":
    """Field by field: the PDU, or MalformedPdu with the first field that is wrong."""
    pdu: Pdu = cls(command_status=command_status, sequence_number=sequence_number)
    here = start + HEADER_OCTETS
    table: dict[str, FieldKind] = cls.table
    for name, kind in table.items():
        try:
            value, here = kind.read(data, here, end)
        except BadField as error:
            raise MalformedPdu(pdu, name, error.command_status, error.reason) from None
        setattr(pdu, name, value)
    tlvs = data[here:end]
    match fault_in(tlvs):
        case "stream":
            raise MalformedPdu(pdu, "tlvs", CommandStatus.ESME_RINVTLVSTREAM, "end within a tag or length")
        case "length":
            raise MalformedPdu(pdu, "tlvs", CommandStatus.ESME_RINVTLVLEN, "have a value beyond the PDU")
        case None:
            pdu.tlvs = tlvs
    return pdu


def _unsendable(pdu: Any) -> EncodeError:
    """The complaint about the first field of a PDU that could not be encoded."""
    for name in ("command_status", "sequence_number"):
        value: object = getattr(pdu, name)
        if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
            return EncodeError(pdu, name, f"{value!r} is not an integer of four octets")
    table: dict[str, FieldKind] = pdu.table
    for name, kind in table.items():
        reason = kind.complaint(getattr(pdu, name))
        if reason is not None:
            return EncodeError(pdu, name, reason)
    if not isinstance(pdu.tlvs, bytes):
        return EncodeError(pdu, "tlvs", f"is {type(pdu.tlvs).__name__}, not bytes")
    if pdu.tlvs and not getattr(pdu, "has_body", True):
        return EncodeError(pdu, "tlvs", "cannot follow a body that is absent")
    return EncodeError(pdu, "tlvs", "are not tags, lengths and values that add up")
