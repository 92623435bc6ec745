"""Short messages over Diameter: what OFR, TFR, SRR, RDR and ALR carry, both ways.

In charge of: the AVPs of SGd and S6c requests and answers as plain values, and whether the Origin-Host of a request can
be believed. Not in charge of: sending (`node.py`), TPDUs (`../tpdu.py`), or what to do about a message.

SGd takes messages from and to the node that serves the handset (an MME); S6c asks the HSS where it is, reports how
delivery went, and is told when to try again. A look-up must leave no trace: SRR for its own sake sets
Single-Attempt-Delivery, so that the HSS does not put us on its list of those who wait.

How it fails: reading raises Incomplete, with the Result-Code and the AVP that is missing.

Source: 3GPP TS 29.338 §5 (S6c), §6 (SGd); TS 29.173 §6.4 (Serving-Node). Numbers are TBCD without a type of address.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import IntEnum
from typing import NamedTuple

from ..causes import DeliveryFailure, ExperimentalResult, ResultCode
from ..digits import BadDigits, digits_of, tbcd
from .codec import Avp, Avps, Message, avp, grouped
from .connection import Identity
from .dictionary import TGPP, Application

__all__ = [
    "Alert",
    "DeliveryCause",
    "Delivered",
    "Incomplete",
    "MoForward",
    "Routing",
    "ServingNode",
    "alert_answer",
    "experimental",
    "mo_forward",
    "mo_forward_answer",
    "mt_forward",
    "read_alert",
    "read_delivered",
    "read_mo_forward",
    "read_mt_forward",
    "read_routing",
    "report_delivery",
    "routing_answer",
    "routing_request",
    "success",
    "trusted_origin",
]

MORE_MESSAGES = 1  #: TFR-Flags bit 0: more messages to send
GPRS_INDICATOR, SM_RP_PRI, SINGLE_ATTEMPT = 1, 2, 4  #: SRR-Flags
RDR_SINGLE_ATTEMPT = 1  #: RDR-Flags
#: MWD-Status: our address is not on the list; memory full; not reachable for MSC, for others.
MWD_SC_NOT_INCLUDED, MWD_MNRF, MWD_MCEF, MWD_MNRG = 1, 2, 4, 8

_NO_STATE_MAINTAINED = 1


class Incomplete(ValueError):
    """A message that lacks what it must have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is missing or cannot be read")
        self.name = name
        self.result = int(ResultCode.MISSING_AVP)


class DeliveryCause(IntEnum):
    """SM-Delivery-Cause: how an attempt ended."""

    MEMORY_CAPACITY_EXCEEDED = 0
    ABSENT_USER = 1
    SUCCESSFUL_TRANSFER = 2


# ------------------------------------------------------------------------------------------------------- building


def _head(identity: Identity, session: str, application: int, host: str, realm: str) -> tuple[Avp, ...]:
    specific = grouped(
        "Vendor-Specific-Application-Id", avp("Vendor-Id", TGPP), avp("Auth-Application-Id", application)
    )
    return (
        avp("Session-Id", session),
        specific,
        avp("Auth-Session-State", _NO_STATE_MAINTAINED),
        avp("Origin-Host", identity.host),
        avp("Origin-Realm", identity.realm),
        *((avp("Destination-Host", host),) if host else ()),
        avp("Destination-Realm", realm),
    )


def _user(imsi: str, msisdn: str) -> Avp:
    return grouped(
        "User-Identifier",
        avp("User-Name", imsi) if imsi else None,
        avp("MSISDN", tbcd(msisdn)) if msisdn else None,
    )


def mo_forward(
    identity: Identity,
    session: str,
    *,
    imsi: str,
    msisdn: str,
    center: str,
    tpdu: bytes,
    host: str,
    realm: str,
) -> tuple[Avp, ...]:
    """OFR (SGd): a handset's message on its way to the center."""
    return (
        *_head(identity, session, Application.SGD, host, realm),
        avp("SC-Address", tbcd(center)),
        _user(imsi, msisdn),
        avp("SM-RP-UI", tpdu),
    )


