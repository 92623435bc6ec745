"""How the fields of a PDU look on the wire, and the code that is generated from a table of them.

In charge of: the kinds of mandatory field; reading them one by one with a reason for each refusal (the slow ladder);
the source text of each PDU's constructor, decoder and encoder.
Not in charge of: which PDU has which fields (pdu.py), what a value means, optional parameters (tlv.py).
Source: SMPP 3.4 sections 3.1 and 4; SMPP 5.0 sections 3.1 and 4.

Why generated. A run of fields without a length in front of it is one regular expression: possessive
quantifiers, so that matching never backtracks, and a bound on every repeat, so that a maximum size is part of the
match. Neighbouring octets are one group and are taken apart by unpacking, the cheapest way from bytes to ints.
What has a length or a count in front (short_message, dest_address) ends a run and is read by plain code. An encoder
is one `%`-format, whose %c already refuses what is not an octet. Whatever the fast code does not like goes to the
slow ladder, which finds the first bad field and its command_status or, having the last word, returns the PDU.
Tests hold the two together.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Protocol

from .command_status import CommandStatus

#: Every PDU starts with command_length, command_id, command_status, sequence_number of four octets each.
HEADER_OCTETS = 16


class BadField(ValueError):
    """A field that cannot be read; says which status answers it."""

    def __init__(self, command_status: CommandStatus, reason: str) -> None:
        super().__init__(reason)
        self.command_status = command_status
        self.reason = reason


class FieldKind(Protocol):
    """What the slow ladder and the encoder's complaints need of every kind of field."""

    def read(self, data: bytes, here: int, end: int) -> tuple[Any, int]:
        """The value at `here` and where the next field starts; raises BadField."""
        ...

    def complaint(self, value: Any) -> str | None:
        """Why the value cannot be sent, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Octet:
    """An integer of one octet, the only size that mandatory fields outside of lists have."""

    def read(self, data: bytes, here: int, end: int) -> tuple[int, int]:
        if here >= end:
            raise BadField(CommandStatus.ESME_RINVCMDLEN, "the PDU ends before it")
        return data[here], here + 1

    def complaint(self, value: Any) -> str | None:
        if isinstance(value, int) and 0 <= value <= 0xFF:
            return None
        return f"{value!r} is not an integer of one octet"


@dataclass(frozen=True, slots=True)
class COctetString:
    """Octets up to a terminating NUL, which is not part of the value."""

    max_octets: int  #: with the terminator, as the specification counts
    command_status: CommandStatus  #: answers one that is too long or does not end

    def read(self, data: bytes, here: int, end: int) -> tuple[bytes, int]:
        terminator = data.find(b"\0", here, min(end, here + self.max_octets))
        if terminator < 0:
            why = (
                "is not terminated"
                if end - here < self.max_octets
                else f"is over {self.max_octets - 1} octets"
            )
            raise BadField(self.command_status, why)
        return data[here:terminator], terminator + 1

    def complaint(self, value: Any) -> str | None:
        if not isinstance(value, bytes):
            return f"is {type(value).__name__}, not bytes"
        if len(value) >= self.max_octets:
            return f"has {len(value)} octets, at most {self.max_octets - 1} fit"
        return "has a NUL inside" if 0 in value else None


@dataclass(frozen=True, slots=True)
class OctetString:
    """Octets with their number in one octet before them. The number is not a field of its own: it is len()."""

    length_name: str  #: what the specification calls the number
    command_status: CommandStatus  #: answers one that ends beyond the PDU

    def read(self, data: bytes, here: int, end: int) -> tuple[bytes, int]:
        if here >= end:
            raise BadField(CommandStatus.ESME_RINVCMDLEN, f"the PDU ends before {self.length_name}")
        after = here + 1 + data[here]
        if after > end:
            raise BadField(self.command_status, f"{self.length_name} {data[here]} reaches beyond the PDU")
        return data[here + 1 : after], after

    def complaint(self, value: Any) -> str | None:
        if not isinstance(value, bytes):
            return f"is {type(value).__name__}, not bytes"
        return f"has {len(value)} octets, at most 255 fit" if len(value) > 0xFF else None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A tuple of entries with their number in one octet before them; the number is len(), no field of its own."""

    count_name: str  #: what the specification calls the number
    read_entry: Callable[[bytes, int, int], tuple[Any, int]]  #: as FieldKind.read
    write_entry: Callable[[Any], bytes]  #: raises ValueError, TypeError, OverflowError or AttributeError
    command_status: CommandStatus  #: answers a number that the entries do not bear out
    at_least: int = 0

    def read(self, data: bytes, here: int, end: int) -> tuple[tuple[Any, ...], int]:
        if here >= end:
            raise BadField(CommandStatus.ESME_RINVCMDLEN, f"the PDU ends before {self.count_name}")
        return self.read_entries(data, here + 1, end, data[here])

    def read_entries(self, data: bytes, here: int, end: int, count: int) -> tuple[tuple[Any, ...], int]:
        if count < self.at_least:
            raise BadField(self.command_status, f"{self.count_name} is {count}")
        entries: list[Any] = []
        for _ in range(count):
            if here >= end:
                raise BadField(self.command_status, f"{self.count_name} {count}, entries {len(entries)}")
            entry, here = self.read_entry(data, here, end)
            entries.append(entry)
        return tuple(entries), here

    def write_entries(self, entries: tuple[Any, ...]) -> bytes:
        if not self.at_least <= len(entries) <= 0xFF:
            raise ValueError(f"{self.count_name} cannot be {len(entries)}")
        return b"".join([self.write_entry(entry) for entry in entries])

    def complaint(self, value: Any) -> str | None:
        try:
            self.write_entries(value)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            return str(error)
        return None


