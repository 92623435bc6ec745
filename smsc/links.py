"""Links: other message centers, gateways and switches to which we bind as an ESME.

In charge of: what a link is to an operator (`LinkModel`), and what it is to the message path (`Link`, compiled). Not in
charge of: its password (`access/sealing.py`), what other objects must agree with (`kinds.py`), connections
(`upstream.py`), the spelling of messages (`link_egress.py`).

Sources: issue 3, section 2; SMPP 3.4 §4.1 (bind fields), §5.2; behaviour.md 3, 5, 11.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from ..access.certificates import CertificateRule
from ..access.numbers import EgressRules, NumberRules
from ..message import Role
from ..outlet import ErrorClass
from .remote_ids import IdStyle
from .smpp.session_settings import SessionSettings

__all__ = ["PASSWORD", "Link", "LinkModel", "LinkState"]

PASSWORD = "smpp-password"  # noqa: S105  #: kind of the sealed secret; its owner is the link's id


class LinkState(StrEnum):
    """What an operator wants of a link."""

    RUNNING = "running"  #: bound; messages go both ways
    ISOLATED = "isolated"  #: bound, and nothing goes either way but reports about what was handed over before
    SUSPENDED = "suspended"  #: not bound
    DRAINING = "draining"  #: nothing new is handed over; unbound once everything handed over has its outcome


_ADDRESS = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):([0-9]{1,5})"
)


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[3]) < 65_536:
        raise ValueError('must be host:port, as in "smsc.example.net:2775" or "[2001:db8::1]:2775"')
    return text


def _status(text: str) -> str:
    if not re.fullmatch(r"0x[0-9A-Fa-f]{1,8}", text):
        raise ValueError('must be a command_status in hexadecimal, as in "0x0401"')
    return f"0x{int(text, 16):08x}"


Endpoint = Annotated[str, AfterValidator(_address)]
StatusKey = Annotated[str, AfterValidator(_status)]
ReceiptErrorKey = Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,8}$")]
DataCoding = Annotated[int, Field(ge=0, le=255)]


class LinkModel(BaseModel):
    """A link as operators edit it: registry kind "link", prefix "lnk". Its password is kept elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="unique name")
    description: str = Field(default="", max_length=200, description="for people")
    state: LinkState = Field(
        default=LinkState.RUNNING,
        description="running; isolated: bound and silent; suspended: not bound; draining: finishes, then unbinds",
    )
    role: Literal[Role.INTERCONNECT, Role.SWITCH] = Field(
        default=Role.INTERCONNECT,
        description="what stands behind it: another operator, or a network's handsets, tried one at a time",
    )
    account: str = Field(
        default="",
        max_length=15,
        description="system_id of the account as which messages from the link are taken in; empty: none are taken",
    )

    # --- where and as whom
    addresses: tuple[Endpoint, ...] = Field(
        min_length=1, max_length=8, description='"host:port"; with several, the next one after each failure'
    )
    system_id: str = Field(
        pattern=r"^[!-~]{1,15}$", description="our name at the other side (SMPP 3.4 §5.2.1)"
    )
    system_type: str = Field(default="", pattern=r"^[ -~]{0,12}$", description="system_type of the bind")
    address_ton: int = Field(default=0, ge=0, le=255, description="addr_ton of the bind")
    address_npi: int = Field(default=0, ge=0, le=255, description="addr_npi of the bind")
    address_range: str = Field(default="", pattern=r"^[ -~]{0,40}$", description="address_range of the bind")
    interface_version: Literal["3.3", "3.4", "5.0"] = Field(
        default="3.4", description="version we bind with; 3.3 carries no TLVs"
    )
    bind: Literal["trx", "tx+rx"] = Field(
        default="trx", description="transceivers, or as many transmitters and as many receivers"
    )
    binds: int = Field(default=1, ge=1, le=32, description="binds of each node (with tx+rx: of each type)")
    tls: bool = Field(default=False, description="TLS; the certificate of the other side is always checked")
    tls_ca: str = Field(
        default="",
        max_length=100_000,
        description="PEM certificates that may have signed the other side's; empty: those of the system",
    )
    tls_server_name: str = Field(
        default="", max_length=253, description="name that its certificate must have; empty: the host"
    )
    tls_certificates: tuple[CertificateRule, ...] = Field(
        default=(),
        max_length=8,
        description='its certificate must also be one of these: "sha256:…" (fingerprint) or a subject such as '
        '"CN=smsc,O=Carrier"; empty: any that is signed and named so',
    )

    # --- how much
    window: int = Field(
        default=10, ge=1, le=1000, description="requests a bind may have unanswered, each way"
    )
    throughput: float | None = Field(
        default=None, gt=0, le=100_000, description="messages per second and node; null: unlimited"
    )
    burst: int = Field(default=1, ge=1, le=100_000, description="messages at once before throughput counts")
    enquire_link_s: float = Field(default=30, ge=1, le=3600, description="silence before we ask (seconds)")
    response_timer_s: float = Field(default=30, ge=0.1, le=600, description="seconds to wait for a response")
    connect_timer_s: float = Field(default=10, ge=0.1, le=120, description="seconds to connect and to bind")
    reconnect_min_s: float = Field(default=1, ge=0.05, le=600, description="pause after the first failure")
    reconnect_max_s: float = Field(
        default=60, ge=0.05, le=3600, description="longest pause; it doubles up to it"
    )
    throttle_min_s: float = Field(
        default=1, ge=0.05, le=600, description="pause after ESME_RTHROTTLED or ESME_RMSGQFUL (seconds)"
    )
    throttle_max_s: float = Field(
        default=60, ge=0.05, le=3600, description="longest such pause; it doubles up to it"
    )

    # --- what a response and a receipt mean
    outcome_in_response: bool = Field(
        default=False,
        description="the response is the outcome: no receipt is asked for (OsmoMSC in forward mode)",
    )
    message_ids: IdStyle = Field(
        default=IdStyle.AUTO,
        description="how ids in receipts are those of responses: auto; text: the same; response-hex: hexadecimal in "
        "responses, decimal in receipts; receipt-hex: the other way round. Case, padding and hyphens never count",
    )
    receipt_grace_s: int = Field(
        default=3600, ge=0, le=604_800, description="wait for a receipt beyond the validity period (seconds)"
    )
    status_errors: Mapping[StatusKey, ErrorClass] = Field(
        default={}, max_length=256, description='error class by command_status, as in {"0x0401": "absent"}'
    )
    receipt_errors: Mapping[ReceiptErrorKey, ErrorClass] = Field(
        default={},
        max_length=256,
        description='error class by err: of failing receipts, as in {"027": "absent"}',
    )

    # --- how messages are spelled
    number_rules: NumberRules | None = Field(
        default=None, description="how it writes numbers in reports and alerts; null: as the center does"
    )
    egress: EgressRules = Field(default=EgressRules(), description="how numbers are written towards it")
    default_alphabet: Literal["gsm7", "latin1", "ascii"] = Field(
        default="gsm7",
        description="what data_coding 0 means there; text is rewritten where the sender's differs",
    )
    data_codings: tuple[DataCoding, ...] | None = Field(
        default=None,
        max_length=256,
        description="data_codings it takes; other texts are rewritten. null: all",
    )
    message_mode: Literal["default", "datagram", "forward", "store-and-forward"] = Field(
        default="default", description="messaging mode bits of esm_class (SMPP 3.4 §5.2.12)"
    )
    long_messages: Literal["whole", "udh8", "udh16", "sar"] = Field(
        default="whole",
        description="how texts of more than 140 octets go: whole (in message_payload), or in parts with a header of an "
        "8 or 16 bit reference, or with sar_* parameters",
    )
    service_type: str | None = Field(
        default=None, pattern=r"^[ -~]{0,5}$", description="sent in place of the message's own; null: its own"
    )
    validity: Literal["relative", "absolute", "none"] = Field(
        default="relative", description="how validity_period is sent"
    )
    tlvs: bool = Field(default=True, description="pass on optional parameters that senders gave")

    @field_validator("tls_ca")
    @classmethod
    def _certificates(cls, pem: str) -> str:
        if pem:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError) as error:
                raise ValueError("no certificates in PEM form") from error
        return pem

    @model_validator(mode="after")
    def _tls_fits(self) -> LinkModel:
        if not self.tls and (self.tls_ca or self.tls_server_name or self.tls_certificates):
            raise ValueError("tls_ca, tls_server_name and tls_certificates say nothing without tls")
        return self

    @model_validator(mode="after")
    def _pauses_fit(self) -> LinkModel:
        if self.reconnect_min_s > self.reconnect_max_s:
            raise ValueError("reconnect_min_s must not be above reconnect_max_s")
        if self.throttle_min_s > self.throttle_max_s:
            raise ValueError("throttle_min_s must not be above throttle_max_s")
        return self