def mt_forward(
    identity: Identity,
    session: str,
    *,
    imsi: str,
    center: str,
    tpdu: bytes,
    host: str,
    realm: str,
    more: bool = False,
    timer_s: int = 0,
) -> tuple[Avp, ...]:
    """TFR (SGd): a message for a handset, for the node that serves it. `timer_s`: how long that node may take."""
    return (
        *_head(identity, session, Application.SGD, host, realm),
        avp("User-Name", imsi),
        avp("SC-Address", tbcd(center)),
        avp("SM-RP-UI", tpdu),
        *((avp("TFR-Flags", MORE_MESSAGES),) if more else ()),
        *((avp("SM-Delivery-Timer", timer_s),) if timer_s else ()),
    )


def routing_request(
    identity: Identity,
    session: str,
    *,
    imsi: str = "",
    msisdn: str = "",
    center: str,
    realm: str,
    host: str = "",
    lookup: bool = True,
) -> tuple[Avp, ...]:
    """SRR (S6c): which node serves a subscriber. `lookup`: only to know; not because a message is to be delivered."""
    flags = GPRS_INDICATOR | (SINGLE_ATTEMPT if lookup else SM_RP_PRI)
    return (
        *_head(identity, session, Application.S6C, host, realm),
        *((avp("MSISDN", tbcd(msisdn)),) if msisdn else ()),
        *((avp("User-Name", imsi),) if imsi else ()),
        avp("SC-Address", tbcd(center)),
        avp("SRR-Flags", flags),
    )


def report_delivery(
    identity: Identity,
    session: str,
    *,
    imsi: str = "",
    msisdn: str = "",
    center: str,
    realm: str,
    cause: DeliveryCause,
    diagnostic: int | None = None,
    over: str = "MME",
    host: str = "",
) -> tuple[Avp, ...]:
    """RDR (S6c): how delivery went, so that the HSS knows whom to tell when the handset is back.

    `over`: "MME", "MSC", "SGSN" or "IP-SM-GW". `diagnostic`: Absent-User-Diagnostic-SM, with ABSENT_USER.
    """
    outcome = grouped(
        f"{over}-SM-Delivery-Outcome",
        avp("SM-Delivery-Cause", cause),
        avp("Absent-User-Diagnostic-SM", diagnostic) if diagnostic is not None else None,
    )
    return (
        *_head(identity, session, Application.S6C, host, realm),
        _user(imsi, msisdn),
        avp("SC-Address", tbcd(center)),
        grouped("SM-Delivery-Outcome", outcome),
    )


def _answer_head(identity: Identity, result: Avp) -> tuple[Avp, ...]:
    state = avp("Auth-Session-State", _NO_STATE_MAINTAINED)
    return result, state, avp("Origin-Host", identity.host), avp("Origin-Realm", identity.realm)


def success() -> Avp:
    """Result-Code 2001."""
    return avp("Result-Code", ResultCode.SUCCESS)


def experimental(result: int) -> Avp:
    """Experimental-Result of 3GPP."""
    return grouped("Experimental-Result", avp("Vendor-Id", TGPP), avp("Experimental-Result-Code", result))


def mo_forward_answer(
    identity: Identity, *, failure: DeliveryFailure | None = None, result: int = 0, report: bytes = b""
) -> tuple[Avp, ...]:
    """OFA: durable here, or why not. `failure` comes with SM_DELIVERY_FAILURE; `result` is another 3GPP result.

    `report`: the SMS-SUBMIT-REPORT for the handset.
    """
    if failure is not None:
        head = _answer_head(identity, experimental(ExperimentalResult.SM_DELIVERY_FAILURE))
        diagnostic = avp("SM-Diagnostic-Info", report) if report else None
        cause = avp("SM-Enumerated-Delivery-Failure-Cause", failure)
        return (*head, grouped("SM-Delivery-Failure-Cause", cause, diagnostic))
    head = _answer_head(identity, experimental(result) if result else success())
    return (*head, avp("SM-RP-UI", report)) if report else head


