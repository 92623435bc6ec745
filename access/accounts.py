"""Accounts: the applications, switches and other networks that may bind or call, and what each may do.

In charge of: what an account is to an operator (`AccountModel`), what it is to the message path (`Account`, compiled),
and who owns a number. Not in charge of: its credentials (`credentials.py`), its history (`registry/`), numbers'
normal form (`smsc/normaliser.py`), rates (`smsc/limits.py`).

Sources: issue "main job" section 4; behaviour.md 1, 3, 6; SMPP 3.4 §4.1 (bind fields), §5.2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from ..message import Role
from .certificates import CertificateRule
from .numbers import EgressRules, NumberRule, NumberRules, PrefixTable

__all__ = ["Account", "AccountModel", "SwitchTlvs", "account_warnings", "owner_table"]

BindType = Literal["tx", "rx", "trx"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> str:
    """Return a network in its canonical form; a single address is a network of one."""
    return str(ipaddress.ip_network(text, strict=False))


Cidr = Annotated[str, AfterValidator(_network)]


#: source_node_id and source_network_id (SMPP 5.0 §4.8)
_STANDARD_TAGS = (0x060F, 0x060D)
#: Tags that vendors may use as they like (SMPP 3.4 §5.3.1).
_VENDOR_TAGS = range(0x1400, 0x4000)


def _naming_tag(tag: int) -> int:
    if tag not in _STANDARD_TAGS and tag not in _VENDOR_TAGS:
        raise ValueError(
            "a tag is source_node_id (1551), source_network_id (1549), or a vendor's, 5120 to 16383"
        )
    return tag


NamingTag = Annotated[int, AfterValidator(_naming_tag)]


class SwitchTlvs(BaseModel):
    """The optional parameters in which a gateway names the switch that a message came through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: NamingTag = Field(default=0x060F, description="tag of the switch; 1551 is source_node_id")
    network: NamingTag | None = Field(
        default=None,
        description="tag of the switch's network, written before node ids; 1549: source_network_id",
    )
    imsi: NamingTag | None = Field(default=None, description="tag of the sender's IMSI, in digits")
    type: Literal["node_id", "e164_gt", "ipa_name", "diameter_host", "sip_host"] = Field(
        default="node_id", description="what the switch is named by"
    )

    @property
    def tags(self) -> frozenset[int]:
        """Every tag it uses."""
        return frozenset(tag for tag in (self.node, self.network, self.imsi) if tag is not None)

    @model_validator(mode="after")
    def _tags_differ(self) -> SwitchTlvs:
        given = [tag for tag in (self.node, self.network, self.imsi) if tag is not None]
        if len(set(given)) != len(given):
            raise ValueError("node, network and imsi need tags of their own")
        return self


