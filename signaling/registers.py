"""Which switch serves a subscriber now: the vocabulary, and registers that ask several others or none.

In charge of: what an answer is, the protocol of whoever can give one, a chain of registers by number range, and a table
that stands still. Not in charge of: remembering answers and protecting registers (`affiliations.py`), the registers
behind a wire (`osmohlr.py`, `s6c.py`, `register_http.py`), or what a difference means (`antispoof/`).

Theory. An affiliation is a *set* of addresses: one subscriber may be served by an MSC, an SGSN, an MME and an SMSF at
the same time. "Nobody serves it" (absent, purged) and "no such subscriber" (unknown) are answers; a register that
cannot say raises RegisterUnavailable, which never means anything about the subscriber. An answer counts against a
sender only if it is authoritative: from a register that is responsible for the subscriber's network.

Addresses are compared as switches, not as text; that is antispoof's. Here they only have one spelling: digits without
"+" for numbers, lower case for hosts, names of Osmocom's peers as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

__all__ = [
    "AddressType",
    "Affiliation",
    "AffiliationProvider",
    "BadTable",
    "Chain",
    "Range",
    "RegisterUnavailable",
    "ServedBy",
    "StaticTable",
    "Status",
    "SwitchAddress",
    "Who",
    "address",
    "read_row",
    "unknown",
]


class AddressType(StrEnum):
    """How a switch is addressed."""

    E164_GT = "e164_gt"  #: E.164 digits without "+"
    IPA_NAME = "ipa_name"  #: name of an Osmocom peer
    DIAMETER_HOST = "diameter_host"
    SIP_HOST = "sip_host"
    IP = "ip"
    NODE_ID = "node_id"  #: SMPP 5.0 source_node_id, "network/" before it if the network was named
    SMPP_ACCOUNT = "smpp_account"  #: system_id of a switch that is itself the peer


class ServedBy(StrEnum):
    """The kind of node behind an address, as far as the register says."""

    MSC = "msc"
    SGSN = "sgsn"
    MME = "mme"
    SMSF = "smsf"
    IP_SM_GW = "ip-sm-gw"
    ANY = ""


class SwitchAddress(NamedTuple):
    """One address of a node that serves a subscriber."""

    type: AddressType
    value: str
    node: ServedBy = ServedBy.ANY


def address(kind: AddressType, value: str, node: ServedBy = ServedBy.ANY) -> SwitchAddress:
    """An address in its one spelling. ValueError if it cannot be one."""
    value = value.strip()
    if kind is AddressType.E164_GT:
        value = value.removeprefix("+")
        if not (value.isascii() and value.isdecimal() and len(value) <= 15):
            raise ValueError(f"{value!r} is no E.164 number")
    elif kind in (AddressType.DIAMETER_HOST, AddressType.SIP_HOST):
        value = value.lower().rstrip(".")
    if not value or len(value) > 255:
        raise ValueError(f"{value!r} is no address")
    return SwitchAddress(kind, value, node)


class Status(StrEnum):
    """What a register says about a subscriber."""

    ATTACHED = "attached"  #: served by the addresses
    ABSENT = "absent"  #: known, and nobody serves it
    PURGED = "purged"  #: known, and forgotten by who served it last
    UNKNOWN = "unknown"  #: no such subscriber


@dataclass(frozen=True, slots=True)
class Affiliation:
    """One answer about one subscriber."""

    status: Status
    addresses: tuple[SwitchAddress, ...]  #: empty unless attached
    source: str  #: name of the register
    observed_at: int  #: UTC epoch ms of the answer
    imsi: str = ""  #: digits; "" if the register did not say
    msisdn: str = ""  #: digits
    changed_at: int | None = None  #: UTC epoch ms at which another switch took over, as far as we saw it
    previous: tuple[SwitchAddress, ...] = ()  #: who served it before that
    authoritative: bool = True  #: the register is responsible for this subscriber


class Who(NamedTuple):
    """Whom a question is about: digits of one number or both.

    With both the question is about the IMSI: the pair is what a peer claims, and nothing is believed of it.
    """

    msisdn: str = ""
    imsi: str = ""

    @property
    def key(self) -> str:
        """The IMSI if there is one, because a number may change hands; else the number."""
        imsi = self.imsi
        return "i" + imsi if imsi else "m" + self.msisdn


class RegisterUnavailable(Exception):
    """There is no answer; says nothing about the subscriber.

    `reason`: "down", "timeout", "busy", "breaker" (left alone for a while), "budget" (a link asked too much),
    "refused", "no-register".
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        """`detail` is for the log."""
        super().__init__(detail or reason)
        self.reason = reason


class AffiliationProvider(Protocol):
    """A register. Lives on the event loop."""

    name: str  #: stable, appears in evidence

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """Ask once, and end within the time. RegisterUnavailable; anything else counts as a fault of the register.

        `fresh`: nothing that the register itself may have remembered will do. The answer names a number or IMSI only
        if the register itself said so, or if it is the one that was asked about: whoever could make us remember a
        pair of their choice could make a stranger's answer stand for somebody else.
        """
        ...


def unknown(who: Who, source: str, observed_at: int) -> Affiliation:
    """No such subscriber."""
    msisdn = "" if who.imsi else who.msisdn
    return Affiliation(Status.UNKNOWN, (), source, observed_at, who.imsi, msisdn)


# ---------------------------------------------------------------------------------------------------------- chain


@dataclass(frozen=True, slots=True)
class Range:
    """The registers for a range of subscribers."""

    providers: tuple[AffiliationProvider, ...]  #: asked in this order
    msisdn: str = ""  #: prefix of digits
    imsi: str = ""  #: prefix of digits
    authoritative: bool = True  #: whether they are responsible for this range


