"""GSUP: what switches and a subscriber register say to each other, Osmocom's stand-in for MAP.

In charge of: messages as a type and a list of information elements, each kept as it came, so that a message that is
only relayed leaves bit for bit as it arrived; reading the elements that this center acts on; making the messages it
sends. Not in charge of: frames and names of peers (`ipa.py`), TPDUs (`tpdu.py`), who relays what to whom
(`smsc/switch.py`), or what causes mean (`causes.py`).

How it fails: BadGsup for octets that are no message. An element of an odd length is read as absent where it can be,
because others' oddities must not stop a relay.

Traps, measured against osmo-msc 1.9 and osmo-hlr 1.5: message class SMS is 2; 3 is USSD and gets refused. A switch
answers MT-forwardSM with a reference of its own: match by IMSI, one at a time. MO-forwardSM carries no names; who sent
it is the connection's name. Nobody is told when a subscriber leaves a switch: learn from UpdateLocation.

Source: the GSUP chapter of the OsmoHLR manual; 3GPP TS 29.002 §12 (forwardSM), §7.6.8 (SM-RP-*); TS 24.011 §8.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from ..message import Address
from .digits import BadDigits, address_string, digits_of, read_address_string, tbcd

__all__ = [
    "AlertReason",
    "BadGsup",
    "CancelType",
    "Domain",
    "Element",
    "Gsup",
    "Ie",
    "MessageClass",
    "MessageType",
    "SmAddress",
    "answer",
    "error",
    "mt_forward_sm",
    "mo_forward_sm",
    "ready_for_sm",
    "update_location",
]

MAX_IMSI = 15  #: digits


class BadGsup(ValueError):
    """Octets that are no GSUP message, or a message that cannot be written."""


class MessageType(IntEnum):
    """The first octet. Its two low bits: 0 a request, 1 an error, 2 a result, 3 neither."""

    UPDATE_LOCATION = 0x04
    UPDATE_LOCATION_ERROR = 0x05
    UPDATE_LOCATION_RESULT = 0x06
    SEND_AUTH_INFO = 0x08
    SEND_AUTH_INFO_ERROR = 0x09
    SEND_AUTH_INFO_RESULT = 0x0A
    AUTH_FAIL_REPORT = 0x0B
    PURGE_MS = 0x0C
    PURGE_MS_ERROR = 0x0D
    PURGE_MS_RESULT = 0x0E
    INSERT_DATA = 0x10
    INSERT_DATA_ERROR = 0x11
    INSERT_DATA_RESULT = 0x12
    DELETE_DATA = 0x14
    DELETE_DATA_ERROR = 0x15
    DELETE_DATA_RESULT = 0x16
    LOCATION_CANCEL = 0x1C
    LOCATION_CANCEL_ERROR = 0x1D
    LOCATION_CANCEL_RESULT = 0x1E
    PROC_SS = 0x20
    PROC_SS_ERROR = 0x21
    PROC_SS_RESULT = 0x22
    MO_FORWARD_SM = 0x24
    MO_FORWARD_SM_ERROR = 0x25
    MO_FORWARD_SM_RESULT = 0x26
    MT_FORWARD_SM = 0x28
    MT_FORWARD_SM_ERROR = 0x29
    MT_FORWARD_SM_RESULT = 0x2A
    READY_FOR_SM = 0x2C
    READY_FOR_SM_ERROR = 0x2D
    READY_FOR_SM_RESULT = 0x2E
    CHECK_IMEI = 0x30
    CHECK_IMEI_ERROR = 0x31
    CHECK_IMEI_RESULT = 0x32


class Ie(IntEnum):
    """Identifiers of the information elements that this center reads or writes; all others pass through."""

    IMSI = 0x01  #: TBCD
    CAUSE = 0x02  #: one octet; `causes.GmmCause`
    CANCEL_TYPE = 0x06
    MSISDN = 0x08  #: a length octet and TBCD, as osmo-hlr writes it and osmo-msc reads it
    MESSAGE_CLASS = 0x0A
    CN_DOMAIN = 0x28
    SESSION_ID = 0x30
    SESSION_STATE = 0x31
    SM_RP_MR = 0x40
    SM_RP_DA = 0x41
    SM_RP_OA = 0x42
    SM_RP_UI = 0x43  #: the TPDU
    SM_RP_CAUSE = 0x44  #: one octet; `causes.RpCause`
    SM_RP_MMS = 0x45  #: more messages to send
    SM_ALERT_REASON = 0x46
    IMEI = 0x50
    IMEI_RESULT = 0x51
    SOURCE_NAME = 0x60  #: with its NUL
    DESTINATION_NAME = 0x61


class MessageClass(IntEnum):
    """Which part of a switch a message is for."""

    SUBSCRIBER_MANAGEMENT = 1
    SMS = 2
    USSD = 3
    INTER_MSC = 4


class Domain(IntEnum):
    """Which half of the core network a location update is for."""

    PS = 1
    CS = 2


class CancelType(IntEnum):
    """Why a switch is told to forget a subscriber."""

    UPDATE = 0  #: it is served elsewhere now
    WITHDRAW = 1


class AlertReason(IntEnum):
    """Why a switch says that a handset can be tried again."""

    PRESENT = 1
    MEMORY_AVAILABLE = 2


class Element(NamedTuple):
    """One information element as it came."""

    tag: int  #: 0..255
    value: bytes  #: 0..255 octets


class SmAddress(NamedTuple):
    """SM-RP-DA or SM-RP-OA: exactly one of the two is set."""

    imsi: str = ""  #: digits
    number: Address | None = None
    center: bool = False  #: the number is a message center's


_IMSI, _MSISDN, _CENTER = 1, 2, 3  # types of SM-RP-DA and SM-RP-OA


@dataclass(frozen=True, slots=True)
class Gsup:
    """One message."""

    type: int
    elements: tuple[Element, ...]

    @classmethod
    def decode(cls, octets: bytes) -> Gsup:
        """Read the payload of a frame. BadGsup if it is empty or an element is cut off."""
        if not octets:
            raise BadGsup("an empty message")
        elements: list[Element] = []
        at, size = 1, len(octets)
        while at < size:
            after = at + 2 + (octets[at + 1] if at + 1 < size else size)
            if after > size:
                raise BadGsup(f"element {octets[at]:#04x} is cut off")
            elements.append(Element(octets[at], octets[at + 2 : after]))
            at = after
        return cls(octets[0], tuple(elements))

    def encode(self) -> bytes:
        """The payload of its frame. BadGsup if an element is too long."""
        try:
            parts = [bytes((tag, len(value))) + value for tag, value in self.elements]
            return bytes((self.type,)) + b"".join(parts)
        except ValueError:
            raise BadGsup("an element or the type does not fit") from None

    def get(self, tag: int) -> bytes | None:
        """The first element of this tag."""
        for found, value in self.elements:
            if found == tag:
                return value
        return None

    def octet(self, tag: int) -> int | None:
        """The first element of this tag, if it is one octet."""
        value = self.get(tag)
        return value[0] if value is not None and len(value) == 1 else None

    @property
    def is_request(self) -> bool:
        """Whether somebody waits for an answer."""
        return not self.type & 3

    @property
    def is_error(self) -> bool:
        """Whether it refuses a request."""
        return self.type & 3 == 1

    @property
    def is_result(self) -> bool:
        """Whether it grants a request."""
        return self.type & 3 == 2

    @property
    def imsi(self) -> str:
        """Digits; "" if it has none that can be read. Every message should have one."""
        return _digits(self.get(Ie.IMSI))

    @property
    def cause(self) -> int | None:
        """Why a request was refused, by the protocol; `sm_rp_cause` is the short message's own."""
        return self.octet(Ie.CAUSE)

    @property
    def domain(self) -> Domain:
        """Which half of the core network; a message that does not say means PS, as GSUP was first made for it."""
        value = self.octet(Ie.CN_DOMAIN)
        return Domain.CS if value == Domain.CS else Domain.PS

    @property
    def msisdn(self) -> str:
        """Digits that a register sends with a subscriber's data; "" if there are none."""
        value = self.get(Ie.MSISDN)
        if not value or value[0] != len(value) - 1:
            return ""
        return _digits(value[1:])

    @property
    def sm_rp_mr(self) -> int | None:
        """Message reference of RP, 0..255."""
        return self.octet(Ie.SM_RP_MR)

    @property
    def sm_rp_cause(self) -> int | None:
        """`causes.RpCause`."""
        return self.octet(Ie.SM_RP_CAUSE)

    @property
    def sm_rp_da(self) -> SmAddress | None:
        """Whom the message is for, or through which center."""
        return _sm_address(self.get(Ie.SM_RP_DA))

    @property
    def sm_rp_oa(self) -> SmAddress | None:
        """Who sent it; in MO-forwardSM the number that the *switch* put in, not the handset."""
        return _sm_address(self.get(Ie.SM_RP_OA))

    @property
    def tpdu(self) -> bytes:
        """SM-RP-UI; empty if there is none."""
        return self.get(Ie.SM_RP_UI) or b""

    @property
    def alert_reason(self) -> int | None:
        """`AlertReason`."""
        return self.octet(Ie.SM_ALERT_REASON)

    @property
    def source_name(self) -> str:
        """Who says it, in a message that was routed; *asserted*, never to be trusted by itself."""
        return _name(self.get(Ie.SOURCE_NAME))

    @property
    def destination_name(self) -> str:
        """Whom it is to be routed to."""
        return _name(self.get(Ie.DESTINATION_NAME))


