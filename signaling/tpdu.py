"""Short messages as handsets and switches exchange them: the six TPDUs of 3GPP TS 23.040.

In charge of: octets to fields and back, for SMS-SUBMIT, -DELIVER, -STATUS-REPORT, -COMMAND, -SUBMIT-REPORT and
-DELIVER-REPORT. Not in charge of: what is inside user data, TP-PID and TP-DCS (`user_data.py`), times (`tp_time.py`),
addresses (`digits.py`), causes (`causes.py`), or RP, GSUP and Diameter, which carry these octets.

The same two bits of the first octet name three types in each direction, so there are two decoders. A report that
came in an RP-ERROR has a TP-FCS, one in an RP-ACK has none; `refused` tells which. Without it the octet itself does:
every TP-FCS is 80 or above, no TP-PI is.

How it fails: BadTpdu, which names the field; nothing else is raised on what a peer sends. Octets behind the last
field are ignored (§9.2.3.27 keeps that room for later releases).

Source: 3GPP TS 23.040 §9.2.2 (messages), §9.2.3 (fields). Fields have the specification's names without their "TP-".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..message import Address
from .digits import BadDigits, address_octets, read_address
from .tp_time import TIME_STAMP_OCTETS, VALIDITY_OCTETS, ValidityFormat
from .user_data import MAX_TPDU, MAX_USER_DATA, BadTpdu, UserData, read_user_data, user_data_octets

__all__ = [
    "BadTpdu",
    "Command",
    "Deliver",
    "DeliverReport",
    "FromHandset",
    "Parameters",
    "StatusReport",
    "Submit",
    "SubmitReport",
    "ToHandset",
    "decode_from_handset",
    "decode_to_handset",
]

#: TP-CT (§9.2.3.19).
CT_ENQUIRY, CT_CANCEL_STATUS_REPORT, CT_DELETE, CT_ENABLE_STATUS_REPORT = 0, 1, 2, 3


# ---------------------------------------------------------------------------------------------- parts of messages


def _address(data: bytes, at: int, name: str) -> tuple[Address, int]:
    try:
        return read_address(data, at)
    except BadDigits as error:
        raise BadTpdu(name, str(error)) from None


def _address_octets(address: Address, name: str) -> bytes:
    try:
        return address_octets(address)
    except BadDigits as error:
        raise BadTpdu(name, str(error)) from None


def _octet(data: bytes, at: int, name: str) -> int:
    if at >= len(data):
        raise BadTpdu(name, "the TPDU ends before it")
    return data[at]


def _time(data: bytes, at: int, name: str) -> bytes:
    octets = data[at : at + TIME_STAMP_OCTETS]
    if len(octets) < TIME_STAMP_OCTETS:
        raise BadTpdu(name, "the TPDU ends before it does")
    return octets


def _flags(mti: int, *bits: tuple[bool, int]) -> int:
    for is_set, bit in bits:
        if is_set:
            mti |= bit
    return mti


def _built(*parts: bytes | int) -> bytes:
    try:
        tpdu = b"".join(part if isinstance(part, bytes) else bytes((part,)) for part in parts)
    except ValueError:
        raise BadTpdu("TPDU", "a field is not an octet") from None
    if len(tpdu) > MAX_TPDU:
        raise BadTpdu("TPDU", f"{len(tpdu)} octets; {MAX_TPDU} are allowed")
    return tpdu


def _checked_time(octets: bytes, name: str) -> bytes:
    if len(octets) != TIME_STAMP_OCTETS:
        raise BadTpdu(name, f"{len(octets)} octets; it has {TIME_STAMP_OCTETS}")
    return octets


class Parameters(NamedTuple):
    """The fields whose presence TP-PI announces (§9.2.3.27); None is absent."""

    pid: int | None = None
    dcs: int | None = None
    ud: UserData | None = None

    def octets(self, with_pi: bool = True) -> bytes:
        """TP-PI and what it announces; nothing at all if that is nothing and TP-PI is optional."""
        pi = (self.pid is not None) | (self.dcs is not None) << 1 | (self.ud is not None) << 2
        if not pi and not with_pi:
            return b""
        out = [pi]
        out += [octet for octet in (self.pid, self.dcs) if octet is not None]
        return _built(*out, b"" if self.ud is None else user_data_octets(self.ud, self.dcs or 0))


NO_PARAMETERS = Parameters()


def _read_parameters(data: bytes, at: int, udhi: bool, *, optional: bool = False) -> Parameters:
    if at >= len(data) and optional:
        return NO_PARAMETERS
    pi = more = _octet(data, at, "TP-PI")
    at += 1
    while more & 0x80:  # further octets of indicators, of which none is defined
        more = _octet(data, at, "TP-PI")
        at += 1
    pid = dcs = ud = None
    if pi & 1:
        pid = _octet(data, at, "TP-PID")
        at += 1
    if pi & 2:
        dcs = _octet(data, at, "TP-DCS")
        at += 1
    if pi & 4:
        ud = read_user_data(data, at, dcs or 0, udhi)
    return Parameters(pid, dcs, ud)


# ----------------------------------------------------------------------------------------------- from the handset


@dataclass(frozen=True, slots=True)
class Submit:
    """SMS-SUBMIT (§9.2.2.2): a handset's message."""

    da: Address
    mr: int = 0  #: message reference, 0..255
    pid: int = 0
    dcs: int = 0
    ud: UserData = field(default_factory=UserData)
    vpf: ValidityFormat = ValidityFormat.NONE
    vp: bytes = b""  #: none, one or seven octets; `tp_time.read_validity`
    rd: bool = False  #: reject a duplicate: same mr, da and sender as a message still held
    srr: bool = False  #: status report requested
    rp: bool = False  #: reply path

    def encode(self) -> bytes:
        """The octets. BadTpdu if a field does not fit."""
        if len(self.vp) != VALIDITY_OCTETS[self.vpf]:
            raise BadTpdu("TP-VP", f"{len(self.vp)} octets do not suit {self.vpf.name}")
        udhi = self.ud.udhi or bool(self.ud.header)
        first = _flags(0x01, (self.rd, 4), (self.srr, 0x20), (udhi, 0x40), (self.rp, 0x80)) | self.vpf << 3
        ud = _short(user_data_octets(self.ud, self.dcs))
        da = _address_octets(self.da, "TP-DA")
        return _built(first, self.mr, da, self.pid, self.dcs, self.vp, ud)

    @classmethod
    def decode(cls, data: bytes) -> Submit:
        """Read one. BadTpdu."""
        first = _octet(data, 0, "TP-MTI")
        mr = _octet(data, 1, "TP-MR")
        da, at = _address(data, 2, "TP-DA")
        pid, dcs = _octet(data, at, "TP-PID"), _octet(data, at + 1, "TP-DCS")
        vpf = ValidityFormat(first >> 3 & 3)
        after = at + 2 + VALIDITY_OCTETS[vpf]
        if after > len(data):
            raise BadTpdu("TP-VP", "the TPDU ends before it does")
        return cls(
            da,
            mr,
            pid,
            dcs,
            read_user_data(data, after, dcs, bool(first & 0x40), MAX_USER_DATA),
            vpf,
            data[at + 2 : after],
            rd=bool(first & 0x04),
            srr=bool(first & 0x20),
            rp=bool(first & 0x80),
        )


