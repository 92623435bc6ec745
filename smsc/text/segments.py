"""Messages longer than one short message: cutting them up, counting the pieces, and joining what arrives.

In charge of: how much fits into one user data, where a text may be cut, headers of the parts, and joining
parts for display and policy. Not in charge of: reference numbers (passed in), which parts belong together and
how long they are waited for (the caller groups by ingress, source, destination, reference and total), or
choosing a coding.

A text is never cut between an escape and its septet, nor between two surrogates. Others do cut there, so
joining puts the octets together before it decodes them.

Source: 3GPP TS 23.040 §9.2.3.24.1 and .8 (concatenation), §9.2.3.16 (140 octets of user data); SMPP 3.4
§5.3.2.22 to .24 (sar_*).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from . import gsm7, udh
from .codings import Coding, DecodedText, DefaultAlphabet, EncodedText, codec_name, decode_octets, encode
from .udh import ConcatRef, InformationElement

__all__ = [
    "HANDSET",
    "MAX_PARTS",
    "ConcatRef",
    "Estimate",
    "Joined",
    "Part",
    "Segment",
    "Unit",
    "count",
    "cut",
    "estimate",
    "join",
    "sar_concat",
    "sar_values",
    "split",
]

MAX_PARTS = 255  #: total is one octet in headers and in sar_total_segments


class Unit(NamedTuple):
    """The largest user data that an outlet takes in one message, its header counted."""

    octets: int = 140
    septets_packed: bool = (
        True  #: whether eight septets take seven octets of it (air interface) or eight (an ESME)
    )

    def capacity(self, coding: Coding, header: int = 0) -> int:
        """Octets of this coding (for GSM7: unpacked septets) that fit behind a header of so many octets."""
        room = self.octets - header
        if coding is Coding.GSM7 and self.septets_packed:
            return room * 8 // 7
        if coding is Coding.UCS2:
            return room & ~1
        return room


#: One short message on the air: 160 septets, 70 UTF-16 units, 140 octets; with a header 153, 67, 134 (16-bit
#: reference: 152, 66, 133).
HANDSET = Unit()


class Segment(NamedTuple):
    """One piece of a message, ready to be sent."""

    header: bytes  #: with its UDHL; empty if the piece has no header
    payload: bytes  #: unpacked septets for GSM7
    ref: ConcatRef | None  #: None for a message in one piece

    @property
    def user_data(self) -> bytes:
        """What goes into short_message for a peer that takes septets unpacked."""
        return self.header + self.payload

    def packed(self) -> bytes:
        """The same with the payload, which must be septets, packed; for a peer that counts octets only."""
        return self.header + gsm7.pack(self.payload, gsm7.fill_bits(len(self.header)), pad_cr=True)


# ---------------------------------------------------------------------------------------------------- cutting


def _back_off(octets: bytes, start: int, end: int, coding: Coding, codec: str | None) -> int:
    """The last place at or before `end` where octets may be cut, given that a piece begins at `start`."""
    if coding is Coding.GSM7:
        escapes = 0
        while end - escapes > start and octets[end - escapes - 1] == gsm7.ESCAPE:
            escapes += 1
        return end - escapes % 2
    if coding is Coding.UCS2:
        high = end - start >= 2 and 0xD8 <= octets[end - 2] <= 0xDB
        return end - 2 if high and 0xDC <= octets[end] <= 0xDF else end
    if codec is not None:  # East Asian codings: a character has at most three octets
        for place in range(end, max(end - 3, start), -1):
            try:
                octets[start:place].decode(codec)
            except UnicodeDecodeError:
                continue
            return place
    return end


def cut(octets: bytes, coding: Coding, size: int) -> list[bytes]:
    """Octets of a coding in pieces of at most `size` (at least 4, so that any character fits)."""
    if size < 4:
        raise ValueError(f"no character is sure to fit into {size} octets")
    if coding is Coding.UCS2:
        size &= ~1
    multibyte = coding in (Coding.JIS, Coding.EXTENDED_JIS, Coding.KS_C_5601)
    codec = codec_name(coding, octets) if multibyte else None
    pieces: list[bytes] = []
    start = 0
    while len(octets) - start > size:
        end = _back_off(octets, start, start + size, coding, codec)
        if end <= start:  # nothing but what may not be cut: garbage, so cut it anyway
            end = start + size
        pieces.append(octets[start:end])
        start = end
    pieces.append(octets[start:])
    return pieces


def _pieces(
    octets: bytes, coding: Coding, unit: Unit, bits: int, elements: Sequence[InformationElement]
) -> list[bytes]:
    """The payloads of the parts, or all of it if one message is enough."""
    plain = len(udh.build(elements))
    if len(octets) <= unit.capacity(coding, plain):
        return [octets]
    return cut(octets, coding, unit.capacity(coding, (plain or 1) + (5 if bits == 8 else 6)))


def count(
    octets: bytes,
    coding: Coding,
    unit: Unit = HANDSET,
    bits: int = 8,
    elements: Sequence[InformationElement] = (),
) -> int:
    """How many messages `split` would make; more than `MAX_PARTS` cannot be sent."""
    return len(_pieces(octets, coding, unit, bits, elements))


def split(
    octets: bytes,
    coding: Coding,
    reference: int,
    unit: Unit = HANDSET,
    bits: int = 8,
    elements: Sequence[InformationElement] = (),
) -> list[Segment]:
    """A message in as many pieces as it needs; one piece gets no concatenation element.

    `octets` are unpacked septets for GSM7. `elements` (ports, national language) go into every header, after
    the concatenation; they must not hold one themselves. A reference wider than `bits` is cut to them.
    ValueError if more than `MAX_PARTS` pieces come out (ask `count` first) or the unit has no room for a
    character.
    """
    pieces = _pieces(octets, coding, unit, bits, elements)
    total = len(pieces)
    if total == 1:
        return [Segment(udh.build(elements), pieces[0], None)]
    if total > MAX_PARTS:
        raise ValueError(f"{total} parts; a message has at most {MAX_PARTS}")
    segments: list[Segment] = []
    for number, piece in enumerate(pieces, 1):
        ref = ConcatRef(reference & (1 << bits) - 1, total, number, bits)
        segments.append(Segment(udh.build((udh.concatenation_element(ref), *elements)), piece, ref))
    return segments


class Estimate(NamedTuple):
    """What sending a text would take."""

    encoded: EncodedText
    units: int  #: characters as the coding counts them: septets, UTF-16 units, octets
    parts: int
    per_part: int  #: units that each part holds at most
    remaining: int  #: units still free in the last part


def estimate(
    text: str,
    prefer: Sequence[Coding] = (Coding.DEFAULT, Coding.UCS2),
    default_alphabet: DefaultAlphabet = DefaultAlphabet.GSM7,
    unit: Unit = HANDSET,
    bits: int = 8,
) -> Estimate:
    """Count the messages that a text would become."""
    encoded = encode(text, prefer, default_alphabet)
    pieces = _pieces(encoded.octets, encoded.coding, unit, bits, ())
    header = 0 if len(pieces) == 1 else 6 if bits == 8 else 7
    capacity = unit.capacity(encoded.coding, header)
    width = 2 if encoded.coding is Coding.UCS2 else 1
    return Estimate(
        encoded,
        units=len(encoded.octets) // width,
        parts=len(pieces),
        per_part=capacity // width,
        remaining=(capacity - len(pieces[-1])) // width,
    )


# ----------------------------------------------------------------------------------------------- sar_* values


def sar_concat(
    msg_ref_num: bytes | None, total_segments: bytes | None, segment_seqnum: bytes | None
) -> ConcatRef | None:
    """The place of a part by the raw values of sar_msg_ref_num, sar_total_segments and sar_segment_seqnum.

    None if one is missing, empty or longer than two octets; indices may be impossible (`ConcatRef.possible`).
    """
    if not msg_ref_num or not total_segments or not segment_seqnum:
        return None
    if max(len(msg_ref_num), len(total_segments), len(segment_seqnum)) > 2:
        return None
    total = int.from_bytes(total_segments, "big")
    number = int.from_bytes(segment_seqnum, "big")
    return ConcatRef(int.from_bytes(msg_ref_num, "big"), total, number, 16)


def sar_values(ref: ConcatRef) -> tuple[bytes, bytes, bytes]:
    """The values of the three sar_* parameters in SMPP's order. OverflowError if one does not fit."""
    return ref.reference.to_bytes(2, "big"), ref.total.to_bytes(1, "big"), ref.number.to_bytes(1, "big")