#: The fields of a PDU in the order of the wire.
Table = dict[str, FieldKind]


class _Decoder:
    """Writes the decoder of one table, run by run."""

    def __init__(self, table: Table, defaults: dict[str, object]) -> None:
        self.names: dict[str, object] = {}
        self._defaults = defaults
        self._table = table
        self._lines: list[str] = []
        self._pattern = ""
        self._groups: list[str] = []
        self._unpack: list[str] = []
        self._octets: list[str] = []
        self._runs = 0

    def source(self) -> str:
        self._lines = [
            "def decode_body(data, start, end, command_status, sequence_number):",
            "    pdu = new(cls)",
            "    pdu.command_status = command_status",
            "    pdu.sequence_number = sequence_number",
        ]
        if "has_body" in self._defaults:
            self._absent_body()
        self._lines.append("    here = start + 16")
        for name, kind in self._table.items():
            match kind:
                case Octet():
                    self._octets.append(f"pdu.{name}")
                case COctetString():
                    self._close_octets()
                    self._groups.append(f"pdu.{name}")
                    self._pattern += rf"([^\0]{{0,{kind.max_octets - 1}}}+)\0"
                case OctetString():
                    self._octets.append(kind.length_name)
                    self._close_run()
                    self._octet_string(name, kind)
                case _:
                    assert isinstance(kind, Repeated)
                    self._octets.append(kind.count_name)
                    self._close_run()
                    self._repeated(name, kind)
        self._close_run()
        self._tlvs()
        return "\n".join(self._lines) + "\n"

    def _slowly(self) -> str:
        return "return slowly(cls, data, start, end, command_status, sequence_number)"

    def _absent_body(self) -> None:
        self._lines.append("    if end - start == 16:")
        self._lines.append("        pdu.has_body = False")
        self._lines += [f"        pdu.{name} = {self._defaults[name]!r}" for name in (*self._table, "tlvs")]
        self._lines.append("        return pdu")
        self._lines.append("    pdu.has_body = True")

    def _close_octets(self) -> None:
        if self._octets:
            count = len(self._octets)
            group = f"octets_{len(self._groups)}"
            self._groups.append(group)
            self._pattern += f"(.{{{count}}})" if count > 1 else "(.)"
            self._unpack.append(f"    {', '.join(self._octets)}{',' if count == 1 else ''} = {group}")
            self._octets = []

    def _close_run(self) -> None:
        self._close_octets()
        if not self._groups:
            return
        match = f"match_{self._runs}"
        self._runs += 1
        self.names[match] = re.compile(self._pattern.encode(), re.DOTALL).match
        self._lines += [
            f"    # {match}: {self._pattern}",
            f"    found = {match}(data, here, end)",
            "    if found is None:",
            f"        {self._slowly()}",
            f"    {', '.join(self._groups)}{',' if len(self._groups) == 1 else ''} = found.groups()",
            *self._unpack,
            "    here = found.end()",
        ]
        self._pattern, self._groups, self._unpack = "", [], []

    def _octet_string(self, name: str, kind: OctetString) -> None:
        self._lines += [
            f"    after = here + {kind.length_name}",
            "    if after > end:",
            f"        {self._slowly()}",
            f"    pdu.{name} = data[here:after]",
            "    here = after",
        ]

    def _repeated(self, name: str, kind: Repeated) -> None:
        self.names[f"read_{name}"] = kind.read_entries
        self._lines += [
            "    try:",
            f"        pdu.{name}, here = read_{name}(data, here, end, {kind.count_name})",
            "    except BadField:",
            f"        {self._slowly()}",
        ]

    def _tlvs(self) -> None:
        self._lines += [
            "    if here == end:",
            '        pdu.tlvs = b""',
            "        return pdu",
            "    pdu.tlvs = data[here:end]",
            "    last = end - 3",
            "    while here < last:",
            "        here += 4 + (data[here + 2] << 8 | data[here + 3])",
            "    if here != end:",
            f"        {self._slowly()}",
            "    return pdu",
        ]


