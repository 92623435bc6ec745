"""The AVPs, commands and applications that this center reads or writes, as data.

In charge of: names, codes, vendors, formats, and whether we set the M bit. Not in charge of: octets (`codec.py`), or
which AVPs make a message (`short_messages.py`). An AVP that is not listed is kept and passed on as octets.

Sources: RFC 6733 §4.5 (base AVPs), §3.1 (commands); 3GPP TS 29.338 (S6c and SGd); TS 29.173 (serving nodes); TS 29.336
(User-Identifier); TS 29.272 (numbers of nodes); TS 29.329 (Sh).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import NamedTuple

__all__ = ["AVPS", "BY_NAME", "TGPP", "Application", "Command", "Definition", "Format"]

TGPP = 10415  #: vendor id of 3GPP


class Format(Enum):
    """How the octets of an AVP are read (RFC 6733 §4.2, §4.3)."""

    OCTETS = "OctetString"
    TEXT = "UTF8String"
    IDENTITY = "DiameterIdentity"
    UNSIGNED32 = "Unsigned32"
    UNSIGNED64 = "Unsigned64"
    INTEGER32 = "Integer32"
    ENUMERATED = "Enumerated"
    TIME = "Time"
    ADDRESS = "Address"
    GROUPED = "Grouped"


class Definition(NamedTuple):
    """One AVP."""

    name: str
    code: int
    vendor: int  #: 0: none, and no V bit
    format: Format
    mandatory: bool  #: whether we set the M bit; nobody is judged by it


class Application(IntEnum):
    """Application ids."""

    COMMON = 0
    S6C = 16777312
    SGD = 16777313
    SH = 16777217
    RELAY = 0xFFFFFFFF


class Command(IntEnum):
    """Command codes; a request and its answer share one."""

    CAPABILITIES_EXCHANGE = 257
    RE_AUTH = 258
    DEVICE_WATCHDOG = 280
    DISCONNECT_PEER = 282
    USER_DATA = 306  #: Sh: UDR, UDA
    MO_FORWARD_SHORT_MESSAGE = 8388645  #: OFR, OFA
    MT_FORWARD_SHORT_MESSAGE = 8388646  #: TFR, TFA
    SEND_ROUTING_INFO_FOR_SM = 8388647  #: SRR, SRA
    ALERT_SERVICE_CENTRE = 8388648  #: ALR, ALA
    REPORT_SM_DELIVERY_STATUS = 8388649  #: RDR, RDA


def _table(vendor: int, text: str) -> list[Definition]:
    """Lines of: code, "M" or "-", format, names of that format with their codes counted up from there."""
    rows: list[Definition] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        code, bit, form, name = line.split()
        rows.append(Definition(name, int(code), vendor, Format(form), bit == "M"))
    return rows


_BASE = _table(
    0,
    """
      1 M UTF8String        User-Name
     33 M OctetString       Proxy-State
    257 M Address           Host-IP-Address
    258 M Unsigned32        Auth-Application-Id
    259 M Unsigned32        Acct-Application-Id
    260 M Grouped           Vendor-Specific-Application-Id
    263 M UTF8String        Session-Id
    264 M DiameterIdentity  Origin-Host
    265 M Unsigned32        Supported-Vendor-Id
    266 M Unsigned32        Vendor-Id
    267 - Unsigned32        Firmware-Revision
    268 M Unsigned32        Result-Code
    269 - UTF8String        Product-Name
    273 M Enumerated        Disconnect-Cause
    277 M Enumerated        Auth-Session-State
    278 M Unsigned32        Origin-State-Id
    279 M Grouped           Failed-AVP
    280 M DiameterIdentity  Proxy-Host
    281 - UTF8String        Error-Message
    282 M DiameterIdentity  Route-Record
    283 M DiameterIdentity  Destination-Realm
    284 M Grouped           Proxy-Info
    293 M DiameterIdentity  Destination-Host
    294 - DiameterIdentity  Error-Reporting-Host
    296 M DiameterIdentity  Origin-Realm
    297 M Grouped           Experimental-Result
    298 M Unsigned32        Experimental-Result-Code
    299 M Unsigned32        Inband-Security-Id
    301 - Enumerated        DRMP
    """,
)

_TGPP = _table(
    TGPP,
    """
     628 - Grouped          Supported-Features
     629 - Unsigned32       Feature-List-ID
     630 - Unsigned32       Feature-List
     700 M Grouped          User-Identity
     701 M OctetString      MSISDN
     702 M OctetString      Sh-User-Data
     703 M Enumerated       Data-Reference
     706 M Enumerated       Requested-Domain
     707 M Enumerated       Current-Location
    1489 M OctetString      SGSN-Number
    1645 - OctetString      MME-Number-for-MT-SMS
    2400 - OctetString      LMSI
    2401 M Grouped          Serving-Node
    2402 M DiameterIdentity MME-Name
    2403 M OctetString      MSC-Number
    2406 M Grouped          Additional-Serving-Node
    2408 M DiameterIdentity MME-Realm
    2409 M DiameterIdentity SGSN-Name
    2410 M DiameterIdentity SGSN-Realm
    3100 M OctetString      IP-SM-GW-Number
    3101 M DiameterIdentity IP-SM-GW-Name
    3102 M Grouped          User-Identifier
    3111 M UTF8String       External-Identifier
    3300 M OctetString      SC-Address
    3301 M OctetString      SM-RP-UI
    3302 - Unsigned32       TFR-Flags
    3303 M Grouped          SM-Delivery-Failure-Cause
    3304 M Enumerated       SM-Enumerated-Delivery-Failure-Cause
    3305 M OctetString      SM-Diagnostic-Info
    3306 M Unsigned32       SM-Delivery-Timer
    3307 M Time             SM-Delivery-Start-Time
    3308 M Enumerated       SM-RP-MTI
    3309 M OctetString      SM-RP-SMEA
    3310 - Unsigned32       SRR-Flags
    3311 - Enumerated       SM-Delivery-Not-Intended
    3312 - Unsigned32       MWD-Status
    3313 - Unsigned32       MME-Absent-User-Diagnostic-SM
    3314 - Unsigned32       MSC-Absent-User-Diagnostic-SM
    3315 - Unsigned32       SGSN-Absent-User-Diagnostic-SM
    3316 M Grouped          SM-Delivery-Outcome
    3317 M Grouped          MME-SM-Delivery-Outcome
    3318 M Grouped          MSC-SM-Delivery-Outcome
    3319 M Grouped          SGSN-SM-Delivery-Outcome
    3320 M Grouped          IP-SM-GW-SM-Delivery-Outcome
    3321 M Enumerated       SM-Delivery-Cause
    3322 M Unsigned32       Absent-User-Diagnostic-SM
    3323 - Unsigned32       RDR-Flags
    3324 - Grouped          SMSMI-Correlation-ID
    3325 - UTF8String       HSS-ID
    3328 - Unsigned32       OFR-Flags
    3329 - Time             Maximum-UE-Availability-Time
    3330 - Time             Maximum-Retransmission-Time
    3331 - Time             Requested-Retransmission-Time
    3332 - OctetString      SMS-GMSC-Address
    3333 - Unsigned32       SMS-GMSC-Alert-Event
    3334 - Unsigned32       SMSF-3GPP-Absent-User-Diagnostic-SM
    3335 - Unsigned32       SMSF-Non-3GPP-Absent-User-Diagnostic-SM
    3336 - Grouped          SMSF-3GPP-SM-Delivery-Outcome
    3337 - Grouped          SMSF-Non-3GPP-SM-Delivery-Outcome
    3338 - OctetString      SMSF-3GPP-Number
    3339 - OctetString      SMSF-Non-3GPP-Number
    3340 - DiameterIdentity SMSF-3GPP-Name
    3341 - DiameterIdentity SMSF-Non-3GPP-Name
    3342 - DiameterIdentity SMSF-3GPP-Realm
    3343 - DiameterIdentity SMSF-Non-3GPP-Realm
    3344 - Grouped          SMSF-3GPP-Address
    3345 - Grouped          SMSF-Non-3GPP-Address
    """,
)

#: By vendor and code.
AVPS: Mapping[tuple[int, int], Definition] = {(row.vendor, row.code): row for row in (*_BASE, *_TGPP)}
BY_NAME: Mapping[str, Definition] = {row.name: row for row in AVPS.values()}