# ---------------------------------------------------------------------------------------------------- joining


class Part(NamedTuple):
    """A received part and its place."""

    ref: ConcatRef
    content: DecodedText


class Joined(NamedTuple):
    """What a set of parts gives so far."""

    text: (
        str | None
    )  #: None if a part is no text, or if there is none; `gap` stands for each run of missing parts
    octets: bytes  #: the payloads in order, without headers
    total: int  #: 0 if no part was possible
    present: tuple[int, ...]  #: numbers, ascending
    missing: tuple[int, ...]  #: numbers, ascending
    duplicates: int  #: parts dropped because their number was there already; the first one counts
    ignored: int  #: parts dropped for impossible indices or for belonging to another message

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.total > 0 and not self.missing


def join(parts: Iterable[Part], gap: str = "…") -> Joined:
    """Join the parts of one message, in whatever order they came; never raises.

    The first part with possible indices says which message it is: parts with another reference or total are
    ignored.
    """
    wanted: ConcatRef | None = None
    found: dict[int, DecodedText] = {}
    duplicates = ignored = 0
    for ref, content in parts:
        other = wanted is not None and (ref.reference, ref.total) != (wanted.reference, wanted.total)
        if other or not ref.possible or ref.total > MAX_PARTS:
            ignored += 1
        elif ref.number in found:
            duplicates += 1
        else:
            wanted = wanted or ref
            found[ref.number] = content
    total = wanted.total if wanted else 0
    present = tuple(sorted(found))
    missing = tuple(number for number in range(1, total + 1) if number not in found)
    octets = b"".join(found[number].octets for number in present)
    return Joined(_text(found, total, gap), octets, total, present, missing, duplicates, ignored)


def _text(found: dict[int, DecodedText], total: int, gap: str) -> str | None:
    """The text of the parts: neighbours in the same alphabet are decoded together, which mends a cut pair."""
    if not found or any(content.text is None for content in found.values()):
        return None
    out: list[str] = []
    run: list[DecodedText] = []

    def flush() -> None:
        if len(run) == 1:
            out.append(run[0].text or "")
        elif run:
            first = run[0]
            national = gsm7.alphabet(first.header.locking_shift, first.header.single_shift)
            out.append(decode_octets(b"".join(part.octets for part in run), first.coding, national) or "")
        run.clear()

    in_gap = False
    for number in range(1, total + 1):
        content = found.get(number)
        if content is None:
            flush()
            if not in_gap:
                out.append(gap)
            in_gap = True
            continue
        in_gap = False
        if run and _alphabet(run[0]) != _alphabet(content):
            flush()
        run.append(content)
    flush()
    return "".join(out)


def _alphabet(content: DecodedText) -> tuple[Coding, int, int]:
    return content.coding, content.header.locking_shift, content.header.single_shift