def _digits(value: bytes | None) -> str:
    try:
        return digits_of(value) if value else ""
    except BadDigits:
        return ""


def _name(value: bytes | None) -> str:
    return value.split(b"\0")[0].decode("latin-1") if value else ""


def _sm_address(value: bytes | None) -> SmAddress | None:
    if value is None or len(value) < 2:
        return None
    try:
        if value[0] == _IMSI:
            return SmAddress(imsi=digits_of(value[1:]))
        if value[0] in (_MSISDN, _CENTER):
            return SmAddress(number=read_address_string(value[1:]), center=value[0] == _CENTER)
    except BadDigits:
        pass
    return None


# --------------------------------------------------------------------------------------------------------- making


def _imsi(imsi: str) -> Element:
    if not (0 < len(imsi) <= MAX_IMSI and imsi.isascii() and imsi.isdecimal()):
        raise BadGsup(f"{imsi!r} is no IMSI")
    return Element(Ie.IMSI, tbcd(imsi))


def _sm_octets(address: SmAddress) -> bytes:
    try:
        if address.number is None:
            return bytes((_IMSI,)) + tbcd(address.imsi)
        return bytes((_CENTER if address.center else _MSISDN,)) + address_string(address.number)
    except BadDigits as problem:
        raise BadGsup(str(problem)) from None