class Chain:
    """Asks the registers of the longest matching range, one after the other, until one knows.

    A range by IMSI goes before one by number. "Unknown" and "absent" let the next register be asked, and stand if none
    says more; a register that is unavailable does too, but then "nobody knows it" is not known: unless a later one
    serves it, the failure stands.
    """

    def __init__(
        self, ranges: Sequence[Range], *, monotonic: Callable[[], float], name: str = "chain"
    ) -> None:
        """A range without prefixes is for everybody else."""
        self.name = name
        self._monotonic = monotonic
        self._imsis = {each.imsi: each for each in ranges if each.imsi}
        self._msisdns = {each.msisdn: each for each in ranges if not each.imsi}
        if len(self._imsis) + len(self._msisdns) != len(ranges):
            raise ValueError("two ranges have the same prefix")

    def range_of(self, who: Who) -> Range | None:
        """The longest range that matches."""
        return _longest(self._imsis, who.imsi) or _longest(self._msisdns, who.msisdn)

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        chosen = self.range_of(who)
        if chosen is None:
            raise RegisterUnavailable("no-register", "no range matches")
        ends_at = self._monotonic() + timeout_s
        best: Affiliation | None = None
        failure: RegisterUnavailable | None = None
        for provider in chosen.providers:
            left = ends_at - self._monotonic()
            if left <= 0:
                failure = failure or RegisterUnavailable("timeout")
                break
            try:
                found = await provider.lookup(who, fresh=fresh, timeout_s=left)
            except RegisterUnavailable as unavailable:
                failure = failure or unavailable
                continue
            if not chosen.authoritative:
                found = replace(found, authoritative=False)
            if found.status is Status.ATTACHED:
                return found
            if best is None or (best.status is Status.UNKNOWN and found.status is not Status.UNKNOWN):
                best = found
        if failure is not None:
            raise failure
        if best is None:
            raise RegisterUnavailable("no-register", "the range has no registers")
        return best


def _longest(ranges: Mapping[str, Range], digits: str) -> Range | None:
    for length in range(len(digits), -1, -1):
        found = ranges.get(digits[:length])
        if found is not None:
            return found
    return None


# ---------------------------------------------------------------------------------------------------------- table


class BadTable(ValueError):
    """A table that cannot be used; names the line."""


_COLUMNS = ("msisdn", "imsi", "status", "addresses")
MAX_ROWS = 1_000_000


class StaticTable:
    """Subscribers and who serves them, from a CSV table: for fixed lines, machines, tests of a network.

    Columns: msisdn, imsi (one of the two may be empty), status (empty: attached if there are addresses, else absent),
    addresses: "type:value" or "type/node:value", separated by spaces, as in "e164_gt/msc:447700900001 ipa_name:MSC-A".
    """

    def __init__(
        self, rows: Mapping[str, Affiliation], *, now_ms: Callable[[], int], name: str = "table"
    ) -> None:
        """`rows`: by `Who.key`."""
        self.name = name
        self._rows = rows
        self._now_ms = now_ms

    @classmethod
    def read(cls, text: str, *, now_ms: Callable[[], int], name: str = "table") -> StaticTable:
        """Read a table with its heading. BadTable."""
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="more")
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise BadTable(f"line 1: the columns are {', '.join(_COLUMNS)}")
        rows: dict[str, Affiliation] = {}
        for row in reader:
            try:
                found = read_row(row, name)
            except ValueError as error:
                raise BadTable(f"line {reader.line_num}: {error}") from None
            for who in (Who(imsi=found.imsi), Who(msisdn=found.msisdn)):
                if who.imsi or who.msisdn:
                    if who.key in rows:
                        raise BadTable(f"line {reader.line_num}: {who.imsi or who.msisdn} is there twice")
                    rows[who.key] = found
            if len(rows) > 2 * MAX_ROWS:
                raise BadTable(f"line {reader.line_num}: more than {MAX_ROWS} rows")
        return cls(rows, now_ms=now_ms, name=name)

    def __len__(self) -> int:
        """Keys: two for a subscriber with number and IMSI."""
        return len(self._rows)

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        found = self._rows.get(who.key)
        now = self._now_ms()
        return unknown(who, self.name, now) if found is None else replace(found, observed_at=now)


def read_row(row: Mapping[str, str | None], source: str, observed_at: int = 0) -> Affiliation:
    """An affiliation as a row of text with the columns of a table. ValueError says what is wrong."""
    if "more" in row or None in row.values():
        raise ValueError(f"it has other than {len(_COLUMNS)} columns")
    msisdn, imsi, status, addresses = ((row[column] or "").strip() for column in _COLUMNS)
    msisdn = msisdn.removeprefix("+")
    for digits in (msisdn, imsi):
        if digits and not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
            raise ValueError(f"{digits!r} is no number")
    if not msisdn and not imsi:
        raise ValueError("neither msisdn nor imsi")
    read = tuple(_address(text) for text in addresses.split())
    meant = Status(status) if status else Status.ATTACHED if read else Status.ABSENT
    if (meant is Status.ATTACHED) is not bool(read):
        raise ValueError(f"{meant.value} with {len(read)} addresses")
    return Affiliation(meant, read, source, observed_at, imsi, msisdn)


def _address(text: str) -> SwitchAddress:
    kind, colon, value = text.partition(":")
    type_, _, node = kind.partition("/")
    if not colon:
        raise ValueError(f"{text!r} is not type:value")
    return address(AddressType(type_), value, ServedBy(node))