@dataclass(frozen=True, slots=True)
class Command:
    """SMS-COMMAND (§9.2.2.4): a handset's wish about a message it submitted."""

    da: Address
    ct: int  #: CT_*; E0 and above are the center's own
    mn: int = 0  #: TP-MR of the message meant
    mr: int = 0
    pid: int = 0
    cd: bytes = b""  #: command data, at most 157 octets
    srr: bool = False
    udhi: bool = False

    def encode(self) -> bytes:
        """The octets. BadTpdu if a field does not fit."""
        first = _flags(0x02, (self.srr, 0x20), (self.udhi, 0x40))
        da = _address_octets(self.da, "TP-DA")
        return _built(first, self.mr, self.pid, self.ct, self.mn, da, len(self.cd), self.cd)

    @classmethod
    def decode(cls, data: bytes) -> Command:
        """Read one. BadTpdu."""
        first, mr, pid, ct, mn = (
            _octet(data, at, name) for at, name in enumerate(("TP-MTI", "TP-MR", "TP-PID", "TP-CT", "TP-MN"))
        )
        da, at = _address(data, 5, "TP-DA")
        length = _octet(data, at, "TP-CDL")
        cd = data[at + 1 : at + 1 + length]
        if len(cd) < length:
            raise BadTpdu("TP-CD", f"{len(cd)} octets are there, TP-CDL is {length}")
        return cls(da, ct, mn, mr, pid, cd, srr=bool(first & 0x20), udhi=bool(first & 0x40))