#: Elements of a request that its answer repeats, in this order: libosmocore wants the IMSI first.
_REPEATED = (Ie.IMSI, Ie.MESSAGE_CLASS, Ie.SESSION_ID, Ie.SM_RP_MR)


def answer(request: Gsup, *elements: Element) -> Gsup:
    """The result of a request: with its IMSI, class and references, addressed to where it came from."""
    return _answer(request, 2, elements)


def error(
    request: Gsup, *, cause: int | None = None, sm_rp_cause: int | None = None, tpdu: bytes = b""
) -> Gsup:
    """The error of a request. For a short message `sm_rp_cause` and perhaps the report that goes with it."""
    elements: list[Element] = []
    if cause is not None:
        elements.append(Element(Ie.CAUSE, bytes((cause,))))
    if sm_rp_cause is not None:
        elements.append(Element(Ie.SM_RP_CAUSE, bytes((sm_rp_cause,))))
    if tpdu:
        elements.append(Element(Ie.SM_RP_UI, tpdu))
    return _answer(request, 1, tuple(elements))


def _answer(request: Gsup, kind: int, elements: tuple[Element, ...]) -> Gsup:
    if not request.is_request:
        raise BadGsup(f"{request.type:#04x} is no request")
    repeated = tuple(Element(tag, value) for tag in _REPEATED if (value := request.get(tag)) is not None)
    crossed = ((Ie.DESTINATION_NAME, Ie.SOURCE_NAME), (Ie.SOURCE_NAME, Ie.DESTINATION_NAME))
    names = tuple(Element(to, value) for of, to in crossed if (value := request.get(of)) is not None)
    return Gsup(request.type | kind, repeated + names + elements)


def update_location(imsi: str, domain: Domain = Domain.CS) -> Gsup:
    """A switch tells the register that it serves a subscriber now."""
    domain_octet = Element(Ie.CN_DOMAIN, bytes((domain,)))
    return Gsup(MessageType.UPDATE_LOCATION, (_imsi(imsi), domain_octet))


def _sm(kind: MessageType, imsi: str, mr: int) -> tuple[MessageType, tuple[Element, ...]]:
    reference = Element(Ie.SM_RP_MR, bytes((mr,)))
    return kind, (_imsi(imsi), Element(Ie.MESSAGE_CLASS, bytes((MessageClass.SMS,))), reference)


def mo_forward_sm(imsi: str, mr: int, da: SmAddress, oa: SmAddress, tpdu: bytes) -> Gsup:
    """A handset's message on its way from the switch to the center."""
    kind, head = _sm(MessageType.MO_FORWARD_SM, imsi, mr)
    addresses = (Element(Ie.SM_RP_DA, _sm_octets(da)), Element(Ie.SM_RP_OA, _sm_octets(oa)))
    return Gsup(kind, (*head, *addresses, Element(Ie.SM_RP_UI, tpdu)))


def mt_forward_sm(
    imsi: str, mr: int, oa: SmAddress, tpdu: bytes, *, more: bool = False, to: str = ""
) -> Gsup:
    """A message for a handset, for the switch that serves it. `to`: its name, where somebody routes between."""
    kind, head = _sm(MessageType.MT_FORWARD_SM, imsi, mr)
    elements = (
        *head,
        Element(Ie.SM_RP_DA, _sm_octets(SmAddress(imsi=imsi))),
        Element(Ie.SM_RP_OA, _sm_octets(oa)),
        Element(Ie.SM_RP_UI, tpdu),
        Element(Ie.SM_RP_MMS, bytes((more,))),
    )
    if to:
        elements += (Element(Ie.DESTINATION_NAME, to.encode("latin-1", "replace") + b"\0"),)
    return Gsup(kind, elements)


def ready_for_sm(imsi: str, mr: int, reason: AlertReason) -> Gsup:
    """A switch says that a handset can be tried again."""
    kind, head = _sm(MessageType.READY_FOR_SM, imsi, mr)
    return Gsup(kind, (*head, Element(Ie.SM_ALERT_REASON, bytes((reason,)))))
