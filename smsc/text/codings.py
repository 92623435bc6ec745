"""What the octets of a message mean: data_coding, alphabets, message class.

In charge of: reading a data_coding octet, decoding user data with it, and choosing a coding for a text. Not
in charge of: the tables of GSM 7 bit (`gsm7.py`), headers (`udh.py`), cutting and joining (`segments.py`).

A data_coding is read by two specifications. Up to 0x0F SMPP's own table holds; from 0x10 on the octet is
3GPP's data coding scheme, which SMPP itself names from 0xC0 and which peers use below (Kannel sends 0x19:
UCS2, class 1). What neither defines, and compressed text, is `UNKNOWN`: it passes through untouched, without
a text.

0 is the account's default alphabet, so every decoding needs to be told that one.

How it fails: decoding never raises. An octet or sequence that the alphabet does not know becomes U+FFFD.

Source: SMPP 3.4 §5.2.19; 3GPP TS 23.038 §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from . import gsm7, udh
from .udh import MessageWaiting, UserDataHeader, WaitingKind

__all__ = [
    "ALPHABETS",
    "INTERPRETATIONS",
    "Coding",
    "DecodedText",
    "DefaultAlphabet",
    "EncodedText",
    "Interpretation",
    "codec_name",
    "decode",
    "decode_octets",
    "encode",
    "interpret",
]


class Coding(StrEnum):
    """How octets spell characters; the values stand in rows and in REST answers."""

    DEFAULT = "default"  #: the account's default alphabet; a decoded message has a real one in its place
    GSM7 = "gsm7"  #: unpacked septets, one an octet
    ASCII = "ascii"  #: IA5
    LATIN1 = "latin1"  #: ISO-8859-1
    BINARY = "binary"  #: octets that are no text
    JIS = "jis"  #: X 0208-1990; peers mean Shift JIS or ISO-2022-JP
    CYRILLIC = "cyrillic"  #: ISO-8859-5
    HEBREW = "hebrew"  #: ISO-8859-8
    UCS2 = "ucs2"  #: in practice UTF-16, big-endian, with surrogates
    ISO_2022_JP = "iso2022jp"  #: "music codes"
    EXTENDED_JIS = "extended_jis"  #: X 0212-1990; read as EUC-JP or ISO-2022-JP
    KS_C_5601 = "ks_c_5601"  #: Korean; read as its superset CP949
    UNKNOWN = "unknown"  #: reserved, pictograms or compressed


class DefaultAlphabet(StrEnum):
    """What an account or link means by data_coding 0."""

    GSM7 = "gsm7"  #: unpacked, as nearly every peer does
    GSM7_PACKED = "gsm7_packed"  #: packed, with fill bits behind a header; then in every GSM 7 bit message
    LATIN1 = "latin1"
    ASCII = "ascii"

    @property
    def coding(self) -> Coding:
        """The coding after unpacking."""
        return _DEFAULT_CODINGS[self]


#: By value, as accounts have it: what `DefaultAlphabet(value)` finds, for the message path.
ALPHABETS = {alphabet.value: alphabet for alphabet in DefaultAlphabet}

_DEFAULT_CODINGS = {
    DefaultAlphabet.GSM7: Coding.GSM7,
    DefaultAlphabet.GSM7_PACKED: Coding.GSM7,
    DefaultAlphabet.LATIN1: Coding.LATIN1,
    DefaultAlphabet.ASCII: Coding.ASCII,
}


class Interpretation(NamedTuple):
    """What a data_coding octet says by itself."""

    coding: Coding
    message_class: int | None = (
        None  #: 0 shown at once, 1 mobile equipment, 2 SIM, 3 terminal; None: not said
    )
    waiting: MessageWaiting | None = None
    auto_delete: bool = False  #: to be deleted once read (3GPP TS 23.038 §4, group 01)
    compressed: bool = False


class DecodedText(NamedTuple):
    """A message's user data, understood as far as it can be."""

    text: str | None  #: None for binary and unknown codings
    coding: Coding  #: never DEFAULT
    octets: bytes  #: what stands behind the header; unpacked septets for GSM7, else as it came
    data_coding: int
    message_class: int | None
    waiting: tuple[MessageWaiting, ...]  #: from data_coding first, then from the header
    header: UserDataHeader  #: `udh.NO_HEADER` if the message has none