#: What a bind is made with: a change of one of these makes new ones.
_DIALLED = (
    "addresses", "system_id", "system_type", "address_ton", "address_npi", "address_range", "interface_version",
    "bind", "binds", "tls", "tls_ca", "tls_server_name", "tls_certificates",
)  # fmt: skip
_VERSIONS = {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}
_MODES = {"default": 0, "datagram": 1, "forward": 2, "store-and-forward": 3}


class Link:
    """A link as the message path sees it. Made anew for each version, never changed."""

    __slots__ = ("dialled", "mode_bits", "model", "number", "session_settings", "status_errors", "version")

    def __init__(self, number: int, model: LinkModel, version: int = 1) -> None:
        """`number` of the object; `version` of its value."""
        self.number = number
        self.model = model
        self.version = version
        self.mode_bits = _MODES[model.message_mode]  #: esm_class bits 0-1
        self.status_errors = {int(status, 16): error for status, error in model.status_errors.items()}
        #: equal for two versions that need no new binds
        self.dialled = tuple(getattr(model, name) for name in _DIALLED)
        self.session_settings = SessionSettings(
            interface_version=self.interface_version,
            # a 3.4 center that does not say its version is one all the same; a 3.3 one cannot say it
            silent_peer_version=self.interface_version,
            window=model.window,
            pending_limit=max(model.window, 100),
            response_timer=model.response_timer_s,
            enquire_link_timer=model.enquire_link_s,
            session_init_timer=model.connect_timer_s,
        )

    @property
    def id(self) -> str:
        """The id outside: "lnk_7"; also the owner of its password."""
        return f"lnk_{self.number}"

    @property
    def name(self) -> str:
        """For people and events."""
        return self.model.name

    @property
    def interface_version(self) -> int:
        """As in the bind."""
        return _VERSIONS[self.model.interface_version]

    def endpoint(self, turn: int) -> tuple[str, int]:
        """Host and port of one try; `turn` counts tries."""
        text = self.model.addresses[turn % len(self.model.addresses)]
        host, _, port = text.rpartition(":")
        return host.strip("[]"), int(port)

    def __repr__(self) -> str:
        """Name it, for logs."""
        return f"Link({self.id} {self.name} v{self.version})"