def routing_answer(
    identity: Identity, *, imsi: str = "", nodes: Sequence[Avp] = (), result: int = 0
) -> tuple[Avp, ...]:
    """SRA: as an HSS gives it; `nodes` are Serving-Node and Additional-Serving-Node groups."""
    head = _answer_head(identity, experimental(result) if result else success())
    return (*head, *((avp("User-Name", imsi),) if imsi else ()), *nodes)


def alert_answer(identity: Identity) -> tuple[Avp, ...]:
    """ALA: heard."""
    return _answer_head(identity, success())


# -------------------------------------------------------------------------------------------------------- reading


def _number(avps: Avps, name: str) -> str:
    octets = avps.octets(name)
    try:
        return digits_of(octets) if octets else ""
    except BadDigits:
        return ""


def _who(avps: Avps) -> tuple[str, str]:
    """IMSI and MSISDN of a User-Identifier."""
    group = avps.group("User-Identifier") or Avps()
    return group.text("User-Name"), _number(group, "MSISDN")


class MoForward(NamedTuple):
    """OFR: a handset's message."""

    session: str
    origin_host: str  #: who says that it serves the handset; see `trusted_origin`
    origin_realm: str
    imsi: str  #: "" if it was left out
    msisdn: str  #: digits; "" if it was left out
    center: str  #: digits of the center the handset asked for
    tpdu: bytes


def read_mo_forward(request: Message) -> MoForward:
    """Read an OFR. Incomplete."""
    avps = request.avps
    imsi, msisdn = _who(avps)
    tpdu = avps.octets("SM-RP-UI")
    if not imsi and not msisdn:
        raise Incomplete("User-Identifier")
    if not tpdu:
        raise Incomplete("SM-RP-UI")
    session, center = avps.text("Session-Id"), _number(avps, "SC-Address")
    if not session:
        raise Incomplete("Session-Id")
    if not center:
        raise Incomplete("SC-Address")
    origin, realm = avps.identity("Origin-Host"), avps.identity("Origin-Realm")
    return MoForward(session, origin, realm, imsi, msisdn, center, tpdu)


class MtForward(NamedTuple):
    """TFR: a message for a handset, as its node reads it."""

    imsi: str
    center: str
    tpdu: bytes
    more: bool


def read_mt_forward(request: Message) -> MtForward:
    """Read a TFR. Incomplete."""
    avps = request.avps
    imsi, tpdu = avps.text("User-Name"), avps.octets("SM-RP-UI")
    if not imsi:
        raise Incomplete("User-Name")
    if not tpdu:
        raise Incomplete("SM-RP-UI")
    more = bool((avps.number("TFR-Flags") or 0) & MORE_MESSAGES)
    return MtForward(imsi, _number(avps, "SC-Address"), tpdu, more)