class EncodedText(NamedTuple):
    """A text in the first coding that can spell it."""

    data_coding: int
    octets: bytes  #: unpacked septets for GSM7
    coding: Coding
    lossy: bool  #: true if no coding could, and '?' stands for what is missing


# ------------------------------------------------------------------------------------------------ data_coding

_SMPP = {
    0x00: Coding.DEFAULT,
    0x01: Coding.ASCII,
    0x02: Coding.BINARY,
    0x03: Coding.LATIN1,
    0x04: Coding.BINARY,
    0x05: Coding.JIS,
    0x06: Coding.CYRILLIC,
    0x07: Coding.HEBREW,
    0x08: Coding.UCS2,
    0x0A: Coding.ISO_2022_JP,
    0x0D: Coding.EXTENDED_JIS,
    0x0E: Coding.KS_C_5601,
}

#: Bits 3 and 2 of 3GPP's general groups; the fourth value is reserved.
_ALPHABETS = (Coding.GSM7, Coding.BINARY, Coding.UCS2, Coding.UNKNOWN)

_WAITING = (WaitingKind.VOICE, WaitingKind.FAX, WaitingKind.EMAIL, WaitingKind.OTHER)


def _read(data_coding: int) -> Interpretation:
    if data_coding < 0x10:
        return Interpretation(_SMPP.get(data_coding, Coding.UNKNOWN))
    if data_coding < 0x80:  # general data coding, and from 0x40 on marked for automatic deletion
        compressed = bool(data_coding & 0x20)
        return Interpretation(
            Coding.UNKNOWN if compressed else _ALPHABETS[data_coding >> 2 & 0x03],
            message_class=data_coding & 0x03 if data_coding & 0x10 else None,
            auto_delete=data_coding >= 0x40,
            compressed=compressed,
        )
    if data_coding < 0xC0:
        return Interpretation(Coding.UNKNOWN)
    if data_coding < 0xF0:  # message waiting: 0xC0 discard, 0xD0 store, 0xE0 store with UCS2
        waiting = MessageWaiting(
            kind=_WAITING[data_coding & 0x03], active=bool(data_coding & 0x08), store=data_coding >= 0xD0
        )
        return Interpretation(Coding.UCS2 if data_coding >= 0xE0 else Coding.GSM7, waiting=waiting)
    return Interpretation(Coding.BINARY if data_coding & 0x04 else Coding.GSM7, data_coding & 0x03)


#: All 256 of them, by data_coding.
INTERPRETATIONS = tuple(_read(data_coding) for data_coding in range(256))


def interpret(data_coding: int) -> Interpretation:
    """What a data_coding octet says; a number that is no octet is unknown."""
    return INTERPRETATIONS[data_coding] if 0 <= data_coding <= 0xFF else Interpretation(Coding.UNKNOWN)


# --------------------------------------------------------------------------------------------------- decoding

#: Codings that Python's own codecs read. The East Asian ones are a best effort: peers differ in what they
#: mean.
_CODECS = {
    Coding.ASCII: "ascii",
    Coding.LATIN1: "latin-1",
    Coding.JIS: "shift_jis",
    Coding.CYRILLIC: "iso8859-5",
    Coding.HEBREW: "iso8859-8",
    Coding.UCS2: "utf-16-be",
    Coding.ISO_2022_JP: "iso2022_jp_2",
    Coding.EXTENDED_JIS: "euc_jp",
    Coding.KS_C_5601: "cp949",
}


def codec_name(coding: Coding, octets: bytes) -> str | None:
    """Python's codec for these octets; None for GSM 7 bit and what is no text."""
    if (coding is Coding.JIS or coding is Coding.EXTENDED_JIS) and gsm7.ESCAPE in octets:
        return "iso2022_jp_2"
    return _CODECS.get(coding)


def decode_octets(octets: bytes, coding: Coding, national: gsm7.Alphabet = gsm7.DEFAULT) -> str | None:
    """The text of octets without a header; None if the coding is no text. Never raises."""
    if coding is Coding.GSM7:
        return national.decode(octets)
    codec = codec_name(coding, octets)
    return None if codec is None else octets.decode(codec, "replace")