@dataclass(frozen=True, slots=True)
class DeliverReport:
    """SMS-DELIVER-REPORT (§9.2.2.1a): what a handset says to a deliver or status report."""

    fcs: int | None = None  #: failure cause in an RP-ERROR; None in an RP-ACK
    parameters: Parameters = NO_PARAMETERS

    def encode(self) -> bytes:
        """The octets. BadTpdu if a field does not fit."""
        fcs = b"" if self.fcs is None else _built(self.fcs)
        return _built(_report_flags(0x00, self.parameters), fcs, self.parameters.octets())

    @classmethod
    def decode(cls, data: bytes, refused: bool | None = None) -> DeliverReport:
        """Read one. BadTpdu. `refused`: whether it came in an RP-ERROR, if that is known."""
        first, fcs, at = _report_head(data, refused)
        return cls(fcs, _read_parameters(data, at, bool(first & 0x40)))


# ------------------------------------------------------------------------------------------------- to the handset


@dataclass(frozen=True, slots=True)
class Deliver:
    """SMS-DELIVER (§9.2.2.1): a message for a handset."""

    oa: Address
    scts: bytes  #: when the center took it in; `tp_time.time_stamp`
    pid: int = 0
    dcs: int = 0
    ud: UserData = field(default_factory=UserData)
    mms: bool = False  #: more messages are waiting; on the wire the bit says the opposite
    lp: bool = False  #: may make a loop: forwarded, or made by an automaton
    sri: bool = False  #: the sender will be told by a status report
    rp: bool = False  #: reply path

    def encode(self) -> bytes:
        """The octets. BadTpdu if a field does not fit."""
        udhi = self.ud.udhi or bool(self.ud.header)
        first = _flags(0x00, (not self.mms, 4), (self.lp, 8), (self.sri, 0x20), (udhi, 0x40), (self.rp, 0x80))
        ud = _short(user_data_octets(self.ud, self.dcs))
        oa, scts = _address_octets(self.oa, "TP-OA"), _checked_time(self.scts, "TP-SCTS")
        return _built(first, oa, self.pid, self.dcs, scts, ud)

    @classmethod
    def decode(cls, data: bytes) -> Deliver:
        """Read one. BadTpdu."""
        first = _octet(data, 0, "TP-MTI")
        oa, at = _address(data, 1, "TP-OA")
        pid, dcs = _octet(data, at, "TP-PID"), _octet(data, at + 1, "TP-DCS")
        scts = _time(data, at + 2, "TP-SCTS")
        ud = read_user_data(data, at + 2 + TIME_STAMP_OCTETS, dcs, bool(first & 0x40), MAX_USER_DATA)
        return cls(
            oa,
            scts,
            pid,
            dcs,
            ud,
            mms=not first & 0x04,
            lp=bool(first & 0x08),
            sri=bool(first & 0x20),
            rp=bool(first & 0x80),
        )