class Delivered(NamedTuple):
    """TFA or OFA: what became of a message."""

    result: int  #: Result-Code or Experimental-Result-Code
    experimental: bool
    failure: int | None = None  #: `DeliveryFailure`
    report: bytes = b""  #: the handset's or center's report TPDU
    absent_diagnostic: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it arrived."""
        return not self.experimental and 2000 <= self.result < 3000


def read_delivered(answer: Message) -> Delivered:
    """Read a TFA or OFA; what is missing is absent, because an answer is not answered."""
    avps = answer.avps
    result, is_experimental = answer.result
    failure = avps.group("SM-Delivery-Failure-Cause") or Avps()
    report = avps.octets("SM-RP-UI") or failure.octets("SM-Diagnostic-Info") or b""
    cause = failure.number("SM-Enumerated-Delivery-Failure-Cause")
    return Delivered(result, is_experimental, cause, report, avps.number("Absent-User-Diagnostic-SM"))


class ServingNode(NamedTuple):
    """A node that serves a subscriber: a name with its realm, a number, or both."""

    kind: str  #: "MME", "SGSN", "MSC", "IP-SM-GW", "SMSF"
    name: str = ""  #: DiameterIdentity
    realm: str = ""
    number: str = ""  #: E.164 digits


class Routing(NamedTuple):
    """SRA: where a subscriber is."""

    imsi: str
    nodes: tuple[ServingNode, ...]  #: the preferred one first; none: nowhere
    mwd_status: int | None  #: bits MWD_*; None: not said
    absent: tuple[int, ...]  #: Absent-User-Diagnostic-SM of whatever says so


#: Members of a serving node: kind, name, realm, number.
_SERVING = (
    ("MME", "MME-Name", "MME-Realm", "MME-Number-for-MT-SMS"),
    ("SGSN", "SGSN-Name", "SGSN-Realm", "SGSN-Number"),
    ("MSC", "", "", "MSC-Number"),
    ("IP-SM-GW", "IP-SM-GW-Name", "", "IP-SM-GW-Number"),
)
_SMSF = (
    ("SMSF-3GPP-Address", "SMSF-3GPP-Name", "SMSF-3GPP-Realm", "SMSF-3GPP-Number"),
    ("SMSF-Non-3GPP-Address", "SMSF-Non-3GPP-Name", "SMSF-Non-3GPP-Realm", "SMSF-Non-3GPP-Number"),
)
_ABSENT = tuple(f"{kind}-Absent-User-Diagnostic-SM" for kind in ("MME", "MSC", "SGSN"))


def _node(kind: str, group: Avps, name: str, realm: str, number: str) -> ServingNode | None:
    found = ServingNode(
        kind,
        group.identity(name) if name else "",
        group.identity(realm) if realm else "",
        _number(group, number),
    )
    return found if found.name or found.number else None


def read_routing(answer: Message) -> Routing:
    """Read an SRA that succeeded. One group may hold several nodes: SGSN and MSC, say."""
    avps = answer.avps
    nodes: list[ServingNode] = []
    for outer in ("Serving-Node", "Additional-Serving-Node"):
        for group in avps.groups(outer):
            nodes += [found for row in _SERVING if (found := _node(row[0], group, *row[1:])) is not None]
    for outer, *members in _SMSF:
        for group in avps.groups(outer):
            found = _node("SMSF", group, *members)
            nodes += [found] if found is not None else []
    absent = tuple(value for name in _ABSENT if (value := avps.number(name)) is not None)
    return Routing(avps.text("User-Name"), tuple(nodes), avps.number("MWD-Status"), absent)


class Alert(NamedTuple):
    """ALR: a handset can be tried again, says the HSS (S6c) or its node (SGd)."""

    imsi: str
    msisdn: str
    center: str
    until_ms: int | None  #: Maximum-UE-Availability-Time: after that it sleeps again


def read_alert(request: Message) -> Alert:
    """Read an ALR. Incomplete."""
    imsi, msisdn = _who(request.avps)
    if not imsi and not msisdn:
        raise Incomplete("User-Identifier")
    until = request.avps.time_ms("Maximum-UE-Availability-Time")
    return Alert(imsi, msisdn, _number(request.avps, "SC-Address"), until)


# ------------------------------------------------------------------------------------------------ who really sent it


def trusted_origin(request: Message, peer: str, relays: Container[str]) -> str:
    """The Origin-Host of a request, if it can be believed; else "".

    `peer` is the host that was admitted on the connection. It may speak for itself. A registered relay may pass on
    for others: it writes the name of who gave it the request behind the Route-Records, so the first one must be
    the origin and every further one a registered relay.
    """
    origin = request.avps.identity("Origin-Host")
    route = request.avps.identities("Route-Record")
    if not route:
        return origin if origin == peer else ""
    passed = (*route[1:], peer)
    return origin if route[0] == origin and all(host in relays for host in passed) else ""