def decode(
    data_coding: int,
    payload: bytes,
    default_alphabet: DefaultAlphabet = DefaultAlphabet.GSM7,
    has_udh: bool = False,
) -> DecodedText:
    """Understand the user data of a message: short_message or message_payload as it came. Never raises.

    `has_udh` is esm_class bit 6 (or TP-UDHI). `default_alphabet` is the account's or link's.
    """
    coding, message_class, indication, _, _ = interpret(data_coding)
    header = udh.NO_HEADER
    octets = payload
    national = gsm7.DEFAULT
    waiting = () if indication is None else (indication,)
    if has_udh:
        header, octets = udh.strip(payload)
        waiting += header.waiting
        national = gsm7.alphabet(header.locking_shift, header.single_shift)
    if coding is Coding.DEFAULT:
        coding = _DEFAULT_CODINGS[default_alphabet]
    if coding is Coding.GSM7:
        if default_alphabet is DefaultAlphabet.GSM7_PACKED:
            octets = gsm7.unpack(octets, fill_bits=gsm7.fill_bits(header.length))
        text = national.decode(octets)
    else:
        text = decode_octets(octets, coding)
    return DecodedText(text, coding, octets, data_coding, message_class, waiting, header)


# --------------------------------------------------------------------------------------------------- encoding

#: data_coding of each coding that can be chosen, without and with message class 0.
_DATA_CODINGS: dict[Coding, tuple[int, int | None]] = {
    Coding.ASCII: (0x01, None),
    Coding.LATIN1: (0x03, None),
    Coding.JIS: (0x05, None),
    Coding.CYRILLIC: (0x06, None),
    Coding.HEBREW: (0x07, None),
    Coding.UCS2: (0x08, 0x18),
    Coding.ISO_2022_JP: (0x0A, None),
    Coding.EXTENDED_JIS: (0x0D, None),
    Coding.KS_C_5601: (0x0E, None),
}


def _data_coding(
    coding: Coding, default_alphabet: DefaultAlphabet, message_class: int | None
) -> tuple[Coding, int] | None:
    """The coding that is really meant and its data_coding; None if the receiver has no way to say it."""
    default = _DEFAULT_CODINGS[default_alphabet]
    if coding is Coding.DEFAULT:
        coding = default
    if message_class is None and coding is default:
        return coding, 0x00
    if coding is Coding.GSM7:
        return None if message_class is None else (coding, 0xF0 | message_class)
    plain, with_class = _DATA_CODINGS.get(coding, (None, None))
    if message_class is None:
        return None if plain is None else (coding, plain)
    return None if with_class is None else (coding, with_class | message_class)


def encode(
    text: str,
    prefer: Sequence[Coding] = (Coding.DEFAULT, Coding.UCS2),
    default_alphabet: DefaultAlphabet = DefaultAlphabet.GSM7,
    message_class: int | None = None,
) -> EncodedText:
    """A text in the first preferred coding that can spell it and that the receiver can be told of.

    `Coding.DEFAULT` is the receiver's default alphabet under data_coding 0. GSM7 can be told only where it is
    that default, or with a message class. If nothing fits, the last one is taken with '?' for what is
    missing. Packing is for who writes the octets (`segments.Segment.packed`). ValueError for a message class
    outside 0..3, and if no preferred coding can be told.
    """
    if message_class is not None and not 0 <= message_class <= 3:
        raise ValueError(f"message class {message_class} is not 0..3")
    last: tuple[Coding, int] | None = None
    for preferred in prefer:
        meant = _data_coding(preferred, default_alphabet, message_class)
        if meant is None:
            continue
        last = meant
        coding, data_coding = meant
        try:
            return EncodedText(data_coding, _spell(text, coding, "strict"), coding, False)
        except UnicodeEncodeError:
            continue
    if last is None:
        raise ValueError(f"none of {prefer} can be told with message class {message_class}")
    coding, data_coding = last
    return EncodedText(data_coding, _spell(text, coding, "replace"), coding, True)


def _spell(text: str, coding: Coding, errors: str) -> bytes:
    return gsm7.encode(text, errors) if coding is Coding.GSM7 else text.encode(_CODECS[coding], errors)