@dataclass(frozen=True, slots=True)
class StatusReport:
    """SMS-STATUS-REPORT (§9.2.2.3): what became of a handset's message or command."""

    ra: Address  #: whom the message was for
    scts: bytes  #: of the message reported on
    dt: bytes  #: discharge time
    st: int  #: `causes.Status`
    mr: int = 0  #: of the message reported on
    parameters: Parameters = NO_PARAMETERS
    mms: bool = False  #: more messages are waiting
    lp: bool = False
    srq: bool = False  #: about a command, not a submit

    def encode(self) -> bytes:
        """The octets. BadTpdu if a field does not fit."""
        first = _report_flags(0x02, self.parameters)
        first = _flags(first, (not self.mms, 4), (self.lp, 8), (self.srq, 0x20))
        ra = _address_octets(self.ra, "TP-RA")
        scts, dt = _checked_time(self.scts, "TP-SCTS"), _checked_time(self.dt, "TP-DT")
        return _built(first, self.mr, ra, scts, dt, self.st, self.parameters.octets(with_pi=False))

    @classmethod
    def decode(cls, data: bytes) -> StatusReport:
        """Read one. BadTpdu."""
        first = _octet(data, 0, "TP-MTI")
        mr = _octet(data, 1, "TP-MR")
        ra, at = _address(data, 2, "TP-RA")
        scts, dt = _time(data, at, "TP-SCTS"), _time(data, at + TIME_STAMP_OCTETS, "TP-DT")
        at += 2 * TIME_STAMP_OCTETS
        st = _octet(data, at, "TP-ST")
        parameters = _read_parameters(data, at + 1, bool(first & 0x40), optional=True)
        return cls(
            ra,
            scts,
            dt,
            st,
            mr,
            parameters,
            mms=not first & 0x04,
            lp=bool(first & 0x08),
            srq=bool(first & 0x20),
        )


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """SMS-SUBMIT-REPORT (§9.2.2.2a): what the center says to a submit or command."""

    scts: bytes
    fcs: int | None = None  #: failure cause in an RP-ERROR; None in an RP-ACK
    parameters: Parameters = NO_PARAMETERS

    def encode(self) -> bytes:
        """The octets. BadTpdu if a field does not fit."""
        first = _report_flags(0x01, self.parameters)
        fcs = b"" if self.fcs is None else _built(self.fcs)
        pi, rest = self.parameters.octets()[:1], self.parameters.octets()[1:]
        return _built(first, fcs, pi, _checked_time(self.scts, "TP-SCTS"), rest)

    @classmethod
    def decode(cls, data: bytes, refused: bool | None = None) -> SubmitReport:
        """Read one. BadTpdu. `refused`: whether it came in an RP-ERROR, if that is known."""
        first, fcs, at = _report_head(data, refused)
        more, after = _octet(data, at, "TP-PI"), at + 1
        while more & 0x80:
            more = _octet(data, after, "TP-PI")
            after += 1
        scts = _time(data, after, "TP-SCTS")
        without = data[at:after] + data[after + TIME_STAMP_OCTETS :]
        return cls(scts, fcs, _read_parameters(without, 0, bool(first & 0x40)))


# ------------------------------------------------------------------------------------------------ which one it is


def _report_flags(mti: int, parameters: Parameters) -> int:
    ud = parameters.ud
    return _flags(mti, (ud is not None and (ud.udhi or bool(ud.header)), 0x40))


def _report_head(data: bytes, refused: bool | None) -> tuple[int, int | None, int]:
    """First octet, TP-FCS if there is one, and where TP-PI stands."""
    first, second = _octet(data, 0, "TP-MTI"), _octet(data, 1, "TP-PI")
    if refused is None:
        refused = second >= 0x80
    return (first, second, 2) if refused else (first, None, 1)


def _short(ud: bytes) -> bytes:
    if len(ud) > 1 + MAX_USER_DATA:
        raise BadTpdu("TP-UD", f"{len(ud) - 1} octets; {MAX_USER_DATA} are allowed")
    return ud


FromHandset = Submit | Command | DeliverReport
ToHandset = Deliver | StatusReport | SubmitReport


def decode_from_handset(data: bytes, refused: bool | None = None) -> FromHandset:
    """A TPDU from a handset. BadTpdu. `refused`: an RP-ERROR carried it, if that is known."""
    mti = _type(data)
    if mti == 0:
        return DeliverReport.decode(data, refused)
    if mti == 1:
        return Submit.decode(data)
    if mti == 2:
        return Command.decode(data)
    raise BadTpdu("TP-MTI", "reserved")


def decode_to_handset(data: bytes, refused: bool | None = None) -> ToHandset:
    """A TPDU for a handset; the reserved fourth type is read as a deliver (§9.2.3.1). BadTpdu."""
    mti = _type(data)
    if mti == 1:
        return SubmitReport.decode(data, refused)
    if mti == 2:
        return StatusReport.decode(data)
    return Deliver.decode(data)


def _type(data: bytes) -> int:
    if len(data) > MAX_TPDU:
        raise BadTpdu("TPDU", f"{len(data)} octets; {MAX_TPDU} are allowed")
    return _octet(data, 0, "TP-MTI") & 3