def decoder_source(table: Table, defaults: dict[str, object]) -> tuple[str, dict[str, object]]:
    """Source of `decode_body` and the names it needs beside cls, new, slowly and BadField."""
    decoder = _Decoder(table, defaults)
    return decoder.source(), decoder.names


def encoder_source(table: Table, defaults: dict[str, object]) -> tuple[str, dict[str, object]]:
    """Source of `encode` and the names it needs beside command_id, pack, fault_in, unsendable and refused."""
    names: dict[str, object] = {}
    lines = ["def encode(self):", "    try:"]
    if "has_body" in defaults:
        lines += [
            "        if not self.has_body:",
            "            if self.tlvs:",
            "                raise unsendable(self)",
            "            return pack(16, command_id, self.command_status, self.sequence_number)",
        ]
    body: list[str] = []
    values: list[str] = []
    checks: list[str] = []
    for name, kind in table.items():
        if isinstance(kind, Octet):
            body.append("%c")
            values.append(f"self.{name}")
            continue
        lines.append(f"        {name} = self.{name}")
        match kind:
            case COctetString():
                body.append(r"%b\0")
                values.append(name)
                checks.append(f"{name} and (len({name}) >= {kind.max_octets} or 0 in {name})")
            case Repeated():
                names[f"write_{name}"] = kind.write_entries
                body.append("%c%b")
                values += [f"len({name})", f"write_{name}({name})"]
            case _:
                body.append("%c%b")
                values += [f"len({name})", name]
    lines.append("        tlvs = self.tlvs")
    for check in (*checks, "tlvs and fault_in(tlvs)"):
        lines += [f"        if {check}:", "            raise unsendable(self)"]
    if values:
        lines.append(f'        body = b"{"".join(body)}" % (')
        lines += [f"            {value}," for value in values]
        lines += ["        )", "        if tlvs:", "            body += tlvs"]
    else:
        lines.append("        body = tlvs")
    lines += [
        "        return pack(16 + len(body), command_id, self.command_status, self.sequence_number) + body",
        "    except refused:",
        "        raise unsendable(self) from None",
    ]
    return "\n".join(lines) + "\n", names


def octets_source(table: Table) -> tuple[str, dict[str, object]] | None:
    """For a PDU of one C-octet string: source of `octets`, from values to octets without an object between.

    submit_sm_resp is half of what a message center writes. Its layout depends on one length only, so there is a
    struct ready for each.
    """
    if len(table) != 1:
        return None
    ((name, kind),) = table.items()
    if not isinstance(kind, COctetString):
        return None
    packs = [Struct(f">IIII{length}sx").pack for length in range(kind.max_octets)]
    lines = [
        f"def octets(sequence_number, {name}):",
        "    try:",
        f"        if 0 not in {name}:",
        f"            length = len({name})",
        f"            return packs[length](17 + length, command_id, 0, sequence_number, {name})",
        "    except refused:",
        "        pass",
        f"    raise unsendable(cls(sequence_number=sequence_number, {name}={name}))",
    ]
    return "\n".join(lines) + "\n", {"packs": packs}


def constructor_source(defaults: dict[str, object]) -> str:
    """Source of `__init__` with keyword arguments only. Every default is a literal."""
    lines = ["def __init__(", "    self,", "    *,"]
    lines += [f"    {name}={value!r}," for name, value in defaults.items()]
    lines.append("):")
    lines += [f"    self.{name} = {name}" for name in defaults]
    return "\n".join(lines) + "\n"