class AccountModel(BaseModel):
    """An account as operators edit it: registry kind "account", prefix "acc". Its password is kept elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system_id: str = Field(
        pattern=r"^[!-~]{1,15}$",
        description="name at bind, 1 to 15 printable ASCII characters without blanks (SMPP 3.4 §5.2.1); unique",
    )
    role: Literal[Role.ESME, Role.SWITCH, Role.INTERCONNECT] = Field(
        default=Role.ESME,
        description="what stands behind it: an application, a network's handsets, another operator",
    )
    description: str = Field(default="", max_length=200, description="for people")
    suspended: bool = Field(default=False, description="true: may not bind or call; its messages stay")

    # --- entering
    bind_types: tuple[BindType, ...] = Field(
        default=("tx", "rx", "trx"), min_length=1, description="transmitter, receiver, transceiver"
    )
    allowed_networks: tuple[Cidr, ...] = Field(
        default=(),
        max_length=64,
        description='CIDR networks it may come from, e.g. "192.0.2.0/24"; empty: any',
    )
    require_tls: bool = Field(default=False, description="true: it may bind over TLS only")
    certificates: tuple[CertificateRule, ...] = Field(
        default=(),
        max_length=16,
        description='client certificates it must come with, besides its password: "sha256:…" or a subject, '
        '"CN=shop,O=Shop Ltd"; empty: none is demanded',
    )
    max_binds: int = Field(default=10, ge=1, le=1000, description="binds at one time, over all nodes")

    # --- how much
    throughput: float | None = Field(
        default=None, gt=0, le=100_000, description="messages per second it may submit; null: unlimited"
    )
    burst: int = Field(
        default=20, ge=1, le=100_000, description="messages it may submit at once before throughput counts"
    )
    window: int = Field(
        default=50, ge=1, le=1000, description="requests a bind may have unanswered, each way"
    )

    # --- numbers
    numbers: tuple[NumberRule, ...] = Field(
        default=(), max_length=10_000, description='numbers that reach it, e.g. "12345" or "+447700*"'
    )
    sources: tuple[NumberRule, ...] | None = Field(
        default=None,
        max_length=10_000,
        description="senders it may use. null: esme: its numbers, or any if it has none; switch: own network; "
        "interconnect: any",
    )
    destinations: tuple[NumberRule, ...] | None = Field(
        default=None,
        max_length=10_000,
        description="recipients it may send to. null: esme and switch: any; interconnect: own network",
    )
    number_rules: NumberRules | None = Field(
        default=None, description="how it writes numbers; null: as the center does"
    )
    egress: EgressRules = Field(default=EgressRules(), description="how numbers are written towards it")

    # --- messages
    default_alphabet: Literal["gsm7", "gsm7_packed", "latin1", "ascii"] = Field(
        default="gsm7",
        description="what data_coding 0 means (SMPP 3.4 §5.2.19), one character an octet; gsm7_packed: eight "
        "septets in seven octets, in every GSM 7 bit message, both ways",
    )
    long_messages: Literal["whole", "udh8", "udh16", "sar"] | None = Field(
        default=None,
        description="how a text longer than one short message is handed to it: whole (short_message or "
        "message_payload), or in parts with a header (8 or 16 bit reference) or sar_* parameters. null: switch: "
        "udh8; others: whole",
    )
    priority_ceiling: int = Field(
        default=3, ge=0, le=3, description="highest priority_flag; higher is lowered"
    )
    validity_default_s: int = Field(
        default=172_800, ge=60, le=2_592_000, description="seconds; when validity_period is absent"
    )
    validity_ceiling_s: int = Field(
        default=604_800, ge=60, le=2_592_000, description="seconds; longer validity_periods are cut"
    )
    duplicate_window_s: int = Field(
        default=0,
        ge=0,
        le=86_400,
        description="seconds in which a repeated message gets the first id; 0: off",
    )
    sandbox: Literal["off", "on", "only"] = Field(
        default="off",
        description="numbers that begin with +999 behave as docs/sandbox.md says; only: and it may send to no other",
    )
    mailbox: bool = Field(
        default=True, description="whether its messages may be kept in a recipient's mailbox"
    )
    trusted_keywords: bool = Field(
        default=False, description="whether keywords (LIST, GET) are obeyed from here; a switch's always are"
    )

    verify_locations: tuple[NumberRule, ...] = Field(
        default=(),
        max_length=10_000,
        description="numbers of which it may ask whether they are in an area (CAMARA); empty: none",
    )

    # --- where its messages come from
    switch_tlvs: SwitchTlvs | None = Field(
        default=None,
        description="role switch: how it names the switch a message came through, and is believed; "
        "null: it is that switch itself, and what it names is stripped",
    )

    # --- receipts
    time_zone: str = Field(default="UTC", description="IANA name; dates in receipts are written in it")
    receipt_format: Literal["text+tlvs", "text", "tlvs"] = Field(
        default="text+tlvs", description="where a delivery receipt says what became of a message"
    )
    receipt_at: Literal["retrieval", "deposit"] = Field(
        default="retrieval",
        description="when a message kept in a mailbox counts as delivered (behaviour.md 1)",
    )
    receipt_cap: int = Field(
        default=100_000, ge=0, le=10_000_000, description="receipts that may wait for it; more are not made"
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError("not the name of a time zone") from error
        return name

    @model_validator(mode="after")
    def _only_switches_name_switches(self) -> AccountModel:
        if self.switch_tlvs is not None and self.role is not Role.SWITCH:
            raise ValueError("switch_tlvs is for accounts of role switch")
        return self

    @model_validator(mode="after")
    def _validity_fits(self) -> AccountModel:
        if self.validity_default_s > self.validity_ceiling_s:
            raise ValueError("validity_default_s must not be above validity_ceiling_s")
        return self


_SANDBOX = "+999*"  # of `smsc/sandbox.py`


def _nobody(number: str) -> bool:
    """Own network of a center that knows no number ranges."""
    return False


class Account:
    """An account as the message path sees it: every setting, compiled. Made anew for each version, never changed."""

    __slots__ = (
        "number",
        "version",
        "model",
        "system_id",
        "role",
        "suspended",
        "bind_types",
        "require_tls",
        "certificates",
        "max_binds",
        "throughput",
        "burst",
        "window",
        "numbers",
        "number_rules",
        "egress",
        "default_alphabet",
        "parts_as",
        "priority_ceiling",
        "validity_default_ms",
        "validity_ceiling_ms",
        "duplicate_window_ms",
        "sandbox",
        "mailbox",
        "trusted_keywords",
        "switch_tlvs",
        "time_zone",
        "receipt_format",
        "receipt_at",
        "receipt_cap",
        "may_send_from",
        "may_send_to",
        "may_verify",
        "owns",
        "_networks",
    )

    def __init__(
        self,
        number: int,
        model: AccountModel,
        *,
        version: int = 1,
        number_rules: NumberRules | None = None,
        own_network: Callable[[str], bool] = _nobody,
    ) -> None:
        """`number_rules`: the center's, for an account without its own. `own_network`: whether a number in normal
        form lies in a range of this network; asked at each message, so that edits of ranges count at once."""
        self.number = number  #: account number, from 1; 0 is the center itself
        self.version = version  #: of the edited object
        self.model = model
        self.system_id = model.system_id
        self.role = Role(model.role)
        self.suspended = model.suspended
        self.bind_types = frozenset[str](model.bind_types)
        self.require_tls = model.require_tls or bool(model.certificates)
        self.certificates = model.certificates
        self.max_binds = model.max_binds
        self.throughput = model.throughput  #: messages per second, or None
        self.burst = model.burst
        self.window = model.window
        self.numbers = model.numbers
        self.number_rules = model.number_rules or number_rules or NumberRules()
        self.egress = model.egress
        self.default_alphabet = model.default_alphabet
        self.parts_as = model.long_messages or ("udh8" if self.role is Role.SWITCH else "whole")
        self.priority_ceiling = model.priority_ceiling
        self.validity_default_ms = model.validity_default_s * 1000
        self.validity_ceiling_ms = model.validity_ceiling_s * 1000
        self.duplicate_window_ms = model.duplicate_window_s * 1000
        self.sandbox = model.sandbox
        self.mailbox = model.mailbox
        self.trusted_keywords = model.trusted_keywords or self.role is Role.SWITCH
        self.switch_tlvs = model.switch_tlvs
        self.time_zone = model.time_zone
        self.receipt_format = model.receipt_format
        self.receipt_at = model.receipt_at
        self.receipt_cap = model.receipt_cap
        owned = _table(model.numbers)
        #: (normal form) -> bool: whether the number leads to this account
        self.owns: Callable[[str], bool] = owned.__contains__
        #: (normal form) -> bool: whether it may be the sender
        self.may_send_from: Callable[[str], bool] = self._sources(model, own_network)
        #: (normal form) -> bool: whether it may be the recipient
        self.may_send_to: Callable[[str], bool] = self._destinations(model, own_network)
        #: (normal form) -> bool: whether it may ask if the number is in an area
        self.may_verify: Callable[[str], bool] = _table(model.verify_locations).__contains__
        self._networks: tuple[Network, ...] = tuple(map(ipaddress.ip_network, model.allowed_networks))

    @property
    def id(self) -> str:
        """The id outside: "acc_12"; also the owner of its credentials."""
        return f"acc_{self.number}"

    def may_come_from(self, address: str) -> bool:
        """True if a peer at this IP address may use the account. IPv4 inside IPv6 counts as IPv4."""
        if not self._networks:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)

    @property
    def is_tied(self) -> bool:
        """True if its name belongs to some source addresses or client certificates."""
        return bool(self._networks or self.certificates)

    def __repr__(self) -> str:
        """Name it, for logs."""
        return f"Account({self.id} {self.system_id} v{self.version})"

    def _sources(self, model: AccountModel, own_network: Callable[[str], bool]) -> Callable[[str], bool]:
        if model.sources is not None:
            return _table(model.sources).__contains__
        if self.role is Role.SWITCH:
            return own_network
        if self.role is Role.ESME and model.numbers:
            return self.owns
        return _table(("*",)).__contains__

    def _destinations(self, model: AccountModel, own_network: Callable[[str], bool]) -> Callable[[str], bool]:
        if model.destinations is not None:
            tests = () if model.sandbox == "off" else (_SANDBOX,)
            return _table((*model.destinations, *tests)).__contains__
        if self.role is Role.INTERCONNECT:
            return own_network
        return _table(("*",)).__contains__


def _table(rules: Iterable[str]) -> PrefixTable[bool]:
    return PrefixTable((rule, True) for rule in rules)


def owner_table(accounts: Iterable[Account]) -> PrefixTable[Account]:
    """Who owns a number: the account with the strongest rule, the older account among equal rules."""
    ordered = sorted(accounts, key=lambda account: account.number)
    return PrefixTable((rule, account) for account in ordered for rule in account.numbers)


def account_warnings(model: AccountModel, others: Iterable[AccountModel] = ()) -> list[tuple[str, str, str]]:
    """What an operator should know before saving: (JSON pointer, code, text) each. `others` without the account."""
    found: list[tuple[str, str, str]] = []
    if model.role is Role.ESME and model.sources is None and not model.numbers:
        found.append(("/sources", "sources-unrestricted", "may use any sender, because it owns no number"))
    if model.sources is not None and not model.sources:
        found.append(("/sources", "sources-empty", "may not send from any number"))
    if model.role is Role.INTERCONNECT and model.destinations is not None and "*" in model.destinations:
        found.append(("/destinations", "transit", "may send through this center to other networks"))
    if model.role is not Role.ESME and not model.allowed_networks:
        found.append(("/allowed_networks", "any-network", "a link may come from any address"))
    mine = set(model.numbers)
    for other in others:
        for rule in sorted(mine.intersection(other.numbers)):
            found.append(
                (
                    "/numbers",
                    "number-shared",
                    f"{rule} leads to {other.system_id} too; the older account gets it",
                )
            )
    return found
